//! The body of a sweep: references move, carries absorb a tile, emits are written.

use super::Lowerer;
use super::builder::Const;
use super::context::{Ctx, Group};
use super::contract::{Contraction, Factor, Term};
use super::error::{LowerError, Result};
use super::reference::Running;
use super::state::{Place, points};
use super::sweep::{CarryPlan, Layout, SweepPlan};
use crate::ir::{Elem, Type, ValueId};
use einloom_cascade::expr::{Expr, MapOp, ReduceOp};
use einloom_plan::ir::{Carry, Reference, Sweep};

impl Lowerer<'_> {
    /// One tile; `params` and the result list all references, then the values of all carries. `rescaled`: the carries hold something already.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it the state of the body at hand"
    )]
    pub(crate) fn body(
        &mut self,
        ctx: &mut Ctx,
        index: usize,
        sweep: &Sweep,
        plan: &SweepPlan,
        params: &[ValueId],
        tested: bool,
        rescaled: bool,
    ) -> Result<Vec<ValueId>> {
        let mut next = Vec::with_capacity(params.len());
        let mut running = Vec::with_capacity(sweep.references.len());
        for (at, reference) in sweep.references.iter().enumerate() {
            let (state, after) = self.move_reference(ctx, &plan.layout, reference, params[at], tested)?;
            running.push(state);
            next.push(after);
        }
        next.extend(self.absorb_all(ctx, index, sweep, plan, &running, params, tested, rescaled)?);
        for emit in &sweep.emits {
            self.emit_store(ctx, emit, tested)?;
        }
        Ok(next)
    }

    /// The carries after a tile, relative to `running`; `rescaled`: what they held is relative to the reference before.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it the state of the body at hand"
    )]
    pub(crate) fn absorb_all(
        &mut self,
        ctx: &mut Ctx,
        index: usize,
        sweep: &Sweep,
        plan: &SweepPlan,
        running: &[Running],
        params: &[ValueId],
        tested: bool,
        rescaled: bool,
    ) -> Result<Vec<ValueId>> {
        // Row sums come before dots: a dot then needs the 16-bit weights alone, not the weights beside them.
        let dots_last = |layout: &CarryPlan| layout.places.iter().any(|p| matches!(p, Place::Column(_)));
        let mut results = vec![Vec::new(); sweep.carries.len()];
        for pass in [false, true] {
            let mut at = sweep.references.len();
            for (number, (carry, layout)) in sweep.carries.iter().zip(&plan.carries).enumerate() {
                let params = &params[at..at + layout.slots];
                at += layout.slots;
                if dots_last(layout) == pass {
                    results[number] = self.absorb(
                        ctx, index, number, carry, plan, layout, running, params, tested, rescaled,
                    )?;
                }
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Where the points of a tile count: the conditions, and the stream's own end if columns are points.
    fn live(
        &mut self,
        ctx: &mut Ctx,
        conds: &[einloom_cascade::expr::ExprId],
        columns: bool,
        tested: bool,
    ) -> Result<Option<ValueId>> {
        let inside = match ctx.cols.clone().filter(|_| columns) {
            Some(cols) => self.inside(&cols, false),
            None => None,
        };
        let conds = if tested { self.conjunction(ctx, conds)? } else { None };
        Ok(self.b.and(conds, inside))
    }

    /// A reference that does not move with the tile.
    pub(crate) fn kept_reference(
        &mut self,
        ctx: &mut Ctx,
        layout: &Layout,
        reference: &Reference,
        value: ValueId,
        tested: bool,
    ) -> Result<Running> {
        let (scale, form, live_form) = self.reference_form(ctx, layout, reference, tested)?;
        Ok(Running {
            scale,
            form,
            live_form,
            conds: reference.conds.clone(),
            before: value,
            used: value,
        })
    }

    /// The constant of a reference's form, the rest of it, and this with -inf at points that do not count.
    fn reference_form(
        &mut self,
        ctx: &mut Ctx,
        layout: &Layout,
        reference: &Reference,
        tested: bool,
    ) -> Result<(f64, ValueId, ValueId)> {
        let columns = layout.reduces(&reference.inner);
        let mut own = self.bind_reference_dims(ctx, reference)?;
        let ctx = own.as_mut().unwrap_or(ctx);
        let (scale, form) = self.scaled(reference.form);
        self.near.exponent = self.near.weights;
        let form = self.eval(ctx, form);
        self.near.exponent = false;
        let form = form?;
        let mask = self.live(ctx, &reference.conds, columns, tested)?;
        let live_form = self.masked_by_test(form, mask, Const::Real(f64::NEG_INFINITY));
        Ok((scale, form, live_form))
    }

    pub(crate) fn move_reference(
        &mut self,
        ctx: &mut Ctx,
        layout: &Layout,
        reference: &Reference,
        before: ValueId,
        tested: bool,
    ) -> Result<(Running, ValueId)> {
        let columns = layout.reduces(&reference.inner);
        let (scale, form, live_form) = self.reference_form(ctx, layout, reference, tested)?;
        let top = if columns {
            let rows = self.row()?.axis;
            let tile = self.widen(live_form, Some(rows), Some(layout.cols.axis));
            self.b.row_reduce(ReduceOp::Max, tile, false)
        } else {
            live_form
        };
        let after = self.b.map(MapOp::Max, &[before, top]);
        let used = self.finite_reference(after);
        Ok((
            Running {
                scale,
                form,
                live_form,
                conds: reference.conds.clone(),
                before,
                used,
            },
            after,
        ))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it the state of the body at hand"
    )]
    fn absorb(
        &mut self,
        ctx: &mut Ctx,
        sweep: usize,
        number: usize,
        carry: &Carry,
        plan: &SweepPlan,
        layout: &CarryPlan,
        running: &[Running],
        params: &[ValueId],
        tested: bool,
        rescaled: bool,
    ) -> Result<Vec<ValueId>> {
        let columns = plan.layout.reduces(&carry.inner);
        let column = layout.places.iter().position(|p| matches!(p, Place::Column(_)));
        let rescale = match carry.weight {
            Some(_) if !rescaled => None,
            Some((r, k)) => Some(self.rescale(&running[r], k)),
            None => None,
        };
        let mut next = Vec::with_capacity(params.len());
        let alike = self.rounded_alike(sweep, number);
        for flat in 0..points(&layout.places) {
            let mut point = ctx.clone();
            let coordinates = Self::point(&layout.places, flat);
            let unrolled = carry
                .dims
                .iter()
                .zip(&layout.places)
                .filter(|(_, p)| matches!(p, Place::Unrolled(_)));
            for ((&dim, _), at) in unrolled.zip(coordinates) {
                let at = self.b.int(at);
                point = point.with(dim, at);
            }
            self.bind_row_dims(&mut point, carry, &layout.places)?;
            let mask = self.live(&mut point, &carry.conds, columns, tested)?;
            let weight = carry
                .weight
                .map(|(r, k)| self.weight(&running[r], k, &carry.conds, mask));
            let params = &params[flat as usize * layout.each..][..layout.each];
            let mut before = params[0];
            if matches!(carry.op, ReduceOp::ArgMax | ReduceOp::ArgMin) {
                next.extend(self.absorb_arg(&mut point, carry, &plan.layout, mask, params)?);
                continue;
            }
            if let Some(factor) = rescale.filter(|_| column.is_some() || carry.op != ReduceOp::Sum) {
                before = self.b.mul(before, factor);
            }
            next.push(match column {
                Some(at) => {
                    let rounds = self.rounds_carry(sweep, number);
                    self.absorb_dot(
                        &mut point,
                        carry,
                        &plan.layout,
                        (at, layout),
                        weight,
                        mask,
                        before,
                        rounds,
                    )?
                }
                None => {
                    let part = self.tile_part(&mut point, carry, &plan.layout, weight, mask, alike)?;
                    match rescale.filter(|_| carry.op == ReduceOp::Sum) {
                        Some(factor) => self.b.fma(before, factor, part),
                        None => self.b.combine(carry.op, before, part),
                    }
                }
            });
        }
        Ok(next)
    }

    /// Binds an accumulator dimension that lies on rows of its own.
    fn bind_row_dims(&mut self, ctx: &mut Ctx, carry: &Carry, places: &[Place]) -> Result<()> {
        let rows = self.row()?;
        for (&dim, place) in carry.dims.iter().zip(places) {
            if *place == Place::Row && !rows.has(dim) {
                let extent = self.plan.cascade.vars[dim.index()].extent;
                let group = Group {
                    vars: vec![(dim, extent)],
                    ..rows.clone()
                };
                self.bind(ctx, &group, true);
            }
        }
        Ok(())
    }

    /// What a tile adds to an accumulator of one value a row; `alike`: the type to which a dot rounds the same weights.
    fn tile_part(
        &mut self,
        ctx: &mut Ctx,
        carry: &Carry,
        layout: &Layout,
        weight: Option<ValueId>,
        mask: Option<ValueId>,
        alike: Option<Elem>,
    ) -> Result<ValueId> {
        let streamed = self.eval(ctx, carry.streamed)?;
        let value = match weight {
            Some(weight) => self.b.mul(weight, streamed),
            None => streamed,
        };
        let elem = self.b.ty(value).elem;
        let identity = self
            .b
            .identity(carry.op, elem)
            .ok_or_else(|| LowerError::unsupported("a streamed reduction", format!("{:?}", carry.op)))?;
        let plain = self.b.known(streamed).is_some();
        let value = if weight.is_some() && carry.op == ReduceOp::Sum && plain {
            value
        } else {
            self.masked_by_test(value, mask, identity)
        };
        let rows = self.row()?.axis;
        let reduces = layout.reduces(&carry.inner);
        let mut tile = self.widen(value, Some(rows), reduces.then_some(layout.cols.axis));
        if let Some(elem) = alike {
            tile = self.rounded(tile, elem);
        }
        if !reduces {
            return Ok(tile);
        }
        Ok(self.b.row_reduce(carry.op, tile, !self.by_chunks))
    }

    /// `acc + sum over columns of weight * streamed` for an accumulator with columns.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it the state of the body at hand"
    )]
    fn absorb_dot(
        &mut self,
        ctx: &mut Ctx,
        carry: &Carry,
        layout: &Layout,
        (at, places): (usize, &CarryPlan),
        weight: Option<ValueId>,
        mask: Option<ValueId>,
        before: ValueId,
        rounds: bool,
    ) -> Result<ValueId> {
        let mut term = Term::one();
        let mut over = layout.cols.clone();
        let mut left = ctx.clone();
        self.product(carry.streamed, &mut term);
        if !layout.reduces(&carry.inner) {
            over = self.merge_block_sum(&mut left, &over, &mut term)?.ok_or_else(|| {
                LowerError::unsupported(
                    "an accumulator with columns in a block stream",
                    format!("{} is no sum over the block", carry.name),
                )
            })?;
        }
        // A weight is 0 where its point does not count, which masks all factors that are finite there.
        let finite = term.factors.iter().all(|&f| self.is_finite(f));
        let mut tested = false;
        if weight.is_none() || !finite {
            // Both hold the test of the columns, the mask alone or among others.
            let mask = mask.filter(|&m| Some(m) != self.inside(&over, false));
            tested = mask.is_some() && layout.reduces(&carry.inner);
            term.masks.extend(mask);
        }
        if let Some(weight) = weight {
            term.factors.insert(0, Factor::Value(weight));
        }
        let Place::Column(axis) = places.places[at] else {
            return Err(LowerError::Bug("a dot without columns".to_owned()));
        };
        let extent = self.const_extent(carry.dims[at])?;
        let cols = self.local_group(axis, &[carry.dims[at]], extent);
        let rows = left
            .rows
            .clone()
            .ok_or_else(|| LowerError::Bug("a sweep without rows".to_owned()))?;
        let contraction = Contraction {
            rows: &rows,
            cols: &cols,
            over: &over,
            acc: Some(before),
            rounds,
            tested,
            conds: &carry.conds,
        };
        let mut result = left.clone();
        self.contract(&mut left, &mut result, &contraction, term)?
            .ok_or_else(|| {
                LowerError::unsupported(
                    "a streamed sum that is no product of a row part and a column part",
                    format!("carry {}", carry.name),
                )
            })
    }

    /// Takes the factors of a tile-local sum over the block into the product that is summed over it.
    fn merge_block_sum(&mut self, ctx: &mut Ctx, cols: &Group, term: &mut Term) -> Result<Option<Group>> {
        for at in 0..term.factors.len() {
            let Factor::Expr(id) = term.factors[at] else { continue };
            let Expr::Reduce(reduce) = self.exprs.get(id).clone() else {
                continue;
            };
            let total = reduce
                .vars
                .iter()
                .try_fold(1i64, |n, &v| self.const_extent(v).map(|e| n * e))?;
            if reduce.op != ReduceOp::Sum {
                continue;
            }
            let Some(group) = self.block_columns(ctx, &reduce, total) else {
                continue;
            };
            debug_assert_eq!(group.axis, cols.axis);
            self.bind(ctx, &group, false);
            term.factors.remove(at);
            self.product(reduce.body, term);
            let mask = self.conjunction(ctx, &reduce.conds)?;
            term.masks.extend(mask);
            return Ok(Some(group));
        }
        Ok(None)
    }

    /// The best value and its coordinate; an earlier coordinate wins ties, since tiles come in order.
    fn absorb_arg(
        &mut self,
        ctx: &mut Ctx,
        carry: &Carry,
        layout: &Layout,
        mask: Option<ValueId>,
        params: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        if !layout.flat || carry.weight.is_some() {
            return Err(LowerError::unsupported(
                "an argument of an extremum",
                "over blocks or relative to a reference",
            ));
        }
        let op = if carry.op == ReduceOp::ArgMax {
            ReduceOp::Max
        } else {
            ReduceOp::Min
        };
        let value = self.eval(ctx, carry.streamed)?;
        let elem = self.b.ty(value).elem;
        let identity = self
            .b
            .identity(op, elem)
            .ok_or_else(|| LowerError::unsupported("a streamed reduction", format!("{:?}", carry.op)))?;
        let value = self.masked_by_test(value, mask, identity);
        let rows = self.row()?.axis;
        let tile = self.widen(value, Some(rows), Some(layout.cols.axis));
        let best = self.b.row_reduce(op, tile, false);
        let flat = self.flat(&layout.cols, false);
        let (low, high) = if op == ReduceOp::Max {
            (best, tile)
        } else {
            (tile, best)
        };
        let reached = self.b.map(MapOp::Le, &[low, high]);
        let reached = self.b.and(Some(reached), mask).unwrap_or(reached);
        let nowhere = self.b.int(i64::from(i32::MAX));
        let at = self.b.select(reached, flat, nowhere);
        let at = self.widen(at, Some(rows), Some(layout.cols.axis));
        let at = self.b.row_reduce(ReduceOp::Min, at, false);
        let zero = self.b.int(0);
        let first = self.b.map(MapOp::Lt, &[params[1], zero]);
        let found = self.b.map(MapOp::Lt, &[at, nowhere]);
        let (low, high) = if op == ReduceOp::Max {
            (params[0], best)
        } else {
            (best, params[0])
        };
        let better = self.b.map(MapOp::Lt, &[low, high]);
        let wins = self.b.map(MapOp::Or, &[first, better]);
        let wins = self.b.map(MapOp::And, &[wins, found]);
        Ok(vec![
            self.b.select(wins, best, params[0]),
            self.b.select(wins, at, params[1]),
        ])
    }

    /// The initial value of an accumulator.
    pub(crate) fn initial(&mut self, carry: &Carry, ty: Type) -> Result<Const> {
        self.b
            .identity(carry.op, ty.elem)
            .ok_or_else(|| LowerError::unsupported("a streamed reduction", format!("{:?} of {}", carry.op, carry.name)))
    }
}
