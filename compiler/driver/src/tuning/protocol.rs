//! What parent and workers say: JSON, one line each. The first line to a worker is its [`Setup`].

pub use super::problem::Setup;
use einloom_tune::record::{Status, Time};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// To the compiling worker: schedules, and where the artifact goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompileRequest {
    pub schedules: Vec<String>,
    pub out: PathBuf,
}

/// To the measuring worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MeterRequest {
    Facts,
    /// Makes and uploads the inputs; otherwise the first measurement does.
    Prepare,
    Time {
        artifact: PathBuf,
        warmup_ms: f64,
        sample_ms: f64,
        cut_us: Option<f64>,
    },
    Verify {
        artifact: PathBuf,
    },
}

/// From both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    Compiled,
    Prepared,
    Facts {
        device: String,
        driver: u32,
        target: String,
    },
    Timed(Time),
    Verified {
        share: f64,
    },
    Failed {
        status: Status,
        note: String,
    },
}

impl Answer {
    /// A failure.
    pub fn failed(status: Status, note: impl ToString) -> Answer {
        Answer::Failed {
            status,
            note: note.to_string(),
        }
    }
}

/// Serves requests from standard input until it ends. `serve` answers one, and says whether the worker can go on.
///
/// # Errors
/// A line that is no request, or a parent that is gone.
pub fn serve<R: serde::de::DeserializeOwned>(
    lines: &mut dyn Iterator<Item = std::io::Result<String>>,
    mut serve: impl FnMut(R) -> (Answer, bool),
) -> Result<(), String> {
    use std::io::Write;
    for line in lines {
        let line = line.map_err(|e| e.to_string())?;
        let request: R = serde_json::from_str(&line).map_err(|e| format!("no request: {e}"))?;
        let (answer, goes_on) = serve(request);
        let text = serde_json::to_string(&answer).map_err(|e| e.to_string())?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|e| e.to_string())?;
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads the setup line.
///
/// # Errors
/// A line that is none.
pub fn setup(lines: &mut dyn Iterator<Item = std::io::Result<String>>) -> Result<Setup, String> {
    let line = lines.next().ok_or("no setup")?.map_err(|e| e.to_string())?;
    serde_json::from_str(&line).map_err(|e| format!("no setup: {e}"))
}
