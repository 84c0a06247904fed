//! Launching a call that was checked on the stack: no allocation between the check and the driver.

use std::ffi::c_void;

use cudarc::driver::sys::CUtensorMap;
use einloom_artifact::contract::{ArgValue, Quick, ZEROS_BYTES};
use einloom_artifact::{ContractError, KernelArg, KernelDesc, Manifest};

use crate::error::LaunchError;
use crate::launcher::DispatchError;
use crate::module::Module;
use crate::stream::Stream;
use crate::tensor::Workspace;
use crate::tensor_map;

/// Most arguments of a kernel that is launched from the stack.
const MAX_ARGS: usize = 96;
/// Most tensor map descriptors of such a kernel.
const MAX_MAPS: usize = 8;

/// Whether every kernel of the manifest can be launched from the stack.
pub(crate) fn can_launch(manifest: &Manifest) -> bool {
    manifest
        .kernels
        .iter()
        .all(|kernel| kernel.args.len() <= MAX_ARGS && kernel.maps.len() <= MAX_MAPS)
}

/// That the workspace is there, large enough, aligned, and nobody else's.
pub(crate) fn check_workspace(
    workspace: Workspace<'_>,
    needed: u64,
    overlaps: impl FnOnce(u64, u64) -> bool,
) -> Result<(), DispatchError> {
    if needed == 0 {
        return Ok(());
    }
    let (address, found) = (workspace.address, workspace.bytes);
    if found < needed || address == 0 {
        return Err(DispatchError::WorkspaceSize { found, needed });
    }
    if !address.is_multiple_of(256) {
        return Err(DispatchError::WorkspaceAlignment { address });
    }
    if overlaps(address, needed) {
        return Err(DispatchError::WorkspaceOverlap);
    }
    Ok(())
}

/// Queues the clears and the kernels on the stream. `quick` is a check against the manifest of `module`.
pub(crate) fn launch(
    module: &Module,
    quick: &Quick,
    workspace: Workspace<'_>,
    stream: &Stream,
) -> Result<(), LaunchError> {
    const CHECKED: &str = "the call was checked against this manifest";
    let manifest = module.manifest();
    check_workspace(workspace, quick.workspace_bytes(), |start, bytes| {
        quick.overlaps(manifest, start, bytes)
    })?;
    let device = module.device();
    device.expect_same(stream.device(), || "the stream".to_owned())?;
    let api = device.bind()?;
    for (i, tensor) in manifest.tensors.iter().enumerate() {
        let (address, bytes) = quick.place(i, workspace.address).expect(CHECKED);
        if bytes > 0 && address == 0 {
            let tensor = tensor.name.clone();
            return Err(ContractError::NullAddress { tensor }.into());
        }
    }
    for (i, _) in manifest.tensors.iter().enumerate().filter(|(_, t)| t.zeroed) {
        let (address, bytes) = quick.place(i, workspace.address).expect(CHECKED);
        if bytes > 0 {
            // SAFETY: the check proved the range to lie in the caller's memory, which outlives the work.
            let status = unsafe { (api.memset_d8)(address, 0, bytes as usize, stream.raw()) };
            api.check("cuMemsetD8Async", status)?;
        }
    }
    if let Some(offset) = quick.zeros() {
        // SAFETY: the range lies in the workspace, whose size was checked.
        let status = unsafe { (api.memset_d8)(workspace.address + offset, 0, ZEROS_BYTES as usize, stream.raw()) };
        api.check("cuMemsetD8Async", status)?;
    }
    for (number, kernel) in manifest.kernels.iter().enumerate() {
        let [x, y, z] = quick.grid(kernel).expect(CHECKED);
        if x == 0 || y == 0 || z == 0 {
            continue;
        }
        // One 8-byte slot for each argument, little end first like the device.
        let mut values = [0u64; MAX_ARGS];
        for (slot, arg) in values.iter_mut().zip(&kernel.args) {
            *slot = match quick.arg(arg).expect(CHECKED) {
                ArgValue::Tensor(i) => quick.place(i, workspace.address).expect(CHECKED).0,
                ArgValue::I64(value) => value.cast_unsigned(),
                ArgValue::I32(value) => u64::from(value.cast_unsigned()),
                ArgValue::F32(value) => u64::from(value.to_bits()),
                // Its descriptor is passed instead.
                ArgValue::Map(_) => 0,
            };
        }
        let mut maps = descriptors(module, quick, kernel, workspace)?;
        let mut pointers = values.each_mut().map(|slot| std::ptr::from_mut(slot).cast::<c_void>());
        for (pointer, arg) in pointers.iter_mut().zip(&kernel.args) {
            if let KernelArg::Map(i) = *arg {
                *pointer = std::ptr::from_mut(maps.get_mut(i).expect(CHECKED)).cast();
            }
        }
        let resident = module.resident(number);
        let [x, y, z] = kernel.blocks([x, y, z], device.facts().multiprocessors, resident);
        let (function, block, shared) = (module.function(number), kernel.block, kernel.dynamic_shared);
        let none = std::ptr::null_mut();
        // SAFETY: the function belongs to `module`; it takes as many parameters as the manifest has arguments, at most
        // MAX_ARGS (`can_launch`), of these sizes (checked on loading); the driver copies the slots before it returns
        // and writes none. Addresses, extents and strides passed the check.
        let status = unsafe {
            (api.launch_kernel)(
                function,
                x,
                y,
                z,
                block,
                1,
                1,
                shared,
                stream.raw(),
                pointers.as_mut_ptr(),
                none,
            )
        };
        api.check("cuLaunchKernel", status)?;
    }
    Ok(())
}

/// The kernel's descriptors on the stack. Encoding is arithmetic of the driver on the host, so they are not kept from call to call.
fn descriptors(
    module: &Module,
    quick: &Quick,
    kernel: &KernelDesc,
    workspace: Workspace<'_>,
) -> Result<[CUtensorMap; MAX_MAPS], LaunchError> {
    let mut maps = [CUtensorMap { opaque: [0; 16] }; MAX_MAPS];
    let manifest = module.manifest();
    for (i, slot) in maps.iter_mut().enumerate().take(kernel.maps.len()) {
        let map = quick
            .map(manifest, kernel, i)
            .expect("the call was checked against this manifest");
        let base = tensor_map::base(&map, quick.zeros(), workspace.address);
        *slot = tensor_map::encode(module.device().bind()?, manifest, &kernel.entry, &map, base)?;
    }
    Ok(maps)
}
