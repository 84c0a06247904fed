//! `einloom explain`: a spec's passes, rewrites, kernels, tiles, resources and predicted time, or the page of an error code.

use super::Output;
use super::common::{CliError, CliResult, TunedArgs, given, load, schedule};
use super::compile::select_one;
use super::print::{out, outln};
use crate::data::usual;
use crate::pieces;
use crate::pipeline::{self, Tiled};
use crate::predict::{self, Data};
use crate::session::{Session, choice_text};
use crate::tuning::candidates::Candidates;
use crate::tuning::lookup::Purpose;
use crate::tuning::problem::{Problem, least_align};
use clap::Args;
use comfy_table::{Table, presets};
use einloom_tile::ir::{Roles, TileProgram};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::machine::MachineModel;
use einloom_tile::model::{Device, Prediction};
use einloom_tile::schedule::{Schedule, ShapeClass, expected_registers, register_estimate, shared_bytes};
use einloom_tune::search::Space;
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
    /// One schedule for all kernels, e.g. rows=128,cols=64,warps=4,stages=2,blocks=2; the tuned or default ones without
    #[arg(long)]
    schedule: Option<String>,
    /// Lists the schedules that the machine model likes best, so many of all legal ones
    #[arg(long, value_name = "N")]
    candidates: Option<usize>,
    #[command(flatten)]
    tuned: TunedArgs,
}

pub(crate) fn explain(args: &ExplainArgs, output: Output) -> CliResult {
    let text = args.subject.display().to_string();
    if !Path::new(&text).exists()
        && let Some(code) = einloom_syntax::Code::from_text(&text)
    {
        out!("{}", code.explain());
        return Ok(true);
    }
    if !Path::new(&text).exists() && looks_like_code(&text) {
        return Err(CliError::Other(format!(
            "no message has the code `{text}`, and there is no such file"
        )));
    }
    let given = given(&args.shape)?;
    let mut session = Session::new();
    let Some(loaded) = load(&mut session, &args.subject, output)? else {
        return Ok(false);
    };
    let cascade = select_one(&loaded.cascades, &given, output)?;
    let choice = choice_text(cascade);
    outln!(
        "cascade {}{}",
        cascade.name,
        if choice.is_empty() {
            String::new()
        } else {
            format!(" ({choice})")
        }
    );
    outln!("\n{}", einloom_cascade::print::print(cascade).trim_end());
    let plan = pipeline::plan(cascade)?;
    let symbols = usual::symbols(cascade, &plan, &given)?;
    let problem = Problem::new(cascade, &given, &symbols, 0).ok();
    let mut shape = problem
        .as_ref()
        .map_or_else(|| ShapeClass::aligned(&plan, 16), |p| p.class.clone());
    // As `compile` with the same arguments.
    shape.extents = usual::expected(cascade, &given, &symbols);
    let plan = match args.schedule {
        Some(_) => plan,
        None => pieces::fitted(plan, &args.target, &shape),
    };
    outln!("\n{}", einloom_plan::print::print(&plan).trim_end());
    let (schedules, origin) = match &args.schedule {
        Some(text) => (Some(vec![schedule(text)?; plan.kernels.len()]), "given".to_owned()),
        None => {
            let purpose = Purpose {
                target: &args.target,
                align: least_align(&shape),
                symbols: &symbols,
                device: None,
            };
            let choice = args
                .tuned
                .choose(&args.subject, cascade, &plan, &shape, &purpose, output);
            (choice.schedules, choice.origin)
        }
    };
    let tiled = pipeline::tile_by(plan, schedules, &args.target, &shape)?;
    let machine = MachineModel::named(&args.target).ok_or_else(|| CliError::Other("unknown target".to_owned()))?;
    outln!("\ntiles for {}; schedules: {origin}", args.target);
    outln!("{}", resources(&tiled, machine));
    for line in chunks(&tiled, machine, &shape) {
        outln!("{line}");
    }
    if let Some(problem) = problem {
        let device = Device::named("", &args.target);
        let shape = super::verify::shape_text(cascade, &symbols);
        outln!("\npredicted for {} at {shape}", device.name);
        outln!("{}", roofline(&tiled, problem.data(), device));
        if let Some(count) = args.candidates {
            outln!("\n{}", candidates(&problem, &args.target, device, count)?);
        }
    }
    Ok(true)
}

/// A letter and digits.
fn looks_like_code(text: &str) -> bool {
    let rest = text.strip_prefix(['E', 'W', 'e', 'w']);
    rest.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// For kernels whose plan has chunks with a carried state: whether their tiles have them too.
fn chunks(tiled: &Tiled, machine: &MachineModel, shape: &ShapeClass) -> Vec<String> {
    let kernels = tiled.kernels.iter().zip(&tiled.schedules).enumerate();
    let line = |(at, (kernel, schedule)): (usize, (&LoweredKernel, &Schedule))| {
        let name = &kernel.program.name;
        let how = einloom_tile::lower::chunks(&tiled.plan, at, schedule, machine, shape)?;
        Some(match how {
            Ok(()) => format!("{name}: blocks walk row tiles in order with a carried state (D2)"),
            Err(why) => format!("{name}: every pair is visited, not the chunks of the plan: {why}"),
        })
    };
    kernels.filter_map(line).collect()
}

fn resources(tiled: &Tiled, machine: &MachineModel) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "kernel",
        "schedule",
        "threads",
        "registers",
        "for values",
        "shared memory",
        "blocks an SM",
    ]);
    for (at, (kernel, schedule)) in tiled.kernels.iter().zip(&tiled.schedules).enumerate() {
        let program = &kernel.program;
        let followed = einloom_tile::lower::followed(&tiled.plan, at, schedule);
        let shared = shared_bytes(program);
        table.add_row([
            program.name.clone(),
            followed.to_string(),
            program.threads().to_string(),
            format!(
                "{} of {}",
                expected_registers(program, machine),
                machine.registers_per_thread
            ),
            values(program),
            format!("{shared} of {}", machine.shared_per_block),
            program.blocks_per_sm.to_string(),
        ]);
    }
    table
}

/// Registers that hold values; consumers of a specialised program take more registers than the launch gives every thread.
fn values(program: &TileProgram) -> String {
    let values = register_estimate(program);
    match program.roles {
        Roles::Uniform => values.to_string(),
        Roles::Specialised { consumer_registers, .. } => format!("{values}, of consumers with {consumer_registers}"),
    }
}

/// What the machine model says: time, what bounds it, how long each resource would be busy alone.
fn roofline(tiled: &Tiled, data: Data<'_>, device: &Device) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["kernel", "time", "bound by", "blocks", "waves", "busy"]);
    for kernel in &tiled.kernels {
        let row = match predict::kernel(&tiled.plan, kernel, data, device) {
            Some(p) => [
                format!("{:.1} us{}", p.us, if p.exact { "" } else { ", some loops guessed" }),
                p.bound.text().to_owned(),
                p.blocks.to_string(),
                format!("{:.2}", p.waves),
                busy(&p),
            ],
            None => [
                "unknown".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ],
        };
        table.add_row([kernel.program.name.clone()].into_iter().chain(row));
    }
    table
}

/// The first candidates in the model's order.
fn candidates(problem: &Problem, target: &str, device: &Device, count: usize) -> Result<String, CliError> {
    let all = Candidates::new(problem, target, device)?;
    let mut text = format!(
        "the first {} of {} legal candidates, predicted",
        count.min(all.len()),
        all.len()
    );
    for (candidate, us) in all.ranked().iter().take(count) {
        text.push_str(&format!("\n{us:>10.1} us  {}", candidate.join(" | ")));
    }
    Ok(text)
}

/// The resources that are busy for at least a twentieth of the time, most first.
fn busy(prediction: &Prediction) -> String {
    let mut busy: Vec<_> = prediction
        .busy
        .iter()
        .filter(|(_, us)| *us >= 0.05 * prediction.us)
        .collect();
    busy.sort_by(|a, b| b.1.total_cmp(&a.1));
    let one = |(bound, us): &&(einloom_tile::model::Bound, f64)| {
        format!("{} {:.0} %", bound.text(), us / prediction.us * 100.0)
    };
    busy.iter().map(one).collect::<Vec<_>>().join(", ")
}
