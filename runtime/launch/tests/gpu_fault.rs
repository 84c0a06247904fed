//! A kernel that faults gives a named error. One test in a process of its own, since a fault ends the use of the device.

mod common;

use common::{device, kernel, manifest, tensor};
use einloom_artifact::{DType, KernelArg, KernelArtifact, Role};
use einloom_runtime::{DeviceBuffer, DeviceError, Fault, Module, PreparedLaunch, Stream, TensorArg};

/// Stores to an address that is no allocation.
const WILD: &str = "\
.version 7.0
.target sm_80
.address_size 64
.visible .entry wild(.param .u64 out)
{
    .reg .u64 %at;
    mov.u64 %at, 16;
    st.global.u64 [%at], %at;
    ret;
}
";

#[test]
fn a_fault_has_a_name() {
    let Some(device) = device() else { return };
    let tensors = vec![tensor("out", Role::Output, DType::I64, None)];
    let manifest = manifest(tensors, &[], vec![kernel("wild", vec![KernelArg::TensorPtr(0)])]);
    let module = Module::load(&device, &KernelArtifact::new(manifest, WILD.to_owned()).unwrap()).unwrap();
    let stream = Stream::new(&device).unwrap();
    let out = DeviceBuffer::alloc(&device, 64).unwrap();
    let launch = PreparedLaunch::new(&module, &[TensorArg::dense("out", &out, DType::I64, &[8])], &[]).unwrap();
    launch.launch(&stream).unwrap();
    let error = stream.synchronize().unwrap_err();
    assert!(
        matches!(
            error,
            DeviceError::Fault {
                fault: Fault::IllegalAddress,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("a kernel stopped at an access outside of all allocations; "),
        "{error}"
    );
    // The error stays, and dropping everything afterwards is quiet.
    assert!(out.to_vec(&stream).is_err());
}
