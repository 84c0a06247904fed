//! Between the start of a warpgroup's dots and the wait that covers them nobody else touches their sums, or writes their left operand in registers;
//! a fence stands between what writes these registers and the dots; nothing is pending at the end.
//!
//! Dots of one shape onto the same sums follow each other in order. Where ways meet, what is pending on one of them is pending.

use super::graph::{blocks, solve};
use super::{Instruction, Kernel, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Most groups that are pending at once; more are a loop that does not wait.
const MOST: usize = 16;

/// What the matrix unit does to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Left,
    Sum,
}

/// Groups of dots, newest first; the first one is not committed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    groups: Vec<BTreeMap<Register, Role>>,
    /// Registers of dots that were written behind the last fence.
    fresh: BTreeSet<Register>,
}

impl State {
    fn role(&self, register: Register) -> Option<Role> {
        self.groups
            .iter()
            .filter_map(|group| group.get(&register).copied())
            .max()
    }

    fn join(&mut self, other: &State) -> bool {
        let before = self.clone();
        self.groups
            .resize(self.groups.len().max(other.groups.len()), BTreeMap::new());
        for (group, other) in self.groups.iter_mut().zip(&other.groups) {
            for (&register, &role) in other {
                group
                    .entry(register)
                    .and_modify(|known| *known = role.max(*known))
                    .or_insert(role);
            }
        }
        self.fresh.extend(&other.fresh);
        *self != before
    }
}

/// What touches registers of pending dots.
pub fn faults(kernel: &Kernel) -> Vec<String> {
    let of_dots: BTreeSet<Register> = kernel
        .code
        .iter()
        .filter(|i| i.is_wgmma())
        .flat_map(sums_and_left)
        .collect();
    if of_dots.is_empty() {
        return Vec::new();
    }
    let blocks = blocks(kernel);
    let mut step = |state: &mut State, _, i: &Instruction| pass(state, i, &of_dots);
    let begin = State {
        groups: vec![BTreeMap::new()],
        ..State::default()
    };
    let states = solve(kernel, &blocks, begin, &mut step, &State::join);
    let mut wrong = Vec::new();
    for (block, state) in blocks.iter().zip(states) {
        let Some(mut state) = state else { continue };
        for i in &kernel.code[block.code.clone()] {
            wrong.extend(check(kernel, &state, i));
            pass(&mut state, i, &of_dots);
        }
    }
    wrong
}

fn sums_and_left(dot: &Instruction) -> impl Iterator<Item = Register> + '_ {
    left(dot).iter().chain(&dot.operands[0].registers).copied()
}

/// Registers of the left operand, if it is not a descriptor.
fn left(dot: &Instruction) -> &[Register] {
    match dot.operands.get(1) {
        Some(operand) if operand.text.starts_with('{') => &operand.registers,
        _ => &[],
    }
}

fn check(kernel: &Kernel, state: &State, i: &Instruction) -> Option<String> {
    let fault = |register: Register, what: &str| Some(kernel.fault(i, register, what));
    if i.is_wgmma() {
        if let Some(register) = sums_and_left(i).find(|r| state.fresh.contains(r)) {
            return fault(register, "is written without a fence before a dot takes it");
        }
        if let Some(&register) = left(i).iter().find(|&&r| state.role(r) == Some(Role::Sum)) {
            return fault(register, "is taken while a dot writes it");
        }
        let sums = &i.operands[0].registers;
        let read = sums.iter().find(|&&r| state.role(r) == Some(Role::Left));
        return read.and_then(|&register| fault(register, "is written while a dot reads it"));
    }
    if let Some(register) = i.reads().chain(i.guard).find(|&r| state.role(r) == Some(Role::Sum)) {
        return fault(register, "is read while a dot writes it");
    }
    if let Some(&register) = i.writes().iter().find(|&&r| state.role(r).is_some()) {
        return fault(register, "is written while a dot is pending that takes it");
    }
    let pending = state.groups.iter().flat_map(BTreeMap::keys).next();
    match pending {
        Some(&register) if i.is("ret") => fault(register, "belongs to a dot that nothing waited for"),
        Some(&register) if state.groups.len() > MOST => fault(register, "belongs to a dot that a loop never waits for"),
        _ => None,
    }
}

fn pass(state: &mut State, i: &Instruction, of_dots: &BTreeSet<Register>) {
    if i.is_wgmma() {
        let group = &mut state.groups[0];
        group.extend(left(i).iter().map(|&register| (register, Role::Left)));
        group.extend(i.operands[0].registers.iter().map(|&register| (register, Role::Sum)));
    } else if i.is("wgmma.fence") {
        state.fresh.clear();
    } else if i.is("wgmma.commit_group") {
        if state.groups.len() <= MOST {
            state.groups.insert(0, BTreeMap::new());
        }
    } else if i.is("wgmma.wait_group") {
        let left = i
            .operands
            .first()
            .and_then(|n| n.text.parse::<usize>().ok())
            .unwrap_or(MOST);
        state.groups.truncate(left + 1);
    }
    state
        .fresh
        .extend(i.writes().iter().filter(|register| of_dots.contains(register)));
}
