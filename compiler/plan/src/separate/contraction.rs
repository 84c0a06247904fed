//! S6 contractions over a local rank with a late value.
//!
//! Identity: `sum_s sum_e l[e] x[s,e] = sum_e l[e] sum_s x[s,e]`: the local rank is shared by row and streamed factor and the carry grows by its
//! extent. A factor that does not mention e stays outside. Side condition: the conditions of the inner sum are late-free.
//! Floating point: the order of summation changes; the finish may cancel (N5).

use super::{Refusal, Separation, Term, Terms};
use crate::product::Product;
use crate::rational::Rational;
use einloom_cascade::expr::{Expr, ExprId, Reduce, ReduceOp, VarId};
use std::collections::BTreeMap;

impl Separation<'_> {
    pub(super) fn contraction(&mut self, e: ExprId, r: &Reduce) -> Terms {
        if r.op != ReduceOp::Sum {
            return Err(self.does_not_split(e));
        }
        if r.conds.iter().any(|c| self.late(*c)) {
            return Err(Refusal {
                at: e,
                reason: "the condition of an inner sum tests a late value".to_owned(),
            });
        }
        let (vars, conds, body) = self.unshadow(r);
        let mut terms = Vec::new();
        for term in self.bound(&vars, |sep| sep.separate(body))? {
            terms.push(self.close(&vars, &conds, term));
        }
        Ok(terms)
    }

    /// Renames bound variables that would clash outside.
    fn unshadow(&mut self, r: &Reduce) -> (Vec<VarId>, Vec<ExprId>, ExprId) {
        let mut map = BTreeMap::new();
        let mut vars = Vec::new();
        for v in &r.vars {
            let fresh = self.state.variant(*v, &self.taken);
            self.taken.insert(fresh);
            vars.push(fresh);
            let image = self.state.arena().var(fresh);
            map.insert(*v, image);
        }
        let conds = r.conds.iter().map(|c| self.state.substitute(*c, &map)).collect();
        let body = self.state.substitute(r.body, &map);
        (vars, conds, body)
    }

    /// Runs a separation in which row factors may mention `vars`.
    fn bound<T>(&mut self, vars: &[VarId], run: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.vars.clone();
        if let super::Streamed::AllBut(set) = &mut self.vars {
            set.extend(vars.iter().copied());
        }
        let result = run(self);
        self.vars = before;
        result
    }

    /// Sums one term of the body over `vars`.
    fn close(&mut self, vars: &[VarId], conds: &[ExprId], mut term: Term) -> Term {
        self.keep_early_factors_inside(vars, &mut term);
        let in_row: Vec<VarId> = vars
            .iter()
            .copied()
            .filter(|v| self.product_mentions(&term.row, *v))
            .collect();
        let is_plain = |sep: &mut Self, c: &ExprId| !sep.streamed(*c);
        let (row_conds, other): (Vec<ExprId>, Vec<ExprId>) = conds.iter().copied().partition(|c| is_plain(self, c));
        let local: Vec<VarId> = vars.iter().copied().filter(|v| !in_row.contains(v)).collect();
        // What mentions a shared variable guards the streamed factor; the carry then holds zeros at absent points.
        let streamed_conds: Vec<ExprId> = row_conds.into_iter().chain(other).collect();
        if local.is_empty() && streamed_conds.is_empty() {
            term.split = true;
            term.shared.extend(in_row);
            return term;
        }
        let mut inside = Product::one();
        let mut outside = Product::number(term.streamed.coefficient);
        for (factor, power) in &term.streamed.factors {
            let touches = local.iter().any(|v| self.state.free(*factor).contains(v)) || !streamed_conds.is_empty();
            let side = if touches { &mut inside } else { &mut outside };
            side.factors.push((*factor, *power));
        }
        for (atom, k) in &term.streamed.exponent.0 {
            let touches = local.iter().any(|v| self.state.free(*atom).contains(v));
            let side = if touches { &mut inside } else { &mut outside };
            side.exponent.0.insert(*atom, *k);
        }
        let body = inside.to_expr(self.state.arena());
        let sum = if local.is_empty() {
            let zero = self.state.arena().real(0.0);
            streamed_conds
                .iter()
                .rev()
                .fold(body, |e, c| self.state.select(*c, e, zero))
        } else {
            self.state.arena().add(Expr::Reduce(Reduce {
                op: ReduceOp::Sum,
                vars: local,
                conds: streamed_conds,
                body,
            }))
        };
        outside.factors.push((sum, Rational::ONE));
        term.streamed = outside;
        if !in_row.is_empty() {
            term.split = true;
        }
        term.shared.extend(in_row);
        term
    }

    /// Early row factors over `vars` stay with the streamed factor unless a late factor is over `vars` too: `sum_e Q K` stays a dot.
    fn keep_early_factors_inside(&mut self, vars: &[VarId], term: &mut Term) {
        let over = |sep: &mut Self, e: ExprId| vars.iter().any(|v| sep.state.free(e).contains(v));
        let factors = term.row.factors.clone();
        if factors.iter().any(|(f, _)| self.late(*f) && over(self, *f))
            || term.row.exponent.0.keys().any(|a| over(self, *a))
        {
            return;
        }
        let (inside, outside): (Vec<_>, Vec<_>) = factors.into_iter().partition(|(f, _)| over(self, *f));
        if inside.is_empty() {
            return;
        }
        term.row.factors = outside;
        let moved = Product {
            factors: inside,
            ..Product::one()
        };
        match moved.mul(&term.streamed) {
            Some(product) => term.streamed = product,
            None => term.row.factors.extend(moved.factors),
        }
    }

    fn product_mentions(&mut self, p: &Product, v: VarId) -> bool {
        p.factors.iter().any(|(f, _)| self.state.free(*f).contains(&v))
            || p.exponent.0.keys().any(|a| self.state.free(*a).contains(&v))
    }
}
