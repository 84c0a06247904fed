//! Work past its time limit gives a named error. One test in a process of its own, since it ends the use of the device.

mod common;

use std::time::{Duration, Instant};

use common::{device, kernel, manifest, tensor};
use einloom_artifact::{DType, KernelArg, KernelArtifact, Role};
use einloom_runtime::{DeviceBuffer, DeviceError, Module, PreparedLaunch, Stream, TensorArg};

/// Runs for three seconds, so that the device is free again soon after the test.
const SLOW: &str = "\
.version 7.0
.target sm_80
.address_size 64
.visible .entry slow(.param .u64 out)
{
    .reg .pred %p;
    .reg .u64 %start, %now;
    mov.u64 %start, %globaltimer;
AGAIN:
    mov.u64 %now, %globaltimer;
    sub.u64 %now, %now, %start;
    setp.lt.u64 %p, %now, 3000000000;
    @%p bra AGAIN;
    ret;
}
";

#[test]
fn work_past_its_time_has_a_name() {
    let Some(device) = device() else { return };
    let tensors = vec![tensor("out", Role::Output, DType::I64, None)];
    let manifest = manifest(tensors, &[], vec![kernel("slow", vec![KernelArg::TensorPtr(0)])]);
    let module = Module::load(&device, &KernelArtifact::new(manifest, SLOW.to_owned()).unwrap()).unwrap();
    let mut stream = Stream::new(&device).unwrap();
    let out = DeviceBuffer::alloc(&device, 64).unwrap();
    let launch = PreparedLaunch::new(&module, &[TensorArg::dense("out", &out, DType::I64, &[8])], &[]).unwrap();
    stream.set_timeout(Some(Duration::from_millis(100)));
    stream.synchronize().unwrap();
    let start = Instant::now();
    launch.launch(&stream).unwrap();
    assert_eq!(out.to_vec(&stream), Err(DeviceError::Timeout { ms: 100 }));
    assert_eq!(stream.synchronize(), Err(DeviceError::Timeout { ms: 100 }));
    drop((launch, module, out, stream, device));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "something waited for the kernel"
    );
}
