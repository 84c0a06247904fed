//! The command line as a whole process: its stack, and what is said of a defect.

use super::print::errln;
use std::process::ExitCode;

/// Passes recurse over expressions whose depth the parser bounds; a thread of our own makes that bound independent of the
/// caller's stack limit.
const STACK: usize = 256 << 20;

/// Runs the command line with the arguments of this process. A panic becomes exit status 101.
pub fn process() -> ExitCode {
    let spawned = std::thread::Builder::new().stack_size(STACK).spawn(super::main);
    let result = spawned.map(std::thread::JoinHandle::join);
    match result {
        Ok(Ok(code)) => code,
        // The panic's own message is on standard error already.
        Ok(Err(_)) => {
            errln!("error: this is a defect of einloom; please report it with the file and the command");
            ExitCode::from(101)
        }
        Err(error) => {
            errln!("error: cannot start a thread: {error}");
            ExitCode::FAILURE
        }
    }
}
