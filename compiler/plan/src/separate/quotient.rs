//! S2 deferred division.
//!
//! Identity: `(sum_j r_j t_j) / (r t) = sum_j (r_j / r) (t_j / t)`. Side condition: the divisor is one term.
//! Floating point: one division per row in place of one per point, fewer roundings; 0/0 of empty rows is guarded (G1).

use super::{Refusal, Separation, Term, Terms};
use crate::rational::Rational;
use einloom_cascade::expr::ExprId;

impl Separation<'_> {
    pub(super) fn quotient(&mut self, e: ExprId, a: ExprId, b: ExprId) -> Terms {
        let below = self.factor_terms(b)?;
        let [divisor] = below.as_slice() else {
            return Err(Refusal {
                at: e,
                reason: format!("division by a sum of {} separable terms", below.len()),
            });
        };
        if !divisor.shared.is_empty() {
            return Err(Refusal {
                at: e,
                reason: "division by a contraction with a late value".to_owned(),
            });
        }
        let above = self.factor_terms(a)?;
        let minus = Rational::int(-1);
        let inverse = divisor.row.pow(minus).zip(divisor.streamed.pow(minus));
        let (row, streamed) = inverse.ok_or_else(|| self.too_large(e))?;
        let inverse = Term {
            row,
            streamed,
            shared: Vec::new(),
            split: false,
            labelled: false,
        };
        self.multiply(e, &above, &[inverse])
    }
}
