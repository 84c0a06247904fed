//! Solves conditions for the streamed coordinate.
//!
//! Invariant: the live ranges of a list of parts are pairwise disjoint (or the list would count a tile twice), and ascend: of two parts that both
//! have points, all points of the former lie before those of the latter.

use super::ends::{of_linear, pick, positive};
use super::linear::Linear;
use super::mention::{self, Sort};
use super::table::{count_below, streamed_dim, without_idle};
use super::{Part, Query, Range};
use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp, VarId};

/// Comparisons that one projection may split into; beyond that a condition is left unsolved.
const COMPARISONS: u32 = 128;

/// An end beyond every coordinate, far enough from the limits of 32-bit ints.
const FAR: i64 = 1 << 30;

const ALL: Range = Range { lo: None, hi: None };
const EVERYWHERE: Part = Part {
    live: ALL,
    full: Some(ALL),
};
const UNKNOWN: Part = Part { live: ALL, full: None };

pub(super) struct Solver<'a, 'q> {
    arena: &'a mut Arena,
    query: &'q Query<'q>,
    left: u32,
}

impl<'a, 'q> Solver<'a, 'q> {
    pub(super) fn new(arena: &'a mut Arena, query: &'q Query<'q>) -> Self {
        Solver {
            arena,
            query,
            left: COMPARISONS,
        }
    }

    pub(super) fn all(&mut self, conds: &[ExprId]) -> Vec<Part> {
        let mut parts = vec![EVERYWHERE];
        for &cond in conds {
            let next = self.formula(cond, false);
            parts = self.and(&parts, &next);
        }
        for part in &mut parts {
            for range in [Some(&mut part.live), part.full.as_mut()].into_iter().flatten() {
                let lo = range.lo.map(|lo| without_idle(self.arena, self.query, lo, MapOp::Max));
                let hi = range.hi.map(|hi| without_idle(self.arena, self.query, hi, MapOp::Min));
                *range = Range { lo, hi };
            }
        }
        parts
    }

    /// Parts of a condition, or of its negation.
    fn formula(&mut self, id: ExprId, negated: bool) -> Vec<Part> {
        match self.arena.get(id).clone() {
            Expr::Bool(value) => truth(value != negated),
            Expr::Map(MapOp::Not, args) => self.formula(args[0], !negated),
            Expr::Map(op @ (MapOp::And | MapOp::Or), args) => {
                let left = self.formula(args[0], negated);
                let right = self.formula(args[1], negated);
                if (op == MapOp::And) != negated {
                    self.and(&left, &right)
                } else {
                    self.or(&left, &right)
                }
            }
            Expr::Select([c, a, b]) => {
                let (chosen, other) = (self.formula(c, false), self.formula(c, true));
                let (a, b) = (self.formula(a, negated), self.formula(b, negated));
                self.either(&chosen, &a, &other, &b)
            }
            Expr::Map(op @ (MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne), args) => {
                self.comparison(op, &args, negated)
            }
            _ => vec![UNKNOWN],
        }
    }

    /// `(c and a) or (not c and b)`.
    fn either(&mut self, c: &[Part], a: &[Part], not_c: &[Part], b: &[Part]) -> Vec<Part> {
        let (left, right) = (self.and(c, a), self.and(not_c, b));
        self.or(&left, &right)
    }

    fn comparison(&mut self, op: MapOp, args: &[ExprId], negated: bool) -> Vec<Part> {
        if mention::kind(self.arena, args[0]) == Some(Sort::Bool) {
            let same = (op == MapOp::Eq) != negated;
            let (a, not_a) = (self.formula(args[0], false), self.formula(args[0], true));
            let (b, not_b) = (self.formula(args[1], !same), self.formula(args[1], same));
            return self.either(&a, &b, &not_a, &not_b);
        }
        let Some((left, right)) = mention::int_operands_of(self.arena, args, self.query.inputs) else {
            return vec![UNKNOWN];
        };
        let (left, right) = (Linear::of(self.arena, left), Linear::of(self.arena, right));
        let (Some(below), Some(above)) = (left.sub(&right), right.sub(&left)) else {
            return vec![UNKNOWN];
        };
        let strict = |d: &Linear| d.shift(1);
        match (op, negated) {
            (MapOp::Lt, false) => self.at_most_zero(strict(&below)),
            (MapOp::Lt, true) => self.at_most_zero(Some(above)),
            (MapOp::Le, false) => self.at_most_zero(Some(below)),
            (MapOp::Le, true) => self.at_most_zero(strict(&above)),
            (MapOp::Eq, false) | (MapOp::Ne, true) => {
                let (a, b) = (self.at_most_zero(Some(below)), self.at_most_zero(Some(above)));
                self.and(&a, &b)
            }
            _ => {
                let (a, b) = (self.at_most_zero(strict(&below)), self.at_most_zero(strict(&above)));
                self.or(&a, &b)
            }
        }
    }

    /// Parts where `form <= 0`.
    fn at_most_zero(&mut self, form: Option<Linear>) -> Vec<Part> {
        let Some(form) = form else {
            return vec![UNKNOWN];
        };
        if let Some(value) = form.as_constant() {
            return truth(value <= 0);
        }
        if self.left == 0 {
            return vec![UNKNOWN];
        }
        self.left -= 1;
        match self.split(&form) {
            Some(parts) => parts,
            None => self.solve(&form),
        }
    }

    /// Splits at the first `max`, `min`, `abs`, selection or truth value that mentions the stream.
    fn split(&mut self, form: &Linear) -> Option<Vec<Part>> {
        let streamed = self.streamed();
        let splits = |arena: &Arena, atom: ExprId| {
            let head = matches!(
                arena.get(atom),
                Expr::Map(MapOp::Max | MapOp::Min | MapOp::Abs | MapOp::BoolToInt, _) | Expr::Select(_)
            );
            head && mention::mentions(arena, atom, &streamed)
        };
        let atom = (form.terms.keys().copied()).find(|&atom| splits(self.arena, atom))?;
        let (rest, k) = form.without(atom);
        let with = |x: &Linear| rest.add(&x.scale(k)?);
        let of = |arena: &Arena, id: ExprId| Linear::of(arena, id);
        Some(match self.arena.get(atom).clone() {
            Expr::Select([c, a, b]) => {
                let (a, b) = (with(&of(self.arena, a)), with(&of(self.arena, b)));
                self.cases(c, a, b)
            }
            Expr::Map(MapOp::BoolToInt, args) => {
                let (one, zero) = (with(&Linear::constant(1)), Some(rest.clone()));
                self.cases(args[0], one, zero)
            }
            Expr::Map(op, args) => {
                let first = of(self.arena, args[0]);
                let second = match op {
                    MapOp::Abs => first.scale(-1),
                    _ => Some(of(self.arena, args[1])),
                };
                let second = second.and_then(|x| with(&x));
                let (a, b) = (self.at_most_zero(with(&first)), self.at_most_zero(second));
                if (op == MapOp::Min) == (k > 0) {
                    self.or(&a, &b)
                } else {
                    self.and(&a, &b)
                }
            }
            _ => unreachable!("only heads that split are found"),
        })
    }

    fn cases(&mut self, c: ExprId, a: Option<Linear>, b: Option<Linear>) -> Vec<Part> {
        let (chosen, other) = (self.formula(c, false), self.formula(c, true));
        let (a, b) = (self.at_most_zero(a), self.at_most_zero(b));
        self.either(&chosen, &a, &other, &b)
    }

    fn streamed(&self) -> Vec<VarId> {
        self.query.stream.iter().map(|level| level.var).collect()
    }

    /// Solves `form <= 0` for the streamed coordinate.
    fn solve(&mut self, form: &Linear) -> Vec<Part> {
        let Some(outer) = self.query.stream.first() else {
            return self.guard(form);
        };
        let outer_atom = self.arena.var(outer.var);
        let (rest, k, stride, solved) = match form.terms.get(&outer_atom) {
            Some(_) => self.prefix(form),
            None => (form.clone(), 0, 1, vec![outer.var]),
        };
        let inside: Vec<ExprId> = (rest.terms.keys().copied())
            .filter(|&atom| mention::mentions(self.arena, atom, &solved))
            .collect();
        match (k, inside.as_slice()) {
            (0, []) => self.guard(form),
            (0, [atom]) => self.unwrap(form, *atom),
            (_, []) => self.bound(&rest, k, stride),
            _ => self.guard(form),
        }
    }

    /// Takes the longest run of levels out of `form` whose coefficients say `k * (coordinate // stride)`.
    /// Returns the rest, `k`, the stride and the variables taken.
    fn prefix(&mut self, form: &Linear) -> (Linear, i64, i64, Vec<VarId>) {
        let stream = self.query.stream;
        let mut rest = form.clone();
        let mut taken: Vec<VarId> = Vec::new();
        let mut k = 0;
        // stride of the levels below the last one taken
        let inner = |from: usize| stream[from..].iter().map(|l| l.extent).product::<i64>();
        for (depth, level) in stream.iter().enumerate() {
            let atom = self.arena.var(level.var);
            let (without, coefficient) = rest.without(atom);
            let fits = depth == 0 || (coefficient != 0 && coefficient.checked_mul(level.extent) == Some(k));
            if !fits {
                break;
            }
            (rest, k) = (without, coefficient);
            taken.push(level.var);
        }
        let stride = inner(taken.len());
        (rest, k, stride, taken)
    }

    /// `k * (coordinate // stride) + rest <= 0`, `rest` free of the coordinate.
    fn bound(&mut self, rest: &Linear, k: i64, stride: i64) -> Vec<Part> {
        let Some(side) = rest.scale(-1) else {
            return vec![UNKNOWN];
        };
        let (least, most) = of_linear(self.arena, self.query, &side);
        let mut end = |side: Option<Linear>| -> Option<ExprId> {
            let quotient = side?.floor_div(self.arena, k.checked_abs()?);
            let end = match k > 0 {
                true => quotient.scale(stride)?.shift(stride - 1)?,
                false => quotient.scale(stride)?.scale(-1)?,
            };
            Some(end.emit(self.arena))
        };
        let range = |end: ExprId| match k > 0 {
            true => Range {
                lo: None,
                hi: Some(end),
            },
            false => Range {
                lo: Some(end),
                hi: None,
            },
        };
        vec![Part {
            live: end(most).map_or(ALL, range),
            full: end(least).map(range),
        }]
    }

    /// `form <= 0` where the coordinate stands inside of the one `atom`: inverts a division, a positive factor or a sorted table.
    fn unwrap(&mut self, form: &Linear, atom: ExprId) -> Vec<Part> {
        let (rest, k) = form.without(atom);
        if let Some(dim) = streamed_dim(self.arena, self.query, atom, &self.streamed()) {
            let next = self.searched(&rest, k, atom, dim);
            return match next {
                Some(next) => self.at_most_zero(Some(next)),
                None => self.guard(form),
            };
        }
        let (Expr::Map(op @ (MapOp::IDiv | MapOp::Mul), args), Some(n), Some(side)) =
            (self.arena.get(atom).clone(), k.checked_abs(), rest.scale(-1))
        else {
            return self.guard(form);
        };
        let streamed = self.streamed();
        let free = |arena: &Arena, id: ExprId| positive(arena, id) && !mention::mentions(arena, id, &streamed);
        let (inner, factor) = match (op, args.as_slice()) {
            (_, [x, c]) if free(self.arena, *c) => (*x, *c),
            (MapOp::Mul, [c, x]) if free(self.arena, *c) => (*x, *c),
            _ => return self.guard(form),
        };
        let x = Linear::of(self.arena, inner);
        // k > 0: value <= limit; k < 0: value >= -limit
        let limit = side.floor_div(self.arena, n);
        let next = if op == MapOp::Mul {
            let (limit, zero) = (limit.emit(self.arena), Linear::constant(0));
            let end = Linear::atom(self.arena.map(MapOp::IDiv, &[limit, factor]));
            if k > 0 {
                x.sub(&end)
            } else {
                zero.sub(&end).and_then(|d| d.sub(&x))
            }
        } else {
            // x // c <= limit iff x <= c * (limit + 1) - 1;  x // c >= -limit iff x >= -c * limit
            let shifted = if k > 0 { limit.shift(1) } else { Some(limit) };
            let end = shifted.and_then(|l| l.times(self.arena, factor));
            match (end, k > 0) {
                (Some(end), true) => x.sub(&end).and_then(|d| d.shift(1)),
                (Some(end), false) => end.scale(-1).and_then(|d| d.sub(&x)),
                (None, _) => None,
            }
        };
        self.at_most_zero(next)
    }

    /// `k * read + rest <= 0` as a form of the coordinate at which a sorted table is read.
    fn searched(&mut self, rest: &Linear, k: i64, read: ExprId, dim: usize) -> Option<Linear> {
        let Expr::Input(_, places) = self.arena.get(read) else {
            return None;
        };
        let place = Linear::of(self.arena, places[dim]);
        let limit = rest.scale(-1)?.floor_div(self.arena, k.checked_abs()?);
        if k > 0 {
            // t[x] <= limit iff x <= count(t < limit + 1) - 1
            let count = count_below(self.arena, self.query, read, dim, &limit.shift(1)?)?;
            place.sub(&Linear::atom(count))?.shift(1)
        } else {
            // t[x] >= -limit iff x >= count(t < -limit)
            let count = count_below(self.arena, self.query, read, dim, &limit.scale(-1)?)?;
            Linear::atom(count).sub(&place)
        }
    }

    /// `form <= 0` as a condition on the tile: everything or nothing, decided by arithmetic on its ends.
    fn guard(&mut self, form: &Linear) -> Vec<Part> {
        let (least, most) = of_linear(self.arena, self.query, form);
        let known = |end: &Option<Linear>| end.as_ref().and_then(Linear::as_constant);
        let live = match known(&least) {
            Some(value) if value > 0 => return Vec::new(),
            Some(_) => ALL,
            None => self.switch(least).unwrap_or(ALL),
        };
        let full = match known(&most) {
            Some(value) if value > 0 => None,
            Some(_) => Some(ALL),
            None => self.switch(most),
        };
        vec![Part { live, full }]
    }

    /// Everything if `end <= 0`, else nothing.
    fn switch(&mut self, end: Option<Linear>) -> Option<Range> {
        let (zero, one) = (self.arena.int(0), self.arena.int(1));
        let end = end?.emit(self.arena);
        let clamped = self.arena.map(MapOp::Max, &[end, zero]);
        let off = self.arena.map(MapOp::Min, &[clamped, one]);
        let hi = Linear::atom(off).scale(-FAR)?.shift(FAR - 1)?;
        let hi = Some(hi.emit(self.arena));
        Some(Range { lo: None, hi })
    }

    fn and(&mut self, a: &[Part], b: &[Part]) -> Vec<Part> {
        let mut parts = Vec::new();
        for x in a {
            for y in b {
                let live = intersect(self.arena, x.live, y.live);
                if certainly_empty(self.arena, live) {
                    continue;
                }
                let full = match (x.full, y.full) {
                    (Some(x), Some(y)) => Some(intersect(self.arena, x, y)),
                    _ => None,
                };
                parts.push(Part { live, full });
            }
        }
        self.at_most_two(parts)
    }

    fn or(&mut self, a: &[Part], b: &[Part]) -> Vec<Part> {
        let mut parts = a.to_vec();
        for &part in b {
            self.insert(&mut parts, part);
        }
        self.at_most_two(parts)
    }

    /// Adds what lies outside of `parts`; a part that cannot be told apart is taken out and united with the new one.
    fn insert(&mut self, parts: &mut Vec<Part>, part: Part) {
        let mut next = part;
        'again: loop {
            let mut rest = next;
            let mut before = 0;
            for at in 0..parts.len() {
                match separate(self.arena, parts[at], rest) {
                    Some((outside, after)) => {
                        rest = outside;
                        before += usize::from(after);
                    }
                    None => {
                        next = unite(self.arena, parts.remove(at), next);
                        continue 'again;
                    }
                }
            }
            if !certainly_empty(self.arena, rest.live) {
                parts.insert(before, rest);
            }
            return;
        }
    }

    fn at_most_two(&mut self, parts: Vec<Part>) -> Vec<Part> {
        if parts.len() <= 2 {
            return parts;
        }
        hull(self.arena, &parts).into_iter().collect()
    }
}

fn truth(value: bool) -> Vec<Part> {
    if value { vec![EVERYWHERE] } else { Vec::new() }
}

fn intersect(arena: &mut Arena, a: Range, b: Range) -> Range {
    let mut join = |op, x: Option<ExprId>, y: Option<ExprId>| match (x, y) {
        (Some(x), Some(y)) => Some(pick(arena, op, x, y)),
        (x, y) => x.or(y),
    };
    let lo = join(MapOp::Max, a.lo, b.lo);
    let hi = join(MapOp::Min, a.hi, b.hi);
    Range { lo, hi }
}

fn cover(arena: &mut Arena, a: Range, b: Range) -> Range {
    let mut join = |op, x: Option<ExprId>, y: Option<ExprId>| Some(pick(arena, op, x?, y?));
    let lo = join(MapOp::Min, a.lo, b.lo);
    let hi = join(MapOp::Max, a.hi, b.hi);
    Range { lo, hi }
}

fn gap(arena: &Arena, from: Option<ExprId>, to: Option<ExprId>) -> Option<i64> {
    Linear::of(arena, to?).sub(&Linear::of(arena, from?))?.as_constant()
}

fn certainly_empty(arena: &Arena, range: Range) -> bool {
    gap(arena, range.lo, range.hi).is_some_and(|length| length < 0)
}

/// What of `next` lies outside of `part`, if that is one range whatever the tile, and whether it lies behind: both reach past a common side, or
/// the constants show it.
fn separate(arena: &mut Arena, part: Part, next: Part) -> Option<(Part, bool)> {
    let (a, b) = (part.live, next.live);
    let touching = |from, to| gap(arena, from, to).is_some_and(|length| length <= 1);
    let apart = |from, to| gap(arena, from, to).is_some_and(|length| length > 1);
    if apart(a.hi, b.lo) {
        return Some((next, true));
    }
    if apart(b.hi, a.lo) {
        return Some((next, false));
    }
    let same_side = (a.lo.is_none() && b.lo.is_none()) || (a.hi.is_none() && b.hi.is_none());
    if same_side || touching(a.hi, b.lo) || touching(b.hi, a.lo) {
        return None;
    }
    let mut live = b;
    let after = a.lo.is_none();
    if after {
        let first = Linear::of(arena, a.hi?).shift(1)?.emit(arena);
        live.lo = Some(pick(arena, MapOp::Max, b.lo?, first));
    } else if a.hi.is_none() {
        let last = Linear::of(arena, a.lo?).shift(-1)?.emit(arena);
        live.hi = Some(pick(arena, MapOp::Min, b.hi?, last));
    } else {
        return None;
    }
    Some((Part { live, full: next.full }, after))
}

/// One part that covers both.
fn unite(arena: &mut Arena, a: Part, b: Part) -> Part {
    let full = match (a.full, b.full) {
        (Some(x), Some(y)) => Some(if one_range(arena, x, y) { cover(arena, x, y) } else { x }),
        (x, y) => x.or(y),
    };
    Part {
        live: cover(arena, a.live, b.live),
        full,
    }
}

/// Whether the union of two ranges is one range for certain.
fn one_range(arena: &Arena, a: Range, b: Range) -> bool {
    let meets =
        |from: Range, to: Range| gap(arena, from.hi, to.lo).is_some_and(|length| length <= 1) || from.hi.is_none();
    let overlap = meets(a, b) && meets(b, a);
    (a.lo.is_none() && b.lo.is_none()) || (a.hi.is_none() && b.hi.is_none()) || overlap
}

pub(super) fn hull(arena: &mut Arena, parts: &[Part]) -> Option<Part> {
    let (&first, rest) = parts.split_first()?;
    Some(rest.iter().fold(first, |all, &part| unite(arena, all, part)))
}
