//! Accumulators of reductions, one for each point of a batch.

use super::mode::Mode;
use super::value::{Batch, Lane};
use crate::expr::{Kind, MapOp, ReduceOp};
use crate::ops::{MathError, Scalar, real_max, real_min};

/// Running results of one reduction at `points` points.
pub(crate) enum Fold {
    /// Neumaier's compensated sum (or, in a typed mode, a plain f32 sum): sum and compensation.
    RealSum(Vec<(f64, f64)>, Mode),
    RealOther(Vec<f64>, fn(f64, f64) -> f64, Mode),
    Int(Vec<i64>, ReduceOp),
    Bool(Vec<bool>, ReduceOp),
    /// Best coordinate and value so far; `sign` is -1 for the smallest.
    Arg(Vec<(i64, Scalar)>, bool),
}

impl Fold {
    /// All identities.
    pub(crate) fn new(op: ReduceOp, body: Kind, points: usize, mode: Mode) -> Fold {
        match (op, body) {
            (ReduceOp::ArgMax | ReduceOp::ArgMin, _) => {
                Fold::Arg(vec![(-1, Scalar::Int(0)); points], op == ReduceOp::ArgMin)
            }
            (ReduceOp::Sum, Kind::Real) => Fold::RealSum(vec![(0.0, 0.0); points], mode),
            (ReduceOp::Max, Kind::Real) => Fold::RealOther(vec![f64::NEG_INFINITY; points], real_max, mode),
            (ReduceOp::Min, Kind::Real) => Fold::RealOther(vec![f64::INFINITY; points], real_min, mode),
            (_, Kind::Real) => Fold::RealOther(vec![1.0; points], |x, y| x * y, mode),
            (_, Kind::Int) => {
                let identity = match op {
                    ReduceOp::Sum => 0,
                    ReduceOp::Max => i64::MIN,
                    ReduceOp::Min => i64::MAX,
                    _ => 1,
                };
                Fold::Int(vec![identity; points], op)
            }
            (_, Kind::Bool) => Fold::Bool(vec![op == ReduceOp::All; points], op),
        }
    }

    /// Takes in value `from` of `values`, the one at row-major coordinate `coordinate`, at point `to`.
    fn add(&mut self, to: usize, values: &Batch, from: usize, coordinate: i64) -> Result<(), MathError> {
        match (self, values) {
            (Fold::RealSum(sums, mode), Batch::Real(lane)) => {
                let x = lane.at(from);
                if mode.is_exact() {
                    sums[to] = compensated(sums[to], x);
                } else {
                    sums[to].0 = mode.accumulate(sums[to].0 + x);
                }
            }
            (Fold::RealOther(all, f, mode), Batch::Real(lane)) => {
                all[to] = mode.accumulate(f(all[to], lane.at(from)));
            }
            (Fold::Int(all, op), Batch::Int(lane)) => {
                let x = lane.at(from);
                let value = &mut all[to];
                *value = match op {
                    ReduceOp::Sum => value.checked_add(x).ok_or(MathError::Overflow(MapOp::Add))?,
                    ReduceOp::Max => x.max(*value),
                    ReduceOp::Min => x.min(*value),
                    _ => value.checked_mul(x).ok_or(MathError::Overflow(MapOp::Mul))?,
                };
            }
            (Fold::Bool(all, op), Batch::Bool(lane)) => {
                let x = lane.at(from);
                all[to] = if *op == ReduceOp::All {
                    all[to] && x
                } else {
                    all[to] || x
                };
            }
            (Fold::Arg(best, smallest), values) => {
                let x = values.at(from);
                if best[to].0 < 0 || better(x, best[to].1, *smallest) {
                    best[to] = (coordinate, x);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The frequent case: one real for each point, added to exact sums.
    fn add_sums(&mut self, values: &Batch, points: usize) -> bool {
        let (Fold::RealSum(sums, mode), Batch::Real(Lane::Many(list))) = (self, values) else {
            return false;
        };
        if !mode.is_exact() || sums.len() != points {
            return false;
        }
        for (sum, x) in sums.iter_mut().zip(list.iter()) {
            *sum = compensated(*sum, *x);
        }
        true
    }

    /// One value for each point: `values` at the points `chosen` (all, if `None`) for one coordinate.
    pub(crate) fn add_points(
        &mut self,
        chosen: Option<&[u32]>,
        values: &Batch,
        points: usize,
        coordinate: i64,
    ) -> Result<(), MathError> {
        match chosen {
            None if self.add_sums(values, points) => Ok(()),
            None => (0..points).try_for_each(|at| self.add(at, values, at, coordinate)),
            Some(list) => list
                .iter()
                .enumerate()
                .try_for_each(|(from, to)| self.add(*to as usize, values, from, coordinate)),
        }
    }

    /// Many coordinates, from `first` on, for one point; `chosen` are the ones that exist.
    pub(crate) fn add_coordinates(
        &mut self,
        to: usize,
        chosen: Option<&[u32]>,
        values: &Batch,
        points: usize,
        first: i64,
    ) -> Result<(), MathError> {
        match chosen {
            None => (0..points).try_for_each(|at| self.add(to, values, at, first + at as i64)),
            Some(list) => list
                .iter()
                .enumerate()
                .try_for_each(|(from, at)| self.add(to, values, from, first + i64::from(*at))),
        }
    }

    /// The results. A compensation that met an infinity is NaN and is left out: the sum itself is right.
    pub(crate) fn finish(self) -> Batch {
        match self {
            Fold::RealSum(sums, mode) => Batch::Real(Lane::many(
                sums.into_iter()
                    .map(|(sum, rest)| mode.materialise(if sum.is_finite() { sum + rest } else { sum }))
                    .collect(),
            )),
            Fold::RealOther(all, _, mode) => {
                Batch::Real(Lane::many(all.into_iter().map(|x| mode.materialise(x)).collect()))
            }
            Fold::Int(all, _) => Batch::Int(Lane::many(all)),
            Fold::Bool(all, _) => Batch::Bool(Lane::many(all)),
            Fold::Arg(best, _) => Batch::Int(Lane::many(best.into_iter().map(|(at, _)| at).collect())),
        }
    }
}

/// One step of Neumaier's sum: the running sum and its compensation with `x` added.
#[inline]
pub(crate) fn compensated((sum, rest): (f64, f64), x: f64) -> (f64, f64) {
    let total = sum + x;
    let (large, small) = if sum.abs() >= x.abs() { (sum, x) } else { (x, sum) };
    (total, rest + ((large - total) + small))
}

/// Whether `x` beats `y`. A NaN is beaten by every number and beats nothing.
fn better(x: Scalar, y: Scalar, smallest: bool) -> bool {
    match (x, y) {
        (Scalar::Int(x), Scalar::Int(y)) => {
            if smallest {
                x < y
            } else {
                x > y
            }
        }
        _ => {
            let (x, y) = (x.as_real(), y.as_real());
            if y.is_nan() {
                !x.is_nan()
            } else if smallest {
                x < y
            } else {
                x > y
            }
        }
    }
}
