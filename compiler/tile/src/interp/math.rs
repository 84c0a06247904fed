//! Pointwise functions: reals in f64 rounded once to f32 (the backend promises 2 ulp), ints wrapped to 32 bits like the machine's.

use crate::ir::Math;
use einloom_cascade::expr::{DType, MapOp};
use half::{bf16, f16};

/// A real function of real arguments; `None` if `math` is no such function.
pub fn real(math: Math, x: &[f64]) -> Option<f64> {
    let a = x.first().copied().unwrap_or(f64::NAN);
    let b = x.get(1).copied().unwrap_or(f64::NAN);
    Some(match math {
        // The product of two f32 is exact in f64.
        Math::Fma => a * b + x.get(2).copied()?,
        Math::Exp2Fast => a.exp2(),
        Math::ReciprocalFast => 1.0 / a,
        Math::TanhFast => eleven_bits(a.tanh()),
        Math::Select => return None,
        Math::Map(op) => return real_map(op, a, b),
    })
}

/// Rounds to a significand of 11 bits: as far from the number as the machine's approximation is.
fn eleven_bits(x: f64) -> f64 {
    const BELOW: u64 = 1 << 42;
    f64::from_bits((x.to_bits() + BELOW / 2) & !(BELOW - 1))
}

fn real_map(op: MapOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        MapOp::Add => a + b,
        MapOp::Sub => a - b,
        MapOp::Mul => a * b,
        MapOp::Div => a / b,
        MapOp::Pow => a.powf(b),
        MapOp::Min => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.min(b)
            }
        }
        MapOp::Max => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.max(b)
            }
        }
        MapOp::Atan2 => a.atan2(b),
        MapOp::Neg => -a,
        MapOp::Abs => a.abs(),
        MapOp::Sign => {
            if a > 0.0 {
                1.0
            } else if a < 0.0 {
                -1.0
            } else {
                a
            }
        }
        MapOp::Exp => a.exp(),
        MapOp::Exp2 => a.exp2(),
        MapOp::Log => a.ln(),
        MapOp::Log2 => a.log2(),
        MapOp::Sqrt => a.sqrt(),
        MapOp::Rsqrt => 1.0 / a.sqrt(),
        MapOp::Sin => a.sin(),
        MapOp::Cos => a.cos(),
        MapOp::Tanh => a.tanh(),
        MapOp::Acos => a.acos(),
        MapOp::Erf => libm::erf(a),
        MapOp::RoundTo(DType::F16) => f64::from(f16::from_f64(a).to_f32()),
        MapOp::RoundTo(DType::BF16) => f64::from(bf16::from_f64(a).to_f32()),
        MapOp::RoundTo(DType::F32) => f64::from(a as f32),
        _ => return None,
    })
}

/// A real-to-int function or a comparison of reals (1 or 0).
pub fn real_to_int(op: MapOp, x: &[f64]) -> Option<i64> {
    let a = x.first().copied()?;
    let b = x.get(1).copied().unwrap_or(f64::NAN);
    Some(match op {
        MapOp::Floor => a.floor() as i32 as i64,
        MapOp::Ceil => a.ceil() as i32 as i64,
        MapOp::Round => a.round_ties_even() as i32 as i64,
        MapOp::Lt => i64::from(a < b),
        MapOp::Le => i64::from(a <= b),
        MapOp::Eq => i64::from(a == b),
        MapOp::Ne => i64::from(a != b),
        _ => return None,
    })
}

/// A function of ints and bools. Division by zero gives 0: a masked lane may divide by an empty extent.
pub fn int(op: MapOp, x: &[i64]) -> Option<i64> {
    let a = x.first().copied()?;
    let b = x.get(1).copied().unwrap_or(0);
    Some(match op {
        MapOp::Add => a.wrapping_add(b),
        MapOp::Sub => a.wrapping_sub(b),
        MapOp::Mul => a.wrapping_mul(b),
        MapOp::IDiv => {
            if b == 0 {
                0
            } else {
                floor_div(a, b)
            }
        }
        MapOp::IMod => {
            if b == 0 {
                0
            } else {
                a.wrapping_sub(floor_div(a, b).wrapping_mul(b))
            }
        }
        MapOp::Min => a.min(b),
        MapOp::Max => a.max(b),
        MapOp::BitAnd => a & b,
        MapOp::BitOr => a | b,
        MapOp::BitXor => a ^ b,
        MapOp::Shl => a.checked_shl(u32::try_from(b).unwrap_or(64)).unwrap_or(0),
        MapOp::Shr => a >> b.clamp(0, 63),
        MapOp::Neg => a.wrapping_neg(),
        MapOp::Abs => a.wrapping_abs(),
        MapOp::Sign => a.signum(),
        MapOp::Popcount => i64::from((a as u64).count_ones()),
        MapOp::BoolToInt => a,
        MapOp::Lt => i64::from(a < b),
        MapOp::Le => i64::from(a <= b),
        MapOp::Eq => i64::from(a == b),
        MapOp::Ne => i64::from(a != b),
        MapOp::And => a & b & 1,
        MapOp::Or => (a | b) & 1,
        MapOp::Not => i64::from(a == 0),
        _ => return None,
    })
}

fn floor_div(a: i64, b: i64) -> i64 {
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) {
        q - 1
    } else {
        q
    }
}
