//! The machine model: how long a tile program takes on a device, and what bounds it.
//!
//! The program is walked with its real extents, and with the int tensors that its loop bounds depend on ([`walk`]), which gives each block's demand on every resource of a multiprocessor ([`demand`]). Blocks
//! are then dealt out to multiprocessors in launch order ([`waves`]), which gives waves, tails and uneven domains. What all blocks share (L2,
//! DRAM) bounds the whole. The rates of devices are a table ([`device`]).
//!
//! The model ranks schedules; it does not promise times. A block's time is the demand on its busiest resource plus a share of the others that
//! falls with the warps that can hide them.

pub mod demand;
pub mod device;
mod rise;
mod timeline;
mod walk;
mod waves;

pub use demand::Demand;
pub use device::Device;

use crate::ir::TileProgram;
use crate::schedule::shared_bytes;
use std::sync::Arc;

/// The elements of an int tensor, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub extents: Vec<i64>,
    pub values: Vec<i64>,
}

impl Table {
    /// An element; `None` outside.
    pub fn get(&self, index: &[i64]) -> Option<i64> {
        let inside = |(i, n): (&i64, &i64)| (0..*n).contains(i);
        if index.len() != self.extents.len() || !index.iter().zip(&self.extents).all(inside) {
            return None;
        }
        let place = index.iter().zip(&self.extents).fold(0, |place, (i, n)| place * n + i);
        self.values.get(usize::try_from(place).ok()?).copied()
    }
}

/// How a program is launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Values of `TileProgram::scalars`; reals are rounded down, they steer nothing.
    pub scalars: Vec<i64>,
    /// Elements of `TileProgram::tensors`, where they are known ints: what loops visit may depend on them. Where they are not known, something likely is
    /// taken for the bounds of such loops. May be shorter than the list of tensors.
    pub tables: Vec<Option<Arc<Table>>>,
    /// Bytes of all tensors that the kernel reads and writes, each once.
    pub bytes: f64,
}

/// What bounds a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    Tensor,
    Fma,
    Alu,
    Mufu,
    Issue,
    Shared,
    L2,
    Dram,
    /// Waiting: too few warps or stages, short loops, the tail of the last wave.
    Latency,
}

impl Bound {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Bound::Tensor => "matrix unit",
            Bound::Fma => "f32 arithmetic",
            Bound::Alu => "comparisons and ints",
            Bound::Mufu => "special functions",
            Bound::Issue => "instruction issue",
            Bound::Shared => "shared memory",
            Bound::L2 => "L2 cache",
            Bound::Dram => "device memory",
            Bound::Latency => "latency",
        }
    }
}

/// A prediction for one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Time of one launch in microseconds.
    pub us: f64,
    /// What bounds it.
    pub bound: Bound,
    /// Microseconds that each resource is busy, if the device did nothing else.
    pub busy: Vec<(Bound, f64)>,
    /// Blocks of the launch; in a persistent program the tiles of work.
    pub blocks: i64,
    /// Blocks that a multiprocessor holds at once.
    pub resident: u32,
    /// `blocks` over what the device holds at once.
    pub waves: f64,
    /// Bytes of shared memory of a block.
    pub shared: u64,
    /// Registers of a thread by the liveness estimate, without addresses.
    pub registers: u64,
    /// Whether all loop bounds were known, from extents and tables; otherwise some were guessed.
    pub exact: bool,
}

/// Predicts one launch.
pub fn predict(program: &TileProgram, launch: &Launch, device: &Device) -> Prediction {
    let blocks = walk::grid_blocks(program, &launch.scalars).max(0);
    let resident = u64::from(program.blocks_per_sm.max(1));
    let per_sm = u64::try_from(blocks)
        .unwrap_or(0)
        .div_ceil(device.multiprocessors.max(1));
    let resident = resident.min(per_sm.max(1)) as u32;
    let timed = waves::time(program, launch, device, blocks, resident);
    let clock = device.clock_ghz * 1e3;
    let sms = device.multiprocessors as f64;
    let total = &timed.total;
    let mut busy: Vec<(Bound, f64)> = device
        .cycles(total)
        .into_iter()
        .map(|(bound, cycles)| (bound, cycles / sms / clock))
        .collect();
    busy.push((Bound::L2, total.l2_bytes / (device.l2_gbs * 1e3)));
    busy.push((Bound::Dram, launch.bytes / (device.dram_gbs * 1e3)));
    let compute = timed.cycles / clock;
    let shared_time = busy
        .iter()
        .filter(|(b, _)| matches!(b, Bound::L2 | Bound::Dram))
        .map(|(_, us)| *us)
        .fold(0.0, f64::max);
    // What is shared overlaps with the rest, though never wholly.
    let us = device.launch_us + compute.max(shared_time) + OVERLAP_LOSS * compute.min(shared_time);
    let (bound, most) = busy.iter().copied().fold(
        (Bound::Latency, 0.0),
        |best, next| if next.1 > best.1 { next } else { best },
    );
    let bound = if most < LATENCY_SHARE * us {
        Bound::Latency
    } else {
        bound
    };
    Prediction {
        us,
        bound,
        busy,
        blocks,
        resident,
        waves: blocks as f64 / (sms * f64::from(resident)),
        shared: shared_bytes(program),
        registers: crate::pressure::estimate(program),
        exact: timed.exact,
    }
}

/// Share of the smaller of computing and moving that is not hidden behind the other.
const OVERLAP_LOSS: f64 = 0.1;

/// Where no resource is busy for this share of the time, latency bounds.
const LATENCY_SHARE: f64 = 0.5;
