//! How much arithmetic and traffic a run needs: the denominators of TFLOP/s and GB/s.
//!
//! Floating-point operations are those of contractions on live points only, two for a multiply-add: the form and every
//! accumulator with local dimensions. A causal mask halves them. Elementwise work is not counted, as is usual in the field. Bytes: each input read
//! once, each output written once.

use einloom_cascade::bind::Extents;
use einloom_cascade::data::Inputs;
use einloom_cascade::eval::{EvalError, Evaluator};
use einloom_cascade::expr::{DefId, Expr, ExprId, Reduce, ReduceOp, VarId};
use einloom_cascade::ir::{Cascade, Def};
use einloom_cascade::ops::Scalar;
use einloom_plan::ir::{Carry, FusedPlan, Kernel, Sweep};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Work of one launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    pub flops: f64,
    pub bytes: f64,
}

/// Resident points at which live streamed points are counted; more points are sampled.
const ROWS: usize = 256;

/// Work of a plan for these inputs.
///
/// # Errors
/// The inputs do not fit the cascade.
pub fn work(plan: &FusedPlan, inputs: &Inputs, extents: &Extents) -> Result<Work, EvalError> {
    let mut flops = 0.0;
    // Merging pieces is work of the plan, not of the cascade.
    for kernel in plan.kernels.iter().filter(|k| !plan.merges(k)) {
        for sweep in &kernel.sweeps {
            flops += sweep_flops(plan, kernel, sweep, inputs, extents)?;
        }
    }
    let inputs_bytes = |(info, t): (&einloom_cascade::ir::Input, &einloom_cascade::data::Tensor)| {
        (t.values.len() * info.dtype.size()) as f64
    };
    let mut bytes: f64 = plan.cascade.inputs.iter().zip(&inputs.tensors).map(inputs_bytes).sum();
    for (info, shape) in plan.cascade.outputs.iter().zip(&extents.outputs) {
        bytes += shape.iter().map(|n| (*n).max(0) as f64).product::<f64>() * info.dtype.size() as f64;
    }
    Ok(Work { flops, bytes })
}

fn sweep_flops(
    plan: &FusedPlan,
    kernel: &Kernel,
    sweep: &Sweep,
    inputs: &Inputs,
    extents: &Extents,
) -> Result<f64, EvalError> {
    let mut seen: Vec<ExprId> = Vec::new();
    let mut total = 0.0;
    for carry in &sweep.carries {
        let width: f64 = carry.dims.iter().map(|v| extent(extents, *v)).product();
        let mut per_point = if carry.dims.is_empty() { 0.0 } else { 2.0 * width };
        let form = carry.weight.and_then(|(r, _)| sweep.references.get(r)).map(|r| r.form);
        for expr in [Some(carry.streamed), form].into_iter().flatten() {
            per_point += contractions(&plan.cascade, expr, extents, &mut seen);
        }
        if per_point > 0.0 {
            total += per_point * live_points(plan, kernel, sweep, carry, inputs, extents)?;
        }
    }
    Ok(total)
}

fn extent(extents: &Extents, var: VarId) -> f64 {
    extents.vars.get(var.index()).map_or(1.0, |n| (*n).max(0) as f64)
}

/// Operations of the sums inside an expression, each counted once in a sweep.
fn contractions(cascade: &Cascade, expr: ExprId, extents: &Extents, seen: &mut Vec<ExprId>) -> f64 {
    if seen.contains(&expr) {
        return 0.0;
    }
    seen.push(expr);
    let own = match cascade.exprs.get(expr) {
        Expr::Reduce(r) if r.op == ReduceOp::Sum => 2.0 * r.vars.iter().map(|v| extent(extents, *v)).product::<f64>(),
        _ => 0.0,
    };
    own + cascade
        .exprs
        .children(expr)
        .into_iter()
        .map(|c| contractions(cascade, c, extents, seen))
        .sum::<f64>()
}

/// Number of (resident, streamed) points at which a carry is live, by counting at sampled resident points.
fn live_points(
    plan: &FusedPlan,
    kernel: &Kernel,
    sweep: &Sweep,
    carry: &Carry,
    inputs: &Inputs,
    extents: &Extents,
) -> Result<f64, EvalError> {
    let rows: f64 = kernel.resident.iter().map(|v| extent(extents, *v)).product();
    let mut vars = sweep.stream.clone();
    vars.extend(&carry.inner);
    let all = rows * vars.iter().map(|v| extent(extents, *v)).product::<f64>();
    if carry.conds.is_empty() || rows == 0.0 {
        return Ok(all);
    }
    let mut cascade = plan.cascade.clone();
    let one = cascade.exprs.real(1.0);
    let body = cascade.exprs.add(Expr::Reduce(Reduce {
        op: ReduceOp::Sum,
        vars,
        conds: carry.conds.clone(),
        body: one,
    }));
    let span = cascade.defs[0].span;
    // Conditions of a carry may also depend on local dimensions: count at coordinate 0 of those.
    let mut dims = kernel.resident.clone();
    dims.extend(&carry.dims);
    cascade.defs.push(Def {
        name: "live".into(),
        dims: dims.clone(),
        conds: Vec::new(),
        body,
        span,
    });
    let def = DefId(cascade.defs.len() as u32 - 1);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let draw = |rng: &mut ChaCha8Rng, v: &VarId| {
        let n = extent(extents, *v) as i64;
        if carry.dims.contains(v) {
            0
        } else {
            rng.random_range(0..n.max(1))
        }
    };
    let points: Vec<Vec<i64>> = (0..ROWS)
        .map(|_| dims.iter().map(|v| draw(&mut rng, v)).collect())
        .collect();
    let mut evaluator = Evaluator::new(&cascade, inputs)?;
    let counts = evaluator.points(def, &points)?;
    let sum: f64 = counts.iter().flatten().map(|x: &Scalar| x.as_real()).sum();
    Ok(rows * sum / points.len() as f64)
}
