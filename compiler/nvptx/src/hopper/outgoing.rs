//! Stores by box copies ([`einloom_tile::ir::Passage`]).
//!
//! A warp puts its 16 rows into its part of the buffer by `stmatrix`, four 8 x 8 matrices at once (two groups of columns, both halves of the rows), in blocks
//! of 128 bytes of columns with the swizzle that the copy undoes. One lane starts a copy for each block and goes on. Before the buffer is
//! written again, and before the block ends, that lane waits until the copies have read it.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid};
use crate::kernel::Kernel;
use crate::shared::BLOCK_ROW;
use crate::value::Form;
use einloom_tile::ir::{Elem, Passage, Stmt, ValueId};
use inkwell::values::IntValue;

/// Rows of a warp.
const ROWS: i64 = 16;

/// Groups of 8 columns in a block.
const BLOCK_GROUPS: usize = 8;

/// Whether some store goes out by box copies.
pub(crate) fn sends(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Store { through, .. } => through.is_some(),
        Stmt::For { body, .. } | Stmt::If { body, .. } => sends(body),
        _ => false,
    })
}

impl<'c> Kernel<'_, 'c> {
    /// Emits a [`Stmt::Store`] with a passage.
    pub(crate) fn send(&mut self, passage: Passage, index: &[ValueId], value: ValueId) -> Res<()> {
        let layout = self.layouts[passage.buffer.index()];
        let elem = self.program.buffers[passage.buffer.index()].elem;
        let form = self.form(value)?;
        let whole = matches!(form, Form::Tile(1, n) if n.is_multiple_of(2) && 8 * n == layout.cols as usize);
        if !whole || !matches!(elem, Elem::F16 | Elem::BF16) || layout.block_bytes == 0 {
            return invalid("a tile that is no whole box is stored by box copies");
        }
        let start = self.warp_part(self.stage_base(passage.buffer, None)?);
        let at = self.box_coordinates(passage, index)?;
        self.wait_sent();
        self.cx.asm("bar.warp.sync 0xffffffff;", "", &[], Effect::Convergent);
        self.put(start, layout.block_bytes, value, elem)?;
        self.proxy_fence();
        self.cx.asm("bar.warp.sync 0xffffffff;", "", &[], Effect::Convergent);
        self.start_copies(passage, start, &at);
        Ok(())
    }

    /// Waits until the copies that this thread started have read shared memory.
    pub(crate) fn wait_sent(&self) {
        self.cx
            .asm("cp.async.bulk.wait_group.read 0;", "", &[], Effect::Convergent);
    }

    fn warp_part(&self, base: IntValue<'c>) -> IntValue<'c> {
        let cx = &self.cx;
        cx.iadd(base, cx.imul(self.lanes.warp, cx.i32(ROWS * i64::from(BLOCK_ROW))))
    }

    /// The box's coordinates but for its first column; that of the rows is the warp's first row, the same in all lanes.
    fn box_coordinates(&self, passage: Passage, index: &[ValueId]) -> Res<Vec<IntValue<'c>>> {
        let cx = &self.cx;
        let Some((_, outer)) = index.split_last() else {
            return invalid("a box of a tensor without dimensions");
        };
        let rows = self.program.maps.get(passage.map).and_then(|m| m.row_dim);
        let coordinate = |(at, id): (usize, &ValueId)| {
            let first = self.value(*id)?.lanes[0].into_int_value();
            let first = cx.resize(first, cx.i32t());
            // The first lane holds the first row.
            Ok(if Some(at) == rows {
                super::uniform(cx, first)
            } else {
                first
            })
        };
        outer.iter().enumerate().map(coordinate).collect()
    }

    fn put(&self, start: IntValue<'c>, block_bytes: u32, value: ValueId, elem: Elem) -> Res<()> {
        let cx = &self.cx;
        let n = |n: i64| cx.i32(n);
        let form = self.form(value)?;
        let Form::Tile(_, groups) = form else {
            return invalid("a store of something that is no tile");
        };
        let stored = match self.home_pairs(value, elem, &[])? {
            Some(_) => None,
            None => Some(self.cast(&self.value(value)?, elem)?),
        };
        // Lanes address matrix `lane / 8`: odd ones are the lower rows, the last two the second group.
        let (row, matrix) = (cx.iand(self.lanes.lane, n(7)), cx.lshr(self.lanes.lane, n(3)));
        let lower = cx.shl(cx.iand(matrix, n(1)), n(3));
        let chunk = cx.ixor(cx.lshr(matrix, n(1)), row);
        let lane = cx.iadd(cx.shl(cx.iadd(row, lower), n(7)), cx.shl(chunk, n(4)));
        let first = cx.iadd(start, lane);
        for group in (0..groups).step_by(2) {
            let (block, within) = (group / BLOCK_GROUPS, group % BLOCK_GROUPS);
            let address = cx.ixor(first, n(16 * within as i64));
            let mut args: Vec<V<'c>> = vec![address.into()];
            let parts = [(group, 0), (group, 1), (group + 1, 0), (group + 1, 1)];
            let (before, names) = match &stored {
                Some(value) => {
                    args.extend(parts.map(|(group, half)| value.pair(0, group, half)));
                    (String::new(), ["$1", "$2", "$3", "$4"].map(str::to_owned).to_vec())
                }
                None => self
                    .home_pairs(
                        value,
                        elem,
                        &parts.map(|(group, half)| form.pair_position(0, group, half)),
                    )?
                    .unwrap_or_default(),
            };
            let offset = block * block_bytes as usize;
            let list = names.join(", ");
            let text = format!("{{\n{before}stmatrix.sync.aligned.m8n8.x4.shared.b16 [$0+{offset}], {{{list}}};\n}}");
            cx.asm(&text, &vec!["r"; args.len()].join(","), &args, Effect::Convergent);
        }
        Ok(())
    }

    /// One lane starts all copies of the warp, as one group.
    fn start_copies(&self, passage: Passage, start: IntValue<'c>, outer: &[IntValue<'c>]) {
        let layout = self.layouts[passage.buffer.index()];
        let blocks = layout.width().div_ceil(BLOCK_ROW);
        let mut args: Vec<V<'c>> = vec![start.into(), self.maps[passage.map].into()];
        // Innermost dimension first.
        args.extend(outer.iter().rev().map(|&i| V::from(i)));
        let list: String = (2..args.len()).map(|i| format!(", ${i}")).collect();
        let mut text = "{\n.reg .pred one;\n.reg .b32 from;\nelect.sync _|one, 0xffffffff;\n".to_owned();
        for block in 0..blocks {
            let (offset, column) = (block * layout.block_bytes, block * BLOCK_ROW / layout.elem_bytes);
            text += &format!(
                "add.u32 from, $0, {offset};\n@one cp.async.bulk.tensor.{}d.global.shared::cta.bulk_group [$1, {{{column}{list}}}], [from];\n",
                outer.len() + 1
            );
        }
        text += "@one cp.async.bulk.commit_group;\n}";
        let constraints = format!("r,l{}", ",r".repeat(outer.len()));
        self.cx.asm(&text, &constraints, &args, Effect::Convergent);
    }
}
