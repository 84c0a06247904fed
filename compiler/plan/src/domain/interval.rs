//! Intervals of ints, with saturating ends: `i64::MIN` and `i64::MAX` stand for unbounded.

/// All ints from `lo` to `hi`, both included; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub lo: i64,
    pub hi: i64,
}

impl Interval {
    /// Nothing is known.
    pub const ALL: Interval = Interval {
        lo: i64::MIN,
        hi: i64::MAX,
    };

    /// From `lo` to `hi`, both included.
    pub fn new(lo: i64, hi: i64) -> Interval {
        debug_assert!(lo <= hi);
        Interval { lo, hi }
    }

    /// One value.
    pub fn point(value: i64) -> Interval {
        Interval { lo: value, hi: value }
    }

    /// The value, if there is only one.
    pub fn as_point(self) -> Option<i64> {
        (self.lo == self.hi).then_some(self.lo)
    }

    /// The smallest interval that holds both.
    pub fn hull(self, other: Interval) -> Interval {
        Interval::new(self.lo.min(other.lo), self.hi.max(other.hi))
    }

    pub(crate) fn neg(self) -> Interval {
        Interval::new(negated(self.hi), negated(self.lo))
    }

    pub(crate) fn add(self, other: Interval) -> Interval {
        Interval::new(plus(self.lo, other.lo), plus(self.hi, other.hi))
    }

    pub(crate) fn mul(self, other: Interval) -> Interval {
        let corners = [
            times(self.lo, other.lo),
            times(self.lo, other.hi),
            times(self.hi, other.lo),
            times(self.hi, other.hi),
        ];
        Interval::of_corners(corners)
    }

    /// Floor division; exact for a divisor of one sign, unknown if the divisor may be 0.
    pub(crate) fn idiv(self, by: Interval) -> Interval {
        if by.lo <= 0 && by.hi >= 0 {
            return Interval::ALL;
        }
        Interval::of_corners([
            divided(self.lo, by.lo),
            divided(self.lo, by.hi),
            divided(self.hi, by.lo),
            divided(self.hi, by.hi),
        ])
    }

    /// Remainder of floor division by a positive divisor; unknown otherwise.
    pub(crate) fn imod(self, by: Interval) -> Interval {
        if by.lo <= 0 {
            return Interval::ALL;
        }
        if let (Some(c), true) = (by.as_point(), self.bounded())
            && self.lo.div_euclid(c) == self.hi.div_euclid(c)
        {
            return Interval::new(self.lo.rem_euclid(c), self.hi.rem_euclid(c));
        }
        let top = if self.lo >= 0 {
            self.hi.min(by.hi - 1)
        } else {
            by.hi - 1
        };
        Interval::new(0, top)
    }

    pub(crate) fn min(self, other: Interval) -> Interval {
        Interval::new(self.lo.min(other.lo), self.hi.min(other.hi))
    }

    pub(crate) fn max(self, other: Interval) -> Interval {
        Interval::new(self.lo.max(other.lo), self.hi.max(other.hi))
    }

    pub(crate) fn abs(self) -> Interval {
        let top = self.hi.max(negated(self.lo));
        let low = self.lo.max(negated(self.hi)).max(0);
        Interval::new(low, top)
    }

    fn bounded(self) -> bool {
        self.lo != i64::MIN && self.hi != i64::MAX
    }

    fn of_corners(corners: [i64; 4]) -> Interval {
        let lo = corners.iter().copied().fold(i64::MAX, i64::min);
        let hi = corners.iter().copied().fold(i64::MIN, i64::max);
        Interval::new(lo, hi)
    }
}

fn negated(x: i64) -> i64 {
    match x {
        i64::MIN => i64::MAX,
        i64::MAX => i64::MIN,
        _ => -x,
    }
}

/// Sum of two ends of the same side: an unbounded end stays unbounded, an overflow becomes unbounded.
fn plus(a: i64, b: i64) -> i64 {
    if a == i64::MIN || b == i64::MIN {
        i64::MIN
    } else if a == i64::MAX || b == i64::MAX {
        i64::MAX
    } else {
        a.saturating_add(b)
    }
}

fn times(a: i64, b: i64) -> i64 {
    a.saturating_mul(b)
}

fn divided(a: i64, b: i64) -> i64 {
    match a {
        i64::MIN if b > 0 => i64::MIN,
        i64::MIN => i64::MAX,
        i64::MAX if b > 0 => i64::MAX,
        i64::MAX => i64::MIN,
        _ => {
            let quotient = a / b;
            if a % b != 0 && ((a < 0) != (b < 0)) {
                quotient - 1
            } else {
                quotient
            }
        }
    }
}
