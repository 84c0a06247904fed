//! Where fast instructions stand in for exact functions: in the weights of 16-bit dots, and nowhere else.

mod common;

use common::specs::planned;
use common::{execute, expected, inputs, lower_all};
use einloom_tile::lower::lower_unchecked;
use einloom_tile::print::print;
use einloom_tile::schedule::ShapeClass;
use einloom_tile::verify::verify;

fn lowered(dtype: &str, outputs: &str) -> String {
    let plan = planned(&format!(
        "cascade near\nrank p, m, e = 16, f = E\nin  Q[p,e], K[m,e], V[m,f] : {dtype}\nT[p,m] = tanh(Q * K)\n{outputs}"
    ));
    let shape = ShapeClass::aligned(&plan, 16);
    let kernel = lower_unchecked(&plan, 0, &common::schedule(16, 16, 1, 1), &shape).expect("a tile form");
    verify(&kernel.program).expect("a legal program");
    print(&kernel.program)
}

fn program(outputs: &str) -> String {
    lowered("bf16", outputs)
}

#[test]
fn exponents_are_near() {
    let text = program("out O[p,f] : bf16 = sum[m](exp(3 * T) * V)\n");
    assert!(text.contains("TanhFast") && text.contains("Exp2Fast"), "{text}");
    assert!(!text.contains("Map(Tanh)"), "{text}");
}

/// Weights of 11 bits ask for more than the fast tangent gives, and so does a sum that may be smaller than the tangent.
#[test]
fn finer_exponents_are_nearer() {
    let half = lowered("f16", "out O[p,f] : f16 = sum[m](exp(3 * T) * V)\n");
    let sum = program("out O[p,f] : bf16 = sum[m](exp(3 * T - m) * V)\n");
    for text in [half, sum] {
        assert!(text.contains("ReciprocalFast") && text.contains("Exp2Fast"), "{text}");
        assert!(!text.contains("Tanh"), "{text}");
    }
}

/// What is near enough for an exponent is not taken for the value beside it.
#[test]
fn values_beside_an_exponent_are_exact() {
    let text = program("out O[p,f] : bf16 = sum[m](exp(3 * T) * T * V)\n");
    assert!(text.contains("Map(Tanh)"), "{text}");
}

/// A sum that reaches an f32 output takes exact functions.
#[test]
fn wide_outputs_are_exact() {
    let text = program("out O[p,f] : bf16 = sum[m](exp(3 * T) * V)\nout Z[p] : f32 = sum[m](exp(3 * T))\n");
    assert!(text.contains("Map(Tanh)") && text.contains("Map(Exp)"), "{text}");
    assert!(!text.contains("ReciprocalFast") && !text.contains("TanhFast"), "{text}");
}

/// One key has all the weight, whatever it is: the result is its value, because numerator and denominator take the same rounded weight.
#[test]
fn weights_without_a_reference_are_rounded_alike() {
    let spec =
        "cascade capped\nrank p, m, e = 16, f = E\nin  Q[p,e], K[m,e], V[m,f] : bf16\nS[p,m] = softcap(Q * K, 20)\n";
    let plan = planned(&format!("{spec}out O[p,f] : bf16 = softmax[m](S) * V\n"));
    let inputs = inputs(&plan, &[40, 1], &[], &|_| 1, 3);
    let kernels = lower_all(&plan, &common::schedule(16, 16, 1, 1), 16);
    let text = print(&kernels[0].program);
    assert!(
        !text.contains("row Max") && text.contains(": F32[rows,cols16] = cast"),
        "{text}"
    );
    let found = execute(&plan, &kernels, &inputs);
    for (at, want) in expected(&plan, &inputs)[0].to_f64().into_iter().enumerate() {
        let have = found[0].cells.number(at);
        assert!((have - want).abs() < 1e-9, "point {at}: {have} for {want}");
    }
}

/// A row sum that is an output itself is taken from the weights as they are.
#[test]
fn a_sum_that_is_stored_is_not_rounded() {
    let text = program("out O[p,f] : bf16 = sum[m](exp(3 * T) * V)\nout Z[p] : bf16 = sum[m](exp(3 * T))\n");
    assert!(!text.contains(": F32[rows,cols16] = cast"), "{text}");
}
