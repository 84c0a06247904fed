//! A small range analysis: comparisons of ints that always or never hold.
//!
//! Ints are polynomials over coordinates, extents and opaque terms. A coordinate lies in `0..extent`; an opaque term
//! `x mod n` in `0..n`. Extents are not negative; that they are positive is not assumed unless a coordinate says so.

use super::terms::Terms;
use crate::expr::{Expr, ExprId, MapOp};
use std::collections::BTreeMap;

/// Sum of integer multiples of products; factors ascending.
type Poly = BTreeMap<Vec<ExprId>, i64>;

const MAX_TERMS: usize = 48;

/// Steps for one comparison: expressions are shared, their polynomials are not.
const MAX_STEPS: u32 = 2000;

impl Terms {
    /// Whether `a < b` or `a <= b` is certain (`Some(true)`), impossible (`Some(false)`) or open.
    pub(crate) fn decide(&self, op: MapOp, a: ExprId, b: ExprId) -> Option<bool> {
        self.steps.set(MAX_STEPS);
        let (a, b) = (self.poly(a, 0)?, self.poly(b, 0)?);
        let margin = i64::from(op == MapOp::Lt);
        // a < b is b - a - 1 >= 0; its opposite is a - b >= 0.
        let holds = add(&add(&b, &a, -1)?, &constant(-margin), 1)?;
        if self.not_negative(&holds) {
            return Some(true);
        }
        let fails = add(&add(&a, &b, -1)?, &constant(margin - 1), 1)?;
        self.not_negative(&fails).then_some(false)
    }

    /// Drops conditions that an earlier one implies. The earlier one must not mention more variables: a reduction that
    /// uses it up would lose the later one, which stays.
    pub(crate) fn prune(&self, conds: &mut Vec<ExprId>) {
        let mut kept: Vec<ExprId> = Vec::with_capacity(conds.len());
        for cond in conds.iter().copied() {
            let slack = self.slack(cond);
            let implied = slack.is_some_and(|slack| {
                kept.iter().any(|earlier| {
                    let narrow = self.free(*earlier).iter().all(|var| self.free(cond).contains(var));
                    let known = if narrow { self.slack(*earlier) } else { None };
                    known
                        .and_then(|known| add(&slack, &known, -1))
                        .is_some_and(|rest| self.not_negative(&rest))
                })
            });
            if !implied && !kept.contains(&cond) {
                kept.push(cond);
            }
        }
        *conds = kept;
    }

    /// For a comparison of ints: what must not be negative for it to hold.
    fn slack(&self, cond: ExprId) -> Option<Poly> {
        let Expr::Map(op @ (MapOp::Lt | MapOp::Le), args) = self.arena.get(cond) else {
            return None;
        };
        self.steps.set(MAX_STEPS);
        let (a, b) = (self.poly(args[0], 0)?, self.poly(args[1], 0)?);
        add(&add(&b, &a, -1)?, &constant(-i64::from(*op == MapOp::Lt)), 1)
    }

    fn poly(&self, id: ExprId, depth: u32) -> Option<Poly> {
        let steps = self.steps.get();
        if depth > 40 || steps == 0 {
            return None;
        }
        self.steps.set(steps - 1);
        let poly = match self.arena.get(id) {
            Expr::Int(x) => constant(*x),
            Expr::Real(_) | Expr::Bool(_) => return None,
            Expr::Map(op @ (MapOp::Add | MapOp::Sub), args) => {
                let (a, b) = (self.poly(args[0], depth + 1)?, self.poly(args[1], depth + 1)?);
                add(&a, &b, if *op == MapOp::Add { 1 } else { -1 })?
            }
            Expr::Map(MapOp::Neg, args) => add(&Poly::new(), &self.poly(args[0], depth + 1)?, -1)?,
            Expr::Map(MapOp::Mul, args) => mul(&self.poly(args[0], depth + 1)?, &self.poly(args[1], depth + 1)?)?,
            Expr::Extent(_) if self.exact.contains_key(&id) => self.poly(self.exact[&id], depth + 1)?,
            _ => Poly::from([(vec![id], 1)]),
        };
        Some(poly)
    }

    /// Number of values of a factor that starts at 0, if it is a coordinate or a remainder.
    fn count(&self, factor: ExprId) -> Option<ExprId> {
        match self.arena.get(factor) {
            Expr::Var(var) => Some(self.vars[var.index()].extent),
            Expr::Map(MapOp::IMod, args) if self.extents.contains(&args[1]) => Some(args[1]),
            Expr::Map(MapOp::IMod, args) => match self.arena.get(args[1]) {
                Expr::Int(n) if *n > 0 => Some(args[1]),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a polynomial is at least 0 at every point: each ranged factor is put at its worst end.
    fn not_negative(&self, poly: &Poly) -> bool {
        let mut lowest = Poly::new();
        for (factors, &scale) in poly {
            let mut term = constant(scale);
            let mut vanishes = false;
            for &factor in factors {
                let next = match self.count(factor) {
                    // A positive multiple is least at coordinate 0.
                    Some(_) if scale > 0 => {
                        vanishes = true;
                        continue;
                    }
                    Some(extent) => {
                        let Some(extent) = self.poly(extent, 1) else {
                            return false;
                        };
                        add(&extent, &constant(-1), 1).and_then(|last| mul(&term, &last))
                    }
                    None if self.extents.contains(&factor) || matches!(self.arena.get(factor), Expr::Extent(_)) => {
                        mul(&term, &Poly::from([(vec![factor], 1)]))
                    }
                    None => return self.opaque(poly),
                };
                let Some(next) = next else { return false };
                term = next;
            }
            if vanishes {
                continue;
            }
            let Some(sum) = add(&lowest, &term, 1) else {
                return false;
            };
            lowest = sum;
        }
        lowest.values().all(|scale| *scale >= 0)
    }

    /// With terms that nothing is known of, only an empty or constant polynomial is decided.
    fn opaque(&self, poly: &Poly) -> bool {
        poly.iter().all(|(factors, scale)| factors.is_empty() && *scale >= 0)
    }
}

fn constant(x: i64) -> Poly {
    if x == 0 {
        Poly::new()
    } else {
        Poly::from([(Vec::new(), x)])
    }
}

/// `a + scale * b`; `None` past the limits.
fn add(a: &Poly, b: &Poly, scale: i64) -> Option<Poly> {
    let mut sum = a.clone();
    for (factors, x) in b {
        let entry = sum.entry(factors.clone()).or_insert(0);
        *entry = entry.checked_add(x.checked_mul(scale)?)?;
        if *entry == 0 {
            sum.remove(factors);
        }
    }
    (sum.len() <= MAX_TERMS).then_some(sum)
}

fn mul(a: &Poly, b: &Poly) -> Option<Poly> {
    let mut product = Poly::new();
    for (left, x) in a {
        for (right, y) in b {
            let mut factors: Vec<ExprId> = left.iter().chain(right).copied().collect();
            factors.sort_unstable();
            if factors.len() > 8 {
                return None;
            }
            product = add(&product, &Poly::from([(factors, x.checked_mul(*y)?)]), 1)?;
        }
    }
    Some(product)
}
