//! Plans against the oracle, and a compact summary of a plan.
#![allow(dead_code, reason = "each test file uses its own part")]

use einloom_cascade::expr::{DType, Expr, ReduceOp};
use einloom_cascade::ir::Cascade;
use einloom_cascade::ops::Scalar;
use einloom_cascade::{Evaluator, Inputs, Tensor};
use einloom_plan::eval::{Options, evaluate};
use einloom_plan::ir::{FusedPlan, Policy};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt::Write;

/// Random inputs; integer tensors hold labels 0 or 1, run-time extents are between 3 and 12.
pub(crate) fn inputs(cascade: &Cascade, seed: u64) -> Inputs {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let extents: Vec<i64> = cascade.symbols.iter().map(|_| rng.random_range(3..12)).collect();
    let mut tensors = Vec::new();
    for input in &cascade.inputs {
        let shape: Vec<usize> = input
            .dims
            .iter()
            .map(|d| match cascade.exprs.get(d.extent) {
                Expr::Int(n) => *n as usize,
                Expr::Extent(s) => extents[s.index()] as usize,
                other => panic!("extent {other:?}"),
            })
            .collect();
        let count: usize = shape.iter().product();
        tensors.push(match input.dtype {
            DType::I32 | DType::Bool => Tensor::ints(&shape, (0..count).map(|_| rng.random_range(0..2)).collect()),
            _ => Tensor::reals(&shape, (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()),
        });
    }
    let scalars: Vec<Option<Scalar>> = cascade.scalars.iter().map(|_| Some(Scalar::Real(0.3))).collect();
    Inputs::new(tensors, scalars.into_iter().flatten().collect())
}

/// Largest relative error of a plan over seeds, tilings, merges and policies.
pub(crate) fn worst(plan: &FusedPlan, cascade: &Cascade) -> f64 {
    worst_by(plan, cascade, None)
}

/// [`worst`], by chunks or not where a sweep has them.
pub(crate) fn worst_by(plan: &FusedPlan, cascade: &Cascade, chunks: Option<bool>) -> f64 {
    let mut worst: f64 = 0.0;
    for seed in 0..6 {
        let inputs = inputs(cascade, seed);
        let mut oracle = Evaluator::new(cascade, &inputs).expect("the inputs fit");
        for (turn, policy) in [Policy::Running, Policy::First, Policy::Lazy].into_iter().enumerate() {
            let options = Options {
                tile: 1 + (seed as usize + turn) % 5,
                parts: 1 + (seed as usize) % 3,
                policy: Some(policy),
                chunks,
                seed,
            };
            let found = evaluate(plan, &inputs, &options).expect("the plan has a value");
            for (at, found) in found.outputs.iter().enumerate() {
                let wanted = oracle.output(at).expect("the oracle has a value");
                assert_eq!(wanted.shape, found.shape);
                worst = worst.max(error(&wanted.to_f64(), &found.to_f64()));
            }
        }
    }
    worst
}

fn error(wanted: &[f64], found: &[f64]) -> f64 {
    let largest = wanted
        .iter()
        .filter(|x| x.is_finite())
        .fold(1e-300, |a: f64, x| a.max(x.abs()));
    let mut worst: f64 = 0.0;
    for (x, y) in wanted.iter().zip(found) {
        if x == y || x.is_nan() && y.is_nan() {
            continue;
        }
        let difference = (x - y).abs() / largest;
        worst = worst.max(if difference.is_nan() { f64::INFINITY } else { difference });
    }
    worst
}

/// Kernels, sweeps, references and carries of a plan, one line each.
pub(crate) fn summary(plan: &FusedPlan) -> String {
    let mut out = String::new();
    let name = |v: &einloom_cascade::expr::VarId| plan.cascade.vars[v.index()].name.clone();
    let names = |list: &[einloom_cascade::expr::VarId]| list.iter().map(name).collect::<Vec<_>>().join(",");
    writeln!(out, "sweeps {} -> {}", plan.sweeps_written, plan.sweeps).expect("write");
    for kernel in &plan.kernels {
        writeln!(out, "kernel {} [{}]", kernel.name, names(&kernel.resident)).expect("write");
        for sweep in &kernel.sweeps {
            writeln!(out, "  stream [{}]", names(&sweep.stream)).expect("write");
            for r in &sweep.references {
                writeln!(out, "    reference [{}] inner [{}]", names(&r.dims), names(&r.inner)).expect("write");
            }
            for c in &sweep.carries {
                let op = if c.op == ReduceOp::Sum { "" } else { " (not a sum)" };
                writeln!(
                    out,
                    "    {}[{}] = {}{op} weight {:?}",
                    c.name,
                    names(&c.dims),
                    c.meaning,
                    c.weight
                )
                .expect("write");
            }
            for c in sweep.chunks.iter().flat_map(|c| &c.state.carries) {
                writeln!(
                    out,
                    "    shared {}[{}] = {} weight {:?}",
                    c.name,
                    names(&c.dims),
                    c.meaning,
                    c.weight
                )
                .expect("write");
            }
            for e in &sweep.emits {
                writeln!(out, "    emit {:?} over [{}]", e.target, names(&e.vars)).expect("write");
            }
        }
        for s in &kernel.stores {
            writeln!(out, "  store {:?}[{}]", s.target, names(&s.vars)).expect("write");
        }
    }
    for e in &plan.why {
        writeln!(out, "{:?}: {}", e.kind, e.text).expect("write");
    }
    out
}

/// `(sweeps written, sweeps, kernels, carries, references)`; carries and references of shared states count.
pub(crate) fn numbers(plan: &FusedPlan) -> (u32, u32, usize, usize, usize) {
    let sweeps = || {
        let all = plan.kernels.iter().flat_map(|k| &k.sweeps);
        all.flat_map(|s| std::iter::once(s).chain(s.chunks.as_ref().map(|c| &c.state)))
    };
    (
        plan.sweeps_written,
        plan.sweeps,
        plan.kernels.len(),
        sweeps().map(|s| s.carries.len()).sum(),
        sweeps().map(|s| s.references.len()).sum(),
    )
}
