//! Tile-local reductions: dots where they are sums of products, else reductions of a tile's columns, else unrolled.

use super::Lowerer;
use super::builder::Const;
use super::context::{Ctx, Group};
use super::contract::{Contraction, Term};
use super::error::{LowerError, Result};
use super::facts::const_extent;
use crate::ir::ValueId;
use einloom_cascade::expr::{ExprId, Kind, Reduce, ReduceOp};

/// Longest tile-local reduction that is written out.
const UNROLL: i64 = 128;

impl Lowerer<'_> {
    /// The value of a tile-local reduction.
    pub(crate) fn reduce(&mut self, ctx: &mut Ctx, r: &Reduce) -> Result<ValueId> {
        let mut total: i64 = 1;
        for &var in &r.vars {
            let extent = const_extent(&self.exprs, &self.plan.cascade.vars, var).ok_or_else(|| {
                LowerError::unsupported("a tile-local reduction over a run-time extent", self.var_name(var))
            })?;
            total = total.saturating_mul(extent);
        }
        if let Some(block) = self.block_columns(ctx, r, total) {
            return self.reduce_columns(ctx, r, &block);
        }
        if r.op == ReduceOp::Sum
            && self.kind(r.body) == Kind::Real
            && let Some(value) = self.reduce_by_dot(ctx, r, total)?
        {
            return Ok(value);
        }
        let mut inner = self.free.of(&self.exprs, r.body).as_ref().clone();
        for &cond in &r.conds {
            inner.extend(self.free.of(&self.exprs, cond).iter().copied());
        }
        let uses_columns = inner
            .iter()
            .filter(|v| !r.vars.contains(v))
            .any(|v| ctx.env.get(v).is_some_and(|&x| self.b.ty(x).cols.is_some()));
        let gathers = self.state_axis(r.body, &r.vars)?;
        if !uses_columns && ctx.rows.is_some() && total <= 512 && total > 1 {
            let axis = match gathers {
                Some(axis) => axis,
                None => self.local_axis("k", total)?,
            };
            // Rows and columns are two axes.
            if ctx.rows.as_ref().is_none_or(|rows| rows.axis != axis) {
                let group = self.local_group(axis, &r.vars, total);
                return self.reduce_columns(ctx, r, &group);
            }
        }
        if total <= UNROLL {
            return self.unroll(ctx, r);
        }
        Err(LowerError::unsupported(
            "a tile-local reduction that is no sum of products",
            format!(
                "{:?} over {} points beside streamed columns, at most {UNROLL}",
                r.op, total
            ),
        ))
    }

    /// The column group of the context with the reduction's variables, if the reduction is over one whole block.
    pub(crate) fn block_columns(&mut self, ctx: &Ctx, r: &Reduce, total: i64) -> Option<Group> {
        let cols = ctx.cols.as_ref().filter(|_| ctx.block)?;
        if !r.vars.iter().all(|&v| self.is_block_var(v)) {
            return None;
        }
        let extent: i64 = cols
            .vars
            .iter()
            .map(|&(_, e)| super::facts::const_int(&self.exprs, e))
            .try_fold(1i64, |acc, e| Some(acc * e?))?;
        (extent == total).then(|| Group {
            vars: r
                .vars
                .iter()
                .map(|&v| (v, self.plan.cascade.vars[v.index()].extent))
                .collect(),
            ..cols.clone()
        })
    }

    /// Reduces with the variables laid on columns.
    fn reduce_columns(&mut self, ctx: &Ctx, r: &Reduce, group: &Group) -> Result<ValueId> {
        let mut inner = ctx.within(&r.vars, Some(group.axis));
        self.bind(&mut inner, group, false);
        let body = self.eval(&mut inner, r.body)?;
        let elem = self.b.ty(body).elem;
        let identity = self
            .b
            .identity(r.op, elem)
            .ok_or_else(|| LowerError::unsupported("a tile-local reduction", format!("{:?}", r.op)))?;
        let mask = self.conjunction(&mut inner, &r.conds)?;
        let inside = self.inside(group, false);
        let mask = self.b.and(inside, mask);
        let value = self.masked(body, mask, identity);
        let rows = ctx.rows.as_ref().map(|g| g.axis);
        let tile = self.widen(value, rows, Some(group.axis));
        Ok(self.b.row_reduce(r.op, tile, false))
    }

    /// `value` where `mask` holds, else `otherwise`.
    pub(crate) fn masked(&mut self, value: ValueId, mask: Option<ValueId>, otherwise: Const) -> ValueId {
        match mask {
            Some(mask) => {
                let otherwise = self.b.konst(otherwise);
                self.b.select(mask, value, otherwise)
            }
            None => value,
        }
    }

    /// The conjunction of conditions; `None` if there is none.
    pub(crate) fn conjunction(&mut self, ctx: &mut Ctx, conds: &[ExprId]) -> Result<Option<ValueId>> {
        let mut all = None;
        for &cond in conds {
            let value = self.eval(ctx, cond)?;
            all = self.b.and(all, Some(value));
        }
        // What is known to hold needs no test.
        Ok(all.filter(|&v| self.b.known(v) != Some(Const::Bool(true))))
    }

    fn reduce_by_dot(&mut self, ctx: &mut Ctx, r: &Reduce, total: i64) -> Result<Option<ValueId>> {
        let cols = match ctx.cols.clone() {
            None if self.reads_shared(r.body) => Some(self.unit_group()?),
            cols => cols,
        };
        let (Some(rows), Some(cols)) = (ctx.rows.clone(), cols) else {
            return Ok(None);
        };
        if total < 8 || total > 512 || !r.conds.is_empty() || !ctx.hidden.is_empty() {
            return Ok(None);
        }
        let axis = match self.state_axis(r.body, &r.vars)? {
            Some(axis) => axis,
            None => self.local_axis("k", total)?,
        };
        if axis == cols.axis || axis == rows.axis {
            return Ok(None);
        }
        let over = self.local_group(axis, &r.vars, total);
        let mut left = ctx.scalars(self);
        self.bind(&mut left, &rows, true);
        self.bind(&mut left, &over, false);
        let mut result = ctx.clone();
        result.memo.clear();
        let mut term = Term::one();
        self.product(r.body, &mut term);
        let contraction = Contraction {
            rows: &rows,
            cols: &cols,
            over: &over,
            acc: None,
            rounds: self.rounds_scores(),
            tested: false,
            conds: &[],
        };
        self.contract(&mut left, &mut result, &contraction, term)
    }

    fn unroll(&mut self, ctx: &Ctx, r: &Reduce) -> Result<ValueId> {
        let extents: Vec<i64> = r
            .vars
            .iter()
            .map(|&v| const_extent(&self.exprs, &self.plan.cascade.vars, v).unwrap_or(1))
            .collect();
        let total: i64 = extents.iter().product();
        let mut acc = None;
        let mut identity = None;
        for flat in 0..total.max(1) {
            let mut point = ctx.within(&r.vars, None);
            let mut rest = flat;
            for (&var, &extent) in r.vars.iter().zip(&extents).rev() {
                let at = self.b.int(rest % extent.max(1));
                point = point.with(var, at);
                rest /= extent.max(1);
            }
            let body = self.eval(&mut point, r.body)?;
            let elem = self.b.ty(body).elem;
            let neutral = match r.op {
                ReduceOp::Prod => Const::Real(1.0),
                op => self
                    .b
                    .identity(op, elem)
                    .ok_or_else(|| LowerError::unsupported("a tile-local reduction", format!("{op:?}")))?,
            };
            identity = Some(neutral);
            if total == 0 {
                break;
            }
            let mask = self.conjunction(&mut point, &r.conds)?;
            let value = self.masked(body, mask, neutral);
            acc = Some(match acc {
                Some(before) => self.b.combine(r.op, before, value),
                None => value,
            });
        }
        match (acc, identity) {
            (Some(value), _) => Ok(value),
            (None, Some(neutral)) => Ok(self.b.konst(neutral)),
            (None, None) => Err(LowerError::Bug("an empty unrolled reduction".to_owned())),
        }
    }
}
