//! Specs that were once computed wrongly or refused for no good reason, through all three evaluators.

#[path = "common/chain.rs"]
mod chain;
mod common;
#[path = "common/spec.rs"]
mod spec;

use chain::{Outcome, check};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Runs a spec at several extents and schedules.
fn runs(text: &str) {
    runs_up_to(text, &[("P", 24), ("M", 40), ("C", 3)]);
}

/// As [`runs`], with extents up to these; 0 is an empty rank.
fn runs_up_to(text: &str, limits: &[(&str, i64)]) {
    for seed in 0..4 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let case = spec::case(text.to_owned(), &mut rng, seed, limits);
        match check(&case) {
            Outcome::Equal => {}
            Outcome::Refused(reason) if reason == "schedule" => {}
            Outcome::Refused(reason) => panic!("{seed}: refused, {reason}\n{text}"),
            Outcome::Wrong(error) => panic!("{seed}: {error}\n{text}"),
        }
    }
}

/// An inner softmax over an empty block is 0/0; the block's points do not count, so it must not reach the dot.
#[test]
fn an_empty_block_leaves_no_nan() {
    runs(
        "cascade inner
rank p, m = (c, i), i = 8, e = 16, f = 16
in Q[p,e], K[m,e], V[m,f] : f32
S[p,m] = Q * K / sqrt(E) where m <= p and c != 1
out O[p,f] : f32 = V * softmax[i](S)",
    );
}

/// The largest score of an empty block is -inf: a point that counts, weighs nothing, and may come before all others.
#[test]
fn a_score_of_minus_infinity_weighs_nothing() {
    runs(
        "cascade outer
rank p, m = (c, i), i = 4, e = 16, f = 8
in Q[p,e], K[m,e], V[m,f] : f32
S[p,m] = Q * K / sqrt(E) where m <= p and (c != 0 or i == 0)
far = softmax[c](max[i](S))
On[p,c,f] = softmax[i](S) * V
out Nest[p,f] : f32 = far * On
out Far[p] : f32 = logsumexp[c](max[i](S))",
    );
}

/// `V / z` is infinite where z is 0, which is where the point does not count.
#[test]
fn a_quotient_of_absent_keys_leaves_no_nan() {
    runs(
        "cascade keys
rank p, m, e = 16, f = 8
in Q[p,e], K[m,e], V[m,f] : bf16
in z[m] : i32
S[p,m] = Q * K / sqrt(E)
out O[p,f] : bf16 = softmax[m](S) * V / z where z != 0",
    );
}

/// Heads of a group with a constant size share keys; each has its own reference.
#[test]
fn a_constant_group_size_lies_behind_the_rows() {
    runs(
        "cascade groups
rank b, h = (g, r), r = 2, p, m, e = 16, f = 8
in Q[b,h,p,e], K[b,g,m,e], V[b,g,m,f] : bf16
S[b,h,p,m] = Q * K / sqrt(E) where m <= p
out O[b,h,p,f] : bf16 = softmax[m](S) * V
out L[b,h,p] : f32 = logsumexp[m](S)",
    );
}

/// A state whose weights have a reference for each channel, on rows or on columns of the state.
#[test]
fn a_reference_for_each_channel() {
    runs(
        "cascade channels
rank p, m, e = 16, f = 8
in Q[p,e], K[m,e], V[m,f] : f32
St[e,f] = softmax[m](K) * V
out O[p,f] : f32 = Q * St",
    );
    runs(
        "cascade columns
rank m, e = 16, f = 16
in K[m,e], V[m,f] : f32
out St[f,e] : f32 = softmax[m](K) * V",
    );
}

/// The sums over `m` and `e` change places, but the division by `M` does not leave that over `m`: 0/0 without keys.
#[test]
fn a_mean_over_no_key_is_zero() {
    let text = "cascade mean
rank p, m, e = 16
in Q[p,e], K[m,e] : f32
S[p,m] = Q * K / E
out Mean[p] : f32 = mean[m](S)";
    runs_up_to(text, &[("P", 24), ("M", 0)]);
    runs(text);
}

/// Relative to a late maximum, the term of an empty row has the scale of -inf against -inf: it must not spoil the term beside it.
#[test]
fn a_sum_beside_an_empty_row_leaves_no_nan() {
    for top in ["max[m](S)", "max[m](softcap(S, 4))"] {
        let text = format!(
            "cascade residual
rank p, m, e = 16, f = 8
in Q[p,e], K[m,e], V[m,f], X[p,f] : f32
in row[p], z[m] : i32
S[p,m] = Q * K / E where row == z
w = exp(S - {top})
Y[p,f] = w * V
out O[p,f] : f32 = Y + X"
        );
        runs(&text);
        runs_up_to(&text, &[("P", 24), ("M", 0)]);
    }
}

/// The number of a head in groups of run-time size is `g * R + r`, no linear form: its range is that of its parts.
#[test]
fn a_bias_by_the_number_of_a_grouped_head() {
    runs(
        "cascade heads
rank p, m, h = (g, r), e = 16, f = 8
in Q[h,p,e], K[g,m,e], V[g,m,f] : f32
S[h,p,m] = Q * K / E + alibi_slope(h, H) * (m - p)
out O[h,p,f] : f32 = softmax[m](S) * V
out L[h,p] : f32 = logsumexp[m](S)",
    );
}

/// Both divisors of a weight and of a value are factors of the dot by themselves.
#[test]
fn a_gate_on_both_sides_is_a_dot() {
    runs(
        "cascade gates
rank p, m, e = 16, f = 8
in Q[p,e], K[m,e], V[m,f] : f32
S[p,m] = Q * K / E
out O[p,f] : f32 = sigmoid(S) * silu(V)",
    );
}

/// The exponential of a normalised score is a value of the point, not a scale of the row.
#[test]
fn a_gate_of_normalised_scores_is_a_dot() {
    runs(
        "cascade normalised
rank p, m, e = 16, f = 8
in Q[p,e], K[m,e], V[m,f] : f32
S[p,m] = Q * K / E
mu = mean[m](S)
spread = sqrt(mean[m]((S - mu)^2) + 0.01)
out O[p,f] : f32 = sigmoid((S - mu) / spread) * V",
    );
}
