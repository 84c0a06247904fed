//! N5, the cancellation gate: a separated sum whose finish may subtract keeps the error promise only with unrounded operands.
//!
//! If S1 (sums), S5 or S6 made several terms out of one reduction, their row factors can have opposite signs, and a streamed factor goes
//! through a dot with 16-bit operands, then the separation is not allowed unless the caller asks for the fold.

use crate::product::Product;
use crate::separate::{Refusal, Term};
use crate::state::State;
use einloom_cascade::expr::{DType, Expr, ExprId, LeafId};
use std::collections::BTreeSet;

impl State {
    /// Refuses terms that would cancel after 16-bit rounding.
    pub(crate) fn gate(
        &mut self,
        node: usize,
        body: ExprId,
        terms: &[Term],
        late: &BTreeSet<LeafId>,
    ) -> Result<(), Refusal> {
        if late.is_empty() || self.options.fold_rounded || terms.len() < 2 {
            return Ok(());
        }
        if !terms.iter().any(|t| t.split) {
            return Ok(());
        }
        let rounded: Vec<&Term> = terms
            .iter()
            .filter(|t| t.split && self.is_rounded_dot(node, &t.streamed))
            .collect();
        if rounded.is_empty() {
            return Ok(());
        }
        let mut positive = true;
        let mut negative = true;
        for term in terms {
            let row = term.row.to_expr(self.arena());
            let sign = self.sign(row);
            positive &= sign.nonneg();
            negative &= sign.nonpos();
        }
        if positive || negative {
            return Ok(());
        }
        Err(Refusal {
            at: body,
            reason: format!("{} terms of opposite sign would cancel after a 16-bit dot", terms.len()),
        })
    }

    /// Whether a streamed factor is an operand of a dot (a weight times 16-bit data over a local rank of the result).
    fn is_rounded_dot(&mut self, node: usize, streamed: &Product) -> bool {
        if streamed.exponent.is_zero() {
            return false;
        }
        let params = self.nodes[node].params.clone();
        streamed.factors.iter().any(|(f, _)| {
            let free = self.free(*f);
            params.iter().any(|v| !self.is_big(*v) && free.contains(v)) && self.reads_16_bit(*f)
        })
    }

    fn reads_16_bit(&self, e: ExprId) -> bool {
        if let Expr::Input(input, _) = self.expr(e) {
            let dtype = self.cascade.inputs[input.index()].dtype;
            return matches!(dtype, DType::F16 | DType::BF16);
        }
        let children = self.cascade.exprs.children(e);
        children.into_iter().any(|c| self.reads_16_bit(c))
    }
}
