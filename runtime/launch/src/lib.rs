//! Loads kernel artifacts and launches them, with nothing but the NVIDIA driver.
//!
//! The driver library is opened at run time. A program that links this crate starts on every machine, and
//! [`Device::open`] says [`DeviceError::NoDriver`] where there is none; nothing here panics for want of a GPU.
//!
//! The road: [`Device::open`], [`Module::load`], [`DeviceBuffer::alloc`], [`PreparedLaunch::new`] (the launch contract of
//! `einloom-artifact` is checked here, once), [`PreparedLaunch::launch`] (no check and no allocation, as often as
//! wanted), [`Stream::synchronize`] (faults of the kernels come out as named errors). [`time`] measures.
//!
//! Kernels that a build script compiled, or that `einloom pack` wrote, come with a typed launcher: [`include_kernels!`]. It is a few lines
//! over [`Launcher`], which picks the specialisation and the target for each call.
//!
//! Ownership: a buffer's memory lives until its last handle is gone, and a prepared launch holds handles of its buffers,
//! its module and its device. Freeing waits for the device, so work in flight never outlives what it uses.
#![warn(missing_docs)]
#![allow(unsafe_code, reason = "the driver is a C library; every call states why it is sound")]

mod api;
mod buffer;
mod device;
mod direct;
mod error;
mod include;
mod jit;
mod launcher;
mod module;
mod prepared;
mod stream;
mod tensor;
mod tensor_map;
mod timing;
mod version;

pub use buffer::DeviceBuffer;
pub use device::{Device, DeviceFacts};
pub use einloom_artifact as artifact;
pub use error::{CudaError, DeviceError, Fault, LaunchError};
pub use half;
pub use launcher::{DispatchError, Launcher, PreparedCall, VariantInfo};
pub use module::{KernelInfo, Module};
pub use prepared::{PreparedLaunch, TensorArg};
pub use stream::Stream;
pub use tensor::{AsCall, Call, CallBuf, Element, NamedTensor, Tensor, Workspace};
pub use timing::{L2Flush, Timing, TimingOptions, time};
