//! Shared memory: where buffers lie and how their rows are swizzled.
//!
//! A buffer stage is stored row after row without padding. The 16-byte chunks of a row are permuted: chunk `c` of row `r` lies at
//! `c ^ s(r)`, so that 8 consecutive rows of one chunk (what one phase of `ldmatrix`, or a column of fragments, touches) fall into
//! 8 different 16-byte bank groups. With `2^k = gcd(chunks of a row, 8)`, rows repeat their bank group every `2^k` rows' worth of groups, and
//! `s(r) = (r >> (3 - k)) & (2^k - 1)`: all of `r & 7` for rows of 128 bytes, two bits for 64 bytes, one for 32.
//!
//! In specialised programs a stage is stored in blocks of 128 bytes of columns, each `rows` rows of 128 bytes, aligned to 1024 and swizzled
//! with `s(r) = r & 7`: what box copies write and descriptors of the matrix unit describe. The last block is padded to 128 bytes.

use crate::error::{Res, invalid, unsupported};
use crate::hopper::ring::barrier_bytes;
use crate::kernel::Kernel;
use crate::value::elem_bytes;
use einloom_tile::ir::{Buffer, BufferId, Roles, TileProgram, ValueId};
use inkwell::values::IntValue;

/// Alignment of every stage; the swizzle permutes bits 4 to 6 of an address.
pub(crate) const STAGE_ALIGN: u32 = 128;

/// Alignment of stages in blocks: the swizzle pattern repeats every 8 rows of 128 bytes.
pub(crate) const BLOCK_ALIGN: u32 = 1024;

/// Bytes of a row in a block.
pub(crate) const BLOCK_ROW: u32 = 128;

/// Place of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// From the start of dynamic shared memory.
    pub(crate) offset: u32,
    pub(crate) rows: u32,
    pub(crate) cols: u32,
    pub(crate) elem_bytes: u32,
    /// Bytes from one row to the next.
    pub(crate) row_bytes: u32,
    pub(crate) stage_bytes: u32,
    /// Bytes from one block of columns to the next; 0 if rows are stored whole.
    pub(crate) block_bytes: u32,
    /// `k` of the module doc.
    pub(crate) bits: u32,
}

impl Layout {
    fn of(program: &TileProgram, buffer: &Buffer, offset: u32) -> Res<Layout> {
        let rows = program.axes[buffer.rows.index()].size;
        let cols = program.axes[buffer.cols.index()].size;
        let elem_bytes = elem_bytes(buffer.elem);
        let row_bytes = u64::from(cols) * u64::from(elem_bytes);
        if rows == 0 || cols == 0 || buffer.stages == 0 {
            return invalid(format!("buffer {} is empty", buffer.name));
        }
        if !row_bytes.is_multiple_of(16) || !rows.is_multiple_of(8) {
            return unsupported(format!(
                "buffer {} of {rows} x {cols}: rows must be multiples of 16 bytes, and 8 of them",
                buffer.name
            ));
        }
        let blocked = matches!(program.roles, Roles::Specialised { .. });
        let (row_bytes, blocks, align) = if blocked {
            let row = u64::from(BLOCK_ROW);
            (row, row_bytes.div_ceil(row), BLOCK_ALIGN)
        } else {
            (row_bytes, 1, STAGE_ALIGN)
        };
        let stage = row_bytes * u64::from(rows) * blocks;
        let Ok(stage_bytes) = u32::try_from(stage.next_multiple_of(u64::from(align))) else {
            return unsupported(format!("buffer {} of {rows} x {cols}", buffer.name));
        };
        let bits = (row_bytes / 16).trailing_zeros().min(3);
        Ok(Layout {
            offset,
            rows,
            cols,
            elem_bytes,
            row_bytes: row_bytes as u32,
            stage_bytes,
            block_bytes: if blocked { rows * BLOCK_ROW } else { 0 },
            bits,
        })
    }

    /// Bytes of the elements of a row.
    pub(crate) fn width(&self) -> u32 {
        self.cols * self.elem_bytes
    }

    /// Tells layouts apart whose offsets differ, in names of invariants.
    pub(crate) fn key(&self) -> u32 {
        if self.block_bytes == 0 {
            self.row_bytes
        } else {
            self.block_bytes | 1 << 31
        }
    }

    /// Chunks of a row that the swizzle permutes among each other, less one.
    pub(crate) fn mask(&self) -> u32 {
        (1 << self.bits) - 1
    }
}

/// Places of all buffers, and the bytes of all of them.
pub(crate) fn layouts(program: &TileProgram) -> Res<(Vec<Layout>, u64)> {
    let mut res = Vec::new();
    let mut end = barrier_bytes(program);
    for buffer in &program.buffers {
        let Ok(offset) = u32::try_from(end) else {
            return unsupported("shared memory beyond 4 GB");
        };
        let layout = Layout::of(program, buffer, offset)?;
        end += u64::from(layout.stage_bytes) * u64::from(buffer.stages);
        res.push(layout);
    }
    Ok((res, end))
}

impl<'c> Kernel<'_, 'c> {
    /// Shared address of a stage's first byte.
    pub(crate) fn stage_base(&self, buffer: BufferId, stage: Option<ValueId>) -> Res<IntValue<'c>> {
        let layout = self.layouts[buffer.index()];
        let base = self.cx.iadd(self.smem, self.cx.i32(i64::from(layout.offset)));
        let Some(stage) = stage else { return Ok(base) };
        let stage = self.scalar_int(stage)?;
        let stage = self.cx.resize(stage, self.cx.i32t());
        Ok(self
            .cx
            .iadd(base, self.cx.imul(stage, self.cx.i32(i64::from(layout.stage_bytes)))))
    }

    /// `s(row)`, scaled to bytes.
    pub(crate) fn swizzle(&self, layout: Layout, row: IntValue<'c>) -> IntValue<'c> {
        let cx = &self.cx;
        let shifted = cx.lshr(row, cx.i32(i64::from(3 - layout.bits)));
        cx.shl(cx.iand(shifted, cx.i32(i64::from(layout.mask()))), cx.i32(4))
    }

    /// Byte offset in a stage of byte `byte` of row `row`, both run-time.
    pub(crate) fn shared_offset(&self, layout: Layout, row: IntValue<'c>, byte: IntValue<'c>) -> IntValue<'c> {
        let start = self.cx.imul(row, self.cx.i32(i64::from(layout.row_bytes)));
        self.cx
            .iadd(start, self.swizzled(layout, byte, self.swizzle(layout, row)))
    }

    /// Byte offset in a stage of byte `byte` of a row, less that of the row's first byte before the row's `swizzle`.
    pub(crate) fn swizzled(&self, layout: Layout, byte: IntValue<'c>, swizzle: IntValue<'c>) -> IntValue<'c> {
        let cx = &self.cx;
        if layout.block_bytes == 0 || layout.width() <= BLOCK_ROW {
            return cx.ixor(byte, swizzle);
        }
        let block = cx.lshr(byte, cx.i32(i64::from(BLOCK_ROW.trailing_zeros())));
        let start = cx.imul(block, cx.i32(i64::from(layout.block_bytes)));
        let byte = cx.iand(byte, cx.i32(i64::from(BLOCK_ROW) - 1));
        cx.iadd(start, cx.ixor(byte, swizzle))
    }
}

/// Splits a compile-time byte offset in a row into what the swizzle permutes (to be xored into a lane's offset) and the rest (to be added).
pub(crate) fn split_bytes(layout: Layout, byte: u32) -> (u32, u32) {
    let low = layout.mask() << 4;
    if layout.block_bytes == 0 {
        return (byte & low, byte & !low);
    }
    let (block, byte) = (byte / BLOCK_ROW, byte % BLOCK_ROW);
    (byte & low, block * layout.block_bytes + (byte & !low))
}

#[cfg(test)]
pub(crate) fn blocked(rows: u32, cols: u32, elem_bytes: u32) -> Layout {
    Layout {
        offset: 0,
        rows,
        cols,
        elem_bytes,
        row_bytes: BLOCK_ROW,
        stage_bytes: rows * BLOCK_ROW * (cols * elem_bytes).div_ceil(BLOCK_ROW),
        block_bytes: rows * BLOCK_ROW,
        bits: 3,
    }
}

/// Where a box copy with a swizzle of 128 bytes puts byte `byte` of row `row`.
#[cfg(test)]
pub(crate) fn place(layout: Layout, row: u32, byte: u32) -> u32 {
    let (block, byte) = (byte / 128, byte % 128);
    let (chunk, rest) = (byte / 16, byte % 16);
    block * layout.rows * 128 + row * 128 + (chunk ^ (row & 7)) * 16 + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_bytes_follow_box_copies() {
        let layout = blocked(24, 160, 2);
        for row in 0..24 {
            for byte in 0..320 {
                let (low, high) = split_bytes(layout, byte);
                let swizzle = (row & layout.mask()) << 4;
                assert_eq!(
                    row * layout.row_bytes + (low ^ swizzle) + high,
                    place(layout, row, byte)
                );
            }
        }
    }
}
