//! A tile program together with what its parameters mean in the plan: the input of packaging and of launches.
//!
//! **Kernel arguments**, in order: for each tensor of the program its pointer, then its strides in elements as i64 (one for each
//! dimension; the last is left out if the tensor is `contiguous`); then the scalars; then for each of `program.maps` a tensor map descriptor of 128 bytes, by value,
//! aligned to 64. The block index is linear over the product of the grid (row-major, first dimension outermost).

use crate::ir::TileProgram;
use einloom_cascade::expr::{ExprId, ScalarId};

/// What a tensor parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorSource {
    /// `Cascade::inputs[i]`.
    Input(usize),
    /// `Cascade::outputs[i]`.
    Output(usize),
    /// `FusedPlan::crossings[i]`: a workspace, dense row-major.
    Crossing(usize),
}

/// What a scalar parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarSource {
    /// An int expression over extents and scalars of the cascade, evaluated at launch.
    Extent(ExprId),
    /// A scalar of the cascade.
    Scalar(ScalarId),
}

/// A kernel ready for a backend or the interpreter.
#[derive(Clone, Debug, PartialEq)]
pub struct LoweredKernel {
    pub program: TileProgram,
    /// One for each of `program.tensors`.
    pub tensors: Vec<TensorSource>,
    /// One for each of `program.scalars`.
    pub scalars: Vec<ScalarSource>,
}
