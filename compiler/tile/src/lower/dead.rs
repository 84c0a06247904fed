//! Removes values that nothing reads.

use super::builder::arguments;
use crate::ir::{Ix, LoopValue, Stmt, TileProgram, ValueId};

/// Values that something reads.
#[derive(Default)]
struct Live(Vec<bool>);

impl Live {
    fn contains(&self, value: &ValueId) -> bool {
        self.0.get(value.index()).copied().unwrap_or(false)
    }

    /// Whether the value was not in the set.
    fn insert(&mut self, value: ValueId) -> bool {
        if value.index() >= self.0.len() {
            self.0.resize(value.index() + 1, false);
        }
        !std::mem::replace(&mut self.0[value.index()], true)
    }

    fn extend(&mut self, values: impl IntoIterator<Item = ValueId>) {
        for value in values {
            self.insert(value);
        }
    }
}

/// Removes dead `Let`s; loop-carried values live if their result or another live value needs them.
pub(crate) fn remove(program: &mut TileProgram) {
    remove_from(&mut program.body);
}

/// As [`remove`], for a body that is no part of a larger one.
pub(crate) fn remove_from(body: &mut Vec<Stmt>) {
    loop {
        let mut live = Live::default();
        mark(body, &mut live);
        let before = count(body);
        sweep(body, &live);
        if count(body) == before {
            return;
        }
    }
}

fn count(stmts: &[Stmt]) -> usize {
    stmts
        .iter()
        .map(|s| match s {
            Stmt::For { body, carried, .. } => 1 + carried.len() + count(body),
            Stmt::Guard { body, carried, .. } => 1 + carried.len() + count(body),
            Stmt::If { body, .. } => 1 + count(body),
            _ => 1,
        })
        .sum()
}

fn mark_ix(ix: &Ix, live: &mut Live) {
    match ix {
        Ix::Value(v) => {
            live.insert(*v);
        }
        Ix::Map(_, list) | Ix::Gather(_, list) => list.iter().for_each(|i| mark_ix(i, live)),
        Ix::Const(_) | Ix::Lane => {}
    }
}

/// Marks from the last statement to the first, so that one pass sees every use before its definition.
fn mark(stmts: &[Stmt], live: &mut Live) {
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
                if is_empty(carried, body, live) {
                    continue;
                }
                live.extend([*lo, *hi]);
                for c in carried {
                    // A parameter that only feeds itself is found by the next round at the latest.
                    if live.contains(&c.result) {
                        live.extend([c.next, c.init]);
                    }
                }
                mark_loop(carried, body, live);
            }
            Stmt::Guard { cond, carried, body } => {
                let used: Vec<_> = carried.iter().filter(|c| live.contains(&c.result)).collect();
                if used.is_empty() {
                    continue;
                }
                live.extend(used.iter().flat_map(|c| [c.init, c.next]));
                live.insert(*cond);
                mark(body, live);
            }
            Stmt::If { body, .. } if body.is_empty() => {}
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
            Stmt::Fill { count, source, .. } => {
                live.insert(*count);
                source.indices().for_each(|ix| mark_ix(ix, live));
            }
            Stmt::Await { count, .. } | Stmt::Release { count, .. } => {
                live.insert(*count);
            }
            Stmt::Commit | Stmt::Wait(_) | Stmt::Barrier | Stmt::DotWait(_) | Stmt::Take | Stmt::Pass => {}
        }
    }
}

/// A loop that does nothing and gives nothing that is used.
fn is_empty(carried: &[LoopValue], body: &[Stmt], live: &Live) -> bool {
    body.is_empty() && carried.iter().all(|c| !live.contains(&c.result))
}

fn mark_loop(carried: &[LoopValue], body: &[Stmt], live: &mut Live) {
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

fn sweep(stmts: &mut Vec<Stmt>, live: &Live) {
    stmts.retain_mut(|stmt| match stmt {
        Stmt::Let(v, _) => live.contains(v),
        Stmt::For { carried, body, .. } => {
            carried.retain(|c| live.contains(&c.result) || live.contains(&c.param));
            sweep(body, live);
            !(carried.is_empty() && body.is_empty())
        }
        Stmt::Guard { carried, body, .. } => {
            carried.retain(|c| live.contains(&c.result));
            sweep(body, live);
            !carried.is_empty()
        }
        Stmt::If { body, .. } => {
            sweep(body, live);
            !body.is_empty()
        }
        _ => true,
    });
}
