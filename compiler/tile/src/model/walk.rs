//! Walks a program for one block with real scalars: loop bounds are evaluated, and long loops are sampled.

use super::demand::{Costs, Demand};
use super::rise::Definitions;
use super::timeline::Timeline;
use super::{Device, Launch};
use crate::interp::math::int;
use crate::ir::{DotKind, Elem, Extent, FillSource, LoopValue, Math, Op, Roles, Stmt, TileProgram, ValueId};
use crate::lower::arguments;

/// Extent of a grid dimension; 0 if it has no value.
fn extent(extent: &Extent, scalars: &[i64]) -> i64 {
    match extent {
        Extent::Const(n) => *n,
        Extent::Param(i) => scalars.get(*i).copied().unwrap_or(0),
        Extent::Map(op, args) => {
            let args: Vec<i64> = args.iter().map(|a| self::extent(a, scalars)).collect();
            int(*op, &args).unwrap_or(0)
        }
        Extent::CeilDiv(a, n) => {
            let a = self::extent(a, scalars);
            a.saturating_add(n - 1).checked_div_euclid(*n).unwrap_or(0)
        }
    }
}

/// Extents of the grid.
pub(super) fn grid(program: &TileProgram, scalars: &[i64]) -> Vec<i64> {
    program
        .grid
        .iter()
        .map(|dim| extent(&dim.extent, scalars).max(0))
        .collect()
}

/// Number of points of the grid.
pub(super) fn grid_blocks(program: &TileProgram, scalars: &[i64]) -> i64 {
    grid(program, scalars)
        .iter()
        .fold(1i64, |all, n| all.saturating_mul(*n))
}

/// Which block is walked.
pub(super) struct Place {
    /// Coordinates in the grid, as the program sees them.
    pub(super) at: Vec<i64>,
    /// Linear index and number of blocks, for persistent programs.
    pub(super) block: i64,
    pub(super) blocks: i64,
}

/// What a block does.
#[derive(Clone, Debug, Default)]
pub(super) struct Walked {
    pub(super) demand: Demand,
    pub(super) exact: bool,
    /// Tables had a say in it: other blocks may differ in whatever coordinate.
    pub(super) tables: bool,
}

/// Points that a loop without a known bound visits, and its iterations where it copies nothing.
const GUESS: f64 = 1024.0;
const GUESS_TRIPS: f64 = 8.0;

/// Loops of scalars with more iterations are sampled as others are.
const SEARCH_ROUNDS: i64 = 64;

/// How often a condition on data is taken to hold.
const RARE: f64 = 0.02;

/// The same where matrix dots depend on it.
const OFTEN: f64 = 0.5;

/// Samples of a loop around loops: the work of its iterations differs.
const OUTER_SAMPLES: i64 = 32;

/// Samples of a loop without loops inside.
const INNER_SAMPLES: i64 = 6;

/// What is walked.
pub(super) struct Subject<'a> {
    pub(super) program: &'a TileProgram,
    pub(super) launch: &'a Launch,
    pub(super) device: &'a Device,
    pub(super) definitions: Definitions<'a>,
    /// What each operation demands.
    demands: Vec<Demand>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(program: &'a TileProgram, launch: &'a Launch, device: &'a Device) -> Subject<'a> {
        let definitions = Definitions::of(program);
        let mut demands = vec![Demand::default(); program.values.len()];
        for (value, op) in definitions.all() {
            demands[value.index()] = Costs { program }.op(value, op);
        }
        Subject {
            program,
            launch,
            device,
            definitions,
            demands,
        }
    }
}

/// Walks one block.
pub(super) fn block(subject: &Subject<'_>, place: &Place) -> Walked {
    let Subject {
        program,
        launch,
        device,
        definitions,
        demands,
    } = subject;
    let mut walker = Walker {
        costs: Costs { program },
        launch,
        definitions,
        demands,
        place,
        values: vec![None; program.values.len()],
        guessed: vec![false; program.values.len()],
        guesses: false,
        exact: true,
        tables: false,
        device,
        timeline: (program.roles != Roles::Uniform).then(|| Timeline::new(device, program.warps)),
    };
    let mut demand = walker.body(&program.body);
    demand.alone += walker.order();
    Walked {
        demand,
        exact: walker.exact,
        tables: walker.tables,
    }
}

struct Walker<'a> {
    costs: Costs<'a>,
    launch: &'a Launch,
    definitions: &'a Definitions<'a>,
    demands: &'a [Demand],
    place: &'a Place,
    values: Vec<Option<i64>>,
    /// Values that depend on data: something likely is taken for them.
    guessed: Vec<bool>,
    /// Whether there are any.
    guesses: bool,
    exact: bool,
    tables: bool,
    device: &'a Device,
    /// In a specialised program, but for what is seldom done.
    timeline: Option<Timeline<'a>>,
}

impl Walker<'_> {
    fn get(&self, value: ValueId) -> Option<i64> {
        self.values.get(value.index()).copied().flatten()
    }

    /// Value of a scalar int operation.
    fn scalar(&mut self, value: ValueId, op: &Op) -> Option<i64> {
        let ty = self.costs.program.values[value.index()];
        if ty.rows.is_some() || ty.cols.is_some() {
            return None;
        }
        match op {
            Op::Int(n) => Some(*n),
            Op::Param(i) => self.launch.scalars.get(*i).copied(),
            Op::Grid(i) => self.place.at.get(*i).copied(),
            Op::Block => Some(self.place.block),
            Op::Blocks => Some(self.place.blocks),
            Op::Cast(a) => self.get(*a),
            Op::Load { tensor, index, mask } if matches!(ty.elem, Elem::I32 | Elem::I64) => {
                let table = self.launch.tables.get(tensor.index()).and_then(Option::as_deref);
                if let Some(table) = table {
                    self.tables = true;
                    if mask.is_some_and(|mask| self.get(mask) == Some(0)) {
                        return Some(0);
                    }
                    let index = index.iter().map(|i| self.get(*i)).collect::<Option<Vec<_>>>()?;
                    return table.get(&index).or(Some(0));
                }
                // A length or an index in a table: as likely small as large.
                self.guessed[value.index()] = true;
                self.guesses = true;
                self.launch.scalars.iter().max().map(|largest| largest / 2)
            }
            Op::Math(Math::Select, args) => {
                let (c, a, b) = (args.first()?, args.get(1)?, args.get(2)?);
                if self.get(*c)? != 0 { self.get(*a) } else { self.get(*b) }
            }
            Op::Math(Math::Map(op), args) => {
                let args = args.iter().map(|a| self.get(*a)).collect::<Option<Vec<_>>>()?;
                int(*op, &args)
            }
            _ => None,
        }
    }

    fn define(&mut self, value: ValueId, op: &Op) {
        self.guessed[value.index()] = self.guesses && arguments(op).iter().any(|a| self.guessed[a.index()]);
        self.values[value.index()] = self.scalar(value, op);
    }

    fn body(&mut self, stmts: &[Stmt]) -> Demand {
        let mut sum = Demand::default();
        for stmt in stmts {
            sum += &self.stmt(stmt);
        }
        sum
    }

    /// Cycles of the work so far, which something orders.
    fn order(&mut self) -> f64 {
        self.timeline.as_mut().map_or(0.0, Timeline::order)
    }

    /// Work that the timeline takes notice of.
    fn pass(&mut self, mut demand: Demand, step: impl FnOnce(&mut Timeline, &Demand) -> f64) -> Demand {
        if let Some(timeline) = &mut self.timeline {
            demand.alone += step(timeline, &demand);
        }
        demand
    }

    fn stmt(&mut self, stmt: &Stmt) -> Demand {
        match stmt {
            Stmt::Let(v, op) => {
                self.define(*v, op);
                self.operation(*v, op)
            }
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                ..
            } => {
                self.exact &= !self.guessed[lo.index()] && !self.guessed[hi.index()];
                let before = self.order();
                let mut sum = self.loop_over(*var, self.get(*lo), self.get(*hi), carried, body);
                sum.alone += before;
                sum
            }
            Stmt::If { cond, body } => match self.get(*cond).filter(|_| !self.guessed[cond.index()]) {
                Some(0) => Demand::default(),
                Some(_) => self.body(body),
                // It depends on data: whether a tile counts, or the guard of a fast path.
                None if has_dot(body) => {
                    let before = self.order();
                    let mut sum = self.body(body);
                    sum.alone += self.order();
                    sum = sum.scaled(OFTEN);
                    sum.alone += before;
                    sum
                }
                None => self.seldom(body),
            },
            Stmt::Guard { cond, body, .. } => self.guard(*cond, body),
            Stmt::Store { tensor, value, .. } => self.work(self.costs.store(*tensor, *value)),
            Stmt::StoreShared { value, .. } => self.work(self.costs.store_shared(*value)),
            Stmt::CopyAsync { buffer, .. } => self.costs.copy(*buffer, false),
            Stmt::Fill { buffer, source, .. } => {
                let demand = self.costs.copy(*buffer, matches!(source, FillSource::Box { .. }));
                let stages = self.costs.program.buffers[buffer.index()].stages as usize;
                self.pass(demand, |timeline, demand| {
                    timeline.fill(*buffer, stages, demand.l2_bytes);
                    0.0
                })
            }
            Stmt::Wait(_) => Demand {
                waits: 1.0,
                ..Demand::default()
            },
            Stmt::Await { buffer, .. } => {
                let demand = Demand {
                    waits: 1.0,
                    ..Demand::default()
                };
                self.pass(demand, |timeline, _| timeline.tile(*buffer))
            }
            Stmt::Release { buffer, .. } => self.pass(Demand::default(), |timeline, _| {
                timeline.release(*buffer);
                0.0
            }),
            Stmt::DotWait(left) => self.pass(Demand::default(), |timeline, _| timeline.wait(*left as usize)),
            Stmt::Barrier => self.work(Demand {
                other: f64::from(self.costs.program.warps) * 4.0,
                ..Demand::default()
            }),
            _ => Demand::default(),
        }
    }

    /// Elementwise work.
    fn work(&mut self, demand: Demand) -> Demand {
        self.pass(demand, |timeline, demand| {
            timeline.work(demand);
            0.0
        })
    }

    fn operation(&mut self, value: ValueId, op: &Op) -> Demand {
        let demand = self.demands[value.index()].clone();
        match op {
            Op::Dot {
                kind: DotKind::Matrix, ..
            } => {
                let groups = f64::from(self.costs.program.warps / 4).max(1.0);
                let peak = self.device.wgmma_peak.max(1.0);
                let cycles = (demand.wgmma_flops / peak).max(demand.shared_bytes / self.device.shared_bytes) / groups;
                self.pass(demand, |timeline, _| timeline.dot(cycles))
            }
            // What lanes fold among themselves is needed at once: a maximum orders what comes before it and behind it.
            Op::QuadReduce(..) => self.across(demand),
            Op::RowReduce(..) if !self.costs.program.values[value.index()].partial => self.across(demand),
            _ => self.work(demand),
        }
    }

    fn across(&mut self, demand: Demand) -> Demand {
        self.pass(demand, |timeline, demand| {
            timeline.work(demand);
            timeline.across()
        })
    }

    /// What is done where data ask for it.
    fn seldom(&mut self, body: &[Stmt]) -> Demand {
        let before = self.order();
        let timeline = self.timeline.take();
        let mut demand = self.body(body).scaled(RARE);
        self.timeline = timeline;
        demand.alone += before + self.timeline.as_ref().map_or(0.0, |_| self.device.guard_cycles);
        demand
    }

    /// A kept reference is raised: by data seldom, by the position as often as it rises.
    fn guard(&mut self, cond: ValueId, body: &[Stmt]) -> Demand {
        let known = self.get(cond).filter(|_| !self.guessed[cond.index()]);
        let share = match known {
            Some(holds) => f64::from(u8::from(holds != 0)),
            None => self.definitions.raised(cond, &|value| self.get(value)).max(RARE),
        };
        let before = self.order();
        let passed = self.timeline.clone();
        let mut demand = self.body(body);
        demand.alone += self.order();
        demand = demand.scaled(share);
        self.timeline = passed;
        if let Some(timeline) = &mut self.timeline {
            demand.alone += self.device.guard_cycles;
            timeline.idle(demand.alone);
        }
        demand.alone += before;
        demand
    }

    fn loop_over(
        &mut self,
        var: ValueId,
        lo: Option<i64>,
        hi: Option<i64>,
        carried: &[LoopValue],
        body: &[Stmt],
    ) -> Demand {
        let (Some(lo), Some(hi)) = (lo, hi) else {
            self.exact = false;
            self.values[var.index()] = None;
            self.forget(carried);
            let mut once = self.body(body);
            once.alone += self.order();
            self.results(carried);
            return once.scaled(self.guess(body));
        };
        let trips = hi.saturating_sub(lo);
        if trips <= 0 {
            for c in carried {
                self.values[c.result.index()] = self.get(c.init);
            }
            return Demand::default();
        }
        if has_loop(body) {
            return self.outer_loop(var, (lo, trips), carried, body);
        }
        if trips <= SEARCH_ROUNDS && is_scalar(self.costs.program, body) {
            return self.search(var, (lo, trips), carried, body);
        }
        let mut sum = Demand::default();
        for (at, weight) in samples(trips, false) {
            if at == 0 {
                for c in carried {
                    self.values[c.param.index()] = self.get(c.init);
                }
            } else {
                self.forget(carried);
            }
            self.values[var.index()] = Some(lo + at);
            let mut once = self.body(body);
            once.alone += self.order();
            sum += &once.scaled(weight);
        }
        self.results(carried);
        sum
    }

    /// A loop of scalars, iteration by iteration: what it finds may bound other loops.
    fn search(&mut self, var: ValueId, (lo, trips): (i64, i64), carried: &[LoopValue], body: &[Stmt]) -> Demand {
        let mut sum = Demand::default();
        let state = |walker: &Self, id: ValueId| (walker.get(id), walker.guessed[id.index()]);
        let mut values: Vec<_> = carried.iter().map(|c| state(self, c.init)).collect();
        for at in 0..trips {
            for (c, (value, guessed)) in carried.iter().zip(&values) {
                self.values[c.param.index()] = *value;
                self.guessed[c.param.index()] = *guessed;
            }
            self.values[var.index()] = Some(lo + at);
            sum += &self.body(body);
            values = carried.iter().map(|c| state(self, c.next)).collect();
        }
        if values.iter().any(|(value, guessed)| value.is_none() || *guessed) {
            self.results(carried);
            return sum;
        }
        for (c, (value, _)) in carried.iter().zip(values) {
            self.values[c.result.index()] = value;
            self.guessed[c.result.index()] = false;
        }
        sum
    }

    /// A loop around loops. What is carried may be coordinates that every iteration needs: iterations that are not walked are stepped over.
    fn outer_loop(&mut self, var: ValueId, (lo, trips): (i64, i64), carried: &[LoopValue], body: &[Stmt]) -> Demand {
        let mut sum = Demand::default();
        let mut wanted = samples(trips, true).into_iter().peekable();
        let init = |walker: &Self, id: ValueId| (walker.get(id), walker.guessed[id.index()]);
        let mut state: Vec<_> = carried.iter().map(|c| init(self, c.init)).collect();
        for at in 0..trips {
            for (c, (value, guessed)) in carried.iter().zip(&state) {
                self.values[c.param.index()] = *value;
                self.guessed[c.param.index()] = *guessed;
            }
            self.values[var.index()] = Some(lo + at);
            if let Some((_, weight)) = wanted.next_if(|(wanted, _)| *wanted == at) {
                let mut once = self.body(body);
                once.alone += self.order();
                sum += &once.scaled(weight);
            } else {
                self.step(body);
            }
            state = carried.iter().map(|c| init(self, c.next)).collect();
        }
        for (c, (value, guessed)) in carried.iter().zip(state) {
            self.values[c.result.index()] = value;
            self.guessed[c.result.index()] = guessed;
        }
        sum
    }

    /// The scalars of an iteration that is not walked.
    fn step(&mut self, body: &[Stmt]) {
        for stmt in body {
            if let Stmt::Let(v, op) = stmt {
                self.define(*v, op);
            }
        }
    }

    /// Iterations of a loop without known bounds: as many as visit [`GUESS`] points.
    fn guess(&self, body: &[Stmt]) -> f64 {
        let program = self.costs.program;
        let points = body.iter().filter_map(|stmt| match stmt {
            Stmt::Fill { buffer, .. } | Stmt::CopyAsync { buffer, .. } => {
                let rows = program.buffers[buffer.index()].rows;
                Some(f64::from(program.axes[rows.index()].size))
            }
            _ => None,
        });
        points
            .reduce(f64::max)
            .map_or(GUESS_TRIPS, |points| (GUESS / points).max(1.0))
    }

    /// Inside later iterations a carried scalar is unknown.
    fn forget(&mut self, carried: &[LoopValue]) {
        for c in carried {
            self.values[c.param.index()] = None;
        }
    }

    fn results(&mut self, carried: &[LoopValue]) {
        for c in carried {
            // As if the loop had changed nothing: a search finds the whole range.
            self.values[c.result.index()] = self.get(c.init);
            self.guessed[c.result.index()] = true;
            self.guesses = true;
        }
    }
}

fn has_dot(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Let(_, Op::Dot { .. }) => true,
        Stmt::For { body, .. } | Stmt::If { body, .. } => has_dot(body),
        _ => false,
    })
}

fn is_scalar(program: &TileProgram, body: &[Stmt]) -> bool {
    let scalar = |v: &ValueId| {
        let ty = program.values[v.index()];
        ty.rows.is_none() && ty.cols.is_none()
    };
    body.iter().all(|stmt| matches!(stmt, Stmt::Let(v, _) if scalar(v)))
}

fn has_loop(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::For { .. } => true,
        Stmt::If { body, .. } => has_loop(body),
        _ => false,
    })
}

/// Iterations to walk of `trips`, with the number of iterations that each stands for: all of a few, else the first ones, the last and some between.
/// The ones between stand for many, so rings have settled before them.
fn samples(trips: i64, outer: bool) -> Vec<(i64, f64)> {
    let most = if outer { OUTER_SAMPLES } else { INNER_SAMPLES };
    if trips <= most {
        return (0..trips).map(|i| (i, 1.0)).collect();
    }
    let first = if outer { 1 } else { INNER_SAMPLES - 2 };
    let between = most - 1 - first;
    let weight = (trips - 1 - first) as f64 / between as f64;
    let middle = (0..between).map(|i| (first + (2 * i + 1) * (trips - 1 - first) / (2 * between), weight));
    (0..first)
        .map(|i| (i, 1.0))
        .chain(middle)
        .chain([(trips - 1, 1.0)])
        .collect()
}
