//! Waits and releases of specialised programs, from their dependences.
//!
//! In every body: a ring's tile whose stage is defined there is awaited before the first statement that reads it and released behind the last one, when no
//! pending dot reads it any more. A wait for dots stands before the first use of a pending result (other than as an accumulator) and
//! at the end of a body; it leaves those pending that were issued later.

use crate::ir::{BufferId, DotKind, Op, Operand, Roles, Stmt, TileProgram, ValueId};
use crate::roles::needs_complete;
use std::collections::{BTreeMap, BTreeSet};

/// What stands behind a stage value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub(crate) buffer: BufferId,
    pub(crate) count: ValueId,
}

/// The tile of every stage value.
pub(crate) type Counts = BTreeMap<ValueId, Tile>;

/// Puts all waits and releases into a specialised program.
pub(crate) fn synchronise(program: &mut TileProgram, counts: &Counts) {
    if program.roles == Roles::Uniform {
        return;
    }
    program.body = body(std::mem::take(&mut program.body), counts);
}

#[derive(Default)]
struct Walk {
    out: Vec<Stmt>,
    /// Pending dots, oldest first, with the stages they read.
    pending: Vec<(ValueId, BTreeSet<ValueId>)>,
    /// Stages without further readers, not released yet.
    done: BTreeSet<ValueId>,
}

fn body(stmts: Vec<Stmt>, counts: &Counts) -> Vec<Stmt> {
    let home: BTreeSet<ValueId> = stmts
        .iter()
        .filter_map(|s| match s {
            Stmt::Let(id, _) if counts.contains_key(id) => Some(*id),
            _ => None,
        })
        .collect();
    let reads: Vec<BTreeSet<ValueId>> = stmts.iter().map(|s| stages(s, &home)).collect();
    let mut awaited = BTreeSet::new();
    let mut walk = Walk::default();
    for (at, stmt) in stmts.into_iter().enumerate() {
        walk.settle_for(&stmt);
        for stage in &reads[at] {
            if awaited.insert(*stage) {
                let Tile { buffer, count, .. } = counts[stage];
                walk.out.push(Stmt::Await { buffer, count });
            }
        }
        walk.push(stmt, counts);
        for stage in &reads[at] {
            if !reads[at + 1..].iter().any(|later| later.contains(stage)) {
                walk.done.insert(*stage);
            }
        }
        walk.release(counts);
    }
    walk.wait(0);
    walk.release(counts);
    walk.out
}

impl Walk {
    fn push(&mut self, stmt: Stmt, counts: &Counts) {
        let stmt = match stmt {
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body: inner,
                label,
            } => Stmt::For {
                var,
                lo,
                hi,
                carried,
                body: body(inner, counts),
                label,
            },
            Stmt::If { cond, body: inner } => Stmt::If {
                cond,
                body: body(inner, counts),
            },
            Stmt::DotWait(n) => return self.wait(n as usize),
            other => other,
        };
        if let Stmt::Let(id, Op::Dot { left, right, kind, .. }) = &stmt
            && *kind == DotKind::Matrix
        {
            let stages = [left, right].into_iter().filter_map(|o| match o {
                Operand::Shared(_, stage) => *stage,
                Operand::Register(_) => None,
            });
            self.pending.push((*id, stages.collect()));
        }
        self.out.push(stmt);
    }

    /// Waits until at most `n` dots are pending, unless that holds already.
    fn wait(&mut self, n: usize) {
        if self.pending.len() > n {
            let done = self.pending.len() - n;
            self.pending.drain(..done);
            self.out.push(Stmt::DotWait(n as u32));
        }
    }

    /// Waits for the pending results that a statement uses.
    fn settle_for(&mut self, stmt: &Stmt) {
        if matches!(
            stmt,
            Stmt::For { .. } | Stmt::If { .. } | Stmt::Guard { .. } | Stmt::Barrier
        ) {
            return self.wait(0);
        }
        let used = needs_complete(stmt);
        if let Some(newest) = self.pending.iter().rposition(|(id, _)| used.contains(id)) {
            self.wait(self.pending.len() - 1 - newest);
        }
    }

    fn release(&mut self, counts: &Counts) {
        let read: BTreeSet<ValueId> = self.pending.iter().flat_map(|p| p.1.iter().copied()).collect();
        for stage in std::mem::take(&mut self.done) {
            if read.contains(&stage) {
                self.done.insert(stage);
            } else {
                let Tile { buffer, count } = counts[&stage];
                self.out.push(Stmt::Release { buffer, count });
            }
        }
    }
}

/// Stages of `home` that a statement reads, nested bodies included.
fn stages(stmt: &Stmt, home: &BTreeSet<ValueId>) -> BTreeSet<ValueId> {
    match stmt {
        Stmt::Let(_, Op::Dot { left, right, .. }) => [left, right]
            .into_iter()
            .filter_map(|o| match o {
                Operand::Shared(_, stage) => *stage,
                Operand::Register(_) => None,
            })
            .filter(|s| home.contains(s))
            .collect(),
        Stmt::For { body, .. } | Stmt::If { body, .. } => body.iter().flat_map(|s| stages(s, home)).collect(),
        _ => BTreeSet::new(),
    }
}
