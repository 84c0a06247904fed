//! Writes random specs as files, for `einloom verify` on a machine with a GPU.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use einloom_tests::random;

/// Writes one spec for each seed: `FOLDER/r00042.ein`
#[derive(Parser)]
struct Arguments {
    /// Seeds as `first..end`
    #[arg(long, default_value = "0..200", value_parser = seeds)]
    seeds: std::ops::Range<u64>,
    /// Where to; made if it is missing
    #[arg(short, long)]
    output: PathBuf,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (first, end) = text
        .split_once("..")
        .ok_or("two numbers with `..` between them are expected")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    Ok(number(first)?..number(end)?)
}

fn write(arguments: &Arguments) -> std::io::Result<()> {
    std::fs::create_dir_all(&arguments.output)?;
    for seed in arguments.seeds.clone() {
        std::fs::write(arguments.output.join(format!("r{seed:05}.ein")), random::spec(seed))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match write(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
