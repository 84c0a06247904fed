//! Expansion of defs.
//!
//! A def is expanded where it is called: parameters are values, rank parameters are ranks of the caller, local ranks
//! are new. Named locals that depend on coordinates become definitions of the cascade, shared by equal expansions.

use super::products::Context;
use super::{Frame, Lowerer, Rank, RankId};
use crate::expr::{DefId, Expr as Term, ExprId, VarId};
use crate::ir;
use crate::lower::terms::Val;
use einloom_syntax::ast::{self, DefBody, Expr, Ident, RankValue, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use einloom_syntax::span::Span;
use indexmap::IndexMap;

impl<'a> Lowerer<'a> {
    /// The def of this name that is visible here.
    pub(crate) fn find_def(&self, name: &str) -> Option<(usize, &'a ast::Def)> {
        (0..=self.here())
            .rev()
            .find_map(|file| self.defs.get(&(file, name.to_string())).map(|def| (file, *def)))
    }

    pub(crate) fn expand(
        &mut self,
        e: &'a Expr,
        name: &'a Ident,
        (file, def): (usize, &'a ast::Def),
        ranks: &'a [Ident],
        args: &'a [Expr],
        cx: &Context<'a>,
    ) -> Option<Val> {
        if self.frames.iter().any(|frame| std::ptr::eq(frame.def, def)) {
            // A file's own defs were checked as they stand.
            return None;
        }
        let grouped = def.ranks.len() == 1 && !ranks.is_empty();
        if (!grouped && def.ranks.len() != ranks.len()) || def.params.len() != args.len() {
            let form: Vec<&str> = def.params.iter().map(|param| param.text.as_str()).collect();
            let bracket: Vec<&str> = def.ranks.iter().map(|rank| rank.text.as_str()).collect();
            let bracket = if bracket.is_empty() {
                String::new()
            } else {
                format!("[{}]", bracket.join(","))
            };
            let message = format!(
                "`{}` is called as `{}{bracket}({})`",
                name.text,
                name.text,
                form.join(", ")
            );
            self.error(Code::E0211, e.span, message, "");
            return None;
        }
        let bound: Vec<Option<RankId>> = if grouped {
            vec![self.bracket(ranks)]
        } else {
            ranks.iter().map(|rank| self.rank(rank)).collect()
        };
        let mut inner = cx.clone();
        for rank in bound.iter().flatten() {
            inner.keep(&self.atoms(*rank));
        }
        let vals: Vec<Option<Val>> = args.iter().map(|arg| self.expr(arg, &inner)).collect();
        let bound: Option<Vec<RankId>> = bound.into_iter().collect();
        if vals.iter().any(Option::is_none) {
            return None;
        }
        let mut frame_ranks = IndexMap::new();
        for (param, rank) in def.ranks.iter().zip(bound?) {
            frame_ranks.insert(param.text.clone(), rank);
        }
        let values = def.params.iter().map(|param| param.text.clone()).zip(vals).collect();
        let call = self.frames.first().map_or(e.span, |frame| frame.call);
        let broken = self.diagnostics.len();
        self.frames.push(Frame {
            def,
            file,
            call,
            values,
            ranks: frame_ranks,
            locals: Vec::new(),
        });
        let val = self.body(def);
        let leaked = val.as_ref().and_then(|val| self.leak(val));
        if let Some((local, span)) = leaked
            && self.diagnostics.len() == broken
        {
            self.report(
                Diagnostic::new(
                    Code::E0603,
                    format!(
                        "the result of `{}` still depends on its local rank `{local}`",
                        def.name.text
                    ),
                )
                .primary(span, "")
                .help(format!("reduce it, `sum[{local}](..)` for example")),
            );
        }
        let failed = self.diagnostics[broken.min(self.diagnostics.len())..]
            .iter()
            .any(Diagnostic::is_error);
        self.frames.pop();
        if failed { None } else { val }
    }

    fn leak(&self, val: &Val) -> Option<(String, Span)> {
        let frame = self.frames.last()?;
        let ranks = self.terms.ranks(val);
        let local = frame.locals.iter().find(|var| ranks.contains(var))?;
        let span = match &frame.def.body {
            DefBody::Expr(body) => body.span,
            DefBody::Block { result, .. } => result.span,
        };
        Some((self.terms.vars[local.index()].name.clone(), span))
    }

    fn body(&mut self, def: &'a ast::Def) -> Option<Val> {
        let (stmts, result) = match &def.body {
            DefBody::Expr(body) => return self.raw(body),
            DefBody::Block { stmts, result } => (stmts, result),
        };
        for stmt in stmts {
            match &stmt.kind {
                StmtKind::Rank(items) => {
                    for item in items {
                        self.local_rank(item);
                    }
                }
                StmtKind::Define { lhs, value } => {
                    let val = self
                        .raw(value)
                        .map(|val| self.name_local(&def.name.text, &lhs.name, val));
                    if let Some(frame) = self.frames.last_mut() {
                        frame.values.insert(lhs.name.text.clone(), val);
                    }
                }
                _ => {}
            }
        }
        self.raw(result)
    }

    fn local_rank(&mut self, item: &'a ast::RankItem) {
        let Some(RankValue::Choice(list)) = &item.value else {
            self.unsupported(
                item.span,
                "a composite rank inside a def",
                "declare it in the file and pass it",
            );
            return;
        };
        let [choice] = list.as_slice() else {
            self.error(Code::E0212, item.span, "a local rank has one extent", "");
            return;
        };
        let read = matches!(choice.unparen().kind, ast::ExprKind::Index { .. });
        let val = if read { None } else { self.raw(choice) };
        if val.is_none() && !read {
            return;
        }
        let fixed = val.filter(|val| {
            let known = self.terms.ranks(val).is_empty() && val.conds.is_empty() && !self.reads(val.expr);
            known && val.kind == crate::expr::Kind::Int
        });
        let Some(val) = fixed else {
            self.error(
                Code::E0212,
                choice.span,
                "an extent must be an int expression of extents and constants",
                "",
            );
            return;
        };
        let extent = val.expr;
        self.terms.extents.insert(extent);
        let owner = self
            .frames
            .last()
            .map_or_else(String::new, |frame| frame.def.name.text.clone());
        let key = (owner, item.name.text.clone(), extent, self.frames.len());
        let id = match self.locals.get(&key) {
            Some(id) => *id,
            None => {
                let var = self.terms.new_var(&item.name.text, extent);
                let id = self.ranks.len();
                self.ranks.push(Rank {
                    name: item.name.text.clone(),
                    span: item.name.span,
                    parts: None,
                    var: Some(var),
                    extent: Some(extent),
                    tail: false,
                });
                self.locals.insert(key, id);
                id
            }
        };
        let atoms: Vec<VarId> = self.atoms(id);
        if let Some(frame) = self.frames.last_mut() {
            frame.ranks.insert(item.name.text.clone(), id);
            frame.locals.extend(atoms);
        }
    }

    /// A named local: a definition, unless it is a mere number.
    fn name_local(&mut self, def: &str, name: &Ident, val: Val) -> Val {
        let simple = matches!(
            self.terms.arena.get(val.expr),
            Term::Real(_)
                | Term::Int(_)
                | Term::Bool(_)
                | Term::Var(_)
                | Term::Extent(_)
                | Term::Scalar(_)
                | Term::Input(..)
                | Term::Def(..)
        );
        if simple || self.terms.free(val.expr).is_empty() {
            return val;
        }
        let mut val = val;
        self.terms.prune(&mut val.conds);
        let dims = self.order(&val);
        let known = self
            .out
            .defs
            .iter()
            .position(|other| other.dims == dims && other.conds == val.conds && other.body == val.expr);
        let id = match known {
            Some(at) => DefId(at as u32),
            None => {
                let plain = format!("{def}.{}", name.text);
                let taken = |text: &str, defs: &[ir::Def]| defs.iter().any(|other| other.name == text);
                let mut unique = plain.clone();
                let mut suffix = 2;
                while taken(&unique, &self.out.defs) {
                    unique = format!("{plain}.{suffix}");
                    suffix += 1;
                }
                self.add_def(&unique, dims.clone(), &val, name.span)
            }
        };
        self.read_def(id, &val)
    }

    /// Variables of a value in the order in which they first appear.
    pub(crate) fn order(&self, val: &Val) -> Vec<VarId> {
        let mut seen = std::collections::BTreeSet::new();
        let mut dims: Vec<VarId> = Vec::new();
        let roots = [val.expr].into_iter().chain(val.conds.iter().copied());
        for root in roots {
            let mut stack = vec![root];
            while let Some(id) = stack.pop() {
                if !seen.insert(id) || self.terms.free(id).is_empty() {
                    continue;
                }
                if let Term::Var(var) = self.terms.arena.get(id) {
                    dims.push(*var);
                }
                let mut children = self.terms.arena.children(id);
                if matches!(self.terms.arena.get(id), Term::Reduce(_)) {
                    // The body says more about the natural order than the conditions, which come first.
                    children.rotate_right(1);
                }
                stack.extend(children.into_iter().rev());
            }
        }
        // Variables that are bound inside are not of the value.
        let free = self.terms.ranks(val);
        dims.retain(|var| free.contains(var));
        dims
    }

    pub(crate) fn add_def(&mut self, name: &str, dims: Vec<VarId>, val: &Val, span: Span) -> DefId {
        let id = DefId(self.out.defs.len() as u32);
        self.out.defs.push(ir::Def {
            name: name.to_string(),
            dims,
            conds: val.conds.clone(),
            body: val.expr,
            span,
        });
        id
    }

    /// A definition at its own coordinates.
    pub(crate) fn read_def(&mut self, id: DefId, val: &Val) -> Val {
        let dims = self.out.defs[id.index()].dims.clone();
        let index: Vec<ExprId> = dims.iter().map(|var| self.terms.var(*var)).collect();
        Val {
            expr: self.terms.add(Term::Def(id, index)),
            kind: val.kind,
            conds: val.conds.clone(),
        }
    }
}
