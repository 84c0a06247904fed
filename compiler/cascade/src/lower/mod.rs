//! From syntax trees to a [`Cascade`]: names, ranks, types, defs, implied sums, domains; and all messages about them.
//!
//! Every value is a [`Val`]: an expression and the conditions under which it exists. `where`, reads outside
//! and `else` only build conditions; reductions use up those that mention their atoms. Defs are expanded where they
//! are called; values that a def names become definitions of the cascade.
//!
//! All errors of a file are reported in one run: a value that could not be lowered is `None`, and what depends on it
//! stays silent.

mod calls;
mod choices;
mod consts;
mod decls;
mod defs;
mod exprs;
mod finish;
mod index;
mod products;
mod range;
mod ranks;
mod reductions;
mod report;
mod static_checks;
mod stmts;
mod terms;
mod text;

pub use choices::{Choices, MAX_SPECIALISATIONS, specialisations};

use crate::expr::{DType, DefId, InputId, Kind, ScalarId, VarId};
use crate::ir::Cascade;
use einloom_syntax::ast;
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::{Diagnostic, has_errors};
use einloom_syntax::span::{SourceId, Span};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use terms::{Terms, Val};

pub(crate) type RankId = usize;

/// A rank: an atom with its canonical variable, or a tuple of parts.
pub(crate) struct Rank {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) parts: Option<Vec<RankId>>,
    pub(crate) var: Option<VarId>,
    /// Known once resolved; `None` where it could not be found.
    pub(crate) extent: Option<crate::expr::ExprId>,
    /// Whether the product of the parts may exceed the extent.
    pub(crate) tail: bool,
}

/// What a dimension of a tensor is.
#[derive(Clone, Debug)]
pub(crate) enum Dim {
    Rank(RankId),
    Extent(crate::expr::ExprId),
}

/// A declared or defined tensor.
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    /// `None` for a tensor that was defined without an index list.
    pub(crate) dims: Option<Vec<Dim>>,
    /// The bare value; `None` where a dimension has no rank.
    pub(crate) bare: Option<Val>,
}

#[derive(Clone, Copy)]
pub(crate) enum Source {
    Input(InputId),
    Def(DefId),
}

/// What a name of the main file stands for.
#[derive(Clone, Copy)]
pub(crate) enum Binding {
    Rank(RankId),
    Tensor(usize),
    Scalar(ScalarId),
    /// Defined by something that was refused: silent.
    Broken,
}

/// Value of a `const`.
#[derive(Clone)]
pub(crate) enum Const {
    Type(DType),
    Value(Val),
}

/// The expansion of one def.
pub(crate) struct Frame<'a> {
    pub(crate) def: &'a ast::Def,
    pub(crate) file: usize,
    pub(crate) call: Span,
    pub(crate) values: IndexMap<String, Option<Val>>,
    pub(crate) ranks: IndexMap<String, RankId>,
    pub(crate) locals: Vec<VarId>,
}

pub(crate) struct Lowerer<'a> {
    pub(crate) files: &'a [&'a ast::File],
    pub(crate) main: SourceId,
    pub(crate) choices: &'a Choices,
    pub(crate) out: Cascade,
    pub(crate) terms: Terms,
    pub(crate) ranks: Vec<Rank>,
    pub(crate) rank_state: BTreeMap<RankId, bool>,
    pub(crate) groups: BTreeMap<Vec<RankId>, RankId>,
    pub(crate) locals: BTreeMap<(String, String, crate::expr::ExprId, usize), RankId>,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) names: IndexMap<String, (Binding, Span)>,
    /// Where each name is defined first, over the whole file: for use before definition.
    pub(crate) places: IndexMap<String, Span>,
    pub(crate) consts: BTreeMap<(usize, String), Option<Const>>,
    pub(crate) const_open: Vec<(usize, String)>,
    pub(crate) defs: BTreeMap<(usize, String), &'a ast::Def>,
    pub(crate) frames: Vec<Frame<'a>>,
    pub(crate) used: BTreeSet<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) nest: usize,
    /// Inside a branch of `else`: a read that is always outside is meant.
    pub(crate) in_else: usize,
    /// Names of statements that are being lowered: for self reference.
    pub(crate) current: Option<String>,
    pub(crate) statement: products::Statement,
}

/// Lowers one specialisation. `files` are the prelude, imported libraries, and last the file with the `cascade`; names
/// of later files hide those of earlier ones. Without errors there is a cascade.
pub fn lower(files: &[&ast::File], choices: &Choices) -> (Option<Cascade>, Vec<Diagnostic>) {
    let Some(main) = files.last() else {
        return (None, Vec::new());
    };
    let mut lowerer = Lowerer::new(files, main, choices);
    lowerer.run(main);
    let broken = !main.poisoned.is_empty();
    let mut diagnostics = std::mem::take(&mut lowerer.diagnostics);
    if lowerer.terms.overflow {
        let span = main.stmts.first().map_or(Span::default(), |stmt| stmt.span);
        diagnostics.push(
            Diagnostic::new(Code::E0106, "the expanded program is too large")
                .primary(span, "")
                .note(format!(
                    "defs are expanded where they are called; at most {} expressions may result",
                    terms::MAX_NODES
                )),
        );
    }
    let failed = has_errors(&diagnostics) || broken;
    if !failed {
        lowerer.unused(main, &mut diagnostics);
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().map(|span| (span.source, span.start, span.end)));
    (if failed { None } else { Some(lowerer.finish()) }, diagnostics)
}

impl<'a> Lowerer<'a> {
    fn new(files: &'a [&'a ast::File], main: &ast::File, choices: &'a Choices) -> Lowerer<'a> {
        Lowerer {
            files,
            main: main.stmts.first().map_or(SourceId::default(), |stmt| stmt.span.source),
            choices,
            out: Cascade::default(),
            terms: Terms::default(),
            ranks: Vec::new(),
            rank_state: BTreeMap::new(),
            groups: BTreeMap::new(),
            locals: BTreeMap::new(),
            tensors: Vec::new(),
            names: IndexMap::new(),
            places: IndexMap::new(),
            consts: BTreeMap::new(),
            const_open: Vec::new(),
            defs: BTreeMap::new(),
            frames: Vec::new(),
            used: BTreeSet::new(),
            diagnostics: Vec::new(),
            nest: 0,
            in_else: 0,
            current: None,
            statement: products::Statement::default(),
        }
    }

    fn run(&mut self, main: &'a ast::File) {
        // Expression 0 stands in for everything past the limits.
        self.terms.int(0);
        self.out.choices = self.choices.texts.clone();
        self.collect(main);
        self.static_checks(main);
        self.resolve_all_ranks();
        self.declare_inputs(main);
        self.statements(main);
    }
}
