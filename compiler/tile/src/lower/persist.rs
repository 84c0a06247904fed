//! Persistent programs: a block loops over grid points instead of computing one.
//!
//! The body becomes that of a loop over `block, block + blocks, ..`. Where the last grid dimension orders tiles by length (`reversed`), blocks take pairs
//! of tiles, one after the other: the tiles of a row in the order longest, shortest, second longest, second shortest, ... All pairs are about
//! equally long, so that blocks end together but for the last round, which [`super::balance`] deals otherwise. Rings live on from one grid point to the next.

use super::balance::{Last, Pairs};
use super::builder::{Builder, scalar};
use super::rings::Ring;
use super::scalars::Scalars;
use crate::ir::{Elem, LoopValue, Math, Op, Stmt, ValueId};
use einloom_cascade::expr::MapOp;

/// Wraps the finished body of the outermost scope.
pub(crate) fn persist(b: &mut Builder, body: Vec<Stmt>, rings: &[Ring]) -> Vec<Stmt> {
    let mut outer = Scalars::default();
    let extents = outer.extents(b);
    let paired = b.program.grid.last().is_some_and(|g| g.reversed);
    let pairs = rounds(&mut outer, b, &extents, paired);
    let (block, blocks) = (pairs.block, pairs.blocks);
    let mut rounds = pairs.rounds;
    let last = extents.last().filter(|_| paired).map(|&length| {
        let last = Last::new(&mut outer, b, pairs, length);
        rounds = last.rounds;
        last
    });
    let zero = outer.int(b, 0);
    let round = b.fresh_at(0, scalar(Elem::I32));
    let mut inner = Scalars::default();
    let walk = walk(&mut outer, &mut inner, b, (round, block, blocks), &extents, paired);
    let mut coordinates: Vec<ValueId> = walk.iter().map(|c| c.param).collect();
    if let (Some(at), Some(&extent)) = (coordinates.last_mut().filter(|_| paired), extents.last()) {
        *at = alternate(&mut inner, b, *at, extent);
    }
    if let Some(last) = last {
        last.deal(&mut inner, b, round, &mut coordinates, &extents);
    }
    let body = body.into_iter().filter_map(|stmt| match stmt {
        Stmt::Let(id, _) if rings.iter().any(|r| r.start == id) => None,
        Stmt::Let(id, Op::Grid(at)) => Some(Stmt::Let(id, Op::Cast(coordinates[at]))),
        other => Some(other),
    });
    let mut stmts = outer.0;
    let mut point = inner.0;
    point.extend(body);
    let mut carried: Vec<LoopValue> = rings
        .iter()
        .map(|ring| LoopValue {
            init: zero,
            param: ring.start,
            next: ring.filled,
            result: b.fresh_at(0, scalar(Elem::I32)),
        })
        .collect();
    carried.extend(walk);
    stmts.push(Stmt::For {
        var: round,
        lo: zero,
        hi: rounds,
        carried,
        body: point,
        label: "grid".to_owned(),
    });
    stmts
}

/// Grid points of this block, its number and that of all. With pairs, blocks take two neighbours at a time; the very last may be alone.
fn rounds(s: &mut Scalars, b: &mut Builder, extents: &[ValueId], paired: bool) -> Pairs {
    let one = s.int(b, 1);
    let points = extents.iter().copied().reduce(|x, y| s.map(b, MapOp::Mul, x, y));
    let points = points.unwrap_or(one);
    let block = s.emit(b, Op::Block);
    let blocks = s.emit(b, Op::Blocks);
    let two = s.int(b, 2);
    let mut units = points;
    if paired {
        let above = s.map(b, MapOp::Add, points, one);
        units = s.map(b, MapOp::IDiv, above, two);
    }
    let left = s.difference(b, units, block);
    let turns = s.ceil_div(b, left, blocks, one);
    let all = |rounds| Pairs {
        points,
        units,
        rounds,
        block,
        blocks,
    };
    if !paired {
        return all(turns);
    }
    // Two in every turn but the last, which has what is left of the grid.
    let before = s.map(b, MapOp::Sub, turns, one);
    let last = s.map(b, MapOp::Mul, before, blocks);
    let last = s.map(b, MapOp::Add, last, block);
    let last = s.map(b, MapOp::Mul, last, two);
    let left = s.map(b, MapOp::Sub, points, last);
    let left = s.map(b, MapOp::Min, left, two);
    let before = s.map(b, MapOp::Mul, before, two);
    all(s.map(b, MapOp::Add, before, left))
}

/// Coordinates that go from grid point to grid point, by additions with carries: a division takes longer than a round can hide.
fn walk(
    outer: &mut Scalars,
    inner: &mut Scalars,
    b: &mut Builder,
    (round, block, blocks): (ValueId, ValueId, ValueId),
    extents: &[ValueId],
    paired: bool,
) -> Vec<LoopValue> {
    let (one, two) = (outer.int(b, 1), outer.int(b, 2));
    let mut first = block;
    let mut steps = vec![blocks; extents.len()];
    if paired {
        // From the first of a pair to its second, and on to the first of the next pair.
        first = outer.map(b, MapOp::Mul, block, two);
        let on = outer.map(b, MapOp::Mul, blocks, two);
        let on = outer.map(b, MapOp::Sub, on, one);
        let mut within = vec![outer.int(b, 0); extents.len()];
        if let Some(last) = within.last_mut() {
            *last = one;
        }
        let on = unpack(outer, b, on, extents);
        let second = inner.map(b, MapOp::IMod, round, two);
        let second = inner.compare(b, MapOp::Eq, second, one);
        for (step, (within, on)) in steps.iter_mut().zip(within.into_iter().zip(on)) {
            *step = inner.emit(b, Op::Math(Math::Select, vec![second, on, within]));
        }
    } else {
        steps = unpack(outer, b, blocks, extents);
    }
    let first = unpack(outer, b, first, extents);
    let (zero, one) = (inner.int(b, 0), inner.int(b, 1));
    let mut carry = zero;
    let mut walk = Vec::new();
    for at in (0..extents.len()).rev() {
        let [param, result] = [(); 2].map(|()| b.fresh_at(0, scalar(Elem::I32)));
        let sum = inner.map(b, MapOp::Add, param, steps[at]);
        let mut next = inner.map(b, MapOp::Add, sum, carry);
        if at > 0 {
            let over = inner.compare(b, MapOp::Le, extents[at], next);
            let wrapped = inner.map(b, MapOp::Sub, next, extents[at]);
            next = inner.emit(b, Op::Math(Math::Select, vec![over, wrapped, next]));
            carry = inner.emit(b, Op::Math(Math::Select, vec![over, one, zero]));
        }
        walk.push(LoopValue {
            init: first[at],
            param,
            next,
            result,
        });
    }
    walk.reverse();
    walk
}

/// `extent - 1, 0, extent - 2, 1, ..`: the longest, the shortest, ..
fn alternate(s: &mut Scalars, b: &mut Builder, at: ValueId, extent: ValueId) -> ValueId {
    let (zero, one, two) = (s.int(b, 0), s.int(b, 1), s.int(b, 2));
    let half = s.map(b, MapOp::IDiv, at, two);
    let last = s.map(b, MapOp::Sub, extent, one);
    let mirrored = s.map(b, MapOp::Sub, last, half);
    let odd = s.map(b, MapOp::IMod, at, two);
    let long = s.compare(b, MapOp::Eq, odd, zero);
    s.emit(b, Op::Math(Math::Select, vec![long, mirrored, half]))
}

/// Coordinates of a linear index, first dimension outermost.
pub(super) fn unpack(s: &mut Scalars, b: &mut Builder, linear: ValueId, extents: &[ValueId]) -> Vec<ValueId> {
    let mut rest = linear;
    let mut coordinates = vec![linear; extents.len()];
    for at in (0..extents.len()).rev() {
        let mut coordinate = rest;
        if at > 0 {
            coordinate = s.map(b, MapOp::IMod, rest, extents[at]);
            rest = s.map(b, MapOp::IDiv, rest, extents[at]);
        }
        coordinates[at] = coordinate;
    }
    coordinates
}
