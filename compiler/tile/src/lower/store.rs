//! Writing results: final stores of a kernel, and emits inside of a sweep.

use super::builder::Const;
use super::context::{Ctx, Group};
use super::error::{LowerError, Result};
use super::facts::{const_extent, const_int};
use super::passage::OutBox;
use super::roles::{Rows, accesses};
use super::state::Place;
use super::{Lowerer, TensorKey};
use crate::ir::{Elem, Stmt, ValueId};
use einloom_cascade::expr::{Expr, ExprId, VarId};
use einloom_plan::ir::{LeafDef, Store, Target};
use std::collections::BTreeSet;

/// Most stores that one store of a plan is unrolled to.
const UNROLL: i64 = 64;

impl Lowerer<'_> {
    /// A store after all sweeps: the last wide variable is the columns, others are unrolled.
    pub(crate) fn final_store(&mut self, ctx: &Ctx, store: &Store) -> Result<()> {
        let mut ctx = ctx.clone();
        let rows = self.row()?;
        let mut rest = Vec::new();
        let mut on_rows = self.roles.rows != Rows::Single;
        if let Rows::Dim(extent) = self.roles.rows {
            on_rows = false;
            for &var in &store.vars {
                if !on_rows && self.const_extent(var)? == extent && self.lies_on_rows(store, var) {
                    let group = Group {
                        vars: vec![(var, self.plan.cascade.vars[var.index()].extent)],
                        ..rows.clone()
                    };
                    self.bind(&mut ctx, &group, true);
                    on_rows = true;
                } else {
                    rest.push(var);
                }
            }
        } else {
            for &var in &store.vars {
                if !self.bind_row_alias(&mut ctx, store, var, &rows)? {
                    rest.push(var);
                }
            }
        }
        let column = rest.pop();
        let column = match column {
            Some(var) => Some(self.store_columns(store, var)?),
            None => None,
        };
        let mut total = 1i64;
        for &var in &rest {
            total = total.saturating_mul(self.const_extent(var)?);
        }
        if total > UNROLL {
            return Err(LowerError::unsupported(
                "a result with several wide local dimensions",
                format!("{total} tiles a row, at most {UNROLL}"),
            ));
        }
        for flat in 0..total {
            let mut point = ctx.clone();
            let mut left = flat;
            for &var in rest.iter().rev() {
                let extent = self.const_extent(var)?;
                let at = self.b.int(left % extent);
                point = point.with(var, at);
                left /= extent;
            }
            if let Some(column) = &column {
                self.bind(&mut point, column, false);
            }
            let mut mask = self.inside(&rows, true);
            if !on_rows && self.roles.rows != Rows::Single {
                // The result has no rows: all rows hold it, the first one writes.
                let lane = self.flat(&rows, true);
                let one = self.b.int(1);
                let first = self.b.map(einloom_cascade::expr::MapOp::Lt, &[lane, one]);
                mask = Some(first);
            }
            if let Some(column) = &column {
                let inside = self.inside(column, false);
                mask = self.b.and(mask, inside);
            }
            let place = column.as_ref().filter(|_| on_rows).map(|c| (&rows, c));
            self.write(&mut point, store, mask, place)?;
        }
        Ok(())
    }

    /// The dimension that rows run along, if the tile is a box of the tensor. Then nothing but the tensor's end keeps elements of it from being written: rows
    /// and columns are coordinates of whole dimensions, and the other coordinates are checked against their dimensions only.
    fn out_rows(
        &self,
        store: &Store,
        extents: &[ExprId],
        index: &[ValueId],
        rows: &Group,
        cols: &Group,
    ) -> Option<usize> {
        let only = |group: &Group| match group.vars[..] {
            [one] => Some(one),
            _ => None,
        };
        let is = |at: usize, (var, extent): (VarId, ExprId)| {
            matches!(self.exprs.get(store.places[at]), Expr::Var(v) if *v == var) && extents[at] == extent
        };
        let (row, col) = (only(rows)?, only(cols)?);
        let last = store.places.len().checked_sub(1)?;
        let dim = (0..last).find(|&at| is(at, row))?;
        let fixed = |at: usize| {
            let ty = self.b.ty(index[at]);
            ty.rows.is_none() && ty.cols.is_none()
        };
        (is(last, col) && (0..last).all(|at| at == dim || fixed(at))).then_some(dim)
    }

    /// Whether the store reads an accumulator whose row dimension is indexed by `var`, or reads none.
    fn lies_on_rows(&self, store: &Store, var: VarId) -> bool {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        accesses(&self.exprs, store.value, &mut seen, &mut found);
        let mut reads = false;
        for access in found {
            let Expr::Leaf(leaf, index) = self.exprs.get(access) else {
                continue;
            };
            let LeafDef::Carry { sweep, carry, .. } = self.plan.leaf(*leaf) else {
                continue;
            };
            let Some(state) = self.states.get(&(sweep, carry)) else {
                continue;
            };
            reads = true;
            if state
                .places
                .iter()
                .zip(index)
                .any(|(p, &i)| *p == Place::Row && matches!(self.exprs.get(i), Expr::Var(v) if *v == var))
            {
                return true;
            }
        }
        !reads
    }

    /// Binds a store's variable to the row coordinate that it stands for (a local part of a composite row rank).
    fn bind_row_alias(&mut self, ctx: &mut Ctx, store: &Store, var: VarId, rows: &Group) -> Result<bool> {
        if rows.has(var) {
            return Ok(true);
        }
        let locals: Vec<VarId> = rows
            .vars
            .iter()
            .map(|(v, _)| *v)
            .filter(|v| !self.kernel.resident.contains(v))
            .collect();
        if locals.is_empty() || !self.lies_on_rows(store, var) {
            return Ok(false);
        }
        for local in locals {
            if self.const_extent(local)? == self.const_extent(var)?
                && let Some(&value) = ctx.env.get(&local)
            {
                *ctx = ctx.with(var, value);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The column group of a store: the axis of the accumulator that it reads there, else one of its own.
    fn store_columns(&mut self, store: &Store, var: VarId) -> Result<Group> {
        let extent = self.const_extent(var)?;
        let axis = match self.state_axis(store.value, &[var])? {
            Some(axis) => axis,
            None => self.local_axis("d", extent)?,
        };
        Ok(self.local_group(axis, &[var], extent))
    }

    /// A store at every point of a streamed tile.
    pub(crate) fn emit_store(&mut self, ctx: &mut Ctx, store: &Store, _tested: bool) -> Result<()> {
        let rows = self.row()?;
        let cols = ctx
            .cols
            .clone()
            .ok_or_else(|| LowerError::Bug("an emit without columns".to_owned()))?;
        for &var in &store.vars {
            let bound = ctx.env.contains_key(&var);
            if !bound && const_extent(&self.exprs, &self.plan.cascade.vars, var).is_some() {
                return Err(LowerError::unsupported(
                    "a streamed result with a local rank",
                    self.var_name(var),
                ));
            }
        }
        let mut mask = self.inside(&rows, true);
        let inside = self.inside(&cols, false);
        mask = self.b.and(mask, inside);
        self.write(ctx, store, mask, None)
    }

    /// `place`: the rows and columns of the tile, where `mask` says no more than that they are inside.
    fn write(
        &mut self,
        ctx: &mut Ctx,
        store: &Store,
        mask: Option<ValueId>,
        place: Option<(&Group, &Group)>,
    ) -> Result<()> {
        let (key, extents): (_, Vec<_>) = match store.target {
            Target::Output(o) => {
                let extents = self.plan.cascade.outputs[o].dims.iter().map(|d| d.extent).collect();
                (TensorKey::Output(o), extents)
            }
            Target::Crossing(c) => (TensorKey::Crossing(c), self.crossing_extents(c)),
        };
        let live = self.conjunction(ctx, &store.conds)?;
        self.near.result = self.half_target(store.target);
        let value = self.eval(ctx, store.value);
        self.near.result = false;
        let value = value?;
        let zero = match self.b.ty(value).elem {
            Elem::Bool => Const::Bool(false),
            Elem::F32 | Elem::F16 | Elem::BF16 => Const::Real(0.0),
            Elem::I32 | Elem::I64 => Const::Int(0),
        };
        let mut value = self.masked(value, live, zero);
        if matches!(key, TensorKey::Crossing(_)) && self.b.ty(value).elem == Elem::Bool {
            value = self.b.cast(value, Elem::I32);
        }
        let mut index = Vec::with_capacity(store.places.len());
        let mut mask = mask;
        for (&place, &extent) in store.places.iter().zip(&extents) {
            let at = self.eval(ctx, place)?;
            index.push(at);
            // A composite coordinate can pass the end of its rank in the last block.
            if !self.is_coordinate(place, extent) {
                let check = self.index_check(ctx, place, at, extent);
                mask = self.b.and(mask, check);
            }
        }
        self.check_places(&index, &extents)?;
        let tensor = self.tensor(key);
        if let Some((rows, cols)) = place
            && let Some(row_dim) = self.out_rows(store, &extents, &index, rows, cols)
        {
            self.boxes.push(OutBox { tensor, value, row_dim });
        }
        self.b.push(Stmt::Store {
            tensor,
            index,
            value,
            mask,
            through: None,
        });
        Ok(())
    }

    fn check_places(&self, index: &[ValueId], extents: &[ExprId]) -> Result<()> {
        for (&i, &extent) in index.iter().zip(extents) {
            if let (Some(i), Some(n)) = (self.b.known_int(i), const_int(&self.exprs, extent))
                && !(0..n).contains(&i)
            {
                return Err(LowerError::Bug(format!("a store at {i} of a dimension of extent {n}")));
            }
        }
        Ok(())
    }
}
