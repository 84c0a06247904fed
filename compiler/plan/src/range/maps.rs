//! Ranges of pointwise functions.

use super::interval::{self, RealRange};
use einloom_cascade::expr::{DType, MapOp};

const UNIT: RealRange = RealRange {
    lo: -1.0,
    hi: 1.0,
    nonzero: false,
};

/// Range of `op` over all arguments in `args`.
pub(super) fn apply(op: MapOp, args: &[RealRange]) -> RealRange {
    match (op, args) {
        (MapOp::Uniform, _) => RealRange::new(0.0, 1.0),
        (_, [x]) => unary(op, *x),
        (_, [x, y]) => binary(op, *x, *y),
        _ => RealRange::ALL,
    }
}

fn unary(op: MapOp, x: RealRange) -> RealRange {
    match op {
        MapOp::Neg => x.neg(),
        MapOp::Abs => {
            let square = x.square();
            RealRange {
                nonzero: x.nonzero,
                ..square.rising_about(f64::sqrt)
            }
        }
        MapOp::Sign => RealRange {
            nonzero: x.nonzero,
            ..x.rising(|v| if v == 0.0 { 0.0 } else { v.signum() })
        },
        MapOp::Exp => x.rising_about(f64::exp).without_zero(),
        MapOp::Exp2 => x.rising_about(f64::exp2).without_zero(),
        MapOp::Log if x.lo >= 0.0 => x.rising_about(f64::ln),
        MapOp::Log2 if x.lo >= 0.0 => x.rising_about(f64::log2),
        MapOp::Sqrt if x.lo >= 0.0 => RealRange {
            nonzero: x.nonzero,
            ..x.rising_about(f64::sqrt)
        },
        // what exists is not NaN
        MapOp::Sqrt => RealRange::new(0.0, x.hi.max(0.0).sqrt()),
        MapOp::Rsqrt if x.positive() => x.rising_about(f64::sqrt).without_zero().reciprocal(),
        MapOp::Rsqrt => RealRange::new(0.0, f64::INFINITY).without_zero(),
        MapOp::Tanh => RealRange {
            nonzero: x.nonzero,
            ..x.rising(f64::tanh)
        },
        MapOp::Sin | MapOp::Cos | MapOp::Erf => UNIT,
        MapOp::Acos => RealRange::new(0.0, std::f64::consts::PI),
        MapOp::Floor => x.rising(f64::floor),
        MapOp::Ceil => x.rising(f64::ceil),
        MapOp::Round => x.rising(f64::round_ties_even),
        MapOp::Popcount => RealRange::new(0.0, 64.0),
        MapOp::ToReal | MapOp::BoolToInt => x,
        MapOp::Not => RealRange::new(0.0, 1.0),
        MapOp::RoundTo(dtype) => rounded(dtype, x),
        _ => RealRange::ALL,
    }
}

/// Rounding may pass an end by half a unit in the last place, and may give 0.
fn rounded(dtype: DType, x: RealRange) -> RealRange {
    let part = match dtype {
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 1.0 / 1024.0,
        DType::BF16 => 1.0 / 128.0,
        DType::Bool | DType::U8 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
            return x.rising(f64::round_ties_even).meet(interval::of_storage(dtype));
        }
    };
    let wider = |v: f64, up: bool| if up { v + v.abs() * part } else { v - v.abs() * part };
    let lo = if x.lo >= 0.0 {
        wider(x.lo, false).max(0.0)
    } else {
        wider(x.lo, false)
    };
    RealRange {
        nonzero: false,
        ..RealRange::new(lo, wider(x.hi, true))
    }
}

fn binary(op: MapOp, x: RealRange, y: RealRange) -> RealRange {
    match op {
        MapOp::Add => x.plus(y),
        MapOp::Sub => x.plus(y.neg()),
        MapOp::Mul => x.times(y),
        MapOp::Div => x.times(y.reciprocal()),
        MapOp::Pow => power(x, y),
        MapOp::Min => RealRange {
            nonzero: x.nonzero && y.nonzero,
            ..RealRange::new(x.lo.min(y.lo), x.hi.min(y.hi))
        },
        MapOp::Max => {
            let max = RealRange::new(x.lo.max(y.lo), x.hi.max(y.hi));
            let nonzero = x.positive() || y.positive() || (x.nonzero && y.nonzero);
            RealRange {
                nonzero: max.nonzero || nonzero,
                ..max
            }
        }
        MapOp::IDiv if y.lo >= 1.0 => x.times(y.reciprocal()).rising(f64::floor),
        MapOp::IMod if y.lo >= 1.0 => {
            let top = if x.lo >= 0.0 { x.hi.min(y.hi - 1.0) } else { y.hi - 1.0 };
            RealRange::new(0.0, top)
        }
        MapOp::BitAnd if x.lo >= 0.0 && y.lo >= 0.0 => RealRange::new(0.0, x.hi.min(y.hi)),
        MapOp::Atan2 => RealRange::new(-std::f64::consts::PI, std::f64::consts::PI),
        MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne | MapOp::And | MapOp::Or => RealRange::new(0.0, 1.0),
        _ => RealRange::ALL,
    }
}

fn power(x: RealRange, y: RealRange) -> RealRange {
    if y.lo == y.hi && y.lo.fract() == 0.0 && y.lo.abs() <= 64.0 {
        // integer exponent: even powers forget the sign, odd ones keep it
        let n = y.lo.abs() as i32;
        let positive = match (n, n % 2) {
            (0, _) => return RealRange::point(1.0),
            (_, 0) => {
                let root = unary(MapOp::Abs, x);
                root.rising(|v| v.powi(n))
            }
            _ => x.rising(|v| v.powi(n)),
        };
        let positive = RealRange {
            nonzero: x.nonzero,
            ..positive
        };
        return if y.lo < 0.0 { positive.reciprocal() } else { positive };
    }
    if x.lo < 0.0 {
        return RealRange::ALL;
    }
    // x^y = exp(y log x)
    let power = y.times(x.rising_about(f64::ln)).rising_about(f64::exp);
    RealRange {
        nonzero: x.positive(),
        ..power
    }
}
