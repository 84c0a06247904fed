//! Every example spec, from text to the interpreter, against the evaluator of plans.
#![allow(clippy::disallowed_macros, reason = "a test may print")]

mod common;

use common::specs::{extents, narrow, planned, scalars};
use common::{check, inputs};
use einloom_tile::lower::default_schedule;
use einloom_tile::machine::SM_90A;
use einloom_tile::schedule::{Schedule, ShapeClass};

fn run(name: &str, text: &str, tokens: i64) {
    let plan = planned(&narrow(text));
    let schedule = Schedule {
        rows: 16,
        cols: 16,
        warps: 1,
        stages: 2,
        blocks_per_sm: 1,
        left_in_registers: false,
        specialised: None,
    };
    let inputs = inputs(&plan, &extents(&plan, tokens), &scalars(&plan), &|_| 2, 31);
    check(&plan, &inputs, &schedule, 16);
    let shape = ShapeClass::aligned(&plan, 16);
    for kernel in 0..plan.kernels.len() {
        let schedule = default_schedule(&plan, kernel, &SM_90A, &shape).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}[{kernel}]: {schedule:?}");
    }
}

macro_rules! examples {
    ($($name:ident $file:literal $tokens:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            run($file, include_str!(concat!("../../../dsl-examples/", $file)), $tokens);
        }
    )*};
}

examples! {
    act_calibration "act-calibration.ein" 21,
    alibi "alibi.ein" 21,
    causal "causal.ein" 21,
    column_sums "column-sums.ein" 21,
    cross "cross.ein" 21,
    document "document.ein" 21,
    entropy "entropy.ein" 21,
    full "full.ein" 21,
    grouped "grouped.ein" 21,
    landmark "landmark.ein" 32,
    linear_attention "linear-attention.ein" 21,
    causal_linear_attention "causal-linear-attention.ein" 41,
    retention "retention.ein" 41,
    lse "lse.ein" 21,
    neighborhood "neighborhood.ein" 21,
    normalized_gate "normalized-gate.ein" 21,
    prefix_lm "prefix-lm.ein" 21,
    relative_bias "relative-bias.ein" 21,
    sigmoid "sigmoid.ein" 21,
    sink_logit "sink-logit.ein" 21,
    sliding_window "sliding-window.ein" 21,
    window_sinks "window-sinks.ein" 21,
    dilated "dilated.ein" 21,
    softcap "softcap.ein" 21,
    qk_norm "qk-norm.ein" 21,
    gated "gated.ein" 21,
    forgetting "forgetting.ein" 21,
    differential "differential.ein" 21,
}
