//! S7 labels: selections by a late-free test, and gathers of a late vector by a streamed label.
//!
//! Identity: `select(c, a, b) = [c] a + [not c] b`; `L[z(s)] = sum_z L[z] [z(s) = z]`. Side conditions: the test is late-free (a late test that does
//! not stream selects between row factors); at most 8 labels. Exact: every point contributes to one accumulator.

use super::{LABEL_LIMIT, Refusal, Separation, Term, Terms};
use crate::constant::constant;
use crate::product::Product;
use crate::rational::Rational;
use crate::state::PlanLeaf;
use einloom_cascade::expr::{Expr, ExprId, LeafId, MapOp};

impl Separation<'_> {
    pub(super) fn label(&mut self, e: ExprId, c: ExprId, a: ExprId, b: ExprId) -> Terms {
        let late = self.late(c);
        let streamed = self.streamed(c);
        if late && streamed {
            return Err(Refusal {
                at: e,
                reason: "the test compares a streamed value with a late row value".to_owned(),
            });
        }
        let not = self.state.map1(MapOp::Not, c);
        let mut terms = Vec::new();
        for (test, branch) in [(c, a), (not, b)] {
            if self.state.is_const(branch, 0.0) {
                continue;
            }
            for mut term in self.separate(branch)? {
                if streamed {
                    term.streamed = self.indicated(test, &term.streamed);
                } else {
                    term.row = self.indicated(test, &term.row);
                }
                term.labelled = true;
                terms.push(term);
            }
        }
        Ok(terms)
    }

    /// `[test] * product`. Reads that are in bounds everywhere stay separate factors (a dot operand); others go under the selection.
    fn indicated(&mut self, test: ExprId, product: &Product) -> Product {
        let zero = self.state.arena().real(0.0);
        let mut guarded = Product::one();
        let mut free = Product {
            factors: Vec::new(),
            ..product.clone()
        };
        for (factor, power) in &product.factors {
            let side = if self.total(*factor) { &mut free } else { &mut guarded };
            side.factors.push((*factor, *power));
        }
        let factor = if guarded.is_number() {
            self.state.map1(MapOp::ToReal, test)
        } else {
            let body = guarded.factors_expr(self.state.arena());
            self.state.select(test, body, zero)
        };
        free.factors.push((factor, Rational::ONE));
        free
    }

    /// Whether an expression can be evaluated (and is finite for finite data) where the test fails.
    pub(super) fn total(&mut self, e: ExprId) -> bool {
        let children = self.state.cascade.exprs.children(e);
        match self.state.expr(e) {
            Expr::Input(..) => children
                .iter()
                .all(|c| matches!(self.state.expr(*c), Expr::Var(_) | Expr::Int(_))),
            Expr::Map(MapOp::Div | MapOp::Log | MapOp::Pow | MapOp::IDiv | MapOp::IMod, _) => false,
            _ => children.into_iter().all(|c| self.total(c)),
        }
    }

    /// A late value read at streamed local positions.
    pub(super) fn gather(&mut self, e: ExprId, leaf: LeafId, indices: &[ExprId]) -> Terms {
        let PlanLeaf::Value(node) = PlanLeaf::of(leaf) else {
            return Err(self.does_not_split(e));
        };
        let params = self.state.nodes[node].params.clone();
        let mut at = indices.to_vec();
        let mut shared = Vec::new();
        let mut streamed = Product::one();
        for (position, index) in indices.iter().enumerate() {
            if !self.streamed(*index) {
                continue;
            }
            let param = params[position];
            let extent = self.state.cascade.vars[param.index()].extent;
            let size = constant(&self.state.cascade.exprs, extent);
            if self.late(*index) || !size.is_some_and(|n| n <= LABEL_LIMIT as f64) {
                let count = size.map_or("a run-time number of".to_owned(), |n| n.to_string());
                return Err(Refusal {
                    at: e,
                    reason: format!("a late value gathered by a label with {count} values, limit {LABEL_LIMIT}"),
                });
            }
            let var = self.state.variant(param, &self.taken);
            self.taken.insert(var);
            shared.push(var);
            at[position] = self.state.arena().var(var);
            let same = self.state.arena().map(MapOp::Eq, &[*index, at[position]]);
            let hit = self.state.map1(MapOp::ToReal, same);
            streamed.factors.push((hit, Rational::ONE));
        }
        let row = self.state.arena().add(Expr::Leaf(leaf, at));
        Ok(vec![Term {
            row: Product::factor(row),
            streamed,
            shared,
            split: false,
            labelled: true,
        }])
    }
}
