//! The formulas against f64.

use super::arith::Arith;
use super::functions;

/// Formulas computed on the host.
pub(super) struct Host;

impl Arith for Host {
    type F = f32;
    type D = f64;
    type I = i32;
    type B = bool;
    fn num(&self, x: f32) -> f32 {
        x
    }
    fn add(&self, a: f32, b: f32) -> f32 {
        a + b
    }
    fn sub(&self, a: f32, b: f32) -> f32 {
        a - b
    }
    fn mul(&self, a: f32, b: f32) -> f32 {
        a * b
    }
    fn div(&self, a: f32, b: f32) -> f32 {
        a / b
    }
    fn fma(&self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    fn sqrt(&self, a: f32) -> f32 {
        a.sqrt()
    }
    fn abs(&self, a: f32) -> f32 {
        a.abs()
    }
    fn neg(&self, a: f32) -> f32 {
        -a
    }
    fn max(&self, a: f32, b: f32) -> f32 {
        if a.is_nan() || a > b { a } else { b }
    }
    fn min(&self, a: f32, b: f32) -> f32 {
        if a.is_nan() || a < b { a } else { b }
    }
    fn lt(&self, a: f32, b: f32) -> bool {
        a < b
    }
    fn eq(&self, a: f32, b: f32) -> bool {
        a == b
    }
    fn select(&self, c: bool, yes: f32, no: f32) -> f32 {
        if c { yes } else { no }
    }
    fn and(&self, a: bool, b: bool) -> bool {
        a && b
    }
    fn int(&self, n: i32) -> i32 {
        n
    }
    fn bits(&self, a: f32) -> i32 {
        a.to_bits() as i32
    }
    fn from_bits(&self, a: i32) -> f32 {
        f32::from_bits(a as u32)
    }
    fn real(&self, a: i32) -> f32 {
        a as f32
    }
    fn iadd(&self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    fn isub(&self, a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    fn iand(&self, a: i32, b: i32) -> i32 {
        a & b
    }
    fn ior(&self, a: i32, b: i32) -> i32 {
        a | b
    }
    fn ixor(&self, a: i32, b: i32) -> i32 {
        a ^ b
    }
    fn shl(&self, a: i32, by: u32) -> i32 {
        a << by
    }
    fn shr(&self, a: i32, by: u32) -> i32 {
        a >> by
    }
    fn ine(&self, a: i32, b: i32) -> bool {
        a != b
    }
    fn ilt(&self, a: i32, b: i32) -> bool {
        a < b
    }
    fn iselect(&self, c: bool, yes: i32, no: i32) -> i32 {
        if c { yes } else { no }
    }
    fn wide(&self, x: f64) -> f64 {
        x
    }
    fn widen(&self, a: f32) -> f64 {
        f64::from(a)
    }
    fn narrow(&self, a: f64) -> f32 {
        a as f32
    }
    fn dadd(&self, a: f64, b: f64) -> f64 {
        a + b
    }
    fn dsub(&self, a: f64, b: f64) -> f64 {
        a - b
    }
    fn dmul(&self, a: f64, b: f64) -> f64 {
        a * b
    }
    fn ddiv(&self, a: f64, b: f64) -> f64 {
        a / b
    }
    fn dfma(&self, a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    fn dselect(&self, c: bool, yes: f64, no: f64) -> f64 {
        if c { yes } else { no }
    }
    fn dreal(&self, a: i32) -> f64 {
        f64::from(a)
    }
    fn low_bits(&self, a: f64) -> i32 {
        a.to_bits() as i32
    }
}

/// Distance of `got` from the exact value, in units in the last place of that value.
fn ulps(got: f32, exact: f64) -> f64 {
    let near = exact as f32;
    if near.is_nan() || near.is_infinite() || got.is_nan() || got.is_infinite() {
        return if got == near || (got.is_nan() && near.is_nan()) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let unit = (near.abs().to_bits() + 1).min(0x7f7f_ffff);
    let unit = f64::from(f32::from_bits(unit)) - f64::from(f32::from_bits(unit - 1));
    (f64::from(got) - exact).abs() / unit
}

/// Every 2^k-th f32 between two positive bounds, and their negatives.
fn samples(low: f32, high: f32) -> impl Iterator<Item = f32> {
    let (low, high) = (low.to_bits(), high.to_bits());
    let step = ((high - low) / 60_000).max(1);
    (low..=high)
        .step_by(step as usize)
        .map(f32::from_bits)
        .flat_map(|x| [x, -x])
}

fn check(name: &str, bound: f64, xs: impl Iterator<Item = f32>, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) {
    let mut worst = (0.0, 0.0);
    for x in xs {
        let error = ulps(f(x), exact(f64::from(x)));
        if error > worst.0 {
            worst = (error, x);
        }
    }
    assert!(worst.0 <= bound, "{name}({}) is off by {} ulp", worst.1, worst.0);
}

const ANY: (f32, f32) = (0.0, f32::INFINITY);

fn any() -> impl Iterator<Item = f32> {
    samples(ANY.0, ANY.1).chain([f32::NAN])
}

#[test]
fn exponentials() {
    let exp = |x| functions::exp(&Host, x);
    check("exp", 1.0, any(), exp, f64::exp);
    check("exp", 1.0, samples(1e-3, 120.0), exp, f64::exp);
    let exp2 = |x| functions::exp2(&Host, x);
    check("exp2", 1.0, any(), exp2, f64::exp2);
    check("exp2", 1.0, samples(1e-3, 160.0), exp2, f64::exp2);
}

#[test]
fn logarithms() {
    let log = |x| functions::log(&Host, x);
    check("log", 1.0, any(), log, f64::ln);
    check("log", 1.0, samples(0.5, 2.0), log, f64::ln);
    let log2 = |x| functions::log2(&Host, x);
    check("log2", 1.5, any(), log2, f64::log2);
    check("log2", 1.5, samples(0.5, 2.0), log2, f64::log2);
}

#[test]
fn circular() {
    for (shift, exact) in [(0, f64::sin as fn(f64) -> f64), (1, f64::cos)] {
        let f = |x| functions::sin_cos(&Host, x, shift);
        check("sin or cos", 1.5, samples(0.0, 1e15), f, exact);
        check("sin or cos", 1.5, samples(1e15, f32::MAX), f, exact);
        // 2^50, the bounds of the ranges, and the angle that is nearest to a multiple of pi/2 of all f32 (16367173 * 2^72).
        let hard = [50, 76, 102, 127].map(|e| 2.0_f32.powi(e)).into_iter();
        let hard = hard
            .flat_map(|x| [x.next_down(), x, x.next_up()])
            .chain([16_367_173.0 * 2.0_f32.powi(72)]);
        check("sin or cos", 1.5, hard, f, exact);
        check("sin or cos", 1.5, samples(0.1, 100.0), f, exact);
        assert!(f(f32::INFINITY).is_nan());
    }
    let acos = |x| functions::acos(&Host, x);
    check("acos", 2.0, samples(0.0, 1.1), acos, f64::acos);
    check("acos", 2.0, samples(0.4, 1.0), acos, f64::acos);
}

#[test]
fn angles() {
    let values = [0.0, 1e-40, 1e-3, 0.3, 1.0, 1.5, 77.0, 1e30, f32::INFINITY];
    let mut worst = 0.0f64;
    for y in samples(1e-5, 1e5).step_by(7).chain(values).chain(values.map(|v| -v)) {
        for x in values.into_iter().chain(values.map(|v| -v)) {
            worst = worst.max(ulps(functions::atan2(&Host, y, x), f64::from(y).atan2(f64::from(x))));
        }
    }
    assert!(worst <= 3.0, "atan2 is off by {worst} ulp");
    assert!(functions::atan2(&Host, -0.0, -1.0) < 0.0);
    assert!(functions::atan2(&Host, f32::NAN, 1.0).is_nan());
}

#[test]
fn sigmoids() {
    let tanh = |x| functions::tanh(&Host, x);
    check("tanh", 2.0, any(), tanh, f64::tanh);
    check("tanh", 2.0, samples(0.1, 12.0), tanh, f64::tanh);
    let erf = |x| functions::erf(&Host, x);
    check("erf", 2.0, samples(1e-30, f32::INFINITY), erf, libm::erf);
    check("erf", 2.0, samples(0.1, 5.0), erf, libm::erf);
    assert!(erf(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
}

#[test]
fn powers() {
    let ys = [
        0.0,
        0.5,
        -0.5,
        1.0,
        2.0,
        3.0,
        -3.0,
        0.1,
        17.0,
        100.5,
        -77.7,
        1e10,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let mut worst = (0.0, 0.0, 0.0);
    for x in samples(0.0, f32::INFINITY)
        .step_by(11)
        .chain(samples(0.9, 1.1).step_by(101))
        .chain([f32::NAN, 1.0, -1.0])
    {
        for y in ys {
            let error = ulps(functions::pow(&Host, x, y), f64::from(x).powf(f64::from(y)));
            if error > worst.0 {
                worst = (error, x, y);
            }
        }
    }
    assert!(worst.0 <= 1.5, "pow{:?} is off by {} ulp", (worst.1, worst.2), worst.0);
}

#[test]
fn signs() {
    for (x, res) in [(3.0, 1.0), (-1e-40, -1.0), (0.0, 0.0), (f32::INFINITY, 1.0)] {
        assert_eq!(functions::sign(&Host, x), res);
    }
    assert!(functions::sign(&Host, f32::NAN).is_nan());
}
