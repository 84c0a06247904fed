//! Stores of whole 16-byte pieces of rows.
//!
//! A lane holds pairs of columns; the four lanes of a quad hold the 16 bytes of one group of 8 columns of a 16-bit tile. Four groups at
//! a time are transposed within the quad, so that each lane has one group whole and stores it at once: a row then moves in pieces of 64
//! bytes instead of 16.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid};
use crate::homes::lines::can_store;
use crate::kernel::Kernel;
use crate::value::{Form, Place, Value};
use einloom_cascade::expr::DType;
use einloom_tile::ir::{Elem, Roles, TensorId, TileProgram, ValueId};
use inkwell::IntPredicate;
use inkwell::values::{IntValue, PointerValue};

/// Groups that a quad exchanges at once.
const GROUPS: usize = 4;

/// Whether a store of a program without roles takes a tile from its home, if it has one: as 16-bit pairs, whole rows masked.
pub(crate) fn stores_home(program: &TileProgram, tensor: TensorId, value: ValueId, mask: Option<ValueId>) -> bool {
    let ty = |id: ValueId| program.values[id.index()];
    let by_row = mask.is_none_or(|mask| ty(mask).cols.is_none());
    let to = program.tensors.get(tensor.index()).and_then(|t| half(t.dtype));
    let whole = Form::of(program, ty(value)).is_ok_and(Kernel::has_whole_quads);
    program.roles == Roles::Uniform && by_row && whole && to.is_some_and(|to| can_store(ty(value).elem, to))
}

/// A 16-bit real type.
fn half(dtype: DType) -> Option<Elem> {
    match dtype {
        DType::F16 => Some(Elem::F16),
        DType::BF16 => Some(Elem::BF16),
        _ => None,
    }
}

impl<'c> Kernel<'_, 'c> {
    /// Whether the rows of a tile fall into whole sets of groups.
    pub(crate) fn has_whole_quads(form: Form) -> bool {
        matches!(form, Form::Tile(_, n) if n.is_multiple_of(GROUPS))
    }

    /// Stores a packed tile; `rows` point to the lane's first pair of each row, `mask` is one for each row at most.
    pub(crate) fn store_quads(&self, rows: &[PointerValue<'c>], value: &Value<'c>, mask: Option<&Value<'c>>) {
        let cx = &self.cx;
        let Form::Tile(_, groups) = value.form else { return };
        let bit = |n: i64| cx.icmp(IntPredicate::NE, cx.iand(self.lanes.quad, cx.i32(n)), cx.i32(0));
        let (odd, upper) = (bit(1), bit(2));
        // From the lane's pair in the first group to its whole group.
        let shift = cx.zext(cx.imul(self.lanes.quad, cx.i32(12)), cx.i64t());
        for (i, &row) in rows.iter().enumerate() {
            let (fragment, half) = (i / 2, i % 2);
            let pointer = cx.offset(row, shift);
            let place = Place {
                fragment,
                half,
                group: 0,
                parity: 0,
            };
            let active = mask.map(|m| m.at(place));
            for first in (0..groups).step_by(GROUPS) {
                let mut words = [0, 1, 2, 3].map(|k| value.pair(fragment, first + k, half).into_int_value());
                for (a, b) in [(0, 1), (2, 3)] {
                    self.swap(&mut words, (a, b), odd, 1);
                }
                for (a, b) in [(0, 2), (1, 3)] {
                    self.swap(&mut words, (a, b), upper, 2);
                }
                let mut args: Vec<V<'c>> = vec![pointer.into()];
                args.extend(words.map(V::from));
                args.extend(active);
                let (guard, predicate) = if active.is_some() { ("@$5 ", ",b") } else { ("", "") };
                // 16 bytes a group.
                let offset = 16 * first;
                cx.asm(
                    &format!("{guard}st.global.v4.b32 [$0+{offset}], {{$1, $2, $3, $4}};"),
                    &format!("l,r,r,r,r{predicate}"),
                    &args,
                    Effect::Memory,
                );
            }
        }
    }

    /// As [`Kernel::store_quads`], for a tile in a home: one statement a row.
    pub(crate) fn store_home_quads(
        &self,
        rows: &[PointerValue<'c>],
        id: ValueId,
        dtype: DType,
        mask: Option<&Value<'c>>,
    ) -> Res<()> {
        let cx = &self.cx;
        let form = self.form(id)?;
        let (Form::Tile(_, groups), Some(to)) = (form, half(dtype)) else {
            return invalid(format!("v{} should be a tile that is stored in 16 bits", id.0));
        };
        let bit = |n: i64| cx.icmp(IntPredicate::NE, cx.iand(self.lanes.quad, cx.i32(n)), cx.i32(0));
        let (odd, upper) = (bit(1), bit(2));
        // From the lane's pair in the first group to its whole group.
        let shift = cx.zext(cx.imul(self.lanes.quad, cx.i32(12)), cx.i64t());
        for (i, &row) in rows.iter().enumerate() {
            let (fragment, half) = (i / 2, i % 2);
            let at: Vec<usize> = (0..groups).map(|g| form.pair_position(fragment, g, half)).collect();
            let Some((mut text, pairs)) = self.home_pairs(id, to, &at)? else {
                return invalid(format!("v{} should have a home", id.0));
            };
            let place = Place {
                fragment,
                half,
                group: 0,
                parity: 0,
            };
            let mut args: Vec<V<'c>> = vec![cx.offset(row, shift).into(), odd.into(), upper.into()];
            args.extend(mask.map(|mask| mask.at(place)));
            let (guard, predicate) = if mask.is_some() { ("@$3 ", ",b") } else { ("", "") };
            text.push_str(".reg .b32 word<4>, send, got;\n");
            for (n, words) in pairs.chunks_exact(GROUPS).enumerate() {
                for (a, b) in [(0, 1), (2, 3)] {
                    swap_lines(&mut text, [&words[a], &words[b]], (a, b), "$1", 1);
                }
                for (a, b) in [(0, 2), (1, 3)] {
                    swap_lines(&mut text, [&format!("word{a}"), &format!("word{b}")], (a, b), "$2", 2);
                }
                let offset = 16 * GROUPS * n;
                text += &format!("{guard}st.global.v4.b32 [$0+{offset}], {{word0, word1, word2, word3}};\n");
            }
            let text = format!("{{\n{text}}}");
            cx.asm(&text, &format!("l,b,b{predicate}"), &args, Effect::Convergent);
        }
        Ok(())
    }

    /// One step of the transposition: lanes at `distance` exchange the words that belong to each other's groups.
    fn swap(&self, words: &mut [IntValue<'c>; 4], (a, b): (usize, usize), bit: IntValue<'c>, distance: u32) {
        let cx = &self.cx;
        let send = cx.iselect(bit, words[a], words[b]);
        let text = format!("shfl.sync.bfly.b32 $0, $1, {distance}, 0x1f, 0xffffffff;");
        let got = cx
            .asm_value(cx.i32t().into(), &text, "=r,r", &[send.into()], Effect::Collective)
            .into_int_value();
        (words[a], words[b]) = (cx.iselect(bit, got, words[a]), cx.iselect(bit, words[b], got));
    }
}

/// As [`Kernel::swap`], of the words `from` into `word<a>` and `word<b>`.
fn swap_lines(text: &mut String, from: [&str; 2], (a, b): (usize, usize), bit: &str, distance: u32) {
    let [x, y] = from;
    *text += &format!(
        "selp.b32 send, {x}, {y}, {bit};\nshfl.sync.bfly.b32 got, send, {distance}, 0x1f, 0xffffffff;\n\
         selp.b32 word{a}, got, {x}, {bit};\nselp.b32 word{b}, {y}, got, {bit};\n"
    );
}
