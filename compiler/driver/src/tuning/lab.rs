//! Worker processes as the search sees them.

use super::protocol::{Answer, CompileRequest, MeterRequest, Setup};
use einloom_tune::record::{Status, Time};
use einloom_tune::search::{Candidate, Effort, Failure, Lab};
use einloom_tune::worker::{Pool, Reply};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a candidate may compile.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one measurement may take, inputs and exact results of a first one included.
const METER_TIMEOUT: Duration = Duration::from_secs(300);

/// What the measuring worker says about its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub device: String,
    pub driver: u32,
    /// The best target for it.
    pub target: String,
}

/// Compilers and a GPU.
pub struct GpuLab {
    compilers: Pool,
    meter: Pool,
    folder: tempfile::TempDir,
    start: Instant,
}

/// The measuring worker of a setup, and what it says about its device.
///
/// # Errors
/// No device, in words.
pub fn meter(program: &std::path::Path, setup: &Setup) -> Result<(Pool, Facts), Failure> {
    let mut pool = pool(program, "measure", 1, METER_TIMEOUT, setup)?;
    match ask(&mut pool, &MeterRequest::Facts, Status::Crash)? {
        Answer::Facts { device, driver, target } => {
            // It prepares while the caller enumerates; [`GpuLab::ready`] takes the answer.
            pool.submit(
                0,
                serde_json::to_string(&MeterRequest::Prepare).map_err(|e| refused(&e))?,
            );
            Ok((pool, Facts { device, driver, target }))
        }
        other => Err(unexpected(&other)),
    }
}

fn pool(
    program: &std::path::Path,
    role: &'static str,
    count: usize,
    timeout: Duration,
    setup: &Setup,
) -> Result<Pool, Failure> {
    let hello = serde_json::to_string(setup).map_err(|e| refused(&e))?;
    let program = program.to_owned();
    Ok(Pool::new(count, hello, timeout, move || {
        let mut command = Command::new(&program);
        command.args(["worker", role]);
        command
    }))
}

fn refused(error: &dyn ToString) -> Failure {
    Failure {
        status: Status::Refused,
        note: error.to_string(),
    }
}

fn unexpected(answer: &Answer) -> Failure {
    match answer {
        Answer::Failed { status, note } => Failure {
            status: *status,
            note: note.clone(),
        },
        other => refused(&format!("an answer to another question: {other:?}")),
    }
}

/// The answer in a reply; a worker that died or was late is a failure of its own kind.
fn understand(reply: Reply, died: Status) -> Result<Answer, Failure> {
    match reply {
        Reply::Line(line) => serde_json::from_str(&line).map_err(|e| refused(&format!("no answer: {e}"))),
        Reply::Died(note) => Err(Failure { status: died, note }),
        Reply::Late(limit) => Err(Failure {
            status: Status::Hang,
            note: format!("no answer in {} s", limit.as_secs()),
        }),
    }
}

fn ask(pool: &mut Pool, request: &MeterRequest, died: Status) -> Result<Answer, Failure> {
    let line = serde_json::to_string(request).map_err(|e| refused(&e))?;
    understand(pool.ask(line), died)
}

impl GpuLab {
    /// A lab with `workers` compilers; its clock starts now.
    ///
    /// # Errors
    /// No folder for artifacts.
    pub fn new(program: &std::path::Path, setup: &Setup, workers: usize, meter: Pool) -> Result<GpuLab, Failure> {
        Ok(GpuLab {
            compilers: pool(program, "compile", workers, COMPILE_TIMEOUT, setup)?,
            meter,
            folder: tempfile::tempdir().map_err(|e| refused(&e))?,
            start: Instant::now(),
        })
    }

    /// Waits until the measuring worker has its inputs.
    ///
    /// # Errors
    /// Why it cannot measure: no memory for the shape, for instance.
    pub fn ready(&mut self) -> Result<(), Failure> {
        loop {
            let Some((_, reply)) = self.meter.next(METER_TIMEOUT) else {
                continue;
            };
            return match understand(reply, Status::Crash)? {
                Answer::Prepared => Ok(()),
                other => Err(unexpected(&other)),
            };
        }
    }

    fn artifact(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("{id}.einmod"))
    }
}

impl Lab for GpuLab {
    type Built = PathBuf;

    fn submit(&mut self, id: usize, candidate: &Candidate) {
        let request = CompileRequest {
            schedules: candidate.clone(),
            out: self.artifact(id),
        };
        let line = serde_json::to_string(&request).expect("texts serialise");
        self.compilers.submit(id, line);
    }

    fn built(&mut self, wait: Duration) -> Option<(usize, Result<PathBuf, Failure>)> {
        let (id, reply) = self.compilers.next(wait)?;
        let result = match understand(reply, Status::CompilerCrash) {
            Ok(Answer::Compiled) => Ok(self.artifact(id)),
            Ok(other) => Err(unexpected(&other)),
            Err(failure) => Err(failure),
        };
        Some((id, result))
    }

    fn time(&mut self, built: &PathBuf, effort: &Effort) -> Result<Time, Failure> {
        let request = MeterRequest::Time {
            artifact: built.clone(),
            warmup_ms: effort.warmup_ms,
            sample_ms: effort.sample_ms,
            cut_us: effort.cut_us,
        };
        match ask(&mut self.meter, &request, Status::Crash)? {
            Answer::Timed(time) => Ok(time),
            other => Err(unexpected(&other)),
        }
    }

    fn verify(&mut self, built: &PathBuf) -> Result<f64, Failure> {
        let request = MeterRequest::Verify {
            artifact: built.clone(),
        };
        match ask(&mut self.meter, &request, Status::Crash)? {
            Answer::Verified { share } => Ok(share),
            other => Err(unexpected(&other)),
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn workers(&self) -> usize {
        self.compilers.workers()
    }
}
