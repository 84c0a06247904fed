//! The tile ranges of a domain as text: where a streamed rank is live, and where no test is needed.

use super::Names;
use super::formula::Formula;
use crate::domain::{Level, Part, Query, Range, Sorted, mentions, project, sorted};
use crate::ir::{FusedPlan, Kernel, Sweep};
use einloom_cascade::expr::{Expr, ExprId, LeafId, VarId};
use einloom_cascade::ir::Cascade;

/// One line for the conditions of an accumulator: the ranges of the outermost streamed rank for a tile of resident
/// points, whose first and last coordinates are written `p.first` and `p.last` (a rank that only selects from tables, `b` in `len[b]`, is one
/// point of the tile). `None` if the conditions leave the rank alone.
pub(crate) fn line(
    plan: &FusedPlan,
    names: &Names,
    kernel: &Kernel,
    sweep: &Sweep,
    conds: &[ExprId],
) -> Option<String> {
    let (&stream, _) = sweep.stream.split_first()?;
    if !conds.iter().any(|&cond| mentions(&plan.cascade.exprs, cond, &[stream])) {
        return None;
    }
    // a private copy: the ends of the tile are no expressions of the plan
    let mut cascade = plan.cascade.clone();
    let mut ends: Vec<(VarId, ExprId, ExprId)> = Vec::new();
    let mut extra = Vec::new();
    let first_free = plan.leaves.len();
    let tables = sorted(&plan.cascade);
    for &var in &kernel.resident {
        if only_selects(&plan.cascade, conds, var, &tables) {
            let here = cascade.exprs.var(var);
            ends.push((var, here, here));
            continue;
        }
        let mut end = |which: &str| {
            let leaf = LeafId((first_free + extra.len()) as u32);
            extra.push(format!("{}.{which}", plan.cascade.vars[var.index()].name));
            cascade.exprs.add(Expr::Leaf(leaf, Vec::new()))
        };
        let (first, last) = (end("first"), end("last"));
        ends.push((var, first, last));
    }
    let mut full = Vec::new();
    for var in 0..cascade.vars.len() {
        let var = VarId(var as u32);
        let zero = cascade.exprs.int(0);
        let one = cascade.exprs.int(1);
        let extent = cascade.vars[var.index()].extent;
        let last = (cascade.exprs).map(einloom_cascade::expr::MapOp::Sub, &[extent, one]);
        full.push((zero, last));
    }
    let query = Query {
        stream: &[Level { var: stream, extent: 0 }],
        ends: &|var| {
            let resident = ends.iter().find(|(v, ..)| *v == var);
            let known = resident.map(|&(_, first, last)| (first, last));
            known.or_else(|| full.get(var.index()).copied())
        },
        vars: &plan.cascade.vars,
        inputs: &plan.cascade.inputs,
        sorted: &tables,
    };
    let parts = project(&mut cascade.exprs, conds, &query);
    let leaf = |leaf: LeafId| match leaf.index().checked_sub(first_free) {
        Some(at) => extra[at].clone(),
        None => names.leaf(leaf),
    };
    Some(ranges(&cascade, stream, &parts, &leaf))
}

/// Whether conditions mention a variable, and only as an index of tables along which they are not sorted.
fn only_selects(cascade: &Cascade, conds: &[ExprId], var: VarId, tables: &[Sorted]) -> bool {
    let mut selects = false;
    let mut open = conds.to_vec();
    while let Some(id) = open.pop() {
        match cascade.exprs.get(id) {
            Expr::Var(v) if *v == var => return false,
            Expr::Input(input, places) => {
                for (dim, &place) in places.iter().enumerate() {
                    let plain = matches!(cascade.exprs.get(place), Expr::Var(v) if *v == var);
                    if plain && !tables.contains(&Sorted { input: *input, dim }) {
                        selects = true;
                    } else {
                        open.push(place);
                    }
                }
            }
            _ => open.extend(cascade.exprs.children(id)),
        }
    }
    selects
}

fn ranges(cascade: &Cascade, stream: VarId, parts: &[Part], leaf: &dyn Fn(LeafId) -> String) -> String {
    let formula = Formula::new(cascade, leaf);
    let name = &cascade.vars[stream.index()].name;
    let range = |range: Range| {
        let end = |end: Option<ExprId>| end.map(|id| formula.text(id));
        match (end(range.lo), end(range.hi)) {
            (None, None) => format!("all {name}"),
            (None, Some(hi)) => format!("{name} <= {hi}"),
            (Some(lo), None) => format!("{lo} <= {name}"),
            (Some(lo), Some(hi)) => format!("{lo} <= {name} <= {hi}"),
        }
    };
    if parts.is_empty() {
        return "live never".into();
    }
    let part = |part: &Part| match part.full {
        Some(full) => format!("live {}, untested {}", range(part.live), range(full)),
        None => format!("live {}, tested everywhere", range(part.live)),
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    parts.join("; ")
}
