//! Statements: definitions, outputs, promises, policies.

use super::products::{Context, factors};
use super::{Binding, Dim, Lowerer, RankId, Source, TensorInfo};
use crate::expr::{DefId, MapOp, VarId};
use crate::ir::{MemDim, Output, Policy};
use crate::lower::terms::{Val, join};
use einloom_syntax::ast::{self, BinaryOp, Expr, ExprKind, Ident, Lhs, PolicyValue, Stmt, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use einloom_syntax::span::Span;

impl<'a> Lowerer<'a> {
    /// Lowers all statements in order.
    pub(crate) fn statements(&mut self, main: &'a ast::File) {
        for stmt in &main.stmts {
            match &stmt.kind {
                StmtKind::Define { lhs, value } => {
                    self.define(lhs, value, stmt.span);
                }
                StmtKind::Output { lhs, ty, value } => self.output(stmt, lhs, ty, value.as_ref()),
                StmtKind::Rec { .. } => {
                    self.unsupported(
                        stmt.span,
                        "recurrences (`rec`)",
                        "a linear recurrence can be written as a sum over earlier indices",
                    );
                }
                StmtKind::Assume(cond) => self.assume(cond),
                StmtKind::Policy { key, names, value } => self.policy(stmt.span, key, names, value),
                _ => {}
            }
        }
        if main.cascade_name().is_some()
            && self.out.outputs.is_empty()
            && self.diagnostics.is_empty()
            && main.poisoned.is_empty()
        {
            let span = main.cascade_name().map_or(Span::default(), |name| name.span);
            self.report(
                Diagnostic::new(Code::E0213, format!("cascade `{}` has no output", self.out.name))
                    .primary(span, "")
                    .help("declare one: `out O[..] : f32 = ..`"),
            );
        }
    }

    /// The ranks of a left side, `None` where it has no list.
    fn places(&mut self, lhs: &'a Lhs) -> Option<Option<Vec<RankId>>> {
        let Some(places) = &lhs.places else { return Some(None) };
        let mut list = Vec::new();
        let mut atoms: Vec<VarId> = Vec::new();
        let mut failed = false;
        for place in places {
            if place.at.is_some() {
                self.unsupported(
                    place.span,
                    "computed places on the left",
                    "write a reduction with a comparison: `sum[p](x where to == n)`",
                );
                failed = true;
                continue;
            }
            let Some(rank) = self.rank(&place.rank) else {
                failed = true;
                continue;
            };
            let own = self.atoms(rank);
            if own.iter().any(|atom| atoms.contains(atom)) {
                self.error(
                    Code::E0202,
                    place.span,
                    format!("rank `{}` stands twice in the index list", place.rank.text),
                    "",
                );
                failed = true;
                continue;
            }
            atoms.extend(own);
            list.push(rank);
        }
        if failed { None } else { Some(Some(list)) }
    }

    /// `name[..] = value`; binds the name, to silence if something is wrong.
    fn define(&mut self, lhs: &'a Lhs, value: &'a Expr, span: Span) -> Option<(DefId, Vec<RankId>)> {
        let name = &lhs.name;
        if name.is_new() {
            let base = name.base();
            let inout = self.files[self.files.len() - 1].stmts.iter().any(
                |stmt| matches!(&stmt.kind, StmtKind::Inout { decls, .. } if decls.iter().any(|decl| decl.name.text == base)),
            );
            if !inout {
                let message = format!(
                    "`{}` is the new value of an `inout` tensor, and `{base}` is none",
                    name.text
                );
                self.error(Code::E0601, name.span, message, "");
            }
            self.names.insert(name.text.clone(), (Binding::Broken, name.span));
            return None;
        }
        let places = self.places(lhs);
        self.current = Some(name.text.clone());
        self.statement = Default::default();
        let left: Vec<VarId> = places
            .iter()
            .flatten()
            .flatten()
            .flat_map(|rank| self.atoms(*rank))
            .collect();
        let cx = match &places {
            Some(Some(_)) => Context::summing(&left),
            _ => Context::raw(),
        };
        let val = self.expr(value, &cx);
        self.current = None;
        let made = match (places, val) {
            (Some(ranks), Some(val)) => self.finish_define(name, ranks, val, lhs, value, span),
            _ => None,
        };
        if made.is_none() {
            match self.names.get(&name.text).copied() {
                Some((_, first)) if first != name.span => self.twice(name, first),
                Some(_) => {}
                None => drop(self.bind(name, Binding::Broken)),
            }
        }
        made
    }

    fn finish_define(
        &mut self,
        name: &'a Ident,
        ranks: Option<Vec<RankId>>,
        mut val: Val,
        lhs: &'a Lhs,
        value: &'a Expr,
        span: Span,
    ) -> Option<(DefId, Vec<RankId>)> {
        let dims = match &ranks {
            Some(list) => {
                let atoms: Vec<VarId> = list.iter().flat_map(|rank| self.atoms(*rank)).collect();
                self.left_over(&atoms, &val, lhs, value)?;
                for rank in list {
                    let tail = self.coordinate(*rank)?.conds;
                    let mut conds = tail;
                    join(&mut conds, &val.conds);
                    val.conds = conds;
                }
                atoms
            }
            None => self.order(&val),
        };
        self.terms.prune(&mut val.conds);
        if !self.bind(name, Binding::Tensor(self.tensors.len())) {
            return None;
        }
        let def = self.add_def(&name.text, dims, &val, span);
        let bare = self.read_def(def, &val);
        let list = ranks.clone().map(|list| list.into_iter().map(Dim::Rank).collect());
        self.tensors.push(TensorInfo {
            name: name.text.clone(),
            source: Source::Def(def),
            kind: val.kind,
            dims: list,
            bare: Some(bare),
        });
        Some((def, ranks.unwrap_or_default()))
    }

    /// Everything that the right side still depends on must be on the left.
    fn left_over(&mut self, left: &[VarId], val: &Val, lhs: &'a Lhs, value: &'a Expr) -> Option<()> {
        let carried: Vec<VarId> = self
            .terms
            .ranks(val)
            .into_iter()
            .filter(|atom| !left.contains(atom))
            .collect();
        let Some(first) = carried.first().copied() else {
            return Some(());
        };
        let in_value = self.terms.free(val.expr).contains(&first);
        let name = self.rank_names(&carried).into_iter().next()?;
        if !in_value && let Some(span) = self.condition_of(value, first) {
            if self.statement.summed.contains(&first) {
                let message =
                    format!("the condition mentions `{name}`, which is summed in one term and absent from the other");
                self.report(
                    Diagnostic::new(Code::E0306, message)
                        .primary(span, "")
                        .help("split the statement: one for each term"),
                );
            } else {
                let extent = name.to_uppercase();
                let message =
                    format!("rank `{name}` occurs only in the `where`: the term would be counted `{extent}` times");
                self.report(Diagnostic::new(Code::E0304, message).primary(span, "").help(format!(
                    "add `{name}` on the left, or write `any[{name}](..)` around the condition"
                )));
            }
            return None;
        }
        let found = self.one_factor(value, first);
        let (code, span, term, message) = match found {
            Some((factor, product)) => (
                Code::E0301,
                factor.span,
                product.span,
                format!("rank `{name}` is missing on the left and stands in one factor only"),
            ),
            None => {
                let term = self.term_of(value, first);
                let message =
                    format!("rank `{name}` is missing on the left, and there is no implied sum over one factor");
                (Code::E0302, term.span, term.span, message)
            }
        };
        let mut diagnostic = Diagnostic::new(code, message).primary(span, format!("depends on `{name}`"));
        if code == Code::E0301
            && let Some(last) = lhs.places.as_ref().and_then(|places| places.last())
        {
            let end = Span {
                start: last.span.end,
                ..last.span
            };
            diagnostic = diagnostic.fix(format!("add `{name}` on the left"), end, format!(",{name}"));
        }
        diagnostic.help.push(super::report::wrap(
            format!("write the sum: `sum[{name}](..)`"),
            term,
            &format!("sum[{name}]("),
            ")",
        ));
        self.report(diagnostic);
        None
    }

    /// The condition that mentions an atom.
    fn condition_of(&mut self, value: &'a Expr, atom: VarId) -> Option<Span> {
        let mut open = vec![value];
        while let Some(e) = open.pop() {
            if let ExprKind::Where { cond, .. } = &e.kind
                && self.carried(cond).contains(&atom)
            {
                return Some(cond.span);
            }
            open.extend(e.children());
        }
        None
    }

    /// The single factor of a product that carries an atom, with the product.
    fn one_factor(&mut self, value: &'a Expr, atom: VarId) -> Option<(&'a Expr, &'a Expr)> {
        let mut open = vec![value];
        while let Some(e) = open.pop() {
            if let ExprKind::Binary {
                op: BinaryOp::Mul | BinaryOp::Div,
                ..
            } = &e.kind
            {
                let own: Vec<&'a Expr> = factors(e).into_iter().map(|(_, factor)| factor).collect();
                let with: Vec<&'a Expr> = own
                    .into_iter()
                    .filter(|factor| self.carried(factor).contains(&atom))
                    .collect();
                if let [factor] = with[..] {
                    return Some((factor, e));
                }
            }
            match &e.kind {
                // Functions are opaque: what stands inside is not a factor of the statement.
                ExprKind::Call { .. } | ExprKind::Index { .. } | ExprKind::Subst { .. } => {}
                ExprKind::Where { value, .. } => open.push(value),
                _ => open.extend(e.children()),
            }
        }
        None
    }

    /// The smallest term of a sum that carries an atom.
    fn term_of(&mut self, value: &'a Expr, atom: VarId) -> &'a Expr {
        match &value.kind {
            ExprKind::Binary {
                op: BinaryOp::Add | BinaryOp::Sub,
                left,
                right,
                ..
            } => {
                let side = if self.carried(left).contains(&atom) {
                    left
                } else {
                    right
                };
                self.term_of(side, atom)
            }
            ExprKind::Where { value, .. } => self.term_of(value, atom),
            _ => value,
        }
    }

    fn output(&mut self, stmt: &'a Stmt, lhs: &'a Lhs, ty: &'a Ident, value: Option<&'a Expr>) {
        let dtype = self.dtype(ty);
        let made = match value {
            Some(value) => {
                if lhs.places.is_none() && !lhs.name.is_new() {
                    let message = format!(
                        "output `{}` needs an index list: it fixes the order of its ranks",
                        lhs.name.text
                    );
                    self.report(Diagnostic::new(Code::E0210, message).primary(lhs.name.span, ""));
                    self.bind(&lhs.name, Binding::Broken);
                    return;
                }
                self.define(lhs, value, stmt.span)
            }
            None => self.export(lhs),
        };
        self.used.insert(lhs.name.text.clone());
        let (Some(dtype), Some((def, ranks))) = (dtype, made) else {
            return;
        };
        let mut dims = Vec::new();
        let mut places = Vec::new();
        for rank in ranks {
            let (Some(extent), Some(at)) = (self.ranks[rank].extent, self.coordinate(rank)) else {
                return;
            };
            dims.push(MemDim {
                name: self.ranks[rank].name.clone(),
                extent,
            });
            places.push(at.expr);
        }
        let name = lhs.name.text.clone();
        if self.out.outputs.iter().any(|other| other.name == name) {
            self.error(Code::E0202, lhs.name.span, format!("`{name}` is an output already"), "");
            return;
        }
        self.out.outputs.push(Output {
            name,
            dtype,
            def,
            dims,
            places,
            span: stmt.span,
        });
    }

    /// `out A : f16` of an `A` that was defined with a list.
    fn export(&mut self, lhs: &'a Lhs) -> Option<(DefId, Vec<RankId>)> {
        let name = &lhs.name;
        let at = match self.names.get(&name.text).copied() {
            Some((Binding::Tensor(at), _)) => at,
            Some((Binding::Broken, _)) => return None,
            Some(_) => {
                self.error(Code::E0201, name.span, format!("`{}` is not a tensor", name.text), "");
                return None;
            }
            None => {
                self.unknown(name);
                return None;
            }
        };
        let own = self.tensors[at].dims.clone();
        let order = self.places(lhs)?;
        let def = match self.tensors[at].source {
            Source::Def(def) => def,
            Source::Input(_) => {
                let bare = self.tensors[at].bare.clone()?;
                let dims = self.order(&bare);
                self.add_def(&format!("{}.out", name.text), dims, &bare, name.span)
            }
        };
        let ranks: Vec<RankId> = match (order, own) {
            (Some(order), _) => {
                let mut given: Vec<VarId> = order.iter().flat_map(|rank| self.atoms(*rank)).collect();
                let mut wanted = self.out.defs[def.index()].dims.clone();
                given.sort_unstable();
                wanted.sort_unstable();
                if given != wanted {
                    let names = self.rank_names(&wanted);
                    self.error(
                        Code::E0203,
                        lhs.span,
                        format!("`{}` has the ranks {}", name.text, names.join(", ")),
                        "",
                    );
                    return None;
                }
                order
            }
            (None, Some(dims)) => dims
                .iter()
                .filter_map(|dim| match dim {
                    Dim::Rank(rank) => Some(*rank),
                    Dim::Extent(_) => None,
                })
                .collect(),
            (None, None) => {
                let message = format!(
                    "output `{}` needs an index list: it fixes the order of its ranks",
                    name.text
                );
                self.report(
                    Diagnostic::new(Code::E0210, message)
                        .primary(name.span, "")
                        .note(format!("`{}` was defined without one", name.text)),
                );
                return None;
            }
        };
        Some((def, ranks))
    }

    fn assume(&mut self, cond: &'a Expr) {
        let Some(val) = self.condition(cond, &Context::raw()) else {
            return;
        };
        let exists = self.terms.all(&val.conds);
        let absent = self.terms.map(MapOp::Not, &[exists]);
        let promise = self.terms.map(MapOp::Or, &[absent, val.expr]);
        self.out.assumes.push(promise);
    }

    fn policy(&mut self, span: Span, key: &Ident, names: &[Ident], value: &PolicyValue) {
        for name in names {
            let known = self.names.contains_key(&name.text) || self.places.contains_key(&name.text);
            if !known {
                self.unknown(name);
            }
            self.used.insert(name.text.clone());
        }
        let value = match value {
            PolicyValue::Name(name) => name.text.clone(),
            PolicyValue::Number { number, .. } => number.text.clone(),
        };
        let names = names.iter().map(|name| name.text.clone()).collect();
        self.out.policies.push(Policy {
            key: key.text.clone(),
            names,
            value,
            span,
        });
    }

    /// Warnings about names that nothing uses.
    pub(crate) fn unused(&self, main: &ast::File, diagnostics: &mut Vec<Diagnostic>) {
        let mut warn = |name: &Ident| {
            if !self.used.contains(&name.text) {
                diagnostics.push(
                    Diagnostic::new(Code::W0703, format!("`{}` is never used", name.text)).primary(name.span, ""),
                );
            }
        };
        for stmt in &main.stmts {
            match &stmt.kind {
                StmtKind::Rank(items) => {
                    for item in items {
                        let parts_used = self.composite_used(&item.name.text);
                        if !parts_used {
                            warn(&item.name);
                        }
                    }
                }
                StmtKind::Const(items) => items.iter().for_each(|item| warn(&item.name)),
                StmtKind::Input { decls, .. } => decls.iter().for_each(|decl| warn(&decl.name)),
                StmtKind::Define { lhs, .. } => warn(&lhs.name),
                _ => {}
            }
        }
    }

    /// Whether a rank is a part of a rank that is used, or has a part that is.
    fn composite_used(&self, name: &str) -> bool {
        let used = |id: RankId| self.used.contains(&self.ranks[id].name);
        self.ranks.iter().any(|rank| {
            let Some(parts) = &rank.parts else { return false };
            let inside = parts.iter().any(|part| self.ranks[*part].name == name) && self.used.contains(&rank.name);
            inside || (rank.name == name && parts.iter().any(|part| used(*part)))
        })
    }
}
