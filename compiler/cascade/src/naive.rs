//! The same-type naive computation: what an unfused program of one storage type gives.
//!
//! Tolerances are measured against it: a compiled program may be twice as far from the exact result, not further.

use crate::data::{Inputs, Tensor};
use crate::eval::{EvalError, Evaluator, Mode};
use crate::expr::DType;
use crate::ir::Cascade;

/// All outputs, with every definition, result of a reduction and factor of a summed product rounded to `dtype`, f32
/// elsewhere, and each output rounded to its own storage type. `dtype` is `F32`, `F16` or `BF16`.
pub fn evaluate_naive(cascade: &Cascade, inputs: &Inputs, dtype: DType) -> Result<Vec<Tensor>, EvalError> {
    Evaluator::with_mode(cascade, inputs, Mode::Typed(dtype))?.outputs()
}
