//! Pointwise functions over batches.

use super::value::{Batch, Lane, try_zip, zip};
use crate::expr::MapOp;
use crate::ops::{self, MathError, Scalar};

/// `op` at every point of a batch of `points`.
pub(crate) fn map(op: MapOp, args: &[Batch], points: usize) -> Result<Batch, MathError> {
    match (op, args) {
        (MapOp::Lt, [Batch::Real(a), Batch::Real(b)]) => Ok(Batch::Bool(zip(a, b, |x, y| x < y))),
        (MapOp::Le, [Batch::Real(a), Batch::Real(b)]) => Ok(Batch::Bool(zip(a, b, |x, y| x <= y))),
        (_, [Batch::Real(a), Batch::Real(b)]) => real2(op, a, b),
        (_, [Batch::Int(a), Batch::Int(b)]) => int2(op, a, b),
        (MapOp::ToReal, [Batch::Int(a)]) => Ok(Batch::Real(a.map(|x| x as f64))),
        (MapOp::ToReal, [Batch::Bool(a)]) => Ok(Batch::Real(a.map(|x| f64::from(u8::from(x))))),
        (MapOp::BoolToInt, [Batch::Bool(a)]) => Ok(Batch::Int(a.map(i64::from))),
        (MapOp::Not, [Batch::Bool(a)]) => Ok(Batch::Bool(a.map(|x| !x))),
        (_, [Batch::Real(a)]) if ops::real_fn(op).is_some() => {
            let f = ops::real_fn(op).ok_or(MathError::Kinds(op))?;
            Ok(Batch::Real(a.map(f)))
        }
        _ => each(op, args, points),
    }
}

fn real2(op: MapOp, a: &Lane<f64>, b: &Lane<f64>) -> Result<Batch, MathError> {
    // The four frequent ones are inlined into their loops.
    let lane = match op {
        MapOp::Add => zip(a, b, |x, y| x + y),
        MapOp::Sub => zip(a, b, |x, y| x - y),
        MapOp::Mul => zip(a, b, |x, y| x * y),
        MapOp::Div => zip(a, b, |x, y| x / y),
        _ => zip(a, b, ops::real_fn2(op).ok_or(MathError::Kinds(op))?),
    };
    Ok(Batch::Real(lane))
}

fn int2(op: MapOp, a: &Lane<i64>, b: &Lane<i64>) -> Result<Batch, MathError> {
    let overflow = MathError::Overflow(op);
    Ok(match op {
        MapOp::Lt => Batch::Bool(zip(a, b, |x, y| x < y)),
        MapOp::Le => Batch::Bool(zip(a, b, |x, y| x <= y)),
        MapOp::Eq => Batch::Bool(zip(a, b, |x, y| x == y)),
        MapOp::Ne => Batch::Bool(zip(a, b, |x, y| x != y)),
        MapOp::Add => Batch::Int(try_zip(a, b, |x, y| x.checked_add(y).ok_or(overflow))?),
        MapOp::Sub => Batch::Int(try_zip(a, b, |x, y| x.checked_sub(y).ok_or(overflow))?),
        MapOp::Mul => Batch::Int(try_zip(a, b, |x, y| x.checked_mul(y).ok_or(overflow))?),
        _ => Batch::Int(try_zip(a, b, |x, y| ops::int2(op, x, y))?),
    })
}

/// The rare functions: point by point.
fn each(op: MapOp, args: &[Batch], points: usize) -> Result<Batch, MathError> {
    let at = |point: usize| {
        let values: Vec<Scalar> = args.iter().map(|arg| arg.at(point)).collect();
        ops::apply(op, &values)
    };
    let uniform = args.iter().all(|arg| {
        matches!(
            arg,
            Batch::Real(Lane::One(_)) | Batch::Int(Lane::One(_)) | Batch::Bool(Lane::One(_))
        )
    });
    if uniform {
        return at(0).map(Batch::one);
    }
    let (mut reals, mut ints, mut bools) = (Vec::new(), Vec::new(), Vec::new());
    for point in 0..points {
        match at(point)? {
            Scalar::Real(x) => reals.push(x),
            Scalar::Int(x) => ints.push(x),
            Scalar::Bool(x) => bools.push(x),
        }
    }
    Ok(if !reals.is_empty() {
        Batch::Real(Lane::many(reals))
    } else if !ints.is_empty() {
        Batch::Int(Lane::many(ints))
    } else {
        Batch::Bool(Lane::many(bools))
    })
}
