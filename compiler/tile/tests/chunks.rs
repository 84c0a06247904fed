//! Chunks with a carried state: row tiles that are walked in order, against the evaluator of plans and the oracle.
#![allow(clippy::disallowed_macros, reason = "a test may print")]

#[path = "common/chain.rs"]
mod chain;
mod common;
#[path = "common/spec.rs"]
mod spec;

use chain::{Outcome, check, schedule};
use common::specs::{extents, planned, scalars};
use common::{execute, inputs};
use einloom_tile::lower::{chunks, lower, lower_by_default, lower_unchecked};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::machine::{MachineModel, SM_80, SM_90A};
use einloom_tile::print::print;
use einloom_tile::schedule::{Schedule, ShapeClass};
use einloom_tile::verify::verify;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const LINEAR: &str = "cascade linear
rank b, h, p, m, e = 16, f = E
in  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : bf16
S[b,h,p,m] = Q * K / E where m <= p + M - P
out O[b,h,p,f] : bf16 = S * V
";

const NORMALISED: &str = "cascade normalised
rank b, h, p, m, e = 16, f = 32
in  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : T
q[b,h,p,e] = max(Q, 0) + exp(min(Q, 0))
k[b,h,m,e] = max(K, 0) + exp(min(K, 0))
S[b,h,p,m] = q * k where m <= p + M - P
D[b,h,p] = sum[m](S)
out O[b,h,p,f] : T = S * V / D
";

const TWO: &str = "cascade two
rank b, h, p, m, e = 128, f = E
in  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f], W[b,h,m,f] : bf16
S[b,h,p,m] = Q * K / E where m <= p + M - P
out O[b,h,p,f] : bf16 = S * V
out U[b,h,p,f] : bf16 = S * W
";

const RETENTION: &str = "cascade retention
rank b, h, p, m, e = 16, f = E
in  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : bf16
in  rate[h] : f32
S[b,h,p,m] = Q * K / sqrt(E) * exp(-abs(rate) * (p - m)) where m <= p
out O[b,h,p,f] : bf16 = S * V
";

const PREFIX: &str = "cascade prefix
rank b, p, m, f = 16
in  r[b,p], s[b,m], V[b,m,f] : f32
W[b,p,m] = r + s where m <= p + 2
out O[b,p,f] : f32 = softmax[m](W) * V
";

fn lowered(text: &str, schedule: &Schedule) -> LoweredKernel {
    let plan = planned(text);
    let shape = ShapeClass::aligned(&plan, 16);
    lower_unchecked(&plan, 0, schedule, &shape).unwrap_or_else(|e| panic!("{e}"))
}

fn small() -> Schedule {
    Schedule {
        rows: 16,
        cols: 16,
        warps: 1,
        stages: 2,
        blocks_per_sm: 1,
        left_in_registers: false,
        specialised: None,
    }
}

/// Random extents and schedules: oracle = plan = tiles.
fn equal(text: &str, seeds: u64) {
    let mut refused = 0;
    for seed in 0..seeds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc4a1);
        let mut case = spec::case(text.to_owned(), &mut rng, seed, &[("P", 70), ("M", 70)]);
        case.schedule = schedule(&mut rng);
        if rng.random_bool(0.5) {
            case.schedule.warps = 1;
            case.schedule.rows = [16, 32][rng.random_range(0..2)];
        }
        match check(&case) {
            Outcome::Equal => {}
            Outcome::Refused(_) => refused += 1,
            Outcome::Wrong(text) => panic!("{seed}: {text}"),
        }
    }
    assert!(refused * 2 < seeds, "{refused} of {seeds} refused");
}

#[test]
fn sums_without_a_normaliser() {
    assert!(print(&lowered(LINEAR, &small()).program).contains("// chunks"));
    equal(LINEAR, 12);
}

#[test]
fn sums_with_a_normaliser() {
    for dtype in ["bf16", "f16", "f32"] {
        let text = NORMALISED.replace(": T", &format!(": {dtype}"));
        assert!(print(&lowered(&text, &small()).program).contains("// chunks"));
        equal(&text, 6);
    }
}

/// The inner `e` of a feature that is normalised over its own rank hides the `e` of the carried state.
#[test]
fn features_normalised_over_their_rank() {
    for feature in [
        "softmax[e](K)",
        "abs(K) / (1 + max[e](abs(K)))",
        "abs(rms_norm[e](K, 0.1))",
    ] {
        for dtype in ["bf16", "f32"] {
            let text = NORMALISED.replace(": T", &format!(": {dtype}"));
            let text = text.replace("max(K, 0) + exp(min(K, 0))", feature);
            equal(&text.replace("S * V / D", "S * V / (1 + abs(D))"), 1);
        }
    }
}

#[test]
fn decays() {
    assert!(print(&lowered(RETENTION, &small()).program).contains("// chunks"));
    equal(RETENTION, 12);
}

#[test]
fn softmax_of_every_prefix() {
    assert!(print(&lowered(PREFIX, &small()).program).contains("// chunks"));
    equal(PREFIX, 12);
}

/// Two states of 128 x 128 numbers do not fit: they are lowered directly, with the reason at hand.
#[test]
fn what_does_not_fit_visits_every_pair() {
    let normalised = NORMALISED.replace(": T", ": bf16").replace("e = 16", "e = 128");
    let head = normalised.replace("f = 32", "f = E");
    let retention = RETENTION.replace("e = 16", "e = 128");
    for (text, by_chunks) in [(TWO, false), (&head, true), (&retention, true)] {
        let plan = planned(text);
        let shape = ShapeClass::aligned(&plan, 16);
        for machine in [&SM_80, &SM_90A] {
            let (schedule, kernel) = lower_by_default(&plan, 0, machine, &shape).expect("a schedule");
            assert_eq!(print(&kernel.program).contains("// chunks"), by_chunks, "{text}");
            let how = chunks(&plan, 0, &schedule, machine, &shape).expect("the plan has chunks");
            assert_eq!(how.is_ok(), by_chunks, "{how:?}");
            let again = lower(&plan, 0, &schedule, machine, &shape).expect("it fitted a moment ago");
            assert_eq!(kernel.program, again.program);
        }
    }
}

/// Keys are read from copies that are issued a tile ahead, in both loops, although their features are computed.
#[test]
fn computed_operands_are_copied_ahead() {
    let text = NORMALISED.replace(": T", ": bf16");
    let program = print(&lowered(&text, &small()).program);
    assert_eq!(program.matches("BF16[k16,cols16] = load b").count(), 2, "{program}");
    let direct = NORMALISED.replace(": T", ": f32");
    assert!(!print(&lowered(&direct, &small()).program).contains("= load b"));
}

/// Where registers are few, the state lies in shared memory while a row tile visits its own points: the same bits come out.
#[test]
fn parked_states_change_no_bit() {
    for text in [&NORMALISED.replace(": T", ": bf16"), RETENTION] {
        let plan = planned(text);
        let shape = ShapeClass::aligned(&plan, 16);
        let mut few = (120..=255).rev().filter_map(|registers_per_thread| {
            let machine = MachineModel {
                registers_per_thread,
                ..SM_80
            };
            let parked = lower(&plan, 0, &small(), &machine, &shape).ok()?;
            let text = print(&parked.program);
            (text.contains("// chunks") && text.contains(" state[")).then_some(parked)
        });
        let parked = few
            .next()
            .expect("some number of registers holds a row tile or the state");
        verify(&parked.program).expect("a legal program");
        for tokens in [5, 40, 70] {
            let inputs = inputs(&plan, &extents(&plan, tokens), &scalars(&plan), &|_| 1, 7);
            let held = execute(&plan, &[lowered(text, &small())], &inputs);
            assert_eq!(execute(&plan, std::slice::from_ref(&parked), &inputs), held, "{tokens}");
        }
    }
}

#[test]
fn short_streams_visit_every_pair() {
    let plan = planned(LINEAR);
    let mut shape = ShapeClass::aligned(&plan, 16);
    for (extent, by_chunks) in [(8, false), (4096, true)] {
        shape.extents = vec![Some(extent); plan.cascade.symbols.len()];
        let kernel = lower(&plan, 0, &small(), &SM_80, &shape).expect("a kernel");
        assert_eq!(print(&kernel.program).contains("// chunks"), by_chunks, "{extent}");
        let how = chunks(&plan, 0, &small(), &SM_80, &shape).expect("the plan has chunks");
        assert_eq!(how.err().is_some_and(|e| e.contains("all pairs of 8")), !by_chunks);
    }
}
