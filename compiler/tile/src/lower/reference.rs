//! References of exponentials: the running maximum, and weights relative to it.
//!
//! A form `c * y` with a constant c > 0 is tracked by y, so that scale and log2 e are one factor of the exponent:
//! `exp(k (form - g)) = 2^(y * c k log2 e - g_y * c k log2 e)`, one fused multiply-add and one exponential an element.
//! Rows that absorbed nothing have `g = -inf`; they are rescaled and weighted relative to 0, so that no `inf - inf` occurs.

use super::Lowerer;
use super::builder::Const;
use super::context::{Ctx, Group};
use super::error::{LowerError, Result};
use super::facts::const_real;
use super::roles::Rows;
use super::state::Place;
use super::sweep::CarryPlan;
use crate::ir::ValueId;
use einloom_cascade::expr::{Expr, ExprId, MapOp};
use einloom_plan::ir::{Reference, Sweep};

/// A reference inside of a sweep's body.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// The positive constant c.
    pub(crate) scale: f64,
    /// The form without its constant, at all points and with -inf at points that do not count.
    pub(crate) form: ValueId,
    pub(crate) live_form: ValueId,
    pub(crate) conds: Vec<ExprId>,
    /// Reference before the tile; the one to use for it (never -inf).
    pub(crate) before: ValueId,
    pub(crate) used: ValueId,
}

/// Lowest finite f32.
pub(crate) const LOWEST: f64 = f32::MIN as f64;

impl Lowerer<'_> {
    /// A form as `scale * rest`, scale a positive constant.
    pub(crate) fn scaled(&self, id: ExprId) -> (f64, ExprId) {
        match self.exprs.get(id) {
            Expr::Map(MapOp::Mul, args) => {
                for (c, rest) in [(args[0], args[1]), (args[1], args[0])] {
                    if let Some(x) = const_real(&self.exprs, c).filter(|x| *x > 0.0 && x.is_finite()) {
                        let (scale, rest) = self.scaled(rest);
                        return (scale * x, rest);
                    }
                }
                (1.0, id)
            }
            Expr::Map(MapOp::Div, args) => match const_real(&self.exprs, args[1]) {
                Some(x) if x > 0.0 && x.is_finite() => {
                    let (scale, rest) = self.scaled(args[0]);
                    (scale / x, rest)
                }
                _ => (1.0, id),
            },
            _ => (1.0, id),
        }
    }

    /// A reference is one value a row: its local dimensions must lie on rows, in it and in every accumulator that it weighs.
    pub(crate) fn check_reference_dims(&self, sweep: &Sweep, carries: &[CarryPlan]) -> Result<()> {
        let rows = self.row()?;
        for (at, reference) in sweep.references.iter().enumerate() {
            for &dim in reference.dims.iter().filter(|d| !rows.has(**d)) {
                let on_rows = sweep.carries.iter().zip(carries).all(|(carry, placed)| {
                    let weighed = carry.weight.is_some_and(|(r, _)| r == at);
                    let mut places = carry.dims.iter().zip(&placed.places);
                    !weighed || places.any(|(d, place)| *d == dim && *place == Place::Row)
                });
                if self.roles.rows != Rows::Dim(self.const_extent(dim)?) || !on_rows {
                    return Err(LowerError::unsupported(
                        "a reference for each point of a local rank",
                        self.var_name(dim),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A context with the reference's dimension on the rows, if it is not there already.
    pub(crate) fn bind_reference_dims(&mut self, ctx: &Ctx, reference: &Reference) -> Result<Option<Ctx>> {
        let rows = self.row()?;
        let Some(&dim) = reference.dims.iter().find(|d| !rows.has(**d)) else {
            return Ok(None);
        };
        let group = Group {
            vars: vec![(dim, self.plan.cascade.vars[dim.index()].extent)],
            ..rows
        };
        let mut own = ctx.clone();
        self.bind(&mut own, &group, true);
        Ok(Some(own))
    }

    /// `g`, or 0 where nothing was absorbed.
    pub(crate) fn finite_reference(&mut self, g: ValueId) -> ValueId {
        let lowest = self.b.real(LOWEST);
        let empty = self.b.map(MapOp::Lt, &[g, lowest]);
        let zero = self.b.real(0.0);
        self.b.select(empty, zero, g)
    }

    fn exponent(&mut self, running: &Running, k: (i64, i64), form: ValueId) -> ValueId {
        let factor = running.scale * (k.0 as f64 / k.1 as f64) * std::f64::consts::LOG2_E;
        let plus = self.b.real(factor);
        let minus = self.b.real(-factor);
        let offset = self.b.mul(running.used, minus);
        self.b.fma(form, plus, offset)
    }

    /// The weight `exp(k (form - g))` of every point, 0 where the carry is not live.
    pub(crate) fn weight(
        &mut self,
        running: &Running,
        k: (i64, i64),
        conds: &[ExprId],
        mask: Option<ValueId>,
    ) -> ValueId {
        if running.conds == conds {
            let x = self.exponent(running, k, running.live_form);
            return self.b.exp2(x);
        }
        let x = self.exponent(running, k, running.form);
        let weight = self.b.exp2(x);
        self.masked_by_test(weight, mask, Const::Real(0.0))
    }

    /// The factor `exp(k (g - g'))` of what was absorbed before.
    pub(crate) fn rescale(&mut self, running: &Running, k: (i64, i64)) -> ValueId {
        let x = self.exponent(running, k, running.before);
        self.b.exp2(x)
    }
}
