//! Declarations: names of the file, inputs, scalars.

use super::{Binding, Dim, Lowerer, Source, TensorInfo};
use crate::expr::{DType, Expr, InputId, Kind, ScalarId};
use crate::ir::{Input, MemDim, Scalar};
use crate::lower::terms::{Val, join};
use crate::lower::text::text;
use einloom_syntax::ast::{self, Decl, ExprKind, Ident, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use einloom_syntax::span::Span;

/// The tensors of all `in` statements, in order.
pub(crate) fn tensor_decls(main: &ast::File) -> impl Iterator<Item = &Decl> {
    main.stmts
        .iter()
        .flat_map(|stmt| match &stmt.kind {
            StmtKind::Input { decls, .. } => decls.as_slice(),
            _ => &[],
        })
        .filter(|decl| decl.dims.is_some())
}

pub(crate) fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::Bool => Kind::Bool,
        dtype if dtype.is_real() => Kind::Real,
        _ => Kind::Int,
    }
}

impl<'a> Lowerer<'a> {
    /// Gives a name of the main file its meaning, unless it has one.
    pub(crate) fn bind(&mut self, name: &Ident, binding: Binding) -> bool {
        if super::calls::is_builtin(&name.text)
            || DType::from_name(&name.text).is_some()
            || super::consts::NARROW.contains(&name.text.as_str())
        {
            let what = if super::calls::is_builtin(&name.text) {
                "function"
            } else {
                "type"
            };
            self.error(
                Code::E0202,
                name.span,
                format!("`{}` is the name of a {what}", name.text),
                "",
            );
            return false;
        }
        if let Some((_, first)) = self.names.get(&name.text).copied() {
            self.twice(name, first);
            return false;
        }
        self.names.insert(name.text.clone(), (binding, name.span));
        true
    }

    pub(crate) fn twice(&mut self, name: &Ident, first: Span) {
        self.report(
            Diagnostic::new(Code::E0202, format!("`{}` is defined twice", name.text))
                .primary(name.span, "")
                .secondary(first, "first definition"),
        );
    }

    /// Collects defs of all files, and the names and places of the main file.
    pub(crate) fn collect(&mut self, main: &'a ast::File) {
        for (at, file) in self.files.iter().enumerate() {
            let file: &'a ast::File = file;
            for stmt in &file.stmts {
                if let StmtKind::Def(def) = &stmt.kind {
                    let key = (at, def.name.text.clone());
                    if let Some(first) = self.defs.get(&key).map(|def| def.name.span) {
                        self.twice(&def.name, first);
                    } else {
                        self.defs.insert(key, def);
                    }
                }
            }
        }
        self.out.name = main.cascade_name().map_or_else(String::new, |name| name.text.clone());
        for stmt in &main.stmts {
            match &stmt.kind {
                StmtKind::Define { lhs, .. }
                | StmtKind::Output {
                    lhs, value: Some(_), ..
                }
                | StmtKind::Rec { lhs, .. } => {
                    self.places.entry(lhs.name.text.clone()).or_insert(lhs.name.span);
                }
                _ => {}
            }
        }
        self.collect_consts(main);
        self.declare_ranks(main);
        self.declare_names(main);
    }

    fn collect_consts(&mut self, main: &'a ast::File) {
        let mut seen: Vec<(&str, Span)> = Vec::new();
        for stmt in &main.stmts {
            let StmtKind::Const(items) = &stmt.kind else { continue };
            for item in items {
                let name = item.name.text.as_str();
                match seen.iter().find(|(other, _)| *other == name) {
                    Some((_, first)) => self.twice(&item.name, *first),
                    None => seen.push((name, item.name.span)),
                }
            }
        }
    }

    /// Binds inputs by name before anything is lowered, so that extents and statements can refer to them.
    fn declare_names(&mut self, main: &'a ast::File) {
        let mut scalars = 0;
        for stmt in &main.stmts {
            match &stmt.kind {
                StmtKind::Input { decls, ty, default } => {
                    for decl in decls {
                        if decl.dims.is_some() {
                            self.bind(&decl.name, Binding::Broken);
                            continue;
                        }
                        let binding = Binding::Scalar(ScalarId(scalars));
                        scalars += 1;
                        if !self.bind(&decl.name, binding) {
                            scalars -= 1;
                            continue;
                        }
                        let dtype = self.dtype(ty);
                        if dtype.is_none() {
                            self.names
                                .insert(decl.name.text.clone(), (Binding::Broken, decl.name.span));
                        }
                        let value = default.as_ref().and_then(|expr| self.default(expr));
                        self.out.scalars.push(Scalar {
                            name: decl.name.text.clone(),
                            dtype: dtype.unwrap_or(DType::F32),
                            default: value,
                            span: decl.span,
                        });
                    }
                }
                StmtKind::Rec { lhs, .. } => {
                    self.bind(&lhs.name, Binding::Broken);
                }
                StmtKind::Inout { decls, .. } => {
                    for decl in decls {
                        self.bind(&decl.name, Binding::Broken);
                    }
                    self.unsupported(
                        stmt.span,
                        "`inout` tensors",
                        "take the old value as `in` and return the new one as `out`",
                    );
                }
                _ => {}
            }
        }
    }

    fn default(&mut self, expr: &'a ast::Expr) -> Option<f64> {
        let val = self.constant_expr(expr, "a default")?;
        let value = self.terms.constant(val.expr);
        if value.is_none() {
            self.error(Code::E0212, expr.span, "a default must be a number", "");
        }
        value.map(crate::ops::Scalar::as_real)
    }

    /// Declares all input tensors.
    pub(crate) fn declare_inputs(&mut self, main: &'a ast::File) {
        for stmt in &main.stmts {
            let StmtKind::Input { decls, ty, default } = &stmt.kind else {
                continue;
            };
            let tensors = decls.iter().filter(|decl| decl.dims.is_some());
            if let (Some(default), Some(_)) = (default, tensors.clone().next()) {
                self.error(
                    Code::E0212,
                    default.span,
                    "only scalars passed by value have a default",
                    "",
                );
            }
            let dtype = if tensors.clone().next().is_some() {
                self.dtype(ty)
            } else {
                None
            };
            for decl in tensors {
                self.declare_input(decl, dtype);
            }
        }
    }

    fn declare_input(&mut self, decl: &'a Decl, dtype: Option<DType>) {
        let id = InputId(self.out.inputs.len() as u32);
        let mut dims = Vec::new();
        let mut memory = Vec::new();
        let mut broken = dtype.is_none();
        for dim in decl.dims.iter().flatten() {
            match self.declare_dim(dim) {
                Some((kind, extent)) => {
                    memory.push(MemDim {
                        name: text(dim.unparen()),
                        extent,
                    });
                    dims.push(kind);
                }
                None => broken = true,
            }
        }
        let first = self
            .names
            .get(&decl.name.text)
            .is_some_and(|(_, span)| *span == decl.name.span);
        self.out.inputs.push(Input {
            name: decl.name.text.clone(),
            dtype: dtype.unwrap_or(DType::F32),
            dims: memory,
            span: decl.span,
        });
        if broken || !first {
            return;
        }
        let kind = kind_of(dtype.unwrap_or(DType::F32));
        let bare = self.bare_input(id, kind, &dims);
        let at = self.tensors.len();
        self.tensors.push(TensorInfo {
            name: decl.name.text.clone(),
            source: Source::Input(id),
            kind,
            dims: Some(dims),
            bare,
        });
        self.names
            .insert(decl.name.text.clone(), (Binding::Tensor(at), decl.name.span));
    }

    fn declare_dim(&mut self, dim: &'a ast::Expr) -> Option<(Dim, crate::expr::ExprId)> {
        if let ExprKind::Name(name) = &dim.unparen().kind {
            match self.names.get(&name.text).copied() {
                Some((Binding::Rank(rank), _)) => {
                    self.used.insert(name.text.clone());
                    return self.ranks[rank].extent.map(|extent| (Dim::Rank(rank), extent));
                }
                None if name
                    .text
                    .chars()
                    .all(|c| c.is_lowercase() || c.is_ascii_digit() || c == '_')
                    && self.constant(&name.text).is_none() =>
                {
                    self.unknown_rank(name);
                    return None;
                }
                _ => {}
            }
        }
        let extent = self.extent_expr(dim)?;
        Some((Dim::Extent(extent), extent))
    }

    pub(crate) fn unknown_rank(&mut self, name: &Ident) {
        if self.poisoned(&name.text) {
            return;
        }
        let near = self
            .ranks
            .iter()
            .map(|rank| rank.name.clone())
            .filter(|other| name.text.len() > 1 && super::report::distance(&name.text, other) <= 1)
            .min();
        let mut diagnostic =
            Diagnostic::new(Code::E0201, format!("unknown rank `{}`", name.text)).primary(name.span, "");
        diagnostic = match near {
            Some(near) => diagnostic.fix(format!("did you mean `{near}`?"), name.span, near),
            None => diagnostic.help(format!("declare it: `rank {}`", name.text)),
        };
        self.report(diagnostic);
    }

    fn bare_input(&mut self, id: InputId, kind: Kind, dims: &[Dim]) -> Option<Val> {
        let mut index = Vec::new();
        let mut conds = Vec::new();
        for dim in dims {
            let Dim::Rank(rank) = dim else { return None };
            let at = self.coordinate(*rank)?;
            join(&mut conds, &at.conds);
            index.push(at.expr);
        }
        let expr = self.terms.add(Expr::Input(id, index));
        Some(Val { expr, kind, conds })
    }
}
