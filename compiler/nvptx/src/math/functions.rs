//! The formulas. Bounds in units in the last place (ulp) are those that the tests check.
#![allow(
    clippy::approx_constant,
    clippy::excessive_precision,
    reason = "coefficients are fitted"
)]

use super::arith::Arith;
use einloom_cascade::expr::MapOp;
use std::f64::consts;

/// 1.5 * 2^23: adding it rounds an f32 below 2^22 to an int, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
/// 1.5 * 2^52: the same for f64.
const ROUND_WIDE: f64 = 6_755_399_441_055_744.0;
const SIGN: i32 = i32::MIN;

/// ln 2 in two parts; the first has 15 significant bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_145_75;
const LN2_LOW: f32 = 1.428_606_8e-6;

/// e^r = 1 + r + r^2 p(r), |r| <= ln(2)/2, relative error 3e-9.
const EXP: &[f32] = &[0.5, 0.166_665_18, 0.041_666_206, 0.008_368_954, 0.001_395_060_1];
/// 2^r = 1 + r p(r), |r| <= 1/2, relative error 2e-9.
const EXP2: &[f32] = &[
    0.693_147_2,
    0.240_226_5,
    0.055_503_275,
    0.009_618_005,
    0.001_340_041_8,
    0.000_154_760_43,
];
/// log(1+f) = f - f^2/2 + f^3 p(f), sqrt(1/2) <= 1+f <= sqrt(2), relative error 7e-10.
const LOG: &[f32] = &[
    0.333_333_1,
    -0.249_999_87,
    0.200_022_27,
    -0.166_692_5,
    0.142_186_55,
    -0.123_843_68,
    0.118_730_21,
    -0.117_897_116,
    0.069_151_55,
];
/// sin r = r + r^3 p(r^2), |r| <= pi/4, relative error 5e-12.
const SIN: &[f32] = &[-0.166_666_67, 0.008_333_329, -0.000_198_393_3, 2.718_274_3e-6];
/// cos r = 1 - r^2/2 + r^4 p(r^2), relative error 1e-10.
const COS: &[f32] = &[0.041_666_646, -0.001_388_736_4, 2.443_808_8e-5];
/// tanh x = x + x^3 p(x^2), |x| <= 0.64, relative error 5e-9.
const TANH: &[f32] = &[
    -0.333_332_72,
    0.133_311_52,
    -0.053_714_104,
    0.020_551_708,
    -0.005_603_901,
];
/// erf x = x + x p(x^2), |x| <= 1, relative error 1e-9.
const ERF: &[f32] = &[
    0.128_379_17,
    -0.376_126_26,
    0.112_836,
    -0.026_854_444,
    0.005_189_535,
    -0.000_802_084_16,
    7.889_12e-5,
];
/// erfc x = e^p(x), 1 <= x <= 4, error 2e-11 of erf.
const ERFC: &[f32] = &[
    0.000_188_035_95,
    -1.129_578_4,
    -0.633_219_9,
    -0.108_418_55,
    0.025_208_24,
    -0.004_204_556_3,
    0.000_441_335_35,
    -2.168_677_2e-5,
];
/// atan t = t + t^3 p(t^2), 0 <= t <= 1, relative error 2e-9.
const ATAN: &[f32] = &[
    -0.333_333_02,
    0.199_986_38,
    -0.142_652_45,
    0.109_575_71,
    -0.084_194_444,
    0.058_234_29,
    -0.031_455_435,
    0.011_064_295,
    -0.001_827_179_8,
];
/// asin s = s + s^3 p(s^2), 0 <= s <= 1/2, relative error 5e-9.
const ASIN: &[f32] = &[0.166_667_55, 0.074_951_96, 0.045_483_34, 0.024_114_463, 0.042_278_562];

/// The functions of several instructions, by their operator; `None` for everything else.
pub(super) fn formula<A: Arith>(a: &A, op: MapOp, args: &[A::F]) -> Option<A::F> {
    Some(match (op, args) {
        (MapOp::Pow, &[x, y]) => pow(a, x, y),
        (MapOp::Atan2, &[y, x]) => atan2(a, y, x),
        (MapOp::Exp, &[x]) => exp(a, x),
        (MapOp::Exp2, &[x]) => exp2(a, x),
        (MapOp::Log, &[x]) => log(a, x),
        (MapOp::Log2, &[x]) => log2(a, x),
        (MapOp::Sin, &[x]) => sin_cos(a, x, 0),
        (MapOp::Cos, &[x]) => sin_cos(a, x, 1),
        (MapOp::Tanh, &[x]) => tanh(a, x),
        (MapOp::Acos, &[x]) => acos(a, x),
        (MapOp::Erf, &[x]) => erf(a, x),
        _ => return None,
    })
}

/// `p * 2^n` for |n| below 280, rounded once: two exact factors reach what one cannot.
fn scale<A: Arith>(a: &A, p: A::F, n: A::I) -> A::F {
    let first = a.shr(n, 1);
    let second = a.isub(n, first);
    // The bias is added last: a shift and a sum are one instruction.
    let power = |n| a.from_bits(a.iadd(a.shl(n, 23), a.int(127 << 23)));
    a.mul(a.mul(p, power(first)), power(second))
}

/// The int that was rounded by adding [`ROUND`].
fn rounded_int<A: Arith>(a: &A, t: A::F) -> A::I {
    a.isub(a.bits(t), a.int(ROUND.to_bits() as i32))
}

/// e^x, 1 ulp.
pub(super) fn exp<A: Arith>(a: &A, x: A::F) -> A::F {
    // Beyond these the result is 0 or infinity anyhow, and the exponent stays small.
    let x = a.min(a.max(x, a.num(-105.0)), a.num(90.0));
    let t = a.fma(x, a.num(consts::LOG2_E as f32), a.num(ROUND));
    let n = a.sub(t, a.num(ROUND));
    let r = a.fma(n, a.num(-LN2_HIGH), x);
    let r = a.fma(n, a.num(-LN2_LOW), r);
    let p = a.fma(a.mul(r, r), a.poly(r, EXP), r);
    scale(a, a.add(p, a.num(1.0)), rounded_int(a, t))
}

/// 2^x, 1 ulp.
pub(super) fn exp2<A: Arith>(a: &A, x: A::F) -> A::F {
    let x = a.min(a.max(x, a.num(-152.0)), a.num(130.0));
    let t = a.add(x, a.num(ROUND));
    let r = a.sub(x, a.sub(t, a.num(ROUND)));
    let p = a.fma(r, a.poly(r, EXP2), a.num(1.0));
    scale(a, p, rounded_int(a, t))
}

/// Exponent `e` and `f` with `x = 2^e (1 + f)`, `1 + f` around 1; for positive finite x.
fn split<A: Arith>(a: &A, x: A::F) -> (A::I, A::F) {
    let tiny = a.lt(x, a.num(f32::MIN_POSITIVE));
    let x = a.select(tiny, a.mul(x, a.num(8_388_608.0)), x);
    let extra = a.iselect(tiny, a.int(-23), a.int(0));
    let bits = a.bits(x);
    let e = a.shr(
        a.isub(bits, a.int(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32)),
        23,
    );
    let m = a.from_bits(a.isub(bits, a.shl(e, 23)));
    (a.iadd(e, extra), a.sub(m, a.num(1.0)))
}

/// `log(1 + f) - f`.
fn log1p_rest<A: Arith>(a: &A, f: A::F) -> A::F {
    let square = a.mul(f, f);
    a.fma(a.mul(f, square), a.poly(f, LOG), a.mul(a.num(-0.5), square))
}

/// Results of logarithms outside of the positive finite numbers.
fn log_limits<A: Arith>(a: &A, x: A::F, res: A::F) -> A::F {
    let infinite = a.eq(x, a.num(f32::INFINITY));
    let res = a.select(infinite, x, res);
    let res = a.select(a.eq(x, a.num(0.0)), a.num(f32::NEG_INFINITY), res);
    let res = a.select(a.lt(x, a.num(0.0)), a.num(f32::NAN), res);
    a.select(a.eq(x, x), res, x)
}

/// Natural logarithm, 1 ulp.
pub(super) fn log<A: Arith>(a: &A, x: A::F) -> A::F {
    let (e, f) = split(a, x);
    let e = a.real(e);
    let rest = a.fma(e, a.num(LN2_LOW), log1p_rest(a, f));
    let high = a.mul(e, a.num(LN2_HIGH));
    // e ln2 and f overlap little: the sum of the two is rounded, its error is put back.
    let sum = a.add(high, f);
    let lost = a.sub(f, a.sub(sum, high));
    let big = a.lt(a.num(0.5), a.abs(e));
    let res = a.select(big, a.add(sum, a.add(rest, lost)), a.add(f, rest));
    log_limits(a, x, res)
}

/// Logarithm to base 2, 2 ulp.
pub(super) fn log2<A: Arith>(a: &A, x: A::F) -> A::F {
    // log2 e in two parts, the first one of 12 bits.
    const HIGH: f32 = 1.442_382_8;
    const LOW: f32 = (consts::LOG2_E - HIGH as f64) as f32;
    let (e, f) = split(a, x);
    let rest = log1p_rest(a, f);
    let low = a.fma(f, a.num(LOW), a.mul(rest, a.num(consts::LOG2_E as f32)));
    let high = a.mul(f, a.num(HIGH));
    let lost = a.fma(f, a.num(HIGH), a.neg(high));
    let e = a.real(e);
    let sum = a.add(e, high);
    let lost = a.add(lost, a.sub(high, a.sub(sum, e)));
    log_limits(a, x, a.add(sum, a.add(low, lost)))
}

/// Bounds of |x|, the power of two that takes what is at least that large below 2^50, and the inverse of that power modulo
/// 2 pi in three parts: 29, 28 and 53 bits, so that the products of the first two with an f32 are exact.
const ANGLES: [(f32, f64, [f64; 3]); 3] = [
    (
        1.125_899_906_842_624e15,
        1.0 / (1_u64 << 26) as f64,
        [
            2.707_309_842_109_68,
            -1.650_881_431_558_559_6e-9,
            6.932_715_458_937_375e-18,
        ],
    ),
    (
        7.555_786_372_591_432e22,
        1.0 / (1_u64 << 52) as f64,
        [
            2.077_771_216_630_935_7,
            -1.329_665_655_358_525e-9,
            -1.215_247_263_620_759_7e-19,
        ],
    ),
    (
        5.070_602_400_912_918e30,
        1.0 / (1_u128 << 78) as f64,
        [
            2.883_607_991_039_753,
            3.725_320_746_328_364_4e-10,
            5.633_463_176_852_861e-18,
        ],
    ),
];

/// Quadrant and remainder of an angle: `x = q pi/2 + r`, |r| <= pi/4, for |x| < 2^52. In f64, so that no bit of r is lost
/// near multiples of pi/2.
fn reduce<A: Arith>(a: &A, x: A::D) -> (A::I, A::D) {
    const LOW: f64 = 6.123_233_995_736_766e-17;
    let t = a.dfma(x, a.wide(consts::FRAC_2_PI), a.wide(ROUND_WIDE));
    let n = a.dsub(t, a.wide(ROUND_WIDE));
    let r = a.dfma(n, a.wide(-consts::FRAC_PI_2), x);
    (a.low_bits(t), a.dfma(n, a.wide(-LOW), r))
}

/// As [`reduce`] for every f32: `x = y 2^k` with |y| < 2^50 is y times `2^k mod 2 pi`, up to whole turns.
fn quadrant<A: Arith>(a: &A, x: A::F) -> (A::I, A::F) {
    let size = a.abs(x);
    let (mut power, mut parts) = (a.wide(1.0), [1.0, 0.0, 0.0].map(|part| a.wide(part)));
    for (bound, smaller, turn) in ANGLES {
        let below = a.lt(size, a.num(bound));
        power = a.dselect(below, power, a.wide(smaller));
        for (part, value) in parts.iter_mut().zip(turn) {
            *part = a.dselect(below, *part, a.wide(value));
        }
    }
    let y = a.dmul(a.widen(x), power);
    let (q, r) = reduce(a, a.dmul(y, parts[0]));
    let (p, s) = reduce(a, a.dmul(y, parts[1]));
    let rest = a.dadd(a.dfma(y, parts[2], s), r);
    let (o, r) = reduce(a, rest);
    (a.iadd(a.iadd(q, p), o), a.narrow(r))
}

/// Sine (`shift` 0) or cosine (`shift` 1), 2 ulp.
pub(super) fn sin_cos<A: Arith>(a: &A, x: A::F, shift: i32) -> A::F {
    let (q, r) = quadrant(a, x);
    let q = a.iadd(q, a.int(shift));
    let square = a.mul(r, r);
    let sin = a.fma(a.mul(r, square), a.poly(square, SIN), r);
    let cos = a.fma(
        a.mul(square, square),
        a.poly(square, COS),
        a.fma(square, a.num(-0.5), a.num(1.0)),
    );
    let odd = a.ine(a.iand(q, a.int(1)), a.int(0));
    let res = a.select(odd, cos, sin);
    a.from_bits(a.ixor(a.bits(res), a.shl(a.iand(q, a.int(2)), 30)))
}

/// `|res|` with the sign of `x`.
fn with_sign<A: Arith>(a: &A, res: A::F, x: A::F) -> A::F {
    a.from_bits(a.ior(a.bits(res), a.iand(a.bits(x), a.int(SIGN))))
}

/// Hyperbolic tangent, 2 ulp.
pub(super) fn tanh<A: Arith>(a: &A, x: A::F) -> A::F {
    let size = a.abs(x);
    let square = a.mul(x, x);
    let small = a.fma(a.mul(x, square), a.poly(square, TANH), x);
    let power = exp(a, a.add(size, size));
    let large = a.sub(a.num(1.0), a.div(a.num(2.0), a.add(power, a.num(1.0))));
    a.select(a.lt(size, a.num(0.6)), small, with_sign(a, large, x))
}

/// Error function, 2 ulp.
pub(super) fn erf<A: Arith>(a: &A, x: A::F) -> A::F {
    let square = a.mul(x, x);
    let small = a.fma(x, a.poly(square, ERF), x);
    let size = a.min(a.abs(x), a.num(4.0));
    let large = a.sub(a.num(1.0), exp(a, a.poly(size, ERFC)));
    a.select(a.lt(a.abs(x), a.num(1.0)), small, with_sign(a, large, x))
}

/// Angle of the point (x, y), 3 ulp.
pub(super) fn atan2<A: Arith>(a: &A, y: A::F, x: A::F) -> A::F {
    let (ax, ay) = (a.abs(x), a.abs(y));
    let (low, high) = (a.min(ax, ay), a.max(ax, ay));
    let t = a.div(low, high);
    // 0 / 0 stands for 0, infinity / infinity for 1.
    let t = a.select(a.eq(high, a.num(0.0)), a.num(0.0), t);
    let t = a.select(a.eq(low, a.num(f32::INFINITY)), a.num(1.0), t);
    let square = a.mul(t, t);
    let angle = a.fma(a.mul(t, square), a.poly(square, ATAN), t);
    let from = |high: f64, angle| {
        let first = high as f32;
        a.sub(a.num(first), a.sub(angle, a.num((high - f64::from(first)) as f32)))
    };
    let angle = a.select(a.lt(ax, ay), from(consts::FRAC_PI_2, angle), angle);
    let left = a.ilt(a.bits(x), a.int(0));
    with_sign(a, a.select(left, from(consts::PI, angle), angle), y)
}

/// Arc cosine, 2 ulp.
pub(super) fn acos<A: Arith>(a: &A, x: A::F) -> A::F {
    let size = a.abs(x);
    let asin = |s, square| a.fma(a.mul(s, square), a.poly(square, ASIN), s);
    let from = |high: f64, angle| {
        let first = high as f32;
        a.sub(a.num(first), a.sub(angle, a.num((high - f64::from(first)) as f32)))
    };
    let middle = from(consts::FRAC_PI_2, asin(x, a.mul(x, x)));
    // acos x = 2 asin sqrt((1 - x) / 2)
    let square = a.fma(size, a.num(-0.5), a.num(0.5));
    let half = asin(a.sqrt(square), square);
    let angle = a.add(half, half);
    let outer = a.select(a.lt(x, a.num(0.0)), from(consts::PI, angle), angle);
    a.select(a.lt(size, a.num(0.5)), middle, outer)
}

/// x^y, 2 ulp; the logarithm in f64.
pub(super) fn pow<A: Arith>(a: &A, x: A::F, y: A::F) -> A::F {
    let size = a.abs(x);
    let (e, f) = split(a, size);
    // log(1+f) = 2 atanh s, s = f / (2 + f), |s| < 0.172: ten terms reach 1e-17.
    const ATANH: &[f64] = &[
        1.0,
        1.0 / 3.0,
        1.0 / 5.0,
        1.0 / 7.0,
        1.0 / 9.0,
        1.0 / 11.0,
        1.0 / 13.0,
        1.0 / 15.0,
        1.0 / 17.0,
        1.0 / 19.0,
    ];
    let f = a.widen(f);
    let s = a.ddiv(f, a.dadd(f, a.wide(2.0)));
    let series = a.dpoly(a.dmul(s, s), ATANH);
    let log = a.dfma(a.dmul(s, series), a.wide(2.0 * consts::LOG2_E), a.dreal(e));
    let w = a.dmul(a.widen(y), log);
    // In range of an f32 exponent; f32 is enough to decide.
    let coarse = a.narrow(w);
    let t = a.dadd(w, a.wide(ROUND_WIDE));
    let r = a.narrow(a.dsub(w, a.dsub(t, a.wide(ROUND_WIDE))));
    let p = a.fma(r, a.poly(r, EXP2), a.num(1.0));
    let res = scale(
        a,
        p,
        a.iselect(a.lt(a.abs(coarse), a.num(160.0)), a.low_bits(t), a.int(0)),
    );
    let res = a.select(a.lt(coarse, a.num(-152.0)), a.num(0.0), res);
    let res = a.select(a.lt(a.num(130.0), coarse), a.num(f32::INFINITY), res);
    pow_limits(a, x, y, res)
}

/// Signs, zeros, infinities and NaN of a power whose magnitude for finite nonzero x is `res`.
fn pow_limits<A: Arith>(a: &A, x: A::F, y: A::F, res: A::F) -> A::F {
    let size = a.abs(x);
    let (zero, one, infinity) = (a.num(0.0), a.num(1.0), a.num(f32::INFINITY));
    let grows = a.lt(zero, y);
    let at_zero = a.select(grows, zero, infinity);
    let at_infinity = a.select(grows, infinity, zero);
    let res = a.select(a.eq(size, zero), at_zero, res);
    let res = a.select(a.eq(size, infinity), at_infinity, res);
    // Above 2^24 every f32 is an even int, so only smaller ones are rounded.
    let whole = |v: A::F| {
        let t = a.add(a.abs(v), a.num(8_388_608.0));
        let small = a.lt(a.abs(v), a.num(8_388_608.0));
        a.eq(a.select(small, a.sub(t, a.num(8_388_608.0)), a.abs(v)), a.abs(v))
    };
    let half = a.mul(y, a.num(0.5));
    let negative = a.ilt(a.bits(x), a.int(0));
    let flipped = a.neg(res);
    let odd = a.select(whole(half), res, flipped);
    // Not an int: NaN below zero, the magnitude at minus zero and minus infinity.
    let limit = a.select(
        a.eq(size, zero),
        res,
        a.select(a.eq(size, infinity), res, a.num(f32::NAN)),
    );
    let signed = a.select(whole(y), odd, limit);
    let res = a.select(negative, signed, res);
    let res = a.select(a.and(a.eq(size, one), a.eq(a.abs(y), infinity)), one, res);
    let res = a.select(a.eq(x, x), a.select(a.eq(y, y), res, y), x);
    let res = a.select(a.eq(x, one), one, res);
    a.select(a.eq(y, zero), one, res)
}

/// -1, 0, 1; zeros and NaN stay.
pub(super) fn sign<A: Arith>(a: &A, x: A::F) -> A::F {
    let unit = with_sign(a, a.num(1.0), x);
    a.select(a.lt(a.num(0.0), a.abs(x)), unit, x)
}
