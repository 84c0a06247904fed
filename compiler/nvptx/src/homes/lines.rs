//! Pointwise operations on tiles in homes, as lines of PTX: one or, for a function, several for each element that a lane holds.
//!
//! The lines compute what the operations of LLVM do that other values are computed by (`crate::map`, `crate::math`): additions and products may be contracted,
//! maxima keep NaN, comparisons with NaN are false but for `Ne`.

use crate::homes::named::put;
use crate::math::text::function;
use crate::value::{Form, is_half, is_packed};
use einloom_cascade::expr::{MapOp, ReduceOp};
use einloom_tile::ir::{Elem, Math, Op, Roles, TileProgram, ValueId};

/// Whether the tile or column vector `id` can be computed by lines.
pub(crate) fn has_lines(program: &TileProgram, id: ValueId, op: &Op) -> bool {
    let elem = |id: ValueId| program.values[id.index()].elem;
    let form = |id: ValueId| Form::of(program, program.values[id.index()]).ok();
    let Some(result) = form(id) else { return false };
    match op {
        Op::Math(math, args) => {
            let joined = args
                .iter()
                .try_fold(Form::Scalar, |joined, &a| form(a).and_then(|f| joined.join(f).ok()));
            let elems: Vec<Elem> = args.iter().map(|&a| elem(a)).collect();
            let known =
                || name(*math, elem(id), &elems).is_some() || formula(program, *math, elem(id), &elems).is_some();
            joined == Some(result) && known()
        }
        Op::Cast(from) => {
            let (to, from) = (elem(id), elem(*from));
            is_packed(result, to) && from == Elem::F32 || is_packed(result, from) && to == Elem::F32
        }
        _ => false,
    }
}

/// The instruction of a pointwise operation. Its operands follow in order, but for the condition of a selection, which comes last.
pub(crate) fn name(math: Math, to: Elem, from: &[Elem]) -> Option<&'static str> {
    use Elem::{Bool, F32, I32};
    Some(match (math, to, from) {
        (Math::Fma, F32, [F32, F32, F32]) => "fma.rn.f32",
        (Math::Exp2Fast, F32, [F32]) => "ex2.approx.ftz.f32",
        (Math::ReciprocalFast, F32, [F32]) => "rcp.approx.ftz.f32",
        (Math::TanhFast, F32, [F32]) => "tanh.approx.f32",
        (Math::Select, F32, [Bool, F32, F32]) => "selp.f32",
        (Math::Select, I32, [Bool, I32, I32]) => "selp.b32",
        (Math::Map(op), _, _) => match (op, to, from) {
            (MapOp::Add, F32, [F32, F32]) => "add.f32",
            (MapOp::Sub, F32, [F32, F32]) => "sub.f32",
            (MapOp::Mul, F32, [F32, F32]) => "mul.f32",
            (MapOp::Max, F32, [F32, F32]) => "max.NaN.f32",
            (MapOp::Min, F32, [F32, F32]) => "min.NaN.f32",
            (MapOp::Neg, F32, [F32]) => "neg.f32",
            (MapOp::Abs, F32, [F32]) => "abs.f32",
            (MapOp::Lt, Bool, [F32, F32]) => "setp.lt.f32",
            (MapOp::Le, Bool, [F32, F32]) => "setp.le.f32",
            (MapOp::Eq, Bool, [F32, F32]) => "setp.eq.f32",
            (MapOp::Ne, Bool, [F32, F32]) => "setp.neu.f32",
            (MapOp::Add, I32, [I32, I32]) => "add.s32",
            (MapOp::Sub, I32, [I32, I32]) => "sub.s32",
            (MapOp::Mul, I32, [I32, I32]) => "mul.lo.s32",
            (MapOp::Max, I32, [I32, I32]) => "max.s32",
            (MapOp::Min, I32, [I32, I32]) => "min.s32",
            (MapOp::ToReal, F32, [I32]) => "cvt.rn.f32.s32",
            (MapOp::Lt, Bool, [I32, I32]) => "setp.lt.s32",
            (MapOp::Le, Bool, [I32, I32]) => "setp.le.s32",
            (MapOp::Eq, Bool, [I32, I32]) => "setp.eq.s32",
            (MapOp::Ne, Bool, [I32, I32]) => "setp.ne.s32",
            (MapOp::And, Bool, [Bool, Bool]) => "and.pred",
            (MapOp::Or, Bool, [Bool, Bool]) => "or.pred",
            (MapOp::Not, Bool, [Bool]) => "not.pred",
            _ => return None,
        },
        _ => return None,
    })
}

/// The function of one f32 that a pointwise operation is, if it takes several instructions.
pub(crate) fn formula(program: &TileProgram, math: Math, to: Elem, from: &[Elem]) -> Option<MapOp> {
    match (program.roles, math, to, from) {
        (Roles::Uniform, Math::Map(op), Elem::F32, [Elem::F32]) if function(op, 1).is_some() => Some(op),
        _ => None,
    }
}

/// The statement of a function with its result and its argument put in.
pub(crate) fn apply(text: &mut String, statement: &str, to: &str, from: &str) {
    for (i, part) in statement.split('$').enumerate() {
        match (i, part.as_bytes().first()) {
            (0, _) => text.push_str(part),
            (_, Some(b'0')) => put(text, &[to, &part[1..]]),
            _ => put(text, &[from, &part[1..]]),
        }
    }
}

/// Rounds two f32 to a pair.
pub(crate) fn pack(text: &mut String, elem: Elem, to: &str, low: &str, high: &str) {
    let kind = if elem == Elem::BF16 { "bf16x2" } else { "f16x2" };
    put(text, &["cvt.rn.", kind, ".f32 ", to, ", ", high, ", ", low]);
}

/// Widens a pair to two f32.
pub(crate) fn unpack(text: &mut String, elem: Elem, [low, high]: [&str; 2], from: &str) {
    if elem == Elem::BF16 {
        put(text, &["shl.b32 ", low, ", ", from, ", 16;\n"]);
        put(text, &["and.b32 ", high, ", ", from, ", 0xffff0000;\n"]);
        return;
    }
    put(text, &["{\n.reg .b16 a, b;\nmov.b32 {a, b}, ", from, ";\n"]);
    put(text, &["cvt.f32.f16 ", low, ", a;\ncvt.f32.f16 ", high, ", b;\n}\n"]);
}

/// The instruction of a reduction's step.
pub(crate) fn combine(op: ReduceOp, elem: Elem) -> Option<&'static str> {
    Some(match (op, elem) {
        (ReduceOp::Sum, Elem::F32) => "add.f32",
        (ReduceOp::Prod, Elem::F32) => "mul.f32",
        (ReduceOp::Max, Elem::F32) => "max.NaN.f32",
        (ReduceOp::Min, Elem::F32) => "min.NaN.f32",
        (ReduceOp::Any, Elem::Bool) => "or.pred",
        (ReduceOp::All, Elem::Bool) => "and.pred",
        _ => return None,
    })
}

/// Whether a tile in a home is stored by lines.
pub(crate) fn can_store(from: Elem, to: Elem) -> bool {
    is_half(to) && (from == to || from == Elem::F32)
}
