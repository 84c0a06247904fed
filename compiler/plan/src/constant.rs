//! Numeric constants of expressions: values of closed expressions, exact rationals where they are.

use crate::rational::Rational;
use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp};

/// The value of an expression without variables, extents and data.
pub(crate) fn constant(arena: &Arena, id: ExprId) -> Option<f64> {
    match arena.get(id) {
        Expr::Real(bits) => Some(f64::from_bits(*bits)),
        Expr::Int(value) => Some(*value as f64),
        Expr::Map(op, args) => {
            let a = constant(arena, *args.first()?)?;
            let b = args.get(1).and_then(|b| constant(arena, *b));
            if args.len() == 2 && b.is_none() {
                return None;
            }
            match (op, b) {
                (MapOp::ToReal, None) => Some(a),
                (MapOp::Neg, None) => Some(-a),
                (MapOp::Sqrt, None) => Some(a.sqrt()),
                (MapOp::Rsqrt, None) => Some(1.0 / a.sqrt()),
                (MapOp::Add, Some(b)) => Some(a + b),
                (MapOp::Sub, Some(b)) => Some(a - b),
                (MapOp::Mul, Some(b)) => Some(a * b),
                (MapOp::Div, Some(b)) => Some(a / b),
                _ => None,
            }
        }
        _ => None,
    }
    .filter(|v| v.is_finite())
}

/// The exact rational that a constant expression is.
pub(crate) fn rational(arena: &Arena, id: ExprId) -> Option<Rational> {
    match arena.get(id) {
        Expr::Real(bits) => Rational::from_f64(f64::from_bits(*bits)),
        Expr::Int(value) => Some(Rational::int(*value)),
        Expr::Map(op, args) => {
            let a = rational(arena, *args.first()?)?;
            match (op, args.get(1)) {
                (MapOp::ToReal, None) => Some(a),
                (MapOp::Neg, None) => Some(a.neg()),
                (MapOp::Add, Some(b)) => a.add(rational(arena, *b)?),
                (MapOp::Sub, Some(b)) => a.add(rational(arena, *b)?.neg()),
                (MapOp::Mul, Some(b)) => a.mul(rational(arena, *b)?),
                (MapOp::Div, Some(b)) => a.div(rational(arena, *b)?),
                _ => None,
            }
        }
        _ => None,
    }
}
