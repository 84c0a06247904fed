//! Every example spec, from text to the interpreter, against the evaluator of plans.

mod common;

use common::{check, inputs};
use einloom_cascade::Scalar;
use einloom_cascade::expr::Kind;
use einloom_cascade::ir::Cascade;
use einloom_cascade::lower::{lower, specialisations};
use einloom_plan::PlanOptions;
use einloom_plan::ir::FusedPlan;
use einloom_syntax::{SourceMap, parse};
use einloom_tile::lower::default_schedule;
use einloom_tile::machine::SM_90A;
use einloom_tile::schedule::{Schedule, ShapeClass};

/// The specialisation with the smallest choices.
fn cascade(text: &str) -> Cascade {
    let mut sources = SourceMap::default();
    let prelude = sources.add("prelude.ein", einloom_syntax::PRELUDE);
    let prelude = parse(prelude, einloom_syntax::PRELUDE).0;
    let main = sources.add("main.ein", text);
    let (main, diagnostics) = parse(main, text);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let files = [&prelude, &main];
    let (choices, _) = specialisations(&main);
    let (cascade, diagnostics) = lower(&files, &choices[0]);
    cascade.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

fn planned(text: &str) -> FusedPlan {
    let cascade = cascade(text);
    einloom_plan::plan(&cascade, &PlanOptions::default()).unwrap_or_else(|e| panic!("{}: {e:?}", cascade.name))
}

/// Extents by the names of symbols.
fn extents(plan: &FusedPlan, tokens: i64) -> Vec<i64> {
    plan.cascade
        .symbols
        .iter()
        .map(|s| match s.name.as_str() {
            "B" | "R" => 1,
            "H" | "G" => 2,
            "P" => tokens,
            "M" => tokens + 9,
            "Y" => 5,
            "X" => 4,
            "C" | "CP" => 2,
            _ => 3,
        })
        .collect()
}

fn scalars(plan: &FusedPlan) -> Vec<Scalar> {
    plan.cascade
        .scalars
        .iter()
        .map(|s| match einloom_kind(s.dtype) {
            Kind::Real => Scalar::Real(s.default.unwrap_or(0.4)),
            Kind::Int => Scalar::Int(s.default.map_or(3, |d| d as i64)),
            Kind::Bool => Scalar::Bool(true),
        })
        .collect()
}

fn einloom_kind(dtype: einloom_cascade::expr::DType) -> Kind {
    if dtype.is_real() { Kind::Real } else { Kind::Int }
}

fn run(name: &str, text: &str, tokens: i64) {
    // Narrow heads and blocks: the evaluator computes every point on its own.
    let text = ["64 | 128 | 256", "64 | 128", "32 | 64"]
        .iter()
        .fold(text.to_owned(), |t, wide| t.replace(wide, "16"));
    let plan = planned(&text.replace("ip = 64", "ip = 16"));
    let schedule = Schedule {
        rows: 16,
        cols: 16,
        warps: 1,
        stages: 2,
        blocks_per_sm: 1,
        left_in_registers: false,
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
    lse "lse.ein" 21,
    neighborhood "neighborhood.ein" 21,
    normalized_gate "normalized-gate.ein" 21,
    prefix_lm "prefix-lm.ein" 21,
    relative_bias "relative-bias.ein" 21,
    sigmoid "sigmoid.ein" 21,
    sink_logit "sink-logit.ein" 21,
    sliding_window "sliding-window.ein" 21,
    softcap "softcap.ein" 21,
}
