//! Plans of random cascades against the oracle, over random tiles, splits and policies.

#[path = "common/random.rs"]
mod random;

use einloom_cascade::{Evaluator, Inputs};
use einloom_plan::eval::{Options, evaluate};
use einloom_plan::ir::{FusedPlan, Policy};
use einloom_plan::print::print;
use einloom_plan::{PlanOptions, plan};
use random::{distance, random_cascade, random_inputs};

fn worst(plan: &FusedPlan, inputs: &Inputs, options: &Options) -> Result<f64, String> {
    let found = evaluate(plan, inputs, options).map_err(|error| error.to_string())?;
    let mut oracle = Evaluator::new(&plan.cascade, inputs).map_err(|error| error.to_string())?;
    let mut worst: f64 = 0.0;
    for (at, found) in found.outputs.iter().enumerate() {
        let wanted = oracle.output(at).map_err(|error| error.to_string())?;
        worst = worst.max(distance(&wanted.to_f64(), &found.to_f64()));
    }
    Ok(worst)
}

/// Plans and checks one cascade; `Ok` is the number of sweeps.
fn check(seed: u64, wide: bool) -> Result<u32, String> {
    let random = random_cascade(seed, wide);
    let text = &random.text;
    let fused = plan(&random.cascade, &PlanOptions::default())
        .map_err(|errors| format!("{seed}: refused: {errors:?} ({text})"))?;
    let (found, written) = (fused.sweeps, fused.sweeps_written);
    if found > written {
        return Err(format!("{seed}: {found} sweeps, {written} as written ({text})"));
    }
    let draw = seed as usize;
    let inputs = random_inputs(&random.cascade, seed, (3 + draw % 7, 5 + draw % 9));
    let policies = [None, Some(Policy::Running), Some(Policy::First), Some(Policy::Lazy)];
    let options = Options {
        tile: 1 + draw % 6,
        parts: 1 + draw % 3,
        policy: policies[draw % 4],
        chunks: None,
        seed,
    };
    match worst(&fused, &inputs, &options) {
        Ok(error) if error < 1e-8 => Ok(found),
        Ok(error) => Err(format!("{seed}: error {error} ({text})")),
        Err(error) => Err(format!("{seed}: {error} ({text})")),
    }
}

fn check_all(seeds: u64, wide: bool) -> Vec<u32> {
    let results: Vec<Result<u32, String>> = (0..seeds).map(|seed| check(seed, wide)).collect();
    let failures: Vec<&str> = results
        .iter()
        .filter_map(|r| r.as_ref().err())
        .map(String::as_str)
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {seeds}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    results.into_iter().flatten().collect()
}

#[test]
fn random_cascades_equal_the_oracle() {
    let sweeps = check_all(600, false);
    let one = sweeps.iter().filter(|&&n| n == 1).count();
    assert!(one * 2 > sweeps.len(), "{one} of {} in one sweep", sweeps.len());
}

#[test]
fn random_cascades_over_both_ranks_equal_the_oracle() {
    let sweeps = check_all(300, true);
    assert!(sweeps.iter().any(|&n| n > 1), "no cascade needed a second sweep");
}

#[test]
fn planning_twice_gives_the_same_text() {
    for seed in 0..40 {
        let random = random_cascade(seed, seed % 2 == 0);
        let text = || plan(&random.cascade, &PlanOptions::default()).map(|fused| print(&fused));
        assert_eq!(text(), text(), "seed {seed}");
    }
}
