//! Scalar expressions over iteration variables: the one expression language of `Cascade` and `FusedPlan`.
//!
//! Expressions live in an append-only, hash-consed [`Arena`]; an [`ExprId`] is stable and equal ids mean equal
//! syntax. **Every expression is total at the points where it is evaluated**: partial values of the language
//! (`where`, reads outside, `else`) have been turned into explicit conditions, kept in the `conds` lists of
//! reductions, definitions and stores. A conditions list is a conjunction that is evaluated left to right and
//! stops at the first false one, so a later condition and the body may read what an earlier one guards.
//!
//! Reals are f64 in the oracle, ints exact 64-bit. `Div` is real division; `IDiv` and `IMod` are floor division and
//! its remainder.

use indexmap::IndexSet;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);
        impl $name {
            /// Position in the table that owns this id.
            pub fn index(self) -> usize { self.0 as usize }
        }
    )*};
}

ids! {
    /// An expression of an [`Arena`].
    ExprId,
    /// An iteration variable (`Cascade::vars`). A rank that is iterated twice has two variables.
    VarId,
    /// A run-time extent (`Cascade::symbols`).
    SymId,
    /// A scalar parameter passed by value (`Cascade::scalars`).
    ScalarId,
    /// An input tensor (`Cascade::inputs`).
    InputId,
    /// A defined tensor (`Cascade::defs`).
    DefId,
    /// A value introduced by a later level (a carry, a reference, a crossing tensor); its table is that level's.
    LeafId,
}

/// Storage types of the language that this edition of the compiler supports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DType {
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

/// The kind of a value: what it is mathematically, not how it is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Real,
    Int,
    Bool,
}

/// Pointwise functions. Arity in brackets; comparisons and logic give bool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MapOp {
    /// Arithmetic (2): both real, or both int for all but `Div`, `Pow`.
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    /// Floor division and remainder of ints (2).
    IDiv,
    IMod,
    /// Bits of ints (2).
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
    /// Two-argument real function `atan2(y, x)` (2).
    Atan2,
    /// Sign change (1), absolute value and sign (1): real or int.
    Neg,
    Abs,
    Sign,
    /// Real functions (1).
    Exp,
    Exp2,
    Log,
    Log2,
    Sqrt,
    Rsqrt,
    Sin,
    Cos,
    Tanh,
    Acos,
    Erf,
    /// Real to int (1). `Round` is to nearest, ties to even.
    Floor,
    Ceil,
    Round,
    /// Number of one bits of an int (1).
    Popcount,
    /// Int or bool to real (1); bool to int (1).
    ToReal,
    BoolToInt,
    /// Rounding to a storage type, nearest even, saturating (1): the only rounding that is part of a meaning.
    RoundTo(DType),
    /// Comparisons (2) of two reals, two ints, or two bools (`Eq`, `Ne` of ints and bools only). `>` is `Lt` swapped.
    Lt,
    Le,
    Eq,
    Ne,
    /// Logic (2), negation (1). `And` and `Or` evaluate their second argument only when it matters.
    And,
    Or,
    Not,
    /// `uniform(seed, i, j, ..)`: Philox 4x32-10, in [0, 1) (1 to 5 ints).
    Uniform,
}

/// Reductions. The value of the empty reduction is the identity named here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReduceOp {
    /// 0
    Sum,
    /// 1
    Prod,
    /// -inf (reals), i64::MIN (ints)
    Max,
    /// inf (reals), i64::MAX (ints)
    Min,
    /// false
    Any,
    /// true
    All,
    /// -1; the row-major coordinate over `vars` of the largest body; ties: the smallest coordinate; kind int.
    ArgMax,
    /// -1; as `ArgMax` for the smallest body.
    ArgMin,
}

/// `op` over all points of `vars` (row-major, first variable outermost) where `conds` hold, of `body`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reduce {
    pub op: ReduceOp,
    pub vars: Vec<VarId>,
    pub conds: Vec<ExprId>,
    pub body: ExprId,
}

/// A node. Children are ids of the same arena and always smaller than the node's own id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Expr {
    /// A real constant, by its bits (never NaN).
    Real(u64),
    Int(i64),
    Bool(bool),
    /// The coordinate of an iteration variable (int).
    Var(VarId),
    /// A run-time extent (int).
    Extent(SymId),
    /// A scalar parameter.
    Scalar(ScalarId),
    /// An element of an input: one int index for each memory dimension, in bounds wherever it is evaluated.
    Input(InputId, Vec<ExprId>),
    /// A point of a defined tensor: one int index for each variable of its `dims`. Whoever reads has taken over
    /// the definition's conditions (with the index put in); out-of-range indices are excluded by conditions.
    Def(DefId, Vec<ExprId>),
    /// A value of a later level, with the positions of its own index list.
    Leaf(LeafId, Vec<ExprId>),
    Map(MapOp, Vec<ExprId>),
    /// `[condition, then, otherwise]`; only the chosen branch is evaluated.
    Select([ExprId; 3]),
    Reduce(Reduce),
}

/// Owner of expressions. Two structurally equal expressions have the same id.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    nodes: IndexSet<Expr>,
}

impl Arena {
    /// Adds `expr`, or finds it.
    pub fn add(&mut self, expr: Expr) -> ExprId {
        let (index, _) = self.nodes.insert_full(expr);
        ExprId(u32::try_from(index).expect("an arena should hold fewer than 2^32 expressions"))
    }

    /// The node behind an id.
    pub fn get(&self, id: ExprId) -> &Expr {
        self.nodes
            .get_index(id.index())
            .expect("an expression id should come from this arena")
    }

    /// Number of expressions.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A real constant.
    pub fn real(&mut self, value: f64) -> ExprId {
        self.add(Expr::Real(value.to_bits()))
    }

    /// An int constant.
    pub fn int(&mut self, value: i64) -> ExprId {
        self.add(Expr::Int(value))
    }

    /// A pointwise function of `args`.
    pub fn map(&mut self, op: MapOp, args: &[ExprId]) -> ExprId {
        self.add(Expr::Map(op, args.to_vec()))
    }

    /// The coordinate of `var`.
    pub fn var(&mut self, var: VarId) -> ExprId {
        self.add(Expr::Var(var))
    }

    /// Direct children of a node, in a fixed order (for a reduction: conditions, then the body).
    pub fn children(&self, id: ExprId) -> Vec<ExprId> {
        match self.get(id) {
            Expr::Real(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Var(_) | Expr::Extent(_) | Expr::Scalar(_) => {
                Vec::new()
            }
            Expr::Input(_, list) | Expr::Def(_, list) | Expr::Leaf(_, list) | Expr::Map(_, list) => list.clone(),
            Expr::Select(list) => list.to_vec(),
            Expr::Reduce(r) => r.conds.iter().copied().chain([r.body]).collect(),
        }
    }
}
