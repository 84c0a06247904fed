//! What may stand in a source file: its length, its opening, and words that must not occur.

use std::path::PathBuf;

use einloom_tests::{Outcome, none_of, repo};
use libtest_mimic::Trial;

const MAX_LINES: usize = 1000;

/// The crates that compute and do nothing else.
const PURE: [&str; 4] = ["compiler/syntax", "compiler/cascade", "compiler/plan", "compiler/tile"];

/// What the pure crates never call.
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::env",
    "std::time",
    "std::thread",
    "std::process",
    "std::net",
    "println!",
    "eprintln!",
    "print!(",
    "static mut",
    "thread_local!",
];

/// Places on a developer's machine, written in two halves so that this file may hold them.
const FORBIDDEN: [(&str, &str); 5] = [
    ("/ho", "me/"),
    ("/Us", "ers/"),
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/tm", "p/"),
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("tidy::files_are_short", files_are_short),
        Trial::test("tidy::modules_open_with_their_purpose", modules_open_with_their_purpose),
        Trial::test("tidy::pure_crates_stay_pure", pure_crates_stay_pure),
        Trial::test("tidy::no_paths_of_a_machine", no_paths_of_a_machine),
        Trial::test("tidy::no_test_is_switched_off", no_test_is_switched_off),
        Trial::test("tidy::text_is_clean", text_is_clean),
    ]
}

/// Sources that people write: everything but what is generated.
fn written(extensions: &[&str]) -> Vec<(String, PathBuf)> {
    let named = repo::files_with(extensions)
        .into_iter()
        .map(|file| (repo::relative(&file), file));
    named
        .filter(|(name, _)| !name.starts_with("kernels-generated/"))
        .collect()
}

fn files_are_short() -> Outcome {
    let mut wrong = Vec::new();
    for (name, file) in written(&["rs", "pest", "sh", "ein"]) {
        let lines = repo::read(&file).lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{name} has {lines} lines; the limit is {MAX_LINES}"));
        }
    }
    none_of(wrong)
}

fn modules_open_with_their_purpose() -> Outcome {
    let is_silent = |file: &PathBuf| {
        let text = repo::read(file);
        !text
            .lines()
            .find(|line| !line.starts_with("#!") && !line.is_empty())
            .is_some_and(|line| line.starts_with("//! "))
    };
    let silent = written(&["rs"]).into_iter().filter(|(_, file)| is_silent(file));
    none_of(
        silent
            .map(|(name, _)| format!("{name} does not open with `//!` and its purpose"))
            .collect(),
    )
}

fn pure_crates_stay_pure() -> Outcome {
    let mut wrong = Vec::new();
    for (name, file) in written(&["rs"]) {
        // Tests of a pure crate may print and read files.
        let is_library = PURE.iter().any(|pure| name.starts_with(&format!("{pure}/src/"))) && !name.contains("/tests");
        if !is_library {
            continue;
        }
        let text = repo::read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{name}:{}: a pure crate may not use {word}", number + 1));
            }
        }
    }
    none_of(wrong)
}

fn no_paths_of_a_machine() -> Outcome {
    let mut wrong = Vec::new();
    for file in repo::files() {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for word in FORBIDDEN
                .iter()
                .map(|(left, right)| format!("{left}{right}"))
                .filter(|word| is_path(line, word))
            {
                wrong.push(format!("{}:{}: {word}", repo::relative(&file), number + 1));
            }
        }
    }
    none_of(wrong)
}

/// Whether `line` has `word` where a path starts, and not amid a longer one, such as an address.
fn is_path(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-".contains(c)))
}

fn no_test_is_switched_off() -> Outcome {
    let mut wrong = Vec::new();
    let marks = [("#[ig", "nore"), ("#[should", "_panic")].map(|(left, right)| format!("{left}{right}"));
    for (name, file) in written(&["rs"]) {
        let text = repo::read(&file);
        wrong.extend(
            marks
                .iter()
                .filter(|mark| text.contains(*mark))
                .map(|mark| format!("{name} has {mark}]")),
        );
    }
    none_of(wrong)
}

/// Line ends are `\n`, the last line has one, and no line ends in blanks.
fn text_is_clean() -> Outcome {
    let mut wrong = Vec::new();
    for (name, file) in written(&["rs", "md", "toml", "pest", "ein", "sh"]) {
        let text = repo::read(&file);
        if text.contains('\r') {
            wrong.push(format!("{name} has carriage returns"));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            wrong.push(format!("{name} does not end its last line"));
        }
        if let Some(number) = text.lines().position(|line| line.ends_with([' ', '\t'])) {
            wrong.push(format!("{name}:{} ends in blanks", number + 1));
        }
    }
    none_of(wrong)
}
