//! Written reductions: `sum[m](x)`, `count`, `argmax` and the like.

use super::products::Context;
use super::{Lowerer, RankId};
use crate::expr::{Kind, ReduceOp};
use crate::lower::terms::{Val, join};
use einloom_syntax::ast::{Expr, Ident};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;

/// Names of reductions.
pub(crate) const REDUCTIONS: [&str; 10] = [
    "sum", "prod", "max", "min", "any", "all", "count", "argmax", "argmin", "order",
];

fn op_of(name: &str) -> ReduceOp {
    match name {
        "prod" => ReduceOp::Prod,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        "any" => ReduceOp::Any,
        "all" => ReduceOp::All,
        "argmax" => ReduceOp::ArgMax,
        "argmin" => ReduceOp::ArgMin,
        _ => ReduceOp::Sum,
    }
}

impl<'a> Lowerer<'a> {
    /// The ranks of a bracket, as one.
    pub(crate) fn bracket(&mut self, ranks: &'a [Ident]) -> Option<RankId> {
        let mut list = Vec::new();
        let mut failed = false;
        for name in ranks {
            match self.rank(name) {
                Some(rank) if list.contains(&rank) => {
                    self.error(
                        Code::E0202,
                        name.span,
                        format!("rank `{}` stands twice in the bracket", name.text),
                        "",
                    );
                    failed = true;
                }
                Some(rank) => list.push(rank),
                None => failed = true,
            }
        }
        if failed || list.is_empty() {
            None
        } else {
            Some(self.group(list))
        }
    }

    /// The rank that a name stands for here.
    pub(crate) fn rank(&mut self, name: &Ident) -> Option<RankId> {
        if let Some(frame) = self.frames.last() {
            let found = frame.ranks.get(&name.text).copied();
            if found.is_none() && frame.file + 1 < self.files.len() {
                self.unknown_rank(name);
            }
            return found;
        }
        match self.names.get(&name.text).copied() {
            Some((super::Binding::Rank(rank), _)) => {
                self.used.insert(name.text.clone());
                self.ranks[rank].extent.map(|_| rank)
            }
            Some((super::Binding::Broken, _)) => None,
            Some(_) => {
                self.error(Code::E0201, name.span, format!("`{}` is not a rank", name.text), "");
                None
            }
            None => {
                self.unknown_rank(name);
                None
            }
        }
    }

    /// A call of a reduction with a bracket.
    pub(crate) fn reduction(
        &mut self,
        e: &'a Expr,
        name: &'a Ident,
        ranks: &'a [Ident],
        args: &'a [Expr],
        cx: &Context<'a>,
    ) -> Option<Val> {
        if name.text == "order" {
            self.unsupported(e.span, "`order`", "top-k, top-p and sorting need it");
            return None;
        }
        let rank = self.bracket(ranks);
        let [arg] = args else {
            self.error(
                Code::E0211,
                e.span,
                format!("`{}[..]` takes one argument, {} given", name.text, args.len()),
                "",
            );
            return None;
        };
        let mut inner = cx.clone();
        if let Some(rank) = rank {
            inner.keep(&self.atoms(rank));
        }
        let val = self.expr(arg, &inner);
        let (rank, mut val) = (rank?, val?);
        self.depends(name, ranks, arg, rank, &val)?;
        let logical = matches!(name.text.as_str(), "any" | "all");
        if logical && val.kind != Kind::Bool {
            self.error(Code::E0405, arg.span, format!("`{}` takes a bool", name.text), "");
            return None;
        }
        let tail = self.coordinate(rank)?.conds;
        join(&mut val.conds, &tail);
        if name.text == "count" {
            val = Val {
                expr: self.terms.int(1),
                kind: Kind::Int,
                conds: val.conds,
            };
        }
        let atoms = self.atoms(rank);
        Some(self.reduce_atoms(op_of(&name.text), &atoms, val))
    }

    /// Every rank of the bracket must be a rank of the value.
    fn depends(&mut self, name: &Ident, ranks: &[Ident], arg: &'a Expr, group: RankId, val: &Val) -> Option<()> {
        let carried = self.terms.ranks(val);
        let members = match &self.ranks[group].parts {
            Some(parts) if ranks.len() > 1 => parts.clone(),
            _ => vec![group],
        };
        for (member, ident) in members.into_iter().zip(ranks) {
            if self.atoms(member).iter().any(|atom| carried.contains(atom)) {
                continue;
            }
            let text = &ident.text;
            let mut diagnostic =
                Diagnostic::new(Code::E0305, format!("the value does not depend on `{text}`")).primary(ident.span, "");
            if name.text == "sum" {
                let extent = text.to_uppercase();
                diagnostic = diagnostic
                    .note(format!("this multiplies by `{extent}`"))
                    .help(format!("write `{extent} * {}`", super::text::text(arg)));
            }
            self.report(diagnostic);
            return None;
        }
        Some(())
    }
}
