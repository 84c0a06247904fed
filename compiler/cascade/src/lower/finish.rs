//! The finished cascade: what outputs reach, in a fresh arena, with readable variables.
//!
//! Each reduction iterates over the first copy of its rank that no enclosing definition or reduction uses: `m` where
//! `m` is not iterated yet, else `m2`, `m3`.

use super::Lowerer;
use crate::expr::{Arena, DefId, Expr, ExprId, Reduce, VarId};
use crate::ir::{Cascade, Def, Var};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Variables in scope: for each variable of the old cascade the one of the new.
type Scope = Rc<BTreeMap<VarId, VarId>>;

struct Finisher<'l, 'a> {
    old: &'l Lowerer<'a>,
    arena: Arena,
    vars: Vec<Var>,
    /// New variable of a rank: canonical variable and number of the copy.
    copies: BTreeMap<(VarId, usize), VarId>,
    /// Definitions that are kept, and their new numbers.
    defs: BTreeMap<DefId, DefId>,
    memo: BTreeMap<(ExprId, Scope), ExprId>,
}

impl Lowerer<'_> {
    /// Builds the cascade.
    pub(crate) fn finish(self) -> Cascade {
        let mut kept = vec![false; self.out.defs.len()];
        let mut stack: Vec<DefId> = self.out.outputs.iter().map(|out| out.def).collect();
        let mut roots = self.out.assumes.clone();
        loop {
            let mut seen = std::collections::BTreeSet::new();
            let mut open = std::mem::take(&mut roots);
            while let Some(id) = open.pop() {
                if !seen.insert(id) {
                    continue;
                }
                if let Expr::Def(def, _) = self.terms.arena.get(id) {
                    stack.push(*def);
                }
                open.extend(self.terms.arena.children(id));
            }
            let Some(def) = stack.pop() else { break };
            if !std::mem::replace(&mut kept[def.index()], true) {
                let target = &self.out.defs[def.index()];
                roots.extend(target.conds.iter().copied().chain([target.body]));
            }
        }
        let mut defs = BTreeMap::new();
        for (at, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            defs.insert(DefId(at as u32), DefId(defs.len() as u32));
        }
        let mut out = self.out.clone();
        let mut finisher = Finisher {
            old: &self,
            arena: Arena::default(),
            vars: Vec::new(),
            copies: BTreeMap::new(),
            defs,
            memo: BTreeMap::new(),
        };
        finisher.run(&mut out);
        out.exprs = finisher.arena;
        out.vars = finisher.vars;
        out
    }
}

impl Finisher<'_, '_> {
    fn run(&mut self, out: &mut Cascade) {
        let none: Scope = Rc::new(BTreeMap::new());
        for input in &mut out.inputs {
            for dim in &mut input.dims {
                dim.extent = self.expr(dim.extent, &none);
            }
        }
        let old: Vec<Def> = std::mem::take(&mut out.defs);
        let mut scopes = BTreeMap::new();
        for (id, def) in old.into_iter().enumerate() {
            let id = DefId(id as u32);
            if !self.defs.contains_key(&id) {
                continue;
            }
            let dims: Vec<VarId> = def.dims.iter().map(|var| self.var(*var, 0)).collect();
            let scope: Scope = Rc::new(def.dims.iter().copied().zip(dims.iter().copied()).collect());
            let conds = def.conds.iter().map(|cond| self.expr(*cond, &scope)).collect();
            let body = self.expr(def.body, &scope);
            out.defs.push(Def {
                dims,
                conds,
                body,
                ..def
            });
            scopes.insert(id, scope);
        }
        for output in &mut out.outputs {
            let scope = scopes.get(&output.def).cloned().unwrap_or_default();
            for place in &mut output.places {
                *place = self.expr(*place, &scope);
            }
            for dim in &mut output.dims {
                dim.extent = self.expr(dim.extent, &none);
            }
            output.def = self.defs.get(&output.def).copied().unwrap_or(output.def);
        }
        for check in &mut out.checks {
            check.cond = self.expr(check.cond, &none);
        }
        for assume in &mut out.assumes {
            let free = self.old.terms.free(*assume).to_vec();
            let scope: Scope = Rc::new(free.into_iter().map(|var| (var, self.var(var, 0))).collect());
            *assume = self.expr(*assume, &scope);
        }
    }

    /// Copy number `copy` of a canonical variable.
    fn var(&mut self, base: VarId, copy: usize) -> VarId {
        if let Some(found) = self.copies.get(&(base, copy)) {
            return *found;
        }
        let old = &self.old.terms.vars[base.index()];
        let extent = self.expr(old.extent, &Rc::new(BTreeMap::new()));
        let mut name = old.name.clone();
        let mut suffix = 2;
        while self.vars.iter().any(|var| var.name == name) {
            name = format!("{}{suffix}", old.name);
            suffix += 1;
        }
        let id = VarId(self.vars.len() as u32);
        self.vars.push(Var { name, extent });
        self.copies.insert((base, copy), id);
        id
    }

    fn expr(&mut self, id: ExprId, scope: &Scope) -> ExprId {
        let key = (id, Rc::clone(scope));
        if let Some(done) = self.memo.get(&key) {
            return *done;
        }
        let old = self.old;
        let new = match old.terms.arena.get(id) {
            Expr::Var(var) => {
                let var = scope.get(var).copied();
                Expr::Var(var.unwrap_or_else(|| self.var(old.terms.base(old_var(old, id)), 0)))
            }
            Expr::Input(input, list) => Expr::Input(*input, self.list(list, scope)),
            Expr::Def(def, list) => Expr::Def(self.defs.get(def).copied().unwrap_or(*def), self.list(list, scope)),
            Expr::Leaf(leaf, list) => Expr::Leaf(*leaf, self.list(list, scope)),
            Expr::Map(op, list) => Expr::Map(*op, self.list(list, scope)),
            Expr::Select([a, b, c]) => Expr::Select([self.expr(*a, scope), self.expr(*b, scope), self.expr(*c, scope)]),
            Expr::Reduce(reduce) => self.reduce(id, reduce, scope),
            other => other.clone(),
        };
        let new = self.arena.add(new);
        self.memo.insert(key, new);
        new
    }

    fn list(&mut self, list: &[ExprId], scope: &Scope) -> Vec<ExprId> {
        list.iter().map(|id| self.expr(*id, scope)).collect()
    }

    fn reduce(&mut self, id: ExprId, reduce: &Reduce, scope: &Scope) -> Expr {
        // Only what the reduction can see matters: equal reductions in different places get equal names more often.
        let _ = id;
        let mut inner: BTreeMap<VarId, VarId> = (**scope).clone();
        let mut vars = Vec::with_capacity(reduce.vars.len());
        for var in &reduce.vars {
            let base = self.old.terms.base(*var);
            let mut copy = 0;
            let new = loop {
                let candidate = self.var(base, copy);
                if !scope.values().any(|used| *used == candidate) {
                    break candidate;
                }
                copy += 1;
            };
            inner.insert(*var, new);
            vars.push(new);
        }
        let inner: Scope = Rc::new(inner);
        let conds = self.list(&reduce.conds, &inner);
        let body = self.expr(reduce.body, &inner);
        Expr::Reduce(Reduce {
            op: reduce.op,
            vars,
            conds,
            body,
        })
    }
}

fn old_var(old: &Lowerer<'_>, id: ExprId) -> VarId {
    match old.terms.arena.get(id) {
        Expr::Var(var) => *var,
        _ => VarId(0),
    }
}
