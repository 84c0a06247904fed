//! What a launch costs the host: the driver's call alone, a prepared call, and a call that is checked and dispatched each time.
//!
//! `cargo bench -p einloom-runtime`. Runs only where there is a GPU. The promise is that a checked call costs at most 5 us more than
//! the driver's.
#![allow(unsafe_code, reason = "the driver's own call is the base line")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::ffi::c_void;
use std::hint::black_box;
use std::time::{Duration, Instant};

use common::{device, kernel, manifest, tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use cudarc::driver::CudaContext;
use cudarc::nvrtc::Ptx;
use einloom_artifact::bundle::{Bundle, Packed, pack};
use einloom_artifact::{DType, KernelArg, KernelArtifact, Role};
use einloom_runtime::{Call, DeviceBuffer, Launcher, Stream, Tensor, Workspace};

/// `out[r,i] = x[r,i] + 1` for the first row, by one block.
const INCREMENT: &str = "\
.version 7.0
.target sm_80
.address_size 64
.visible .entry increment(.param .u64 out, .param .u64 out_stride, .param .u64 x, .param .u64 x_stride, .param .u64 n)
{
    .reg .u32 %a, %t;
    .reg .u64 %o, %x, %i;
    ld.param.u64 %o, [out];
    ld.param.u64 %x, [x];
    mov.u32 %t, %tid.x;
    mul.wide.u32 %i, %t, 4;
    cvta.to.global.u64 %o, %o;
    cvta.to.global.u64 %x, %x;
    add.u64 %o, %o, %i;
    add.u64 %x, %x, %i;
    ld.global.u32 %a, [%x];
    add.u32 %a, %a, 1;
    st.global.u32 [%o], %a;
    ret;
}
";

const N: u64 = 128;

fn artifact() -> KernelArtifact {
    let tensors = vec![
        tensor("x", Role::Input, DType::I32, Some(2)),
        tensor("out", Role::Output, DType::I32, Some(2)),
    ];
    let args = vec![
        KernelArg::TensorPtr(1),
        KernelArg::TensorStride { tensor: 1, dim: 0 },
        KernelArg::TensorPtr(0),
        KernelArg::TensorStride { tensor: 0, dim: 0 },
        KernelArg::Extent(0),
    ];
    let manifest = manifest(tensors, &[], vec![kernel("increment", args)]);
    KernelArtifact::new(manifest, INCREMENT.to_owned()).expect("the artifact is consistent")
}

/// Time of `n` launches, without that of the waits that keep the driver's queue from filling.
fn timed(stream: &Stream, n: u64, mut launch: impl FnMut()) -> Duration {
    const BATCH: u64 = 64;
    let (mut total, mut left) = (Duration::ZERO, n);
    while left > 0 {
        let batch = left.min(BATCH);
        let start = Instant::now();
        (0..batch).for_each(|_| launch());
        total += start.elapsed();
        stream.synchronize().expect("the kernels run");
        left -= batch;
    }
    total
}

fn launches(criterion: &mut Criterion) {
    let Some(device) = device() else { return };
    let artifact = artifact();
    let packed = Packed {
        artifact: artifact.clone(),
        align: 4,
        made_for: std::collections::BTreeMap::new(),
        cubin: None,
    };
    let bundle = pack("test", &[packed]).expect("one artifact is a bundle");
    let bundle = Bundle::from_bytes(bundle).expect("a bundle that was written is read");
    let launcher = Launcher::new(&device, &bundle, &[]).expect("every GPU runs sm_80");
    let stream = Stream::new(&device).expect("a stream");
    let buffer = || DeviceBuffer::alloc(&device, 2 * 4 * N).expect("a kilobyte");
    let (x, out) = (buffer(), buffer());
    let (x_tensor, out_tensor) = (
        Tensor::<i32, 2>::dense(&x, [2, N]),
        Tensor::<i32, 2>::dense(&out, [2, N]),
    );
    let call = || Call::new([x_tensor.named("x"), out_tensor.named("out")], []);
    let context = CudaContext::new(0).expect("the same context");
    let module = context.load_module(Ptx::from_src(INCREMENT)).expect("the PTX is right");
    let function = module.load_function("increment").expect("the kernel is there");

    let mut group = criterion.benchmark_group("launch");
    group.bench_function("driver", |b| {
        let raw = context.new_stream().expect("a stream");
        // SAFETY: `raw` is of the primary context and outlives the handle.
        let stream = unsafe { Stream::borrow_raw(&device, raw.cu_stream().cast()) };
        let mut values = [out.address(), N, x.address(), N, N];
        b.iter_custom(|n| {
            timed(&stream, n, || {
                let mut pointers = values.each_mut().map(|v| std::ptr::from_mut(v).cast::<c_void>());
                // SAFETY: the kernel takes these five arguments of 8 bytes.
                unsafe {
                    let (function, queue) = (function.cu_function(), raw.cu_stream());
                    cudarc::driver::result::launch_kernel(function, (1, 1, 1), (128, 1, 1), 0, queue, &mut pointers)
                }
                .expect("the driver launches");
            })
        });
    });
    group.bench_function("prepared", |b| {
        let call = call();
        let prepared = launcher.prepare(&call, Workspace::NONE).expect("the call fits");
        b.iter_custom(|n| timed(&stream, n, || prepared.launch(&stream).expect("it launches")));
    });
    group.bench_function("checked", |b| {
        b.iter_custom(|n| {
            timed(&stream, n, || {
                let call = black_box(call());
                launcher.launch(&stream, &call, Workspace::NONE).expect("it launches");
            })
        });
    });
    group.finish();
}

criterion_group!(benches, launches);
criterion_main!(benches);
