//! Blocks on multiprocessors: the time of the whole launch, with waves, tails and blocks of unequal length.

use super::demand::Demand;
use super::walk::{self, Place, Subject};
use super::{Device, Launch};
use crate::ir::{Roles, TileProgram};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Kinds of blocks that are walked; the others take the demand of the nearest walked one.
const WALKED: i64 = 48;

/// Persistent blocks that are walked.
const WALKED_PERSISTENT: i64 = 12;

/// The same where tables decide what a block visits, and no two blocks need to be alike.
const WALKED_TABLES: i64 = 192;
const WALKED_TABLES_PERSISTENT: i64 = 44;

/// Blocks that are dealt out one by one; of longer launches the last ones only.
const DEALT: i64 = 1 << 14;

/// Share of the demand on all but the busiest resource that is not hidden, with one warp on each scheduler.
const EXPOSED: f64 = 0.22;

/// Time of a launch.
pub(super) struct Timed {
    /// Cycles until the last block ends.
    pub(super) cycles: f64,
    /// Demand of all blocks.
    pub(super) total: Demand,
    pub(super) exact: bool,
}

/// Deals `blocks` blocks to the device.
pub(super) fn time(program: &TileProgram, launch: &Launch, device: &Device, blocks: i64, resident: u32) -> Timed {
    if blocks <= 0 {
        return Timed {
            cycles: 0.0,
            total: Demand::default(),
            exact: true,
        };
    }
    let slots = (device.multiprocessors as i64 * i64::from(resident)).max(1);
    // A persistent block does the work of many points of the grid.
    let persistent = program.persistent();
    let launched = if persistent { blocks.min(slots) } else { blocks };
    let dims = walk::grid(program, &launch.scalars);
    // How long a block takes depends on its place in the innermost dimension, where the tiles of rows are; a persistent one goes its own way.
    let kinds = match dims.last() {
        Some(last) if !persistent => (*last).clamp(1, launched),
        _ => launched,
    };
    let subject = Subject::new(program, launch, device);
    let mut walked = kinds.min(if persistent { WALKED_PERSISTENT } else { WALKED });
    let mut total = Demand::default();
    let mut exact = true;
    let mut durations = Vec::new();
    let mut i = 0;
    while i < walked {
        let index = (2 * i + 1) * kinds / (2 * walked) + spread(i, launched / kinds) * kinds;
        let place = Place {
            at: coordinates(program, &dims, index),
            block: index,
            blocks: launched,
        };
        let one = walk::block(&subject, &place);
        if i == 0 && one.tables {
            walked = launched.min(if persistent {
                WALKED_TABLES_PERSISTENT
            } else {
                WALKED_TABLES
            });
        }
        i += 1;
        exact &= one.exact;
        total += &one.demand.scaled(launched as f64 / walked as f64);
        durations.push(duration(program, device, &one.demand, resident));
    }
    Timed {
        cycles: deal(&durations, kinds, launched, slots),
        total,
        exact,
    }
}

/// The `i`-th of samples that are spread evenly over `0..n`: multiples of the golden ratio.
fn spread(i: i64, n: i64) -> i64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let at = u128::from(i.unsigned_abs().wrapping_add(1).wrapping_mul(GOLDEN)) * u128::from(n.unsigned_abs());
    i64::try_from(at >> 64).unwrap_or(0)
}

/// Coordinates of a block: row-major, dimensions that run backwards turned round.
fn coordinates(program: &TileProgram, dims: &[i64], index: i64) -> Vec<i64> {
    let mut rest = index;
    let mut at: Vec<i64> = dims
        .iter()
        .rev()
        .map(|n| {
            let n = (*n).max(1);
            let c = rest % n;
            rest /= n;
            c
        })
        .collect();
    at.reverse();
    for ((c, dim), n) in at.iter_mut().zip(&program.grid).zip(dims) {
        if dim.reversed {
            *c = n - 1 - *c;
        }
    }
    at
}

/// Cycles that a block takes with `resident` blocks of its kind on its multiprocessor.
fn duration(program: &TileProgram, device: &Device, demand: &Demand, resident: u32) -> f64 {
    let cycles: Vec<f64> = device.cycles(demand).into_iter().map(|(_, c)| c).collect();
    if program.roles != Roles::Uniform {
        return specialised(device, &cycles, demand.alone, f64::from(resident));
    }
    let busiest = cycles.iter().copied().fold(0.0, f64::max);
    // Issue slots are the sum of pipes that are counted already: only what exceeds them is a demand of its own.
    let sum: f64 = cycles.iter().sum::<f64>() - cycles.get(4).copied().unwrap_or(0.0) * 0.5;
    let resident = f64::from(resident);
    // Warps that a scheduler can choose from.
    let choice = (f64::from(program.warps) * resident / 4.0).max(0.25);
    let share = EXPOSED / choice.powf(1.5);
    let work = busiest + (sum - busiest).max(0.0) * share.min(1.0);
    // Fewer warps than schedulers leave some idle.
    let work = work
        * (4.0 / f64::from(program.warps.clamp(1, 4)))
            .min(4.0 / resident.min(4.0))
            .max(1.0);
    let waits = demand.waits.max(1.0);
    let ahead = f64::from(stages(program).saturating_sub(1));
    let hidden = ahead * work / waits;
    let exposed = waits * (device.latency - hidden).max(0.0);
    // Other blocks work meanwhile, where there are any.
    (work * resident).max(work + exposed) + device.block_overhead / resident
}

/// As [`duration`], for a specialised program whose warpgroups take `alone` cycles each if nothing disturbs them. Whoever is alone is as slow as that;
/// together they are as slow as the scarcest resource, and a little slower than either where both are alike, since they meet at it by chance.
fn specialised(device: &Device, cycles: &[f64], alone: f64, resident: f64) -> f64 {
    let p = device.sharpness;
    let sum: f64 = cycles.iter().map(|c| (c * resident).powf(p)).sum();
    let own = alone + device.specialised_overhead;
    (own.powf(p) + sum).powf(1.0 / p)
}

/// Tiles of the buffers that loops copy into.
fn stages(program: &TileProgram) -> u32 {
    program.buffers.iter().map(|b| b.stages).max().unwrap_or(1)
}

/// Time until the last of `blocks` blocks ends, each started where a slot is free first. Block `i` is of kind `i % kinds`; `durations` are samples
/// of the kinds in order, of each kind several if there are more samples than kinds.
fn deal(durations: &[f64], kinds: i64, blocks: i64, slots: i64) -> f64 {
    let kinds = kinds.max(1);
    let len = durations.len() as i64;
    let each = (len / kinds).max(1);
    let sample = |i: i64| durations[(i % kinds * len / kinds + i / kinds % each).min(len - 1) as usize];
    let mean = durations.iter().sum::<f64>() / durations.len().max(1) as f64;
    // The first blocks of a long launch keep all slots busy; what they take is work over slots.
    let skipped = ((blocks - DEALT).max(0) / slots) * slots;
    let mut start = 0.0;
    if skipped > 0 {
        start = mean * skipped as f64 / slots as f64;
    }
    let mut free: BinaryHeap<Reverse<u64>> = (0..slots.min(blocks)).map(|_| Reverse(start as u64)).collect();
    let mut last = 0u64;
    for i in skipped..blocks {
        let Some(Reverse(at)) = free.pop() else { break };
        let end = at + sample(i).max(1.0) as u64;
        last = last.max(end);
        free.push(Reverse(end));
    }
    last as f64
}
