//! How many passes a cascade needs, and the streaming plan that needs the fewest: separation, references, decomposition.
//!
//! Pure: no hardware, no files, no clock. The same cascade gives the same plan.

mod assemble;
mod build;
mod chunk;
mod constant;
mod cross;
mod cut;
pub mod domain;
pub mod eval;
mod facts;
mod finish;
mod fold;
mod fusemax;
mod gate;
mod inline;
pub mod ir;
mod kind;
pub mod kinds;
pub mod print;
mod product;
pub mod range;
mod rational;
pub mod reassociate;
mod reference;
mod rewrite;
mod separate;
mod sign;
pub mod split;
mod state;
mod sweeps;
mod terms;
mod why;

use einloom_cascade::ir::Cascade;
use einloom_syntax::span::Span;
use ir::{FusedPlan, Policy};
use split::Split;

/// What a caller may choose about planning. A plan is hardware-free; these are choices of meaning and of trade.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanOptions {
    /// How references are chosen where one is needed.
    pub policy: Policy,
    /// Most elements per row of a carry that S6 may make.
    pub carry_limit: u64,
    /// Largest compile-time extent that is held whole in a tile.
    pub local_limit: i64,
    /// Allow separations whose finish may cancel after 16-bit dots (N5).
    pub fold_rounded: bool,
    /// Whether sweeps are split; the spec's word counts before this one.
    pub split: Split,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            policy: Policy::Running,
            carry_limit: 16384,
            local_limit: 1024,
            fold_rounded: false,
            split: Split::Auto,
        }
    }
}

/// Why a cascade has no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    /// Where in the spec.
    pub span: Option<Span>,
    /// Terse, in the user's terms.
    pub message: String,
}

impl PlanError {
    pub(crate) fn new(span: Option<Span>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
        }
    }
}

/// Plans a cascade.
///
/// # Errors
///
/// One error for each reduction that no streaming plan computes, with the reason.
pub fn plan(cascade: &Cascade, options: &PlanOptions) -> Result<FusedPlan, Vec<PlanError>> {
    let (reordered, events) = reassociate::reassociate(cascade);
    let options = with_policies(cascade, options)?;
    let pieces = options.split;
    let mut state = state::State::new(reordered, options);
    state.events = events;
    state.inline();
    let errors = state.check_nodes();
    if !errors.is_empty() {
        return Err(errors);
    }
    let written = state.passes_written();
    state.assign_sweeps().map_err(|e| vec![e])?;
    state.assign_references();
    let mut build = build::Build::new(&mut state);
    build.place_outputs();
    if !build.errors.is_empty() {
        return Err(build.errors);
    }
    let mut plan = build.assemble(written);
    // The plan keeps the cascade as written: its oracle is the spec, not a rewriting of it.
    plan.cascade.defs = cascade.defs.clone();
    plan.cascade.outputs = cascade.outputs.clone();
    if let Split::Pieces(length) = pieces {
        split::split_all(&mut plan, length);
    }
    plan.why.extend(print::late_events(&plan));
    plan.why.sort_by_key(|event| event.kind);
    Ok(plan)
}

/// What the spec itself says: `policy reference = running | first | lazy`, `policy fold = on | off`, `policy split = auto | off | 512`.
fn with_policies(cascade: &Cascade, options: &PlanOptions) -> Result<PlanOptions, Vec<PlanError>> {
    let mut options = options.clone();
    let mut errors = Vec::new();
    for policy in &cascade.policies {
        match (policy.key.as_str(), policy.value.as_str()) {
            ("reference", "running") => options.policy = Policy::Running,
            ("reference", "first") => options.policy = Policy::First,
            ("reference", "lazy") => options.policy = Policy::Lazy,
            ("fold", "on") => options.fold_rounded = true,
            ("fold", "off") => options.fold_rounded = false,
            ("split", value) if Split::parse(value).is_some() => options.split = Split::of(cascade),
            ("reference" | "fold" | "split", value) => errors.push(PlanError::new(
                Some(policy.span),
                format!("policy {} has no value `{value}`", policy.key),
            )),
            _ => {}
        }
    }
    if errors.is_empty() { Ok(options) } else { Err(errors) }
}
