//! What lanes must execute together stands behind no branch on which they may differ.
//!
//! A register is the same in the whole block, in each warp, or in no two lanes for certain: as what it is computed from, and where it is written behind
//! a branch, as the branch. Barriers of the block and dots of a warpgroup need the first, exchanges between the lanes of a warp the second. The number
//! of a warp, asked of its first lane, counts as the same: roles part by it, and wait for each other at barriers of their own.

use super::graph::{Block, blocks, decided, solve};
use super::{Instruction, Kernel, Register};

/// Who agrees on a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Agree {
    Block,
    Warp,
    Nobody,
}

/// What is executed where lanes differ.
pub fn faults(kernel: &Kernel) -> Vec<String> {
    let blocks = blocks(kernel);
    let (inside, states) = levels(kernel, &blocks);
    let warp_numbers = warp_numbers(kernel);
    let mut wrong = Vec::new();
    for ((block, &around), state) in blocks.iter().zip(&inside).zip(states) {
        let Some(mut known) = state else { continue };
        for i in &kernel.code[block.code.clone()] {
            let level = i.guard.map_or(Agree::Block, |guard| known[guard]).max(around);
            if needs(i).is_some_and(|needed| level > needed) {
                let who = if level == Agree::Warp { "warps" } else { "lanes" };
                wrong.push(format!(
                    "line {}, {}: {} where {who} may differ",
                    i.line, kernel.name, i.opcode
                ));
            }
            pass(&mut known, i, around, &warp_numbers);
        }
    }
    wrong
}

/// By block: who agrees on being there, and on each register in front of it.
fn levels(kernel: &Kernel, blocks: &[Block]) -> (Vec<Agree>, Vec<Option<Vec<Agree>>>) {
    let regions = decided(blocks);
    let warp_numbers = warp_numbers(kernel);
    let mut inside = vec![Agree::Block; blocks.len()];
    loop {
        let mut step = |known: &mut Vec<Agree>, at: usize, i: &Instruction| pass(known, i, inside[at], &warp_numbers);
        let meet = |known: &mut Vec<Agree>, other: &Vec<Agree>| {
            let before = known.clone();
            known
                .iter_mut()
                .zip(other)
                .for_each(|(known, other)| *known = (*known).max(*other));
            *known != before
        };
        let states = solve(
            kernel,
            blocks,
            vec![Agree::Block; kernel.registers.len()],
            &mut step,
            &meet,
        );
        let mut next = inside.clone();
        for (at, (block, state)) in blocks.iter().zip(&states).enumerate() {
            let (Some(state), Some(guard)) = (state, branch(kernel, block)) else {
                continue;
            };
            let mut known = state.clone();
            for i in &kernel.code[block.code.clone()] {
                pass(&mut known, i, inside[at], &warp_numbers);
            }
            regions[at].iter().for_each(|&b| next[b] = next[b].max(known[guard]));
        }
        if next == inside {
            return (inside, states);
        }
        inside = next;
    }
}

fn pass(known: &mut [Agree], i: &Instruction, around: Agree, warp_numbers: &[bool]) {
    let level = result(i, known, warp_numbers).max(around);
    for &register in i.writes() {
        // What keeps its value under a predicate is still what it was.
        let before = i.guard.map_or(Agree::Block, |_| known[register]);
        known[register] = level.max(before);
    }
}

/// The predicate by which a block ends in one of two.
fn branch(kernel: &Kernel, block: &Block) -> Option<Register> {
    let last = &kernel.code[block.code.end - 1];
    last.guard.filter(|_| matches!(last.name(), "bra" | "ret"))
}

/// Who must execute an instruction together.
fn needs(i: &Instruction) -> Option<Agree> {
    let warp = i.is("bar.warp") || i.opcode.contains(".sync") && !i.is("bar");
    if i.name() == "wgmma" || i.name() == "setmaxnreg" || (i.is("bar") && !i.is("bar.warp")) {
        Some(Agree::Block)
    } else {
        warp.then_some(Agree::Warp)
    }
}

/// Who agrees on what an instruction writes.
fn result(i: &Instruction, known: &[Agree], warp_numbers: &[bool]) -> Agree {
    let read = i
        .reads()
        .chain(i.guard)
        .map(|register| known[register])
        .max()
        .unwrap_or(Agree::Block);
    let special = |name: &str| i.operands.iter().any(|operand| operand.text == name);
    match i.name() {
        "mov" if special("%tid.x") || special("%laneid") => Agree::Nobody,
        "elect" | "mma" | "wgmma" | "ldmatrix" | "movmatrix" => Agree::Nobody,
        "shfl" if i.is("shfl.sync.idx") => match i.reads().next() {
            Some(register) if warp_numbers[register] => Agree::Block,
            _ => read.min(Agree::Warp),
        },
        "vote" => read.min(Agree::Warp),
        // Who waits goes on when all can.
        "mbarrier" => Agree::Block,
        _ => read,
    }
}

/// Registers that hold the thread's number by 32.
fn warp_numbers(kernel: &Kernel) -> Vec<bool> {
    let mut threads = vec![false; kernel.registers.len()];
    let mut warps = threads.clone();
    for i in &kernel.code {
        let from = |set: &[bool]| {
            i.operands
                .get(1)
                .and_then(|o| o.registers.first())
                .is_some_and(|&r| set[r])
        };
        let thread = i.is("mov") && i.operands.get(1).is_some_and(|o| o.text == "%tid.x");
        let warp = i.is("shr") && from(&threads) && i.operands.get(2).is_some_and(|o| o.text == "5");
        for &register in i.writes() {
            threads[register] |= thread;
            warps[register] |= warp;
        }
    }
    warps
}
