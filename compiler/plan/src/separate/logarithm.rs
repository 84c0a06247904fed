//! S10 logarithms.
//!
//! Identity: `log(r t) = log r + log t`, and `log(exp x)` becomes x. Side condition: one term, positive.
//! Floating point: better than the written form, which takes the log of a rounded product.

use super::{Refusal, Separation, Term, Terms};
use crate::product::{Linear, Product, rational_expr};
use einloom_cascade::expr::{ExprId, MapOp};

impl Separation<'_> {
    pub(super) fn logarithm(&mut self, e: ExprId, a: ExprId) -> Terms {
        let terms = self.separate(a)?;
        let [term] = terms.as_slice() else {
            return Err(Refusal {
                at: e,
                reason: format!("log of a sum of {} separable terms", terms.len()),
            });
        };
        if !term.shared.is_empty() || !(self.nonneg(&term.row) && self.nonneg(&term.streamed)) {
            return Err(Refusal {
                at: e,
                reason: "log of a product whose factors have unknown sign".to_owned(),
            });
        }
        let row = self.state.log_of_product(&term.row);
        let streamed = self.state.log_of_product(&term.streamed);
        let (row, streamed) = row.zip(streamed).ok_or_else(|| self.too_large(e))?;
        let mut result = Vec::new();
        if let Some(row) = row.to_expr(self.state.arena()) {
            result.push(Term {
                split: true,
                ..Term::row(Product::factor(row))
            });
        }
        for (atom, k) in streamed.0 {
            let k = rational_expr(self.state.arena(), k);
            let term = self.state.mul(k, atom);
            result.push(Term {
                split: true,
                ..Term::streamed(Product::of(self.state.arena(), term))
            });
        }
        Ok(result)
    }
}

impl crate::state::State {
    /// `log` of a product as a linear form: `log c + sum k log x + exponent`.
    pub(crate) fn log_of_product(&mut self, p: &Product) -> Option<Linear> {
        let mut sum = p.exponent.clone();
        if p.coefficient != 1.0 {
            let constant = self.arena().real(p.coefficient.ln());
            sum = sum.add(&Linear::atom(constant))?;
        }
        for (factor, power) in &p.factors {
            let log = self.map1(MapOp::Log, *factor);
            sum = sum.add(&Linear::atom(log).scale(*power)?)?;
        }
        Some(sum)
    }
}
