//! Exact rationals: coefficients of exponents and powers of factors (calculus N2 needs them exact).

/// A reduced fraction with positive denominator. Arithmetic gives `None` when it leaves 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Rational {
    pub(crate) num: i64,
    pub(crate) den: i64,
}

impl Rational {
    pub(crate) const ZERO: Self = Self { num: 0, den: 1 };
    pub(crate) const ONE: Self = Self { num: 1, den: 1 };

    /// `num / den`, reduced.
    pub(crate) fn new(num: i128, den: i128) -> Option<Self> {
        if den == 0 {
            return None;
        }
        let divisor = gcd(num.unsigned_abs(), den.unsigned_abs()).max(1);
        let divisor = i128::try_from(divisor).ok()? * den.signum();
        Some(Self {
            num: i64::try_from(num / divisor).ok()?,
            den: i64::try_from(den / divisor).ok()?,
        })
    }

    pub(crate) fn int(value: i64) -> Self {
        Self { num: value, den: 1 }
    }

    /// The rational a double is exactly, when it has few bits.
    pub(crate) fn from_f64(value: f64) -> Option<Self> {
        const SCALE: f64 = 65536.0;
        let scaled = value * SCALE;
        if !scaled.is_finite() || scaled.abs() > 1e15 || scaled != scaled.trunc() {
            return None;
        }
        Self::new(scaled as i128, SCALE as i128)
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        Self::new(
            i128::from(self.num) * i128::from(other.den) + i128::from(other.num) * i128::from(self.den),
            i128::from(self.den) * i128::from(other.den),
        )
    }

    pub(crate) fn mul(self, other: Self) -> Option<Self> {
        Self::new(
            i128::from(self.num) * i128::from(other.num),
            i128::from(self.den) * i128::from(other.den),
        )
    }

    pub(crate) fn div(self, other: Self) -> Option<Self> {
        Self::new(
            i128::from(self.num) * i128::from(other.den),
            i128::from(self.den) * i128::from(other.num),
        )
    }

    pub(crate) fn neg(self) -> Self {
        Self {
            num: -self.num,
            den: self.den,
        }
    }

    pub(crate) fn is_int(self) -> bool {
        self.den == 1
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_exact_and_reduced() {
        let third = Rational::new(2, 6).expect("small");
        assert_eq!((third.num, third.den), (1, 3));
        assert_eq!(third.add(third).and_then(|x| x.add(third)), Some(Rational::ONE));
        assert_eq!(Rational::new(3, -6), Rational::new(-1, 2));
        assert_eq!(Rational::from_f64(0.1), None);
        assert_eq!(Rational::from_f64(-0.75), Rational::new(-3, 4));
        assert_eq!(Rational::int(i64::MAX).mul(Rational::int(2)), None);
    }
}
