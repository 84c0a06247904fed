//! S1 products and sums.
//!
//! Identity: `(sum_i r_i t_i) (sum_j u_j v_j) = sum_ij (r_i u_j) (t_i v_j)`; `sep(a + b) = sep(a) ++ sep(b)`.
//! No side condition. Floating point: a product only reorders factors; a sum is split into several reductions whose finish may
//! cancel, which the gate N5 looks at (`Term::split`).

use super::{Refusal, Separation, TERM_LIMIT, Term, Terms};
use crate::product::Product;
use einloom_cascade::expr::ExprId;

impl Separation<'_> {
    pub(super) fn times(&mut self, e: ExprId, a: ExprId, b: ExprId) -> Terms {
        if a == b {
            let two = self.state.arena().real(2.0);
            return self.power(e, a, two);
        }
        let a = self.factor_terms(a)?;
        let b = self.factor_terms(b)?;
        self.multiply(e, &a, &b)
    }

    /// Terms of a factor of a product; an early row factor goes to the row side, because the product has late parts.
    pub(super) fn factor_terms(&mut self, e: ExprId) -> Terms {
        if !self.late(e) && !self.streamed(e) {
            return Ok(vec![Term::row(Product::of(self.state.arena(), e))]);
        }
        self.separate(e)
    }

    pub(super) fn multiply(&mut self, e: ExprId, a: &[Term], b: &[Term]) -> Terms {
        if a.len() * b.len() > TERM_LIMIT {
            return Err(Refusal {
                at: e,
                reason: format!("separates into {} terms, limit {TERM_LIMIT}", a.len() * b.len()),
            });
        }
        let mut terms = Vec::new();
        for x in a {
            for y in b {
                terms.push(self.term_product(x, y).ok_or_else(|| self.too_large(e))?);
            }
        }
        Ok(terms)
    }

    pub(super) fn plus(&mut self, _e: ExprId, a: ExprId, b: ExprId, sign: f64) -> Terms {
        let mut terms = self.separate(a)?;
        for mut term in self.separate(b)? {
            term.row.coefficient *= sign;
            terms.push(term);
        }
        for term in &mut terms {
            term.split = true;
        }
        Ok(terms)
    }

    pub(super) fn negate(&mut self, a: ExprId) -> Terms {
        let mut terms = self.separate(a)?;
        for term in &mut terms {
            term.row.coefficient = -term.row.coefficient;
        }
        Ok(terms)
    }
}
