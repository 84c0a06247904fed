//! The error promise: an output is never further from the f64 result than twice the same computation done naively in
//! its own storage type.
//!
//! Both distances are measured twice, as root mean square and as maximum, over the points that are compared; both must hold.
//! The naive distance has a floor of half a unit in the last place of the largest value (for f32 outputs: of 8 units, since the
//! fast exponential of the hardware is good to 2 units, and of a largest value of at least 1, since a result near 0 may be a difference of terms of order 1): the rounding of the output itself is not the
//! computation's error, and on a handful of points a naive run can be exact by luck. Points where the f64 result is not finite must agree in
//! kind (same infinity, or NaN).

use einloom_cascade::expr::DType;

/// Result of one comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// Root mean square of the error, and of the naive computation's.
    pub rms: f64,
    pub naive_rms: f64,
    /// Largest absolute error, and the naive computation's.
    pub max: f64,
    pub naive_max: f64,
    /// Root mean square of the f64 result.
    pub scale: f64,
    /// Largest absolute value of the f64 result.
    pub largest: f64,
    /// Points whose non-finite value differs in kind, and NaNs where a number belongs.
    pub wrong_kind: usize,
    /// Points compared.
    pub points: usize,
    floor: f64,
}

impl Accuracy {
    /// Whether the promise holds.
    pub fn holds(&self) -> bool {
        let within = |ours: f64, naive: f64| ours <= 2.0 * naive.max(self.floor);
        self.wrong_kind == 0 && within(self.rms, self.naive_rms) && within(self.max, self.naive_max)
    }

    /// Error relative to the promise's bound; at most 1 when it holds.
    pub fn share(&self) -> f64 {
        if self.wrong_kind > 0 {
            return f64::INFINITY;
        }
        let share = |ours: f64, naive: f64| {
            let bound = 2.0 * naive.max(self.floor);
            if ours == 0.0 { 0.0 } else { ours / bound }
        };
        share(self.rms, self.naive_rms).max(share(self.max, self.naive_max))
    }

    /// Root mean square error relative to the result's.
    pub fn relative(&self) -> f64 {
        if self.scale > 0.0 {
            self.rms / self.scale
        } else {
            self.rms
        }
    }
}

/// Compares an output with the exact and the naive result at the same points.
pub fn compare(dtype: DType, ours: &[f64], exact: &[f64], naive: &[f64]) -> Accuracy {
    let mut sums = [0.0; 3];
    let mut a = Accuracy {
        rms: 0.0,
        naive_rms: 0.0,
        max: 0.0,
        naive_max: 0.0,
        scale: 0.0,
        largest: 0.0,
        wrong_kind: 0,
        points: exact.len(),
        floor: 0.0,
    };
    let mut finite = 0_usize;
    for ((x, e), n) in ours.iter().zip(exact).zip(naive) {
        if !e.is_finite() {
            a.wrong_kind += usize::from(!(e.is_nan() && x.is_nan() || x == e));
            continue;
        }
        if !x.is_finite() {
            a.wrong_kind += 1;
            continue;
        }
        finite += 1;
        let (dx, dn) = ((x - e).abs(), if n.is_finite() { (n - e).abs() } else { 0.0 });
        a.max = a.max.max(dx);
        a.naive_max = a.naive_max.max(dn);
        a.largest = a.largest.max(e.abs());
        sums[0] += dx * dx;
        sums[1] += dn * dn;
        sums[2] += e * e;
    }
    a.wrong_kind += exact.len().abs_diff(ours.len());
    let mean = |sum: f64| (sum / finite.max(1) as f64).sqrt();
    (a.rms, a.naive_rms, a.scale) = (mean(sums[0]), mean(sums[1]), mean(sums[2]));
    a.floor = floor(dtype, a.largest);
    a
}

/// The floor (module doc) for results whose largest absolute value is `largest`.
fn floor(dtype: DType, largest: f64) -> f64 {
    // Half a unit in the last place of a value in [2^k, 2^(k+1)) with p bits of significand is 2^(k - p).
    let (bits, half_units) = match dtype {
        DType::BF16 => (8, 1.0),
        DType::F16 => (11, 1.0),
        DType::F32 => (24, 16.0),
        _ => return 0.0,
    };
    // A sum that cancels is only as exact as its terms, which are of order 1 where they are weights.
    let largest = if dtype == DType::F32 { largest.max(1.0) } else { largest };
    if largest > 0.0 {
        half_units * 2.0_f64.powi(largest.log2().floor() as i32 - bits)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::compare;
    use einloom_cascade::expr::DType;

    #[test]
    fn twice_the_naive_error_holds_and_more_does_not() {
        let exact = [1.0, -2.0, 3.0, 0.5];
        let naive: Vec<f64> = exact.iter().map(|x| x + 0.01).collect();
        let near: Vec<f64> = exact.iter().map(|x| x - 0.019).collect();
        let far: Vec<f64> = exact.iter().map(|x| x - 0.021).collect();
        assert!(compare(DType::BF16, &near, &exact, &naive).holds());
        assert!(!compare(DType::BF16, &far, &exact, &naive).holds());
    }

    #[test]
    fn non_finite_values_must_agree_in_kind() {
        let exact = [f64::NEG_INFINITY, f64::NAN, 1.0];
        assert!(compare(DType::F32, &[f64::NEG_INFINITY, f64::NAN, 1.0], &exact, &exact).holds());
        assert!(!compare(DType::F32, &[f64::INFINITY, f64::NAN, 1.0], &exact, &exact).holds());
        assert!(!compare(DType::F32, &[f64::NEG_INFINITY, 0.0, 1.0], &exact, &exact).holds());
        assert!(!compare(DType::F32, &[f64::NEG_INFINITY, f64::NAN, f64::NAN], &exact, &exact).holds());
    }

    #[test]
    fn an_exact_naive_result_leaves_one_unit_of_the_largest_value() {
        // Values in [2, 4) are 2^-6 apart in bf16.
        let exact = [3.9];
        assert!(compare(DType::BF16, &[3.9 + 2.0_f64.powi(-6)], &exact, &exact).holds());
        assert!(!compare(DType::BF16, &[3.9 + 2.0_f64.powi(-6) * 1.01], &exact, &exact).holds());
    }

    #[test]
    fn a_missing_point_does_not_hold() {
        assert!(!compare(DType::F32, &[1.0], &[1.0, 2.0], &[1.0, 2.0]).holds());
    }
}
