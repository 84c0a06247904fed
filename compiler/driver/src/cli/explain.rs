//! `einloom explain`: a spec's passes, rewrites, kernels, tiles and resources, or the page of an error code.

use super::Output;
use super::common::{CliError, CliResult, given, load};
use super::compile::select;
use crate::case::Case;
use crate::pipeline;
use crate::session::{Session, choice_text};
use clap::Args;
use comfy_table::{Table, presets};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::machine::MachineModel;
use einloom_tile::schedule::{ShapeClass, register_estimate, shared_bytes};
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A spec file, or a code such as E0301
    subject: PathBuf,
    /// Target: sm_80 or sm_90a
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// Choices (the first specialisation without), and extents for the prediction, e.g. e=128,p=4096
    #[arg(long)]
    shape: Vec<String>,
}

pub(crate) fn explain(args: &ExplainArgs, output: Output) -> CliResult {
    let text = args.subject.display().to_string();
    if !Path::new(&text).exists()
        && let Some(code) = einloom_syntax::Code::from_text(&text)
    {
        println!("{}: {}\n\n{}", code.as_str(), code.title(), code.explain());
        return Ok(true);
    }
    let given = given(&args.shape)?;
    let mut session = Session::new();
    let Some(loaded) = load(&mut session, &args.subject, output)? else {
        return Ok(false);
    };
    let cascade = select(&loaded.cascades, &given)?[0];
    let choice = choice_text(cascade);
    println!(
        "cascade {}{}",
        cascade.name,
        if choice.is_empty() {
            String::new()
        } else {
            format!(" ({choice})")
        }
    );
    println!("\n{}", einloom_cascade::print::print(cascade).trim_end());
    let plan = pipeline::plan(cascade)?;
    println!("\n{}", einloom_plan::print::print(&plan).trim_end());
    let shape = match Case::from_shape(cascade, &given, 2, 0) {
        Ok(case) => crate::case::shape_class(&plan, &case),
        Err(_) => ShapeClass::aligned(&plan, 16),
    };
    let tiled = pipeline::tile(plan, &args.target, &shape)?;
    let machine = MachineModel::named(&args.target).ok_or_else(|| CliError::Other("unknown target".to_owned()))?;
    println!("\ntiles for {}", args.target);
    println!("{}", resources(&tiled.kernels, &tiled.schedules, machine));
    Ok(true)
}

fn resources(
    kernels: &[LoweredKernel],
    schedules: &[einloom_tile::schedule::Schedule],
    machine: &MachineModel,
) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "kernel",
        "schedule",
        "threads",
        "registers, estimate",
        "shared memory",
        "blocks an SM",
    ]);
    for (kernel, schedule) in kernels.iter().zip(schedules) {
        let program = &kernel.program;
        let shared = shared_bytes(program);
        table.add_row([
            program.name.clone(),
            schedule.to_string(),
            (program.warps * 32).to_string(),
            format!("{} of {}", register_estimate(program), machine.registers_per_thread),
            format!("{shared} of {}", machine.shared_per_block),
            program.blocks_per_sm.to_string(),
        ]);
    }
    table
}
