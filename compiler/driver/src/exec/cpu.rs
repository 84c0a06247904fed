//! Runs the tile programs of a plan in the interpreter, kernel after kernel, on poisoned outputs and workspaces.

use super::placed::{gather, spread};
use crate::data::layout::Layout;
use einloom_cascade::bind::Extents;
use einloom_cascade::data::{Inputs, Tensor, Values};
use einloom_cascade::expr::{DType, Expr, ExprId, Kind};
use einloom_cascade::ops::Scalar;
use einloom_plan::ir::FusedPlan;
use einloom_tile::interp::value::Cells;
use einloom_tile::interp::{self, InterpError, ScalarValue, TensorMemory};
use einloom_tile::lowered::{LoweredKernel, ScalarSource, TensorSource};

/// Why the interpreter could not run a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CpuError {
    #[error("kernel `{kernel}`: {error}")]
    Interp { kernel: String, error: InterpError },
    #[error("the extent of `{0}` has no value for these inputs")]
    Extent(String),
    #[error("output `{0}` was written between its elements")]
    Gap(String),
}

/// Executes `kernels` in order, on inputs and outputs in a layout; returns the outputs in their storage types, in the order of
/// `Cascade::outputs`.
///
/// # Errors
/// A defect of a tile program (out-of-range access, missing barrier, a write between the elements of an output), or an extent without a value.
pub fn run(
    plan: &FusedPlan,
    kernels: &[LoweredKernel],
    inputs: &Inputs,
    extents: &Extents,
    layout: Layout,
) -> Result<Vec<Tensor>, CpuError> {
    let cascade = &plan.cascade;
    let inputs: Vec<TensorMemory> = cascade
        .inputs
        .iter()
        .zip(&inputs.tensors)
        .map(|(info, t)| spread(&memory(info.dtype, t), layout))
        .collect();
    let mut outputs: Vec<TensorMemory> = cascade
        .outputs
        .iter()
        .zip(&extents.outputs)
        .map(|(info, shape)| spread(&TensorMemory::poisoned(info.dtype, shape), layout))
        .collect();
    let mut crossings = crossings(plan, extents)?;
    for kernel in kernels {
        let scalars = scalars(plan, kernel, extents)?;
        let mut tensors: Vec<TensorMemory> = kernel
            .tensors
            .iter()
            .map(|source| match source {
                TensorSource::Input(i) => inputs[*i].clone(),
                TensorSource::Output(i) => outputs[*i].clone(),
                TensorSource::Crossing(i) => crossings[*i].clone(),
            })
            .collect();
        interp::run(&kernel.program, &scalars, &mut tensors).map_err(|error| CpuError::Interp {
            kernel: kernel.program.name.clone(),
            error,
        })?;
        for ((source, tensor), info) in kernel.tensors.iter().zip(tensors).zip(&kernel.program.tensors) {
            match source {
                TensorSource::Output(i) if info.writable => outputs[*i] = tensor,
                TensorSource::Crossing(i) if info.writable => crossings[*i] = tensor,
                _ => {}
            }
        }
    }
    let gathered = |(memory, info): (TensorMemory, &einloom_cascade::ir::Output)| {
        let dense = gather(memory, layout).ok_or_else(|| CpuError::Gap(info.name.clone()))?;
        Ok(tensor(dense))
    };
    outputs.into_iter().zip(&cascade.outputs).map(gathered).collect()
}

/// Values of a kernel's scalar parameters.
///
/// # Errors
/// An extent expression without a value.
pub fn scalars(plan: &FusedPlan, kernel: &LoweredKernel, extents: &Extents) -> Result<Vec<ScalarValue>, CpuError> {
    let one = |(source, info): (&ScalarSource, &einloom_tile::ir::ScalarParam)| match source {
        ScalarSource::Extent(expr) => {
            let n = int(plan, *expr, extents).ok_or_else(|| CpuError::Extent(info.name.clone()))?;
            Ok(ScalarValue::Int(n))
        }
        ScalarSource::Scalar(id) => Ok(match extents.scalars[id.index()] {
            Scalar::Real(x) => ScalarValue::F32(x as f32),
            Scalar::Int(n) => ScalarValue::Int(n),
            Scalar::Bool(b) => ScalarValue::Int(i64::from(b)),
        }),
    };
    kernel.scalars.iter().zip(&kernel.program.scalars).map(one).collect()
}

fn crossings(plan: &FusedPlan, extents: &Extents) -> Result<Vec<TensorMemory>, CpuError> {
    let one = |crossing: &einloom_plan::ir::Crossing| {
        let shape = crossing_shape(plan, crossing, extents)?;
        let dtype = if crossing.kind == Kind::Real {
            DType::F32
        } else {
            DType::I32
        };
        Ok(TensorMemory::poisoned(dtype, &shape))
    };
    plan.crossings.iter().map(one).collect()
}

/// Extents of a crossing tensor.
///
/// # Errors
/// An extent expression without a value.
pub fn crossing_shape(
    plan: &FusedPlan,
    crossing: &einloom_plan::ir::Crossing,
    extents: &Extents,
) -> Result<Vec<i64>, CpuError> {
    let extent = |var: &einloom_cascade::expr::VarId| {
        let info = &plan.cascade.vars[var.index()];
        int(plan, info.extent, extents)
            .map(|n| n.max(0))
            .ok_or_else(|| CpuError::Extent(info.name.clone()))
    };
    crossing.dims.iter().map(extent).collect()
}

/// Value of an int expression over extents and scalars.
fn int(plan: &FusedPlan, expr: ExprId, extents: &Extents) -> Option<i64> {
    match plan.cascade.exprs.get(expr) {
        Expr::Int(n) => Some(*n),
        Expr::Extent(s) => extents.symbols.get(s.index()).copied(),
        Expr::Scalar(s) => extents.scalars.get(s.index())?.as_int(),
        Expr::Map(op, args) => {
            let args = args
                .iter()
                .map(|a| int(plan, *a, extents))
                .collect::<Option<Vec<_>>>()?;
            interp::math::int(*op, &args)
        }
        _ => None,
    }
}

fn memory(dtype: DType, tensor: &Tensor) -> TensorMemory {
    let shape: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
    let values = tensor.values.rounded(dtype);
    let cells = if dtype.is_real() {
        Cells::Real(values.to_f64().iter().map(|x| *x as f32).collect())
    } else {
        Cells::Int((0..values.len()).map(|i| as_int(values.get(i))).collect())
    };
    TensorMemory::dense(dtype, &shape, cells)
}

fn as_int(scalar: Option<Scalar>) -> i64 {
    match scalar {
        Some(Scalar::Int(n)) => n,
        Some(Scalar::Bool(b)) => i64::from(b),
        _ => 0,
    }
}

fn tensor(memory: TensorMemory) -> Tensor {
    let shape: Vec<usize> = memory.shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
    let values = match memory.cells {
        Cells::Real(v) => Values::F32(v),
        Cells::Int(v) => Values::I64(v),
    };
    Tensor::new(&shape, values)
}
