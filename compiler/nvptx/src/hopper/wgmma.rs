//! Dots on the warpgroup matrix unit: `wgmma.mma_async.m64nNk16`.
//!
//! The four warps of a warpgroup hold 64 rows; the accumulator's order is that of tiles, and the left operand's order in registers that of
//! 16-bit pairs (`crate::value`). Operands in shared memory are given by descriptors (PTX ISA, "Matrix descriptor"): address, the stride between blocks of
//! 64 columns (used where the contracted axis is the buffer's rows), the stride of 1024 between groups of 8 rows, swizzle of 128 bytes.
//! A dot is one statement: fence, all steps, commit. Its result is pending until [`Kernel::dot_wait`]: one in a home ([`crate::homes`]) may be read from
//! then on, any other is tied through the wait.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::homes::Sums;
use crate::homes::named::Names;
use crate::kernel::Kernel;
use crate::shared::{BLOCK_ROW, Layout};
use crate::value::{Form, Value, is_half};
use einloom_tile::ir::{AxisId, BufferId, Elem, Operand, ValueId};
use inkwell::values::IntValue;

/// A dot that is not known to be complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) id: ValueId,
    /// A later dot accumulates onto its result, which has no other use.
    pub(crate) consumed: bool,
}

/// Most columns of one instruction.
const MAX_COLUMNS: u32 = 256;

/// Elements of a 16-bit type in a row of a block.
const BLOCK_COLS: u32 = BLOCK_ROW / 2;

/// An operand in shared memory.
struct Source<'c> {
    /// Descriptor of the first step.
    descriptor: IntValue<'c>,
    layout: Layout,
    /// The contracted axis is the buffer's row axis.
    transposed: bool,
    elem: Elem,
}

impl Source<'_> {
    fn offset(&self, step: u32, column: u32) -> u32 {
        offset(self.layout, self.transposed, step, column)
    }
}

/// What a step of 16 along the contracted axis, and `column` of the free axis, add to a descriptor's address field.
fn offset(layout: Layout, transposed: bool, step: u32, column: u32) -> u32 {
    let bytes = if transposed {
        16 * step * BLOCK_ROW + column / BLOCK_COLS * layout.block_bytes
    } else {
        16 * step / BLOCK_COLS * layout.block_bytes + 16 * step % BLOCK_COLS * 2 + column * BLOCK_ROW
    };
    bytes >> 4
}

/// The left operand.
enum Left<'c> {
    Registers(Value<'c>),
    /// Names of the registers.
    Named(Names, Elem),
    Shared(Source<'c>),
}

impl<'c> Kernel<'_, 'c> {
    /// Starts `acc + sum over axis of left * right`, the value of `id`.
    pub(crate) fn warpgroup_dot(
        &mut self,
        id: ValueId,
        left: Operand,
        right: Operand,
        over: AxisId,
        acc: Option<ValueId>,
    ) -> Res<Value<'c>> {
        let form = self.form(id)?;
        let Form::Tile(1, groups) = form else {
            return unsupported(format!("a dot of roles with a result {form:?}, not 16 rows a warp"));
        };
        let depth = self.program.axes[over.index()].size;
        if !depth.is_multiple_of(16) {
            return unsupported(format!("a matrix dot over {depth} elements, no multiple of 16"));
        }
        let Operand::Shared(buffer, stage) = right else {
            return invalid("the right operand of a dot should be in shared memory");
        };
        let right = self.descriptor(buffer, stage, over, false)?;
        let left = match left {
            Operand::Shared(buffer, stage) => Left::Shared(self.descriptor(buffer, stage, over, true)?),
            Operand::Register(value) => match self.home_names(value) {
                Some(names) => Left::Named(names, self.program.values[value.index()].elem),
                None => Left::Registers(self.value(value)?),
            },
        };
        let elem = match &left {
            Left::Shared(source) => source.elem,
            Left::Registers(value) if value.is_packed() && value.form == Form::Tile(1, depth as usize / 8) => {
                value.elem
            }
            Left::Named(names, elem) if names.len() == depth as usize / 4 => *elem,
            Left::Registers(_) | Left::Named(..) => {
                return invalid("the left operand of a matrix dot should be a 16-bit tile over the contracted axis");
            }
        };
        if elem != right.elem {
            return invalid("the operands of a matrix dot should have one 16-bit type");
        }
        let sums = self.sums(id, acc, form)?;
        let lanes = self.multiply(&left, &right, depth / 16, 8 * groups as u32, &sums);
        self.pending.push(Pending { id, consumed: false });
        Ok(Value {
            form,
            elem: Elem::F32,
            lanes,
        })
    }

    /// Emits [`einloom_tile::ir::Stmt::DotWait`]: completed results are read behind the wait, or tied through it, so that no use moves before it.
    pub(crate) fn dot_wait(&mut self, n: u32) -> Res<()> {
        let done = self.pending.len().saturating_sub(n as usize);
        let results: Vec<ValueId> = self
            .pending
            .drain(..done)
            .filter(|p| !p.consumed)
            .map(|p| p.id)
            .collect();
        let (named, results): (Vec<_>, Vec<_>) = results.into_iter().partition(|&id| self.homes.home(id).is_some());
        let named: Vec<ValueId> = named.into_iter().filter(|&id| self.homes.is_read(id)).collect();
        let values = results.iter().map(|&id| self.value(id)).collect::<Res<Vec<_>>>()?;
        let lanes: Vec<V<'c>> = values.iter().flat_map(|v| v.lanes.iter().copied()).collect();
        let text = format!("wgmma.wait_group.sync.aligned {n};");
        if lanes.is_empty() && named.is_empty() {
            self.cx.asm(&text, "", &[], Effect::Convergent);
            return Ok(());
        }
        if !named.is_empty() {
            let mut lanes = self.snapshots(&text, &named)?.into_iter();
            for id in named {
                let n = self.form(id)?.len();
                self.bind_home(id, lanes.by_ref().take(n).collect())?;
            }
        }
        if lanes.is_empty() {
            return Ok(());
        }
        let constraints = tied(lanes.len());
        let mut lanes = self
            .cx
            .asm_values(
                self.cx.f32t().into(),
                lanes.len(),
                &text,
                &constraints,
                &lanes,
                Effect::Convergent,
            )
            .into_iter();
        for (id, mut value) in results.into_iter().zip(values) {
            value.lanes = lanes.by_ref().take(value.form.len()).collect();
            self.define(id, value)?;
        }
        Ok(())
    }

    /// The operand of a dot in a buffer; the left one from the warpgroup's first row on.
    fn descriptor(&mut self, buffer: BufferId, stage: Option<ValueId>, over: AxisId, left: bool) -> Res<Source<'c>> {
        let Some(declared) = self.program.buffers.get(buffer.index()) else {
            return invalid("a dot reads a buffer that is not declared");
        };
        if !is_half(declared.elem) {
            return invalid(format!(
                "buffer {} of a matrix dot should have a 16-bit type",
                declared.name
            ));
        }
        if declared.cols != over && declared.rows != over {
            return invalid(format!("buffer {} does not have the contracted axis", declared.name));
        }
        let (layout, transposed, elem) = (self.layouts[buffer.index()], declared.cols != over, declared.elem);
        let key = [buffer.0, u32::from(left), u32::from(transposed), 0, 0];
        let first = self.invariant(("descriptor", key), |k| k.first_descriptor(layout, transposed, left));
        let cx = &self.cx;
        let descriptor = match stage {
            None => first,
            Some(stage) => {
                let stage = cx.resize(self.scalar_int(stage)?, cx.i32t());
                let offset = cx.imul(stage, cx.i32(i64::from(layout.stage_bytes >> 4)));
                cx.iadd(first, cx.zext(offset, cx.i64t()))
            }
        };
        Ok(Source {
            descriptor,
            layout,
            transposed,
            elem,
        })
    }

    /// Descriptor of stage 0.
    fn first_descriptor(&self, layout: Layout, transposed: bool, left: bool) -> IntValue<'c> {
        let cx = &self.cx;
        let mut address = cx.iadd(self.smem, cx.i32(i64::from(layout.offset)));
        if left {
            // 64 rows, or one block of 64 columns.
            let each = if transposed { layout.block_bytes } else { 64 * BLOCK_ROW };
            let warpgroup = cx.lshr(self.lanes.warp, cx.i32(2));
            address = cx.iadd(address, cx.imul(warpgroup, cx.i32(i64::from(each))));
        }
        let address = cx.zext(cx.lshr(address, cx.i32(4)), cx.i64t());
        let (groups, swizzle) = (u64::from((8 * BLOCK_ROW) >> 4) << 32, 1u64 << 62);
        let blocks = if transposed {
            u64::from(layout.block_bytes >> 4) << 16
        } else {
            1 << 16
        };
        cx.ior(address, cx.i64((groups | swizzle | blocks) as i64))
    }

    /// The statement, one for each 256 columns.
    fn multiply(&self, left: &Left<'c>, right: &Source<'c>, steps: u32, columns: u32, sums: &Sums<'c>) -> Vec<V<'c>> {
        let mut res = Vec::new();
        for first in (0..columns).step_by(MAX_COLUMNS as usize) {
            let count = MAX_COLUMNS.min(columns - first);
            let last = first + count == columns;
            res.extend(self.multiply_columns(left, right, steps, (first, count), sums, last));
        }
        res
    }

    fn multiply_columns(
        &self,
        left: &Left<'c>,
        right: &Source<'c>,
        steps: u32,
        (first, count): (u32, u32),
        sums: &Sums<'c>,
        last: bool,
    ) -> Vec<V<'c>> {
        let list = |from: usize, n: usize| (from..from + n).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
        let at = first as usize / 2..(first + count) as usize / 2;
        let mut args: Vec<V<'c>> = Vec::new();
        let (mut constraints, lanes, fresh, sum) = match sums {
            Sums::Values(Some(sums)) => {
                args.extend(&sums[at.clone()]);
                (vec![tied(at.len())], at.len(), false, list(0, at.len()))
            }
            Sums::Values(None) => (vec!["=f".to_owned(); at.len()], at.len(), true, list(0, at.len())),
            Sums::Named { names, fresh } => (Vec::new(), 0, *fresh, names[at].join(", ")),
        };
        let left_at = lanes + args.len();
        match left {
            Left::Registers(value) => {
                // Two groups of 8 columns a step, each with both halves of the rows: the order of a0..a3.
                args.extend(&value.lanes);
                constraints.extend(vec!["r".to_owned(); value.lanes.len()]);
            }
            Left::Named(..) => {}
            Left::Shared(source) => {
                args.push(source.descriptor.into());
                constraints.push("l".to_owned());
            }
        }
        let right_at = lanes + args.len();
        args.push(right.descriptor.into());
        constraints.push("l".to_owned());

        let name = if right.elem == Elem::BF16 { "bf16" } else { "f16" };
        let mut text =
            "{\n.reg .b64 da, db;\n.reg .pred none, add;\nsetp.ne.b32 none, 0, 0;\nsetp.eq.b32 add, 0, 0;\n".to_owned();
        text.push_str("wgmma.fence.sync.aligned;\n");
        for step in 0..steps {
            let scale = if step == 0 && fresh { "none" } else { "add" };
            let turned = u32::from(right.transposed);
            let (a, tail) = match left {
                Left::Registers(_) => {
                    let a = list(left_at + 4 * step as usize, 4);
                    (format!("{{{a}}}"), format!("{scale}, 1, 1, {turned}"))
                }
                Left::Named(names, _) => {
                    let a = names[4 * step as usize..][..4].join(", ");
                    (format!("{{{a}}}"), format!("{scale}, 1, 1, {turned}"))
                }
                Left::Shared(source) => {
                    text.push_str(&format!("add.s64 da, ${left_at}, {};\n", source.offset(step, 0)));
                    let tail = format!("{scale}, 1, 1, {}, {turned}", u32::from(source.transposed));
                    ("da".to_owned(), tail)
                }
            };
            text.push_str(&format!("add.s64 db, ${right_at}, {};\n", right.offset(step, first)));
            text.push_str(&format!(
                "wgmma.mma_async.sync.aligned.m64n{count}k16.f32.{name}.{name} {{{sum}}}, {a}, db, {tail};\n"
            ));
        }
        if last {
            text.push_str("wgmma.commit_group.sync.aligned;\n");
        }
        text.push('}');
        let constraints = constraints.join(",");
        if lanes == 0 {
            self.cx.asm(&text, &constraints, &args, Effect::Convergent);
            return Vec::new();
        }
        let ty = self.cx.f32t().into();
        self.cx
            .asm_values(ty, lanes, &text, &constraints, &args, Effect::Convergent)
    }
}

/// Constraints of `n` floats that are read and written in place.
fn tied(n: usize) -> String {
    let places = (0..n).map(|i| i.to_string());
    vec!["=f".to_owned(); n]
        .into_iter()
        .chain(places)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::offset;
    use crate::shared::{blocked, place};

    /// The address field moves to the unswizzled place of the step's first element.
    #[test]
    fn steps_follow_the_layout() {
        let layout = blocked(80, 160, 2);
        for step in 0..10 {
            for column in (0..80).step_by(8) {
                let row_8 = place(layout, column, 32 * step) ^ ((column & 7) << 4);
                assert_eq!(
                    16 * offset(layout, false, step, column),
                    row_8,
                    "step {step}, row {column}"
                );
            }
        }
        for step in 0..5 {
            for block in 0..2 {
                let first = place(layout, 16 * step, 128 * block);
                assert_eq!(
                    16 * offset(layout, true, step, 64 * block),
                    first,
                    "step {step}, block {block}"
                );
            }
        }
    }
}
