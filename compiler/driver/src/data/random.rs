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
    let largest = shapes.iter().flatten().copied().max().unwrap_or(1).max(1);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tensors = cascade.inputs.iter().zip(shapes).map(|(input, shape)| {
        let shape: Vec<usize> = shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
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
