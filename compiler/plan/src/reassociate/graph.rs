//! The factor graph of a sum of products.

use super::cost::{Cost, Costs};
use super::finite;
use super::substitute::{free, substitute};
use crate::range::{Analysis, Facts, unknown_leaf};
use einloom_cascade::expr::{Expr, ExprId, MapOp, Reduce, ReduceOp, VarId};
use einloom_cascade::ir::Cascade;
use std::collections::{BTreeMap, BTreeSet};

/// Most factors that are ordered (subsets are enumerated).
pub(super) const FACTORS: usize = 7;

/// Deepest nesting of products and definitions that is looked into.
const DEPTH: usize = 32;

/// A factor or a predicate.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// The value; `None` for a predicate.
    pub(super) value: Option<ExprId>,
    /// The conditions of a predicate.
    pub(super) conds: Vec<ExprId>,
    pub(super) ranks: BTreeSet<VarId>,
    /// Reduced ranks that must not be summed before this is joined.
    pub(super) holds: BTreeSet<VarId>,
}

/// A flattened sum of products.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) factors: Vec<Factor>,
    /// All reduced ranks, in written order.
    pub(super) reduced: Vec<VarId>,
    /// Factors and divisors without any rank, applied at the end.
    pub(super) scales: Vec<(ExprId, bool)>,
    /// Cost as written, without the definitions that others use as well: those are computed once, and free here.
    pub(super) written: Cost,
}

impl Graph {
    /// Flattens a sum; `None` if there is nothing to order: no nested sum and no factor to hoist, or too many factors.
    pub(super) fn new(cascade: &mut Cascade, costs: &mut Costs, reduce: &Reduce) -> Option<Graph> {
        let mut graph = Graph {
            factors: Vec::new(),
            reduced: Vec::new(),
            scales: Vec::new(),
            written: Cost::none(),
        };
        let outer: BTreeSet<VarId> = {
            let id = cascade.exprs.add(Expr::Reduce(reduce.clone()));
            free(&cascade.exprs, id)
        };
        let mut flat = Flattener {
            cascade,
            costs,
            graph: &mut graph,
            taken: outer,
            sums: Vec::new(),
            shared: 0,
        };
        flat.sum(reduce, 0)?;
        let several = graph.factors.iter().filter(|factor| factor.value.is_some()).count() > 1;
        (several && graph.factors.len() <= FACTORS).then_some(graph)
    }
}

struct Flattener<'a> {
    cascade: &'a mut Cascade,
    costs: &'a mut Costs,
    graph: &'a mut Graph,
    /// Variables in use: free ones and those bound so far.
    taken: BTreeSet<VarId>,
    /// Reduced ranks of the sums around the present place, innermost last.
    sums: Vec<Vec<VarId>>,
    /// How many definitions around the present place others use as well.
    shared: usize,
}

impl Flattener<'_> {
    /// Adds a sum; returns the ranks of its value.
    fn sum(&mut self, reduce: &Reduce, depth: usize) -> Option<BTreeSet<VarId>> {
        self.graph.reduced.extend(&reduce.vars);
        self.taken.extend(&reduce.vars);
        self.sums.push(reduce.vars.clone());
        for &cond in &reduce.conds {
            self.predicate(cond);
        }
        let mut ranks = self.product(reduce.body, depth + 1)?;
        for &cond in &reduce.conds {
            ranks.extend(free(&self.cascade.exprs, cond));
        }
        ranks.extend(&reduce.vars);
        if self.shared == 0 {
            self.graph.written = self.graph.written.plus(&Cost::step(&ranks));
        }
        self.sums.pop();
        for var in &reduce.vars {
            ranks.remove(var);
        }
        Some(ranks)
    }

    fn predicate(&mut self, cond: ExprId) {
        let ranks = free(&self.cascade.exprs, cond);
        let reduced: BTreeSet<VarId> = self.sums.iter().flatten().copied().collect();
        let mut holds: BTreeSet<VarId> = ranks.intersection(&reduced).copied().collect();
        if holds.is_empty() {
            // a condition of the whole sum stays with it
            holds.extend(self.sums.last().into_iter().flatten());
        }
        let same = |f: &&mut Factor| f.value.is_none() && f.ranks == ranks && f.holds == holds;
        match self.graph.factors.iter_mut().find(same) {
            Some(factor) => factor.conds.push(cond),
            None => self.graph.factors.push(Factor {
                value: None,
                conds: vec![cond],
                ranks,
                holds,
            }),
        }
    }

    /// Adds the factors of a product; returns its ranks.
    fn product(&mut self, id: ExprId, depth: usize) -> Option<BTreeSet<VarId>> {
        if depth > DEPTH || self.graph.factors.len() > FACTORS {
            return None;
        }
        match self.cascade.exprs.get(id).clone() {
            Expr::Map(MapOp::Mul, args) => {
                let mut ranks = self.product(args[0], depth + 1)?;
                ranks.extend(self.product(args[1], depth + 1)?);
                Some(ranks)
            }
            Expr::Map(MapOp::Div, args) if free(&self.cascade.exprs, args[1]).is_empty() && self.nonzero(args[1]) => {
                self.graph.scales.push((args[1], true));
                self.product(args[0], depth + 1)
            }
            // A divisor that may be 0, if only where a rank is empty, stays inside of its sums: a sum of nothing is 0, not 0/0.
            Expr::Map(MapOp::Div, args) if free(&self.cascade.exprs, args[1]).is_empty() => {
                let one = self.cascade.exprs.real(1.0);
                let inverse = self.cascade.exprs.map(MapOp::Div, &[one, args[1]]);
                let mut ranks = self.product(args[0], depth + 1)?;
                ranks.extend(self.factor(inverse));
                Some(ranks)
            }
            Expr::Reduce(reduce) if reduce.op == ReduceOp::Sum => {
                let reduce = self.renamed(id, reduce);
                self.sum(&reduce, depth + 1)
            }
            Expr::Def(at, places) if self.is_product_sum(id, depth) => {
                let def = self.cascade.defs[at.index()].clone();
                let map: BTreeMap<VarId, ExprId> = def.dims.iter().copied().zip(places.iter().copied()).collect();
                let body = substitute(self.cascade, self.costs, def.body, &map, &self.taken);
                let shared = usize::from(self.costs.users(at) > 1);
                self.shared += shared;
                let ranks = self.product(body, depth + 1);
                self.shared -= shared;
                ranks
            }
            _ => Some(self.factor(id)),
        }
    }

    fn nonzero(&self, id: ExprId) -> bool {
        let facts = Facts::new(self.cascade);
        Analysis::new(self.cascade, &facts, &[], &unknown_leaf)
            .with_empty_ranks()
            .of(id)
            .nonzero
    }

    fn factor(&mut self, id: ExprId) -> BTreeSet<VarId> {
        let ranks = free(&self.cascade.exprs, id);
        let finite = finite(self.cascade, id);
        if ranks.is_empty() && finite {
            self.graph.scales.push((id, false));
            return ranks;
        }
        let mut holds = ranks.clone();
        if !finite {
            holds.extend(self.sums.iter().flatten());
        }
        self.graph.factors.push(Factor {
            value: Some(id),
            conds: Vec::new(),
            ranks: ranks.clone(),
            holds,
        });
        ranks
    }

    /// The sum with bound variables that are not in use yet.
    fn renamed(&mut self, id: ExprId, reduce: Reduce) -> Reduce {
        if reduce.vars.iter().all(|var| !self.taken.contains(var)) {
            return reduce;
        }
        let new = substitute(self.cascade, self.costs, id, &BTreeMap::new(), &self.taken);
        match self.cascade.exprs.get(new) {
            Expr::Reduce(renamed) => renamed.clone(),
            _ => reduce,
        }
    }

    /// Whether a definition is a product with a sum in it, the only kind worth flattening.
    fn is_product_sum(&self, id: ExprId, depth: usize) -> bool {
        if depth > DEPTH {
            return false;
        }
        match self.cascade.exprs.get(id) {
            Expr::Def(def, _) => self.is_product_sum(self.cascade.defs[def.index()].body, depth + 1),
            Expr::Map(MapOp::Mul, args) => args.iter().any(|&arg| self.is_product_sum(arg, depth + 1)),
            Expr::Map(MapOp::Div, args) => {
                free(&self.cascade.exprs, args[1]).is_empty() && self.is_product_sum(args[0], depth + 1)
            }
            Expr::Reduce(reduce) => reduce.op == ReduceOp::Sum,
            _ => false,
        }
    }
}
