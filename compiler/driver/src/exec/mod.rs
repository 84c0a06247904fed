//! Running a compiled cascade: in the interpreter on any machine, or on a GPU.

pub mod cpu;
pub mod gpu;
pub mod placed;
