//! What lowered programs demand of the alignment of their tensors.

mod common;

use common::plan::{Plan, carry, sweep};
use common::specs::planned;
use common::{check, inputs, lower_all, schedule};
use einloom_cascade::expr::{DType, MapOp, ReduceOp};
use einloom_plan::ir::FusedPlan;
use einloom_tile::lower::default_schedule;
use einloom_tile::machine::SM_90A;
use einloom_tile::schedule::{Schedule, ShapeClass, Specialised};

/// Name and demanded alignment of every tensor of a plan's kernels, lowered for a class of aligned tensors.
fn demands(plan: &FusedPlan, schedule: &Schedule, align: u32) -> Vec<(String, u32)> {
    let kernels = lower_all(plan, schedule, align);
    let tensors = kernels.iter().flat_map(|k| &k.program.tensors);
    tensors.map(|t| (t.name.clone(), t.align)).collect()
}

fn sorted(mut list: Vec<(String, u32)>) -> Vec<(String, u32)> {
    list.sort();
    list
}

fn expected(list: &[(&str, u32)]) -> Vec<(String, u32)> {
    sorted(list.iter().map(|&(name, align)| (name.to_owned(), align)).collect())
}

#[test]
fn one_element_a_row_is_an_element() {
    let specialised = Schedule {
        specialised: Some(Specialised {
            overlap: true,
            persistent: true,
            first_reference: true,
            ahead: true,
            ..Specialised::default()
        }),
        ..schedule(64, 64, 4, 2)
    };
    for text in [
        include_str!("../../../dsl-examples/lse.ein"),
        include_str!("../../../dsl-examples/causal.ein"),
    ] {
        let plan = planned(text);
        let best = default_schedule(&plan, 0, &SM_90A, &ShapeClass::aligned(&plan, 16)).expect("a schedule");
        let uniform = schedule(32, 32, 2, 2);
        let classes = [(&uniform, 8, 4), (&uniform, 4, 4), (&uniform, 2, 4)];
        let wide = [(&uniform, 16, 4), (&specialised, 16, 4), (&best, 16, 4)];
        for (schedule, class, narrow) in classes.into_iter().chain(wide) {
            let found = demands(&plan, schedule, class);
            let wanted = [("Q", class), ("K", class), ("V", class), ("O", class), ("LSE", narrow)];
            assert_eq!(sorted(found), expected(&wanted), "{} {schedule:?}", plan.cascade.name);
        }
    }
}

/// Ints are loaded one by one, along the last dimension as well.
#[test]
fn ints_are_elements() {
    let plan = planned(include_str!("../../../dsl-examples/document.ein"));
    let found = demands(&plan, &schedule(32, 32, 2, 2), 16);
    let wanted = [("Q", 16), ("K", 16), ("V", 16), ("O", 16), ("doc", 4)];
    assert_eq!(sorted(found), expected(&wanted));
}

/// `O[h, p] = sum over m of max(K[h, m], X[h, p]) T[m, h]`: streamed points along the last dimension of `K` and the first of `T`.
#[test]
fn only_columns_along_the_last_dimension_are_wide() {
    let mut plan = Plan::new("columns");
    let (h, p, m) = (plan.b.rank("h"), plan.b.rank("p"), plan.b.rank("m"));
    let k = plan.b.input("K", DType::F32, &[h, m]);
    let t = plan.b.input("T", DType::F32, &[m, h]);
    let x = plan.b.input("X", DType::F32, &[h, p]);
    let [h, p, m] = [h, p, m].map(|r| plan.var(r));
    let (k, t, x) = (plan.read(k, &[h, m]), plan.read(t, &[m, h]), plan.read(x, &[h, p]));
    let weight = plan.map(MapOp::Max, &[k, x]);
    let term = plan.mul(weight, t);
    let o = plan.output("O", DType::F32, &[h, p]);
    let leaf = plan.carried(0, 0, 0, &[]);
    let store = plan.store(o, &[], leaf);
    let carries = vec![carry("O", ReduceOp::Sum, &[], &[], term)];
    plan.kernel("columns", &[h, p], vec![sweep(&[m], vec![], carries)], vec![store]);
    let plan = plan.finish();
    let found = demands(&plan, &schedule(32, 16, 2, 2), 16);
    assert_eq!(sorted(found), expected(&[("K", 16), ("T", 4), ("X", 4), ("O", 4)]));
    let inputs = inputs(&plan, &[2, 21, 34], &[], &|_| 2, 5);
    check(&plan, &inputs, &schedule(32, 16, 2, 2), 16);
}
