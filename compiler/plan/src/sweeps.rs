//! Earliest sweep first: the sweep number `d` and the accumulators of every R-node (calculus sections 2 and 8).

use crate::PlanError;
use crate::ir::EventKind;
use crate::product::Product;
use crate::separate::{Refusal, Separation, Streamed, Term};
use crate::state::{PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, Kind, LeafId, ReduceOp, VarId};
use std::collections::BTreeSet;

/// How an R-node uses the value of another.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) node: usize,
    /// Same stream, read at exactly the resident coordinates.
    pub(crate) row: bool,
}

impl State {
    /// All reads of R-node values in an expression, by distinct occurrence.
    pub(crate) fn reads(&mut self, e: ExprId) -> Vec<(usize, Vec<ExprId>)> {
        let mut reads = Vec::new();
        let mut seen = BTreeSet::new();
        self.collect_reads(e, &mut seen, &mut reads);
        reads
    }

    fn collect_reads(&mut self, e: ExprId, seen: &mut BTreeSet<ExprId>, reads: &mut Vec<(usize, Vec<ExprId>)>) {
        if self.values(e).is_empty() || !seen.insert(e) {
            return;
        }
        if let Expr::Leaf(leaf, indices) = self.expr(e).clone()
            && let PlanLeaf::Value(node) = PlanLeaf::of(leaf)
        {
            reads.push((node, indices));
        }
        if let Expr::Leaf(leaf, indices) = self.expr(e).clone()
            && let PlanLeaf::Folded(i) = PlanLeaf::of(leaf)
        {
            let (lam, vars) = (self.folded[i].lam, self.folded[i].vars.clone());
            let map = self.at_vars(&vars, &indices);
            let lam = self.substitute(lam, &map);
            self.collect_reads(lam, seen, reads);
        }
        for child in self.cascade.exprs.children(e) {
            self.collect_reads(child, seen, reads);
        }
    }

    /// Big parameters of a node with the index each is read at.
    pub(crate) fn big_indices(&self, node: usize, indices: &[ExprId]) -> Vec<(VarId, ExprId)> {
        self.nodes[node]
            .params
            .iter()
            .copied()
            .zip(indices.iter().copied())
            .filter(|(v, _)| self.is_big(*v))
            .collect()
    }

    fn is_row_value(&self, reader: usize, node: usize, indices: &[ExprId]) -> bool {
        let (r, g) = (&self.nodes[reader], &self.nodes[node]);
        let set = |vars: &[VarId]| vars.iter().copied().collect::<BTreeSet<_>>();
        set(&r.stream) == set(&g.stream)
            && self.big_indices(node, indices).iter().all(|(v, e)| {
                matches!(self.expr(*e), Expr::Var(w) if w == v) && !r.stream.contains(v) && !r.inner.contains(v)
            })
    }

    fn uses(&mut self, reader: usize, e: ExprId) -> Vec<Use> {
        let mut uses: Vec<Use> = Vec::new();
        for (node, indices) in self.reads(e) {
            let row = self.is_row_value(reader, node, &indices);
            match uses.iter_mut().find(|u| u.node == node) {
                Some(u) => u.row &= row,
                None => uses.push(Use { node, row }),
            }
        }
        uses
    }

    /// Step 3 of the procedure, for all R-nodes in definition order.
    pub(crate) fn assign_sweeps(&mut self) -> Result<(), PlanError> {
        for index in 0..self.nodes.len() {
            self.assign_sweep(index)?;
        }
        Ok(())
    }

    fn assign_sweep(&mut self, index: usize) -> Result<(), PlanError> {
        let node = self.nodes[index].clone();
        let in_body = self.uses(index, node.body);
        let mut in_conds = Vec::new();
        for cond in &node.conds {
            in_conds.extend(self.uses(index, *cond));
        }
        let mut first = 1;
        let mut last = 1;
        let mut phase = 0;
        for (u, predicate) in in_body
            .iter()
            .map(|u| (u, false))
            .chain(in_conds.iter().map(|u| (u, true)))
        {
            let g = self.nodes[u.node].clone();
            last = last.max(g.ready + 1);
            phase = phase.max(g.phase + u32::from(!u.row));
            if !u.row || predicate {
                first = first.max(g.ready + 1);
            }
            if !u.row {
                let text = format!(
                    "{}: uses {}, reduced over another rank -> grid-wide barrier",
                    node.name, g.name
                );
                self.event(EventKind::Barrier, Some(node.span), text);
            } else if predicate {
                let text = format!(
                    "{}: its domain tests {}, complete only after a whole pass",
                    node.name, g.name
                );
                self.event(EventKind::Rejected, Some(node.span), text);
            }
        }
        self.nodes[index].phase = phase;
        // What a test reads is finished: it folds (F4), so that a test of a weight and the weight read the same row factor.
        let conds = node.conds.iter();
        self.nodes[index].conds = conds.map(|c| self.fold_finished(*c, &BTreeSet::new())).collect();
        for sweep in first..=last.max(first) {
            let late: BTreeSet<LeafId> = in_body
                .iter()
                .filter(|u| u.row && self.nodes[u.node].ready >= sweep)
                .map(|u| PlanLeaf::Value(u.node).id())
                .collect();
            let before = self.accumulators.len();
            match self.try_sweep(index, sweep, &late) {
                Ok(finish) => {
                    // a finish with a value of a later sweep is itself known only after that one
                    let used = self.values(finish);
                    let known = used.into_iter().map(|n| self.nodes[n].ready);
                    let ready = known.fold(sweep, u32::max);
                    self.nodes[index].sweep = sweep;
                    self.nodes[index].ready = ready;
                    self.nodes[index].finish = Some(finish);
                    return Ok(());
                }
                Err(refusal) => {
                    self.accumulators.truncate(before);
                    let text = format!("{}: not in sweep {sweep}: {}", self.nodes[index].name, refusal.reason);
                    let span = Some(self.nodes[index].span);
                    if late.is_empty() {
                        return Err(PlanError::new(span, text));
                    }
                    self.event(EventKind::Rejected, span, text);
                }
            }
        }
        Err(PlanError::new(
            Some(node.span),
            format!("{}: no sweep in which its reduction separates", node.name),
        ))
    }

    /// Tries to place a node in a sweep; gives its raw finish.
    fn try_sweep(&mut self, index: usize, sweep: u32, late: &BTreeSet<LeafId>) -> Result<ExprId, Refusal> {
        let node = self.nodes[index].clone();
        let body = self.fold_finished(node.body, late);
        if self.kind(body) != Kind::Real && !matches!(node.op, ReduceOp::ArgMax | ReduceOp::ArgMin) {
            return self.whole(index, sweep, body, late);
        }
        let mut taken: BTreeSet<VarId> = node.params.iter().copied().collect();
        taken.extend(node.stream.iter().chain(&node.inner).copied());
        let streamed = node.stream.iter().chain(&node.inner).copied().collect();
        let mut separation = Separation {
            state: self,
            late: late.clone(),
            vars: Streamed::These(streamed),
            taken,
        };
        let mut used = 0;
        let mut allocate = |state: &mut State, op: ReduceOp, product: Product| {
            used += 1;
            state.accumulate(index, sweep, op, product)
        };
        match node.op {
            ReduceOp::Sum => {
                let mut terms = separation.separate(body)?;
                self.drop_hoisting(&mut terms, late);
                self.gate(index, body, &terms, late)?;
                self.check_shared(body, &terms)?;
                self.report_rules(index, sweep, late, &terms);
                self.finish_of_terms(index, sweep, &terms).ok_or_else(|| Refusal {
                    at: body,
                    reason: "its coefficients leave 64 bits".to_owned(),
                })
            }
            ReduceOp::Max | ReduceOp::Min => {
                let value = separation.extremum(node.op, body, &mut allocate)?;
                if used == 1 && matches!(self.expr(value), Expr::Leaf(..)) {
                    return Ok(value);
                }
                let identity = if node.op == ReduceOp::Max {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                };
                let identity = self.arena().real(identity);
                let empty = self.emptiness(index);
                self.event(
                    EventKind::Rule,
                    Some(node.span),
                    format!("{}: extremum of a monotone map (S8)", node.name),
                );
                Ok(self.select(empty, identity, value))
            }
            ReduceOp::ArgMax | ReduceOp::ArgMin => separation.index_of_extremum(node.op, body, &mut allocate),
            ReduceOp::Prod | ReduceOp::Any | ReduceOp::All => self.whole(index, sweep, body, late),
        }
    }

    /// A reduction that is taken as it stands (S0 only).
    fn whole(&mut self, index: usize, sweep: u32, body: ExprId, late: &BTreeSet<LeafId>) -> Result<ExprId, Refusal> {
        let leaves = self.leaves(body);
        if late.iter().any(|l| leaves.contains(l)) {
            let op = format!("{:?}", self.nodes[index].op).to_lowercase();
            return Err(Refusal {
                at: body,
                reason: format!("{op} does not separate over late values"),
            });
        }
        let op = self.nodes[index].op;
        Ok(self.accumulate(index, sweep, op, Product::factor(body)))
    }

    /// Without a late value a term is taken as it stands: early row factors stay in the loop.
    fn drop_hoisting(&mut self, terms: &mut [Term], late: &BTreeSet<LeafId>) {
        if !late.is_empty() {
            return;
        }
        for term in terms {
            if let Some(product) = term.row.mul(&term.streamed) {
                term.streamed = product;
                term.row = Product::one();
            }
        }
    }

    /// S6: the carry grows by the extent of a shared rank.
    fn check_shared(&mut self, body: ExprId, terms: &[Term]) -> Result<(), Refusal> {
        for term in terms {
            if term.shared.is_empty() {
                continue;
            }
            let mut free = BTreeSet::new();
            for (f, _) in &term.streamed.factors {
                free.extend(self.free(*f).iter().copied());
            }
            let elements: f64 = free
                .iter()
                .filter(|v| !self.is_big(**v))
                .filter_map(|v| {
                    let extent = self.cascade.vars[v.index()].extent;
                    crate::constant::constant(&self.cascade.exprs, extent)
                })
                .product();
            let limit = self.options.carry_limit;
            if elements > limit as f64 {
                return Err(Refusal {
                    at: body,
                    reason: format!("a carry of {elements} elements per row, limit {limit}"),
                });
            }
        }
        Ok(())
    }
}
