//! The evaluator of plans against the oracle, on a plan made by hand.

#[path = "common/attention.rs"]
mod attention;

use attention::attention;
use einloom_cascade::{Evaluator, Inputs, Tensor};
use einloom_plan::eval::{EvalError, Options, Tiles, evaluate};
use einloom_plan::ir::{FusedPlan, Policy};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn inputs(seed: u64, rows: usize, columns: usize, scale: f64) -> Inputs {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensor = |shape: [usize; 2], scale: f64| {
        let values = (0..shape[0] * shape[1]).map(|_| rng.random_range(-scale..scale));
        Tensor::reals(&shape, values.collect())
    };
    let tensors = vec![
        tensor([rows, 4], scale),
        tensor([columns, 4], scale),
        tensor([columns, 3], 1.0),
    ];
    Inputs::new(tensors, vec![])
}

fn worst(plan: &FusedPlan, inputs: &Inputs, options: &Options) -> f64 {
    let found = evaluate(plan, inputs, options).expect("the plan has a value");
    let mut oracle = Evaluator::new(&plan.cascade, inputs).expect("the inputs fit");
    let mut worst: f64 = 0.0;
    for (at, found) in found.outputs.iter().enumerate() {
        let wanted = oracle.output(at).expect("the oracle has a value");
        assert_eq!(wanted.shape, found.shape);
        let wanted = wanted.to_f64();
        let largest = wanted
            .iter()
            .filter(|x| x.is_finite())
            .fold(1.0, |a: f64, x| a.max(x.abs()));
        for (x, y) in wanted.iter().zip(found.to_f64()) {
            if *x != y {
                worst = worst.max((x - y).abs() / largest);
            }
            if x.is_nan() != y.is_nan() {
                worst = f64::INFINITY;
            }
        }
    }
    worst
}

#[test]
fn every_draw_gives_the_oracle_s_result() {
    for seed in 0..40 {
        for policy in [Policy::Running, Policy::First, Policy::Lazy] {
            let plan = attention(3, policy);
            let inputs = inputs(seed, 9, 17, 4.0);
            let options = Options {
                tile: 1 + (seed as usize % 7),
                parts: 1 + (seed as usize % 4),
                policy: None,
                chunks: None,
                seed,
            };
            let error = worst(&plan, &inputs, &options);
            assert!(error < 1e-12, "{error} with {options:?}");
        }
    }
}

/// Scores of several thousands overflow without a reference and must not with any policy.
#[test]
fn large_scores_stay_finite_with_every_policy() {
    for policy in [Policy::Running, Policy::First, Policy::Lazy] {
        let plan = attention(0, Policy::Running);
        let options = Options {
            tile: 3,
            parts: 3,
            policy: Some(policy),
            chunks: None,
            seed: 5,
        };
        let error = worst(&plan, &inputs(1, 6, 20, 50.0), &options);
        assert!(error < 1e-12, "{error} with {policy:?}");
    }
}

#[test]
fn tiles_are_counted() {
    let plan = attention(0, Policy::Running);
    let options = Options {
        tile: 1,
        ..Options::default()
    };
    let outcome = evaluate(&plan, &inputs(1, 5, 5, 1.0), &options).expect("the plan has a value");
    let tiles = Tiles {
        empty: 10,
        partial: 0,
        full: 15,
    };
    assert_eq!(outcome.tiles, tiles);
}

/// Dropping the guard of empty rows, the reference or a condition must show.
#[test]
fn wrong_plans_give_wrong_results() {
    let options = Options::default();
    let inputs = inputs(2, 9, 17, 4.0);
    let mut plan = attention(3, Policy::Running);
    plan.kernels[0].sweeps[0].carries[0].conds.clear();
    assert!(worst(&plan, &inputs, &options) > 1e-3);
    let mut plan = attention(3, Policy::Running);
    plan.kernels[0].sweeps[0].carries[1].weight = Some((0, (2, 1)));
    assert!(worst(&plan, &inputs, &options) > 1e-3);
}

#[test]
fn malformed_plans_are_refused() {
    let inputs = inputs(2, 9, 17, 4.0);
    let mut plan = attention(3, Policy::Running);
    let doubled = plan.kernels[0].stores[0].clone();
    plan.kernels[0].stores.push(doubled);
    let error = evaluate(&plan, &inputs, &Options::default()).expect_err("written twice");
    assert!(matches!(error, EvalError::WrittenTwice { .. }), "{error}");
    let mut plan = attention(3, Policy::Running);
    plan.kernels[0].resident.clear();
    let error = evaluate(&plan, &inputs, &Options::default()).expect_err("p is not bound");
    assert_eq!(error.to_string(), "malformed plan: `p` is read where it is not bound");
}
