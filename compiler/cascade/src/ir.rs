//! The `Cascade`: a resolved, typed DAG of einsums over iteration variables, for one specialisation of a spec.
//!
//! Compile-time choices (`rank e = 64 | 128`, `const T = bf16 | f16`) are already made; composite ranks have been
//! replaced by their atoms; definitions of the language (`softmax`) have been expanded; implied sums are explicit
//! [`Reduce`](crate::expr::Reduce) nodes; partial values are explicit conditions (see [`crate::expr`]).
//!
//! **Meaning.** `defs` are in dependency order. Point `(i1..ik)` of definition `d` (one index for each of `d.dims`,
//! inside their extents) *exists* iff all `d.conds` hold there; its value is then `d.body`. An output writes the
//! value of its definition at every existing point, rounded once to its storage type, and 0 at absent points.
//!
//! **Extents.** An extent is an int expression over [`Expr::Extent`](crate::expr::Expr::Extent),
//! [`Expr::Scalar`](crate::expr::Expr::Scalar) and constants. A symbol is bound by the shapes of inputs; `checks` must hold at launch.

use crate::expr::{Arena, DType, DefId, ExprId, InputId, VarId};
use einloom_syntax::span::Span;

/// A run-time extent, e.g. `P`, bound by the dimensions of inputs that have the rank (all must agree).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    /// `(input, dimension)` pairs whose extent this is; never empty.
    pub sources: Vec<(InputId, usize)>,
}

/// An iteration variable: one use of an atom rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Var {
    /// Name of the rank (made unique by a numeric suffix where one rank is iterated twice).
    pub name: String,
    /// Number of coordinates, `0..extent`.
    pub extent: ExprId,
}

/// One dimension of memory of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemDim {
    /// Rank name, or the text of an extent expression.
    pub name: String,
    pub extent: ExprId,
}

/// An input tensor in memory. The last dimension is contiguous unless the launch contract says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<MemDim>,
    pub span: Span,
}

/// A scalar passed by value.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    pub name: String,
    pub dtype: DType,
    /// Value used when the caller gives none.
    pub default: Option<f64>,
    pub span: Span,
}

/// One einsum: `name[dims] = body where conds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Def {
    pub name: String,
    /// Iteration variables of the result, in order.
    pub dims: Vec<VarId>,
    pub conds: Vec<ExprId>,
    pub body: ExprId,
    pub span: Span,
}

/// An output: a definition written to memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub name: String,
    pub dtype: DType,
    pub def: DefId,
    pub dims: Vec<MemDim>,
    /// Coordinate in memory for each of `dims`, an int expression over the variables of the definition
    /// (`g * R + r` for a composite dimension). The map is injective.
    pub places: Vec<ExprId>,
    pub span: Span,
}

/// A condition on extents and scalars that must hold at launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub cond: ExprId,
    /// Shown when it fails, e.g. "rank `h` has extent H, not `G * R`".
    pub message: String,
}

/// A composite rank: its atoms, outermost first, as declared (`m = (c, i)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    pub name: String,
    /// Rank names of the atoms.
    pub atoms: Vec<String>,
}

/// `policy key(names) = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub key: String,
    pub names: Vec<String>,
    pub value: String,
    pub span: Span,
}

/// A whole program of one specialisation.
#[derive(Clone, Debug, Default)]
pub struct Cascade {
    pub name: String,
    /// Compile-time choices made, name and text, in declaration order.
    pub choices: Vec<(String, String)>,
    pub symbols: Vec<Symbol>,
    pub vars: Vec<Var>,
    pub composites: Vec<Composite>,
    pub inputs: Vec<Input>,
    pub scalars: Vec<Scalar>,
    pub defs: Vec<Def>,
    pub outputs: Vec<Output>,
    pub checks: Vec<Check>,
    /// Promises of the caller; conditions over inputs, whose variables are universally quantified.
    pub assumes: Vec<ExprId>,
    pub policies: Vec<Policy>,
    pub exprs: Arena,
}
