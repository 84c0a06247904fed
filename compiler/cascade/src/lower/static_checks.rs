//! Checks of defs as they stand, called or not: names and recursion of those of the main file, the blocks of all files.

use super::Lowerer;
use einloom_syntax::ast::{self, DefBody, Expr, ExprKind, Ident, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use einloom_syntax::span::Span;

impl<'a> Lowerer<'a> {
    /// Checks every def of the main file.
    pub(crate) fn static_checks(&mut self, main: &'a ast::File) {
        for file in self.files {
            for stmt in &file.stmts {
                if let StmtKind::Def(def) = &stmt.kind {
                    self.block(def);
                }
            }
        }
        for stmt in &main.stmts {
            let StmtKind::Def(def) = &stmt.kind else { continue };
            if super::calls::is_builtin(&def.name.text) {
                self.error(
                    Code::E0202,
                    def.name.span,
                    format!("`{}` is the name of a function", def.name.text),
                    "",
                );
            }
            if let Some((_, first)) = self.names.get(&def.name.text).copied() {
                self.twice(&def.name, first);
            }
            let mut seen: Vec<&Ident> = Vec::new();
            for param in def.params.iter().chain(&def.ranks) {
                match seen.iter().find(|other| other.text == param.text) {
                    Some(first) => self.twice(param, first.span),
                    None => seen.push(param),
                }
            }
            self.recursive(def);
            self.own_names(def);
        }
    }

    /// A def that reaches itself through calls.
    fn recursive(&mut self, def: &'a ast::Def) {
        let file = self.files.len() - 1;
        let mut open: Vec<(&'a Ident, &'a str)> =
            calls(def).into_iter().map(|name| (name, name.text.as_str())).collect();
        let mut seen: Vec<&str> = Vec::new();
        while let Some((site, name)) = open.pop() {
            if name == def.name.text {
                self.report(
                    Diagnostic::new(Code::E0604, "a def may not call itself")
                        .primary(site.span, format!("reaches `{}` again", def.name.text))
                        .note("defs are expanded where they are called; a recurrence over an index is written `rec`"),
                );
                return;
            }
            if !seen.contains(&name) {
                seen.push(name);
                if let Some(next) = self.defs.get(&(file, name.to_string())) {
                    open.extend(calls(next).into_iter().map(|inner| (site, inner.text.as_str())));
                }
            }
        }
    }

    /// The definitions of a block: bare names, each defined once. Values of a def carry ranks that it does not know, so an
    /// index list could not be complete.
    fn block(&mut self, def: &'a ast::Def) {
        let DefBody::Block { stmts, .. } = &def.body else {
            return;
        };
        let mut seen: Vec<&Ident> = def.params.iter().chain(&def.ranks).collect();
        for stmt in stmts {
            match &stmt.kind {
                StmtKind::Rank(items) => items.iter().for_each(|item| self.local_name(&item.name, &mut seen)),
                StmtKind::Define { lhs, .. } => {
                    self.local_name(&lhs.name, &mut seen);
                    self.no_list(lhs);
                }
                _ => {}
            }
        }
    }

    fn local_name(&mut self, name: &'a Ident, seen: &mut Vec<&'a Ident>) {
        if name.is_new() {
            let message = format!(
                "`{}` is the new value of an `inout` tensor, and a def has none",
                name.text
            );
            self.error(Code::E0601, name.span, message, "");
        } else if super::calls::is_builtin(&name.text) {
            let message = format!("`{}` is the name of a function", name.text);
            self.error(Code::E0202, name.span, message, "");
        }
        match seen.iter().find(|other| other.text == name.text) {
            Some(first) => self.twice(name, first.span),
            None => seen.push(name),
        }
    }

    fn no_list(&mut self, lhs: &ast::Lhs) {
        if lhs.places.is_none() {
            return;
        }
        let end = lhs.name.span.end;
        let list = Span { start: end, ..lhs.span };
        self.report(
            Diagnostic::new(
                Code::E0207,
                format!("`{}` is local to a def and takes no index list", lhs.name.text),
            )
            .primary(list, "")
            .note("the values of a def carry ranks that it does not know, so a list could not be complete")
            .fix("leave the list out", list, ""),
        );
    }

    /// A def sees its parameters, its locals, constants and defs.
    fn own_names(&mut self, def: &'a ast::Def) {
        let mut own: Vec<String> = Vec::new();
        let rank = |own: &mut Vec<String>, name: &Ident| own.extend([name.text.clone(), name.text.to_uppercase()]);
        own.extend(def.params.iter().map(|param| param.text.clone()));
        def.ranks.iter().for_each(|name| rank(&mut own, name));
        match &def.body {
            DefBody::Expr(body) => self.own_in(body, &own),
            DefBody::Block { stmts, result } => {
                for stmt in stmts {
                    match &stmt.kind {
                        StmtKind::Rank(items) => {
                            for item in items {
                                if let Some(ast::RankValue::Choice(list)) = &item.value {
                                    list.iter().for_each(|e| self.own_in(e, &own));
                                }
                                rank(&mut own, &item.name);
                            }
                        }
                        StmtKind::Define { lhs, value } => {
                            self.own_in(value, &own);
                            own.push(lhs.name.text.clone());
                        }
                        _ => {}
                    }
                }
                self.own_in(result, &own);
            }
        }
    }

    fn own_in(&mut self, e: &'a Expr, own: &[String]) {
        let mut open = vec![e];
        while let Some(e) = open.pop() {
            open.extend(e.children());
            match &e.kind {
                ExprKind::Name(name) => self.own_name(name, own),
                ExprKind::Index { name, .. } => self.own_name(name, own),
                ExprKind::Subst { name, pairs } => {
                    self.own_name(name, own);
                    pairs.iter().for_each(|pair| self.own_name(&pair.rank, own));
                }
                ExprKind::Call { name, ranks, .. } => {
                    let known = super::calls::is_builtin(&name.text) || self.find_def(&name.text).is_some();
                    if !known
                        && crate::expr::DType::from_name(&name.text).is_none()
                        && !super::consts::NARROW.contains(&name.text.as_str())
                    {
                        self.own_name(name, own);
                    }
                    ranks.iter().for_each(|rank| self.own_name(rank, own));
                }
                _ => {}
            }
        }
    }

    fn own_name(&mut self, name: &'a Ident, own: &[String]) {
        let text = name.text.as_str();
        if own.iter().any(|other| other == text) || matches!(text, "pi" | "inf" | "true" | "false") {
            return;
        }
        if self.constant(text).is_some() || self.poisoned(text) {
            self.used.insert(text.to_string());
            return;
        }
        let extent = self.ranks.iter().any(|rank| rank.name.to_uppercase() == text);
        if self.names.contains_key(text) || self.places.contains_key(text) || extent {
            let what = format!("a def sees its parameters, constants and defs only; pass `{text}`");
            self.error(Code::E0602, name.span, what, "");
        } else {
            self.unknown(name);
        }
    }
}

/// Names that are called in the body of a def.
fn calls(def: &ast::Def) -> Vec<&Ident> {
    let mut open: Vec<&Expr> = Vec::new();
    match &def.body {
        DefBody::Expr(body) => open.push(body),
        DefBody::Block { stmts, result } => {
            open.push(result);
            open.extend(stmts.iter().filter_map(|stmt| match &stmt.kind {
                StmtKind::Define { value, .. } => Some(value),
                _ => None,
            }));
        }
    }
    let mut found = Vec::new();
    while let Some(e) = open.pop() {
        if let ExprKind::Call { name, .. } = &e.kind {
            found.push(name);
        }
        open.extend(e.children());
    }
    found.sort_by_key(|name| name.span.start);
    found
}
