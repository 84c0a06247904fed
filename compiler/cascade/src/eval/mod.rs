//! The exact evaluator: the oracle of every test.
//!
//! Every definition is a memoised function of its coordinates, evaluated where it is asked for, so single rows of huge
//! problems can be checked. Reals are f64, ints exact 64-bit (overflow is an error). Sums run in ascending row-major
//! order with compensated addition; conditions run from left to right and stop at the first false one; only the chosen
//! branch of a selection is evaluated. `argmax` and `argmin` take the smallest coordinate among equals, and a NaN only
//! where there is nothing else.
//!
//! [`Mode::Typed`] evaluates the same cascade as an unfused program of a storage type would.

mod block;
mod dense;
mod fold;
mod machine;
mod maps;
mod memo;
mod mode;
mod value;

pub use mode::Mode;

use crate::bind::{BindError, bind};
use crate::data::{Inputs, Tensor, Values};
use crate::expr::{DefId, Expr, ExprId, Kind, MapOp};
use crate::ir::Cascade;
use crate::kinds::{Malformed, kinds};
use crate::ops::{MathError, Scalar};
use machine::{BATCH, Fault, Machine};
use value::{Batch, Env, Lane};

/// Why a cascade has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Math(#[from] MathError),
    #[error("index {index} of dimension {dim} of `{name}` is outside 0..{extent}")]
    Outside {
        name: String,
        dim: usize,
        index: i64,
        extent: i64,
    },
    #[error("`{name}` holds {found:?} values, its type is {dtype}")]
    InputKind {
        name: String,
        found: Kind,
        dtype: &'static str,
    },
    #[error("more points than can be counted")]
    TooLarge,
    #[error("expressions are nested too deeply")]
    TooDeep,
    #[error("the inputs break the promise `assume {0}`")]
    Assume(String),
    #[error("two points of output `{name}` are written to place {place}")]
    Collision { name: String, place: usize },
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("malformed cascade: value of the wrong kind")]
    Kinds,
}

/// One point of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Position in the memory of the output, row-major. Points that do not exist have none.
    pub place: Option<usize>,
    /// Value before rounding; `None` where the point does not exist (memory then holds 0).
    pub value: Option<Scalar>,
}

/// Evaluates one cascade on one set of arguments. Values that were computed once are kept.
pub struct Evaluator<'a> {
    machine: Machine<'a>,
}

impl<'a> Evaluator<'a> {
    /// The exact evaluator. Binds the extents and checks the shapes and kinds of all inputs.
    pub fn new(cascade: &'a Cascade, inputs: &'a Inputs) -> Result<Evaluator<'a>, EvalError> {
        Evaluator::with_mode(cascade, inputs, Mode::Exact)
    }

    /// An evaluator with other arithmetic.
    pub fn with_mode(cascade: &'a Cascade, inputs: &'a Inputs, mode: Mode) -> Result<Evaluator<'a>, EvalError> {
        let extents = bind(cascade, &inputs.shapes(), &inputs.scalars)?;
        for (input, tensor) in cascade.inputs.iter().zip(&inputs.tensors) {
            let wanted = match input.dtype {
                crate::expr::DType::Bool => Kind::Bool,
                dtype if dtype.is_real() => Kind::Real,
                _ => Kind::Int,
            };
            let found = tensor.values.kind();
            if found != wanted || tensor.values.len() != tensor.shape.iter().product::<usize>() {
                return Err(EvalError::InputKind {
                    name: input.name.clone(),
                    found,
                    dtype: input.dtype.name(),
                });
            }
        }
        let kinds = kinds(cascade)?;
        let machine = Machine::new(cascade, &inputs.tensors, extents, kinds, mode)?;
        Ok(Evaluator { machine })
    }

    /// Extent of each iteration variable.
    pub fn extents(&self) -> &[i64] {
        &self.machine.extents.vars
    }

    /// A whole output, not rounded: f64, i64 or bool values in the memory order of the output, 0 at absent points.
    pub fn output(&mut self, output: usize) -> Result<Tensor, EvalError> {
        let out = &self.machine.cascade.outputs[output];
        let shape: Vec<usize> = self.machine.extents.outputs[output]
            .iter()
            .map(|n| *n as usize)
            .collect();
        let size = shape
            .iter()
            .try_fold(1usize, |size, n| size.checked_mul(*n))
            .ok_or(EvalError::TooLarge)?;
        let dims = &self.machine.cascade.defs[out.def.index()].dims;
        let total = self.machine.count(dims)?;
        let mut bits = vec![0u64; size];
        let mut written = vec![false; size];
        let mut first = 0;
        while first < total {
            let last = total.min(first + BATCH as u64);
            let points: Vec<u64> = (first..last).collect();
            let mut env = Env::empty(self.machine.cascade.vars.len());
            env.points = points.len();
            self.machine.decode(dims, &points, &mut env);
            for (place, value) in self.written(output, &shape, env)? {
                if std::mem::replace(&mut written[place], true) {
                    return Err(EvalError::Collision {
                        name: out.name.clone(),
                        place,
                    });
                }
                bits[place] = Batch::one(value).bits(0);
            }
            first = last;
        }
        let kind = self.def_kind(out.def)?;
        let values = match kind {
            Kind::Real => Values::F64(bits.into_iter().map(f64::from_bits).collect()),
            Kind::Int => Values::I64(bits.into_iter().map(|x| x as i64).collect()),
            Kind::Bool => Values::Bool(bits.into_iter().map(|x| x != 0).collect()),
        };
        Ok(Tensor { shape, values })
    }

    /// All outputs, each rounded once to its storage type.
    pub fn outputs(&mut self) -> Result<Vec<Tensor>, EvalError> {
        (0..self.machine.cascade.outputs.len())
            .map(|at| Ok(self.output(at)?.rounded(self.machine.cascade.outputs[at].dtype)))
            .collect()
    }

    /// Single points of an output, each given by one coordinate for each variable of its definition.
    pub fn samples(&mut self, output: usize, points: &[Vec<i64>]) -> Result<Vec<Sample>, EvalError> {
        let shape: Vec<usize> = self.machine.extents.outputs[output]
            .iter()
            .map(|n| *n as usize)
            .collect();
        let dims = self.machine.cascade.defs[self.machine.cascade.outputs[output].def.index()]
            .dims
            .clone();
        let mut samples = Vec::with_capacity(points.len());
        for point in points {
            let env = self.point(&dims, point)?;
            let written = self.written(output, &shape, env)?;
            let found = written.first();
            samples.push(Sample {
                place: found.map(|x| x.0),
                value: found.map(|x| x.1),
            });
        }
        Ok(samples)
    }

    /// Single points of a definition; `None` where the point does not exist.
    pub fn points(&mut self, def: DefId, points: &[Vec<i64>]) -> Result<Vec<Option<Scalar>>, EvalError> {
        let dims = self.machine.cascade.defs[def.index()].dims.clone();
        let mut values = Vec::with_capacity(points.len());
        for point in points {
            let env = self.point(&dims, point)?;
            let found = self.existing(def, &[], env)?;
            values.push(found.map(|(_, value)| value.at(0)));
        }
        Ok(values)
    }

    /// Checks every `assume` at every point of its variables.
    pub fn check_assumes(&mut self) -> Result<(), EvalError> {
        let cascade = self.machine.cascade;
        let free = block::free_vars(cascade);
        for cond in &cascade.assumes {
            let vars = &free[cond.index()];
            let total = self.machine.count(vars)?;
            let mut first = 0;
            while first < total {
                let last = total.min(first + BATCH as u64);
                let points: Vec<u64> = (first..last).collect();
                let mut env = Env::empty(cascade.vars.len());
                env.points = points.len();
                self.machine.decode(vars, &points, &mut env);
                let all = self.machine.settle(|machine| {
                    let mut env = env.clone();
                    machine.filter(&[*cond], &[], &mut env).map(|chosen| chosen.is_none())
                })?;
                if !all {
                    return Err(EvalError::Assume(promise(cascade, *cond)));
                }
                first = last;
            }
        }
        Ok(())
    }

    fn def_kind(&self, def: DefId) -> Result<Kind, EvalError> {
        let body: ExprId = self.machine.cascade.defs[def.index()].body;
        kinds(self.machine.cascade)?.get(body).ok_or(EvalError::Kinds)
    }

    fn point(&self, dims: &[crate::expr::VarId], point: &[i64]) -> Result<Env, EvalError> {
        let mut env = Env::empty(self.machine.cascade.vars.len());
        if point.len() != dims.len() {
            return Err(EvalError::Kinds);
        }
        for (at, (var, &index)) in dims.iter().zip(point).enumerate() {
            let extent = self.machine.extents.vars[var.index()];
            if index < 0 || index >= extent {
                let name = self.machine.cascade.vars[var.index()].name.clone();
                return Err(EvalError::Outside {
                    name,
                    dim: at + 1,
                    index,
                    extent,
                });
            }
            env.vars[var.index()] = Lane::One(index);
        }
        Ok(env)
    }

    /// The points of `env` that exist and the values of a definition there.
    fn existing(&mut self, def: DefId, users: &[ExprId], env: Env) -> Result<Option<(Env, Batch)>, EvalError> {
        let target = &self.machine.cascade.defs[def.index()];
        self.machine.settle(|machine| -> Result<_, Fault> {
            let mut env = env.clone();
            let mut keep: Vec<ExprId> = users.to_vec();
            keep.push(target.body);
            // The lookup needs every coordinate, whether the body mentions it or not.
            let coordinates: Vec<Lane<i64>> = target.dims.iter().map(|var| env.vars[var.index()].clone()).collect();
            let chosen = machine.filter(&target.conds, &keep, &mut env)?;
            if env.points == 0 {
                return Ok(None);
            }
            let lanes: Vec<Lane<i64>> = coordinates
                .iter()
                .map(|lane| chosen.as_ref().map_or_else(|| lane.clone(), |list| lane.pick(list)))
                .collect();
            for (var, lane) in target.dims.iter().zip(&lanes) {
                env.vars[var.index()] = lane.clone();
            }
            let values = machine.lookup(def.index(), &lanes)?;
            Ok(Some((env, values)))
        })
    }

    /// Places and values of the points of `env` that exist.
    fn written(&mut self, output: usize, shape: &[usize], env: Env) -> Result<Vec<(usize, Scalar)>, EvalError> {
        let out = &self.machine.cascade.outputs[output];
        let Some((env, values)) = self.existing(out.def, &out.places, env)? else {
            return Ok(Vec::new());
        };
        let places = self.machine.settle(|machine| -> Result<Vec<Batch>, Fault> {
            out.places.iter().map(|place| machine.eval(*place, &env)).collect()
        })?;
        let mut list = Vec::with_capacity(env.points);
        for point in 0..env.points {
            let mut flat = 0;
            for (at, (place, &extent)) in places.iter().zip(shape).enumerate() {
                let index = place.at(point).as_int().ok_or(EvalError::Kinds)?;
                let inside = usize::try_from(index).ok().filter(|index| *index < extent);
                flat = flat * extent
                    + inside.ok_or_else(|| EvalError::Outside {
                        name: out.name.clone(),
                        dim: at + 1,
                        index,
                        extent: extent as i64,
                    })?;
            }
            list.push((flat, values.at(point)));
        }
        Ok(list)
    }
}

/// The text of a promise, without the part that says that its reads are inside.
fn promise(cascade: &Cascade, cond: ExprId) -> String {
    let shown = match cascade.exprs.get(cond) {
        Expr::Map(MapOp::Or, args) if matches!(cascade.exprs.get(args[0]), Expr::Map(MapOp::Not, _)) => args[1],
        _ => cond,
    };
    crate::print::print_expr(cascade, shown)
}

/// All outputs of a cascade, each rounded once to its storage type.
pub fn evaluate(cascade: &Cascade, inputs: &Inputs) -> Result<Vec<Tensor>, EvalError> {
    Evaluator::new(cascade, inputs)?.outputs()
}
