//! A GPU, its primary context and its facts.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute as Attribute};
use einloom_artifact::Capability;

use crate::api::Api;
use crate::error::DeviceError;

/// An open GPU. Clones are handles of the same one.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Context>,
}

/// What the driver says about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its name: `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its position among the devices that the driver sees.
    pub ordinal: usize,
    /// Its compute capability.
    pub capability: Capability,
    /// Number of streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory of one block, in bytes.
    pub shared_per_block: u64,
    /// Shared memory of one multiprocessor, in bytes.
    pub shared_per_multiprocessor: u64,
    /// 32-bit registers of one multiprocessor.
    pub registers_per_multiprocessor: u32,
    /// Most resident threads of one multiprocessor.
    pub threads_per_multiprocessor: u32,
    /// L2 cache, in bytes.
    pub l2_bytes: u64,
    /// Peak clock of the multiprocessors, in kHz.
    pub clock_khz: u32,
    /// Peak clock of the memory, in kHz.
    pub memory_clock_khz: u32,
    /// Width of the memory bus, in bits.
    pub memory_bus_bits: u32,
    /// Device memory, in bytes.
    pub memory_bytes: u64,
    /// CUDA version of the driver: 13000 is 13.0.
    pub driver_version: u32,
}

struct Context {
    api: &'static Api,
    device: CUdevice,
    context: CUcontext,
    facts: DeviceFacts,
    /// The time limit in milliseconds that work here has passed; 0: none has. Every wait, and so every free, could last
    /// for ever after that.
    lost_after_ms: AtomicU64,
}

// SAFETY: driver contexts may be used from any thread, one call after another or at once; the handle is only passed on.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Device {
    /// How many devices the driver sees.
    pub fn count() -> Result<usize, DeviceError> {
        let api = match Api::get() {
            // CUDA_ERROR_NO_DEVICE: a driver without a GPU.
            Err(DeviceError::Driver(error)) if error.code == 100 => return Ok(0),
            api => api?,
        };
        let mut count: c_int = 0;
        // SAFETY: writes one integer.
        api.check("cuDeviceGetCount", unsafe { (api.device_get_count)(&mut count) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Opens `cuda:ordinal`.
    pub fn open(ordinal: usize) -> Result<Device, DeviceError> {
        let count = Device::count()?;
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < count);
        let number = number.ok_or(DeviceError::NoDevice { ordinal, count })?;
        let api = Api::get()?;
        let mut device: CUdevice = 0;
        // SAFETY: writes one integer.
        api.check("cuDeviceGet", unsafe { (api.device_get)(&mut device, number) })?;
        let facts = facts(api, device, ordinal)?;
        let mut context: CUcontext = std::ptr::null_mut();
        // SAFETY: writes one handle; released once, when the last clone of this device is dropped.
        api.check("cuDevicePrimaryCtxRetain", unsafe {
            (api.primary_ctx_retain)(&mut context, device)
        })?;
        Ok(Device {
            inner: Arc::new(Context {
                api,
                device,
                context,
                facts,
                lost_after_ms: AtomicU64::new(0),
            }),
        })
    }

    /// What the driver says about it.
    pub fn facts(&self) -> &DeviceFacts {
        &self.inner.facts
    }

    /// Free and total device memory, in bytes.
    pub fn memory(&self) -> Result<(u64, u64), DeviceError> {
        let api = self.bind()?;
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: writes two integers; the context is current.
        api.check("cuMemGetInfo", unsafe { (api.mem_get_info)(&mut free, &mut total) })?;
        Ok((free as u64, total as u64))
    }

    /// Waits for all work on the device.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        let api = self.bind()?;
        // SAFETY: takes nothing; the context is current.
        api.check("cuCtxSynchronize", unsafe { (api.ctx_synchronize)() })
    }

    /// Makes the context current on this thread, for the calls that follow.
    pub(crate) fn bind(&self) -> Result<&'static Api, DeviceError> {
        match self.inner.lost_after_ms.load(Ordering::Relaxed) {
            0 => {}
            ms => return Err(DeviceError::Timeout { ms }),
        }
        let Context { api, context, .. } = *self.inner;
        // SAFETY: the context is retained for as long as `self` lives.
        api.check("cuCtxSetCurrent", unsafe { (api.ctx_set_current)(context) })?;
        Ok(api)
    }

    /// Gives the device up: work on it passed its time limit.
    pub(crate) fn lose(&self, ms: u64) -> DeviceError {
        self.inner.lost_after_ms.store(ms.max(1), Ordering::Relaxed);
        DeviceError::Timeout { ms }
    }

    /// Fails unless both are the same opened device.
    pub(crate) fn expect_same(&self, other: &Device, what: impl FnOnce() -> String) -> Result<(), DeviceError> {
        // The primary context of a device is one, however often it is opened.
        if self.inner.context == other.inner.context {
            return Ok(());
        }
        Err(DeviceError::ForeignDevice { what: what() })
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Device(cuda:{}, {})",
            self.inner.facts.ordinal, self.inner.facts.name
        )
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if *self.lost_after_ms.get_mut() > 0 {
            return;
        }
        // SAFETY: releases what `open` retained; a failure leaves nothing to do.
        let _ = unsafe { (self.api.primary_ctx_release)(self.device) };
    }
}

fn facts(api: &'static Api, device: CUdevice, ordinal: usize) -> Result<DeviceFacts, DeviceError> {
    let attribute = |which: Attribute| -> Result<u32, DeviceError> {
        let mut value: c_int = 0;
        // SAFETY: writes one integer; the device came from `cuDeviceGet`.
        let status = unsafe { (api.device_get_attribute)(&mut value, which as u32, device) };
        api.check("cuDeviceGetAttribute", status)?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    let mut name = [0 as c_char; 256];
    // SAFETY: writes at most 256 bytes, NUL included.
    api.check("cuDeviceGetName", unsafe {
        (api.device_get_name)(name.as_mut_ptr(), 255, device)
    })?;
    let mut memory = 0usize;
    // SAFETY: writes one integer.
    api.check("cuDeviceTotalMem", unsafe {
        (api.device_total_mem)(&mut memory, device)
    })?;
    let mut version: c_int = 0;
    // SAFETY: writes one integer.
    api.check("cuDriverGetVersion", unsafe { (api.driver_get_version)(&mut version) })?;
    let name: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    Ok(DeviceFacts {
        name: String::from_utf8_lossy(&name).into_owned(),
        ordinal,
        capability: Capability {
            major: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            minor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        },
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?.into(),
        shared_per_multiprocessor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?
            .into(),
        registers_per_multiprocessor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
        threads_per_multiprocessor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.into(),
        clock_khz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?,
        memory_clock_khz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?,
        memory_bus_bits: attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?,
        memory_bytes: memory as u64,
        driver_version: u32::try_from(version).unwrap_or(0),
    })
}
