//! Sums of products as dense loops.
//!
//! In `sum[m](W[p,m] * V[m,f])` no factor depends on all of `p` and `f`. Such parts of a body are evaluated once for
//! each of their own points (a *row* for each combination of the outer coordinates they mention) and kept as columns
//! over the reduced coordinates; the sum is then a loop over columns. Values, the order of summation, and the set of
//! points at which anything is evaluated are those of the general path.

use super::EvalError;
use super::fold::{Fold, compensated};
use super::machine::{BATCH, Fault, Machine};
use super::mode::Mode;
use super::value::{Batch, Env, Lane};
use crate::expr::{Expr, ExprId, Kind, MapOp, Reduce, ReduceOp, VarId};
use std::collections::BTreeMap;

/// Elements of one table of columns; bounds the memory of a sum.
const ELEMENTS: usize = 1 << 18;
/// Sums with fewer terms than this are not worth the setup.
const SMALL: u64 = 512;
/// Arithmetic is taken apart down to this depth.
const DEPTH: usize = 8;
/// Points whose products are summed side by side.
const LANES: usize = 4;
/// Largest key range that is numbered by a direct table.
const DIRECT: u64 = 1 << 16;

/// One step of a body, in postfix order.
#[derive(Clone, Copy)]
enum Step {
    Part(usize),
    Map(MapOp),
}

/// A body in parts.
#[derive(Default)]
struct Program {
    parts: Vec<ExprId>,
    steps: Vec<Step>,
}

impl Program {
    fn part(&mut self, id: ExprId) {
        let at = self.parts.iter().position(|part| *part == id).unwrap_or_else(|| {
            self.parts.push(id);
            self.parts.len() - 1
        });
        self.steps.push(Step::Part(at));
    }
}

/// The points of a batch by some of their coordinates.
struct Rows {
    /// Row of each point.
    of: Vec<u32>,
    /// The first point of each row.
    first: Vec<u32>,
}

/// Columns over a range of reduced coordinates, one for each row.
struct Table<T> {
    rows: Rows,
    values: Vec<T>,
}

/// A range of reduced coordinates.
struct Range<'a> {
    env: &'a Env,
    vars: &'a [VarId],
    columns: Vec<Lane<i64>>,
    len: usize,
}

impl Range<'_> {
    /// The batch of `(point, coordinate)` pairs, with the variables that `users` mention.
    fn pairs(&self, users: &[VarId], pairs: &[(u32, u32)]) -> Env {
        let mut vars = vec![Lane::One(0); self.env.vars.len()];
        for var in users {
            let reduced = self.vars.iter().position(|reduced| reduced == var);
            vars[var.index()] = match (reduced.map(|at| &self.columns[at]), &self.env.vars[var.index()]) {
                (Some(Lane::One(x)), _) | (None, Lane::One(x)) => Lane::One(*x),
                (Some(Lane::Many(list)), _) => Lane::many(pairs.iter().map(|(_, at)| list[*at as usize]).collect()),
                (None, Lane::Many(list)) => Lane::many(pairs.iter().map(|(at, _)| list[*at as usize]).collect()),
            };
        }
        Env {
            points: pairs.len(),
            vars,
        }
    }
}

impl Machine<'_> {
    /// The sum at every point of `env`, if it is one that gains from parts; `total` coordinates are reduced.
    pub(super) fn dense_sum(&mut self, reduce: &Reduce, env: &Env, total: u64) -> Result<Option<Batch>, Fault> {
        if reduce.op != ReduceOp::Sum
            || self.kinds.get(reduce.body) != Some(Kind::Real)
            || env.points < 2
            || (env.points as u64).saturating_mul(total) < SMALL
        {
            return Ok(None);
        }
        let users: Vec<ExprId> = reduce.conds.iter().copied().chain([reduce.body]).collect();
        let outer = self.outer(&users, reduce, env);
        let Some(program) = self.program(reduce, env, outer.len()) else {
            return Ok(None);
        };
        let mut groups = Vec::with_capacity(program.parts.len());
        for part in &program.parts {
            groups.push(self.rows(&self.outer(&[*part], reduce, env), env));
        }
        let masks = self.rows(&self.outer(&reduce.conds, reduce, env), env);
        let most = groups.iter().chain([&masks]).map(|rows| rows.first.len()).max();
        let step = (ELEMENTS / most.unwrap_or(1).max(1)).max(1) as u64;
        let mut sums = vec![(0.0, 0.0); env.points];
        let mut masks = Table {
            rows: masks,
            values: Vec::new(),
        };
        let mut tables: Vec<Table<f64>> = groups
            .into_iter()
            .map(|rows| Table {
                rows,
                values: Vec::new(),
            })
            .collect();
        let mut first = 0;
        while first < total {
            let last = total.min(first + step);
            let coordinates: Vec<u64> = (first..last).collect();
            let mut decoded = Env::empty(env.vars.len());
            self.decode(&reduce.vars, &coordinates, &mut decoded);
            let range = Range {
                env,
                vars: &reduce.vars,
                columns: reduce
                    .vars
                    .iter()
                    .map(|var| decoded.vars[var.index()].clone())
                    .collect(),
                len: coordinates.len(),
            };
            self.mask(reduce, &range, &mut masks)?;
            for (part, table) in program.parts.iter().zip(&mut tables) {
                self.fill(*part, &range, &masks, table)?;
            }
            add(&program, &tables, &masks, range.len, self.mode, &mut sums);
            first = last;
        }
        Ok(Some(Fold::RealSum(sums, self.mode).finish()))
    }

    /// The outer variables that `users` mention and that differ between the points of the batch.
    fn outer(&self, users: &[ExprId], reduce: &Reduce, env: &Env) -> Vec<VarId> {
        let mut vars: Vec<VarId> = users
            .iter()
            .flat_map(|id| &self.free[id.index()])
            .copied()
            .filter(|var| !reduce.vars.contains(var) && matches!(env.vars[var.index()], Lane::Many(_)))
            .collect();
        vars.sort_unstable();
        vars.dedup();
        vars
    }

    /// The body in parts; `None` if every part depends on all `outer` variables.
    fn program(&self, reduce: &Reduce, env: &Env, outer: usize) -> Option<Program> {
        let mut program = Program::default();
        if self.mode.is_exact() {
            return self
                .split(reduce.body, 0, (reduce, env, outer), &mut program)
                .then_some(program);
        }
        let mut fewer = false;
        for (at, (factor, divide)) in self.factors(reduce.body).into_iter().enumerate() {
            if self.kinds.get(factor) != Some(Kind::Real) {
                return None;
            }
            fewer |= self.outer(&[factor], reduce, env).len() < outer;
            program.part(factor);
            if at > 0 {
                program
                    .steps
                    .push(Step::Map(if divide { MapOp::Div } else { MapOp::Mul }));
            }
        }
        fewer.then_some(program)
    }

    /// Appends `id`; whether some part of it depends on fewer than all outer variables.
    fn split(&self, id: ExprId, depth: usize, place: (&Reduce, &Env, usize), program: &mut Program) -> bool {
        let (reduce, env, outer) = place;
        let fewer = self.outer(&[id], reduce, env).len() < outer;
        if !fewer
            && depth < DEPTH
            && let Expr::Map(op @ (MapOp::Add | MapOp::Sub | MapOp::Mul | MapOp::Div), both) =
                self.cascade.exprs.get(id)
        {
            let (parts, steps) = (program.parts.len(), program.steps.len());
            let first = self.split(both[0], depth + 1, place, program);
            if self.split(both[1], depth + 1, place, program) || first {
                program.steps.push(Step::Map(*op));
                return true;
            }
            program.parts.truncate(parts);
            program.steps.truncate(steps);
        }
        program.part(id);
        fewer
    }

    /// Numbers the combinations of `vars` in the order in which they first appear.
    fn rows(&self, vars: &[VarId], env: &Env) -> Rows {
        let mut keys = vec![0u64; env.points];
        let mut range = 1u64;
        for var in vars {
            let Lane::Many(list) = &env.vars[var.index()] else {
                continue;
            };
            let low = list.iter().copied().min().unwrap_or(0);
            let size = (list.iter().copied().max().unwrap_or(0) - low + 1) as u64;
            // Extents were multiplied without overflow when the tables were made, and these are no larger.
            keys.iter_mut()
                .zip(list.iter())
                .for_each(|(key, x)| *key = key.wrapping_mul(size).wrapping_add((x - low) as u64));
            range = range.saturating_mul(size);
        }
        let mut rows = Rows {
            of: Vec::with_capacity(env.points),
            first: Vec::new(),
        };
        let mut direct = vec![u32::MAX; if range <= DIRECT { range as usize } else { 0 }];
        let mut sparse = BTreeMap::new();
        for (point, key) in (0u32..).zip(keys) {
            let slot = match direct.get_mut(key as usize) {
                Some(slot) if range <= DIRECT => slot,
                _ => sparse.entry(key).or_insert(u32::MAX),
            };
            if *slot == u32::MAX {
                *slot = rows.first.len() as u32;
                rows.first.push(point);
            }
            rows.of.push(*slot);
        }
        rows
    }

    /// Where the conditions hold.
    fn mask(&mut self, reduce: &Reduce, range: &Range<'_>, table: &mut Table<bool>) -> Result<(), Fault> {
        let rows = table.rows.first.len();
        table.values.clear();
        table.values.resize(rows * range.len, reduce.conds.is_empty());
        if reduce.conds.is_empty() {
            return Ok(());
        }
        let users: Vec<VarId> = reduce
            .conds
            .iter()
            .flat_map(|cond| self.free[cond.index()].clone())
            .collect();
        let all: Vec<usize> = (0..rows * range.len).collect();
        for places in all.chunks(BATCH) {
            let pairs = pairs(places, &table.rows, range.len);
            let mut inner = range.pairs(&users, &pairs);
            match self.filter(&reduce.conds, &[], &mut inner)? {
                None => places.iter().for_each(|at| table.values[*at] = true),
                Some(chosen) => chosen.iter().for_each(|at| table.values[places[*at as usize]] = true),
            }
        }
        Ok(())
    }

    /// Values of a part wherever some point of the row wants them.
    fn fill(
        &mut self,
        part: ExprId,
        range: &Range<'_>,
        masks: &Table<bool>,
        table: &mut Table<f64>,
    ) -> Result<(), Fault> {
        let len = range.len;
        let mut wanted = vec![false; table.rows.first.len() * len];
        let mut before = None;
        for (row, mask) in table.rows.of.iter().zip(&masks.rows.of) {
            if before.replace((row, mask)) == Some((row, mask)) {
                continue;
            }
            let mask = &masks.values[*mask as usize * len..][..len];
            let row = &mut wanted[*row as usize * len..][..len];
            row.iter_mut().zip(mask).for_each(|(x, y)| *x |= y);
        }
        table.values.clear();
        table.values.resize(wanted.len(), 0.0);
        let all: Vec<usize> = (0..wanted.len()).filter(|at| wanted[*at]).collect();
        let users = self.free[part.index()].clone();
        for places in all.chunks(BATCH) {
            let pairs = pairs(places, &table.rows, len);
            let Batch::Real(lane) = self.eval(part, &range.pairs(&users, &pairs))? else {
                return Err(EvalError::Kinds.into());
            };
            // In a typed mode, each factor of a summed product is a tensor of the type.
            for (from, to) in places.iter().enumerate() {
                table.values[*to] = self.mode.materialise(lane.at(from));
            }
        }
        Ok(())
    }
}

/// The first point of the row and the coordinate of each place of a table.
fn pairs(places: &[usize], rows: &Rows, len: usize) -> Vec<(u32, u32)> {
    places
        .iter()
        .map(|at| (rows.first[at / len], (at % len) as u32))
        .collect()
}

/// Adds the terms of a range to the sums.
fn add(program: &Program, tables: &[Table<f64>], masks: &Table<bool>, len: usize, mode: Mode, sums: &mut [(f64, f64)]) {
    let runs: Vec<Vec<(usize, usize)>> = masks.values.chunks(len).map(runs).collect();
    let column = |part: usize, point: usize| {
        let table = &tables[part];
        &table.values[table.rows.of[point] as usize * len..][..len]
    };
    let product = match program.steps[..] {
        [Step::Part(a), Step::Part(b), Step::Map(MapOp::Mul)] => Some((a, b)),
        _ => None,
    };
    let mut stack: Vec<Vec<f64>> = Vec::new();
    let mut next = 0;
    while next < sums.len() {
        let point = next;
        let row = masks.rows.of[point];
        if let Some((a, b)) = product
            && masks.rows.of[point..].iter().take(LANES).all(|other| *other == row)
            && let Some(lanes) = sums[point..].first_chunk_mut::<LANES>()
        {
            for &(from, to) in &runs[row as usize] {
                let left = std::array::from_fn(|at| &column(a, point + at)[from..to]);
                let right = std::array::from_fn(|at| &column(b, point + at)[from..to]);
                sum_up_products(lanes, mode, left, right, to - from);
            }
            next += LANES;
            continue;
        }
        next += 1;
        let sum = &mut sums[point];
        for &(from, to) in &runs[row as usize] {
            if let Some((a, b)) = product {
                let terms = column(a, point)[from..to].iter().zip(&column(b, point)[from..to]);
                sum_up(sum, mode, terms.map(|(x, y)| x * y));
                continue;
            }
            let mut top = 0;
            for step in &program.steps {
                match step {
                    Step::Part(part) => {
                        if stack.len() == top {
                            stack.push(Vec::new());
                        }
                        stack[top].clear();
                        stack[top].extend_from_slice(&column(*part, point)[from..to]);
                        top += 1;
                    }
                    Step::Map(op) => {
                        top -= 1;
                        let (left, right) = stack.split_at_mut(top);
                        combine(*op, &mut left[top - 1], &right[0], mode);
                    }
                }
            }
            sum_up(sum, mode, stack[0].iter().copied());
        }
    }
}

/// Ranges where the mask holds.
fn runs(mask: &[bool]) -> Vec<(usize, usize)> {
    let mut list: Vec<(usize, usize)> = Vec::new();
    for (at, _) in mask.iter().enumerate().filter(|(_, x)| **x) {
        match list.last_mut() {
            Some((_, end)) if *end == at => *end += 1,
            _ => list.push((at, at + 1)),
        }
    }
    list
}

fn combine(op: MapOp, left: &mut [f64], right: &[f64], mode: Mode) {
    let both = left.iter_mut().zip(right);
    match op {
        MapOp::Add => both.for_each(|(x, y)| *x = mode.accumulate(*x + y)),
        MapOp::Sub => both.for_each(|(x, y)| *x = mode.accumulate(*x - y)),
        MapOp::Mul => both.for_each(|(x, y)| *x = mode.accumulate(*x * y)),
        _ => both.for_each(|(x, y)| *x = mode.accumulate(*x / y)),
    }
}

/// Adds the products of several points side by side: one sum alone waits for each of its additions.
fn sum_up_products(
    to: &mut [(f64, f64); LANES],
    mode: Mode,
    left: [&[f64]; LANES],
    right: [&[f64]; LANES],
    len: usize,
) {
    let (left, right) = (left.map(|list| &list[..len]), right.map(|list| &list[..len]));
    let mut sums = *to;
    if mode.is_exact() {
        for k in 0..len {
            for at in 0..LANES {
                sums[at] = compensated(sums[at], left[at][k] * right[at][k]);
            }
        }
    } else {
        for k in 0..len {
            for at in 0..LANES {
                sums[at].0 = mode.accumulate(sums[at].0 + mode.accumulate(left[at][k] * right[at][k]));
            }
        }
    }
    *to = sums;
}

/// Adds terms in order. In a typed mode terms and running sums are f32.
fn sum_up(to: &mut (f64, f64), mode: Mode, terms: impl Iterator<Item = f64>) {
    if mode.is_exact() {
        *to = terms.fold(*to, compensated);
    } else {
        to.0 = terms.fold(to.0, |sum, x| mode.accumulate(sum + mode.accumulate(x)));
    }
}
