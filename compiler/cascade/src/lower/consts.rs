//! Constants, types and extents as values.

use super::{Const, Lowerer};
use crate::expr::{DType, ExprId, Kind};
use crate::lower::terms::Val;
use einloom_syntax::ast::{ExprKind, Ident, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;

/// Storage types of the language that this edition does not compile.
pub(crate) const NARROW: [&str; 6] = ["e4m3", "e5m2", "i4", "u32", "u16", "u4"];

impl<'a> Lowerer<'a> {
    /// The file that a name of constants and defs is looked up from.
    pub(crate) fn here(&self) -> usize {
        self.frames.last().map_or(self.files.len() - 1, |frame| frame.file)
    }

    /// The constant of this name that is visible here; `Some(None)` for one that was refused.
    pub(crate) fn constant(&mut self, name: &str) -> Option<Option<Const>> {
        (0..=self.here()).rev().find_map(|file| self.constant_of(file, name))
    }

    fn constant_of(&mut self, file: usize, name: &str) -> Option<Option<Const>> {
        let key = (file, name.to_string());
        let item = self.files[file].stmts.iter().find_map(|stmt| match &stmt.kind {
            StmtKind::Const(items) => items.iter().find(|item| item.name.text == name),
            _ => None,
        })?;
        if let Some(known) = self.consts.get(&key) {
            return Some(known.clone());
        }
        if self.const_open.contains(&key) {
            self.error(
                Code::E0502,
                item.name.span,
                format!("constant `{name}` depends on itself"),
                "",
            );
            return Some(None);
        }
        let pick = self.choices.picks.get(name).copied().unwrap_or(0);
        let choice = item.choices.get(pick).or(item.choices.first())?;
        self.const_open.push(key.clone());
        let value = self.const_expr(choice);
        self.const_open.pop();
        self.consts.insert(key, value.clone());
        Some(value)
    }

    fn const_expr(&mut self, expr: &'a einloom_syntax::ast::Expr) -> Option<Const> {
        if let ExprKind::Name(name) = &expr.unparen().kind
            && (DType::from_name(&name.text).is_some() || NARROW.contains(&name.text.as_str()))
        {
            return self.dtype(name).map(Const::Type);
        }
        let val = self.constant_expr(expr, "a constant")?;
        Some(Const::Value(val))
    }

    /// An expression of numbers, constants, extents and scalars.
    pub(crate) fn constant_expr(&mut self, expr: &'a einloom_syntax::ast::Expr, what: &str) -> Option<Val> {
        let mut fixed = !self.mentions_tensor(expr);
        let mut found = None;
        if fixed {
            let frames = std::mem::take(&mut self.frames);
            found = self.raw(expr);
            self.frames = frames;
            let val = found.as_ref()?;
            fixed = self.terms.ranks(val).is_empty() && val.conds.is_empty() && !self.reads(val.expr);
        }
        if !fixed {
            self.error(
                Code::E0212,
                expr.span,
                format!("{what} must be an expression of numbers, constants, extents and scalars"),
                "",
            );
            return None;
        }
        found
    }

    /// Whether an expression reads a tensor: tensors are declared after the extents that they need.
    fn mentions_tensor(&self, expr: &einloom_syntax::ast::Expr) -> bool {
        let main = self.files[self.files.len() - 1];
        let tensor = |name: &Ident| super::decls::tensor_decls(main).any(|decl| decl.name.text == name.text);
        let own = match &expr.kind {
            ExprKind::Name(name) => tensor(name),
            ExprKind::Index { .. } | ExprKind::Subst { .. } => true,
            ExprKind::Call { ranks, .. } => !ranks.is_empty(),
            _ => false,
        };
        own || expr.children().into_iter().any(|child| self.mentions_tensor(child))
    }

    /// As [`Lowerer::constant_expr`], an int.
    pub(crate) fn extent_expr(&mut self, expr: &'a einloom_syntax::ast::Expr) -> Option<ExprId> {
        let val = self.constant_expr(expr, "an extent")?;
        if val.kind != Kind::Int {
            self.error(Code::E0401, expr.span, "an extent must be an integer", "");
            return None;
        }
        self.terms.extents.insert(val.expr);
        Some(val.expr)
    }

    /// Whether an expression reads a tensor.
    pub(crate) fn reads(&self, root: ExprId) -> bool {
        use crate::expr::Expr;
        let mut stack = vec![root];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if matches!(
                self.terms.arena.get(id),
                Expr::Input(..) | Expr::Def(..) | Expr::Reduce(_) | Expr::Leaf(..)
            ) {
                return true;
            }
            stack.extend(self.terms.arena.children(id));
        }
        false
    }

    /// The storage type that a name stands for, directly or through a constant.
    pub(crate) fn dtype(&mut self, name: &Ident) -> Option<DType> {
        if let Some(dtype) = DType::from_name(&name.text) {
            return Some(dtype);
        }
        if NARROW.contains(&name.text.as_str()) {
            self.unsupported(
                name.span,
                &format!("type `{}`", name.text),
                "this edition has f32, f16, bf16, i64, i32, i16, i8, u8 and bool",
            );
            return None;
        }
        self.used.insert(name.text.clone());
        match self.constant(&name.text) {
            Some(Some(Const::Type(dtype))) => return Some(dtype),
            Some(None) => return None,
            Some(Some(Const::Value(_))) | None => {}
        }
        if self.poisoned(&name.text) {
            return None;
        }
        let all = ["f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool"];
        let near = all
            .into_iter()
            .min_by_key(|other| super::report::distance(&name.text, other));
        let near = near.filter(|other| super::report::distance(&name.text, other) <= 2);
        let mut message = format!("unknown type `{}`", name.text);
        if let Some(near) = near {
            message += &format!("; did you mean `{near}`?");
        }
        let mut diagnostic = Diagnostic::new(Code::E0404, message).primary(name.span, "");
        if let Some(near) = near {
            diagnostic = diagnostic.fix(format!("use `{near}`"), name.span, near);
        }
        self.report(diagnostic);
        None
    }

    /// Whether a statement with a syntax error would have defined this name.
    pub(crate) fn poisoned(&self, name: &str) -> bool {
        self.files
            .iter()
            .any(|file| file.poisoned.iter().any(|other| other == name))
    }
}
