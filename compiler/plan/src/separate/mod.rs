//! The law of separation: `e = sum_j sum_shared row_j * str_j`, `str_j` without late values, `row_j` without streamed variables.
//!
//! For a `sum` over the stream then `sum e = sum_j sum_shared row_j * B_j` with `B_j = sum str_j`: the accumulators depend on
//! nothing late, and there is no correction term. One rule family per file; each says its identity, its side
//! condition and its effect in floating point. What no rule matches fails with the sub-expression at fault.

mod contraction;
mod exponential;
pub(crate) mod extremum;
mod label;
mod logarithm;
mod power;
mod product;
mod quotient;
mod relu;

use crate::product::{Linear, Product};
use crate::state::State;
use einloom_cascade::expr::{Expr, ExprId, LeafId, MapOp, VarId};
use std::collections::BTreeSet;

/// Most terms that one separation may make.
pub(crate) const TERM_LIMIT: usize = 64;
/// Most labels of S7.
pub(crate) const LABEL_LIMIT: i64 = 8;
/// Highest power that S5 multiplies out.
pub(crate) const POWER_LIMIT: i64 = 4;

/// One term `sum over shared of row * streamed`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    pub(crate) row: Product,
    pub(crate) streamed: Product,
    /// Local variables that both factors mention.
    pub(crate) shared: Vec<VarId>,
    /// Made by S1 (a sum), S5 or S6: subject to the cancellation gate N5.
    pub(crate) split: bool,
    /// Made by S7: its class may have no point although the row has.
    pub(crate) labelled: bool,
}

impl Term {
    fn streamed(product: Product) -> Self {
        Self {
            row: Product::one(),
            streamed: product,
            shared: Vec::new(),
            split: false,
            labelled: false,
        }
    }

    fn row(product: Product) -> Self {
        Self {
            row: product,
            streamed: Product::one(),
            shared: Vec::new(),
            split: false,
            labelled: false,
        }
    }
}

/// Why a separation failed, at which sub-expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) at: ExprId,
    pub(crate) reason: String,
}

/// Which variables a row factor must not mention.
#[derive(Clone, Debug)]
pub(crate) enum Streamed {
    These(BTreeSet<VarId>),
    AllBut(BTreeSet<VarId>),
}

/// One separation: what is late, what is streamed.
pub(crate) struct Separation<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) late: BTreeSet<LeafId>,
    pub(crate) vars: Streamed,
    /// Variables that a shared variable must not be called.
    pub(crate) taken: BTreeSet<VarId>,
}

type Terms = Result<Vec<Term>, Refusal>;

impl Separation<'_> {
    pub(crate) fn late(&mut self, e: ExprId) -> bool {
        let leaves = self.state.leaves(e);
        self.late.iter().any(|l| leaves.contains(l))
    }

    pub(crate) fn streamed(&mut self, e: ExprId) -> bool {
        let free = self.state.free(e);
        match &self.vars {
            Streamed::These(vars) => free.iter().any(|v| vars.contains(v)),
            Streamed::AllBut(vars) => free.iter().any(|v| !vars.contains(v)),
        }
    }

    fn late_product(&mut self, p: &Product) -> bool {
        p.factors.iter().any(|(f, _)| self.late(*f)) || p.exponent.0.keys().any(|a| self.late(*a))
    }

    fn streamed_product(&mut self, p: &Product) -> bool {
        p.factors.iter().any(|(f, _)| self.streamed(*f)) || p.exponent.0.keys().any(|a| self.streamed(*a))
    }

    /// `Sep(e)` for a sum (S0 to S7, S10, S11).
    pub(crate) fn separate(&mut self, e: ExprId) -> Terms {
        if !self.late(e) {
            return self.early(e);
        }
        if !self.streamed(e) {
            return Ok(vec![Term::row(Product::of(self.state.arena(), e))]);
        }
        let terms = match self.state.expr(e).clone() {
            Expr::Map(op, args) => match op {
                MapOp::Mul => self.times(e, args[0], args[1]),
                MapOp::Add => self.plus(e, args[0], args[1], 1.0),
                MapOp::Sub => self.plus(e, args[0], args[1], -1.0),
                MapOp::Neg => self.negate(args[0]),
                MapOp::Div => self.quotient(e, args[0], args[1]),
                MapOp::Exp => self.exponential(e, args[0], 1.0),
                MapOp::Exp2 => self.exponential(e, args[0], std::f64::consts::LN_2),
                MapOp::Log => self.logarithm(e, args[0]),
                MapOp::Pow => self.power(e, args[0], args[1]),
                MapOp::Sqrt => self.root(e, args[0], 1),
                MapOp::Rsqrt => self.root(e, args[0], -1),
                MapOp::Abs => self.absolute(e, args[0]),
                MapOp::Max | MapOp::Min => self.clamp_at_zero(e, op, args[0], args[1]),
                _ => Err(self.does_not_split(e)),
            },
            Expr::Select([c, a, b]) => self.label(e, c, a, b),
            Expr::Leaf(leaf, indices) => self.gather(e, leaf, &indices),
            Expr::Reduce(r) => self.contraction(e, &r),
            _ => Err(self.does_not_split(e)),
        }?;
        if terms.len() > TERM_LIMIT {
            return Err(Refusal {
                at: e,
                reason: format!("separates into {} terms, limit {TERM_LIMIT}", terms.len()),
            });
        }
        Ok(terms)
    }

    /// S0: a late-free expression is one streamed term; a sum of weights is split so that each weight gets its reference.
    fn early(&mut self, e: ExprId) -> Terms {
        let product = Product::of(self.state.arena(), e);
        for (index, (factor, power)) in product.factors.iter().enumerate() {
            if *power != crate::rational::Rational::ONE || !self.sum_of_weights(*factor) {
                continue;
            }
            let Expr::Map(op, args) = self.state.expr(*factor).clone() else {
                continue;
            };
            let mut rest = product.clone();
            rest.factors.remove(index);
            let sign = if op == MapOp::Sub { -1.0 } else { 1.0 };
            let mut terms = Vec::new();
            for (arg, sign) in [(args[0], 1.0), (args[1], sign)] {
                for mut term in self.early(arg)? {
                    term.streamed.coefficient *= sign;
                    let term = rest.mul(&term.streamed).ok_or_else(|| self.too_large(e))?;
                    terms.push(Term::streamed(term));
                }
            }
            return Ok(terms);
        }
        Ok(vec![Term::streamed(product)])
    }

    /// A sum with an exponential summand that may grow without bound.
    fn sum_of_weights(&mut self, e: ExprId) -> bool {
        let Expr::Map(MapOp::Add | MapOp::Sub, args) = self.state.expr(e).clone() else {
            return false;
        };
        args.iter().any(|arg| {
            let exponent = Product::of(self.state.arena(), *arg).exponent;
            if let Some(form) = exponent.to_expr(self.state.arena()) {
                return self.streamed(form) && !self.state.sign(form).nonpos();
            }
            self.sum_of_weights(*arg)
        })
    }

    /// Multiplies two terms; shared variables of the second are renamed where they clash.
    fn term_product(&mut self, a: &Term, b: &Term) -> Option<Term> {
        let mut b = b.clone();
        for index in 0..b.shared.len() {
            let v = b.shared[index];
            if a.shared.contains(&v) {
                let mut taken = self.taken.clone();
                taken.extend(a.shared.iter().chain(&b.shared).copied());
                let fresh = self.state.variant(v, &taken);
                self.taken.insert(fresh);
                b.row = self.rename(&b.row, v, fresh)?;
                b.streamed = self.rename(&b.streamed, v, fresh)?;
                b.shared[index] = fresh;
            }
        }
        Some(Term {
            row: a.row.mul(&b.row)?,
            streamed: a.streamed.mul(&b.streamed)?,
            shared: a.shared.iter().chain(&b.shared).copied().collect(),
            split: a.split || b.split,
            labelled: a.labelled || b.labelled,
        })
    }

    fn rename(&mut self, p: &Product, from: VarId, to: VarId) -> Option<Product> {
        let image = self.state.arena().var(to);
        let map = std::collections::BTreeMap::from([(from, image)]);
        self.state.substitute_product(p, &map)
    }

    fn too_large(&self, e: ExprId) -> Refusal {
        Refusal {
            at: e,
            reason: "its coefficients leave 64 bits".to_owned(),
        }
    }

    /// `tanh does not split over late D and streamed S`.
    fn does_not_split(&mut self, e: ExprId) -> Refusal {
        let what = match self.state.expr(e) {
            Expr::Map(op, _) => format!("{op:?}").to_lowercase(),
            Expr::Reduce(r) => format!("{:?} over a local rank", r.op).to_lowercase(),
            _ => "the expression".to_owned(),
        };
        let (late, streamed) = self.parties(e);
        Refusal {
            at: e,
            reason: format!("{what} does not split over late {late} and streamed {streamed}"),
        }
    }

    /// Names of the late values and of the largest named streamed part of an expression.
    fn parties(&mut self, e: ExprId) -> (String, String) {
        let values = self.state.values(e);
        let late: Vec<String> = values
            .into_iter()
            .filter(|n| self.late.contains(&crate::state::PlanLeaf::Value(*n).id()))
            .map(|n| self.state.nodes[n].name.clone())
            .collect();
        let mut queue = std::collections::VecDeque::from([e]);
        let mut streamed = None;
        while let Some(next) = queue.pop_front() {
            if !self.streamed(next) {
                continue;
            }
            if !self.late(next) {
                if let Some(name) = self.state.names.get(&next) {
                    streamed = Some(name.clone());
                    break;
                }
                if let Expr::Input(input, _) = self.state.expr(next) {
                    let name = self.state.cascade.inputs[input.index()].name.clone();
                    streamed.get_or_insert(name);
                }
            }
            queue.extend(self.state.cascade.exprs.children(next));
        }
        let streamed = streamed.unwrap_or_else(|| "coordinates".to_owned());
        (late.join(", "), streamed)
    }
}

impl State {
    /// Substitution in a product.
    pub(crate) fn substitute_product(
        &mut self,
        p: &Product,
        map: &std::collections::BTreeMap<VarId, ExprId>,
    ) -> Option<Product> {
        let mut product = Product::number(p.coefficient);
        for (factor, power) in &p.factors {
            let factor = self.substitute(*factor, map);
            product = product.mul(&Product::factor(factor).pow(*power)?)?;
        }
        product.exponent = self.substitute_linear(&p.exponent, map)?;
        Some(product)
    }

    /// Substitution in a linear form.
    pub(crate) fn substitute_linear(
        &mut self,
        form: &Linear,
        map: &std::collections::BTreeMap<VarId, ExprId>,
    ) -> Option<Linear> {
        let mut sum = Linear::default();
        for (atom, k) in &form.0 {
            let atom = self.substitute(*atom, map);
            sum = sum.add(&Linear::atom(atom).scale(*k)?)?;
        }
        Some(sum)
    }
}
