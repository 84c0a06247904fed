//! `einloom verify`: every output of every specialisation over several shapes against the f64 evaluator.

use super::common::{CliError, CliResult, DeviceArg, given, load};
use super::compile::select;
use super::print::outln;
use super::{MessageFormat, Output};
use crate::accuracy::Accuracy;
use crate::case::{Case, CaseError, Runner, shape_class};
use crate::data::layout::Layout;
use crate::data::shapes::{self, Given, ShapeError};
use crate::exec::gpu::GpuError;
use crate::pipeline;
use crate::session::{Session, choice_text};
use crate::verify::Reference;
use clap::Args;
use einloom_cascade::data::Tensor;
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;
use einloom_runtime::LaunchError;
use einloom_tile::machine::{MachineModel, SM_80};
use einloom_tile::schedule::{Schedule, Specialised, candidates};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where to run: cpu (the interpreter of tile programs) or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// One shape instead of the default ones, e.g. p=100,m=200; choices and scalars may be given too
    #[arg(long)]
    shape: Vec<String>,
    /// Every legal schedule of a list instead of the default one
    #[arg(long)]
    all_schedules: bool,
    /// How the tensors lie in memory; several run every case several times
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["dense"])]
    layout: Vec<Layout>,
    /// One JSON line for each case on standard output
    #[arg(long)]
    json: bool,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Result of one case.
struct Outcome {
    spec: String,
    choice: String,
    shape: String,
    schedule: String,
    layout: Layout,
    /// Output name and accuracy, or why it did not run.
    result: Result<Vec<(String, Accuracy)>, CaseError>,
}

impl Outcome {
    fn passed(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|outputs| outputs.iter().all(|(_, a)| a.holds()))
    }

    /// The driver's assembler spilled, which makes a schedule of the list illegal after all: only it knows registers.
    fn spilled(&self) -> bool {
        let spilled =
            |error: &CaseError| matches!(error, CaseError::Gpu(GpuError::Launch(LaunchError::LocalMemory { .. })));
        self.result.as_ref().is_err_and(spilled)
    }
}

/// What became of the cases of one file.
#[derive(Default)]
struct Tally {
    cases: usize,
    bad: usize,
    /// Cases left out, whose schedules spill.
    spilled: usize,
    /// Kernels that ran although they spill, and the most bytes a thread of each.
    spills: BTreeMap<String, u32>,
    schedules: BTreeSet<String>,
    /// Largest error as a share of what is promised.
    worst: f64,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        self.bad += usize::from(!outcome.passed());
        self.schedules.insert(outcome.schedule.clone());
        if let Ok(outputs) = &outcome.result {
            self.worst = outputs.iter().map(|(_, a)| a.share()).fold(self.worst, f64::max);
        }
    }

    /// Passed and failed cases. Where none ran, nothing is verified, and that is a failure.
    fn counts(&self) -> (usize, usize) {
        (self.cases - self.bad, if self.cases == 0 { 1 } else { self.bad })
    }

    fn text(&self, all_schedules: bool) -> String {
        let Tally {
            cases, bad, spilled, ..
        } = self;
        let mut text = match (cases, bad) {
            (0, _) => "no case was run: FAILED".to_owned(),
            (_, 0) => format!(
                "{cases} cases, largest error {:.0} % of what is promised",
                self.worst * 100.0
            ),
            _ => format!("{bad} of {cases} cases FAILED"),
        };
        if all_schedules {
            text += &format!("; {} schedules", self.schedules.len());
        }
        if *spilled > 0 {
            text += &format!("; {spilled} cases left out, whose schedules spill");
        }
        if !self.spills.is_empty() {
            let one = |(kernel, bytes): (&String, &u32)| format!("`{kernel}` spills {bytes} bytes");
            let all: Vec<String> = self.spills.iter().map(one).collect();
            text += &format!("; slower than need be: {}", all.join(", "));
        }
        text
    }
}

pub(crate) fn verify(args: &VerifyArgs, output: Output) -> CliResult {
    let given = given(&args.shape)?;
    let runner = Runner::new(args.device)?;
    let (mut passed, mut failed) = (0, 0);
    let bar = progress(output);
    for path in &args.files {
        let tally = match verify_file(&runner, path, &given, args, &bar, output) {
            Ok(Some(tally)) => tally,
            Ok(None) => {
                failed += 1;
                continue;
            }
            Err(error) => {
                bar.suspend(|| super::common::report(&error, output));
                failed += 1;
                continue;
            }
        };
        let (good, bad) = tally.counts();
        passed += good;
        failed += bad;
        if !args.json {
            bar.suspend(|| outln!("{}: {}", path.display(), tally.text(args.all_schedules)));
        }
    }
    bar.finish_and_clear();
    if !args.json {
        outln!("{passed} passed, {failed} failed");
    }
    Ok(failed == 0)
}

/// Runs the cases of one file; `None` if it has errors, which are shown.
fn verify_file(
    runner: &Runner,
    path: &Path,
    given: &Given,
    args: &VerifyArgs,
    bar: &ProgressBar,
    output: Output,
) -> Result<Option<Tally>, CliError> {
    let mut session = Session::new();
    let Some(loaded) = load(&mut session, path, output)? else {
        return Ok(None);
    };
    let mut tally = Tally::default();
    for cascade in select(&loaded.cascades, given)? {
        run_cases(runner, cascade, given, args, bar, &mut |outcome| {
            if args.all_schedules && outcome.spilled() {
                tally.spilled += 1;
                show_spilled(&outcome, args.json, bar);
                return;
            }
            tally.add(&outcome);
            show(&outcome, args.json, bar);
        });
    }
    if let Runner::Cuda(gpu) = runner {
        tally.spills = gpu.take_spills();
    }
    Ok(Some(tally))
}

fn progress(output: Output) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if output.format == MessageFormat::Json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

/// Hands over each case as it ends, so that a long run that is stopped has shown what it did.
fn run_cases(
    runner: &Runner,
    cascade: &Cascade,
    given: &Given,
    args: &VerifyArgs,
    bar: &ProgressBar,
    found: &mut dyn FnMut(Outcome),
) {
    let outcome = |shape: String, schedule: String, layout, result| Outcome {
        spec: cascade.name.clone(),
        choice: choice_text(cascade),
        shape,
        schedule,
        layout,
        result,
    };
    let refused = |shape: String, error: CaseError| outcome(shape, String::new(), Layout::Dense, Err(error));
    let plan = match pipeline::plan(cascade) {
        Ok(plan) => plan,
        Err(error) => return found(refused(String::new(), error.into())),
    };
    let cases = match symbol_cases(cascade, &plan, given) {
        Ok(cases) => cases,
        Err(error) => return found(refused(String::new(), error.into())),
    };
    for (i, symbols) in cases.into_iter().enumerate() {
        let shape = shape_text(cascade, &symbols);
        bar.set_message(format!("{} {shape}", cascade.name));
        bar.tick();
        let case = match Case::from_symbols(cascade, given, &symbols, args.seed + i as u64) {
            Ok(case) => case,
            Err(error) => {
                found(refused(shape, error));
                continue;
            }
        };
        let references = match crate::verify::references(cascade, &case.inputs, args.seed) {
            Ok(references) => references,
            Err(error) => {
                found(refused(shape, error.into()));
                continue;
            }
        };
        for &layout in &args.layout {
            for (name, schedules) in schedules(runner, &plan, &case, layout, args.all_schedules) {
                let outputs = runner.run(&plan, schedules, &case, layout);
                let result = outputs.map(|outputs| compared(cascade, &references, &outputs));
                found(outcome(shape.clone(), name, layout, result));
            }
        }
    }
}

/// Symbol values of the cases: the given shape, or the default ones.
fn symbol_cases(cascade: &Cascade, plan: &FusedPlan, given: &Given) -> Result<Vec<Vec<i64>>, ShapeError> {
    // Names that the cascade does not have are refused, also where the default shapes are taken.
    let symbols = shapes::symbols(cascade, given, |_| 2)?;
    let named =
        |s: &einloom_cascade::ir::Symbol| given.contains_key(&s.name) || given.contains_key(&s.name.to_lowercase());
    if cascade.symbols.iter().any(named) {
        return Ok(vec![symbols]);
    }
    let (long, streamed) = (pipeline::long_symbols(plan), pipeline::streamed_ranks(plan));
    let cases = shapes::default_cases(cascade, &long, streamed, 1);
    if cases.is_empty() {
        return Err(ShapeError::NoCase);
    }
    Ok(cases)
}

/// Schedules to run a case with: the default (`None`), or every one of [`listed`] that is legal for these shapes and this layout. Kernels that it
/// does not fit keep their default.
fn schedules(
    runner: &Runner,
    plan: &FusedPlan,
    case: &Case,
    layout: Layout,
    all: bool,
) -> Vec<(String, Option<Vec<Schedule>>)> {
    let shape = shape_class(plan, &case.inputs.shapes(), &case.extents, layout);
    let machine = MachineModel::named(runner.target()).unwrap_or(&SM_80);
    let usual = match pipeline::tile(plan.clone(), runner.target(), &shape) {
        Ok(tiled) if all => tiled.schedules,
        // What is refused is reported by the run.
        _ => return vec![("default".to_owned(), None)],
    };
    let fits = |kernel, schedule: &Schedule| {
        let lowered = einloom_tile::lower::lower(plan, kernel, schedule, machine, &shape);
        lowered.is_ok_and(|lowered| einloom_tile::verify::verify(&lowered.program).is_ok())
    };
    let mut found = Vec::new();
    for candidate in listed(machine) {
        let mut list = usual.clone();
        let fitting: Vec<usize> = (0..list.len()).filter(|kernel| fits(*kernel, &candidate)).collect();
        fitting.iter().for_each(|kernel| list[*kernel] = candidate.clone());
        if !fitting.is_empty() {
            found.push((candidate.to_string(), Some(list)));
        }
    }
    found
}

/// The list that defaults are looked for in, and its specialised schedules in every way that they can run, with two stages and with three.
fn listed(machine: &MachineModel) -> Vec<Schedule> {
    let mut list = candidates(machine);
    for flags in 0..32 {
        let flag = |bit: u32| flags >> bit & 1 != 0;
        let way = Specialised {
            overlap: flag(0),
            persistent: flag(1),
            first_reference: flag(2),
            ahead: flag(3),
            turns: flag(4),
        };
        // A reference of the first tile takes overlap, and fetching ahead persistence.
        if way.first_reference && !way.overlap || way.ahead && !way.persistent {
            continue;
        }
        for base in candidates(machine).into_iter().filter(|s| s.specialised.is_some()) {
            for stages in [base.stages, base.stages + 1] {
                let one = Schedule {
                    stages,
                    specialised: Some(way),
                    ..base.clone()
                };
                if one.check().is_ok() && !list.contains(&one) {
                    list.push(one);
                }
            }
        }
    }
    list
}

/// Output names and accuracies.
fn compared(cascade: &Cascade, references: &[Reference], outputs: &[Tensor]) -> Vec<(String, Accuracy)> {
    let infos = cascade.outputs.iter().zip(references).zip(outputs);
    infos
        .map(|((info, reference), tensor)| (info.name.clone(), reference.compare(tensor)))
        .collect()
}

/// Extents by rank name.
pub(crate) fn shape_text(cascade: &Cascade, symbols: &[i64]) -> String {
    let one = |(s, n): (&einloom_cascade::ir::Symbol, &i64)| format!("{}={n}", s.name.to_lowercase());
    cascade
        .symbols
        .iter()
        .zip(symbols)
        .map(one)
        .collect::<Vec<_>>()
        .join(",")
}

fn show(outcome: &Outcome, json: bool, bar: &ProgressBar) {
    if json {
        bar.suspend(|| outln!("{}", to_json(outcome)));
        return;
    }
    if outcome.passed() {
        return;
    }
    bar.suspend(|| {
        let Outcome { spec, choice, shape, schedule, layout, .. } = outcome;
        let layout = match layout {
            Layout::Dense => String::new(),
            other => format!(" layout {}", other.name()),
        };
        outln!("FAILED {spec} [{choice}] {shape} schedule {schedule}{layout}");
        match &outcome.result {
            Err(error) => outln!("    {error}"),
            Ok(outputs) => {
                for (name, a) in outputs.iter().filter(|(_, a)| !a.holds()) {
                    outln!(
                        "    {name}: error {:.3e} (naive {:.3e}), largest {:.3e} (naive {:.3e}), wrong kind at {} of {} points",
                        a.rms, a.naive_rms, a.max, a.naive_max, a.wrong_kind, a.points
                    );
                }
            }
        }
    });
}

fn show_spilled(outcome: &Outcome, json: bool, bar: &ProgressBar) {
    if json {
        let mut line = to_json(outcome);
        line["left_out"] = serde_json::Value::Bool(true);
        bar.suspend(|| outln!("{line}"));
    }
}

fn to_json(outcome: &Outcome) -> serde_json::Value {
    let outputs: Vec<serde_json::Value> = outcome
        .result
        .iter()
        .flatten()
        .map(|(name, a)| {
            serde_json::json!({
                "output": name, "passed": a.holds(), "points": a.points, "rms": a.rms, "naive_rms": a.naive_rms,
                "max": a.max, "naive_max": a.naive_max, "relative": a.relative(), "wrong_kind": a.wrong_kind,
            })
        })
        .collect();
    serde_json::json!({
        "spec": outcome.spec, "choice": outcome.choice, "shape": outcome.shape, "schedule": outcome.schedule,
        "layout": outcome.layout.name(),
        "passed": outcome.passed(), "outputs": outputs,
        "error": outcome.result.as_ref().err().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn kernels_that_spill_are_named() {
        let mut tally = Tally {
            cases: 3,
            ..Tally::default()
        };
        assert!(!tally.text(false).contains("spills"));
        tally.spills.insert("O".to_owned(), 24);
        let text = tally.text(false);
        assert!(text.ends_with("; slower than need be: `O` spills 24 bytes"), "{text}");
    }
}
