//! Loading and launching on a GPU. Without one every test is skipped and says so.

mod common;

use common::{COUNT, count_artifact, device, kernel, manifest, tensor};
use einloom_artifact::{ContractError, DType, KernelArg, KernelArtifact, Role, ScalarArg, ScalarType, ScalarValue};
use einloom_runtime::{
    DeviceBuffer, DeviceError, L2Flush, LaunchError, Module, PreparedLaunch, Stream, TensorArg, TimingOptions, time,
};

/// Writes its arguments: `out[i]` is the i-th of stride, extent, i32, i64, bool, bits of f32, for one thread.
const ARGS: &str = "\
.version 7.0
.target sm_80
.address_size 64
.visible .entry args(
    .param .u64 out, .param .u64 stride, .param .u64 extent, .param .u32 small, .param .u64 large, .param .u32 flag,
    .param .f32 real)
{
    .reg .u64 %out, %x;
    .reg .u32 %y;
    .reg .s64 %z;
    ld.param.u64 %out, [out];
    cvta.to.global.u64 %out, %out;
    ld.param.u64 %x, [stride];
    st.global.u64 [%out], %x;
    ld.param.u64 %x, [extent];
    st.global.u64 [%out+8], %x;
    ld.param.u32 %y, [small];
    cvt.s64.s32 %z, %y;
    st.global.u64 [%out+16], %z;
    ld.param.u64 %x, [large];
    st.global.u64 [%out+24], %x;
    ld.param.u32 %y, [flag];
    cvt.u64.u32 %x, %y;
    st.global.u64 [%out+32], %x;
    ld.param.b32 %y, [real];
    cvt.u64.u32 %x, %y;
    st.global.u64 [%out+40], %x;
    ret;
}
";

fn bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn arguments_arrive_as_packed() {
    let Some(device) = device() else { return };
    let scalars = [
        ("small", ScalarType::I32),
        ("large", ScalarType::I64),
        ("flag", ScalarType::Bool),
        ("real", ScalarType::F32),
    ];
    let args = vec![
        KernelArg::TensorPtr(0),
        KernelArg::TensorStride { tensor: 0, dim: 0 },
        KernelArg::Extent(0),
        KernelArg::Scalar(0),
        KernelArg::Scalar(1),
        KernelArg::Scalar(2),
        KernelArg::Scalar(3),
    ];
    let mut desc = kernel("args", args);
    (desc.grid[0], desc.block) = (1.into(), 1);
    let manifest = manifest(
        vec![tensor("out", Role::Output, DType::I64, Some(2))],
        &scalars,
        vec![desc],
    );
    let module = Module::load(&device, &KernelArtifact::new(manifest, ARGS.to_owned()).unwrap()).unwrap();

    let stream = Stream::new(&device).unwrap();
    let out = DeviceBuffer::alloc(&device, 8 * 64).unwrap();
    out.fill(&stream, 0xff).unwrap();
    // Two rows of 6 that are 9 apart, 16 bytes into the buffer.
    let tensor = TensorArg {
        name: "out",
        buffer: &out,
        offset: 16,
        dtype: DType::I64,
        shape: vec![2, 6],
        strides: vec![9, 1],
    };
    let scalars = [
        ScalarArg {
            name: "real",
            value: ScalarValue::F32(-0.5),
        },
        ScalarArg {
            name: "small",
            value: ScalarValue::I32(-7),
        },
        ScalarArg {
            name: "large",
            value: ScalarValue::I64(i64::MIN + 3),
        },
        ScalarArg {
            name: "flag",
            value: ScalarValue::Bool(true),
        },
    ];
    let launch = PreparedLaunch::new(&module, &[tensor], &scalars).unwrap();
    launch.launch(&stream).unwrap();
    let words: Vec<i64> = out
        .to_vec(&stream)
        .unwrap()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let expected = [-1, -1, 9, 6, -7, i64::MIN + 3, 1, i64::from((-0.5f32).to_bits()), -1];
    assert_eq!(words[..9], expected);
}

#[test]
fn workspaces_are_cleared_for_every_launch() {
    let Some(device) = device() else { return };
    let module = Module::load(&device, &count_artifact()).unwrap();
    assert_eq!(module.kernels().len(), 2);
    assert!(module.kernels()[0].registers > 0 && module.kernels()[0].blocks_per_multiprocessor > 0);
    let stream = Stream::new(&device).unwrap();
    for n in [1u64, 127, 128, 1001] {
        let x: Vec<i32> = (0..n as i32).map(|i| 3 * i).collect();
        let x_buffer = DeviceBuffer::from_bytes(&stream, &bytes(&x)).unwrap();
        let out = DeviceBuffer::alloc(&device, 4 * n + 4).unwrap();
        out.fill(&stream, 0xff).unwrap();
        let tensors = [
            TensorArg::dense("out", &out, DType::I32, &[n]),
            TensorArg::dense("x", &x_buffer, DType::I32, &[n]),
        ];
        let launch = PreparedLaunch::new(&module, &tensors, &[]).unwrap();
        for _ in 0..3 {
            launch.launch(&stream).unwrap();
        }
        let mut expected: Vec<i32> = x.iter().map(|x| x + 1).collect();
        // Nothing past the end was written.
        expected.push(-1);
        assert_eq!(out.to_vec(&stream).unwrap(), bytes(&expected));
    }
}

#[test]
fn an_empty_call_launches_nothing() {
    let Some(device) = device() else { return };
    let module = Module::load(&device, &count_artifact()).unwrap();
    let stream = Stream::new(&device).unwrap();
    let none = DeviceBuffer::alloc(&device, 0).unwrap();
    let tensors = [
        TensorArg::dense("out", &none, DType::I32, &[0]),
        TensorArg::dense("x", &none, DType::I32, &[0]),
    ];
    let launch = PreparedLaunch::new(&module, &tensors, &[]).unwrap();
    assert_eq!(launch.plan().skipped, [0, 1]);
    launch.launch(&stream).unwrap();
    stream.synchronize().unwrap();
}

#[test]
fn a_call_that_does_not_fit_is_refused() {
    let Some(device) = device() else { return };
    let module = Module::load(&device, &count_artifact()).unwrap();
    let small = DeviceBuffer::alloc(&device, 396).unwrap();
    let tensors = [
        TensorArg::dense("out", &small, DType::I32, &[100]),
        TensorArg::dense("x", &small, DType::I32, &[100]),
    ];
    let refused = PreparedLaunch::new(&module, &tensors, &[]).map(|_| ());
    let expected = ContractError::OutOfBounds {
        tensor: "out".to_owned(),
        last: 99,
        len: 99,
    };
    assert_eq!(refused, Err(LaunchError::Contract(expected)));
}

#[test]
fn the_assemblers_words_are_kept() {
    let Some(device) = device() else { return };
    let broken = COUNT.replace("red.global.add.u32 [%at], %one;", "red.global.bogus.u32 [%at], %one;");
    let artifact = KernelArtifact::new(count_artifact().manifest().clone(), broken).unwrap();
    let error = Module::load(&device, &artifact).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LaunchError::Jit { .. }), "{text}");
    assert!(
        text.contains("CUDA_ERROR_INVALID_PTX") && text.contains(".bogus"),
        "{text}"
    );
}

#[test]
fn devices_are_checked() {
    let Some(device) = device() else { return };
    let mut elsewhere = count_artifact().manifest().clone();
    elsewhere.target = "sm_75a".parse().unwrap();
    elsewhere.min_capability = "7.5".parse().unwrap();
    let artifact = KernelArtifact::new(elsewhere, COUNT.to_owned()).unwrap();
    assert!(matches!(
        Module::load(&device, &artifact),
        Err(LaunchError::Target { .. })
    ));
    let mut later = count_artifact().manifest().clone();
    later.min_capability = "99.0".parse().unwrap();
    let artifact = KernelArtifact::new(later, COUNT.to_owned()).unwrap();
    assert!(matches!(
        Module::load(&device, &artifact),
        Err(LaunchError::Capability { .. })
    ));
}

#[test]
fn memory_runs_out_with_numbers() {
    let Some(device) = device() else { return };
    let bytes = device.facts().memory_bytes * 4;
    match DeviceBuffer::alloc(&device, bytes) {
        Err(DeviceError::OutOfMemory {
            bytes: asked,
            free,
            total,
        }) => {
            assert_eq!(asked, bytes);
            assert!(free <= total && total < bytes);
        }
        other => panic!("{other:?}"),
    }
    let buffer = DeviceBuffer::alloc(&device, 16).unwrap();
    let stream = Stream::new(&device).unwrap();
    let refused = buffer.upload(&stream, 8, &[0; 9]);
    assert_eq!(
        refused,
        Err(DeviceError::BufferRange {
            offset: 8,
            bytes: 9,
            len: 16
        })
    );
}

#[test]
fn timing_gives_samples() {
    let Some(device) = device() else { return };
    let module = Module::load(&device, &count_artifact()).unwrap();
    let stream = Stream::new(&device).unwrap();
    let n = 1 << 20;
    let (x, out) = (
        DeviceBuffer::alloc(&device, 4 * n).unwrap(),
        DeviceBuffer::alloc(&device, 4 * n).unwrap(),
    );
    x.fill(&stream, 0).unwrap();
    let tensors = [
        TensorArg::dense("out", &out, DType::I32, &[n]),
        TensorArg::dense("x", &x, DType::I32, &[n]),
    ];
    let launch = PreparedLaunch::new(&module, &tensors, &[]).unwrap();
    let options = TimingOptions {
        warmup_ms: 5.0,
        reps: 20,
        launches_per_rep: 4,
    };
    let warm = time(&stream, &options, None, || launch.launch(&stream)).unwrap();
    let flush = L2Flush::new(&device).unwrap();
    let cold = time(&stream, &options, Some(&flush), || launch.launch(&stream)).unwrap();
    for timing in [warm, cold] {
        assert_eq!(timing.samples_us.len(), 20);
        assert!(0.0 < timing.min_us() && timing.min_us() <= timing.median_us() && timing.median_us() < 1e5);
    }
}
