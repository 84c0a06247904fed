//! Specs through the levels above: text to lowered kernels.

use einloom_cascade::lower::{lower, specialisations};
use einloom_plan::PlanOptions;
use einloom_syntax::{SourceMap, parse};
use einloom_tile::lower::{default_schedule, lower as lower_kernel};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::machine::MachineModel;
use einloom_tile::schedule::{Schedule, ShapeClass};

/// The kernels of specialisation `choice` of a spec, by default schedules or one given for all; `Err` says which level refused and why.
pub fn kernels(
    text: &str,
    choice: usize,
    target: &str,
    schedule: Option<Schedule>,
) -> Result<Vec<(LoweredKernel, Schedule)>, String> {
    let mut sources = SourceMap::default();
    let prelude = sources.add("prelude.ein", einloom_syntax::PRELUDE);
    let prelude = parse(prelude, einloom_syntax::PRELUDE).0;
    let main = sources.add("main.ein", text);
    let (main, diagnostics) = parse(main, text);
    if !diagnostics.is_empty() {
        return Err(format!("parse: {diagnostics:?}"));
    }
    let (choices, _) = specialisations(&main);
    let Some(choice) = choices.get(choice.min(choices.len().saturating_sub(1))) else {
        return Err("no specialisation".to_owned());
    };
    let (cascade, diagnostics) = lower(&[&prelude, &main], choice);
    let cascade = cascade.ok_or_else(|| format!("check: {diagnostics:?}"))?;
    let plan = einloom_plan::plan(&cascade, &PlanOptions::default()).map_err(|e| format!("plan: {e:?}"))?;
    let machine = MachineModel::named(target).ok_or("no machine")?;
    let shape = ShapeClass::aligned(&plan, 16);
    (0..plan.kernels.len())
        .map(|k| {
            let schedule = match &schedule {
                Some(schedule) => schedule.clone(),
                None => default_schedule(&plan, k, machine, &shape).map_err(|e| format!("schedule: {e}"))?,
            };
            let kernel = lower_kernel(&plan, k, &schedule, machine, &shape).map_err(|e| format!("lower: {e}"))?;
            Ok((kernel, schedule))
        })
        .collect()
}
