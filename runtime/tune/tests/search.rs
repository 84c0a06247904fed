//! The search on a laboratory that is a formula: noise, crashes, wrong results, hangs, little time, interruption and resumption.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use einloom_tune::record::{Status, Time};
use einloom_tune::search::{Candidate, Effort, Event, Failure, Lab, Options, Outcome, Space, search};

/// A candidate is `x,y`; what it does depends on the two numbers.
fn parse(candidate: &Candidate) -> (i64, i64) {
    let (x, y) = candidate[0].split_once(',').unwrap();
    (x.parse().unwrap(), y.parse().unwrap())
}

fn candidate(x: i64, y: i64) -> Candidate {
    vec![format!("{x},{y}")]
}

/// Microseconds: least at (6, 3), where the model does not look for it.
fn cost((x, y): (i64, i64)) -> f64 {
    100.0 + 4.0 * ((x - 6).pow(2) + 2 * (y - 3).pow(2)) as f64
}

struct Grid {
    ranked: Vec<(Candidate, f64)>,
}

impl Grid {
    /// The model believes that the optimum is at (4, 2).
    fn new() -> Grid {
        let point = |(x, y): (i64, i64)| (candidate(x, y), 90.0 + ((x - 4).pow(2) + (y - 2).pow(2)) as f64 * 5.0);
        let mut ranked: Vec<_> = (0..10).flat_map(|x| (0..6).map(move |y| (x, y))).map(point).collect();
        ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
        Grid { ranked }
    }
}

impl Space for Grid {
    fn default(&self) -> Candidate {
        candidate(2, 1)
    }

    fn ranked(&self) -> &[(Candidate, f64)] {
        &self.ranked
    }

    fn neighbours(&self, of: &Candidate) -> Vec<Candidate> {
        let (x, y) = parse(of);
        let near = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
        let inside = near
            .into_iter()
            .filter(|(x, y)| (0..10).contains(x) && (0..6).contains(y));
        inside.map(|(x, y)| candidate(x, y)).collect()
    }

    fn predicted(&self, candidate: &Candidate) -> Option<f64> {
        self.ranked.iter().find(|(c, _)| c == candidate).map(|(_, us)| *us)
    }
}

/// What goes wrong where.
#[derive(Clone, Default)]
struct Faults {
    refused: BTreeSet<(i64, i64)>,
    crashes: BTreeSet<(i64, i64)>,
    hangs: BTreeSet<(i64, i64)>,
    wrong: BTreeSet<(i64, i64)>,
    compiler_crashes: BTreeSet<(i64, i64)>,
}

struct Formula {
    faults: Faults,
    queue: VecDeque<(usize, Candidate)>,
    now: Duration,
    random: u64,
    /// Relative size of noise.
    noise: f64,
    /// Measurements by candidate.
    timed: BTreeMap<Candidate, usize>,
    verified: Vec<Candidate>,
    compiled: usize,
}

impl Formula {
    fn new(faults: Faults, noise: f64) -> Formula {
        Formula {
            faults,
            queue: VecDeque::new(),
            now: Duration::ZERO,
            random: 0x2545_f491_4f6c_dd1d,
            noise,
            timed: BTreeMap::new(),
            verified: Vec::new(),
            compiled: 0,
        }
    }

    fn wobble(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1.0 + self.noise * ((self.random % 2001) as f64 / 1000.0 - 1.0)
    }
}

fn failure(status: Status) -> Failure {
    Failure {
        status,
        note: "as planned".into(),
    }
}

impl Lab for Formula {
    type Built = Candidate;

    fn submit(&mut self, id: usize, candidate: &Candidate) {
        self.queue.push_back((id, candidate.clone()));
    }

    fn built(&mut self, _: Duration) -> Option<(usize, Result<Candidate, Failure>)> {
        self.now += Duration::from_millis(80);
        let (id, candidate) = self.queue.pop_front()?;
        self.compiled += 1;
        let place = parse(&candidate);
        let result = if self.faults.compiler_crashes.contains(&place) {
            Err(failure(Status::CompilerCrash))
        } else if self.faults.refused.contains(&place) {
            Err(failure(Status::Refused))
        } else {
            Ok(candidate)
        };
        Some((id, result))
    }

    fn time(&mut self, built: &Candidate, effort: &Effort) -> Result<Time, Failure> {
        let place = parse(built);
        self.now += Duration::from_secs_f64((effort.warmup_ms + effort.sample_ms) / 1e3);
        *self.timed.entry(built.clone()).or_default() += 1;
        if self.faults.crashes.contains(&place) {
            return Err(failure(Status::Crash));
        }
        if self.faults.hangs.contains(&place) {
            self.now += Duration::from_secs(10);
            return Err(failure(Status::Hang));
        }
        let median = cost(place) * self.wobble();
        Ok(Time {
            median,
            low: median * 0.98,
            high: median * 1.03,
        })
    }

    fn verify(&mut self, built: &Candidate) -> Result<f64, Failure> {
        self.now += Duration::from_millis(100);
        self.verified.push(built.clone());
        match self.faults.wrong.contains(&parse(built)) {
            true => Err(failure(Status::Wrong)),
            false => Ok(0.5),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now
    }

    fn workers(&self) -> usize {
        3
    }
}

fn options(seconds: u64, screen: usize) -> Options {
    Options {
        budget: Some(Duration::from_secs(seconds)),
        screen,
        ..Options::default()
    }
}

fn run(lab: &mut Formula, options: &Options) -> (Outcome, BTreeMap<Candidate, Result<Time, Failure>>) {
    resume(lab, BTreeMap::new(), options, &|| false)
}

fn resume(
    lab: &mut Formula,
    known: BTreeMap<Candidate, Result<Time, Failure>>,
    options: &Options,
    stopped: &dyn Fn() -> bool,
) -> (Outcome, BTreeMap<Candidate, Result<Time, Failure>>) {
    let mut log = BTreeMap::new();
    let outcome = search(lab, &Grid::new(), known, options, stopped, &mut |event| {
        if let Event::Tried { candidate, result, .. } = event {
            log.insert(candidate.clone(), result);
        }
    });
    (outcome, log)
}

fn winner(outcome: &Outcome) -> (i64, i64) {
    match outcome {
        Outcome::Done { winner, .. } => parse(&winner.candidate),
        other => panic!("{other:?}"),
    }
}

#[test]
fn local_search_finds_what_the_model_overlooks() {
    // The screening alone sees the four best of the model, all far from the optimum.
    let mut lab = Formula::new(Faults::default(), 0.005);
    let (outcome, _) = run(&mut lab, &options(60, 4));
    assert_eq!(winner(&outcome), (6, 3));
    let Outcome::Done { winner, default, .. } = outcome else {
        unreachable!()
    };
    assert!(winner.time.median < default.unwrap().median);
    assert_eq!(winner.error_share, 0.5);
    assert_eq!(lab.verified, [candidate(6, 3)]);
}

#[test]
fn noise_larger_than_a_gain_does_not_beat_the_default() {
    // All candidates but the default are alike and slower by more than noise.
    struct Flat(Grid);
    impl Space for Flat {
        fn default(&self) -> Candidate {
            candidate(6, 3)
        }
        fn ranked(&self) -> &[(Candidate, f64)] {
            self.0.ranked()
        }
        fn neighbours(&self, of: &Candidate) -> Vec<Candidate> {
            self.0.neighbours(of)
        }
        fn predicted(&self, candidate: &Candidate) -> Option<f64> {
            self.0.predicted(candidate)
        }
    }
    let mut lab = Formula::new(Faults::default(), 0.01);
    let outcome = search(
        &mut lab,
        &Flat(Grid::new()),
        BTreeMap::new(),
        &options(60, 64),
        &|| false,
        &mut |_| {},
    );
    assert_eq!(winner(&outcome), (6, 3));
}

#[test]
fn failures_are_results_and_not_tried_again() {
    let faults = Faults {
        refused: [(4, 2)].into(),
        crashes: [(5, 2), (5, 3)].into(),
        hangs: [(4, 3)].into(),
        compiler_crashes: [(3, 2)].into(),
        wrong: [(6, 3)].into(),
    };
    let mut lab = Formula::new(faults, 0.002);
    let (outcome, log) = run(&mut lab, &options(60, 30));
    // The fastest is wrong: the fastest correct one wins.
    assert!([(6, 2), (7, 3), (6, 4)].contains(&winner(&outcome)), "{outcome:?}");
    let status = |x, y| log[&candidate(x, y)].clone().map_err(|f| f.status);
    assert_eq!(status(4, 2), Err(Status::Refused));
    assert_eq!(status(5, 2), Err(Status::Crash));
    assert_eq!(status(4, 3), Err(Status::Hang));
    assert_eq!(status(3, 2), Err(Status::CompilerCrash));
    assert_eq!(status(6, 3), Err(Status::Wrong));
    for crashed in [(5, 2), (5, 3), (4, 3)] {
        assert_eq!(lab.timed[&candidate(crashed.0, crashed.1)], 1, "{crashed:?}");
    }
}

#[test]
fn a_default_that_fails_is_replaced() {
    for faults in [
        Faults {
            crashes: [(2, 1)].into(),
            ..Faults::default()
        },
        Faults {
            wrong: [(2, 1)].into(),
            ..Faults::default()
        },
    ] {
        let (outcome, _) = run(&mut Formula::new(faults, 0.0), &options(60, 20));
        assert_eq!(winner(&outcome), (6, 3));
    }
}

#[test]
fn where_everything_is_wrong_nothing_wins() {
    let all = || {
        (0..10)
            .flat_map(|x| (0..6).map(move |y| (x, y)))
            .collect::<BTreeSet<_>>()
    };
    let faults = Faults {
        wrong: all(),
        ..Faults::default()
    };
    let (outcome, _) = run(&mut Formula::new(faults, 0.0), &options(60, 20));
    assert!(
        matches!(
            outcome,
            Outcome::Failed(Failure {
                status: Status::Wrong,
                ..
            })
        ),
        "{outcome:?}"
    );
    let faults = Faults {
        compiler_crashes: all(),
        ..Faults::default()
    };
    let (outcome, _) = run(&mut Formula::new(faults, 0.0), &options(60, 20));
    assert_eq!(outcome, Outcome::Failed(failure(Status::CompilerCrash)));
}

#[test]
fn the_budget_is_kept() {
    for seconds in [1, 3, 10, 60] {
        let mut lab = Formula::new(Faults::default(), 0.01);
        let (outcome, _) = run(&mut lab, &options(seconds, 64));
        assert!(matches!(outcome, Outcome::Done { .. }));
        // Two rounds of the race are run in any case.
        let slack = Duration::from_millis(2 * 6 * 100 + 1000);
        assert!(
            lab.now <= Duration::from_secs(seconds) + slack,
            "{:?} of {seconds} s",
            lab.now
        );
    }
}

#[test]
fn stopping_at_any_step_and_resuming_repeats_no_screening() {
    let total = {
        let mut lab = Formula::new(Faults::default(), 0.0);
        let steps = Cell::new(0);
        resume(&mut lab, BTreeMap::new(), &options(20, 20), &|| {
            steps.set(steps.get() + 1);
            false
        });
        steps.get()
    };
    for stop_at in (0..total).step_by(7) {
        let mut lab = Formula::new(Faults::default(), 0.0);
        let steps = Cell::new(0);
        let (outcome, log) = resume(&mut lab, BTreeMap::new(), &options(20, 20), &|| {
            steps.set(steps.get() + 1);
            steps.get() > stop_at
        });
        assert!(
            matches!(outcome, Outcome::Stopped { .. }),
            "stopped at {stop_at}: {outcome:?}"
        );
        // Every measurement of the first session was reported, so that it could be kept.
        assert!(lab.timed.keys().all(|c| log.contains_key(c)));
        let before: BTreeSet<Candidate> = log.keys().cloned().collect();
        let mut lab = Formula::new(Faults::default(), 0.0);
        let (outcome, log) = resume(&mut lab, log, &options(20, 20), &|| false);
        assert_eq!(winner(&outcome), (6, 3), "stopped at {stop_at}");
        assert!(log.keys().all(|c| !before.contains(c)), "stopped at {stop_at}");
    }
}

#[test]
fn the_same_seed_and_times_give_the_same_search() {
    let once = || {
        let mut lab = Formula::new(Faults::default(), 0.01);
        let (outcome, log) = run(&mut lab, &options(30, 20));
        (outcome, log, lab.compiled, lab.now)
    };
    assert_eq!(once(), once());
}
