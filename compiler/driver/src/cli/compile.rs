//! `einloom compile`: every level of one spec, for one target, into a folder.

use super::Output;
use super::common::{CliError, CliResult, TunedArgs, given, load, schedule};
use super::print::outln;
use crate::data::shapes::Given;
use crate::data::usual;
use crate::pieces;
use crate::pipeline::{self, Compiled};
use crate::session::{Session, choice_stem, choice_text};
use crate::tuning::lookup::Purpose;
use clap::{Args, ValueEnum};
use einloom_cascade::ir::Cascade;
use einloom_nvptx::Target;
use einloom_tile::schedule::ShapeClass;
use std::path::{Path, PathBuf};

/// A level that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    Ast,
    Cascade,
    Plan,
    Tile,
    LlvmIr,
    Ptx,
    Cubin,
    Manifest,
    Module,
}

#[derive(Args, Debug)]
pub(crate) struct CompileArgs {
    /// The spec file
    file: PathBuf,
    /// Target: sm_80 or sm_90a
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// Output folder
    #[arg(short, long, default_value = ".")]
    output: PathBuf,
    /// Levels to write
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["module"])]
    emit: Vec<Emit>,
    /// Compile-time choices, e.g. e=128,T=bf16 (all specialisations without); extents that schedules are chosen for, e.g. p=4096
    #[arg(long)]
    shape: Vec<String>,
    /// Alignment in bytes that launches will guarantee for bases and outer strides: 16, 8, 4 or 2
    #[arg(long, default_value_t = 16)]
    align: u32,
    /// One schedule for all kernels, e.g. rows=128,cols=64,warps=4,stages=2,blocks=2; the tuned or default ones without
    #[arg(long)]
    schedule: Option<String>,
    #[command(flatten)]
    tuned: TunedArgs,
}

pub(crate) fn compile(args: &CompileArgs, output: Output) -> CliResult {
    if !matches!(args.align, 16 | 8 | 4 | 2) {
        return Err(CliError::Other(format!(
            "alignment {} is none of 16, 8, 4, 2",
            args.align
        )));
    }
    let given = given(&args.shape)?;
    let mut session = Session::new();
    let Some(loaded) = load(&mut session, &args.file, output)? else {
        return Ok(false);
    };
    let cascades = select(&loaded.cascades, &given)?;
    std::fs::create_dir_all(&args.output).map_err(|error| CliError::io(&args.output, error))?;
    for cascade in cascades {
        let stem = choice_stem(cascade, loaded.cascades.len());
        if args.emit.contains(&Emit::Ast) {
            write(
                &args.output,
                &stem,
                "ast.txt",
                format!("{:#?}\n", loaded.file).as_bytes(),
            )?;
        }
        if args.emit.contains(&Emit::Cascade) {
            write(
                &args.output,
                &stem,
                "cascade.txt",
                einloom_cascade::print::print(cascade).as_bytes(),
            )?;
        }
        if args.emit.iter().all(|e| matches!(e, Emit::Ast | Emit::Cascade)) {
            continue;
        }
        let (compiled, origin) = compiled(args, cascade, &given, output)?;
        write_levels(&args.output, &stem, &compiled, &args.emit)?;
        let kernels = compiled.tiled.kernels.len();
        let plural = if kernels == 1 { "kernel" } else { "kernels" };
        let choice = choice_text(cascade);
        let choice = if choice.is_empty() {
            String::new()
        } else {
            format!(" ({choice})")
        };
        outln!(
            "{}{choice}: {kernels} {plural} for {}{origin}",
            cascade.name,
            args.target
        );
    }
    Ok(true)
}

/// Compiles one specialisation; says where its schedules come from if they are tuned.
fn compiled(
    args: &CompileArgs,
    cascade: &Cascade,
    given: &Given,
    output: Output,
) -> Result<(Compiled, String), CliError> {
    if let Some(text) = &args.schedule {
        let compiled = pipeline::compile_with(cascade, &args.target, args.align, &schedule(text)?)?;
        return Ok((compiled, String::new()));
    }
    let plan = pipeline::plan(cascade)?;
    let symbols = usual::symbols(cascade, &plan, given)?;
    let shape = ShapeClass {
        extents: usual::expected(cascade, given, &symbols),
        ..ShapeClass::aligned(&plan, args.align)
    };
    let plan = pieces::fitted(plan, &args.target, &shape);
    let purpose = Purpose {
        target: &args.target,
        align: args.align,
        symbols: &symbols,
        device: None,
    };
    let choice = args.tuned.choose(&args.file, cascade, &plan, &shape, &purpose, output);
    let origin = match &choice.schedules {
        Some(_) => format!(", schedules from {}", choice.origin),
        None => String::new(),
    };
    let tiled = pipeline::tile_by(plan, choice.schedules, &args.target, &shape)?;
    Ok((pipeline::emit(tiled, &args.target)?, origin))
}

fn write_levels(folder: &Path, stem: &str, compiled: &Compiled, emit: &[Emit]) -> Result<(), CliError> {
    for level in emit {
        match level {
            Emit::Ast | Emit::Cascade => {}
            Emit::Plan => {
                write(
                    folder,
                    stem,
                    "plan.txt",
                    einloom_plan::print::print(&compiled.tiled.plan).as_bytes(),
                )?;
            }
            Emit::Tile => {
                let text: String = compiled
                    .tiled
                    .kernels
                    .iter()
                    .map(|k| einloom_tile::print::print(&k.program))
                    .collect();
                write(folder, stem, "tile.txt", text.as_bytes())?;
            }
            Emit::LlvmIr => {
                let programs: Vec<_> = compiled.tiled.kernels.iter().map(|k| &k.program).collect();
                let target = Target::new(&compiled.artifact.manifest().target.to_string())
                    .map_err(crate::pipeline::CompileError::from)?;
                let ir = einloom_nvptx::llvm_ir(&programs, target).map_err(crate::pipeline::CompileError::from)?;
                write(folder, stem, "ll", ir.as_bytes())?;
            }
            Emit::Ptx => write(folder, stem, "ptx", compiled.emission.ptx.as_bytes())?,
            Emit::Manifest => write(
                folder,
                stem,
                "manifest.json",
                compiled.artifact.manifest_json().as_bytes(),
            )?,
            Emit::Module => write(folder, stem, "einmod", &compiled.artifact.to_bytes())?,
            Emit::Cubin => {
                let target = compiled.artifact.manifest().target.to_string();
                let cubin = crate::assemble::cubin(&compiled.emission.ptx, &target).map_err(CliError::Other)?;
                write(folder, stem, "cubin", &cubin)?;
            }
        }
    }
    Ok(())
}

fn write(folder: &Path, stem: &str, extension: &str, bytes: &[u8]) -> Result<(), CliError> {
    let path = folder.join(format!("{stem}.{extension}"));
    std::fs::write(&path, bytes).map_err(|error| CliError::io(&path, error))
}

/// The specialisations that agree with the given choices.
pub(crate) fn select<'a>(cascades: &'a [Cascade], given: &Given) -> Result<Vec<&'a Cascade>, CliError> {
    if cascades.iter().all(|cascade| cascade.name.is_empty()) {
        return Err(CliError::Other(
            "the file has no `cascade`: it is a library of definitions".to_owned(),
        ));
    }
    let fits = |cascade: &&Cascade| {
        let chosen = |(name, value): &(String, String)| given.get(name).is_none_or(|v| v == value);
        cascade.choices.iter().all(chosen)
    };
    let found: Vec<&Cascade> = cascades.iter().filter(fits).collect();
    if found.is_empty() {
        let known: Vec<String> = cascades.iter().map(choice_text).collect();
        return Err(CliError::Other(format!(
            "no specialisation has these choices; there are: {}",
            known.join("; ")
        )));
    }
    Ok(found)
}

/// The one specialisation that a command takes: the first that fits. Where others fit too, a note says which was taken.
pub(crate) fn select_one<'a>(cascades: &'a [Cascade], given: &Given, output: Output) -> Result<&'a Cascade, CliError> {
    let fitting = select(cascades, given)?;
    if let [taken, others @ ..] = fitting.as_slice()
        && !others.is_empty()
    {
        let others: Vec<String> = others.iter().map(|other| choice_text(other)).collect();
        super::common::note(
            &format!(
                "specialisation {} of {} is taken; --shape names another: {}",
                choice_text(taken),
                fitting.len(),
                others.join("; ")
            ),
            output,
        );
    }
    Ok(fitting[0])
}
