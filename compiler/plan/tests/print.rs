//! The text of a plan.

#[path = "common/attention.rs"]
mod attention;

use attention::attention;
use einloom_plan::ir::{Event, EventKind, Policy};
use einloom_plan::print::{print, why};

#[test]
fn a_plan_reads_like_its_formulas() {
    let mut plan = attention(3, Policy::Running);
    plan.why.push(Event {
        kind: EventKind::Rule,
        span: None,
        text: "S3 at 7:9".into(),
    });
    assert_eq!(why(&plan), "rule: S3 at 7:9\n");
    insta::assert_snapshot!(print(&plan));
}

#[test]
fn printing_is_deterministic() {
    let plan = attention(3, Policy::Lazy);
    assert_eq!(print(&plan), print(&plan.clone()));
}
