//! Which value each home holds at each point of a slice, and which needs of a value its home does not meet ([`crate::homes`]).
//!
//! The walk does what the emission does to homes, in the same order. A home is *written* by a definition, by a constant that is set, and
//! by a copy. Where control flow meets, a home holds what it holds on all ways, and nothing if these differ. What a loop's body writes,
//! but for its carried values, the home may hold no more at the body's begin, since the body may have run before, nor after the loop.

use crate::homes::Shared;
use einloom_tile::ir::{DotKind, LoopValue, Op, Operand, Stmt, ValueId};

/// By value: how many needs of it fail, or of what would be lost by its definition.
pub(crate) fn conflicts(shared: &Shared<'_>, body: &[Stmt]) -> Vec<usize> {
    let values = shared.len();
    let mut walk = Walk {
        shared,
        read: shared.read(body),
        holds: vec![None; values],
        pending: Vec::new(),
        failed: vec![0; values],
    };
    walk.statements(body);
    walk.failed
}

/// A dot that is not known to be complete.
struct Pending {
    id: ValueId,
    /// Homes that it reads or writes.
    left: Option<usize>,
    result: Option<usize>,
    /// A later dot accumulates onto its result.
    consumed: bool,
}

struct Walk<'a> {
    shared: &'a Shared<'a>,
    read: Vec<bool>,
    /// By home.
    holds: Vec<Option<ValueId>>,
    pending: Vec<Pending>,
    failed: Vec<usize>,
}

impl Walk<'_> {
    fn statements(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let(
                    id,
                    Op::Dot {
                        left,
                        acc,
                        kind: DotKind::Matrix,
                        ..
                    },
                ) => self.dot(*id, *left, *acc),
                Stmt::Let(id, op) => {
                    let shared = self.shared;
                    shared.operands(*id, op, &mut |value, by_name| {
                        if by_name {
                            self.need(value);
                        }
                    });
                    self.write(*id, *id);
                }
                Stmt::Store { .. } | Stmt::StoreShared { .. } => {
                    if let Some(value) = self.shared.stored_by_name(stmt) {
                        self.need(value);
                    }
                }
                Stmt::DotWait(n) => self.wait(*n as usize),
                Stmt::For { carried, body, .. } => self.for_loop(carried, body),
                Stmt::Guard { carried, body, .. } => self.guard(carried, body),
                Stmt::If { body, .. } => {
                    self.meet_nothing_pending();
                    let before = self.holds.clone();
                    self.statements(body);
                    self.meet_nothing_pending();
                    self.meet(&before);
                }
                _ => {}
            }
        }
    }

    fn fail(&mut self, id: ValueId) {
        self.failed[id.index()] += 1;
    }

    /// The home of `id` holds `id`; a pending dot's result is complete.
    fn need(&mut self, id: ValueId) {
        let Some(home) = self.shared.home(id) else { return };
        if self.holds[home] != Some(id) || self.pending.iter().any(|p| p.result == Some(home)) {
            self.fail(id);
        }
    }

    /// The home of `place` holds `id` from here on.
    fn write(&mut self, place: ValueId, id: ValueId) {
        let Some(home) = self.shared.home(place) else { return };
        if self
            .pending
            .iter()
            .any(|p| p.result == Some(home) || p.left == Some(home))
        {
            self.fail(place);
        }
        self.holds[home] = Some(id);
    }

    /// `from` flows into `to`, whose home then holds `to`.
    fn flow(&mut self, from: ValueId, to: ValueId) {
        let Some(home) = self.shared.home(to) else { return };
        if !self.shared.is_constant(from) {
            self.need(from);
        }
        if self.shared.home(from) == Some(home) {
            self.holds[home] = Some(to);
        } else {
            self.write(to, to);
        }
    }

    fn dot(&mut self, id: ValueId, left: Operand, acc: Option<ValueId>) {
        let home = self.shared.home(id);
        let left = match left {
            Operand::Register(left) => {
                self.need(left);
                self.shared.home(left)
            }
            Operand::Shared(..) => None,
        };
        if let Some(home) = home {
            let acc = acc.filter(|&acc| !self.shared.is_constant(acc));
            match acc {
                Some(acc) if self.shared.home(acc) == Some(home) => {
                    let lost = self.holds[home] != Some(acc) || self.pending.iter().any(|p| p.left == Some(home));
                    if lost
                        || self
                            .pending
                            .iter()
                            .any(|p| p.result == Some(home) && p.id != acc && !p.consumed)
                    {
                        self.fail(acc);
                    }
                    self.pending
                        .iter_mut()
                        .filter(|p| p.id == acc)
                        .for_each(|p| p.consumed = true);
                    self.holds[home] = Some(id);
                }
                Some(acc) => {
                    self.need(acc);
                    self.write(id, id);
                }
                None => self.write(id, id),
            }
        }
        self.pending.push(Pending {
            id,
            left,
            result: home,
            consumed: false,
        });
        if self.shared.synchronous() {
            self.wait(0);
        }
    }

    /// All but the `n` newest dots are complete, and snapshots of their results are taken.
    fn wait(&mut self, n: usize) {
        let done = self.pending.len().saturating_sub(n);
        let complete: Vec<Pending> = self.pending.drain(..done).collect();
        for Pending { id, consumed, .. } in complete {
            if self.read[id.index()] {
                self.need(id);
                if consumed {
                    self.fail(id);
                }
            }
        }
    }

    /// No dot is pending where a loop or condition begins or ends.
    fn meet_nothing_pending(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.fail(pending.id);
        }
    }

    fn meet(&mut self, other: &[Option<ValueId>]) {
        for (holds, other) in self.holds.iter_mut().zip(other) {
            if holds != other {
                *holds = None;
            }
        }
    }

    fn for_loop(&mut self, carried: &[LoopValue], body: &[Stmt]) {
        self.meet_nothing_pending();
        carried.iter().for_each(|c| self.flow(c.init, c.param));
        carried.iter().for_each(|c| self.need(c.param));
        let mut written = Vec::new();
        self.written(body, &mut written);
        let entered: Vec<usize> = carried.iter().filter_map(|c| self.shared.home(c.param)).collect();
        let forget = |walk: &mut Self| {
            for home in written.iter().filter(|home| !entered.contains(home)) {
                walk.holds[*home] = None;
            }
        };
        forget(self);
        self.statements(body);
        self.meet_nothing_pending();
        self.flow_back(carried);
        forget(self);
        carried.iter().for_each(|c| self.flow(c.param, c.result));
        carried.iter().for_each(|c| self.need(c.result));
    }

    /// The last values of an iteration flow into the carried ones one after the other. What is written is the next iteration's value: not what the
    /// name of the carried value stands for where a later flow needs it.
    fn flow_back(&mut self, carried: &[LoopValue]) {
        let mut written: Vec<usize> = Vec::new();
        for carry in carried {
            let Some(home) = self.shared.home(carry.param) else {
                continue;
            };
            let source = self.shared.home(carry.next);
            if source.is_some_and(|source| written.contains(&source)) || written.contains(&home) {
                self.fail(carry.param);
            }
            self.flow(carry.next, carry.param);
            written.push(home);
        }
    }

    fn guard(&mut self, carried: &[LoopValue], body: &[Stmt]) {
        self.meet_nothing_pending();
        // A result with a home of its own gets the initial value first.
        for carry in carried
            .iter()
            .filter(|c| self.shared.home(c.init) != self.shared.home(c.result))
        {
            self.flow(carry.init, carry.result);
        }
        carried.iter().for_each(|c| self.need_either(c.init, c.result));
        let before = self.holds.clone();
        self.statements(body);
        carried.iter().for_each(|c| self.flow(c.next, c.result));
        carried.iter().for_each(|c| self.need(c.result));
        let mut after = std::mem::replace(&mut self.holds, before);
        for carry in carried {
            if let Some(home) = self.shared.home(carry.result) {
                (self.holds[home], after[home]) = (Some(carry.result), Some(carry.result));
            }
        }
        self.meet(&after);
    }

    /// The home of `result` holds it already, or the `init` that it is unless the guard's body runs.
    fn need_either(&mut self, init: ValueId, result: ValueId) {
        let Some(home) = self.shared.home(result) else { return };
        if self.holds[home] != Some(result) {
            self.need(init);
            if self.shared.home(init) != Some(home) {
                self.fail(result);
            }
        }
    }

    /// Homes that a body writes.
    fn written(&self, body: &[Stmt], homes: &mut Vec<usize>) {
        let mut note = |id: ValueId| homes.extend(self.shared.home(id));
        for stmt in body {
            match stmt {
                Stmt::Let(id, _) => note(*id),
                Stmt::For { carried, .. } | Stmt::Guard { carried, .. } => {
                    carried.iter().flat_map(|c| [c.param, c.result]).for_each(&mut note);
                }
                _ => {}
            }
        }
        for stmt in body {
            if let Stmt::For { body, .. } | Stmt::Guard { body, .. } | Stmt::If { body, .. } = stmt {
                self.written(body, homes);
            }
        }
    }
}
