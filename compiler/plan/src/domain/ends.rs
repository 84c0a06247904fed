//! Symbolic interval evaluation: the least and the largest value of an int expression over a tile, as expressions.
//!
//! Same rules as the numeric evaluation, with `min` and `max` of corners where a sign is not known at compile time.
//! `None` is unbounded. Extents count as at least 1: with an empty rank there is no point to be wrong about.

use super::Query;
use super::linear::Linear;
use super::table::{self, Count, Sorted};
use einloom_cascade::expr::{Arena, DType, Expr, ExprId, InputId, MapOp, VarId};

/// Least and largest value.
pub(super) type Ends = (Option<Linear>, Option<Linear>);

/// `min` or `max` of two ints, decided now where the difference is a constant.
pub(super) fn pick(arena: &mut Arena, op: MapOp, a: ExprId, b: ExprId) -> ExprId {
    let difference = Linear::of(arena, a).sub(&Linear::of(arena, b));
    match difference.and_then(|d| d.as_constant()) {
        Some(d) if (d >= 0) == (op == MapOp::Max) => a,
        Some(_) => b,
        None => arena.map(op, &[a, b]),
    }
}

/// `min` or `max` of two linear forms.
pub(super) fn pick_linear(arena: &mut Arena, op: MapOp, a: &Linear, b: &Linear) -> Linear {
    let (a, b) = (a.emit(arena), b.emit(arena));
    let end = pick(arena, op, a, b);
    Linear::of(arena, end)
}

/// Whether an int expression is certainly at least 1.
pub(super) fn positive(arena: &Arena, id: ExprId) -> bool {
    match arena.get(id) {
        Expr::Int(value) => *value > 0,
        Expr::Extent(_) => true,
        Expr::Map(MapOp::Mul | MapOp::Add | MapOp::Min, args) => args.iter().all(|&arg| positive(arena, arg)),
        Expr::Map(MapOp::Max, args) => args.iter().any(|&arg| positive(arena, arg)),
        _ => false,
    }
}

/// Ends of a linear form over the tile.
pub(super) fn of_linear(arena: &mut Arena, query: &Query<'_>, form: &Linear) -> Ends {
    let mut lo = Some(Linear::constant(form.constant));
    let mut hi = lo.clone();
    for (&atom, &k) in &form.terms {
        let (low, high) = of_atom(arena, query, atom);
        let (low, high) = if k > 0 { (low, high) } else { (high, low) };
        let plus = |sum: Option<Linear>, end: Option<Linear>| sum?.add(&end?.scale(k)?);
        lo = plus(lo, low);
        hi = plus(hi, high);
    }
    (lo, hi)
}

pub(super) fn of_expr(arena: &mut Arena, query: &Query<'_>, id: ExprId) -> Ends {
    let form = Linear::of(arena, id);
    of_linear(arena, query, &form)
}

fn point(id: ExprId) -> Ends {
    (Some(Linear::atom(id)), Some(Linear::atom(id)))
}

fn constants(lo: i64, hi: i64) -> Ends {
    (Some(Linear::constant(lo)), Some(Linear::constant(hi)))
}

fn of_atom(arena: &mut Arena, query: &Query<'_>, id: ExprId) -> Ends {
    match arena.get(id).clone() {
        Expr::Extent(_) | Expr::Scalar(_) => point(id),
        Expr::Var(var) => {
            // inside something that could not be solved, the streamed coordinate may be anywhere
            match query.stream.iter().position(|level| level.var == var) {
                Some(0) => return (Some(Linear::constant(0)), last(arena, query, var)),
                Some(depth) => return constants(0, query.stream[depth].extent - 1),
                None => {}
            }
            match (query.ends)(var) {
                Some((lo, hi)) => (Some(Linear::of(arena, lo)), Some(Linear::of(arena, hi))),
                None => (Some(Linear::constant(0)), None),
            }
        }
        Expr::Input(input, indices) => of_input(arena, query, input, &indices),
        Expr::Select([_, a, b]) => {
            let (a, b) = (of_expr(arena, query, a), of_expr(arena, query, b));
            both(arena, [MapOp::Min, MapOp::Max], a, b)
        }
        Expr::Map(op, args) => of_map(arena, query, op, &args),
        Expr::Reduce(_) => match Count::of(arena, id) {
            Some(count) => table::count_ends(arena, query, &count),
            None => (None, None),
        },
        _ => (None, None),
    }
}

fn last(arena: &Arena, query: &Query<'_>, var: VarId) -> Option<Linear> {
    let declared = query.vars.get(var.index())?;
    Linear::of(arena, declared.extent).shift(-1)
}

fn of_map(arena: &mut Arena, query: &Query<'_>, op: MapOp, args: &[ExprId]) -> Ends {
    match op {
        MapOp::BoolToInt => return constants(0, 1),
        MapOp::Popcount => return constants(0, 64),
        MapOp::Sign => return constants(-1, 1),
        MapOp::Mul | MapOp::IDiv | MapOp::IMod | MapOp::Min | MapOp::Max | MapOp::Abs | MapOp::BitAnd => {}
        // sums arrive here only if their linear form overflowed
        _ => return (None, None),
    }
    let a = of_expr(arena, query, args[0]);
    if op == MapOp::Abs {
        return abs(arena, a);
    }
    let b = of_expr(arena, query, args[1]);
    match op {
        MapOp::Min | MapOp::Max => both(arena, [op, op], a, b),
        MapOp::Mul => mul(arena, a, b),
        MapOp::IDiv if positive(arena, args[1]) => idiv(arena, a, b),
        MapOp::IMod if positive(arena, args[1]) => imod(arena, a, b),
        MapOp::BitAnd => {
            let constant = |ends: &Ends| ends.0.as_ref().and_then(Linear::as_constant);
            match (constant(&a), constant(&b)) {
                (_, Some(c)) if c >= 0 && b.0 == b.1 => constants(0, c),
                (Some(c), _) if c >= 0 && a.0 == a.1 => constants(0, c),
                _ => (None, None),
            }
        }
        _ => (None, None),
    }
}

fn both(arena: &mut Arena, ops: [MapOp; 2], a: Ends, b: Ends) -> Ends {
    let mut join = |op: MapOp, x: Option<Linear>, y: Option<Linear>, known_with: MapOp| match (x, y) {
        (Some(x), Some(y)) => Some(pick_linear(arena, op, &x, &y)),
        // one unbounded side does not matter for `max` of lower ends and `min` of upper ends
        (Some(x), None) | (None, Some(x)) if op == known_with => Some(x),
        _ => None,
    };
    let lo = join(ops[0], a.0, b.0, MapOp::Max);
    let hi = join(ops[1], a.1, b.1, MapOp::Min);
    (lo, hi)
}

fn abs(arena: &mut Arena, (lo, hi): Ends) -> Ends {
    let zero = Linear::constant(0);
    let mirror = |end: &Option<Linear>| end.as_ref().and_then(|e| e.scale(-1));
    let (up, down) = (mirror(&lo), mirror(&hi));
    let top = match (&hi, &up) {
        (Some(hi), Some(up)) => Some(pick_linear(arena, MapOp::Max, hi, up)),
        _ => None,
    };
    let low = [lo, down]
        .into_iter()
        .flatten()
        .fold(zero, |best, end| pick_linear(arena, MapOp::Max, &best, &end));
    (Some(low), top)
}

fn product(arena: &mut Arena, a: &Linear, b: &Linear) -> Option<Linear> {
    if let Some(k) = a.as_constant() {
        return b.scale(k);
    }
    let factor = b.emit(arena);
    a.times(arena, factor)
}

/// Corner products; one product where both factors are points.
fn mul(arena: &mut Arena, a: Ends, b: Ends) -> Ends {
    let ((Some(a0), Some(a1)), (Some(b0), Some(b1))) = (a, b) else {
        return (None, None);
    };
    let mut corners = Vec::new();
    for x in [&a0, &a1] {
        for y in [&b0, &b1] {
            match product(arena, x, y) {
                Some(corner) if corners.contains(&corner) => {}
                Some(corner) => corners.push(corner),
                None => return (None, None),
            }
        }
    }
    extremes(arena, &corners)
}

fn extremes(arena: &mut Arena, corners: &[Linear]) -> Ends {
    let mut of = |op: MapOp| {
        let mut rest = corners.iter();
        let first = rest.next()?.clone();
        Some(rest.fold(first, |best, corner| pick_linear(arena, op, &best, corner)))
    };
    (of(MapOp::Min), of(MapOp::Max))
}

fn quotient(arena: &mut Arena, a: &Linear, b: &Linear) -> Linear {
    match b.as_constant() {
        Some(k) if k > 0 => a.floor_div(arena, k),
        _ => {
            let (a, b) = (a.emit(arena), b.emit(arena));
            Linear::atom(arena.map(MapOp::IDiv, &[a, b]))
        }
    }
}

/// Floor division by an interval of positive ints.
fn idiv(arena: &mut Arena, a: Ends, b: Ends) -> Ends {
    let (Some(b0), Some(b1)) = b else {
        return (None, None);
    };
    let mut end = |end: Option<Linear>, op: MapOp| {
        let end = end?;
        let first = quotient(arena, &end, &b0);
        let second = quotient(arena, &end, &b1);
        Some(pick_linear(arena, op, &first, &second))
    };
    let lo = end(a.0, MapOp::Min);
    (lo, end(a.1, MapOp::Max))
}

/// Remainder by an interval of positive ints: exact for points, else `0..=c - 1`.
fn imod(arena: &mut Arena, a: Ends, b: Ends) -> Ends {
    let zero = Some(Linear::constant(0));
    match (a, b) {
        ((Some(a0), Some(a1)), (Some(b0), Some(b1))) if a0 == a1 && b0 == b1 => {
            let (a, b) = (a0.emit(arena), b0.emit(arena));
            let rest = Linear::atom(arena.map(MapOp::IMod, &[a, b]));
            (Some(rest.clone()), Some(rest))
        }
        (_, (_, Some(b1))) => (zero, b1.shift(-1)),
        _ => (zero, None),
    }
}

/// A table read at one place that is certainly in bounds is a value of the tile, and a sorted one read at many lies between the values at the
/// ends; else the range of its type.
fn of_input(arena: &mut Arena, query: &Query<'_>, input: InputId, indices: &[ExprId]) -> Ends {
    let Some(declared) = query.inputs.get(input.index()) else {
        return (None, None);
    };
    let by_type = match declared.dtype {
        DType::I64 | DType::I32 => (None, None),
        DType::I16 => constants(i64::from(i16::MIN), i64::from(i16::MAX)),
        DType::I8 => constants(i64::from(i8::MIN), i64::from(i8::MAX)),
        DType::U8 => constants(0, i64::from(u8::MAX)),
        DType::F32 | DType::F16 | DType::BF16 | DType::Bool => return (None, None),
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let mut spread = 0;
    for (dim, (&index, declared)) in indices.iter().zip(&declared.dims).enumerate() {
        let (Some(lo), Some(hi)) = of_expr(arena, query, index) else {
            return by_type;
        };
        let rises = query.sorted.contains(&Sorted { input, dim });
        spread += usize::from(lo != hi);
        if (lo != hi && !rises) || spread > 1 || !in_bounds(arena, query, index, declared.extent) {
            return by_type;
        }
        first.push(lo.emit(arena));
        last.push(hi.emit(arena));
    }
    let value = |arena: &mut Arena, places| Some(Linear::atom(arena.add(Expr::Input(input, places))));
    (value(arena, first), value(arena, last))
}

/// Whether `0 <= index < extent` for all coordinates of the index's variables, by linear bounds.
fn in_bounds(arena: &Arena, query: &Query<'_>, index: ExprId, extent: ExprId) -> bool {
    let form = Linear::of(arena, index);
    let mut least = form.constant;
    let mut most = Some(Linear::constant(form.constant));
    for (&atom, &k) in &form.terms {
        let Expr::Var(var) = arena.get(atom) else {
            return false;
        };
        let last = last(arena, query, *var);
        if k < 0 {
            let Some(last) = last.and_then(|l| l.as_constant()) else {
                return false;
            };
            least = least.saturating_add(last.saturating_mul(k));
        } else {
            most = most.and_then(|m| m.add(&last?.scale(k)?));
        }
    }
    let room = most.and_then(|m| Linear::of(arena, extent).sub(&m)?.as_constant());
    least >= 0 && room.is_some_and(|room| room > 0)
}
