//! The search: screening in the order of the machine model, local moves around the best, and a race with elimination.
//!
//! 1. **Screening.** The default and then the candidates that the model likes best are compiled ahead (by worker processes, while
//!    others are measured) and timed briefly. A share of them, [`Options::explore`], is taken from an order that soon has one of every kind
//!    instead: what the model misjudges as a whole is seen too. A candidate that is clearly slower is cut off after a few launches.
//! 2. **Local search.** Neighbours of the best are tried, as long as that improves; then more of the screening's, and so on in turn
//!    until the budget is spent but for the race, or nothing is left.
//! 3. **Race.** The fastest few and the default are timed at length, round after round in random order, since clocks follow what ran before;
//!    who falls behind is eliminated. The median over rounds decides.
//! 4. **Verdict.** In the order of the race, candidates are compared with the oracle; the first correct one that beats the default by
//!    [`Options::margin`] wins, else the default does.
//!
//! Whatever fails is a result like any other: it is reported with its reason and never tried again. The search ends in time for the
//! race; [`Lab::elapsed`] is its only clock. With [`Options::candidates`] alone the search depends on no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::record::{Status, Time};

/// One schedule for each kernel, as text.
pub type Candidate = Vec<String>;

/// Why a candidate gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it ended; never [`Status::Timed`].
    pub status: Status,
    /// What was said.
    pub note: String,
}

/// How long to time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Milliseconds of launches before the first sample.
    pub warmup_ms: f64,
    /// Milliseconds of samples.
    pub sample_ms: f64,
    /// A candidate that is slower than this after a few launches is not timed further.
    pub cut_us: Option<f64>,
}

/// Where candidates are compiled and measured.
pub trait Lab {
    /// Compiled code.
    type Built;
    /// Starts compiling; answers come from [`Lab::built`] in any order.
    fn submit(&mut self, id: usize, candidate: &Candidate);
    /// An answer, waiting at most so long.
    fn built(&mut self, wait: Duration) -> Option<(usize, Result<Self::Built, Failure>)>;
    /// Times it.
    fn time(&mut self, built: &Self::Built, effort: &Effort) -> Result<Time, Failure>;
    /// Compares every output with the oracle: the largest error as a share of what is promised, or [`Status::Wrong`].
    fn verify(&mut self, built: &Self::Built) -> Result<f64, Failure>;
    /// Time since the search began.
    fn elapsed(&self) -> Duration;
    /// How many candidates compile at once.
    fn workers(&self) -> usize;
}

/// The candidates.
pub trait Space {
    /// The default.
    fn default(&self) -> Candidate;
    /// All candidates in the order of the model, fastest first, each with its predicted microseconds.
    fn ranked(&self) -> &[(Candidate, f64)];
    /// All candidates that are worth a try in an order that soon has one of every kind; equal for equal seeds.
    fn diverse(&self, seed: u64) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = self.ranked().iter().map(|(c, _)| c.clone()).collect();
        all.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        all
    }
    /// Candidates near one, nearest first.
    fn neighbours(&self, of: &Candidate) -> Vec<Candidate>;
    /// The model's microseconds.
    fn predicted(&self, candidate: &Candidate) -> Option<f64>;
}

/// What to aim at.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// When the search should end.
    pub budget: Option<Duration>,
    /// How many candidates are tried at most before the race, earlier sessions left out.
    pub candidates: Option<usize>,
    /// Share of the screening that goes by [`Space::diverse`] instead of the model's order, 0 to 1.
    pub explore: f64,
    /// Seed of the order within a round.
    pub seed: u64,
    /// Most candidates of the screening before the first local search.
    pub screen: usize,
    /// Candidates in the race besides the default.
    pub finalists: usize,
    /// Most rounds of the race.
    pub rounds: usize,
    /// The winner must be faster than the default by this share.
    pub margin: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            budget: Some(Duration::from_secs(60)),
            candidates: None,
            explore: 0.25,
            seed: 0,
            screen: 256,
            finalists: 5,
            rounds: 9,
            margin: 0.005,
        }
    }
}

/// What happens, for a log and a progress bar.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A stage begins.
    Stage(&'static str),
    /// A candidate was tried; failures carry their reason.
    Tried {
        /// The candidate.
        candidate: &'a Candidate,
        /// What the model expected.
        predicted: Option<f64>,
        /// How it went.
        result: Result<Time, Failure>,
    },
    /// A candidate is the fastest so far.
    Best(&'a Candidate, Time),
}

/// A candidate at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its schedules.
    pub candidate: Candidate,
    /// Its time in the race.
    pub time: Time,
    /// Largest error as a share of what is promised.
    pub error_share: f64,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It ran to its end.
    Done {
        /// The fastest correct candidate; the default itself if nothing beats it.
        winner: Entry,
        /// Time of the default in the race, if it ran.
        default: Option<Time>,
        /// How many candidates were measured, earlier sessions included.
        measured: usize,
    },
    /// It was stopped; what was measured is kept, and the next search goes on from it.
    Stopped {
        /// How many candidates were measured.
        measured: usize,
    },
    /// No candidate gave a correct result; the reason is the default's.
    Failed(Failure),
}

/// A failure, or the time of an earlier session or of the screening.
type Known = BTreeMap<Candidate, Result<Time, Failure>>;

/// Runs a search. `known` are results of earlier sessions with the same key; `stopped` is asked between any two steps.
pub fn search<L: Lab>(
    lab: &mut L,
    space: &dyn Space,
    known: Known,
    options: &Options,
    stopped: &dyn Fn() -> bool,
    on: &mut dyn FnMut(Event<'_>),
) -> Outcome {
    let mut search = Search {
        lab,
        space,
        options,
        stopped,
        on,
        known,
        waiting: BTreeMap::new(),
        built: BTreeMap::new(),
        next: 0,
        tried: 0,
    };
    search.run()
}

/// Share of the time before the race after which the first local search begins.
const SCREEN_SHARE: f64 = 0.6;

/// Most of the budget that is kept for the race.
const RACE_SHARE: f64 = 0.3;

/// How many more candidates are screened between two local searches.
const MORE: usize = 24;

/// A candidate slower than the best by this factor is cut off.
const CUT: f64 = 1.3;

/// Efforts of screening and race.
const BRIEF: (f64, f64) = (15.0, 25.0);
const LONG: (f64, f64) = (50.0, 50.0);

/// In the race who is this much slower than the best after two rounds is eliminated.
const ELIMINATE: f64 = 1.04;

/// Time to wait for the compiler at a time.
const TICK: Duration = Duration::from_millis(50);

struct Search<'a, L: Lab> {
    lab: &'a mut L,
    space: &'a dyn Space,
    options: &'a Options,
    stopped: &'a dyn Fn() -> bool,
    on: &'a mut dyn FnMut(Event<'_>),
    known: Known,
    /// Candidates in the compiler.
    waiting: BTreeMap<usize, Candidate>,
    built: BTreeMap<Candidate, L::Built>,
    next: usize,
    /// Candidates that this search has tried.
    tried: usize,
}

/// One contender of the race.
struct Contender {
    candidate: Candidate,
    /// Rounds.
    times: Vec<Time>,
    out: bool,
}

impl Contender {
    /// Median over the rounds of each quantile.
    fn time(&self) -> Option<Time> {
        let median = |f: fn(&Time) -> f64| {
            let mut all: Vec<f64> = self.times.iter().map(f).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        Some(Time {
            median: median(|t| t.median)?,
            low: median(|t| t.low)?,
            high: median(|t| t.high)?,
        })
    }
}

impl<L: Lab> Search<'_, L> {
    fn run(&mut self) -> Outcome {
        (self.on)(Event::Stage("screening"));
        let default = self.space.default();
        let mut queue = self.screening(&default);
        let rest = queue.split_off(queue.len().min(self.options.screen + 1));
        self.try_all(queue, SCREEN_SHARE);
        (self.on)(Event::Stage("local search"));
        self.local_search();
        let mut rest: VecDeque<Candidate> = rest.into_iter().filter(|c| !self.known.contains_key(c)).collect();
        while !self.spent(1.0) && !rest.is_empty() {
            let more = rest.split_off(rest.len().min(MORE));
            self.try_all(std::mem::replace(&mut rest, more), 1.0);
            self.local_search();
            rest.retain(|c| !self.known.contains_key(c));
        }
        (self.on)(Event::Stage("race"));
        let contenders = self.race(&default);
        if (self.stopped)() {
            return Outcome::Stopped {
                measured: self.known.len(),
            };
        }
        self.verdict(contenders, &default)
    }

    /// The default, then the model's order with one of the diverse order in between as often as the options ask.
    fn screening(&self, default: &Candidate) -> VecDeque<Candidate> {
        let mut liked = self.space.ranked().iter().map(|(c, _)| c.clone());
        let mut other = self.space.diverse(self.options.seed).into_iter();
        let explore = self.options.explore.clamp(0.0, 1.0);
        let mut queue = VecDeque::from([default.clone()]);
        let mut seen = BTreeSet::from([default.clone()]);
        let mut due = 0.0;
        loop {
            due += explore;
            let turn = due >= 1.0;
            let (first, second): (&mut dyn Iterator<Item = Candidate>, &mut dyn Iterator<Item = Candidate>) = if turn {
                (&mut other, &mut liked)
            } else {
                (&mut liked, &mut other)
            };
            // By way of a second reference: `find` is none of a trait object's own methods.
            let mut fresh = |mut from: &mut dyn Iterator<Item = Candidate>| {
                Iterator::find(&mut from, |one| seen.insert(one.clone()))
            };
            let Some(next) = fresh(first).or_else(|| fresh(second)) else {
                return queue;
            };
            due -= f64::from(u8::from(turn));
            queue.push_back(next);
        }
    }

    /// How long the race may take.
    fn race_time(&self) -> Duration {
        let rounds = self.options.rounds * (self.options.finalists + 1);
        let whole = Duration::from_secs_f64(rounds as f64 * (LONG.0 + LONG.1) / 1e3);
        self.options
            .budget
            .map_or(whole, |budget| whole.min(budget.mul_f64(RACE_SHARE)))
    }

    /// Whether a share of what is there before the race is spent.
    fn spent(&self, share: f64) -> bool {
        let time = |budget: Duration| self.lab.elapsed() >= (budget - self.race_time()).mul_f64(share);
        let count = |most: usize| self.tried as f64 >= most as f64 * share;
        (self.stopped)() || self.options.budget.is_some_and(time) || self.options.candidates.is_some_and(count)
    }

    /// Whether time is up altogether.
    fn over(&self) -> bool {
        (self.stopped)() || self.options.budget.is_some_and(|budget| self.lab.elapsed() >= budget)
    }

    /// The fastest time so far.
    fn best(&self) -> Option<(&Candidate, Time)> {
        let timed = self.known.iter().filter_map(|(c, r)| Some((c, *r.as_ref().ok()?)));
        timed.min_by(|a, b| a.1.median.total_cmp(&b.1.median))
    }

    /// Compiles ahead and times everything in the queue that is not known, until a share of the budget is spent.
    fn try_all(&mut self, mut queue: VecDeque<Candidate>, until: f64) {
        let ahead = self.lab.workers().max(1) * 2;
        loop {
            while self.waiting.len() < ahead
                && !self.spent(until)
                && self
                    .options
                    .candidates
                    .is_none_or(|most| self.tried + self.waiting.len() < most)
                && let Some(candidate) = queue.pop_front()
            {
                let is_waiting = self.waiting.values().any(|c| *c == candidate);
                if !is_waiting && !self.known.contains_key(&candidate) {
                    self.submit(candidate);
                }
            }
            if self.waiting.is_empty() || self.spent(until) {
                return;
            }
            self.collect_and_time();
        }
    }

    fn submit(&mut self, candidate: Candidate) {
        self.lab.submit(self.next, &candidate);
        self.waiting.insert(self.next, candidate);
        self.next += 1;
    }

    /// Takes one compiled candidate and times it, if one comes in a tick.
    fn collect_and_time(&mut self) {
        let Some((id, result)) = self.lab.built(TICK) else {
            return;
        };
        let Some(candidate) = self.waiting.remove(&id) else {
            return;
        };
        match result {
            Err(failure) => self.learn(candidate, Err(failure)),
            Ok(built) => {
                let effort = Effort {
                    warmup_ms: BRIEF.0,
                    sample_ms: BRIEF.1,
                    cut_us: self.best().map(|(_, t)| t.median * CUT),
                };
                let result = self.lab.time(&built, &effort);
                self.built.insert(candidate.clone(), built);
                self.learn(candidate, result);
            }
        }
    }

    fn learn(&mut self, candidate: Candidate, result: Result<Time, Failure>) {
        (self.on)(Event::Tried {
            candidate: &candidate,
            predicted: self.space.predicted(&candidate),
            result: result.clone(),
        });
        let before = self.best().map(|(_, t)| t.median);
        if let Ok(time) = &result
            && before.is_none_or(|b| time.median < b)
        {
            (self.on)(Event::Best(&candidate, *time));
        }
        if result.is_err() {
            self.built.remove(&candidate);
        }
        self.known.insert(candidate, result);
        self.tried += 1;
    }

    /// Neighbours of the best; then of the second and third best.
    fn local_search(&mut self) {
        let mut explored: Vec<Candidate> = Vec::new();
        while !self.spent(1.0) && explored.len() < MAX_CENTRES {
            let mut order: Vec<(&Candidate, f64)> = self
                .known
                .iter()
                .filter_map(|(c, r)| Some((c, r.as_ref().ok()?.median)))
                .collect();
            order.sort_by(|a, b| a.1.total_cmp(&b.1));
            let centre = order.iter().take(3).map(|(c, _)| *c).find(|c| !explored.contains(c));
            let Some(centre) = centre.cloned() else { return };
            let mut near = self.space.neighbours(&centre);
            // What the model thinks hopeless stands back.
            let limit = self.space.predicted(&centre).map_or(f64::INFINITY, |us| us * HOPELESS);
            near.retain(|c| self.space.predicted(c).is_none_or(|us| us <= limit));
            explored.push(centre);
            self.try_all(near.into(), 1.0);
        }
    }

    /// Times the best few and the default in rounds.
    fn race(&mut self, default: &Candidate) -> Vec<Contender> {
        // Compilations that nobody waits for any more are dropped when they come.
        self.waiting.clear();
        let mut order: Vec<(Candidate, f64)> = self
            .known
            .iter()
            .filter_map(|(c, r)| Some((c.clone(), r.as_ref().ok()?.median)))
            .collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut chosen: Vec<Candidate> = order.into_iter().map(|(c, _)| c).take(self.options.finalists).collect();
        if !chosen.contains(default) && self.known.get(default).is_none_or(Result::is_ok) {
            chosen.push(default.clone());
        }
        chosen.iter().for_each(|c| self.rebuild(c.clone()));
        let mut contenders: Vec<Contender> = chosen
            .into_iter()
            .map(|candidate| Contender {
                candidate,
                times: Vec::new(),
                out: false,
            })
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        for round in 0..self.options.rounds {
            // Two rounds are run in any case: one alone decides nothing.
            if (self.stopped)() || (round >= 2 && self.over()) {
                break;
            }
            let mut places: Vec<usize> = (0..contenders.len()).filter(|i| !contenders[*i].out).collect();
            places.shuffle(&mut rng);
            for i in places {
                if !(self.stopped)() {
                    self.lap(&mut contenders[i]);
                }
            }
            if round >= 1 {
                eliminate(&mut contenders, default);
            }
            if contenders.iter().filter(|c| !c.out).count() <= 1 {
                break;
            }
        }
        contenders
    }

    /// Compiles a finalist again if its code is not at hand.
    fn rebuild(&mut self, candidate: Candidate) {
        if self.built.contains_key(&candidate) {
            return;
        }
        self.submit(candidate.clone());
        let id = self.next - 1;
        let start = self.lab.elapsed();
        while self.waiting.contains_key(&id) && !(self.stopped)() && self.lab.elapsed() - start < PATIENCE {
            let Some((done, result)) = self.lab.built(TICK) else {
                continue;
            };
            let Some(candidate) = self.waiting.remove(&done) else {
                continue;
            };
            match result {
                Ok(built) => {
                    self.built.insert(candidate, built);
                }
                Err(failure) => self.learn(candidate, Err(failure)),
            }
        }
    }

    fn lap(&mut self, contender: &mut Contender) {
        let effort = Effort {
            warmup_ms: LONG.0,
            sample_ms: LONG.1,
            cut_us: None,
        };
        let result = match self.built.get(&contender.candidate) {
            Some(built) => self.lab.time(built, &effort),
            None => {
                contender.out = true;
                return;
            }
        };
        match result {
            Ok(time) => contender.times.push(time),
            Err(failure) => {
                contender.out = true;
                contender.times.clear();
                self.learn(contender.candidate.clone(), Err(failure));
            }
        }
    }

    fn verdict(&mut self, mut contenders: Vec<Contender>, default: &Candidate) -> Outcome {
        contenders.retain(|c| !c.times.is_empty());
        let medians = |c: &Contender| c.time().map_or(f64::INFINITY, |t| t.median);
        contenders.sort_by(|a, b| medians(a).total_cmp(&medians(b)));
        let default_time = contenders
            .iter()
            .find(|c| c.candidate == *default)
            .and_then(Contender::time);
        let bar = default_time.map_or(f64::INFINITY, |t| t.median * (1.0 - self.options.margin));
        let beats = |c: &Contender| c.candidate == *default || medians(c) < bar;
        let (first, rest): (Vec<Contender>, Vec<Contender>) = contenders.into_iter().partition(beats);
        // The rest only counts where the default turns out to be wrong.
        for contender in first.into_iter().chain(rest) {
            let (Some(time), Some(built)) = (contender.time(), self.built.get(&contender.candidate)) else {
                continue;
            };
            match self.lab.verify(built) {
                Ok(error_share) => {
                    return Outcome::Done {
                        winner: Entry {
                            candidate: contender.candidate,
                            time,
                            error_share,
                        },
                        default: default_time,
                        measured: self.known.len(),
                    };
                }
                Err(failure) => self.learn(contender.candidate, Err(failure)),
            }
        }
        let none = Failure {
            status: Status::Refused,
            note: "nothing was measured in the time given".to_owned(),
        };
        Outcome::Failed(match self.known.get(default) {
            Some(Err(failure)) => failure.clone(),
            _ => none,
        })
    }
}

/// Centres of local search at most.
const MAX_CENTRES: usize = 12;

/// Neighbours that the model expects to be slower by this factor are not tried.
const HOPELESS: f64 = 1.6;

/// How long a finalist may take to compile.
const PATIENCE: Duration = Duration::from_secs(30);

fn eliminate(contenders: &mut [Contender], default: &Candidate) {
    let median = |c: &Contender| c.time().map_or(f64::INFINITY, |t| t.median);
    let best = contenders.iter().map(median).fold(f64::INFINITY, f64::min);
    for contender in contenders {
        // The default runs to the end: gains are stated against it.
        contender.out |= contender.candidate != *default && median(contender) > best * ELIMINATE;
    }
}
