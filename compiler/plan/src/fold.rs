//! F4: finished row factors on an exponential fold into its exponent, `e^x r = e^(x + log r)`, r > 0 proved.
//!
//! Applied at the outermost sub-expression that separates into one term (also inside `tanh(P)`): a weight `e^(S-Mx)/D` of finished `Mx`, `D`
//! becomes `e^(S + lam)` with one row value `lam = -Mx - log D`. Floating point: one rounding of lam in place of two of the factors.

use crate::product::{Linear, Product};
use crate::rational::Rational;
use crate::separate::{Separation, Streamed};
use crate::sign::Sign;
use crate::state::{Folded, PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, LeafId, VarId};
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// Folds values that are not late into the exponents of `e`.
    pub(crate) fn fold_finished(&mut self, e: ExprId, late: &BTreeSet<LeafId>) -> ExprId {
        self.fold_in(e, late, &mut BTreeMap::new())
    }

    fn fold_in(&mut self, e: ExprId, late: &BTreeSet<LeafId>, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        let finished = self.values(e).iter().any(|n| !late.contains(&PlanLeaf::Value(*n).id()));
        if !finished {
            return e;
        }
        if let Some(done) = memo.get(&e) {
            return *done;
        }
        let result = match self.fold_here(e, late) {
            Some(folded) => folded,
            None => {
                let children: Vec<ExprId> = self
                    .cascade
                    .exprs
                    .children(e)
                    .into_iter()
                    .map(|c| self.fold_in(c, late, memo))
                    .collect();
                crate::rewrite::with_children(&mut self.cascade.exprs, e, &children)
            }
        };
        memo.insert(e, result);
        result
    }

    /// The one set of variables at which all finished values in `e` are read, if there is one.
    fn row_of(&mut self, e: ExprId, late: &BTreeSet<LeafId>) -> Option<BTreeSet<VarId>> {
        let mut row: Option<BTreeSet<VarId>> = None;
        for (node, indices) in self.reads(e) {
            if late.contains(&PlanLeaf::Value(node).id()) {
                return None;
            }
            let mut vars = BTreeSet::new();
            for index in indices {
                let Expr::Var(v) = self.expr(index) else {
                    return None;
                };
                if !self.is_big(*v) {
                    return None;
                }
                vars.insert(*v);
            }
            match &row {
                None => row = Some(vars),
                Some(known) if *known == vars => {}
                Some(_) => return None,
            }
        }
        row
    }

    fn fold_here(&mut self, e: ExprId, late: &BTreeSet<LeafId>) -> Option<ExprId> {
        let row = self.row_of(e, late)?;
        let finished: BTreeSet<LeafId> = self.values(e).into_iter().map(|n| PlanLeaf::Value(n).id()).collect();
        let mut separation = Separation {
            state: self,
            late: finished.clone(),
            vars: Streamed::AllBut(row.clone()),
            taken: row.clone(),
        };
        let row: Vec<VarId> = row.into_iter().collect();
        if !separation.streamed(e) {
            return None;
        }
        let terms = separation.separate(e).ok()?;
        let [term] = terms.as_slice() else {
            return None;
        };
        if !term.shared.is_empty() || term.streamed.exponent.is_zero() {
            return None;
        }
        let mut lam = term.row.exponent.clone();
        let mut rest = Product::number(term.row.coefficient);
        for (factor, power) in &term.row.factors {
            let leaves = self.leaves(*factor);
            let finished = finished.iter().any(|l| leaves.contains(l));
            if finished && self.sign(*factor) == Sign::Positive {
                let log = self.map1(einloom_cascade::expr::MapOp::Log, *factor);
                lam = lam.add(&Linear::atom(log).scale(*power)?)?;
            } else {
                rest.factors.push((*factor, *power));
            }
        }
        let scale = Self::common_scale(&lam)?;
        let unit = lam.scale(Rational::ONE.div(scale)?)?;
        let unit = unit.to_expr(self.arena())?;
        let nodes = self.values(unit);
        if nodes.is_empty() {
            return None;
        }
        let known = self.folded.iter().position(|f| f.lam == unit && f.vars == row);
        let index = known.unwrap_or_else(|| {
            self.folded.push(Folded {
                lam: unit,
                vars: row.clone(),
                nodes,
            });
            self.folded.len() - 1
        });
        let indices = self.vars_as_indices(&row);
        let unit = self.leaf(PlanLeaf::Folded(index), &indices);
        let mut weight = term.streamed.clone();
        weight.exponent = weight.exponent.add(&Linear::atom(unit).scale(scale)?)?;
        let product = rest.mul(&weight)?;
        Some(product.to_expr(self.arena()))
    }

    /// `k` of `P^k`, so that powers share one `lam`: the greatest common divisor of its coefficients, if they are integers.
    fn common_scale(lam: &Linear) -> Option<Rational> {
        let whole = lam.0.values().all(|k| k.is_int());
        let divisor = lam.0.values().fold(0, |d, k| gcd(d, k.num.unsigned_abs()));
        Some(match i64::try_from(divisor) {
            Ok(k) if whole && k > 1 => Rational::int(k),
            _ => Rational::ONE,
        })
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
