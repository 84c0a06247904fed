//! The syntax tree: what was written, with spans, nothing resolved.
//!
//! The tree follows the grammar of the language one to one. Names are texts; whether a name is a rank, an extent, a
//! tensor, a parameter or a function is the business of later stages. Author's parentheses stay as [`ExprKind::Paren`],
//! so that the formatter can keep them. The parser bounds the depth of every tree by [`MAX_DEPTH`], hence recursion
//! over a tree is safe.
//!
//! `==` compares spans too; [`File::same_program`] and [`Expr::same`] compare what was written and ignore where.

use crate::span::Span;

/// Greatest depth of an expression that the parser accepts. A chain of `n` operators of one level counts `n`.
pub const MAX_DEPTH: usize = 200;

/// A name as written, with its `'` if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    pub span: Span,
    pub text: String,
}

impl Ident {
    /// Whether the name is the new value of an `inout` tensor (`K'`).
    pub fn is_new(&self) -> bool {
        self.text.ends_with('\'')
    }

    /// The name without `'`.
    pub fn base(&self) -> &str {
        self.text.strip_suffix('\'').unwrap_or(&self.text)
    }
}

/// One parsed file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    pub stmts: Vec<Stmt>,
    /// Names that statements with syntax errors would have defined, in order of appearance. Later stages say nothing
    /// about them.
    pub poisoned: Vec<String>,
    /// The regions of those statements, in order. The formatter copies them as they stand.
    pub broken: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub span: Span,
    pub kind: StmtKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `cascade name`
    Cascade(Ident),
    /// `import "path"`; the text is without the quotes.
    Import(Ident),
    /// `rank item, item`
    Rank(Vec<RankItem>),
    /// `const item, item`
    Const(Vec<ConstItem>),
    /// `in decl, decl : ty = default`
    Input {
        decls: Vec<Decl>,
        ty: Ident,
        default: Option<Expr>,
    },
    /// `inout decl, decl : ty`
    Inout { decls: Vec<Decl>, ty: Ident },
    /// `out lhs : ty = value`; without a value it exports a tensor that is defined elsewhere.
    Output { lhs: Lhs, ty: Ident, value: Option<Expr> },
    /// `rec lhs = value from init`
    Rec { lhs: Lhs, value: Expr, init: Expr },
    /// `assume cond`
    Assume(Expr),
    /// `policy key(names) = value`
    Policy {
        key: Ident,
        names: Vec<Ident>,
        value: PolicyValue,
    },
    /// `def name[ranks](params) body`
    Def(Def),
    /// `lhs = value`
    Define { lhs: Lhs, value: Expr },
}

/// One item of a `rank` statement.
#[derive(Clone, Debug, PartialEq)]
pub struct RankItem {
    pub span: Span,
    pub name: Ident,
    pub value: Option<RankValue>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RankValue {
    /// `(g, r)` or `(b, p) by cu`; at least two parts.
    Tuple { parts: Vec<Ident>, by: Option<Ident> },
    /// `64 | 128`, or one expression; never empty.
    Choice(Vec<Expr>),
}

/// One item of a `const` statement: `name = a | b`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstItem {
    pub span: Span,
    pub name: Ident,
    /// Never empty.
    pub choices: Vec<Expr>,
}

/// A declared tensor or scalar of `in` and `inout`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decl {
    pub span: Span,
    pub name: Ident,
    /// `None`: scalar by value (`x`). `Some([])`: scalar in memory (`x[]`).
    pub dims: Option<Vec<Expr>>,
}

/// The left side of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Lhs {
    pub span: Span,
    pub name: Ident,
    /// `None`: no index list (`A = ..`), the ranks follow from the right side.
    pub places: Option<Vec<Place>>,
}

/// One place of a left side: a rank, or a rank with a computed coordinate.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub span: Span,
    pub rank: Ident,
    pub at: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PolicyValue {
    Name(Ident),
    Number { span: Span, number: Number },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Def {
    pub name: Ident,
    /// Rank parameters, empty where there is no bracket.
    pub ranks: Vec<Ident>,
    pub params: Vec<Ident>,
    pub body: DefBody,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DefBody {
    /// `= expr`
    Expr(Expr),
    /// `{ .. return result }`; the statements are [`StmtKind::Rank`] and [`StmtKind::Define`] only.
    Block { stmts: Vec<Stmt>, result: Expr },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub span: Span,
    pub kind: ExprKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Number(Number),
    /// A bare name: tensor, rank, extent, constant, parameter, `pi`, `inf`, `true`, `false`, a type.
    Name(Ident),
    /// `name[a, b]`; `x[]` reads a scalar.
    Index {
        name: Ident,
        args: Vec<Expr>,
    },
    /// `name[e := x, f := y]`; all replacements happen at once.
    Subst {
        name: Ident,
        pairs: Vec<Pair>,
    },
    /// `name[ranks](args)`; functions, reductions, defs, conversions.
    Call {
        name: Ident,
        ranks: Vec<Ident>,
        args: Vec<Expr>,
    },
    /// `-x`
    Neg(Box<Expr>),
    /// `a op b`; `op_span` is the operator.
    Binary {
        op: BinaryOp,
        op_span: Span,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `a < b <= c`; `rest` is never empty.
    Compare {
        first: Box<Expr>,
        rest: Vec<Comparison>,
    },
    /// `not x`
    Not(Box<Expr>),
    /// `a and b and c`, two or more.
    And(Vec<Expr>),
    /// `a or b or c`, two or more.
    Or(Vec<Expr>),
    /// `value where cond`
    Where {
        value: Box<Expr>,
        cond: Box<Expr>,
    },
    /// `a else b else c`, two or more; the first that exists.
    Else(Vec<Expr>),
    /// `(x)`
    Paren(Box<Expr>),
}

/// A number as written and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    pub text: String,
    pub value: NumberValue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumberValue {
    /// Written with digits only.
    Int(i64),
    /// Written with `.` or `e`; finite.
    Real(f64),
}

/// One replacement of a substitution: `rank := value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub span: Span,
    pub rank: Ident,
    pub value: Expr,
}

/// One link of a comparison chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub op: CompareOp,
    pub op_span: Span,
    pub right: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// `/`, real division.
    Div,
    /// `div`, floor division of integers.
    FloorDiv,
    /// `mod`, the remainder of `div`.
    Mod,
    /// `^`, right associative.
    Pow,
}

impl BinaryOp {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "div",
            BinaryOp::Mod => "mod",
            BinaryOp::Pow => "^",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CompareOp {
    Eq,
    Ne,
    Le,
    Ge,
    Lt,
    Gt,
}

impl CompareOp {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Le => "<=",
            CompareOp::Ge => ">=",
            CompareOp::Lt => "<",
            CompareOp::Gt => ">",
        }
    }
}

impl Expr {
    /// An expression without parentheses around it.
    pub fn unparen(&self) -> &Expr {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// The direct operands, from left to right.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::Name(_) => Vec::new(),
            ExprKind::Index { args, .. } | ExprKind::Call { args, .. } => args.iter().collect(),
            ExprKind::Subst { pairs, .. } => pairs.iter().map(|pair| &pair.value).collect(),
            ExprKind::Neg(inner) | ExprKind::Not(inner) | ExprKind::Paren(inner) => vec![inner],
            ExprKind::Binary { left, right, .. } => vec![left, right],
            ExprKind::Compare { first, rest } => std::iter::once(&**first)
                .chain(rest.iter().map(|link| &link.right))
                .collect(),
            ExprKind::And(parts) | ExprKind::Or(parts) | ExprKind::Else(parts) => parts.iter().collect(),
            ExprKind::Where { value, cond } => vec![value, cond],
        }
    }

    /// Whether both were written alike, wherever they stand.
    pub fn same(&self, other: &Expr) -> bool {
        self.without_spans() == other.without_spans()
    }
}

impl File {
    /// Whether both hold the same statements, wherever they stand.
    pub fn same_program(&self, other: &File) -> bool {
        self.without_spans() == other.without_spans()
    }

    /// The name after `cascade`, `None` in a library.
    pub fn cascade_name(&self) -> Option<&Ident> {
        self.stmts.iter().find_map(|stmt| match &stmt.kind {
            StmtKind::Cascade(name) => Some(name),
            _ => None,
        })
    }
}
