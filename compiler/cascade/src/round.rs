//! Rounding to storage types: nearest, ties to even; ints saturate, NaN becomes 0 as an int.
//!
//! Each function makes exactly one rounding from f64 (never f64 -> f32 -> f16).

use crate::expr::DType;
use half::{bf16, f16};

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// Whether values of this type are reals.
    pub fn is_real(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16)
    }

    /// Name in the language, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<DType> {
        use DType::*;
        [F32, F16, BF16, I64, I32, I16, I8, U8, Bool]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    /// Smallest and largest value of an int type.
    pub fn int_range(self) -> Option<(i64, i64)> {
        match self {
            DType::I64 => Some((i64::MIN, i64::MAX)),
            DType::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            DType::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            DType::I8 => Some((i8::MIN.into(), i8::MAX.into())),
            DType::U8 => Some((0, u8::MAX.into())),
            DType::F32 | DType::F16 | DType::BF16 | DType::Bool => None,
        }
    }
}

/// `x` to the nearest value of a float type; other types leave it alone. Overflow gives an infinity, as IEEE says.
pub fn round_real(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => f16_from_f64(x).to_f64(),
        DType::BF16 => bf16_from_f64(x).to_f64(),
        _ => x,
    }
}

/// As [`round_real`], but finite values saturate: the conversion functions of the language (`f16(x)`).
pub fn saturate_real(dtype: DType, x: f64) -> f64 {
    let rounded = round_real(dtype, x);
    let largest = match dtype {
        DType::F32 => f64::from(f32::MAX),
        DType::F16 => f16::MAX.to_f64(),
        DType::BF16 => bf16::MAX.to_f64(),
        _ => return rounded,
    };
    if x.is_finite() {
        rounded.clamp(-largest, largest)
    } else {
        rounded
    }
}

/// `x` to the nearest f16. Rounds to odd in f32 first, so that the second rounding is the only one that counts.
pub fn f16_from_f64(x: f64) -> f16 {
    f16::from_f32(round_to_odd(x))
}

/// `x` to the nearest bf16, in one rounding.
pub fn bf16_from_f64(x: f64) -> bf16 {
    bf16::from_f32(round_to_odd(x))
}

/// f32 with the sticky bit of what was cut off: safe to round again to 11 significant bits or fewer.
fn round_to_odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || !near.is_finite() || x.is_nan() {
        // An overflow of f32 is one of every smaller type too, except where f32 rounds up to infinity: still infinite.
        return near;
    }
    let bits = near.to_bits();
    if bits & 1 == 1 {
        return near;
    }
    // `near` is even and inexact: the odd neighbour lies on the other side of x.
    let away = back.abs() < x.abs();
    f32::from_bits(if away { bits + 1 } else { bits - 1 })
}

/// A real to an int type: nearest even, saturating, NaN gives 0.
pub fn int_from_real(dtype: DType, x: f64) -> i64 {
    let (low, high) = dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
    (x.round_ties_even() as i64).clamp(low, high)
}

/// An int to an int type, saturating.
pub fn saturate_int(dtype: DType, x: i64) -> i64 {
    let (low, high) = dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
    x.clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rounding_only() {
        // 1 + 2^-11 + 2^-40 is above the tie between 1 and 1 + 2^-10 (f16): f32 in between would lose the 2^-40.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(round_real(DType::F16, x), 1.0 + 2f64.powi(-10));
        assert_eq!(round_real(DType::F16, 1.0 + 2f64.powi(-11)), 1.0);
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(round_real(DType::BF16, x), 1.0 + 2f64.powi(-7));
        assert_eq!(round_real(DType::BF16, -x), -1.0 - 2f64.powi(-7));
    }

    #[test]
    fn special_values() {
        assert!(round_real(DType::F16, f64::NAN).is_nan());
        assert_eq!(round_real(DType::F16, 65520.0), f64::INFINITY);
        assert_eq!(saturate_real(DType::F16, 65520.0), 65504.0);
        assert_eq!(saturate_real(DType::F16, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(round_real(DType::F16, 2f64.powi(-25) * 1.5), 2f64.powi(-24));
    }

    #[test]
    fn ints_saturate() {
        assert_eq!(int_from_real(DType::I8, 2.5), 2);
        assert_eq!(int_from_real(DType::I8, 1e9), 127);
        assert_eq!(int_from_real(DType::U8, -3.0), 0);
        assert_eq!(int_from_real(DType::I32, f64::NAN), 0);
        assert_eq!(saturate_int(DType::I16, -40000), -32768);
    }
}
