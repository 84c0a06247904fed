//! The example specs as small plans.

use einloom_cascade::Scalar;
use einloom_cascade::expr::Kind;
use einloom_cascade::ir::Cascade;
use einloom_cascade::lower::{lower, specialisations};
use einloom_plan::PlanOptions;
use einloom_plan::ir::FusedPlan;
use einloom_syntax::{SourceMap, parse};

/// A spec with narrow heads and blocks: the evaluator computes every point on its own.
pub(crate) fn narrow(text: &str) -> String {
    let text = ["64 | 128 | 256", "64 | 128", "32 | 64"]
        .iter()
        .fold(text.to_owned(), |t, wide| t.replace(wide, "16"));
    text.replace("ip = 64", "ip = 16")
}

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

/// The plan of a spec's first specialisation.
pub(crate) fn planned(text: &str) -> FusedPlan {
    let cascade = cascade(text);
    einloom_plan::plan(&cascade, &PlanOptions::default()).unwrap_or_else(|e| panic!("{}: {e:?}", cascade.name))
}

/// Extents by the names of symbols.
pub(crate) fn extents(plan: &FusedPlan, tokens: i64) -> Vec<i64> {
    plan.cascade
        .symbols
        .iter()
        .map(|s| match s.name.as_str() {
            "B" | "R" => 1,
            "H" | "G" => 2,
            "P" => tokens,
            "I" => tokens,
            "M" | "J" => tokens + 9,
            "Y" => 5,
            "X" => 4,
            "C" | "CP" => 2,
            _ => 3,
        })
        .collect()
}

/// Scalars by their defaults.
pub(crate) fn scalars(plan: &FusedPlan) -> Vec<Scalar> {
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
