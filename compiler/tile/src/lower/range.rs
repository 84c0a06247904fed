//! Which tiles of the stream a row tile visits, and which of them need no tests.
//!
//! Conditions are projected onto the streamed coordinate (`einloom_plan::domain`); the ends are int expressions over the
//! row tile's first and last coordinates, computed by a few scalar instructions before the loop.

use super::Lowerer;
use super::context::Ctx;
use super::course::Tiles;
use super::error::Result;
use super::sweep::Layout;
use crate::ir::ValueId;
use einloom_cascade::expr::{Arena, ExprId, MapOp, VarId};
use einloom_cascade::ir::Var;
use einloom_plan::domain::{Level, Part, Query, Range, Sorted, clip, hull, project, sorted};
use einloom_plan::ir::Sweep;
use std::collections::{BTreeMap, BTreeSet};

/// First and last coordinates of variables over a tile, as variables of their own.
struct Ends {
    vars: Vec<Var>,
    ends: BTreeMap<VarId, (ExprId, ExprId)>,
    /// The variable that stands for the last row.
    last_row: Option<VarId>,
}

impl Lowerer<'_> {
    /// The live ranges of tiles that a sweep visits, ascending and disjoint.
    pub(crate) fn tiles(&mut self, ctx: &Ctx, sweep: &Sweep, layout: &Layout) -> Result<Vec<Tiles>> {
        let mut scalars = ctx.scalars(self);
        let ends = self.ends(&mut scalars, sweep, layout)?;
        let (levels, extent, unit) = self.levels(layout);
        let tables = sorted(&self.plan.cascade);
        let parts = self.visited(sweep, &ends, &levels, &tables);
        self.eval(&mut scalars, extent)?;
        if parts.is_empty() {
            let zero = self.b.int(0);
            return Ok(vec![Tiles {
                lo: zero,
                hi: zero,
                full: None,
            }]);
        }
        let mut all = Vec::new();
        // Behind the last tile of the ranges so far.
        let mut behind = None;
        for part in &parts {
            let (lo, hi) = clip(&mut self.exprs, part.live, extent);
            if let (Some(last), Some(bound)) = (ends.last_row, part.live.hi) {
                self.longest_last |= self.free.of(&self.exprs, bound).contains(&last);
            }
            let first = self.end(&mut scalars, &tables, lo)?;
            let last = self.end(&mut scalars, &tables, hi)?;
            let mut tiles = self.tiles_of(first, last, unit, layout.width);
            if parts.len() > 1 {
                let alive = self.b.map(MapOp::Le, &[first, last]);
                behind = Some(self.behind(&mut tiles, alive, behind));
            }
            let (lo, hi) = tiles;
            let full = match part.full {
                Some(full) => {
                    let (from, to) = clip(&mut self.exprs, full, extent);
                    let from = self.end(&mut scalars, &tables, from)?;
                    let to = self.end(&mut scalars, &tables, to)?;
                    Some(self.full_tiles((from, to), full, unit, layout.width, tiles))
                }
                None => None,
            };
            all.push(Tiles { lo, hi, full });
        }
        Ok(all)
    }

    /// First tile and end for the points `first..=last` of the projection.
    fn tiles_of(&mut self, first: ValueId, last: ValueId, unit: Option<ExprId>, width: i64) -> (ValueId, ValueId) {
        let end = self.b.add_int(last, 1);
        let (first, end) = match unit {
            Some(unit) => {
                let unit = self.uniform(unit);
                (self.b.mul(first, unit), self.b.mul(end, unit))
            }
            None => (first, end),
        };
        let lo_tile = self.b.div_int(first, width);
        let above = self.b.add_int(end, width - 1);
        (lo_tile, self.b.div_int(above, width))
    }

    /// Cuts a range of tiles to those behind the ranges before it: a tile on the border of two ranges belongs to the first. A range that is
    /// not alive has no tiles (`hi == lo`), and lies anywhere.
    fn behind(&mut self, (lo, hi): &mut (ValueId, ValueId), alive: ValueId, before: Option<ValueId>) -> ValueId {
        if let Some(before) = before {
            *lo = self.b.map(MapOp::Max, &[*lo, before]);
        }
        let end = self.b.map(MapOp::Max, &[*hi, *lo]);
        *hi = self.b.select(alive, end, *lo);
        let nothing = match before {
            Some(before) => before,
            None => self.b.int(0),
        };
        self.b.select(alive, *hi, nothing)
    }

    /// Tiles inside of the untested range, cut to the visited ones.
    fn full_tiles(
        &mut self,
        (mut first_value, last_value): (ValueId, ValueId),
        full: Range,
        unit: Option<ExprId>,
        width: i64,
        (lo_tile, hi_tile): (ValueId, ValueId),
    ) -> (ValueId, ValueId) {
        let mut end = self.b.add_int(last_value, 1);
        if let Some(unit) = unit {
            let unit = self.uniform(unit);
            first_value = self.b.mul(first_value, unit);
            end = self.b.mul(end, unit);
        }
        let from = if full.lo.is_none() {
            lo_tile
        } else {
            let above = self.b.add_int(first_value, width - 1);
            let from = self.b.div_int(above, width);
            let from = self.b.map(MapOp::Max, &[from, lo_tile]);
            self.b.map(MapOp::Min, &[from, hi_tile])
        };
        let to = self.b.div_int(end, width);
        let to = self.b.map(MapOp::Min, &[to, hi_tile]);
        let to = self.b.map(MapOp::Max, &[to, from]);
        // Whole blocks have no ragged end.
        let to = if full.hi.is_none() && width == 1 { hi_tile } else { to };
        (from, to)
    }

    /// The streamed coordinate for the projection, its extent, and the flat elements of one of its points if there are
    /// streamed variables inside of it.
    fn levels(&mut self, layout: &Layout) -> (Vec<Level>, ExprId, Option<ExprId>) {
        let product =
            |arena: &mut Arena, list: &[ExprId]| list.iter().copied().reduce(|a, b| arena.map(MapOp::Mul, &[a, b]));
        let stream: Vec<(VarId, ExprId)> = layout.stream.clone();
        let Some(&(outer, extent)) = stream.first() else {
            // No stream: one step over the inner variables.
            let one = self.exprs.int(if layout.flat { layout.inner } else { 1 });
            return (Vec::new(), one, None);
        };
        if stream.len() == 1 && layout.flat && layout.inner > 1 {
            let mut levels = vec![Level { var: outer, extent: 0 }];
            for &(var, e) in &layout.cols.vars[1..] {
                levels.push(Level {
                    var,
                    extent: super::facts::const_int(&self.exprs, e).unwrap_or(1),
                });
            }
            let inner = self.exprs.int(layout.inner);
            let total = self.exprs.map(MapOp::Mul, &[extent, inner]);
            return (levels, total, None);
        }
        let mut inside: Vec<ExprId> = stream[1..].iter().map(|(_, e)| *e).collect();
        if layout.flat && layout.inner > 1 {
            inside.push(self.exprs.int(layout.inner));
        }
        let unit = product(&mut self.exprs, &inside);
        (vec![Level { var: outer, extent: 0 }], extent, unit)
    }

    /// What any reference, carry or emit visits, and where none of them needs a test: disjoint parts in ascending order where all have the
    /// same conditions, else one hull.
    fn visited(&mut self, sweep: &Sweep, ends: &Ends, levels: &[Level], tables: &[Sorted]) -> Vec<Part> {
        let mut lists: BTreeSet<Vec<ExprId>> = BTreeSet::new();
        lists.extend(sweep.references.iter().map(|r| r.conds.clone()));
        lists.extend(sweep.carries.iter().map(|c| c.conds.clone()));
        lists.extend(sweep.emits.iter().map(|e| e.conds.clone()));
        let lookup = |var: VarId| ends.ends.get(&var).copied();
        let query = Query {
            stream: levels,
            ends: &lookup,
            vars: &ends.vars,
            inputs: &self.plan.cascade.inputs,
            sorted: tables,
        };
        let mut all: Option<Part> = None;
        let mut never = false;
        for conds in &lists {
            let mut part = if levels.is_empty() {
                let full = conds.is_empty().then(Range::default);
                Part {
                    live: Range::default(),
                    full,
                }
            } else {
                let parts = project(&mut self.exprs, conds, &query);
                if lists.len() == 1 && parts.len() > 1 && sweep.emits.is_empty() {
                    return parts;
                }
                match hull(&mut self.exprs, &parts) {
                    Some(part) => part,
                    None => {
                        never = true;
                        continue;
                    }
                }
            };
            // Points that are not live are still written, as 0.
            if !sweep.emits.is_empty() {
                part.live = Range::default();
            }
            all = Some(match all {
                None => part,
                Some(other) => self.join_parts(other, part),
            });
        }
        if let (true, Some(part)) = (never, &mut all) {
            part.full = None;
        }
        all.into_iter().collect()
    }

    fn join_parts(&mut self, a: Part, b: Part) -> Part {
        let arena = &mut self.exprs;
        let mut pick = |op: MapOp, x: ExprId, y: ExprId| if x == y { x } else { arena.map(op, &[x, y]) };
        let live = Range {
            lo: a.live.lo.zip(b.live.lo).map(|(x, y)| pick(MapOp::Min, x, y)),
            hi: a.live.hi.zip(b.live.hi).map(|(x, y)| pick(MapOp::Max, x, y)),
        };
        let full = a.full.zip(b.full).map(|(x, y)| Range {
            lo: match (x.lo, y.lo) {
                (Some(x), Some(y)) => Some(pick(MapOp::Max, x, y)),
                (x, y) => x.or(y),
            },
            hi: match (x.hi, y.hi) {
                (Some(x), Some(y)) => Some(pick(MapOp::Min, x, y)),
                (x, y) => x.or(y),
            },
        });
        Part { live, full }
    }

    fn ends(&mut self, scalars: &mut Ctx, sweep: &Sweep, layout: &Layout) -> Result<Ends> {
        let mut table = Ends {
            vars: self.plan.cascade.vars.clone(),
            ends: BTreeMap::new(),
            last_row: None,
        };
        for &var in &self.roles.grid.clone() {
            let here = self.exprs.var(var);
            table.ends.insert(var, (here, here));
        }
        let rows = self.row()?;
        if let (Some(first), Some(bound)) = (self.tile_first, rows.bound) {
            let end = self.b.add_int(first, i64::from(self.schedule.rows));
            let end = self.b.map(MapOp::Min, &[end, bound]);
            let last = self.b.add_int(end, -1);
            self.row_ends(scalars, &mut table, &rows.vars, first, last);
        }
        // Everything local spans its whole extent, and so do streamed variables that are not projected onto.
        let mut locals: Vec<VarId> = sweep
            .carries
            .iter()
            .flat_map(|c| c.dims.iter().chain(&c.inner))
            .copied()
            .collect();
        locals.extend(sweep.references.iter().flat_map(|r| &r.inner));
        locals.extend(layout.cols.vars.iter().map(|(v, _)| *v));
        let outer = layout.stream.first().map(|(v, _)| *v);
        for var in locals {
            if Some(var) == outer || table.ends.contains_key(&var) {
                continue;
            }
            let zero = self.exprs.int(0);
            let minus = self.exprs.int(-1);
            let extent = self.plan.cascade.vars[var.index()].extent;
            let last = match super::facts::const_int(&self.exprs, extent) {
                Some(n) => self.exprs.int(n - 1),
                None => self.exprs.map(MapOp::Add, &[extent, minus]),
            };
            table.ends.insert(var, (zero, last));
        }
        Ok(table)
    }

    /// Ends of the row group's variables: the outermost by division, inner ones their whole extent.
    fn row_ends(
        &mut self,
        scalars: &mut Ctx,
        table: &mut Ends,
        vars: &[(VarId, ExprId)],
        first: ValueId,
        last: ValueId,
    ) {
        let (mut low, mut high) = (first, last);
        for (at, &(var, extent)) in vars.iter().enumerate().rev() {
            if at == 0 {
                let from = named(table, scalars, extent, low);
                let to = named(table, scalars, extent, high);
                table.last_row = Some(to);
                let ends = (self.exprs.var(from), self.exprs.var(to));
                table.ends.insert(var, ends);
                break;
            }
            let n = self.uniform(extent);
            let zero = self.b.int(0);
            let from = named(table, scalars, extent, zero);
            let top = self.b.add_int(n, -1);
            let to = named(table, scalars, extent, top);
            let ends = (self.exprs.var(from), self.exprs.var(to));
            table.ends.insert(var, ends);
            low = self.b.map(MapOp::IDiv, &[low, n]);
            high = self.b.map(MapOp::IDiv, &[high, n]);
        }
    }
}

/// A new variable for a scalar.
fn named(table: &mut Ends, scalars: &mut Ctx, extent: ExprId, value: ValueId) -> VarId {
    let id = VarId(table.vars.len() as u32);
    table.vars.push(Var {
        name: format!("end{}", id.0),
        extent,
    });
    scalars.env.insert(id, value);
    id
}
