//! The functions of the driver library that we call, looked up once.
//!
//! cudarc opens the library and declares the handle types. Its own wrappers are not used: they panic where the library or
//! a symbol is absent (a driver older than the bindings), and they read status codes as an enum, which a newer driver's
//! codes may not fit. Here an absent symbol is an error and a code is a number.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUmodule, CUstream, CUtensorMap,
};

use crate::error::{CudaError, DeviceError};

/// `cuTensorMapEncodeTiled`: descriptor, element type, dimensions, base, extents, strides, box, element strides, interleave,
/// swizzle, promotion to L2, fill outside the tensor.
pub(crate) type TensorMapEncode = unsafe extern "C" fn(
    *mut CUtensorMap,
    u32,
    u32,
    *mut c_void,
    *const u64,
    *const u64,
    *const u32,
    *const u32,
    u32,
    u32,
    u32,
    u32,
) -> u32;

macro_rules! api {
    ($($field:ident = $symbol:literal ($($arg:ty),*);)*) => {
        /// The driver's entry points.
        pub(crate) struct Api {
            $(pub(crate) $field: unsafe extern "C" fn($($arg),*) -> u32,)*
            /// Since CUDA 12.4.
            pub(crate) func_get_param_info: Option<unsafe extern "C" fn(CUfunction, usize, *mut usize, *mut usize) -> u32>,
            /// Since CUDA 12.0.
            pub(crate) tensor_map_encode: Option<TensorMapEncode>,
        }

        fn load() -> Result<Api, DeviceError> {
            // SAFETY: tries to open the driver library; its initialisers are the vendor's and run at most once.
            if !unsafe { sys::is_culib_present() } {
                return Err(DeviceError::NoDriver);
            }
            // SAFETY: the library can be opened, so this returns it; it stays open for the rest of the process.
            let library = unsafe { sys::culib() };
            Ok(Api {
                // SAFETY: the types are those of the driver's C header for these symbols; the status enum is a 32-bit
                // integer there. The library is never closed, so the pointers stay valid.
                $($field: *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }
                    .map_err(|_| DeviceError::MissingSymbol($symbol))?,)*
                // SAFETY: as above.
                func_get_param_info: unsafe { library.get(b"cuFuncGetParamInfo\0") }.ok().map(|symbol| *symbol),
                // SAFETY: as above.
                tensor_map_encode: unsafe { library.get(b"cuTensorMapEncodeTiled\0") }.ok().map(|symbol| *symbol),
            })
        }
    };
}

api! {
    init = "cuInit" (c_uint);
    driver_get_version = "cuDriverGetVersion" (*mut c_int);
    get_error_name = "cuGetErrorName" (u32, *mut *const c_char);
    get_error_string = "cuGetErrorString" (u32, *mut *const c_char);
    device_get = "cuDeviceGet" (*mut CUdevice, c_int);
    device_get_count = "cuDeviceGetCount" (*mut c_int);
    device_get_name = "cuDeviceGetName" (*mut c_char, c_int, CUdevice);
    device_get_attribute = "cuDeviceGetAttribute" (*mut c_int, u32, CUdevice);
    device_total_mem = "cuDeviceTotalMem_v2" (*mut usize, CUdevice);
    primary_ctx_retain = "cuDevicePrimaryCtxRetain" (*mut CUcontext, CUdevice);
    primary_ctx_release = "cuDevicePrimaryCtxRelease_v2" (CUdevice);
    ctx_set_current = "cuCtxSetCurrent" (CUcontext);
    ctx_synchronize = "cuCtxSynchronize" ();
    mem_get_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    mem_alloc = "cuMemAlloc_v2" (*mut CUdeviceptr, usize);
    mem_free = "cuMemFree_v2" (CUdeviceptr);
    memcpy_htod = "cuMemcpyHtoDAsync_v2" (CUdeviceptr, *const c_void, usize, CUstream);
    memcpy_dtoh = "cuMemcpyDtoHAsync_v2" (*mut c_void, CUdeviceptr, usize, CUstream);
    memset_d8 = "cuMemsetD8Async" (CUdeviceptr, u8, usize, CUstream);
    module_load_data = "cuModuleLoadDataEx" (*mut CUmodule, *const c_void, c_uint, *mut u32, *mut *mut c_void);
    module_unload = "cuModuleUnload" (CUmodule);
    module_get_function = "cuModuleGetFunction" (*mut CUfunction, CUmodule, *const c_char);
    func_get_attribute = "cuFuncGetAttribute" (*mut c_int, u32, CUfunction);
    func_set_attribute = "cuFuncSetAttribute" (CUfunction, u32, c_int);
    occupancy = "cuOccupancyMaxActiveBlocksPerMultiprocessor" (*mut c_int, CUfunction, c_int, usize);
    launch_kernel = "cuLaunchKernel" (
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void
    );
    stream_create = "cuStreamCreate" (*mut CUstream, c_uint);
    stream_destroy = "cuStreamDestroy_v2" (CUstream);
    stream_synchronize = "cuStreamSynchronize" (CUstream);
    stream_query = "cuStreamQuery" (CUstream);
    event_create = "cuEventCreate" (*mut CUevent, c_uint);
    event_destroy = "cuEventDestroy_v2" (CUevent);
    event_record = "cuEventRecord" (CUevent, CUstream);
    event_elapsed = "cuEventElapsedTime" (*mut f32, CUevent, CUevent);
}

impl Api {
    /// The driver, opened and initialised.
    pub(crate) fn get() -> Result<&'static Api, DeviceError> {
        static API: OnceLock<Result<Api, DeviceError>> = OnceLock::new();
        let api = API.get_or_init(load).as_ref().map_err(Clone::clone)?;
        static INIT: OnceLock<Result<(), DeviceError>> = OnceLock::new();
        // SAFETY: takes no pointers.
        INIT.get_or_init(|| api.check("cuInit", unsafe { (api.init)(0) }))
            .clone()?;
        Ok(api)
    }

    /// A status code as an error, with the driver's words for it.
    pub(crate) fn check(&self, call: &'static str, code: u32) -> Result<(), DeviceError> {
        if code == 0 {
            return Ok(());
        }
        Err(DeviceError::from_driver(CudaError {
            call,
            code,
            name: self
                .words(self.get_error_name, code)
                .unwrap_or_else(|| format!("CUDA error {code}")),
            text: self
                .words(self.get_error_string, code)
                .unwrap_or_else(|| "unknown to this driver".to_owned()),
        }))
    }

    fn words(&self, ask: unsafe extern "C" fn(u32, *mut *const c_char) -> u32, code: u32) -> Option<String> {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: writes one pointer; for an unknown code it stays null.
        let status = unsafe { ask(code, &mut text) };
        if status != 0 || text.is_null() {
            return None;
        }
        // SAFETY: the driver gives a static string that ends in NUL.
        Some(unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }
}
