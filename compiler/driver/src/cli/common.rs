//! What several commands share: loading with messages, devices, choices, errors.

use super::print::errln;
use super::{MessageFormat, Output};
use crate::data::shapes::{Given, ShapeError, parse};
use crate::session::{Loaded, Session};
use crate::tuning::lookup::{self, Choice, Purpose};
use clap::Args;
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;
use einloom_syntax::{Diagnostic, Style};
use einloom_tile::schedule::{Schedule, ShapeClass};
use einloom_tune::database::Database;
use std::path::{Path, PathBuf};

/// An error that ends a command; its text stands after `error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{path}: {error}")]
    Io { path: String, error: std::io::Error },
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(transparent)]
    Compile(#[from] crate::pipeline::CompileError),
    #[error(transparent)]
    Tensors(#[from] crate::data::tensors::TensorFileError),
    #[error(transparent)]
    Case(#[from] crate::case::CaseError),
    #[error("{0}")]
    Other(String),
}

impl CliError {
    pub(crate) fn io(path: &Path, error: std::io::Error) -> CliError {
        CliError::Io {
            path: path.display().to_string(),
            error,
        }
    }
}

/// Result of a command: whether everything was in order.
pub(crate) type CliResult = Result<bool, CliError>;

pub(crate) use crate::case::DeviceArg;

impl std::str::FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceArg, String> {
        let number = |n: &str| n.parse::<usize>().ok().filter(|n| *n < 1024);
        match text.split_once(':') {
            None if text == "cpu" => Ok(DeviceArg::Cpu),
            None if text == "cuda" => Ok(DeviceArg::Cuda(0)),
            Some(("cuda", n)) => number(n)
                .map(DeviceArg::Cuda)
                .ok_or_else(|| format!("`{n}` is no device number")),
            _ => Err("a device is `cpu`, `cuda` or `cuda:N`".to_owned()),
        }
    }
}

/// Parses `--shape` into a map; several occurrences are joined.
pub(crate) fn given(shapes: &[String]) -> Result<Given, ShapeError> {
    parse(&shapes.join(","))
}

/// Prints diagnostics on standard error.
pub(crate) fn show(session: &Session, diagnostics: &[Diagnostic], output: Output) {
    if diagnostics.is_empty() {
        return;
    }
    match output.format {
        MessageFormat::Human => {
            let style = if output.color { Style::Color } else { Style::Plain };
            errln!(
                "{}",
                einloom_syntax::render(diagnostics, session.sources(), style).trim_end()
            );
        }
        MessageFormat::Json => {
            for diagnostic in diagnostics {
                errln!("{}", session.json(diagnostic));
            }
        }
    }
}

/// Prints an error on standard error.
pub(crate) fn report(error: &CliError, output: Output) {
    match output.format {
        MessageFormat::Human if output.color => errln!("\x1b[1m\x1b[91merror\x1b[0m: {error}"),
        MessageFormat::Human => errln!("error: {error}"),
        MessageFormat::Json => errln!(
            "{}",
            serde_json::json!({ "severity": "error", "message": error.to_string() })
        ),
    }
}

/// Prints a note on standard error.
pub(crate) fn note(text: &str, output: Output) {
    match output.format {
        MessageFormat::Human if output.color => errln!("\x1b[1m\x1b[92mnote\x1b[0m: {text}"),
        MessageFormat::Human => errln!("note: {text}"),
        MessageFormat::Json => errln!("{}", serde_json::json!({ "severity": "note", "message": text })),
    }
}

/// Loads a spec, shows its messages; `None` if it has errors.
pub(crate) fn load(session: &mut Session, path: &Path, output: Output) -> Result<Option<Loaded>, CliError> {
    let loaded = session.load(path).map_err(|error| CliError::io(path, error))?;
    show(session, &loaded.diagnostics, output);
    Ok((!einloom_syntax::has_errors(&loaded.diagnostics)).then_some(loaded))
}

/// Parses `--schedule rows=128,cols=64,warps=4,stages=2,blocks=2,left=registers,specialised=no|plain[+overlap][+persistent][+first]`; fields
/// that are not given keep the first candidate's.
pub(crate) fn schedule(text: &str) -> Result<Schedule, CliError> {
    einloom_tile::dimensions::from_text(text).map_err(|error| CliError::Other(format!("schedule: {error}")))
}

/// Which tuned schedules a command uses.
#[derive(Args, Debug)]
pub(crate) struct TunedArgs {
    /// Folder of tuned schedules; `tuned` beside the spec without
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_tuned")]
    tuned: Option<PathBuf>,
    /// Use the default schedules, not tuned ones
    #[arg(long)]
    no_tuned: bool,
}

impl TunedArgs {
    /// The schedules for a plan, and where they come from. Damaged lines of the database are warnings.
    pub(crate) fn choose(
        &self,
        spec: &Path,
        cascade: &Cascade,
        plan: &FusedPlan,
        shape: &ShapeClass,
        purpose: &Purpose<'_>,
        output: Output,
    ) -> Choice {
        match self.database(spec, output) {
            Some(database) => lookup::choose(&database, cascade, plan, shape, purpose),
            None => Choice {
                schedules: None,
                origin: "default".to_owned(),
            },
        }
    }

    /// The tuned schedules of a spec; `None` if they are not wanted.
    pub(crate) fn database(&self, spec: &Path, output: Output) -> Option<Database> {
        if self.no_tuned {
            return None;
        }
        let folder = self.tuned.clone().unwrap_or_else(|| lookup::folder(spec));
        let database = Database::open(&folder);
        for problem in database.problems() {
            warn(problem, output);
        }
        Some(database)
    }
}

/// Prints a warning on standard error.
pub(crate) fn warn(text: &dyn std::fmt::Display, output: Output) {
    match output.format {
        MessageFormat::Human => errln!("warning: {text}"),
        MessageFormat::Json => errln!(
            "{}",
            serde_json::json!({ "severity": "warning", "message": text.to_string() })
        ),
    }
}
