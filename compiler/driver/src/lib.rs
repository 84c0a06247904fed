//! The compiler driver: from spec files to artifacts, runs, verification and benchmarks. The command line lives in [`cli`].
//!
//! The pipeline is the list in [`pipeline`]; files are read in [`session`] and written by [`cli`] only.

pub mod accuracy;
pub mod aot;
pub mod assemble;
pub mod case;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod exec;
pub mod package;
pub mod pieces;
pub mod pipeline;
pub mod predict;
pub mod session;
pub mod tuning;
pub mod verify;
pub mod work;
