//! `einloom run`: one launch on given or random inputs; outputs into a file, a summary on the terminal.

use super::Output;
use super::common::{CliError, CliResult, DeviceArg, given, load};
use super::compile::select_one;
use super::print::outln;
use crate::case::{Case, Runner};
use crate::data::layout::Layout;
use crate::data::{shapes, tensors};
use crate::pipeline;
use crate::session::Session;
use clap::Args;
use comfy_table::{Table, presets};
use einloom_cascade::data::Tensor;
use einloom_cascade::expr::SymId;
use einloom_cascade::ir::Cascade;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The spec file
    file: PathBuf,
    /// Where to run: cpu (the interpreter of tile programs) or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Extents, choices and scalars, e.g. p=100,m=200,e=128,T=bf16
    #[arg(long)]
    shape: Vec<String>,
    /// Inputs by name, a safetensors file; inputs that it lacks are random
    #[arg(long)]
    input: Option<PathBuf>,
    /// Writes inputs and outputs to a safetensors file
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(args: &RunArgs, output: Output) -> CliResult {
    let given = given(&args.shape)?;
    let mut session = Session::new();
    let Some(loaded) = load(&mut session, &args.file, output)? else {
        return Ok(false);
    };
    let cascade = select_one(&loaded.cascades, &given, output)?;
    let plan = pipeline::plan(cascade)?;
    let case = match &args.input {
        Some(path) => {
            let kind = std::fs::metadata(path).map_err(|error| CliError::io(path, error))?;
            if !kind.is_file() {
                return Err(CliError::Other(format!("{}: not a regular file", path.display())));
            }
            let bytes = std::fs::read(path).map_err(|error| CliError::io(path, error))?;
            let tensors = tensors::read(&bytes);
            let tensors = tensors.map_err(|error| CliError::Other(format!("{}: {error}", path.display())))?;
            Case::from_tensors(cascade, &given, tensors, args.seed)?
        }
        None => {
            let long = pipeline::long_symbols(&plan);
            let default = |i: usize| if long.contains(&SymId(i as u32)) { 256 } else { 2 };
            Case::from_symbols(
                cascade,
                &given,
                &shapes::symbols_by(cascade, &given, default)?,
                args.seed,
            )?
        }
    };
    let runner = Runner::new(args.device)?;
    let outputs = runner.run(&plan, None, &case, Layout::Dense)?;
    print(cascade, &outputs);
    if let Some(path) = &args.output {
        let mut all = Vec::new();
        for (info, tensor) in cascade.inputs.iter().zip(&case.inputs.tensors) {
            all.push((info.name.clone(), info.dtype, tensor.clone()));
        }
        for (info, tensor) in cascade.outputs.iter().zip(&outputs) {
            all.push((info.name.clone(), info.dtype, tensor.clone()));
        }
        let bytes = tensors::write(&all)?;
        std::fs::write(path, bytes).map_err(|error| CliError::io(path, error))?;
        outln!("wrote {}", path.display());
    }
    Ok(true)
}

fn print(cascade: &Cascade, outputs: &[Tensor]) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["output", "type", "shape", "smallest", "largest", "mean", "first values"]);
    for (info, tensor) in cascade.outputs.iter().zip(outputs) {
        let values = tensor.to_f64();
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).unwrap_or(f64::NAN);
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let number = |x: f64| {
            if values.is_empty() {
                "-".to_owned()
            } else {
                format!("{x:.4}")
            }
        };
        let first: Vec<String> = values.iter().take(4).map(|x| format!("{x:.4}")).collect();
        table.add_row([
            info.name.clone(),
            info.dtype.name().to_owned(),
            shape.join(" x "),
            number(fold(f64::min)),
            number(fold(f64::max)),
            number(mean),
            first.join("  "),
        ]);
    }
    outln!("{table}");
}
