//! What arithmetic the evaluator uses.

use crate::expr::DType;
use crate::round::round_real;

/// Arithmetic of reals. Ints and bools are exact in every mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// f64, compensated sums: the meaning of a cascade.
    Exact,
    /// The *same-type naive computation* that tolerances are measured against: each definition, each result of a
    /// reduction and each factor of a summed product is a tensor of this type; pointwise arithmetic inside one definition and
    /// accumulation are f32.
    Typed(DType),
}

impl Mode {
    pub(crate) fn is_exact(self) -> bool {
        self == Mode::Exact
    }

    /// The result of one operation inside a definition.
    pub(crate) fn accumulate(self, x: f64) -> f64 {
        match self {
            Mode::Exact => x,
            Mode::Typed(_) => f64::from(x as f32),
        }
    }

    /// A value that the naive program writes to memory.
    pub(crate) fn materialise(self, x: f64) -> f64 {
        match self {
            Mode::Exact => x,
            Mode::Typed(dtype) => round_real(dtype, x),
        }
    }
}
