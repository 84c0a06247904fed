//! `einloom bench`: time of one launch, TFLOP/s and GB/s on a GPU.

use super::Output;
use super::common::{CliError, CliResult, DeviceArg, TunedArgs, given, load, schedule};
use super::compile::select;
use super::verify::shape_text;
use crate::case::{Case, Runner, shape_class};
use crate::data::usual;
use crate::pipeline;
use crate::session::{Session, choice_text};
use crate::tuning::lookup::Purpose;
use crate::tuning::problem::least_align;
use crate::work::work;
use clap::Args;
use comfy_table::{Table, presets};
use einloom_runtime::TimingOptions;
use std::path::PathBuf;

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
    /// One JSON line for each case on standard output
    #[arg(long)]
    json: bool,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
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
    table.set_header(["spec", "choices", "shape", "median", "5 % .. 95 %", "TFLOP/s", "GB/s"]);
    let mut good = true;
    for path in &args.files {
        let Some(loaded) = load(&mut session, path, output)? else {
            good = false;
            continue;
        };
        for cascade in select(&loaded.cascades, &given)? {
            let plan = pipeline::plan(cascade)?;
            let symbols = usual::symbols(cascade, &plan, &given)?;
            let case = Case::from_symbols(cascade, &given, &symbols, args.seed)?;
            let shape = shape_class(&plan, &case);
            let target = args.target.as_deref().unwrap_or(runner.target());
            let tiled = match &args.schedule {
                Some(text) => {
                    let list = vec![schedule(text)?; plan.kernels.len()];
                    pipeline::tile_with(plan, list, target, &shape)?
                }
                None => {
                    let facts = gpu.device().facts();
                    let purpose = Purpose {
                        target,
                        align: least_align(&shape),
                        symbols: &symbols,
                        device: Some((&facts.name, facts.driver_version)),
                    };
                    let choice = args.tuned.choose(path, cascade, &plan, &shape, &purpose, output);
                    pipeline::tile_by(plan, choice.schedules, target, &shape)?
                }
            };
            let compiled = pipeline::emit(tiled, target)?;
            let plan = &compiled.tiled.plan;
            let work = work(plan, &case.inputs, &case.extents).map_err(crate::case::CaseError::from)?;
            let call = gpu
                .prepare(&compiled.artifact, &plan.cascade, &case.inputs, &case.extents)
                .map_err(crate::case::CaseError::from)?;
            let options = TimingOptions {
                reps: args.reps,
                ..TimingOptions::default()
            };
            let timing = gpu.time(&call, &options).map_err(crate::case::CaseError::from)?;
            let us = timing.median_us();
            let (tflops, gbs) = (work.flops / us / 1e6, work.bytes / us / 1e3);
            let shape = shape_text(cascade, &symbols);
            if args.json {
                println!(
                    "{}",
                    serde_json::json!({
                        "spec": cascade.name, "choice": choice_text(cascade), "shape": shape, "target": target,
                        "median_us": us, "low_us": timing.quantile(0.05), "high_us": timing.quantile(0.95),
                        "tflops": tflops, "gbs": gbs, "device": gpu.device().facts().name,
                    })
                );
            }
            table.add_row([
                cascade.name.clone(),
                choice_text(cascade),
                shape,
                format!("{us:.1} us"),
                format!("{:.1} .. {:.1}", timing.quantile(0.05), timing.quantile(0.95)),
                format!("{tflops:.1}"),
                format!("{gbs:.0}"),
            ]);
        }
    }
    if !args.json {
        println!("{}", gpu.device().facts().name);
        println!("{table}");
    }
    Ok(good)
}
