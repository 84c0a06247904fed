//! What a cascade *means*: the typed, resolved DAG of einsums, its lowering from the AST, and the exact evaluator.
//!
//! Knows nothing of fusion, tiles or hardware.

pub mod bind;
pub mod build;
pub mod data;
pub mod eval;
pub mod expr;
pub mod ir;
pub mod kinds;
pub mod lower;
pub mod naive;
pub mod ops;
pub mod philox;
pub mod print;
pub mod round;

pub use bind::{BindError, Extents, bind};
pub use build::CascadeBuilder;
pub use data::{Inputs, Tensor, Values};
pub use eval::{EvalError, Evaluator, Mode, Sample, evaluate};
pub use lower::{Choices, lower, specialisations};
pub use naive::evaluate_naive;
pub use ops::Scalar;
pub use print::{print, print_expr};
