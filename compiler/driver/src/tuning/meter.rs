//! The worker that measures and verifies candidates on a GPU.
//!
//! It holds the device's memory: inputs several times over, so that successive launches find none of theirs in the L2 cache. A
//! kernel that faults or hangs takes this process with it, and nothing else: the answer names the failure, and the parent starts another.
//!
//! The exact results are computed by a thread of its own while candidates are compiled. A candidate is verified at sampled points of the shape
//! that is tuned, and whole on small shapes that divide nothing.

use super::problem::{Problem, Setup};
use super::protocol::{Answer, MeterRequest, serve, setup};
use crate::case::{Case, shape_class};
use crate::data::layout::Layout;
use crate::data::shapes;
use crate::exec::gpu::{Arena, Call, Gpu, GpuError};
use crate::pipeline;
use crate::verify::{Reference, references};
use einloom_artifact::KernelArtifact;
use einloom_cascade::ir::Cascade;
use einloom_runtime::{DeviceError, LaunchError, Module, TimingOptions};
use einloom_tune::lock::DeviceLock;
use einloom_tune::record::{Status, Time};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A launch that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Artifacts that stay loaded.
const LOADED: usize = 12;

/// Copies of the inputs at most, and the share of the device's memory that they may take.
const COPIES: u64 = 16;
const MEMORY_SHARE: u64 = 4;

/// Small shapes that a candidate is verified on besides the tuned one.
const SMALL_CASES: usize = 2;

/// Stack of the evaluator's thread: expressions are evaluated recursively.
const STACK: usize = 256 << 20;

/// Serves timing and verification.
///
/// # Errors
/// A setup or request that cannot be understood, no device.
pub fn run(lines: &mut dyn Iterator<Item = std::io::Result<String>>) -> Result<(), String> {
    let setup = setup(lines)?;
    let gpu = Gpu::open_with(setup.device, TIMEOUT).map_err(|e| e.to_string())?;
    let mut meter: Option<Meter> = None;
    serve(lines, |request: MeterRequest| {
        if matches!(request, MeterRequest::Facts) {
            return (facts(&gpu), true);
        }
        if meter.is_none() {
            match Meter::new(&setup, &gpu) {
                Ok(made) => meter = Some(made),
                Err(note) => return (Answer::failed(Status::Refused, note), true),
            }
        }
        let Some(meter) = &mut meter else {
            return (Answer::failed(Status::Refused, "no meter"), false);
        };
        match meter.serve(&gpu, &request) {
            Ok(answer) => (answer, true),
            Err(error) => {
                let status = status(&error);
                // After a fault or a time-out this process cannot use the device any more.
                (Answer::failed(status, &error), status == Status::Refused)
            }
        }
    })
}

fn facts(gpu: &Gpu) -> Answer {
    let facts = gpu.device().facts();
    let target = match (facts.capability.major, facts.capability.minor) {
        (9, 0) => "sm_90a",
        _ => "sm_80",
    };
    Answer::Facts {
        device: facts.name.clone(),
        driver: facts.driver_version,
        target: target.to_owned(),
    }
}

fn status(error: &GpuError) -> Status {
    let device = match error {
        GpuError::Device(error) | GpuError::Launch(LaunchError::Device(error)) => error,
        _ => return Status::Refused,
    };
    match device {
        DeviceError::Timeout { .. } => Status::Hang,
        DeviceError::OutOfMemory { .. } => Status::Refused,
        _ => Status::Crash,
    }
}

type References = Result<Vec<Reference>, String>;

/// Inputs with their device memory and exact results.
struct Trial {
    case: Arc<Case>,
    arenas: Vec<Arena>,
    pending: Option<JoinHandle<References>>,
    exact: References,
}

impl Trial {
    fn new(cascade: &Cascade, case: Case, arenas: Vec<Arena>, seed: u64) -> Result<Trial, String> {
        let case = Arc::new(case);
        let (cascade, shared) = (cascade.clone(), case.clone());
        let work = move || references(&cascade, &shared.inputs, seed).map_err(|e| e.to_string());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
        Ok(Trial {
            case,
            arenas,
            pending: Some(thread.map_err(|e| e.to_string())?),
            exact: Err("not computed yet".to_owned()),
        })
    }

    fn exact(&mut self) -> &References {
        if let Some(thread) = self.pending.take() {
            self.exact = thread
                .join()
                .unwrap_or_else(|_| Err("the evaluator failed on these inputs".to_owned()));
        }
        &self.exact
    }
}

struct Loaded {
    path: PathBuf,
    module: Module,
    calls: Vec<Call>,
}

struct Meter {
    cascade: Cascade,
    tuned: Trial,
    small: Vec<Trial>,
    loaded: VecDeque<Loaded>,
    lock: Option<DeviceLock>,
}

impl Meter {
    fn new(setup: &Setup, gpu: &Gpu) -> Result<Meter, String> {
        let (cascade, problem) = Problem::load(setup)?;
        let case = Case::from_symbols(&cascade, &setup.given, &setup.symbols, setup.seed).map_err(|e| e.to_string())?;
        let arenas = rotation(gpu, &cascade, &case).map_err(|e| e.to_string())?;
        let tuned = Trial::new(&cascade, case, arenas, setup.seed)?;
        let small = small_cases(setup, &cascade, &problem)
            .into_iter()
            .map(|case| {
                let arena = gpu
                    .arena(&cascade, &case.inputs, &case.extents, Layout::Dense)
                    .map_err(|e| e.to_string())?;
                Trial::new(&cascade, case, vec![arena], setup.seed)
            })
            .collect::<Result<_, _>>()?;
        // Where the lock file cannot be had, measurements of others may disturb ours, which shows in the spread.
        let lock = DeviceLock::open(&format!("cuda-{}", physical(setup.device))).ok();
        Ok(Meter {
            cascade,
            tuned,
            small,
            loaded: VecDeque::new(),
            lock,
        })
    }

    fn serve(&mut self, gpu: &Gpu, request: &MeterRequest) -> Result<Answer, GpuError> {
        match request {
            MeterRequest::Facts => Ok(facts(gpu)),
            MeterRequest::Prepare => Ok(Answer::Prepared),
            MeterRequest::Time {
                artifact,
                warmup_ms,
                sample_ms,
                cut_us,
            } => {
                let at = match self.load(gpu, artifact)? {
                    Ok(at) => at,
                    Err(note) => return Ok(Answer::failed(Status::Refused, note)),
                };
                let _held = self.lock.as_ref().map(DeviceLock::hold);
                Ok(Answer::Timed(timed(
                    gpu,
                    &self.loaded[at].calls,
                    *warmup_ms,
                    *sample_ms,
                    *cut_us,
                )?))
            }
            MeterRequest::Verify { artifact } => self.verify(gpu, artifact),
        }
    }

    /// Position of a loaded artifact; a file that cannot be read is a message.
    fn load(&mut self, gpu: &Gpu, path: &Path) -> Result<Result<usize, String>, GpuError> {
        if let Some(at) = self.loaded.iter().position(|l| l.path == path) {
            return Ok(Ok(at));
        }
        let artifact = std::fs::read(path)
            .map_err(|e| e.to_string())
            .and_then(|bytes| KernelArtifact::from_bytes(&bytes).map_err(|e| e.to_string()));
        let artifact = match artifact {
            Ok(artifact) => artifact,
            Err(note) => return Ok(Err(note)),
        };
        let module = gpu.load_trial(&artifact)?;
        let extents = &self.tuned.case.extents;
        let calls = self
            .tuned
            .arenas
            .iter()
            .map(|arena| gpu.call(&module, &self.cascade, extents, arena))
            .collect::<Result<Vec<_>, _>>()?;
        if self.loaded.len() == LOADED {
            self.loaded.pop_front();
        }
        self.loaded.push_back(Loaded {
            path: path.to_owned(),
            module,
            calls,
        });
        Ok(Ok(self.loaded.len() - 1))
    }

    fn verify(&mut self, gpu: &Gpu, path: &Path) -> Result<Answer, GpuError> {
        let at = match self.load(gpu, path)? {
            Ok(at) => at,
            Err(note) => return Ok(Answer::failed(Status::Refused, note)),
        };
        let module = self.loaded[at].module.clone();
        let mut worst = 0.0_f64;
        for (i, trial) in [&mut self.tuned].into_iter().chain(&mut self.small).enumerate() {
            let case = trial.case.clone();
            let call = match gpu.call(&module, &self.cascade, &case.extents, &trial.arenas[0]) {
                // Code for this class of launches need not accept every small shape; what it accepts it must compute.
                Err(GpuError::Launch(LaunchError::Contract(_))) if i > 0 => continue,
                call => call?,
            };
            let outputs = gpu.run(&call)?;
            let exact = match trial.exact() {
                Ok(exact) => exact,
                Err(note) => return Ok(Answer::failed(Status::Refused, format!("no exact result: {note}"))),
            };
            for ((info, reference), tensor) in self.cascade.outputs.iter().zip(exact).zip(&outputs) {
                let accuracy = reference.compare(tensor);
                if !accuracy.holds() {
                    let share = accuracy.share() * 100.0;
                    let symbols = &case.extents.symbols;
                    let note = format!(
                        "output {} has {share:.0} % of the error allowed, at extents {symbols:?}",
                        info.name
                    );
                    return Ok(Answer::failed(Status::Wrong, note));
                }
                worst = worst.max(accuracy.share());
            }
        }
        Ok(Answer::Verified { share: worst })
    }
}

/// Names the physical device behind an ordinal, as far as the environment says.
fn physical(ordinal: usize) -> String {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let chosen = visible.split(',').nth(ordinal).map(str::trim).filter(|v| !v.is_empty());
    chosen.map_or_else(|| ordinal.to_string(), str::to_owned)
}

/// As many copies of inputs and outputs as fill the L2 cache twice, at least two.
fn rotation(gpu: &Gpu, cascade: &Cascade, case: &Case) -> Result<Vec<Arena>, GpuError> {
    let facts = gpu.device().facts();
    let outputs = cascade.outputs.iter().zip(&case.extents.outputs);
    let bytes = shapes::bytes(cascade, &case.inputs.shapes())
        + outputs
            .map(|(info, shape)| {
                shape.iter().map(|n| (*n).max(0) as u128).product::<u128>() * info.dtype.size() as u128
            })
            .sum::<u128>();
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).max(1);
    let wanted = (2 * facts.l2_bytes / bytes + 1).clamp(2, COPIES);
    let fits = (facts.memory_bytes / MEMORY_SHARE / bytes).max(1);
    (0..wanted.min(fits))
        .map(|_| gpu.arena(cascade, &case.inputs, &case.extents, Layout::Dense))
        .collect()
}

/// Small cases whose alignment is at least that of the code.
fn small_cases(setup: &Setup, cascade: &Cascade, problem: &Problem) -> Vec<Case> {
    let (long, streamed) = (
        pipeline::long_symbols(&problem.plan),
        pipeline::streamed_ranks(&problem.plan),
    );
    let fits = |case: &Case| {
        let class = shape_class(&problem.plan, &case.inputs.shapes(), &case.extents, Layout::Dense);
        let least = |a: &[u32], b: &[u32]| a.iter().zip(b).all(|(have, need)| have >= need);
        least(&class.input_align, &problem.class.input_align) && least(&class.output_align, &problem.class.output_align)
    };
    // The first case of the list divides tiles; those behind it do not.
    let cases = shapes::default_cases(cascade, &long, streamed, 1).into_iter().skip(1);
    cases
        .filter_map(|symbols| Case::from_symbols(cascade, &setup.given, &symbols, setup.seed + 1).ok())
        .filter(fits)
        .take(SMALL_CASES)
        .collect()
}

/// Warms up and samples; gives up early on what is slower than `cut_us`.
fn timed(gpu: &Gpu, calls: &[Call], warmup_ms: f64, sample_ms: f64, cut_us: Option<f64>) -> Result<Time, GpuError> {
    let first = gpu.time_rotating(
        calls,
        &TimingOptions {
            warmup_ms: warmup_ms / 4.0,
            reps: 5,
            launches_per_rep: 1,
        },
    )?;
    let us = first.median_us().max(0.5);
    let timing = if cut_us.is_some_and(|cut| us > cut) {
        first
    } else {
        // Short kernels are sampled in runs that hide the microseconds of an event.
        let launches_per_rep = (40.0 / us).ceil().clamp(1.0, 40.0) as usize;
        let reps = (sample_ms * 1e3 / (us * launches_per_rep as f64))
            .ceil()
            .clamp(5.0, 400.0) as usize;
        gpu.time_rotating(
            calls,
            &TimingOptions {
                warmup_ms: warmup_ms * 0.75,
                reps,
                launches_per_rep,
            },
        )?
    };
    Ok(Time {
        median: timing.median_us(),
        low: timing.quantile(0.05),
        high: timing.quantile(0.95),
    })
}
