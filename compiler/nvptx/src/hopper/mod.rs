//! Specialised programs on sm_90a: a producer warpgroup that fills rings by box copies, consumers on the warpgroup matrix unit.
//!
//! The consumers are the first warps of the block, the producer is the last warpgroup, so that lane coordinates of consumers need
//! no shift. All threads meet once, after the barriers of the rings are initialised; from there each role runs its slice.
//! Nothing in a consumer branches on its lane: barriers and stores are predicated, since after a divergent branch ptxas keeps descriptors
//! of the matrix unit in vector registers.

mod barrier;
mod check;
mod fill;
mod outgoing;
pub(crate) mod ring;
mod role;
mod wgmma;

pub(crate) use check::check;
pub(crate) use role::{Role, declare_descriptor, uniform};
pub(crate) use wgmma::Pending;
