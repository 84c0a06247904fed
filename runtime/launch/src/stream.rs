//! Streams: queues of work on one device.

use std::time::{Duration, Instant};

use cudarc::driver::sys::CUstream;

use crate::device::Device;
use crate::error::DeviceError;

/// A queue of work, independent of all other streams.
pub struct Stream {
    device: Device,
    raw: CUstream,
    owned: bool,
    timeout: Option<Duration>,
}

// SAFETY: a stream handle may be used from any thread; the handle is only passed on.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A new stream.
    pub fn new(device: &Device) -> Result<Stream, DeviceError> {
        const NON_BLOCKING: u32 = 1;
        let api = device.bind()?;
        let mut raw: CUstream = std::ptr::null_mut();
        // SAFETY: writes one handle, which is destroyed once, in `drop`.
        api.check("cuStreamCreate", unsafe { (api.stream_create)(&mut raw, NON_BLOCKING) })?;
        Ok(Stream {
            device: device.clone(),
            raw,
            owned: true,
            timeout: None,
        })
    }

    /// A stream that another library made, and which it destroys. Null is the default stream.
    ///
    /// # Safety
    /// `raw` must be a `CUstream` of the device's primary context, valid for as long as this handle is used.
    pub unsafe fn borrow_raw(device: &Device, raw: *mut std::ffi::c_void) -> Stream {
        Stream {
            device: device.clone(),
            raw: raw.cast(),
            owned: false,
            timeout: None,
        }
    }

    /// Limits every later wait for this stream, copies included. `None`, the default: no limit.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Waits for everything queued so far. A kernel that faulted is reported here as [`DeviceError::Fault`].
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        if let Some(timeout) = self.timeout {
            self.poll(timeout)?;
        }
        let api = self.device.bind()?;
        // SAFETY: the handle is valid until `drop`.
        api.check("cuStreamSynchronize", unsafe { (api.stream_synchronize)(self.raw) })
    }

    /// Waits until the stream is idle, or has faulted, or the time is over.
    fn poll(&self, timeout: Duration) -> Result<(), DeviceError> {
        const NOT_READY: u32 = 600;
        let api = self.device.bind()?;
        let start = Instant::now();
        // SAFETY: the handle is valid until `drop`.
        while unsafe { (api.stream_query)(self.raw) } == NOT_READY {
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(self.device.lose(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
            }
            // Short work is met at once, long work costs few wake-ups.
            std::thread::sleep((waited / 8).clamp(Duration::from_micros(5), Duration::from_millis(5)));
        }
        Ok(())
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn raw(&self) -> CUstream {
        self.raw
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        if let Ok(api) = self.device.bind() {
            // SAFETY: the only destruction; the driver lets queued work finish first.
            let _ = unsafe { (api.stream_destroy)(self.raw) };
        }
    }
}
