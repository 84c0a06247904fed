//! Constant folding and identities of pointwise functions.
//!
//! Reals are folded in f64 and rounded where they are used; identities are exact in f32.

use super::builder::Const;
use crate::ir::ValueId;
use einloom_cascade::expr::MapOp;

/// The value of `op` on known arguments.
pub(crate) fn fold(op: MapOp, args: &[Option<Const>]) -> Option<Const> {
    let args: Vec<Const> = args.iter().copied().collect::<Option<_>>()?;
    match args.as_slice() {
        [Const::Real(a)] => real1(op, *a),
        [Const::Real(a), Const::Real(b)] => real2(op, *a, *b),
        [Const::Int(a)] => int1(op, *a),
        [Const::Int(a), Const::Int(b)] => int2(op, *a, *b),
        [Const::Bool(a)] => match op {
            MapOp::Not => Some(Const::Bool(!a)),
            MapOp::BoolToInt => Some(Const::Int(i64::from(*a))),
            MapOp::ToReal => Some(Const::Real(f64::from(u8::from(*a)))),
            _ => None,
        },
        [Const::Bool(a), Const::Bool(b)] => match op {
            MapOp::And => Some(Const::Bool(*a && *b)),
            MapOp::Or => Some(Const::Bool(*a || *b)),
            MapOp::Eq => Some(Const::Bool(a == b)),
            MapOp::Ne => Some(Const::Bool(a != b)),
            _ => None,
        },
        _ => None,
    }
}

fn real1(op: MapOp, a: f64) -> Option<Const> {
    Some(Const::Real(match op {
        MapOp::Neg => -a,
        MapOp::Abs => a.abs(),
        MapOp::Exp => a.exp(),
        MapOp::Exp2 => a.exp2(),
        MapOp::Log => a.ln(),
        MapOp::Log2 => a.log2(),
        MapOp::Sqrt => a.sqrt(),
        MapOp::Rsqrt => 1.0 / a.sqrt(),
        _ => return None,
    }))
}

fn real2(op: MapOp, a: f64, b: f64) -> Option<Const> {
    Some(match op {
        MapOp::Add => Const::Real(a + b),
        MapOp::Sub => Const::Real(a - b),
        MapOp::Mul => Const::Real(a * b),
        MapOp::Div => Const::Real(a / b),
        MapOp::Min => Const::Real(a.min(b)),
        MapOp::Max => Const::Real(a.max(b)),
        MapOp::Pow => Const::Real(a.powf(b)),
        MapOp::Lt => Const::Bool(a < b),
        MapOp::Le => Const::Bool(a <= b),
        _ => return None,
    })
}

fn int1(op: MapOp, a: i64) -> Option<Const> {
    Some(match op {
        MapOp::Neg => Const::Int(a.checked_neg()?),
        MapOp::Abs => Const::Int(a.checked_abs()?),
        MapOp::Sign => Const::Int(a.signum()),
        MapOp::ToReal => Const::Real(a as f64),
        _ => return None,
    })
}

fn int2(op: MapOp, a: i64, b: i64) -> Option<Const> {
    Some(match op {
        MapOp::Add => Const::Int(a.checked_add(b)?),
        MapOp::Sub => Const::Int(a.checked_sub(b)?),
        MapOp::Mul => Const::Int(a.checked_mul(b)?),
        MapOp::IDiv if b > 0 => Const::Int(a.div_euclid(b)),
        MapOp::IMod if b > 0 => Const::Int(a.rem_euclid(b)),
        MapOp::Min => Const::Int(a.min(b)),
        MapOp::Max => Const::Int(a.max(b)),
        MapOp::Lt => Const::Bool(a < b),
        MapOp::Le => Const::Bool(a <= b),
        MapOp::Eq => Const::Bool(a == b),
        MapOp::Ne => Const::Bool(a != b),
        _ => return None,
    })
}

/// An argument that is the result already.
pub(crate) fn identity(op: MapOp, args: &[ValueId], known: &[Option<Const>]) -> Option<ValueId> {
    let [a, b] = *args else { return None };
    let (ka, kb) = (known[0], known[1]);
    let is = |k: Option<Const>, i: i64| match k {
        Some(Const::Int(x)) => x == i,
        Some(Const::Real(x)) => x == i as f64,
        _ => false,
    };
    let truth = |k: Option<Const>, t: bool| k == Some(Const::Bool(t));
    match op {
        MapOp::Add if is(ka, 0) => Some(b),
        MapOp::Add | MapOp::Sub if is(kb, 0) => Some(a),
        MapOp::Mul if is(ka, 1) => Some(b),
        MapOp::Mul | MapOp::Div | MapOp::IDiv if is(kb, 1) => Some(a),
        // Only ints: a real zero times infinity is not zero.
        MapOp::Mul if ka == Some(Const::Int(0)) => Some(a),
        MapOp::Mul if kb == Some(Const::Int(0)) => Some(b),
        MapOp::And if truth(ka, true) || truth(kb, false) => Some(b),
        MapOp::And if truth(kb, true) || truth(ka, false) => Some(a),
        MapOp::Or if truth(ka, false) || truth(kb, true) => Some(b),
        MapOp::Or if truth(kb, false) || truth(ka, true) => Some(a),
        MapOp::Min | MapOp::Max if a == b => Some(a),
        _ => None,
    }
}
