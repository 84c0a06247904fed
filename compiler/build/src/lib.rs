//! Compiles einsum cascades to GPU kernels in a build script.
//!
//! ```ignore
//! // build.rs
//! fn main() {
//!     einloom_build::Config::new().target("sm_90a").target("sm_80").compile(&["mha.ein"]);
//! }
//! ```
//! ```ignore
//! // main.rs
//! einloom_runtime::include_kernels!("mha"); // a module `mha` with `Args` and `Kernels`
//! ```
//!
//! The build script needs LLVM, the program does not: it carries PTX, and `einloom-runtime` launches it with nothing but the NVIDIA
//! driver. What is written depends on the specs, the configuration and the version of einloom, and on nothing else; neither a GPU nor
//! ptxas is looked for, unless machine code is asked for by [`Config::cubin`].
#![warn(missing_docs)]

mod output;

use einloom::aot::snapshot::{Snapshot, snapshots};
use einloom::aot::{self, AotError, Built, Options};
use einloom::session::{Loaded, Session};
use einloom_syntax::Style;
use einloom_tune::database::Database;
use std::path::{Path, PathBuf};

/// Passes recurse over expressions whose depth the parser bounds; a thread of our own makes that bound independent of the
/// caller's stack limit.
const STACK: usize = 256 << 20;

/// What to compile, and for what.
#[derive(Clone, Debug, Default)]
pub struct Config {
    options: Options,
    schedules: Option<PathBuf>,
    out_dir: Option<PathBuf>,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The spec has errors; the text is what `einloom check` prints, without colours.
    #[error("{messages}\n{file} has errors")]
    Spec {
        /// The spec's file.
        file: String,
        /// All diagnostics.
        messages: String,
    },
    /// The spec is right, but was not compiled.
    #[error("{file}: {error}")]
    Compile {
        /// The spec's file.
        file: String,
        /// The reason.
        error: AotError,
    },
    /// Two specs would write the same files.
    #[error("two specs are called `{0}`")]
    SameName(String),
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// There is no folder to write to.
    #[error("OUT_DIR is not set: call this from a build script, or name a folder with `Config::out_dir`")]
    NoOutDir,
    /// A defect of einloom; its message is on standard error.
    #[error("the compiler stopped: this is a defect of einloom, please report it with the spec")]
    Defect,
}

impl Config {
    /// Compiles for `sm_80`, which runs on every card from Ampere on, unless targets are named.
    pub fn new() -> Config {
        Config::default()
    }

    /// Adds a target, `sm_80` or `sm_90a`. At run time the best one that the device runs is taken.
    pub fn target(mut self, name: &str) -> Config {
        self.options.targets.push(name.to_owned());
        self
    }

    /// Adds an alignment of base addresses and outer strides, in bytes: 16 (the default if none is named), 8, 4 or 2. Each has
    /// kernels of its own; at run time the largest that the tensors have is taken.
    pub fn align(mut self, bytes: u32) -> Config {
        self.options.aligns.push(bytes);
        self
    }

    /// Makes a compile-time choice, such as `("e", "128")`. Choices that are not made stay open until a call.
    pub fn choose(mut self, name: &str, value: &str) -> Config {
        self.options.given.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes schedules from this folder of tuned ones (see `einloom tune`). A specialisation that has none there is compiled by
    /// the default ones, with a warning.
    pub fn schedules(mut self, folder: impl Into<PathBuf>) -> Config {
        self.schedules = Some(folder.into());
        self
    }

    /// The extent of a rank for which schedules are chosen, such as `("m", 4096)`: tuned ones are looked up by it (by a usual one without), default ones
    /// depend on it.
    pub fn extent(mut self, rank: &str, value: u64) -> Config {
        self.options.given.insert(rank.to_owned(), value.to_string());
        self
    }

    /// Extents that kernels are made for, such as `[("p", 1024), ("m", 1024)]`. Called several times, each gives kernels of its own where its code differs, and
    /// launchers take the nearest.
    pub fn made_for(mut self, extents: &[(&str, u64)]) -> Config {
        let named = extents.iter().map(|(rank, n)| ((*rank).to_owned(), n.to_string()));
        self.options.made_for.push(named.collect());
        self
    }

    /// Adds machine code, so that programs start without the driver's assembler. Needs ptxas: `EINLOOM_PTXAS`, or on the path.
    pub fn cubin(mut self, wanted: bool) -> Config {
        self.options.cubin = wanted;
        self
    }

    /// Writes here, and not to cargo's `OUT_DIR`.
    pub fn out_dir(mut self, folder: impl Into<PathBuf>) -> Config {
        self.out_dir = Some(folder.into());
        self
    }

    /// Compiles specs to `<spec>.einpack` and `<spec>.rs` in `OUT_DIR`. On failure it prints why and ends the build script with
    /// status 1.
    pub fn compile<P: AsRef<Path>>(&self, specs: &[P]) {
        if let Err(error) = self.try_compile(specs) {
            output::failed(&error);
            std::process::exit(1);
        }
    }

    /// As [`Config::compile`], returning the files of launchers.
    ///
    /// # Errors
    /// The first spec that is not compiled ends the build.
    pub fn try_compile<P: AsRef<Path>>(&self, specs: &[P]) -> Result<Vec<PathBuf>, BuildError> {
        let out_dir = match &self.out_dir {
            Some(folder) => folder.clone(),
            None => PathBuf::from(std::env::var_os("OUT_DIR").ok_or(BuildError::NoOutDir)?),
        };
        if self.options.cubin {
            output::rerun_if_env("EINLOOM_PTXAS");
            output::rerun_if_env("PATH");
        }
        let built: Vec<Built> = self.each(specs, &|stem, loaded, options| {
            aot::build(stem, &loaded.cascades, options)
        })?;
        for line in built.iter().flat_map(|b| &b.summary).filter(|line| line.untuned) {
            output::warnings(&format!("{}: schedules: {}", line.what, line.schedules));
        }
        built.iter().map(|built| output::write(&out_dir, built)).collect()
    }

    /// The plan and the PTX of specs as named texts, for snapshot tests.
    ///
    /// # Errors
    /// The first spec that is not compiled.
    pub fn snapshots<P: AsRef<Path>>(&self, specs: &[P]) -> Result<Vec<Snapshot>, BuildError> {
        let all = self.each(specs, &|stem, loaded, options| {
            snapshots(stem, &loaded.cascades, options)
        })?;
        Ok(all.into_iter().flatten().collect())
    }

    fn each<P: AsRef<Path>, T: Send>(&self, specs: &[P], work: Work<'_, T>) -> Result<Vec<T>, BuildError> {
        let specs: Vec<&Path> = specs.iter().map(AsRef::as_ref).collect();
        let mut options = self.options.clone();
        if let Some(folder) = &self.schedules {
            output::rerun_if_changed(&folder.display().to_string());
            let database = Database::open(folder);
            database
                .problems()
                .iter()
                .for_each(|problem| output::warnings(&problem.to_string()));
            options.tuned = Some(database);
        }
        let mut stems: Vec<String> = Vec::new();
        for spec in &specs {
            let stem = aot::stem(spec);
            if stems.contains(&stem) {
                return Err(BuildError::SameName(stem));
            }
            stems.push(stem);
        }
        let all = || {
            let one = |(spec, stem): (&&Path, &String)| self.one(spec, stem, &options, work);
            specs.iter().zip(&stems).map(one).collect()
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, all);
            let thread = thread.map_err(|error| BuildError::Io {
                path: "a thread for the compiler".to_owned(),
                error,
            })?;
            thread.join().map_err(|_| BuildError::Defect)?
        })
    }

    fn one<T>(&self, spec: &Path, stem: &str, options: &Options, work: Work<'_, T>) -> Result<T, BuildError> {
        let file = spec.display().to_string();
        output::rerun_if_changed(&file);
        let mut session = Session::new();
        let loaded = session.load(spec).map_err(|error| BuildError::Io {
            path: file.clone(),
            error,
        })?;
        // Imports; the prelude has a name too, but no file.
        for (_, source) in session.sources().iter().filter(|(_, s)| s.name != file) {
            if Path::new(&source.name).is_file() {
                output::rerun_if_changed(&source.name);
            }
        }
        let messages = einloom_syntax::render(&loaded.diagnostics, session.sources(), Style::Plain);
        if einloom_syntax::has_errors(&loaded.diagnostics) {
            return Err(BuildError::Spec { file, messages });
        }
        output::warnings(&messages);
        work(stem, &loaded, options).map_err(|error| BuildError::Compile { file, error })
    }
}

/// What is done with each spec that was read.
type Work<'w, T> = &'w (dyn Fn(&str, &Loaded, &Options) -> Result<T, AotError> + Sync);
