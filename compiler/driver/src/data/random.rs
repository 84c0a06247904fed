//! Random inputs for `run`, `verify` and `bench`: seeded, the same on every machine.
//!
//! Reals are standard normal, rounded to the storage type. Ints cannot be anything: a length, a table entry and a segment id live
//! in different ranges, and the spec says only what is done with them. Scalars and vectors are uniform in `0..=n` with `n` the
//! largest run-time extent (lengths, windows); higher tensors are runs of slowly rising small numbers along the last
//! dimension (segment ids). Bools are true for one point in four. Whoever needs other data passes a file.

use einloom_cascade::data::{Inputs, Tensor, Values};
use einloom_cascade::expr::{DType, Kind};
use einloom_cascade::ir::Cascade;
use einloom_cascade::ops::Scalar;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Inputs for a cascade whose inputs have these `shapes`. Scalars with a default keep it.
pub fn inputs(cascade: &Cascade, shapes: &[Vec<i64>], seed: u64) -> Inputs {
    drawn(cascade, shapes, seed, true)
}

/// The same without the elements of real tensors, which takes no time: these have extents of 0.
pub fn without_reals(cascade: &Cascade, shapes: &[Vec<i64>], seed: u64) -> Inputs {
    drawn(cascade, shapes, seed, false)
}

fn drawn(cascade: &Cascade, shapes: &[Vec<i64>], seed: u64, wanted: bool) -> Inputs {
    let largest = shapes.iter().flatten().copied().max().unwrap_or(1).max(1);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tensors = cascade.inputs.iter().zip(shapes).map(|(input, shape)| {
        let shape: Vec<usize> = shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
        if kind(input.dtype) == Kind::Real && !wanted {
            let words = shape.iter().map(|n| *n as u128).product::<u128>() * WORDS;
            rng.set_word_pos(rng.get_word_pos() + words);
            return Tensor::reals(&vec![0; shape.len()], Vec::new()).rounded(input.dtype);
        }
        tensor(&mut rng, input.dtype, &shape, largest)
    });
    let tensors = tensors.collect();
    let scalars = cascade.scalars.iter().map(|scalar| match scalar.default {
        Some(_) => None,
        None if kind(scalar.dtype) == Kind::Real => Some(Scalar::Real(f64::from(rng.random_range(0.1..1.0_f32)))),
        None if kind(scalar.dtype) == Kind::Bool => Some(Scalar::Bool(rng.random())),
        None => Some(Scalar::Int(rng.random_range(1..=largest))),
    });
    Inputs {
        tensors,
        scalars: scalars.collect(),
    }
}

fn kind(dtype: DType) -> Kind {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Kind::Real,
        DType::Bool => Kind::Bool,
        _ => Kind::Int,
    }
}

fn tensor(rng: &mut ChaCha8Rng, dtype: DType, shape: &[usize], largest: i64) -> Tensor {
    let n: usize = shape.iter().product();
    match kind(dtype) {
        Kind::Real => reals(rng, dtype, shape, n),
        Kind::Bool => Tensor::new(shape, Values::Bool((0..n).map(|_| rng.random_bool(0.25)).collect())),
        Kind::Int if shape.len() < 2 => {
            let values = (0..n).map(|_| rng.random_range(0..=largest)).collect();
            Tensor::ints(shape, values).rounded(dtype)
        }
        Kind::Int => Tensor::ints(shape, runs(rng, n, shape.last().copied().unwrap_or(1))).rounded(dtype),
    }
}

/// Rows of `width` ints that start at 0 and rise by one at about four random places.
fn runs(rng: &mut ChaCha8Rng, n: usize, width: usize) -> Vec<i64> {
    let step = (4.0 / width.max(1) as f64).min(0.5);
    let mut value = 0;
    (0..n)
        .map(|i| {
            if i % width.max(1) == 0 {
                value = 0;
            } else if rng.random_bool(step) {
                value += 1;
            }
            value
        })
        .collect()
}

/// Words of the generator that a normal number takes.
const WORDS: u128 = 2;

fn reals(rng: &mut ChaCha8Rng, dtype: DType, shape: &[usize], n: usize) -> Tensor {
    let normal = |rng: &mut ChaCha8Rng| {
        // Box and Muller (1958); one of the pair is enough here.
        let (u, v): (f32, f32) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    };
    let values = match dtype {
        DType::F16 => Values::F16((0..n).map(|_| half::f16::from_f32(normal(rng))).collect()),
        DType::BF16 => Values::BF16((0..n).map(|_| half::bf16::from_f32(normal(rng))).collect()),
        _ => Values::F32((0..n).map(|_| normal(rng)).collect()),
    };
    Tensor::new(shape, values)
}

#[cfg(test)]
mod tests {
    use crate::case::Case;
    use crate::data::shapes::{Given, symbols};
    use crate::session::Session;

    #[test]
    fn ints_do_not_depend_on_whether_reals_are_drawn() {
        let text = "cascade ints\nrank b, p\nin  x[b,p], y[p] : bf16\nin  d[b,p] : i32\nin  z[p] : f32\nin  n[b], t[b,p] : i32\n\
                    assume d <= d[p := p + 1]\nc[b,p] = d + t + n\nout O[b,p] : f32 = x + y + z + c\n";
        let mut session = Session::new();
        let loaded = session.load_bytes("spec.ein", text.as_bytes(), None);
        let cascade = loaded.cascades.first().expect("a cascade");
        let none = Given::new();
        let extents = symbols(cascade, &none, |_| 37).expect("extents");
        let whole = Case::from_symbols(cascade, &none, &extents, 3).expect("inputs").inputs;
        let ints = Case::without_reals(cascade, &none, &extents, 3).expect("inputs");
        for (info, (a, b)) in cascade.inputs.iter().zip(whole.tensors.iter().zip(&ints.tensors)) {
            assert!(info.dtype.is_real() || a == b, "{}", info.name);
        }
        assert_eq!(whole.scalars, ints.scalars);
    }
}
