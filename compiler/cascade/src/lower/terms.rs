//! Making expressions: constant folding, small identities, free variables, substitution.
//!
//! **Variables.** Each atom rank has one *canonical* variable; values during lowering are free in canonical variables
//! only. A reduction binds a *copy* of a higher level than any copy of the same rank inside its body, so substitution
//! of canonical variables never captures anything.

use crate::expr::{Arena, Expr, ExprId, Kind, MapOp, Reduce, ReduceOp, VarId};
use crate::ir::Var;
use crate::ops::{self, Scalar};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Expressions deeper than this are refused; later stages may recurse over them.
pub(crate) const MAX_DEPTH: u32 = 1000;
/// Expressions of one cascade.
pub(crate) const MAX_NODES: usize = 400_000;

/// A value during lowering: an expression that is total where all conditions hold, checked from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Val {
    pub(crate) expr: ExprId,
    pub(crate) kind: Kind,
    pub(crate) conds: Vec<ExprId>,
}

impl Val {
    pub(crate) fn total(expr: ExprId, kind: Kind) -> Val {
        Val {
            expr,
            kind,
            conds: Vec::new(),
        }
    }
}

/// Adds conditions that are not there yet.
pub(crate) fn join(conds: &mut Vec<ExprId>, more: &[ExprId]) {
    for cond in more {
        if !conds.contains(cond) {
            conds.push(*cond);
        }
    }
}

/// The arena with what is known of each expression.
#[derive(Default)]
pub(crate) struct Terms {
    pub(crate) arena: Arena,
    free: Vec<Rc<Vec<VarId>>>,
    bound: Vec<Rc<Vec<VarId>>>,
    depth: Vec<u32>,
    pub(crate) vars: Vec<Var>,
    /// Canonical variable and level of each variable.
    base: Vec<(VarId, u32)>,
    copies: BTreeMap<(VarId, u32), VarId>,
    /// Extents of composite ranks that are exactly the product of their parts.
    pub(crate) exact: BTreeMap<ExprId, ExprId>,
    /// Expressions that are extents, hence not negative.
    pub(crate) extents: std::collections::BTreeSet<ExprId>,
    /// Steps that the range analysis may still take for the comparison at hand.
    pub(crate) steps: std::cell::Cell<u32>,
    /// Set when a limit was passed; what is made afterwards is meaningless.
    pub(crate) overflow: bool,
}

impl Terms {
    /// A new canonical variable.
    pub(crate) fn new_var(&mut self, name: &str, extent: ExprId) -> VarId {
        let id = VarId(self.vars.len() as u32);
        self.vars.push(Var {
            name: name.to_string(),
            extent,
        });
        self.base.push((id, 0));
        id
    }

    /// The copy of a canonical variable at a level.
    fn copy(&mut self, base: VarId, level: u32) -> VarId {
        if level == 0 {
            return base;
        }
        if let Some(found) = self.copies.get(&(base, level)) {
            return *found;
        }
        let id = VarId(self.vars.len() as u32);
        let var = self.vars[base.index()].clone();
        self.vars.push(var);
        self.base.push((base, level));
        self.copies.insert((base, level), id);
        id
    }

    /// Canonical variable of a copy.
    pub(crate) fn base(&self, var: VarId) -> VarId {
        self.base[var.index()].0
    }

    /// Free variables, ascending.
    pub(crate) fn free(&self, id: ExprId) -> &[VarId] {
        &self.free[id.index()]
    }

    /// Free variables of a value and its conditions, ascending.
    pub(crate) fn ranks(&self, val: &Val) -> Vec<VarId> {
        let mut all: Vec<VarId> = self.free(val.expr).to_vec();
        for cond in &val.conds {
            all.extend(self.free(*cond));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(crate) fn add(&mut self, expr: Expr) -> ExprId {
        if self.arena.len() >= MAX_NODES {
            self.overflow = true;
            return ExprId(0);
        }
        let id = self.arena.add(expr);
        if id.index() < self.free.len() {
            return id;
        }
        let children = self.arena.children(id);
        let mut free: Vec<VarId> = children
            .iter()
            .flat_map(|child| self.free[child.index()].iter().copied())
            .collect();
        let mut bound: Vec<VarId> = children
            .iter()
            .flat_map(|child| self.bound[child.index()].iter().copied())
            .collect();
        match self.arena.get(id) {
            Expr::Var(var) => free.push(*var),
            Expr::Reduce(reduce) => {
                free.retain(|var| !reduce.vars.contains(var));
                bound.extend(&reduce.vars);
            }
            _ => {}
        }
        for list in [&mut free, &mut bound] {
            list.sort_unstable();
            list.dedup();
        }
        let depth = 1 + children
            .iter()
            .map(|child| self.depth[child.index()])
            .max()
            .unwrap_or(0);
        self.overflow |= depth > MAX_DEPTH;
        self.free.push(Rc::new(free));
        self.bound.push(Rc::new(bound));
        self.depth.push(depth);
        id
    }

    pub(crate) fn int(&mut self, x: i64) -> ExprId {
        self.add(Expr::Int(x))
    }

    pub(crate) fn real(&mut self, x: f64) -> ExprId {
        self.add(Expr::Real(x.to_bits()))
    }

    pub(crate) fn bool(&mut self, x: bool) -> ExprId {
        self.add(Expr::Bool(x))
    }

    pub(crate) fn var(&mut self, var: VarId) -> ExprId {
        self.add(Expr::Var(var))
    }

    /// The constant, if `id` is one.
    pub(crate) fn constant(&self, id: ExprId) -> Option<Scalar> {
        match self.arena.get(id) {
            Expr::Real(bits) => Some(Scalar::Real(f64::from_bits(*bits))),
            Expr::Int(x) => Some(Scalar::Int(*x)),
            Expr::Bool(x) => Some(Scalar::Bool(*x)),
            _ => None,
        }
    }

    fn scalar(&mut self, value: Scalar) -> ExprId {
        match value {
            Scalar::Real(x) => self.real(x),
            Scalar::Int(x) => self.int(x),
            Scalar::Bool(x) => self.bool(x),
        }
    }

    /// A function of values, folded where that is exact.
    pub(crate) fn map(&mut self, op: MapOp, args: &[ExprId]) -> ExprId {
        let constants: Option<Vec<Scalar>> = args.iter().map(|arg| self.constant(*arg)).collect();
        if let Some(values) = constants
            && op != MapOp::Uniform
            && let Ok(value) = ops::apply(op, &values)
            && !matches!(value, Scalar::Real(x) if x.is_nan())
        {
            return self.scalar(value);
        }
        match self.identity(op, args) {
            Some(id) => id,
            None => self.add(Expr::Map(op, args.to_vec())),
        }
    }

    fn identity(&mut self, op: MapOp, args: &[ExprId]) -> Option<ExprId> {
        if let [arg] = args {
            return match (op, self.arena.get(*arg)) {
                (MapOp::Not, Expr::Map(MapOp::Not, inner)) => Some(inner[0]),
                _ => None,
            };
        }
        let [a, b] = *args else { return None };
        let (x, y) = (self.constant(a), self.constant(b));
        let int = |value: Option<Scalar>, wanted: i64| value == Some(Scalar::Int(wanted));
        let one = |value: Option<Scalar>| matches!(value, Some(Scalar::Int(1))) || value == Some(Scalar::Real(1.0));
        match op {
            MapOp::Add if int(x, 0) => Some(b),
            MapOp::Add | MapOp::Sub if int(y, 0) => Some(a),
            MapOp::Add | MapOp::Sub if matches!(y, Some(Scalar::Int(_))) => self.shift(op, a, y),
            MapOp::Add => self.rejoin(a, b).or_else(|| self.rejoin(b, a)),
            MapOp::Mul if one(x) => Some(b),
            MapOp::Mul | MapOp::Div if one(y) => Some(a),
            MapOp::Mul if int(x, 0) => Some(a),
            MapOp::Mul if int(y, 0) => Some(b),
            MapOp::IDiv if int(y, 1) => Some(a),
            MapOp::IMod if int(y, 1) => Some(self.int(0)),
            MapOp::IDiv | MapOp::IMod => self.split(op, a, b),
            MapOp::Min | MapOp::Max if a == b => Some(a),
            MapOp::And | MapOp::Or => {
                let stop = Scalar::Bool(op == MapOp::Or);
                match (x, y) {
                    (Some(x), _) => Some(if x == stop { a } else { b }),
                    (_, Some(y)) => Some(if y == stop { b } else { a }),
                    _ if a == b => Some(a),
                    _ => None,
                }
            }
            MapOp::Eq if a == b => Some(self.bool(true)),
            MapOp::Ne if a == b => Some(self.bool(false)),
            MapOp::Lt | MapOp::Le => self.decide(op, a, b).map(|truth| self.bool(truth)),
            _ => None,
        }
    }

    /// `x + 3 - 1` is `x + 2`.
    fn shift(&mut self, op: MapOp, a: ExprId, by: Option<Scalar>) -> Option<ExprId> {
        let by = by?.as_int()?;
        let by = if op == MapOp::Sub { by.checked_neg()? } else { by };
        let Expr::Map(inner @ (MapOp::Add | MapOp::Sub), parts) = self.arena.get(a) else {
            return None;
        };
        let (inner, base) = (*inner, parts[0]);
        let before = self.constant(parts[1])?.as_int()?;
        let before = if inner == MapOp::Sub {
            before.checked_neg()?
        } else {
            before
        };
        let total = before.checked_add(by)?;
        let op = if total < 0 { MapOp::Sub } else { MapOp::Add };
        let total = self.int(total.checked_abs()?);
        Some(self.map(op, &[base, total]))
    }

    /// `(v div n) * n + v mod n` is `v`.
    fn rejoin(&self, product: ExprId, rest: ExprId) -> Option<ExprId> {
        let Expr::Map(MapOp::IMod, rest) = self.arena.get(rest) else {
            return None;
        };
        let Expr::Map(MapOp::Mul, factors) = self.arena.get(product) else {
            return None;
        };
        [(factors[0], factors[1]), (factors[1], factors[0])]
            .into_iter()
            .find_map(|(quotient, n)| match self.arena.get(quotient) {
                Expr::Map(MapOp::IDiv, parts) if parts[..] == rest[..] && parts[1] == n => Some(parts[0]),
                _ => None,
            })
    }

    /// `(a * n + r) div n` is `a` and `(a * n + r) mod n` is `r` where `0 <= r < n`; likewise without `a * n`.
    fn split(&mut self, op: MapOp, whole: ExprId, n: ExprId) -> Option<ExprId> {
        let zero = self.int(0);
        let inside = |terms: &mut Terms, r: ExprId| {
            terms.decide(MapOp::Le, zero, r) == Some(true) && terms.decide(MapOp::Lt, r, n) == Some(true)
        };
        if inside(self, whole) {
            return Some(if op == MapOp::IDiv { zero } else { whole });
        }
        let Expr::Map(MapOp::Add, both) = self.arena.get(whole).clone() else {
            return None;
        };
        for (product, rest) in [(both[0], both[1]), (both[1], both[0])] {
            let Expr::Map(MapOp::Mul, factors) = self.arena.get(product).clone() else {
                continue;
            };
            let quotient = if factors[1] == n {
                factors[0]
            } else if factors[0] == n {
                factors[1]
            } else {
                continue;
            };
            if inside(self, rest) {
                return Some(if op == MapOp::IDiv { quotient } else { rest });
            }
        }
        None
    }

    /// All conditions in one, `true` if there are none.
    pub(crate) fn all(&mut self, conds: &[ExprId]) -> ExprId {
        let mut whole = self.bool(true);
        for cond in conds {
            whole = self.map(MapOp::And, &[whole, *cond]);
        }
        whole
    }

    pub(crate) fn select(&mut self, cond: ExprId, then: ExprId, otherwise: ExprId) -> ExprId {
        match self.constant(cond) {
            Some(Scalar::Bool(true)) => then,
            Some(Scalar::Bool(false)) => otherwise,
            _ if then == otherwise => then,
            _ => self.add(Expr::Select([cond, then, otherwise])),
        }
    }

    /// A reduction over canonical variables.
    pub(crate) fn reduce(&mut self, op: ReduceOp, vars: &[VarId], conds: &[ExprId], body: ExprId) -> ExprId {
        if op == ReduceOp::Sum && conds.is_empty() && matches!(self.arena.get(body), Expr::Int(_)) {
            let mut total = body;
            for var in vars {
                let extent = self.vars[var.index()].extent;
                total = self.map(MapOp::Mul, &[extent, total]);
            }
            return total;
        }
        let mut bound = Vec::with_capacity(vars.len());
        let mut map = BTreeMap::new();
        for &var in vars {
            let level = conds
                .iter()
                .chain([&body])
                .flat_map(|id| self.bound[id.index()].iter())
                .filter(|inner| self.base[inner.index()].0 == var)
                .map(|inner| self.base[inner.index()].1)
                .max()
                .unwrap_or(0);
            let copy = self.copy(var, level + 1);
            bound.push(copy);
            let at = self.var(copy);
            map.insert(var, at);
        }
        let mut memo = BTreeMap::new();
        let conds = conds.iter().map(|cond| self.subst_in(*cond, &map, &mut memo)).collect();
        let body = self.subst_in(body, &map, &mut memo);
        self.add(Expr::Reduce(Reduce {
            op,
            vars: bound,
            conds,
            body,
        }))
    }

    fn subst_in(&mut self, id: ExprId, map: &BTreeMap<VarId, ExprId>, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        if self.overflow || !self.free(id).iter().any(|var| map.contains_key(var)) {
            return id;
        }
        if let Some(done) = memo.get(&id) {
            return *done;
        }
        let new = match self.arena.get(id).clone() {
            Expr::Var(var) => map.get(&var).copied().unwrap_or(id),
            Expr::Input(input, list) => {
                let list = self.subst_list(&list, map, memo);
                self.add(Expr::Input(input, list))
            }
            Expr::Def(def, list) => {
                let list = self.subst_list(&list, map, memo);
                self.add(Expr::Def(def, list))
            }
            Expr::Map(op, list) => {
                let list = self.subst_list(&list, map, memo);
                self.map(op, &list)
            }
            Expr::Select(list) => {
                let list = self.subst_list(&list, map, memo);
                self.select(list[0], list[1], list[2])
            }
            Expr::Reduce(reduce) => {
                let conds = self.subst_list(&reduce.conds, map, memo);
                let conds = self.without_true(conds);
                let body = self.subst_in(reduce.body, map, memo);
                self.add(Expr::Reduce(Reduce { conds, body, ..reduce }))
            }
            _ => id,
        };
        memo.insert(id, new);
        new
    }

    fn subst_list(
        &mut self,
        list: &[ExprId],
        map: &BTreeMap<VarId, ExprId>,
        memo: &mut BTreeMap<ExprId, ExprId>,
    ) -> Vec<ExprId> {
        list.iter().map(|id| self.subst_in(*id, map, memo)).collect()
    }

    /// Drops conditions that always hold.
    pub(crate) fn without_true(&self, mut conds: Vec<ExprId>) -> Vec<ExprId> {
        conds.retain(|cond| self.constant(*cond) != Some(Scalar::Bool(true)));
        conds
    }

    /// A value with canonical variables replaced.
    pub(crate) fn subst_val(&mut self, val: &Val, map: &BTreeMap<VarId, ExprId>) -> Val {
        let mut memo = BTreeMap::new();
        let conds = self.subst_list(&val.conds, map, &mut memo);
        let expr = self.subst_in(val.expr, map, &mut memo);
        let mut unique = Vec::new();
        join(&mut unique, &self.without_true(conds));
        Val {
            expr,
            kind: val.kind,
            conds: unique,
        }
    }

    /// Converts to a wider kind: bool to int to real.
    pub(crate) fn convert(&mut self, expr: ExprId, from: Kind, to: Kind) -> ExprId {
        match (from, to) {
            (Kind::Bool, Kind::Int) => self.map(MapOp::BoolToInt, &[expr]),
            (Kind::Bool | Kind::Int, Kind::Real) => self.map(MapOp::ToReal, &[expr]),
            _ => expr,
        }
    }
}
