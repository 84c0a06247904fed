//! `einloom check`: all diagnostics of all specialisations of the files.

use super::Output;
use super::common::{CliResult, load};
use super::print::outln;
use crate::session::Session;
use std::path::PathBuf;

pub(crate) fn check(files: &[PathBuf], output: Output) -> CliResult {
    let mut session = Session::new();
    let mut good = 0;
    for path in files {
        match load(&mut session, path, output) {
            Ok(Some(_)) => good += 1,
            Ok(None) => {}
            Err(error) => super::common::report(&error, output),
        }
    }
    let bad = files.len() - good;
    if output.format == super::MessageFormat::Human {
        match bad {
            0 => outln!("{good} checked, no errors"),
            _ => outln!("{} checked, {bad} with errors", files.len()),
        }
    }
    Ok(bad == 0)
}
