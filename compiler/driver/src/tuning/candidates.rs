//! Candidates: all legal schedules of every kernel, with the machine model's time of each.

use super::problem::Problem;
use crate::pipeline::{self, CompileError};
use crate::predict;
use einloom_tile::dimensions::{from_text, to_text};
use einloom_tile::enumerate::{Legal, groups, legal_of, neighbours, points};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::machine::MachineModel;
use einloom_tile::model::Device;
use einloom_tile::schedule::Schedule;
use einloom_tune::search::{Candidate, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Legal schedules of one kernel.
struct Kernel {
    schedules: Vec<Schedule>,
    /// Predicted microseconds by text.
    times: BTreeMap<String, f64>,
}

/// The candidates of a problem.
pub struct Candidates {
    default: Candidate,
    kernels: Vec<Kernel>,
    ranked: Vec<(Candidate, f64)>,
}

impl Candidates {
    /// Enumerates and ranks.
    ///
    /// # Errors
    /// A kernel that no schedule fits.
    pub fn new(problem: &Problem, target: &str, device: &Device) -> Result<Candidates, CompileError> {
        let machine = MachineModel::named(target).ok_or_else(|| CompileError::Target(target.to_owned()))?;
        let tiled = pipeline::tile(problem.plan.clone(), target, &problem.class)?;
        let time = |kernel: &LoweredKernel| {
            let prediction = predict::kernel(&problem.plan, kernel, &problem.shapes, &problem.extents, device);
            prediction.map_or(f64::INFINITY, |p| p.us)
        };
        let mut kernels = Vec::new();
        for (k, (schedule, lowered)) in tiled.schedules.iter().zip(&tiled.kernels).enumerate() {
            let mut times = BTreeMap::new();
            let mut schedules = Vec::new();
            for (one, us) in legal(problem, k, machine, &time) {
                times.insert(to_text(&one.schedule), us);
                schedules.push(one.schedule);
            }
            times.insert(to_text(schedule), time(lowered));
            if !schedules.contains(schedule) {
                schedules.push(schedule.clone());
            }
            kernels.push(Kernel { schedules, times });
        }
        let default: Candidate = tiled.schedules.iter().map(to_text).collect();
        let mut candidates = Candidates {
            default,
            kernels,
            ranked: Vec::new(),
        };
        candidates.rank();
        Ok(candidates)
    }

    /// All candidates that differ from the default in one kernel, and the best of each kernel together.
    fn rank(&mut self) {
        let mut all: Vec<Candidate> = Vec::new();
        for (k, kernel) in self.kernels.iter().enumerate() {
            for text in kernel.times.keys() {
                let mut candidate = self.default.clone();
                candidate[k].clone_from(text);
                all.push(candidate);
            }
        }
        let best = |kernel: &Kernel| {
            let least = kernel.times.iter().min_by(|a, b| a.1.total_cmp(b.1));
            least.map(|(text, _)| text.clone()).unwrap_or_default()
        };
        all.push(self.kernels.iter().map(best).collect());
        all.sort();
        all.dedup();
        let time = |c: Candidate| self.predicted(&c).map(|us| (c, us));
        let mut ranked: Vec<(Candidate, f64)> = all.into_iter().filter_map(time).collect();
        // Equal times keep the order of texts: the ranking is deterministic.
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        self.ranked = ranked;
    }

    /// How many candidates are ranked.
    pub fn len(&self) -> usize {
        self.ranked.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranked.is_empty()
    }

    /// Place of a candidate in the model's order, from 1: one more than the candidates that are predicted to be faster.
    pub fn place(&self, candidate: &Candidate) -> Option<usize> {
        let us = self.predicted(candidate)?;
        Some(1 + self.ranked.iter().filter(|(_, other)| *other < us).count())
    }
}

/// As `einloom_tile::enumerate::legal`, by all processors, each schedule with its time; the order does not depend on them.
fn legal(
    problem: &Problem,
    kernel: usize,
    machine: &MachineModel,
    time: &(dyn Fn(&LoweredKernel) -> f64 + Sync),
) -> Vec<(Legal, f64)> {
    let groups = groups(points(machine));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(points) = groups.get(at) else { return found };
            for one in legal_of(&problem.plan, kernel, machine, &problem.class, points) {
                let us = time(&one.kernel);
                found.push((at, one, us));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let mut all: Vec<(usize, Legal, f64)> = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let started: Vec<_> = (0..threads).filter_map(|i| start(i).ok()).collect();
        // Threads that could not be started are made up for here.
        let mut all = work();
        all.extend(started.into_iter().filter_map(|t| t.join().ok()).flatten());
        all
    });
    all.sort_by_key(|(at, ..)| *at);
    let mut seen = BTreeSet::new();
    all.retain(|(_, one, _)| seen.insert(one.fingerprint));
    all.into_iter().map(|(_, one, us)| (one, us)).collect()
}

/// Stack of a lowering thread: expressions are walked recursively.
const STACK: usize = 64 << 20;

impl Space for Candidates {
    fn default(&self) -> Candidate {
        self.default.clone()
    }

    fn ranked(&self) -> &[(Candidate, f64)] {
        &self.ranked
    }

    fn neighbours(&self, of: &Candidate) -> Vec<Candidate> {
        let mut near = Vec::new();
        for (k, kernel) in self.kernels.iter().enumerate() {
            let Some(Ok(own)) = of.get(k).map(|text| from_text(text)) else {
                continue;
            };
            let mut one: Vec<Candidate> = Vec::new();
            for schedule in neighbours(&own, &kernel.schedules) {
                let mut candidate = of.clone();
                candidate[k] = to_text(&schedule);
                one.push(candidate);
            }
            // In a plan of several kernels, what the model likes best for one is worth a try beside any other.
            if self.kernels.len() > 1 {
                let mut best: Vec<(&String, &f64)> = kernel.times.iter().collect();
                best.sort_by(|a, b| a.1.total_cmp(b.1));
                for (text, _) in best.into_iter().take(3) {
                    let mut candidate = of.clone();
                    candidate[k].clone_from(text);
                    one.push(candidate);
                }
            }
            near.extend(one);
        }
        near.retain(|c| c != of);
        let mut seen: Vec<Candidate> = Vec::new();
        near.retain(|c| {
            !seen.contains(c) && {
                seen.push(c.clone());
                true
            }
        });
        near
    }

    fn predicted(&self, candidate: &Candidate) -> Option<f64> {
        let one = |(text, kernel): (&String, &Kernel)| kernel.times.get(text).copied();
        (candidate.len() == self.kernels.len())
            .then(|| candidate.iter().zip(&self.kernels).map(one).sum())
            .flatten()
    }
}
