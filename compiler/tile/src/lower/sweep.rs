//! Sweeps: a loop over tiles of the streamed points, in up to three parts that share one pipeline.

use super::Lowerer;
use super::builder::{Const, scalar};
use super::context::{Base, Ctx, Group, TILE};
use super::course::{FIRST, Part};
use super::error::{LowerError, Result};
use super::facts::const_extent;
use super::index::ix;
use super::pipeline::Draft;
use super::precision::Near;
use super::state::{Place, State, points};
use crate::ir::{Elem, Ix, LoopValue, Stmt, Type, ValueId};
use einloom_cascade::expr::{Expr, ExprId, MapOp, ReduceOp, VarId};
use einloom_plan::ir::{Carry, Sweep};
use std::collections::BTreeSet;

/// How the streamed points of a sweep are cut into tiles.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Columns. Flat: streamed and inner variables row-major. Block: the inner variables of one block.
    pub(crate) cols: Group,
    pub(crate) flat: bool,
    pub(crate) stream: Vec<(VarId, ExprId)>,
    /// Streamed points of a tile in the units of the projection.
    pub(crate) width: i64,
    /// Constant extent of the inner variables (1 if there are none).
    pub(crate) inner: i64,
}

impl Layout {
    /// Whether the columns of a tile are points of a reduction with these inner variables.
    pub(crate) fn reduces(&self, inner: &[VarId]) -> bool {
        self.flat || !inner.is_empty()
    }
}

/// Where a carry's accumulator lies.
#[derive(Clone, Debug)]
pub(crate) struct CarryPlan {
    pub(crate) places: Vec<Place>,
    /// Values of a point: 2 for arguments of extrema.
    pub(crate) each: usize,
    pub(crate) slots: usize,
}

/// Everything that is fixed before a sweep's bodies are written.
pub(crate) struct SweepPlan {
    pub(crate) layout: Layout,
    pub(crate) carries: Vec<CarryPlan>,
}

impl Lowerer<'_> {
    pub(crate) fn const_extent(&self, var: VarId) -> Result<i64> {
        const_extent(&self.exprs, &self.plan.cascade.vars, var)
            .ok_or_else(|| LowerError::unsupported("a local rank of run-time extent", self.var_name(var)))
    }

    /// Lowers one sweep and leaves its finished state.
    pub(crate) fn sweep(&mut self, ctx: &Ctx, index: usize) -> Result<()> {
        let sweep = self.kernel.sweeps[index].clone();
        if sweep.carries.is_empty() && sweep.references.is_empty() && sweep.emits.is_empty() {
            return Ok(());
        }
        let layout = self.layout(&sweep)?;
        let tiles = self.tiles(ctx, &sweep, &layout)?;
        let mut plan = SweepPlan {
            layout,
            carries: Vec::new(),
        };
        let mut slots = Vec::new();
        for _ in &sweep.references {
            let ty = Type {
                rows: Some(self.row()?.axis),
                ..scalar(Elem::F32)
            };
            slots.push(self.b.splat(Const::Real(f64::NEG_INFINITY), ty));
        }
        for carry in &sweep.carries {
            let placed = self.carry_plan(&sweep, carry, &plan.layout, &mut slots)?;
            plan.carries.push(placed);
        }
        self.accumulators_fit(&slots)?;
        self.check_reference_dims(&sweep, &plan.carries)?;
        self.operands.stream.clear();
        let mut drafts = Vec::new();
        let mut visits = self.visits(&tiles, sweep.carries.iter().any(|c| c.ordered));
        if self.overlaps() {
            self.first_apart(&mut visits, !plan.layout.flat && plan.layout.cols.tested);
        }
        if self.by_chunks {
            (slots, visits) = self.start_from_state(ctx, index, &sweep, &plan, (&slots, &tiles))?;
            self.operands.stream.clear();
        }
        let initial = slots.clone();
        for part in std::mem::take(&mut visits.parts) {
            let draft = self.segment(ctx, index, &sweep, &plan, (&slots, &initial), part)?;
            slots = draft.carried.iter().map(|c| c.result).collect();
            drafts.push(draft);
        }
        if self.schedule.specialised.is_some() {
            self.assemble_rings(drafts, &visits)?;
        } else {
            self.assemble(drafts, &visits);
        }
        self.finish(index, &sweep, &plan, &slots);
        Ok(())
    }

    /// Chooses flat or block tiles (module doc of [`Layout`]).
    fn layout(&mut self, sweep: &Sweep) -> Result<Layout> {
        let extent = |s: &Self, v: VarId| (v, s.plan.cascade.vars[v.index()].extent);
        let lists: Vec<&Vec<VarId>> = sweep
            .carries
            .iter()
            .map(|c| &c.inner)
            .chain(sweep.references.iter().map(|r| &r.inner))
            .collect();
        let widest: Vec<VarId> = lists
            .iter()
            .max_by_key(|l| l.len())
            .map(|l| l.to_vec())
            .unwrap_or_default();
        let uniform = lists.iter().all(|l| l.len() == widest.len());
        let mut inner = 1i64;
        for &var in &widest {
            inner = inner.saturating_mul(self.const_extent(var)?);
        }
        let stream: Vec<_> = sweep.stream.iter().map(|&v| extent(self, v)).collect();
        let local = self.block_reductions(sweep);
        if uniform && local.is_empty() {
            let vars: Vec<_> = stream
                .iter()
                .copied()
                .chain(widest.iter().map(|&v| extent(self, v)))
                .collect();
            let width = i64::from(self.schedule.cols);
            let axis = self.local_axis("cols", width)?;
            let mut bound = self.b.int(1);
            for &(_, e) in &vars {
                let e = self.uniform(e);
                bound = self.b.mul(bound, e);
            }
            // The value is replaced by that of each loop.
            let base = Base::Tile { value: TILE, width };
            let cols = Group {
                axis,
                base,
                vars,
                bound: Some(bound),
                tested: true,
            };
            return Ok(Layout {
                cols,
                flat: true,
                stream,
                width,
                inner,
            });
        }
        let vars = if widest.is_empty() { local.clone() } else { widest };
        inner = 1;
        for &var in &vars {
            inner = inner.saturating_mul(self.const_extent(var)?);
        }
        let axis = self.local_axis("block", inner)?;
        let cols = self.local_group(axis, &vars, inner);
        Ok(Layout {
            cols,
            flat: false,
            stream,
            width: 1,
            inner,
        })
    }

    /// Variables that tile-local reductions bind along the stream's blocks; the first reduction's, if any.
    fn block_reductions(&mut self, sweep: &Sweep) -> Vec<VarId> {
        let mut open: Vec<ExprId> = sweep.references.iter().map(|r| r.form).collect();
        open.extend(sweep.carries.iter().map(|c| c.streamed));
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Expr::Reduce(r) = self.exprs.get(id)
                && r.vars.iter().all(|&v| self.is_block_var_of(sweep, v))
            {
                return r.vars.clone();
            }
            open.extend(self.exprs.children(id));
        }
        Vec::new()
    }

    /// Whether a local variable runs along the blocks of some sweep of the kernel.
    pub(crate) fn is_block_var(&self, var: VarId) -> bool {
        self.kernel.sweeps.iter().any(|s| self.is_block_var_of(s, var))
    }

    /// A local variable runs along the stream's blocks if it is used beside a streamed variable in one index
    /// (`c * I + i`), or names the same rank as an inner variable.
    fn is_block_var_of(&self, sweep: &Sweep, var: VarId) -> bool {
        let base = |v: VarId| {
            self.var_name(v)
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .trim_end_matches('_')
                .to_owned()
        };
        let name = base(var);
        let inner = sweep
            .carries
            .iter()
            .flat_map(|c| &c.inner)
            .chain(sweep.references.iter().flat_map(|r| &r.inner));
        if inner.copied().any(|i| i == var || base(i) == name) {
            return true;
        }
        let streamed = |v: VarId| sweep.stream.contains(&v);
        self.plan.cascade.composites.iter().any(|c| {
            let atom = |v: VarId| c.atoms.iter().any(|a| *a == self.var_name(v) || *a == base(v));
            atom(var) && sweep.stream.iter().copied().filter(|&s| streamed(s)).any(atom)
        })
    }

    fn carry_plan(
        &mut self,
        sweep: &Sweep,
        carry: &Carry,
        layout: &Layout,
        slots: &mut Vec<ValueId>,
    ) -> Result<CarryPlan> {
        let places = self.places(sweep, carry)?;
        let arg = matches!(carry.op, ReduceOp::ArgMax | ReduceOp::ArgMin);
        let partial = layout.reduces(&carry.inner) && !arg && !self.by_chunks;
        let ty = self.state_type(carry, &places, partial)?;
        let start_slots = slots.len();
        for _ in 0..points(&places) {
            if arg {
                let elem = match einloom_plan::kinds::kind(self.plan, &self.exprs, carry.streamed) {
                    einloom_cascade::expr::Kind::Real => Elem::F32,
                    _ => Elem::I32,
                };
                let op = if carry.op == ReduceOp::ArgMax {
                    ReduceOp::Max
                } else {
                    ReduceOp::Min
                };
                let best = Type { elem, ..ty };
                let worst = self.b.identity(op, elem).unwrap_or(Const::Int(0));
                slots.push(self.b.splat(worst, best));
                slots.push(self.b.splat(Const::Int(-1), ty));
            } else {
                let start = self.initial(carry, ty)?;
                slots.push(self.b.splat(start, ty));
            }
        }
        let each = if arg { 2 } else { 1 };
        Ok(CarryPlan {
            slots: slots.len() - start_slots,
            places,
            each,
        })
    }

    /// One part of the loop.
    fn segment(
        &mut self,
        ctx: &Ctx,
        index: usize,
        sweep: &Sweep,
        plan: &SweepPlan,
        (slots, initial): (&[ValueId], &[ValueId]),
        part: Part,
    ) -> Result<Draft> {
        let (tested, label, tests) = (part.tested, part.label, part.tests);
        let carries = plan.carries.clone();
        self.tests.clear();
        let mut draft = self.draft(ctx, index, &plan.layout, slots, part, |lowerer, ctx, layout, params| {
            let plan = SweepPlan {
                layout: layout.clone(),
                carries,
            };
            // The first tile meets the initial state itself, which is known, and has nothing to rescale.
            if label == FIRST {
                lowerer.body(ctx, index, sweep, &plan, initial, tested, false)
            } else if lowerer.keeps_reference(sweep) {
                lowerer.guarded_body(ctx, index, sweep, &plan, params, tested)
            } else {
                lowerer.body(ctx, index, sweep, &plan, params, tested, true)
            }
        })?;
        if let Some(needed) = tests {
            draft.body = self.skip_tests(std::mem::take(&mut draft.body), needed);
        }
        Ok(draft)
    }

    /// One part of the loop, whose body `write` makes of the values that it begins with.
    pub(crate) fn draft(
        &mut self,
        ctx: &Ctx,
        index: usize,
        layout: &Layout,
        slots: &[ValueId],
        part: Part,
        write: impl FnOnce(&mut Self, &mut Ctx, &Layout, &[ValueId]) -> Result<Vec<ValueId>>,
    ) -> Result<Draft> {
        let Part {
            lo,
            hi,
            tested,
            label,
            course,
            ..
        } = part;
        self.b.open();
        self.operands.begin_body();
        self.rings.stages.clear();
        let step = self.b.fresh(scalar(Elem::I32));
        let tile = self.tile_at(&course, step);
        let uniform = self.schedule.specialised.is_none();
        self.operands.stage = (uniform && self.schedule.stages > 1).then(|| {
            let stages = self.b.int(i64::from(self.schedule.stages));
            self.b.map(MapOp::IMod, &[step, stages])
        });
        let params: Vec<ValueId> = slots.iter().map(|&s| self.b.fresh(self.b.ty(s))).collect();
        let mut ctx = ctx.clone();
        let layout = self.layout_at(&mut ctx, layout, tile, tested);
        self.near = self.near(index);
        let next = write(self, &mut ctx, &layout, &params)?;
        self.near = Near::default();
        let barriers = self.operands.body_stores;
        let body = self.b.close();
        let carried = slots
            .iter()
            .zip(&params)
            .zip(&next)
            .map(|((&init, &param), &next)| LoopValue {
                init,
                param,
                next,
                result: self.b.fresh(self.b.ty(init)),
            })
            .collect();
        Ok(Draft {
            step,
            course,
            lo,
            hi,
            carried,
            body,
            barriers,
            stages: std::mem::take(&mut self.rings.stages),
            label: format!("{label}{index}"),
        })
    }

    /// The layout with the values of one iteration, bound in `ctx`.
    fn layout_at(&mut self, ctx: &mut Ctx, layout: &Layout, tile: ValueId, tested: bool) -> Layout {
        let mut layout = layout.clone();
        if layout.flat {
            let value = self.b.mul_int(tile, layout.width);
            layout.cols.base = Base::Tile {
                value,
                width: layout.width,
            };
            layout.cols.tested = tested;
        } else {
            ctx.block = true;
            let (mut rest, mut rest_ix) = (tile, Ix::Value(TILE));
            for (at, &(var, extent)) in layout.stream.iter().enumerate().rev() {
                let extent = self.uniform(extent);
                let extent_ix = self.b.known_int(extent).map_or(Ix::Value(extent), Ix::Const);
                let (value, index) = if at == 0 {
                    (rest, rest_ix.clone())
                } else {
                    (
                        self.b.map(MapOp::IMod, &[rest, extent]),
                        ix(MapOp::IMod, rest_ix.clone(), extent_ix.clone()),
                    )
                };
                ctx.env.insert(var, value);
                ctx.stream.insert(var, index);
                rest = self.b.map(MapOp::IDiv, &[rest, extent]);
                rest_ix = ix(MapOp::IDiv, rest_ix, extent_ix);
            }
        }
        let cols = layout.cols.clone();
        self.bind(ctx, &cols, false);
        layout
    }

    /// Completes partial sums and records what leaves of this sweep read.
    fn finish(&mut self, index: usize, sweep: &Sweep, plan: &SweepPlan, slots: &[ValueId]) {
        for (at, reference) in sweep.references.iter().enumerate() {
            let (scale, _) = self.scaled(reference.form);
            let scale = self.b.real(scale);
            let value = self.b.mul(slots[at], scale);
            self.references.insert((index, at), value);
        }
        let mut at = sweep.references.len();
        for (number, (carry, layout)) in sweep.carries.iter().zip(&plan.carries).enumerate() {
            let slots = &slots[at..at + layout.slots];
            at += layout.slots;
            let values = slots
                .chunks(layout.each)
                .map(|c| c.last().copied().unwrap_or(TILE))
                .map(|v| self.b.quad_reduce(carry.op, v))
                .collect();
            self.states.insert(
                (index, number),
                State {
                    places: layout.places.clone(),
                    values,
                },
            );
        }
    }
}

/// A loop of the program.
pub(crate) fn for_loop(draft: Draft, body: Vec<Stmt>) -> Stmt {
    Stmt::For {
        var: draft.step,
        lo: draft.lo,
        hi: draft.hi,
        carried: draft.carried,
        body,
        label: draft.label,
    }
}
