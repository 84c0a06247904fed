//! What a launch costs the host: by the driver's call alone, by a prepared call, and by a call that is checked each time.

use std::error::Error;
use std::ffi::c_void;
use std::time::Instant;

use cudarc::driver::sys::CUfunction_attribute;
use cudarc::nvrtc::Ptx;
use einloom_runtime::artifact::Bundle;
use einloom_runtime::artifact::contract::{ArgValue, Place};
use einloom_runtime::half::bf16;

use crate::causal::{BUNDLE, Kernels};
use crate::program::{Call, Gpu};

/// Launches in a sample: few enough that the driver's queue never fills.
const BATCH: usize = 50;
const SAMPLES: usize = 61;

/// Prints the times and returns what a checked launch costs beyond the driver's call, in microseconds.
pub fn overhead(gpu: &Gpu, kernels: &Kernels, call: &Call<bf16>) -> Result<f64, Box<dyn Error>> {
    call.with(gpu, |args, workspace| {
        let call = kernels.prepare(args, workspace)?;
        let raw = raw_launch(gpu, kernels, call.plan())?;
        let prepared = time(gpu, || Ok(call.launch(&gpu.queue)?))?;
        let checked = time(gpu, || Ok(kernels.launch(&gpu.queue, args, workspace)?))?;
        // A prepared call makes the context current and calls the driver, and nothing else.
        let (driver, base) = match raw {
            Some(raw) => {
                let raw = time(gpu, raw)?;
                (format!("{raw:.2} us by the driver alone"), raw)
            }
            None => ("-".to_owned(), prepared),
        };
        println!(
            "a launch takes the host {driver}, {prepared:.2} us prepared, {checked:.2} us checked: overhead {:.2} us",
            checked - base
        );
        Ok(checked - base)
    })
}

/// The same kernel with the same arguments, by nothing but the driver's call. Its specialisation is `e=128, T=bf16`. `None` where
/// arguments are more than numbers.
fn raw_launch<'a>(
    gpu: &'a Gpu,
    kernels: &Kernels,
    plan: &einloom_runtime::artifact::LaunchPlan,
) -> Result<Option<impl FnMut() -> Result<(), Box<dyn Error>> + 'a>, Box<dyn Error>> {
    let chosen = kernels
        .launcher()
        .variants()
        .into_iter()
        .find(|v| v.choice == "T=bf16, e=128");
    let target = chosen.ok_or("no specialisation e=128, T=bf16")?.target;
    let bundle = Bundle::from_bytes(BUNDLE)?;
    let entry = bundle
        .entries()
        .iter()
        .find(|entry| {
            entry.target == target && entry.specialisation["e"] == "128" && entry.specialisation["T"] == "bf16"
        })
        .ok_or("the bundle has no such entry")?;
    let artifact = bundle.artifact(entry)?;
    let [planned] = plan.launches.as_slice() else {
        return Err("the call has more than one kernel".into());
    };
    let kernel = &artifact.manifest().kernels[planned.kernel];
    // The grid of a persistent kernel is the launcher's choice.
    if kernel.persistent.is_some() {
        return Ok(None);
    }
    let module = gpu.context.load_module(Ptx::from_src(artifact.ptx()))?;
    let function = module.load_function(&kernel.entry)?;
    let shared = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    function.set_attribute(shared, i32::try_from(kernel.dynamic_shared)?)?;
    let address = |tensor: usize| match plan.tensors[tensor].place {
        Place::Address(address) => Ok(address),
        Place::Workspace(_) => Err("the call has a workspace"),
    };
    let mut values = Vec::new();
    for arg in &planned.args {
        values.push(match *arg {
            ArgValue::Tensor(i) => address(i)?,
            ArgValue::I64(value) => value as u64,
            ArgValue::I32(value) => u64::from(value as u32),
            ArgValue::F32(value) => u64::from(value.to_bits()),
            ArgValue::Map(_) => return Ok(None),
        });
    }
    let (grid, block, shared) = (planned.grid, kernel.block, kernel.dynamic_shared);
    Ok(Some(move || {
        let mut pointers: [*mut c_void; 64] = [std::ptr::null_mut(); 64];
        for (pointer, value) in pointers.iter_mut().zip(&mut values) {
            *pointer = std::ptr::from_mut(value).cast();
        }
        // SAFETY: function and arguments are those of the call that was prepared.
        unsafe {
            cudarc::driver::result::launch_kernel(
                function.cu_function(),
                (grid[0], grid[1], grid[2]),
                (block, 1, 1),
                shared,
                gpu.stream.cu_stream(),
                &mut pointers,
            )?;
        }
        Ok(())
    }))
}

/// Median time of a launch on the host, in microseconds.
fn time(gpu: &Gpu, mut launch: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let start = Instant::now();
        for _ in 0..BATCH {
            launch()?;
        }
        samples.push(1e6 * start.elapsed().as_secs_f64() / BATCH as f64);
        gpu.stream.synchronize()?;
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[SAMPLES / 2])
}
