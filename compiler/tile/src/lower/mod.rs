//! `FusedPlan` to `TileProgram`: one kernel, vectorised by the free variables of its expressions.
//!
//! Every expression of a plan is a scalar expression over variables. The lowering chooses which variables are rows and
//! which are columns ([`roles`]); an expression then has the shape of its variables, computed as late and as small as
//! possible ([`eval`]). Sums of products over local variables and over streamed columns become dots ([`contract`]); other
//! reductions become row reductions ([`reduce`]). A sweep is a software pipeline over tiles of its streamed points
//! ([`sweep`], [`pipeline`]), cut into tested and untested parts by the projected domains ([`range`]).

mod absorb;
mod alignment;
mod arrange;
mod balance;
mod builder;
mod chunks;
mod context;
mod contract;
mod course;
pub(crate) mod dead;
mod default;
mod error;
mod eval;
mod facts;
mod fold;
mod guard;
mod index;
mod limits;
mod operand;
mod overlap;
mod passage;
mod persist;
mod pipeline;
mod precision;
mod range;
mod reduce;
mod reference;
mod rings;
mod roles;
mod scalars;
mod search;
mod skip_tests;
mod state;
mod store;
mod sweep;
mod synchronise;

pub(crate) use builder::arguments;
pub use default::{Cost, default_schedule, expected_cost, expected_extent, lower_by_default};
pub use error::LowerError;

use crate::ir::{AxisId, GridDim, Op, ScalarParam, Tensor, TensorId, ValueId};
use crate::lowered::{LoweredKernel, ScalarSource, TensorSource};
use crate::machine::MachineModel;
use crate::schedule::{Schedule, ShapeClass};
use builder::{Builder, scalar};
use context::{Base, Ctx, Group};
use einloom_cascade::expr::{Arena, DType, ExprId, Kind, MapOp, VarId};
use einloom_plan::ir::{FusedPlan, Kernel};
use error::Result;
use facts::FreeVars;
use roles::{Roles, Rows};
use std::collections::{BTreeMap, BTreeSet};

/// A tensor of the kernel.
pub(crate) type TensorKey = TensorSource;

/// Lowers kernel `kernel` of `plan` to tiles: by chunks where the plan has them and their form fits, else directly.
///
/// # Errors
/// A construct without a tile form, or a schedule that does not fit the kernel or the machine.
pub fn lower(
    plan: &FusedPlan,
    kernel: usize,
    schedule: &Schedule,
    machine: &MachineModel,
    shape: &ShapeClass,
) -> std::result::Result<LoweredKernel, LowerError> {
    lower_either(plan, kernel, schedule, machine, shape, false)
}

/// As [`lower`]; `early`: for searches among many schedules (see [`Form`]).
fn lower_either(
    plan: &FusedPlan,
    kernel: usize,
    schedule: &Schedule,
    machine: &MachineModel,
    shape: &ShapeClass,
    early: bool,
) -> Result<LoweredKernel> {
    if chunks::chosen(plan, kernel, shape).is_ok()
        && let Ok(lowered) = lower_chunks(plan, kernel, schedule, machine, shape, early)
    {
        return Ok(lowered);
    }
    let form = Form {
        early,
        ..Form::default()
    };
    lower_as(plan, kernel, schedule, machine, shape, form)
}

/// By chunks, with the carried state in registers if it fits there beside a row tile, else in shared memory meanwhile.
fn lower_chunks(
    plan: &FusedPlan,
    kernel: usize,
    schedule: &Schedule,
    machine: &MachineModel,
    shape: &ShapeClass,
    early: bool,
) -> Result<LoweredKernel> {
    let lowered = |parks| {
        let form = Form {
            by_chunks: true,
            parks,
            early,
        };
        lower_as(plan, kernel, schedule, machine, shape, form)
    };
    lowered(false).or_else(|error| lowered(true).map_err(|_| error))
}

/// How a kernel is lowered.
#[derive(Clone, Copy, Default)]
struct Form {
    by_chunks: bool,
    /// The carried state lies in shared memory while a row tile visits its own points.
    parks: bool,
    /// Gives up before any tile is written if the accumulators alone do not fit: the same schedules are refused, earlier, with another number.
    early: bool,
}

fn lower_as(
    plan: &FusedPlan,
    kernel: usize,
    schedule: &Schedule,
    machine: &MachineModel,
    shape: &ShapeClass,
    form: Form,
) -> std::result::Result<LoweredKernel, LowerError> {
    let limits = form.early.then_some(machine);
    let (mut lowered, boxes) = build(plan, kernel, schedule, shape, (form, limits))?;
    passage::add(&mut lowered.program, &boxes, machine);
    crate::schedule::validate_as(&lowered.program, machine, form.by_chunks)?;
    Ok(lowered)
}

/// How [`lower`] takes a kernel whose plan has chunks with a carried state: by them, or visiting every pair, and then why. `None`: the plan has none.
pub fn chunks(
    plan: &FusedPlan,
    kernel: usize,
    schedule: &Schedule,
    machine: &MachineModel,
    shape: &ShapeClass,
) -> Option<std::result::Result<(), String>> {
    let has = plan.kernels.get(kernel)?.sweeps.iter().any(|s| s.chunks.is_some());
    has.then(|| {
        chunks::chosen(plan, kernel, shape)?;
        let lowered = lower_chunks(plan, kernel, schedule, machine, shape, false);
        lowered.map(|_| ()).map_err(|error| error.to_string())
    })
}

/// A schedule as a kernel follows it: without a kept reference where the spec asks for another policy, or no exponential needs one.
pub fn followed(plan: &FusedPlan, kernel: usize, schedule: &Schedule) -> Schedule {
    let sweeps = plan.kernels.get(kernel).map_or(&[][..], |k| &k.sweeps);
    let kept = sweeps.iter().any(|s| guard::keeps_reference(plan, s, schedule));
    let mut followed = schedule.clone();
    if let Some(specialised) = &mut followed.specialised {
        specialised.first_reference &= kept;
    }
    followed
}

/// Name of a kernel in generated code: letters, digits and `_` only, and unlike that of every other kernel of the plan.
fn entry_name(plan: &FusedPlan, index: usize) -> String {
    let clean = |kernel: &Kernel| {
        let name: String = kernel
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name
        } else {
            format!("k_{name}")
        }
    };
    let name = clean(&plan.kernels[index]);
    let taken = plan
        .kernels
        .iter()
        .enumerate()
        .any(|(i, k)| i != index && clean(k) == name);
    if taken { format!("{name}_{index}") } else { name }
}

/// As [`lower`], without checking the program against a machine: for programs that only the interpreter runs.
///
/// # Errors
/// A construct without a tile form, or a schedule that does not fit the kernel.
pub fn lower_unchecked(
    plan: &FusedPlan,
    kernel: usize,
    schedule: &Schedule,
    shape: &ShapeClass,
) -> std::result::Result<LoweredKernel, LowerError> {
    let by_chunks = Form {
        by_chunks: true,
        ..Form::default()
    };
    if chunks::chosen(plan, kernel, shape).is_ok()
        && let Ok((lowered, _)) = build(plan, kernel, schedule, shape, (by_chunks, None))
    {
        return Ok(lowered);
    }
    build(plan, kernel, schedule, shape, (Form::default(), None)).map(|(lowered, _)| lowered)
}

/// The kernel, and the boxes of tensors that it stores; with a machine, not if its accumulators alone do not fit there.
fn build(
    plan: &FusedPlan,
    index: usize,
    schedule: &Schedule,
    shape: &ShapeClass,
    (form, machine): (Form, Option<&MachineModel>),
) -> Result<(LoweredKernel, Vec<passage::OutBox>)> {
    schedule.check()?;
    if form.by_chunks && schedule.specialised.is_some() {
        let text = "chunks with a carried state have no specialised form";
        return Err(LowerError::Schedule(text.to_owned()));
    }
    let kernel = plan
        .kernels
        .get(index)
        .ok_or_else(|| LowerError::Bug(format!("the plan has {} kernels, not {index}", plan.kernels.len())))?;
    let mut free = FreeVars::default();
    let expected = |var: VarId| expected_extent(plan, plan.cascade.vars[var.index()].extent, shape);
    let roles = roles::choose(plan, &plan.cascade.exprs, &mut free, kernel, &expected)?;
    let mut lowerer = Lowerer {
        plan,
        kernel,
        index,
        schedule,
        shape,
        exprs: plan.cascade.exprs.clone(),
        free,
        roles,
        b: Builder::new(),
        tensors: Vec::new(),
        scalars: Vec::new(),
        pools: BTreeMap::new(),
        operands: operand::Operands::default(),
        rings: rings::Rings::default(),
        near: precision::Near::default(),
        limits: limits::limits(plan, kernel),
        tests: BTreeSet::new(),
        states: BTreeMap::new(),
        references: BTreeMap::new(),
        rows: None,
        tile_first: None,
        longest_last: false,
        boxes: Vec::new(),
        machine,
        by_chunks: form.by_chunks,
        shared: chunks::Shared::new(form.parks),
    };
    lowerer.kernel()?;
    let Lowerer {
        mut b,
        tensors,
        scalars,
        rings,
        boxes,
        ..
    } = lowerer;
    if let Some(specialised) = schedule.specialised {
        if specialised.persistent {
            let lives: Vec<rings::Ring> = rings.rings.values().copied().collect();
            let body = std::mem::take(&mut b.program.body);
            b.program.body = persist::persist(&mut b, body, &lives);
        }
        synchronise::synchronise(&mut b.program, &rings.counts);
    }
    if let Some(clash) = b.clash {
        return Err(LowerError::Bug(clash));
    }
    let mut program = b.program;
    dead::remove(&mut program);
    alignment::relax(&mut program);
    check_specialised(&program)?;
    let lowered = LoweredKernel {
        program,
        tensors,
        scalars,
    };
    Ok((lowered, boxes))
}

/// What specialised programs cannot do: more than one fragment of rows in a warp, dots that are not on the matrix unit, results wider than an
/// instruction.
fn check_specialised(program: &crate::ir::TileProgram) -> Result<()> {
    use crate::ir::{DotKind, Roles, Stmt};
    if program.roles == Roles::Uniform {
        return Ok(());
    }
    let fail = |what: &str| Err(LowerError::Schedule(format!("a specialised program {what}")));
    let size = |axis: AxisId| program.axes[axis.index()].size;
    let tall = |axis: AxisId| size(axis) != 16 * program.warps;
    if program.values.iter().any(|ty| ty.rows.is_some_and(tall)) {
        return fail("holds 16 rows in each warp, and this one needs rows of another number");
    }
    fn dots<'a>(body: &'a [Stmt], out: &mut Vec<(&'a DotKind, ValueId)>) {
        for stmt in body {
            match stmt {
                Stmt::Let(id, Op::Dot { kind, .. }) => out.push((kind, *id)),
                Stmt::For { body, .. } | Stmt::If { body, .. } => dots(body, out),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    dots(&program.body, &mut all);
    if all.is_empty() || all.iter().any(|(kind, _)| **kind != DotKind::Matrix) {
        return fail("computes with the matrix unit, and this one has other products or none");
    }
    Ok(())
}

/// The state of one lowering.
pub(crate) struct Lowerer<'a> {
    pub(crate) plan: &'a FusedPlan,
    pub(crate) kernel: &'a Kernel,
    pub(crate) index: usize,
    pub(crate) schedule: &'a Schedule,
    pub(crate) shape: &'a ShapeClass,
    /// The plan's arena and behind it what projections add.
    pub(crate) exprs: Arena,
    pub(crate) free: FreeVars,
    pub(crate) roles: Roles,
    pub(crate) b: Builder,
    tensors: Vec<TensorSource>,
    scalars: Vec<ScalarSource>,
    /// Axes by purpose and extent.
    pools: BTreeMap<(&'static str, i64), AxisId>,
    pub(crate) operands: operand::Operands,
    pub(crate) rings: rings::Rings,
    pub(crate) near: precision::Near,
    /// How the kernel uses int arguments.
    limits: limits::Limits,
    /// Values of the body at hand that a test of the tile's points made.
    pub(crate) tests: BTreeSet<ValueId>,
    /// Accumulators by (sweep, carry), and references by (sweep, reference), as they stand.
    pub(crate) states: BTreeMap<(usize, usize), state::State>,
    pub(crate) references: BTreeMap<(usize, usize), ValueId>,
    rows: Option<Group>,
    /// First flat row of the block's tile.
    pub(crate) tile_first: Option<ValueId>,
    /// The stream grows with the row tile: the last tiles should start first.
    pub(crate) longest_last: bool,
    /// Stored tiles that are boxes of their tensors.
    pub(crate) boxes: Vec<passage::OutBox>,
    /// What the program must fit, if that matters.
    machine: Option<&'a MachineModel>,
    /// Row tiles are walked one after the other, with a carried state.
    pub(crate) by_chunks: bool,
    pub(crate) shared: chunks::Shared,
}

impl Lowerer<'_> {
    fn kernel(&mut self) -> Result<()> {
        self.b.program.name = entry_name(self.plan, self.index);
        self.b.program.warps = self.schedule.warps;
        self.b.program.blocks_per_sm = self.schedule.blocks_per_sm;
        self.b.program.roles = self.schedule.roles();
        let mut ctx = Ctx::default();
        self.grid(&mut ctx);
        let rows = self.row_group(&mut ctx)?;
        self.rows = Some(rows.clone());
        self.bind(&mut ctx, &rows, true);
        for sweep in 0..self.kernel.sweeps.len() {
            self.sweep(&ctx, sweep)?;
        }
        for store in 0..self.kernel.stores.len() {
            let store = self.kernel.stores[store].clone();
            self.final_store(&ctx, &store)?;
        }
        self.take_states();
        self.b.program.body = self.b.close();
        if self.by_chunks {
            self.walk_row_tiles();
            return Ok(());
        }
        if self.longest_last
            && let Some(tiles) = self.b.program.grid.last_mut()
        {
            tiles.reversed = true;
        }
        Ok(())
    }

    /// Whether accumulators that are all held at a time leave room, before any tile is written: a program needs more than they do.
    pub(crate) fn accumulators_fit<'v>(&self, values: impl IntoIterator<Item = &'v ValueId>) -> Result<()> {
        let specialised = self.schedule.specialised.is_some();
        let Some(machine) = self.machine.filter(|m| m.specialises || !specialised) else {
            return Ok(());
        };
        let tiles = values.into_iter().map(|&v| self.b.ty(v)).filter(|ty| ty.cols.is_some());
        let held = tiles.map(|ty| crate::pressure::cost(&self.b.program, ty)).sum();
        crate::schedule::registers_fit(&self.b.program, held, machine, self.by_chunks)
    }

    /// Whether the buffers so far fit.
    pub(crate) fn shared_fits(&self) -> Result<()> {
        self.machine
            .map_or(Ok(()), |machine| crate::schedule::shared_fits(&self.b.program, machine))
    }

    /// Grid coordinates, outermost first.
    fn grid(&mut self, ctx: &mut Ctx) {
        for var in self.roles.grid.clone() {
            let extent = self.plan.cascade.vars[var.index()].extent;
            let dim = GridDim {
                name: self.var_name(var),
                extent: self.grid_extent(extent),
                reversed: false,
            };
            self.b.program.grid.push(dim);
            let at = self.b.program.grid.len() - 1;
            let value = self.b.emit(Op::Grid(at), scalar(crate::ir::Elem::I32));
            ctx.env.insert(var, value);
        }
    }

    fn grid_extent(&mut self, extent: ExprId) -> crate::ir::Extent {
        match facts::const_int(&self.exprs, extent) {
            Some(i) => crate::ir::Extent::Const(i),
            None => crate::ir::Extent::Param(self.param(ScalarSource::Extent(extent), crate::ir::Elem::I32)),
        }
    }

    /// The row group; its tiles are the innermost grid dimension, so that neighbours share streamed tiles in the cache.
    fn row_group(&mut self, _ctx: &mut Ctx) -> Result<Group> {
        let step = 16 * self.schedule.warps;
        match self.roles.rows.clone() {
            Rows::Group(vars) => {
                let axis = self.b.axis("rows", self.schedule.rows);
                let extents: Vec<(VarId, ExprId)> = vars
                    .iter()
                    .map(|&v| (v, self.plan.cascade.vars[v.index()].extent))
                    .collect();
                let total = extents
                    .iter()
                    .fold(None, |acc: Option<(crate::ir::Extent, ValueId)>, &(_, e)| {
                        let (extent, value) = (self.grid_extent(e), self.uniform(e));
                        Some(match acc {
                            None => (extent, value),
                            Some((x, v)) => (
                                crate::ir::Extent::Map(MapOp::Mul, vec![x, extent]),
                                self.b.mul(v, value),
                            ),
                        })
                    });
                let (extent, bound) = total.ok_or_else(|| LowerError::Bug("an empty row group".to_owned()))?;
                let name = vars.iter().map(|&v| self.var_name(v)).collect::<Vec<_>>().join("_");
                let extent = crate::ir::Extent::CeilDiv(Box::new(extent), i64::from(self.schedule.rows));
                self.b.program.grid.push(GridDim {
                    name: format!("{name}_tile"),
                    extent,
                    reversed: false,
                });
                let at = self.b.program.grid.len() - 1;
                let tile = self.b.emit(Op::Grid(at), scalar(crate::ir::Elem::I32));
                let first = self.b.mul_int(tile, i64::from(self.schedule.rows));
                self.tile_first = Some(first);
                Ok(Group {
                    axis,
                    base: Base::Value(first),
                    vars: extents,
                    bound: Some(bound),
                    tested: true,
                })
            }
            Rows::Dim(extent) => {
                let size = u32::try_from(extent)
                    .unwrap_or(u32::MAX)
                    .div_ceil(step)
                    .saturating_mul(step);
                if size > 512 {
                    return Err(LowerError::unsupported(
                        "an accumulator dimension on the rows",
                        format!("extent {extent}"),
                    ));
                }
                let axis = self.b.axis("rows", size);
                let bound = self.b.int(extent);
                Ok(Group {
                    axis,
                    base: Base::Zero,
                    vars: Vec::new(),
                    bound: Some(bound),
                    tested: i64::from(size) != extent,
                })
            }
            Rows::Single => {
                let axis = self.b.axis("rows", step);
                let bound = self.b.int(1);
                Ok(Group {
                    axis,
                    base: Base::Zero,
                    vars: Vec::new(),
                    bound: Some(bound),
                    tested: true,
                })
            }
        }
    }

    /// The row group of the kernel.
    pub(crate) fn row(&self) -> Result<Group> {
        self.rows
            .clone()
            .ok_or_else(|| LowerError::Bug("rows are not laid out yet".to_owned()))
    }

    pub(crate) fn var_name(&self, var: VarId) -> String {
        self.plan
            .cascade
            .vars
            .get(var.index())
            .map_or_else(|| format!("v{}", var.0), |v| v.name.clone())
    }

    /// An axis for local variables of one purpose and extent, padded to a multiple of 16.
    pub(crate) fn local_axis(&mut self, purpose: &'static str, extent: i64) -> Result<AxisId> {
        if let Some(&axis) = self.pools.get(&(purpose, extent)) {
            return Ok(axis);
        }
        let size = u32::try_from(extent).ok().filter(|&e| e <= 512).ok_or_else(|| {
            LowerError::unsupported("a local rank held whole", format!("extent {extent}, at most 512"))
        })?;
        let size = if purpose == "unit" {
            8
        } else {
            size.max(1).next_multiple_of(16)
        };
        let axis = self.b.axis(&format!("{purpose}{extent}"), size);
        self.pools.insert((purpose, extent), axis);
        Ok(axis)
    }

    pub(crate) fn param(&mut self, source: ScalarSource, elem: crate::ir::Elem) -> usize {
        if let Some(at) = self.scalars.iter().position(|s| *s == source) {
            return at;
        }
        let name = match source {
            ScalarSource::Scalar(s) => self.plan.cascade.scalars[s.index()].name.clone(),
            ScalarSource::Extent(id) => match self.exprs.get(id) {
                einloom_cascade::expr::Expr::Extent(s) => self.plan.cascade.symbols[s.index()].name.clone(),
                _ => format!("n{}", self.scalars.len()),
            },
        };
        self.scalars.push(source);
        self.b.program.scalars.push(ScalarParam { name, elem });
        self.scalars.len() - 1
    }

    pub(crate) fn dtype_of(&self, key: TensorKey) -> DType {
        match key {
            TensorSource::Input(i) => self.plan.cascade.inputs[i].dtype,
            TensorSource::Output(i) => self.plan.cascade.outputs[i].dtype,
            TensorSource::Crossing(c) => match self.plan.crossings[c].kind {
                Kind::Real => DType::F32,
                Kind::Int | Kind::Bool => DType::I32,
            },
        }
    }

    /// The alignment that the shape class promises of a tensor, that of an element at least; what the program demands of it may be less
    /// ([`alignment`]).
    pub(crate) fn align_of(&self, key: TensorKey) -> u32 {
        let promised = |list: &[u32], i: usize| {
            let element = crate::schedule::dtype_bytes(self.dtype_of(key));
            list.get(i).copied().unwrap_or(1).max(element)
        };
        match key {
            TensorSource::Input(i) => promised(&self.shape.input_align, i),
            TensorSource::Output(i) => promised(&self.shape.output_align, i),
            // Dense rows of 4-byte elements: the base is aligned, the strides are only multiples of an element.
            TensorSource::Crossing(c) => {
                let last = self.plan.crossings[c].dims.last();
                let extent = last
                    .and_then(|&v| facts::const_extent(&self.exprs, &self.plan.cascade.vars, v))
                    .unwrap_or(1);
                [16, 8]
                    .into_iter()
                    .find(|a| (extent * 4) % a == 0)
                    .map_or(4, |a| a as u32)
            }
        }
    }

    /// The program's tensor for an input, output or crossing.
    pub(crate) fn tensor(&mut self, key: TensorKey) -> TensorId {
        if let Some(at) = self.tensors.iter().position(|t| *t == key) {
            return TensorId(at as u32);
        }
        let cascade = &self.plan.cascade;
        let (name, rank) = match key {
            TensorSource::Input(i) => (cascade.inputs[i].name.clone(), cascade.inputs[i].dims.len()),
            TensorSource::Output(i) => (cascade.outputs[i].name.clone(), cascade.outputs[i].dims.len()),
            TensorSource::Crossing(c) => (self.plan.crossings[c].name.clone(), self.plan.crossings[c].dims.len()),
        };
        let writes = |target: &einloom_plan::ir::Target| match (target, key) {
            (einloom_plan::ir::Target::Output(o), TensorSource::Output(k)) => *o == k,
            (einloom_plan::ir::Target::Crossing(o), TensorSource::Crossing(k)) => *o == k,
            _ => false,
        };
        let stores = self
            .kernel
            .stores
            .iter()
            .chain(self.kernel.sweeps.iter().flat_map(|s| &s.emits));
        let writable = stores.map(|s| &s.target).any(writes);
        let tensor = Tensor {
            name,
            dtype: self.dtype_of(key),
            rank,
            contiguous: true,
            align: self.align_of(key),
            writable,
        };
        self.b.program.tensors.push(tensor);
        self.tensors.push(key);
        TensorId(self.tensors.len() as u32 - 1)
    }

    pub(crate) fn crossing_extents(&self, crossing: usize) -> Vec<ExprId> {
        let vars = &self.plan.cascade.vars;
        self.plan.crossings[crossing]
            .dims
            .iter()
            .map(|v| vars[v.index()].extent)
            .collect()
    }
}
