//! Domains as ranges: which part of a streamed rank a tile of resident points needs, and where tests are needed.
//!
//! Two answers to the same question, calculus section 7:
//! - [`classify()`] is numeric: a box of coordinates is visited never, always or sometimes by a list of conditions.
//! - [`project`] is symbolic: conditions are solved for the streamed coordinate and the ends of intervals over the
//!   resident tile are written as int expressions, which a kernel computes with a few scalar instructions.
//!
//! **Projection.** A comparison becomes `d <= 0` with `d` linear over atoms. It is solved for the streamed
//! coordinate by exact steps (`k*x`: divide and round inwards; `x // k`; `max`, `min`, `abs` and selections split
//! the comparison), which keeps what the two sides share; only the solved form `x <= E` is widened to the tile:
//! `x <= max E` may hold, `x <= min E` always does. `and` intersects, `or` unites, `not` turns comparisons round.
//! What cannot be solved may hold anywhere and holds surely nowhere, which is always sound.
//!
//! Ints are exact: the expressions are correct as long as 32-bit coordinates do not overflow in the spec itself.

mod classify;
mod ends;
mod interval;
pub(crate) mod linear;
pub(crate) mod mention;
mod solve;
mod table;

pub use classify::{Class, classify, classify_wrapping};
pub use interval::Interval;
pub use mention::{mentions, split_by_stream};
pub use table::{Count, Sorted, sorted};

use einloom_cascade::expr::{Arena, ExprId, MapOp, VarId};
use einloom_cascade::ir::{Input, Var};

/// Coordinates from `lo` to `hi`, both included, as int expressions; `None` is unbounded. Empty if `lo > hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    pub lo: Option<ExprId>,
    pub hi: Option<ExprId>,
}

/// A stretch of the streamed coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// No point outside of the parts' live ranges satisfies the conditions for any point of the tile.
    pub live: Range,
    /// Every point of this range satisfies all conditions for all points of the tile: no test is needed there.
    /// It may reach beyond `live`, and it may be empty at run time. `None`: test everywhere.
    pub full: Option<Range>,
}

/// A level of the streamed coordinate, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub var: VarId,
    /// Number of coordinates: needed for every level but the outermost.
    pub extent: i64,
}

/// What to project onto, and what is known about everything else.
pub struct Query<'a> {
    /// The streamed coordinate in element units: one level for a plain rank, `[c, i]` for the flattened
    /// `m = c * I + i`. A rank with a run-time inner extent is projected onto its outermost variable alone, the
    /// inner one being an ordinary variable with ends `(0, U - 1)`.
    pub stream: &'a [Level],
    /// First and last coordinate (int expressions) of every other variable over the tile; equal ids say that the
    /// tile has one point there. `None`: unknown.
    pub ends: &'a dyn Fn(VarId) -> Option<(ExprId, ExprId)>,
    /// Ranks and inputs of the cascade. With them, an int tensor whose indices are points and certainly in bounds
    /// (`len[b]`, `cu[b + 1]`) appears as a scalar read in the results; with empty slices it is unknown.
    pub vars: &'a [Var],
    pub inputs: &'a [Input],
    /// Tables whose comparisons are solved by searching ([`sorted`] reads them off the promises).
    pub sorted: &'a [Sorted],
}

/// Projects the conjunction `conds` onto the streamed coordinate.
///
/// At most two parts, disjoint by construction and ascending: where both have points, those of the first lie before those of the second. None if
/// no point can be live. An `or` whose operands share an unbounded side gives one hull.
pub fn project(arena: &mut Arena, conds: &[ExprId], query: &Query<'_>) -> Vec<Part> {
    solve::Solver::new(arena, query).all(conds)
}

/// The one range that covers all parts, with the untested range of the only part (if there is one part).
pub fn hull(arena: &mut Arena, parts: &[Part]) -> Option<Part> {
    solve::hull(arena, parts)
}

/// `range` cut to the coordinates `0..extent`: first and last, both included.
pub fn clip(arena: &mut Arena, range: Range, extent: ExprId) -> (ExprId, ExprId) {
    let one = linear::Linear::constant(1);
    let last = linear::Linear::of(arena, extent)
        .sub(&one)
        .unwrap_or_else(|| linear::Linear::atom(extent));
    let last = last.emit(arena);
    let zero = arena.int(0);
    let lo = match range.lo {
        Some(lo) => ends::pick(arena, MapOp::Max, zero, lo),
        None => zero,
    };
    let hi = match range.hi {
        Some(hi) => ends::pick(arena, MapOp::Min, last, hi),
        None => last,
    };
    (lo, hi)
}
