//! Stores of register tiles into shared memory.
//!
//! A pair of columns of a lane is adjacent in a row, so it moves as one word (two for f32); with the swizzle the 32 lanes of one store
//! hit all banks once. Transposed stores of 16-bit tiles first transpose each 8 x 8 block in the warp by `movmatrix`.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::shared::{Layout, split_bytes};
use crate::value::{Form, Value, elem_bytes};
use einloom_tile::ir::{BufferId, Elem, ValueId};
use inkwell::values::IntValue;

impl<'c> Kernel<'_, 'c> {
    /// Emits [`einloom_tile::ir::Stmt::StoreShared`].
    pub(crate) fn store_shared(&mut self, buffer: BufferId, stage: Option<ValueId>, value: ValueId) -> Res<()> {
        let Some(declared) = self.program.buffers.get(buffer.index()) else {
            return invalid("a store to a buffer that is not declared");
        };
        let ty = self.program.values[value.index()];
        let transposed = match (ty.rows, ty.cols) {
            (Some(r), Some(c)) if (r, c) == (declared.rows, declared.cols) => false,
            (Some(r), Some(c)) if (c, r) == (declared.rows, declared.cols) => true,
            _ => {
                return invalid(format!(
                    "v{} does not have the axes of buffer {}",
                    value.0, declared.name
                ));
            }
        };
        let layout = self.layouts[buffer.index()];
        let base = self.stage_base(buffer, stage)?;
        if self.home_pairs(value, declared.elem, &[])?.is_some() {
            return self.store_home(layout, base, value, declared.elem, transposed);
        }
        let value = self.value(value)?;
        let value = self.cast(&value, declared.elem)?;
        match (transposed, elem_bytes(declared.elem)) {
            (false, 2 | 4) => self.store_rows(layout, base, &value),
            (true, 2) => self.store_columns_16(layout, base, &value),
            (true, 4) => self.store_columns_32(layout, base, &value),
            _ => unsupported(format!("a store of {:?} to shared memory", declared.elem)),
        }
    }

    fn store_rows(&mut self, layout: Layout, base: IntValue<'c>, value: &Value<'c>) -> Res<()> {
        let Form::Tile(m, n) = value.form else {
            return invalid("a store of something that is no tile");
        };
        let wide = 2 * layout.elem_bytes;
        for group in 0..n {
            let (low, high) = split_bytes(layout, 8 * layout.elem_bytes * group as u32);
            let lane = self.fragment_address(layout, m, low);
            let address = self.cx.iadd(lane, base);
            for i in 0..2 * m {
                let (fragment, half) = (i / 2, i % 2);
                let offset = (16 * fragment + 8 * half) as u32 * layout.row_bytes + high;
                if value.is_packed() {
                    let word = value.pair(fragment, group, half);
                    self.cx.asm(
                        &format!("st.shared.b32 [$0+{offset}], $1;"),
                        "r,r",
                        &[address.into(), word],
                        Effect::Memory,
                    );
                } else {
                    let at = ((fragment * n + group) * 2 + half) * 2;
                    let class = if value.elem == Elem::F32 { "f" } else { "r" };
                    let args = [address.into(), value.lanes[at], value.lanes[at + 1]];
                    let text = format!("st.shared.v2.b32 [$0+{offset}], {{$1, $2}};");
                    self.cx.asm(&text, &format!("r,{class},{class}"), &args, Effect::Memory);
                }
                debug_assert!(wide <= 8);
            }
        }
        Ok(())
    }

    /// Stores a 16-bit tile from its home, one statement for all that goes to one run-time address.
    fn store_home(
        &mut self,
        layout: Layout,
        base: IntValue<'c>,
        value: ValueId,
        elem: Elem,
        transposed: bool,
    ) -> Res<()> {
        let form = self.form(value)?;
        let Form::Tile(m, n) = form else {
            return invalid("a store of something that is no tile");
        };
        let mut stores: Vec<(IntValue<'c>, usize, u32)> = Vec::new();
        for i in 0..2 * m {
            let (fragment, half) = (i / 2, i % 2);
            for group in 0..n {
                let (lane, offset) = if transposed {
                    (self.column_address(layout, m, i), 8 * group as u32 * layout.row_bytes)
                } else {
                    let (low, high) = split_bytes(layout, 8 * layout.elem_bytes * group as u32);
                    let lane = self.fragment_address(layout, m, low);
                    (lane, (16 * fragment + 8 * half) as u32 * layout.row_bytes + high)
                };
                stores.push((lane, form.pair_position(fragment, group, half), offset));
            }
        }
        let mut lanes: Vec<IntValue<'c>> = Vec::new();
        for (lane, ..) in &stores {
            if !lanes.contains(lane) {
                lanes.push(*lane);
            }
        }
        for lane in lanes {
            let here: Vec<_> = stores.iter().filter(|(l, ..)| *l == lane).collect();
            let at: Vec<usize> = here.iter().map(|(_, at, _)| *at).collect();
            let (mut text, names) = self.home_pairs(value, elem, &at)?.unwrap_or_default();
            text.push_str(".reg .b32 turned;\n");
            for (name, (_, _, offset)) in names.iter().zip(&here) {
                if transposed {
                    text += &format!(
                        "movmatrix.sync.aligned.m8n8.trans.b16 turned, {name};\nst.shared.b32 [$0+{offset}], turned;\n"
                    );
                } else {
                    text += &format!("st.shared.b32 [$0+{offset}], {name};\n");
                }
            }
            let address = self.cx.iadd(lane, base);
            let text = format!("{{\n{text}}}");
            self.cx.asm(&text, "r", &[address.into()], Effect::Convergent);
        }
        Ok(())
    }

    /// Lane part of the address of a lane's word of 8 x 8 blocks in transposed rows.
    fn column_address(&mut self, layout: Layout, fragments: usize, half: usize) -> IntValue<'c> {
        // Bytes of the row: the warp's run is added at run time and may carry, so the swizzle is applied to the sum.
        let bytes = 16 * half as u32;
        let key = [layout.key(), fragments as u32, bytes, 0, 0];
        self.invariant(("columns 16", key), |k| {
            let cx = &k.cx;
            let run = cx.imul(k.lanes.warp, cx.i32(32 * fragments as i64));
            let byte = cx.iadd(cx.iadd(run, cx.i32(i64::from(bytes))), cx.shl(k.lanes.quad, cx.i32(2)));
            k.shared_offset(layout, k.lanes.row, byte)
        })
    }

    /// Lane part of the address of a lane's columns in its first row; `bytes` are compile-time bytes of the row, disjoint from the lane's.
    pub(crate) fn fragment_address(&mut self, layout: Layout, fragments: usize, bytes: u32) -> IntValue<'c> {
        let row = self.lane_row(fragments);
        self.invariant(
            (
                "fragment",
                [layout.key(), layout.elem_bytes, fragments as u32, bytes, 0],
            ),
            |k| {
                let byte = k.cx.imul(k.lanes.col, k.cx.i32(i64::from(layout.elem_bytes)));
                k.shared_offset(layout, row, k.cx.iadd(byte, k.cx.i32(i64::from(bytes))))
            },
        )
    }

    /// Buffer rows are the value's columns: each 8 x 8 block, transposed, has lane `l` hold row `l/4` (a column of the value) and the
    /// pair `2 (l%4)` of its columns (rows of the value).
    fn store_columns_16(&mut self, layout: Layout, base: IntValue<'c>, value: &Value<'c>) -> Res<()> {
        let Form::Tile(m, n) = value.form else {
            return invalid("a store of something that is no tile");
        };
        for i in 0..2 * m {
            let lane = self.column_address(layout, m, i);
            let address = self.cx.iadd(lane, base);
            for group in 0..n {
                let word = value.pair(i / 2, group, i % 2);
                let text = "movmatrix.sync.aligned.m8n8.trans.b16 $0, $1;";
                let turned = self
                    .cx
                    .asm_value(self.cx.i32t().into(), text, "=r,r", &[word], Effect::Collective);
                let offset = 8 * group as u32 * layout.row_bytes;
                self.cx.asm(
                    &format!("st.shared.b32 [$0+{offset}], $1;"),
                    "r,r",
                    &[address.into(), turned],
                    Effect::Memory,
                );
            }
        }
        Ok(())
    }

    fn store_columns_32(&mut self, layout: Layout, base: IntValue<'c>, value: &Value<'c>) -> Res<()> {
        let Form::Tile(m, _) = value.form else {
            return invalid("a store of something that is no tile");
        };
        for i in 0..value.form.len() {
            let place = value.form.place(i);
            let (rows, parity) = ((16 * place.fragment + 8 * place.half) as u32, place.parity as u32);
            let lane = self.invariant(("columns 32", [layout.key(), m as u32, rows, parity, 0]), |k| {
                let cx = &k.cx;
                let run = cx.imul(k.lanes.warp, cx.i32(16 * m as i64));
                let column = cx.iadd(cx.iadd(run, k.lanes.row), cx.i32(i64::from(rows)));
                let row = cx.iadd(k.lanes.col, cx.i32(i64::from(parity)));
                k.shared_offset(layout, row, cx.shl(column, cx.i32(2)))
            });
            let address = self.cx.iadd(lane, base);
            let offset = 8 * place.group as u32 * layout.row_bytes;
            let class = if value.elem == Elem::F32 { "f" } else { "r" };
            let args: [V<'c>; 2] = [address.into(), value.lanes[i]];
            self.cx.asm(
                &format!("st.shared.b32 [$0+{offset}], $1;"),
                &format!("r,{class}"),
                &args,
                Effect::Memory,
            );
        }
        Ok(())
    }
}
