//! Device memory, as bytes.

use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;

use crate::device::Device;
use crate::error::DeviceError;
use crate::stream::Stream;

/// An allocation of device memory. Clones are handles of the same memory, which is freed with the last of them.
#[derive(Clone)]
pub struct DeviceBuffer {
    inner: Arc<Allocation>,
}

struct Allocation {
    device: Device,
    address: CUdeviceptr,
    bytes: u64,
    owned: bool,
}

impl DeviceBuffer {
    /// Allocates `bytes` bytes with undefined content, aligned to 256. No bytes: no memory, address 0.
    pub fn alloc(device: &Device, bytes: u64) -> Result<DeviceBuffer, DeviceError> {
        let api = device.bind()?;
        let mut address: CUdeviceptr = 0;
        if bytes > 0 {
            let size = usize::try_from(bytes).unwrap_or(usize::MAX);
            // SAFETY: writes one address, which is freed once, in `drop`.
            match api.check("cuMemAlloc", unsafe { (api.mem_alloc)(&mut address, size) }) {
                Err(DeviceError::Driver(error)) if error.code == 2 => {
                    let (free, total) = device.memory()?;
                    return Err(DeviceError::OutOfMemory { bytes, free, total });
                }
                status => status?,
            }
        }
        Ok(DeviceBuffer {
            inner: Arc::new(Allocation {
                device: device.clone(),
                address,
                bytes,
                owned: true,
            }),
        })
    }

    /// Allocates and copies.
    pub fn from_bytes(stream: &Stream, bytes: &[u8]) -> Result<DeviceBuffer, DeviceError> {
        let buffer = DeviceBuffer::alloc(stream.device(), bytes.len() as u64)?;
        buffer.upload(stream, 0, bytes)?;
        Ok(buffer)
    }

    /// Memory that another library allocated, and which it frees.
    ///
    /// # Safety
    /// `address` must start `bytes` bytes of memory of `device`, valid until the last handle and all work queued with it
    /// are gone.
    pub unsafe fn borrow_raw(device: &Device, address: u64, bytes: u64) -> DeviceBuffer {
        DeviceBuffer {
            inner: Arc::new(Allocation {
                device: device.clone(),
                address,
                bytes,
                owned: false,
            }),
        }
    }

    /// Its device address.
    pub fn address(&self) -> u64 {
        self.inner.address
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.inner.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.inner.bytes == 0
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Copies `bytes` to `offset`, after everything queued on the stream; returns when done.
    pub fn upload(&self, stream: &Stream, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let Some(address) = self.range(stream, offset, bytes.len() as u64)? else {
            return Ok(());
        };
        // A copy from or to pageable memory waits for the stream inside the driver, where no time limit reaches.
        stream.synchronize()?;
        let api = self.inner.device.bind()?;
        // SAFETY: the range lies in the allocation, the source is borrowed until the copy is over.
        let status = unsafe { (api.memcpy_htod)(address, bytes.as_ptr().cast(), bytes.len(), stream.raw()) };
        // Waits even if queueing failed: nothing may refer to `bytes` after the return.
        let queued = api.check("cuMemcpyHtoDAsync", status);
        stream.synchronize().and(queued)
    }

    /// Copies from `offset`, after everything queued on the stream; returns when done. A kernel that faulted shows here.
    pub fn download(&self, stream: &Stream, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let Some(address) = self.range(stream, offset, bytes.len() as u64)? else {
            return Ok(());
        };
        // A copy from or to pageable memory waits for the stream inside the driver, where no time limit reaches.
        stream.synchronize()?;
        let api = self.inner.device.bind()?;
        // SAFETY: the range lies in the allocation, the target is borrowed until the copy is over.
        let status = unsafe { (api.memcpy_dtoh)(bytes.as_mut_ptr().cast(), address, bytes.len(), stream.raw()) };
        let queued = api.check("cuMemcpyDtoHAsync", status);
        stream.synchronize().and(queued)
    }

    /// The whole content.
    pub fn to_vec(&self, stream: &Stream) -> Result<Vec<u8>, DeviceError> {
        let mut bytes = vec![0; usize::try_from(self.len()).unwrap_or(usize::MAX)];
        self.download(stream, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Queues setting every byte to `value`. 0xff everywhere is a NaN in every floating-point type: poison for outputs.
    pub fn fill(&self, stream: &Stream, value: u8) -> Result<(), DeviceError> {
        self.fill_range(stream, 0, self.len(), value)
    }

    /// Queues setting the bytes of a range to `value`.
    pub fn fill_range(&self, stream: &Stream, offset: u64, bytes: u64, value: u8) -> Result<(), DeviceError> {
        let Some(address) = self.range(stream, offset, bytes)? else {
            return Ok(());
        };
        let api = self.inner.device.bind()?;
        // SAFETY: the range lies in the allocation; freeing it waits for the device.
        let status = unsafe { (api.memset_d8)(address, value, bytes as usize, stream.raw()) };
        api.check("cuMemsetD8Async", status)
    }

    /// The address of a range that lies inside; `None` for an empty one.
    fn range(&self, stream: &Stream, offset: u64, bytes: u64) -> Result<Option<CUdeviceptr>, DeviceError> {
        let Allocation {
            device,
            address,
            bytes: len,
            ..
        } = &*self.inner;
        device.expect_same(stream.device(), || "the stream".to_owned())?;
        if offset.checked_add(bytes).is_none_or(|end| end > *len) {
            return Err(DeviceError::BufferRange {
                offset,
                bytes,
                len: *len,
            });
        }
        Ok((bytes > 0).then_some(address + offset))
    }
}

impl std::fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceBuffer({:#x}, {} bytes)", self.inner.address, self.inner.bytes)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if !self.owned || self.address == 0 {
            return;
        }
        if let Ok(api) = self.device.bind() {
            // SAFETY: allocated in `alloc` and freed here alone. Work in flight may still use it on any stream, hence the
            // wait, which is not promised by the free itself.
            unsafe {
                let _ = (api.ctx_synchronize)();
                let _ = (api.mem_free)(self.address);
            }
        }
    }
}
