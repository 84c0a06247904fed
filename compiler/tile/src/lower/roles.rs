//! Which variables of a kernel are rows, which are grid coordinates.
//!
//! Rows are the resident variables on which the streamed operands of dots do not depend: a tile of them shares every
//! streamed tile. An operand is streamed (right) if it is indexed by a local variable and by a further variable that is
//! not resident: keys `K[b,g,m,e]`, values `V[b,g,m,f]`, a state `St[b,h,e,f]`; the queries `Q[b,h,p,e]` are not.
//! The pieces of a split sweep are no rows: each streams a range of its own.
//! If no resident variable is free of them, the rows are a local variable of the accumulators (`St[e,f]`: e).

use super::error::{LowerError, Result};
use super::facts::{FreeVars, const_extent};
use einloom_cascade::expr::{Arena, Expr, ExprId, VarId};
use einloom_plan::ir::{FusedPlan, Kernel};
use std::collections::BTreeSet;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Resident variables, maybe with local ones behind, flattened row-major.
    Group(Vec<VarId>),
    /// The first dimension of accumulators with two dimensions (or the only one), by extent.
    Dim(i64),
    /// One row.
    Single,
}

/// The roles of one kernel's variables.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    pub(crate) rows: Rows,
    /// Resident variables that are scalars of a block, outermost first.
    pub(crate) grid: Vec<VarId>,
}

/// All expressions of a kernel.
pub(crate) fn roots(kernel: &Kernel) -> Vec<ExprId> {
    let mut list = Vec::new();
    for sweep in &kernel.sweeps {
        for r in &sweep.references {
            list.push(r.form);
            list.extend(&r.conds);
        }
        for c in &sweep.carries {
            list.push(c.streamed);
            list.extend(&c.conds);
        }
        for store in &sweep.emits {
            list.push(store.value);
            list.extend(&store.conds);
        }
    }
    for store in &kernel.stores {
        list.push(store.value);
        list.extend(&store.conds);
    }
    list
}

/// Accesses (`Input` nodes and leaves with indices) below an expression.
pub(crate) fn accesses(arena: &Arena, id: ExprId, seen: &mut BTreeSet<ExprId>, found: &mut Vec<ExprId>) {
    if !seen.insert(id) {
        return;
    }
    if matches!(arena.get(id), Expr::Input(..) | Expr::Leaf(..)) {
        found.push(id);
    }
    for child in arena.children(id) {
        accesses(arena, child, seen, found);
    }
}

fn base_name(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
        .trim_end_matches('_')
}

fn is_atom(plan: &FusedPlan, var: VarId, atom: &str) -> bool {
    let name = &plan.cascade.vars[var.index()].name;
    name == atom || base_name(name) == atom
}

/// Rows that leave half of the smallest tile empty.
const FEW: i64 = 32;

/// Chooses rows and grid coordinates. Where few rows are `expected`, further variables that share the streamed operands lie on the same tile (the heads of a group,
/// at one query).
pub(crate) fn choose(
    plan: &FusedPlan,
    arena: &Arena,
    free: &mut FreeVars,
    kernel: &Kernel,
    expected: &dyn Fn(VarId) -> Option<i64>,
) -> Result<Roles> {
    let vars = &plan.cascade.vars;
    let columns: BTreeSet<VarId> = kernel
        .sweeps
        .iter()
        .flat_map(|s| s.stream.iter().chain(s.carries.iter().flat_map(|c| &c.inner)))
        .copied()
        .collect();
    let resident: BTreeSet<VarId> = kernel.resident.iter().copied().collect();
    let partner = |v: VarId| {
        const_extent(arena, vars, v).is_some()
            && plan.cascade.composites.iter().any(|c| {
                c.atoms.iter().any(|a| is_atom(plan, v, a))
                    && c.atoms.iter().any(|a| resident.iter().any(|&r| is_atom(plan, r, a)))
            })
    };
    let mut shared = BTreeSet::new();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for root in roots(kernel) {
        accesses(arena, root, &mut seen, &mut found);
    }
    for access in found {
        let used = free.of(arena, access);
        let local = |v: &&VarId| !resident.contains(v) && !columns.contains(v) && !partner(**v);
        let locals = used.iter().filter(local).count();
        let streamed = used.iter().any(|v| columns.contains(v));
        if locals >= 2 || (locals == 1 && streamed) {
            shared.extend(used.iter().filter(|v| resident.contains(v)).copied());
        }
    }
    let candidates: Vec<VarId> = kernel
        .resident
        .iter()
        .copied()
        .filter(|v| !shared.contains(v) && kernel.piece != Some(*v))
        .collect();
    let rows = if candidates.is_empty() {
        without_candidates(plan, arena, kernel)?
    } else {
        let rows = filled(group(plan, &candidates, kernel), &candidates, expected);
        with_reference_dims(rows, kernel)
    };
    let taken: Vec<VarId> = match &rows {
        Rows::Group(list) => list.clone(),
        _ => Vec::new(),
    };
    let grid = kernel.resident.iter().copied().filter(|v| !taken.contains(v)).collect();
    Ok(Roles { rows, grid })
}

/// Adds candidates in front of a group of few rows, innermost first, while there are few.
fn filled(rows: Rows, candidates: &[VarId], expected: &dyn Fn(VarId) -> Option<i64>) -> Rows {
    let Rows::Group(mut list) = rows else { return rows };
    let count = |list: &[VarId]| list.iter().map(|&v| expected(v)).product::<Option<i64>>();
    for &more in candidates.iter().rev() {
        if count(&list).is_none_or(|rows| rows > FEW) {
            break;
        }
        // one coordinate fills nothing, and a group of two variables is no box of the queries
        if !list.contains(&more) && expected(more) != Some(1) {
            list.insert(0, more);
        }
    }
    Rows::Group(list)
}

/// The composite rank around the innermost candidate, as far as its atoms can be rows.
fn group(plan: &FusedPlan, candidates: &[VarId], kernel: &Kernel) -> Rows {
    let dims: BTreeSet<VarId> = kernel
        .sweeps
        .iter()
        .flat_map(|s| s.carries.iter().flat_map(|c| &c.dims))
        .chain(kernel.stores.iter().flat_map(|s| &s.vars))
        .copied()
        .collect();
    let usable = |atom: &str| {
        candidates
            .iter()
            .chain(&dims)
            .copied()
            .find(|&v| is_atom(plan, v, atom))
    };
    let whole = |v: VarId| {
        plan.cascade
            .composites
            .iter()
            .filter(|c| c.atoms.iter().any(|a| is_atom(plan, v, a)))
            .all(|c| c.atoms.iter().all(|a| usable(a).is_some()))
    };
    let pick = candidates
        .iter()
        .rev()
        .copied()
        .find(|&v| whole(v))
        .or(candidates.last().copied());
    let Some(pick) = pick else { return Rows::Single };
    let composite = plan
        .cascade
        .composites
        .iter()
        .find(|c| c.atoms.iter().any(|a| is_atom(plan, pick, a)));
    let Some(composite) = composite.filter(|_| whole(pick)) else {
        return Rows::Group(vec![pick]);
    };
    let list: Vec<VarId> = composite.atoms.iter().filter_map(|a| usable(a)).collect();
    Rows::Group(if list.contains(&pick) { list } else { vec![pick] })
}

/// A reference is one value a row, so that its local ranks (heads of a group with a constant size) lie behind the rows.
fn with_reference_dims(rows: Rows, kernel: &Kernel) -> Rows {
    let Rows::Group(mut list) = rows else { return rows };
    for &dim in kernel.sweeps.iter().flat_map(|s| &s.references).flat_map(|r| &r.dims) {
        if !list.contains(&dim) {
            list.push(dim);
        }
    }
    Rows::Group(list)
}

fn without_candidates(plan: &FusedPlan, arena: &Arena, kernel: &Kernel) -> Result<Rows> {
    let widest = kernel
        .sweeps
        .iter()
        .flat_map(|s| &s.carries)
        .map(|c| c.dims.as_slice())
        .max_by_key(|d| d.len());
    let referred = kernel
        .sweeps
        .iter()
        .flat_map(|s| &s.references)
        .flat_map(|r| &r.dims)
        .next();
    let first = referred.or(widest.and_then(|d| d.first())).copied();
    if let Some(var) = first {
        let extent = const_extent(arena, &plan.cascade.vars, var).ok_or_else(|| {
            LowerError::unsupported(
                "an accumulator over a rank of run-time extent",
                plan.cascade.vars[var.index()].name.clone(),
            )
        })?;
        return Ok(Rows::Dim(extent));
    }
    Ok(kernel.resident.last().map_or(Rows::Single, |&v| Rows::Group(vec![v])))
}
