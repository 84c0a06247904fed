//! Dots on the matrix unit: `mma.sync.m16n8k16` with operands from registers or, by `ldmatrix`, from swizzled shared memory.
//!
//! For each step of 16 along the contracted axis the left fragments of all rows are taken, then 16 columns of the right
//! operand at a time, each used by all row fragments. All products of one step are independent.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::shared::{Layout, split_bytes};
use crate::value::{Form, Place, Value};
use einloom_tile::ir::{AxisId, BufferId, DotKind, Elem, Operand, ValueId};
use inkwell::values::IntValue;

/// A shared operand of the matrix unit, ready for `ldmatrix`.
pub(crate) struct Source<'c> {
    layout: Layout,
    base: IntValue<'c>,
    /// The contracted axis is the buffer's row axis.
    transposed: bool,
    elem: Elem,
}

/// Which 8 x 8 matrices the four groups of lanes of `ldmatrix.x4` address: bit 3 or bit 4 of the lane selects the second 8 rows, the
/// other one the second 8 columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    RowsFirst,
    ColumnsFirst,
}

impl<'c> Kernel<'_, 'c> {
    /// `acc + sum over axis of left * right`.
    pub(crate) fn dot(
        &mut self,
        form: Form,
        left: Operand,
        right: Operand,
        over: AxisId,
        acc: Option<ValueId>,
        kind: DotKind,
    ) -> Res<Value<'c>> {
        let Form::Tile(m, n) = form else {
            return invalid("the result of a dot should be a tile");
        };
        let mut sums: Vec<V<'c>> = match acc {
            Some(id) => {
                let value = self.value(id)?;
                if value.form != form || value.elem != Elem::F32 {
                    return invalid(format!("v{} should be an f32 tile of the dot's shape", id.0));
                }
                value.lanes
            }
            None => vec![self.cx.f32(0.0).into(); form.len()],
        };
        match kind {
            DotKind::Matrix => self.matrix_dot(m, n, left, right, over, &mut sums)?,
            DotKind::Scalar => self.scalar_dot(m, n, left, right, over, &mut sums)?,
        }
        Ok(Value {
            form,
            elem: Elem::F32,
            lanes: sums,
        })
    }

    fn matrix_dot(
        &mut self,
        m: usize,
        n: usize,
        left: Operand,
        right: Operand,
        over: AxisId,
        sums: &mut [V<'c>],
    ) -> Res<()> {
        let depth = self.program.axes[over.index()].size;
        if !depth.is_multiple_of(16) {
            return unsupported(format!("a matrix dot over {depth} elements, no multiple of 16"));
        }
        let Operand::Shared(buffer, stage) = right else {
            return invalid("the right operand of a dot should be in shared memory");
        };
        let right = self.source(buffer, stage, over)?;
        let registers = match left {
            Operand::Register(id) => Some(self.value(id)?),
            Operand::Shared(..) => None,
        };
        let left = match left {
            Operand::Shared(buffer, stage) => Some(self.source(buffer, stage, over)?),
            Operand::Register(_) => None,
        };
        let elem = match (&registers, &left) {
            (Some(value), _) if value.is_packed() && value.form == Form::Tile(m, depth as usize / 8) => value.elem,
            (None, Some(source)) => source.elem,
            _ => return invalid("the left operand of a matrix dot should be a 16-bit tile over the contracted axis"),
        };
        if elem != right.elem {
            return invalid("the operands of a matrix dot should have one 16-bit type");
        }
        for step in 0..depth as usize / 16 {
            let mut lefts = Vec::with_capacity(m);
            for fragment in 0..m {
                lefts.push(match (&registers, &left) {
                    (Some(value), _) => [(0, 0), (0, 1), (1, 0), (1, 1)]
                        .map(|(g, h)| value.pair(fragment, 2 * step + g, h))
                        .to_vec(),
                    (None, Some(source)) => self.left_fragment(source, m, fragment, step)?,
                    (None, None) => return invalid("a dot without a left operand"),
                });
            }
            for first in (0..n).step_by(2) {
                let count = (n - first).min(2);
                let rights = self.right_fragments(&right, first, count, step);
                for (fragment, a) in lefts.iter().enumerate() {
                    for group in 0..count {
                        let at = Form::Tile(m, n).position(Place {
                            fragment,
                            group: first + group,
                            half: 0,
                            parity: 0,
                        });
                        let b = &rights[2 * group..2 * group + 2];
                        self.mma(elem, a, b, &mut sums[at..at + 4]);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn source(&mut self, buffer: BufferId, stage: Option<ValueId>, over: AxisId) -> Res<Source<'c>> {
        let Some(declared) = self.program.buffers.get(buffer.index()) else {
            return invalid("a dot reads a buffer that is not declared");
        };
        if !matches!(declared.elem, Elem::F16 | Elem::BF16) {
            return invalid(format!(
                "buffer {} of a matrix dot should have a 16-bit type",
                declared.name
            ));
        }
        if declared.cols != over && declared.rows != over {
            return invalid(format!("buffer {} does not have the contracted axis", declared.name));
        }
        let layout = self.layouts[buffer.index()];
        // ldmatrix takes whole groups of 16 columns where it reads four matrices.
        if !layout.cols.is_multiple_of(16) && declared.cols == over {
            return unsupported(format!(
                "buffer {} with rows of {} elements in a matrix dot",
                declared.name, layout.cols
            ));
        }
        Ok(Source {
            layout,
            base: self.stage_base(buffer, stage)?,
            transposed: declared.cols != over,
            elem: declared.elem,
        })
    }

    /// Registers a0..a3 of one 16 x 16 left fragment.
    pub(crate) fn left_fragment(
        &mut self,
        source: &Source<'c>,
        m: usize,
        fragment: usize,
        step: usize,
    ) -> Res<Vec<V<'c>>> {
        let run = 16 * m as u32;
        let (fragment, step) = (16 * fragment as u32, 16 * step as u32);
        Ok(if source.transposed {
            // Stored [k][row]: the warp's run shifts columns.
            let lane = self.lane_address(source.layout, Order::ColumnsFirst, [0, run, fragment * 2]);
            self.ldmatrix(source, lane, 0, step * source.layout.row_bytes, 4)
        } else {
            let (low, high) = split_bytes(source.layout, step * 2);
            let lane = self.lane_address(source.layout, Order::RowsFirst, [run, 0, 0]);
            self.ldmatrix(source, lane, low, fragment * source.layout.row_bytes + high, 4)
        })
    }

    /// Registers b0, b1 of `count` (1 or 2) groups of 8 columns from group `first` on.
    fn right_fragments(&mut self, source: &Source<'c>, first: usize, count: usize, step: usize) -> Vec<V<'c>> {
        let (first, step) = (8 * first as u32, 16 * step as u32);
        let (row, byte, order) = match source.transposed {
            true => (step, first * 2, Order::RowsFirst),
            false => (first, step * 2, Order::ColumnsFirst),
        };
        let (low, high) = split_bytes(source.layout, byte);
        let lane = self.lane_address(source.layout, order, [0, 0, 0]);
        self.ldmatrix(source, lane, low, row * source.layout.row_bytes + high, 2 * count)
    }

    /// Lane part of an `ldmatrix` address: `[rows a warp, columns a warp, compile-time bytes]`. The bytes are added before the swizzle, for
    /// where a warp's columns may carry into them.
    fn lane_address(&mut self, layout: Layout, order: Order, [rows, columns, bytes]: [u32; 3]) -> IntValue<'c> {
        let key = [
            layout.row_bytes,
            u32::from(order == Order::RowsFirst),
            rows,
            columns,
            bytes,
        ];
        self.invariant(("ldmatrix", key), |k| {
            let cx = &k.cx;
            let lane = k.lanes.lane;
            let bit = |n: i64| cx.iand(cx.lshr(lane, cx.i32(n)), cx.i32(1));
            let (row_bit, col_bit) = match order {
                Order::RowsFirst => (bit(3), bit(4)),
                Order::ColumnsFirst => (bit(4), bit(3)),
            };
            let row = cx.ior(cx.iand(lane, cx.i32(7)), cx.shl(row_bit, cx.i32(3)));
            let row = cx.iadd(row, cx.imul(k.lanes.warp, cx.i32(i64::from(rows))));
            let byte = cx.shl(col_bit, cx.i32(4));
            let byte = cx.iadd(byte, cx.imul(k.lanes.warp, cx.i32(2 * i64::from(columns))));
            let byte = cx.iadd(byte, cx.i32(i64::from(bytes)));
            k.shared_offset(layout, row, byte)
        })
    }

    /// Loads `count` 8 x 8 matrices. `low` are compile-time bytes of the row that the swizzle permutes. They are xored into the sum, which is
    /// right since stages are aligned to more than the swizzle reaches, and takes one instruction here instead of a register for each.
    fn ldmatrix(&self, source: &Source<'c>, lane: IntValue<'c>, low: u32, offset: u32, count: usize) -> Vec<V<'c>> {
        let address = self
            .cx
            .ixor(self.cx.iadd(lane, source.base), self.cx.i32(i64::from(low)));
        let trans = if source.transposed { ".trans" } else { "" };
        let list = |from: usize, n: usize| (from..from + n).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{}}}, [${count}+{offset}];",
            list(0, count)
        );
        let constraints = format!("{}r", "=r,".repeat(count));
        self.cx.asm_values(
            self.cx.i32t().into(),
            count,
            &text,
            &constraints,
            &[address.into()],
            Effect::Convergent,
        )
    }

    /// One product of fragments, by LLVM's intrinsic: as inline PTX, its fourteen operands would each cost a copy in LLVM.
    fn mma(&self, elem: Elem, a: &[V<'c>], b: &[V<'c>], sums: &mut [V<'c>]) {
        let cx = &self.cx;
        let halves = cx.context.f16_type().vec_type(2);
        let operand = |&v: &V<'c>| match elem {
            Elem::BF16 => v,
            _ => cx.bitcast(v, halves.into()),
        };
        let args: Vec<V<'c>> = a.iter().chain(b).map(operand).chain(sums.iter().copied()).collect();
        let name = match elem {
            Elem::BF16 => "llvm.nvvm.mma.m16n8k16.row.col.bf16",
            _ => "llvm.nvvm.mma.m16n8k16.row.col.f32.f32",
        };
        let res = cx.intrinsic(name, &[], &args).into_struct_value();
        sums.copy_from_slice(&cx.fields(res));
    }
}
