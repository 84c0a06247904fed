//! `einloom pack`: a bundle of a spec's kernels, and the Rust launcher that includes it.

use super::Output;
use super::common::{CliError, CliResult, TunedArgs, given, load};
use super::print::outln;
use crate::aot::{self, AotError, Options};
use crate::session::Session;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(crate) struct PackArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    code: CodeArgs,
    /// Extents that kernels are made for, e.g. --for p=1024 --for p=4096: each with code of its own where that differs; a launcher takes the nearest
    #[arg(long = "for", value_name = "EXTENTS")]
    made_for: Vec<String>,
    /// Output folder
    #[arg(short, long, default_value = ".")]
    output: PathBuf,
    /// Add machine code, so that programs start without the driver's assembler; needs ptxas
    #[arg(long)]
    cubin: bool,
}

/// What `pack` and `snapshot` compile.
#[derive(Args, Debug)]
pub(crate) struct CodeArgs {
    /// Targets, e.g. sm_90a,sm_80
    #[arg(long, value_delimiter = ',', default_value = aot::DEFAULT_TARGET)]
    target: Vec<String>,
    /// Compile-time choices, e.g. e=128,T=bf16 (all specialisations without); extents that schedules are chosen for, e.g. p=4096
    #[arg(long)]
    shape: Vec<String>,
    /// Alignments in bytes of bases and outer strides, each with kernels of its own: 16, 8, 4, 2
    #[arg(long, value_delimiter = ',', default_value = "16")]
    align: Vec<u32>,
    #[command(flatten)]
    tuned: TunedArgs,
}

impl CodeArgs {
    pub(crate) fn options(&self, spec: &Path, output: Output) -> Result<Options, CliError> {
        Ok(Options {
            targets: self.target.clone(),
            aligns: self.align.clone(),
            given: given(&self.shape)?,
            tuned: self.tuned.database(spec, output),
            made_for: Vec::new(),
            cubin: false,
        })
    }
}

pub(crate) fn pack(args: &PackArgs, output: Output) -> CliResult {
    let mut good = true;
    let one = |text: &String| given(std::slice::from_ref(text));
    let made_for = args.made_for.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    for file in &args.files {
        let mut session = Session::new();
        let Some(loaded) = load(&mut session, file, output)? else {
            good = false;
            continue;
        };
        let options = Options {
            cubin: args.cubin,
            made_for: made_for.clone(),
            ..args.code.options(file, output)?
        };
        let built = aot::build(&aot::stem(file), &loaded.cascades, &options).map_err(|error| failed(file, error))?;
        std::fs::create_dir_all(&args.output).map_err(|error| CliError::io(&args.output, error))?;
        for (extension, bytes) in [("einpack", &built.bundle[..]), ("rs", built.launcher.as_bytes())] {
            let path = args.output.join(format!("{}.{extension}", built.stem));
            std::fs::write(&path, bytes).map_err(|error| CliError::io(&path, error))?;
        }
        for line in &built.summary {
            match line.untuned {
                true => outln!("{}", line.what),
                false if line.schedules.is_empty() => outln!("{}", line.what),
                false => outln!("{}, schedules from {}", line.what, line.schedules),
            }
        }
        let (folder, stem) = (args.output.display(), &built.stem);
        outln!(
            "{folder}/{stem}.einpack ({} KiB), {folder}/{stem}.rs",
            built.bundle.len().div_ceil(1024)
        );
    }
    Ok(good)
}

pub(crate) fn failed(file: &Path, error: AotError) -> CliError {
    CliError::Other(format!("{}: {error}", file.display()))
}
