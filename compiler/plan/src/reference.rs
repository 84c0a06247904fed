//! The law of representation: which accumulators share a row reference, and which need none (N1, N2, N3).
//!
//! `B = sum e^(k x) b` is stored as `e^(k g) Bs`, `Bs = sum e^(k (x - g)) b`, for any g. Forms that are positive rational multiples of each other
//! share one g with their own exact k. N1: a proved bounded form needs no g. N3: `e^(x + lam)` with `lam = -log sum e^x` over a domain that holds
//! the user's is at most 1 and needs none.

use crate::ir::EventKind;
use crate::product::Linear;
use crate::rational::Rational;
use crate::state::{Accumulator, PlanLeaf, ReferenceSpec, State};
use einloom_cascade::expr::{DType, ExprId, MapOp, ReduceOp};
use std::collections::BTreeSet;

/// Largest exponent range without a reference when weights are kept in 16-bit floats, in exp2 units.
const RANGE_F16: f64 = 14.0;

impl State {
    /// Assigns references to all accumulators.
    pub(crate) fn assign_references(&mut self) {
        for index in 0..self.accumulators.len() {
            let a = self.accumulators[index].clone();
            if a.op != ReduceOp::Sum || a.streamed.exponent.is_zero() {
                continue;
            }
            if self.is_bounded(&a.streamed.exponent, &a.conds) {
                self.accumulators[index].bounded = true;
                let text = format!("{}: exponent proved bounded, no reference (N1)", a.name);
                self.event(EventKind::Policy, None, text);
                continue;
            }
            if self.is_proved_weight(&a) {
                let text = format!("{}: weight proved at most 1, no reference (N3)", a.name);
                self.event(EventKind::Policy, None, text);
                continue;
            }
            self.accumulators[index].reference = Some(self.find_reference(&a));
        }
    }

    fn find_reference(&mut self, a: &Accumulator) -> (usize, (i64, i64)) {
        let normalisers: BTreeSet<usize> = {
            let node = self.nodes[a.node].clone();
            let mut set: BTreeSet<usize> = self.values(node.body).into_iter().collect();
            for c in node.conds {
                set.extend(self.values(c));
            }
            set
        };
        let mut best: Option<(usize, Rational)> = None;
        for (index, r) in self.references.iter().enumerate() {
            let Some(k) = a.streamed.exponent.ratio(&r.form).filter(|k| k.num > 0) else {
                continue;
            };
            let same_loop = r.stream == a.stream && r.inner == a.inner && r.sweep == a.sweep;
            let inside = r.conds.iter().all(|c| a.conds.contains(c));
            let exact = inside && r.conds.len() == a.conds.len();
            if !same_loop || !(exact || inside && normalisers.contains(&r.node)) {
                continue;
            }
            let wider = best.is_none_or(|(b, _)| r.conds.len() < self.references[b].conds.len());
            if wider {
                best = Some((index, k));
            }
        }
        if let Some((index, k)) = best {
            return (index, (k.num, k.den));
        }
        let form = a.streamed.exponent.clone();
        let mut free = BTreeSet::new();
        for e in form.0.keys().chain(&a.conds) {
            free.extend(self.free(*e).iter().copied());
        }
        let dims = a.dims.iter().copied().filter(|v| free.contains(v)).collect();
        self.references.push(ReferenceSpec {
            form,
            stream: a.stream.clone(),
            inner: a.inner.clone(),
            dims,
            conds: a.conds.clone(),
            sweep: a.sweep,
            node: a.node,
        });
        (self.references.len() - 1, (1, 1))
    }

    /// N1: the sum of weights stays in range, and for normalised rows no weight is lost against another.
    fn is_bounded(&mut self, form: &Linear, conds: &[ExprId]) -> bool {
        let Some(form) = form.to_expr(self.arena()) else {
            return true;
        };
        let range = self.range(form, conds);
        let half = self.cascade.inputs.iter().any(|i| i.dtype == DType::F16);
        let unit = std::f64::consts::LOG2_E;
        let fits = !half || (range.hi * unit <= RANGE_F16 && (range.hi - range.lo) * unit <= RANGE_F16);
        fits && range.fits_without_reference(true)
    }

    /// N3: the exponent is `k (x + lam)` with `lam = -log sum e^x` of a finished sum whose conditions the user has too.
    fn is_proved_weight(&mut self, a: &Accumulator) -> bool {
        let lam = a
            .streamed
            .exponent
            .0
            .iter()
            .find_map(|(atom, k)| match self.expr(*atom) {
                einloom_cascade::expr::Expr::Leaf(leaf, _) => match PlanLeaf::of(*leaf) {
                    PlanLeaf::Folded(i) if k.num > 0 => Some((*atom, *k, i)),
                    _ => None,
                },
                _ => None,
            });
        let Some((atom, k, folded)) = lam else {
            return false;
        };
        let rest = Linear::atom(atom)
            .scale(k)
            .and_then(|lam| a.streamed.exponent.sub(&lam));
        let Some(rest) = rest else {
            return false;
        };
        for sum in self.mathematical_logs(self.folded[folded].lam) {
            let producer = self.accumulators[sum].clone();
            let pure = producer.streamed.factors.is_empty();
            let same = rest.ratio(&producer.streamed.exponent) == Some(k);
            let inside = producer.conds.iter().all(|c| a.conds.contains(c));
            if pure && same && inside {
                return true;
            }
        }
        false
    }

    /// Accumulators `B` with `lam = -log B`, once every value is expanded.
    fn mathematical_logs(&mut self, lam: ExprId) -> Vec<usize> {
        let Some(form) = self.expanded_form(lam) else {
            return Vec::new();
        };
        let mut atoms = form.0.iter();
        let (Some((atom, k)), None) = (atoms.next(), atoms.next()) else {
            return Vec::new();
        };
        if *k != Rational::int(-1) {
            return Vec::new();
        }
        let einloom_cascade::expr::Expr::Map(MapOp::Log, args) = self.expr(*atom).clone() else {
            return Vec::new();
        };
        match self.expr(args[0]) {
            einloom_cascade::expr::Expr::Leaf(leaf, _) => match PlanLeaf::of(*leaf) {
                PlanLeaf::Accumulator(i) => vec![i],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// A row expression over node values as a linear form over accumulators and logarithms of accumulators.
    fn expanded_form(&mut self, e: ExprId) -> Option<Linear> {
        use einloom_cascade::expr::Expr;
        let mut sum = Linear::default();
        for (atom, k) in Linear::of(self.arena(), e).0 {
            let part = match self.expr(atom).clone() {
                Expr::Leaf(leaf, indices) => match PlanLeaf::of(leaf) {
                    PlanLeaf::Value(node) => {
                        let finish = self.finish_at(node, &indices)?;
                        if finish == atom {
                            Linear::atom(atom)
                        } else {
                            self.expanded_form(finish)?
                        }
                    }
                    _ => Linear::atom(atom),
                },
                Expr::Map(MapOp::Log, args) => {
                    let mut inner = args[0];
                    if let Expr::Leaf(leaf, indices) = self.expr(inner).clone()
                        && let PlanLeaf::Value(node) = PlanLeaf::of(leaf)
                    {
                        inner = self.finish_at(node, &indices)?;
                    }
                    let product = crate::product::Product::of(self.arena(), inner);
                    let mut logs = Linear::default();
                    for (a, k) in self.log_of_product(&product)?.0 {
                        let part = match self.expr(a) {
                            Expr::Map(MapOp::Log, _) => Linear::atom(a),
                            _ => self.expanded_form(a)?,
                        };
                        logs = logs.add(&part.scale(k)?)?;
                    }
                    logs
                }
                _ => Linear::atom(atom),
            };
            sum = sum.add(&part.scale(k)?)?;
        }
        Some(sum)
    }

    /// The raw finish of a node at given indices.
    pub(crate) fn finish_at(&mut self, node: usize, indices: &[ExprId]) -> Option<ExprId> {
        let finish = self.nodes[node].finish?;
        let map = self.nodes[node]
            .params
            .iter()
            .copied()
            .zip(indices.iter().copied())
            .collect();
        Some(self.substitute(finish, &map))
    }
}
