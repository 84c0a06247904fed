//! Values that cross from one kernel to another: written once per row, read by index.
//!
//! The largest sub-expression whose values are all read at one row of an earlier kernel crosses as one tensor (after F4 that is `lam` alone).

use crate::build::{Build, BuildCrossing, BuildStore};
use crate::ir::Target;
use crate::state::PlanLeaf;
use einloom_cascade::expr::{Expr, ExprId, VarId};
use std::collections::{BTreeMap, BTreeSet};

impl Build<'_> {
    /// Replaces values that `kernel` does not compute by reads of crossing tensors.
    pub(crate) fn cross(&mut self, kernel: usize, e: ExprId) -> ExprId {
        self.cross_in(kernel, e, &mut BTreeMap::new())
    }

    fn cross_in(&mut self, kernel: usize, e: ExprId, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        if self.state.values(e).is_empty() {
            return e;
        }
        if let Some(done) = memo.get(&e) {
            return *done;
        }
        let opened = self.open(e);
        let foreign = self
            .state
            .reads(opened)
            .iter()
            .any(|(n, at)| !self.belongs(kernel, *n, at));
        let result = if !foreign {
            e
        } else if let Some(read) = self
            .crossing_of(kernel, opened)
            .or_else(|| self.folded_elsewhere(kernel, e))
        {
            read
        } else {
            let children: Vec<ExprId> = self
                .state
                .cascade
                .exprs
                .children(opened)
                .into_iter()
                .map(|c| self.cross_in(kernel, c, memo))
                .collect();
            crate::rewrite::with_children(&mut self.state.cascade.exprs, opened, &children)
        };
        memo.insert(e, result);
        result
    }

    /// A folded `lam` as its expression; anything else as it is.
    pub(crate) fn open(&mut self, e: ExprId) -> ExprId {
        if let Expr::Leaf(leaf, indices) = self.state.expr(e).clone()
            && let PlanLeaf::Folded(i) = PlanLeaf::of(leaf)
        {
            let vars = self.state.folded[i].vars.clone();
            let lam = self.state.folded[i].lam;
            let map = self.state.at_vars(&vars, &indices);
            return self.state.substitute(lam, &map);
        }
        e
    }

    /// A folded `lam` that is read at other coordinates than a row's own, such as an anchor's (N4): it crosses as one tensor all the same.
    fn folded_elsewhere(&mut self, kernel: usize, e: ExprId) -> Option<ExprId> {
        let Expr::Leaf(leaf, indices) = self.state.expr(e).clone() else {
            return None;
        };
        let PlanLeaf::Folded(i) = PlanLeaf::of(leaf) else {
            return None;
        };
        let (lam, vars) = (self.state.folded[i].lam, self.state.folded[i].vars.clone());
        let read = self.crossing_of(kernel, lam)?;
        let indices: Vec<ExprId> = indices.iter().map(|index| self.cross(kernel, *index)).collect();
        let map = self.state.at_vars(&vars, &indices);
        Some(self.state.substitute(read, &map))
    }

    /// A crossing read for the whole of `e`, if all its values are one earlier kernel's row.
    fn crossing_of(&mut self, kernel: usize, e: ExprId) -> Option<ExprId> {
        let reads = self.state.reads(e);
        if reads.is_empty() {
            return None;
        }
        if let Expr::Leaf(leaf, indices) = self.state.expr(e).clone()
            && let PlanLeaf::Value(node) = PlanLeaf::of(leaf)
        {
            if self.state.nodes[node].phase >= self.kernels[kernel].phase {
                return None;
            }
            let params = self.state.nodes[node].params.clone();
            let at = self.state.vars_as_indices(&params);
            let value = self.state.leaf(PlanLeaf::Value(node), &at);
            let indices: Vec<ExprId> = indices.iter().map(|i| self.cross(kernel, *i)).collect();
            let crossing = self.crossing(value, &params, &[node]);
            return Some(self.state.leaf(PlanLeaf::Crossing(crossing), &indices));
        }
        if self.has_inner_leaf(e) {
            return None;
        }
        let mut to_home: BTreeMap<VarId, VarId> = BTreeMap::new();
        let mut allowed: BTreeSet<VarId> = BTreeSet::new();
        let mut nodes = Vec::new();
        for (node, indices) in &reads {
            if self.state.nodes[*node].phase >= self.kernels[kernel].phase {
                return None;
            }
            nodes.push(*node);
            let params = self.state.nodes[*node].params.clone();
            for (param, index) in params.iter().zip(indices) {
                let Expr::Var(v) = self.state.expr(*index).clone() else {
                    return None;
                };
                if self.state.is_big(*param) {
                    if *to_home.entry(v).or_insert(*param) != *param {
                        return None;
                    }
                } else {
                    allowed.insert(v);
                }
            }
        }
        let images: BTreeSet<VarId> = to_home.values().copied().collect();
        if images.len() != to_home.len() {
            return None;
        }
        let free = self.state.free(e);
        let fits = free
            .iter()
            .all(|v| to_home.contains_key(v) || allowed.contains(v) && !self.state.is_big(*v));
        // Every value must be read at the whole row, or the row would be written more than once.
        let whole = nodes.iter().any(|n| {
            let big = self.state.nodes[*n].params.iter().filter(|v| self.state.is_big(**v));
            big.copied().collect::<BTreeSet<_>>() == images
        });
        if !fits || !whole {
            return None;
        }
        let mut map = BTreeMap::new();
        for (v, home) in &to_home {
            let image = self.state.arena().var(*home);
            map.insert(*v, image);
        }
        let value = self.state.substitute(e, &map);
        let widest = nodes
            .iter()
            .copied()
            .max_by_key(|n| self.state.nodes[*n].params.len())?;
        let mut home_dims: Vec<VarId> = self.state.nodes[widest]
            .params
            .iter()
            .copied()
            .filter(|v| images.contains(v))
            .collect();
        home_dims.extend(
            images
                .iter()
                .copied()
                .filter(|v| !home_dims.contains(v))
                .collect::<Vec<_>>(),
        );
        let back: BTreeMap<VarId, VarId> = to_home.iter().map(|(a, b)| (*b, *a)).collect();
        let mut reader: Vec<VarId> = home_dims.iter().map(|v| back[v]).collect();
        let local: Vec<VarId> = free.iter().copied().filter(|v| !to_home.contains_key(v)).collect();
        home_dims.extend(local.iter().copied());
        reader.extend(local);
        let crossing = self.crossing(value, &home_dims, &nodes);
        let indices = self.state.vars_as_indices(&reader);
        Some(self.state.leaf(PlanLeaf::Crossing(crossing), &indices))
    }

    /// Whether leaves other than node values occur (then the expression belongs to a kernel already).
    fn has_inner_leaf(&mut self, e: ExprId) -> bool {
        self.state
            .leaves(e)
            .iter()
            .any(|l| !matches!(PlanLeaf::of(*l), PlanLeaf::Value(_) | PlanLeaf::Folded(_)))
    }

    /// The crossing of a row value; made with its store in the kernel that computes it.
    fn crossing(&mut self, value: ExprId, dims: &[VarId], nodes: &[usize]) -> usize {
        let found = self.crossings.iter().position(|c| c.value == value && c.dims == dims);
        if let Some(found) = found {
            return found;
        }
        let kind = self.state.kind(value);
        let name = self.crossing_name(value, nodes);
        let index = self.crossings.len();
        self.crossings.push(BuildCrossing {
            name: name.clone(),
            dims: dims.to_vec(),
            value,
            kind,
        });
        let phase = nodes.iter().map(|n| self.state.nodes[*n].phase).max().unwrap_or(0);
        let mut streams: Vec<Vec<VarId>> = Vec::new();
        for n in nodes {
            let node = &self.state.nodes[*n];
            if node.phase == phase && !streams.contains(&node.stream) {
                streams.push(node.stream.clone());
            }
        }
        let (resident, local): (Vec<VarId>, Vec<VarId>) = dims.iter().copied().partition(|v| self.state.is_big(*v));
        let home = self.kernel(phase, &streams, &resident, &name);
        let value = self.resolve(home, value);
        let places = self.state.vars_as_indices(dims);
        self.kernels[home].stores.push(BuildStore {
            target: Target::Crossing(index),
            vars: local,
            conds: Vec::new(),
            value,
            places,
        });
        index
    }

    fn crossing_name(&self, value: ExprId, nodes: &[usize]) -> String {
        let base = if self.state.folded.iter().any(|f| f.lam == value) {
            "lam".to_owned()
        } else {
            nodes
                .last()
                .map_or("value".to_owned(), |n| self.state.nodes[*n].name.clone())
        };
        let taken = |name: &str| self.crossings.iter().any(|c| c.name == name);
        if !taken(&base) {
            return base;
        }
        (2..)
            .map(|i| format!("{base}{i}"))
            .find(|n| !taken(n))
            .expect("there is always a free number")
    }
}
