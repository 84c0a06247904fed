//! Launches `out = a * x + y` from a hand-written kernel and a hand-built manifest, checks the result, and times it.
//!
//! `cargo run -p einloom-runtime --example saxpy [ELEMENTS]`
//!
//! It needs an NVIDIA driver and nothing else; without one it says so and exits with status 1.

use std::collections::BTreeMap;
use std::error::Error;

use einloom_artifact::{
    DType, Dim, DimExpr, DimRef, ExtentSource, ExtentSym, FORMAT_VERSION, KernelArg, KernelArtifact, KernelDesc,
    Manifest, Role, ScalarArg, ScalarParam, ScalarType, ScalarValue, TensorParam,
};
use einloom_runtime::{Device, DeviceBuffer, L2Flush, Module, PreparedLaunch, Stream, TensorArg, TimingOptions, time};

const BLOCK: u32 = 256;

const PTX: &str = "\
.version 7.0
.target sm_80
.address_size 64

.visible .entry saxpy(
    .param .u64 out_ptr,
    .param .u64 x_ptr,
    .param .u64 y_ptr,
    .param .f32 a_value,
    .param .u64 n_value
)
{
    .reg .pred %p;
    .reg .f32 %a, %x, %y;
    .reg .u32 %block, %width, %thread;
    .reg .u64 %i, %lane, %n, %out, %xs, %ys, %at;

    mov.u32 %block, %ctaid.x;
    mov.u32 %width, %ntid.x;
    mov.u32 %thread, %tid.x;
    mul.wide.u32 %i, %block, %width;
    cvt.u64.u32 %lane, %thread;
    add.u64 %i, %i, %lane;
    ld.param.u64 %n, [n_value];
    setp.ge.u64 %p, %i, %n;
    @%p bra DONE;

    ld.param.u64 %xs, [x_ptr];
    ld.param.u64 %ys, [y_ptr];
    ld.param.u64 %out, [out_ptr];
    ld.param.f32 %a, [a_value];
    cvta.to.global.u64 %xs, %xs;
    cvta.to.global.u64 %ys, %ys;
    cvta.to.global.u64 %out, %out;
    shl.b64 %i, %i, 2;
    add.u64 %at, %xs, %i;
    ld.global.f32 %x, [%at];
    add.u64 %at, %ys, %i;
    ld.global.f32 %y, [%at];
    fma.rn.f32 %y, %a, %x, %y;
    add.u64 %at, %out, %i;
    st.global.f32 [%at], %y;
DONE:
    ret;
}
";

fn manifest() -> Result<Manifest, Box<dyn Error>> {
    let vector = |name: &str, role| TensorParam {
        name: name.to_owned(),
        role,
        dtype: DType::F32,
        dims: vec![Dim {
            rank: "i".to_owned(),
            extent: DimExpr::Extent(0),
            stride_multiple: 1,
        }],
        innermost_contiguous: true,
        align: 4,
        zeroed: false,
    };
    let everywhere = (0..3).map(|tensor| DimRef { tensor, dim: 0 }).collect();
    Ok(Manifest {
        format_version: FORMAT_VERSION,
        einloom_version: env!("CARGO_PKG_VERSION").to_owned(),
        cascade: "saxpy".to_owned(),
        specialisation: BTreeMap::new(),
        target: "sm_80".parse()?,
        ptx_version: "7.0".parse()?,
        min_capability: "8.0".parse()?,
        ptx_blake3: String::new(),
        extents: vec![ExtentSym {
            name: "I".to_owned(),
            source: ExtentSource::Dims(everywhere),
            min: 0,
            max: 1 << 38,
            multiple_of: 1,
        }],
        scalars: vec![ScalarParam {
            name: "a".to_owned(),
            dtype: ScalarType::F32,
        }],
        tensors: vec![
            vector("out", Role::Output),
            vector("x", Role::Input),
            vector("y", Role::Input),
        ],
        kernels: vec![KernelDesc {
            entry: "saxpy".to_owned(),
            args: vec![
                KernelArg::TensorPtr(0),
                KernelArg::TensorPtr(1),
                KernelArg::TensorPtr(2),
                KernelArg::Scalar(0),
                KernelArg::Extent(0),
            ],
            maps: Vec::new(),
            grid: [DimExpr::Extent(0).ceil_div(i64::from(BLOCK)), 1.into(), 1.into()],
            persistent: None,
            block: BLOCK,
            dynamic_shared: 0,
            min_blocks: 0,
            planned_registers: 0,
            allow_local_memory: false,
            notes: vec!["one thread for each element".to_owned()],
        }],
    })
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let n: usize = std::env::args().nth(1).map_or(Ok(1_000_003), |text| text.parse())?;
    let artifact = KernelArtifact::new(manifest()?, PTX.to_owned())?;
    // Through bytes and back, like a kernel that was built elsewhere.
    let artifact = KernelArtifact::from_bytes(&artifact.to_bytes())?;

    let device = Device::open(0)?;
    let facts = device.facts();
    println!(
        "{} (capability {}, {} multiprocessors)",
        facts.name, facts.capability, facts.multiprocessors
    );
    let module = Module::load(&device, &artifact)?;
    for kernel in module.kernels() {
        println!("{kernel:?}");
    }

    let stream = Stream::new(&device)?;
    let a = 1.5f32;
    let x: Vec<f32> = (0..n).map(|i| (i % 1000) as f32).collect();
    let y: Vec<f32> = (0..n).map(|i| (i % 77) as f32 - 38.0).collect();
    let shape = [n as u64];
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let x_buffer = DeviceBuffer::from_bytes(&stream, &bytes(&x))?;
    let y_buffer = DeviceBuffer::from_bytes(&stream, &bytes(&y))?;
    let out = DeviceBuffer::alloc(&device, 4 * n as u64)?;
    out.fill(&stream, 0xff)?;
    let tensors = [
        TensorArg::dense("out", &out, DType::F32, &shape),
        TensorArg::dense("x", &x_buffer, DType::F32, &shape),
        TensorArg::dense("y", &y_buffer, DType::F32, &shape),
    ];
    let scalars = [ScalarArg {
        name: "a",
        value: ScalarValue::F32(a),
    }];
    let launch = PreparedLaunch::new(&module, &tensors, &scalars)?;
    launch.launch(&stream)?;

    let result = out.to_vec(&stream)?;
    let result = result
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
    let wrong = result
        .zip(x.iter().zip(&y))
        .filter(|(got, (x, y))| *got != a.mul_add(**x, **y))
        .count();
    println!("{n} elements, {wrong} wrong");

    let flush = L2Flush::new(&device)?;
    let timing = time(&stream, &TimingOptions::default(), Some(&flush), || {
        launch.launch(&stream)
    })?;
    let gbps = 12.0 * n as f64 / timing.median_us() / 1e3;
    println!("median {:.1} us, {gbps:.0} GB/s", timing.median_us());
    if wrong > 0 {
        Err("the result is wrong".into())
    } else {
        Ok(())
    }
}
