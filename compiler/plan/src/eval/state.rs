//! The streaming state at one resident point: references and accumulators, absorb and merge.

use super::EvalError;
use super::machine::Machine;
use super::random::Random;
use crate::ir::{Carry, Chunks, Policy, Reference, Sweep};
use einloom_cascade::expr::{Kind, MapOp, ReduceOp, VarId};
use einloom_cascade::ops::{self, Scalar};

/// Overflow guard of `first`, natural units.
const GUARD: f64 = 40.0;

/// Growth that `lazy` lets pass: 8 in exp2 units.
const LAZY: f64 = 8.0 * std::f64::consts::LN_2;

/// An element of an accumulator. `at` is the coordinate of the best point of an `argmax`, -1 if there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) value: Scalar,
    pub(super) at: i64,
}

/// Row-major over `dims` of each reference and carry.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) references: Vec<Table<f64>>,
    pub(super) carries: Vec<Table<Cell>>,
}

#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    pub(super) dims: Vec<VarId>,
    pub(super) shape: Vec<i64>,
    pub(super) cells: Vec<T>,
}

impl<T: Clone> Table<T> {
    fn new(machine: &Machine<'_>, dims: &[VarId], cell: T) -> Table<T> {
        let shape: Vec<i64> = dims.iter().map(|&var| machine.extent(var)).collect();
        let points: i64 = shape.iter().product();
        Table {
            dims: dims.to_vec(),
            shape,
            cells: vec![cell; usize::try_from(points).unwrap_or(0)],
        }
    }

    pub(super) fn place(&self, index: &[i64]) -> Option<usize> {
        let inside = index.len() == self.shape.len() && index.iter().zip(&self.shape).all(|(&i, &n)| 0 <= i && i < n);
        let flat = (index.iter().zip(&self.shape)).fold(0, |flat, (&i, &n)| flat * n + i);
        inside.then(|| usize::try_from(flat).ok()).flatten()
    }

    /// The index of a flat place.
    fn index(&self, mut place: usize) -> Vec<i64> {
        let mut index = vec![0; self.shape.len()];
        for (slot, &n) in index.iter_mut().zip(&self.shape).rev() {
            *slot = place as i64 % n;
            place /= n as usize;
        }
        index
    }
}

pub(super) fn identity(op: ReduceOp, kind: Option<Kind>) -> Cell {
    let real = kind != Some(Kind::Int);
    let value = match op {
        ReduceOp::Sum if real => Scalar::Real(0.0),
        ReduceOp::Sum => Scalar::Int(0),
        ReduceOp::Prod if real => Scalar::Real(1.0),
        ReduceOp::Prod => Scalar::Int(1),
        ReduceOp::Max | ReduceOp::ArgMax if real => Scalar::Real(f64::NEG_INFINITY),
        ReduceOp::Max | ReduceOp::ArgMax => Scalar::Int(i64::MIN),
        ReduceOp::Min | ReduceOp::ArgMin if real => Scalar::Real(f64::INFINITY),
        ReduceOp::Min | ReduceOp::ArgMin => Scalar::Int(i64::MAX),
        ReduceOp::Any => Scalar::Bool(false),
        ReduceOp::All => Scalar::Bool(true),
    };
    Cell { value, at: -1 }
}

/// Joins two cells of an accumulator.
pub(super) fn join(op: ReduceOp, a: Cell, b: Cell) -> Result<Cell, EvalError> {
    let map = match op {
        ReduceOp::Sum => MapOp::Add,
        ReduceOp::Prod => MapOp::Mul,
        ReduceOp::Max => MapOp::Max,
        ReduceOp::Min => MapOp::Min,
        ReduceOp::Any => MapOp::Or,
        ReduceOp::All => MapOp::And,
        ReduceOp::ArgMax | ReduceOp::ArgMin => return best(op, a, b),
    };
    let value = ops::apply(map, &[a.value, b.value])?;
    Ok(Cell { value, at: -1 })
}

/// The better of two candidates; ties go to the smaller coordinate.
fn best(op: ReduceOp, a: Cell, b: Cell) -> Result<Cell, EvalError> {
    if a.at < 0 || b.at < 0 {
        return Ok(if a.at < 0 { b } else { a });
    }
    let less = |x: Scalar, y: Scalar| Ok::<bool, EvalError>(ops::apply(MapOp::Lt, &[x, y])? == Scalar::Bool(true));
    let (low, high) = match op {
        ReduceOp::ArgMax => (a, b),
        _ => (b, a),
    };
    // low < high: `b` wins
    Ok(if less(low.value, high.value)? {
        b
    } else if less(high.value, low.value)? || a.at <= b.at {
        a
    } else {
        b
    })
}

fn coefficient((n, d): (i64, i64)) -> f64 {
    n as f64 / d as f64
}

/// `exp(k (g - g'))`; 0 if nothing was absorbed before.
fn rescale(k: f64, old: f64, new: f64) -> f64 {
    if old == f64::NEG_INFINITY {
        0.0
    } else {
        (k * (old - new)).exp()
    }
}

/// `exp(k (x - g))`; a point with the form `-inf` weighs nothing, also before the first finite one.
fn weight(k: f64, x: f64, g: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        0.0
    } else {
        (k * (x - g)).exp()
    }
}

impl State {
    pub(super) fn new(machine: &Machine<'_>, sweep: &Sweep) -> State {
        let reference = |r: &Reference| Table::new(machine, &r.dims, f64::NEG_INFINITY);
        let carry = |c: &Carry| {
            let kind = match c.weight {
                Some(_) => Some(Kind::Real),
                None => machine.kind(c.streamed),
            };
            Table::new(machine, &c.dims, identity(c.op, kind))
        };
        State {
            references: sweep.references.iter().map(reference).collect(),
            carries: sweep.carries.iter().map(carry).collect(),
        }
    }

    /// A row of a chunk over the points that the shared state holds.
    pub(super) fn starting(machine: &mut Machine<'_>, sweep: &Sweep, chunks: &Chunks) -> Result<State, EvalError> {
        let mut state = State::new(machine, sweep);
        for (table, &start) in state.references.iter_mut().zip(&chunks.references) {
            for place in 0..table.cells.len() {
                let index = table.index(place);
                machine.set(&table.dims, &index);
                if machine.exists()? {
                    table.cells[place] = machine.value(start)?.as_real();
                }
            }
            machine.unset(&table.dims);
        }
        for (table, &start) in state.carries.iter_mut().zip(&chunks.carries) {
            for place in 0..table.cells.len() {
                let index = table.index(place);
                machine.set(&table.dims, &index);
                if machine.exists()? {
                    table.cells[place].value = machine.value(start)?;
                }
            }
            machine.unset(&table.dims);
        }
        Ok(state)
    }

    /// Absorbs the points of a tile. Returns how many (carry, element, point) were live, and how many there were.
    pub(super) fn absorb(
        &mut self,
        machine: &mut Machine<'_>,
        sweep: &Sweep,
        tile: &[Vec<i64>],
        policy: Option<Policy>,
    ) -> Result<(u64, u64), EvalError> {
        let old: Vec<Table<f64>> = self.references.clone();
        for (at, (table, reference)) in self.references.iter_mut().zip(&sweep.references).enumerate() {
            let policy = policy.unwrap_or(reference.policy);
            raise(machine, sweep, at, reference, tile, policy, table)?;
        }
        let mut counts = (0, 0);
        for at in 0..sweep.carries.len() {
            let carry = &sweep.carries[at];
            self.rescale(&old, carry, at);
            let (live, all) = self.add(machine, sweep, at, tile)?;
            counts = (counts.0 + live, counts.1 + all);
        }
        if sweep.carries.is_empty() {
            return Ok((1, 1));
        }
        Ok(counts)
    }

    /// Moves one accumulator from the references `old` to the present ones.
    fn rescale(&mut self, old: &[Table<f64>], carry: &Carry, at: usize) {
        let Some((number, k)) = carry.weight else {
            return;
        };
        for place in 0..self.carries[at].cells.len() {
            let index = self.carries[at].index(place);
            let (Some(before), Some(after)) = (
                reference_at(&old[number], &carry.dims, &index),
                reference_at(&self.references[number], &carry.dims, &index),
            ) else {
                continue;
            };
            let factor = rescale(coefficient(k), before, after);
            let cell = &mut self.carries[at].cells[place];
            cell.value = Scalar::Real(cell.value.as_real() * factor);
        }
    }

    fn add(
        &mut self,
        machine: &mut Machine<'_>,
        sweep: &Sweep,
        at: usize,
        tile: &[Vec<i64>],
    ) -> Result<(u64, u64), EvalError> {
        let carry = &sweep.carries[at];
        let (mut live, mut all) = (0, 0);
        let inner = machine.points(&carry.inner);
        for place in 0..self.carries[at].cells.len() {
            let index = self.carries[at].index(place);
            machine.set(&carry.dims, &index);
            if !machine.exists()? {
                continue;
            }
            for point in tile {
                machine.set(&sweep.stream, point);
                for local in &inner {
                    machine.set(&carry.inner, local);
                    all += 1;
                    if !machine.all(&carry.conds)? {
                        continue;
                    }
                    live += 1;
                    let mut value = machine.value(carry.streamed)?;
                    if let Some((number, k)) = carry.weight {
                        let form = machine.value(sweep.references[number].form)?.as_real();
                        let table = &self.references[number];
                        let Some(g) = reference_at(table, &carry.dims, &index) else {
                            let text = format!("`{}` lacks a rank of its reference", carry.name);
                            return Err(EvalError::Malformed(text));
                        };
                        let weight = weight(coefficient(k), form, g);
                        value = Scalar::Real(weight * value.as_real());
                    }
                    let coordinate = machine.coordinate(&[&sweep.stream, &carry.inner]);
                    let next = Cell { value, at: coordinate };
                    let cell = &mut self.carries[at].cells[place];
                    *cell = join(carry.op, *cell, next)?;
                }
            }
        }
        machine.unset(&carry.inner);
        machine.unset(&sweep.stream);
        machine.unset(&carry.dims);
        Ok((live, all))
    }

    /// Merges `other`, which comes later in the stream if order matters.
    pub(super) fn merge(&mut self, sweep: &Sweep, other: &State, random: &mut Random) -> Result<(), EvalError> {
        let old = self.references.clone();
        for (at, (table, theirs)) in self.references.iter_mut().zip(&other.references).enumerate() {
            let steepest = steepest(sweep, at);
            for (g, &h) in table.cells.iter_mut().zip(&theirs.cells) {
                // any reference near the larger one will do
                let slack = random.below(4) as f64 / steepest;
                let top = g.max(h);
                *g = if top == f64::NEG_INFINITY { top } else { top - slack };
            }
        }
        for (at, carry) in sweep.carries.iter().enumerate() {
            let mut theirs = State {
                references: self.references.clone(),
                carries: other.carries.clone(),
            };
            theirs.rescale(&other.references, carry, at);
            self.rescale(&old, carry, at);
            let cells = self.carries[at].cells.iter_mut();
            for (cell, &next) in cells.zip(&theirs.carries[at].cells) {
                *cell = join(carry.op, *cell, next)?;
            }
        }
        Ok(())
    }
}

/// The reference that belongs to a point of an accumulator over `dims`.
fn reference_at(table: &Table<f64>, dims: &[VarId], index: &[i64]) -> Option<f64> {
    let place: Option<Vec<i64>> = (table.dims.iter())
        .map(|var| Some(index[dims.iter().position(|dim| dim == var)?]))
        .collect();
    Some(table.cells[table.place(&place?)?])
}

/// The largest coefficient with which a reference weighs: its exponents grow as much faster than its form.
fn steepest(sweep: &Sweep, reference: usize) -> f64 {
    let weights = sweep.carries.iter().filter_map(|c| c.weight);
    let own = weights.filter(|(at, _)| *at == reference);
    own.map(|(_, k)| coefficient(k)).reduce(f64::max).unwrap_or(1.0)
}

/// Moves a reference by its policy, element by element.
fn raise(
    machine: &mut Machine<'_>,
    sweep: &Sweep,
    at: usize,
    reference: &Reference,
    tile: &[Vec<i64>],
    policy: Policy,
    table: &mut Table<f64>,
) -> Result<(), EvalError> {
    let inner = machine.points(&reference.inner);
    let steepest = steepest(sweep, at);
    for place in 0..table.cells.len() {
        let index = table.index(place);
        machine.set(&reference.dims, &index);
        if !machine.exists()? {
            continue;
        }
        let mut top = f64::NEG_INFINITY;
        for point in tile {
            machine.set(&sweep.stream, point);
            for local in &inner {
                machine.set(&reference.inner, local);
                if machine.all(&reference.conds)? {
                    let form = machine.value(reference.form)?.as_real();
                    top = if form.is_nan() { form } else { top.max(form) };
                }
            }
        }
        let g = &mut table.cells[place];
        *g = match policy {
            _ if top.is_nan() => top,
            _ if *g == f64::NEG_INFINITY => top,
            Policy::Running => g.max(top),
            Policy::First if steepest * (top - *g) > GUARD => top,
            Policy::Lazy if steepest * (top - *g) > LAZY => top,
            Policy::First | Policy::Lazy => *g,
        };
    }
    machine.unset(&reference.inner);
    machine.unset(&sweep.stream);
    machine.unset(&reference.dims);
    Ok(())
}
