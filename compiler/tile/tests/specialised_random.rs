//! Random specs under random specialised schedules: naive evaluator = evaluator of plans = interpreter of tile programs, and the producer's
//! slice fills what the whole program fills.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test may read specs, ask and print"
)]

#[path = "common/chain.rs"]
mod chain;
mod common;
#[path = "common/fills.rs"]
mod fills;
#[path = "common/spec.rs"]
mod spec;

use chain::{Case, Outcome, check};
use einloom_cascade::{Inputs, Scalar};
use einloom_tile::lower::lower_unchecked;
use einloom_tile::schedule::{Schedule, ShapeClass, Specialised};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

const DOMAINS: [&str; 16] = [
    "",
    "",
    " where m <= p",
    " where m <= p + M - P",
    " where p + W <= m",
    " where 0 <= p - m < W",
    " where m <= p and (m < U or p - m < W)",
    " where (m < U or W <= m)",
    " where abs(m - p) > W",
    " where m <= p and row == 0",
    " where row == 1",
    " where m < len",
    " where len <= m and m <= p",
    " where m div 20 <= p div 20",
    " where m <= p or m < len",
    " where (m + p) mod 3 != 0",
];

const SCORES: [&str; 8] = [
    "Q * K / sqrt(E)",
    "Q * K / sqrt(E)",
    "softcap(Q * K, 6)",
    "Q * K / E - 0.1 * abs(p - m)",
    "Q * K / sqrt(E) + bias[clamp(m - p, -6, 6) + 6]",
    "Q * K / sqrt(E) + T + R",
    "Q * K * 40",
    "Q * K / sqrt(E) + tab[(m + p) mod 5]",
];

const RESULTS: [&str; 18] = [
    "out O[{q}p,f] : {t} = softmax[m](S) * V",
    "out O[{q}p,f] : {t} = softmax[m](S) * V",
    "out O[{q}p,f] : {t} = softmax[m](S) * V\nout L[{q}p] : f32 = logsumexp[m](S)",
    "out O[{q}p,f] : {t} = softmax[m](S) * V\nout L[{q}p] : f32 = max[m](S)",
    "out O[{q}p,f] : {t} = sigmoid(S) * V",
    "out O[{q}p,f] : {t} = sigmoid(S) * V\nout N[{q}p] : f32 = sum[m](sigmoid(S))",
    "out O[{q}p,f] : {t} = relu(S) * V",
    "out O[{q}p,f] : {t} = softmax_sink[m](S, 0.5) * V",
    "out O[{q}p,f] : {t} = softmax[m](S) * V\nout D[{q}p,e] : {t} = softmax[m](S) * K",
    "out O[{q}p,f] : {t} = softmax[m](S) * V\nout D[{q}p,f] : {t} = sigmoid(S) * V",
    "out C[{q}m] : f32 = sum[p](softmax[m](S))",
    "out C[{q}m,f] : {t} = sum[p](sigmoid(S) * X)",
    "A = softmax[m](S)\nout O[{q}p,f] : {t} = A * V\nout N[{q}p] : f32 = sum[m](A^2)",
    "out O[{q}p,f] : {t} = V * softmax[m](S) where S > 0.1",
    "out O[{q}p,f] : {t} = exp(tanh(S)) * V\nout N[{q}p] : f32 = sum[m](exp(tanh(S)))",
    "out Best[{q}p] : i32 = argmax[m](S)\nout O[{q}p,f] : {t} = softmax[m](S) * V",
    "out O[{q}p,f] : {t} = gate * (softmax[m](S) * V)",
    "out O[{q}p,f] : {t} = V / (1 + softmax[m](S))",
];

fn pick<'a>(rng: &mut ChaCha8Rng, list: &[&'a str]) -> &'a str {
    list[rng.random_range(0..list.len())]
}

fn schedule(rng: &mut ChaCha8Rng) -> Schedule {
    let warps = [4, 4, 8][rng.random_range(0..3)];
    let overlap = rng.random_bool(0.8);
    let persistent = rng.random_bool(0.6);
    let ways = Specialised {
        overlap,
        persistent,
        first_reference: overlap && rng.random_bool(0.5),
        ahead: persistent && rng.random_bool(0.5),
        turns: overlap && warps > 4 && rng.random_bool(0.8),
    };
    Schedule {
        rows: 16 * warps,
        cols: 16 * rng.random_range(1..=4),
        warps,
        stages: rng.random_range(2..=3),
        blocks_per_sm: 1,
        left_in_registers: false,
        specialised: Some(ways),
    }
}

fn case(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5bec);
    let rng = &mut rng;
    let (q, k, ranks) = [
        ("", "", ""),
        ("h,", "h,", "h, "),
        ("b,h,", "b,g,", "b, h = (g, r), r = 2, "),
    ][rng.random_range(0..3)];
    let t = pick(rng, &["bf16", "f16"]);
    let e = pick(rng, &["16", "16", "32", "48", "24"]);
    let f = pick(rng, &["16", "16", "32", "40", "8"]);
    let (domain, score) = (pick(rng, &DOMAINS), pick(rng, &SCORES));
    let result = pick(rng, &RESULTS).replace("{q}", q).replace("{t}", t);
    let mut text =
        format!("cascade roles\nrank {ranks}p, m, e = {e}, f = {f}\nin Q[{q}p,e], K[{k}m,e], V[{k}m,f] : {t}\n");
    for (name, line) in [
        ("bias", "in bias[13] : f32\n"),
        ("tab", "in tab[5] : f32\n"),
        ("T", "in T[p], R[m] : f32\n"),
        ("row", "in row[m] : i32\n"),
        ("X", "in X[p,f] : {t}\n"),
        ("gate", "in gate[p,f] : {t}\n"),
        ("W", "in W : i32\n"),
        ("U", "in U : i32\n"),
        ("len", "in len : i32\n"),
    ] {
        let used = [domain, score, &result].iter().any(|part| {
            part.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name)
        });
        if used {
            text += &line.replace("{t}", t);
        }
    }
    text += &format!("S[{q}p,m] = {score}{domain}\n{result}\n");
    let cascade = spec::cascade(&text);
    let sizes = [0, 1, 2, 15, 16, 17, 63, 64, 65, 100, 129, 200];
    let extents: Vec<i64> = (cascade.symbols.iter())
        .map(|s| match s.name.as_str() {
            "P" | "M" => sizes[rng.random_range(0..sizes.len())],
            "G" => 1,
            "H" if text.contains("r = 2") => 2,
            _ => rng.random_range(1..=3),
        })
        .collect();
    let drawn = spec::arguments(&cascade, rng, &extents);
    let scalar = [
        -70,
        -1,
        0,
        1,
        3,
        16,
        17,
        40,
        64,
        100,
        100_000,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
    ];
    let scalars = cascade
        .scalars
        .iter()
        .map(|_| Scalar::Int(scalar[rng.random_range(0..scalar.len())]))
        .collect();
    Case {
        inputs: Inputs::new(drawn.tensors, scalars),
        cascade,
        schedule: schedule(rng),
        align: 16,
        seed,
        text,
    }
}

/// A case of the uniform families: blocks, sums without softmax, two streamed ranks.
fn family_case(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xfa111);
    let case = match seed % 4 {
        0 => spec::attention(seed),
        1 => spec::linear(seed),
        2 => spec::planes(seed),
        _ => spec::blocks(seed),
    };
    Case {
        schedule: schedule(&mut rng),
        align: 16,
        ..case
    }
}

/// Runs `usual` seeds, or as many as `EINLOOM_CASES` says from `EINLOOM_FIRST` on, which also shows what is refused. `share`: the least part in percent that
/// must run.
fn run(usual: u64, share: u64, case: fn(u64) -> Case) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let (many, first) = (number("EINLOOM_CASES"), number("EINLOOM_FIRST").unwrap_or(0));
    let seeds = first..first + many.unwrap_or(usual);
    let total = seeds.end - seeds.start;
    let (mut ran, mut refused, mut failures) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for seed in seeds {
        let case = case(seed);
        match check(&case) {
            Outcome::Equal => {
                ran += 1;
                failures.extend(fills_of(&case).map(|text| format!("{seed}: {text} ({})", case.text)));
            }
            Outcome::Refused(reason) => *refused.entry(reason).or_default() += 1,
            Outcome::Wrong(text) => failures.push(format!(
                "{seed}: {text} {} {:?} ({})",
                case.schedule, case.inputs.scalars, case.text
            )),
        }
    }
    println!("{ran} of {total} ran; refused: {refused:#?}");
    assert!(
        failures.is_empty(),
        "{} of {total}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(ran * 100 >= total * share, "{ran} of {total} ran: {refused:#?}");
}

#[test]
fn specialised_programs_agree() {
    run(20, 40, case);
}

#[test]
fn families_agree_under_specialised_schedules() {
    run(96, 5, family_case);
}

/// What the producer fills other than the whole program, in words.
fn fills_of(case: &Case) -> Option<String> {
    let plan = einloom_plan::plan(&case.cascade, &einloom_plan::PlanOptions::default()).expect("a plan");
    let shape = ShapeClass::aligned(&plan, case.align);
    (0..plan.kernels.len()).find_map(|kernel| {
        let lowered = lower_unchecked(&plan, kernel, &case.schedule, &shape).expect("a form that ran");
        fills::differ(&plan, &lowered, &case.inputs)
    })
}
