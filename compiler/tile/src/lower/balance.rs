//! The last tiles of a persistent program whose tiles differ in length.
//!
//! Blocks take pairs of a long and a short tile, all equally long, so that a grid of u pairs over n blocks takes `ceil(u / n)` rounds, of which the last is
//! mostly waiting. The tiles of the last two rounds are therefore dealt one by one, longest first, to the blocks in order and back again, until all
//! are dealt: blocks then end at most about a short tile apart. Rows (of the grid) are dealt together only if they are short, [`LONGEST_ROW`]: tiles of
//! equal length in many rows share nothing in the cache.

use super::builder::Builder;
use super::persist::unpack;
use super::scalars::Scalars;
use crate::ir::{LoopValue, Math, Op, Stmt, ValueId};
use einloom_cascade::expr::MapOp;

/// Tiles of a row at most. Of longer ones, the rows at hand at a time would not fit the cache.
const LONGEST_ROW: i64 = 16;

/// Rounds of pairs that are dealt again.
const LAST_ROUNDS: i64 = 2;

/// What a block knows of the end.
pub(super) struct Last {
    /// Round from which on tiles are dealt one by one (none, if that round does not come).
    first: ValueId,
    /// Rounds of this block in all.
    pub(super) rounds: ValueId,
    /// First row that is dealt so, and how many.
    row: ValueId,
    rows: ValueId,
    block: ValueId,
    blocks: ValueId,
}

/// The grid of pairs.
#[derive(Clone, Copy)]
pub(super) struct Pairs {
    pub(super) points: ValueId,
    pub(super) units: ValueId,
    /// Rounds of this block if all are pairs.
    pub(super) rounds: ValueId,
    pub(super) block: ValueId,
    pub(super) blocks: ValueId,
}

impl Last {
    /// Computed once by every block; `length` is that of a row.
    pub(super) fn new(s: &mut Scalars, b: &mut Builder, pairs: Pairs, length: ValueId) -> Last {
        let Pairs {
            points,
            units,
            block,
            blocks,
            ..
        } = pairs;
        let (zero, one, two) = (s.int(b, 0), s.int(b, 1), s.int(b, 2));
        let all = s.ceil_div(b, units, blocks, one);
        let again = s.int(b, LAST_ROUNDS);
        let kept = s.map(b, MapOp::Sub, all, again);
        let kept = s.map(b, MapOp::Max, kept, zero);
        let first = s.map(b, MapOp::Mul, kept, two);
        let before = s.map(b, MapOp::Mul, first, blocks);
        let row = s.map(b, MapOp::IDiv, before, length);
        let rows = s.map(b, MapOp::IDiv, points, length);
        let rows = s.difference(b, rows, row);
        let applies = applies(s, b, pairs, before, length);
        let left = s.difference(b, points, before);
        let whole = s.map(b, MapOp::IDiv, left, blocks);
        let rest = s.map(b, MapOp::IMod, left, blocks);
        let place = place(s, b, whole, block, blocks);
        let takes = s.compare(b, MapOp::Lt, place, rest);
        let more = s.emit(b, Op::Math(Math::Select, vec![takes, one, zero]));
        let rounds = s.map(b, MapOp::Add, first, whole);
        let rounds = s.map(b, MapOp::Add, rounds, more);
        let mut choose = |value| s.emit(b, Op::Math(Math::Select, vec![applies, value, pairs.rounds]));
        Last {
            first: choose(first),
            rounds: choose(rounds),
            row,
            rows,
            block,
            blocks,
        }
    }

    /// Replaces the coordinates of a round by those of the tile that is dealt in it, if it is one of the last.
    pub(super) fn deal(
        &self,
        s: &mut Scalars,
        b: &mut Builder,
        round: ValueId,
        coordinates: &mut [ValueId],
        extents: &[ValueId],
    ) {
        let (zero, one) = (s.int(b, 0), s.int(b, 1));
        let last = s.compare(b, MapOp::Le, self.first, round);
        let hi = s.emit(b, Op::Math(Math::Select, vec![last, one, zero]));
        let mut body = Scalars::default();
        let next = self.dealt(&mut body, b, round, extents);
        let mut carried = Vec::new();
        for (coordinate, next) in coordinates.iter_mut().zip(next) {
            let [param, result] = [(); 2].map(|()| b.fresh_at(0, super::builder::scalar(crate::ir::Elem::I32)));
            carried.push(LoopValue {
                init: *coordinate,
                param,
                next,
                result,
            });
            *coordinate = result;
        }
        let var = b.fresh_at(0, super::builder::scalar(crate::ir::Elem::I32));
        s.0.push(Stmt::For {
            var,
            lo: zero,
            hi,
            carried,
            body: body.0,
            label: "last tiles".to_owned(),
        });
    }

    /// Tile number `turn * blocks + place` of those that are left, in order of length.
    fn dealt(&self, s: &mut Scalars, b: &mut Builder, round: ValueId, extents: &[ValueId]) -> Vec<ValueId> {
        let turn = s.difference(b, round, self.first);
        let place = place(s, b, turn, self.block, self.blocks);
        let number = s.map(b, MapOp::Mul, turn, self.blocks);
        let number = s.map(b, MapOp::Add, number, place);
        let shorter = s.map(b, MapOp::IDiv, number, self.rows);
        let row = s.map(b, MapOp::IMod, number, self.rows);
        let row = s.map(b, MapOp::Add, row, self.row);
        let outer = extents.len() - 1;
        let mut coordinates = unpack(s, b, row, &extents[..outer]);
        let one = s.int(b, 1);
        let longest = s.map(b, MapOp::Sub, extents[outer], one);
        coordinates.push(s.map(b, MapOp::Sub, longest, shorter));
        coordinates
    }
}

/// Where a block stands in a turn: every second one goes backwards.
fn place(s: &mut Scalars, b: &mut Builder, turn: ValueId, block: ValueId, blocks: ValueId) -> ValueId {
    let (zero, one, two) = (s.int(b, 0), s.int(b, 1), s.int(b, 2));
    let odd = s.map(b, MapOp::IMod, turn, two);
    let forward = s.compare(b, MapOp::Eq, odd, zero);
    let last = s.map(b, MapOp::Sub, blocks, one);
    let back = s.difference(b, last, block);
    s.emit(b, Op::Math(Math::Select, vec![forward, block, back]))
}

/// Whether rounds are uneven, and the rest of the grid is of whole rows that are short.
fn applies(s: &mut Scalars, b: &mut Builder, pairs: Pairs, before: ValueId, length: ValueId) -> ValueId {
    let zero = s.int(b, 0);
    let over = s.map(b, MapOp::IMod, pairs.units, pairs.blocks);
    let uneven = s.compare(b, MapOp::Ne, over, zero);
    let part = s.map(b, MapOp::IMod, before, length);
    let whole = s.compare(b, MapOp::Eq, part, zero);
    let most = s.int(b, LONGEST_ROW);
    let short = s.compare(b, MapOp::Le, length, most);
    let both = s.compare(b, MapOp::And, uneven, whole);
    s.compare(b, MapOp::And, both, short)
}
