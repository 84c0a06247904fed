//! Comparison of a run with the f64 evaluator and the same-type naive computation, whole or at sampled points.

use crate::accuracy::{Accuracy, compare};
use einloom_cascade::data::{Inputs, Tensor};
use einloom_cascade::eval::{EvalError, Evaluator, Mode};
use einloom_cascade::expr::DType;
use einloom_cascade::ir::Cascade;
use einloom_cascade::ops::Scalar;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Points of an output with their exact and naive values.
pub struct Reference {
    /// Position of each point in the output's memory (row-major).
    places: Vec<usize>,
    exact: Vec<f64>,
    naive: Vec<f64>,
    dtype: DType,
}

/// How many points are compared when an output is sampled.
pub const SAMPLES: usize = 384;

/// Above this many evaluated terms, outputs are sampled instead of evaluated whole.
const WHOLE_LIMIT: u128 = 60_000_000;

/// Reference values of every output for these inputs. Outputs that are too expensive to evaluate whole are sampled at
/// [`SAMPLES`] seeded points (corners and random ones).
///
/// # Errors
/// The inputs do not fit the cascade, or break one of its promises.
pub fn references(cascade: &Cascade, inputs: &Inputs, seed: u64) -> Result<Vec<Reference>, EvalError> {
    let mut exact = Evaluator::new(cascade, inputs)?;
    exact.check_assumes()?;
    let extents = exact.extents().to_vec();
    let mut all = Vec::new();
    // Outputs of one type share what their naive computations have in common.
    let mut naives: Vec<(DType, Evaluator<'_>)> = Vec::new();
    for (i, output) in cascade.outputs.iter().enumerate() {
        let dims = &cascade.defs[output.def.index()].dims;
        let sizes: Vec<i64> = dims.iter().map(|v| extents[v.index()]).collect();
        // An output's own type decides the naive computation; ints are exact in every type.
        let naive_type = if output.dtype.is_real() {
            output.dtype
        } else {
            DType::F32
        };
        let known = naives.iter().position(|(dtype, _)| *dtype == naive_type);
        let at = known.unwrap_or(naives.len());
        if known.is_none() {
            naives.push((
                naive_type,
                Evaluator::with_mode(cascade, inputs, Mode::Typed(naive_type))?,
            ));
        }
        let naive = &mut naives[at].1;
        let reference = if cost(cascade, &sizes, &extents) <= WHOLE_LIMIT {
            let (exact, naive) = (exact.output(i)?.to_f64(), naive.output(i)?.to_f64());
            Reference {
                places: (0..exact.len()).collect(),
                exact,
                naive,
                dtype: output.dtype,
            }
        } else {
            sampled(&mut exact, naive, i, output.dtype, &sizes, seed)?
        };
        all.push(reference);
    }
    Ok(all)
}

/// Terms that evaluating a whole output may take: its points times everything that may be reduced behind one.
fn cost(cascade: &Cascade, sizes: &[i64], extents: &[i64]) -> u128 {
    let points: u128 = sizes.iter().map(|n| (*n).max(0) as u128).product();
    let longest = extents.iter().map(|n| (*n).max(1) as u128).max().unwrap_or(1);
    let width = cascade.vars.iter().zip(extents);
    let constant = |(var, n): (&einloom_cascade::ir::Var, &i64)| {
        matches!(cascade.exprs.get(var.extent), einloom_cascade::expr::Expr::Int(_)).then_some((*n).max(1) as u128)
    };
    // A contraction is evaluated once for a row of the output's widest local rank, not once a point.
    let widest = width.filter_map(constant).max().unwrap_or(1);
    points
        .saturating_mul(longest)
        .saturating_mul(if points > widest { 2 } else { widest })
}

fn sampled(
    exact: &mut Evaluator<'_>,
    naive: &mut Evaluator<'_>,
    output: usize,
    dtype: DType,
    sizes: &[i64],
    seed: u64,
) -> Result<Reference, EvalError> {
    let mut reference = Reference {
        places: Vec::new(),
        exact: Vec::new(),
        naive: Vec::new(),
        dtype,
    };
    if sizes.iter().any(|n| *n <= 0) {
        return Ok(reference);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut points: Vec<Vec<i64>> = vec![vec![0; sizes.len()], sizes.iter().map(|n| n - 1).collect()];
    // Rows share most of their work: a few rows, many points of the last (local) dimension in each.
    while points.len() < SAMPLES {
        let row: Vec<i64> = sizes.iter().map(|n| rng.random_range(0..*n)).collect();
        for _ in 0..12 {
            let mut point = row.clone();
            if let (Some(last), Some(n)) = (point.last_mut(), sizes.last()) {
                *last = rng.random_range(0..*n);
            }
            points.push(point);
        }
    }
    let (a, b) = (exact.samples(output, &points)?, naive.samples(output, &points)?);
    for (e, n) in a.iter().zip(&b) {
        if let (Some(place), value) = (e.place, e.value) {
            let number = |v: Option<Scalar>| v.map_or(0.0, Scalar::as_real);
            reference.places.push(place);
            reference.exact.push(number(value));
            reference.naive.push(number(n.value));
        }
    }
    Ok(reference)
}

impl Reference {
    /// Compares an output in memory order.
    pub fn compare(&self, ours: &Tensor) -> Accuracy {
        let at = |place: &usize| ours.values.get(*place).map_or(f64::NAN, Scalar::as_real);
        let found: Vec<f64> = self.places.iter().map(at).collect();
        compare(self.dtype, &found, &self.exact, &self.naive)
    }

    /// Number of points compared.
    pub fn points(&self) -> usize {
        self.places.len()
    }
}
