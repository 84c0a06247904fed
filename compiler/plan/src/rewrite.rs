//! Substitution of variables without capture, and rebuilding of nodes.

use crate::state::State;
use einloom_cascade::expr::{Arena, Expr, ExprId, Reduce, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// `id` with its children replaced, in the order of [`Arena::children`].
pub(crate) fn with_children(arena: &mut Arena, id: ExprId, children: &[ExprId]) -> ExprId {
    let expr = match arena.get(id).clone() {
        Expr::Input(input, _) => Expr::Input(input, children.to_vec()),
        Expr::Def(def, _) => Expr::Def(def, children.to_vec()),
        Expr::Leaf(leaf, _) => Expr::Leaf(leaf, children.to_vec()),
        Expr::Map(op, _) => Expr::Map(op, children.to_vec()),
        Expr::Select(_) => Expr::Select([children[0], children[1], children[2]]),
        Expr::Reduce(r) => {
            let (body, conds) = children.split_last().expect("a reduction has a body");
            Expr::Reduce(Reduce {
                conds: conds.to_vec(),
                body: *body,
                ..r
            })
        }
        leaf => leaf,
    };
    arena.add(expr)
}

impl State {
    /// Replaces free variables; bound variables are renamed where they would capture.
    pub(crate) fn substitute(&mut self, id: ExprId, map: &BTreeMap<VarId, ExprId>) -> ExprId {
        let arena = &self.cascade.exprs;
        let identity = map.iter().all(|(v, e)| matches!(arena.get(*e), Expr::Var(w) if w == v));
        if identity {
            return id;
        }
        self.substitute_in(id, map, &mut BTreeMap::new())
    }

    fn substitute_in(
        &mut self,
        id: ExprId,
        map: &BTreeMap<VarId, ExprId>,
        memo: &mut BTreeMap<ExprId, ExprId>,
    ) -> ExprId {
        if let Some(done) = memo.get(&id) {
            return *done;
        }
        let free = self.free(id);
        if !map.keys().any(|v| free.contains(v)) {
            return id;
        }
        let result = match self.expr(id).clone() {
            Expr::Var(v) => map.get(&v).copied().unwrap_or(id),
            Expr::Reduce(r) => self.substitute_reduce(r, &free, map),
            _ => {
                let children: Vec<ExprId> = self
                    .cascade
                    .exprs
                    .children(id)
                    .into_iter()
                    .map(|c| self.substitute_in(c, map, memo))
                    .collect();
                with_children(&mut self.cascade.exprs, id, &children)
            }
        };
        memo.insert(id, result);
        result
    }

    fn substitute_reduce(&mut self, r: Reduce, free: &BTreeSet<VarId>, map: &BTreeMap<VarId, ExprId>) -> ExprId {
        let mut inside: BTreeMap<VarId, ExprId> = map
            .iter()
            .filter(|(v, _)| free.contains(v))
            .map(|(v, e)| (*v, *e))
            .collect();
        let mut taken: BTreeSet<VarId> = free.clone();
        for image in inside.values().copied().collect::<Vec<_>>() {
            taken.extend(self.free(image).iter().copied());
        }
        let mut vars = Vec::with_capacity(r.vars.len());
        for v in &r.vars {
            let fresh = self.variant(*v, &taken);
            taken.insert(fresh);
            vars.push(fresh);
            if fresh != *v {
                let image = self.arena().var(fresh);
                inside.insert(*v, image);
            }
        }
        let mut memo = BTreeMap::new();
        let conds = r
            .conds
            .iter()
            .map(|c| self.substitute_in(*c, &inside, &mut memo))
            .collect();
        let body = self.substitute_in(r.body, &inside, &mut memo);
        self.arena().add(Expr::Reduce(Reduce {
            op: r.op,
            vars,
            conds,
            body,
        }))
    }

    /// `var`, or its first copy that is not taken.
    pub(crate) fn variant(&mut self, var: VarId, taken: &BTreeSet<VarId>) -> VarId {
        if !taken.contains(&var) {
            return var;
        }
        let copies = self.copies.entry(var).or_default();
        if let Some(copy) = copies.iter().find(|c| !taken.contains(c)) {
            return *copy;
        }
        let mut copy = self.cascade.vars[var.index()].clone();
        copy.name = format!("{}_{}", copy.name, copies.len() + 1);
        let id = VarId(u32::try_from(self.cascade.vars.len()).expect("few variables"));
        copies.push(id);
        self.cascade.vars.push(copy);
        self.big.push(self.big[var.index()]);
        id
    }

    /// Rewrites bottom-up: `change` sees each rebuilt node and may replace it.
    pub(crate) fn rewrite(
        &mut self,
        id: ExprId,
        memo: &mut BTreeMap<ExprId, ExprId>,
        change: &mut dyn FnMut(&mut State, ExprId) -> Option<ExprId>,
    ) -> ExprId {
        if let Some(done) = memo.get(&id) {
            return *done;
        }
        let children: Vec<ExprId> = self
            .cascade
            .exprs
            .children(id)
            .into_iter()
            .map(|c| self.rewrite(c, memo, change))
            .collect();
        let rebuilt = with_children(&mut self.cascade.exprs, id, &children);
        let result = change(self, rebuilt).unwrap_or(rebuilt);
        memo.insert(id, result);
        result
    }
}
