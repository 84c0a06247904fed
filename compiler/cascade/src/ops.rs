//! Pointwise functions on single values: the definition of every [`MapOp`].

use crate::expr::{DType, Kind, MapOp};
use crate::{philox, round};

/// One value of one of the three kinds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Real(f64),
    Int(i64),
    Bool(bool),
}

impl Scalar {
    /// Which kind it is.
    pub fn kind(self) -> Kind {
        match self {
            Scalar::Real(_) => Kind::Real,
            Scalar::Int(_) => Kind::Int,
            Scalar::Bool(_) => Kind::Bool,
        }
    }

    /// The value as a real; bools are 0 or 1.
    pub fn as_real(self) -> f64 {
        match self {
            Scalar::Real(x) => x,
            Scalar::Int(x) => x as f64,
            Scalar::Bool(x) => f64::from(u8::from(x)),
        }
    }

    /// The int; `None` for the other kinds.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Scalar::Int(x) => Some(x),
            _ => None,
        }
    }

    /// The bool; `None` for the other kinds.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Scalar::Bool(x) => Some(x),
            _ => None,
        }
    }
}

/// Why a function has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MathError {
    #[error("integer overflow in `{0:?}`")]
    Overflow(MapOp),
    #[error("integer division by zero in `{0:?}`")]
    DivideByZero(MapOp),
    #[error("`{0:?}` does not take arguments of these kinds")]
    Kinds(MapOp),
}

/// Kind of `op` on arguments of the given kinds, `None` where the op does not take them.
pub fn result_kind(op: MapOp, args: &[Kind]) -> Option<Kind> {
    use Kind::*;
    use MapOp::*;
    let same = |kinds: &[Kind]| match args {
        [a, b] if a == b && kinds.contains(a) => Some(*a),
        _ => None,
    };
    match op {
        Add | Sub | Mul | Min | Max => same(&[Real, Int]),
        Div | Pow | Atan2 => same(&[Real]),
        IDiv | IMod | BitAnd | BitOr | BitXor | Shl | Shr => same(&[Int]),
        Neg | Abs | Sign => match args {
            [Real] => Some(Real),
            [Int] => Some(Int),
            _ => None,
        },
        Exp | Exp2 | Log | Log2 | Sqrt | Rsqrt | Sin | Cos | Tanh | Acos | Erf => (args == [Real]).then_some(Real),
        Floor | Ceil | Round => (args == [Real]).then_some(Int),
        Popcount => (args == [Int]).then_some(Int),
        ToReal => matches!(args, [Int] | [Bool]).then_some(Real),
        BoolToInt => (args == [Bool]).then_some(Int),
        RoundTo(dtype) => (args.len() == 1).then_some(match dtype {
            DType::Bool => Bool,
            float if float.is_real() => Real,
            _ => Int,
        }),
        Lt | Le => same(&[Real, Int]).map(|_| Bool),
        Eq | Ne => same(&[Int, Bool]).map(|_| Bool),
        And | Or => same(&[Bool]),
        Not => (args == [Bool]).then_some(Bool),
        Uniform => {
            let ints = args.iter().all(|kind| *kind == Int);
            (ints && (1..=5).contains(&args.len())).then_some(Real)
        }
    }
}

/// The value of `op`. Reals follow IEEE 754, `max` and `min` of a NaN are NaN; ints are exact or an error.
pub fn apply(op: MapOp, args: &[Scalar]) -> Result<Scalar, MathError> {
    use Scalar::*;
    match (op, args) {
        (MapOp::RoundTo(dtype), [x]) => Ok(convert(dtype, *x)),
        (MapOp::ToReal, [x @ (Int(_) | Bool(_))]) => Ok(Real(x.as_real())),
        (MapOp::BoolToInt, [Bool(x)]) => Ok(Int((*x).into())),
        (MapOp::Uniform, _) => {
            let ints: Option<Vec<i64>> = args.iter().map(|x| x.as_int()).collect();
            ints.map(|ints| Real(philox::uniform(&ints)))
                .ok_or(MathError::Kinds(op))
        }
        (_, [Real(x)]) => real1(op, *x),
        (_, [Int(x)]) => int1(op, *x).map(Int),
        (MapOp::Not, [Bool(x)]) => Ok(Bool(!x)),
        (_, [Real(x), Real(y)]) => real2(op, *x, *y),
        (_, [Int(x), Int(y)]) => match op {
            MapOp::Lt => Ok(Bool(x < y)),
            MapOp::Le => Ok(Bool(x <= y)),
            MapOp::Eq => Ok(Bool(x == y)),
            MapOp::Ne => Ok(Bool(x != y)),
            _ => int2(op, *x, *y).map(Int),
        },
        (MapOp::And, [Bool(x), Bool(y)]) => Ok(Bool(*x && *y)),
        (MapOp::Or, [Bool(x), Bool(y)]) => Ok(Bool(*x || *y)),
        (MapOp::Eq, [Bool(x), Bool(y)]) => Ok(Bool(x == y)),
        (MapOp::Ne, [Bool(x), Bool(y)]) => Ok(Bool(x != y)),
        _ => Err(MathError::Kinds(op)),
    }
}

fn convert(dtype: DType, x: Scalar) -> Scalar {
    match (dtype, x) {
        (DType::Bool, x) => Scalar::Bool(x.as_real() != 0.0),
        (float, x) if float.is_real() => Scalar::Real(round::saturate_real(float, x.as_real())),
        (int, Scalar::Int(x)) => Scalar::Int(round::saturate_int(int, x)),
        (int, x) => Scalar::Int(round::int_from_real(int, x.as_real())),
    }
}

/// The real function of one argument that gives a real, if `op` is one.
pub(crate) fn real_fn(op: MapOp) -> Option<fn(f64) -> f64> {
    Some(match op {
        MapOp::Neg => |x| -x,
        MapOp::Abs => f64::abs,
        MapOp::Sign => |x| if x.is_nan() || x == 0.0 { x } else { x.signum() },
        MapOp::Exp => f64::exp,
        MapOp::Exp2 => f64::exp2,
        MapOp::Log => f64::ln,
        MapOp::Log2 => f64::log2,
        MapOp::Sqrt => f64::sqrt,
        MapOp::Rsqrt => |x| 1.0 / x.sqrt(),
        MapOp::Sin => f64::sin,
        MapOp::Cos => f64::cos,
        MapOp::Tanh => f64::tanh,
        MapOp::Acos => f64::acos,
        MapOp::Erf => libm::erf,
        _ => return None,
    })
}

/// The real function of two arguments that gives a real, if `op` is one.
pub(crate) fn real_fn2(op: MapOp) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        MapOp::Add => |x, y| x + y,
        MapOp::Sub => |x, y| x - y,
        MapOp::Mul => |x, y| x * y,
        MapOp::Div => |x, y| x / y,
        MapOp::Pow => pow,
        MapOp::Min => real_min,
        MapOp::Max => real_max,
        MapOp::Atan2 => f64::atan2,
        _ => return None,
    })
}

fn pow(x: f64, y: f64) -> f64 {
    // Squares are frequent, and exact rounding of x * x is what every target computes.
    if y == 2.0 { x * x } else { x.powf(y) }
}

/// Largest of two, NaN if one is.
pub(crate) fn real_max(x: f64, y: f64) -> f64 {
    if x.is_nan() || x > y { x } else { y }
}

/// Smallest of two, NaN if one is.
pub(crate) fn real_min(x: f64, y: f64) -> f64 {
    if x.is_nan() || x < y { x } else { y }
}

fn real1(op: MapOp, x: f64) -> Result<Scalar, MathError> {
    if let Some(f) = real_fn(op) {
        return Ok(Scalar::Real(f(x)));
    }
    let rounded = match op {
        MapOp::Floor => x.floor(),
        MapOp::Ceil => x.ceil(),
        MapOp::Round => x.round_ties_even(),
        _ => return Err(MathError::Kinds(op)),
    };
    // 2^63 is the first f64 beyond i64.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
        Ok(Scalar::Int(rounded as i64))
    } else {
        Err(MathError::Overflow(op))
    }
}

fn real2(op: MapOp, x: f64, y: f64) -> Result<Scalar, MathError> {
    match op {
        MapOp::Lt => Ok(Scalar::Bool(x < y)),
        MapOp::Le => Ok(Scalar::Bool(x <= y)),
        _ => real_fn2(op).map(|f| Scalar::Real(f(x, y))).ok_or(MathError::Kinds(op)),
    }
}

fn int1(op: MapOp, x: i64) -> Result<i64, MathError> {
    match op {
        MapOp::Neg => x.checked_neg().ok_or(MathError::Overflow(op)),
        MapOp::Abs => x.checked_abs().ok_or(MathError::Overflow(op)),
        MapOp::Sign => Ok(x.signum()),
        MapOp::Popcount => Ok(x.count_ones().into()),
        _ => Err(MathError::Kinds(op)),
    }
}

/// Int functions of two ints that give an int.
pub(crate) fn int2(op: MapOp, x: i64, y: i64) -> Result<i64, MathError> {
    let value = match op {
        MapOp::Add => x.checked_add(y),
        MapOp::Sub => x.checked_sub(y),
        MapOp::Mul => x.checked_mul(y),
        MapOp::Min => Some(x.min(y)),
        MapOp::Max => Some(x.max(y)),
        MapOp::BitAnd => Some(x & y),
        MapOp::BitOr => Some(x | y),
        MapOp::BitXor => Some(x ^ y),
        MapOp::IDiv | MapOp::IMod if y == 0 => return Err(MathError::DivideByZero(op)),
        MapOp::IDiv => x
            .checked_div(y)
            .map(|q| if x % y != 0 && (x < 0) != (y < 0) { q - 1 } else { q }),
        MapOp::IMod => x
            .checked_rem(y)
            .map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r }),
        MapOp::Shl => u32::try_from(y)
            .ok()
            .filter(|n| *n < 63)
            .and_then(|n| x.checked_mul(1i64 << n)),
        MapOp::Shr => u32::try_from(y).ok().map(|n| x >> n.min(63)),
        _ => return Err(MathError::Kinds(op)),
    };
    value.ok_or(MathError::Overflow(op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_division() {
        for (x, y, q, r) in [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1)] {
            assert_eq!(int2(MapOp::IDiv, x, y), Ok(q));
            assert_eq!(int2(MapOp::IMod, x, y), Ok(r));
        }
        assert_eq!(int2(MapOp::IDiv, 1, 0), Err(MathError::DivideByZero(MapOp::IDiv)));
        assert_eq!(int2(MapOp::IDiv, i64::MIN, -1), Err(MathError::Overflow(MapOp::IDiv)));
    }

    #[test]
    fn extremes_and_nan() {
        assert!(real_max(f64::NAN, 1.0).is_nan() && real_max(1.0, f64::NAN).is_nan());
        assert!(real_min(f64::NAN, 1.0).is_nan() && real_min(1.0, f64::NAN).is_nan());
        assert_eq!(apply(MapOp::Round, &[Scalar::Real(2.5)]), Ok(Scalar::Int(2)));
        assert_eq!(
            apply(MapOp::Floor, &[Scalar::Real(1e30)]),
            Err(MathError::Overflow(MapOp::Floor))
        );
    }
}
