//! No register is read before it is written on every way there.
//!
//! A write under a predicate may not happen, so that it makes nothing known. A dot of a warpgroup that starts from zeros does not read its sums.
//! LLVM joins a half with one of no value where only the first is used: 16 bits (`%rs`) that nothing ever writes are left alone.

use super::graph::{blocks, solve};
use super::{Instruction, Kernel, Register};

/// What is read too early.
pub fn faults(kernel: &Kernel) -> Vec<String> {
    let blocks = blocks(kernel);
    let zeros = never(kernel);
    let begin = without_value(kernel);
    let mut step = |written: &mut Vec<bool>, _, i: &Instruction| write(written, i);
    let meet = |known: &mut Vec<bool>, other: &Vec<bool>| {
        let mut changed = false;
        for (known, other) in known.iter_mut().zip(other) {
            changed |= *known && !other;
            *known &= other;
        }
        changed
    };
    let states = solve(kernel, &blocks, begin, &mut step, &meet);
    let mut wrong = Vec::new();
    for (block, state) in blocks.iter().zip(states) {
        let Some(mut written) = state else { continue };
        for i in &kernel.code[block.code.clone()] {
            let early = reads(i, &zeros).into_iter().find(|&register| !written[register]);
            wrong.extend(early.map(|register| kernel.fault(i, register, "is read before it is written")));
            write(&mut written, i);
        }
    }
    wrong
}

/// Halves that nothing writes.
fn without_value(kernel: &Kernel) -> Vec<bool> {
    let mut unknown: Vec<bool> = kernel.registers.iter().map(|name| name.starts_with("%rs")).collect();
    let written = kernel.code.iter().flat_map(Instruction::writes);
    written.for_each(|&register| unknown[register] = false);
    unknown
}

fn write(written: &mut [bool], i: &Instruction) {
    if i.guard.is_none() {
        let sums = if i.is_wgmma() {
            i.operands[0].registers.as_slice()
        } else {
            i.writes()
        };
        sums.iter().for_each(|&register| written[register] = true);
    }
}

fn reads(i: &Instruction, zeros: &[bool]) -> Vec<Register> {
    let mut all: Vec<Register> = i.guard.into_iter().chain(i.reads()).collect();
    if i.is_wgmma() && starts_from_zeros(i, zeros) {
        let sums = i.operands[0].registers.len();
        all.drain(..sums);
    }
    all
}

/// Behind sums, left and right operand stands the predicate that adds the sums.
fn starts_from_zeros(i: &Instruction, zeros: &[bool]) -> bool {
    let add = i.operands.get(3).and_then(|operand| operand.registers.first());
    add.is_some_and(|&register| zeros[register])
}

/// Predicates that are never true: `setp.ne p, 0, 0`, and no other write.
fn never(kernel: &Kernel) -> Vec<bool> {
    let mut never = vec![true; kernel.registers.len()];
    for i in &kernel.code {
        let zero = i.is("setp.ne") && i.operands[1..].iter().all(|operand| operand.text == "0");
        i.writes().iter().for_each(|&register| never[register] &= zero);
    }
    never
}
