//! Asynchronous copies of tiles from global to shared memory.
//!
//! Threads are laid over the tile as `(row, unit)`, a unit being the widest piece that alignment allows (16, 8 or 4 bytes); units of one
//! row go to neighbouring threads. What is not to be read is zero-filled by a source size of 0 or less than the unit; such a source
//! is never dereferenced. Units of less than 16 bytes are copied in loops ([`crate::copy_narrow`]); those of 2 bytes through registers.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::global::dtype_bytes;
use crate::kernel::Kernel;
use crate::shared::Layout;
use einloom_cascade::expr::MapOp;
use einloom_tile::ir::{BufferId, Ix, Stmt, TensorId};
use inkwell::IntPredicate;
use inkwell::values::{IntValue, PointerValue};

/// A copy, and how threads share it.
pub(crate) struct Copy<'a, 'c> {
    pub(crate) layout: Layout,
    /// Shared address of the stage.
    pub(crate) base: IntValue<'c>,
    tensor: TensorId,
    index: &'a [Ix],
    col0: &'a Ix,
    pub(crate) valid: Option<&'a Ix>,
    /// Bytes of a row that exist.
    pub(crate) row_end: u32,
    /// Bytes of a unit.
    pub(crate) unit: u32,
    /// Threads side by side in a row, a divisor of the row's units.
    pub(crate) wide: u32,
    /// Rows that all threads cover at once.
    pub(crate) tall: u32,
}

/// Rows to copy, as in [`Stmt::CopyAsync`].
pub(crate) struct Rows<'a> {
    pub(crate) buffer: BufferId,
    pub(crate) tensor: TensorId,
    pub(crate) index: &'a [Ix],
    pub(crate) col0: &'a Ix,
    pub(crate) valid: Option<&'a Ix>,
    pub(crate) cols: u32,
}

impl<'c> Kernel<'_, 'c> {
    /// Emits [`Stmt::CopyAsync`].
    pub(crate) fn copy_async(&mut self, stmt: &Stmt) -> Res<()> {
        let Stmt::CopyAsync {
            buffer,
            stage,
            tensor,
            index,
            col0,
            valid,
            cols,
        } = stmt
        else {
            return invalid("a copy should be a copy");
        };
        let base = self.stage_base(*buffer, *stage)?;
        let rows = Rows {
            buffer: *buffer,
            tensor: *tensor,
            index,
            col0,
            valid: valid.as_ref(),
            cols: *cols,
        };
        self.copy_rows(base, self.program.warps * 32, &rows)?;
        Ok(())
    }

    /// Copies rows to a stage at `base` by `threads` threads; whether the copies are asynchronous.
    pub(crate) fn copy_rows(&mut self, base: IntValue<'c>, threads: u32, rows: &Rows<'_>) -> Res<bool> {
        let (Some(declared), Some(target)) = (
            self.program.tensors.get(rows.tensor.index()),
            self.program.buffers.get(rows.buffer.index()),
        ) else {
            return invalid("a copy between things that are not declared");
        };
        let layout = self.layouts[rows.buffer.index()];
        if dtype_bytes(declared.dtype) != layout.elem_bytes
            || !declared.contiguous
            || rows.index.len() + 1 != declared.rank
        {
            return invalid(format!(
                "the copy from {} to {}: types, strides or dimensions disagree",
                declared.name, target.name
            ));
        }
        let aligned = self
            .ix_fact(rows.col0)
            .multiple
            .saturating_mul(u64::from(layout.elem_bytes))
            .min(16) as u32;
        let unit = aligned.min(declared.align.max(1)).min(16);
        let unit = if unit < 4 { layout.elem_bytes } else { unit };
        if unit < 2 {
            return unsupported(format!("a copy of single bytes to {}", target.name));
        }
        let wide = gcd(layout.width() / unit, threads);
        let copy = Copy {
            layout,
            base,
            tensor: rows.tensor,
            index: rows.index,
            col0: rows.col0,
            valid: rows.valid,
            row_end: rows.cols.min(layout.cols) * layout.elem_bytes,
            unit,
            wide,
            tall: threads / wide,
        };
        self.copy_tile(&copy)?;
        Ok(unit >= 4)
    }

    fn copy_tile(&mut self, copy: &Copy<'_, 'c>) -> Res<()> {
        let (wide, tall, unit) = (copy.wide, copy.tall, copy.unit);
        let key = |name| (name, [wide, unit, 0, 0, 0]);
        let first_row = self.invariant(key("copy row"), |k| {
            k.cx.udiv(k.lanes.thread, k.cx.i32(i64::from(wide)))
        });
        let first_byte = self.invariant(key("copy byte"), |k| {
            let column = k.cx.urem(k.lanes.thread, k.cx.i32(i64::from(wide)));
            k.cx.imul(column, k.cx.i32(i64::from(unit)))
        });
        let stage = copy.base;
        let source = self.copy_source(copy, first_row, first_byte)?;
        if unit < 16 {
            return self.copy_narrow(copy, first_row, first_byte, &source);
        }
        let columns = copy.layout.width() / unit / wide;
        let steps = copy.layout.rows.div_ceil(tall);
        let mut row_address = source.start;
        for step in 0..steps {
            let row = self.cx.iadd(first_row, self.cx.i32(i64::from(step * tall)));
            if step > 0 && source.linear {
                row_address = self.cx.offset(row_address, source.step);
            } else if !source.linear {
                row_address = self.row_address(copy, row, first_byte)?;
            }
            let valid = match copy.valid {
                Some(valid) => Some(self.ix(valid, row)?),
                None => None,
            };
            // Rows beyond the tile, where the threads cover more than it has left.
            let inside = ((step + 1) * tall > copy.layout.rows).then(|| {
                self.cx
                    .icmp(IntPredicate::ULT, row, self.cx.i32(i64::from(copy.layout.rows)))
            });
            for column in 0..columns {
                let byte = column * wide * unit;
                let target = self.copy_target(copy, first_row, first_byte, step, byte, stage);
                self.copy_unit(copy, row_address, byte, first_byte, target, valid, inside)?;
            }
        }
        Ok(())
    }

    /// Shared address of a unit: a lane part that repeats every 8 rows, and the rest as a compile-time number.
    fn copy_target(
        &mut self,
        copy: &Copy<'_, 'c>,
        row: IntValue<'c>,
        first: IntValue<'c>,
        step: u32,
        byte: u32,
        stage: IntValue<'c>,
    ) -> (IntValue<'c>, u32) {
        let layout = copy.layout;
        let rest = step * copy.tall % 8;
        let whole = step * copy.tall - rest;
        let key = ("copy target", [layout.key(), copy.wide, copy.unit, rest, byte]);
        let lane = self.invariant(key, |k| {
            let row = k.cx.iadd(row, k.cx.i32(i64::from(rest)));
            k.shared_offset(layout, row, k.cx.iadd(first, k.cx.i32(i64::from(byte))))
        });
        (self.cx.iadd(lane, stage), whole * layout.row_bytes)
    }

    /// Start of the thread's first row in global memory, and the distance to its next.
    fn copy_source(&mut self, copy: &Copy<'_, 'c>, row: IntValue<'c>, byte: IntValue<'c>) -> Res<Source<'c>> {
        let linear = copy.index.iter().all(|ix| self.ix_fact(ix).step.is_some());
        if !linear {
            let start = self.row_address(copy, row, byte)?;
            return Ok(Source {
                start,
                step: self.cx.i64(0),
                linear: false,
            });
        }
        // What the loop does not change is one address, formed before it.
        let (start, step) = self.before_loop(|k| {
            let cx = &k.cx;
            let bytes = cx.i64(i64::from(copy.layout.elem_bytes));
            let mut per_row = cx.i64(0);
            for (ix, &stride) in copy.index.iter().zip(&k.tensors[copy.tensor.index()].strides) {
                let step = k.ix_fact(ix).step.unwrap_or(0);
                per_row = cx.iadd(per_row, cx.imul(cx.i64(step), stride));
            }
            let per_row = cx.imul(per_row, bytes);
            let mine = cx.iadd(cx.imul(cx.zext(row, cx.i64t()), per_row), cx.zext(byte, cx.i64t()));
            let fixed = k.uniform_offset(copy, true)?;
            let offset = cx.iadd(mine, cx.imul(fixed, bytes));
            let start = cx.offset(k.tensors[copy.tensor.index()].base, offset);
            Ok((start, cx.imul(per_row, cx.i64(i64::from(copy.tall)))))
        })?;
        let cx = &self.cx;
        let moving = cx.imul(
            self.uniform_offset(copy, false)?,
            cx.i64(i64::from(copy.layout.elem_bytes)),
        );
        Ok(Source {
            start: cx.offset(start, moving),
            step,
            linear: true,
        })
    }

    /// Elements from the tensor's base to the first column of row 0: the terms that the innermost loop leaves alone, or the others.
    fn uniform_offset(&self, copy: &Copy<'_, 'c>, fixed: bool) -> Res<IntValue<'c>> {
        let cx = &self.cx;
        let one = cx.i64(1);
        let strides = self.tensors[copy.tensor.index()].strides.iter().copied();
        let mut res = cx.i64(0);
        for (ix, stride) in copy.index.iter().zip(strides).chain([(copy.col0, one)]) {
            if self.is_fixed(ix) == fixed {
                let base = self.ix(ix, cx.i32(0))?;
                res = cx.iadd(res, cx.imul(cx.resize(base, cx.i64t()), stride));
            }
        }
        Ok(res)
    }

    /// Whether an index can be evaluated before the innermost loop.
    fn is_fixed(&self, ix: &Ix) -> bool {
        match ix {
            Ix::Const(_) | Ix::Lane => true,
            Ix::Value(id) => self.depth(*id) < self.loops.len(),
            // No division: it may be guarded.
            Ix::Map(MapOp::Add | MapOp::Sub | MapOp::Mul | MapOp::Min | MapOp::Max, args) => {
                args.iter().all(|a| self.is_fixed(a))
            }
            Ix::Map(..) | Ix::Gather(..) => false,
        }
    }

    /// Address of a row by plain evaluation of its indices.
    pub(crate) fn row_address(
        &self,
        copy: &Copy<'_, 'c>,
        row: IntValue<'c>,
        byte: IntValue<'c>,
    ) -> Res<PointerValue<'c>> {
        let cx = &self.cx;
        let arg = &self.tensors[copy.tensor.index()];
        let mut offset = cx.resize(self.ix(copy.col0, row)?, cx.i64t());
        for (ix, &stride) in copy.index.iter().zip(&arg.strides) {
            offset = cx.iadd(offset, cx.imul(cx.resize(self.ix(ix, row)?, cx.i64t()), stride));
        }
        let bytes = cx.iadd(
            cx.imul(offset, cx.i64(i64::from(copy.layout.elem_bytes))),
            cx.zext(byte, cx.i64t()),
        );
        Ok(cx.offset(arg.base, bytes))
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn copy_unit(
        &self,
        copy: &Copy<'_, 'c>,
        row: PointerValue<'c>,
        byte: u32,
        first: IntValue<'c>,
        (target, offset): (IntValue<'c>, u32),
        valid: Option<IntValue<'c>>,
        inside: Option<IntValue<'c>>,
    ) -> Res<()> {
        let cx = &self.cx;
        let unit = copy.unit;
        // Bytes of this unit that exist: all of them unless the row ends inside the tile.
        let end = (copy.row_end < copy.layout.width()).then(|| {
            let left = cx.isub(cx.i32(i64::from(copy.row_end) - i64::from(byte)), first);
            let left = cx.int_intrinsic("llvm.smax", &[left, cx.i32(0)]);
            cx.int_intrinsic("llvm.smin", &[left, cx.i32(i64::from(unit))])
        });
        let full = cx.i32(i64::from(unit));
        let size = match (valid, end) {
            (None, None) => None,
            (None, Some(end)) => Some(end),
            (Some(valid), end) => Some(cx.iselect(valid, end.unwrap_or(full), cx.i32(0))),
        };
        let mut args: Vec<V<'c>> = vec![target.into(), row.into()];
        let mut constraints = "r,l".to_owned();
        let mode = if unit == 16 { "cg" } else { "ca" };
        let mut tail = String::new();
        if let Some(size) = size {
            args.push(size.into());
            constraints.push_str(",r");
            tail = ", $2".to_owned();
        }
        let guard = guard(&mut args, &mut constraints, inside);
        let text = format!("{guard}cp.async.{mode}.shared.global [$0+{offset}], [$1+{byte}], {unit}{tail};");
        cx.asm(&text, &constraints, &args, Effect::Memory);
        Ok(())
    }
}

/// Rows of a copy in global memory.
pub(crate) struct Source<'c> {
    pub(crate) start: PointerValue<'c>,
    /// Bytes from one row of the thread to its next, if `linear`.
    pub(crate) step: IntValue<'c>,
    pub(crate) linear: bool,
}

/// Adds a guarding predicate as the last operand; gives the text of the guard.
fn guard<'c>(args: &mut Vec<V<'c>>, constraints: &mut String, inside: Option<IntValue<'c>>) -> String {
    match inside {
        None => String::new(),
        Some(inside) => {
            args.push(inside.into());
            constraints.push_str(",b");
            format!("@${} ", args.len() - 1)
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
