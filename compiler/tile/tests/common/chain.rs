//! One case of the chain property: a cascade, its arguments and a schedule through all three evaluators.
#![allow(dead_code, reason = "every test binary uses its own part")]

use crate::common::try_execute;
use einloom_cascade::expr::DType;
use einloom_cascade::ir::Cascade;
use einloom_cascade::{Evaluator, Inputs};
use einloom_plan::eval::{Options, evaluate};
use einloom_plan::ir::FusedPlan;
use einloom_plan::split::Split;
use einloom_plan::{PlanOptions, plan};
use einloom_tile::lower::{LowerError, lower_unchecked};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::print::print;
use einloom_tile::schedule::{Schedule, ShapeClass};
use einloom_tile::verify::verify;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub(crate) struct Case {
    pub(crate) cascade: Cascade,
    pub(crate) inputs: Inputs,
    pub(crate) schedule: Schedule,
    /// Alignment of all tensors in bytes.
    pub(crate) align: u32,
    pub(crate) seed: u64,
    /// What the cascade does, for messages.
    pub(crate) text: String,
}

pub(crate) enum Outcome {
    Equal,
    /// The lowering has no form for it.
    Refused(String),
    Wrong(String),
}

/// A legal schedule of small tiles.
pub(crate) fn schedule(rng: &mut ChaCha8Rng) -> Schedule {
    let warps = [1, 2, 4][rng.random_range(0..3)];
    Schedule {
        rows: 16 * warps * rng.random_range(1..=2),
        cols: 16 * rng.random_range(1..=4),
        warps,
        stages: rng.random_range(1..=3),
        blocks_per_sm: 1,
        left_in_registers: rng.random_bool(0.5),
        specialised: None,
    }
}

/// Naive evaluator = evaluator of plans = interpreter; every third case in pieces, if tiles have a form for their merge.
pub(crate) fn check(case: &Case) -> Outcome {
    if case.seed % 3 == 1 {
        match check_by(case, Split::Pieces(1 + case.seed as i64 % 23)) {
            Outcome::Refused(_) => {}
            outcome => return outcome,
        }
    }
    check_by(case, Split::Off)
}

fn check_by(case: &Case, split: Split) -> Outcome {
    let options = PlanOptions {
        split,
        ..PlanOptions::default()
    };
    let plan = match plan(&case.cascade, &options) {
        Ok(plan) => plan,
        Err(errors) => return Outcome::Wrong(format!("no plan: {errors:?}")),
    };
    match planned(case, &plan) {
        Ok(wanted) => on_tiles(case, &plan, &wanted),
        Err(text) => Outcome::Wrong(text),
    }
}

/// The oracle's outputs, after the evaluator of plans agreed.
fn planned(case: &Case, plan: &FusedPlan) -> Result<Vec<Vec<f64>>, String> {
    let mut oracle = Evaluator::new(&case.cascade, &case.inputs).map_err(|e| e.to_string())?;
    let options = Options {
        tile: 1 + case.seed as usize % 7,
        parts: 1 + case.seed as usize % 3,
        policy: None,
        chunks: None,
        seed: case.seed,
    };
    let found = evaluate(plan, &case.inputs, &options).map_err(|e| format!("plan: {e}"))?;
    let mut all = Vec::new();
    for (at, found) in found.outputs.iter().enumerate() {
        let wanted = oracle.output(at).map_err(|e| e.to_string())?.to_f64();
        let name = &plan.cascade.outputs[at].name;
        differ(&wanted, &found.to_f64(), 1e-8).map_or(Ok(()), |text| Err(format!("plan: {name}{text}")))?;
        all.push(wanted);
    }
    Ok(all)
}

fn on_tiles(case: &Case, plan: &FusedPlan, wanted: &[Vec<f64>]) -> Outcome {
    let kernels = match lowered(case, plan) {
        Ok(kernels) => kernels,
        Err(LowerError::Unsupported { what, detail }) => return Outcome::Refused(format!("{what}: {detail}")),
        Err(LowerError::Schedule(_)) => return Outcome::Refused("schedule".to_owned()),
        Err(error) => return Outcome::Wrong(format!("{error}; {}", case.schedule)),
    };
    let text = || kernels.iter().map(|k| print(&k.program)).collect::<Vec<_>>().join("\n");
    let found = match try_execute(plan, &kernels, &case.inputs) {
        Ok(found) => found,
        Err(error) => return Outcome::Wrong(format!("{error}; {}\n{}", case.schedule, text())),
    };
    let reads = |dtype| plan.cascade.inputs.iter().any(|input| input.dtype == dtype);
    let tolerance = match () {
        () if reads(DType::BF16) => 3e-2,
        () if reads(DType::F16) => 5e-3,
        () => 1e-4,
    };
    for ((output, wanted), found) in plan.cascade.outputs.iter().zip(wanted).zip(&found) {
        let found: Vec<f64> = (0..wanted.len()).map(|at| found.cells.number(at)).collect();
        if let Some(difference) = differ(wanted, &found, tolerance) {
            return Outcome::Wrong(format!(
                "tiles: {}{difference}; {}\n{}",
                output.name,
                case.schedule,
                text()
            ));
        }
    }
    Outcome::Equal
}

fn lowered(case: &Case, plan: &FusedPlan) -> Result<Vec<LoweredKernel>, LowerError> {
    let shape = ShapeClass::aligned(plan, case.align);
    let mut kernels = Vec::new();
    for kernel in 0..plan.kernels.len() {
        let lowered = lower_unchecked(plan, kernel, &case.schedule, &shape)?;
        if let Err(error) = verify(&lowered.program) {
            return Err(LowerError::Bug(format!("{error}\n{}", print(&lowered.program))));
        }
        kernels.push(lowered);
    }
    Ok(kernels)
}

/// The first place with a difference above `tolerance` of the largest value, if there is one.
fn differ(wanted: &[f64], found: &[f64], tolerance: f64) -> Option<String> {
    let finite = wanted.iter().filter(|x| x.is_finite());
    let largest = finite.fold(1e-2, |largest: f64, x| largest.max(x.abs()));
    let far = |x: f64, y: f64| {
        x != y && !(x.is_nan() && y.is_nan()) && ((x - y).abs() / largest > tolerance || (x - y).is_nan())
    };
    let at = (wanted.iter().zip(found)).position(|(&x, &y)| far(x, y))?;
    Some(format!("[{at}] is {}, should be {}", found[at], wanted[at]))
}
