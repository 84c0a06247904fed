//! Kinds of the expressions of a plan.

use crate::ir::{Carry, FusedPlan, LeafDef};
use einloom_cascade::expr::{Arena, DType, Expr, ExprId, Kind, MapOp, ReduceOp};
use einloom_cascade::ir::Cascade;

/// The kind of an expression.
pub fn kind(plan: &FusedPlan, arena: &Arena, id: ExprId) -> Kind {
    let cascade: &Cascade = &plan.cascade;
    match arena.get(id) {
        Expr::Real(_) => Kind::Real,
        Expr::Int(_) | Expr::Var(_) | Expr::Extent(_) => Kind::Int,
        Expr::Bool(_) => Kind::Bool,
        Expr::Scalar(s) => of_dtype(cascade.scalars[s.index()].dtype),
        Expr::Input(i, _) => of_dtype(cascade.inputs[i.index()].dtype),
        Expr::Def(d, _) => kind(plan, arena, cascade.defs[d.index()].body),
        Expr::Leaf(leaf, _) => match plan.leaf(*leaf) {
            LeafDef::Carry { kernel, sweep, carry } => {
                let carry = &plan.kernels[kernel].sweeps[sweep].carries[carry];
                carry_kind(plan, arena, carry)
            }
            LeafDef::State { kernel, sweep, carry } => {
                let chunks = plan.kernels[kernel].sweeps[sweep].chunks.as_ref();
                let carry = chunks.and_then(|c| c.state.carries.get(carry));
                carry.map_or(Kind::Real, |c| carry_kind(plan, arena, c))
            }
            LeafDef::Reference { .. } | LeafDef::StateReference { .. } => Kind::Real,
            LeafDef::Crossing(c) => plan.crossings[c].kind,
        },
        Expr::Map(op, args) => match op {
            MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne | MapOp::And | MapOp::Or | MapOp::Not => Kind::Bool,
            MapOp::Floor | MapOp::Ceil | MapOp::Round | MapOp::Popcount | MapOp::BoolToInt => Kind::Int,
            MapOp::ToReal | MapOp::Uniform | MapOp::RoundTo(_) | MapOp::Div => Kind::Real,
            _ => kind(plan, arena, args[0]),
        },
        Expr::Select(list) => kind(plan, arena, list[1]),
        Expr::Reduce(r) => reduce_kind(r.op, || kind(plan, arena, r.body)),
    }
}

/// The kind of a carry's accumulator.
pub fn carry_kind(plan: &FusedPlan, arena: &Arena, carry: &Carry) -> Kind {
    if carry.weight.is_some() {
        return Kind::Real;
    }
    reduce_kind(carry.op, || kind(plan, arena, carry.streamed))
}

fn reduce_kind(op: ReduceOp, body: impl FnOnce() -> Kind) -> Kind {
    match op {
        ReduceOp::Any | ReduceOp::All => Kind::Bool,
        ReduceOp::ArgMax | ReduceOp::ArgMin => Kind::Int,
        _ => body(),
    }
}

/// Kind of a stored element.
pub fn of_dtype(dtype: DType) -> Kind {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Kind::Real,
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8 => Kind::Int,
        DType::Bool => Kind::Bool,
    }
}
