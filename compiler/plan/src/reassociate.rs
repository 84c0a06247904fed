//! Contraction order (calculus A1): a sum of products is summed in the cheapest order.
//!
//! A sum whose body is a product, with nested sums and definitions of sums flattened, is a factor graph. The best binary
//! tree is found by dynamic programming over subsets of factors; a step costs the product of the extents of the ranks
//! that it joins, if it sums one of them. The tree is adopted if it saves at least 5 % at the nominal extents. What does
//! not depend on a rank is then computed outside of it: hoisting needs no rule of its own. A nested definition that others
//! use as well is computed for them anyway, so that its sums save nothing here (the scores of a normaliser).
//!
//! Identity: `sum_r a (sum_s b c) = sum_s c (sum_r a b)` for `c` free of `r`. It changes the order of summation and which
//! intermediate values exist (floating point: reassociates). A factor that may be infinite or no number (a quotient, a
//! logarithm) stays inside of the sums it was written in, so that a sum of nothing remains 0.
//!
//! `policy association = written` keeps every written order, `policy association(O) = written` that of `O`;
//! `policy nominal(p) = 1` says which extent of a run-time rank to plan for.

mod cost;
mod emit;
mod graph;
mod order;
mod substitute;

use crate::ir::{Event, EventKind};
use crate::range::{Analysis, Facts, unknown_leaf};
use cost::Costs;
use einloom_cascade::expr::{Expr, ExprId, MapOp, Reduce, ReduceOp};
use einloom_cascade::ir::Cascade;
use graph::Graph;
use std::collections::BTreeMap;

/// Extent that a run-time rank is planned for, unless a policy says otherwise.
pub const NOMINAL: i64 = 4096;

/// Share of the cost that a new order must save, in percent.
const SAVES: u128 = 5;

/// Rewrites the products of all definitions. The events name each new order, its cost, and the shapes it is for.
pub fn reassociate(cascade: &Cascade) -> (Cascade, Vec<Event>) {
    let pinned = |name: &str| {
        cascade.policies.iter().any(|policy| {
            policy.key == "association"
                && policy.value == "written"
                && (policy.names.is_empty() || policy.names.iter().any(|n| n == name))
        })
    };
    let mut rewriter = Rewriter {
        costs: Costs::new(cascade),
        cascade: cascade.clone(),
        done: BTreeMap::new(),
        events: Vec::new(),
        def: 0,
    };
    for at in 0..cascade.defs.len() {
        if pinned(&cascade.defs[at].name) {
            continue;
        }
        rewriter.def = at;
        rewriter.done.clear();
        let body = rewriter.rewrite(cascade.defs[at].body);
        rewriter.cascade.defs[at].body = body;
    }
    (rewriter.cascade, rewriter.events)
}

struct Rewriter {
    costs: Costs,
    cascade: Cascade,
    done: BTreeMap<ExprId, ExprId>,
    events: Vec<Event>,
    /// Definition being rewritten.
    def: usize,
}

impl Rewriter {
    fn rewrite(&mut self, id: ExprId) -> ExprId {
        if let Some(&done) = self.done.get(&id) {
            return done;
        }
        let node = self.cascade.exprs.get(id).clone();
        let rebuilt = self.children(node);
        let result = match self.cascade.exprs.get(rebuilt).clone() {
            Expr::Reduce(reduce) if reduce.op == ReduceOp::Sum => self.sum(rebuilt, &reduce),
            _ => rebuilt,
        };
        self.done.insert(id, result);
        result
    }

    /// The node with rewritten children.
    fn children(&mut self, node: Expr) -> ExprId {
        let rebuilt = match node {
            Expr::Map(op, args) => Expr::Map(op, self.list(args)),
            Expr::Input(input, places) => Expr::Input(input, self.list(places)),
            Expr::Def(def, places) => Expr::Def(def, self.list(places)),
            Expr::Leaf(leaf, places) => Expr::Leaf(leaf, self.list(places)),
            Expr::Select([c, a, b]) => Expr::Select([self.rewrite(c), self.rewrite(a), self.rewrite(b)]),
            Expr::Reduce(reduce) => Expr::Reduce(Reduce {
                conds: self.list(reduce.conds),
                body: self.rewrite(reduce.body),
                ..reduce
            }),
            leaf
            @ (Expr::Real(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Var(_) | Expr::Extent(_) | Expr::Scalar(_)) => leaf,
        };
        self.cascade.exprs.add(rebuilt)
    }

    fn list(&mut self, ids: Vec<ExprId>) -> Vec<ExprId> {
        ids.into_iter().map(|id| self.rewrite(id)).collect()
    }

    /// A cheaper form of a sum, or the sum itself.
    fn sum(&mut self, id: ExprId, reduce: &Reduce) -> ExprId {
        // variables made while looking at a graph that is not adopted must not stay
        let vars = self.cascade.vars.len();
        let result = self.cheaper(reduce);
        if result.is_none() {
            self.cascade.vars.truncate(vars);
        }
        result.unwrap_or(id)
    }

    fn cheaper(&mut self, reduce: &Reduce) -> Option<ExprId> {
        let graph = Graph::new(&mut self.cascade, &mut self.costs, reduce)?;
        let best = order::best(&graph, &self.costs)?;
        let written = graph.written.total(&self.costs);
        let found = best.cost.total(&self.costs);
        if found.saturating_mul(100) > written.saturating_mul(100 - SAVES) {
            return None;
        }
        let text = format!(
            "A1: sums over {} in another order: {} multiply-adds instead of {}{}",
            self.names(&graph),
            best.cost.text(&self.cascade, &self.costs),
            graph.written.text(&self.cascade, &self.costs),
            self.costs.shapes(&self.cascade, &[&best.cost, &graph.written]),
        );
        self.events.push(Event {
            kind: EventKind::Rule,
            span: Some(self.cascade.defs[self.def].span),
            text,
        });
        Some(emit::emit(&mut self.cascade.exprs, &graph, &best.tree))
    }

    fn names(&self, graph: &Graph) -> String {
        let name = |var: &einloom_cascade::expr::VarId| self.cascade.vars[var.index()].name.as_str();
        let names: Vec<&str> = graph.reduced.iter().map(name).collect();
        names.join(", ")
    }
}

/// Whether a value is certainly finite for finite inputs: only then may it leave a sum that may be empty.
fn finite(cascade: &Cascade, id: ExprId) -> bool {
    let facts = Facts::new(cascade);
    let analysis = Analysis::new(cascade, &facts, &[], &unknown_leaf).with_empty_ranks();
    finite_in(&analysis, cascade, id)
}

fn finite_in(analysis: &Analysis<'_>, cascade: &Cascade, id: ExprId) -> bool {
    use MapOp::*;
    let all = |ids: &[ExprId]| ids.iter().all(|&id| finite_in(analysis, cascade, id));
    match cascade.exprs.get(id) {
        Expr::Map(Acos | Atan2, _) => false,
        Expr::Map(Div | IDiv | IMod, args) => analysis.of(args[1]).nonzero && all(args),
        Expr::Map(Log | Log2 | Rsqrt, args) => analysis.positive(args[0]) && all(args),
        Expr::Map(Sqrt, args) => analysis.non_negative(args[0]) && all(args),
        Expr::Map(Pow, args) => analysis.positive(args[0]) && all(args),
        Expr::Map(_, args) => all(args),
        Expr::Select([_, a, b]) => all(&[*a, *b]),
        Expr::Reduce(reduce) => matches!(reduce.op, ReduceOp::Sum | ReduceOp::Prod) && all(&[reduce.body]),
        Expr::Def(def, _) => all(&[cascade.defs[def.index()].body]),
        Expr::Leaf(..) => false,
        Expr::Real(bits) => f64::from_bits(*bits).is_finite(),
        _ => true,
    }
}
