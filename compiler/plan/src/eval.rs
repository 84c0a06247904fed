//! Evaluates a plan literally, in f64: the oracle of the planner's tests.
//!
//! What a plan leaves open is drawn from a seed: the cut of the stream into tiles, the order of the tiles, how many
//! partial states absorb them and in which order these merge. A correct plan gives the same result for every draw, up to
//! rounding.

mod chunks;
mod machine;
mod random;
mod state;

use crate::ir::{FusedPlan, Kernel, Policy, Store, Sweep, Target};
use einloom_cascade::expr::{Kind, LeafId, VarId};
use einloom_cascade::ops::{MathError, Scalar};
use einloom_cascade::{BindError, Inputs, Tensor, Values, bind};
use machine::Machine;
use random::Random;
use state::State;

/// What the plan leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tiles have 1 to this many points of the stream.
    pub tile: usize,
    /// Tiles are spread over up to this many partial states, which are merged.
    pub parts: usize,
    /// Replaces the policy of every reference.
    pub policy: Option<Policy>,
    /// Whether sweeps that have chunks are evaluated by them; drawn if nothing is said.
    pub chunks: Option<bool>,
    pub seed: u64,
}

impl Default for Options {
    /// One state absorbs tiles of up to 16 points, with the plan's own policies.
    fn default() -> Options {
        Options {
            tile: 16,
            parts: 1,
            policy: None,
            chunks: None,
            seed: 0,
        }
    }
}

/// How many tiles (one resident point times a tile of the stream) had no, some or only live points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiles {
    pub empty: u64,
    pub partial: u64,
    pub full: u64,
}

/// What a plan computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Outputs in exact form (f64, i64, bool), not rounded to their storage types.
    pub outputs: Vec<Tensor>,
    pub tiles: Tiles,
}

/// Why a plan cannot be evaluated: arguments that do not fit, arithmetic without a value, or a malformed plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Math(#[from] MathError),
    #[error("input {input} is read outside at {index:?}")]
    Outside { input: usize, index: Vec<i64> },
    #[error("malformed plan: {0}")]
    Malformed(String),
    #[error("{target:?} is written twice at {place:?}")]
    WrittenTwice { target: Target, place: Vec<i64> },
    #[error("{target:?} is written outside at {place:?}")]
    WrittenOutside { target: Target, place: Vec<i64> },
    #[error("leaf {leaf} is read at {index:?}, where it has no value yet", leaf = .leaf.0)]
    NoValue { leaf: LeafId, index: Vec<i64> },
}

/// All outputs of a plan for one draw of everything that it leaves open.
pub fn evaluate(plan: &FusedPlan, inputs: &Inputs, options: &Options) -> Result<Outcome, EvalError> {
    let extents = bind(&plan.cascade, &inputs.shapes(), &inputs.scalars)?;
    let outputs = extents.outputs.iter().map(|shape| Memory::new(shape));
    let crossings = plan.crossings.iter().map(|crossing| {
        let shape: Vec<i64> = (crossing.dims.iter()).map(|var| extents.vars[var.index()]).collect();
        Memory::new(&shape)
    });
    let mut run = Run {
        outputs: outputs.collect(),
        options,
        random: Random::new(options.seed),
        tiles: Tiles::default(),
        machine: Machine::new(plan, &inputs.tensors, &extents, crossings.collect()),
    };
    for (at, kernel) in plan.kernels.iter().enumerate() {
        run.kernel(at, kernel)?;
    }
    let outputs = (plan.cascade.outputs.iter().zip(&run.outputs))
        .map(|(output, memory)| {
            let body = plan.cascade.defs[output.def.index()].body;
            memory.tensor(run.machine.kind(body))
        })
        .collect();
    Ok(Outcome {
        outputs,
        tiles: run.tiles,
    })
}

/// A tensor that is being written.
pub(crate) struct Memory {
    shape: Vec<i64>,
    values: Vec<Option<Scalar>>,
}

impl Memory {
    fn new(shape: &[i64]) -> Memory {
        let points: i64 = shape.iter().product();
        Memory {
            shape: shape.to_vec(),
            values: vec![None; usize::try_from(points).unwrap_or(0)],
        }
    }

    fn place(&self, index: &[i64]) -> Option<usize> {
        let inside = index.len() == self.shape.len() && index.iter().zip(&self.shape).all(|(&i, &n)| 0 <= i && i < n);
        let flat = (index.iter().zip(&self.shape)).fold(0, |flat, (&i, &n)| flat * n + i);
        inside.then(|| usize::try_from(flat).ok()).flatten()
    }

    pub(crate) fn read(&self, index: &[i64]) -> Option<Scalar> {
        self.values[self.place(index)?]
    }

    fn tensor(&self, kind: Option<Kind>) -> Tensor {
        let all = self.values.iter();
        let values = match kind {
            Some(Kind::Int) => Values::I64(all.map(|v| v.and_then(Scalar::as_int).unwrap_or(0)).collect()),
            Some(Kind::Bool) => Values::Bool(all.map(|v| v.and_then(Scalar::as_bool).unwrap_or(false)).collect()),
            _ => Values::F64(all.map(|v| v.map_or(0.0, Scalar::as_real)).collect()),
        };
        let shape: Vec<usize> = self.shape.iter().map(|&n| n as usize).collect();
        Tensor::new(&shape, values)
    }
}

struct Run<'a> {
    machine: Machine<'a>,
    options: &'a Options,
    random: Random,
    outputs: Vec<Memory>,
    tiles: Tiles,
}

impl Run<'_> {
    fn kernel(&mut self, at: usize, kernel: &Kernel) -> Result<(), EvalError> {
        if let Some(row) = self.chunked(kernel) {
            return self.by_chunks(at, kernel, row);
        }
        for point in self.machine.points(&kernel.resident) {
            self.machine.set(&kernel.resident, &point);
            self.machine.start(at);
            for sweep in &kernel.sweeps {
                let state = self.sweep(sweep)?;
                self.machine.finish(state);
                self.emit(sweep)?;
            }
            for store in &kernel.stores {
                self.store(store, &store.vars)?;
            }
        }
        Ok(())
    }

    /// Absorbs the whole stream.
    fn sweep(&mut self, sweep: &Sweep) -> Result<State, EvalError> {
        let start = State::new(&self.machine, sweep);
        self.absorb(sweep, self.machine.points(&sweep.stream), start)
    }

    /// Absorbs points of the stream in random tiles into random parts, one of which begins as `start`, and merges them.
    fn absorb(&mut self, sweep: &Sweep, points: Vec<Vec<i64>>, start: State) -> Result<State, EvalError> {
        let ordered = sweep.carries.iter().any(|carry| carry.ordered);
        let tiles = self.cut(points, !ordered);
        let parts = 1 + self.random.below(self.options.parts.max(1));
        let mut states = vec![start];
        for _ in 1..parts {
            states.push(State::new(&self.machine, sweep));
        }
        let share = tiles.len().div_ceil(parts).max(1);
        for (number, tile) in tiles.iter().enumerate() {
            let part = if ordered {
                number / share
            } else {
                self.random.below(parts)
            };
            let live = states[part].absorb(&mut self.machine, sweep, tile, self.options.policy)?;
            match live {
                (0, _) => self.tiles.empty += 1,
                (live, all) if live == all => self.tiles.full += 1,
                _ => self.tiles.partial += 1,
            }
        }
        if !ordered {
            self.random.shuffle(&mut states);
        }
        let mut states = states.into_iter();
        let mut total = states.next().unwrap_or_else(|| State::new(&self.machine, sweep));
        for state in states {
            total.merge(sweep, &state, &mut self.random)?;
        }
        Ok(total)
    }

    fn cut(&mut self, points: Vec<Vec<i64>>, shuffled: bool) -> Vec<Vec<Vec<i64>>> {
        let mut tiles = Vec::new();
        let mut rest = points.as_slice();
        while !rest.is_empty() {
            let size = (1 + self.random.below(self.options.tile.max(1))).min(rest.len());
            let (tile, tail) = rest.split_at(size);
            tiles.push(tile.to_vec());
            rest = tail;
        }
        if shuffled {
            self.random.shuffle(&mut tiles);
        }
        tiles
    }

    fn emit(&mut self, sweep: &Sweep) -> Result<(), EvalError> {
        if sweep.emits.is_empty() {
            return Ok(());
        }
        for point in self.machine.points(&sweep.stream) {
            self.machine.set(&sweep.stream, &point);
            for emit in &sweep.emits {
                // The streamed variables of the emit are set already.
                let vars: Vec<_> = emit
                    .vars
                    .iter()
                    .copied()
                    .filter(|v| !sweep.stream.contains(v))
                    .collect();
                self.store(emit, &vars)?;
            }
        }
        self.machine.unset(&sweep.stream);
        Ok(())
    }

    fn store(&mut self, store: &Store, vars: &[VarId]) -> Result<(), EvalError> {
        for point in self.machine.points(vars) {
            self.machine.set(vars, &point);
            if !self.machine.all(&store.conds)? {
                continue;
            }
            let value = self.machine.value(store.value)?;
            let place = self.machine.ints(&store.places)?;
            let memory = match store.target {
                Target::Output(at) => self.outputs.get_mut(at),
                Target::Crossing(at) => self.machine.crossings.get_mut(at),
            };
            let Some(memory) = memory else {
                return Err(EvalError::Malformed(format!("no {:?}", store.target)));
            };
            let target = store.target;
            let Some(at) = memory.place(&place) else {
                return Err(EvalError::WrittenOutside { target, place });
            };
            if memory.values[at].replace(value).is_some() {
                return Err(EvalError::WrittenTwice { target, place });
            }
        }
        self.machine.unset(vars);
        Ok(())
    }
}
