//! Overlap of iterations: the last dots of a tile are issued in the next iteration, behind its first dots.
//!
//! A carry `acc' = (what is done to acc) + left * right` is cut before its dot. The iteration leaves the accumulator without the dot, and the left
//! operand in registers; the next iteration issues first those of its dots that need no accumulator, then the deferred one, and
//! does everything that the first results allow while the matrix unit works on the second. A loop behind all parts issues
//! the deferred dots of the last tile. This is possible wherever a dot's result is used only by its carry, whatever is computed.
//!
//! A sum `acc' = acc + (row sum of what the left operand of a deferred dot holds)` is deferred with it: its additions then run while the first dots
//! of the next tile do, and the operand's f32 form ends with its conversion.

use super::Lowerer;
use super::builder::{Const, arguments};
use super::error::{LowerError, Result};
use super::pipeline::Draft;
use crate::ir::{AxisId, BufferId, DotKind, Elem, LoopValue, Math, Op, Operand, Stmt, TileProgram, Type, ValueId};
use einloom_cascade::expr::{MapOp, ReduceOp};
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
    sums: Vec<Counted>,
}

/// A deferred sum: its position in `carried`, and the dot whose left operand it counts: the position in [`Deferred::slots`], that in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    slot: usize,
    dot: (usize, usize),
}

/// The statements of a sum over a left operand: `sum = base + reduced`, `reduced = row sum of wide`, `wide` = the operand in f32.
#[derive(Clone, Copy)]
struct Sum {
    sum: ValueId,
    base: ValueId,
    reduced: ValueId,
    wide: ValueId,
    left: ValueId,
}

/// What a part leaves to the next: for each deferred carry the accumulator and the left operands, and the name of the final result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Previous {
    slots: Vec<Left>,
    sums: Vec<SumLeft>,
}

/// A deferred sum: the accumulator, the operand that it lacks, and the name of the final result.
#[derive(Clone, Copy, Debug)]
struct SumLeft {
    acc: ValueId,
    left: ValueId,
    result: ValueId,
}

#[derive(Clone, Debug)]
struct Left {
    acc: ValueId,
    result: ValueId,
    dots: Vec<Deferrable>,
    lefts: Vec<ValueId>,
}

/// The deferred dots that a body issues for the tile before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    /// Stages of the tile before.
    pub(crate) stages: BTreeMap<BufferId, ValueId>,
    pub(crate) dots: Vec<Stmt>,
    /// Sums over the left operands of the tile before.
    pub(crate) sums: Vec<Stmt>,
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

/// The sum that a carry ends with, if nothing else uses what it is made of.
fn sum_of(body: &[Stmt], next: ValueId) -> Option<Sum> {
    let op = |at: ValueId, most: usize| {
        let found = body.iter().find_map(|stmt| match stmt {
            Stmt::Let(id, op) if *id == at => Some(op),
            _ => None,
        })?;
        (body.iter().filter(|s| uses(s, at)).count() == most).then_some(found)
    };
    let Op::Math(Math::Map(MapOp::Add), terms) = op(next, 0)? else {
        return None;
    };
    let [base, reduced] = terms[..] else { return None };
    let Op::RowReduce(ReduceOp::Sum, wide) = *op(reduced, 1)? else {
        return None;
    };
    let Op::Cast(left) = *op(wide, 1)? else { return None };
    Some(Sum {
        sum: next,
        base,
        reduced,
        wide,
        left,
    })
}

pub(crate) fn uses(stmt: &Stmt, value: ValueId) -> bool {
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
    let sums = counted(drafts, &slots, &ring);
    (!slots.is_empty() && drafts.iter().all(dots)).then_some(Deferred { slots, sums })
}

/// The carries that count the left operand of a deferred dot, the same in all parts.
fn counted(drafts: &[Draft], slots: &[usize], ring: &dyn Fn(BufferId) -> bool) -> Vec<Counted> {
    let dot_of = |d: &Draft, slot: usize| {
        let next = d.carried[slot].next;
        let alone = d.carried.iter().filter(|o| o.next == next).count() == 1;
        let sum = sum_of(&d.body, next).filter(|_| alone)?;
        slots.iter().enumerate().find_map(|(at, &s)| {
            let dots = chain(&d.body, d.carried[s].next, ring);
            dots.iter().position(|dot| dot.left == sum.left).map(|dot| (at, dot))
        })
    };
    let all = |slot: usize| {
        let dot = dot_of(drafts.first()?, slot)?;
        let same = drafts.iter().all(|d| dot_of(d, slot) == Some(dot));
        same.then_some(Counted { slot, dot })
    };
    let carried = drafts.first().map_or(0, |d| d.carried.len());
    (0..carried)
        .filter(|slot| !slots.contains(slot))
        .filter_map(all)
        .collect()
}

pub(crate) fn is_dot(stmt: &Stmt) -> bool {
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
    /// Cuts the deferred dots off a part, and gives it those of the part before (`None`: it is the first).
    pub(crate) fn defer(
        &mut self,
        draft: &mut Draft,
        deferred: &Deferred,
        previous: Option<Previous>,
    ) -> Result<Pending> {
        let mut pending = Pending::default();
        let sums = self.cut_sums(draft, deferred);
        let mut params = Vec::new();
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
                self.issue(&mut pending, &dots, &left_params.params, entry.param, carried.param);
            }
            draft.carried[slot] = entry;
            pending.lefts.extend(dots.iter().map(|d| d.left));
            pending.after.slots.push(Left {
                acc: result,
                result: carried.result,
                dots,
                lefts: left_params.results,
            });
            params.push(left_params.params);
        }
        for (at, (sum, &Counted { slot, dot })) in sums.iter().zip(&deferred.sums).enumerate() {
            let before = previous.as_ref().map(|p| p.sums[at].acc);
            let issued = params[dot.0][dot.1];
            let left = pending.after.slots[dot.0].lefts[dot.1];
            self.defer_sum(draft, &mut pending, sum, slot, before, issued, left);
        }
        Ok(pending)
    }

    /// Takes the deferred sums out of a body.
    fn cut_sums(&mut self, draft: &mut Draft, deferred: &Deferred) -> Vec<Sum> {
        let next = |c: &Counted| draft.carried[c.slot].next;
        let sums: Vec<Sum> = deferred
            .sums
            .iter()
            .filter_map(|c| sum_of(&draft.body, next(c)))
            .collect();
        let cut = |id: ValueId| sums.iter().any(|s| [s.sum, s.reduced, s.wide].contains(&id));
        draft.body.retain(|s| !matches!(s, Stmt::Let(id, _) if cut(*id)));
        sums
    }

    /// Makes a carry lack its tile's sum, and adds that of the tile before; `issued`: that tile's operand, `left`: this one's behind the part.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it the state of the part at hand"
    )]
    fn defer_sum(
        &mut self,
        draft: &mut Draft,
        pending: &mut Pending,
        sum: &Sum,
        slot: usize,
        before: Option<ValueId>,
        issued: ValueId,
        left: ValueId,
    ) {
        let carried = draft.carried[slot];
        let result = self.b.fresh_at(0, self.b.ty(carried.init));
        let mut entry = LoopValue {
            next: sum.base,
            result,
            ..carried
        };
        if let Some(before) = before {
            entry.init = before;
            entry.param = self.b.fresh(self.b.ty(carried.init));
            self.add_sum(&mut pending.sums, issued, entry.param, carried.param);
        }
        draft.carried[slot] = entry;
        pending.after.sums.push(SumLeft {
            acc: result,
            left,
            result: carried.result,
        });
    }

    /// Defines `result` as `acc` plus the row sum of a left operand.
    fn add_sum(&mut self, out: &mut Vec<Stmt>, left: ValueId, acc: ValueId, result: ValueId) {
        let of = self.b.ty(left);
        let wide = self.b.fresh(Type { elem: Elem::F32, ..of });
        let reduced = self.b.fresh(self.b.ty(result));
        out.push(Stmt::Let(wide, Op::Cast(left)));
        out.push(Stmt::Let(reduced, Op::RowReduce(ReduceOp::Sum, wide)));
        let sum = Op::Math(Math::Map(MapOp::Add), vec![acc, reduced]);
        out.push(Stmt::Let(result, sum));
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
        let mut pending = Pending::default();
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
        for sum in previous.sums {
            let ty = self.b.ty(sum.acc);
            let value = LoopValue {
                init: sum.acc,
                param: self.b.fresh(ty),
                next: self.b.fresh(ty),
                result: sum.result,
            };
            self.add_sum(&mut pending.dots, sum.left, value.param, value.next);
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
