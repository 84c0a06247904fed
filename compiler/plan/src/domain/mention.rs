//! Which variables an expression mentions, through tables, leaves and reductions alike; a reduction's own variable is none of them.

use einloom_cascade::expr::{Arena, DType, Expr, ExprId, MapOp, VarId};
use einloom_cascade::ir::Input;

/// Whether `id` mentions one of `vars`.
pub fn mentions(arena: &Arena, id: ExprId, vars: &[VarId]) -> bool {
    match arena.get(id) {
        Expr::Var(var) => vars.contains(var),
        Expr::Reduce(reduce) if reduce.vars.iter().any(|var| vars.contains(var)) => {
            let others: Vec<VarId> = vars.iter().copied().filter(|var| !reduce.vars.contains(var)).collect();
            (arena.children(id).into_iter()).any(|child| mentions(arena, child, &others))
        }
        _ => arena.children(id).into_iter().any(|child| mentions(arena, child, vars)),
    }
}

/// Splits a conjunction into the conditions of the resident point alone and those that mention `stream`.
///
/// A kernel may test the first once per row and project the second.
pub fn split_by_stream(arena: &Arena, conds: &[ExprId], stream: &[VarId]) -> (Vec<ExprId>, Vec<ExprId>) {
    conds.iter().copied().partition(|&cond| !mentions(arena, cond, stream))
}

/// Sort of the operands of a comparison, as far as projection cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    Int,
    Bool,
}

/// Sort of an expression; `None` for reals and where it does not show (elements of inputs, definitions and leaves).
pub(crate) fn kind(arena: &Arena, id: ExprId) -> Option<Sort> {
    match arena.get(id) {
        Expr::Int(_) | Expr::Var(_) | Expr::Extent(_) => Some(Sort::Int),
        Expr::Bool(_) => Some(Sort::Bool),
        Expr::Select([_, a, b]) => kind(arena, *a).or_else(|| kind(arena, *b)),
        Expr::Map(op, args) => kind_of_map(arena, *op, args),
        _ => None,
    }
}

fn kind_of_map(arena: &Arena, op: MapOp, args: &[ExprId]) -> Option<Sort> {
    use MapOp::*;
    match op {
        IDiv | IMod | BitAnd | BitOr | BitXor | Shl | Shr | Floor | Ceil | Round | Popcount | BoolToInt => {
            Some(Sort::Int)
        }
        Lt | Le | Eq | Ne | And | Or | Not => Some(Sort::Bool),
        Add | Sub | Mul | Min | Max | Neg | Abs | Sign => args.iter().find_map(|&arg| kind(arena, arg)),
        _ => None,
    }
}

/// Operands of a comparison as ints, if they are ints: seen on either side, or both converted to reals.
pub(crate) fn int_operands(arena: &Arena, args: &[ExprId]) -> Option<(ExprId, ExprId)> {
    let (left, right) = (args[0], args[1]);
    if let (Expr::Map(MapOp::ToReal, a), Expr::Map(MapOp::ToReal, b)) = (arena.get(left), arena.get(right))
        && kind(arena, a[0]) == Some(Sort::Int)
        && kind(arena, b[0]) == Some(Sort::Int)
    {
        return Some((a[0], b[0]));
    }
    let sort = kind(arena, left).or_else(|| kind(arena, right));
    (sort == Some(Sort::Int)).then_some((left, right))
}

/// As [`int_operands`], where an element of an input shows as an int too.
pub(crate) fn int_operands_of(arena: &Arena, args: &[ExprId], inputs: &[Input]) -> Option<(ExprId, ExprId)> {
    let element = |id: ExprId| match arena.get(id) {
        Expr::Input(input, _) => inputs.get(input.index()).is_some_and(|input| {
            matches!(
                input.dtype,
                DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8
            )
        }),
        _ => false,
    };
    let ints = || (element(args[0]) || element(args[1])).then(|| (args[0], args[1]));
    int_operands(arena, args).or_else(ints)
}
