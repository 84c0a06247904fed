//! The `FusedPlan`: which kernels, and for each the streaming state with *init, absorb, merge, finish*.
//!
//! A plan is hardware-free. It owns its `Cascade` (whose arena it extends) and describes each kernel as
//!
//! ```text
//! for every point of `resident` (independent of each other, in any order, in parallel):
//!     for sweep in sweeps (in order):
//!         init the sweep's references (-inf) and carries (identity of op)
//!         for every tile of points of `stream` x `inner` (any disjoint tiling, any order unless `ordered`):
//!             absorb the tile
//!         run `emits` at every streamed point (emits read leaves of *earlier* sweeps only)
//!     run `stores`
//! ```
//!
//! **Absorb.** With reference `r`: `g' = policy(g, max of r.form over live points)`, then for each carry bound to it with coefficient `k`
//! `B' = B * exp(k (g - g')) + sum over live points of exp(k (form - g')) * streamed`. Without: `B' = op(B, op over live points of streamed)`.
//! A point is live for a carry iff the carry's `conds` hold, at elements inside of the kernel's `domain`. A live point with the form `-inf` weighs 0 whatever `g` is, also while `g` is `-inf`.
//! **Merge** of two partial states: move both to a common reference, then `op`.
//! **Finish.** Expressions of `stores`, later sweeps and later kernels read the state through leaves ([`LeafDef`]):
//! a `Carry` leaf is the *stored* accumulator `B` (relative to its reference), a `Reference` leaf is `g`, an `Empty` leaf says whether the
//! carry or reference absorbed no point. The planner has already rewritten every finish so that scales cancel and empty
//! rows are guarded; a plan is evaluated literally.
//!
//! Variables: a big rank is resident or streamed; local ranks (compile-time extents) appear as `dims` of accumulators and stores (held whole), as
//! `inner` (reduced together with the stream, e.g. `i` of `m = (c, i)`), or bound inside `Reduce` nodes of expressions (tile-local reductions:
//! a contraction over `e` is a `Reduce` over a local variable inside `form` or `streamed`).

use einloom_cascade::expr::{ExprId, LeafId, ReduceOp, VarId};
use einloom_cascade::ir::Cascade;

/// How the reference of an exponential accumulator is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The exact running maximum of the form.
    Running,
    /// The maximum of the first non-empty tile, raised only by the overflow guard: a bound on `k (form - g)` for the largest `k`.
    First,
    /// Raised when the maximum, times the largest `k`, grew by more than 8 in exp2 units.
    Lazy,
}

/// A row reference `g` of an exponent (calculus N2).
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The exponent, a real expression over resident, streamed and inner variables and `dims`.
    pub form: ExprId,
    /// Local variables that `g` depends on besides the resident point (usually none).
    pub dims: Vec<VarId>,
    /// Local variables reduced together with the stream.
    pub inner: Vec<VarId>,
    /// Points that count for the maximum.
    pub conds: Vec<ExprId>,
    pub policy: Policy,
}

/// An accumulator of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Carry {
    /// Short name for reports, e.g. `O.n`.
    pub name: String,
    pub op: ReduceOp,
    /// Local variables of the accumulator (its shape at one resident point), e.g. `f`.
    pub dims: Vec<VarId>,
    /// Local variables reduced together with the stream (innermost last).
    pub inner: Vec<VarId>,
    pub conds: Vec<ExprId>,
    /// The factor without the weight; `1` for a plain sum of weights.
    pub streamed: ExprId,
    /// Weight `exp(k * (form - g))`: index into the sweep's references and the exact rational `k = (numerator, denominator)`.
    pub weight: Option<(usize, (i64, i64))>,
    /// Tiles must be merged in stream order (argmax with ties).
    pub ordered: bool,
    /// What the accumulator means, in formula form, for reports.
    pub meaning: String,
}

/// Where a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// `Cascade::outputs[i]`; coordinates by its `places`.
    Output(usize),
    /// `FusedPlan::crossings[i]`.
    Crossing(usize),
}

/// Writes `value` at every point of the resident variables and `vars` where `conds` hold, and 0 (outputs) elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub target: Target,
    /// Local variables of the written tensor (in an emit the sweep binds the streamed ones).
    pub vars: Vec<VarId>,
    pub conds: Vec<ExprId>,
    pub value: ExprId,
    /// The target's coordinates: for an output the int expression of each memory dimension, for a crossing each of its dims.
    pub places: Vec<ExprId>,
}

/// One loop over streamed ranks.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sweep {
    /// Big streamed variables, a loop nest, outermost first; empty for a map kernel (one step).
    pub stream: Vec<VarId>,
    pub references: Vec<Reference>,
    pub carries: Vec<Carry>,
    pub emits: Vec<Store>,
    /// Another way to the same carries, which visits fewer pairs.
    pub chunks: Option<Box<Chunks>>,
}

/// Chunks with a carried state (calculus D2): the second evaluation of a sweep, equal to visiting every pair.
///
/// ```text
/// for every point of `resident` without `row`:
///     init `state` (-inf, identities)
///     for every chunk of consecutive coordinates of `row`, in ascending order:
///         absorb into `state` points that it does not hold yet, all of them up to `last` of the chunk's first row
///         for every row of the chunk:
///             the sweep's references are `references`, its carries `carries` (instead of -inf and identities)
///             absorb the points that `state` does not hold
/// ```
///
/// **Identity.** Each body splits as `sum_j alpha_j(row) beta_j(stream)`, and no condition tells the rows of a chunk apart on points up to `last` of
/// its first row: there `sum_m sum_j alpha_j beta_j = sum_j alpha_j St_j`. The state holds what of these points it likes (whole tiles), the rows
/// absorb the rest; the two meet on the row's reference, which starts at that of the state (F2).
/// `last` does not fall as `row` rises, so that nothing is ever taken out of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunks {
    /// The resident variable whose rows share the state.
    pub row: VarId,
    /// The last streamed coordinate that counts for a row, an int expression over the resident variables.
    pub last: ExprId,
    /// References and carries of the shared state: they mention neither `row` nor anything of a row, and have no chunks themselves.
    pub state: Sweep,
    /// For each reference of the sweep, its value over the points of the state; reads [`LeafDef::State`] and [`LeafDef::StateReference`].
    pub references: Vec<ExprId>,
    /// For each carry of the sweep, its value over the points of the state, relative to these references.
    pub carries: Vec<ExprId>,
    /// Chunks cost fewer multiply-adds from about this extent of the stream on: `4 S / W` with S elements of state and W multiply-adds a pair.
    pub pays_from: u64,
}

/// One kernel: a grid of resident points, sweeps in order, final stores.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Kernel {
    pub name: String,
    /// Big variables on the grid, outermost first.
    pub resident: Vec<VarId>,
    /// The resident variable that numbers the pieces of a split sweep ([`crate::split`]): each of its points streams a range of its own. The next
    /// kernel merges them, with the same references and carries.
    pub piece: Option<VarId>,
    /// Conditions on resident variables and on `dims` of accumulators. An element of an accumulator or a reference where one of
    /// those that it can tell fails does not exist: it absorbs nothing, and what it would read may lie outside of its tensor.
    pub domain: Vec<ExprId>,
    pub sweeps: Vec<Sweep>,
    pub stores: Vec<Store>,
}

/// A value written by one kernel and read by a later one (f32 in memory for reals, i32 for ints and bools).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub name: String,
    /// Index variables, outermost first; a reader's leaf has one index expression for each.
    pub dims: Vec<VarId>,
    pub kind: einloom_cascade::expr::Kind,
    /// Whether it is the state of a piece ([`crate::split`]), as exact as the merged state has to be.
    pub partial: bool,
}

/// What a [`LeafId`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafDef {
    /// Stored accumulator; leaf indices are positions for the carry's `dims`.
    Carry { kernel: usize, sweep: usize, carry: usize },
    /// Stored reference `g`; leaf indices for the reference's `dims`. -inf iff nothing was absorbed.
    Reference {
        kernel: usize,
        sweep: usize,
        reference: usize,
    },
    /// Value read from a crossing tensor; leaf indices for the crossing's dims.
    Crossing(usize),
    /// Stored accumulator of a shared state ([`Chunks`]), as `Carry`.
    State { kernel: usize, sweep: usize, carry: usize },
    /// Stored reference of a shared state, as `Reference`.
    StateReference {
        kernel: usize,
        sweep: usize,
        reference: usize,
    },
}

/// Line of the *why* report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// Byte span in the spec where the event comes from, if one definition is to name.
    pub span: Option<einloom_syntax::span::Span>,
    pub text: String,
}

/// Kinds of events, in report order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Rule,
    Carry,
    Dead,
    Rejected,
    Barrier,
    Domain,
    Policy,
}

/// A planned cascade.
#[derive(Clone, Debug)]
pub struct FusedPlan {
    /// The cascade; its arena holds every expression of the plan.
    pub cascade: Cascade,
    pub kernels: Vec<Kernel>,
    pub crossings: Vec<Crossing>,
    pub leaves: Vec<LeafDef>,
    /// Sweeps of the cascade as written (FuseMax count) and as planned.
    pub sweeps_written: u32,
    pub sweeps: u32,
    pub why: Vec<Event>,
}

impl FusedPlan {
    /// What `leaf` stands for.
    pub fn leaf(&self, leaf: LeafId) -> LeafDef {
        self.leaves[leaf.index()]
    }
}
