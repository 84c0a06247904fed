//! From the pairs of pest to the tree: statements. Expressions are in `build/expr.rs`.
//!
//! The grammar guarantees the shape of the pairs; an `expect` here names a rule of the grammar. What the grammar cannot
//! say is checked on the way: kept words, the case of ranks, `'` on declared names, the range of numbers, the depth.

mod expr;

use pest::iterators::Pair;

use crate::ast::{
    ConstItem, Decl, Def, DefBody, Expr, Ident, Lhs, Place, PolicyValue, RankItem, RankValue, Stmt, StmtKind,
};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::grammar::Rule;
use crate::lexer::{KEPT, Token};
use crate::span::{SourceId, Span};

/// What a name is that a statement declares.
#[derive(Clone, Copy, PartialEq)]
enum Naming {
    /// Left side of a definition: may be the new value of an `inout`.
    Defined,
    /// Tensor, constant, parameter, def, cascade.
    Declared,
    /// A rank: lower case.
    Rank,
}

/// Builds one statement from the pairs of a window of the text.
pub(crate) struct Builder<'t> {
    source: SourceId,
    /// Where the window begins in the text.
    base: usize,
    tokens: &'t [Token],
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Place where the tree became deeper than `MAX_DEPTH`; the statement is of no use then.
    pub(crate) too_deep: Option<Span>,
}

impl<'t> Builder<'t> {
    pub(crate) fn new(source: SourceId, base: usize, tokens: &'t [Token]) -> Builder<'t> {
        Builder {
            source,
            base,
            tokens,
            diagnostics: Vec::new(),
            too_deep: None,
        }
    }

    /// The span of a pair without the white space and comments that pest leaves at its end.
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let (start, end) = (self.base + pair.as_span().start(), self.base + pair.as_span().end());
        let after = self.tokens.partition_point(|token| token.end <= end);
        let end = after
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last))
            .map_or(end, |token| token.end);
        Span::new(self.source, start, end.max(start))
    }

    /// A terminal: its span is exact.
    fn ident(&self, pair: Pair<'_, Rule>) -> Ident {
        let (start, end) = (self.base + pair.as_span().start(), self.base + pair.as_span().end());
        Ident {
            span: Span::new(self.source, start, end),
            text: pair.as_str().to_string(),
        }
    }

    /// A name that this statement brings into being.
    fn naming(&mut self, pair: Pair<'_, Rule>, naming: Naming) -> Ident {
        let name = self.ident(pair);
        if KEPT.contains(&name.base()) {
            let message = format!("`{}` is a reserved word, kept for a later edition", name.base());
            self.diagnostics.push(
                Diagnostic::new(Code::E0104, message)
                    .primary(name.span, "not a name")
                    .help("choose another name"),
            );
        }
        if name.is_new() && naming != Naming::Defined {
            let message = format!(
                "`{}` cannot be declared: `'` names the new value of an `inout` tensor",
                name.text
            );
            self.diagnostics
                .push(Diagnostic::new(Code::E0601, message).primary(name.span, "").fix(
                    "drop the `'`",
                    name.span,
                    name.base(),
                ));
        }
        if naming == Naming::Rank && name.text.contains(|letter: char| letter.is_ascii_uppercase()) {
            let lower = name.text.to_ascii_lowercase();
            self.diagnostics.push(
                Diagnostic::new(Code::E0108, format!("the rank `{}` must be lower case", name.text))
                    .primary(name.span, "")
                    .note(format!("the name in capitals is the extent of the rank `{lower}`"))
                    .fix("in lower case", name.span, lower),
            );
        }
        name
    }

    /// The statement of a pair of the rule `stmt`.
    pub(crate) fn stmt(&mut self, pair: Pair<'_, Rule>) -> Stmt {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut parts = parts(pair);
        let mut next = || parts.next().expect("the grammar gives every statement its parts");
        let kind = match rule {
            Rule::cascade => StmtKind::Cascade(self.naming(next(), Naming::Declared)),
            Rule::import => {
                let mut path = self.ident(next());
                path.text = path.text.trim_matches('"').to_string();
                StmtKind::Import(path)
            }
            Rule::rank => StmtKind::Rank(parts.map(|item| self.rank_item(item)).collect()),
            Rule::constant => StmtKind::Const(parts.map(|item| self.const_item(item)).collect()),
            Rule::input | Rule::inout => self.declaration(rule, parts),
            Rule::output => {
                let lhs = self.lhs(next());
                let ty = self.ident(next());
                StmtKind::Output {
                    lhs,
                    ty,
                    value: parts.next().map(|value| self.expr(value)),
                }
            }
            Rule::recur => StmtKind::Rec {
                lhs: self.lhs(next()),
                value: self.expr(next()),
                init: self.expr(next()),
            },
            Rule::assume => StmtKind::Assume(self.expr(next())),
            Rule::policy => self.policy(parts),
            Rule::def => StmtKind::Def(self.def(parts)),
            Rule::define => StmtKind::Define {
                lhs: self.lhs(next()),
                value: self.expr(next()),
            },
            rule => unreachable!("{rule:?} is no statement of the grammar"),
        };
        Stmt { span, kind }
    }

    fn rank_item(&mut self, pair: Pair<'_, Rule>) -> RankItem {
        let span = self.span(&pair);
        let mut parts = parts(pair);
        let name = self.naming(parts.next().expect("a rank has a name"), Naming::Rank);
        let value = parts.next().map(|value| match value.as_rule() {
            Rule::tuple => self.tuple(value),
            _ => RankValue::Choice(self.choice(value)),
        });
        RankItem { span, name, value }
    }

    fn tuple(&mut self, pair: Pair<'_, Rule>) -> RankValue {
        let mut names = Vec::new();
        let mut by = None;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::ident if by.is_some() => by = Some(Some(self.ident(part))),
                Rule::ident => names.push(self.naming(part, Naming::Rank)),
                Rule::kw_by => by = Some(None),
                _ => {}
            }
        }
        RankValue::Tuple {
            parts: names,
            by: by.flatten(),
        }
    }

    fn const_item(&mut self, pair: Pair<'_, Rule>) -> ConstItem {
        let span = self.span(&pair);
        let mut parts = parts(pair);
        let name = self.naming(parts.next().expect("a constant has a name"), Naming::Declared);
        let choices = self.choice(parts.next().expect("a constant has a value"));
        ConstItem { span, name, choices }
    }

    fn choice(&mut self, pair: Pair<'_, Rule>) -> Vec<Expr> {
        parts(pair).map(|value| self.expr(value)).collect()
    }

    fn declaration<'p>(&mut self, rule: Rule, parts: impl Iterator<Item = Pair<'p, Rule>>) -> StmtKind {
        let (mut decls, mut ty, mut default) = (Vec::new(), None, None);
        for part in parts {
            match part.as_rule() {
                Rule::decl => decls.push(self.decl(part)),
                Rule::ident => ty = Some(self.ident(part)),
                _ => default = Some(self.expr(part)),
            }
        }
        let ty = ty.expect("a declaration has a type");
        match rule {
            Rule::inout => StmtKind::Inout { decls, ty },
            _ => StmtKind::Input { decls, ty, default },
        }
    }

    fn decl(&mut self, pair: Pair<'_, Rule>) -> Decl {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let name = self.naming(inner.next().expect("a declaration has a name"), Naming::Declared);
        let dims = inner.next().map(|dims| parts(dims).map(|dim| self.expr(dim)).collect());
        Decl { span, name, dims }
    }

    fn lhs(&mut self, pair: Pair<'_, Rule>) -> Lhs {
        let span = self.span(&pair);
        let mut inner = parts(pair);
        let name = self.naming(inner.next().expect("a left side has a name"), Naming::Defined);
        let places = inner
            .next()
            .map(|places| parts(places).map(|place| self.place(place)).collect());
        Lhs { span, name, places }
    }

    fn place(&mut self, pair: Pair<'_, Rule>) -> Place {
        let span = self.span(&pair);
        let mut parts = parts(pair);
        let rank = self.ident(parts.next().expect("a place has a rank"));
        let at = parts.next().map(|at| self.expr(at));
        Place { span, rank, at }
    }

    fn policy<'p>(&mut self, mut parts: impl Iterator<Item = Pair<'p, Rule>>) -> StmtKind {
        let key = self.ident(parts.next().expect("a policy has a key"));
        let mut names = Vec::new();
        let mut value = PolicyValue::Name(key.clone());
        for part in parts {
            match part.as_rule() {
                Rule::subjects => names = self::parts(part).map(|name| self.ident(name)).collect(),
                Rule::number => {
                    value = PolicyValue::Number {
                        span: self.span(&part),
                        number: self.number(&part),
                    };
                }
                _ => value = PolicyValue::Name(self.ident(part)),
            }
        }
        StmtKind::Policy { key, names, value }
    }

    fn def<'p>(&mut self, mut inner: impl Iterator<Item = Pair<'p, Rule>>) -> Def {
        let name = self.naming(inner.next().expect("a def has a name"), Naming::Declared);
        let (mut ranks, mut params, mut body) = (Vec::new(), Vec::new(), None);
        for part in inner {
            match part.as_rule() {
                Rule::ranks => ranks = parts(part).map(|rank| self.naming(rank, Naming::Rank)).collect(),
                Rule::params => params = parts(part).map(|name| self.naming(name, Naming::Declared)).collect(),
                Rule::block => body = Some(self.block(part)),
                _ => body = Some(DefBody::Expr(self.expr(part))),
            }
        }
        Def {
            name,
            ranks,
            params,
            body: body.expect("a def has a body"),
        }
    }

    fn block(&mut self, pair: Pair<'_, Rule>) -> DefBody {
        let (mut stmts, mut result) = (Vec::new(), None);
        for part in parts(pair) {
            match part.as_rule() {
                Rule::rank | Rule::define => stmts.push(self.stmt(part)),
                _ => result = Some(self.expr(part)),
            }
        }
        DefBody::Block {
            stmts,
            result: result.expect("a block returns a value"),
        }
    }
}

/// The parts of a pair that carry meaning: no keywords, brackets and separators.
fn parts<'p>(pair: Pair<'p, Rule>) -> impl Iterator<Item = Pair<'p, Rule>> {
    pair.into_inner().filter(|part| !is_mark(part.as_rule()))
}

/// Whether the rule is a keyword, bracket or separator.
fn is_mark(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        comma
            | colon
            | assign
            | equals
            | bar
            | caret
            | open_paren
            | close_paren
            | open_list
            | close_list
            | open_block
            | close_block
            | kw_cascade
            | kw_import
            | kw_rank
            | kw_const
            | kw_in
            | kw_inout
            | kw_out
            | kw_rec
            | kw_from
            | kw_assume
            | kw_policy
            | kw_def
            | kw_return
            | kw_by
            | kw_where
            | kw_else
            | kw_and
            | kw_or
            | kw_not
            | minus
    )
}
