//! One warpgroup of a specialised program as if it were alone on its multiprocessor.
//!
//! Its instructions run in order: elementwise work occupies the pipes of its schedulers, matrix dots run beside it until a wait for them, and
//! tiles of rings come from the producer, which runs ahead as far as stages are free. So what the order of a program forbids to overlap is seen:
//! a wait for all dots before the exponentials, a maximum before them, a first tile that nothing hides. What other warpgroups take away from
//! this one is left to [`super::waves`].

use super::demand::Demand;
use super::device::Device;
use crate::ir::BufferId;
use std::collections::{BTreeMap, VecDeque};

/// Tiles of one ring.
#[derive(Clone, Debug, Default)]
struct Ring {
    /// When tiles that are not awaited yet are there.
    filled: VecDeque<f64>,
    /// When stages were given back, latest last.
    released: VecDeque<f64>,
    /// Tiles that were filled so far.
    count: usize,
}

/// The life of a warpgroup, in cycles.
#[derive(Clone, Debug)]
pub(super) struct Timeline<'a> {
    device: &'a Device,
    warps: f64,
    now: f64,
    /// When the producer can start its next copy.
    producer: f64,
    /// When the matrix unit has done what it was given.
    matrix: f64,
    /// Ends of pending dots, oldest first.
    pending: VecDeque<f64>,
    rings: BTreeMap<usize, Ring>,
    /// Instructions of one warp since the last point that orders them: f32 pipe, ALU, special functions, others.
    segment: [f64; 4],
}

impl<'a> Timeline<'a> {
    pub(super) fn new(device: &'a Device, warps: u32) -> Timeline<'a> {
        Timeline {
            device,
            warps: f64::from(warps.max(1)),
            now: 0.0,
            producer: 0.0,
            matrix: 0.0,
            pending: VecDeque::new(),
            rings: BTreeMap::new(),
            segment: [0.0; 4],
        }
    }

    /// Elementwise work of a block: it runs when something orders it.
    pub(super) fn work(&mut self, demand: &Demand) {
        let counts = [demand.fma, demand.alu, demand.mufu, demand.other];
        for (sum, count) in self.segment.iter_mut().zip(counts) {
            *sum += count / self.warps;
        }
    }

    /// Runs the work so far; the cycles that it takes.
    pub(super) fn order(&mut self) -> f64 {
        let cycles = self.due();
        self.pass(cycles)
    }

    /// Cycles of the work so far, which is taken out. The busiest pipe hides most of the others.
    fn due(&mut self) -> f64 {
        let [fma, alu, mufu, other] = std::mem::take(&mut self.segment);
        let d = self.device;
        // A warp has a quarter of the multiprocessor's lanes.
        let cycles = |count: f64, lanes: f64| count * 32.0 / (lanes / 4.0);
        let pipes = [
            cycles(fma, d.fma_lanes),
            cycles(alu, d.alu_lanes),
            cycles(mufu, d.mufu_lanes),
            other,
        ];
        let busiest = pipes.iter().copied().fold(fma + alu + mufu + other, f64::max);
        let sum: f64 = pipes.iter().sum();
        busiest + (sum - busiest).max(0.0) * d.exposed
    }

    fn pass(&mut self, cycles: f64) -> f64 {
        self.now += cycles;
        cycles
    }

    /// Time that passes with something else.
    pub(super) fn idle(&mut self, cycles: f64) {
        self.now += cycles;
    }

    fn until(&mut self, time: f64) -> f64 {
        self.pass((time - self.now).max(0.0))
    }

    /// A reduction across lanes: its result is there after the latency of shuffles.
    pub(super) fn across(&mut self) -> f64 {
        self.order() + self.pass(self.device.reduce_latency)
    }

    /// A matrix dot of the warpgroup, of so many cycles of the matrix unit.
    pub(super) fn dot(&mut self, cycles: f64) -> f64 {
        let passed = self.order();
        self.matrix = self.matrix.max(self.now) + cycles;
        self.pending.push_back(self.matrix);
        passed
    }

    /// Waits until at most `left` dots are pending. The assembler moves part of the work that stands before a wait behind it.
    pub(super) fn wait(&mut self, left: usize) -> f64 {
        let due = self.due();
        let delayed = if self.pending.len() > left {
            due * self.device.delayed
        } else {
            0.0
        };
        let mut passed = self.pass(due - delayed);
        while self.pending.len() > left
            && let Some(end) = self.pending.pop_front()
        {
            passed += self.until(end + self.device.dot_latency);
        }
        passed + self.pass(delayed)
    }

    /// The producer fills the next stage of a ring of `stages` with `bytes`.
    pub(super) fn fill(&mut self, buffer: BufferId, stages: usize, bytes: f64) {
        let ring = self.rings.entry(buffer.index()).or_default();
        if ring.count >= stages
            && let Some(free) = ring.released.pop_front()
        {
            self.producer = self.producer.max(free);
        }
        ring.count += 1;
        self.producer += self.device.fill_issue;
        let done = self.producer + self.device.latency + bytes / self.device.fill_bytes;
        ring.filled.push_back(done);
    }

    /// Waits for the oldest tile of a ring.
    pub(super) fn tile(&mut self, buffer: BufferId) -> f64 {
        let passed = self.order();
        let done = self.rings.get_mut(&buffer.index()).and_then(|r| r.filled.pop_front());
        passed + done.map_or(0.0, |done| self.until(done))
    }

    /// Gives a stage of a ring back.
    pub(super) fn release(&mut self, buffer: BufferId) {
        let now = self.now;
        if let Some(ring) = self.rings.get_mut(&buffer.index()) {
            ring.released.push_back(now);
        }
    }
}
