//! An estimate of the registers of a thread: the widest point of liveness, by the costs of the fragment layout.
//!
//! Constants and lanes cost nothing (they are formed where they are used), and so do tiles that are elementwise functions
//! of vectors alone, 16-bit tiles in f32 that are only summed up, and what lies between a loaded tile and a result ([`chains`]); bools live in
//! predicates that are formed beside their use. The operands of an elementwise operation make room for its result element by element. What a
//! target needs besides (addresses, fragments of shared operands) is the caller's margin.

mod chains;

use crate::ir::{Elem, Ix, LoopValue, Op, Roles, Stmt, TileProgram, Type, ValueId};
use crate::lower::arguments;
use crate::trips::Trips;
use std::collections::BTreeSet;

/// Registers of a lane for a value of this type.
pub(crate) fn cost(program: &TileProgram, ty: Type) -> u64 {
    let size = |axis: crate::ir::AxisId| u64::from(program.axes[axis.index()].size);
    let fragments = ty.rows.map(|a| (size(a) / 16 / u64::from(program.warps.max(1))).max(1));
    let words = match (fragments, ty.cols) {
        (Some(rows), Some(c)) => rows * (size(c) / 8) * 4,
        (Some(rows), None) => rows * 2,
        (None, Some(c)) => size(c) / 8 * 2,
        (None, None) => 1,
    };
    match ty.elem {
        Elem::F16 | Elem::BF16 => words.div_ceil(2),
        Elem::I64 => words * 2,
        Elem::Bool => 0,
        Elem::F32 | Elem::I32 => words,
    }
}

struct Pressure {
    /// Cost of each value; 0 for what is formed where it is used.
    costs: Vec<u64>,
    peak: u64,
    trips: Trips,
}

/// The estimate for a whole program.
pub(crate) fn estimate(program: &TileProgram) -> u64 {
    let mut costs: Vec<u64> = program.values.iter().map(|&ty| cost(program, ty)).collect();
    if program.roles != Roles::Uniform {
        // What warps agree on lives in uniform registers.
        let scalar = |ty: &Type| ty.rows.is_none() && ty.cols.is_none();
        let scalars = program.values.iter().zip(&mut costs).filter(|(ty, _)| scalar(ty));
        scalars.for_each(|(_, cost)| *cost = 0);
    }
    free_values(program, &program.body, &mut costs);
    let mut read = BTreeSet::new();
    reads_of(&program.body, &|op| !matches!(op, Op::RowReduce(..)), &mut read);
    free_sums(program, &program.body, &read, &mut costs);
    chains::free(program, &mut costs);
    let mut pressure = Pressure {
        costs,
        peak: 0,
        trips: Trips::of(program),
    };
    let mut live = BTreeSet::new();
    pressure.block(&program.body, &mut live);
    pressure.peak
}

fn is_tile(program: &TileProgram, v: ValueId) -> bool {
    let ty = program.values[v.index()];
    ty.rows.is_some() && ty.cols.is_some()
}

/// Marks values that are formed where they are used.
fn free_values(program: &TileProgram, stmts: &[Stmt], costs: &mut [u64]) {
    for stmt in stmts {
        match stmt {
            Stmt::Let(v, Op::Real(_) | Op::Int(_) | Op::Lane | Op::Param(_) | Op::Grid(_)) => costs[v.index()] = 0,
            Stmt::Let(v, op @ (Op::Math(..) | Op::Cast(_))) => {
                let free = |a: &ValueId| !is_tile(program, *a) || costs[a.index()] == 0;
                if is_tile(program, *v) && arguments(op).iter().all(free) {
                    costs[v.index()] = 0;
                }
            }
            Stmt::For { body, .. } | Stmt::If { body, .. } => free_values(program, body, costs),
            _ => {}
        }
    }
}

/// Marks 16-bit tiles in f32 that nothing but reductions reads: one pair is converted and counted after the other. `read`: what all else reads.
fn free_sums(program: &TileProgram, stmts: &[Stmt], read: &BTreeSet<ValueId>, costs: &mut [u64]) {
    for stmt in stmts {
        match stmt {
            Stmt::Let(v, Op::Cast(arg)) if !read.contains(v) => {
                let ty = program.values[arg.index()];
                if ty.cols.is_some() && matches!(ty.elem, Elem::F16 | Elem::BF16) {
                    costs[v.index()] = 0;
                }
            }
            Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => {
                free_sums(program, body, read, costs)
            }
            _ => {}
        }
    }
}

impl Pressure {
    fn note(&mut self, live: &BTreeSet<ValueId>) {
        let now = live.iter().map(|v| self.costs[v.index()]).sum();
        self.peak = self.peak.max(now);
    }

    /// Walks backwards; `live` is what is needed after the block, then what is needed before it.
    fn block(&mut self, stmts: &[Stmt], live: &mut BTreeSet<ValueId>) {
        for stmt in stmts.iter().rev() {
            match stmt {
                Stmt::Let(v, op) => {
                    live.insert(*v);
                    self.note(live);
                    live.remove(v);
                    live.extend(arguments(op));
                }
                Stmt::For {
                    carried, body, lo, hi, ..
                } => self.for_loop(carried, body, [*lo, *hi], live),
                Stmt::Guard { cond, carried, body } => {
                    carried.iter().for_each(|c| {
                        live.remove(&c.result);
                    });
                    // The fast results are live beside the body only as far as it leaves them.
                    let mut inside = live.clone();
                    inside.extend(carried.iter().map(|c| c.next));
                    self.block(body, &mut inside);
                    live.extend(inside);
                    live.extend(carried.iter().map(|c| c.init));
                    live.insert(*cond);
                }
                Stmt::If { cond, body } => {
                    self.block(body, live);
                    live.insert(*cond);
                }
                Stmt::Store { index, value, mask, .. } => {
                    live.extend(index.iter().copied().chain([*value]).chain(*mask));
                }
                Stmt::StoreShared { stage, value, .. } => live.extend([*value].into_iter().chain(*stage)),
                Stmt::CopyAsync {
                    stage,
                    index,
                    col0,
                    valid,
                    ..
                } => {
                    live.extend(*stage);
                    index.iter().chain([col0]).chain(valid).for_each(|i| ix_values(i, live));
                }
                // Bookkeeping of rings lives in uniform registers.
                Stmt::Fill { .. } | Stmt::Await { .. } | Stmt::Release { .. } => {}
                Stmt::Commit | Stmt::Wait(_) | Stmt::Barrier | Stmt::DotWait(_) | Stmt::Take | Stmt::Pass => {}
            }
            self.note(live);
        }
    }

    fn for_loop(&mut self, carried: &[LoopValue], body: &[Stmt], bounds: [ValueId; 2], live: &mut BTreeSet<ValueId>) {
        for c in carried {
            live.remove(&c.result);
        }
        if self.trips.at_most_one(bounds[0], bounds[1]) {
            live.extend(carried.iter().map(|c| c.next));
            self.block(body, live);
            carried.iter().for_each(|c| {
                live.remove(&c.param);
            });
            live.extend(carried.iter().map(|c| c.init));
            live.extend(bounds);
            return;
        }
        let outside: BTreeSet<ValueId> = live.clone();
        // Whatever the body reads from outside is needed until its last iteration ends.
        let mut reads = BTreeSet::new();
        reads_of(body, &|_| true, &mut reads);
        let mut defined = BTreeSet::new();
        defined_in(body, &mut defined);
        defined.extend(carried.iter().map(|c| c.param));
        let mut inside: BTreeSet<ValueId> = reads.difference(&defined).copied().collect();
        inside.extend(&outside);
        let kept = inside.clone();
        inside.extend(carried.iter().map(|c| c.next));
        self.note(&inside);
        self.block(body, &mut inside);
        *live = kept;
        live.extend(carried.iter().map(|c| c.init));
        live.extend(bounds);
    }
}

fn ix_values(ix: &Ix, live: &mut BTreeSet<ValueId>) {
    match ix {
        Ix::Value(v) => {
            live.insert(*v);
        }
        Ix::Map(_, list) | Ix::Gather(_, list) => list.iter().for_each(|i| ix_values(i, live)),
        Ix::Const(_) | Ix::Lane => {}
    }
}

fn reads_of(stmts: &[Stmt], counts: &dyn Fn(&Op) -> bool, reads: &mut BTreeSet<ValueId>) {
    for stmt in stmts {
        match stmt {
            Stmt::Let(_, op) if counts(op) => reads.extend(arguments(op)),
            Stmt::Let(..) => {}
            Stmt::For {
                carried, body, lo, hi, ..
            } => {
                reads.extend([*lo, *hi]);
                reads.extend(carried.iter().flat_map(|c| [c.init, c.next]));
                reads_of(body, counts, reads);
            }
            Stmt::Guard { cond, carried, body } => {
                reads.insert(*cond);
                reads.extend(carried.iter().flat_map(|c| [c.init, c.next]));
                reads_of(body, counts, reads);
            }
            Stmt::If { cond, body } => {
                reads.insert(*cond);
                reads_of(body, counts, reads);
            }
            Stmt::Store { index, value, mask, .. } => {
                reads.extend(index.iter().copied().chain([*value]).chain(*mask));
            }
            Stmt::StoreShared { stage, value, .. } => reads.extend([*value].into_iter().chain(*stage)),
            Stmt::CopyAsync {
                stage,
                index,
                col0,
                valid,
                ..
            } => {
                reads.extend(*stage);
                index
                    .iter()
                    .chain([col0])
                    .chain(valid)
                    .for_each(|i| ix_values(i, reads));
            }
            Stmt::Fill { .. } | Stmt::Await { .. } | Stmt::Release { .. } => {}
            Stmt::Commit | Stmt::Wait(_) | Stmt::Barrier | Stmt::DotWait(_) | Stmt::Take | Stmt::Pass => {}
        }
    }
}

fn defined_in(stmts: &[Stmt], defined: &mut BTreeSet<ValueId>) {
    for stmt in stmts {
        match stmt {
            Stmt::Let(v, _) => {
                defined.insert(*v);
            }
            Stmt::For { var, carried, body, .. } => {
                defined.insert(*var);
                defined.extend(carried.iter().flat_map(|c| [c.param, c.result]));
                defined_in(body, defined);
            }
            Stmt::Guard { carried, body, .. } => {
                defined.extend(carried.iter().map(|c| c.result));
                defined_in(body, defined);
            }
            Stmt::If { body, .. } => defined_in(body, defined),
            _ => {}
        }
    }
}
