//! The manual: every example is checked by the compiler, the gallery is generated, and tables that mirror the compiler are
//! complete.
//!
//! | language of a fenced block | what it must be |
//! | --- | --- |
//! | `ein` | a complete spec in canonical form that gives no message |
//! | `ein,E0301` | a complete spec that gives messages with this code and no other |
//! | `ein-context(NAME)` | a complete spec with a line `// ...`, where the fragments of this name are put |
//! | `ein-fragment(NAME)` | statements in canonical form that give no message in their context |
//! | `ein-library` | definitions without a cascade, in canonical form |
//!
//! A comment `<!-- plan: 2 sweeps, 1 kernel; words -->` before a spec says what its plan has, and words of its report.

mod errors;
mod examples;
mod fences;
mod gallery;
mod tables;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = examples::tests();
    tests.extend(gallery::tests());
    tests.extend(tables::tests());
    tests.extend(errors::tests());
    tests
}
