//! Test data: shapes, random inputs, tensor files.

pub mod random;
pub mod shapes;
pub mod tensors;
