//! Runs lowered plans in the interpreter and compares them with the evaluator of plans.

#![allow(dead_code, reason = "every test binary uses its own part")]

pub(crate) mod plan;
pub(crate) mod specs;

use einloom_cascade::expr::{DType, Expr};
use einloom_cascade::{Extents, Inputs, Scalar, Tensor, bind};
use einloom_plan::eval::{Options, evaluate};
use einloom_plan::ir::FusedPlan;
use einloom_tile::interp::value::Cells;
use einloom_tile::interp::{ScalarValue, TensorMemory, run};
use einloom_tile::lower::lower_unchecked;
use einloom_tile::lowered::{LoweredKernel, ScalarSource, TensorSource};
use einloom_tile::print::print;
use einloom_tile::schedule::{Schedule, ShapeClass};
use einloom_tile::verify::verify;

/// A schedule by its numbers.
pub(crate) fn schedule(rows: u32, cols: u32, warps: u32, stages: u32) -> Schedule {
    Schedule {
        rows,
        cols,
        warps,
        stages,
        blocks_per_sm: 1,
        left_in_registers: false,
        specialised: None,
    }
}

/// A deterministic stream of numbers.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A real in -1..1.
    pub(crate) fn real(&mut self) -> f64 {
        (self.next() % 20001) as f64 / 10000.0 - 1.0
    }

    /// An int in `0..n`.
    pub(crate) fn below(&mut self, n: i64) -> i64 {
        (self.next() % n.max(1) as u64) as i64
    }
}

/// Random inputs of a plan for extents of its symbols; ints of an input lie in `0..limit(input)`, sorted along the last dimension if that is promised.
pub(crate) fn inputs(
    plan: &FusedPlan,
    symbols: &[i64],
    scalars: &[Scalar],
    limit: &dyn Fn(&str) -> i64,
    seed: u64,
) -> Inputs {
    let mut numbers = Numbers::new(seed);
    let promised = einloom_plan::domain::sorted(&plan.cascade);
    let tensors = plan
        .cascade
        .inputs
        .iter()
        .enumerate()
        .map(|(at, input)| {
            let shape: Vec<usize> = input
                .dims
                .iter()
                .map(|d| int(plan, symbols, scalars, d.extent).max(0) as usize)
                .collect();
            let n: usize = shape.iter().product();
            match input.dtype {
                DType::F32 | DType::F16 | DType::BF16 => {
                    let values = (0..n).map(|_| numbers.real() * 2.0).collect();
                    Tensor::reals(&shape, values).rounded(input.dtype)
                }
                _ => {
                    let limit = limit(&input.name);
                    let mut values: Vec<i64> = (0..n).map(|_| numbers.below(limit)).collect();
                    if promised
                        .iter()
                        .any(|s| s.input.index() == at && s.dim + 1 == shape.len())
                    {
                        values.chunks_mut(shape[shape.len() - 1].max(1)).for_each(<[i64]>::sort);
                    }
                    Tensor::ints(&shape, values).rounded(input.dtype)
                }
            }
        })
        .collect();
    Inputs::new(tensors, scalars.to_vec())
}

fn int(plan: &FusedPlan, symbols: &[i64], scalars: &[Scalar], id: einloom_cascade::expr::ExprId) -> i64 {
    match plan.cascade.exprs.get(id) {
        Expr::Int(i) => *i,
        Expr::Extent(s) => symbols[s.index()],
        Expr::Scalar(s) => scalars[s.index()].as_int().expect("an int scalar"),
        Expr::Map(op, args) => {
            let args: Vec<Scalar> = args
                .iter()
                .map(|&a| Scalar::Int(int(plan, symbols, scalars, a)))
                .collect();
            einloom_cascade::ops::apply(*op, &args)
                .expect("a total map")
                .as_int()
                .expect("an int")
        }
        other => panic!("no extent: {other:?}"),
    }
}

fn memory(tensor: &Tensor, dtype: DType) -> TensorMemory {
    let shape: Vec<i64> = tensor.shape.iter().map(|&n| n as i64).collect();
    let cells = match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Cells::Real(tensor.to_f64().iter().map(|&x| x as f32).collect()),
        _ => Cells::Int(tensor.to_f64().iter().map(|&x| x as i64).collect()),
    };
    TensorMemory::dense(dtype, &shape, cells)
}

/// Lowers every kernel, with the program's text behind any failure.
pub(crate) fn lower_all(plan: &FusedPlan, schedule: &Schedule, align: u32) -> Vec<LoweredKernel> {
    let shape = ShapeClass::aligned(plan, align);
    (0..plan.kernels.len())
        .map(|k| {
            let kernel = lower_unchecked(plan, k, schedule, &shape)
                .unwrap_or_else(|e| panic!("{}: kernel {k} with {schedule:?}: {e}", plan.cascade.name));
            if let Err(error) = verify(&kernel.program) {
                panic!("{}: {error}\n{}", plan.cascade.name, print(&kernel.program));
            }
            kernel
        })
        .collect()
}

/// Outputs of lowered kernels by the interpreter, with the programs' texts behind any failure.
pub(crate) fn execute(plan: &FusedPlan, kernels: &[LoweredKernel], inputs: &Inputs) -> Vec<TensorMemory> {
    try_execute(plan, kernels, inputs).unwrap_or_else(|error| {
        let text: Vec<String> = kernels.iter().map(|k| print(&k.program)).collect();
        panic!("{}: {error}\n{}", plan.cascade.name, text.join("\n"))
    })
}

/// Outputs of lowered kernels by the interpreter.
///
/// # Errors
/// Inputs that do not fit, or what the interpreter says.
pub(crate) fn try_execute(
    plan: &FusedPlan,
    kernels: &[LoweredKernel],
    inputs: &Inputs,
) -> Result<Vec<TensorMemory>, String> {
    let extents = bind(&plan.cascade, &inputs.shapes(), &inputs.scalars).map_err(|e| e.to_string())?;
    let mut outputs: Vec<TensorMemory> = plan
        .cascade
        .outputs
        .iter()
        .zip(&extents.outputs)
        .map(|(o, shape)| TensorMemory::poisoned(o.dtype, shape))
        .collect();
    let mut crossings: Vec<TensorMemory> = plan
        .crossings
        .iter()
        .map(|c| {
            let shape: Vec<i64> = c.dims.iter().map(|v| extents.vars[v.index()]).collect();
            let dtype = if c.kind == einloom_cascade::expr::Kind::Real {
                DType::F32
            } else {
                DType::I32
            };
            TensorMemory::poisoned(dtype, &shape)
        })
        .collect();
    for kernel in kernels {
        let mut tensors: Vec<TensorMemory> = kernel
            .tensors
            .iter()
            .map(|source| match source {
                TensorSource::Input(i) => memory(&inputs.tensors[*i], plan.cascade.inputs[*i].dtype),
                TensorSource::Output(o) => outputs[*o].clone(),
                TensorSource::Crossing(c) => crossings[*c].clone(),
            })
            .collect();
        let scalars: Vec<ScalarValue> = kernel.scalars.iter().map(|s| scalar(plan, &extents, s)).collect();
        run(&kernel.program, &scalars, &mut tensors).map_err(|e| format!("{}: {e}", kernel.program.name))?;
        for (source, tensor) in kernel.tensors.iter().zip(tensors) {
            match source {
                TensorSource::Input(_) => {}
                TensorSource::Output(o) => outputs[*o] = tensor,
                TensorSource::Crossing(c) => crossings[*c] = tensor,
            }
        }
    }
    Ok(outputs)
}

pub(crate) fn scalar(plan: &FusedPlan, extents: &Extents, source: &ScalarSource) -> ScalarValue {
    match source {
        ScalarSource::Extent(id) => ScalarValue::Int(int(plan, &extents.symbols, &extents.scalars, *id)),
        ScalarSource::Scalar(s) => match extents.scalars[s.index()] {
            Scalar::Real(x) => ScalarValue::F32(x as f32),
            Scalar::Int(i) => ScalarValue::Int(i),
            Scalar::Bool(b) => ScalarValue::Int(i64::from(b)),
        },
    }
}

/// Compares the interpreter with the evaluator of plans.
pub(crate) fn check(plan: &FusedPlan, inputs: &Inputs, schedule: &Schedule, align: u32) {
    compare(plan, inputs, schedule, &lower_all(plan, schedule, align));
}

/// Compares the interpreter's results of lowered kernels with the evaluator of plans.
pub(crate) fn compare(plan: &FusedPlan, inputs: &Inputs, schedule: &Schedule, kernels: &[LoweredKernel]) {
    compare_with(plan, inputs, schedule, kernels, &expected(plan, inputs));
}

/// Outputs by the evaluator of plans.
pub(crate) fn expected(plan: &FusedPlan, inputs: &Inputs) -> Vec<Tensor> {
    evaluate(plan, inputs, &Options::default())
        .expect("a plan that evaluates")
        .outputs
}

/// Compares the interpreter's results of lowered kernels with known ones.
pub(crate) fn compare_with(
    plan: &FusedPlan,
    inputs: &Inputs,
    schedule: &Schedule,
    kernels: &[LoweredKernel],
    expected: &[Tensor],
) {
    let found = execute(plan, kernels, inputs);
    for ((output, found), expected) in plan.cascade.outputs.iter().zip(&found).zip(expected) {
        let tolerance = match output.dtype {
            DType::BF16 => 2e-2,
            DType::F16 => 3e-3,
            _ => 2e-5,
        };
        let wanted = expected.to_f64();
        let scale = wanted
            .iter()
            .filter(|x| x.is_finite())
            .fold(1f64, |a, x| a.max(x.abs()));
        for (at, &want) in wanted.iter().enumerate() {
            let have = found.cells.number(at);
            let close = have == want || (have - want).abs() <= tolerance * scale || (have.is_nan() && want.is_nan());
            if !close {
                let text: Vec<String> = kernels.iter().map(|k| print(&k.program)).collect();
                panic!(
                    "{} {}[{at}] of {:?} is {have}, should be {want}; {schedule:?}\n{}",
                    plan.cascade.name,
                    output.name,
                    expected.shape,
                    text.join("\n")
                );
            }
        }
    }
}
