//! `einloom bench`: time of one launch, TFLOP/s and GB/s on a GPU, and the time from text to the first launch.

mod compare;

use self::compare::Compared;
use super::Output;
use super::common::{CliError, CliResult, DeviceArg, TunedArgs, given, load, schedule};
use super::compile::select;
use super::print::outln;
use super::verify::shape_text;
use crate::case::{Case, CaseError, Runner, shape_class};
use crate::data::layout::Layout;
use crate::data::shapes::Given;
use crate::data::usual;
use crate::exec::gpu::{Call, Gpu};
use crate::pieces;
use crate::pipeline::{self, Compiled};
use crate::session::{Session, choice_text};
use crate::tuning::lookup::Purpose;
use crate::tuning::problem::least_align;
use crate::work::work;
use clap::Args;
use comfy_table::{Table, presets};
use einloom_cascade::ir::Cascade;
use einloom_runtime::{Module, Timing, TimingOptions};
use einloom_tile::machine::MachineModel;
use einloom_tile::model::Device;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The GPU, cuda:N
    #[arg(long, default_value = "cuda:0")]
    device: DeviceArg,
    /// Extents, choices and scalars; long ranks are 4096 without, batch 4, heads 16
    #[arg(long)]
    shape: Vec<String>,
    /// Target; the device's best without
    #[arg(long)]
    target: Option<String>,
    /// One schedule for all kernels, e.g. rows=128,cols=64,warps=4,stages=2,blocks=2; the tuned or default ones without
    #[arg(long)]
    schedule: Option<String>,
    #[command(flatten)]
    tuned: TunedArgs,
    /// Samples; the median is reported
    #[arg(long, default_value_t = 50)]
    reps: usize,
    /// Also a table of what was predicted of each kernel beside what was measured
    #[arg(long)]
    report: bool,
    /// One JSON line for each case on standard output
    #[arg(long)]
    json: bool,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Milliseconds from a spec's text to the end of the first launch, by step. Inputs are made and uploaded between the steps and do not count.
struct FirstLaunch {
    /// Reading and checking the file.
    check: f64,
    /// Cascade to PTX.
    compile: f64,
    /// The driver makes machine code of PTX, unless its cache has it.
    load: f64,
    /// The first launch and its end.
    launch: f64,
}

impl FirstLaunch {
    fn all(&self) -> f64 {
        self.check + self.compile + self.load + self.launch
    }
}

/// One specialisation at one shape.
struct Measured {
    spec: String,
    choice: String,
    shape: String,
    target: String,
    timing: Timing,
    tflops: f64,
    gbs: f64,
    first: FirstLaunch,
    kernels: Vec<Compared>,
}

pub(crate) fn bench(args: &BenchArgs, output: Output) -> CliResult {
    let given = given(&args.shape)?;
    let runner = Runner::new(args.device)?;
    let Runner::Cuda(gpu) = &runner else {
        return Err(CliError::Other("bench measures GPUs: give --device cuda:N".to_owned()));
    };
    let mut session = Session::new();
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "spec",
        "choices",
        "shape",
        "median",
        "5 % .. 95 %",
        "TFLOP/s",
        "GB/s",
        "text to first launch",
    ]);
    let mut report = compare::table();
    let mut good = true;
    for path in &args.files {
        let clock = Instant::now();
        let Some(loaded) = load(&mut session, path, output)? else {
            good = false;
            continue;
        };
        let check = milliseconds(clock);
        for cascade in select(&loaded.cascades, &given)? {
            let mut measured = measure(args, path, cascade, &given, (gpu, runner.target()), output)?;
            measured.first.check = check;
            if args.json {
                outln!("{}", to_json(&measured, &gpu.device().facts().name));
            }
            let name = format!("{} {}", measured.spec, measured.choice);
            report.add_rows(compare::rows(&name, &measured.kernels, measured.timing.median_us()));
            table.add_row(row(&measured));
        }
    }
    if !args.json {
        outln!("{}", gpu.device().facts().name);
        outln!("{table}");
        if args.report {
            outln!("{report}");
        }
    }
    Ok(good)
}

fn measure(
    args: &BenchArgs,
    path: &Path,
    cascade: &Cascade,
    given: &Given,
    (gpu, own_target): (&Gpu, &str),
    output: Output,
) -> Result<Measured, CliError> {
    let clock = Instant::now();
    let plan = pipeline::plan(cascade)?;
    let planned = milliseconds(clock);
    let symbols = usual::symbols(cascade, &plan, given)?;
    let case = Case::from_symbols(cascade, given, &symbols, args.seed)?;
    let shape = shape_class(&plan, &case.inputs.shapes(), &case.extents, Layout::Dense);
    let target = args.target.as_deref().unwrap_or(own_target);
    let plan = match args.schedule {
        Some(_) => plan,
        None => pieces::fitted(plan, target, &shape),
    };
    let clock = Instant::now();
    let schedules = match &args.schedule {
        Some(text) => Some(vec![schedule(text)?; plan.kernels.len()]),
        None => {
            let facts = gpu.device().facts();
            let purpose = Purpose {
                target,
                align: least_align(&shape),
                symbols: &symbols,
                device: Some((&facts.name, facts.driver_version)),
            };
            let choice = args.tuned.choose(path, cascade, &plan, &shape, &purpose, output);
            choice.schedules
        }
    };
    let compiled = pipeline::emit(pipeline::tile_by(plan, schedules, target, &shape)?, target)?;
    let compile = planned + milliseconds(clock);
    let plan = &compiled.tiled.plan;
    let work = work(plan, &case.inputs, &case.extents).map_err(CaseError::from)?;
    let (module, call, load, launch) = launched(gpu, &compiled, &case)?;
    let options = TimingOptions {
        reps: args.reps,
        ..TimingOptions::default()
    };
    let timing = gpu.time(&call, &options).map_err(CaseError::from)?;
    let us = timing.median_us();
    let machine = MachineModel::named(target).ok_or_else(|| CliError::Other("unknown target".to_owned()))?;
    let device = Device::named(&gpu.device().facts().name, target);
    Ok(Measured {
        kernels: compare::compare(&compiled.tiled, &case, machine, device, module.kernels()),
        spec: cascade.name.clone(),
        choice: choice_text(cascade),
        shape: shape_text(cascade, &symbols),
        target: target.to_owned(),
        tflops: work.flops / us / 1e6,
        gbs: work.bytes / us / 1e3,
        timing,
        first: FirstLaunch {
            check: 0.0,
            compile,
            load,
            launch,
        },
    })
}

/// Loads and launches once: the module, the call, and the milliseconds of either step.
fn launched(gpu: &Gpu, compiled: &Compiled, case: &Case) -> Result<(Module, Call, f64, f64), CaseError> {
    let cascade = &compiled.tiled.plan.cascade;
    let arena = gpu.arena(cascade, &case.inputs, &case.extents, Layout::Dense)?;
    let clock = Instant::now();
    let module = gpu.load(&compiled.artifact)?;
    let load = milliseconds(clock);
    let clock = Instant::now();
    let call = gpu.call(&module, cascade, &case.extents, &arena)?;
    gpu.launch(&call)?;
    Ok((module, call, load, milliseconds(clock)))
}

fn milliseconds(since: Instant) -> f64 {
    1e3 * since.elapsed().as_secs_f64()
}

fn to_json(measured: &Measured, device: &str) -> serde_json::Value {
    let Measured { timing, first, .. } = measured;
    serde_json::json!({
        "spec": measured.spec, "choice": measured.choice, "shape": measured.shape, "target": measured.target,
        "median_us": timing.median_us(), "low_us": timing.quantile(0.05), "high_us": timing.quantile(0.95),
        "tflops": measured.tflops, "gbs": measured.gbs, "device": device,
        "first_launch_ms": {
            "all": first.all(), "check": first.check, "compile": first.compile, "load": first.load, "launch": first.launch,
        },
        "predicted_us": compare::predicted_us(&measured.kernels),
        "kernels": measured.kernels.iter().map(Compared::to_json).collect::<Vec<_>>(),
    })
}

fn row(measured: &Measured) -> [String; 8] {
    let Measured { timing, first, .. } = measured;
    [
        measured.spec.clone(),
        measured.choice.clone(),
        measured.shape.clone(),
        format!("{:.1} us", timing.median_us()),
        format!("{:.1} .. {:.1}", timing.quantile(0.05), timing.quantile(0.95)),
        format!("{:.1}", measured.tflops),
        format!("{:.0}", measured.gbs),
        format!(
            "{:.0} ms: check {:.0}, compile {:.0}, load {:.0}, launch {:.0}",
            first.all(),
            first.check,
            first.compile,
            first.load,
            first.launch
        ),
    ]
}
