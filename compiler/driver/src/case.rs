//! One case: a cascade with inputs; and the runner that executes cases on a device.

use crate::data::shapes::{self, Given, ShapeError};
use crate::data::{promises, random, tensors::TensorFileError};
use crate::exec::cpu::{self, CpuError};
use crate::exec::gpu::{Gpu, GpuError};
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
        let scalars = shapes::scalars(cascade, given)?;
        // Scalars that extents may depend on take 1 until random ones are drawn; those that are given stay.
        let shapes = shapes::input_shapes(cascade, symbols, &shapes::filled(cascade, &scalars))?;
        let bytes = shapes::bytes(cascade, &shapes);
        if bytes > MAX_BYTES {
            return Err(ShapeError::TooLarge {
                bytes,
                limit: MAX_BYTES,
            }
            .into());
        }
        let mut inputs = random::inputs(cascade, &shapes, seed);
        for (slot, scalar) in inputs.scalars.iter_mut().zip(&scalars) {
            if scalar.is_some() {
                *slot = *scalar;
            }
        }
        promises::keep(cascade, symbols, &mut inputs, |i| scalars[i].is_none());
        Case::bound(cascade, inputs)
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
                if let Some(n) = file.get(&info.name).and_then(|(_, t)| t.shape.get(*dim)) {
                    known.insert(symbol.name.clone(), n.to_string());
                    break;
                }
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

    /// Compiles (with the default schedules) and runs once.
    ///
    /// # Errors
    /// Whatever a level refuses.
    pub fn run(&self, cascade: &Cascade, case: &Case) -> Result<Vec<Tensor>, CaseError> {
        let plan = pipeline::plan(cascade)?;
        self.run_plan(&plan, None, case)
    }

    /// Lowers a plan by the given schedules (or the default ones) and runs it once.
    ///
    /// # Errors
    /// Whatever a level refuses.
    pub fn run_plan(
        &self,
        plan: &FusedPlan,
        schedules: Option<Vec<Schedule>>,
        case: &Case,
    ) -> Result<Vec<Tensor>, CaseError> {
        if matches!(self, Runner::Cpu) {
            case.fits_interpreter(&plan.cascade)?;
        }
        let shape = shape_class(plan, case);
        let tiled = match schedules {
            Some(schedules) => pipeline::tile_with(plan.clone(), schedules, self.target(), &shape)?,
            None => pipeline::tile(plan.clone(), self.target(), &shape)?,
        };
        match self {
            Runner::Cpu => Ok(cpu::run(&tiled.plan, &tiled.kernels, &case.inputs, &case.extents)?),
            Runner::Cuda(gpu) => {
                let compiled = pipeline::emit(tiled, self.target())?;
                let cascade = &compiled.tiled.plan.cascade;
                let call = gpu.prepare(&compiled.artifact, cascade, &case.inputs, &case.extents)?;
                Ok(gpu.run(&call)?)
            }
        }
    }
}

/// What the shapes of a case guarantee: 16-byte alignment of every stride, or less.
pub fn shape_class(plan: &FusedPlan, case: &Case) -> ShapeClass {
    class_of_shapes(plan, &case.inputs.shapes(), &case.extents)
}

/// As [`shape_class`], from the shapes of the inputs alone.
pub fn class_of_shapes(plan: &FusedPlan, shapes: &[Vec<i64>], extents: &Extents) -> ShapeClass {
    let cascade = &plan.cascade;
    let align = |dtype: DType, shape: &[i64]| {
        let size = dtype.size() as i64;
        // Strides of a dense tensor are multiples of its last extent.
        let width = if shape.len() < 2 {
            16
        } else {
            shape.last().copied().unwrap_or(1).max(1) * size
        };
        [16, 8, 4, 2, 1].into_iter().find(|a| width % a == 0).unwrap_or(1) as u32
    };
    let mut class = ShapeClass::aligned(plan, 16);
    for ((slot, info), shape) in class.input_align.iter_mut().zip(&cascade.inputs).zip(shapes) {
        *slot = align(info.dtype, shape);
    }
    for ((slot, info), shape) in class
        .output_align
        .iter_mut()
        .zip(&cascade.outputs)
        .zip(&extents.outputs)
    {
        *slot = align(info.dtype, shape);
    }
    class.extents = extents.symbols.iter().map(|n| Some(*n)).collect();
    class
}
