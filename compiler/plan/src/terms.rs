//! From separated terms to accumulators and a raw finish: equal streamed factors are joined, common row factors pulled out.
//!
//! Identity: `r1 B + r2 B = c (r1/c + r2/c) B`. Without it the `-Mx - log D` of an entropy would not cancel.

use crate::product::{Linear, Product};
use crate::separate::Term;
use crate::state::{Accumulator, PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, MapOp, Reduce, ReduceOp, VarId};
use std::collections::BTreeSet;

impl State {
    /// Allocates (or finds) an accumulator of `node` in `sweep` and returns its leaf.
    pub(crate) fn accumulate(&mut self, node: usize, sweep: u32, op: ReduceOp, streamed: Product) -> ExprId {
        let index = self.accumulator(node, sweep, op, streamed);
        let dims = self.accumulators[index].dims.clone();
        let indices = self.vars_as_indices(&dims);
        self.leaf(PlanLeaf::Accumulator(index), &indices)
    }

    /// Index of the accumulator that [`State::accumulate`] reads.
    pub(crate) fn accumulator(&mut self, node: usize, sweep: u32, op: ReduceOp, streamed: Product) -> usize {
        let (stream, inner, conds, params) = {
            let n = &self.nodes[node];
            (n.stream.clone(), n.inner.clone(), n.conds.clone(), n.params.clone())
        };
        let dims = self.accumulator_dims(&streamed, &conds, &stream, &inner, &params);
        let found = self.accumulators.iter().position(|a| {
            a.op == op
                && a.sweep == sweep
                && a.stream == stream
                && a.inner == inner
                && a.dims == dims
                && same_set(&a.conds, &conds)
                && a.streamed.same_monomial(&streamed)
        });
        found.unwrap_or_else(|| {
            let count = self.accumulators.iter().filter(|a| a.node == node).count();
            let name = &self.nodes[node].name;
            let name = if count == 0 {
                name.clone()
            } else {
                format!("{name}.{count}")
            };
            self.accumulators.push(Accumulator {
                name,
                op,
                stream,
                inner,
                dims,
                conds,
                streamed,
                sweep,
                node,
                reference: None,
                bounded: false,
            });
            self.accumulators.len() - 1
        })
    }

    fn accumulator_dims(
        &mut self,
        streamed: &Product,
        conds: &[ExprId],
        stream: &[VarId],
        inner: &[VarId],
        params: &[VarId],
    ) -> Vec<VarId> {
        let mut free: BTreeSet<VarId> = BTreeSet::new();
        let parts = streamed
            .factors
            .iter()
            .map(|(f, _)| *f)
            .chain(streamed.exponent.0.keys().copied())
            .chain(conds.iter().copied());
        for e in parts.collect::<Vec<_>>() {
            free.extend(self.free(e).iter().copied());
        }
        let held = |v: &VarId| !self.is_big(*v) && !stream.contains(v) && !inner.contains(v);
        let mut dims: Vec<VarId> = params.iter().copied().filter(|v| free.contains(v) && held(v)).collect();
        let rest: Vec<VarId> = free.iter().copied().filter(|v| held(v) && !dims.contains(v)).collect();
        dims.extend(rest);
        dims
    }

    /// `sum_j row_j B_j` over joined terms; `None` when a coefficient leaves 64 bits.
    pub(crate) fn finish_of_terms(&mut self, node: usize, sweep: u32, terms: &[Term]) -> Option<ExprId> {
        let mut groups: Vec<(Product, Vec<VarId>, Vec<Product>)> = Vec::new();
        let labelled = terms.iter().any(|t| t.labelled);
        for term in terms {
            let mut row = term.row.clone();
            row.coefficient *= term.streamed.coefficient;
            let mut streamed = term.streamed.clone();
            streamed.coefficient = 1.0;
            let group = groups
                .iter_mut()
                .find(|(s, shared, _)| s.same_monomial(&streamed) && *shared == term.shared);
            match group {
                Some((_, _, rows)) => rows.push(row),
                None => groups.push((streamed, term.shared.clone(), vec![row])),
            }
        }
        let several = groups.len() > 1 && groups.iter().any(|g| g.2.iter().any(|r| !r.exponent.is_zero()));
        let mut guard = several;
        let mut sum: Option<ExprId> = None;
        for (streamed, shared, rows) in groups {
            let accumulator = match self.term_count(node, &streamed) {
                Some(count) => count,
                None => self.accumulate(node, sweep, ReduceOp::Sum, streamed),
            };
            let mut value = self.times_rows(accumulator, &rows)?;
            if labelled && rows.iter().any(|r| self.may_be_infinite(r)) {
                value = self.guard_class(accumulator, value);
            } else {
                guard |= rows.iter().any(|r| self.may_be_infinite_when_empty(r));
            }
            if !shared.is_empty() {
                value = self.arena().add(Expr::Reduce(Reduce {
                    op: ReduceOp::Sum,
                    vars: shared,
                    conds: Vec::new(),
                    body: value,
                }));
            }
            sum = Some(match sum {
                None => value,
                Some(sum) => self.add(sum, value),
            });
        }
        let zero = self.arena().real(0.0);
        let value = sum.unwrap_or(zero);
        if !guard {
            return Some(value);
        }
        // G1: row factors of an empty row may be infinite; the sum of nothing is 0.
        let empty = self.emptiness(node);
        Some(self.select(empty, zero, value))
    }

    /// The factor of a term without a streamed part: a number of points, no carry.
    fn term_count(&mut self, node: usize, streamed: &Product) -> Option<ExprId> {
        if !streamed.is_number() {
            return None;
        }
        let n = self.nodes[node].clone();
        let body = self.arena().real(1.0);
        self.point_count(&Reduce {
            op: ReduceOp::Sum,
            vars: n.stream.iter().chain(&n.inner).copied().collect(),
            conds: n.conds,
            body,
        })
    }

    /// Whether a row factor divides by something that may be zero in a row with points.
    fn may_be_infinite(&mut self, row: &Product) -> bool {
        row.factors
            .iter()
            .any(|(f, k)| k.num < 0 && self.sign(*f) != crate::sign::Sign::Positive || self.divides(*f))
    }

    /// Whether a row factor may be infinite or undefined in a row without points.
    fn may_be_infinite_when_empty(&mut self, row: &Product) -> bool {
        row.factors.iter().any(|(f, k)| {
            let late = !self.values(*f).is_empty();
            // Positive whatever the values in it are, as `max(x, 1)` is: no guard.
            if self.range(*f, &[]).positive() {
                return false;
            }
            k.num < 0 || late && !matches!(self.expr(*f), Expr::Leaf(..)) || self.divides(*f)
        })
    }

    fn divides(&mut self, e: ExprId) -> bool {
        if let Expr::Map(op, args) = self.expr(e).clone() {
            let unsafe_here = match op {
                MapOp::Div => self.sign(args[1]) != crate::sign::Sign::Positive,
                MapOp::Log | MapOp::Rsqrt | MapOp::Pow => true,
                _ => false,
            };
            return unsafe_here || args.iter().any(|a| self.divides(*a));
        }
        false
    }

    /// G1 for a class of S7: a row may have points and a class of it none; then `0 * inf` must stay 0.
    fn guard_class(&mut self, accumulator: ExprId, value: ExprId) -> ExprId {
        let magnitude = self.map1(MapOp::Abs, accumulator);
        let zero = self.arena().real(0.0);
        let none = self.arena().map(MapOp::Le, &[magnitude, zero]);
        self.select(none, zero, value)
    }

    /// The leaf that says whether a node reduced over nothing.
    pub(crate) fn emptiness(&mut self, node: usize) -> ExprId {
        let params = self.nodes[node].params.clone();
        let indices = self.vars_as_indices(&params);
        self.leaf(PlanLeaf::Empty(node), &indices)
    }

    /// `B * (rows summed)`, with the factor that all rows have in common outside the sum.
    fn times_rows(&mut self, accumulator: ExprId, rows: &[Product]) -> Option<ExprId> {
        let [first, rest @ ..] = rows else {
            return None;
        };
        let mut common = first.clone();
        common.coefficient = 1.0;
        for row in rest {
            common.factors.retain(|f| row.factors.contains(f));
            if row.exponent != common.exponent {
                common.exponent = Linear::default();
            }
        }
        if rest.is_empty() {
            let with = Product::factor(accumulator).mul(first)?;
            return Some(with.to_expr(self.arena()));
        }
        let mut sum: Option<ExprId> = None;
        for row in rows {
            let left = row.div(&common)?;
            let left = left.to_expr(self.arena());
            sum = Some(match sum {
                None => left,
                Some(sum) => self.add(sum, left),
            });
        }
        let mut product = Product::factor(accumulator).mul(&common)?;
        product = product.mul(&Product::factor(sum?))?;
        Some(product.to_expr(self.arena()))
    }
}

/// Equal as sets.
pub(crate) fn same_set(a: &[ExprId], b: &[ExprId]) -> bool {
    a.len() == b.len() && a.iter().all(|c| b.contains(c))
}
