//! Why a tile program was not emitted.

use thiserror::Error;

/// Failure of [`crate::emit()`]. Everything but `TooLarge` and `Unsupported` is a fault of an earlier level or of this one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EmitError {
    /// Not on the list of targets.
    #[error("target {name} is not known; known are sm_80 and sm_90a")]
    UnknownTarget { name: String },
    /// The buffers do not fit.
    #[error("kernel {kernel} needs {bytes} bytes of shared memory; {sm} has {limit} for a block")]
    TooLarge {
        kernel: String,
        bytes: u64,
        limit: u32,
        sm: &'static str,
    },
    /// A legal program that this backend cannot express.
    #[error("kernel {kernel}: {what} is not supported by the PTX backend")]
    Unsupported { kernel: String, what: String },
    /// A program that breaks the rules of its level.
    #[error("kernel {kernel} is no valid tile program: {what}")]
    Invalid { kernel: String, what: String },
    /// LLVM refused what was built here.
    #[error("LLVM refused the module: {message}")]
    Llvm { message: String },
}

/// A failure inside one kernel, before its name is added.
#[derive(Debug)]
pub(crate) enum Fault {
    Unsupported(String),
    Invalid(String),
}

impl Fault {
    pub(crate) fn in_kernel(self, kernel: &str) -> EmitError {
        let kernel = kernel.to_owned();
        match self {
            Fault::Unsupported(what) => EmitError::Unsupported { kernel, what },
            Fault::Invalid(what) => EmitError::Invalid { kernel, what },
        }
    }
}

pub(crate) type Res<T> = Result<T, Fault>;

/// Shorthand of emission functions.
pub(crate) fn invalid<T>(what: impl Into<String>) -> Res<T> {
    Err(Fault::Invalid(what.into()))
}

/// Shorthand of emission functions.
pub(crate) fn unsupported<T>(what: impl Into<String>) -> Res<T> {
    Err(Fault::Unsupported(what.into()))
}
