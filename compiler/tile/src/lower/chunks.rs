//! Chunks with a carried state (`einloom_plan::ir::Chunks`): a block walks the row tiles of its grid point in ascending order.
//!
//! ```text
//! for every row tile, with the state and the number of tiles that it holds:
//!     absorb into the state the untested tiles that it does not hold yet      (label `state`)
//!     start the row tile's accumulators from it: a dot with the row factor
//!     absorb the tested tiles directly, finish, store
//! ```
//!
//! The untested tiles of a row tile are those that all of its rows see whole; there are never fewer of them in a later row tile, because the bound
//! does not fall. What the rows share has no row axis of its own: an accumulator that a start contracts (`sum_e Q[p,e] St[e,f]`) has the contracted
//! rank on rows, whose axis is that of the contraction; one that it reads as it stands, and every reference, is held once for each row.
//!
//! Where the state leaves the tested tiles too few registers, its tiles are stored in shared memory as they are, in f32, and taken back behind them.

use super::Lowerer;
use super::builder::{Const, scalar};
use super::context::{Base, Ctx, Group};
use super::course::{Course, Part, Tiles, Visits};
use super::error::{LowerError, Result};
use super::facts::const_extent;
use super::precision::Near;
use super::roles::Rows;
use super::scalars::Scalars;
use super::state::{Place, State, points};
use super::sweep::{CarryPlan, SweepPlan};
use crate::ir::{BufferId, Elem, LoopValue, Op, Stmt, Type, ValueId};
use crate::schedule::ShapeClass;
use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp, VarId};
use einloom_plan::ir::{Carry, Chunks, FusedPlan, LeafDef, Sweep};
use std::collections::{BTreeMap, BTreeSet};

/// The shared state of the sweep at hand.
#[derive(Default)]
pub(crate) struct Shared {
    /// The state itself is being lowered: its carries are not those of the kernel's sweeps.
    pub(crate) inside: bool,
    /// Carries by their number, and references, as a row tile finds them.
    carries: BTreeMap<usize, (State, bool)>,
    references: BTreeMap<usize, ValueId>,
    /// Values that go from row tile to row tile: the first value, the name in a row tile, the value behind it.
    walk: Vec<(Const, ValueId, ValueId)>,
    /// Tiles of the state lie in shared memory while a row tile visits its own points.
    parks: bool,
    /// Such tiles by the names that they have in the next row tile.
    parked: Vec<(ValueId, BufferId)>,
}

impl Shared {
    pub(crate) fn new(parks: bool) -> Self {
        Shared {
            parks,
            ..Shared::default()
        }
    }
}

/// How a state's carries are held: those that a start contracts, by the contracted rank, and the others.
struct Split {
    contracted: Vec<usize>,
    plain: Vec<usize>,
    /// Extent of the contracted rank.
    extent: i64,
}

/// Whether kernel `index` is to be walked by chunks: the plan has them, they have a form in tiles, and the expected extents do not speak for direct
/// tiles. Else why not.
pub(crate) fn chosen(plan: &FusedPlan, index: usize, shape: &ShapeClass) -> std::result::Result<(), String> {
    let sweeps = plan.kernels.get(index).map_or(&[][..], |k| &k.sweeps);
    let Some(chunks) = sweeps.iter().find_map(|s| s.chunks.as_deref()) else {
        return Err("the plan has no chunks".to_owned());
    };
    if sweeps.len() > 1 {
        return Err("the kernel has several sweeps".to_owned());
    }
    if chunks.state.references.iter().any(|r| !r.dims.is_empty()) {
        return Err("the state has a reference for each point of a local rank".to_owned());
    }
    if split(plan, &plan.cascade.exprs, chunks).is_none() {
        return Err("the rows contract several ranks of the state".to_owned());
    }
    let extent = chunks.state.stream.first().map(|v| plan.cascade.vars[v.index()].extent);
    let expected = extent.and_then(|e| match plan.cascade.exprs.get(e) {
        Expr::Int(n) => Some(*n),
        Expr::Extent(s) => shape.extents.get(s.index()).copied().flatten(),
        _ => None,
    });
    match expected {
        Some(n) if (n.max(0) as u64) < chunks.pays_from => Err(format!(
            "all pairs of {n} streamed points cost less; chunks pay from {} on",
            chunks.pays_from
        )),
        _ => Ok(()),
    }
}

/// Sorts the carries of a state; `None` where two ranks are contracted.
fn split(plan: &FusedPlan, exprs: &Arena, chunks: &Chunks) -> Option<Split> {
    let mut over: BTreeMap<usize, BTreeSet<VarId>> = BTreeMap::new();
    for &start in &chunks.carries {
        contracted(plan, exprs, start, &[], &mut over);
    }
    let mut split = Split {
        contracted: Vec::new(),
        plain: Vec::new(),
        extent: 0,
    };
    for (at, carry) in chunks.state.carries.iter().enumerate() {
        let vars: Vec<VarId> = over.get(&at).into_iter().flatten().copied().collect();
        match vars[..] {
            [] => split.plain.push(at),
            [var] if carry.dims.first() == Some(&var) && carry.dims.len() <= 2 => {
                let extent = const_extent(exprs, &plan.cascade.vars, var)?;
                if split.extent != 0 && split.extent != extent {
                    return None;
                }
                split.extent = extent;
                split.contracted.push(at);
            }
            _ => return None,
        }
    }
    Some(split)
}

/// Which variables of which carry a start sums over.
fn contracted(
    plan: &FusedPlan,
    exprs: &Arena,
    id: ExprId,
    bound: &[VarId],
    over: &mut BTreeMap<usize, BTreeSet<VarId>>,
) {
    match exprs.get(id) {
        Expr::Reduce(r) => {
            let bound: Vec<VarId> = bound.iter().chain(&r.vars).copied().collect();
            contracted(plan, exprs, r.body, &bound, over);
        }
        Expr::Leaf(leaf, index) => {
            if let LeafDef::State { carry, .. } = plan.leaf(*leaf) {
                let vars = index.iter().filter_map(|i| match exprs.get(*i) {
                    Expr::Var(v) if bound.contains(v) => Some(*v),
                    _ => None,
                });
                over.entry(carry).or_default().extend(vars);
            }
        }
        _ => {
            for child in exprs.children(id) {
                contracted(plan, exprs, child, bound, over);
            }
        }
    }
}

/// A part of the state with its layout: a sweep of some of its carries.
struct Half {
    sweep: Sweep,
    plan: SweepPlan,
    slots: Vec<ValueId>,
    /// Their positions in the state.
    carries: Vec<usize>,
    contracted: bool,
}

impl Lowerer<'_> {
    /// Absorbs the untested tiles that the state does not hold yet. Gives the slots of the sweep's references and carries where its rows start, and
    /// the tiles that are left to them.
    pub(crate) fn start_from_state(
        &mut self,
        ctx: &Ctx,
        index: usize,
        sweep: &Sweep,
        plan: &SweepPlan,
        (slots, tiles): (&[ValueId], &[Tiles]),
    ) -> Result<(Vec<ValueId>, Visits)> {
        let chunks = sweep.chunks.as_deref().cloned();
        let chunks = chunks.ok_or_else(|| LowerError::Bug("a sweep without chunks".to_owned()))?;
        let unsupported = |what: &str| LowerError::unsupported("chunks with a carried state", what);
        let [tiles] = tiles else {
            return Err(unsupported("a domain of several ranges"));
        };
        let Some((from, to)) = tiles.full.filter(|(from, _)| *from == tiles.lo) else {
            return Err(unsupported("a domain whose first tiles are tested"));
        };
        if self.roles.rows != Rows::Group(vec![chunks.row]) || !plan.layout.flat {
            return Err(unsupported("rows of several ranks"));
        }
        let split = split(self.plan, &self.exprs, &chunks).ok_or_else(|| unsupported("two contracted ranks"))?;
        let held = self.carried(scalar(Elem::I32), Const::Int(0));
        let lo = self.b.map(MapOp::Max, &[held, from]);
        self.state_loop(ctx, index, &chunks, (plan, slots), &split, (lo, to))?;
        let behind = self.b.map(MapOp::Max, &[held, to]);
        self.carry_on(held, behind);
        // The same functions of the rows as in the tiles that follow, to the same bits, so that they are computed once.
        self.near = self.near(index);
        let starts = self.starts(ctx, &chunks, sweep, plan, slots);
        self.near = Near::default();
        let starts = starts?;
        let left = Tiles {
            lo: to,
            hi: tiles.hi,
            full: None,
        };
        Ok((starts, left.visits()))
    }

    /// A value that goes from row tile to row tile.
    fn carried(&mut self, ty: Type, first: Const) -> ValueId {
        let param = self.b.fresh_at(0, ty);
        self.shared.walk.push((first, param, param));
        param
    }

    fn carry_on(&mut self, param: ValueId, next: ValueId) {
        for entry in self.shared.walk.iter_mut().filter(|w| w.1 == param) {
            entry.2 = next;
        }
    }

    fn state_loop(
        &mut self,
        ctx: &Ctx,
        index: usize,
        chunks: &Chunks,
        (plan, own_slots): (&SweepPlan, &[ValueId]),
        split: &Split,
        (lo, hi): (ValueId, ValueId),
    ) -> Result<()> {
        self.operands.stream.clear();
        let mut halves = Vec::new();
        let own = self.rows_of(split)?;
        for (contracted, list) in [(true, &split.contracted), (false, &split.plain)] {
            if contracted && list.is_empty() {
                continue;
            }
            let weighed = list.iter().any(|&at| chunks.state.carries[at].weight.is_some());
            let carries: Vec<Carry> = list.iter().map(|&at| chunks.state.carries[at].clone()).collect();
            let references = match contracted && !weighed {
                true => Vec::new(),
                false => chunks.state.references.clone(),
            };
            let half = Sweep {
                stream: chunks.state.stream.clone(),
                references,
                carries,
                ..Sweep::default()
            };
            let before = self.enter(contracted.then_some(&own));
            let made = self.half(half, plan, list.clone(), contracted);
            self.leave(before);
            halves.push(made?);
        }
        let part = Part {
            lo,
            hi,
            tested: false,
            label: "state",
            course: Course::default(),
            tests: None,
        };
        let slots: Vec<ValueId> = halves.iter().flat_map(|h| h.slots.iter().copied()).collect();
        let beside = if self.shared.parks { &[] } else { own_slots };
        self.accumulators_fit(slots.iter().chain(beside))?;
        let draft = self.draft(
            ctx,
            index,
            &plan.layout,
            &slots,
            part,
            |lowerer, ctx, layout, params| {
                let mut at = 0;
                let mut next = Vec::new();
                for half in &halves {
                    let params = &params[at..at + half.slots.len()];
                    at += half.slots.len();
                    let mut ctx = ctx.clone();
                    let before = lowerer.enter(half.contracted.then_some(&own));
                    if half.contracted {
                        lowerer.bind(&mut ctx, &own, true);
                    }
                    let plan = SweepPlan {
                        layout: layout.clone(),
                        carries: half.plan.carries.clone(),
                    };
                    lowerer.shared.inside = true;
                    let made = lowerer.body(&mut ctx, index, &half.sweep, &plan, params, false, true);
                    lowerer.shared.inside = false;
                    lowerer.leave(before);
                    next.extend(made?);
                }
                Ok(next)
            },
        )?;
        let behind: Vec<ValueId> = draft.carried.iter().map(|c| c.result).collect();
        let visits = Tiles { lo, hi, full: None }.visits();
        self.assemble(vec![draft], &visits);
        let mut at = 0;
        for half in &halves {
            let own = &behind[at..at + half.slots.len()];
            for (&param, &next) in half.slots.iter().zip(own) {
                self.park(param, next)?;
            }
            self.keep(half, own);
            at += half.slots.len();
        }
        Ok(())
    }

    /// Hands a value on to the next row tile: a tile by shared memory, if the state is parked there.
    fn park(&mut self, param: ValueId, next: ValueId) -> Result<()> {
        let ty = self.b.ty(next);
        let (true, Elem::F32, Some(rows), Some(cols)) = (self.shared.parks, ty.elem, ty.rows, ty.cols) else {
            self.carry_on(param, next);
            return Ok(());
        };
        let buffer = self.b.buffer("state", rows, cols, Elem::F32, 1);
        self.b.push(Stmt::StoreShared {
            buffer,
            stage: None,
            value: next,
        });
        self.operands.pending = true;
        self.shared.parked.push((param, buffer));
        self.shared_fits()
    }

    /// Takes parked tiles back, at the end of a row tile.
    pub(crate) fn take_states(&mut self) {
        for (param, buffer) in std::mem::take(&mut self.shared.parked) {
            let ty = self.b.ty(param);
            let value = self.b.emit_at(0, Op::LoadShared { buffer, stage: None }, ty);
            self.carry_on(param, value);
        }
    }

    /// Records what the starts read.
    fn keep(&mut self, half: &Half, values: &[ValueId]) {
        let count = half.sweep.references.len();
        if !half.contracted {
            for (at, reference) in half.sweep.references.iter().enumerate() {
                let (scale, _) = self.scaled(reference.form);
                let scale = self.b.real(scale);
                let value = self.b.mul(values[at], scale);
                self.shared.references.insert(at, value);
            }
        }
        let mut at = count;
        for (number, placed) in half.carries.iter().zip(&half.plan.carries) {
            let state = State {
                places: placed.places.clone(),
                values: values[at..at + placed.slots].to_vec(),
            };
            at += placed.slots;
            self.shared.carries.insert(*number, (state, half.contracted));
        }
    }

    /// The slots of some carries of the state, which come from the row tile before.
    fn half(&mut self, sweep: Sweep, plan: &SweepPlan, carries: Vec<usize>, contracted: bool) -> Result<Half> {
        let rows = self.row()?.axis;
        let mut firsts = Vec::new();
        for _ in &sweep.references {
            let ty = Type {
                rows: Some(rows),
                ..scalar(Elem::F32)
            };
            firsts.push(self.carried(ty, Const::Real(f64::NEG_INFINITY)));
        }
        let mut plans = Vec::new();
        for carry in &sweep.carries {
            let places = self.places(&sweep, carry)?;
            let ty = self.state_type(carry, &places, false)?;
            let first = self.initial(carry, ty)?;
            let slots = points(&places) as usize;
            for _ in 0..slots {
                firsts.push(self.carried(ty, first));
            }
            plans.push(CarryPlan { places, each: 1, slots });
        }
        self.check_reference_dims(&sweep, &plans)?;
        Ok(Half {
            sweep,
            plan: SweepPlan {
                layout: plan.layout.clone(),
                carries: plans,
            },
            slots: firsts,
            carries,
            contracted,
        })
    }

    /// Lays the contracted rank on rows, until [`Lowerer::leave`].
    fn enter(&mut self, own: Option<&Group>) -> Option<(Rows, Option<Group>)> {
        let own = own?;
        let extent = self.b.known_int(own.bound?)?;
        let rows = std::mem::replace(&mut self.roles.rows, Rows::Dim(extent));
        Some((rows, self.rows.replace(own.clone())))
    }

    fn leave(&mut self, before: Option<(Rows, Option<Group>)>) {
        if let Some((rows, group)) = before {
            self.roles.rows = rows;
            self.rows = group;
        }
    }

    /// The rows of contracted carries: the axis over which the starts sum.
    fn rows_of(&mut self, split: &Split) -> Result<Group> {
        let step = 16 * self.schedule.warps;
        let extent = split.extent.max(1);
        let axis = self.local_axis("k", extent)?;
        if !split.contracted.is_empty() && !self.b.axis_size(axis).is_multiple_of(step) {
            return Err(LowerError::Schedule(format!(
                "a carried state of {extent} rows needs a multiple of 16 * warps = {step}"
            )));
        }
        let bound = self.b.int(extent);
        Ok(Group {
            axis,
            base: Base::Zero,
            vars: Vec::new(),
            bound: Some(bound),
            tested: i64::from(self.b.axis_size(axis)) != extent,
        })
    }

    /// The slots of a sweep at the beginning of a row tile.
    fn starts(
        &mut self,
        ctx: &Ctx,
        chunks: &Chunks,
        sweep: &Sweep,
        plan: &SweepPlan,
        slots: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        let mut starts = Vec::new();
        for (reference, &start) in sweep.references.iter().zip(&chunks.references) {
            let value = self.eval(&mut ctx.clone(), start)?;
            let (scale, _) = self.scaled(reference.form);
            let scale = self.b.real(1.0 / scale);
            starts.push(self.b.mul(value, scale));
        }
        for ((carry, placed), &start) in sweep.carries.iter().zip(&plan.carries).zip(&chunks.carries) {
            for flat in 0..points(&placed.places) {
                let mut point = ctx.clone();
                let mut coordinates = Self::point(&placed.places, flat).into_iter();
                for (&dim, place) in carry.dims.iter().zip(&placed.places) {
                    match place {
                        Place::Unrolled(_) => {
                            let at = self.b.int(coordinates.next().unwrap_or(0));
                            point = point.with(dim, at);
                        }
                        Place::Column(axis) => {
                            let extent = self.const_extent(dim)?;
                            let cols = self.local_group(*axis, &[dim], extent);
                            self.bind(&mut point, &cols, false);
                        }
                        Place::Row => {}
                    }
                }
                starts.push(self.eval(&mut point, start)?);
            }
        }
        let shaped = starts.into_iter().zip(slots).map(|(value, &slot)| {
            let ty = self.b.ty(slot);
            self.widen(value, ty.rows, ty.cols)
        });
        Ok(shaped.collect())
    }

    /// A carry or a reference of the shared state.
    pub(crate) fn shared_leaf(&mut self, ctx: &mut Ctx, def: LeafDef, index: &[ExprId]) -> Result<ValueId> {
        let missing = || LowerError::Bug("a shared state is read outside of its sweep".to_owned());
        match def {
            LeafDef::StateReference { reference, .. } => {
                self.shared.references.get(&reference).copied().ok_or_else(missing)
            }
            LeafDef::State { carry, .. } => {
                let (state, contracted) = self.shared.carries.get(&carry).cloned().ok_or_else(missing)?;
                if contracted {
                    let at = self.eval(ctx, index[0])?;
                    let rows = state.values.first().and_then(|&v| self.b.ty(v).rows);
                    let own = rows.map(|axis| self.b.lane(axis, true));
                    if own != Some(at) {
                        return Err(LowerError::unsupported(
                            "a carried state outside of a contraction",
                            "its row factor is no operand of a dot",
                        ));
                    }
                }
                self.read_state(ctx, &state, index)
            }
            _ => Err(missing()),
        }
    }

    /// Whether an expression reads the shared state.
    pub(crate) fn reads_shared(&self, id: ExprId) -> bool {
        self.leaves_of(id)
            .iter()
            .any(|leaf| matches!(leaf, LeafDef::State { .. }))
    }

    /// Wraps the finished body of the outermost scope in the walk over row tiles, which then are no grid dimension.
    pub(crate) fn walk_row_tiles(&mut self) {
        let Some(tiles) = self.b.program.grid.pop() else { return };
        let dim = self.b.program.grid.len();
        let mut outer = Scalars::default();
        self.b.program.grid.push(tiles);
        let extents = outer.extents(&mut self.b);
        self.b.program.grid.pop();
        let (Some(&hi), zero) = (extents.last(), outer.int(&mut self.b, 0)) else {
            return;
        };
        let mut var = None;
        let mut body: Vec<Stmt> = Vec::new();
        for stmt in std::mem::take(&mut self.b.program.body) {
            match stmt {
                Stmt::Let(id, Op::Grid(at)) if at == dim => var = Some(id),
                other => body.push(other),
            }
        }
        // The next row tile writes the shared memory that this one reads.
        body.push(Stmt::Barrier);
        let var = var.unwrap_or_else(|| self.b.fresh_at(0, scalar(Elem::I32)));
        let mut stmts = outer.0;
        let mut carried = Vec::new();
        for (first, param, next) in std::mem::take(&mut self.shared.walk) {
            let ty = self.b.ty(param);
            let init = self.b.fresh_at(0, ty);
            let op = match first {
                Const::Real(x) => Op::Real(x),
                Const::Int(x) => Op::Int(x),
                Const::Bool(x) => Op::Int(i64::from(x)),
            };
            stmts.push(Stmt::Let(init, op));
            let result = self.b.fresh_at(0, ty);
            carried.push(LoopValue {
                init,
                param,
                next,
                result,
            });
        }
        stmts.push(Stmt::For {
            var,
            lo: zero,
            hi,
            carried,
            body,
            label: "chunks".to_owned(),
        });
        self.b.program.body = stmts;
    }
}
