//! Sorted tables: int tensors that are promised not to fall along a dimension.
//!
//! In such a table `t[m] >= x` is a bound of `m`: the elements below `x` are the first ones, and their number `count(t < x)` is the first
//! coordinate from which it holds. The number is written as the expression `sum[v](t[v] < x)`, so that it means what it says to whoever
//! evaluates it; a kernel finds it by searching. It rises with `x`, whether the table is sorted or not.

use super::linear::Linear;
use super::mention::mentions;
use super::{Query, ends};
use einloom_cascade::expr::{Arena, DType, Expr, ExprId, InputId, MapOp, Reduce, ReduceOp, VarId};
use einloom_cascade::ir::{Cascade, Var};

/// An int input that does not fall along a dimension, whatever its other coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorted {
    pub input: InputId,
    pub dim: usize,
}

/// The tables that a cascade promises to be sorted: `assume t <= t[p := p + 1]`, strict or not, for all neighbours.
pub fn sorted(cascade: &Cascade) -> Vec<Sorted> {
    let mut found = Vec::new();
    for &promise in &cascade.assumes {
        // A promise holds where what it reads exists.
        let (exists, holds) = match cascade.exprs.get(promise) {
            Expr::Map(MapOp::Or, args) => match cascade.exprs.get(args[0]) {
                Expr::Map(MapOp::Not, exists) => (Some(exists[0]), args[1]),
                _ => continue,
            },
            _ => (None, promise),
        };
        let mut open = vec![holds];
        while let Some(id) = open.pop() {
            match cascade.exprs.get(id) {
                Expr::Map(MapOp::And, args) => open.extend(args.iter().rev()),
                Expr::Map(MapOp::Le | MapOp::Lt, args) => {
                    let order = neighbours(cascade, args[0], args[1]);
                    let all = |sorted: &Sorted| exists.is_none_or(|e| only_bounds(cascade, e, *sorted, &args[..2]));
                    found.extend(order.filter(all).filter(|sorted| !found.contains(sorted)));
                }
                _ => {}
            }
        }
    }
    found
}

/// `t[.., x, ..] <= t[.., x + 1, ..]` for all coordinates of `t`.
fn neighbours(cascade: &Cascade, low: ExprId, high: ExprId) -> Option<Sorted> {
    let arena = &cascade.exprs;
    let (Expr::Input(input, at), Expr::Input(other, next)) = (arena.get(low), arena.get(high)) else {
        return None;
    };
    let declared = &cascade.inputs[input.index()];
    let ints = matches!(declared.dtype, DType::I32 | DType::I16 | DType::I8 | DType::U8);
    let differ: Vec<usize> = (0..at.len()).filter(|&d| at[d] != next[d]).collect();
    let ([dim], true, true) = (differ.as_slice(), input == other, ints) else {
        return None;
    };
    let mut used = Vec::new();
    for (d, &index) in at.iter().enumerate() {
        let form = Linear::of(arena, index);
        let (&atom, Some(1)) = (form.terms.keys().next()?, form.terms.values().next().copied()) else {
            return None;
        };
        let Expr::Var(var) = arena.get(atom) else { return None };
        if form.terms.len() != 1 || used.contains(var) {
            return None;
        }
        used.push(*var);
        // coordinates `shift..extent + shift` of the variable, which must be all (but for the last along `dim`)
        let shift = form.constant;
        let extent = Linear::of(arena, cascade.vars[var.index()].extent);
        let room = extent.sub(&Linear::of(arena, declared.dims[d].extent))?.as_constant()?;
        let last = i64::from(d == *dim);
        if shift > 0 || (d != *dim && shift != 0) || room + shift + last < 0 {
            return None;
        }
    }
    let step = Linear::of(arena, next[*dim]).sub(&Linear::of(arena, at[*dim]))?;
    (step.as_constant() == Some(1)).then_some(Sorted {
        input: *input,
        dim: *dim,
    })
}

/// Whether a condition only says that the two reads are inside.
fn only_bounds(cascade: &Cascade, id: ExprId, sorted: Sorted, reads: &[ExprId]) -> bool {
    let arena = &cascade.exprs;
    let extent = Linear::of(arena, cascade.inputs[sorted.input.index()].dims[sorted.dim].extent);
    let read = |form: &Linear| {
        reads.iter().any(|&read| match arena.get(read) {
            Expr::Input(_, at) => Linear::of(arena, at[sorted.dim]) == *form,
            _ => false,
        })
    };
    match arena.get(id) {
        Expr::Bool(value) => *value,
        Expr::Map(MapOp::And, args) => args.iter().all(|&arg| only_bounds(cascade, arg, sorted, reads)),
        Expr::Map(op @ (MapOp::Lt | MapOp::Le), args) => {
            let (a, b) = (Linear::of(arena, args[0]), Linear::of(arena, args[1]));
            let below = *op == MapOp::Lt && b == extent && read(&a);
            below || (*op == MapOp::Le && a.as_constant() == Some(0) && read(&b))
        }
        _ => false,
    }
}

/// `sum[v](t[.., v, ..] < limit)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub input: InputId,
    /// Coordinates; that of `dim` is the counted one.
    pub places: Vec<ExprId>,
    pub dim: usize,
    pub limit: ExprId,
}

impl Count {
    /// Reads the expression that [`Count::emit`] makes.
    pub fn of(arena: &Arena, id: ExprId) -> Option<Count> {
        let Expr::Reduce(Reduce {
            op: ReduceOp::Sum,
            vars,
            conds,
            body,
        }) = arena.get(id)
        else {
            return None;
        };
        let ([var], true, Expr::Map(MapOp::BoolToInt, truth)) = (vars.as_slice(), conds.is_empty(), arena.get(*body))
        else {
            return None;
        };
        let Expr::Map(MapOp::Lt, args) = arena.get(truth[0]) else {
            return None;
        };
        let Expr::Input(input, places) = arena.get(args[0]) else {
            return None;
        };
        let bound = |&place: &ExprId| mentions(arena, place, &[*var]);
        let dim = places.iter().position(bound)?;
        let plain = matches!(arena.get(places[dim]), Expr::Var(v) if v == var);
        let once = !places[dim + 1..].iter().any(bound) && !bound(&args[1]);
        (plain && once).then(|| Count {
            input: *input,
            places: places.clone(),
            dim,
            limit: args[1],
        })
    }

    /// The same count with another limit.
    fn with(&self, arena: &mut Arena, limit: ExprId) -> ExprId {
        let below = Count { limit, ..self.clone() };
        below.emit(arena)
    }

    fn emit(&self, arena: &mut Arena) -> ExprId {
        let Expr::Var(var) = *arena.get(self.places[self.dim]) else {
            return arena.int(0);
        };
        let read = arena.add(Expr::Input(self.input, self.places.clone()));
        let below = arena.map(MapOp::Lt, &[read, self.limit]);
        let body = arena.map(MapOp::BoolToInt, &[below]);
        arena.add(Expr::Reduce(Reduce {
            op: ReduceOp::Sum,
            vars: vec![var],
            conds: Vec::new(),
            body,
        }))
    }
}

/// Dimension along which a read of a sorted table mentions a variable of `vars`, if it is the only one.
pub(super) fn streamed_dim(arena: &Arena, query: &Query<'_>, read: ExprId, vars: &[VarId]) -> Option<usize> {
    let Expr::Input(input, places) = arena.get(read) else {
        return None;
    };
    let known = |s: &&Sorted| s.input == *input && mentions(arena, places[s.dim], vars);
    let dim = query.sorted.iter().find(known)?.dim;
    let others = places.iter().enumerate().filter(|(d, _)| *d != dim);
    (!others
        .map(|(_, &place)| place)
        .any(|place| mentions(arena, place, vars)))
    .then_some(dim)
}

/// `count(t < limit)` for the table that `read` reads, counted along `dim`. `None` if no variable is free to count with.
pub(super) fn count_below(
    arena: &mut Arena,
    query: &Query<'_>,
    read: ExprId,
    dim: usize,
    limit: &Linear,
) -> Option<ExprId> {
    let Expr::Input(input, places) = arena.get(read).clone() else {
        return None;
    };
    let extent = query.inputs.get(input.index())?.dims.get(dim)?.extent;
    let limit = limit.emit(arena);
    // Ends of the tile may be variables too, and take the place of others in the limit later on.
    let end = |arena: &Arena, var: VarId| {
        let ends = (0..query.vars.len())
            .map(|w| VarId(w as u32))
            .filter(|&w| w != var)
            .filter_map(query.ends);
        ends.into_iter()
            .any(|(lo, hi)| mentions(arena, lo, &[var]) || mentions(arena, hi, &[var]))
    };
    let taken = |arena: &Arena, var: VarId| {
        let others = places
            .iter()
            .enumerate()
            .filter(|(d, _)| *d != dim)
            .map(|(_, &place)| place);
        others.chain([limit]).any(|id| mentions(arena, id, &[var])) || end(arena, var)
    };
    let fits = |(at, var): (usize, &Var)| {
        let id = VarId(at as u32);
        (var.extent == extent && !taken(arena, id)).then_some(id)
    };
    let var = query.vars.iter().enumerate().find_map(fits)?;
    let mut places = places.clone();
    places[dim] = arena.var(var);
    let count = Count {
        input,
        places,
        dim,
        limit,
    };
    Some(count.emit(arena))
}

/// Least and largest value of a count over the tile.
pub(super) fn count_ends(arena: &mut Arena, query: &Query<'_>, count: &Count) -> ends::Ends {
    let extent = query.inputs.get(count.input.index()).map(|i| i.dims[count.dim].extent);
    let mut fixed = count.clone();
    for (d, &place) in count.places.iter().enumerate().filter(|(d, _)| *d != count.dim) {
        match ends::of_expr(arena, query, place) {
            (Some(lo), Some(hi)) if lo == hi => fixed.places[d] = lo.emit(arena),
            _ => return (Some(Linear::constant(0)), extent.map(Linear::atom)),
        }
    }
    let (least, most) = ends::of_expr(arena, query, count.limit);
    let mut end = |limit: Option<Linear>| {
        let limit = limit?.emit(arena);
        Some(Linear::atom(fixed.with(arena, limit)))
    };
    let lo = end(least).or(Some(Linear::constant(0)));
    (lo, end(most).or(extent.map(Linear::atom)))
}

/// Removes from the `min` (`max`) `end` what another side makes idle: up to `x`, no element of a sorted table is above `t[x]`, and from
/// `x` on none is below it.
pub(super) fn without_idle(arena: &mut Arena, query: &Query<'_>, end: ExprId, op: MapOp) -> ExprId {
    let mut sides = Vec::new();
    let mut open = vec![end];
    while let Some(id) = open.pop() {
        match arena.get(id) {
            Expr::Map(o, args) if *o == op => open.extend(args.iter().rev()),
            _ => sides.push(id),
        }
    }
    let idle = |side: ExprId| {
        let form = Linear::of(arena, side);
        let counts: Vec<_> = form
            .terms
            .iter()
            .filter_map(|(&id, &k)| Some((Count::of(arena, id)?, k)))
            .collect();
        let [(count, 1)] = counts.as_slice() else { return false };
        let sorted = Sorted {
            input: count.input,
            dim: count.dim,
        };
        if form.terms.len() != 1 || !query.sorted.contains(&sorted) {
            return false;
        }
        sides
            .iter()
            .any(|&other| other != side && makes_idle(arena, count, form.constant, other, op))
    };
    let kept: Vec<ExprId> = sides.iter().copied().filter(|&side| !idle(side)).collect();
    if kept.len() == sides.len() {
        return end;
    }
    kept.into_iter().reduce(|a, b| arena.map(op, &[a, b])).unwrap_or(end)
}

/// Whether `count + shift` never cuts below (`Min`) or above (`Max`) `other = x`, the count's limit being `t[x] + c`.
fn makes_idle(arena: &Arena, count: &Count, shift: i64, other: ExprId, op: MapOp) -> bool {
    let limit = Linear::of(arena, count.limit);
    let Some((&read, 1)) = limit.terms.iter().next().map(|(id, &k)| (id, k)) else {
        return false;
    };
    let Expr::Input(input, places) = arena.get(read) else {
        return false;
    };
    let same = *input == count.input
        && (0..places.len()).all(|d| d == count.dim || places[d] == count.places[d])
        && limit.terms.len() == 1
        && Linear::of(arena, places[count.dim]) == Linear::of(arena, other);
    // count(t < t[x] + c) >= x + 1 for c >= 1, and <= x for c <= 0
    same && if op == MapOp::Min {
        limit.constant >= 1 && shift >= -1
    } else {
        limit.constant <= 0 && shift <= 0
    }
}
