//! Plans of the example specs: a summary of each, and of what is refused the reason; small ones against the oracle.
#![allow(clippy::disallowed_methods, reason = "the specs are files")]

#[path = "common/check.rs"]
mod check;

use einloom_cascade::ir::Cascade;
use einloom_cascade::{lower, specialisations};
use einloom_plan::{PlanOptions, plan};
use einloom_syntax::{PRELUDE, SourceMap, has_errors, parse};

/// The first specialisation of a spec, if it lowers.
fn cascade(text: &str) -> Option<Cascade> {
    let mut sources = SourceMap::new();
    let (prelude_id, main_id) = (sources.add("prelude.ein", PRELUDE), sources.add("test.ein", text));
    let (prelude, _) = parse(prelude_id, PRELUDE);
    let (main, problems) = parse(main_id, text);
    if has_errors(&problems) {
        return None;
    }
    let (choices, _) = specialisations(&main);
    lower(&[&prelude, &main], choices.first()?).0
}

fn planned(text: &str) -> String {
    let Some(cascade) = cascade(text) else {
        return "does not lower".to_owned();
    };
    match plan(&cascade, &PlanOptions::default()) {
        Ok(plan) => {
            assert_eq!(
                einloom_plan::print::print(&plan),
                einloom_plan::print::print(&plan_again(&cascade)),
                "the same cascade gives the same plan"
            );
            check::summary(&plan)
        }
        Err(errors) => {
            let lines: Vec<String> = errors.into_iter().map(|e| format!("error: {}", e.message)).collect();
            lines.join("\n")
        }
    }
}

fn plan_again(cascade: &Cascade) -> einloom_plan::ir::FusedPlan {
    plan(cascade, &PlanOptions::default()).expect("it had a plan a moment ago")
}

#[test]
fn examples() {
    insta::glob!("../../../dsl-examples", "*.ein", |path| {
        let text = std::fs::read_to_string(path).expect("a readable spec");
        insta::with_settings!({omit_expression => true}, {
            insta::assert_snapshot!(planned(&text));
        });
    });
}

#[test]
fn catalogue() {
    insta::glob!("../../cascade/tests/specs", "*.ein", |path| {
        let text = std::fs::read_to_string(path).expect("a readable spec");
        insta::with_settings!({omit_expression => true}, {
            insta::assert_snapshot!(planned(&text));
        });
    });
}

/// `p = (cp, ip)` whose last block reaches beyond P: rows there do not exist, and nothing is read for them.
#[test]
fn rows_beyond_the_end_of_a_composite_do_not_exist() {
    let landmark = include_str!("../../../dsl-examples/landmark.ein");
    let text = landmark.replace("ip = 64", "ip = 4").replace("e = 64", "e = 2");
    let cascade = cascade(&text).expect("a cascade");
    let plan = plan(&cascade, &PlanOptions::default()).expect("a plan");
    assert_eq!(plan.kernels.len(), 1);
    assert_eq!(plan.kernels[0].domain.len(), 1, "{}", einloom_plan::print::print(&plan));
    let error = check::worst(&plan, &cascade);
    assert!(error < 1e-11, "error {error}");
}
