//! One search: what is known is read from the database, what is tried is written to it at once, and so is the winner.

use super::candidates::Candidates;
use super::lab::{Facts, GpuLab, meter};
use super::problem::{COMPILER, Problem, Setup, code_hash, least_align, spec_hash};
use crate::case::{Case, CaseError};
use crate::data::shapes::Given;
use crate::pipeline;
use crate::session::choice_text;
use crate::work::{Work, work};
use einloom_cascade::ir::Cascade;
use einloom_tile::dimensions::from_text;
use einloom_tile::model::Device;
use einloom_tile::schedule::ShapeClass;
use einloom_tune::database::{Database, Writer};
use einloom_tune::key::Key;
use einloom_tune::record::{Measurement, Record, Status, Winner};
use einloom_tune::search::{Candidate, Event, Failure, Options, Outcome, Space, search};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Why a search could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(transparent)]
    Compile(#[from] crate::pipeline::CompileError),
    #[error("{0}")]
    Lab(String),
    #[error("{path}: {error}")]
    Database { path: String, error: std::io::Error },
}

impl From<Failure> for TuneError {
    fn from(failure: Failure) -> TuneError {
        TuneError::Lab(failure.note)
    }
}

/// How to search.
#[derive(Clone, Debug)]
pub struct Request {
    /// The program whose `worker` command compiles and measures: einloom itself.
    pub program: PathBuf,
    /// Folder of the database.
    pub folder: PathBuf,
    /// The target; the device's best without.
    pub target: Option<String>,
    pub device: usize,
    /// Compiling processes.
    pub workers: usize,
    pub options: Options,
}

/// What came out.
#[derive(Clone, Debug)]
pub enum Tuned {
    /// A winner; it is in the database.
    Winner(Box<Winner>),
    /// Stopped before the end; measurements are in the database.
    Stopped { measured: usize },
    /// Nothing correct was found.
    Failed(Failure),
}

/// What a caller sees while it waits.
pub enum Progress<'a> {
    /// The device and the number of legal candidates.
    Start {
        facts: &'a Facts,
        legal: usize,
    },
    Search(Event<'a>),
    /// A part of the database that was skipped.
    Problem(String),
}

/// Paths of winners and measurements of a cascade.
pub fn files(folder: &Path, cascade: &str) -> (PathBuf, PathBuf) {
    (
        folder.join(format!("{cascade}.jsonl")),
        folder.join(format!("{cascade}.measured.jsonl")),
    )
}

/// Tunes one specialisation of a spec for one shape.
///
/// # Errors
/// No device, a spec that does not compile, a database that cannot be written.
pub fn tune(
    file: &Path,
    cascade: &Cascade,
    given: &Given,
    symbols: &[i64],
    request: &Request,
    stopped: &dyn Fn() -> bool,
    on: &mut dyn FnMut(Progress<'_>),
) -> Result<Tuned, TuneError> {
    let problem = Problem::new(cascade, given, symbols, request.options.seed)?;
    let mut setup = Setup {
        file: file.to_owned(),
        choices: cascade.choices.clone(),
        given: given.clone(),
        symbols: symbols.to_vec(),
        target: request.target.clone().unwrap_or_default(),
        device: request.device,
        seed: request.options.seed,
    };
    let (pool, facts) = meter(&request.program, &setup)?;
    if request.target.is_none() {
        setup.target.clone_from(&facts.target);
    }
    let mut lab = GpuLab::new(&request.program, &setup, request.workers, pool)?;
    let counted = count_work(&problem, cascade, &setup)?;
    let model = Device::named(&facts.device, &setup.target);
    let candidates = Candidates::new(&problem, &setup.target, model)?;
    lab.ready()?;
    on(Progress::Start {
        facts: &facts,
        legal: candidates.len(),
    });
    let key = Key {
        spec: spec_hash(cascade),
        target: setup.target.clone(),
        device: facts.device.clone(),
        driver: facts.driver,
        compiler: COMPILER.to_owned(),
        class: problem.class(),
    };
    let shape = problem.shape();
    let (winners, measured) = files(&request.folder, &cascade.name);
    let known = known(&measured, &key, &shape, on);
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |error| TuneError::Database { path, error }
    };
    let mut log = Writer::open(&measured).map_err(io(&measured))?;
    let mut broken = None;
    let mut medians: BTreeMap<Candidate, f64> = known
        .iter()
        .filter_map(|(c, r)| Some((c.clone(), r.as_ref().ok()?.median)))
        .collect();
    let outcome = {
        let mut note = |event: Event<'_>| {
            if let Event::Tried {
                candidate,
                predicted,
                result,
            } = &event
            {
                match result {
                    Ok(time) => medians.insert((*candidate).clone(), time.median),
                    Err(_) => medians.remove(*candidate),
                };
                let parts = candidates.parts(candidate);
                let record = measurement(&key, &shape, candidate, (*predicted, parts), result);
                if let Err(error) = log.append(&record) {
                    broken.get_or_insert(error);
                }
            }
            on(Progress::Search(event));
        };
        search(&mut lab, &candidates, known, &request.options, stopped, &mut note)
    };
    if let Some(error) = broken {
        return Err(io(&measured)(error));
    }
    let (entry, default_us, measured_count) = match outcome {
        Outcome::Done {
            winner,
            default,
            measured,
        } => (winner, default, measured),
        Outcome::Stopped { measured } => return Ok(Tuned::Stopped { measured }),
        Outcome::Failed(failure) => return Ok(Tuned::Failed(failure)),
    };
    let work = counted
        .join()
        .unwrap_or_else(|_| Err("the evaluator failed on these inputs".to_owned()))
        .map_err(TuneError::Lab)?;
    let winner = Winner {
        key,
        cascade: cascade.name.clone(),
        choice: choice_text(cascade),
        shape,
        us: entry.time,
        default: candidates.default(),
        default_us,
        predicted: candidates.predicted(&entry.candidate),
        rank: place(&candidates, &medians, &entry.candidate),
        legal: candidates.len(),
        measured: measured_count,
        error_share: entry.error_share,
        flops: work.flops,
        bytes: work.bytes,
        code: code(&problem, &setup.target, &entry.candidate),
        schedules: entry.candidate,
    };
    let mut writer = Writer::open(&winners).map_err(io(&winners))?;
    writer.append(&Record::Winner(winner.clone())).map_err(io(&winners))?;
    Ok(Tuned::Winner(Box::new(winner)))
}

/// Stack of the thread that counts: expressions are walked recursively.
const STACK: usize = 64 << 20;

/// Counts the arithmetic of a launch on the inputs that are measured, beside the search: making large inputs takes seconds.
fn count_work(
    problem: &Problem,
    cascade: &Cascade,
    setup: &Setup,
) -> Result<JoinHandle<Result<Work, String>>, TuneError> {
    let (plan, cascade, setup) = (problem.plan.clone(), cascade.clone(), setup.clone());
    let count = move || {
        let case = Case::from_symbols(&cascade, &setup.given, &setup.symbols, setup.seed).map_err(|e| e.to_string())?;
        work(&plan, &case.inputs, &case.extents).map_err(|e| e.to_string())
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(count);
    thread.map_err(|e| TuneError::Lab(format!("a thread cannot be started: {e}")))
}

/// Candidates whose times differ by less are not told apart by the screening.
const NOISE: f64 = 0.01;

/// The winner's place in the model's order, or that of a candidate that was measured to be as fast.
fn place(candidates: &Candidates, medians: &BTreeMap<Candidate, f64>, winner: &Candidate) -> Option<usize> {
    let limit = medians.get(winner).map_or(0.0, |us| us * (1.0 + NOISE));
    let alike = medians.iter().filter(|(_, us)| **us <= limit).map(|(c, _)| c);
    alike.chain([winner]).filter_map(|c| candidates.place(c)).min()
}

/// Fingerprint of a candidate's code as `compile` makes it for this alignment.
fn code(problem: &Problem, target: &str, candidate: &Candidate) -> Option<String> {
    let schedules = candidate
        .iter()
        .map(|text| from_text(text).ok())
        .collect::<Option<Vec<_>>>()?;
    let shape = ShapeClass::aligned(&problem.plan, least_align(&problem.class));
    let tiled = pipeline::tile_with(problem.plan.clone(), schedules, target, &shape).ok()?;
    Some(code_hash(&pipeline::emit(tiled, target).ok()?.emission.ptx))
}

/// Results of earlier sessions; later ones replace earlier ones.
fn known(
    path: &Path,
    key: &Key,
    shape: &BTreeMap<String, i64>,
    on: &mut dyn FnMut(Progress<'_>),
) -> BTreeMap<Candidate, Result<einloom_tune::record::Time, Failure>> {
    let database = Database::open_all(path);
    for problem in database.problems() {
        on(Progress::Problem(problem.to_string()));
    }
    let mut known = BTreeMap::new();
    for m in database.measurements(key, shape) {
        let result = match (m.status, m.us) {
            (Status::Timed, Some(time)) => Ok(time),
            (status, _) => Err(Failure {
                status,
                note: m.note.clone(),
            }),
        };
        known.insert(m.schedules.clone(), result);
    }
    known
}

fn measurement(
    key: &Key,
    shape: &BTreeMap<String, i64>,
    candidate: &Candidate,
    (predicted, parts): (Option<f64>, BTreeMap<String, f64>),
    result: &Result<einloom_tune::record::Time, Failure>,
) -> Record {
    let (status, us, note) = match result {
        Ok(time) => (Status::Timed, Some(*time), String::new()),
        Err(failure) => (failure.status, None, failure.note.clone()),
    };
    Record::Measurement(Measurement {
        key: key.clone(),
        shape: shape.clone(),
        schedules: candidate.clone(),
        predicted: predicted.filter(|us| us.is_finite()),
        parts,
        status,
        us,
        note,
    })
}
