//! Golden files fail on a difference, and say which.

use std::path::Path;

use einloom_tests::{Outcome, golden};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("golden::equal_text_passes", equal_text_passes),
        Trial::test("golden::difference_fails_with_a_diff", difference_fails_with_a_diff),
        Trial::test("golden::long_difference_is_cut", long_difference_is_cut),
    ]
}

fn equal_text_passes() -> Outcome {
    let this = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/golden.rs");
    golden::check(&this, include_str!("golden.rs"))
}

fn difference_fails_with_a_diff() -> Outcome {
    let said = golden::difference("plan.txt", "a\nb\nc\n", "a\nB\nc\n");
    for line in ["--- plan.txt", "-b", "+B", " c"] {
        if !said.lines().any(|found| found == line) {
            return Err(format!("no line `{line}` in:\n{said}").into());
        }
    }
    Ok(())
}

fn long_difference_is_cut() -> Outcome {
    let long: String = (0..1000).map(|line| format!("{line}\n")).collect();
    let said = golden::difference("plan.txt", "", &long);
    assert!(said.ends_with("..."), "not cut: {} lines", said.lines().count());
    Ok(())
}
