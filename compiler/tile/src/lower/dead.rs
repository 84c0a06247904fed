//! Removes values that nothing reads.

use super::builder::arguments;
use crate::ir::{Ix, Stmt, TileProgram, ValueId};
use std::collections::BTreeSet;

/// Removes dead `Let`s; loop-carried values live if their result or another live value needs them.
pub(crate) fn remove(program: &mut TileProgram) {
    loop {
        let mut live = BTreeSet::new();
        mark(&program.body, &mut live);
        let before = count(&program.body);
        sweep(&mut program.body, &live);
        if count(&program.body) == before {
            return;
        }
    }
}

fn count(stmts: &[Stmt]) -> usize {
    stmts
        .iter()
        .map(|s| match s {
            Stmt::For { body, carried, .. } => 1 + carried.len() + count(body),
            Stmt::If { body, .. } => 1 + count(body),
            _ => 1,
        })
        .sum()
}

fn mark_ix(ix: &Ix, live: &mut BTreeSet<ValueId>) {
    match ix {
        Ix::Value(v) => {
            live.insert(*v);
        }
        Ix::Map(_, list) | Ix::Gather(_, list) => list.iter().for_each(|i| mark_ix(i, live)),
        Ix::Const(_) | Ix::Lane => {}
    }
}

/// Marks from the last statement to the first, so that one pass sees every use before its definition.
fn mark(stmts: &[Stmt], live: &mut BTreeSet<ValueId>) {
    for stmt in stmts.iter().rev() {
        match stmt {
            Stmt::Let(v, op) => {
                if live.contains(v) {
                    live.extend(arguments(op));
                }
            }
            Stmt::For {
                lo, hi, carried, body, ..
            } => {
                live.extend([*lo, *hi]);
                for c in carried {
                    // A parameter that only feeds itself is found by the next round at the latest.
                    if live.contains(&c.result) {
                        live.extend([c.next, c.init]);
                    }
                }
                mark_loop(carried, body, live);
            }
            Stmt::If { cond, body } => {
                live.insert(*cond);
                mark(body, live);
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
                for ix in index.iter().chain([col0]).chain(valid) {
                    mark_ix(ix, live);
                }
            }
            Stmt::Commit | Stmt::Wait(_) | Stmt::Barrier => {}
        }
    }
}

fn mark_loop(carried: &[crate::ir::LoopValue], body: &[Stmt], live: &mut BTreeSet<ValueId>) {
    loop {
        mark(body, live);
        let mut grown = false;
        for c in carried {
            if live.contains(&c.param) || live.contains(&c.result) {
                grown |= live.insert(c.next) | live.insert(c.init);
            }
        }
        if !grown {
            return;
        }
    }
}

fn sweep(stmts: &mut Vec<Stmt>, live: &BTreeSet<ValueId>) {
    stmts.retain_mut(|stmt| match stmt {
        Stmt::Let(v, _) => live.contains(v),
        Stmt::For { carried, body, .. } => {
            carried.retain(|c| live.contains(&c.result) || live.contains(&c.param));
            sweep(body, live);
            true
        }
        Stmt::If { body, .. } => {
            sweep(body, live);
            true
        }
        _ => true,
    });
}
