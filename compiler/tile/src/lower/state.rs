//! Accumulators: how their dimensions are laid out, and how finished ones are read.

use super::Lowerer;
use super::builder::{Const, scalar};
use super::context::Ctx;
use super::error::{LowerError, Result};
use super::facts::const_extent;
use super::roles::{Rows, accesses};
use crate::ir::{AxisId, Elem, Type, ValueId};
use einloom_cascade::expr::{Expr, ExprId, Kind, MapOp, ReduceOp, VarId};
use einloom_plan::ir::{Carry, LeafDef, Sweep};
use std::collections::BTreeSet;

/// Most values that one accumulator is unrolled to.
const UNROLL: i64 = 64;

/// Where a dimension of an accumulator lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A variable of the row group.
    Row,
    /// The columns of the accumulator's tile.
    Column(AxisId),
    /// One value for each coordinate.
    Unrolled(i64),
}

/// An accumulator.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) places: Vec<Place>,
    /// One for each unrolled point, row-major.
    pub(crate) values: Vec<ValueId>,
}

impl Lowerer<'_> {
    /// Lays out the dimensions of a carry.
    pub(crate) fn places(&mut self, sweep: &Sweep, carry: &Carry) -> Result<Vec<Place>> {
        let vars = &self.plan.cascade.vars;
        let mut places = Vec::with_capacity(carry.dims.len());
        let mut extents = Vec::with_capacity(carry.dims.len());
        let row_dim = self.row_dim(sweep, carry);
        for &dim in &carry.dims {
            let extent = const_extent(&self.exprs, vars, dim);
            let row = match &self.roles.rows {
                Rows::Group(list) => list.contains(&dim),
                Rows::Dim(_) => row_dim == Some(dim),
                Rows::Single => false,
            };
            places.push(row.then_some(Place::Row));
            extents.push(extent);
        }
        let column = self.column_dim(carry, &places);
        let mut list = Vec::with_capacity(places.len());
        for (at, place) in places.into_iter().enumerate() {
            let name = self.var_name(carry.dims[at]);
            let extent = || {
                extents[at]
                    .ok_or_else(|| LowerError::unsupported("an accumulator over a run-time extent", name.clone()))
            };
            list.push(match place {
                Some(place) => place,
                None if column == Some(at) => {
                    let extent = extent()?;
                    Place::Column(self.local_axis("d", extent)?)
                }
                None => Place::Unrolled(extent()?),
            });
        }
        if points(&list) > UNROLL {
            return Err(LowerError::unsupported(
                "an accumulator with several wide dimensions",
                format!("{} needs {} values, at most {UNROLL}", carry.name, points(&list)),
            ));
        }
        Ok(list)
    }

    /// The dimension that lies on rows of its own: that of the carry's reference, else the first of the rows' extent.
    fn row_dim(&self, sweep: &Sweep, carry: &Carry) -> Option<VarId> {
        let Rows::Dim(size) = self.roles.rows else { return None };
        let fits = |dim: &VarId| const_extent(&self.exprs, &self.plan.cascade.vars, *dim) == Some(size);
        let reference = carry.weight.map(|(at, _)| &sweep.references[at]);
        let mut referred = reference
            .into_iter()
            .flat_map(|r| &r.dims)
            .filter(|d| carry.dims.contains(d));
        referred
            .find(|d| fits(d))
            .or_else(|| carry.dims.iter().find(|d| fits(d)))
            .copied()
    }

    /// The dimension that becomes columns: the last one that indexes an operand (a dot's), or that is too wide to unroll.
    fn column_dim(&mut self, carry: &Carry, places: &[Option<Place>]) -> Option<usize> {
        if carry.op != ReduceOp::Sum {
            return None;
        }
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        accesses(&self.exprs, carry.streamed, &mut seen, &mut found);
        let mut indexed: BTreeSet<VarId> = BTreeSet::new();
        for access in found {
            indexed.extend(self.free.of(&self.exprs, access).iter().copied());
        }
        let vars = &self.plan.cascade.vars;
        (0..places.len()).rev().find(|&at| {
            let wide = const_extent(&self.exprs, vars, carry.dims[at]).is_none_or(|e| e > 8);
            places[at].is_none() && wide && indexed.contains(&carry.dims[at])
        })
    }

    /// The type of an accumulator's values.
    pub(crate) fn state_type(&self, carry: &Carry, places: &[Place], partial: bool) -> Result<Type> {
        let elem = match einloom_plan::kinds::carry_kind(self.plan, &self.exprs, carry) {
            Kind::Real => Elem::F32,
            Kind::Int => Elem::I32,
            Kind::Bool => Elem::Bool,
        };
        let cols = places.iter().find_map(|p| match p {
            Place::Column(axis) => Some(*axis),
            _ => None,
        });
        let rows = self.row()?.axis;
        Ok(Type {
            rows: Some(rows),
            cols,
            partial: partial && cols.is_none(),
            ..scalar(elem)
        })
    }

    /// The coordinates of an unrolled point, one for each unrolled place in order.
    pub(crate) fn point(places: &[Place], mut flat: i64) -> Vec<i64> {
        let mut list = Vec::new();
        for place in places.iter().rev() {
            if let Place::Unrolled(extent) = place {
                list.push(flat % (*extent).max(1));
                flat /= (*extent).max(1);
            }
        }
        list.reverse();
        list
    }

    /// The column axis of an accumulator that `body` reads at the single variable of `vars`.
    pub(crate) fn state_axis(&self, body: ExprId, vars: &[VarId]) -> Result<Option<AxisId>> {
        let [var] = vars else { return Ok(None) };
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        accesses(&self.exprs, body, &mut seen, &mut found);
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
            for (place, i) in state.places.iter().zip(index) {
                if let (Place::Column(axis), Expr::Var(v)) = (place, self.exprs.get(*i))
                    && v == var
                {
                    return Ok(Some(*axis));
                }
            }
        }
        Ok(None)
    }

    /// A finished accumulator or reference of this kernel.
    pub(crate) fn state_leaf(&mut self, ctx: &mut Ctx, def: LeafDef, index: &[ExprId]) -> Result<ValueId> {
        match def {
            LeafDef::Reference {
                kernel,
                sweep,
                reference,
            } if kernel == self.index => {
                for &at in index {
                    let at = self.eval(ctx, at)?;
                    self.check_row_index(at)?;
                }
                self.references.get(&(sweep, reference)).copied().ok_or_else(|| {
                    LowerError::Bug(format!("reference {reference} of sweep {sweep} is read before its end"))
                })
            }
            LeafDef::Carry { kernel, sweep, carry } if kernel == self.index => {
                let state =
                    self.states.get(&(sweep, carry)).cloned().ok_or_else(|| {
                        LowerError::Bug(format!("carry {carry} of sweep {sweep} is read before its end"))
                    })?;
                self.read_state(ctx, &state, index)
            }
            LeafDef::State { kernel, .. } | LeafDef::StateReference { kernel, .. } if kernel == self.index => {
                self.shared_leaf(ctx, def, index)
            }
            other => Err(LowerError::Bug(format!("{other:?} belongs to another kernel"))),
        }
    }

    /// Accumulators are read at their own row: the index is the row coordinate itself.
    fn check_row_index(&mut self, at: ValueId) -> Result<()> {
        let rows = self.row()?;
        let mut own = Ctx::default();
        self.bind(&mut own, &rows, true);
        let lane = self.b.lane(rows.axis, true);
        if at == lane || own.env.values().any(|&v| v == at) {
            return Ok(());
        }
        Err(LowerError::unsupported(
            "an accumulator read at another row",
            "its row index is computed",
        ))
    }

    pub(crate) fn read_state(&mut self, ctx: &mut Ctx, state: &State, index: &[ExprId]) -> Result<ValueId> {
        let mut choices: Vec<(i64, ValueId)> = Vec::new();
        let mut column = None;
        let own = self.row()?.axis;
        let shared = state.values.first().is_some_and(|&v| self.b.ty(v).rows != Some(own));
        for (place, &id) in state.places.iter().zip(index) {
            let at = self.eval(ctx, id)?;
            match place {
                // of a shared state: its reader has checked it
                Place::Row if shared => {}
                Place::Row => self.check_row_index(at)?,
                Place::Column(axis) => column = Some((*axis, at)),
                Place::Unrolled(extent) => choices.push((*extent, at)),
            }
        }
        let mut value = self.choose(&state.values, &choices)?;
        if let Some((axis, at)) = column {
            let lane = self.b.lane(axis, false);
            if at != lane {
                if self.b.ty(at).cols.is_some() {
                    return Err(LowerError::unsupported(
                        "an accumulator read at a computed column",
                        "its index varies by column",
                    ));
                }
                let here = self.b.map(MapOp::Eq, &[lane, at]);
                let tile = self.masked(value, Some(here), Const::Real(0.0));
                value = self.b.row_reduce(ReduceOp::Sum, tile, false);
            }
        }
        Ok(value)
    }

    /// One of the unrolled values, by known or by computed coordinates.
    fn choose(&mut self, values: &[ValueId], choices: &[(i64, ValueId)]) -> Result<ValueId> {
        let Some(((extent, at), rest)) = choices.split_first() else {
            return values
                .first()
                .copied()
                .ok_or_else(|| LowerError::Bug("an accumulator without values".to_owned()));
        };
        let step = values.len() / usize::try_from((*extent).max(1)).unwrap_or(1);
        if let Some(i) = self.b.known_int(*at) {
            let from = usize::try_from(i).unwrap_or(0) * step;
            let part = values
                .get(from..from + step)
                .ok_or_else(|| LowerError::Bug("an accumulator is read outside of its extent".to_owned()))?;
            return self.choose(part, rest);
        }
        let mut value = self.choose(&values[..step], rest)?;
        for i in 1..*extent {
            let from = i as usize * step;
            let other = self.choose(&values[from..from + step], rest)?;
            let i = self.b.int(i);
            let here = self.b.map(MapOp::Eq, &[*at, i]);
            value = self.b.select(here, other, value);
        }
        Ok(value)
    }
}

/// Number of unrolled points.
pub(crate) fn points(places: &[Place]) -> i64 {
    places.iter().fold(1i64, |n, p| match p {
        Place::Unrolled(extent) => n.saturating_mul(*extent),
        _ => n,
    })
}
