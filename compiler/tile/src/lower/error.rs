//! Why a kernel could not be lowered.

use thiserror::Error;

/// A refusal or a limit. `Bug` is ours, everything else is the plan's or the schedule's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LowerError {
    /// A construct that this edition has no tile form for.
    #[error("{what} is not supported in a tile program: {detail}")]
    Unsupported { what: String, detail: String },
    /// A schedule that does not fit the kernel or the machine.
    #[error("schedule does not fit: {limit} is {have}, at most {most} possible")]
    Limit { limit: String, have: u64, most: u64 },
    /// A schedule field with a value that the kernel cannot use.
    #[error("schedule does not fit: {0}")]
    Schedule(String),
    /// A broken invariant of the compiler.
    #[error("internal error in the lowering to tiles: {0}")]
    Bug(String),
}

impl LowerError {
    pub(crate) fn unsupported(what: impl Into<String>, detail: impl Into<String>) -> Self {
        LowerError::Unsupported {
            what: what.into(),
            detail: detail.into(),
        }
    }
}

/// Result of a lowering step.
pub(crate) type Result<T> = std::result::Result<T, LowerError>;
