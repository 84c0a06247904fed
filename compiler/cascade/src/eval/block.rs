//! Static analysis for the evaluator: free variables, memo tables, and flat blocks.
//!
//! A *block* is what is evaluated at once for a batch: all expressions below a root, bottom-up, except those that
//! must stay lazy (branches of a selection, second arguments of `and` and `or`, insides of reductions).

use crate::expr::{Expr, ExprId, MapOp, VarId};
use crate::ir::Cascade;

/// Free iteration variables of every expression, ascending. Shared lists would be smaller; cascades are small.
pub(crate) fn free_vars(cascade: &Cascade) -> Vec<Vec<VarId>> {
    let mut all: Vec<Vec<VarId>> = Vec::with_capacity(cascade.exprs.len());
    for at in 0..cascade.exprs.len() {
        let id = ExprId(at as u32);
        let mut vars: Vec<VarId> = Vec::new();
        for child in cascade.exprs.children(id) {
            vars.extend(&all[child.index()]);
        }
        match cascade.exprs.get(id) {
            Expr::Var(var) => vars.push(*var),
            Expr::Reduce(reduce) => vars.retain(|var| !reduce.vars.contains(var)),
            _ => {}
        }
        vars.sort_unstable();
        vars.dedup();
        all.push(vars);
    }
    all
}

/// Whether each expression is used by another one.
pub(crate) fn used(cascade: &Cascade) -> Vec<bool> {
    let mut used = vec![false; cascade.exprs.len()];
    for at in 0..cascade.exprs.len() {
        for child in cascade.exprs.children(ExprId(at as u32)) {
            used[child.index()] = true;
        }
    }
    used
}

/// Children that are evaluated before the node, for the whole batch.
pub(crate) fn eager(cascade: &Cascade, id: ExprId) -> Vec<ExprId> {
    match cascade.exprs.get(id) {
        Expr::Map(MapOp::And | MapOp::Or, args) => args.iter().take(1).copied().collect(),
        Expr::Select([cond, ..]) => vec![*cond],
        Expr::Reduce(_) => Vec::new(),
        _ => cascade.exprs.children(id),
    }
}

/// The expressions of a block, bottom-up; the root is last. For each, the positions of its eager children.
pub(crate) struct Block {
    pub(crate) steps: Vec<(ExprId, Vec<usize>)>,
}

impl Block {
    pub(crate) fn new(cascade: &Cascade, root: ExprId) -> Block {
        let mut found = std::collections::BTreeSet::from([root]);
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            for child in eager(cascade, id) {
                if found.insert(child) {
                    stack.push(child);
                }
            }
        }
        let order: Vec<ExprId> = found.into_iter().collect();
        let steps = order
            .iter()
            .map(|id| {
                let slots = eager(cascade, *id)
                    .iter()
                    .map(|child| order.binary_search(child).expect("a child should be in its block"))
                    .collect();
                (*id, slots)
            })
            .collect();
        Block { steps }
    }
}
