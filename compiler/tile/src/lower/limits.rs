//! Int arguments at their extremes. Ints of a kernel have 32 bits: `p + W` of a window `W` as large as an int can be would wrap around.
//!
//! A scalar that is one side of a comparison, added to coordinates, decides it by itself from [`DECISIVE`] on, as coordinates and extents stay below.
//! So one that does nothing else is cut to that before anything is computed from it, and `W`, `-W` and `1 - W` keep their meaning for every argument.
//! An element of an int tensor that is one for a block or for a row (`len[b]`, `far[p]`) is such a scalar, too. What is used otherwise (in a product, as an index, as a value), or
//! compared with something else than coordinates, stays as it is.

use super::Lowerer;
use super::builder::scalar;
use super::roles::roots;
use crate::ir::{Elem, Math, Op, ValueId};
use einloom_cascade::expr::{Arena, Expr, ExprId, Kind, MapOp};
use einloom_plan::ir::{FusedPlan, Kernel as PlanKernel, Sweep};
use einloom_plan::kinds::kind;
use std::collections::BTreeSet;

/// More than coordinates and extents are, and sums of two such numbers are ints.
const DECISIVE: i64 = 1 << 30;

/// Constants beside a scalar that do not matter beside [`DECISIVE`].
const SMALL: i64 = 1 << 28;

/// How a kernel uses ints that are given to it, as expressions.
#[derive(Default)]
pub(crate) struct Limits {
    /// Scalars and elements that do more than decide comparisons with coordinates.
    free: BTreeSet<ExprId>,
    /// Elements of tensors in comparisons with coordinates.
    compared: BTreeSet<ExprId>,
}

/// Looks at all expressions of a kernel.
pub(crate) fn limits(plan: &FusedPlan, kernel: &PlanKernel) -> Limits {
    let mut walk = Walk {
        plan,
        arena: &plan.cascade.exprs,
        seen: BTreeSet::new(),
        limits: Limits::default(),
    };
    let mut all = roots(kernel);
    all.extend(&kernel.domain);
    let stores = kernel.stores.iter().chain(kernel.sweeps.iter().flat_map(|s| &s.emits));
    all.extend(stores.flat_map(|s| s.places.iter().copied()));
    for chunks in kernel.sweeps.iter().filter_map(|s| s.chunks.as_deref()) {
        all.extend(chunks.references.iter().chain(&chunks.carries).copied());
        all.push(chunks.last);
        all.extend(of_sweep(&chunks.state));
    }
    all.extend(plan.cascade.vars.iter().map(|v| v.extent));
    all.into_iter().for_each(|id| walk.visit(id));
    walk.limits
}

fn of_sweep(sweep: &Sweep) -> Vec<ExprId> {
    let references = sweep.references.iter().flat_map(|r| r.conds.iter().chain([&r.form]));
    let carries = sweep.carries.iter().flat_map(|c| c.conds.iter().chain([&c.streamed]));
    references.chain(carries).copied().collect()
}

struct Walk<'a> {
    plan: &'a FusedPlan,
    arena: &'a Arena,
    seen: BTreeSet<ExprId>,
    limits: Limits,
}

impl Walk<'_> {
    fn visit(&mut self, id: ExprId) {
        if !self.seen.insert(id) {
            return;
        }
        match self.arena.get(id) {
            Expr::Scalar(_) => {
                self.limits.free.insert(id);
            }
            Expr::Input(_, index) => {
                self.limits.free.insert(id);
                index.iter().for_each(|&at| self.visit(at));
            }
            Expr::Map(MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne, args)
                if kind(self.plan, self.arena, args[0]) == Kind::Int =>
            {
                let mut given = Vec::new();
                let plain = args.iter().all(|&arg| self.is_sum(arg, &mut given));
                if !plain || given.len() > 1 {
                    args.iter().for_each(|&arg| self.visit(arg));
                } else if let Some(&one) = given.first()
                    && let Expr::Input(_, index) = self.arena.get(one)
                {
                    self.limits.compared.insert(one);
                    index.iter().for_each(|&at| self.visit(at));
                }
            }
            _ => self.arena.children(id).into_iter().for_each(|child| self.visit(child)),
        }
    }

    /// Whether an int is made of coordinates, small constants and what is given, this by sums and extrema only; lists what is given.
    fn is_sum(&self, id: ExprId, given: &mut Vec<ExprId>) -> bool {
        match self.arena.get(id) {
            Expr::Scalar(_) | Expr::Input(..) => {
                given.push(id);
                true
            }
            Expr::Int(n) => (-SMALL..SMALL).contains(n),
            Expr::Var(_) | Expr::Extent(_) => true,
            Expr::Map(op, args) => {
                let before = given.len();
                let plain = args.iter().all(|&arg| self.is_sum(arg, given));
                let linear = matches!(
                    op,
                    MapOp::Add | MapOp::Sub | MapOp::Neg | MapOp::Abs | MapOp::Min | MapOp::Max
                );
                let exact = matches!(op, MapOp::Mul | MapOp::IDiv | MapOp::IMod) && given.len() == before;
                plain && (linear || exact)
            }
            _ => false,
        }
    }
}

impl Lowerer<'_> {
    /// Whether an int over scalars is computed from limited ones only.
    pub(crate) fn is_of_limited(&self, id: ExprId) -> bool {
        let (mut open, mut limited) = (vec![id], false);
        while let Some(id) = open.pop() {
            if matches!(self.exprs.get(id), Expr::Scalar(_)) {
                if self.limits.free.contains(&id) {
                    return false;
                }
                limited = true;
            }
            open.extend(self.exprs.children(id));
        }
        limited
    }

    /// The int scalar `id`, of which no more is known than comparisons need, if they are all that it is for.
    pub(crate) fn limited_scalar(&mut self, id: ExprId, value: ValueId) -> ValueId {
        if self.limits.free.contains(&id) {
            value
        } else {
            self.limited(value)
        }
    }

    /// The element `id` of a tensor, likewise, where it is one for the block or for a row: those of columns are read in every tile.
    pub(crate) fn limited_element(&mut self, id: ExprId, value: ValueId) -> ValueId {
        let ty = self.b.ty(value);
        let compared = self.limits.compared.contains(&id) && !self.limits.free.contains(&id);
        if compared && ty.cols.is_none() && matches!(ty.elem, Elem::I32 | Elem::I64) {
            self.limited(value)
        } else {
            value
        }
    }

    fn limited(&mut self, value: ValueId) -> ValueId {
        let ty = self.b.ty(value);
        let mut limited = value;
        for (op, limit) in [(MapOp::Max, -DECISIVE), (MapOp::Min, DECISIVE)] {
            let limit = if ty.elem == Elem::I32 {
                self.b.int(limit)
            } else {
                self.b.emit(Op::Int(limit), scalar(ty.elem))
            };
            limited = self.b.emit(Op::Math(Math::Map(op), vec![limited, limit]), ty);
        }
        limited
    }
}
