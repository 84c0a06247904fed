//! Operands of `mma.sync` in shared memory: where their 8 x 8 matrices lie, and `ldmatrix`.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::shared::{Layout, split_bytes};
use einloom_tile::ir::{AxisId, BufferId, Elem, ValueId};
use inkwell::values::IntValue;

/// A shared operand of the matrix unit, ready for `ldmatrix`.
pub(crate) struct Source<'c> {
    layout: Layout,
    pub(crate) base: IntValue<'c>,
    /// The contracted axis is the buffer's row axis.
    transposed: bool,
    pub(crate) elem: Elem,
}

impl Source<'_> {
    /// Loads 8 x 8 matrices, one for each register of `to`.
    pub(crate) fn ldmatrix(&self, to: &[String], address: &str, offset: u32) -> String {
        let (count, list) = (to.len(), to.join(", "));
        let trans = if self.transposed { ".trans" } else { "" };
        format!("ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{list}}}, [{address}+{offset}];")
    }
}

/// Addresses of 8 x 8 matrices: a lane part, compile-time bytes of the row that the swizzle permutes, and the rest. The bytes are xored into the sum
/// with the stage's address, which is right since stages are aligned to more than the swizzle reaches, and takes one instruction there instead of
/// a register for each.
pub(crate) struct Matrices<'c> {
    pub(crate) lane: IntValue<'c>,
    pub(crate) low: u32,
    pub(crate) offset: u32,
}

/// Which 8 x 8 matrices the four groups of lanes of `ldmatrix.x4` address: bit 3 or bit 4 of the lane selects the second 8 rows, the
/// other one the second 8 columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    RowsFirst,
    ColumnsFirst,
}

impl<'c> Kernel<'_, 'c> {
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
        let Matrices { lane, low, offset } = self.left_matrices(source, m, fragment, step);
        let cx = &self.cx;
        let address = cx.ixor(cx.iadd(lane, source.base), cx.i32(i64::from(low)));
        let to = (0..4).map(|i| format!("${i}")).collect::<Vec<_>>();
        let text = source.ldmatrix(&to, "$4", offset);
        let args = [address.into()];
        Ok(cx.asm_values(cx.i32t().into(), 4, &text, "=r,=r,=r,=r,r", &args, Effect::Convergent))
    }

    /// Where one 16 x 16 left fragment lies.
    pub(crate) fn left_matrices(
        &mut self,
        source: &Source<'c>,
        m: usize,
        fragment: usize,
        step: usize,
    ) -> Matrices<'c> {
        let run = 16 * m as u32;
        let (fragment, step) = (16 * fragment as u32, 16 * step as u32);
        if source.transposed {
            // Stored [k][row]: the warp's run shifts columns.
            return Matrices {
                lane: self.lane_address(source.layout, Order::ColumnsFirst, [0, run, fragment * 2]),
                low: 0,
                offset: step * source.layout.row_bytes,
            };
        }
        let (low, high) = split_bytes(source.layout, step * 2);
        Matrices {
            lane: self.lane_address(source.layout, Order::RowsFirst, [run, 0, 0]),
            low,
            offset: fragment * source.layout.row_bytes + high,
        }
    }

    /// Where up to two groups of 8 columns of the right operand lie, from group `first` on.
    pub(crate) fn right_matrices(&mut self, source: &Source<'c>, first: usize, step: usize) -> Matrices<'c> {
        let (first, step) = (8 * first as u32, 16 * step as u32);
        let (row, byte, order) = match source.transposed {
            true => (step, first * 2, Order::RowsFirst),
            false => (first, step * 2, Order::ColumnsFirst),
        };
        let (low, high) = split_bytes(source.layout, byte);
        Matrices {
            lane: self.lane_address(source.layout, order, [0, 0, 0]),
            low,
            offset: row * source.layout.row_bytes + high,
        }
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
}
