//! Chunks with a carried state (D2): plans of random sums that split over their rows, by chunks and directly, against the oracle.

#[path = "common/check.rs"]
mod check;
#[path = "common/mini.rs"]
mod mini;

use einloom_plan::{PlanOptions, plan};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A random cascade of one to three sums over `m <= p + c` whose bodies split over p and m, perhaps normalised by one of them.
fn spec(seed: u64) -> String {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let pick = |rng: &mut ChaCha8Rng, list: &[&str]| (*list.choose(rng).expect("a choice")).to_owned();
    let domain = pick(
        rng,
        &[
            "m <= p",
            "m < p",
            "m <= p + M - P",
            "m < p + 2",
            "m <= p, z[m] == 1",
            "m <= p, z[m] == 1, y[p] == 1",
            "m + 3 <= p",
        ],
    );
    let weight = pick(
        rng,
        &[
            "sum[e](Q[p,e] * K[m,e])",
            "sum[e](exp(Q[p,e]) * exp(K[m,e]))",
            "sum[e](Q[p,e] * K[m,e]) * exp(-0.5 * real(p - m))",
            "sum[e](Q[p,e] * K[m,e]) * exp(-t[p] * s[m] + a[p] - b[m])",
            "sum[e](Q[p,e] * K[m,e] * exp(G[p,e] - H[m,e]))",
            "exp(b[m])",
            "exp(a[p] - 40. * b[m])",
            "(1. + sum[e](Q[p,e] * K[m,e]))",
            "(a[p] + b[m]) ^ 2.",
        ],
    );
    let weight = weight.replace("-t[p] * s[m] + ", "");
    let mut text = format!(
        "rank p, m, e = 3, f = 2
in z[m], y[p] : i32
in Q[p,e], K[m,e], V[m,f], a[p], b[m], G[p,e], H[m,e]
S[p,m] = {weight} where {domain}
"
    );
    let normalised =
        rng.random_bool(0.4) && weight.contains("exp") && !weight.contains('Q') || weight.contains("exp(Q");
    if normalised {
        text += "D[p] = sum[m](S[p,m])\nout O[p,f] = sum[m](S[p,m] / D[p] * V[m,f])\n";
    } else {
        text += "out O[p,f] = sum[m](S[p,m] * V[m,f])\n";
    }
    if rng.random_bool(0.3) {
        text += "out R[p] = sum[m](S[p,m] * b[m])\n";
    }
    if rng.random_bool(0.2) {
        text += "out X[p] = max[m](b[m] where DOMAIN)\n"
            .replace("DOMAIN", &domain)
            .as_str();
    }
    text
}

#[test]
fn random_chunked_cascades_equal_the_oracle() {
    let (mut by_chunks, mut failures) = (0, Vec::new());
    for seed in 0..150 {
        let text = spec(seed);
        let cascade = mini::cascade("random", &text);
        let plan = match plan(&cascade, &PlanOptions::default()) {
            Ok(plan) => plan,
            Err(errors) => panic!("{seed}: {errors:?}\n{text}"),
        };
        let has = plan.kernels.iter().flat_map(|k| &k.sweeps).any(|s| s.chunks.is_some());
        by_chunks += usize::from(has);
        let error = check::worst_by(&plan, &cascade, Some(true));
        if error > 1e-9 {
            failures.push(format!("{seed}: error {error}\n{text}{}", check::summary(&plan)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(by_chunks > 100, "{by_chunks} of 150 by chunks");
}

/// A state that forgets a decay, or a row that starts elsewhere, must show.
#[test]
fn wrong_states_give_wrong_results() {
    let text = "rank p, m, e = 3, f = 2
in Q[p,e], K[m,e], V[m,f]
S[p,m] = sum[e](Q[p,e] * K[m,e]) * exp(-0.5 * real(p - m)) where m <= p
out O[p,f] = sum[m](S[p,m] * V[m,f])";
    let cascade = mini::cascade("wrong", text);
    let right = plan(&cascade, &PlanOptions::default()).expect("a plan");
    assert!(check::worst_by(&right, &cascade, Some(true)) < 1e-11);
    let mut wrong = right.clone();
    let chunks = wrong.kernels[0].sweeps[0].chunks.as_mut().expect("chunks");
    chunks.state.carries[0].weight = None;
    assert!(check::worst_by(&wrong, &cascade, Some(true)) > 1e-3);
    assert!(check::worst_by(&wrong, &cascade, Some(false)) < 1e-11);
    let mut wrong = right;
    let zero = wrong.cascade.exprs.real(0.0);
    let chunks = wrong.kernels[0].sweeps[0].chunks.as_mut().expect("chunks");
    chunks.carries[0] = zero;
    assert!(check::worst_by(&wrong, &cascade, Some(true)) > 1e-3);
}
