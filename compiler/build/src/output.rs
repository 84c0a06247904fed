//! What a build script leaves behind: files, and lines for cargo.

use crate::BuildError;
use einloom::aot::Built;
use std::path::{Path, PathBuf};

/// Cargo runs the build script again when this file changes.
pub(crate) fn rerun_if_changed(file: &str) {
    println!("cargo::rerun-if-changed={file}");
}

/// Cargo runs the build script again when this variable changes.
pub(crate) fn rerun_if_env(name: &str) {
    println!("cargo::rerun-if-env-changed={name}");
}

/// The compiler's warnings, as warnings of the build. Cargo takes one line at a time.
pub(crate) fn warnings(messages: &str) {
    for line in messages.lines().filter(|line| !line.trim().is_empty()) {
        println!("cargo::warning={line}");
    }
}

/// The whole story on standard error, its last line as the error of the build.
pub(crate) fn failed(error: &BuildError) {
    let text = error.to_string();
    eprintln!("{text}");
    println!("cargo::error={}", text.lines().last().unwrap_or_default());
}

/// Writes the two files, and returns the launcher's.
pub(crate) fn write(folder: &Path, built: &Built) -> Result<PathBuf, BuildError> {
    let file = |extension: &str| folder.join(format!("{}.{extension}", built.stem));
    let launcher = file("rs");
    write_if_changed(&file("einpack"), &built.bundle)?;
    write_if_changed(&launcher, built.launcher.as_bytes())?;
    Ok(launcher)
}

/// A file that has the bytes already keeps its time, so that nothing is compiled again.
fn write_if_changed(file: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let failed = |error| BuildError::Io {
        path: file.display().to_string(),
        error,
    };
    if std::fs::read(file).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(file, bytes).map_err(failed)
}
