//! Implied sums: Einstein's rule over maximal products.
//!
//! A product is first looked at without sums, to learn which atoms its factors carry. An atom of two or more factors
//! is summed over the product, unless it is kept: on the left side, in the bracket of an enclosing call, or carried by
//! another factor of an enclosing product.

use super::Lowerer;
use crate::expr::{ExprId, Kind, MapOp, ReduceOp, VarId};
use crate::lower::terms::{Val, join};
use einloom_syntax::ast::{BinaryOp, Expr, ExprKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};

/// Where an expression stands: which atoms must stay, and which conditions are still to be applied.
#[derive(Clone)]
pub(crate) struct Context<'a> {
    /// `None`: nothing is summed implicitly.
    keep: Option<BTreeSet<VarId>>,
    pub(crate) guards: Vec<&'a Expr>,
}

impl<'a> Context<'a> {
    /// No implied sums.
    pub(crate) fn raw() -> Context<'a> {
        Context {
            keep: None,
            guards: Vec::new(),
        }
    }

    /// Implied sums over all atoms but these.
    pub(crate) fn summing(left: &[VarId]) -> Context<'a> {
        Context {
            keep: Some(left.iter().copied().collect()),
            guards: Vec::new(),
        }
    }

    pub(crate) fn sums(&self) -> bool {
        self.keep.is_some()
    }

    pub(crate) fn without_guards(&self) -> Context<'a> {
        Context {
            keep: self.keep.clone(),
            guards: Vec::new(),
        }
    }

    /// Keeps more atoms.
    pub(crate) fn keep(&mut self, atoms: &[VarId]) {
        if let Some(keep) = &mut self.keep {
            keep.extend(atoms);
        }
    }
}

/// What is known of the statement at hand.
#[derive(Default)]
pub(crate) struct Statement {
    /// Atoms that each factor carries, by the address of its syntax.
    carried: BTreeMap<usize, Vec<VarId>>,
    /// Atoms that some term sums.
    pub(crate) summed: BTreeSet<VarId>,
}

/// The factors of a product that is not interrupted by parentheses, with `true` for those divided by.
pub(crate) fn factors(e: &Expr) -> Vec<(bool, &Expr)> {
    let mut list = Vec::new();
    let mut open = e;
    while let ExprKind::Binary {
        op: op @ (BinaryOp::Mul | BinaryOp::Div),
        left,
        right,
        ..
    } = &open.kind
    {
        list.push((*op == BinaryOp::Div, &**right));
        open = left;
    }
    list.push((false, open));
    list.reverse();
    list
}

impl<'a> Lowerer<'a> {
    /// Atoms of a factor before any sum.
    pub(crate) fn carried(&mut self, e: &'a Expr) -> Vec<VarId> {
        let key = std::ptr::from_ref(e) as usize;
        if let Some(known) = self.statement.carried.get(&key) {
            return known.clone();
        }
        let defs = self.out.defs.len();
        let atoms = self.raw(e).map(|val| self.terms.ranks(&val)).unwrap_or_default();
        // Definitions that were made only to look are made again.
        self.out.defs.truncate(defs);
        self.statement.carried.insert(key, atoms.clone());
        atoms
    }

    /// A product in a statement with an index list.
    pub(crate) fn product(&mut self, e: &'a Expr, cx: &Context<'a>) -> Option<Val> {
        let list = factors(e);
        let carried: Vec<Vec<VarId>> = list.iter().map(|(_, factor)| self.carried(factor)).collect();
        let keep = cx.keep.clone().unwrap_or_default();
        let all: BTreeSet<VarId> = carried.iter().flatten().copied().collect();
        let summed: Vec<VarId> = all
            .into_iter()
            .filter(|atom| !keep.contains(atom) && carried.iter().filter(|atoms| atoms.contains(atom)).count() >= 2)
            .collect();
        self.ambiguous(&list, &summed)?;
        self.statement.summed.extend(&summed);
        let mut whole: Option<Val> = None;
        let mut constants = Vec::new();
        let mut failed = false;
        for (at, (divide, factor)) in list.iter().enumerate() {
            let mut inner = cx.without_guards();
            for (other, atoms) in carried.iter().enumerate() {
                if other != at {
                    inner.keep(atoms);
                }
            }
            let Some(val) = self.expr(factor, &inner) else {
                failed = true;
                continue;
            };
            let op = if *divide { MapOp::Div } else { MapOp::Mul };
            if !summed.is_empty() && self.movable(&val) && (at > 0 || !*divide) {
                constants.push((op, val));
                continue;
            }
            whole = Some(match whole {
                None if *divide => {
                    let one = Val::total(self.terms.int(1), Kind::Int);
                    self.arithmetic(op, one, val)
                }
                None => val,
                Some(before) => self.arithmetic(op, before, val),
            });
        }
        if failed {
            return None;
        }
        let guarded = self.guard(whole?, cx)?;
        if summed.is_empty() {
            return Some(guarded);
        }
        let sum = self.reduce_atoms(ReduceOp::Sum, &summed, guarded);
        Some(
            constants
                .into_iter()
                .fold(sum, |sum, (op, val)| self.arithmetic(op, sum, val)),
        )
    }

    /// Whether a factor may stand outside its sum: a finite constant that is not 0. Anything else could make a
    /// difference where there is nothing to sum.
    fn movable(&self, val: &Val) -> bool {
        match self.terms.constant(val.expr) {
            Some(x) => val.kind != Kind::Bool && x.as_real().is_finite() && x.as_real() != 0.0,
            None => false,
        }
    }

    /// Two parentheses that would each sum an atom on their own.
    fn ambiguous(&mut self, list: &[(bool, &'a Expr)], summed: &[VarId]) -> Option<()> {
        for atom in summed {
            let mut own = Vec::new();
            for (_, factor) in list {
                let inner = factor.unparen();
                if std::ptr::eq(inner, *factor)
                    || !matches!(
                        inner.kind,
                        ExprKind::Binary {
                            op: BinaryOp::Mul | BinaryOp::Div,
                            ..
                        }
                    )
                {
                    continue;
                }
                let parts = factors(inner);
                let count = parts
                    .iter()
                    .filter(|(_, part)| self.carried(part).contains(atom))
                    .count();
                if count >= 2 {
                    own.push(factor.span);
                }
            }
            if let [first, second, ..] = own[..] {
                let name = self.terms.vars[atom.index()].name.clone();
                self.report(
                    Diagnostic::new(
                        Code::E0303,
                        format!(
                            "rank `{name}` is summed in both parentheses or over all {} factors?",
                            list.len() + 2
                        ),
                    )
                    .primary(first, "")
                    .secondary(second, "")
                    .help(format!(
                        "name the parts in statements of their own, or write `sum[{name}](..)`"
                    )),
                );
                return None;
            }
        }
        Some(())
    }

    /// A reduction over atoms: conditions that mention one are used up, the others stay.
    pub(crate) fn reduce_atoms(&mut self, op: ReduceOp, atoms: &[VarId], val: Val) -> Val {
        let (inside, outside): (Vec<ExprId>, Vec<ExprId>) = val
            .conds
            .iter()
            .partition(|cond| self.terms.free(**cond).iter().any(|var| atoms.contains(var)));
        let (body, kind) = match (op, val.kind) {
            (
                ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::ArgMax | ReduceOp::ArgMin,
                Kind::Bool,
            ) => (self.terms.convert(val.expr, Kind::Bool, Kind::Int), Kind::Int),
            _ => (val.expr, val.kind),
        };
        let mut inside = inside;
        self.terms.prune(&mut inside);
        let expr = self.terms.reduce(op, atoms, &inside, body);
        let kind = match op {
            ReduceOp::ArgMax | ReduceOp::ArgMin => Kind::Int,
            _ => kind,
        };
        let mut conds = Vec::new();
        join(&mut conds, &outside);
        Val { expr, kind, conds }
    }
}
