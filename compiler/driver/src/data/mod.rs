//! Test data: shapes, random inputs, tensor files.

pub mod layout;
pub mod promises;
pub mod random;
pub mod shapes;
pub mod tensors;
pub mod usual;
