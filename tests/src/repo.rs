//! The repository as the tests see it: its root and the files that belong to it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie one level below the root")
}

/// The path of `file` below the root, with forward slashes.
pub fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).to_string_lossy().into_owned()
}

/// All files of the repository, sorted: what git tracks or would add, or everything outside build folders where the sources
/// came without git.
pub fn files() -> Vec<PathBuf> {
    let mut files = tracked().unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(root(), &mut found);
        found
    });
    files.retain(|file| file.is_file());
    files.sort();
    files
}

/// The files with one of these extensions.
pub fn files_with(extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = files();
    files.retain(|file| {
        file.extension()
            .is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    });
    files
}

/// The example specs, sorted by name.
pub fn examples() -> Vec<PathBuf> {
    let folder = root().join("dsl-examples");
    files_with(&["ein"])
        .into_iter()
        .filter(|file| file.parent() == Some(folder.as_path()))
        .collect()
}

/// A file's text; bytes that are not UTF-8 are replaced.
pub fn read(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tracked() -> Option<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    Some(
        names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(|name| root().join(name))
            .collect(),
    )
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if name == "target" || name == ".git" || name == ".tools" {
            continue;
        }
        if path.is_dir() {
            walk(&path, found)
        } else {
            found.push(path)
        }
    }
}
