//! The machine: evaluates blocks over batches of points, with memo tables for definitions and reductions.
//!
//! Recursion is bounded. Definitions may hang on each other in chains of any length: past [`MAX_CHAIN`] a missing
//! value stops the batch with [`Fault::Need`], the values are computed from the bottom of a fresh stack, and the batch
//! is tried again.

use super::block::{self, Block};
use super::fold::Fold;
use super::memo::{Memo, State};
use super::mode::Mode;
use super::value::{Batch, Env, Lane, flatten};
use super::{EvalError, maps};
use crate::bind::Extents;
use crate::data::{Tensor, Values};
use crate::expr::{DefId, Expr, ExprId, InputId, Kind, MapOp, Reduce, ReduceOp, VarId};
use crate::ir::Cascade;
use crate::kinds::Kinds;
use std::rc::Rc;

/// Points that are evaluated together.
pub(crate) const BATCH: usize = 4096;
const MAX_CHAIN: usize = 40;
const MAX_NEST: usize = 300;

/// Why a batch stopped.
pub(crate) enum Fault {
    Error(EvalError),
    /// These points of this table are wanted first.
    Need(usize, Vec<u64>),
}

impl<E: Into<EvalError>> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault::Error(error.into())
    }
}

#[derive(Clone, Copy)]
enum Target {
    Def(DefId),
    Reduce(ExprId),
}

struct Table {
    target: Target,
    kind: Kind,
    dims: Vec<VarId>,
    memo: Memo,
}

pub(crate) struct Machine<'a> {
    pub(crate) cascade: &'a Cascade,
    pub(crate) extents: Extents,
    inputs: &'a [Tensor],
    pub(super) kinds: Kinds,
    pub(super) mode: Mode,
    /// Free variables of every expression.
    pub(super) free: Vec<Vec<VarId>>,
    blocks: Vec<Option<Rc<Block>>>,
    tables: Vec<Table>,
    /// Table of each reduction that has one.
    reduce_table: Vec<Option<usize>>,
    chain: usize,
    nest: usize,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(
        cascade: &'a Cascade,
        inputs: &'a [Tensor],
        extents: Extents,
        kinds: Kinds,
        mode: Mode,
    ) -> Result<Machine<'a>, EvalError> {
        let free = block::free_vars(cascade);
        let used = block::used(cascade);
        let mut machine = Machine {
            cascade,
            extents,
            inputs,
            kinds,
            mode,
            free,
            blocks: vec![None; cascade.exprs.len()],
            tables: Vec::new(),
            reduce_table: vec![None; cascade.exprs.len()],
            chain: 0,
            nest: 0,
        };
        for (at, def) in cascade.defs.iter().enumerate() {
            let target = Target::Def(DefId(at as u32));
            machine.add_table(target, def.body, def.dims.clone())?;
        }
        for at in 0..cascade.exprs.len() {
            let id = ExprId(at as u32);
            let reduction = matches!(cascade.exprs.get(id), Expr::Reduce(_));
            // The body of a definition is kept by the table of the definition.
            if reduction && used[at] && machine.kinds.get(id).is_some() {
                let dims = machine.free[at].clone();
                machine.reduce_table[at] = Some(machine.tables.len());
                machine.add_table(Target::Reduce(id), id, dims)?;
            }
        }
        Ok(machine)
    }

    fn add_table(&mut self, target: Target, body: ExprId, dims: Vec<VarId>) -> Result<(), EvalError> {
        let points = self.count(&dims)?;
        let kind = self.kinds.get(body).unwrap_or(Kind::Real);
        self.tables.push(Table {
            target,
            kind,
            dims,
            memo: Memo::new(points),
        });
        Ok(())
    }

    /// Number of points of some variables.
    pub(crate) fn count(&self, vars: &[VarId]) -> Result<u64, EvalError> {
        vars.iter()
            .try_fold(1u64, |product, var| {
                product.checked_mul(self.extents.vars[var.index()] as u64)
            })
            .filter(|points| *points < 1 << 62)
            .ok_or(EvalError::TooLarge)
    }

    /// Coordinates of row-major point numbers.
    pub(crate) fn decode(&self, vars: &[VarId], points: &[u64], env: &mut Env) {
        let mut rest = points.to_vec();
        for var in vars.iter().rev() {
            let extent = (self.extents.vars[var.index()] as u64).max(1);
            let column = rest.iter().map(|point| (point % extent) as i64).collect();
            env.vars[var.index()] = if points.len() == 1 {
                Lane::One((rest[0] % extent) as i64)
            } else {
                Lane::many(column)
            };
            rest.iter_mut().for_each(|point| *point /= extent);
        }
    }

    /// Runs `work` until it needs nothing more.
    pub(crate) fn settle<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<T, EvalError> {
        loop {
            match work(self) {
                Ok(value) => return Ok(value),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Need(table, points)) => {
                    let mut stack = vec![(table, points)];
                    while let Some((table, points)) = stack.last().cloned() {
                        match self.compute(table, &points) {
                            Ok(()) => drop(stack.pop()),
                            Err(Fault::Error(error)) => return Err(error),
                            Err(Fault::Need(table, points)) => stack.push((table, points)),
                        }
                    }
                }
            }
        }
    }

    /// The points of `env` where all conditions hold: `None` for all of them.
    pub(crate) fn filter(
        &mut self,
        conds: &[ExprId],
        body: &[ExprId],
        env: &mut Env,
    ) -> Result<Option<Vec<u32>>, Fault> {
        let mut chosen: Option<Vec<u32>> = None;
        for (at, cond) in conds.iter().enumerate() {
            if env.points == 0 {
                break;
            }
            let Batch::Bool(truth) = self.eval(*cond, env)? else {
                return Err(EvalError::Kinds.into());
            };
            let keep: Vec<u32> = match truth {
                Lane::One(true) => continue,
                Lane::One(false) => Vec::new(),
                Lane::Many(list) => (0u32..)
                    .zip(list.iter())
                    .filter(|(_, x)| **x)
                    .map(|(at, _)| at)
                    .collect(),
            };
            if keep.len() == env.points {
                continue;
            }
            *env = self.narrow(env, &keep, conds[at + 1..].iter().chain(body));
            chosen = Some(match chosen {
                None => keep,
                Some(before) => keep.iter().map(|at| before[*at as usize]).collect(),
            });
        }
        Ok(chosen)
    }

    /// The chosen points, with the variables that `users` need.
    fn narrow<'b>(&self, env: &Env, points: &[u32], users: impl Iterator<Item = &'b ExprId>) -> Env {
        let mut vars = vec![Lane::One(0); env.vars.len()];
        for var in users.flat_map(|id| &self.free[id.index()]) {
            let at = var.index();
            if matches!(vars[at], Lane::One(_)) {
                vars[at] = env.vars[at].pick(points);
            }
        }
        Env {
            points: points.len(),
            vars,
        }
    }

    /// Values of `id` at all points of `env`, of which there is at least one.
    pub(crate) fn eval(&mut self, id: ExprId, env: &Env) -> Result<Batch, Fault> {
        if self.nest >= MAX_NEST {
            return Err(EvalError::TooDeep.into());
        }
        let block = match &self.blocks[id.index()] {
            Some(block) => Rc::clone(block),
            None => {
                let block = Rc::new(Block::new(self.cascade, id));
                self.blocks[id.index()] = Some(Rc::clone(&block));
                block
            }
        };
        self.nest += 1;
        let mut values: Vec<Batch> = Vec::with_capacity(block.steps.len());
        let mut fault = None;
        for (node, args) in &block.steps {
            let args: Vec<Batch> = args.iter().map(|at| values[*at].clone()).collect();
            match self.step(*node, args, env) {
                Ok(value) => values.push(value),
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
        }
        self.nest -= 1;
        match fault {
            Some(error) => Err(error),
            None => Ok(values.pop().expect("a block should have a root")),
        }
    }

    fn step(&mut self, node: ExprId, args: Vec<Batch>, env: &Env) -> Result<Batch, Fault> {
        let cascade = self.cascade;
        match cascade.exprs.get(node) {
            Expr::Real(bits) => Ok(Batch::Real(Lane::One(f64::from_bits(*bits)))),
            Expr::Int(x) => Ok(Batch::Int(Lane::One(*x))),
            Expr::Bool(x) => Ok(Batch::Bool(Lane::One(*x))),
            Expr::Var(var) => Ok(Batch::Int(env.vars[var.index()].clone())),
            Expr::Extent(sym) => Ok(Batch::Int(Lane::One(self.extents.symbols[sym.index()]))),
            Expr::Scalar(scalar) => Ok(Batch::one(self.extents.scalars[scalar.index()])),
            Expr::Input(input, _) => self.read(*input, args),
            Expr::Def(def, _) => {
                let lanes: Option<Vec<Lane<i64>>> = args.into_iter().map(int_lane).collect();
                self.lookup(def.index(), &lanes.ok_or(EvalError::Kinds)?)
            }
            Expr::Leaf(..) => Err(EvalError::Kinds.into()),
            Expr::Map(op @ (MapOp::And | MapOp::Or), both) => self.logic(*op, args, both[1], env),
            Expr::Map(op, _) => {
                let value = maps::map(*op, &args, env.points)?;
                Ok(match value {
                    Batch::Real(lane) if !self.mode.is_exact() => Batch::Real(lane.map(|x| self.mode.accumulate(x))),
                    value => value,
                })
            }
            Expr::Select([_, then, otherwise]) => self.select(args, *then, *otherwise, env),
            Expr::Reduce(reduce) => match self.reduce_table[node.index()] {
                Some(table) => {
                    let lanes: Vec<Lane<i64>> = self.tables[table]
                        .dims
                        .iter()
                        .map(|var| env.vars[var.index()].clone())
                        .collect();
                    self.lookup(table, &lanes)
                }
                None => self.reduce(reduce, env),
            },
        }
    }

    fn read(&self, input: InputId, args: Vec<Batch>) -> Result<Batch, Fault> {
        let tensor = &self.inputs[input.index()];
        let lanes: Option<Vec<Lane<i64>>> = args.into_iter().map(int_lane).collect();
        let extents: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
        let flat = flatten(&lanes.ok_or(EvalError::Kinds)?, &extents).map_err(|(dim, index)| EvalError::Outside {
            name: self.cascade.inputs[input.index()].name.clone(),
            dim: dim + 1,
            index,
            extent: extents[dim],
        })?;
        Ok(match &tensor.values {
            Values::F64(list) => Batch::Real(flat.map(|at| list[at])),
            Values::F32(list) => Batch::Real(flat.map(|at| f64::from(list[at]))),
            Values::F16(list) => Batch::Real(flat.map(|at| list[at].to_f64())),
            Values::BF16(list) => Batch::Real(flat.map(|at| list[at].to_f64())),
            Values::I64(list) => Batch::Int(flat.map(|at| list[at])),
            Values::I32(list) => Batch::Int(flat.map(|at| i64::from(list[at]))),
            Values::I16(list) => Batch::Int(flat.map(|at| i64::from(list[at]))),
            Values::I8(list) => Batch::Int(flat.map(|at| i64::from(list[at]))),
            Values::U8(list) => Batch::Int(flat.map(|at| i64::from(list[at]))),
            Values::Bool(list) => Batch::Bool(flat.map(|at| list[at])),
        })
    }

    /// `and`, `or`: the second argument is evaluated only where the first does not decide.
    fn logic(&mut self, op: MapOp, args: Vec<Batch>, second: ExprId, env: &Env) -> Result<Batch, Fault> {
        let decided = op == MapOp::Or;
        let Some(Batch::Bool(first)) = args.into_iter().next() else {
            return Err(EvalError::Kinds.into());
        };
        let list = match first {
            Lane::One(x) if x == decided => return Ok(Batch::Bool(Lane::One(x))),
            Lane::One(_) => return self.eval(second, env),
            Lane::Many(list) => list,
        };
        let open: Vec<u32> = (0u32..)
            .zip(list.iter())
            .filter(|(_, x)| **x != decided)
            .map(|(at, _)| at)
            .collect();
        if open.is_empty() {
            return Ok(Batch::Bool(Lane::Many(list)));
        }
        if open.len() == env.points {
            return self.eval(second, env);
        }
        let narrow = self.narrow(env, &open, std::iter::once(&second));
        let Batch::Bool(rest) = self.eval(second, &narrow)? else {
            return Err(EvalError::Kinds.into());
        };
        let mut all = vec![decided; env.points];
        for (from, to) in open.iter().enumerate() {
            all[*to as usize] = rest.at(from);
        }
        Ok(Batch::Bool(Lane::many(all)))
    }

    fn select(&mut self, args: Vec<Batch>, then: ExprId, otherwise: ExprId, env: &Env) -> Result<Batch, Fault> {
        let list = match args.into_iter().next() {
            Some(Batch::Bool(Lane::One(x))) => return self.eval(if x { then } else { otherwise }, env),
            Some(Batch::Bool(Lane::Many(list))) => list,
            _ => return Err(EvalError::Kinds.into()),
        };
        let (yes, no): (Vec<u32>, Vec<u32>) = (0..env.points as u32).partition(|at| list[*at as usize]);
        if no.is_empty() || yes.is_empty() {
            return self.eval(if no.is_empty() { then } else { otherwise }, env);
        }
        let narrow = self.narrow(env, &yes, std::iter::once(&then));
        let first = self.eval(then, &narrow)?;
        let narrow = self.narrow(env, &no, std::iter::once(&otherwise));
        let second = self.eval(otherwise, &narrow)?;
        let kind = first.at(0).kind();
        let mut bits = vec![0u64; env.points];
        for (points, part) in [(&yes, &first), (&no, &second)] {
            for (from, to) in points.iter().enumerate() {
                bits[*to as usize] = part.bits(from);
            }
        }
        Ok(Batch::from_bits(kind, Lane::many(bits)))
    }

    /// Values of a table at the given coordinates, computed where they are not known yet.
    pub(crate) fn lookup(&mut self, table: usize, lanes: &[Lane<i64>]) -> Result<Batch, Fault> {
        let extents: Vec<i64> = self.tables[table]
            .dims
            .iter()
            .map(|var| self.extents.vars[var.index()])
            .collect();
        let flat = flatten(lanes, &extents).map_err(|(dim, index)| EvalError::Outside {
            name: self.table_name(table),
            dim: dim + 1,
            index,
            extent: extents[dim],
        })?;
        let points: &[usize] = match &flat {
            Lane::One(point) => std::slice::from_ref(point),
            Lane::Many(list) => list,
        };
        let memo = &mut self.tables[table].memo;
        let mut missing = Vec::new();
        for &point in points {
            if memo.get(point as u64).0 == State::Unknown {
                memo.mark(point as u64, State::Pending);
                missing.push(point as u64);
            }
        }
        if !missing.is_empty()
            && let Err(fault) = self.compute(table, &missing)
        {
            let memo = &mut self.tables[table].memo;
            for point in missing {
                if memo.get(point).0 == State::Pending {
                    memo.mark(point, State::Unknown);
                }
            }
            return Err(fault);
        }
        let table = &self.tables[table];
        Ok(Batch::from_bits(
            table.kind,
            flat.map(|point| table.memo.get(point as u64).1),
        ))
    }

    fn table_name(&self, table: usize) -> String {
        match self.tables[table].target {
            Target::Def(def) => self.cascade.defs[def.index()].name.clone(),
            Target::Reduce(_) => "a reduction".to_string(),
        }
    }

    /// Fills in points of a table.
    fn compute(&mut self, table: usize, points: &[u64]) -> Result<(), Fault> {
        if self.chain >= MAX_CHAIN {
            return Err(Fault::Need(table, points.to_vec()));
        }
        self.chain += 1;
        let result = points
            .chunks(BATCH)
            .try_for_each(|chunk| self.compute_chunk(table, chunk));
        self.chain -= 1;
        result
    }

    fn compute_chunk(&mut self, table: usize, points: &[u64]) -> Result<(), Fault> {
        let points: Vec<u64> = points
            .iter()
            .copied()
            .filter(|point| self.tables[table].memo.get(*point).0 != State::Known)
            .collect();
        if points.is_empty() {
            return Ok(());
        }
        let mut env = Env::empty(self.cascade.vars.len());
        env.points = points.len();
        self.decode(&self.tables[table].dims.clone(), &points, &mut env);
        let cascade = self.cascade;
        let values = match self.tables[table].target {
            Target::Def(def) => self.eval(cascade.defs[def.index()].body, &env)?,
            Target::Reduce(id) => match cascade.exprs.get(id) {
                Expr::Reduce(reduce) => self.reduce(reduce, &env)?,
                _ => return Err(EvalError::Kinds.into()),
            },
        };
        let values = match values {
            Batch::Real(lane) if !self.mode.is_exact() => Batch::Real(lane.map(|x| self.mode.materialise(x))),
            values => values,
        };
        let memo = &mut self.tables[table].memo;
        for (at, point) in points.iter().enumerate() {
            memo.set(*point, values.bits(at));
        }
        Ok(())
    }

    /// A reduction at every point of `env`. The longer of the two, points or coordinates, is done in batches.
    fn reduce(&mut self, reduce: &Reduce, env: &Env) -> Result<Batch, Fault> {
        let kind = self.kinds.get(reduce.body).ok_or(EvalError::Kinds)?;
        let total = self.count(&reduce.vars)?;
        if let Some(sums) = self.dense_sum(reduce, env, total)? {
            return Ok(sums);
        }
        let mut fold = Fold::new(reduce.op, kind, env.points, self.mode);
        if (env.points as u64) >= total {
            for coordinate in 0..total {
                let mut inner = env.clone();
                self.decode(&reduce.vars, &[coordinate], &mut inner);
                let chosen = self.filter(&reduce.conds, &[reduce.body], &mut inner)?;
                if inner.points > 0 {
                    let values = self.body(reduce, &inner)?;
                    fold.add_points(chosen.as_deref(), &values, inner.points, coordinate as i64)?;
                }
            }
            return Ok(fold.finish());
        }
        let mut first = 0;
        while first < total {
            let last = total.min(first + BATCH as u64);
            let coordinates: Vec<u64> = (first..last).collect();
            let mut columns = env.clone();
            self.decode(&reduce.vars, &coordinates, &mut columns);
            for point in 0..env.points {
                let mut inner = Env {
                    points: coordinates.len(),
                    vars: env.vars.iter().map(|lane| Lane::One(lane.at(point))).collect(),
                };
                for var in &reduce.vars {
                    inner.vars[var.index()] = columns.vars[var.index()].clone();
                }
                let chosen = self.filter(&reduce.conds, &[reduce.body], &mut inner)?;
                if inner.points > 0 {
                    let values = self.body(reduce, &inner)?;
                    fold.add_coordinates(point, chosen.as_deref(), &values, inner.points, first as i64)?;
                }
            }
            first = last;
        }
        Ok(fold.finish())
    }

    /// The body of a reduction; in a typed mode the factors of a summed product are tensors of the type.
    fn body(&mut self, reduce: &Reduce, env: &Env) -> Result<Batch, Fault> {
        if self.mode.is_exact() || reduce.op != ReduceOp::Sum {
            return self.eval(reduce.body, env);
        }
        let factors = self.factors(reduce.body);
        let mode = self.mode;
        let mut product: Option<Lane<f64>> = None;
        for (factor, divide) in factors {
            match self.eval(factor, env)? {
                Batch::Real(lane) => {
                    let lane = lane.map(|x| mode.materialise(x));
                    product = Some(match product {
                        None => lane,
                        Some(before) if divide => super::value::zip(&before, &lane, |x, y| mode.accumulate(x / y)),
                        Some(before) => super::value::zip(&before, &lane, |x, y| mode.accumulate(x * y)),
                    });
                }
                // Ints are exact: their product is computed as it stands.
                _ => return self.eval(reduce.body, env),
            }
        }
        product.map(Batch::Real).ok_or_else(|| EvalError::Kinds.into())
    }

    /// Factors of a product, left to right; whether each divides.
    pub(super) fn factors(&self, body: ExprId) -> Vec<(ExprId, bool)> {
        let mut factors = Vec::new();
        let mut open = vec![(body, false)];
        while let Some((id, divide)) = open.pop() {
            match self.cascade.exprs.get(id) {
                Expr::Map(MapOp::Mul, both) if !divide => open.extend(both.iter().rev().map(|id| (*id, false))),
                Expr::Map(MapOp::Div, both) if !divide && factors.is_empty() => {
                    open.extend([(both[1], true), (both[0], false)]);
                }
                _ => factors.push((id, divide)),
            }
        }
        factors
    }
}

fn int_lane(batch: Batch) -> Option<Lane<i64>> {
    match batch {
        Batch::Int(lane) => Some(lane),
        _ => None,
    }
}
