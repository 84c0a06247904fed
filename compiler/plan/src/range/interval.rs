//! Intervals of reals.

use super::{HEADROOM, POINTS};
use einloom_cascade::expr::DType;

/// All reals from `lo` to `hi` (either may be infinite), both included, but 0 if `nonzero`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RealRange {
    pub lo: f64,
    pub hi: f64,
    /// Proved different from 0 although the interval may touch it (`exp`).
    pub nonzero: bool,
}

impl RealRange {
    /// Nothing is known.
    pub const ALL: RealRange = RealRange {
        lo: f64::NEG_INFINITY,
        hi: f64::INFINITY,
        nonzero: false,
    };

    /// From `lo` to `hi`; an end that is no number is unbounded.
    pub fn new(lo: f64, hi: f64) -> RealRange {
        let lo = if lo.is_nan() { f64::NEG_INFINITY } else { lo };
        let hi = if hi.is_nan() { f64::INFINITY } else { hi };
        RealRange {
            lo,
            hi,
            nonzero: lo > 0.0 || hi < 0.0,
        }
    }

    /// One value.
    pub fn point(value: f64) -> RealRange {
        RealRange::new(value, value)
    }

    /// The interval without 0.
    pub fn without_zero(self) -> RealRange {
        RealRange { nonzero: true, ..self }
    }

    /// Greater than 0.
    pub fn positive(self) -> bool {
        self.lo > 0.0 || (self.lo == 0.0 && self.nonzero)
    }

    /// Less than 0.
    pub fn negative(self) -> bool {
        self.hi < 0.0 || (self.hi == 0.0 && self.nonzero)
    }

    /// Both ends are finite.
    pub fn bounded(self) -> bool {
        self.lo.is_finite() && self.hi.is_finite()
    }

    /// The smallest interval that holds both.
    pub fn hull(self, other: RealRange) -> RealRange {
        let both = RealRange::new(self.lo.min(other.lo), self.hi.max(other.hi));
        RealRange {
            nonzero: both.nonzero || (self.nonzero && other.nonzero),
            ..both
        }
    }

    /// What both say. Contradictory ranges belong to an empty domain; the first is kept.
    pub fn meet(self, other: RealRange) -> RealRange {
        let (lo, hi) = (self.lo.max(other.lo), self.hi.min(other.hi));
        if lo > hi {
            return self;
        }
        let both = RealRange::new(lo, hi);
        RealRange {
            nonzero: both.nonzero || self.nonzero || other.nonzero,
            ..both
        }
    }

    pub(super) fn neg(self) -> RealRange {
        RealRange {
            lo: -self.hi,
            hi: -self.lo,
            nonzero: self.nonzero,
        }
    }

    pub(super) fn plus(self, other: RealRange) -> RealRange {
        let sum = RealRange::new(self.lo + other.lo, self.hi + other.hi);
        let same_sign = (self.positive() && other.lo >= 0.0)
            || (other.positive() && self.lo >= 0.0)
            || (self.negative() && other.hi <= 0.0)
            || (other.negative() && self.hi <= 0.0);
        RealRange {
            nonzero: sum.nonzero || same_sign,
            ..sum
        }
    }

    pub(super) fn times(self, other: RealRange) -> RealRange {
        // 0 * inf: the ends are limits of finite values, so the product is 0
        let corner = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let corners = [
            corner(self.lo, other.lo),
            corner(self.lo, other.hi),
            corner(self.hi, other.lo),
            corner(self.hi, other.hi),
        ];
        let lo = corners.into_iter().fold(f64::INFINITY, f64::min);
        let hi = corners.into_iter().fold(f64::NEG_INFINITY, f64::max);
        RealRange {
            nonzero: self.nonzero && other.nonzero,
            ..RealRange::new(lo, hi)
        }
    }

    pub(super) fn reciprocal(self) -> RealRange {
        let sign_known = self.positive() || self.negative();
        if !sign_known {
            return RealRange::ALL;
        }
        let (a, b) = (1.0 / self.lo, 1.0 / self.hi);
        let range = if self.positive() {
            RealRange::new(b.max(0.0), if self.lo == 0.0 { f64::INFINITY } else { a })
        } else {
            RealRange::new(if self.hi == 0.0 { f64::NEG_INFINITY } else { b }, a.min(0.0))
        };
        range.without_zero()
    }

    pub(super) fn square(self) -> RealRange {
        let top = self.lo.abs().max(self.hi.abs());
        let low = if self.lo > 0.0 {
            self.lo
        } else if self.hi < 0.0 {
            -self.hi
        } else {
            0.0
        };
        RealRange {
            nonzero: self.nonzero,
            ..RealRange::new(low * low, top * top)
        }
    }

    /// Applies an increasing function to both ends.
    pub(super) fn rising(self, f: impl Fn(f64) -> f64) -> RealRange {
        RealRange::new(f(self.lo), f(self.hi))
    }

    /// Applies an increasing function that is not evaluated exactly: finite ends move outwards by a few roundings.
    pub(super) fn rising_about(self, f: impl Fn(f64) -> f64) -> RealRange {
        let slack = |v: f64| if v.is_finite() { v.abs() * 1e-14 } else { 0.0 };
        let range = self.rising(f);
        RealRange::new(range.lo - slack(range.lo), range.hi + slack(range.hi))
    }

    /// N1: the sum of up to [`POINTS`] exponentials of such values stays in f32, and if rows are normalised the
    /// smallest weight is not lost against the largest.
    pub fn fits_without_reference(self, normalised: bool) -> bool {
        let unit = std::f64::consts::LOG2_E;
        let (lo, hi) = (self.lo * unit, self.hi * unit);
        hi + POINTS.log2() <= HEADROOM && lo >= -HEADROOM && (!normalised || hi - lo <= HEADROOM)
    }
}

/// Values of a storage type that are bounded by it.
pub(super) fn of_storage(dtype: DType) -> RealRange {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 | DType::I64 => RealRange::ALL,
        DType::I32 => RealRange::new(f64::from(i32::MIN), f64::from(i32::MAX)),
        DType::I16 => RealRange::new(f64::from(i16::MIN), f64::from(i16::MAX)),
        DType::I8 => RealRange::new(f64::from(i8::MIN), f64::from(i8::MAX)),
        DType::U8 => RealRange::new(0.0, 255.0),
        DType::Bool => RealRange::new(0.0, 1.0),
    }
}

/// Whether a storage type holds ints.
pub(super) fn integral(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8)
}
