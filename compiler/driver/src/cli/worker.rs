//! `einloom worker`: the processes that `tune` starts. Requests come on standard input; see [`crate::tuning::protocol`].

use super::common::{CliError, CliResult};
use crate::tuning::{compiler, meter};
use clap::{Args, ValueEnum};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Compile,
    Measure,
}

#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// What to do
    role: Role,
}

pub(crate) fn worker(args: &WorkerArgs) -> CliResult {
    let mut lines = std::io::stdin().lines();
    match args.role {
        Role::Compile => compiler::run(&mut lines),
        Role::Measure => meter::run(&mut lines),
    }
    .map_err(CliError::Other)?;
    Ok(true)
}
