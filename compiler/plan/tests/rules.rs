//! Each rule of separation and representation by itself: the plan needs one sweep because of it, and equals the oracle on random data.
//! What no rule covers is refused for that sweep with the reason in a snapshot.

#[path = "common/check.rs"]
mod check;
#[path = "common/mini.rs"]
mod mini;

use einloom_plan::ir::{EventKind, FusedPlan};
use einloom_plan::{PlanOptions, plan};

const STATISTICS: &str = "rank p, m, e = 3, f = 2, z = 3
in X[p,m], V[m,f], K[m,e], L[m,e]
in lab[m] : i32
S[p,m] = X[p,m]
Mx[p] = max[m](S[p,m])
D[p] = sum[m](exp(S[p,m] - Mx[p]))
mu[p] = sum[m](X[p,m]) / real(M)
r[p] = sum[m](X[p,m] ^ 2.) + 0.5
u[p,e] = sum[m](X[p,m] * K[m,e])
";

fn planned(rest: &str, options: &PlanOptions) -> FusedPlan {
    let cascade = mini::cascade("rule", &format!("{STATISTICS}{rest}"));
    let plan = match plan(&cascade, options) {
        Ok(plan) => plan,
        Err(errors) => panic!("{rest}: {errors:?}"),
    };
    let error = check::worst(&plan, &cascade);
    assert!(error < 1e-10, "{rest}: error {error}\n{}", check::summary(&plan));
    plan
}

fn one_sweep(rest: &str) {
    let plan = planned(rest, &PlanOptions::default());
    assert_eq!(plan.sweeps, 1, "{rest}\n{}", check::summary(&plan));
}

#[test]
fn s0_nothing_late_or_nothing_streamed() {
    one_sweep("out Y[p,f] = sum[m](X[p,m] * V[m,f])");
    one_sweep("out Y[p] = sum[m](mu[p] * r[p] where lab[m] == 1)");
}

#[test]
fn s1_products_and_sums() {
    one_sweep("out Y[p] = sum[m]((X[p,m] - mu[p]) * (V[m,0] + r[p]))");
}

#[test]
fn s2_deferred_division() {
    one_sweep("out Y[p,f] = sum[m](X[p,m] / (r[p] * (1. + X[p,m] ^ 2.)) * V[m,f])");
}

#[test]
fn s3_exponentials() {
    one_sweep("out Y[p,f] = sum[m](exp(0.5 * (X[p,m] - mu[p])) * V[m,f])");
}

#[test]
fn s4_powers_roots_and_magnitudes() {
    one_sweep("out Y[p] = sum[m](sqrt(exp(S[p,m] - Mx[p]) / D[p]) * abs(X[p,m] * mu[p]))");
    one_sweep("out Y[p] = sum[m]((X[p,m] * mu[p]) ^ 3.)");
}

#[test]
fn s5_binomials() {
    one_sweep("out Y[p] = sum[m]((X[p,m] - mu[p]) ^ 2.)");
    one_sweep("out Y[p] = sum[m]((X[p,m] - mu[p]) ^ 3.)");
    one_sweep("out Y[p] = sum[m]((X[p,m] - mu[p]) ^ 4.)");
}

#[test]
fn s6_contractions_with_a_late_vector() {
    one_sweep("out Y[p,f] = sum[m](sum[e](u[p,e] * K[m,e] * L[m,e]) * V[m,f])");
    one_sweep("out Y[p] = sum[m](sum[e](u[p,e] * K[m,e]) * sum[e](u[p,e] * L[m,e]))");
}

#[test]
fn s7_labels() {
    one_sweep("out Y[p,f] = sum[m](select(lab[m] == 1, mu[p] * V[m,f], X[p,m] / r[p]))");
    one_sweep("c[p,z] = sum[m](X[p,m] where lab[m] == z)\nout Y[p] = sum[m](c[p,lab[m]] * X[p,m])");
    one_sweep("out Y[p,f] = sum[m](select(mu[p] > 0., V[m,f] * mu[p], X[p,m]))");
}

#[test]
fn s8_extrema() {
    one_sweep("out Y[p] = max[m](exp(X[p,m] - mu[p]) / r[p])");
    one_sweep("out Y[p] = min[m](mu[p] * X[p,m] + r[p])");
    one_sweep("out Y[p] = max[m](abs(X[p,m] - mu[p]))");
    one_sweep("out Y[p] = max[m](max2(mu[p] - X[p,m], r[p]))");
}

#[test]
fn s9_indices_of_extrema() {
    one_sweep("out Y[p] = argmax[m](exp(X[p,m] - mu[p]) / r[p])");
    one_sweep("out Y[p] = argmax[m](mu[p] - X[p,m])");
}

#[test]
fn s10_logarithms() {
    one_sweep("out Y[p] = sum[m](log(exp(S[p,m] - Mx[p]) / D[p]) * V[m,0])");
}

#[test]
fn s11_relu_of_a_scaled_value() {
    one_sweep("out Y[p,f] = sum[m](max2(r[p] * X[p,m], 0.) * V[m,f])");
}

/// `e^(800)` overflows and `e^(-800)` vanishes: only what cancels as a form may be left to be exponentiated.
#[test]
fn f1_scales_cancel_as_forms() {
    let rest = "T[p,m] = 400. * X[p,m]
A[p] = max[m](T[p,m])
B[p] = sum[m](exp(T[p,m] - A[p]))
out Y[p,f] = sum[m](exp(T[p,m] - A[p]) / B[p] * V[m,f])
out L2[p] = log(B[p]) + A[p]
out Z[p] = sum[m](exp(2. * (T[p,m] - A[p])) / B[p] ^ 2.)";
    one_sweep(rest);
    let sign = rest.replace("400.", "-400.");
    one_sweep(&sign);
}

#[test]
fn f2_scales_meet_in_the_finish() {
    one_sweep(
        "E[p] = sum[m](exp(2. * V[m,0]))
out Y[p] = log(sum[m](exp(S[p,m])) + E[p] + 3.)",
    );
}

#[test]
fn f3_a_carry_that_nobody_reads_is_dropped() {
    let plan = planned(
        "out Y[p,f] = sum[m](exp(S[p,m] - Mx[p]) / D[p] * V[m,f])",
        &PlanOptions::default(),
    );
    let carries: Vec<_> = plan.kernels[0].sweeps[0]
        .carries
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(carries.len(), 2, "{carries:?}");
    let dead: Vec<&str> = (plan.why.iter())
        .filter(|e| e.kind == EventKind::Dead)
        .map(|e| e.text.as_str())
        .collect();
    assert!(
        dead.iter().any(|text| text.starts_with("Mx: no finish reads it")),
        "{dead:?}"
    );
}

/// A finished row factor joins the exponent of the second sweep, whose weights are then at most 1.
#[test]
fn f4_finished_factors_fold_into_the_exponent() {
    let plan = planned(
        "out Y[p,f] = sum[m](tanh(exp(S[p,m] - Mx[p]) / D[p]) * V[m,f])",
        &PlanOptions::default(),
    );
    let sweeps = &plan.kernels[0].sweeps;
    assert_eq!((plan.kernels.len(), sweeps.len()), (1, 2));
    assert!(sweeps[1].references.is_empty());
    assert!(sweeps[1].carries.iter().all(|c| c.weight.is_none()));
}

#[test]
fn n1_bounded_exponents_need_no_reference() {
    let bounded = planned(
        "out Y[p,f] = sum[m](exp(20. * tanh(X[p,m])) * V[m,f])",
        &PlanOptions::default(),
    );
    assert!(bounded.kernels[0].sweeps[0].references.is_empty());
    let wide = planned(
        "out Y[p,f] = sum[m](exp(90. * tanh(X[p,m])) * V[m,f]) / sum[m](exp(90. * tanh(X[p,m])))",
        &PlanOptions::default(),
    );
    assert_eq!(wide.kernels[0].sweeps[0].references.len(), 1);
}

#[test]
fn n2_proportional_forms_share_a_reference() {
    let plan = planned(
        "out Y[p] = sum[m](exp(3. * (S[p,m] - Mx[p])) / D[p] ^ 3. * V[m,0])",
        &PlanOptions::default(),
    );
    let sweep = &plan.kernels[0].sweeps[0];
    assert_eq!(sweep.references.len(), 1);
    let weights: Vec<_> = sweep.carries.iter().filter_map(|c| c.weight).collect();
    assert_eq!(weights, [(0, (1, 1)), (0, (3, 1))]);
}

#[test]
fn n3_finished_weights_need_no_reference() {
    let plan = planned("out Y[m] = sum[p](exp(S[p,m] - Mx[p]) / D[p])", &PlanOptions::default());
    assert_eq!(plan.kernels.len(), 2);
    assert!(plan.kernels[1].sweeps[0].references.is_empty());
    assert_eq!(plan.crossings.len(), 1);
}

/// Powers about a mean are taken about one of the row's own values first: a mean of 1e5 costs no digits.
#[test]
fn n4_moments_are_anchored() {
    let rest = "W[p,m] = X[p,m] * 0.1 + 100000.
nu[p] = sum[m](W[p,m]) / real(M)
out Y[p] = sum[m]((W[p,m] - nu[p]) ^ 2.)";
    one_sweep(rest);
}

#[test]
fn n5_rounded_dots_close_the_gate() {
    let text = format!(
        "{}out Y[p,f] = sum[m](exp(S[p,m] - Mx[p]) / D[p] * (X[p,m] - mu[p]) * V[m,f])",
        STATISTICS.replace("L[m,e]\n", "L[m,e] : bf16\n")
    );
    let cascade = mini::cascade("gate", &text);
    let refused = plan(&cascade, &PlanOptions::default()).expect("a plan");
    let allowed = plan(
        &cascade,
        &PlanOptions {
            fold_rounded: true,
            ..PlanOptions::default()
        },
    )
    .expect("a plan");
    assert_eq!((refused.sweeps, allowed.sweeps), (2, 1));
}

#[test]
fn g1_empty_rows_stay_zero() {
    let plan = planned(
        "T[p,m] = X[p,m] where m <= p - 2
A[p] = max[m](T[p,m])
B[p] = sum[m](exp(T[p,m] - A[p]))
out Y[p,f] = sum[m](exp(T[p,m] - A[p]) / B[p] * V[m,f])
out L2[p] = log(B[p]) + A[p]",
        &PlanOptions::default(),
    );
    assert_eq!(check::numbers(&plan), (3, 1, 1, 2, 1));
}

#[test]
fn refusals() {
    let mut text = String::new();
    for rest in [
        "out Y[p,f] = sum[m](tanh(exp(S[p,m] - Mx[p]) / D[p]) * V[m,f])",
        "out Y[p,f] = sum[m](select(exp(S[p,m] - Mx[p]) / D[p] > 0.2, 1., 0.) * V[m,f])",
        "out Y[p] = sum[m](abs(X[p,m] - mu[p]))",
        "out Y[p] = sum[m](exp(mu[p] * X[p,m]))",
        "out Y[p] = sum[m](V[m,0] / (X[p,m] + mu[p] + 40.))",
        "out Y[p] = sum[m](log(X[p,m] + mu[p] + 40.))",
        "out Y[p] = sum[m](sqrt(abs(X[p,m] + mu[p])))",
        "out Y[p] = max[m](X[p,m] * (X[p,m] + mu[p]))",
        "out Y[p] = sum[m](X[p,m] where X[p,m] > mu[p])",
        "C[m] = sum[p](X[p,m])\nout Y[p] = sum[m](X[p,m] * C[m])",
        "out Y[p,m] = X[p,m] / mu[p]",
    ] {
        let plan = planned(rest, &PlanOptions::default());
        text.push_str(rest);
        text.push('\n');
        for event in &plan.why {
            if matches!(event.kind, EventKind::Rejected | EventKind::Barrier) {
                text.push_str(&format!("    {}\n", event.text));
            }
        }
    }
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!(text);
    });
}
