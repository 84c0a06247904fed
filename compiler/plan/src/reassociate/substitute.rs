//! Substitution of expressions for variables, with fresh bound variables where names would be captured.

use super::cost::Costs;
use einloom_cascade::expr::{Arena, Expr, ExprId, Reduce, VarId};
use einloom_cascade::ir::{Cascade, Var};
use std::collections::{BTreeMap, BTreeSet};

/// Free variables of an expression.
pub(super) fn free(arena: &Arena, id: ExprId) -> BTreeSet<VarId> {
    let mut vars = BTreeSet::new();
    match arena.get(id) {
        Expr::Var(var) => {
            vars.insert(*var);
        }
        _ => {
            for child in arena.children(id) {
                vars.extend(free(arena, child));
            }
        }
    }
    if let Expr::Reduce(reduce) = arena.get(id) {
        for var in &reduce.vars {
            vars.remove(var);
        }
    }
    vars
}

/// A new iteration over the rank of `like`.
pub(super) fn fresh(cascade: &mut Cascade, costs: &mut Costs, like: VarId) -> VarId {
    let Var { name, extent } = cascade.vars[like.index()].clone();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let stem = if stem.is_empty() { &name } else { stem };
    let mut number = 2;
    let unique = loop {
        let candidate = format!("{stem}{number}");
        if cascade.vars.iter().all(|var| var.name != candidate) {
            break candidate;
        }
        number += 1;
    };
    let var = VarId(cascade.vars.len() as u32);
    cascade.vars.push(Var { name: unique, extent });
    costs.added(var, like);
    var
}

/// `id` with `map` put in. Bound variables in `taken`, and those that would capture one of the values, are renamed.
pub(super) fn substitute(
    cascade: &mut Cascade,
    costs: &mut Costs,
    id: ExprId,
    map: &BTreeMap<VarId, ExprId>,
    taken: &BTreeSet<VarId>,
) -> ExprId {
    let list = |cascade: &mut Cascade, costs: &mut Costs, ids: &[ExprId]| -> Vec<ExprId> {
        ids.iter()
            .map(|&id| substitute(cascade, costs, id, map, taken))
            .collect()
    };
    let rebuilt = match cascade.exprs.get(id).clone() {
        Expr::Var(var) => return map.get(&var).copied().unwrap_or(id),
        Expr::Map(op, args) => Expr::Map(op, list(cascade, costs, &args)),
        Expr::Input(input, at) => Expr::Input(input, list(cascade, costs, &at)),
        Expr::Def(def, at) => Expr::Def(def, list(cascade, costs, &at)),
        Expr::Leaf(leaf, at) => Expr::Leaf(leaf, list(cascade, costs, &at)),
        Expr::Select(args) => {
            let args = list(cascade, costs, &args);
            Expr::Select([args[0], args[1], args[2]])
        }
        Expr::Reduce(reduce) => {
            let mut inner = map.clone();
            for var in &reduce.vars {
                inner.remove(var);
            }
            let captured: BTreeSet<VarId> = inner.values().flat_map(|&value| free(&cascade.exprs, value)).collect();
            let mut vars = Vec::new();
            for &var in &reduce.vars {
                if taken.contains(&var) || captured.contains(&var) {
                    let new = fresh(cascade, costs, var);
                    let value = cascade.exprs.var(new);
                    inner.insert(var, value);
                    vars.push(new);
                } else {
                    vars.push(var);
                }
            }
            let mut put = |id: ExprId| substitute(cascade, costs, id, &inner, taken);
            Expr::Reduce(Reduce {
                op: reduce.op,
                vars,
                conds: reduce.conds.iter().map(|&cond| put(cond)).collect(),
                body: put(reduce.body),
            })
        }
        leaf @ (Expr::Real(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Extent(_) | Expr::Scalar(_)) => leaf,
    };
    cascade.exprs.add(rebuilt)
}
