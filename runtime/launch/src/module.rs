//! A loaded artifact: its kernels, checked against the device.

use std::ffi::{CString, c_int};
use std::sync::Arc;

use cudarc::driver::sys::{CUfunction, CUfunction_attribute as Attribute, CUmodule};
use einloom_artifact::{KernelArtifact, KernelDesc, Manifest};

use crate::api::Api;
use crate::device::Device;
use crate::error::{DeviceError, LaunchError};
use crate::jit;

/// An artifact on a device. Clones are handles of the same module.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Loaded>,
}

struct Loaded {
    device: Device,
    raw: CUmodule,
    manifest: Manifest,
    functions: Vec<CUfunction>,
    kernels: Vec<KernelInfo>,
    log: String,
}

// SAFETY: module and function handles may be used from any thread; the handles are only passed on.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// What the driver's assembler made of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// Name of its `.entry`.
    pub entry: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Local memory of a thread in bytes: spills and stack.
    pub local_bytes: u32,
    /// Shared memory of a block that the code declares itself, in bytes.
    pub static_shared: u32,
    /// Shared memory of a block that the launch adds, in bytes.
    pub dynamic_shared: u32,
    /// Most threads of a block.
    pub max_threads: u32,
    /// Blocks that fit one multiprocessor at a time.
    pub blocks_per_multiprocessor: u32,
}

impl Module {
    /// Loads an artifact: checks target and capability, assembles the PTX, and checks every kernel's shared memory,
    /// threads and parameters. A failure of the assembler carries its log.
    ///
    /// Local memory (spills) makes a kernel slower, not wrong: [`Module::kernels`] reports it, [`Module::without_local_memory`] refuses it.
    pub fn load(device: &Device, artifact: &KernelArtifact) -> Result<Module, LaunchError> {
        Module::load_image(device, artifact, None)
    }

    /// As [`Module::load`] with machine code that was assembled from the artifact's PTX, so that the driver assembles nothing.
    pub fn load_cubin(device: &Device, artifact: &KernelArtifact, cubin: &[u8]) -> Result<Module, LaunchError> {
        Module::load_image(device, artifact, Some(cubin))
    }

    fn load_image(device: &Device, artifact: &KernelArtifact, cubin: Option<&[u8]>) -> Result<Module, LaunchError> {
        check_target(device, artifact.manifest())?;
        let (raw, log) = jit::load(device, artifact, cubin)?;
        // Owns the handle from here on, so that an early return unloads it.
        let mut loaded = Loaded {
            device: device.clone(),
            raw,
            manifest: artifact.manifest().clone(),
            functions: Vec::new(),
            kernels: Vec::new(),
            log,
        };
        for kernel in &artifact.manifest().kernels {
            let (function, info) = loaded.prepare(kernel)?;
            loaded.functions.push(function);
            loaded.kernels.push(info);
        }
        Ok(Module {
            inner: Arc::new(loaded),
        })
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The manifest that it was loaded with.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// Refuses kernels to which the assembler gave local memory that the manifest does not allow, on the very capability that the artifact was
    /// compiled for: elsewhere another assembler works with other limits.
    ///
    /// # Errors
    /// [`LaunchError::LocalMemory`] of the first such kernel.
    pub fn without_local_memory(&self) -> Result<(), LaunchError> {
        let at_home = self.inner.device.facts().capability == self.inner.manifest.target.capability;
        let mut kernels = self.inner.manifest.kernels.iter().zip(&self.inner.kernels);
        match kernels.find(|(desc, info)| info.local_bytes > 0 && !desc.allow_local_memory) {
            Some((desc, info)) if at_home => Err(LaunchError::LocalMemory {
                kernel: desc.entry.clone(),
                bytes: info.local_bytes,
            }),
            _ => Ok(()),
        }
    }

    /// What became of each kernel, in the manifest's order.
    pub fn kernels(&self) -> &[KernelInfo] {
        &self.inner.kernels
    }

    /// The assembler's information log; empty where it was silent or the code came from the driver's cache.
    pub fn log(&self) -> &str {
        &self.inner.log
    }

    /// Blocks of a kernel that one multiprocessor holds at a time.
    pub(crate) fn resident(&self, kernel: usize) -> u32 {
        self.inner
            .kernels
            .get(kernel)
            .map_or(0, |info| info.blocks_per_multiprocessor)
    }

    pub(crate) fn function(&self, kernel: usize) -> CUfunction {
        *self
            .inner
            .functions
            .get(kernel)
            .expect("a plan of this manifest names its kernels")
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({}, {:?})", self.inner.manifest.cascade, self.inner.kernels)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Ok(api) = self.device.bind() {
            // SAFETY: loaded once and unloaded here alone, after all launches of its kernels are over.
            unsafe {
                let _ = (api.ctx_synchronize)();
                let _ = (api.module_unload)(self.raw);
            }
        }
    }
}

fn check_target(device: &Device, manifest: &Manifest) -> Result<(), LaunchError> {
    let facts = device.facts();
    let (cascade, name, capability) = (manifest.cascade.clone(), facts.name.clone(), facts.capability);
    if !manifest.target.runs_on(capability) {
        return Err(LaunchError::Target {
            cascade,
            target: manifest.target,
            device: name,
            capability,
        });
    }
    if capability < manifest.min_capability {
        return Err(LaunchError::Capability {
            cascade,
            needed: manifest.min_capability,
            device: name,
            capability,
        });
    }
    Ok(())
}

impl Loaded {
    /// Looks a kernel up, gives it its shared memory, and checks it.
    fn prepare(&self, kernel: &KernelDesc) -> Result<(CUfunction, KernelInfo), LaunchError> {
        let api = self.device.bind()?;
        let name = CString::new(kernel.entry.as_str()).expect("a valid manifest has no NUL byte in a name");
        let mut function: CUfunction = std::ptr::null_mut();
        // SAFETY: writes one handle; the module is loaded and the name ends in NUL.
        let status = unsafe { (api.module_get_function)(&mut function, self.raw, name.as_ptr()) };
        api.check("cuModuleGetFunction", status)?;
        check_parameters(api, function, &self.manifest, kernel)?;
        let mut info = self.info(api, function, kernel)?;
        self.check_limits(kernel, &info)?;
        let dynamic = c_int::try_from(kernel.dynamic_shared).unwrap_or(c_int::MAX);
        let which = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as u32;
        // SAFETY: the function belongs to the loaded module.
        api.check("cuFuncSetAttribute", unsafe {
            (api.func_set_attribute)(function, which, dynamic)
        })?;
        let (mut blocks, block) = (0, c_int::try_from(kernel.block).unwrap_or(c_int::MAX));
        // SAFETY: writes one integer.
        let status = unsafe { (api.occupancy)(&mut blocks, function, block, kernel.dynamic_shared as usize) };
        api.check("cuOccupancyMaxActiveBlocksPerMultiprocessor", status)?;
        info.blocks_per_multiprocessor = u32::try_from(blocks).unwrap_or(0);
        Ok((function, info))
    }

    fn info(&self, api: &Api, function: CUfunction, kernel: &KernelDesc) -> Result<KernelInfo, DeviceError> {
        let attribute = |which: Attribute| -> Result<u32, DeviceError> {
            let mut value: c_int = 0;
            // SAFETY: writes one integer; the function belongs to the loaded module.
            let status = unsafe { (api.func_get_attribute)(&mut value, which as u32, function) };
            api.check("cuFuncGetAttribute", status)?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        Ok(KernelInfo {
            entry: kernel.entry.clone(),
            registers: attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            local_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            static_shared: attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
            dynamic_shared: kernel.dynamic_shared,
            max_threads: attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            blocks_per_multiprocessor: 0,
        })
    }

    fn check_limits(&self, kernel: &KernelDesc, info: &KernelInfo) -> Result<(), LaunchError> {
        let facts = self.device.facts();
        let name = || kernel.entry.clone();
        let needed = u64::from(info.static_shared) + u64::from(kernel.dynamic_shared);
        if needed > facts.shared_per_block {
            let (available, device) = (facts.shared_per_block, facts.name.clone());
            return Err(LaunchError::SharedMemory {
                kernel: name(),
                needed,
                available,
                device,
            });
        }
        if kernel.block > info.max_threads {
            return Err(LaunchError::Threads {
                kernel: name(),
                block: kernel.block,
                limit: info.max_threads,
            });
        }
        Ok(())
    }
}

/// Compares the parameters that the loaded function declares with those that we pass, where the driver can tell: it reads
/// one argument pointer for each, and a missing one would be read from past the end of our list.
fn check_parameters(
    api: &Api,
    function: CUfunction,
    manifest: &Manifest,
    kernel: &KernelDesc,
) -> Result<(), LaunchError> {
    let Some(ask) = api.func_get_param_info else {
        return Ok(());
    };
    let passed: Vec<usize> = kernel.args.iter().map(|arg| manifest.arg_bytes(arg)).collect();
    let mut found = Vec::new();
    // One more than is passed, to see whether there is one.
    for index in 0..=passed.len() {
        let (mut offset, mut size) = (0usize, 0usize);
        // SAFETY: writes two integers; an index past the last parameter is an error code.
        match unsafe { ask(function, index, &mut offset, &mut size) } {
            0 => found.push(size),
            _ => break,
        }
    }
    if found == passed {
        return Ok(());
    }
    Err(LaunchError::Parameters {
        kernel: kernel.entry.clone(),
        found,
        passed,
    })
}
