//! A checked call with its arguments packed: launching it checks and allocates nothing.

use std::ffi::c_void;

use cudarc::driver::sys::{CUfunction, CUtensorMap};
use einloom_artifact::contract::{self, ArgValue, Place, PlannedKernel, ZEROS_BYTES};
use einloom_artifact::{ContractError, DType, LaunchPlan, ScalarArg, TensorView};

use crate::buffer::DeviceBuffer;
use crate::direct::check_workspace;
use crate::error::LaunchError;
use crate::module::Module;
use crate::stream::Stream;
use crate::tensor::Workspace;
use crate::tensor_map;

/// A tensor of a call, in device memory.
#[derive(Clone, Debug)]
pub struct TensorArg<'a> {
    /// Its name in the cascade.
    pub name: &'a str,
    /// The memory that it lies in.
    pub buffer: &'a DeviceBuffer,
    /// Where in it the first element is, in bytes.
    pub offset: u64,
    /// Type of one element.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// Strides in elements, outermost first.
    pub strides: Vec<i64>,
}

impl<'a> TensorArg<'a> {
    /// A dense row-major tensor at the start of a buffer.
    pub fn dense(name: &'a str, buffer: &'a DeviceBuffer, dtype: DType, shape: &[u64]) -> TensorArg<'a> {
        let mut strides = vec![0i64; shape.len()];
        let mut next = 1i64;
        for (stride, extent) in strides.iter_mut().zip(shape).rev() {
            *stride = next;
            // A product past 63 bits is a tensor that no buffer holds: the launch check says so.
            next = next.saturating_mul(i64::try_from((*extent).max(1)).unwrap_or(i64::MAX));
        }
        TensorArg {
            name,
            buffer,
            offset: 0,
            dtype,
            shape: shape.to_vec(),
            strides,
        }
    }
}

/// A call that passed the launch check. It holds its module, buffers and workspace, so it can be launched at any time.
///
/// Launches on different streams share outputs and workspace: order them, or prepare one for each stream.
pub struct PreparedLaunch {
    module: Module,
    plan: LaunchPlan,
    kernels: Vec<PackedKernel>,
    clears: Vec<Clear>,
    /// Kept alive for the addresses in `kernels` and `clears`.
    _buffers: Vec<DeviceBuffer>,
}

struct PackedKernel {
    function: CUfunction,
    grid: [u32; 3],
    block: u32,
    dynamic_shared: u32,
    /// One 8-byte slot for each argument, little end first like the device.
    _values: Vec<u64>,
    /// The descriptors, 128 bytes each. They hold addresses, extents and strides, so they last as long as the prepared launch.
    _maps: Vec<CUtensorMap>,
    /// The address of each slot or descriptor.
    pointers: Vec<*mut c_void>,
}

/// A byte range that is cleared before the first kernel.
struct Clear {
    address: u64,
    bytes: u64,
}

// SAFETY: the pointers lead into vectors that the struct owns and never changes; function handles may be used from any
// thread.
unsafe impl Send for PreparedLaunch {}
// SAFETY: as above; the driver only reads the slots.
unsafe impl Sync for PreparedLaunch {}

impl PreparedLaunch {
    /// Checks a call against the module's manifest, allocates the workspace, and packs the arguments.
    pub fn new(
        module: &Module,
        tensors: &[TensorArg<'_>],
        scalars: &[ScalarArg<'_>],
    ) -> Result<PreparedLaunch, LaunchError> {
        let mut views = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let device = tensor.buffer.device();
            module
                .device()
                .expect_same(device, || format!("the buffer of tensor `{}`", tensor.name))?;
            views.push(view(tensor)?);
        }
        let plan = contract::check(module.manifest(), &views, scalars)?;
        let workspace = DeviceBuffer::alloc(module.device(), plan.workspace_bytes)?;
        let mut buffers: Vec<_> = tensors.iter().map(|tensor| tensor.buffer.clone()).collect();
        let address = workspace.address();
        buffers.push(workspace);
        PreparedLaunch::packed(module, plan, address, buffers)
    }

    /// Packs the arguments of a checked call, in memory that the caller keeps alive.
    pub(crate) fn from_plan(
        module: &Module,
        plan: LaunchPlan,
        workspace: Workspace<'_>,
    ) -> Result<PreparedLaunch, LaunchError> {
        let clash = |start: u64, bytes: u64| {
            plan.tensors.iter().any(|tensor| match tensor.place {
                Place::Address(address) => address < start + bytes && start < address + tensor.span_bytes,
                Place::Workspace(_) => false,
            })
        };
        check_workspace(workspace, plan.workspace_bytes, clash)?;
        for (tensor, param) in plan.tensors.iter().zip(&module.manifest().tensors) {
            if tensor.place == Place::Address(0) && tensor.span_bytes > 0 {
                let tensor = param.name.clone();
                return Err(ContractError::NullAddress { tensor }.into());
            }
        }
        PreparedLaunch::packed(module, plan, workspace.address, Vec::new())
    }

    /// `buffers` are kept alive with it.
    fn packed(
        module: &Module,
        plan: LaunchPlan,
        workspace: u64,
        buffers: Vec<DeviceBuffer>,
    ) -> Result<PreparedLaunch, LaunchError> {
        let addresses: Vec<u64> = plan
            .tensors
            .iter()
            .map(|tensor| match tensor.place {
                Place::Address(address) => address,
                Place::Workspace(offset) => workspace + offset,
            })
            .collect();
        let kernels = plan
            .launches
            .iter()
            .map(|kernel| pack(module, &plan, kernel, &addresses, workspace))
            .collect::<Result<_, _>>()?;
        let range = |tensor: &usize| {
            let address = *addresses.get(*tensor)?;
            let bytes = plan.tensors.get(*tensor)?.span_bytes;
            (bytes > 0).then_some(Clear { address, bytes })
        };
        let zeros = plan.zeros.map(|offset| Clear {
            address: workspace + offset,
            bytes: ZEROS_BYTES,
        });
        let clears = plan.clears.iter().filter_map(range).chain(zeros).collect();
        Ok(PreparedLaunch {
            module: module.clone(),
            plan,
            kernels,
            clears,
            _buffers: buffers,
        })
    }

    /// Queues the clears and the kernels on the stream.
    pub fn launch(&self, stream: &Stream) -> Result<(), LaunchError> {
        let device = self.module.device();
        device.expect_same(stream.device(), || "the stream".to_owned())?;
        let api = device.bind()?;
        for clear in &self.clears {
            // SAFETY: the launch check proved the range to lie in a buffer that `self` holds; freeing waits for the device.
            let status = unsafe { (api.memset_d8)(clear.address, 0, clear.bytes as usize, stream.raw()) };
            api.check("cuMemsetD8Async", status)?;
        }
        for kernel in &self.kernels {
            let [x, y, z] = kernel.grid;
            let pointers = kernel.pointers.as_ptr().cast_mut();
            // SAFETY: the function belongs to a module that `self` holds; it takes as many parameters as there are
            // pointers, of these sizes (checked on loading); the driver copies the slots before it returns and writes
            // none. Addresses, extents and strides passed the launch check.
            let status = unsafe {
                let (block, shared) = (kernel.block, kernel.dynamic_shared);
                let none = std::ptr::null_mut();
                (api.launch_kernel)(
                    kernel.function,
                    x,
                    y,
                    z,
                    block,
                    1,
                    1,
                    shared,
                    stream.raw(),
                    pointers,
                    none,
                )
            };
            api.check("cuLaunchKernel", status)?;
        }
        Ok(())
    }

    /// The checked call: extents, strides, grids.
    pub fn plan(&self) -> &LaunchPlan {
        &self.plan
    }

    /// Its module.
    pub fn module(&self) -> &Module {
        &self.module
    }
}

fn view<'a>(tensor: &'a TensorArg<'_>) -> Result<TensorView<'a>, LaunchError> {
    let (offset, len) = (tensor.offset, tensor.buffer.len());
    let left = len.checked_sub(offset);
    let left = left.ok_or_else(|| LaunchError::Offset {
        tensor: tensor.name.to_owned(),
        offset,
        len,
    })?;
    Ok(TensorView {
        name: tensor.name,
        dtype: tensor.dtype,
        shape: &tensor.shape,
        strides: &tensor.strides,
        address: tensor.buffer.address() + offset,
        len_elements: left / tensor.dtype.size(),
    })
}

/// Packs the arguments of a kernel: a slot or a descriptor each, and the list of their addresses.
fn pack(
    module: &Module,
    plan: &LaunchPlan,
    kernel: &PlannedKernel,
    addresses: &[u64],
    workspace: u64,
) -> Result<PackedKernel, LaunchError> {
    let desc = module
        .manifest()
        .kernels
        .get(kernel.kernel)
        .expect("a plan of this manifest names its kernels");
    let mut maps = Vec::with_capacity(kernel.maps.len());
    for map in &kernel.maps {
        let base = tensor_map::base(map, plan.zeros, workspace);
        let api = module.device().bind()?;
        maps.push(tensor_map::encode(api, module.manifest(), &desc.entry, map, base)?);
    }
    let slot = |arg: &ArgValue| match *arg {
        ArgValue::Tensor(i) => *addresses.get(i).expect("a plan has an address for each tensor"),
        ArgValue::I64(value) => value.cast_unsigned(),
        // The parameter reads the first four bytes of its slot.
        ArgValue::I32(value) => u64::from(value.cast_unsigned()),
        ArgValue::F32(value) => u64::from(value.to_bits()),
        // Its descriptor is passed instead.
        ArgValue::Map(_) => 0,
    };
    let mut values: Vec<u64> = kernel.args.iter().map(slot).collect();
    let pointer = |(value, arg): (&mut u64, &ArgValue)| match *arg {
        ArgValue::Map(i) => {
            let map = maps
                .get_mut(i)
                .expect("a plan has the descriptors that its arguments name");
            std::ptr::from_mut(map).cast()
        }
        _ => std::ptr::from_mut(value).cast(),
    };
    let pointers = values.iter_mut().zip(&kernel.args).map(pointer).collect();
    let (multiprocessors, resident) = (module.device().facts().multiprocessors, module.resident(kernel.kernel));
    Ok(PackedKernel {
        function: module.function(kernel.kernel),
        grid: desc.blocks(kernel.grid, multiprocessors, resident),
        block: desc.block,
        dynamic_shared: desc.dynamic_shared,
        _values: values,
        _maps: maps,
        pointers,
    })
}
