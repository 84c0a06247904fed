//! Errors of the device and of loading and launching.

use std::fmt;

use einloom_artifact::{Capability, ContractError, Target};

/// A driver call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaError {
    /// The call: `cuMemAlloc`.
    pub call: &'static str,
    /// The status code.
    pub code: u32,
    /// Its name: `CUDA_ERROR_OUT_OF_MEMORY`.
    pub name: String,
    /// The driver's words for it.
    pub text: String,
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.call, self.name, self.text)
    }
}

/// What a kernel did wrong. After a fault the process cannot use the device any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Read or wrote outside of all allocations.
    IllegalAddress,
    /// Accessed an address that is no multiple of the access's size.
    MisalignedAddress,
    /// Executed an instruction that the device does not have.
    IllegalInstruction,
    /// Used an address of another memory space.
    InvalidAddressSpace,
    /// Jumped to no code.
    InvalidProgramCounter,
    /// Reached a trap or an assertion.
    Trap,
    /// Ran past the time limit of a display GPU.
    Timeout,
    /// Uncorrectable memory error of the hardware.
    Ecc,
    /// Another fault, which the driver does not name.
    Unspecified,
}

impl Fault {
    /// The fault behind a status code (CUDA driver API, `CUresult`).
    fn from_code(code: u32) -> Option<Fault> {
        Some(match code {
            214 => Fault::Ecc,
            700 => Fault::IllegalAddress,
            702 => Fault::Timeout,
            710 => Fault::Trap,
            714 => Fault::Unspecified,
            715 => Fault::IllegalInstruction,
            716 => Fault::MisalignedAddress,
            717 => Fault::InvalidAddressSpace,
            718 => Fault::InvalidProgramCounter,
            719 => Fault::Unspecified,
            _ => return None,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::IllegalAddress => "an access outside of all allocations",
            Fault::MisalignedAddress => "a misaligned access",
            Fault::IllegalInstruction => "an illegal instruction",
            Fault::InvalidAddressSpace => "an access to the wrong memory space",
            Fault::InvalidProgramCounter => "a jump to no code",
            Fault::Trap => "a trap or failed assertion",
            Fault::Timeout => "the time limit of this device",
            Fault::Ecc => "an uncorrectable memory error of the hardware",
            Fault::Unspecified => "an unspecified fault",
        })
    }
}

/// Errors of the driver and the device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no driver library.
    #[error("no NVIDIA driver on this machine: libcuda.so.1 cannot be loaded")]
    NoDriver,
    /// The driver is older than CUDA 12.
    #[error("the NVIDIA driver is too old: it has no `{0}`")]
    MissingSymbol(&'static str),
    /// The ordinal is past the devices that the driver sees.
    #[error("there is no device cuda:{ordinal}; the driver sees {count}")]
    NoDevice {
        /// What was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// A kernel faulted. The call is the one that reported it, which comes later than the kernel.
    #[error("a kernel stopped at {fault}; {error}")]
    Fault {
        /// What it did.
        fault: Fault,
        /// The driver's report.
        error: CudaError,
    },
    /// Work took longer than [`crate::Stream::set_timeout`] allows. It may run for ever, so the device is not used again
    /// by this process, and what was allocated there is not freed.
    #[error("the device did not finish within {ms} ms; this process uses it no more")]
    Timeout {
        /// The limit in milliseconds.
        ms: u64,
    },
    /// Any other failed call.
    #[error("{0}")]
    Driver(CudaError),
    /// An allocation failed.
    #[error("no {bytes} bytes of device memory: {free} of {total} are free")]
    OutOfMemory {
        /// What was asked for.
        bytes: u64,
        /// Free at that moment.
        free: u64,
        /// In all.
        total: u64,
    },
    /// A copy or fill past the end of a buffer.
    #[error("{bytes} bytes at offset {offset} of a buffer of {len}")]
    BufferRange {
        /// Start of the range.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Length of the buffer.
        len: u64,
    },
    /// Objects of two devices were mixed.
    #[error("{what} belongs to another device")]
    ForeignDevice {
        /// Which object.
        what: String,
    },
}

impl DeviceError {
    pub(crate) fn from_driver(error: CudaError) -> DeviceError {
        match Fault::from_code(error.code) {
            Some(fault) => DeviceError::Fault { fault, error },
            None => DeviceError::Driver(error),
        }
    }
}

/// Errors of loading a module and of preparing and making a launch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum LaunchError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error(transparent)]
    Dispatch(#[from] crate::launcher::DispatchError),
    #[error("cascade `{cascade}` was compiled for {target}, which does not run on {device} of capability {capability}")]
    Target {
        cascade: String,
        target: Target,
        device: String,
        capability: Capability,
    },
    #[error("cascade `{cascade}` needs capability {needed}, {device} has {capability}")]
    Capability {
        cascade: String,
        needed: Capability,
        device: String,
        capability: Capability,
    },
    #[error("the driver refuses the PTX of cascade `{cascade}` ({ptx}): {error}{log}")]
    Jit {
        cascade: String,
        ptx: String,
        error: Box<CudaError>,
        log: String,
    },
    #[error("kernel `{kernel}` needs {needed} bytes of shared memory, {device} has {available} for a block")]
    SharedMemory {
        kernel: String,
        needed: u64,
        available: u64,
        device: String,
    },
    #[error("kernel `{kernel}` is launched with {block} threads in a block, its registers allow {limit}")]
    Threads { kernel: String, block: u32, limit: u32 },
    #[error("kernel `{kernel}` uses {bytes} bytes of local memory, its manifest allows none")]
    LocalMemory { kernel: String, bytes: u32 },
    #[error("kernel `{kernel}` takes parameters of {found:?} bytes, its manifest passes {passed:?}")]
    Parameters {
        kernel: String,
        found: Vec<usize>,
        passed: Vec<usize>,
    },
    #[error(
        "kernel `{kernel}`: the driver refuses a descriptor of tensor `{tensor}` (innermost first: extents {extents:?}, strides {strides:?} bytes, box {box_extents:?}){hint}; {error}"
    )]
    TensorMap {
        kernel: String,
        tensor: String,
        extents: Vec<u64>,
        strides: Vec<u64>,
        box_extents: Vec<u32>,
        hint: &'static str,
        error: Box<CudaError>,
    },
    #[error("tensor `{tensor}` starts at byte {offset} of a buffer of {len}")]
    Offset { tensor: String, offset: u64, len: u64 },
    #[error("nothing to time: {0}")]
    Timing(&'static str),
}
