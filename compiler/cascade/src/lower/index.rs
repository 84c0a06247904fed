//! Reads with indices and substitutions.

use super::products::Context;
use super::{Binding, Dim, Lowerer, Source};
use crate::expr::{Expr, ExprId, Kind, MapOp};
use crate::lower::terms::{Val, join};
use einloom_syntax::ast::{self, Ident, Pair};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use einloom_syntax::span::Span;
use std::collections::BTreeMap;

impl<'a> Lowerer<'a> {
    /// `name[a, b]`.
    pub(crate) fn index(
        &mut self,
        e: &'a ast::Expr,
        name: &'a Ident,
        args: &'a [ast::Expr],
        cx: &Context<'a>,
    ) -> Option<Val> {
        let vals: Vec<Option<Val>> = args.iter().map(|arg| self.index_value(arg, cx)).collect();
        if let Some(frame) = self.frames.last() {
            if frame.values.contains_key(&name.text) {
                let message = format!(
                    "the ranks of `{}` are not known here: use `{}[e := ..]`",
                    name.text, name.text
                );
                self.error(Code::E0207, e.span, message, "");
            } else {
                self.unknown(name);
            }
            return None;
        }
        let at = match self.names.get(&name.text).copied() {
            Some((Binding::Tensor(at), _)) => at,
            Some((Binding::Broken, _)) => return None,
            Some(_) => {
                self.error(Code::E0203, e.span, format!("`{}` has no index list", name.text), "");
                return None;
            }
            None => {
                self.unknown(name);
                return None;
            }
        };
        self.used.insert(name.text.clone());
        let Some(dims) = self.tensors[at].dims.clone() else {
            self.report(
                Diagnostic::new(
                    Code::E0207,
                    format!(
                        "`{}` was defined without an index list: use it bare, with `:=`, or write its list",
                        name.text
                    ),
                )
                .primary(e.span, ""),
            );
            return None;
        };
        if dims.len() != args.len() {
            self.wrong_count(e, name, &dims, args.len());
            return None;
        }
        let vals: Option<Vec<Val>> = vals.into_iter().collect();
        self.read(at, &dims, vals?, args)
    }

    fn wrong_count(&mut self, e: &ast::Expr, name: &Ident, dims: &[Dim], given: usize) {
        let names: Vec<String> = dims
            .iter()
            .map(|dim| match dim {
                Dim::Rank(rank) => self.ranks[*rank].name.clone(),
                Dim::Extent(_) => "_".to_string(),
            })
            .collect();
        let ranks = if dims.len() == 1 { "rank" } else { "ranks" };
        let indices = if given == 1 { "index" } else { "indices" };
        let message = format!(
            "`{}` has {} {ranks} ({}), {given} {indices} given",
            name.text,
            dims.len(),
            names.join(", ")
        );
        self.error(Code::E0203, e.span, message, "");
    }

    /// An index must be an int.
    fn index_value(&mut self, arg: &'a ast::Expr, cx: &Context<'a>) -> Option<Val> {
        let val = self.expr(arg, cx)?;
        match val.kind {
            Kind::Int => Some(val),
            Kind::Bool => Some(self.to_kind(val, Kind::Int)),
            Kind::Real => {
                let mut diagnostic =
                    Diagnostic::new(Code::E0401, "an index must be an integer").primary(arg.span, "real");
                if self.int_division(arg) {
                    diagnostic = Diagnostic::new(Code::E0401, "an index must be an integer; `/` is real division")
                        .primary(arg.span, "real");
                    diagnostic.help.push(self.use_div(&[arg]));
                } else {
                    diagnostic = diagnostic.help("`floor(..)` or `round(..)` makes an integer of a real");
                }
                self.report(diagnostic);
                None
            }
        }
    }

    fn read(&mut self, at: usize, dims: &[Dim], vals: Vec<Val>, args: &[ast::Expr]) -> Option<Val> {
        let mut conds = Vec::new();
        let mut map = BTreeMap::new();
        for ((dim, val), arg) in dims.iter().zip(&vals).zip(args) {
            join(&mut conds, &val.conds);
            let extent = match dim {
                Dim::Rank(rank) => self.ranks[*rank].extent?,
                Dim::Extent(extent) => *extent,
            };
            self.bounds(val.expr, extent, arg.span, &self.tensors[at].name.clone(), &mut conds);
            if let (Dim::Rank(rank), Source::Def(_)) = (dim, self.tensors[at].source) {
                self.decode(*rank, val.expr, &mut map)?;
            }
        }
        let info = &self.tensors[at];
        let mut val = match info.source {
            Source::Input(input) => {
                let index: Vec<ExprId> = vals.iter().map(|val| val.expr).collect();
                let kind = info.kind;
                Val::total(self.terms.add(Expr::Input(input, index)), kind)
            }
            Source::Def(_) => {
                let bare = info.bare.clone()?;
                self.terms.subst_val(&bare, &map)
            }
        };
        join(&mut conds, &val.conds);
        val.conds = self.terms.without_true(conds);
        Some(val)
    }

    /// `0 <= index < extent`, as far as it is not certain.
    pub(crate) fn bounds(&mut self, index: ExprId, extent: ExprId, span: Span, name: &str, conds: &mut Vec<ExprId>) {
        let zero = self.terms.int(0);
        let low = self.terms.map(MapOp::Le, &[zero, index]);
        let high = self.terms.map(MapOp::Lt, &[index, extent]);
        let never = Some(crate::ops::Scalar::Bool(false));
        if (self.terms.constant(low) == never || self.terms.constant(high) == never)
            && self.in_else == 0
            && self.frames.is_empty()
        {
            self.report(
                Diagnostic::new(Code::W0704, format!("this read is always outside `{name}`"))
                    .primary(span, "")
                    .help("a read outside does not exist; `else` gives a value for it"),
            );
        }
        for cond in [low, high] {
            if self.terms.constant(cond) != Some(crate::ops::Scalar::Bool(true)) {
                join(conds, &[cond]);
            }
        }
    }

    /// `x[e := a, f := b]`: all at once.
    pub(crate) fn substitute(&mut self, name: &'a Ident, pairs: &'a [Pair], cx: &Context<'a>) -> Option<Val> {
        let value = self.name(name);
        let mut conds = Vec::new();
        let mut map = BTreeMap::new();
        let mut failed = false;
        let mut seen = Vec::new();
        for pair in pairs {
            let rank = self.rank(&pair.rank);
            let val = self.index_value(&pair.value, cx);
            let (Some(rank), Some(val), Some(value)) = (rank, val, value.as_ref()) else {
                failed = true;
                continue;
            };
            let carried = self.terms.ranks(value);
            let atoms = self.atoms(rank);
            if !atoms.iter().any(|atom| carried.contains(atom)) {
                self.no_rank(name, &pair.rank, &carried);
                failed = true;
                continue;
            }
            if atoms.iter().any(|atom| seen.contains(atom)) {
                self.error(
                    Code::E0206,
                    pair.rank.span,
                    format!("rank `{}` is replaced twice", pair.rank.text),
                    "",
                );
                failed = true;
                continue;
            }
            seen.extend(atoms);
            join(&mut conds, &val.conds);
            let Some(extent) = self.ranks[rank].extent else {
                failed = true;
                continue;
            };
            self.bounds(val.expr, extent, pair.value.span, &name.text, &mut conds);
            if self.decode(rank, val.expr, &mut map).is_none() {
                failed = true;
            }
        }
        if failed {
            return None;
        }
        let mut val = self.terms.subst_val(&value?, &map);
        join(&mut conds, &val.conds);
        val.conds = self.terms.without_true(conds);
        Some(val)
    }

    fn no_rank(&mut self, name: &Ident, rank: &Ident, carried: &[crate::expr::VarId]) {
        let names = self.rank_names(carried);
        let has = if names.is_empty() {
            "it has none".to_string()
        } else {
            format!("its ranks are {}", names.join(", "))
        };
        let message = format!("`{}` has no rank `{}` to replace; {has}", name.text, rank.text);
        self.error(Code::E0206, rank.span, message, "");
    }

    /// Names of atoms, composites for those of which all atoms are there.
    pub(crate) fn rank_names(&self, atoms: &[crate::expr::VarId]) -> Vec<String> {
        let mut left = atoms.to_vec();
        let mut names = Vec::new();
        for id in 0..self.ranks.len() {
            let own = self.atoms(id);
            let composite = self.ranks[id].parts.is_some() && !self.ranks[id].name.contains(',');
            if composite && !own.is_empty() && own.iter().all(|atom| left.contains(atom)) {
                left.retain(|atom| !own.contains(atom));
                names.push(self.ranks[id].name.clone());
            }
        }
        names.extend(left.iter().map(|var| self.terms.vars[var.index()].name.clone()));
        names
    }
}
