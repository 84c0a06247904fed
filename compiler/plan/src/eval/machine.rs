//! Values of expressions at one point, with memory of what did not change since.

use super::state::{Cell, State, join};
use super::{EvalError, Memory};
use crate::ir::{FusedPlan, LeafDef};
use einloom_cascade::Tensor;
use einloom_cascade::bind::Extents;
use einloom_cascade::expr::{DType, Expr, ExprId, Kind, LeafId, MapOp, Reduce, ReduceOp, VarId};
use einloom_cascade::ops::{self, Scalar};
use std::collections::BTreeSet;

/// What an expression depends on besides constants.
#[derive(Clone, Default)]
struct Depends {
    vars: BTreeSet<VarId>,
    /// Reads the state of the resident point.
    state: bool,
}

/// An expression evaluator at the present point.
pub(super) struct Machine<'a> {
    plan: &'a FusedPlan,
    tensors: &'a [Tensor],
    extents: &'a Extents,
    pub(super) crossings: Vec<Memory>,
    /// Coordinate of each variable and when it was set.
    vars: Vec<(Option<i64>, u64)>,
    /// States of the finished sweeps of the present kernel, and when they changed.
    states: Vec<State>,
    /// Shared states of the present chunk, by sweep.
    shared: Vec<Option<State>>,
    kernel: usize,
    states_changed: u64,
    clock: u64,
    depends: Vec<Depends>,
    memo: Vec<Option<(Scalar, u64)>>,
    kinds: Vec<Option<Kind>>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        plan: &'a FusedPlan,
        tensors: &'a [Tensor],
        extents: &'a Extents,
        crossings: Vec<Memory>,
    ) -> Machine<'a> {
        let arena = &plan.cascade.exprs;
        let mut machine = Machine {
            plan,
            tensors,
            extents,
            crossings,
            vars: vec![(None, 0); plan.cascade.vars.len()],
            states: Vec::new(),
            shared: Vec::new(),
            kernel: 0,
            states_changed: 0,
            clock: 0,
            depends: Vec::with_capacity(arena.len()),
            memo: vec![None; arena.len()],
            kinds: Vec::with_capacity(arena.len()),
        };
        // children have smaller ids
        for at in 0..arena.len() {
            let id = ExprId(at as u32);
            let depends = machine.dependencies(id);
            machine.depends.push(depends);
            let kind = machine.infer(id);
            machine.kinds.push(kind);
        }
        machine
    }

    fn dependencies(&self, id: ExprId) -> Depends {
        let mut depends = Depends::default();
        for child in self.plan.cascade.exprs.children(id) {
            let below = &self.depends[child.index()];
            depends.vars.extend(&below.vars);
            depends.state |= below.state;
        }
        match self.plan.cascade.exprs.get(id) {
            Expr::Var(var) => {
                depends.vars.insert(*var);
            }
            Expr::Leaf(..) => depends.state = true,
            Expr::Reduce(reduce) => {
                for var in &reduce.vars {
                    depends.vars.remove(var);
                }
            }
            _ => {}
        }
        depends
    }

    fn infer(&self, id: ExprId) -> Option<Kind> {
        let of = |id: ExprId| self.kinds[id.index()];
        let stored = |dtype: DType| match dtype {
            DType::Bool => Kind::Bool,
            DType::F32 | DType::F16 | DType::BF16 => Kind::Real,
            _ => Kind::Int,
        };
        match self.plan.cascade.exprs.get(id) {
            Expr::Real(_) => Some(Kind::Real),
            Expr::Int(_) | Expr::Var(_) | Expr::Extent(_) => Some(Kind::Int),
            Expr::Bool(_) => Some(Kind::Bool),
            Expr::Scalar(scalar) => (self.extents.scalars.get(scalar.index())).map(|x| x.kind()),
            Expr::Input(input, _) => (self.plan.cascade.inputs.get(input.index())).map(|input| stored(input.dtype)),
            Expr::Def(def, _) => self.kinds[self.plan.cascade.defs[def.index()].body.index()],
            Expr::Leaf(leaf, _) => self.leaf_kind(*leaf),
            Expr::Map(op, args) => {
                let args: Option<Vec<Kind>> = args.iter().map(|&arg| of(arg)).collect();
                ops::result_kind(*op, &args?)
            }
            Expr::Select([_, a, _]) => of(*a),
            Expr::Reduce(reduce) => reduced(reduce.op, of(reduce.body)),
        }
    }

    fn leaf_kind(&self, leaf: LeafId) -> Option<Kind> {
        match *self.plan.leaves.get(leaf.index())? {
            LeafDef::Carry { kernel, sweep, carry } => {
                let sweep = self.plan.kernels.get(kernel)?.sweeps.get(sweep)?;
                let carry = sweep.carries.get(carry)?;
                match carry.weight {
                    Some(_) => Some(Kind::Real),
                    None => reduced(carry.op, *self.kinds.get(carry.streamed.index())?),
                }
            }
            LeafDef::State { kernel, sweep, carry } => {
                let sweep = self.plan.kernels.get(kernel)?.sweeps.get(sweep)?;
                let carry = sweep.chunks.as_ref()?.state.carries.get(carry)?;
                match carry.weight {
                    Some(_) => Some(Kind::Real),
                    None => reduced(carry.op, *self.kinds.get(carry.streamed.index())?),
                }
            }
            LeafDef::Reference { .. } | LeafDef::StateReference { .. } => Some(Kind::Real),
            LeafDef::Crossing(at) => Some(self.plan.crossings.get(at)?.kind),
        }
    }

    /// Kind of an expression.
    pub(super) fn kind(&self, id: ExprId) -> Option<Kind> {
        self.kinds[id.index()]
    }

    /// Extent of a variable.
    pub(super) fn extent(&self, var: VarId) -> i64 {
        self.extents.vars[var.index()]
    }

    /// All points of a list of variables, row-major.
    pub(super) fn points(&self, vars: &[VarId]) -> Vec<Vec<i64>> {
        vars.iter().fold(vec![Vec::new()], |points, &var| {
            let extent = self.extent(var);
            let longer = |point: Vec<i64>| (0..extent).map(move |i| point.iter().copied().chain([i]).collect());
            points.into_iter().flat_map(longer).collect()
        })
    }

    /// Row-major coordinate of the present point over lists of variables.
    pub(super) fn coordinate(&self, lists: &[&[VarId]]) -> i64 {
        let vars = lists.iter().flat_map(|list| list.iter());
        vars.fold(0, |flat, &var| {
            flat * self.extent(var) + self.vars[var.index()].0.unwrap_or(0)
        })
    }

    /// Moves variables to a point.
    pub(super) fn set(&mut self, vars: &[VarId], point: &[i64]) {
        for (&var, &at) in vars.iter().zip(point) {
            self.assign(var, Some(at));
        }
    }

    /// Forgets variables, so that nothing reads them by mistake.
    pub(super) fn unset(&mut self, vars: &[VarId]) {
        for &var in vars {
            self.assign(var, None);
        }
    }

    fn assign(&mut self, var: VarId, at: Option<i64>) {
        let slot = &mut self.vars[var.index()];
        if slot.0 != at {
            self.clock += 1;
            *slot = (at, self.clock);
        }
    }

    /// Begins a resident point of a kernel.
    pub(super) fn start(&mut self, kernel: usize) {
        self.kernel = kernel;
        self.states.clear();
        self.clock += 1;
        self.states_changed = self.clock;
    }

    /// Begins a chunk of a kernel: the shared state of each sweep that has one.
    pub(super) fn share(&mut self, kernel: usize, shared: Vec<Option<State>>) {
        self.start(kernel);
        self.shared = shared;
    }

    /// Adds the finished state of the next sweep.
    pub(super) fn finish(&mut self, state: State) {
        self.states.push(state);
        self.clock += 1;
        self.states_changed = self.clock;
    }

    /// Whether the present element is inside of the kernel's domain, as far as the variables that are set tell.
    pub(super) fn exists(&mut self) -> Result<bool, EvalError> {
        let plan = self.plan;
        for &cond in &plan.kernels[self.kernel].domain {
            let known = |var: &VarId| self.vars[var.index()].0.is_some();
            if self.depends[cond.index()].vars.iter().all(known) && !self.truth(cond)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether all conditions hold; stops at the first that does not.
    pub(super) fn all(&mut self, conds: &[ExprId]) -> Result<bool, EvalError> {
        for &cond in conds {
            if !self.truth(cond)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Values of int expressions.
    pub(super) fn ints(&mut self, ids: &[ExprId]) -> Result<Vec<i64>, EvalError> {
        ids.iter()
            .map(|&id| {
                let int = self.value(id)?.as_int();
                int.ok_or_else(|| EvalError::Malformed(format!("expression {} is no int", id.0)))
            })
            .collect()
    }

    fn truth(&mut self, id: ExprId) -> Result<bool, EvalError> {
        let truth = self.value(id)?.as_bool();
        truth.ok_or_else(|| EvalError::Malformed(format!("expression {} is no bool", id.0)))
    }

    /// The value at the present point.
    pub(super) fn value(&mut self, id: ExprId) -> Result<Scalar, EvalError> {
        if let Some((value, since)) = self.memo[id.index()] {
            let depends = &self.depends[id.index()];
            let fresh = depends.vars.iter().all(|var| self.vars[var.index()].1 <= since)
                && (!depends.state || self.states_changed <= since);
            if fresh {
                return Ok(value);
            }
        }
        let value = self.compute(id)?;
        self.memo[id.index()] = Some((value, self.clock));
        Ok(value)
    }

    fn compute(&mut self, id: ExprId) -> Result<Scalar, EvalError> {
        let plan = self.plan;
        match plan.cascade.exprs.get(id) {
            Expr::Real(bits) => Ok(Scalar::Real(f64::from_bits(*bits))),
            Expr::Int(x) => Ok(Scalar::Int(*x)),
            Expr::Bool(x) => Ok(Scalar::Bool(*x)),
            Expr::Var(var) => match self.vars[var.index()].0 {
                Some(at) => Ok(Scalar::Int(at)),
                None => {
                    let name = &plan.cascade.vars[var.index()].name;
                    let text = format!("`{name}` is read where it is not bound");
                    Err(EvalError::Malformed(text))
                }
            },
            Expr::Extent(symbol) => Ok(Scalar::Int(self.extents.symbols[symbol.index()])),
            Expr::Scalar(scalar) => Ok(self.extents.scalars[scalar.index()]),
            Expr::Input(input, places) => {
                let index = self.ints(places)?;
                self.input(input.index(), index)
            }
            Expr::Def(def, places) => {
                let index = self.ints(places)?;
                let def = &plan.cascade.defs[def.index()];
                self.at(&def.dims, &index, |machine| machine.value(def.body))
            }
            Expr::Leaf(leaf, places) => {
                let index = self.ints(places)?;
                self.leaf(*leaf, index)
            }
            Expr::Map(op @ (MapOp::And | MapOp::Or), args) => {
                let first = self.truth(args[0])?;
                let decided = first == (*op == MapOp::Or);
                let truth = if decided { first } else { self.truth(args[1])? };
                Ok(Scalar::Bool(truth))
            }
            Expr::Map(op, args) => {
                let args: Result<Vec<Scalar>, EvalError> = args.iter().map(|&arg| self.value(arg)).collect();
                Ok(ops::apply(*op, &args?)?)
            }
            Expr::Select([cond, then, otherwise]) => {
                let chosen = if self.truth(*cond)? { then } else { otherwise };
                self.value(*chosen)
            }
            Expr::Reduce(reduce) => self.reduce(reduce),
        }
    }

    /// Runs `f` with variables moved, and puts them back.
    fn at<T>(
        &mut self,
        vars: &[VarId],
        point: &[i64],
        f: impl FnOnce(&mut Self) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let before: Vec<Option<i64>> = vars.iter().map(|var| self.vars[var.index()].0).collect();
        self.set(vars, point);
        let result = f(self);
        for (&var, &at) in vars.iter().zip(&before) {
            self.assign(var, at);
        }
        result
    }

    fn input(&self, input: usize, index: Vec<i64>) -> Result<Scalar, EvalError> {
        let found = self.tensors.get(input).and_then(|tensor| {
            let mut flat = 0;
            for (&i, &n) in index.iter().zip(&tensor.shape) {
                let i = usize::try_from(i).ok().filter(|&i| i < n)?;
                flat = flat * n + i;
            }
            tensor.values.get(flat)
        });
        found.ok_or(EvalError::Outside { input, index })
    }

    fn leaf(&self, leaf: LeafId, index: Vec<i64>) -> Result<Scalar, EvalError> {
        let state = |kernel: usize, sweep: usize| self.states.get(sweep).filter(|_| kernel == self.kernel);
        let shared = |kernel: usize, sweep: usize| {
            let here = self.shared.get(sweep).filter(|_| kernel == self.kernel);
            here.and_then(Option::as_ref)
        };
        let found = match *self
            .plan
            .leaves
            .get(leaf.index())
            .ok_or_else(|| EvalError::Malformed(format!("leaf {} is not defined", leaf.0)))?
        {
            LeafDef::Carry { kernel, sweep, carry } => state(kernel, sweep).and_then(|state| {
                let table = state.carries.get(carry)?;
                let cell: Cell = table.cells[table.place(&index)?];
                let op = self.plan.kernels[kernel].sweeps[sweep].carries[carry].op;
                Some(match op {
                    ReduceOp::ArgMax | ReduceOp::ArgMin => Scalar::Int(cell.at),
                    _ => cell.value,
                })
            }),
            LeafDef::Reference {
                kernel,
                sweep,
                reference,
            } => state(kernel, sweep).and_then(|state| {
                let table = state.references.get(reference)?;
                Some(Scalar::Real(table.cells[table.place(&index)?]))
            }),
            LeafDef::State { kernel, sweep, carry } => shared(kernel, sweep).and_then(|state| {
                let table = state.carries.get(carry)?;
                Some(table.cells[table.place(&index)?].value)
            }),
            LeafDef::StateReference {
                kernel,
                sweep,
                reference,
            } => shared(kernel, sweep).and_then(|state| {
                let table = state.references.get(reference)?;
                Some(Scalar::Real(table.cells[table.place(&index)?]))
            }),
            LeafDef::Crossing(at) => self.crossings.get(at).and_then(|memory| memory.read(&index)),
        };
        found.ok_or(EvalError::NoValue { leaf, index })
    }

    fn reduce(&mut self, reduce: &Reduce) -> Result<Scalar, EvalError> {
        let points = self.points(&reduce.vars);
        let mut total: Option<Cell> = None;
        // compensation of a sum of reals (Neumaier)
        let mut lost = 0.0;
        let before: Vec<Option<i64>> = (reduce.vars.iter()).map(|var| self.vars[var.index()].0).collect();
        for (number, point) in points.iter().enumerate() {
            self.set(&reduce.vars, point);
            if !self.all(&reduce.conds)? {
                continue;
            }
            let next = Cell {
                value: self.value(reduce.body)?,
                at: number as i64,
            };
            total = Some(match total {
                None => next,
                Some(sum) => {
                    let both = join(reduce.op, sum, next)?;
                    if reduce.op == ReduceOp::Sum {
                        lost += rounded_off(sum.value, next.value, both.value);
                    }
                    both
                }
            });
        }
        for (&var, &at) in reduce.vars.iter().zip(&before) {
            self.assign(var, at);
        }
        let total = total.unwrap_or_else(|| super::state::identity(reduce.op, self.kind(reduce.body)));
        Ok(match (reduce.op, total.value) {
            (ReduceOp::ArgMax | ReduceOp::ArgMin, _) => Scalar::Int(total.at),
            (ReduceOp::Sum, Scalar::Real(x)) if x.is_finite() => Scalar::Real(x + lost),
            (_, value) => value,
        })
    }
}

fn rounded_off(a: Scalar, b: Scalar, sum: Scalar) -> f64 {
    match (a, b, sum) {
        (Scalar::Real(a), Scalar::Real(b), Scalar::Real(sum)) if sum.is_finite() => {
            if a.abs() >= b.abs() {
                (a - sum) + b
            } else {
                (b - sum) + a
            }
        }
        _ => 0.0,
    }
}

fn reduced(op: ReduceOp, body: Option<Kind>) -> Option<Kind> {
    match op {
        ReduceOp::ArgMax | ReduceOp::ArgMin => Some(Kind::Int),
        ReduceOp::Any | ReduceOp::All => Some(Kind::Bool),
        _ => body,
    }
}
