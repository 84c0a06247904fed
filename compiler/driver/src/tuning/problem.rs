//! What is tuned: one specialisation of one spec with one shape, for one target.

use crate::case::{Case, CaseError, shape_class};
use crate::data::layout::Layout;
use crate::data::shapes::{self, Given};
use crate::pipeline;
use crate::predict::{self, Data};
use crate::session::Session;
use einloom_cascade::bind::{Extents, bind};
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;
use einloom_tile::model::Table;
use einloom_tile::schedule::ShapeClass;
use einloom_tune::key::Class;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The version that keys of the database carry.
pub const COMPILER: &str = env!("CARGO_PKG_VERSION");

/// Everything that a worker process needs to know: the first line that it reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub file: PathBuf,
    /// Choices of the specialisation, in the cascade's order.
    pub choices: Vec<(String, String)>,
    /// Values by name as they were given: scalars are taken from here.
    pub given: Given,
    /// One for each symbol of the cascade.
    pub symbols: Vec<i64>,
    pub target: String,
    /// Ordinal of the CUDA device.
    pub device: usize,
    pub seed: u64,
}

/// A planned specialisation with its extents.
pub struct Problem {
    pub plan: FusedPlan,
    /// Shapes of the inputs.
    pub shapes: Vec<Vec<i64>>,
    pub extents: Extents,
    pub class: ShapeClass,
    /// Int inputs that are drawn for this shape, as `tune` and `bench` measure with.
    pub tables: Vec<Option<Arc<Table>>>,
}

impl Problem {
    /// Plans a cascade for the given symbol values, and draws int inputs by `seed`.
    ///
    /// # Errors
    /// A cascade without a plan, extents that do not fit it.
    pub fn new(cascade: &Cascade, given: &Given, symbols: &[i64], seed: u64) -> Result<Problem, CaseError> {
        let plan = pipeline::plan(cascade)?;
        let scalars = shapes::filled(cascade, &shapes::scalars(cascade, given)?);
        let shapes = shapes::input_shapes(cascade, symbols, &scalars)?;
        let extents =
            bind(cascade, &shapes, &scalars).map_err(|e| crate::data::shapes::ShapeError::Bind(e.to_string()))?;
        let class = shape_class(&plan, &shapes, &extents, Layout::Dense);
        // Shapes that are too large to be measured can still be predicted, without tables.
        let tables =
            Case::without_reals(cascade, given, symbols, seed).map_or_else(|_| Vec::new(), |i| predict::tables(&i));
        Ok(Problem {
            plan,
            shapes,
            extents,
            class,
            tables,
        })
    }

    /// Loads what a setup names.
    ///
    /// # Errors
    /// In words: the file, its messages, a specialisation that is not there.
    pub fn load(setup: &Setup) -> Result<(Cascade, Problem), String> {
        let mut session = Session::new();
        let loaded = session.load(&setup.file).map_err(|e| e.to_string())?;
        let cascade = loaded.cascades.into_iter().find(|c| c.choices == setup.choices);
        let cascade = cascade.ok_or("the spec has no such specialisation")?;
        let problem = Problem::new(&cascade, &setup.given, &setup.symbols, setup.seed).map_err(|e| e.to_string())?;
        Ok((cascade, problem))
    }

    /// What its kernels are launched on.
    pub fn data(&self) -> Data<'_> {
        Data {
            shapes: &self.shapes,
            extents: &self.extents,
            tables: &self.tables,
        }
    }

    /// The shape class by which results are kept.
    pub fn class(&self) -> Class {
        key_class(&self.plan.cascade, least_align(&self.class), &self.extents.symbols)
    }

    /// The extents by name.
    pub fn shape(&self) -> BTreeMap<String, i64> {
        let names = self.plan.cascade.symbols.iter().map(|s| s.name.clone());
        names.zip(self.extents.symbols.iter().copied()).collect()
    }
}

/// The least alignment of any tensor.
pub fn least_align(class: &ShapeClass) -> u32 {
    let all = class.input_align.iter().chain(&class.output_align);
    all.copied().min().unwrap_or(16)
}

/// The class of launches of a cascade with this alignment and these extents.
pub fn key_class(cascade: &Cascade, align: u32, symbols: &[i64]) -> Class {
    let extents = cascade.symbols.iter().zip(symbols);
    Class::new(align, extents.map(|(s, n)| (s.name.clone(), (*n).max(0) as u64)))
}

/// The fingerprint of generated code: what it was measured with is what it says, but for comments.
pub fn code_hash(ptx: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for line in ptx.lines().filter(|line| !line.trim_start().starts_with("//")) {
        hasher.update(line.trim_end().as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// The hash that names a specialisation: of its choices and of the cascade as the compiler prints it.
pub fn spec_hash(cascade: &Cascade) -> String {
    let mut text = String::new();
    for (name, value) in &cascade.choices {
        text.push_str(&format!("{name}={value}\n"));
    }
    text.push_str(&einloom_cascade::print::print(cascade));
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
