//! `einloom snapshot`: pins the plan and the PTX of specs in the user's own repository, or compares them.

use super::Output;
use super::common::{CliError, CliResult, load};
use super::pack::{CodeArgs, failed};
use super::print::{errln, outln};
use crate::aot;
use crate::aot::snapshot::{Snapshot, snapshots};
use crate::session::Session;
use clap::Args;
use similar::TextDiff;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct SnapshotArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write nothing; show what differs and fail
    #[arg(long)]
    check: bool,
    /// Folder of the snapshots
    #[arg(short, long, default_value = "einloom-snapshots")]
    output: PathBuf,
    #[command(flatten)]
    code: CodeArgs,
}

/// Lines of one difference that are shown.
const MAX_SHOWN: usize = 60;

pub(crate) fn snapshot(args: &SnapshotArgs, output: Output) -> CliResult {
    let (mut good, mut same, mut stems) = (true, 0, Vec::new());
    for file in &args.files {
        let stem = aot::stem(file);
        if stems.contains(&stem) {
            return Err(CliError::Other(format!("two specs are called `{stem}`")));
        }
        let mut session = Session::new();
        let Some(loaded) = load(&mut session, file, output)? else {
            good = false;
            continue;
        };
        let options = args.code.options(file, output)?;
        let texts = snapshots(&stem, &loaded.cascades, &options).map_err(|error| failed(file, error))?;
        for snapshot in &texts {
            match update(&args.output, snapshot, args.check)? {
                true => same += 1,
                false => good &= !args.check,
            }
        }
        good &= stale(&args.output, &stem, &texts, args.check)?;
        stems.push(stem);
    }
    match (args.check, good) {
        (true, true) => outln!("{same} snapshots are up to date"),
        (true, false) => errln!("error: generated code differs; without --check the snapshots are rewritten"),
        (false, _) => {}
    }
    Ok(good)
}

/// Whether the file has the text. If not, the difference is shown, or the file is written.
fn update(folder: &Path, snapshot: &Snapshot, check: bool) -> Result<bool, CliError> {
    let path = folder.join(&snapshot.name);
    let found = match std::fs::read(&path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(CliError::io(&path, error)),
    };
    if found.as_deref() == Some(&snapshot.text) {
        return Ok(true);
    }
    match (check, found) {
        (true, Some(found)) => outln!("{}", difference(&path, &found, &snapshot.text)),
        (true, None) => outln!("missing: {}", path.display()),
        (false, _) => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|error| CliError::io(parent, error))?;
            }
            std::fs::write(&path, &snapshot.text).map_err(|error| CliError::io(&path, error))?;
            outln!("wrote {}", path.display());
        }
    }
    Ok(false)
}

fn difference(path: &Path, old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let text = diff
        .unified_diff()
        .context_radius(3)
        .header(&path.display().to_string(), "generated now")
        .to_string();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= MAX_SHOWN {
        return text.trim_end().to_owned();
    }
    let shown = lines[..MAX_SHOWN].join("\n");
    format!("{shown}\n... {} more lines", lines.len() - MAX_SHOWN)
}

/// Reports the snapshots of this spec that nothing generates any more, or removes them. Only files with the names of snapshots are looked at.
fn stale(folder: &Path, stem: &str, texts: &[Snapshot], check: bool) -> CliResult {
    let mut good = true;
    let own = folder.join(stem);
    for file in snapshot_files(&own)? {
        let name = file
            .strip_prefix(folder)
            .unwrap_or(&file)
            .to_string_lossy()
            .replace('\\', "/");
        if texts.iter().any(|snapshot| snapshot.name == name) {
            continue;
        }
        if check {
            outln!("no longer generated: {}", file.display());
            good = false;
        } else {
            std::fs::remove_file(&file).map_err(|error| CliError::io(&file, error))?;
            outln!("removed {}", file.display());
        }
    }
    Ok(good)
}

/// `*.plan.txt` of the folder, and `*.ptx` of the folders in it, sorted.
fn snapshot_files(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, CliError> {
        let read = match std::fs::read_dir(folder) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CliError::io(folder, error)),
        };
        let mut paths = read
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CliError::io(folder, error))?;
        paths.sort();
        Ok(paths)
    };
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(
                entries(&path)?
                    .into_iter()
                    .filter(|p| p.extension().is_some_and(|e| e == "ptx")),
            );
        } else if path.to_string_lossy().ends_with(".plan.txt") {
            files.push(path);
        }
    }
    Ok(files)
}
