//! Split sweeps against the oracle: random cascades and the examples, by random pieces.
#![allow(clippy::disallowed_methods, reason = "the specs are files")]

#[path = "common/check.rs"]
mod check;
#[path = "common/mini.rs"]
mod mini;
#[path = "common/random.rs"]
mod random;

use einloom_cascade::{Evaluator, Inputs};
use einloom_plan::eval::{Options, evaluate};
use einloom_plan::ir::FusedPlan;
use einloom_plan::print::print;
use einloom_plan::split::{Split, SplitError, splittable};
use einloom_plan::{PlanOptions, plan};
use random::{distance, random_cascade, random_inputs};

fn split_in(length: i64) -> PlanOptions {
    PlanOptions {
        split: Split::Pieces(length),
        ..PlanOptions::default()
    }
}

fn pieces(plan: &FusedPlan) -> usize {
    plan.kernels.iter().filter(|k| k.piece.is_some()).count()
}

/// Largest difference of any output from the oracle, over the output's largest value.
fn worst(plan: &FusedPlan, inputs: &Inputs, options: &Options) -> Result<f64, String> {
    let found = evaluate(plan, inputs, options).map_err(|e| e.to_string())?;
    let mut oracle = Evaluator::new(&plan.cascade, inputs).map_err(|e| e.to_string())?;
    let mut worst: f64 = 0.0;
    for (at, found) in found.outputs.iter().enumerate() {
        let wanted = oracle.output(at).map_err(|e| e.to_string())?;
        worst = worst.max(distance(&wanted.to_f64(), &found.to_f64()));
    }
    Ok(worst)
}

/// Random cascades with pieces of 1 to 7 points of 1 to 14: equal to the oracle, and most are split.
#[test]
fn random_cascades_in_pieces_equal_the_oracle() {
    let mut split = 0;
    let seeds = 300;
    for seed in 0..seeds {
        let random = random_cascade(seed, seed % 3 == 0);
        let draw = seed as usize;
        let planned = plan(&random.cascade, &split_in(1 + seed as i64 % 7)).expect("a plan");
        split += usize::from(pieces(&planned) > 0);
        let inputs = random_inputs(&random.cascade, seed, (1 + draw % 7, 1 + draw % 14));
        let options = Options {
            tile: 1 + draw % 4,
            parts: 1 + draw % 3,
            seed,
            ..Options::default()
        };
        match worst(&planned, &inputs, &options) {
            Ok(error) if error < 1e-8 => {}
            other => panic!("seed {seed}: {other:?}: {}", random.text),
        }
    }
    assert!(split * 2 > seeds as usize, "{split} of {seeds} were split");
}

#[test]
fn a_softmax_in_pieces() {
    let cascade = mini::cascade(
        "softmax",
        "rank p, m, e = 2, f = 3
         in Q[p,e], K[m,e], V[m,f]
         S[p,m] = sum[e](Q[p,e] * K[m,e]) where m <= p
         X[p] = max[m](S[p,m])
         D[p] = sum[m](exp(S[p,m] - X[p]))
         out O[p,f] = sum[m](exp(S[p,m] - X[p]) / D[p] * V[m,f])",
    );
    let plan = plan(&cascade, &split_in(4)).expect("a plan");
    assert_eq!(pieces(&plan), 1);
    let error = check::worst(&plan, &cascade);
    assert!(error < 1e-8, "{error}");
    insta::assert_snapshot!(print(&plan));
}

/// What is not merged stays one kernel, for a reason; so do the kernels that are split already.
#[test]
fn what_is_not_split_says_why() {
    let places = mini::cascade("places", "rank p, m\nin X[p,m]\nout A[p] = argmax[m](X[p,m])");
    let plan_of = |c| plan(c, &split_in(4)).expect("a plan");
    let kept = plan_of(&places);
    assert_eq!(pieces(&kept), 0);
    assert!(matches!(splittable(&kept, 0), Err(SplitError::Carry(_))));
    let sums = mini::cascade("sums", "rank p, m\nin X[p,m]\nout A[p] = sum[m](X[p,m])");
    let split = plan_of(&sums);
    assert_eq!(pieces(&split), 1);
    assert_eq!(splittable(&split, 0), Err(SplitError::Merge));
    assert_eq!(splittable(&split, 1), Err(SplitError::Merge));
    let reasons: Vec<&str> = kept
        .why
        .iter()
        .map(|e| e.text.as_str())
        .filter(|t| t.contains("not split"))
        .collect();
    insta::assert_debug_snapshot!(reasons);
}
