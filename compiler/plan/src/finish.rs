//! The scaled finish (F1, F2) and the guards of empty rows (G1), inside one kernel.
//!
//! F1: an expression over accumulators is rewritten on pairs `(m, s)` meaning `m * e^s`, s a linear form in references and late extrema: `*` adds s,
//! `/` subtracts, `log` gives `log m + s`, powers multiply; `exp` of a linear form puts `log y` atoms into m and the rest into s. Row constants
//! cancel because forms cancel; nothing with s != 0 is exponentiated by itself.
//! F2: `m1 e^u + m2 e^v = (m1 e^(u-t) + m2 e^(v-t)) e^t`, `t = max(u, v)`.

use crate::build::Build;
use crate::constant::{constant, rational};
use crate::product::{Linear, power_expr};
use crate::rational::Rational;
use crate::state::PlanLeaf;
use einloom_cascade::expr::{Expr, ExprId, LeafId, MapOp, Reduce, ReduceOp, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// `m * e^s`.
#[derive(Clone, Debug)]
pub(crate) struct Scaled {
    m: ExprId,
    s: Linear,
}

/// Rewrites expressions over node values into expressions over the state of `kernel`.
pub(crate) struct Finish<'a, 'b> {
    build: &'a mut Build<'b>,
    kernel: usize,
    /// Nodes known not to be empty here.
    known: Vec<usize>,
    memo: Vec<BTreeMap<ExprId, Scaled>>,
}

impl<'a, 'b> Finish<'a, 'b> {
    pub(crate) fn new(build: &'a mut Build<'b>, kernel: usize) -> Self {
        Self {
            build,
            kernel,
            known: Vec::new(),
            memo: vec![BTreeMap::new()],
        }
    }

    /// The value of an expression, with no scale left.
    pub(crate) fn value(&mut self, e: ExprId) -> ExprId {
        let pair = self.pair(e);
        self.unscale(pair)
    }

    fn plain(&self, m: ExprId) -> Scaled {
        Scaled {
            m,
            s: Linear::default(),
        }
    }

    fn real(&mut self, value: f64) -> ExprId {
        self.build.state.arena().real(value)
    }

    fn zero_or(&mut self, form: &Linear) -> ExprId {
        match form.to_expr(self.build.state.arena()) {
            Some(e) => e,
            None => self.real(0.0),
        }
    }

    /// `m * e^s` as one expression; the scale goes inside a guard, because it is meaningless in an empty row.
    fn unscale(&mut self, p: Scaled) -> ExprId {
        if p.s.is_zero() {
            return p.m;
        }
        let state = &mut *self.build.state;
        if let Expr::Select([c, a, b]) = *state.expr(p.m)
            && state.is_const(a, 0.0)
        {
            let b = self.unscale(Scaled { m: b, s: p.s });
            return self.build.state.select(c, a, b);
        }
        let guards: Vec<ExprId> =
            p.s.0
                .iter()
                .filter(|(atom, k)| k.num > 0 && self.is_reference(**atom))
                .map(|(atom, _)| *atom)
                .collect();
        let mixed = p.s.0.values().any(|k| k.num < 0);
        let scale = self.zero_or(&p.s);
        let state = &mut *self.build.state;
        let weight = state.map1(MapOp::Exp, scale);
        let value = state.mul(p.m, weight);
        match guards.first() {
            Some(g) if mixed => {
                let nothing = state.arena().real(f64::NEG_INFINITY);
                let empty = state.arena().map(MapOp::Le, &[*g, nothing]);
                let zero = state.arena().real(0.0);
                state.select(empty, zero, value)
            }
            // without a reference a late maximum in the scale is -inf in an empty row, whose sum stays 0
            None if mixed => {
                let magnitude = state.map1(MapOp::Abs, p.m);
                let zero = state.arena().real(0.0);
                let nothing = state.arena().map(MapOp::Le, &[magnitude, zero]);
                state.select(nothing, zero, value)
            }
            _ => value,
        }
    }

    /// The scale of `m * e^s` as an expression; -inf where nothing was absorbed: a mixed form, such as `g - top`, is no number or
    /// +inf there.
    fn exponent(&mut self, m: ExprId, s: &Linear) -> ExprId {
        let form = self.zero_or(s);
        if !s.0.values().any(|k| k.num < 0) {
            return form;
        }
        let references = |(atom, k): &(&ExprId, &Rational)| k.num > 0 && self.is_reference(**atom);
        let reference = s.0.iter().find(references).map(|(atom, _)| *atom);
        let state = &mut *self.build.state;
        let nothing = state.arena().real(f64::NEG_INFINITY);
        let empty = match reference {
            Some(g) => state.arena().map(MapOp::Le, &[g, nothing]),
            None => {
                let magnitude = state.map1(MapOp::Abs, m);
                let zero = state.arena().real(0.0);
                state.arena().map(MapOp::Le, &[magnitude, zero])
            }
        };
        state.select(empty, nothing, form)
    }

    /// `m * e^(form - t)`. Where nothing was absorbed the weight is exp(-inf) = 0, also beside another empty term, where the
    /// difference is no number.
    fn below(&mut self, m: ExprId, form: ExprId, t: ExprId) -> ExprId {
        let state = &mut *self.build.state;
        let below = state.arena().map(MapOp::Sub, &[form, t]);
        let weight = state.map1(MapOp::Exp, below);
        let nothing = state.arena().real(f64::NEG_INFINITY);
        let empty = state.arena().map(MapOp::Le, &[form, nothing]);
        let zero = state.arena().real(0.0);
        let weight = state.arena().add(Expr::Select([empty, zero, weight]));
        state.mul(m, weight)
    }

    fn is_reference(&self, e: ExprId) -> bool {
        matches!(self.build.state.expr(e), Expr::Leaf(l, _) if matches!(PlanLeaf::of(*l), PlanLeaf::Reference(_)))
    }

    fn pair(&mut self, e: ExprId) -> Scaled {
        if self.build.state.leaves(e).is_empty() {
            return self.plain(e);
        }
        if let Some(done) = self.memo.last().and_then(|m| m.get(&e)) {
            return done.clone();
        }
        let pair = match self.build.state.expr(e).clone() {
            Expr::Leaf(leaf, indices) => self.leaf(e, leaf, &indices),
            Expr::Map(op, args) => self.map(e, op, &args),
            Expr::Select([c, a, b]) => self.selection(c, a, b),
            Expr::Reduce(r) => self.reduce(r),
            _ => self.rebuild(e),
        };
        if let Some(memo) = self.memo.last_mut() {
            memo.insert(e, pair.clone());
        }
        pair
    }

    fn rebuild(&mut self, e: ExprId) -> Scaled {
        let children: Vec<ExprId> = self
            .build
            .state
            .cascade
            .exprs
            .children(e)
            .into_iter()
            .map(|c| self.value(c))
            .collect();
        let e = crate::rewrite::with_children(&mut self.build.state.cascade.exprs, e, &children);
        self.plain(e)
    }

    fn leaf(&mut self, e: ExprId, leaf: LeafId, indices: &[ExprId]) -> Scaled {
        match PlanLeaf::of(leaf) {
            PlanLeaf::Value(node) => match self.opened(node, indices) {
                Some(finish) => self.pair(finish),
                None => self.plain(e),
            },
            PlanLeaf::Folded(_) => {
                let opened = self.build.open(e);
                let form = self.linear(opened);
                let m = self.zero_or(&form);
                self.plain(m)
            }
            PlanLeaf::Accumulator(a) => self.accumulator(a, indices),
            PlanLeaf::Empty(node) => {
                let m = self.empty(node, indices);
                self.plain(m)
            }
            _ => self.rebuild(e),
        }
    }

    /// The raw finish of a node of this kernel, with other kernels' values crossing.
    fn opened(&mut self, node: usize, indices: &[ExprId]) -> Option<ExprId> {
        let finish = self.build.state.finish_at(node, indices)?;
        Some(self.build.cross(self.kernel, finish))
    }

    fn accumulator(&mut self, a: usize, indices: &[ExprId]) -> Scaled {
        let instance = self.build.carry(self.kernel, a);
        let indices: Vec<ExprId> = indices.iter().map(|i| self.value(*i)).collect();
        let m = self.build.state.carry_leaf(instance, &indices);
        let spec = self.build.state.accumulators[a].clone();
        let Some((reference, (num, den))) = spec.reference else {
            return self.plain(m);
        };
        let g = self.build.reference(self.kernel, reference);
        let dims = self.build.state.references[reference].dims.clone();
        let at: Vec<ExprId> = dims
            .iter()
            .map(|v| match spec.dims.iter().position(|d| d == v) {
                Some(position) => indices[position],
                None => self.build.state.cascade.exprs.var(*v),
            })
            .collect();
        let g = self.build.state.leaf(PlanLeaf::Reference(g), &at);
        let s = Linear::atom(g).scale(Rational { num, den });
        Scaled {
            m,
            s: s.unwrap_or_default(),
        }
    }

    /// G1: whether `node` reduced over nothing: `g = -inf` of a reference over its domain, or an `any` carry.
    fn empty(&mut self, node: usize, indices: &[ExprId]) -> ExprId {
        let n = self.build.state.nodes[node].clone();
        let uses: BTreeSet<usize> = self.build.state.values(n.body).into_iter().collect();
        let state = &*self.build.state;
        let phase = self.build.kernels[self.kernel].phase;
        let covers = |r: &crate::state::ReferenceSpec| {
            let here = state.nodes[r.node].phase == phase;
            let inside = r.conds.iter().all(|c| n.conds.contains(c));
            r.stream == n.stream
                && r.inner == n.inner
                && r.sweep <= n.sweep
                && here
                && inside
                && (r.conds.len() == n.conds.len() || uses.contains(&r.node))
        };
        let own = state.accumulators.iter().find_map(|a| {
            a.reference
                .filter(|(r, _)| a.node == node && covers(&state.references[*r]))
        });
        let spec = own.map(|(r, _)| r).or_else(|| state.references.iter().position(covers));
        let at_params = |dims: &[VarId], build: &mut Build<'_>| -> Vec<ExprId> {
            dims.iter()
                .map(|v| match n.params.iter().position(|p| p == v) {
                    Some(position) => indices[position],
                    None => build.state.cascade.exprs.var(*v),
                })
                .collect()
        };
        let known_dims = |dims: &[VarId]| dims.iter().all(|v| n.params.contains(v));
        let spec = spec.filter(|s| known_dims(&self.build.state.references[*s].dims));
        if let Some(spec) = spec {
            let dims = self.build.state.references[spec].dims.clone();
            let reference = self.build.reference(self.kernel, spec);
            let at = at_params(&dims, self.build);
            let g = self.build.state.leaf(PlanLeaf::Reference(reference), &at);
            let nothing = self.real(f64::NEG_INFINITY);
            return self.build.state.arena().map(MapOp::Le, &[g, nothing]);
        }
        if n.conds.is_empty() {
            return self.no_extent(&n);
        }
        if let Some(sum) = self.positive_sum(&n) {
            let dims = self.build.state.accumulators[sum].dims.clone();
            let instance = self.build.carry(self.kernel, sum);
            let at = at_params(&dims, self.build);
            let l = self.build.state.carry_leaf(instance, &at);
            let zero = self.real(0.0);
            return self.build.state.arena().map(MapOp::Le, &[l, zero]);
        }
        let live = self.build.state.arena().add(Expr::Bool(true));
        let live = crate::product::Product::factor(live);
        let a = self.build.state.accumulator(node, n.sweep, ReduceOp::Any, live);
        let dims = self.build.state.accumulators[a].dims.clone();
        let instance = self.build.carry(self.kernel, a);
        let at = at_params(&dims, self.build);
        let any = self.build.state.carry_leaf(instance, &at);
        self.build.state.map1(MapOp::Not, any)
    }

    /// A reduction without conditions is empty iff a reduced rank is.
    fn no_extent(&mut self, n: &crate::state::Node) -> ExprId {
        let state = &mut *self.build.state;
        let zero = state.arena().int(0);
        let mut test: Option<ExprId> = None;
        for v in &n.stream {
            let extent = state.cascade.vars[v.index()].extent;
            let none = state.arena().map(MapOp::Le, &[extent, zero]);
            test = Some(match test {
                None => none,
                Some(test) => state.arena().map(MapOp::Or, &[test, none]),
            });
        }
        test.unwrap_or_else(|| self.build.state.arena().add(Expr::Bool(false)))
    }

    /// A sum of bare weights with a bounded exponent over the node's domain: zero iff nothing was absorbed.
    fn positive_sum(&mut self, n: &crate::state::Node) -> Option<usize> {
        let state = &*self.build.state;
        let phase = self.build.kernels[self.kernel].phase;
        state.accumulators.iter().position(|a| {
            state.nodes[a.node].phase == phase
                && a.op == ReduceOp::Sum
                && a.bounded
                && a.streamed.factors.is_empty()
                && a.stream == n.stream
                && a.inner == n.inner
                && a.sweep <= n.sweep
                && crate::terms::same_set(&a.conds, &n.conds)
                && a.dims.iter().all(|v| n.params.contains(v))
        })
    }

    /// Whether a node of `known` has points only where `node` has.
    fn known_not_empty(&self, node: usize) -> bool {
        let n = &self.build.state.nodes[node];
        self.known.iter().any(|k| {
            let k = &self.build.state.nodes[*k];
            k.stream == n.stream && k.inner == n.inner && n.conds.iter().all(|c| k.conds.contains(c))
        })
    }

    fn selection(&mut self, c: ExprId, a: ExprId, b: ExprId) -> Scaled {
        if let Expr::Leaf(leaf, _) = self.build.state.expr(c).clone()
            && let PlanLeaf::Empty(node) = PlanLeaf::of(leaf)
        {
            if self.known_not_empty(node) {
                return self.pair(b);
            }
            self.known.push(node);
            self.memo.push(BTreeMap::new());
            let inner = self.pair(b);
            self.memo.pop();
            self.known.pop();
            let test = self.pair(c).m;
            return self.choose(test, a, inner);
        }
        let test = self.value(c);
        let (x, y) = (self.pair(a), self.pair(b));
        if x.s == y.s {
            return Scaled {
                m: self.build.state.select(test, x.m, y.m),
                s: x.s,
            };
        }
        if self.build.state.is_const(x.m, 0.0) {
            return self.choose(test, x.m, y);
        }
        let (x, y) = (self.unscale(x), self.unscale(y));
        let m = self.build.state.select(test, x, y);
        self.plain(m)
    }

    /// `select(test, constant, pair)`; a zero needs no scale.
    fn choose(&mut self, test: ExprId, constant: ExprId, pair: Scaled) -> Scaled {
        if self.build.state.is_const(constant, 0.0) {
            return Scaled {
                m: self.build.state.select(test, constant, pair.m),
                s: pair.s,
            };
        }
        let value = self.unscale(pair);
        let m = self.build.state.select(test, constant, value);
        self.plain(m)
    }

    fn map(&mut self, e: ExprId, op: MapOp, args: &[ExprId]) -> Scaled {
        match op {
            MapOp::Exp => self.exponential(args[0]),
            MapOp::Mul | MapOp::Div => {
                let (a, b) = (self.pair(args[0]), self.pair(args[1]));
                let state = &mut *self.build.state;
                let (m, s) = if op == MapOp::Mul {
                    (state.mul(a.m, b.m), a.s.add(&b.s))
                } else {
                    (state.div(a.m, b.m), a.s.sub(&b.s))
                };
                s.map_or_else(|| self.plain(e), |s| Scaled { m, s })
            }
            MapOp::Add => self.sum(e, args[0], args[1], false),
            MapOp::Sub => self.sum(e, args[0], args[1], true),
            MapOp::Neg => {
                let a = self.pair(args[0]);
                if a.s.is_zero() {
                    return self.additive(e);
                }
                Scaled {
                    m: self.build.state.map1(MapOp::Neg, a.m),
                    s: a.s,
                }
            }
            MapOp::Abs => {
                let a = self.pair(args[0]);
                Scaled {
                    m: self.build.state.map1(MapOp::Abs, a.m),
                    s: a.s,
                }
            }
            MapOp::Sqrt | MapOp::Rsqrt => {
                let a = self.pair(args[0]);
                let half = Rational {
                    num: if op == MapOp::Sqrt { 1 } else { -1 },
                    den: 2,
                };
                let m = self.build.state.map1(op, a.m);
                match a.s.scale(half) {
                    Some(s) => Scaled { m, s },
                    None => self.rebuild(e),
                }
            }
            MapOp::Pow => {
                let k = rational(&self.build.state.cascade.exprs, args[1]);
                let a = self.pair(args[0]);
                match k.and_then(|k| a.s.scale(k)) {
                    Some(s) => Scaled {
                        m: self.build.state.arena().map(MapOp::Pow, &[a.m, args[1]]),
                        s,
                    },
                    None => self.rebuild(e),
                }
            }
            MapOp::Max | MapOp::Min => {
                let (a, b) = (self.pair(args[0]), self.pair(args[1]));
                if a.s == b.s {
                    return Scaled {
                        m: self.build.state.arena().map(op, &[a.m, b.m]),
                        s: a.s,
                    };
                }
                self.rebuild(e)
            }
            MapOp::Log => self.additive(e),
            MapOp::Lt | MapOp::Le => self.comparison(e, op, args),
            _ => self.rebuild(e),
        }
    }

    /// Comparisons with zero do not depend on the scale.
    fn comparison(&mut self, e: ExprId, op: MapOp, args: &[ExprId]) -> Scaled {
        let with_zero = args.iter().any(|a| self.build.state.is_const(*a, 0.0));
        if !with_zero {
            return self.rebuild(e);
        }
        let (a, b) = (self.pair(args[0]).m, self.pair(args[1]).m);
        let test = self.build.state.arena().map(op, &[a, b]);
        self.plain(test)
    }

    /// A sum, difference or logarithm through its linear form, in which references and late extrema cancel.
    fn additive(&mut self, e: ExprId) -> Scaled {
        let form = self.linear(e);
        let m = self.zero_or(&form);
        self.plain(m)
    }

    fn sum(&mut self, e: ExprId, a: ExprId, b: ExprId, minus: bool) -> Scaled {
        if self.build.state.kind(e) != einloom_cascade::expr::Kind::Real {
            return self.rebuild(e);
        }
        let (x, y) = (self.pair(a), self.pair(b));
        if x.s.is_zero() && y.s.is_zero() {
            return self.additive(e);
        }
        let op = if minus { MapOp::Sub } else { MapOp::Add };
        if x.s == y.s {
            return Scaled {
                m: self.build.state.arena().map(op, &[x.m, y.m]),
                s: x.s,
            };
        }
        if self.build.state.is_const(y.m, 0.0) {
            return x;
        }
        if self.build.state.is_const(x.m, 0.0) && !minus {
            return y;
        }
        // F2: what both scales have in common stays outside.
        let common: Linear = Linear(
            x.s.0
                .iter()
                .filter(|(atom, k)| y.s.0.get(atom) == Some(k))
                .map(|(atom, k)| (*atom, *k))
                .collect(),
        );
        let (Some(u), Some(v)) = (x.s.sub(&common), y.s.sub(&common)) else {
            return self.rebuild(e);
        };
        let (u, v) = (self.exponent(x.m, &u), self.exponent(y.m, &v));
        let t = self.build.state.arena().map(MapOp::Max, &[u, v]);
        let (left, right) = (self.below(x.m, u, t), self.below(y.m, v, t));
        let m = self.build.state.arena().map(op, &[left, right]);
        match common.add(&Linear::atom(t)) {
            Some(s) => Scaled { m, s },
            None => self.rebuild(e),
        }
    }

    fn exponential(&mut self, a: ExprId) -> Scaled {
        let form = self.linear(a);
        let mut s = Linear::default();
        let mut above: Option<ExprId> = None;
        let mut below: Option<ExprId> = None;
        for (atom, k) in form.0 {
            let Expr::Map(MapOp::Log, args) = self.build.state.expr(atom).clone() else {
                s.0.insert(atom, k);
                continue;
            };
            let magnitude = Rational {
                num: k.num.abs(),
                den: k.den,
            };
            let state = &mut *self.build.state;
            let y = power_expr(state.arena(), args[0], magnitude);
            let side = if k.num > 0 { &mut above } else { &mut below };
            *side = Some(match *side {
                Some(e) => state.mul(e, y),
                None => y,
            });
        }
        let one = self.real(1.0);
        let mut m = above.unwrap_or(one);
        if let Some(below) = below {
            m = self.build.state.arena().map(MapOp::Div, &[m, below]);
        }
        if self.is_of_the_stream(&s) {
            let exponent = self.zero_or(&s);
            let state = &mut *self.build.state;
            let weight = state.map1(MapOp::Exp, exponent);
            return Scaled {
                m: state.mul(m, weight),
                s: Linear::default(),
            };
        }
        Scaled { m, s }
    }

    /// Whether a form changes along the stream and holds nothing that may cancel: no reference, no late extremum. Its exponential is
    /// a value as any other, as in a body without late values: `1 + exp(-x / spread)`.
    fn is_of_the_stream(&mut self, form: &Linear) -> bool {
        let state = &mut *self.build.state;
        let kernel = &self.build.kernels[self.kernel];
        let mut streams = false;
        for atom in form.0.keys() {
            for leaf in state.leaves(*atom).iter() {
                let cancels = match PlanLeaf::of(*leaf) {
                    PlanLeaf::Carry(at) => {
                        let accumulator = self.build.carries[at].accumulator;
                        matches!(state.accumulators[accumulator].op, ReduceOp::Max | ReduceOp::Min)
                    }
                    PlanLeaf::Crossing(at) => {
                        let nodes = state.values(self.build.crossings[at].value);
                        nodes.iter().any(|node| state.nodes[*node].op != ReduceOp::Sum)
                    }
                    PlanLeaf::Empty(_) => false,
                    _ => true,
                };
                if cancels {
                    return false;
                }
            }
            let free = state.free(*atom);
            let streamed = |v: &VarId| state.nodes.iter().any(|n| n.stream.contains(v));
            streams |= free.iter().any(|v| !kernel.resident.contains(v) && streamed(v));
        }
        streams
    }

    /// The linear form of an expression over references, late extrema, logarithms of unscaled values, and other atoms.
    fn linear(&mut self, e: ExprId) -> Linear {
        if self.build.state.leaves(e).is_empty() {
            return Linear::of(self.build.state.arena(), e);
        }
        if let Some(form) = self.linear_of(e) {
            return form;
        }
        let value = self.value(e);
        if constant(&self.build.state.cascade.exprs, value) == Some(0.0) {
            return Linear::default();
        }
        Linear::atom(value)
    }

    fn linear_of(&mut self, e: ExprId) -> Option<Linear> {
        match self.build.state.expr(e).clone() {
            Expr::Map(MapOp::Add, args) => self.linear(args[0]).add(&self.linear(args[1])),
            Expr::Map(MapOp::Sub, args) => self.linear(args[0]).sub(&self.linear(args[1])),
            Expr::Map(MapOp::Neg, args) => self.linear(args[0]).scale(Rational::int(-1)),
            Expr::Map(MapOp::Mul, args) => {
                let exprs = &self.build.state.cascade.exprs;
                if let Some(k) = rational(exprs, args[0]) {
                    self.linear(args[1]).scale(k)
                } else {
                    let k = rational(exprs, args[1])?;
                    self.linear(args[0]).scale(k)
                }
            }
            Expr::Map(MapOp::Div, args) => {
                let k = rational(&self.build.state.cascade.exprs, args[1])?;
                self.linear(args[0]).scale(Rational::ONE.div(k)?)
            }
            Expr::Map(MapOp::Log, args) => {
                let p = self.pair(args[0]);
                if self.build.state.is_const(p.m, 1.0) {
                    return Some(p.s);
                }
                let log = self.build.state.map1(MapOp::Log, p.m);
                Linear::atom(log).add(&p.s)
            }
            Expr::Leaf(leaf, indices) => match PlanLeaf::of(leaf) {
                PlanLeaf::Value(node) => {
                    let finish = self.opened(node, &indices)?;
                    Some(self.linear(finish))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn reduce(&mut self, r: Reduce) -> Scaled {
        let body = self.pair(r.body);
        let conds: Vec<ExprId> = r.conds.iter().map(|c| self.value(*c)).collect();
        let mut over = false;
        for atom in body.s.0.keys() {
            let free = self.build.state.free(*atom);
            over |= r.vars.iter().any(|v| free.contains(v));
        }
        let linear_op = matches!(r.op, ReduceOp::Sum | ReduceOp::Max | ReduceOp::Min);
        if body.s.is_zero() || (!over && linear_op) {
            let m = self.build.state.arena().add(Expr::Reduce(Reduce {
                conds,
                body: body.m,
                ..r
            }));
            return Scaled { m, s: body.s };
        }
        if r.op != ReduceOp::Sum {
            let value = self.unscale(body);
            let m = self.build.state.arena().add(Expr::Reduce(Reduce {
                conds,
                body: value,
                ..r
            }));
            return self.plain(m);
        }
        // F2 over a local rank: pull out the largest scale.
        let scale = self.exponent(body.m, &body.s);
        let t = self.build.state.arena().add(Expr::Reduce(Reduce {
            op: ReduceOp::Max,
            vars: r.vars.clone(),
            conds: conds.clone(),
            body: scale,
        }));
        let inner = self.below(body.m, scale, t);
        let m = self.build.state.arena().add(Expr::Reduce(Reduce {
            conds,
            body: inner,
            ..r
        }));
        Scaled { m, s: Linear::atom(t) }
    }
}
