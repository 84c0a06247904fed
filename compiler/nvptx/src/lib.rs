//! einloom-nvptx: tile programs to LLVM IR to PTX. The only crate that knows LLVM.
//!
//! [`emit()`] makes one LLVM function of each kernel, checked by LLVM's verifier, and prints the module as IR and as PTX. Emission follows
//! the distribution of `einloom_tile::ir` literally: every element that a lane holds is one named PTX register (most tiles:
//! `homes`) or one SSA scalar, tiles are unrolled, loops of the program stay loops. Targets are a closed list ([`Target`]), and everything that LLVM would answer by ending the process is
//! refused before.

mod copy;
mod copy_narrow;
mod counts;
mod cx;
mod dot;
mod emit;
mod error;
mod facts;
mod global;
mod homes;
mod hopper;
mod ix;
mod kernel;
mod load_shared;
mod map;
mod math;
mod matrices;
mod op;
pub mod ptxas;
mod quad;
mod reduce;
mod scalar_dot;
mod shared;
mod stmt;
mod store_shared;
mod target;
mod value;

pub use emit::{Emission, KernelInfo, emit, emit_programs, emit_watched, llvm_ir};
pub use error::EmitError;
pub use target::Target;
