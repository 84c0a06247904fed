//! Specialised programs of the example specs in the interpreter, which enforces the rules of rings and asynchronous dots.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test may read specs, ask and print"
)]

mod common;

use common::specs::{extents, narrow, planned, scalars};
use common::{compare, inputs};
use einloom_tile::ir::{Elem, Roles, Stmt};
use einloom_tile::lower::{LowerError, followed, lower_unchecked};
use einloom_tile::print::print;
use einloom_tile::roles::{Role, slice};
use einloom_tile::schedule::{Schedule, ShapeClass, Specialised};
use einloom_tile::verify::verify;

fn schedule(stages: u32, specialised: Option<Specialised>) -> Schedule {
    Schedule {
        rows: 64,
        cols: 16,
        warps: 4,
        stages,
        blocks_per_sm: 1,
        left_in_registers: false,
        specialised,
    }
}

/// Runs a spec in all forms; the number of kernels that have a specialised form, and of those with deferred dots.
fn run(text: &str, tokens: i64) -> (usize, usize) {
    let plan = planned(&narrow(text));
    let inputs = inputs(&plan, &extents(&plan, tokens), &scalars(&plan), &|_| 2, 31);
    let shape = ShapeClass::aligned(&plan, 16);
    let (mut specialised, mut deferred) = (0, 0);
    for (stages, overlap, persistent) in [(2, false, true), (3, true, false), (2, true, true)] {
        let turns = overlap && persistent;
        let ways = Specialised {
            overlap,
            persistent,
            first_reference: overlap,
            ahead: persistent,
            turns,
        };
        // Turns are of several warpgroups.
        let wanted = Schedule {
            rows: if turns { 128 } else { 64 },
            warps: if turns { 8 } else { 4 },
            ..schedule(stages, Some(ways))
        };
        let kernels: Vec<_> = (0..plan.kernels.len())
            .map(|k| match lower_unchecked(&plan, k, &wanted, &shape) {
                Err(LowerError::Schedule(why)) => {
                    println!("{}[{k}]: {why}", plan.cascade.name);
                    lower_unchecked(&plan, k, &schedule(stages, None), &shape).expect("a uniform form")
                }
                other => other.unwrap_or_else(|e| panic!("{}[{k}]: {e}", plan.cascade.name)),
            })
            .collect();
        for kernel in &kernels {
            verify(&kernel.program).unwrap_or_else(|e| panic!("{e}\n{}", print(&kernel.program)));
        }
        let count = |f: &dyn Fn(&einloom_tile::lowered::LoweredKernel) -> bool| kernels.iter().filter(|k| f(k)).count();
        specialised = count(&|k| k.program.roles != Roles::Uniform);
        deferred = deferred.max(count(&|k| print(&k.program).contains("last dots")));
        if turns {
            let texts = kernels.iter().map(|k| print(&k.program));
            for text in texts.filter(|t| t.contains("last dots")) {
                assert!(text.contains("take the turn"), "{text}");
            }
        }
        compare(&plan, &inputs, &wanted, &kernels);
    }
    (specialised, deferred)
}

macro_rules! examples {
    ($($name:ident $file:literal $tokens:literal $kernels:literal $deferred:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            let found = run(include_str!(concat!("../../../dsl-examples/", $file)), $tokens);
            assert_eq!(found, ($kernels, $deferred));
        }
    )*};
}

// Rows, then kernels with a specialised form, then kernels with deferred dots.
examples! {
    act_calibration "act-calibration.ein" 24 1 1,
    alibi "alibi.ein" 24 1 1,
    causal "causal.ein" 70 1 1,
    column_sums "column-sums.ein" 24 2 1,
    cross "cross.ein" 24 1 1,
    document "document.ein" 24 1 1,
    entropy "entropy.ein" 24 1 1,
    full "full.ein" 24 1 1,
    grouped "grouped.ein" 24 1 1,
    landmark "landmark.ein" 32 0 0,
    linear_attention "linear-attention.ein" 24 1 0,
    lse "lse.ein" 24 1 1,
    neighborhood "neighborhood.ein" 21 0 0,
    normalized_gate "normalized-gate.ein" 24 0 0,
    prefix_lm "prefix-lm.ein" 24 1 1,
    relative_bias "relative-bias.ein" 24 1 1,
    sigmoid "sigmoid.ein" 24 1 1,
    sink_logit "sink-logit.ein" 24 1 1,
    sliding_window "sliding-window.ein" 24 1 1,
    window_sinks "window-sinks.ein" 70 1 1,
    dilated "dilated.ein" 24 1 1,
    softcap "softcap.ein" 24 1 1,
}

/// A tile that is not awaited, or awaited twice over, is found: the rules of the interpreter bite.
#[test]
fn missing_waits_are_found() {
    let plan = planned(&narrow(include_str!("../../../dsl-examples/full.ein")));
    let inputs = inputs(&plan, &extents(&plan, 24), &scalars(&plan), &|_| 2, 31);
    let shape = ShapeClass::aligned(&plan, 16);
    let overlapped = Some(Specialised {
        overlap: true,
        persistent: true,
        first_reference: false,
        ahead: true,
        ..Specialised::default()
    });
    let good = lower_unchecked(&plan, 0, &schedule(2, overlapped), &shape).expect("a specialised form");
    let drops: [fn(&Stmt) -> bool; 3] = [
        |s| matches!(s, Stmt::Await { .. }),
        |s| matches!(s, Stmt::Release { .. }),
        |s| matches!(s, Stmt::DotWait(_)),
    ];
    for drop in drops {
        let mut bad = good.clone();
        remove(&mut bad.program.body, drop);
        assert_ne!(good.program, bad.program);
        let run = || common::execute(&plan, std::slice::from_ref(&bad), &inputs);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    }
}

fn remove(body: &mut Vec<Stmt>, drop: fn(&Stmt) -> bool) {
    body.retain(|s| !drop(s));
    for stmt in body {
        if let Stmt::For { body, .. } | Stmt::If { body, .. } = stmt {
            remove(body, drop);
        }
    }
}

/// Scores that grow by more than the guard lets pass from tile to tile: without raising, weights would overflow.
#[test]
fn guards_raise_references() {
    for file in [
        include_str!("../../../dsl-examples/full.ein"),
        include_str!("../../../dsl-examples/causal.ein"),
        include_str!("../../../dsl-examples/lse.ein"),
    ] {
        let plan = planned(&narrow(file));
        let mut inputs = inputs(&plan, &extents(&plan, 40), &scalars(&plan), &|_| 2, 7);
        for (tensor, input) in inputs.tensors.iter_mut().zip(&plan.cascade.inputs) {
            let row = *tensor.shape.last().expect("a tensor with rows");
            let keys = tensor.shape[tensor.shape.len() - 2];
            let grow = |(at, x): (usize, &f64)| match input.name.as_str() {
                "Q" => 8.0 * x.abs(),
                "K" => x.abs() * (1.0 + 0.5 * (at / row % keys) as f64),
                _ => *x,
            };
            let values: Vec<f64> = tensor.to_f64().iter().enumerate().map(grow).collect();
            *tensor = einloom_cascade::Tensor::reals(&tensor.shape, values).rounded(input.dtype);
        }
        let kept = schedule(
            2,
            Some(Specialised {
                overlap: true,
                persistent: false,
                first_reference: true,
                ahead: false,
                ..Specialised::default()
            }),
        );
        let shape = ShapeClass::aligned(&plan, 16);
        let kernels: Vec<_> = (0..plan.kernels.len())
            .map(|k| lower_unchecked(&plan, k, &kept, &shape).expect("a specialised form"))
            .collect();
        assert!(print(&kernels[0].program).contains("guard"));
        compare(&plan, &inputs, &kept, &kernels);
    }
}

/// Grids of a few row tiles in many rows, so that rounds of pairs are uneven and the last tiles are dealt one by one (three blocks in the interpreter).
#[test]
fn the_last_tiles_are_dealt() {
    let plan = planned(&narrow(include_str!("../../../dsl-examples/causal.ein")));
    let shape = ShapeClass::aligned(&plan, 16);
    let ways = Specialised {
        overlap: true,
        persistent: true,
        ahead: true,
        ..Specialised::default()
    };
    let wanted = Schedule {
        cols: 64,
        ..schedule(2, Some(ways))
    };
    let kernel = lower_unchecked(&plan, 0, &wanted, &shape).expect("a specialised form");
    assert!(print(&kernel.program).contains("last tiles"));
    // Rows of the grid, and queries in each: 64 in a tile.
    for (heads, queries) in [(2, 20), (5, 20), (3, 66)] {
        let mut sizes = extents(&plan, queries);
        for (size, symbol) in sizes.iter_mut().zip(&plan.cascade.symbols) {
            match symbol.name.as_str() {
                "B" => *size = heads,
                "G" | "R" => *size = 1,
                _ => {}
            }
        }
        let inputs = inputs(&plan, &sizes, &scalars(&plan), &|_| 2, 31);
        compare(&plan, &inputs, &wanted, std::slice::from_ref(&kernel));
    }
}

/// The text of a loop's body, from its line to what it leaves to the next iteration.
fn body<'a>(text: &'a str, label: &str) -> &'a str {
    let from = text.find(&format!("// {label}")).expect("a loop of this label");
    let rest = &text[from..];
    &rest[..rest.find(" next v").unwrap_or(rest.len())]
}

/// Weights without a reference are summed from the dot's operand, a tile late; turns go on at the first results unless accumulators are scaled.
#[test]
fn sums_follow_their_dots_and_turns_go_on() {
    let ways = Specialised {
        overlap: true,
        turns: true,
        ..Specialised::default()
    };
    let wanted = Schedule {
        rows: 128,
        warps: 8,
        ..schedule(2, Some(ways))
    };
    let text = |file: &str| {
        let plan = planned(&narrow(file));
        let shape = ShapeClass::aligned(&plan, 16);
        print(
            &lower_unchecked(&plan, 0, &wanted, &shape)
                .expect("a specialised form")
                .program,
        )
    };
    let softcap = text(include_str!("../../../dsl-examples/softcap.ein"));
    for label in ["full0", "tail0"] {
        let body = body(&softcap, label);
        let at = |what: &str| body.find(what).unwrap_or_else(|| panic!("no {what}: {body}"));
        assert!(at("row Sum") < at(" + dot["), "{body}");
        assert_eq!(body.matches("row Sum").count(), 1, "{body}");
        assert!(at("wait for dots but 1") < at("pass the turn"), "{body}");
    }
    // The running maximum scales the accumulator of the last dots.
    let causal = text(include_str!("../../../dsl-examples/causal.ein"));
    let body = body(&causal, "full0");
    let at = |what: &str| body.find(what).unwrap_or_else(|| panic!("no {what}: {body}"));
    assert!(at("pass the turn") < at("wait for dots but 1"), "{body}");
    assert!(at(" + dot[") < at("row Sum"), "{body}");
}

/// The first tile of an overlapped loop has one body, whose tests are made where the tile needs them: the masks lie in the guard with the select.
#[test]
fn a_first_tile_tests_what_needs_tests() {
    let plan = planned(&narrow(include_str!("../../../dsl-examples/causal.ein")));
    let shape = ShapeClass::aligned(&plan, 16);
    let ways = Specialised {
        overlap: true,
        persistent: true,
        first_reference: true,
        ahead: true,
        turns: false,
    };
    let kernel = lower_unchecked(&plan, 0, &schedule(2, Some(ways)), &shape).expect("a specialised form");
    let is_first = |s: &&Stmt| matches!(s, Stmt::For { label, .. } if label.starts_with("first"));
    let grid = kernel.program.body.iter().find_map(|s| match s {
        Stmt::For { body, .. } => Some(body),
        _ => None,
    });
    let firsts: Vec<&Stmt> = grid.expect("a loop over the grid").iter().filter(is_first).collect();
    let [Stmt::For { body, .. }] = firsts[..] else {
        panic!("{} first tiles", firsts.len());
    };
    let guards = body.iter().filter_map(|s| match s {
        Stmt::Guard { cond, body, .. } => Some((cond, body)),
        _ => None,
    });
    let guards: Vec<_> = guards.collect();
    let [(cond, inside)] = guards[..] else {
        panic!("{} guards", guards.len());
    };
    assert!(kernel.program.values[cond.index()].rows.is_none());
    let mask = |s: &Stmt| match s {
        Stmt::Let(v, _) => {
            let ty = kernel.program.values[v.index()];
            ty.elem == Elem::Bool && ty.cols.is_some()
        }
        _ => false,
    };
    let inside = inside.iter().any(mask);
    assert!(inside && !body.iter().any(mask), "{}", print(&kernel.program));
}

fn loops(body: &[Stmt]) -> Vec<&Stmt> {
    let inner = body.iter().flat_map(|s| match s {
        Stmt::For { body, .. } | Stmt::If { body, .. } => loops(body),
        _ => Vec::new(),
    });
    let own = body.iter().filter(|s| matches!(s, Stmt::For { .. }));
    own.chain(inner.collect::<Vec<_>>()).collect()
}

/// The producer copies all parts of a sweep by one loop over its steps, of one range of tiles or of several.
#[test]
fn a_producer_has_one_loop_for_all_parts() {
    let gap = "where m <= p and (m < 2 or p - m < 40)";
    let causal = include_str!("../../../dsl-examples/causal.ein");
    for text in [causal.to_owned(), causal.replace("where m <= p + M - P", gap)] {
        let plan = planned(&narrow(&text));
        let shape = ShapeClass::aligned(&plan, 16);
        let ways = Specialised {
            overlap: true,
            persistent: false,
            first_reference: false,
            ahead: false,
            turns: false,
        };
        let kernel = lower_unchecked(&plan, 0, &schedule(2, Some(ways)), &shape).expect("a specialised form");
        let program = &kernel.program;
        let [course] = &program.courses[..] else {
            panic!("{} courses", program.courses.len());
        };
        let parts = |body: &[Stmt]| {
            let part = |s: &&Stmt| matches!(s, Stmt::For { var, .. } if course.loops.contains(var));
            loops(body).into_iter().filter(part).cloned().collect::<Vec<_>>()
        };
        let consumers = slice(program, Role::Consumer);
        let producer = slice(program, Role::Producer);
        assert!(course.loops.len() > 2 && parts(&consumers).len() == course.loops.len());
        let [Stmt::For { lo, hi, body, .. }] = &parts(&producer)[..] else {
            panic!("{} loops of the producer", parts(&producer).len());
        };
        assert_eq!((*lo, *hi), (course.lo, course.hi));
        assert_eq!(body.iter().filter(|s| matches!(s, Stmt::Fill { .. })).count(), 2);
    }
}

/// What is told of a schedule is what the kernel does: a spec's own policy, or scores that are bounded, leave no kept reference.
#[test]
fn a_schedule_is_told_as_it_is_followed() {
    let causal = include_str!("../../../dsl-examples/causal.ein");
    let softcap = include_str!("../../../dsl-examples/softcap.ein");
    let ways = Specialised {
        overlap: true,
        persistent: false,
        first_reference: true,
        ahead: false,
        turns: false,
    };
    for (text, kept) in [
        (causal.to_owned(), true),
        (format!("{causal}\npolicy reference = first\n"), true),
        (format!("{causal}\npolicy reference = running\n"), false),
        (softcap.to_owned(), false),
    ] {
        let plan = planned(&narrow(&text));
        let told = followed(&plan, 0, &schedule(2, Some(ways))).to_string();
        assert_eq!(told.contains("reference of the first tile"), kept, "{told}\n{text}");
        let shape = ShapeClass::aligned(&plan, 16);
        let kernel = lower_unchecked(&plan, 0, &schedule(2, Some(ways)), &shape).expect("a specialised form");
        let raised = |s: &&Stmt| match s {
            Stmt::For { body, .. } => body.iter().any(|s| match s {
                Stmt::Guard { cond, .. } => kernel.program.values[cond.index()].rows.is_some(),
                _ => false,
            }),
            _ => false,
        };
        assert_eq!(kernel.program.body.iter().any(|s| raised(&s)), kept, "{text}");
    }
}

/// Columns that pad a block are no points in any tile: what is tested there is not what a first tile without tests skips.
#[test]
fn padding_of_a_block_never_counts() {
    let found = run(
        "cascade blocks
rank b, h, p, m = (c, i), i = 20, e = 16, f = 16
in Q[b,h,p,e], K[b,h,c,i,e], V[b,h,c,i,f] : bf16
S[b,h,p,m] = Q * K / sqrt(E) where c <= p div I
out O[b,h,p,f] : bf16 = softmax[m](S) * V
out Far[b,h,p] : f32 = max[c](max[i](S))
policy reference = running",
        41,
    );
    assert_eq!(found, (1, 1));
}
