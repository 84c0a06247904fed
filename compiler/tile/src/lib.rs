//! Where and when: one kernel on tiles, its verifier, interpreter, machine model, schedules, and the lowering from plans.
//!
//! Pure: no LLVM, no files, no clock.

pub mod dimensions;
pub mod enumerate;
pub mod interp;
pub mod ir;
pub mod lower;
pub mod lowered;
pub mod machine;
pub mod model;
mod pressure;
pub mod print;
pub mod roles;
pub mod schedule;
pub mod trips;
pub mod verify;
