//! What the test suite is made of, beside the tests themselves: where the repository lies, golden files, the assembler and the disassembler.
//!
//! The tests stand in `suite/`; everything there is a [`libtest_mimic::Trial`], so that each spec and each file is a test of
//! its own with its own name.

pub mod cli;
pub mod golden;
pub mod ptx;
pub mod ptxas;
pub mod random;
pub mod repo;
pub mod sass;

/// What a test returns: nothing, or what was wrong in words.
pub type Outcome = Result<(), libtest_mimic::Failed>;

/// Fails a test with everything that was wrong, one line each; passes if nothing was.
pub fn none_of(wrong: Vec<String>) -> Outcome {
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// Whether the suite runs in continuous integration, where nothing is skipped and nothing rewritten.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says on standard error why a test did less than it could. An error in continuous integration.
pub fn skip(test: &str, reason: &str) -> Outcome {
    if in_ci() {
        return Err(format!("{test} may not be skipped here: {reason}").into());
    }
    eprintln!("skipped {test}: {reason}");
    Ok(())
}
