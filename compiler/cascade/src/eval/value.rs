//! Batches: the values of one expression at many points at once.

use crate::expr::Kind;
use crate::ops::Scalar;
use std::rc::Rc;

/// One value for all points of a batch, or one for each.
#[derive(Clone, Debug)]
pub(crate) enum Lane<T> {
    One(T),
    Many(Rc<Vec<T>>),
}

impl<T: Copy> Lane<T> {
    pub(crate) fn many(list: Vec<T>) -> Lane<T> {
        Lane::Many(Rc::new(list))
    }

    pub(crate) fn at(&self, point: usize) -> T {
        match self {
            Lane::One(x) => *x,
            Lane::Many(list) => list[point],
        }
    }

    /// The values at the chosen points.
    pub(crate) fn pick(&self, points: &[u32]) -> Lane<T> {
        match self {
            Lane::One(x) => Lane::One(*x),
            Lane::Many(list) => Lane::many(points.iter().map(|at| list[*at as usize]).collect()),
        }
    }

    pub(crate) fn map<U>(&self, f: impl Fn(T) -> U) -> Lane<U> {
        match self {
            Lane::One(x) => Lane::One(f(*x)),
            Lane::Many(list) => Lane::Many(Rc::new(list.iter().map(|x| f(*x)).collect())),
        }
    }
}

pub(crate) fn zip<T: Copy, U>(a: &Lane<T>, b: &Lane<T>, f: impl Fn(T, T) -> U) -> Lane<U> {
    match (a, b) {
        (Lane::One(x), Lane::One(y)) => Lane::One(f(*x, *y)),
        (Lane::One(x), Lane::Many(b)) => Lane::Many(Rc::new(b.iter().map(|y| f(*x, *y)).collect())),
        (Lane::Many(a), Lane::One(y)) => Lane::Many(Rc::new(a.iter().map(|x| f(*x, *y)).collect())),
        (Lane::Many(a), Lane::Many(b)) => Lane::Many(Rc::new(a.iter().zip(b.iter()).map(|(x, y)| f(*x, *y)).collect())),
    }
}

pub(crate) fn try_zip<T: Copy, U, E>(a: &Lane<T>, b: &Lane<T>, f: impl Fn(T, T) -> Result<U, E>) -> Result<Lane<U>, E> {
    Ok(match (a, b) {
        (Lane::One(x), Lane::One(y)) => Lane::One(f(*x, *y)?),
        (Lane::One(x), Lane::Many(b)) => Lane::many_from(b.iter().map(|y| f(*x, *y)))?,
        (Lane::Many(a), Lane::One(y)) => Lane::many_from(a.iter().map(|x| f(*x, *y)))?,
        (Lane::Many(a), Lane::Many(b)) => Lane::many_from(a.iter().zip(b.iter()).map(|(x, y)| f(*x, *y)))?,
    })
}

impl<U> Lane<U> {
    fn many_from<E>(values: impl Iterator<Item = Result<U, E>>) -> Result<Lane<U>, E> {
        Ok(Lane::Many(Rc::new(values.collect::<Result<_, E>>()?)))
    }
}

/// Values of one expression.
#[derive(Clone, Debug)]
pub(crate) enum Batch {
    Real(Lane<f64>),
    Int(Lane<i64>),
    Bool(Lane<bool>),
}

impl Batch {
    pub(crate) fn one(value: Scalar) -> Batch {
        match value {
            Scalar::Real(x) => Batch::Real(Lane::One(x)),
            Scalar::Int(x) => Batch::Int(Lane::One(x)),
            Scalar::Bool(x) => Batch::Bool(Lane::One(x)),
        }
    }

    pub(crate) fn at(&self, point: usize) -> Scalar {
        match self {
            Batch::Real(lane) => Scalar::Real(lane.at(point)),
            Batch::Int(lane) => Scalar::Int(lane.at(point)),
            Batch::Bool(lane) => Scalar::Bool(lane.at(point)),
        }
    }

    /// From the bits that a memo table keeps.
    pub(crate) fn from_bits(kind: Kind, bits: Lane<u64>) -> Batch {
        match kind {
            Kind::Real => Batch::Real(bits.map(f64::from_bits)),
            Kind::Int => Batch::Int(bits.map(|x| x as i64)),
            Kind::Bool => Batch::Bool(bits.map(|x| x != 0)),
        }
    }

    pub(crate) fn bits(&self, point: usize) -> u64 {
        match self {
            Batch::Real(lane) => lane.at(point).to_bits(),
            Batch::Int(lane) => lane.at(point) as u64,
            Batch::Bool(lane) => u64::from(lane.at(point)),
        }
    }
}

/// A batch of points: the coordinate of every iteration variable that is bound.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    pub(crate) points: usize,
    pub(crate) vars: Vec<Lane<i64>>,
}

impl Env {
    /// No variable bound, one point.
    pub(crate) fn empty(vars: usize) -> Env {
        Env {
            points: 1,
            vars: vec![Lane::One(0); vars],
        }
    }
}

/// Row-major offsets of coordinates, one pass over the points for each dimension. An index outside its extent is
/// returned as an error with its dimension.
pub(crate) fn flatten(lanes: &[Lane<i64>], extents: &[i64]) -> Result<Lane<usize>, (usize, i64)> {
    let mut uniform = 0usize;
    let mut flat: Vec<usize> = Vec::new();
    for (dim, (lane, &extent)) in lanes.iter().zip(extents).enumerate() {
        let check = |index: i64| {
            if 0 <= index && index < extent {
                Ok(index as usize)
            } else {
                Err((dim, index))
            }
        };
        let size = extent as usize;
        match lane {
            Lane::One(index) => {
                let index = check(*index)?;
                if flat.is_empty() {
                    uniform = uniform * size + index;
                } else {
                    flat.iter_mut().for_each(|at| *at = *at * size + index);
                }
            }
            Lane::Many(list) if flat.is_empty() => {
                let before = uniform * size;
                flat = list
                    .iter()
                    .map(|index| Ok(before + check(*index)?))
                    .collect::<Result<_, _>>()?;
            }
            Lane::Many(list) => {
                for (at, index) in flat.iter_mut().zip(list.iter()) {
                    *at = *at * size + check(*index)?;
                }
            }
        }
    }
    Ok(if flat.is_empty() {
        Lane::One(uniform)
    } else {
        Lane::many(flat)
    })
}
