//! The default schedule of a kernel.
//!
//! Candidates are looked through in the order of [`candidates`], and the first that fits is taken: larger tiles move less. Where the extents of the launches
//! are expected to be known, the machine model chooses among the tiles that fit a specialised program: large tiles pay where there are many of them.
//! Kernels whose plan has chunks with a carried state take the first schedule that fits these, and only without any the direct form.

use super::error::LowerError;
use super::{chunks, lower, lower_chunks, lower_either};
use crate::interp::math::int;
use crate::lowered::{LoweredKernel, ScalarSource, TensorSource};
use crate::machine::MachineModel;
use crate::model::{Device, Launch, Prediction, predict};
use crate::schedule::{Schedule, ShapeClass, candidates, chunk_candidates, dtype_bytes};
use einloom_cascade::expr::{Expr, ExprId};
use einloom_plan::ir::FusedPlan;

/// A schedule for kernel `kernel` of `plan`: the largest of a list of proven shapes that fits the machine, or where the shape class knows all extents,
/// the one of them that the machine model expects to be the fastest.
///
/// # Errors
/// What no schedule can help: a construct without a tile form, or the limit that even the smallest tile passes.
pub fn default_schedule(
    plan: &FusedPlan,
    kernel: usize,
    machine: &MachineModel,
    shape: &ShapeClass,
) -> Result<Schedule, LowerError> {
    lower_by_default(plan, kernel, machine, shape).map(|(schedule, _)| schedule)
}

/// [`default_schedule`] and what it lowers the kernel to, which was needed to find it.
///
/// # Errors
/// As [`default_schedule`].
pub fn lower_by_default(
    plan: &FusedPlan,
    kernel: usize,
    machine: &MachineModel,
    shape: &ShapeClass,
) -> Result<(Schedule, LoweredKernel), LowerError> {
    if chunks::chosen(plan, kernel, shape).is_ok() {
        for schedule in chunk_candidates() {
            if let Ok(lowered) = lower_chunks(plan, kernel, &schedule, machine, shape, true) {
                return Ok((schedule, lowered));
            }
        }
    }
    let expected = Expected::of(plan, shape).filter(|_| machine.specialises);
    let mut last = None;
    let mut fitting: Vec<(Schedule, LoweredKernel)> = Vec::new();
    for schedule in candidates(machine) {
        if !fitting.is_empty() && (schedule.specialised.is_none() || fitting.len() == CHOICE) {
            break;
        }
        if fitting.iter().any(|(other, _)| tile(other) == tile(&schedule)) {
            continue;
        }
        match lower_either(plan, kernel, &schedule, machine, shape, true) {
            Ok(lowered) if expected.is_none() || schedule.specialised.is_none() => return Ok((schedule, lowered)),
            Ok(lowered) => fitting.push((schedule, lowered)),
            Err(error @ (LowerError::Unsupported { .. } | LowerError::Bug(_))) => return Err(error),
            Err(_) => last = Some(schedule),
        }
    }
    let chosen = expected.and_then(|e| e.fastest(fitting, machine).map(|best| (e, best)));
    let Some((expected, (us, best))) = chosen else {
        // Once more, for the limit that the whole program passes.
        let last = last.ok_or_else(|| LowerError::Bug("no schedule was tried".to_owned()))?;
        return lower(plan, kernel, &last, machine, shape).map(|lowered| (last, lowered));
    };
    // Where the position alone raises the maximum, the first tile's is a bad reference.
    let exact = exact(&best.0);
    Ok(match lower(plan, kernel, &exact, machine, shape) {
        Ok(lowered) => match expected.fastest(vec![(exact, lowered)], machine) {
            Some((less, exact)) if less < CLEARLY * us => exact,
            _ => best,
        },
        Err(_) => best,
    })
}

/// What the model must promise of exact maxima, as a part of the time with the first tile's: it is no more precise than that.
const CLEARLY: f64 = 0.95;

/// Tiles that the model chooses among: the first ones that fit.
const CHOICE: usize = 3;

fn tile(schedule: &Schedule) -> (u32, u32) {
    (schedule.rows, schedule.cols)
}

/// The same with exact running maxima.
fn exact(schedule: &Schedule) -> Schedule {
    let mut exact = schedule.clone();
    if let Some(specialised) = &mut exact.specialised {
        specialised.first_reference = false;
    }
    exact
}

/// What a whole plan is expected to cost by default schedules.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Microseconds, launches included.
    pub us: f64,
    /// For each kernel the part of the device's places for blocks that its grid fills.
    pub waves: Vec<f64>,
}

/// The cost of a plan at the extents of a shape class; `None` where it does not know them all, or no schedule fits.
pub fn expected_cost(plan: &FusedPlan, machine: &MachineModel, shape: &ShapeClass) -> Option<Cost> {
    let expected = Expected::of(plan, shape)?;
    let device = Device::named("", machine.name);
    let mut cost = Cost {
        us: 0.0,
        waves: Vec::new(),
    };
    for kernel in 0..plan.kernels.len() {
        let (_, lowered) = lower_by_default(plan, kernel, machine, shape).ok()?;
        let predicted = expected.predicted(&lowered, device)?;
        cost.us += predicted.us;
        cost.waves.push(predicted.waves);
    }
    Some(cost)
}

/// A streamed variable's extent at the extents of a shape class.
pub fn expected_extent(plan: &FusedPlan, extent: ExprId, shape: &ShapeClass) -> Option<i64> {
    Expected::of(plan, shape)?.value(extent)
}

/// Expected extents of launches.
struct Expected<'a> {
    plan: &'a FusedPlan,
    /// One for each symbol.
    symbols: Vec<i64>,
}

impl Expected<'_> {
    /// The extents, if all are known and there are any.
    fn of<'a>(plan: &'a FusedPlan, shape: &ShapeClass) -> Option<Expected<'a>> {
        let symbols: Vec<i64> = shape.extents.iter().copied().collect::<Option<_>>()?;
        (!symbols.is_empty()).then_some(Expected { plan, symbols })
    }

    /// An int expression; scalars without a default count as half of the longest extent, as likely small as large.
    fn value(&self, expr: ExprId) -> Option<i64> {
        let cascade = &self.plan.cascade;
        match cascade.exprs.get(expr) {
            Expr::Int(n) => Some(*n),
            Expr::Extent(symbol) => self.symbols.get(symbol.index()).copied(),
            Expr::Scalar(scalar) => Some(self.scalar(scalar.index())),
            Expr::Map(op, args) => {
                let args: Vec<i64> = args.iter().map(|arg| self.value(*arg)).collect::<Option<_>>()?;
                int(*op, &args)
            }
            _ => None,
        }
    }

    fn scalar(&self, scalar: usize) -> i64 {
        let default = self.plan.cascade.scalars.get(scalar).and_then(|s| s.default);
        let longest = self.symbols.iter().copied().max().unwrap_or(1);
        default.map_or(longest / 2, |x| x as i64)
    }

    /// Bytes of the inputs and of what kernels leave each other; outputs are the same for all schedules and plans.
    fn bytes(&self, kernel: &LoweredKernel) -> f64 {
        let inputs = &self.plan.cascade.inputs;
        let one = |source: &TensorSource| match source {
            TensorSource::Input(i) => {
                let extents = inputs[*i].dims.iter().map(|d| self.value(d.extent).unwrap_or(1) as f64);
                extents.product::<f64>() * f64::from(dtype_bytes(inputs[*i].dtype))
            }
            TensorSource::Crossing(i) => {
                let dims = self.plan.crossings[*i].dims.iter();
                let extents = dims.map(|v| self.value(self.plan.cascade.vars[v.index()].extent).unwrap_or(1) as f64);
                extents.product::<f64>() * 4.0
            }
            TensorSource::Output(_) => 0.0,
        };
        kernel.tensors.iter().map(one).sum()
    }

    fn predicted(&self, kernel: &LoweredKernel, device: &Device) -> Option<Prediction> {
        let scalar = |source: &ScalarSource| match source {
            ScalarSource::Extent(expr) => self.value(*expr),
            ScalarSource::Scalar(scalar) => Some(self.scalar(scalar.index())),
        };
        let launch = Launch {
            scalars: kernel.scalars.iter().map(scalar).collect::<Option<_>>()?,
            tables: Vec::new(),
            bytes: self.bytes(kernel),
        };
        Some(predict(&kernel.program, &launch, device))
    }

    /// The fastest of several, with its microseconds; of equal ones, and where the model has no answer, the first.
    fn fastest(
        &self,
        of: Vec<(Schedule, LoweredKernel)>,
        machine: &MachineModel,
    ) -> Option<(f64, (Schedule, LoweredKernel))> {
        let device = Device::named("", machine.name);
        let timed = of
            .into_iter()
            .map(|one| (self.predicted(&one.1, device).map_or(f64::INFINITY, |p| p.us), one));
        timed.min_by(|(a, _), (b, _)| a.total_cmp(b))
    }
}
