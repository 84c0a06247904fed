//! S11 relu of one term.
//!
//! Identity: `max(r t, 0) = r max(t, 0)` for `r >= 0`, `= r min(t, 0)` for `r <= 0`; the same with `min`. Side condition: the sign of r is proved. Exact.

use super::{Separation, Term, Terms};
use crate::product::Product;
use einloom_cascade::expr::{ExprId, MapOp};

impl Separation<'_> {
    pub(super) fn clamp_at_zero(&mut self, e: ExprId, op: MapOp, a: ExprId, b: ExprId) -> Terms {
        let (term, zero) = if self.state.is_const(b, 0.0) { (a, b) } else { (b, a) };
        if !self.state.is_const(zero, 0.0) {
            return Err(self.does_not_split(e));
        }
        let terms = self.separate(term)?;
        let [term] = terms.as_slice() else {
            return Err(self.does_not_split(e));
        };
        if !term.shared.is_empty() {
            return Err(self.does_not_split(e));
        }
        let row = term.row.to_expr(self.state.arena());
        let sign = self.state.sign(row);
        let op = match (sign.nonneg(), sign.nonpos(), op) {
            (true, _, op) => op,
            (_, true, MapOp::Max) => MapOp::Min,
            (_, true, _) => MapOp::Max,
            _ => return Err(self.does_not_split(e)),
        };
        let streamed = term.streamed.to_expr(self.state.arena());
        let streamed = self.state.arena().map(op, &[streamed, zero]);
        Ok(vec![Term {
            row: term.row.clone(),
            streamed: Product::factor(streamed),
            ..term.clone()
        }])
    }
}
