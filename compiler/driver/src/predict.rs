//! The machine model on a compiled plan: real extents in, microseconds out.

use crate::exec::cpu;
use einloom_cascade::bind::Extents;
use einloom_plan::ir::FusedPlan;
use einloom_tile::interp::ScalarValue;
use einloom_tile::lowered::{LoweredKernel, TensorSource};
use einloom_tile::model::{self, Device, Launch, Prediction};

/// Predicts one kernel for inputs of these shapes; `None` where an extent has no value.
pub fn kernel(
    plan: &FusedPlan,
    kernel: &LoweredKernel,
    shapes: &[Vec<i64>],
    extents: &Extents,
    device: &Device,
) -> Option<Prediction> {
    let scalars = cpu::scalars(plan, kernel, extents).ok()?;
    let whole = |value: &ScalarValue| match value {
        ScalarValue::Int(n) => *n,
        ScalarValue::F32(x) => *x as i64,
    };
    let launch = Launch {
        scalars: scalars.iter().map(whole).collect(),
        bytes: bytes(plan, kernel, shapes, extents)?,
    };
    Some(model::predict(&kernel.program, &launch, device))
}

/// Bytes of the kernel's tensors, each once.
fn bytes(plan: &FusedPlan, kernel: &LoweredKernel, shapes: &[Vec<i64>], extents: &Extents) -> Option<f64> {
    let points = |shape: &[i64]| shape.iter().map(|n| (*n).max(0) as f64).product::<f64>();
    let mut sum = 0.0;
    for source in &kernel.tensors {
        sum += match source {
            TensorSource::Input(i) => points(shapes.get(*i)?) * plan.cascade.inputs[*i].dtype.size() as f64,
            TensorSource::Output(i) => points(extents.outputs.get(*i)?) * plan.cascade.outputs[*i].dtype.size() as f64,
            TensorSource::Crossing(i) => points(&cpu::crossing_shape(plan, &plan.crossings[*i], extents).ok()?) * 4.0,
        };
    }
    Some(sum)
}

/// Predicted microseconds of kernels that run one after another.
pub fn all(
    plan: &FusedPlan,
    kernels: &[LoweredKernel],
    shapes: &[Vec<i64>],
    extents: &Extents,
    device: &Device,
) -> Option<f64> {
    kernels
        .iter()
        .map(|k| Some(kernel(plan, k, shapes, extents, device)?.us))
        .sum()
}
