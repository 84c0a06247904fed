//! Basic blocks, what follows them, and what every way from them passes.

use super::{Instruction, Kernel};
use std::ops::Range;

/// Instructions that are executed one after the other.
pub(super) struct Block {
    pub(super) code: Range<usize>,
    pub(super) next: Vec<usize>,
}

/// The blocks of a kernel in the order of its text; the first one is where it begins.
pub(super) fn blocks(kernel: &Kernel) -> Vec<Block> {
    let code = &kernel.code;
    let mut first = vec![false; code.len() + 1];
    first[0] = true;
    for (at, instruction) in code.iter().enumerate() {
        if let Some(target) = instruction.target {
            first[target] = true;
        }
        first[at + 1] |= matches!(instruction.name(), "bra" | "ret");
    }
    let starts: Vec<usize> = (0..code.len()).filter(|&at| first[at]).collect();
    let block_at = |at: usize| starts.partition_point(|&start| start <= at) - 1;
    let ends = starts.iter().skip(1).copied().chain([code.len()]);
    let block = |(start, end): (&usize, usize)| {
        let last: &Instruction = &code[end - 1];
        let mut next: Vec<usize> = last.target.map(block_at).into_iter().collect();
        if last.falls_through() && end < code.len() {
            next.push(block_at(end));
        }
        Block {
            code: *start..end,
            next,
        }
    };
    starts.iter().zip(ends).map(block).collect()
}

/// The state in front of each block that can be reached: `step` passes an instruction of a block, `meet` joins what comes from another way and tells whether
/// that changed anything.
pub(super) fn solve<S: Clone>(
    kernel: &Kernel,
    blocks: &[Block],
    begin: S,
    step: &mut dyn FnMut(&mut S, usize, &Instruction),
    meet: &dyn Fn(&mut S, &S) -> bool,
) -> Vec<Option<S>> {
    let mut states: Vec<Option<S>> = vec![None; blocks.len()];
    let mut open = vec![0];
    if let Some(first) = states.first_mut() {
        *first = Some(begin);
    }
    while let Some(at) = open.pop() {
        let Some(mut state) = states.get(at).cloned().flatten() else {
            continue;
        };
        kernel.code[blocks[at].code.clone()]
            .iter()
            .for_each(|instruction| step(&mut state, at, instruction));
        for &next in &blocks[at].next {
            let changed = match &mut states[next] {
                Some(known) => meet(known, &state),
                unknown => {
                    *unknown = Some(state.clone());
                    true
                }
            };
            if changed {
                open.push(next);
            }
        }
    }
    states
}

/// The blocks between each block and the first one that all ways from it pass: what is executed or not as its branch decides.
pub(super) fn decided(blocks: &[Block]) -> Vec<Vec<usize>> {
    let behind = passed(blocks);
    let region = |at: usize| {
        // What every way passes, but for the block itself, ends the region.
        let ends: Vec<bool> = (0..blocks.len()).map(|b| b != at && behind[at][b]).collect();
        let mut seen = vec![false; blocks.len()];
        let mut open = blocks[at].next.clone();
        while let Some(b) = open.pop() {
            if !ends[b] && !std::mem::replace(&mut seen[b], true) {
                open.extend(&blocks[b].next);
            }
        }
        (0..blocks.len()).filter(|&b| seen[b]).collect()
    };
    (0..blocks.len()).map(region).collect()
}

/// By block: which blocks every way from it to the end passes, itself among them.
fn passed(blocks: &[Block]) -> Vec<Vec<bool>> {
    let n = blocks.len();
    let mut passed = vec![vec![true; n]; n];
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for at in (0..n).rev() {
            let next = &blocks[at].next;
            let all: Vec<bool> = (0..n)
                .map(|b| b == at || (!next.is_empty() && next.iter().all(|&s| passed[s][b])))
                .collect();
            if all != passed[at] {
                passed[at] = all;
                changed = true;
            }
        }
    }
    passed
}
