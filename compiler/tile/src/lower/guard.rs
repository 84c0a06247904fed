//! Sweeps with a reference that stays: the maximum of the first tile, raised only where a weight would pass the guard.
//!
//! `exp(x - g) / sum exp(x - g)` does not depend on g, so a tile behind the first keeps g, and needs neither its own maximum nor a rescaled
//! accumulator. Where a weight grows beyond [`LIMIT`] (or the row has absorbed nothing yet, g = -inf), the tile is computed again
//! with a raised g, for the fragment of rows concerned ([`Stmt::Guard`]). Dots are issued behind the guard, on whichever operands came out of it.

use super::Lowerer;
use super::context::Ctx;
use super::error::{LowerError, Result};
use super::overlap::{Deferrable, chain};
use super::reference::Running;
use super::sweep::SweepPlan;
use crate::ir::{DotKind, LoopValue, Op, Operand, Stmt, ValueId};
use crate::schedule::Schedule;
use einloom_cascade::expr::{MapOp, ReduceOp};
use einloom_plan::ir::{FusedPlan, Policy, Sweep};

/// Largest sum of a lane's weights that passes: far below what f32 accumulators and bf16 operands hold.
const LIMIT: f64 = (1u64 << 40) as f64;

/// As [`LIMIT`], where weights are rounded to f16, whose largest number is 65504.
const LIMIT_F16: f64 = (1u64 << 15) as f64;

/// What a version of a body makes of a slot: the value before its last dots, and these.
struct Cut {
    base: ValueId,
    dots: Vec<Deferrable>,
}

/// Whether references of a sweep stay after the first tile: the schedule says so, and the spec does not ask for another policy.
pub(super) fn keeps_reference(plan: &FusedPlan, sweep: &Sweep, schedule: &Schedule) -> bool {
    let asked = plan.cascade.policies.iter().any(|p| p.key == "reference");
    let first = sweep.references.iter().all(|r| r.policy == Policy::First);
    let scheduled = schedule.specialised.is_some_and(|s| s.overlap && s.first_reference);
    !sweep.references.is_empty() && scheduled && (first || !asked)
}

impl Lowerer<'_> {
    /// Whether references stay after the first tile.
    pub(crate) fn keeps_reference(&self, sweep: &Sweep) -> bool {
        keeps_reference(self.plan, sweep, self.schedule)
    }

    /// One tile behind the first; `params` and the result as for [`Lowerer::body`].
    pub(crate) fn guarded_body(
        &mut self,
        ctx: &mut Ctx,
        index: usize,
        sweep: &Sweep,
        plan: &SweepPlan,
        params: &[ValueId],
        tested: bool,
    ) -> Result<Vec<ValueId>> {
        if !sweep.emits.is_empty() {
            return Err(LowerError::Schedule(
                "a kept reference in a sweep that writes results".to_owned(),
            ));
        }
        let mut running = Vec::new();
        for (at, reference) in sweep.references.iter().enumerate() {
            running.push(self.kept_reference(ctx, &plan.layout, reference, params[at], tested)?);
        }
        let mut fast = params[..sweep.references.len()].to_vec();
        fast.extend(self.absorb_all(ctx, index, sweep, plan, &running, params, tested, false)?);
        let cond = self.guard_condition(&running, sweep)?;
        let fast = self.cut(&fast)?;

        self.b.open();
        self.b.rare = Some(self.b.depth());
        let mut raised = Vec::new();
        let mut slow = Vec::new();
        for (at, reference) in sweep.references.iter().enumerate() {
            let (state, after) = self.move_reference(ctx, &plan.layout, reference, params[at], tested)?;
            raised.push(state);
            slow.push(after);
        }
        slow.extend(self.absorb_all(ctx, index, sweep, plan, &raised, params, tested, true)?);
        let slow = self.cut(&slow)?;
        self.b.rare = None;
        let body = self.b.close();
        if !body
            .iter()
            .all(|s| matches!(s, Stmt::Let(_, op) if !matches!(op, Op::Dot { .. })))
        {
            return Err(LowerError::Schedule(
                "a kept reference where raising it takes more than arithmetic in registers".to_owned(),
            ));
        }
        Ok(self.joined(cond, &fast, &slow, body))
    }

    /// Cuts the last dots off all slots of the version at hand.
    fn cut(&mut self, next: &[ValueId]) -> Result<Vec<Cut>> {
        let streamed = |b| self.rings.stages.contains_key(&b);
        let body = self.b.scope();
        let mut cuts = Vec::new();
        let mut removed = Vec::new();
        for &value in next {
            let dots = chain(body, value, &streamed);
            removed.extend(dots.iter().map(|d| d.id));
            cuts.push(Cut {
                base: dots.first().map_or(value, |d| d.acc),
                dots,
            });
        }
        self.b
            .retain(|s| !matches!(s, Stmt::Let(id, _) if removed.contains(id)));
        let late = |s: &Stmt| matches!(s, Stmt::Let(_, Op::Dot { acc: Some(_), .. }));
        if self.b.scope().iter().any(late) {
            return Err(LowerError::Schedule(
                "a kept reference beside accumulators whose dots are not the last thing of a tile".to_owned(),
            ));
        }
        Ok(cuts)
    }

    /// The guard between both versions, and the dots behind it.
    fn joined(&mut self, cond: ValueId, fast: &[Cut], slow: &[Cut], body: Vec<Stmt>) -> Vec<ValueId> {
        let mut carried = Vec::new();
        let mut join = |s: &mut Self, x: ValueId, y: ValueId| {
            if x == y {
                return x;
            }
            if let Some(known) = carried.iter().find(|c: &&LoopValue| c.init == x && c.next == y) {
                return known.result;
            }
            let ty = s.b.ty(x);
            let value = LoopValue {
                init: x,
                param: s.b.fresh(ty),
                next: y,
                result: s.b.fresh(ty),
            };
            carried.push(value);
            value.result
        };
        let mut joined = Vec::new();
        for (f, s) in fast.iter().zip(slow) {
            let base = join(self, f.base, s.base);
            let lefts: Vec<ValueId> = f
                .dots
                .iter()
                .zip(&s.dots)
                .map(|(a, b)| join(self, a.left, b.left))
                .collect();
            joined.push((base, lefts));
        }
        self.b.push(Stmt::Guard { cond, carried, body });
        let mut next = Vec::new();
        for ((mut acc, lefts), cut) in joined.into_iter().zip(fast) {
            for (dot, left) in cut.dots.iter().zip(lefts) {
                let id = self.b.fresh(self.b.ty(acc));
                let op = Op::Dot {
                    left: Operand::Register(left),
                    right: Operand::Shared(dot.right, Some(dot.stage)),
                    over: dot.over,
                    acc: Some(acc),
                    kind: DotKind::Matrix,
                };
                self.b.push(Stmt::Let(id, op));
                acc = id;
            }
            next.push(acc);
        }
        next
    }

    /// True where a weight is too large, or no number because nothing was absorbed.
    fn guard_condition(&mut self, running: &[Running], sweep: &Sweep) -> Result<ValueId> {
        let halves = |t: &crate::ir::Tensor| t.dtype == einloom_cascade::expr::DType::F16;
        let limit = if self.b.program.tensors.iter().any(halves) {
            LIMIT_F16
        } else {
            LIMIT
        };
        let mut weights = Vec::new();
        for carry in &sweep.carries {
            if let Some((r, k)) = carry.weight
                && !weights.contains(&(r, k))
            {
                weights.push((r, k));
            }
        }
        let mut cond = None;
        for (r, k) in weights {
            let conds = running[r].conds.clone();
            let weight = self.weight(&running[r], k, &conds, None);
            let sum = match self.b.ty(weight).cols {
                Some(_) => self.b.row_reduce(ReduceOp::Sum, weight, true),
                None => weight,
            };
            let limit = self.b.real(limit);
            let small = self.b.map(MapOp::Le, &[sum, limit]);
            let large = self.b.map(MapOp::Not, &[small]);
            cond = self.b.or(cond, Some(large));
        }
        cond.ok_or_else(|| LowerError::Schedule("a kept reference that no accumulator uses".to_owned()))
    }
}
