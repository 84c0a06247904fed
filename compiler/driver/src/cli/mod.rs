//! The command line.
//!
//! Exit status: 0 success, 1 a diagnostic, a refusal or a failed verification, 2 wrong usage, 101 a defect of einloom.

mod bench;
mod check;
mod common;
mod compile;
mod explain;
mod fmt;
mod pack;
mod print;
mod process;
mod run;
mod snapshot;
mod tune;
mod verify;
mod worker;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

pub use process::process;

/// Compiles einsum cascades into fused GPU kernels.
#[derive(Parser, Debug)]
#[command(name = "einloom", version, max_term_width = 110)]
struct Cli {
    /// Colours in messages
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    color: Color,
    /// Form of diagnostics on standard error
    #[arg(long, value_enum, default_value_t = MessageFormat::Human, global = true)]
    message_format: MessageFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageFormat {
    Human,
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Report all errors of spec files
    Check(FilesArgs),
    /// Put spec files into canonical form
    Fmt(fmt::FmtArgs),
    /// Show the passes, rewrites, kernels, tiles and predicted resources of a spec, or the page of an error code
    Explain(explain::ExplainArgs),
    /// Compile a spec to kernels
    Compile(compile::CompileArgs),
    /// Compile specs ahead of time: a bundle of kernels, and a Rust launcher for it
    Pack(pack::PackArgs),
    /// Pin the plan and the PTX of specs as files, or compare them with --check
    Snapshot(snapshot::SnapshotArgs),
    /// Run a spec on given or random inputs
    Run(run::RunArgs),
    /// Compare every output with the exact result
    Verify(verify::VerifyArgs),
    /// Time kernels on a GPU
    Bench(bench::BenchArgs),
    /// Search the fastest correct schedules on a GPU and keep them for `compile`
    Tune(tune::TuneArgs),
    /// What `tune` starts
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
struct FilesArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// How messages are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) color: bool,
    pub(crate) format: MessageFormat,
}

/// Parses the arguments of this process and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
    };
    let output = Output {
        color,
        format: cli.message_format,
    };
    let result = match cli.command {
        Command::Check(args) => check::check(&args.files, output),
        Command::Fmt(args) => fmt::fmt(&args, output),
        Command::Explain(args) => explain::explain(&args, output),
        Command::Compile(args) => compile::compile(&args, output),
        Command::Pack(args) => pack::pack(&args, output),
        Command::Snapshot(args) => snapshot::snapshot(&args, output),
        Command::Run(args) => run::run(&args, output),
        Command::Verify(args) => verify::verify(&args, output),
        Command::Bench(args) => bench::bench(&args, output),
        Command::Tune(args) => tune::tune(&args, output),
        Command::Worker(args) => worker::worker(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "einloom", &mut script);
            print::out!("{}", String::from_utf8_lossy(&script));
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            common::report(&error, output);
            ExitCode::FAILURE
        }
    }
}
