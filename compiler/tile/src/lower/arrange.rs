//! The order of an overlapped body: leading dots, deferred dots, turns.

use super::builder::arguments;
use super::overlap::{Pending, is_dot};
use crate::ir::{Stmt, TileProgram, ValueId};
use std::collections::BTreeSet;

/// When a warpgroup passes the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As soon as its dots are issued.
    Issued,
    /// When its leading dots are complete: the others' leading dots then run beside its deferred ones, and the arithmetic of the warpgroups lies apart.
    FirstResults,
}

/// When to pass turns best, as measured (`docs/src/performance.md`): accumulators that the body scales are waited for soon, and dots of more than 128 columns
/// keep the matrix unit busy long enough by themselves.
pub(crate) fn turn(program: &TileProgram, body: &[Stmt], dots: &[Stmt]) -> Turn {
    let results: BTreeSet<ValueId> = dots.iter().filter_map(defined).collect();
    let scaled = |s: &Stmt| matches!(s, Stmt::Let(_, op) if arguments(op).iter().any(|a| results.contains(a)));
    let wide = |id: &ValueId| {
        let cols = program.values[id.index()].cols;
        cols.is_some_and(|axis| program.axes[axis.index()].size > 128)
    };
    if body.iter().any(scaled) || results.iter().any(wide) {
        Turn::Issued
    } else {
        Turn::FirstResults
    }
}

/// Orders a body: what the leading dots need, the leading dots, the deferred dots, the rest; left operands for the next iteration are
/// made at the end, when the deferred dots no longer read the last ones. With `turns` the warpgroups issue their dots in turn, so that one's dots run
/// beside the other's arithmetic.
pub(crate) fn arrange(body: Vec<Stmt>, pending: &Pending, turns: Option<Turn>) -> Vec<Stmt> {
    let (dots, made) = (&pending.dots, &pending.lefts);
    if dots.is_empty() {
        return body;
    }
    let late: BTreeSet<ValueId> = dots.iter().filter_map(defined).collect();
    let leading = leading(&body, &late);
    let (first, rest): (Vec<Stmt>, Vec<Stmt>) = body
        .into_iter()
        .partition(|s| defined(s).is_some_and(|id| leading.contains(&id)));
    let mut read = BTreeSet::new();
    for stmt in &rest {
        match stmt {
            Stmt::Let(_, op) => read.extend(arguments(op)),
            Stmt::Guard { carried, .. } => read.extend(carried.iter().map(|c| c.init)),
            _ => {}
        }
    }
    let moves = |s: &Stmt| defined(s).is_some_and(|id| made.contains(&id) && !read.contains(&id));
    let (lefts, rest): (Vec<Stmt>, Vec<Stmt>) = rest.into_iter().partition(moves);
    let guarded = rest.iter().any(|s| matches!(s, Stmt::Guard { .. }));
    let mut ordered = first;
    if turns.is_some() {
        let at = ordered.iter().position(is_dot).unwrap_or(ordered.len());
        ordered.insert(at, Stmt::Take);
    }
    ordered.extend(pending.sums.iter().cloned());
    ordered.extend(dots.iter().cloned());
    if turns == Some(Turn::Issued) {
        ordered.push(Stmt::Pass);
    }
    if turns == Some(Turn::FirstResults) {
        ordered.push(Stmt::DotWait(dots.len() as u32));
        ordered.push(Stmt::Pass);
    }
    if guarded {
        // Both versions of the left operands and the scores are live at the guard: the old operands must be gone by then.
        ordered.push(Stmt::DotWait(0));
    }
    ordered.extend(rest);
    if !lefts.is_empty() {
        ordered.push(Stmt::DotWait(0));
    }
    ordered.extend(lefts);
    ordered
}

fn defined(stmt: &Stmt) -> Option<ValueId> {
    match stmt {
        Stmt::Let(id, _) => Some(*id),
        _ => None,
    }
}

/// Dots that need neither a deferred result nor another dot, and everything of the body that they need.
fn leading(body: &[Stmt], late: &BTreeSet<ValueId>) -> BTreeSet<ValueId> {
    // Values that depend on a dot or on a deferred result.
    let mut behind = late.clone();
    let mut dots = Vec::new();
    for stmt in body {
        if let Stmt::Guard { carried, .. } = stmt {
            behind.extend(carried.iter().map(|c| c.result));
        }
        let Stmt::Let(id, op) = stmt else { continue };
        let depends = arguments(op).iter().any(|a| behind.contains(a));
        if is_dot(stmt) && !depends {
            dots.push(*id);
        }
        if depends || is_dot(stmt) {
            behind.insert(*id);
        }
    }
    let mut needed: BTreeSet<ValueId> = dots.into_iter().collect();
    for stmt in body.iter().rev() {
        if let Stmt::Let(id, op) = stmt
            && needed.contains(id)
        {
            needed.extend(arguments(op));
        }
    }
    needed
}
