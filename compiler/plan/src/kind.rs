//! Kinds of expressions of the planner.

use crate::kinds::of_dtype;
use crate::state::{PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, Kind, MapOp, ReduceOp};

impl State {
    /// What an expression is: real, int or bool.
    pub(crate) fn kind(&self, e: ExprId) -> Kind {
        match self.expr(e) {
            Expr::Real(_) => Kind::Real,
            Expr::Int(_) | Expr::Var(_) | Expr::Extent(_) => Kind::Int,
            Expr::Bool(_) => Kind::Bool,
            Expr::Scalar(s) => of_dtype(self.cascade.scalars[s.index()].dtype),
            Expr::Input(i, _) => of_dtype(self.cascade.inputs[i.index()].dtype),
            Expr::Def(d, _) => self.kind(self.cascade.defs[d.index()].body),
            Expr::Select([_, a, _]) => self.kind(*a),
            Expr::Reduce(r) => self.kind_of_reduce(r.op, r.body),
            Expr::Leaf(leaf, _) => match PlanLeaf::of(*leaf) {
                PlanLeaf::Value(n) => self.kind_of_reduce(self.nodes[n].op, self.nodes[n].body),
                PlanLeaf::Empty(_) => Kind::Bool,
                _ => Kind::Real,
            },
            Expr::Map(op, args) => match op {
                MapOp::IDiv | MapOp::IMod | MapOp::BitAnd | MapOp::BitOr | MapOp::BitXor => Kind::Int,
                MapOp::Shl | MapOp::Shr | MapOp::Floor | MapOp::Ceil | MapOp::Round => Kind::Int,
                MapOp::Popcount | MapOp::BoolToInt => Kind::Int,
                MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne => Kind::Bool,
                MapOp::And | MapOp::Or | MapOp::Not => Kind::Bool,
                MapOp::ToReal | MapOp::Uniform => Kind::Real,
                _ => self.kind(args[0]),
            },
        }
    }

    pub(crate) fn kind_of_reduce(&self, op: ReduceOp, body: ExprId) -> Kind {
        match op {
            ReduceOp::Any | ReduceOp::All => Kind::Bool,
            ReduceOp::ArgMax | ReduceOp::ArgMin => Kind::Int,
            _ => self.kind(body),
        }
    }
}
