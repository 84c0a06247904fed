//! Candidates: all legal schedules of every kernel, with the machine model's time of each.

use super::problem::Problem;
use crate::pipeline::{self, CompileError};
use crate::predict;
use einloom_tile::dimensions::{DIMENSIONS, from_text, to_text, values};
use einloom_tile::enumerate::{Legal, groups, legal_of, neighbours, points};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::machine::MachineModel;
use einloom_tile::model::{Device, Prediction};
use einloom_tile::schedule::Schedule;
use einloom_tune::search::{Candidate, Space};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Legal schedules of one kernel.
struct Kernel {
    schedules: Vec<Schedule>,
    /// Predicted microseconds by text.
    times: BTreeMap<String, f64>,
    /// What they are made of.
    parts: BTreeMap<String, Prediction>,
}

impl Kernel {
    fn add(&mut self, schedule: Schedule, prediction: Option<Prediction>) {
        let text = to_text(&schedule);
        self.times
            .insert(text.clone(), prediction.as_ref().map_or(f64::INFINITY, |p| p.us));
        self.parts.extend(prediction.map(|p| (text, p)));
        if !self.schedules.contains(&schedule) {
            self.schedules.push(schedule);
        }
    }
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
        let predict = |kernel: &LoweredKernel| predict::kernel(&problem.plan, kernel, problem.data(), device);
        let mut kernels = Vec::new();
        for (k, (schedule, lowered)) in tiled.schedules.iter().zip(&tiled.kernels).enumerate() {
            let mut kernel = Kernel {
                schedules: Vec::new(),
                times: BTreeMap::new(),
                parts: BTreeMap::new(),
            };
            for (one, prediction) in legal(problem, k, machine, &predict) {
                kernel.add(one.schedule, prediction);
            }
            kernel.add(schedule.clone(), predict(lowered));
            kernels.push(kernel);
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

    /// What a candidate's prediction is made of, summed over its kernels: microseconds by resource, registers, tiles and waves.
    pub fn parts(&self, candidate: &Candidate) -> BTreeMap<String, f64> {
        let mut sum = BTreeMap::new();
        let kernels = candidate.iter().zip(&self.kernels);
        for prediction in kernels.filter_map(|(text, kernel)| kernel.parts.get(text)) {
            let busy = prediction.busy.iter().map(|(bound, us)| (bound.text(), *us));
            let counts = [
                ("registers", prediction.registers as f64),
                ("shared bytes", prediction.shared as f64),
                ("blocks", prediction.blocks as f64),
                ("waves", prediction.waves),
            ];
            for (name, value) in busy.chain(counts) {
                // Enough digits for a fit, and short lines.
                *sum.entry(name.to_owned()).or_insert(0.0) += (value * 1e3).round() / 1e3;
            }
        }
        sum
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
    predict: &(dyn Fn(&LoweredKernel) -> Option<Prediction> + Sync),
) -> Vec<(Legal, Option<Prediction>)> {
    let groups = groups(points(machine));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(points) = groups.get(at) else { return found };
            for one in legal_of(&problem.plan, kernel, machine, &problem.class, points) {
                let prediction = predict(&one.kernel);
                found.push((at, one, prediction));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let mut all: Vec<(usize, Legal, Option<Prediction>)> = std::thread::scope(|scope| {
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
    all.into_iter().map(|(_, one, prediction)| (one, prediction)).collect()
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

    /// Kinds are the values of the dimensions that do not grow. First comes the model's best of each kind in the order of its time, then at
    /// random one of each kind, and so on; what the model expects to be far slower than its best stands back.
    fn diverse(&self, seed: u64) -> Vec<Candidate> {
        let limit = self.ranked.first().map_or(f64::INFINITY, |(_, us)| us * FAR);
        let mut kinds: Vec<(Vec<Vec<u32>>, Vec<Candidate>)> = Vec::new();
        for (candidate, _) in self.ranked.iter().filter(|(_, us)| *us <= limit) {
            let kind: Vec<Vec<u32>> = candidate.iter().map(|text| kind(text)).collect();
            match kinds.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, members)) => members.push(candidate.clone()),
                None => kinds.push((kind, vec![candidate.clone()])),
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for (_, members) in &mut kinds {
            members[1..].shuffle(&mut rng);
        }
        let longest = kinds.iter().map(|(_, members)| members.len()).max().unwrap_or(0);
        let round = |i: usize| kinds.iter().filter_map(move |(_, members)| members.get(i).cloned());
        (0..longest).flat_map(round).collect()
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

/// Candidates that the model expects to be slower than its best by this factor are not tried for the sake of variety.
const FAR: f64 = 2.0;

/// The values of a schedule's dimensions that do not grow.
fn kind(text: &str) -> Vec<u32> {
    let Ok(schedule) = from_text(text) else {
        return Vec::new();
    };
    let fixed = DIMENSIONS.iter().zip(values(&schedule)).filter(|(d, _)| !d.grows);
    fixed.map(|(_, value)| value).collect()
}
