//! Runs with tensors in any layout: on poisoned buffers whose gaps must stay as they are.

use crate::case::{Case, CaseError, Runner, shape_class};
use crate::data::layout::{Layout, Placement};
use crate::exec::cpu;
use crate::pipeline;
use einloom_cascade::data::Tensor;
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;
use einloom_tile::interp::TensorMemory;
use einloom_tile::interp::value::Cells;
use einloom_tile::schedule::{Schedule, ShapeClass};

/// Lowers a plan by the given schedules (or the default ones) for tensors in a layout, and runs it once.
///
/// # Errors
/// Whatever a level refuses; a write between the elements of an output.
pub fn run(
    runner: &Runner,
    plan: &FusedPlan,
    schedules: Option<Vec<Schedule>>,
    case: &Case,
    layout: Layout,
) -> Result<Vec<Tensor>, CaseError> {
    if layout == Layout::Dense {
        return runner.run_plan(plan, schedules, case);
    }
    if matches!(runner, Runner::Cpu) {
        case.fits_interpreter(&plan.cascade)?;
        if layout == Layout::Huge {
            return Err(CaseError::Huge);
        }
    }
    let shape = class(plan, case, layout);
    let tiled = match schedules {
        Some(schedules) => pipeline::tile_with(plan.clone(), schedules, runner.target(), &shape)?,
        None => pipeline::tile(plan.clone(), runner.target(), &shape)?,
    };
    match runner {
        Runner::Cpu => Ok(cpu::run_placed(
            &tiled.plan,
            &tiled.kernels,
            &case.inputs,
            &case.extents,
            layout,
        )?),
        Runner::Cuda(gpu) => {
            let compiled = pipeline::emit(tiled, runner.target())?;
            let cascade = &compiled.tiled.plan.cascade;
            Ok(gpu.run_placed(&compiled.artifact, cascade, &case.inputs, &case.extents, layout)?)
        }
    }
}

/// What the shapes of a case guarantee in a layout.
pub fn class(plan: &FusedPlan, case: &Case, layout: Layout) -> ShapeClass {
    if layout == Layout::Dense {
        return shape_class(plan, case);
    }
    let cascade: &Cascade = &plan.cascade;
    let mut class = ShapeClass::aligned(plan, 16);
    let shapes = case.inputs.shapes();
    for ((slot, info), shape) in class.input_align.iter_mut().zip(&cascade.inputs).zip(&shapes) {
        *slot = layout.place(info.dtype, shape).align(info.dtype);
    }
    let outputs = cascade.outputs.iter().zip(&case.extents.outputs);
    for (slot, (info, shape)) in class.output_align.iter_mut().zip(outputs) {
        *slot = layout.place(info.dtype, shape).align(info.dtype);
    }
    class.extents = case.extents.symbols.iter().map(|n| Some(*n)).collect();
    class
}

/// A dense tensor of the interpreter, laid out anew in poison.
pub(super) fn spread(dense: &TensorMemory, layout: Layout) -> TensorMemory {
    let place = layout.place(dense.dtype, &dense.shape);
    let mut memory = TensorMemory::poisoned(dense.dtype, &[place.span()]);
    for (row, at) in place.rows().enumerate() {
        let (from, to, width) = (row * place.width(), at as usize, place.width());
        match (&dense.cells, &mut memory.cells) {
            (Cells::Real(a), Cells::Real(b)) => b[to..to + width].copy_from_slice(&a[from..from + width]),
            (Cells::Int(a), Cells::Int(b)) => b[to..to + width].copy_from_slice(&a[from..from + width]),
            _ => {}
        }
    }
    skip(&mut memory.cells, place.offset);
    memory.shape = place.shape;
    memory.strides = place.strides;
    memory
}

/// The elements of a tensor in row-major order; `None` if something was written between them.
pub(super) fn gather(memory: TensorMemory, layout: Layout) -> Option<TensorMemory> {
    let Placement { shape, strides, .. } = layout.place(memory.dtype, &memory.shape);
    let place = Placement {
        shape,
        strides,
        offset: 0,
    };
    let mut dense = TensorMemory::poisoned(memory.dtype, &memory.shape);
    let mut rest = memory.cells;
    let poison = TensorMemory::poisoned(memory.dtype, &[1]).cells;
    for (row, at) in place.rows().enumerate() {
        let (to, from) = (row * place.width(), at as usize);
        for k in 0..place.width() {
            match (&mut rest, &mut dense.cells, &poison) {
                (Cells::Real(a), Cells::Real(b), Cells::Real(p)) => {
                    b[to + k] = std::mem::replace(&mut a[from + k], p[0])
                }
                (Cells::Int(a), Cells::Int(b), Cells::Int(p)) => b[to + k] = std::mem::replace(&mut a[from + k], p[0]),
                _ => {}
            }
        }
    }
    let clean = match (&rest, &poison) {
        (Cells::Real(a), _) => a.iter().all(|x| x.is_nan()),
        (Cells::Int(a), Cells::Int(p)) => a.iter().all(|x| *x == p[0]),
        _ => false,
    };
    clean.then_some(dense)
}

/// Drops the cells before the base: positions count from it.
fn skip(cells: &mut Cells, offset: i64) {
    match cells {
        Cells::Real(v) => drop(v.drain(..(offset as usize).min(v.len()))),
        Cells::Int(v) => drop(v.drain(..(offset as usize).min(v.len()))),
    }
}
