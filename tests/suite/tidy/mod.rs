//! The rules of the repository that a program can check.

mod crates;
mod layout;
mod links;
mod sources;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [crates::tests(), layout::tests(), links::tests(), sources::tests()]
        .into_iter()
        .flatten()
        .collect()
}
