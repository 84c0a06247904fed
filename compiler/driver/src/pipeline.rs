//! One compilation, level by level: cascade, plan, tile programs, PTX, artifact. Pure but for LLVM.

use crate::package::{EmittedKernel, PackageError, package};
use einloom_artifact::KernelArtifact;
use einloom_cascade::expr::SymId;
use einloom_cascade::ir::Cascade;
use einloom_nvptx::{Emission, EmitError, Target};
use einloom_plan::ir::FusedPlan;
use einloom_plan::{PlanError, PlanOptions};
use einloom_tile::ir::Extent;
use einloom_tile::lower::LowerError;
use einloom_tile::lowered::{LoweredKernel, ScalarSource};
use einloom_tile::machine::MachineModel;
use einloom_tile::schedule::{Schedule, ShapeClass};
use einloom_tile::verify::VerifyError;

/// Why a cascade was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot be planned: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Plan(Vec<PlanError>),
    #[error("kernel `{kernel}` cannot be tiled: {error}")]
    Tile { kernel: String, error: LowerError },
    #[error("defect of einloom, please report it: {0}")]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Emit(#[from] EmitError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("unknown target `{0}`; known: sm_80, sm_90a")]
    Target(String),
}

/// A cascade on the level of tile programs.
pub struct Tiled {
    pub plan: FusedPlan,
    pub schedules: Vec<Schedule>,
    pub kernels: Vec<LoweredKernel>,
}

/// A compiled cascade.
pub struct Compiled {
    pub tiled: Tiled,
    pub emission: Emission,
    pub artifact: KernelArtifact,
}

/// Plans a cascade.
///
/// # Errors
/// A cascade that has no streaming plan.
pub fn plan(cascade: &Cascade) -> Result<FusedPlan, CompileError> {
    einloom_plan::plan(cascade, &PlanOptions::default()).map_err(CompileError::Plan)
}

/// Chooses schedules and lowers every kernel; every program is verified.
///
/// # Errors
/// A kernel without a tile form, or one that fits no schedule.
pub fn tile(plan: FusedPlan, target: &str, shape: &ShapeClass) -> Result<Tiled, CompileError> {
    let machine = MachineModel::named(target).ok_or_else(|| CompileError::Target(target.to_owned()))?;
    let mut schedules = Vec::new();
    let mut kernels = Vec::new();
    for k in 0..plan.kernels.len() {
        let (schedule, kernel) = einloom_tile::lower::lower_by_default(&plan, k, machine, shape)
            .map_err(|error| tile_error(&plan, k, error))?;
        einloom_tile::verify::verify(&kernel.program)?;
        schedules.push(schedule);
        kernels.push(kernel);
    }
    Ok(Tiled {
        plan,
        schedules,
        kernels,
    })
}

/// Lowers every kernel by given schedules, one for each kernel.
///
/// # Errors
/// A schedule that does not fit its kernel or the machine.
pub fn tile_with(
    plan: FusedPlan,
    schedules: Vec<Schedule>,
    target: &str,
    shape: &ShapeClass,
) -> Result<Tiled, CompileError> {
    let machine = MachineModel::named(target).ok_or_else(|| CompileError::Target(target.to_owned()))?;
    let mut kernels = Vec::new();
    for (k, schedule) in schedules.iter().enumerate() {
        let kernel = einloom_tile::lower::lower(&plan, k, schedule, machine, shape)
            .map_err(|error| tile_error(&plan, k, error))?;
        einloom_tile::verify::verify(&kernel.program)?;
        kernels.push(kernel);
    }
    Ok(Tiled {
        plan,
        schedules,
        kernels,
    })
}

fn tile_error(plan: &FusedPlan, kernel: usize, error: LowerError) -> CompileError {
    CompileError::Tile {
        kernel: plan.kernels[kernel].name.clone(),
        error,
    }
}

/// Emits PTX and packages it.
///
/// # Errors
/// What the backend or the launch contract cannot express.
pub fn emit(tiled: Tiled, target: &str) -> Result<Compiled, CompileError> {
    let emission = einloom_nvptx::emit(&tiled.kernels, Target::new(target)?)?;
    let emitted: Vec<EmittedKernel> = emission
        .kernels
        .iter()
        .map(|k| EmittedKernel {
            entry: k.entry.clone(),
            dynamic_shared: k.shared_bytes,
            threads: k.threads,
        })
        .collect();
    let artifact = package(&tiled.plan, &tiled.kernels, &emitted, target, emission.ptx.clone())?;
    Ok(Compiled {
        tiled,
        emission,
        artifact,
    })
}

/// The whole road from a cascade to an artifact, by the default schedules.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(cascade: &Cascade, target: &str, align: u32) -> Result<Compiled, CompileError> {
    let plan = plan(cascade)?;
    let shape = ShapeClass::aligned(&plan, align);
    emit(tile(plan, target, &shape)?, target)
}

/// Lowers by the given schedules, or by the default ones.
///
/// # Errors
/// As [`tile`] and [`tile_with`].
pub fn tile_by(
    plan: FusedPlan,
    schedules: Option<Vec<Schedule>>,
    target: &str,
    shape: &ShapeClass,
) -> Result<Tiled, CompileError> {
    match schedules {
        Some(schedules) => tile_with(plan, schedules, target, shape),
        None => tile(plan, target, shape),
    }
}

/// As [`compile`], by one schedule for all kernels.
///
/// # Errors
/// See [`CompileError`].
pub fn compile_with(
    cascade: &Cascade,
    target: &str,
    align: u32,
    schedule: &Schedule,
) -> Result<Compiled, CompileError> {
    let plan = plan(cascade)?;
    let shape = ShapeClass::aligned(&plan, align);
    let schedules = vec![schedule.clone(); plan.kernels.len()];
    emit(tile_with(plan, schedules, target, &shape)?, target)
}

/// Run-time extents that are streamed, or laid on the rows of tiles: the long ones.
pub fn long_symbols(plan: &FusedPlan) -> Vec<SymId> {
    let mut long = Vec::new();
    for var in plan.kernels.iter().flat_map(|k| &k.sweeps).flat_map(|s| &s.stream) {
        symbols_of(&plan.cascade, plan.cascade.vars[var.index()].extent, &mut long);
    }
    if let Ok(tiled) = tile(plan.clone(), "sm_80", &ShapeClass::aligned(plan, 16)) {
        for kernel in &tiled.kernels {
            // A grid dimension counted in tiles is the one that lies on rows.
            for dim in &kernel.program.grid {
                if let Extent::CeilDiv(inner, _) = &dim.extent {
                    params_of(inner, &mut |i| {
                        if let ScalarSource::Extent(expr) = kernel.scalars[i] {
                            symbols_of(&plan.cascade, expr, &mut long);
                        }
                    });
                }
            }
        }
    }
    long.sort();
    long.dedup();
    long
}

fn params_of(extent: &Extent, found: &mut dyn FnMut(usize)) {
    match extent {
        Extent::Const(_) => {}
        Extent::Param(i) => found(*i),
        Extent::Map(_, args) => args.iter().for_each(|a| params_of(a, found)),
        Extent::CeilDiv(a, _) => params_of(a, found),
    }
}

/// How many long ranks one loop streams at most: their product is what has to be long.
pub fn streamed_ranks(plan: &FusedPlan) -> usize {
    plan.kernels
        .iter()
        .flat_map(|k| &k.sweeps)
        .map(|s| s.stream.len())
        .max()
        .unwrap_or(1)
        .max(1)
}

fn symbols_of(cascade: &Cascade, expr: einloom_cascade::expr::ExprId, found: &mut Vec<SymId>) {
    if let einloom_cascade::expr::Expr::Extent(symbol) = cascade.exprs.get(expr) {
        found.push(*symbol);
    }
    for child in cascade.exprs.children(expr) {
        symbols_of(cascade, child, found);
    }
}
