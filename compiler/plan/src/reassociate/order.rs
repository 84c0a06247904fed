//! The best binary tree of a factor graph, by dynamic programming over subsets.

use super::cost::{Cost, Costs};
use super::graph::Graph;
use einloom_cascade::expr::VarId;
use std::collections::BTreeSet;

/// How factors are joined.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) join: Join,
    /// Reduced ranks summed here, in written order.
    pub(super) sums: Vec<VarId>,
}

#[derive(Clone, Debug)]
pub(super) enum Join {
    Factor(usize),
    Both(Box<[Tree; 2]>),
}

/// A tree for a subset of factors.
#[derive(Clone, Debug)]
pub(super) struct Best {
    pub(super) tree: Tree,
    pub(super) cost: Cost,
    total: u128,
    /// Ranks of the value, after summing.
    ranks: BTreeSet<VarId>,
}

/// The cheapest tree of all factors; of equally cheap ones the first that joins factors in written order.
pub(super) fn best(graph: &Graph, costs: &Costs) -> Option<Best> {
    let count = graph.factors.len();
    let mut table: Vec<Option<Best>> = vec![None; 1 << count];
    for subset in 1..table.len() {
        let found = if subset.is_power_of_two() {
            Some(alone(graph, costs, subset.trailing_zeros() as usize))
        } else {
            split(graph, costs, &table, subset)
        };
        table[subset] = found;
    }
    table.pop().flatten()
}

/// Reduced ranks that may be summed once `subset` is joined: something inside holds them and nothing outside. A rank
/// that nothing mentions is counted at the end.
fn summable(graph: &Graph, subset: usize) -> Vec<VarId> {
    let whole = subset == (1 << graph.factors.len()) - 1;
    let held = |var: &VarId, inside: bool| {
        let factors = graph.factors.iter().enumerate();
        factors
            .filter(|(at, _)| (subset & (1 << at) != 0) == inside)
            .any(|(_, factor)| factor.ranks.contains(var) || factor.holds.contains(var))
    };
    let mut ranks = graph.reduced.clone();
    ranks.retain(|var| (whole || held(var, true)) && !held(var, false));
    ranks
}

fn alone(graph: &Graph, costs: &Costs, at: usize) -> Best {
    let factor = &graph.factors[at];
    let sums: Vec<VarId> = match factor.value {
        Some(_) => summable(graph, 1 << at),
        // a predicate alone is no value; its ranks are summed where it meets one
        None => Vec::new(),
    };
    finish(costs, Join::Factor(at), Cost::none(), factor.ranks.clone(), sums, false)
}

fn split(graph: &Graph, costs: &Costs, table: &[Option<Best>], subset: usize) -> Option<Best> {
    let whole = subset == (1 << graph.factors.len()) - 1;
    let mut best: Option<Best> = None;
    // the part with the lowest factor goes left
    let lowest = subset & subset.wrapping_neg();
    let mut left = (subset - 1) & subset;
    while left != 0 {
        if left & lowest != 0
            && let (Some(a), Some(b)) = (&table[left], &table[subset & !left])
        {
            let ranks: BTreeSet<VarId> = a.ranks.union(&b.ranks).copied().collect();
            let done = summed(&a.tree).chain(summed(&b.tree)).collect::<BTreeSet<_>>();
            let value = (0..graph.factors.len()).any(|at| subset & (1 << at) != 0 && graph.factors[at].value.is_some());
            let sums: Vec<VarId> = (summable(graph, subset).into_iter())
                .filter(|var| value && !done.contains(var))
                .collect();
            let join = Join::Both(Box::new([a.tree.clone(), b.tree.clone()]));
            let next = finish(costs, join, a.cost.plus(&b.cost), ranks, sums, whole);
            if best.as_ref().is_none_or(|found| next.total < found.total) {
                best = Some(next);
            }
        }
        left = (left - 1) & subset;
    }
    best
}

fn finish(costs: &Costs, join: Join, below: Cost, mut ranks: BTreeSet<VarId>, sums: Vec<VarId>, whole: bool) -> Best {
    ranks.extend(&sums);
    let cost = match sums.is_empty() && !whole {
        // joined without a sum: these points are visited by the sum above
        true => below,
        false => below.plus(&Cost::step(&ranks)),
    };
    for var in &sums {
        ranks.remove(var);
    }
    let total = cost.total(costs);
    Best {
        tree: Tree { join, sums },
        cost,
        total,
        ranks,
    }
}

fn summed(tree: &Tree) -> Box<dyn Iterator<Item = VarId> + '_> {
    let here = tree.sums.iter().copied();
    match &tree.join {
        Join::Factor(_) => Box::new(here),
        Join::Both(both) => Box::new(here.chain(summed(&both[0])).chain(summed(&both[1]))),
    }
}
