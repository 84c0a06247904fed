//! Random cascades under random legal schedules: naive evaluator = evaluator of plans = interpreter of tile programs.
//!
//! A case is drawn from its seed alone: the cascade, the extents, the arguments, the schedule. Forms that the lowering
//! refuses are counted by reason, and each family must run at least its share.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test may read specs, ask and print"
)]

#[path = "common/chain.rs"]
mod chain;
mod common;
#[path = "../../plan/tests/common/random.rs"]
mod random;
#[path = "common/spec.rs"]
mod spec;

use chain::{Case, Outcome, check};
use einloom_cascade::expr::DType;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use random::{random_cascade, random_inputs};
use std::collections::BTreeMap;

/// Runs the seeds of a family, or as many as `EINLOOM_CASES` says, which also shows what is refused. `share` is the least
/// part of the cases, in percent, that must run on tiles: less than what was measured over 40 to 200 seeds of each family (88 to 100 %).
fn family(name: &str, seeds: std::ops::Range<u64>, share: usize, case: impl Fn(u64) -> Case) {
    let seeds = match std::env::var("EINLOOM_CASES").ok().and_then(|n| n.parse().ok()) {
        Some(cases) => 0..cases,
        None => seeds,
    };
    let mut ran = 0;
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let total = (seeds.end - seeds.start) as usize;
    for seed in seeds {
        let case = case(seed);
        match check(&case) {
            Outcome::Equal => ran += 1,
            Outcome::Refused(reason) => {
                if std::env::var_os("EINLOOM_CASES").is_some() {
                    println!("{name} {seed}: refused, {reason} ({})", case.text);
                }
                *refused.entry(reason).or_default() += 1;
            }
            Outcome::Wrong(text) => failures.push(format!("{name} {seed}: {text} ({})", case.text)),
        }
    }
    println!("{name}: {ran} of {total} ran; refused: {refused:#?}");
    assert!(
        failures.is_empty(),
        "{} of {total}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        ran * 100 >= total * share,
        "{name}: {ran} of {total} ran, {share} % must: {refused:#?}"
    );
}

/// A chain of reductions over a streamed rank, as the planner's own property test draws them.
fn chain_case(seed: u64, wide: bool) -> Case {
    let random = random_cascade(seed, wide);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x71e5);
    let shape = (rng.random_range(1..40), rng.random_range(1..60));
    let mut inputs = random_inputs(&random.cascade, seed, shape);
    for tensor in &mut inputs.tensors {
        if tensor.values.kind() == einloom_cascade::expr::Kind::Real {
            *tensor = tensor.rounded(DType::F32);
        }
    }
    Case {
        cascade: random.cascade,
        inputs,
        schedule: chain::schedule(&mut rng),
        align: 4,
        seed,
        text: random.text,
    }
}

#[test]
fn chains_over_rows() {
    family("rows", 0..120, 95, |seed| chain_case(seed, false));
}

#[test]
fn chains_over_rows_and_columns() {
    family("columns", 0..60, 95, |seed| chain_case(seed, true));
}

#[test]
fn attention() {
    family("attention", 0..60, 80, spec::attention);
}

#[test]
fn nested_blocks() {
    family("blocks", 0..40, 90, spec::blocks);
}

#[test]
fn sums_without_softmax() {
    family("linear", 0..40, 75, spec::linear);
}

#[test]
fn two_streamed_ranks() {
    family("planes", 0..40, 90, spec::planes);
}
