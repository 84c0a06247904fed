//! Schedules: what each field does to a program, errors that name the limit, the same program twice.

#[path = "common/chain.rs"]
mod chain;
mod common;
#[path = "common/spec.rs"]
mod spec;

use common::{inputs, schedule};
use einloom_plan::ir::FusedPlan;
use einloom_plan::{PlanOptions, plan};
use einloom_tile::ir::{DotKind, Op, Operand, Stmt, TileProgram};
use einloom_tile::lower::{LowerError, default_schedule, lower, lower_unchecked};
use einloom_tile::machine::{MachineModel, SM_80, SM_90A};
use einloom_tile::print::print;
use einloom_tile::schedule::{Schedule, ShapeClass, candidates};

fn attention(width: u32) -> FusedPlan {
    let text = format!(
        "cascade attention
rank b, h, p, m, e = {width}, f = E
in Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : bf16
S[b,h,p,m] = Q * K / sqrt(E) where m <= p + M - P
out O[b,h,p,f] : bf16 = softmax[m](S) * V
out C[b,h,m] : f32 = sum[p](softmax[m](S))"
    );
    plan(&spec::cascade(&text), &PlanOptions::default()).expect("a plan")
}

/// All operations of a program, with those in loops.
fn operations(program: &TileProgram) -> Vec<Op> {
    fn walk(body: &[Stmt], list: &mut Vec<Op>) {
        for stmt in body {
            match stmt {
                Stmt::Let(_, op) => list.push(op.clone()),
                Stmt::For { body, .. } | Stmt::If { body, .. } => walk(body, list),
                _ => {}
            }
        }
    }
    let mut list = Vec::new();
    walk(&program.body, &mut list);
    list
}

/// Left operands of matrix dots: how many lie in registers, how many in shared memory.
fn left_operands(program: &TileProgram) -> (usize, usize) {
    let lefts: Vec<Operand> = (operations(program).into_iter())
        .filter_map(|op| match op {
            Op::Dot {
                left,
                kind: DotKind::Matrix,
                ..
            } => Some(left),
            _ => None,
        })
        .collect();
    let registers = lefts.iter().filter(|o| matches!(o, Operand::Register(_))).count();
    (registers, lefts.len() - registers)
}

fn small(left_in_registers: bool) -> Schedule {
    Schedule {
        left_in_registers,
        ..schedule(32, 32, 2, 2)
    }
}

#[test]
fn left_operands_in_registers() {
    let plan = attention(16);
    let shape = ShapeClass::aligned(&plan, 16);
    let programs = [false, true].map(|on| {
        lower_unchecked(&plan, 0, &small(on), &shape)
            .expect("a program")
            .program
    });
    let [shared, registers] = [left_operands(&programs[0]), left_operands(&programs[1])];
    // the scores' queries move, the weights are there already
    assert!(shared.1 > 0 && shared.0 > 0, "{shared:?}");
    assert_eq!(registers, (shared.0 + shared.1, 0));
    let names = |p: &TileProgram| p.buffers.iter().map(|b| b.name.clone()).collect::<Vec<_>>();
    assert!(names(&programs[0]).iter().any(|n| n == "Q"));
    assert!(
        !names(&programs[1]).iter().any(|n| n == "Q"),
        "{:?}",
        names(&programs[1])
    );
    for on in [false, true] {
        let arguments = inputs(&plan, &[1, 2, 21, 30], &[], &|_| 2, 5);
        common::check(&plan, &arguments, &small(on), 16);
    }
}

fn refusal(plan: &FusedPlan, schedule: &Schedule, machine: &MachineModel) -> String {
    let shape = ShapeClass::aligned(plan, 16);
    let error = lower(plan, 0, schedule, machine, &shape).expect_err("a schedule that does not fit");
    error.to_string()
}

#[test]
fn fields_out_of_range_name_their_limits() {
    let plan = attention(16);
    let fits = schedule(32, 32, 2, 2);
    for (schedule, text) in [
        (
            Schedule {
                warps: 3,
                ..fits.clone()
            },
            "warps is 3, must be 1, 2, 4, 8 or 16",
        ),
        (
            Schedule {
                rows: 48,
                ..fits.clone()
            },
            "rows is 48, must be a multiple of 16 * warps = 32 up to 512",
        ),
        (
            Schedule {
                rows: 0,
                ..fits.clone()
            },
            "rows is 0, must be a multiple of 16 * warps = 32 up to 512",
        ),
        (
            Schedule {
                cols: 40,
                ..fits.clone()
            },
            "cols is 40, must be a multiple of 16 up to 512",
        ),
        (
            Schedule {
                stages: 5,
                ..fits.clone()
            },
            "stages is 5, must be 1 to 4",
        ),
        (
            Schedule {
                stages: 0,
                ..fits.clone()
            },
            "stages is 0, must be 1 to 4",
        ),
        (
            Schedule {
                blocks_per_sm: 17,
                ..fits.clone()
            },
            "blocks_per_sm is 17, must be 1 to 16",
        ),
    ] {
        assert_eq!(
            refusal(&plan, &schedule, &SM_80),
            format!("schedule does not fit: {text}")
        );
    }
}

#[test]
fn programs_beyond_the_machine_name_the_limit_and_the_numbers() {
    let plan = attention(128);
    let shape = ShapeClass::aligned(&plan, 16);
    let limit = |schedule: &Schedule, machine: &MachineModel| match lower(&plan, 0, schedule, machine, &shape) {
        Err(LowerError::Limit { limit, have, most }) => {
            assert!(have > most, "{limit}: {have}, at most {most}");
            limit
        }
        other => panic!("no limit: {:?}", other.map(|k| k.program.name)),
    };
    assert_eq!(
        limit(&schedule(64, 256, 4, 3), &SM_80),
        "shared memory of a block in bytes"
    );
    let two = Schedule {
        blocks_per_sm: 4,
        ..schedule(64, 64, 4, 2)
    };
    assert_eq!(limit(&two, &SM_80), "shared memory of 4 blocks in bytes");
    let many = Schedule {
        blocks_per_sm: 8,
        ..schedule(256, 16, 16, 1)
    };
    let roomy = MachineModel {
        shared_per_block: 1 << 30,
        shared_per_sm: 1 << 30,
        ..SM_80
    };
    assert_eq!(limit(&many, &roomy), "threads of 8 blocks");
    assert_eq!(
        limit(&schedule(128, 128, 4, 1), &roomy),
        "registers of a thread (estimate)"
    );
    let text = refusal(&plan, &schedule(64, 256, 4, 3), &SM_80);
    assert!(
        text.starts_with("schedule does not fit: shared memory of a block in bytes is "),
        "{text}"
    );
}

#[test]
fn a_default_exists_and_fits() {
    let plan = attention(64);
    let shape = ShapeClass::aligned(&plan, 16);
    for kernel in 0..plan.kernels.len() {
        let schedule = default_schedule(&plan, kernel, &SM_80, &shape).expect("a default");
        lower(&plan, kernel, &schedule, &SM_80, &shape).expect("a program that fits");
    }
}

#[test]
fn the_same_plan_twice_is_the_same_program() {
    for seed in 0..12 {
        for case in [
            spec::attention(seed),
            spec::blocks(seed),
            spec::linear(seed),
            spec::planes(seed),
        ] {
            let text = || -> Vec<String> {
                let plan = plan(&case.cascade, &PlanOptions::default()).expect("a plan");
                let shape = ShapeClass::aligned(&plan, case.align);
                let kernels = 0..plan.kernels.len();
                let lowered = kernels.map(|k| lower_unchecked(&plan, k, &case.schedule, &shape));
                lowered
                    .map(|kernel| {
                        kernel.map_or_else(|e| e.to_string(), |k| format!("{}{:?}", print(&k.program), k.scalars))
                    })
                    .collect()
            };
            assert_eq!(text(), text(), "{}", case.text);
        }
    }
}

/// The search refuses early what cannot fit; it finds what lowering every candidate as a whole would find.
#[test]
fn the_search_skips_nothing_that_fits() {
    for width in [64, 128, 256] {
        let plan = attention(width);
        let shape = ShapeClass::aligned(&plan, 16);
        for (machine, kernel) in [(&SM_80, 0), (&SM_90A, 0), (&SM_90A, 1)] {
            let fits = |s: &Schedule| lower(&plan, kernel, s, machine, &shape).is_ok();
            let first = candidates(machine).into_iter().find(fits).expect("a candidate fits");
            assert_eq!(default_schedule(&plan, kernel, machine, &shape), Ok(first), "{width}");
        }
    }
}
