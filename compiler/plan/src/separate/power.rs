//! S4 powers, roots and absolute values of one term; S5 binomial powers of several.
//!
//! S4 identity: `(r t)^c = r^c t^c`, `|r t| = |r| |t|`. Side condition: one term; for a root or a non-integer power every factor is
//! proved non-negative. Exact up to the rounding of the power.
//!
//! S5 identity: `(x + g)^k = sum_j binomial(k, j) x^j g^(k-j)`, 2 <= k <= 4. Side condition: no contraction with a late value inside.
//! Floating point: cancels when the spread of x is small against its mean: anchored by N4, gated by N5.

use super::{POWER_LIMIT, Refusal, Separation, Term, Terms};
use crate::constant::rational;
use crate::product::Product;
use crate::rational::Rational;
use einloom_cascade::expr::{Expr, ExprId, MapOp};

impl Separation<'_> {
    pub(super) fn power(&mut self, e: ExprId, base: ExprId, exponent: ExprId) -> Terms {
        let Some(k) = rational(&self.state.cascade.exprs, exponent) else {
            return Err(self.does_not_split(e));
        };
        if let Expr::Map(op @ (MapOp::Mul | MapOp::Div), args) = self.state.expr(base).clone()
            && k.is_int()
        {
            // Each factor by itself, so that a common row factor does not hide a sum from N4.
            let a = self.state.arena().map(MapOp::Pow, &[args[0], exponent]);
            let b = self.state.arena().map(MapOp::Pow, &[args[1], exponent]);
            let each = self.state.arena().map(op, &[a, b]);
            return self.separate(each);
        }
        let terms = self.separate(base)?;
        if let [term] = terms.as_slice()
            && term.shared.is_empty()
        {
            return self.one_term_power(e, term, k);
        }
        if !k.is_int() || k.num < 2 || k.num > POWER_LIMIT {
            return Err(Refusal {
                at: e,
                reason: format!("power of a sum of {} separable terms", terms.len()),
            });
        }
        let terms = self.anchored(&terms).unwrap_or(terms);
        let mut product = terms.clone();
        for _ in 1..k.num {
            product = self.multiply(e, &product, &terms)?;
        }
        Ok(product)
    }

    /// N4: `x + g = (x - c) + (g + c)` with the row constant c = x at the first streamed coordinate, so that powers do not cancel.
    /// Only where x can be read there whenever the row has a point.
    fn anchored(&mut self, terms: &[Term]) -> Option<Vec<Term>> {
        let mut streamed: Option<ExprId> = None;
        let mut row: Option<ExprId> = None;
        for term in terms {
            let late = self.late_product(&term.row);
            let streams = self.streamed_product(&term.streamed);
            if !term.shared.is_empty() || term.labelled || late == streams {
                return None;
            }
            let both = term.row.mul(&term.streamed)?.to_expr(self.state.arena());
            let side = if late { &mut row } else { &mut streamed };
            *side = Some(match *side {
                Some(sum) => self.state.add(sum, both),
                None => both,
            });
        }
        let (x, g) = (streamed?, row?);
        let super::Streamed::These(vars) = self.vars.clone() else {
            return None;
        };
        if !self.total(x) {
            return None;
        }
        let zero = self.state.arena().int(0);
        let first = vars.into_iter().map(|v| (v, zero)).collect();
        let c = self.state.substitute(x, &first);
        let below = self.state.arena().map(MapOp::Sub, &[x, c]);
        let moved = self.state.arena().map(MapOp::Add, &[g, c]);
        let mut terms = vec![
            Term::streamed(Product::factor(below)),
            Term::row(Product::factor(moved)),
        ];
        for term in &mut terms {
            term.split = true;
        }
        Some(terms)
    }

    /// `sqrt` (`sign` 1) and `rsqrt` (`sign` -1).
    pub(super) fn root(&mut self, e: ExprId, base: ExprId, sign: i64) -> Terms {
        let terms = self.separate(base)?;
        let [term] = terms.as_slice() else {
            return Err(Refusal {
                at: e,
                reason: format!("root of a sum of {} separable terms", terms.len()),
            });
        };
        let half = Rational { num: sign, den: 2 };
        self.one_term_power(e, term, half)
    }

    fn one_term_power(&mut self, e: ExprId, term: &Term, k: Rational) -> Terms {
        if !term.shared.is_empty() {
            return Err(self.does_not_split(e));
        }
        if !k.is_int() && !(self.nonneg(&term.row) && self.nonneg(&term.streamed)) {
            return Err(Refusal {
                at: e,
                reason: "root of a product whose factors have unknown sign".to_owned(),
            });
        }
        let parts = term.row.pow(k).zip(term.streamed.pow(k));
        let (row, streamed) = parts.ok_or_else(|| self.too_large(e))?;
        Ok(vec![Term {
            row,
            streamed,
            ..term.clone()
        }])
    }

    /// Whether every factor is proved non-negative.
    pub(super) fn nonneg(&mut self, p: &Product) -> bool {
        p.coefficient >= 0.0 && p.factors.iter().all(|(f, _)| self.state.sign(*f).nonneg())
    }

    pub(super) fn absolute(&mut self, e: ExprId, a: ExprId) -> Terms {
        let terms = self.separate(a)?;
        let [term] = terms.as_slice() else {
            return Err(Refusal {
                at: e,
                reason: format!("abs of a sum of {} separable terms", terms.len()),
            });
        };
        if !term.shared.is_empty() {
            return Err(self.does_not_split(e));
        }
        let row = self.magnitude(&term.row);
        let streamed = self.magnitude(&term.streamed);
        Ok(vec![Term {
            row,
            streamed,
            ..term.clone()
        }])
    }

    fn magnitude(&mut self, p: &Product) -> Product {
        let factors = p
            .factors
            .iter()
            .map(|(f, k)| {
                let f = if self.state.sign(*f).nonneg() {
                    *f
                } else {
                    self.state.map1(MapOp::Abs, *f)
                };
                (f, *k)
            })
            .collect();
        Product {
            coefficient: p.coefficient.abs(),
            factors,
            exponent: p.exponent.clone(),
        }
    }
}
