//! Real functions in f32, to a few units in the last place.
//!
//! Each function is written once, over [`arith::Arith`]: for a kernel it becomes inline PTX (`text`) or, of known arguments, IR (`ir`); in
//! the tests it computes, so that the very formula that runs on the device is compared with f64. Polynomials are minimax fits made for this
//! crate, weighted for relative error.

mod arith;
mod functions;
mod ir;
mod philox;
#[cfg(test)]
mod tests;
pub(crate) mod text;
#[cfg(test)]
mod text_tests;
