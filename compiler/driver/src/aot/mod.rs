//! Kernels ahead of time: from a spec to a bundle of all its specialisations, a typed launcher in Rust, and texts to pin.
//!
//! Nothing here reads or writes files, but for the assembler where machine code was asked for. `einloom pack`, `einloom
//! snapshot` and the crate `einloom-build` write what comes out.

pub mod rust;
pub mod snapshot;

use crate::assemble;
use crate::data::shapes::{self, Given, ShapeError};
use crate::data::usual;
use crate::pieces;
use crate::pipeline::{self, CompileError, Compiled};
use crate::session::choice_text;
use crate::tuning::lookup::{self, Purpose};
use einloom_artifact::bundle::{Packed, pack};
use einloom_artifact::{ArtifactError, Bundle};
use einloom_cascade::ir::Cascade;
use einloom_tile::schedule::ShapeClass;
use einloom_tune::database::Database;
use std::collections::BTreeMap;
use std::path::Path;

/// What to compile of a spec, and for what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Targets by name; none means [`DEFAULT_TARGET`].
    pub targets: Vec<String>,
    /// Alignments in bytes of bases and outer strides, each with code of its own; none means [`DEFAULT_ALIGN`].
    pub aligns: Vec<u32>,
    /// Compile-time choices that are made here (the others stay open until a call), and extents that schedules are chosen
    /// for: tuned ones are looked up by them (by usual ones without), default ones depend on them where one is given.
    pub given: Given,
    /// Extents, besides `given`, that kernels are made for, each with code of its own where that differs: launchers take the nearest. None means `given`
    /// alone.
    pub made_for: Vec<Given>,
    /// Tuned schedules. What has none takes the default ones.
    pub tuned: Option<Database>,
    /// Adds machine code, which spares programs the driver's assembler. Needs ptxas.
    pub cubin: bool,
}

/// Runs on every card from Ampere on.
pub const DEFAULT_TARGET: &str = "sm_80";

/// What allocations and dense tensors with even widths have.
pub const DEFAULT_ALIGN: u32 = 16;

/// The alignments that kernels can be compiled for.
pub const ALIGNS: [u32; 4] = [16, 8, 4, 2];

/// Why nothing was built. Messages name the cascade, its choices and the target.
#[derive(Debug, thiserror::Error)]
pub enum AotError {
    #[error("the file has no `cascade`: it is a library of definitions")]
    Library,
    #[error("no specialisation has these choices; there are: {0}")]
    Choices(String),
    #[error("alignment {0} is none of 16, 8, 4, 2")]
    Align(u32),
    #[error("`{0}` names no module in Rust: a spec's file is called by letters, digits, `-` and `_`, a letter first")]
    Stem(String),
    #[error("kernels are made for extents, and `{0}` is none")]
    NoExtent(String),
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error("{what}: {error}")]
    Compile { what: String, error: CompileError },
    #[error("{what}: {reason}")]
    Assemble { what: String, reason: String },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Launcher(#[from] rust::LauncherError),
}

/// The two files of one spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Stem of the spec's file, and of the two files.
    pub stem: String,
    /// `<stem>.einpack`.
    pub bundle: Vec<u8>,
    /// `<stem>.rs`: the launcher, which includes the bundle from its own folder.
    pub launcher: String,
    /// What was compiled, and where its schedules are from.
    pub summary: Vec<Line>,
}

/// One line of a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `causal (e=64, T=bf16) for sm_90a`.
    pub what: String,
    /// Where tuned schedules are from, or why there are none; empty where none were asked for.
    pub schedules: String,
    /// Whether tuned schedules were asked for and not found.
    pub untuned: bool,
}

/// Compiles the specialisations of one spec.
///
/// # Errors
/// See [`AotError`]; the first failure ends the build.
pub fn build(stem: &str, cascades: &[Cascade], options: &Options) -> Result<Built, AotError> {
    rust::module_name(stem).ok_or_else(|| AotError::Stem(stem.to_owned()))?;
    let (mut entries, mut summary) = (Vec::new(), Vec::new());
    for cascade in select(cascades, &options.given)? {
        for align in aligns(options)? {
            for made in variants(cascade, align, options)? {
                let cubin = match options.cubin {
                    true => Some(machine_code(&made.compiled, &made.target, &made.line.what)?),
                    false => None,
                };
                entries.push(Packed {
                    artifact: made.compiled.artifact,
                    align,
                    made_for: made.extents,
                    cubin,
                });
                summary.push(made.line);
            }
        }
    }
    let cascade = entries.first().map(|e| e.artifact.manifest().cascade.clone());
    let bundle = pack(&cascade.unwrap_or_default(), &entries)?;
    let hash = Bundle::from_bytes(bundle.clone())?.hash().to_owned();
    let manifests: Vec<_> = entries.iter().map(|entry| entry.artifact.manifest()).collect();
    Ok(Built {
        stem: stem.to_owned(),
        launcher: rust::launcher(stem, &manifests, &hash)?,
        bundle,
        summary,
    })
}

/// One specialisation for one target and for some extents.
struct Made {
    compiled: Compiled,
    target: String,
    extents: BTreeMap<String, u64>,
    line: Line,
}

/// A specialisation for all targets and all extents that kernels are made for; where these make no difference, once for each target.
fn variants(cascade: &Cascade, align: u32, options: &Options) -> Result<Vec<Made>, AotError> {
    let mut all: Vec<Vec<Made>> = Vec::new();
    for target in targets(options) {
        let mut for_target = Vec::new();
        for extents in classes(options) {
            let named = named(cascade, &extents)?;
            let mut given = options.given.clone();
            given.extend(extents);
            let (compiled, mut line) = compile(cascade, &target, align, options, &given)?;
            if !named.is_empty() {
                let list: Vec<String> = named.iter().map(|(name, n)| format!("{name}={n}")).collect();
                line.what = format!("{}, made for {}", line.what, list.join(" "));
            }
            for_target.push(Made {
                compiled,
                target: target.clone(),
                extents: named,
                line,
            });
        }
        all.push(for_target);
    }
    let code = |made: &Made| made.compiled.emission.ptx.clone();
    if all
        .iter()
        .all(|list| list.windows(2).all(|pair| code(&pair[0]) == code(&pair[1])))
    {
        for list in &mut all {
            list.truncate(1);
            for made in list {
                made.extents.clear();
                made.line.what = describe(cascade, &made.target, align);
            }
        }
    }
    Ok(all.into_iter().flatten().collect())
}

/// Extents that kernels are made for.
fn classes(options: &Options) -> Vec<Given> {
    match options.made_for.as_slice() {
        [] => vec![Given::new()],
        list => list.to_vec(),
    }
}

/// Extents by the names of the cascade's symbols.
fn named(cascade: &Cascade, extents: &Given) -> Result<BTreeMap<String, u64>, AotError> {
    let values = shapes::symbols(cascade, extents, |_| -1)?;
    let choice = |name: &&String| {
        let scalar = cascade.scalars.iter().any(|s| s.name == **name);
        scalar || cascade.choices.iter().any(|(choice, _)| choice == *name)
    };
    if let Some(name) = extents.keys().find(choice) {
        return Err(AotError::NoExtent(name.clone()));
    }
    let known = cascade.symbols.iter().zip(values);
    let known = known.filter_map(|(s, n)| Some((s.name.clone(), u64::try_from(n).ok()?)));
    Ok(known.collect())
}

/// The stem of a spec's file.
pub fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn compile(
    cascade: &Cascade,
    target: &str,
    align: u32,
    options: &Options,
    given: &Given,
) -> Result<(Compiled, Line), AotError> {
    let what = describe(cascade, target, align);
    let failed = |error| AotError::Compile {
        what: what.clone(),
        error,
    };
    let mut plan = pipeline::plan(cascade).map_err(failed)?;
    let mut shape = ShapeClass::aligned(&plan, align);
    let mut line = Line {
        what: what.clone(),
        schedules: String::new(),
        untuned: false,
    };
    let mut schedules = None;
    if options.tuned.is_some() || !given.is_empty() {
        // Names that the cascade does not have are errors, whatever is tuned.
        let symbols = usual::symbols(cascade, &plan, given)?;
        shape.extents = usual::expected(cascade, given, &symbols);
        plan = pieces::fitted(plan, target, &shape);
        if let Some(database) = &options.tuned {
            let purpose = Purpose {
                target,
                align,
                symbols: &symbols,
                device: None,
            };
            let choice = lookup::choose(database, cascade, &plan, &shape, &purpose);
            line.untuned = choice.schedules.is_none();
            (schedules, line.schedules) = (choice.schedules, choice.origin);
        }
    }
    let tiled = pipeline::tile_by(plan, schedules, target, &shape).map_err(failed)?;
    Ok((pipeline::emit(tiled, target).map_err(failed)?, line))
}

fn machine_code(compiled: &Compiled, target: &str, what: &str) -> Result<Vec<u8>, AotError> {
    assemble::cubin(&compiled.emission.ptx, target).map_err(|reason| AotError::Assemble {
        what: what.to_owned(),
        reason,
    })
}

fn describe(cascade: &Cascade, target: &str, align: u32) -> String {
    let choice = choice_text(cascade);
    let choice = if choice.is_empty() {
        choice
    } else {
        format!(" ({choice})")
    };
    let align = if align == DEFAULT_ALIGN {
        String::new()
    } else {
        format!(", alignment {align}")
    };
    format!("{}{choice} for {target}{align}", cascade.name)
}

fn targets(options: &Options) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for target in &options.targets {
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    if targets.is_empty() {
        targets.push(DEFAULT_TARGET.to_owned());
    }
    targets
}

/// The alignments, the largest first: a launcher takes the first that fits.
fn aligns(options: &Options) -> Result<Vec<u32>, AotError> {
    if let Some(align) = options.aligns.iter().find(|align| !ALIGNS.contains(align)) {
        return Err(AotError::Align(*align));
    }
    let asked = |align: &u32| options.aligns.contains(align) || (options.aligns.is_empty() && *align == DEFAULT_ALIGN);
    Ok(ALIGNS.into_iter().filter(asked).collect())
}

fn select<'c>(cascades: &'c [Cascade], given: &Given) -> Result<Vec<&'c Cascade>, AotError> {
    if cascades.iter().all(|cascade| cascade.name.is_empty()) {
        return Err(AotError::Library);
    }
    let chosen = |cascade: &&Cascade| {
        let fits = |(name, value): &(String, String)| given.get(name).is_none_or(|v| v == value);
        cascade.choices.iter().all(fits)
    };
    let found: Vec<&Cascade> = cascades.iter().filter(chosen).collect();
    if found.is_empty() {
        let known: Vec<String> = cascades.iter().map(choice_text).collect();
        return Err(AotError::Choices(known.join("; ")));
    }
    Ok(found)
}
