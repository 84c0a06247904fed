//! Tuning: the compiler's and the GPU's part of `einloom-tune`.
//!
//! | module | what |
//! | --- | --- |
//! | [`problem`] | one specialisation with one shape: plan, extents, key |
//! | [`candidates`] | its legal schedules in the order of the machine model |
//! | [`protocol`] | what parent and worker processes say to each other |
//! | [`compiler`] | the worker that compiles |
//! | [`meter`] | the worker that measures and verifies |
//! | [`lab`] | both as the search sees them |
//! | [`lookup`] | tuned schedules for `compile` |
//! | [`tune`] | one search, from the database to the database |
//! | [`why`] | what the report says about a winner |

pub mod candidates;
pub mod compiler;
pub mod lab;
pub mod lookup;
pub mod meter;
pub mod problem;
pub mod protocol;
pub mod tune;
pub mod why;
