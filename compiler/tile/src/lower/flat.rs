//! One software pipeline over all grid points of a persistent block.
//!
//! The end of a grid point, which is the dots that its last tile deferred and what is computed and stored behind them, is done in the next round, beside the
//! first tile: the matrix unit gets the first dots of the new grid point and the last ones of the old in one go, and the old results are written while
//! other warps compute. What the end needs is carried by the loop over grid points, or computed again where that is cheap.
//! A grid point without a tile is ended at once, from the initial state, and what the one before left stays as it is. So the end stands in three places:
//! within the first tile; without dots behind rounds that have no tile; behind the loop, for the last grid point. Within the first tile its dots are
//! issued in any case, as control flow would wait for the new ones; where there is nothing to end they read the new tile's operand and
//! nothing reads their result.

use super::builder::{Builder, arguments, scalar, with_arguments};
use super::overlap::arrange;
use super::persist::GRID;
use super::rings::{LAST_DOTS, Rings};
use super::scalars::Scalars;
use super::synchronise::Tile;
use crate::ir::{BufferId, Elem, LoopValue, Math, Op, Stmt, Type, ValueId};
use einloom_cascade::expr::MapOp;
use std::collections::{BTreeMap, BTreeSet};

/// The end of a grid point.
struct End {
    /// The loop that issues the deferred dots.
    lo: ValueId,
    hi: ValueId,
    carried: Vec<LoopValue>,
    dots: Vec<Stmt>,
    /// What follows, down to the stores.
    rest: Vec<Stmt>,
}

/// The loop over grid points.
struct Grid {
    var: ValueId,
    lo: ValueId,
    hi: ValueId,
    carried: Vec<LoopValue>,
    body: Vec<Stmt>,
}

/// Flattens the loop over grid points that ends `stmts`, if its rounds begin with a tile of its own and end with deferred dots.
pub(crate) fn flatten(b: &mut Builder, mut stmts: Vec<Stmt>, rings: &mut Rings, turns: bool) -> Vec<Stmt> {
    let Some(at) = stmts
        .iter()
        .rposition(|s| matches!(s, Stmt::For { label, .. } if label == GRID))
    else {
        return stmts;
    };
    let behind = stmts.split_off(at + 1);
    let Some(Stmt::For {
        var,
        lo,
        hi,
        carried,
        body,
        ..
    }) = stmts.pop()
    else {
        return stmts;
    };
    let grid = Grid {
        var,
        lo,
        hi,
        carried,
        body,
    };
    match parts(&grid, rings) {
        Some(parts) => stmts.extend(rotated(b, grid, parts, rings, turns)),
        None => stmts.push(grid.into_loop()),
    }
    stmts.extend(behind);
    stmts
}

impl Grid {
    fn into_loop(self) -> Stmt {
        Stmt::For {
            var: self.var,
            lo: self.lo,
            hi: self.hi,
            carried: self.carried,
            body: self.body,
            label: GRID.to_owned(),
        }
    }
}

/// Position of the first tile's loop, and position of the end.
fn parts(grid: &Grid, rings: &Rings) -> Option<(usize, usize)> {
    let end = grid
        .body
        .iter()
        .rposition(|s| matches!(s, Stmt::For { label, .. } if label == LAST_DOTS))?;
    let simple =
        |s: &Stmt| matches!(s, Stmt::Let(_, op) if !matches!(op, Op::Dot { .. })) || matches!(s, Stmt::Store { .. });
    let Stmt::For { body: dots, .. } = &grid.body[end] else {
        return None;
    };
    if !grid.body[end + 1..].iter().all(simple) || !dots.iter().all(|s| matches!(s, Stmt::Let(..))) {
        return None;
    }
    let makes = |s: &Stmt| matches!(s, Stmt::Let(id, _) if rings.lefts.contains(id));
    let first = grid.body[..end]
        .iter()
        .position(|s| matches!(s, Stmt::For { body, .. } if body.iter().any(makes)))?;
    let Stmt::For { body, carried, .. } = &grid.body[first] else {
        return None;
    };
    // The rings of the deferred dots are filled there too, so that the dots always find a tile.
    let filled = |wanted: BufferId| {
        body.iter()
            .any(|s| matches!(s, Stmt::Fill { buffer, .. } if *buffer == wanted))
    };
    let found = stages(dots)
        .iter()
        .all(|s| rings.counts.get(s).is_some_and(|t| filled(t.buffer)));
    let straight = body.iter().all(|s| matches!(s, Stmt::Let(..) | Stmt::Fill { .. }));
    (found && straight && !carried.is_empty()).then_some((first, end))
}

/// Stage values that statements define.
fn stages(dots: &[Stmt]) -> Vec<ValueId> {
    let mut list = Vec::new();
    for stmt in dots {
        if let Stmt::Let(_, Op::Dot { left, right, .. }) = stmt {
            for operand in [left, right] {
                if let crate::ir::Operand::Shared(_, Some(stage)) = operand
                    && !list.contains(stage)
                {
                    list.push(*stage);
                }
            }
        }
    }
    list
}

/// Values of a round that its end reads.
struct Needs {
    /// Carried to the next round.
    leaves: Vec<ValueId>,
    /// Computed again, in order.
    again: Vec<Stmt>,
}

impl End {
    /// What the end reads and does not define.
    fn free(&self) -> Vec<ValueId> {
        let mut own: BTreeSet<ValueId> = self.carried.iter().flat_map(|c| [c.param, c.result]).collect();
        let mut free = vec![self.lo, self.hi];
        free.extend(self.carried.iter().map(|c| c.init));
        for stmt in self.dots.iter().chain(&self.rest) {
            free.extend(reads(stmt).into_iter().filter(|v| !own.contains(v)));
            if let Stmt::Let(id, _) = stmt {
                own.insert(*id);
            }
        }
        let defined: BTreeSet<ValueId> = self
            .dots
            .iter()
            .filter_map(|s| match s {
                Stmt::Let(id, _) => Some(*id),
                _ => None,
            })
            .collect();
        free.extend(self.carried.iter().map(|c| c.next).filter(|v| !defined.contains(v)));
        free
    }

    fn needs(&self, b: &Builder, grid: &Grid) -> Needs {
        let round = Round::new(grid);
        let mut needs = Needs {
            leaves: Vec::new(),
            again: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for value in self.free() {
            round.need(b, value, &mut seen, &mut needs);
        }
        needs
    }
}

fn reads(stmt: &Stmt) -> Vec<ValueId> {
    match stmt {
        Stmt::Let(_, op) => arguments(op),
        Stmt::Store { index, value, mask, .. } => index.iter().copied().chain([*value]).chain(*mask).collect(),
        _ => Vec::new(),
    }
}

/// Where the values of a round come from.
struct Round {
    lets: BTreeMap<ValueId, Op>,
    /// Parameters and results of loops.
    others: BTreeSet<ValueId>,
    /// Values that differ from round to round.
    varying: BTreeSet<ValueId>,
}

impl Round {
    fn new(grid: &Grid) -> Round {
        let mut round = Round {
            lets: BTreeMap::new(),
            others: grid.carried.iter().map(|c| c.param).chain([grid.var]).collect(),
            varying: BTreeSet::new(),
        };
        for stmt in &grid.body {
            match stmt {
                Stmt::Let(id, op) => {
                    round.lets.insert(*id, op.clone());
                }
                Stmt::For { carried, .. } | Stmt::Guard { carried, .. } => {
                    round.others.extend(carried.iter().map(|c| c.result));
                }
                _ => {}
            }
        }
        round.varying = round.others.clone();
        for stmt in &grid.body {
            if let Stmt::Let(id, op) = stmt
                && (matches!(op, Op::Load { .. }) || arguments(op).iter().any(|a| round.varying.contains(a)))
            {
                round.varying.insert(*id);
            }
        }
        round
    }

    /// Adds a value, or what it is computed from.
    fn need(&self, b: &Builder, value: ValueId, seen: &mut BTreeSet<ValueId>, needs: &mut Needs) {
        if !seen.insert(value) {
            return;
        }
        match self.lets.get(&value) {
            Some(op) if self.cheap(b, value, op) => {
                for argument in arguments(op) {
                    self.need(b, argument, seen, needs);
                }
                needs.again.push(Stmt::Let(value, op.clone()));
            }
            Some(_) => needs.leaves.push(value),
            None if self.others.contains(&value) => needs.leaves.push(value),
            None => {}
        }
    }

    /// Whether a value is sooner computed again than carried: what no round changes, and arithmetic of scalars and row vectors without divisions.
    fn cheap(&self, b: &Builder, value: ValueId, op: &Op) -> bool {
        let ty = b.ty(value);
        let tile = ty.rows.is_some() && ty.cols.is_some();
        let varies = self.varying.contains(&value);
        match op {
            Op::Real(_) | Op::Int(_) | Op::Param(_) | Op::Lane | Op::Block | Op::Blocks => true,
            Op::Cast(_) | Op::Math(Math::Fma | Math::Select, _) => !tile,
            Op::Math(Math::Map(MapOp::IDiv | MapOp::IMod), _) => !varies && !tile,
            Op::Math(Math::Map(_), _) => !tile,
            _ => false,
        }
    }
}

/// Copies statements under new names.
struct Copy<'a> {
    b: &'a mut Builder,
    names: BTreeMap<ValueId, ValueId>,
}

impl Copy<'_> {
    fn name(&self, value: ValueId) -> ValueId {
        self.names.get(&value).copied().unwrap_or(value)
    }

    fn define(&mut self, value: ValueId) -> ValueId {
        let ty = self.b.ty(value);
        let new = self.b.fresh_at(0, ty);
        self.names.insert(value, new);
        new
    }

    fn stmt(&mut self, stmt: &Stmt) -> Stmt {
        match stmt {
            Stmt::Let(id, op) => {
                let op = with_arguments(op, &mut |v| self.name(v));
                Stmt::Let(self.define(*id), op)
            }
            Stmt::Store {
                tensor,
                index,
                value,
                mask,
            } => Stmt::Store {
                tensor: *tensor,
                index: index.iter().map(|&v| self.name(v)).collect(),
                value: self.name(*value),
                mask: mask.map(|v| self.name(v)),
            },
            other => other.clone(),
        }
    }

    fn all(&mut self, stmts: &[Stmt]) -> Vec<Stmt> {
        stmts.iter().map(|s| self.stmt(s)).collect()
    }
}

/// The whole end by itself; `values` are the leaves.
fn apart(b: &mut Builder, end: &End, needs: &Needs, values: &[ValueId], rings: &mut Rings) -> Vec<Stmt> {
    let names = needs.leaves.iter().copied().zip(values.iter().copied()).collect();
    let mut copy = Copy { b, names };
    let mut stmts = copy.all(&needs.again);
    let (lo, hi) = (copy.name(end.lo), copy.name(end.hi));
    let inits: Vec<ValueId> = end.carried.iter().map(|c| copy.name(c.init)).collect();
    let params: Vec<ValueId> = end.carried.iter().map(|c| copy.define(c.param)).collect();
    let dots = copy.all(&end.dots);
    for stage in stages(&end.dots) {
        let Tile { buffer, count, owned } = rings.counts[&stage];
        let tile = Tile {
            buffer,
            count: copy.name(count),
            owned,
        };
        rings.counts.insert(copy.name(stage), tile);
    }
    let carried = end.carried.iter().enumerate().map(|(at, c)| LoopValue {
        init: inits[at],
        param: params[at],
        next: copy.name(c.next),
        result: c.result,
    });
    let carried: Vec<LoopValue> = carried.collect();
    let carried = carried.into_iter().map(|c| LoopValue {
        result: copy.define(c.result),
        ..c
    });
    let carried = carried.collect();
    stmts.push(Stmt::For {
        var: copy.b.fresh_at(0, scalar(Elem::I32)),
        lo,
        hi,
        carried,
        body: dots,
        label: LAST_DOTS.to_owned(),
    });
    stmts.extend(copy.all(&end.rest));
    stmts
}

/// The end within the first tile: what stands in front, the dots, what is done behind them.
struct Within {
    head: Vec<Stmt>,
    dots: Vec<Stmt>,
    rest: Vec<Stmt>,
}

fn within(
    b: &mut Builder,
    end: &End,
    needs: &Needs,
    values: &[ValueId],
    first: &[Stmt],
    beside: ValueId,
    rings: &mut Rings,
) -> Within {
    let names = needs.leaves.iter().copied().zip(values.iter().copied()).collect();
    let mut copy = Copy { b, names };
    let mut head = copy.all(&needs.again);
    for c in &end.carried {
        let init = copy.name(c.init);
        copy.names.insert(c.param, init);
    }
    let staged = stages(&end.dots);
    let (dots, scalars): (Vec<&Stmt>, Vec<&Stmt>) =
        end.dots.iter().partition(|s| matches!(s, Stmt::Let(_, Op::Dot { .. })));
    // The count is the old tile's, or where there is none the new one's, which is there anyway.
    let counts: BTreeMap<ValueId, BufferId> = staged
        .iter()
        .map(|s| (rings.counts[s].count, rings.counts[s].buffer))
        .collect();
    for stmt in scalars {
        head.push(copy.stmt(stmt));
        let Stmt::Let(id, _) = stmt else { continue };
        let Some(&buffer) = counts.get(id) else { continue };
        let new = first.iter().find_map(|s| match s {
            Stmt::Fill { buffer: to, count, .. } if *to == buffer => Some(*count),
            _ => None,
        });
        if let Some(new) = new {
            let count = copy.b.fresh_at(0, scalar(Elem::I32));
            let old = copy.name(*id);
            head.push(Stmt::Let(count, Op::Math(Math::Select, vec![beside, old, new])));
            copy.names.insert(*id, count);
        }
    }
    for stage in staged {
        let Tile { buffer, count, .. } = rings.counts[&stage];
        let tile = Tile {
            buffer,
            count: copy.name(count),
            owned: Some(beside),
        };
        rings.counts.insert(copy.name(stage), tile);
    }
    let dots = dots.into_iter().map(|s| copy.stmt(s)).collect();
    for c in &end.carried {
        let next = copy.name(c.next);
        copy.names.insert(c.result, next);
    }
    let rest = copy.all(&end.rest);
    Within { head, dots, rest }
}

/// The loop with the end of each round in the next one, and the last round's end.
fn rotated(b: &mut Builder, mut grid: Grid, (first, end): (usize, usize), rings: &mut Rings, turns: bool) -> Vec<Stmt> {
    let rest = grid.body.split_off(end + 1);
    let Some(Stmt::For {
        lo, hi, carried, body, ..
    }) = grid.body.pop()
    else {
        return vec![grid.into_loop()];
    };
    let end = End {
        lo,
        hi,
        carried,
        dots: body,
        rest,
    };
    let needs = end.needs(b, &grid);
    let passed: Vec<Option<usize>> = needs.leaves.iter().map(|&v| passed(&grid.body, first, v)).collect();
    let mut outer = Scalars::default();
    let before = carried_from_zero(&mut outer, b, scalar(Elem::I32));
    let mut leaves: Vec<LoopValue> = needs
        .leaves
        .iter()
        .map(|&v| carried_from_zero(&mut outer, b, b.ty(v)))
        .collect();
    let params: Vec<ValueId> = leaves.iter().map(|c| c.param).collect();
    let results: Vec<ValueId> = leaves.iter().map(|c| c.result).collect();

    let mut tail = grid.body.split_off(first + 1);
    let Some(Stmt::For {
        var,
        lo,
        hi,
        mut carried,
        body,
        label,
    }) = grid.body.pop()
    else {
        return vec![grid.into_loop()];
    };
    let mut front = Scalars::default();
    let one = front.int(b, 1);
    let tiles = front.compare(b, MapOp::Lt, lo, hi);
    let beside = front.compare(b, MapOp::Eq, before.param, one);
    let within = within(b, &end, &needs, &params, &body, beside, rings);
    // The first tile meets the initial state; a round without it passes on what the one before left.
    let initial: BTreeMap<ValueId, ValueId> = carried.iter().map(|c| (c.param, c.init)).collect();
    let body = renamed(&body, &initial);
    let mut starts = BTreeMap::new();
    for ((leaf, at), &value) in leaves.iter_mut().zip(&passed).zip(&needs.leaves) {
        leaf.next = match at {
            Some(at) => {
                starts.insert(value, carried[*at].init);
                carried[*at].init = leaf.param;
                value
            }
            None => {
                let kept = b.fresh_at(0, b.ty(value));
                tail.push(Stmt::Let(kept, Op::Math(Math::Select, vec![tiles, value, leaf.param])));
                kept
            }
        };
    }
    grid.body.append(&mut front.0);
    grid.body.push(Stmt::For {
        var,
        lo,
        hi,
        carried,
        body: beside_first(body, within, beside, &rings.lefts, turns),
        label,
    });
    grid.body.append(&mut tail);
    let mut state = Scalars::default();
    let none = state.emit_as(b, Op::Math(Math::Map(MapOp::Not), vec![tiles]), Elem::Bool);
    let open = state.emit(b, Op::Math(Math::Select, vec![tiles, one, before.param]));
    grid.body.append(&mut state.0);
    grid.body.push(Stmt::If {
        cond: none,
        body: at_once(b, &end, starts),
    });
    // Rings are counted behind the last dots.
    grid.body.extend(counted(&grid, &end));
    grid.carried.push(LoopValue { next: open, ..before });
    grid.carried.extend(leaves);
    let mut stmts = outer.0;
    stmts.push(grid.into_loop());
    let mut last = Scalars::default();
    let zero = last.int(b, 0);
    let one = last.int(b, 1);
    let any = last.map(b, MapOp::Min, before.result, one);
    stmts.append(&mut last.0);
    let body = apart(b, &end, &needs, &results, rings);
    stmts.push(once(b, (zero, any), body));
    stmts
}

/// A carried value that starts as zero; `next` is still to be set.
fn carried_from_zero(outer: &mut Scalars, b: &mut Builder, ty: Type) -> LoopValue {
    let zero = match ty.elem {
        Elem::F32 | Elem::F16 | Elem::BF16 => Op::Real(0.0),
        Elem::I32 | Elem::I64 | Elem::Bool => Op::Int(0),
    };
    let init = b.fresh_at(0, ty);
    outer.0.push(Stmt::Let(init, zero));
    let [param, result] = [(); 2].map(|()| b.fresh_at(0, ty));
    LoopValue {
        init,
        param,
        next: init,
        result,
    }
}

/// The position among the carried values of the first tile's loop from which `value` came through loops only: without tiles it is that one's initial value.
fn passed(body: &[Stmt], first: usize, mut value: ValueId) -> Option<usize> {
    for stmt in body[first..].iter().rev() {
        let Stmt::For { carried, label, .. } = stmt else {
            continue;
        };
        let Some(at) = carried.iter().position(|c| c.result == value) else {
            continue;
        };
        if std::ptr::eq(stmt, &body[first]) {
            return Some(at);
        }
        if label == LAST_DOTS {
            return None;
        }
        value = carried[at].init;
    }
    None
}

/// Straight statements with other names for what they read.
fn renamed(body: &[Stmt], names: &BTreeMap<ValueId, ValueId>) -> Vec<Stmt> {
    let to = |v: ValueId| names.get(&v).copied().unwrap_or(v);
    let one = |stmt: &Stmt| match stmt {
        Stmt::Let(id, op) => Stmt::Let(*id, with_arguments(op, &mut |v| to(v))),
        other => other.clone(),
    };
    body.iter().map(one).collect()
}

/// The end of a grid point without tiles, in its own round: there are no dots, and the state is the initial one.
fn at_once(b: &mut Builder, end: &End, starts: BTreeMap<ValueId, ValueId>) -> Vec<Stmt> {
    let mut copy = Copy { b, names: starts };
    for c in &end.carried {
        let init = copy.name(c.init);
        copy.names.insert(c.result, init);
    }
    copy.all(&end.rest)
}

/// A loop of at most one iteration.
fn once(b: &mut Builder, (lo, hi): (ValueId, ValueId), body: Vec<Stmt>) -> Stmt {
    Stmt::For {
        var: b.fresh_at(0, scalar(Elem::I32)),
        lo,
        hi,
        carried: Vec::new(),
        body,
        label: "end".to_owned(),
    }
}

/// The first tile with the end beside it.
fn beside_first(
    mut body: Vec<Stmt>,
    within: Within,
    beside: ValueId,
    lefts: &BTreeSet<ValueId>,
    turns: bool,
) -> Vec<Stmt> {
    let fills = body
        .iter()
        .rposition(|s| matches!(s, Stmt::Fill { .. }))
        .map_or(0, |at| at + 1);
    let computed = body.split_off(fills);
    body.extend(within.head);
    body.extend(arrange(computed, &within.dots, lefts, turns));
    body.push(Stmt::DotWait(0));
    body.push(Stmt::If {
        cond: beside,
        body: within.rest,
    });
    body
}

/// Lets of the end that the loop itself carries on.
fn counted(grid: &Grid, end: &End) -> Vec<Stmt> {
    let mut wanted: BTreeSet<ValueId> = grid.carried.iter().map(|c| c.next).collect();
    let mut kept = Vec::new();
    for stmt in end.rest.iter().rev() {
        if let Stmt::Let(id, op) = stmt
            && wanted.contains(id)
        {
            wanted.extend(arguments(op));
            kept.push(stmt.clone());
        }
    }
    kept.reverse();
    kept
}
