//! The test suite of einloom: one binary, one module for each kind of test. Where the variable of `cli::AS_CLI` is set, the
//! binary is the command line itself, so that tests can start it.

mod ahead;
mod cli;
mod examples;
mod fuzz;
mod golden;
mod manual;
mod messages;
mod ptx;
mod ptxas;
mod random;
mod sass;
mod tidy;
mod tuning;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if std::env::var_os(einloom_tests::cli::AS_CLI).is_some() {
        if let Some(error) = einloom_tests::cli::become_meter() {
            eprintln!("the meter of the test: {error}");
            return ExitCode::FAILURE;
        }
        return einloom::cli::process();
    }
    let arguments = Arguments::from_args();
    let groups = [
        ("ahead", ahead::tests()),
        ("cli", cli::tests()),
        ("examples", examples::tests()),
        ("fuzz", fuzz::tests()),
        ("golden", golden::tests()),
        ("manual", manual::tests()),
        ("messages", messages::tests()),
        ("ptx", ptx::tests()),
        ("ptxas", ptxas::tests()),
        ("random", random::tests()),
        ("sass", sass::tests()),
        ("tidy", tidy::tests()),
        ("tuning", tuning::tests()),
    ];
    let label = |(group, tests): (&str, Vec<Trial>)| tests.into_iter().map(move |test| test.with_kind(group)).collect();
    let tests: Vec<Trial> = groups.into_iter().flat_map::<Vec<Trial>, _>(label).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}
