//! A plain cudarc program with a launcher that was generated ahead of time.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr};
use einloom_runtime::half::{bf16, f16};
use einloom_runtime::{Device, DeviceError, Stream, Tensor, Workspace};

use crate::causal::{Args, ChoiceOfT, Kernels};
use crate::measure;
use crate::naive::{Shape, attention};

/// The largest admissible time from no code to a result, in milliseconds, and of a launch beyond the driver's call, in microseconds.
const BOUNDS: (f64, f64) = (20.0, 5.0);

/// Handles of one device, for cudarc and for the launcher.
pub struct Gpu {
    pub device: Device,
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    /// The same stream, for the launcher.
    pub queue: Stream,
}

pub fn main() -> ExitCode {
    let given = |flag: &str| std::env::args().any(|arg| arg == flag);
    let device = match Device::open(0) {
        Ok(device) => device,
        Err(reason @ (DeviceError::NoDriver | DeviceError::NoDevice { .. })) if given("--allow-no-gpu") => {
            println!("skipped: {reason}");
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            return ExitCode::FAILURE;
        }
    };
    match run(device, given("--bounds")) {
        Ok(()) => {
            println!("PASS");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("FAIL: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(device: Device, hold_bounds: bool) -> Result<(), Box<dyn Error>> {
    println!("{} of capability {}", device.facts().name, device.facts().capability);
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    // SAFETY: the stream is of the device's primary context, and `Gpu` holds it for as long as the handle.
    let queue = unsafe { Stream::borrow_raw(&device, stream.cu_stream().cast()) };
    let gpu = Gpu {
        device,
        context,
        stream,
        queue,
    };

    let tiny = Call::<bf16>::new(&gpu, shape(16, 16, 128))?;
    let start = Instant::now();
    let kernels = Kernels::load(&gpu.device)?;
    let loaded = start.elapsed();
    tiny.launch(&gpu, &kernels)?;
    gpu.stream.synchronize()?;
    let cold = 1e3 * start.elapsed().as_secs_f64();
    for variant in kernels.launcher().variants() {
        let code = if variant.has_cubin { "machine code" } else { "PTX" };
        println!("{}: {} from {code}", variant.choice, variant.target);
    }
    println!(
        "cold start: {cold:.2} ms, of which reading the bundle {:.2} ms",
        1e3 * loaded.as_secs_f64()
    );

    Call::<bf16>::new(&gpu, shape(200, 333, 128))?.check(&gpu, &kernels)?;
    Call::<bf16>::new(&gpu, shape(129, 64, 64))?.check(&gpu, &kernels)?;
    Call::<f16>::new(&gpu, shape(1, 1000, 128))?.check(&gpu, &kernels)?;
    Call::<f16>::new(&gpu, shape(77, 78, 64))?.check(&gpu, &kernels)?;

    let overhead = measure::overhead(&gpu, &kernels, &tiny)?;
    if hold_bounds && (cold > BOUNDS.0 || overhead > BOUNDS.1) {
        return Err(format!("the bounds are {} ms and {} us", BOUNDS.0, BOUNDS.1).into());
    }
    Ok(())
}

fn shape(queries: usize, keys: usize, width: usize) -> Shape {
    Shape {
        heads: 4,
        groups: 2,
        queries,
        keys,
        width,
    }
}

/// A 16-bit type with its conversions.
pub trait Half: ChoiceOfT + DeviceRepr {
    fn of(value: f32) -> Self;
    fn value(self) -> f64;
}

impl Half for bf16 {
    fn of(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
}

impl Half for f16 {
    fn of(value: f32) -> f16 {
        f16::from_f32(value)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
}

/// Inputs on the host, and everything on the device; outputs are poisoned.
pub struct Call<T> {
    shape: Shape,
    host: [Vec<T>; 3],
    q: cudarc::driver::CudaSlice<T>,
    k: cudarc::driver::CudaSlice<T>,
    v: cudarc::driver::CudaSlice<T>,
    o: std::cell::RefCell<cudarc::driver::CudaSlice<T>>,
    lse: std::cell::RefCell<cudarc::driver::CudaSlice<f32>>,
    workspace: cudarc::driver::CudaSlice<u8>,
}

impl<T: Half> Call<T> {
    fn new(gpu: &Gpu, shape: Shape) -> Result<Call<T>, Box<dyn Error>> {
        let (rows, keys) = (shape.heads * shape.queries, shape.groups * shape.keys);
        let host = [
            random(1, rows * shape.width),
            random(2, keys * shape.width),
            random(3, keys * shape.width),
        ];
        let poison = vec![T::of(f32::NAN); rows * shape.width];
        Ok(Call {
            q: gpu.stream.clone_htod(&host[0])?,
            k: gpu.stream.clone_htod(&host[1])?,
            v: gpu.stream.clone_htod(&host[2])?,
            o: gpu.stream.clone_htod(&poison)?.into(),
            lse: gpu.stream.clone_htod(&vec![f32::NAN; rows])?.into(),
            workspace: gpu.stream.alloc_zeros::<u8>(1 << 20)?,
            shape,
            host,
        })
    }

    /// Hands the tensors to `work`.
    pub fn with<R>(&self, gpu: &Gpu, work: impl FnOnce(&Args<'_, T>, Workspace<'_>) -> R) -> R {
        let (mut o, mut lse) = (self.o.borrow_mut(), self.lse.borrow_mut());
        // The guards tell cudarc's other streams to wait; they are dropped after the launch.
        let ((q, _q), (k, _k), (v, _v)) = (
            self.q.device_ptr(&gpu.stream),
            self.k.device_ptr(&gpu.stream),
            self.v.device_ptr(&gpu.stream),
        );
        let ((o, _o), (lse, _lse)) = (o.device_ptr_mut(&gpu.stream), lse.device_ptr_mut(&gpu.stream));
        let (workspace, _workspace) = self.workspace.device_ptr(&gpu.stream);
        let Shape {
            heads,
            groups,
            queries,
            keys,
            width,
        } = self.shape;
        let [h, g, p, m, e] = [heads, groups, queries, keys, width].map(|n| n as u64);
        // SAFETY: the slices have as many elements as the shapes; they are freed in the order of the stream that is launched on.
        let (args, workspace) = unsafe {
            let args = Args {
                Q: Tensor::dense_raw(q, [1, h, p, e]),
                K: Tensor::dense_raw(k, [1, g, m, e]),
                V: Tensor::dense_raw(v, [1, g, m, e]),
                O: Tensor::dense_raw(o, [1, h, p, e]),
                LSE: Tensor::dense_raw(lse, [1, h, p]),
            };
            (args, Workspace::from_raw(workspace, self.workspace.len() as u64))
        };
        work(&args, workspace)
    }

    fn launch(&self, gpu: &Gpu, kernels: &Kernels) -> Result<(), Box<dyn Error>> {
        self.with(gpu, |args, workspace| kernels.launch(&gpu.queue, args, workspace))?;
        Ok(())
    }

    /// Launches, and compares every element with the naive computation.
    fn check(&self, gpu: &Gpu, kernels: &Kernels) -> Result<(), Box<dyn Error>> {
        self.launch(gpu, kernels)?;
        let o = gpu.stream.clone_dtoh(&*self.o.borrow())?;
        let lse = gpu.stream.clone_dtoh(&*self.lse.borrow())?;
        let [q, k, v] = self
            .host
            .each_ref()
            .map(|x| x.iter().map(|x| x.value()).collect::<Vec<_>>());
        let (expected_o, expected_lse) = attention(self.shape, &q, &k, &v);
        let o: Vec<f64> = o.into_iter().map(Half::value).collect();
        let lse: Vec<f64> = lse.into_iter().map(f64::from).collect();
        // Inputs lie within 1; weights and the result are rounded to 8 bits at least.
        let errors = [worst(&o, &expected_o)?, worst(&lse, &expected_lse)?];
        println!(
            "{:?}: largest error of O {:.1e}, of LSE {:.1e}",
            self.shape, errors[0], errors[1]
        );
        if errors[0] <= 1.0 / 128.0 && errors[1] <= 1e-3 {
            Ok(())
        } else {
            Err("the result is wrong".into())
        }
    }
}

/// The largest difference; two equal infinities differ by nothing, a NaN is an error.
fn worst(found: &[f64], expected: &[f64]) -> Result<f64, String> {
    let mut worst = 0.0f64;
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = if found == expected {
            0.0
        } else {
            (found - expected).abs()
        };
        if !error.is_finite() {
            return Err(format!("element {i} is {found}, not {expected}"));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// Numbers from -1 to 1, the same every time (a linear congruential generator, Numerical Recipes).
fn random<T: Half>(seed: u32, n: usize) -> Vec<T> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::of((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..n).map(|_| next()).collect()
}
