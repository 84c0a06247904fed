//! Inlining: everything that is not a reduction over a big rank is substituted into its users (calculus section 1).
//!
//! Afterwards each R-node has one body over inputs, values of other R-nodes and tile-local reductions, and one list of conjuncts.
//! Structurally equal R-nodes (up to the names of their variables) are one.

use crate::PlanError;
use crate::sign::Sign;
use crate::state::{Node, PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, MapOp, Reduce, ReduceOp, VarId};
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// Inlines all definitions and collects R-nodes in definition order.
    pub(crate) fn inline(&mut self) {
        for index in 0..self.cascade.defs.len() {
            self.name_dims(index);
            let def = self.cascade.defs[index].clone();
            let (mut memo, known) = (BTreeMap::new(), self.nodes.len());
            let body = self.normalise(def.body, index, true, &mut memo);
            let conds: Vec<ExprId> = def
                .conds
                .iter()
                .map(|c| self.normalise(*c, index, false, &mut memo))
                .collect();
            let conds = self.simplify_conds(conds);
            self.restrict_rows(known, body, &conds);
            self.names.entry(body).or_insert_with(|| def.name.clone());
            self.bodies.push(body);
            self.conds.push(conds);
        }
    }

    /// A definition's conditions hold wherever its new R-nodes (from `known` on) are read; an older one keeps those
    /// that this reader has too.
    fn restrict_rows(&mut self, known: usize, body: ExprId, conds: &[ExprId]) {
        for node in known..self.nodes.len() {
            let params = self.nodes[node].params.clone();
            let rows = conds.iter().copied().filter(|&c| {
                let free = self.free(c);
                self.leaves(c).is_empty() && free.iter().all(|v| params.contains(v))
            });
            self.nodes[node].rows = rows.collect();
        }
        for (node, indices) in self.reads(body) {
            let map = self.at_vars(&self.nodes[node].params.clone(), &indices);
            let mut rows = self.nodes[node].rows.clone();
            rows.retain(|&row| conds.contains(&self.substitute(row, &map)));
            self.nodes[node].rows = rows;
        }
    }

    fn normalise(&mut self, id: ExprId, def: usize, whole: bool, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        if let Some(done) = memo.get(&id) {
            return *done;
        }
        let children: Vec<ExprId> = self
            .cascade
            .exprs
            .children(id)
            .into_iter()
            .map(|c| self.normalise(c, def, false, memo))
            .collect();
        let result = match self.expr(id).clone() {
            Expr::Def(read, _) => {
                let dims = self.cascade.defs[read.index()].dims.clone();
                let map: BTreeMap<_, _> = dims.into_iter().zip(children).collect();
                let body = self.bodies[read.index()];
                let name = self.cascade.defs[read.index()].name.clone();
                let result = self.substitute(body, &map);
                self.names.entry(result).or_insert(name);
                result
            }
            Expr::Reduce(r) => {
                let (body, conds) = children.split_last().expect("a reduction has a body");
                let conds = self.simplify_conds(conds.to_vec());
                let reduce = self.name_stream(Reduce {
                    conds,
                    body: *body,
                    ..r
                });
                if let Some(count) = self.point_count(&reduce) {
                    count
                } else if reduce.vars.iter().any(|v| self.is_big(*v)) {
                    self.extract(reduce, def, whole)
                } else {
                    self.arena().add(Expr::Reduce(reduce))
                }
            }
            _ => crate::rewrite::with_children(&mut self.cascade.exprs, id, &children),
        };
        memo.insert(id, result);
        result
    }

    /// A sum of ones over an unconditional domain is its number of points.
    pub(crate) fn point_count(&mut self, reduce: &Reduce) -> Option<ExprId> {
        let one = match self.expr(reduce.body).clone() {
            Expr::Map(MapOp::ToReal, args) => matches!(self.expr(args[0]), Expr::Int(1)),
            Expr::Int(1) => true,
            Expr::Real(bits) => f64::from_bits(bits) == 1.0,
            _ => false,
        };
        if !one || reduce.op != ReduceOp::Sum || !reduce.conds.is_empty() {
            return None;
        }
        let mut count: Option<ExprId> = None;
        for v in &reduce.vars {
            let extent = self.cascade.vars[v.index()].extent;
            count = Some(match count {
                Some(count) => self.arena().map(MapOp::Mul, &[count, extent]),
                None => extent,
            });
        }
        let count = count?;
        Some(match self.kind(reduce.body) {
            einloom_cascade::expr::Kind::Real => self.map1(MapOp::ToReal, count),
            _ => count,
        })
    }

    /// Drops conjuncts that are true: constants and `x > 0` for an `x` proved positive.
    fn simplify_conds(&mut self, conds: Vec<ExprId>) -> Vec<ExprId> {
        let mut kept = Vec::new();
        for cond in conds {
            let proved = match self.expr(cond).clone() {
                Expr::Bool(true) => true,
                Expr::Map(MapOp::And, args) => {
                    for c in self.simplify_conds(args) {
                        if !kept.contains(&c) {
                            kept.push(c);
                        }
                    }
                    true
                }
                Expr::Map(MapOp::Lt, args) => self.is_const(args[0], 0.0) && self.sign(args[1]) == Sign::Positive,
                _ => false,
            };
            if !proved && !kept.contains(&cond) {
                kept.push(cond);
            }
        }
        kept
    }

    /// Turns a reduction over a big rank into an R-node (or finds it) and reads its value.
    fn extract(&mut self, reduce: Reduce, def: usize, whole: bool) -> ExprId {
        let mut free = BTreeSet::new();
        for e in reduce.conds.iter().chain([&reduce.body]) {
            free.extend(self.free(*e).iter().copied());
        }
        for v in &reduce.vars {
            free.remove(v);
        }
        let mut params: Vec<VarId> = self.cascade.defs[def]
            .dims
            .iter()
            .copied()
            .filter(|v| free.contains(v))
            .collect();
        for v in free {
            if !params.contains(&v) {
                params.push(v);
            }
        }
        let indices = self.vars_as_indices(&params);
        if let Some((node, indices)) = self.find_equal(&reduce, &params, &indices) {
            return self.leaf(PlanLeaf::Value(node), &indices);
        }
        let reduce = self.push_local_sums(reduce);
        let (stream, inner) = reduce.vars.iter().copied().partition(|v| self.is_big(*v));
        let name = self.node_name(def, whole, reduce.op);
        let span = self.cascade.defs[def].span;
        let node = self.nodes.len();
        self.nodes.push(Node {
            name,
            span,
            params,
            op: reduce.op,
            stream,
            inner,
            rows: Vec::new(),
            conds: reduce.conds,
            body: reduce.body,
            sweep: 0,
            ready: 0,
            phase: 0,
            finish: None,
        });
        self.leaf(PlanLeaf::Value(node), &indices)
    }

    /// `sum_{m,f} a b[f] = sum_m a (sum_f b[f])`: a local rank that only some factors mention is summed inside (a dot stays a dot, and
    /// accumulators share references).
    fn push_local_sums(&mut self, mut reduce: Reduce) -> Reduce {
        if reduce.op != ReduceOp::Sum || self.kind(reduce.body) != einloom_cascade::expr::Kind::Real {
            return reduce;
        }
        for v in reduce.vars.clone() {
            let in_conds = reduce
                .conds
                .iter()
                .any(|c| self.facts.free(&self.cascade.exprs, *c).contains(&v));
            if self.is_big(v) || in_conds || reduce.vars.len() == 1 {
                continue;
            }
            let product = crate::product::Product::of(&mut self.cascade.exprs, reduce.body);
            let over = |state: &mut State, e: ExprId| state.free(e).contains(&v);
            let weighted = product.exponent.0.keys().any(|a| over(self, *a));
            let (inside, outside): (Vec<_>, Vec<_>) =
                product.factors.iter().copied().partition(|(f, _)| over(self, *f));
            if weighted || inside.is_empty() || outside.is_empty() && product.exponent.is_zero() {
                continue;
            }
            let inside = crate::product::Product {
                factors: inside,
                ..crate::product::Product::one()
            };
            let body = inside.to_expr(&mut self.cascade.exprs);
            let sum = self.arena().add(Expr::Reduce(Reduce {
                op: ReduceOp::Sum,
                vars: vec![v],
                conds: Vec::new(),
                body,
            }));
            let mut rest = crate::product::Product {
                factors: outside,
                ..product
            };
            rest.factors.push((sum, crate::rational::Rational::ONE));
            reduce.body = rest.to_expr(&mut self.cascade.exprs);
            reduce.vars.retain(|w| *w != v);
        }
        reduce
    }

    fn node_name(&self, def: usize, whole: bool, op: ReduceOp) -> String {
        let name = &self.cascade.defs[def].name;
        if whole && !self.nodes.iter().any(|n| n.name == *name) {
            return name.clone();
        }
        let base = format!("{name}.{}", format!("{op:?}").to_lowercase());
        (1..)
            .map(|i| if i == 1 { base.clone() } else { format!("{base}{i}") })
            .find(|n| !self.nodes.iter().any(|other| other.name == *n))
            .expect("there is always a free number")
    }

    /// The first variable of the same rank that is not taken.
    fn representative(&self, v: VarId, taken: &BTreeSet<VarId>) -> VarId {
        let own = &self.cascade.vars[v.index()];
        let same = |w: &&einloom_cascade::ir::Var| w.extent == own.extent && rank_name(&w.name) == rank_name(&own.name);
        (0..)
            .zip(&self.cascade.vars)
            .filter(|(_, w)| same(w))
            .map(|(index, _)| VarId(index))
            .find(|w| !taken.contains(w))
            .unwrap_or(v)
    }

    /// Renames the result variables of a definition, so that one rank has one variable where possible.
    fn name_dims(&mut self, index: usize) {
        let def = self.cascade.defs[index].clone();
        let mut taken = BTreeSet::new();
        let mut map = BTreeMap::new();
        let mut dims = Vec::new();
        for v in &def.dims {
            let to = self.representative(*v, &taken);
            taken.insert(to);
            dims.push(to);
            let image = self.arena().var(to);
            map.insert(*v, image);
        }
        let body = self.substitute(def.body, &map);
        let conds = def.conds.iter().map(|c| self.substitute(*c, &map)).collect();
        for output in 0..self.cascade.outputs.len() {
            if self.cascade.outputs[output].def.index() == index {
                let places = self.cascade.outputs[output].places.clone();
                let places = places.iter().map(|e| self.substitute(*e, &map)).collect();
                self.cascade.outputs[output].places = places;
            }
        }
        let def = &mut self.cascade.defs[index];
        def.dims = dims;
        def.body = body;
        def.conds = conds;
    }

    /// Renames a reduced big variable to the one an earlier R-node streams for the same rank, so that loops can be shared.
    fn name_stream(&mut self, reduce: Reduce) -> Reduce {
        let mut taken: BTreeSet<VarId> = reduce.vars.iter().copied().collect();
        for e in reduce.conds.iter().chain([&reduce.body]) {
            taken.extend(self.free(*e).iter().copied());
        }
        let mut map = BTreeMap::new();
        let mut vars = Vec::new();
        for v in &reduce.vars {
            taken.remove(v);
            let to = self.representative(*v, &taken);
            taken.insert(to);
            if to != *v {
                let image = self.arena().var(to);
                map.insert(*v, image);
            }
            vars.push(to);
        }
        Reduce {
            op: reduce.op,
            vars,
            conds: reduce.conds.iter().map(|c| self.substitute(*c, &map)).collect(),
            body: self.substitute(reduce.body, &map),
        }
    }

    /// An R-node equal to `reduce` up to the names of its variables, with the indices to read it at.
    fn find_equal(&mut self, reduce: &Reduce, params: &[VarId], indices: &[ExprId]) -> Option<(usize, Vec<ExprId>)> {
        for index in 0..self.nodes.len() {
            let node = self.nodes[index].clone();
            if node.op != reduce.op
                || node.params.len() != params.len()
                || node.stream.len() + node.inner.len() != reduce.vars.len()
                || node.conds.len() != reduce.conds.len()
            {
                continue;
            }
            let bound: Vec<VarId> = node.stream.iter().chain(&node.inner).copied().collect();
            let mine: BTreeSet<VarId> = reduce.vars.iter().copied().collect();
            if bound.iter().copied().collect::<BTreeSet<_>>() != mine {
                continue;
            }
            // Parameters are matched by position first, then as they stand.
            let identity: BTreeMap<VarId, ExprId> = BTreeMap::new();
            let positional: BTreeMap<VarId, ExprId> =
                node.params.iter().copied().zip(indices.iter().copied()).collect();
            for map in [identity, positional] {
                let images: BTreeSet<_> = map.values().collect();
                if images.len() != map.len() {
                    continue;
                }
                let body = self.substitute(node.body, &map);
                let conds: Vec<_> = node.conds.iter().map(|c| self.substitute(*c, &map)).collect();
                if body == reduce.body && conds == reduce.conds {
                    let at = node
                        .params
                        .iter()
                        .map(|p| match map.get(p) {
                            Some(e) => *e,
                            None => self.cascade.exprs.var(*p),
                        })
                        .collect();
                    return Some((index, at));
                }
            }
        }
        None
    }

    /// Reductions that need the whole fibre, or that a later level cannot carry.
    pub(crate) fn check_nodes(&mut self) -> Vec<PlanError> {
        let mut errors = Vec::new();
        for node in &self.nodes {
            for v in &node.stream {
                if node.params.contains(v) {
                    errors.push(PlanError::new(
                        Some(node.span),
                        format!("{}: rank {} is both reduced and kept", node.name, self.var_name(*v)),
                    ));
                }
            }
        }
        errors
    }
}

/// Rank name without the suffix that makes variables unique.
pub(crate) fn rank_name(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_')
}
