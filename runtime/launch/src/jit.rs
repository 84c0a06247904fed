//! Loading PTX text through the driver's assembler, with its words kept.

use std::ffi::{CString, c_void};

use cudarc::driver::sys::{CUjit_option as Opt, CUmodule};
use einloom_artifact::KernelArtifact;

use crate::device::Device;
use crate::error::{CudaError, DeviceError, LaunchError};

const LOG_BYTES: usize = 16 * 1024;

/// The module handle and the assembler's information log. With a cubin nothing is assembled.
pub(crate) fn load(
    device: &Device,
    artifact: &KernelArtifact,
    cubin: Option<&[u8]>,
) -> Result<(CUmodule, String), LaunchError> {
    let api = device.bind()?;
    let manifest = artifact.manifest();
    let refused = |error: CudaError, log: &str| LaunchError::Jit {
        cascade: manifest.cascade.clone(),
        ptx: format!("PTX {}, {}", manifest.ptx_version, manifest.target),
        log: if log.is_empty() {
            String::new()
        } else {
            format!("\n{log}")
        },
        error: Box::new(error),
    };
    let text;
    let image: *const c_void = match cubin {
        Some(cubin) => cubin.as_ptr().cast(),
        None => {
            text = CString::new(artifact.ptx()).expect("an artifact's PTX has no NUL byte");
            text.as_ptr().cast()
        }
    };
    let (mut info, mut error) = (vec![0u8; LOG_BYTES], vec![0u8; LOG_BYTES]);
    // Sizes and flags travel in the pointers' place.
    let number = |value: usize| std::ptr::without_provenance_mut::<c_void>(value);
    let mut options = [
        (Opt::CU_JIT_INFO_LOG_BUFFER, info.as_mut_ptr().cast()),
        (Opt::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, number(LOG_BYTES)),
        (Opt::CU_JIT_ERROR_LOG_BUFFER, error.as_mut_ptr().cast()),
        (Opt::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, number(LOG_BYTES)),
        (Opt::CU_JIT_LOG_VERBOSE, number(1)),
    ]
    .map(|(option, value)| (option as u32, value));
    let mut keys = options.map(|(key, _)| key);
    let mut values = options.each_mut().map(|(_, value)| *value);
    let mut module: CUmodule = std::ptr::null_mut();
    // SAFETY: PTX ends in NUL, and a cubin is as long as its own header says (the driver checks its form); keys and values have as many entries as said; both logs are as long as said and live
    // until the call returns, after which the driver does not keep them.
    let status = unsafe {
        let (keys, values) = (keys.as_mut_ptr(), values.as_mut_ptr());
        (api.module_load_data)(&mut module, image, options.len() as u32, keys, values)
    };
    match api.check("cuModuleLoadDataEx", status) {
        Ok(()) => Ok((module, log_text(&info))),
        Err(DeviceError::Driver(cuda)) => Err(refused(cuda, &log_text(&error))),
        Err(other) => Err(other.into()),
    }
}

/// The log up to its first NUL.
fn log_text(log: &[u8]) -> String {
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    String::from_utf8_lossy(log.get(..end).unwrap_or_default())
        .trim()
        .to_owned()
}
