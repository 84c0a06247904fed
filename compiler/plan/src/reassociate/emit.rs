//! A tree of joins as nested sums.

use super::graph::Graph;
use super::order::{Join, Tree};
use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp, Reduce, ReduceOp};

/// The expression of a tree, with the scales of the graph.
pub(super) fn emit(arena: &mut Arena, graph: &Graph, tree: &Tree) -> ExprId {
    let Value { product, conds } = node(arena, graph, tree);
    debug_assert!(conds.is_empty(), "every predicate holds a reduced rank");
    let mut result = product.unwrap_or_else(|| arena.real(1.0));
    for &(scale, divides) in &graph.scales {
        let op = if divides { MapOp::Div } else { MapOp::Mul };
        result = arena.map(op, &[result, scale]);
    }
    result
}

/// A product, and the conditions that the sum around it must test.
struct Value {
    product: Option<ExprId>,
    conds: Vec<ExprId>,
}

fn node(arena: &mut Arena, graph: &Graph, tree: &Tree) -> Value {
    let mut value = match &tree.join {
        Join::Factor(at) => Value {
            product: graph.factors[*at].value,
            conds: graph.factors[*at].conds.clone(),
        },
        Join::Both(both) => {
            let (a, b) = (node(arena, graph, &both[0]), node(arena, graph, &both[1]));
            let product = match (a.product, b.product) {
                (Some(a), Some(b)) => Some(arena.map(MapOp::Mul, &[a, b])),
                (a, b) => a.or(b),
            };
            Value {
                product,
                conds: a.conds.into_iter().chain(b.conds).collect(),
            }
        }
    };
    if tree.sums.is_empty() {
        return value;
    }
    // written order: a later condition may read what an earlier one guards
    let position = |cond: &ExprId| {
        let all = graph.factors.iter().flat_map(|factor| &factor.conds);
        all.clone().position(|other| other == cond)
    };
    value.conds.sort_by_key(position);
    let body = value.product.unwrap_or_else(|| arena.real(1.0));
    let sum = arena.add(Expr::Reduce(Reduce {
        op: ReduceOp::Sum,
        vars: tree.sums.clone(),
        conds: value.conds,
        body,
    }));
    Value {
        product: Some(sum),
        conds: Vec::new(),
    }
}
