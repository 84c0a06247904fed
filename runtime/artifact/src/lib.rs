//! The contract between the compiler and the runtime.
//!
//! One [`KernelArtifact`] is one compiled specialisation of one cascade for one target: a [`Manifest`] that says
//! everything a caller must know to launch it, and the PTX text. The compiler writes it, the runtime reads it, and neither
//! knows the other.
//!
//! - [`manifest`]: the types; [`DimExpr`] the integer expressions in them; [`Target`] and its limits.
//! - [`mod@file`]: the container `<name>.einmod`, and the pair `manifest.json` + `kernel.ptx`.
//! - [`bundle`]: many artifacts of one cascade in one file, `<name>.einpack`; [`MadeFor`]: which of those for the same tensors a call takes.
//! - [`contract`]: the launch check. Tensors and scalars of a call go in, a [`LaunchPlan`] comes out in which every
//!   number is known and proved to be in bounds, or a [`ContractError`] that names the tensor or kernel and the numbers.
//!
//! No I/O, no clock, no global state. Bytes from anywhere give an error, never a panic.
#![warn(missing_docs)]

pub mod bundle;
pub mod contract;
mod error;
mod expr;
pub mod file;
pub mod manifest;
mod nearest;
mod ptx;
mod target;
mod validate;
mod validate_maps;

pub use bundle::{Bundle, BundleEntry};
pub use contract::{LaunchPlan, ScalarArg, ScalarValue, TensorView};
pub use error::{ArtifactError, ContractError};
pub use expr::{DimEnv, DimExpr, EvalError};
pub use file::KernelArtifact;
pub use manifest::{
    DType, Dim, DimRef, ExtentSource, ExtentSym, FORMAT_VERSION, KernelArg, KernelDesc, Manifest, Role, ScalarParam,
    ScalarType, Swizzle, TensorMap, TensorParam,
};
pub use nearest::MadeFor;
pub use target::{Capability, PtxVersion, Reach, Target};
