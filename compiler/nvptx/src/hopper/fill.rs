//! Fills of rings by the producer.
//!
//! A tile is moved by one box copy for each block of 128 bytes of its columns and each `rows` of the map. Boxes count whole, also where
//! they hang over the tensor's end. Rows at gathered places, or not aligned to 16 bytes, are copied by all threads of the producer.

use crate::copy::Rows;
use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::hopper::Role;
use crate::hopper::ring::{EMPTY, PRODUCERS};
use crate::kernel::Kernel;
use crate::shared::BLOCK_ROW;
use einloom_tile::ir::{BufferId, FillSource, Ix, ValueId};
use inkwell::values::IntValue;

impl<'c> Kernel<'_, 'c> {
    /// Emits [`einloom_tile::ir::Stmt::Fill`].
    pub(crate) fn fill(&mut self, buffer: BufferId, count: ValueId, source: &FillSource) -> Res<()> {
        match source {
            FillSource::Box { map, index, col0 } => self.fill_boxes(buffer, count, *map, index, col0),
            FillSource::Rows {
                tensor,
                index,
                col0,
                valid,
                cols,
            } => {
                let rows = Rows {
                    buffer,
                    tensor: *tensor,
                    index,
                    col0,
                    valid: valid.as_ref(),
                    cols: *cols,
                };
                self.fill_rows(count, &rows)
            }
        }
    }

    /// By all threads of the producer, each of which arrives when its copies are complete. The consumers order them before the matrix unit's reads.
    fn fill_rows(&mut self, count: ValueId, rows: &Rows<'_>) -> Res<()> {
        if !matches!(self.role, Role::Producer { elected: Some(_) }) {
            return invalid("rows filled by one thread");
        }
        let place = self.place(rows.buffer, count)?;
        self.barrier_wait(place.barriers, EMPTY, self.cx.ixor(place.parity, self.cx.i32(1)));
        let text = if self.copy_rows(place.base, PRODUCERS, rows)? {
            "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [$0];"
        } else {
            "mbarrier.arrive.shared::cta.b64 _, [$0];"
        };
        self.cx.asm(text, "r", &[place.barriers.into()], Effect::Memory);
        Ok(())
    }

    fn fill_boxes(&mut self, buffer: BufferId, count: ValueId, map: usize, index: &[Ix], col0: &Ix) -> Res<()> {
        let Role::Producer { elected } = self.role else {
            return invalid("a fill outside of the producer");
        };
        let (Some(box_), Some(&descriptor)) = (self.program.maps.get(map), self.maps.get(map)) else {
            return invalid("a fill by a map that is not declared");
        };
        let layout = self.layouts[buffer.index()];
        let Some(rows) = box_.row_dim else {
            return unsupported(format!(
                "a fill of {} by boxes of one row",
                self.program.buffers[buffer.index()].name
            ));
        };
        if box_.rows == 0 || !layout.rows.is_multiple_of(box_.rows) || rows >= index.len() || index.len() > 4 {
            return invalid("boxes that do not make up the tile");
        }
        let place = self.place(buffer, count)?;
        let cx = &self.cx;
        self.barrier_wait(place.barriers, EMPTY, cx.ixor(place.parity, cx.i32(1)));
        let coordinate = |ix: &Ix| -> Res<IntValue<'c>> { Ok(cx.resize(self.ix(ix, cx.i32(0))?, cx.i32t())) };
        let index = index.iter().map(coordinate).collect::<Res<Vec<_>>>()?;
        let col0 = coordinate(col0)?;
        let text = format!(
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], {};",
            layout.stage_bytes
        );
        self.elected_asm(elected, &text, "r", vec![place.barriers.into()]);
        for block in 0..layout.width().div_ceil(BLOCK_ROW) {
            for first in (0..layout.rows).step_by(box_.rows as usize) {
                let to = cx.i32(i64::from(block * layout.block_bytes + first * BLOCK_ROW));
                let mut at = index.clone();
                at[rows] = cx.iadd(at[rows], cx.i32(i64::from(first)));
                at.push(cx.iadd(col0, cx.i32(i64::from(block * BLOCK_ROW / layout.elem_bytes))));
                let mut args: Vec<V<'c>> =
                    vec![cx.iadd(place.base, to).into(), descriptor.into(), place.barriers.into()];
                // Innermost dimension first.
                args.extend(at.iter().rev().map(|&i| V::from(i)));
                let list = (3..args.len()).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
                let text = format!(
                    "cp.async.bulk.tensor.{}d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {{{list}}}], [$2];",
                    at.len()
                );
                let constraints = format!("r,l,r{}", ",r".repeat(at.len()));
                self.elected_asm(elected, &text, &constraints, args);
            }
        }
        Ok(())
    }

    /// A statement of one thread.
    fn elected_asm(&self, elected: Option<IntValue<'c>>, text: &str, constraints: &str, mut args: Vec<V<'c>>) {
        let Some(elected) = elected else {
            return self.cx.asm(text, constraints, &args, Effect::Memory);
        };
        args.push(elected.into());
        let text = format!("@${} {text}", args.len() - 1);
        self.cx.asm(&text, &format!("{constraints},b"), &args, Effect::Memory);
    }
}
