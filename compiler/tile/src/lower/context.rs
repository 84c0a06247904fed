//! Evaluation contexts: which variable is which value, in which shape.
//!
//! A [`Group`] lays variables on an axis: lane `l` is the flat coordinate `base + l` of its variables, row-major. A
//! [`Ctx`] binds variables to values: grid coordinates and tile-local scalars to scalars, the variables of one group to
//! row vectors and those of another to column vectors. The shape of every expression follows from its variables.

use super::Lowerer;
use crate::ir::{AxisId, Elem, Ix, ValueId};
use einloom_cascade::expr::{ExprId, MapOp, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for the index of the streamed tile in a copy's [`Ix`]; replaced when the copy is issued.
pub(crate) const TILE: ValueId = ValueId(u32::MAX);

/// First flat coordinate of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Zero,
    /// A scalar of the kernel's outermost scope.
    Value(ValueId),
    /// Streamed: `tile * width`; the value is that of the current iteration.
    Tile {
        value: ValueId,
        width: i64,
    },
}

/// Variables laid on an axis.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) axis: AxisId,
    pub(crate) base: Base,
    /// Variables and their extents, outermost first. Empty: lanes are copies of one another.
    pub(crate) vars: Vec<(VarId, ExprId)>,
    /// Number of flat coordinates, if lanes can be outside.
    pub(crate) bound: Option<ValueId>,
    /// Whether values must be masked by `bound` (a copy always is).
    pub(crate) tested: bool,
}

impl Group {
    pub(crate) fn has(&self, var: VarId) -> bool {
        self.vars.iter().any(|(v, _)| *v == var)
    }

    pub(crate) fn streamed(&self) -> bool {
        matches!(self.base, Base::Tile { .. })
    }
}

/// Bindings of variables (module doc).
#[derive(Clone, Default)]
pub(crate) struct Ctx {
    pub(crate) env: BTreeMap<VarId, ValueId>,
    /// Where a bound lane is inside of its group.
    pub(crate) valid: BTreeMap<VarId, ValueId>,
    pub(crate) memo: BTreeMap<ExprId, ValueId>,
    pub(crate) rows: Option<Group>,
    pub(crate) cols: Option<Group>,
    /// Streamed scalars of a block tile as copy indices.
    pub(crate) stream: BTreeMap<VarId, Ix>,
    /// Variables of a group that an inner reduction binds anew, as the inner `e` of `St[e] = sum[m] K[m,e] / sum[e](K[m,e])`: what
    /// reads them does not lie on the group's axis.
    pub(crate) hidden: BTreeSet<VarId>,
    /// The columns are one whole block, over which tile-local reductions may run.
    pub(crate) block: bool,
}

impl Ctx {
    /// The same scalars without the groups.
    pub(crate) fn scalars(&self, lowerer: &Lowerer<'_>) -> Ctx {
        let scalar = |v: &ValueId| {
            let ty = lowerer.b.ty(*v);
            ty.rows.is_none() && ty.cols.is_none()
        };
        Ctx {
            env: self
                .env
                .iter()
                .filter(|(_, v)| scalar(v))
                .map(|(&k, &v)| (k, v))
                .collect(),
            stream: self.stream.clone(),
            ..Ctx::default()
        }
    }

    /// The same context for the body of a reduction over `vars`, laid on `axis` if that is one.
    pub(crate) fn within(&self, vars: &[VarId], axis: Option<AxisId>) -> Ctx {
        let mut ctx = self.clone();
        let groups = [&self.rows, &self.cols].into_iter().flatten();
        for group in groups.filter(|group| Some(group.axis) != axis) {
            ctx.hidden.extend(vars.iter().filter(|v| group.has(**v)));
        }
        ctx
    }

    /// The same context with one more binding.
    pub(crate) fn with(&self, var: VarId, value: ValueId) -> Ctx {
        let mut ctx = self.clone();
        ctx.memo.clear();
        ctx.env.insert(var, value);
        ctx.valid.remove(&var);
        ctx
    }
}

impl Lowerer<'_> {
    /// Flat coordinates of a group along its axis.
    pub(crate) fn flat(&mut self, group: &Group, as_rows: bool) -> ValueId {
        let lane = self.b.lane(group.axis, as_rows);
        match group.base {
            Base::Zero => lane,
            Base::Value(value) | Base::Tile { value, .. } => self.b.add(value, lane),
        }
    }

    /// Where lanes of a group are inside, if they can be outside.
    pub(crate) fn inside(&mut self, group: &Group, as_rows: bool) -> Option<ValueId> {
        let bound = group.bound.filter(|_| group.tested)?;
        let flat = self.flat(group, as_rows);
        Some(self.b.map(MapOp::Lt, &[flat, bound]))
    }

    /// Binds the variables of a group in `ctx`.
    pub(crate) fn bind(&mut self, ctx: &mut Ctx, group: &Group, as_rows: bool) {
        ctx.memo.clear();
        let inside = self.inside(group, as_rows);
        let mut rest = self.flat(group, as_rows);
        for (at, &(var, extent)) in group.vars.iter().enumerate().rev() {
            let coordinate = if at == 0 {
                rest
            } else {
                let extent = self.uniform(extent);
                let low = self.b.map(MapOp::IMod, &[rest, extent]);
                rest = self.b.map(MapOp::IDiv, &[rest, extent]);
                low
            };
            ctx.env.insert(var, coordinate);
            match inside {
                Some(mask) => ctx.valid.insert(var, mask),
                None => ctx.valid.remove(&var),
            };
        }
        if as_rows {
            ctx.rows = Some(group.clone());
        } else {
            ctx.cols = Some(group.clone());
        }
    }

    /// A group of one local variable held whole on a padded axis.
    pub(crate) fn local_group(&mut self, axis: AxisId, vars: &[VarId], total: i64) -> Group {
        let padded = i64::from(self.b.axis_size(axis)) != total;
        let bound = padded.then(|| self.b.int(total));
        let vars = vars
            .iter()
            .map(|&v| (v, self.plan.cascade.vars[v.index()].extent))
            .collect();
        Group {
            axis,
            base: Base::Zero,
            vars,
            bound,
            tested: padded,
        }
    }

    /// A value with all of the axes of `shape` (its own element type).
    pub(crate) fn widen(&mut self, value: ValueId, rows: Option<AxisId>, cols: Option<AxisId>) -> ValueId {
        let mut ty = self.b.ty(value);
        if (rows.is_none() || ty.rows.is_some()) && (cols.is_none() || ty.cols.is_some()) {
            return value;
        }
        let yes = {
            let shape = crate::ir::Type {
                rows: if ty.rows.is_some() { None } else { rows },
                cols: if ty.cols.is_some() { None } else { cols },
                elem: Elem::Bool,
                partial: false,
            };
            self.b.splat(super::builder::Const::Bool(true), shape)
        };
        ty.rows = ty.rows.or(rows);
        ty.cols = ty.cols.or(cols);
        self.b.emit(
            crate::ir::Op::Math(crate::ir::Math::Select, vec![yes, value, value]),
            ty,
        )
    }
}
