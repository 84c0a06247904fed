//! Runs the command line of einloom as a process of its own.
//!
//! The process is this very test binary: where [`AS_CLI`] is set it is `einloom` and nothing else. So there is one binary that
//! links LLVM, and what is tested is always what was just built.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::{ptxas, repo};

/// The variable by which the test binary knows that it is the command line.
pub const AS_CLI: &str = "EINLOOM_TESTS_AS_CLI";

/// The variable that names a program which measures in place of a GPU: the command line becomes it where a worker is to measure.
pub const METER: &str = "EINLOOM_TESTS_METER";

/// Where this process is a measuring worker of a command line that [`METER`] is set for, becomes that program; an error if it cannot.
pub fn become_meter() -> Option<std::io::Error> {
    let meter = std::env::var_os(METER)?;
    let measures = std::env::args().skip(1).eq(["worker", "measure"]);
    measures.then(|| Command::new(meter).args(["worker", "measure"]).exec())
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit status; 128 and more where a signal ended the process.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `einloom` in the root of the repository.
pub fn einloom<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Said {
    run(command().args(args).current_dir(repo::root()))
}

/// Runs `einloom` in another folder.
pub fn einloom_in<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Said {
    run(command().args(args).current_dir(folder))
}

/// The command line as a command to add to; runs in the current folder.
pub fn command() -> Command {
    let this = std::env::current_exe().expect("a running test has a binary");
    let mut command = Command::new(this);
    command.arg0("einloom").env(AS_CLI, "1");
    if let Ok(ptxas) = ptxas::find() {
        command.env("EINLOOM_PTXAS", ptxas);
    }
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Said {
    let output = command.output().expect("the test binary can be run again");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    Said {
        status: output.status.code().unwrap_or(128 + signal.unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Said {
    /// An error unless the exit status is this one; never right is a panic.
    pub fn expect(&self, status: i32) -> Result<&Said, libtest_mimic::Failed> {
        if self.status == status && !self.stderr.contains("panicked at") {
            return Ok(self);
        }
        Err(format!(
            "exit status {}, expected {status}\n{}{}",
            self.status, self.stdout, self.stderr
        )
        .into())
    }
}
