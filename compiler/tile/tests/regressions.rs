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
    for seed in 0..4 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let case = spec::case(text.to_owned(), &mut rng, seed, &[("P", 24), ("M", 40), ("C", 3)]);
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
