//! S3 exponentials.
//!
//! Identity: `exp(l + x) = exp(l) exp(x)`. Side condition: every term of the separated exponent is pure, late-only or late-free.
//! Floating point: needs a reference (N2), because `exp(x)` alone may overflow.

use super::{Refusal, Separation, Term, Terms};
use crate::product::{Linear, Product};
use crate::rational::Rational;
use einloom_cascade::expr::{ExprId, MapOp};

impl Separation<'_> {
    /// `exp(scale * a)`.
    pub(crate) fn exponential(&mut self, e: ExprId, a: ExprId, scale: f64) -> Terms {
        let form = Linear::of(self.state.arena(), a);
        let mut late = Linear::default();
        let mut early = Linear::default();
        for (atom, k) in form.0 {
            let parts = self.pure_parts(e, atom)?;
            let sum = |to: &Linear, part: &Linear| part.scale(k).and_then(|p| to.add(&p));
            let (l, x) = sum(&late, &parts.0)
                .zip(sum(&early, &parts.1))
                .ok_or_else(|| self.too_large(e))?;
            (late, early) = (l, x);
        }
        if scale != 1.0 {
            late = self.scaled(e, &late, scale)?;
            early = self.scaled(e, &early, scale)?;
        }
        Ok(vec![Term {
            row: Product::exp(late),
            streamed: Product::exp(early),
            shared: Vec::new(),
            split: false,
            labelled: false,
        }])
    }

    /// Splits an atom of an exponent into its late and its late-free part.
    fn pure_parts(&mut self, e: ExprId, atom: ExprId) -> Result<(Linear, Linear), Refusal> {
        if !self.late(atom) {
            return Ok((Linear::default(), Linear::atom(atom)));
        }
        if !self.streamed(atom) {
            return Ok((Linear::atom(atom), Linear::default()));
        }
        let mut late = Linear::default();
        let mut early = Linear::default();
        for term in self.separate(atom)? {
            let row_is_late = self.late_product(&term.row);
            let streams = self.streamed_product(&term.streamed);
            if !term.shared.is_empty() || (row_is_late && streams) {
                return Err(Refusal {
                    at: e,
                    reason: "exp of the product of a late value and a streamed value".to_owned(),
                });
            }
            let product = term.row.mul(&term.streamed).ok_or_else(|| self.too_large(e))?;
            let mut product = product;
            let coefficient = Rational::from_f64(product.coefficient);
            if coefficient.is_some() {
                product.coefficient = 1.0;
            }
            let part = Linear::atom(product.to_expr(self.state.arena()));
            let part = part
                .scale(coefficient.unwrap_or(Rational::ONE))
                .ok_or_else(|| self.too_large(e))?;
            let side = if row_is_late { &mut late } else { &mut early };
            *side = side.add(&part).ok_or_else(|| self.too_large(e))?;
        }
        Ok((late, early))
    }

    fn scaled(&mut self, e: ExprId, form: &Linear, scale: f64) -> Result<Linear, Refusal> {
        let scale = self.state.arena().real(scale);
        let mut sum = Linear::default();
        for (atom, k) in &form.0 {
            let atom = self.state.arena().map(MapOp::Mul, &[scale, *atom]);
            let part = Linear::atom(atom).scale(*k);
            sum = part.and_then(|p| sum.add(&p)).ok_or_else(|| self.too_large(e))?;
        }
        Ok(sum)
    }
}
