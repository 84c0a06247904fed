//! Indices of copies: int expressions evaluated for the row that a thread copies.

use super::context::{Base, Ctx, Group, TILE};
use super::error::{LowerError, Result};
use super::{Lowerer, TensorKey};
use crate::ir::{Ix, ValueId};
use einloom_cascade::expr::{Expr, ExprId, MapOp, VarId};
use einloom_plan::ir::LeafDef;

/// `op(a, b)` with the identities of ints.
pub(crate) fn ix(op: MapOp, a: Ix, b: Ix) -> Ix {
    match (op, &a, &b) {
        (MapOp::Add, Ix::Const(0), _) => return b,
        (MapOp::Add | MapOp::Sub, _, Ix::Const(0)) => return a,
        (MapOp::Mul | MapOp::IDiv, _, Ix::Const(1)) => return a,
        (MapOp::Mul, Ix::Const(1), _) => return b,
        (MapOp::Mul, Ix::Const(0), _) | (MapOp::Mul, _, Ix::Const(0)) => return Ix::Const(0),
        (MapOp::Add, Ix::Const(x), Ix::Const(y)) => return Ix::Const(x + y),
        (MapOp::Mul, Ix::Const(x), Ix::Const(y)) => return Ix::Const(x * y),
        // (x div c) * c + x mod c
        (MapOp::Add, Ix::Map(MapOp::Mul, m), Ix::Map(MapOp::IMod, r)) => {
            if let (Ix::Map(MapOp::IDiv, d), c) = (&m[0], &m[1])
                && d[0] == r[0]
                && d[1] == r[1]
                && *c == r[1]
            {
                return r[0].clone();
            }
        }
        _ => {}
    }
    Ix::Map(op, vec![a, b])
}

/// As [`ix`], for any number of arguments.
pub(crate) fn ix_list(op: MapOp, mut args: Vec<Ix>) -> Ix {
    if args.len() == 2
        && let (Some(b), Some(a)) = (args.pop(), args.pop())
    {
        return ix(op, a, b);
    }
    Ix::Map(op, args)
}

/// Replaces the placeholder of the streamed tile.
pub(crate) fn at_tile(index: &Ix, tile: ValueId) -> Ix {
    match index {
        Ix::Value(v) if *v == TILE => Ix::Value(tile),
        Ix::Map(op, list) => Ix::Map(*op, list.iter().map(|i| at_tile(i, tile)).collect()),
        Ix::Gather(t, list) => Ix::Gather(*t, list.iter().map(|i| at_tile(i, tile)).collect()),
        other => other.clone(),
    }
}

/// Whether an index depends on the streamed tile.
pub(crate) fn is_streamed(index: &Ix) -> bool {
    match index {
        Ix::Value(v) => *v == TILE,
        Ix::Map(_, list) | Ix::Gather(_, list) => list.iter().any(is_streamed),
        Ix::Const(_) | Ix::Lane => false,
    }
}

impl Lowerer<'_> {
    /// The flat coordinate of a lane of `group`.
    pub(crate) fn flat_ix(&self, group: &Group) -> Ix {
        match group.base {
            Base::Zero => Ix::Lane,
            Base::Value(v) => ix(MapOp::Add, Ix::Value(v), Ix::Lane),
            Base::Tile { width, .. } => ix(MapOp::Add, ix(MapOp::Mul, Ix::Value(TILE), Ix::Const(width)), Ix::Lane),
        }
    }

    fn var_ix(&mut self, group: &Group, var: VarId) -> Ix {
        let mut rest = self.flat_ix(group);
        for (at, &(v, extent)) in group.vars.iter().enumerate().rev() {
            if at == 0 {
                break;
            }
            let extent = self.uniform(extent);
            let extent = self.b.known_int(extent).map_or(Ix::Value(extent), Ix::Const);
            if v == var {
                return ix(MapOp::IMod, rest, extent);
            }
            rest = ix(MapOp::IDiv, rest, extent);
        }
        rest
    }

    /// An int expression as a copy index over the lanes of `group`.
    ///
    /// # Errors
    /// `Unsupported` for what copies cannot compute; the caller then evaluates the operand itself.
    pub(crate) fn copy_index(&mut self, ctx: &mut Ctx, group: &Group, id: ExprId) -> Result<Ix> {
        let vars = self.free.of(&self.exprs, id);
        let lanes = vars.iter().any(|&v| group.has(v) || ctx.stream.contains_key(&v));
        if !lanes {
            let value = self.eval(ctx, id)?;
            let ty = self.b.ty(value);
            if ty.rows.is_some() || ty.cols.is_some() || self.b.depth_of(value) > 0 {
                return Err(LowerError::unsupported("a copy index", "a value of the loop"));
            }
            return Ok(self.b.known_int(value).map_or(Ix::Value(value), Ix::Const));
        }
        match self.exprs.get(id).clone() {
            Expr::Var(var) if group.has(var) => Ok(self.var_ix(group, var)),
            Expr::Var(var) => ctx
                .stream
                .get(&var)
                .cloned()
                .ok_or_else(|| LowerError::Bug("a streamed scalar without index".to_owned())),
            Expr::Map(op, args)
                if matches!(
                    op,
                    MapOp::Add | MapOp::Sub | MapOp::Mul | MapOp::IDiv | MapOp::IMod | MapOp::Min | MapOp::Max
                ) =>
            {
                let a = self.copy_index(ctx, group, args[0])?;
                let b = self.copy_index(ctx, group, args[1])?;
                Ok(ix(op, a, b))
            }
            Expr::Input(input, index) => {
                let extents: Vec<ExprId> = self.plan.cascade.inputs[input.index()]
                    .dims
                    .iter()
                    .map(|d| d.extent)
                    .collect();
                self.gather_ix(ctx, group, TensorKey::Input(input.index()), &index, &extents)
            }
            Expr::Leaf(leaf, index) => match self.plan.leaf(leaf) {
                LeafDef::Crossing(c) => {
                    let extents = self.crossing_extents(c);
                    self.gather_ix(ctx, group, TensorKey::Crossing(c), &index, &extents)
                }
                _ => Err(LowerError::unsupported("a copy index", "an accumulator")),
            },
            _ => Err(LowerError::unsupported(
                "a copy index",
                "not an int expression of copies",
            )),
        }
    }

    /// A table entry; indices are clamped, since lanes outside of the group look up too.
    fn gather_ix(
        &mut self,
        ctx: &mut Ctx,
        group: &Group,
        key: TensorKey,
        index: &[ExprId],
        extents: &[ExprId],
    ) -> Result<Ix> {
        let mut list = Vec::with_capacity(index.len());
        for (&i, &extent) in index.iter().zip(extents) {
            let i = self.copy_index(ctx, group, i)?;
            let extent = self.uniform(extent);
            let last = self.b.add_int(extent, -1);
            let last = self.b.known_int(last).map_or(Ix::Value(last), Ix::Const);
            list.push(Ix::Map(
                MapOp::Max,
                vec![Ix::Map(MapOp::Min, vec![i, last]), Ix::Const(0)],
            ));
        }
        Ok(Ix::Gather(self.tensor(key), list))
    }

    /// The condition that a copied row exists: its lane is inside, and so is every index that is not plainly a coordinate.
    pub(crate) fn copy_valid(&mut self, group: &Group, checks: &[(ExprId, Ix, ExprId)]) -> Option<Ix> {
        let mut all: Option<Ix> = None;
        let mut also = |cond: Ix| {
            all = Some(match all.take() {
                Some(other) => Ix::Map(MapOp::And, vec![other, cond]),
                None => cond,
            });
        };
        if let Some(bound) = group.bound {
            let bound = self.b.known_int(bound).map_or(Ix::Value(bound), Ix::Const);
            also(Ix::Map(MapOp::Lt, vec![self.flat_ix(group), bound]));
        }
        for (id, index, extent) in checks {
            if self.is_coordinate(*id, *extent) {
                continue;
            }
            let extent = self.uniform(*extent);
            let extent = self.b.known_int(extent).map_or(Ix::Value(extent), Ix::Const);
            if let (Ix::Const(i), Ix::Const(n)) = (index, &extent)
                && (0..*n).contains(i)
            {
                continue;
            }
            also(Ix::Map(MapOp::Le, vec![Ix::Const(0), index.clone()]));
            also(Ix::Map(MapOp::Lt, vec![index.clone(), extent]));
        }
        all
    }
}
