//! One case: a cascade with inputs; and the runner that executes cases on a device.

use crate::data::layout::Layout;
use crate::data::shapes::{self, Given, ShapeError};
use crate::data::{promises, random, tensors::TensorFileError};
use crate::exec::cpu::{self, CpuError};
use crate::exec::gpu::{Gpu, GpuError};
use crate::pieces;
use crate::pipeline::{self, CompileError};
use einloom_cascade::bind::{Extents, bind};
use einloom_cascade::data::{Inputs, Tensor};
use einloom_cascade::expr::DType;
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;
use einloom_tile::schedule::{Schedule, ShapeClass};
use std::collections::BTreeMap;

/// Where kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    Cpu,
    Cuda(usize),
}

/// Why a case did not run.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    #[error("input `{name}` is {expected} in the spec, {found} in the file")]
    InputType {
        name: String,
        expected: &'static str,
        found: &'static str,
    },
    #[error("the file has no tensor for any input of the spec; it has: {0}")]
    NoInput(String),
    #[error(
        "the inputs and outputs of this shape take {bytes} bytes; the interpreter holds {limit}, a GPU more (--device)"
    )]
    Interpreted { bytes: u128, limit: u128 },
    #[error("the layout `huge` needs a GPU: its tensors span more than 2^31 elements")]
    Huge,
    #[error("{0}")]
    Evaluate(#[from] einloom_cascade::eval::EvalError),
}

/// Largest size of all inputs and outputs of a case.
const MAX_BYTES: u128 = 16 << 30;
/// The same in the interpreter, which holds several copies of 4 bytes an element or more.
const MAX_INTERPRETED: u128 = 1 << 30;

/// A cascade's inputs and extents.
#[derive(Clone, Debug)]
pub struct Case {
    pub inputs: Inputs,
    pub extents: Extents,
}

impl Case {
    /// Random inputs for the given shape; extents that are not given are `default`.
    ///
    /// # Errors
    /// Names or values that do not fit, extents that the cascade's checks refuse, more than 16 GiB.
    pub fn from_shape(cascade: &Cascade, given: &Given, default: i64, seed: u64) -> Result<Case, CaseError> {
        let symbols = shapes::symbols(cascade, given, |_| default)?;
        Case::from_symbols(cascade, given, &symbols, seed)
    }

    /// Random inputs for values of all symbols, which keep the promises of the cascade where that can be arranged.
    ///
    /// # Errors
    /// As [`Case::from_shape`].
    pub fn from_symbols(cascade: &Cascade, given: &Given, symbols: &[i64], seed: u64) -> Result<Case, CaseError> {
        Case::bound(cascade, drawn(cascade, given, symbols, seed, &random::inputs)?)
    }

    /// The inputs of [`Case::from_symbols`] for the same arguments, with empty real tensors: what decides the domains, at once.
    ///
    /// # Errors
    /// As [`Case::from_symbols`].
    pub fn without_reals(cascade: &Cascade, given: &Given, symbols: &[i64], seed: u64) -> Result<Inputs, CaseError> {
        drawn(cascade, given, symbols, seed, &random::without_reals)
    }

    /// Inputs from a file; those that it lacks are random, with extents from the ones that are there.
    ///
    /// # Errors
    /// Types and shapes that do not fit.
    pub fn from_tensors(
        cascade: &Cascade,
        given: &Given,
        mut file: BTreeMap<String, (DType, Tensor)>,
        seed: u64,
    ) -> Result<Case, CaseError> {
        if !cascade.inputs.iter().any(|info| file.contains_key(&info.name)) {
            return Err(CaseError::NoInput(file.keys().cloned().collect::<Vec<_>>().join(", ")));
        }
        let mut known = given.clone();
        for symbol in &cascade.symbols {
            for (input, dim) in &symbol.sources {
                let info = &cascade.inputs[input.index()];
                let Some(&found) = file.get(&info.name).and_then(|(_, t)| t.shape.get(*dim)) else {
                    continue;
                };
                let name = symbol.name.to_lowercase();
                if let Some(given) = known.remove(&name).or_else(|| known.remove(&symbol.name))
                    && given != found.to_string()
                {
                    return Err(ShapeError::File { name, given, found }.into());
                }
                known.insert(symbol.name.clone(), found.to_string());
                break;
            }
        }
        let mut case = Case::from_shape(cascade, &known, 2, seed)?;
        for (info, slot) in cascade.inputs.iter().zip(&mut case.inputs.tensors) {
            let Some((dtype, tensor)) = file.remove(&info.name) else {
                continue;
            };
            if dtype != info.dtype {
                let (expected, found) = (info.dtype.name(), dtype.name());
                return Err(CaseError::InputType {
                    name: info.name.clone(),
                    expected,
                    found,
                });
            }
            *slot = tensor;
        }
        Case::bound(cascade, case.inputs)
    }

    fn bound(cascade: &Cascade, inputs: Inputs) -> Result<Case, CaseError> {
        let shapes = inputs.shapes();
        let extents = bind(cascade, &shapes, &inputs.scalars).map_err(|e| ShapeError::Bind(e.to_string()))?;
        let case = Case { inputs, extents };
        let (bytes, limit) = (case.bytes(cascade), MAX_BYTES);
        if bytes > limit {
            return Err(ShapeError::TooLarge { bytes, limit }.into());
        }
        Ok(case)
    }

    /// Bytes of all inputs and outputs.
    fn bytes(&self, cascade: &Cascade) -> u128 {
        let inputs = shapes::bytes(cascade, &self.inputs.shapes());
        inputs.saturating_add(shapes::output_bytes(cascade, &self.extents.outputs))
    }

    /// Whether the interpreter can hold the case.
    ///
    /// # Errors
    /// It is too large.
    pub fn fits_interpreter(&self, cascade: &Cascade) -> Result<(), CaseError> {
        let bytes = self.bytes(cascade);
        if bytes > MAX_INTERPRETED {
            return Err(CaseError::Interpreted {
                bytes,
                limit: MAX_INTERPRETED,
            });
        }
        Ok(())
    }
}

/// Draws inputs for a shape.
fn drawn(
    cascade: &Cascade,
    given: &Given,
    symbols: &[i64],
    seed: u64,
    draw: &dyn Fn(&Cascade, &[Vec<i64>], u64) -> Inputs,
) -> Result<Inputs, CaseError> {
    let scalars = shapes::scalars(cascade, given)?;
    // Scalars that extents may depend on take 1 until random ones are drawn; those that are given stay.
    let shapes = shapes::input_shapes(cascade, symbols, &shapes::filled(cascade, &scalars))?;
    let bytes = shapes::bytes(cascade, &shapes);
    if bytes > MAX_BYTES {
        let limit = MAX_BYTES;
        return Err(ShapeError::TooLarge { bytes, limit }.into());
    }
    let mut inputs = draw(cascade, &shapes, seed);
    for (slot, scalar) in inputs.scalars.iter_mut().zip(&scalars) {
        if scalar.is_some() {
            *slot = *scalar;
        }
    }
    promises::keep(cascade, symbols, &mut inputs, |i| scalars[i].is_none());
    Ok(inputs)
}

/// Executes cases on one device.
pub enum Runner {
    Cpu,
    Cuda(Gpu),
}

impl Runner {
    /// Opens the device.
    ///
    /// # Errors
    /// No driver, no such device.
    pub fn new(device: DeviceArg) -> Result<Runner, CaseError> {
        Ok(match device {
            DeviceArg::Cpu => Runner::Cpu,
            DeviceArg::Cuda(ordinal) => Runner::Cuda(Gpu::open(ordinal)?),
        })
    }

    /// The target that kernels are compiled for: the device's best, or `sm_80` in the interpreter.
    pub fn target(&self) -> &'static str {
        match self {
            Runner::Cpu => "sm_80",
            Runner::Cuda(gpu)
                if (
                    gpu.device().facts().capability.major,
                    gpu.device().facts().capability.minor,
                ) == (9, 0) =>
            {
                "sm_90a"
            }
            Runner::Cuda(_) => "sm_80",
        }
    }

    /// Lowers a plan by the given schedules (or the default ones) for tensors in a layout, and runs it once.
    ///
    /// # Errors
    /// Whatever a level refuses; a write between the elements of an output.
    pub fn run(
        &self,
        plan: &FusedPlan,
        schedules: Option<Vec<Schedule>>,
        case: &Case,
        layout: Layout,
    ) -> Result<Vec<Tensor>, CaseError> {
        if matches!(self, Runner::Cpu) {
            case.fits_interpreter(&plan.cascade)?;
            if layout == Layout::Huge {
                return Err(CaseError::Huge);
            }
        }
        let shape = shape_class(plan, &case.inputs.shapes(), &case.extents, layout);
        let trial = schedules.is_some();
        let plan = match trial {
            true => plan.clone(),
            false => pieces::fitted(plan.clone(), self.target(), &shape),
        };
        let tiled = pipeline::tile_by(plan, schedules, self.target(), &shape)?;
        match self {
            Runner::Cpu => Ok(cpu::run(
                &tiled.plan,
                &tiled.kernels,
                &case.inputs,
                &case.extents,
                layout,
            )?),
            Runner::Cuda(gpu) => {
                let compiled = pipeline::emit(tiled, self.target())?;
                let cascade = &compiled.tiled.plan.cascade;
                let module = match trial {
                    true => gpu.load_trial(&compiled.artifact)?,
                    false => gpu.load(&compiled.artifact)?,
                };
                let arena = gpu.arena(cascade, &case.inputs, &case.extents, layout)?;
                let call = gpu.call(&module, cascade, &case.extents, &arena)?;
                Ok(gpu.run(&call)?)
            }
        }
    }
}

/// What inputs and outputs of these shapes guarantee in a layout.
pub fn shape_class(plan: &FusedPlan, inputs: &[Vec<i64>], extents: &Extents, layout: Layout) -> ShapeClass {
    let cascade = &plan.cascade;
    let align = |dtype: DType, shape: &[i64]| layout.place(dtype, shape).align(dtype);
    let inputs = cascade.inputs.iter().zip(inputs);
    let outputs = cascade.outputs.iter().zip(&extents.outputs);
    ShapeClass {
        input_align: inputs.map(|(info, shape)| align(info.dtype, shape)).collect(),
        output_align: outputs.map(|(info, shape)| align(info.dtype, shape)).collect(),
        extents: extents.symbols.iter().map(|n| Some(*n)).collect(),
    }
}
