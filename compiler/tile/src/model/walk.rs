//! Walks a program for one block with real scalars: loop bounds are evaluated, and long loops are sampled.

use super::demand::{Costs, Demand};
use crate::interp::math::int;
use crate::ir::{Extent, FillSource, LoopValue, Math, Op, Stmt, TileProgram, ValueId};

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
}

/// Iterations of a loop without a known bound.
const GUESS: f64 = 8.0;

/// How often a condition on data is taken to hold.
const RARE: f64 = 0.02;

/// Samples of a loop around loops: the work of its iterations differs.
const OUTER_SAMPLES: i64 = 32;

/// Walks one block.
pub(super) fn block(program: &TileProgram, scalars: &[i64], place: &Place) -> Walked {
    let mut walker = Walker {
        costs: Costs { program },
        scalars,
        place,
        values: vec![None; program.values.len()],
        exact: true,
    };
    let demand = walker.body(&program.body);
    Walked {
        demand,
        exact: walker.exact,
    }
}

struct Walker<'a> {
    costs: Costs<'a>,
    scalars: &'a [i64],
    place: &'a Place,
    values: Vec<Option<i64>>,
    exact: bool,
}

impl Walker<'_> {
    fn get(&self, value: ValueId) -> Option<i64> {
        self.values.get(value.index()).copied().flatten()
    }

    /// Value of a scalar int operation.
    fn scalar(&self, value: ValueId, op: &Op) -> Option<i64> {
        let ty = self.costs.program.values[value.index()];
        if ty.rows.is_some() || ty.cols.is_some() {
            return None;
        }
        match op {
            Op::Int(n) => Some(*n),
            Op::Param(i) => self.scalars.get(*i).copied(),
            Op::Grid(i) => self.place.at.get(*i).copied(),
            Op::Block => Some(self.place.block),
            Op::Blocks => Some(self.place.blocks),
            Op::Cast(a) => self.get(*a),
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

    fn body(&mut self, stmts: &[Stmt]) -> Demand {
        let mut sum = Demand::default();
        for stmt in stmts {
            sum += &self.stmt(stmt);
        }
        sum
    }

    fn stmt(&mut self, stmt: &Stmt) -> Demand {
        match stmt {
            Stmt::Let(v, op) => {
                self.values[v.index()] = self.scalar(*v, op);
                self.costs.op(*v, op)
            }
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                ..
            } => self.loop_over(*var, self.get(*lo), self.get(*hi), carried, body),
            Stmt::If { cond, body } => match self.get(*cond) {
                Some(0) => Demand::default(),
                Some(_) => self.body(body),
                // It depends on data: the guard of a fast path.
                None => self.body(body).scaled(RARE),
            },
            Stmt::Guard { body, .. } => self.body(body).scaled(RARE),
            Stmt::Store { tensor, value, .. } => self.costs.store(*tensor, *value),
            Stmt::StoreShared { value, .. } => self.costs.store_shared(*value),
            Stmt::CopyAsync { buffer, .. } => self.costs.copy(*buffer, false),
            Stmt::Fill { buffer, source, .. } => self.costs.copy(*buffer, matches!(source, FillSource::Box { .. })),
            Stmt::Wait(_) | Stmt::Await { .. } => Demand {
                waits: 1.0,
                ..Demand::default()
            },
            Stmt::Barrier => Demand {
                other: f64::from(self.costs.program.warps) * 4.0,
                ..Demand::default()
            },
            _ => Demand::default(),
        }
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
            let once = self.body(body);
            self.results(carried);
            return once.scaled(GUESS);
        };
        let trips = hi.saturating_sub(lo);
        if trips <= 0 {
            for c in carried {
                self.values[c.result.index()] = self.get(c.init);
            }
            return Demand::default();
        }
        let mut sum = Demand::default();
        for (at, weight) in samples(trips, has_loop(body)) {
            if at == 0 {
                for c in carried {
                    self.values[c.param.index()] = self.get(c.init);
                }
            } else {
                self.forget(carried);
            }
            self.values[var.index()] = Some(lo + at);
            sum += &self.body(body).scaled(weight);
        }
        self.results(carried);
        sum
    }

    /// Inside later iterations a carried scalar is unknown.
    fn forget(&mut self, carried: &[LoopValue]) {
        for c in carried {
            self.values[c.param.index()] = None;
        }
    }

    fn results(&mut self, carried: &[LoopValue]) {
        for c in carried {
            self.values[c.result.index()] = None;
        }
    }
}

fn has_loop(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::For { .. } => true,
        Stmt::If { body, .. } => has_loop(body),
        _ => false,
    })
}

/// Iterations to walk of `trips`, with the number of iterations that each stands for: all of a few, else the first, the last and some between.
fn samples(trips: i64, outer: bool) -> Vec<(i64, f64)> {
    let most = if outer { OUTER_SAMPLES } else { 3 };
    if trips <= most {
        return (0..trips).map(|i| (i, 1.0)).collect();
    }
    let inner = most - 2;
    let weight = (trips - 2) as f64 / inner as f64;
    let middle = (0..inner).map(|i| (1 + (2 * i + 1) * (trips - 2) / (2 * inner), weight));
    [(0, 1.0)].into_iter().chain(middle).chain([(trips - 1, 1.0)]).collect()
}
