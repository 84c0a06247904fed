//! Runs an artifact on a CUDA device: upload, poisoned outputs, launch, download. Tensors lie in any layout.

mod placed;

use crate::data::layout::Layout;
use einloom_artifact::{KernelArtifact, ScalarArg, ScalarValue};
use einloom_cascade::bind::Extents;
use einloom_cascade::data::{Inputs, Tensor};
use einloom_cascade::expr::DType;
use einloom_cascade::ir::Cascade;
use einloom_cascade::ops::Scalar;
use einloom_runtime::{
    Device, DeviceError, LaunchError, Module, PreparedLaunch, Stream, TensorArg, Timing, TimingOptions,
};
use placed::Placed;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Why a GPU run failed.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("output `{0}` came back with a wrong number of bytes")]
    Download(String),
    #[error("output `{0}` was written between its elements")]
    Gap(String),
}

/// A device with its stream.
pub struct Gpu {
    device: Device,
    stream: Stream,
    /// See [`Gpu::take_spills`].
    spills: Mutex<BTreeMap<String, u32>>,
}

/// Device memory of one call: uploaded inputs, and outputs.
pub struct Arena {
    inputs: Vec<Placed>,
    outputs: Vec<Placed>,
}

/// A loaded call: inputs on the device, outputs allocated.
pub struct Call {
    prepared: PreparedLaunch,
    outputs: Vec<Placed>,
}

/// A launch that takes longer is taken for hung: the run ends with an error instead of waiting for ever.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Byte that fills outputs before a launch, and the gaps of all tensors: a NaN in f32, f16 and bf16, a large number in ints.
const POISON: u8 = 0xff;

impl Gpu {
    /// Opens device `ordinal`.
    ///
    /// # Errors
    /// No driver, no such device.
    pub fn open(ordinal: usize) -> Result<Gpu, GpuError> {
        Gpu::open_with(ordinal, TIMEOUT)
    }

    /// As [`Gpu::open`], with a limit for every wait.
    ///
    /// # Errors
    /// No driver, no such device.
    pub fn open_with(ordinal: usize, timeout: std::time::Duration) -> Result<Gpu, GpuError> {
        let device = Device::open(ordinal)?;
        let mut stream = Stream::new(&device)?;
        stream.set_timeout(Some(timeout));
        Ok(Gpu {
            device,
            stream,
            spills: Mutex::default(),
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Loads an artifact, and notes which kernels spill.
    ///
    /// # Errors
    /// Whatever the driver refuses.
    pub fn load(&self, artifact: &KernelArtifact) -> Result<Module, GpuError> {
        let module = Module::load(&self.device, artifact)?;
        let mut spills = self.spills.lock().unwrap_or_else(PoisonError::into_inner);
        for kernel in module.kernels().iter().filter(|kernel| kernel.local_bytes > 0) {
            let most = spills.entry(kernel.entry.clone()).or_default();
            *most = kernel.local_bytes.max(*most);
        }
        drop(spills);
        Ok(module)
    }

    /// Kernels with local memory among those loaded since the last call, and the most bytes a thread of each.
    pub fn take_spills(&self) -> BTreeMap<String, u32> {
        std::mem::take(&mut *self.spills.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Gpu::load`], for schedules under trial: one whose kernels spill is not legal after all.
    ///
    /// # Errors
    /// Whatever the driver refuses; kernels with local memory.
    pub fn load_trial(&self, artifact: &KernelArtifact) -> Result<Module, GpuError> {
        let module = Module::load(&self.device, artifact)?;
        module.without_local_memory()?;
        Ok(module)
    }

    /// Uploads inputs and allocates outputs in a layout, for any number of calls.
    ///
    /// # Errors
    /// No memory, a device fault.
    pub fn arena(
        &self,
        cascade: &Cascade,
        inputs: &Inputs,
        extents: &Extents,
        layout: Layout,
    ) -> Result<Arena, GpuError> {
        let given = cascade.inputs.iter().zip(&inputs.tensors);
        let outputs = cascade.outputs.iter().zip(&extents.outputs);
        Ok(Arena {
            inputs: given
                .map(|(info, tensor)| self.upload(&info.name, info.dtype, tensor, layout))
                .collect::<Result<_, _>>()?,
            outputs: outputs
                .map(|(info, shape)| self.allocate(&info.name, info.dtype, shape, layout))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Binds a module to the memory of an arena, and checks the contract.
    ///
    /// # Errors
    /// Whatever the launch contract refuses.
    pub fn call(&self, module: &Module, cascade: &Cascade, extents: &Extents, arena: &Arena) -> Result<Call, GpuError> {
        let args: Vec<TensorArg<'_>> = arena
            .inputs
            .iter()
            .chain(&arena.outputs)
            .map(Placed::argument)
            .collect();
        let scalars: Vec<ScalarArg<'_>> = cascade
            .scalars
            .iter()
            .zip(&extents.scalars)
            .map(|(info, value)| ScalarArg {
                name: &info.name,
                value: scalar(info.dtype, *value),
            })
            .collect();
        let prepared = PreparedLaunch::new(module, &args, &scalars)?;
        Ok(Call {
            prepared,
            outputs: arena.outputs.clone(),
        })
    }

    /// Poisons the outputs, launches once, and downloads the outputs.
    ///
    /// # Errors
    /// Launch and device faults; a write between the elements of an output.
    pub fn run(&self, call: &Call) -> Result<Vec<Tensor>, GpuError> {
        for output in &call.outputs {
            self.poison(output)?;
        }
        self.launch(call)?;
        call.outputs.iter().map(|output| self.fetch(output)).collect()
    }

    /// Launches once and waits.
    ///
    /// # Errors
    /// Launch and device faults.
    pub fn launch(&self, call: &Call) -> Result<(), GpuError> {
        call.prepared.launch(&self.stream)?;
        Ok(self.stream.synchronize()?)
    }

    /// Times launches of a call.
    ///
    /// # Errors
    /// Launch and device faults.
    pub fn time(&self, call: &Call, options: &TimingOptions) -> Result<Timing, GpuError> {
        self.time_rotating(std::slice::from_ref(call), options)
    }

    /// Times launches that take the calls in turn, so that no launch finds what the last one left in the cache.
    ///
    /// # Errors
    /// Launch and device faults.
    pub fn time_rotating(&self, calls: &[Call], options: &TimingOptions) -> Result<Timing, GpuError> {
        let mut next = 0;
        Ok(einloom_runtime::time(&self.stream, options, None, || {
            let Some(call) = calls.get(next) else {
                return Err(LaunchError::Timing("no call is given"));
            };
            next = (next + 1) % calls.len();
            call.prepared.launch(&self.stream)
        })?)
    }
}

fn scalar(dtype: DType, value: Scalar) -> ScalarValue {
    match (dtype, value) {
        (DType::F32, v) => ScalarValue::F32(v.as_real() as f32),
        (DType::I64, v) => ScalarValue::I64(v.as_int().unwrap_or(0)),
        (DType::Bool, v) => ScalarValue::Bool(v.as_bool().unwrap_or(v.as_int() == Some(1))),
        (_, v) => ScalarValue::I32(v.as_int().unwrap_or(0) as i32),
    }
}
