//! The results table of the calculus: sweeps written, sweeps, kernels, carries and references of each cascade; plan = oracle.
#![allow(clippy::disallowed_macros, reason = "a test may print")]

#[path = "common/check.rs"]
mod check;
#[path = "common/mini.rs"]
mod mini;

use einloom_plan::ir::EventKind;
use einloom_plan::{PlanOptions, plan};

const ATTENTION: &str = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](Q[p,e] * K[m,e]) * 0.5 WHERE
Mx[p] = max[m](S[p,m])
D[p] = sum[m](exp(S[p,m] - Mx[p]))
";

fn row(name: &str, text: &str, expected: (u32, u32, usize, usize, usize)) {
    let cascade = mini::cascade(name, text);
    let plan = match plan(&cascade, &PlanOptions::default()) {
        Ok(plan) => plan,
        Err(errors) => panic!("{name}: {errors:?}"),
    };
    let summary = check::summary(&plan);
    println!("{name}\n{summary}");
    let error = check::worst(&plan, &cascade);
    assert!(error < 1e-11, "{name}: error {error}\n{summary}");
    assert_eq!(check::numbers(&plan), expected, "{name}\n{summary}");
}

fn attention(domain: &str, rest: &str) -> String {
    format!("{}{rest}", ATTENTION.replace("WHERE", domain))
}

const P: &str = "P[p,m] = exp(S[p,m] - Mx[p]) / D[p]\n";
const O: &str = "out O[p,f] = sum[m](P[p,m] * V[m,f])\n";

#[test]
fn textbook() {
    row("textbook", &attention("", &format!("{P}{O}")), (3, 1, 1, 2, 1));
}

#[test]
fn causal_with_lse() {
    let rest = format!("{P}{O}out LSE[p] = log(D[p]) + Mx[p]\n");
    row("causal", &attention("where m <= p + M - P", &rest), (3, 1, 1, 2, 1));
}

#[test]
fn shifted_window_with_empty_rows() {
    let rest = format!("{P}{O}out LSE[p] = log(D[p]) + Mx[p]\n");
    row(
        "window",
        &attention("where m <= p - 3, m >= p - 5", &rest),
        (3, 1, 1, 2, 1),
    );
}

#[test]
fn sigmoid() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](Q[p,e] * K[m,e]) where m <= p
out O[p,f] = sum[m](1. / (1. + exp(-S[p,m])) * V[m,f])";
    row("sigmoid", text, (1, 1, 1, 1, 0));
}

#[test]
fn sink_logit() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f], a[p]
S[p,m] = sum[e](Q[p,e] * K[m,e]) where m <= p - 2
Mx[p] = max2(max[m](S[p,m]), a[p])
D[p] = sum[m](exp(S[p,m] - Mx[p])) + exp(a[p] - Mx[p])
out O[p,f] = sum[m](exp(S[p,m] - Mx[p]) / D[p] * V[m,f])";
    row("sink", text, (3, 1, 1, 2, 1));
}

#[test]
fn softcap() {
    let text = attention("", &format!("{P}{O}")).replace("* 0.5", "").replace(
        "S[p,m] = sum[e](Q[p,e] * K[m,e])",
        "S[p,m] = 20. * tanh(sum[e](Q[p,e] * K[m,e]) / 20.)",
    );
    row("softcap", &text, (3, 1, 1, 2, 0));
}

#[test]
fn entropy() {
    let rest = format!("{P}{O}out H[p] = -sum[m](P[p,m] * log(P[p,m]) where P[p,m] > 0.)\n");
    row("entropy", &attention("where m <= p", &rest), (3, 1, 1, 3, 1));
}

#[test]
fn classes() {
    let rest = format!(
        "{P}a[p] = sum[m](P[p,m] * real(sink[m]))
out O[p,f] = sum[m](select(sink[m] == 1, 0.4 * P[p,m], P[p,m] * (1. + 0.6 * a[p] / (1. - a[p]))) * V[m,f])\n"
    );
    let text = attention("where m <= p", &rest).replace("in Q", "in sink[m] : i32\nin Q");
    row("classes", &text, (4, 1, 1, 4, 1));
}

#[test]
fn two_branches() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f], Q2[p,e], K2[m,e]
S[p,m] = sum[e](Q[p,e] * K[m,e]) where m <= p
T[p,m] = sum[e](Q2[p,e] * K2[m,e]) where m <= p
A[p] = max[m](S[p,m])
B[p] = max[m](T[p,m])
D[p] = sum[m](exp(S[p,m] - A[p]))
E[p] = sum[m](exp(T[p,m] - B[p]))
out O[p,f] = sum[m]((exp(S[p,m] - A[p]) / D[p] - 0.5 * exp(T[p,m] - B[p]) / E[p]) * V[m,f])";
    row("branches", text, (3, 1, 1, 4, 2));
}

#[test]
fn column_sums() {
    let rest = format!("{P}{O}out C[m] = sum[p](P[p,m])\n");
    row("columns", &attention("where m <= p", &rest), (4, 2, 2, 3, 1));
}

#[test]
fn softmax_over_queries() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](Q[p,e] * K[m,e])
Mx[m] = max[p](S[p,m])
D[m] = sum[p](exp(S[p,m] - Mx[m]))
out O[p,f] = sum[m](exp(S[p,m] - Mx[m]) / D[m] * V[m,f])";
    row("queries", text, (3, 2, 2, 2, 1));
}

#[test]
fn column_sum_fed_back() {
    let rest = format!(
        "{P}C[m] = sum[p](P[p,m])
a[p] = sum[m](P[p,m] where C[m] > tau)
out O[p,f] = sum[m](select(C[m] > tau, 0.4 * P[p,m], P[p,m] * (1. + 0.6 * a[p] / (1. - a[p]))) * V[m,f])\n"
    );
    let text = format!("scalar tau\n{}", attention("where m <= p", &rest));
    row("fed back", &text, (5, 3, 3, 5, 1));
}

#[test]
fn linear_attention() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](Q[p,e] * K[m,e])
out O[p,f] = sum[m](S[p,m] * V[m,f])";
    row("linear", text, (1, 1, 2, 1, 0));
}

#[test]
fn tanh_of_the_weight() {
    let rest = format!("{P}out O[p,f] = sum[m](tanh(3. * P[p,m]) * V[m,f])\n");
    row("tanh", &attention("where m <= p", &rest), (3, 2, 1, 2, 1));
}

#[test]
fn threshold_on_the_weight() {
    let rest = format!("{P}out O[p,f] = sum[m](select(P[p,m] > 0.2, P[p,m], 0.) * V[m,f])\n");
    row("threshold", &attention("where m <= p", &rest), (3, 2, 1, 2, 1));
}

#[test]
fn mean_absolute_deviation() {
    let text = "rank p, m
in X[p,m]
mu[p] = sum[m](X[p,m]) / real(M)
out Y[p] = sum[m](abs(X[p,m] - mu[p])) / real(M)";
    row("deviation", text, (2, 2, 1, 2, 0));
}

// The prototype wrote P in a kernel of its own; here it is a second loop of the same one, as its table allows.
#[test]
fn weights_as_second_output() {
    let rest = format!("out P[p,m] = exp(S[p,m] - Mx[p]) / D[p]\n{O}");
    row("emit", &attention("", &rest), (3, 2, 1, 2, 1));
}

// 4 carries; the table has 5 and does not list them. Here the largest weight is e^(Mx - g) / D, which reads the maximum that is carried for it alone;
// the spec's own maximum is the same carry.
#[test]
fn powers_and_extrema_of_the_weight() {
    let rest = format!(
        "{P}out O[p,f] = sum[m](P[p,m] ^ 2. * V[m,f])
out R[p] = max[m](P[p,m])
out I[p] = argmax[m](P[p,m])\n"
    );
    row("powers", &attention("", &rest), (3, 1, 1, 4, 1));
}

// 3 carries; the table has 5 and does not list them. Here the labels are a dimension of one carry.
#[test]
fn three_classes_by_label() {
    let rest = format!(
        "{P}c[p,z] = sum[m](P[p,m] where lab[m] == z)
out O[p,f] = sum[m](P[p,m] * c[p,lab[m]] * V[m,f])\n"
    );
    let text = attention("", &rest)
        .replace("f = 3", "f = 3, z = 3")
        .replace("in Q", "in lab[m] : i32\nin Q");
    row("labels", &text, (4, 1, 1, 3, 1));
}

#[test]
fn weight_linear_in_a_late_vector() {
    let rest = format!(
        "{P}u[p,e] = sum[m](P[p,m] * K[m,e])
out O[p,f] = sum[m](P[p,m] * sum[e](u[p,e] * K[m,e]) * V[m,f])\n"
    );
    row("late vector", &attention("", &rest), (4, 1, 1, 3, 1));
}

// 4 carries; the table has 5 and does not list them. Here the weight of the binomial's constant term is the normaliser.
#[test]
fn mean_and_variance_of_values() {
    let rest = format!(
        "{P}mu[p,f] = sum[m](P[p,m] * V[m,f])
out O[p,f] = mu[p,f]
out W[p,f] = sum[m](P[p,m] * (V[m,f] - mu[p,f]) ^ 2.)\n"
    );
    row("moments", &attention("", &rest), (4, 1, 1, 4, 1));
    let rounded = attention("", &rest).replace("V[m,f]\n", "V[m,f] : bf16\n");
    row("moments in bf16", &rounded, (4, 2, 1, 3, 1));
}

// 7 carries; the table has 8 and does not list them. Here the number of points is M, which needs no carry.
#[test]
fn kurtosis() {
    let text = "rank p, m
in X[p,m]
mu[p] = sum[m](X[p,m]) / real(M)
v[p] = sum[m]((X[p,m] - mu[p]) ^ 2.) / real(M)
out Y[p] = sum[m](((X[p,m] - mu[p]) / sqrt(v[p])) ^ 4.) / real(M)
out Z[p] = max[m](abs(X[p,m] - mu[p])) / sqrt(v[p])";
    row("kurtosis", text, (3, 1, 1, 7, 0));
}

#[test]
fn variance_normalised_gate() {
    let text = "rank p, m, f = 3
in X[p,m], V[m,f]
mu[p] = sum[m](X[p,m]) / real(M)
v[p] = sum[m]((X[p,m] - mu[p]) ^ 2.) / real(M)
W[p,m] = exp(-((X[p,m] - mu[p]) ^ 2.) / (2. * v[p]))
D[p] = sum[m](W[p,m])
out O[p,f] = sum[m](W[p,m] * V[m,f]) / D[p]";
    row("gate", text, (3, 2, 1, 5, 1));
}

#[test]
fn backward() {
    let rest = format!(
        "{P}dP[p,m] = sum[f](G[p,f] * V[m,f])
delta[p] = sum[m](P[p,m] * dP[p,m])
T[p,m] = P[p,m] * (dP[p,m] - delta[p])
out dQ[p,e] = sum[m](T[p,m] * K[m,e])
out dK[m,e] = sum[p](T[p,m] * Q[p,e])
out dV[m,f] = sum[p](P[p,m] * G[p,f])\n"
    );
    let text = attention("where m <= p", &rest).replace("in Q", "in G[p,f], Q");
    row("backward", &text, (6, 2, 2, 6, 1));
}

#[test]
fn kronecker() {
    let text = "rank p, m, n, e = 4, f = 3
in Q[p,e], K[m,e], L[n,e], V[m,f], U[n,f]
S[p,m,n] = sum[e](Q[p,e] * K[m,e] * L[n,e])
Mx[p] = max[m,n](S[p,m,n])
D[p] = sum[m,n](exp(S[p,m,n] - Mx[p]))
out O[p,f] = sum[m,n](exp(S[p,m,n] - Mx[p]) / D[p] * V[m,f] * U[n,f])";
    row("kronecker", text, (3, 1, 1, 2, 1));
}

#[test]
fn batch_hoisted() {
    let text = "rank b, p, m, f = 3
in B[p,m], V[b,m,f]
Mx[p] = max[m](B[p,m])
D[p] = sum[m](exp(B[p,m] - Mx[p]))
out O[b,p,f] = sum[m](exp(B[p,m] - Mx[p]) / D[p] * V[b,m,f])";
    row("positional", text, (3, 1, 1, 2, 1));
}

#[test]
fn temperature_and_row_constant() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f], t[p]
R[p,m] = sum[e](Q[p,e] * K[m,e])
S[p,m] = t[p] * (R[p,m] + select(m == 0, 1.5, 0.)) + 900. * t[p]
Mx[p] = max[m](S[p,m])
D[p] = sum[m](exp(S[p,m] - Mx[p]))
out O[p,f] = sum[m](exp(S[p,m] - Mx[p]) / D[p] * V[m,f])";
    row("temperature", text, (3, 1, 1, 2, 1));
}

// 3 sweeps as written, where the table has 1: this spec writes a maximum and a normaliser before the result. Planned alike.
#[test]
fn landmark() {
    let text = "rank p, c, i = 3, e = 4, f = 2
in Q[p,e], K[c,i,e], V[c,i,f]
S[p,c,i] = sum[e](Q[p,e] * K[c,i,e])
im[p,c] = max[i](S[p,c,i])
il[p,c] = sum[i](exp(S[p,c,i] - im[p,c]))
Oin[p,c,f] = sum[i](exp(S[p,c,i] - im[p,c]) / il[p,c] * V[c,i,f])
top[p] = max2(max[c,i](S[p,c,i] where c == p // 3), max[c](S[p,c,2] where c < p // 3))
Z[p] = sum[c,i](exp(S[p,c,i] - top[p]) where c == p // 3) + sum[c](exp(S[p,c,2] - top[p]) where c < p // 3)
out O[p,f] = sum[c,i](exp(S[p,c,i] - top[p]) / Z[p] * V[c,i,f] where c == p // 3) + sum[c](exp(S[p,c,2] - top[p]) * Oin[p,c,f] / Z[p] where c < p // 3)";
    row("landmark", text, (3, 1, 1, 4, 2));
}

// One reference where the table has two: the weights of the second and third kernel are proved (N3), and the square shares their lam.
#[test]
fn column_statistics() {
    let rest = format!(
        "{P}C[m] = sum[p](P[p,m])
C2[m] = sum[p](P[p,m] ^ 2.)
out mean[m] = C[m] / real(P)
out var[m] = C2[m] / real(P) - (C[m] / real(P)) ^ 2.
out H[z] = -sum[p,m](P[p,m] * log(P[p,m]) where P[p,m] > 0.)\n"
    );
    let text = attention("", &rest).replace("f = 3", "f = 3, z = 1");
    row("column statistics", &text, (4, 3, 3, 4, 1));
}

// Not in the table. The square of a difference takes two anchored carries beside the mean's (N4), and nothing but lam crosses: the test of the
// weight in the entropy folds as the weight does (F4).
#[test]
fn column_statistics_about_the_mean() {
    let rest = format!(
        "{P}C[m] = sum[p](P[p,m])
mu[m] = C[m] / real(P)
out var[m] = sum[p]((P[p,m] - mu[m]) ^ 2.) / real(P)
out ent[m] = -sum[p](P[p,m] * log(P[p,m]) where P[p,m] > 0.)
out T[z] = sum[p,m](P[p,m] * C[m])\n"
    );
    let text = attention("", &rest).replace("f = 3", "f = 3, z = 1");
    row("about the mean", &text, (5, 3, 3, 6, 1));
    let plan = plan(&mini::cascade("about the mean", &text), &PlanOptions::default()).expect("a plan");
    let crossings: Vec<&str> = plan.crossings.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(crossings, ["lam", "C"]);
}

#[test]
fn mla_decode() {
    let text = "rank p, m, c = 16, e = 8, f = 8, g = 8
in Q[p,e], W[c,e], U[c,f], C[m,c], O2[f,g]
K[m,e] = sum[c](C[m,c] * W[c,e])
V[m,f] = sum[c](C[m,c] * U[c,f])
S[p,m] = sum[e](Q[p,e] * K[m,e])
Mx[p] = max[m](S[p,m])
D[p] = sum[m](exp(S[p,m] - Mx[p]))
out O[p,f] = sum[m](exp(S[p,m] - Mx[p]) / D[p] * V[m,f])";
    row("mla", text, (3, 1, 1, 2, 1));
}

#[test]
fn local_linear_attention() {
    let rest = "rho[p,e] = R[p,e]
w[p,m] = exp(S[p,m] - Mx[p]) / D[p]
d[p,m] = sum[e](rho[p,e] * (K[m,e] - Q[p,e]))
out O[p,f] = sum[m](w[p,m] * (1. - d[p,m]) * V[m,f]) / sum[m](w[p,m] * (1. - d[p,m]))\n";
    let text = attention("where m <= p", rest).replace("in Q", "in R[p,e], Q");
    row("local linear", &text, (3, 1, 1, 3, 1));
}

#[test]
fn documents() {
    let text = attention("where m <= p, dp[p] == dm[m]", &format!("{P}{O}"));
    let text = text.replace("in Q", "in dp[p], dm[m] : i32\nin Q");
    row("documents", &text, (3, 1, 1, 2, 1));
}

#[test]
fn window_in_two_dimensions() {
    let near = "where m // 3 - p // 3 <= 1, p // 3 - m // 3 <= 1, m % 3 - p % 3 <= 1, p % 3 - m % 3 <= 1";
    row("2-D window", &attention(near, &format!("{P}{O}")), (3, 1, 1, 2, 1));
}

#[test]
fn prefix_and_causal() {
    row(
        "prefix",
        &attention("where m <= p or m < 4", &format!("{P}{O}")),
        (3, 1, 1, 2, 1),
    );
}

#[test]
fn forward_and_backward() {
    let rest = format!(
        "{P}{O}dP[p,m] = sum[f](G[p,f] * V[m,f])
delta[p] = sum[f](G[p,f] * O[p,f])
T[p,m] = P[p,m] * (dP[p,m] - delta[p])
out dQ[p,e] = sum[m](T[p,m] * K[m,e])
out dK[m,e] = sum[p](T[p,m] * Q[p,e])
out dV[m,f] = sum[p](P[p,m] * G[p,f])\n"
    );
    let text = attention("where m <= p", &rest).replace("in Q", "in G[p,f], Q");
    row("forward and backward", &text, (6, 2, 2, 6, 1));
}

/// A row that reaches chunks with a carried state (D2): both of its evaluations equal the oracle.
fn chunked(name: &str, text: &str, expected: (u32, u32, usize, usize, usize)) {
    row(name, text, expected);
    let cascade = mini::cascade(name, text);
    let plan = plan(&cascade, &PlanOptions::default()).expect("a plan");
    let report = einloom_plan::print::why(&plan);
    assert!(report.contains("rows of a chunk of p share"), "{report}");
    for chunks in [false, true] {
        let error = check::worst_by(&plan, &cascade, Some(chunks));
        assert!(error < 1e-11, "{name}: error {error}, by chunks: {chunks}");
    }
}

const CAUSAL_LINEAR: &str = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](exp(Q[p,e]) * exp(K[m,e])) where m <= p + M - P
D[p] = sum[m](S[p,m])
out O[p,f] = sum[m](S[p,m] / D[p] * V[m,f])";

// 6 carries and no reference; the table has 4 and 1. Here the exponentials are operands of a dot by themselves, in pairs and in the state alike, so that
// neither needs a reference; and whether a row is empty is a carry of its own, for rows and for the state.
#[test]
fn causal_linear_attention() {
    chunked("causal linear", CAUSAL_LINEAR, (2, 1, 1, 6, 0));
    let softmax = attention("where m <= p", &format!("{P}{O}"));
    let plan = plan(&mini::cascade("softmax", &softmax), &PlanOptions::default()).expect("a plan");
    assert!(!einloom_plan::print::why(&plan).contains("D2"));
}

#[test]
fn softmax_of_every_prefix() {
    let text = "rank p, m, f = 3
in s[m], V[m,f]
w[p,m] = exp(s[m]) where m <= p
D[p] = sum[m](w[p,m])
out O[p,f] = sum[m](w[p,m] / D[p] * V[m,f])";
    chunked("prefix scan", text, (2, 1, 1, 4, 2));
}

// Two references: an exponent without a proved lower end has one, although nothing here is normalised.
#[test]
fn retention() {
    for decay in ["0.05", "3."] {
        let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](Q[p,e] * K[m,e]) * exp(-DECAY * real(p - m)) where m <= p
out O[p,f] = sum[m](S[p,m] * V[m,f])";
        chunked("retention", &text.replace("DECAY", decay), (1, 1, 1, 2, 2));
    }
}

// A decay for each channel: the references of the state have its rank.
#[test]
fn gated_linear_attention() {
    let text = "rank p, m, e = 4, f = 3
in Q[p,e], K[m,e], V[m,f], A[p,e], B[m,e]
S[p,m] = sum[e](Q[p,e] * K[m,e] * exp(A[p,e] - B[m,e])) where m < p
out O[p,f] = sum[m](S[p,m] * V[m,f])";
    chunked("gated linear", text, (1, 1, 1, 2, 1));
}

// 3 carries; the table has 4: the prefix sum of scalars stays with direct tiles, whose rows are independent.
#[test]
fn gated_recurrence() {
    let text = "rank p, m = P, n = P, e = 4, f = 3
in Q[p,e], K[p,e], V[p,f], a[p]
A[p] = sum[n](a[n] where n <= p)
S[p,m] = sum[e](Q[p,e] * K[m,e]) * exp(A[p] - A[m]) where m <= p
out O[p,f] = sum[m](S[p,m] * V[m,f])";
    chunked("gated recurrence", text, (2, 2, 2, 3, 2));
}

/// Sweeps that split over their rows and are not chunked say why.
#[test]
fn chunks_are_refused_by_name() {
    let text = |domain: &str| CAUSAL_LINEAR.replace("m <= p + M - P", domain);
    let report = |text: &str| {
        let plan = plan(&mini::cascade("refused", text), &PlanOptions::default()).expect("a plan");
        let lines = plan.why.iter().filter(|e| e.text.contains("(D2)"));
        lines.map(|e| e.text.clone()).collect::<Vec<_>>().join("\n")
    };
    let both_sided = report(&text("m <= p, m >= p - 5"));
    assert!(
        both_sided.contains("visited: `p - 5 <= m` is not the one bound m <= p + c"),
        "{both_sided}"
    );
    let faster = report(&text("m <= 2 * p"));
    assert!(faster.contains("`m <= 2 * p` is not the one bound"), "{faster}");
    let wide = report(&CAUSAL_LINEAR.replace("f = 3", "f = 1000").replace("e = 4", "e = 1000"));
    assert!(wide.contains("a state of 1000000 elements, limit 16384"), "{wide}");
}

#[test]
fn prefix_sums() {
    let text = "rank p, m
in X[m]
out Y[p] = sum[m](X[m] where m <= p)";
    row("prefix", text, (1, 1, 1, 1, 0));
    let plan = plan(&mini::cascade("prefix", text), &PlanOptions::default()).expect("a plan");
    assert!(einloom_plan::print::why(&plan).contains("(D2)"));
}

#[test]
fn domains_and_policies_are_reported() {
    let text = attention("where m <= p + M - P", &format!("{P}{O}"));
    let plan = plan(&mini::cascade("report", &text), &PlanOptions::default()).expect("a plan");
    let lines = |kind: EventKind| -> Vec<&str> {
        let events = plan.why.iter().filter(|e| e.kind == kind);
        events.map(|e| e.text.as_str()).collect()
    };
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!(format!(
            "dead\n{}\ndomain\n{}\npolicy\n{}\n",
            lines(EventKind::Dead).join("\n"),
            lines(EventKind::Domain).join("\n"),
            lines(EventKind::Policy).join("\n"),
        ));
    });
}

#[test]
fn moments_far_from_zero_keep_their_digits() {
    let text = "rank p, m
in X[p,m]
Y[p,m] = X[p,m] * 0.1 + 100000.
mu[p] = sum[m](Y[p,m]) / real(M)
out v[p] = sum[m]((Y[p,m] - mu[p]) ^ 2.) / real(M)";
    row("anchored", text, (2, 1, 1, 3, 0));
}
