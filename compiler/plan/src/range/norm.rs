//! Dot products of rows whose norm is bounded: `|sum a b| <= |a| |b|` (Cauchy and Schwarz).
//!
//! A factor `x * s` with `s` free of the summed ranks has norm `sqrt(s^2 sum x^2)`. With `s = rsqrt(t)` or `1 / sqrt(t)`
//! and `t >= c sum x^2` (root mean square and l2 normalisation, with or without an epsilon) it is at most `1 / sqrt(c)`.

use super::Analysis;
use crate::domain::mentions;
use einloom_cascade::expr::{Expr, ExprId, MapOp, Reduce, ReduceOp, VarId};

/// A bound of the absolute value of a sum of products, if every factor has a bounded norm.
pub(super) fn dot_bound(analysis: &Analysis<'_>, reduce: &Reduce) -> Option<f64> {
    let mut factors = Factors::default();
    factors.split(analysis, reduce.body, false);
    let (inside, outside): (Vec<_>, Vec<_>) = factors
        .list
        .into_iter()
        .partition(|(factor, _)| mentions(analysis.arena, *factor, &reduce.vars));
    let bases: Vec<ExprId> = inside
        .iter()
        .filter(|(_, inverse)| !inverse)
        .map(|(factor, _)| *factor)
        .collect();
    if bases.len() != inside.len() || bases.is_empty() || bases.len() > 2 {
        return None;
    }
    let mut bound = 1.0;
    let mut scales = outside;
    for &base in &bases {
        bound *= match scales
            .iter()
            .enumerate()
            .find_map(|(at, scale)| Some((at, norm(analysis, base, *scale, &reduce.vars)?)))
        {
            Some((at, norm)) => {
                scales.remove(at);
                norm
            }
            None => row_bound(analysis, base, &reduce.vars)?,
        };
    }
    for (scale, inverse) in scales {
        let range = analysis.of(scale);
        let range = if inverse { range.reciprocal() } else { range };
        bound *= range.lo.abs().max(range.hi.abs());
    }
    if bases.len() == 1 {
        // a single factor against ones
        let points = analysis.points(reduce)?;
        bound *= points.sqrt();
    }
    bound.is_finite().then_some(bound)
}

#[derive(Default)]
struct Factors {
    /// Factor, and whether it divides.
    list: Vec<(ExprId, bool)>,
}

impl Factors {
    fn split(&mut self, analysis: &Analysis<'_>, id: ExprId, inverse: bool) {
        match analysis.arena.get(id) {
            Expr::Map(MapOp::Mul, args) => {
                self.split(analysis, args[0], inverse);
                self.split(analysis, args[1], inverse);
            }
            Expr::Map(MapOp::Div, args) => {
                self.split(analysis, args[0], inverse);
                self.split(analysis, args[1], !inverse);
            }
            _ => self.list.push((id, inverse)),
        }
    }
}

/// Norm of a factor of bounded elements over a compile-time rank.
fn row_bound(analysis: &Analysis<'_>, base: ExprId, vars: &[VarId]) -> Option<f64> {
    let range = analysis.of(base);
    let mut points = 1.0;
    for &var in vars {
        points *= analysis.constant_extent(var)? as f64;
    }
    let largest = range.lo.abs().max(range.hi.abs());
    (largest.is_finite()).then(|| largest * points.sqrt())
}

/// Norm of `base * scale` if `scale` normalises `base`.
fn norm(analysis: &Analysis<'_>, base: ExprId, scale: (ExprId, bool), vars: &[VarId]) -> Option<f64> {
    let (id, inverse) = scale;
    match (analysis.arena.get(id), inverse) {
        (Expr::Map(MapOp::Rsqrt, args), false) | (Expr::Map(MapOp::Sqrt, args), true) => {
            let share = share(analysis, base, args[0], vars)?;
            Some((1.0 / share).sqrt())
        }
        // max(sqrt(t), eps) >= sqrt(t)
        (Expr::Map(MapOp::Max, args), true) => args.iter().find_map(|&arg| norm(analysis, base, (arg, true), vars)),
        (Expr::Map(MapOp::Div, args), false) => {
            let one = analysis.of(args[0]);
            (one.lo == 1.0 && one.hi == 1.0)
                .then(|| norm(analysis, base, (args[1], true), vars))
                .flatten()
        }
        _ => None,
    }
}

/// `c > 0` with `t >= c * sum over vars of base^2`.
fn share(analysis: &Analysis<'_>, base: ExprId, t: ExprId, vars: &[VarId]) -> Option<f64> {
    match analysis.arena.get(t) {
        Expr::Map(MapOp::Add, args) => {
            let side = |a: ExprId, b: ExprId| (analysis.of(b).lo >= 0.0).then(|| share(analysis, base, a, vars))?;
            side(args[0], args[1]).or_else(|| side(args[1], args[0]))
        }
        Expr::Map(MapOp::Div, args) => {
            let by = analysis.of(args[1]);
            (by.lo > 0.0 && by.hi.is_finite())
                .then(|| share(analysis, base, args[0], vars))?
                .map(|c| c / by.hi)
        }
        Expr::Map(MapOp::Mul, args) => {
            let scaled = |a: ExprId, b: ExprId| {
                let by = analysis.of(b).lo;
                (by > 0.0).then(|| share(analysis, base, a, vars))?.map(|c| c * by)
            };
            scaled(args[0], args[1]).or_else(|| scaled(args[1], args[0]))
        }
        Expr::Map(MapOp::Max, args) => (args.iter()).find_map(|&arg| share(analysis, base, arg, vars)),
        Expr::Reduce(sum) if sum.op == ReduceOp::Sum && sum.conds.is_empty() => squares(analysis, base, sum, vars),
        _ => None,
    }
}

/// `sum` is over renamed `vars` and its body is `base^2` (times a positive constant).
fn squares(analysis: &Analysis<'_>, base: ExprId, sum: &Reduce, vars: &[VarId]) -> Option<f64> {
    if sum.vars.len() != vars.len() {
        return None;
    }
    let same_extent = sum.vars.iter().zip(vars).all(|(a, b)| {
        let of = |v: &VarId| analysis.vars.get(v.index()).map(|var| var.extent);
        of(a).is_some() && of(a) == of(b)
    });
    let rename: Vec<(VarId, VarId)> = sum.vars.iter().copied().zip(vars.iter().copied()).collect();
    if !same_extent {
        return None;
    }
    match analysis.arena.get(sum.body) {
        Expr::Map(MapOp::Mul, args) if args[0] == args[1] => same(analysis, args[0], base, &rename).then_some(1.0),
        Expr::Map(MapOp::Mul, args) => {
            let nested = |square: ExprId, by: ExprId| {
                let inner = Reduce {
                    body: square,
                    ..sum.clone()
                };
                let by = analysis.of(by).lo;
                (by > 0.0)
                    .then(|| squares(analysis, base, &inner, vars))?
                    .map(|c| c * by)
            };
            nested(args[0], args[1]).or_else(|| nested(args[1], args[0]))
        }
        Expr::Map(MapOp::Div, args) => {
            let inner = Reduce {
                body: args[0],
                ..sum.clone()
            };
            let by = analysis.of(args[1]);
            (by.lo > 0.0 && by.hi.is_finite())
                .then(|| squares(analysis, base, &inner, vars))?
                .map(|c| c / by.hi)
        }
        Expr::Map(MapOp::Pow, args) => {
            let two = analysis.of(args[1]);
            (two.lo == 2.0 && two.hi == 2.0 && same(analysis, args[0], base, &rename)).then_some(1.0)
        }
        _ => None,
    }
}

/// Whether two expressions are the same after renaming variables of the first.
fn same(analysis: &Analysis<'_>, a: ExprId, b: ExprId, rename: &[(VarId, VarId)]) -> bool {
    let arena = analysis.arena;
    if a == b {
        return !rename
            .iter()
            .any(|&(from, to)| from != to && mentions(arena, a, &[from, to]));
    }
    let all =
        |x: &[ExprId], y: &[ExprId]| x.len() == y.len() && x.iter().zip(y).all(|(&x, &y)| same(analysis, x, y, rename));
    match (arena.get(a), arena.get(b)) {
        (Expr::Var(x), Expr::Var(y)) => rename.iter().find(|(from, _)| from == x).map_or(x, |(_, to)| to) == y,
        (Expr::Input(x, at), Expr::Input(y, to)) => x == y && all(at, to),
        (Expr::Def(x, at), Expr::Def(y, to)) => x == y && all(at, to),
        (Expr::Leaf(x, at), Expr::Leaf(y, to)) => x == y && all(at, to),
        (Expr::Map(x, at), Expr::Map(y, to)) => x == y && all(at, to),
        (Expr::Select(x), Expr::Select(y)) => all(x, y),
        _ => false,
    }
}
