//! `einloom fmt`: canonical form, in place or as a check.

use super::Output;
use super::common::{CliError, CliResult, show};
use super::print::outln;
use crate::session::Session;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct FmtArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; fail if a file is not in canonical form
    #[arg(long)]
    check: bool,
}

pub(crate) fn fmt(args: &FmtArgs, output: Output) -> CliResult {
    let mut good = true;
    for path in &args.files {
        let bytes = crate::session::read(path).map_err(|error| CliError::io(path, error))?;
        let mut session = Session::new();
        let (text, diagnostics) = session.format(&path.display().to_string(), &bytes);
        show(&session, &diagnostics, output);
        let Some(text) = text else {
            good = false;
            continue;
        };
        if text.as_bytes() == bytes {
            continue;
        }
        if args.check {
            outln!("{} is not in canonical form", path.display());
            good = false;
        } else {
            std::fs::write(path, text).map_err(|error| CliError::io(path, error))?;
            outln!("formatted {}", path.display());
        }
    }
    Ok(good)
}
