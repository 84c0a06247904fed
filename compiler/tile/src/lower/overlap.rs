//! Overlap of iterations: the last dots of a tile are issued in the next iteration, behind its first dots.
//!
//! A carry `acc' = (what is done to acc) + left * right` is cut before its dot. The iteration leaves the accumulator without the dot, and the left
//! operand in registers; the next iteration issues first those of its dots that need no accumulator, then the deferred one, and
//! does everything that the first results allow while the matrix unit works on the second. A loop behind all parts issues
//! the deferred dots of the last tile. This is possible wherever a dot's result is used only by its carry, whatever is computed.

use super::Lowerer;
use super::builder::{Const, arguments};
use super::error::{LowerError, Result};
use super::pipeline::Draft;
use crate::ir::{AxisId, BufferId, DotKind, LoopValue, Op, Operand, Stmt, TileProgram, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// A deferred dot: its left operand in registers, its right operand's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deferrable {
    pub(crate) id: ValueId,
    pub(crate) left: ValueId,
    pub(crate) right: BufferId,
    pub(crate) stage: ValueId,
    pub(crate) over: AxisId,
    pub(crate) acc: ValueId,
}

/// Carries whose dots are deferred: the positions in `carried`, alike in all parts of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deferred {
    slots: Vec<usize>,
}

/// What a part leaves to the next: for each deferred carry the accumulator and the left operands, and the name of the final result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Previous {
    slots: Vec<Left>,
}

#[derive(Clone, Debug)]
struct Left {
    acc: ValueId,
    result: ValueId,
    dots: Vec<Deferrable>,
    lefts: Vec<ValueId>,
}

/// The deferred dots that a body issues for the tile before.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Stages of the tile before.
    pub(crate) stages: BTreeMap<BufferId, ValueId>,
    pub(crate) dots: Vec<Stmt>,
    /// Left operands that the body leaves.
    pub(crate) lefts: BTreeSet<ValueId>,
    pub(crate) after: Previous,
}

/// The dots at the end of a carry, innermost first: each is the accumulator of the next and has no other use.
pub(crate) fn chain(body: &[Stmt], next: ValueId, streamed: &dyn Fn(BufferId) -> bool) -> Vec<Deferrable> {
    let mut dots = Vec::new();
    let mut at = next;
    loop {
        let found = body.iter().find_map(|stmt| match stmt {
            Stmt::Let(id, op) if *id == at => Some(op),
            _ => None,
        });
        let Some(Op::Dot {
            left: Operand::Register(left),
            right: Operand::Shared(right, Some(stage)),
            over,
            acc: Some(acc),
            kind: DotKind::Matrix,
        }) = found
        else {
            break;
        };
        let uses = body.iter().filter(|s| uses(s, at)).count();
        let most = usize::from(at != next);
        if uses != most || !streamed(*right) {
            break;
        }
        dots.push(Deferrable {
            id: at,
            left: *left,
            right: *right,
            stage: *stage,
            over: *over,
            acc: *acc,
        });
        at = *acc;
    }
    dots.reverse();
    dots
}

fn uses(stmt: &Stmt, value: ValueId) -> bool {
    match stmt {
        Stmt::Let(_, op) => arguments(op).contains(&value),
        Stmt::Store {
            index, value: v, mask, ..
        } => *v == value || index.contains(&value) || *mask == Some(value),
        Stmt::StoreShared { value: v, .. } => *v == value,
        Stmt::Guard { cond, carried, body } => {
            *cond == value
                || carried.iter().any(|c| c.init == value || c.next == value)
                || body.iter().any(|s| uses(s, value))
        }
        _ => false,
    }
}

/// The carries whose dots can be deferred in all parts, if that overlaps anything: some other dot must be there to go first.
pub(crate) fn deferred(drafts: &[Draft], program: &TileProgram) -> Option<Deferred> {
    let straight = |s: &Stmt| matches!(s, Stmt::Let(..) | Stmt::Store { .. } | Stmt::Guard { .. });
    let ring = |b: BufferId| program.buffers[b.index()].ring;
    if drafts.iter().any(|d| d.barriers || !d.body.iter().all(straight)) {
        return None;
    }
    let shape = |d: &Draft, slot: usize| -> Vec<BufferId> {
        let c = &d.carried[slot];
        let shared = d.carried.iter().filter(|o| o.next == c.next).count() > 1;
        let dots = if shared {
            Vec::new()
        } else {
            chain(&d.body, c.next, &ring)
        };
        dots.iter().map(|d| d.right).collect()
    };
    let first = drafts.first()?;
    let slots: Vec<usize> = (0..first.carried.len())
        .filter(|&slot| {
            let rings = shape(first, slot);
            !rings.is_empty() && drafts.iter().all(|d| shape(d, slot) == rings)
        })
        .collect();
    let dots = |d: &Draft| {
        let chains = slots.iter().map(|&s| chain(&d.body, d.carried[s].next, &ring).len());
        let all = d.body.iter().filter(|s| is_dot(s)).count();
        all > chains.sum::<usize>()
    };
    (!slots.is_empty() && drafts.iter().all(dots)).then_some(Deferred { slots })
}

fn is_dot(stmt: &Stmt) -> bool {
    matches!(
        stmt,
        Stmt::Let(
            _,
            Op::Dot {
                kind: DotKind::Matrix,
                ..
            }
        )
    )
}

impl Lowerer<'_> {
    /// Cuts the deferred dots off a part, and gives it those of the part before (`None`: it is the first). A part with the first tile has none to issue:
    /// if it runs, no other one did.
    pub(crate) fn defer(
        &mut self,
        draft: &mut Draft,
        deferred: &Deferred,
        previous: Option<Previous>,
    ) -> Result<Pending> {
        let mut pending = Pending {
            stages: BTreeMap::new(),
            dots: Vec::new(),
            lefts: BTreeSet::new(),
            after: Previous::default(),
        };
        for (at, &slot) in deferred.slots.iter().enumerate() {
            let buffers = &self.b.program.buffers;
            let dots = chain(&draft.body, draft.carried[slot].next, &|b| buffers[b.index()].ring);
            let Some(base) = dots.first().map(|d| d.acc) else {
                return Err(LowerError::Bug("a deferred carry without a dot".to_owned()));
            };
            draft
                .body
                .retain(|s| !matches!(s, Stmt::Let(id, _) if dots.iter().any(|d| d.id == *id)));
            let before = previous.as_ref().map(|p| &p.slots[at]);
            let left_params = self.carry_lefts(draft, &dots, before);
            let carried = draft.carried[slot];
            let acc_type = self.b.ty(carried.init);
            let result = self.b.fresh_at(0, acc_type);
            let mut entry = LoopValue {
                next: base,
                result,
                ..carried
            };
            if let Some(before) = before {
                entry.init = before.acc;
                entry.param = self.b.fresh(acc_type);
                if !draft.first {
                    self.issue(&mut pending, &dots, &left_params.params, entry.param, carried.param);
                }
            }
            draft.carried[slot] = entry;
            pending.lefts.extend(dots.iter().map(|d| d.left));
            pending.after.slots.push(Left {
                acc: result,
                result: carried.result,
                dots,
                lefts: left_params.results,
            });
        }
        Ok(pending)
    }

    /// Carries the left operands of deferred dots.
    fn carry_lefts(&mut self, draft: &mut Draft, dots: &[Deferrable], before: Option<&Left>) -> Lefts {
        let mut lefts = Lefts {
            params: Vec::new(),
            results: Vec::new(),
        };
        for (at, dot) in dots.iter().enumerate() {
            let ty = self.b.ty(dot.left);
            let init = match before {
                Some(left) => left.lefts[at],
                None => self.b.splat(Const::Real(0.0), ty),
            };
            let value = LoopValue {
                init,
                param: self.b.fresh(ty),
                next: dot.left,
                result: self.b.fresh_at(0, ty),
            };
            draft.carried.push(value);
            lefts.params.push(value.param);
            lefts.results.push(value.result);
        }
        lefts
    }

    /// The dots of the tile before on `acc`; the last one defines `result`.
    fn issue(
        &mut self,
        pending: &mut Pending,
        dots: &[Deferrable],
        lefts: &[ValueId],
        mut acc: ValueId,
        result: ValueId,
    ) {
        let ty = self.b.ty(acc);
        for (at, (dot, &left)) in dots.iter().zip(lefts).enumerate() {
            let id = if at + 1 == dots.len() { result } else { self.b.fresh(ty) };
            let stage = *pending
                .stages
                .entry(dot.right)
                .or_insert_with(|| self.b.fresh(super::builder::scalar(crate::ir::Elem::I32)));
            pending.dots.push(Stmt::Let(
                id,
                Op::Dot {
                    left: Operand::Register(left),
                    right: Operand::Shared(dot.right, Some(stage)),
                    over: dot.over,
                    acc: Some(acc),
                    kind: DotKind::Matrix,
                },
            ));
            acc = id;
        }
    }

    /// Carries, stages and dots of the loop behind the last part.
    pub(crate) fn final_dots(
        &mut self,
        previous: Previous,
    ) -> (Vec<LoopValue>, BTreeMap<BufferId, ValueId>, Vec<Stmt>) {
        let mut pending = Pending {
            stages: BTreeMap::new(),
            dots: Vec::new(),
            lefts: BTreeSet::new(),
            after: Previous::default(),
        };
        let mut carried = Vec::new();
        for slot in previous.slots {
            let ty = self.b.ty(slot.acc);
            let value = LoopValue {
                init: slot.acc,
                param: self.b.fresh(ty),
                next: self.b.fresh(ty),
                result: slot.result,
            };
            self.issue(&mut pending, &slot.dots, &slot.lefts, value.param, value.next);
            carried.push(value);
        }
        (carried, pending.stages, pending.dots)
    }
}

/// Carried left operands.
struct Lefts {
    params: Vec<ValueId>,
    results: Vec<ValueId>,
}

/// Orders a body: what the leading dots need, the leading dots, the deferred dots, the rest; left operands for the next iteration are
/// made at the end, when the deferred dots no longer read the last ones. With `turns` the warpgroups issue their dots in turn, so that one's dots run
/// beside the other's arithmetic.
pub(crate) fn arrange(body: Vec<Stmt>, dots: &[Stmt], made: &BTreeSet<ValueId>, turns: bool) -> Vec<Stmt> {
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
    if turns {
        let at = ordered.iter().position(is_dot).unwrap_or(ordered.len());
        ordered.insert(at, Stmt::Take);
    }
    ordered.extend(dots.iter().cloned());
    if turns {
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
