//! Loaded tiles that go through several functions to become a 16-bit operand: `max(K, 0) + exp(min(K, 0))`.
//!
//! Such a chain can be computed element by element as the loads arrive, so that only the loaded tile and the operand are ever whole. What lies
//! between is formed where it is used, if all of that stands in one run of pointwise operations: behind a barrier, a dot or a loop, values are kept.

use super::is_tile;
use crate::ir::{Elem, Op, Stmt, TileProgram, ValueId};
use crate::lower::arguments;

/// Where a value stands in chains.
#[derive(Clone, Default)]
struct Link {
    /// Run of pointwise operations in which it is made of loaded tiles; 0: it is not.
    run: usize,
    loaded: bool,
    /// Something beside the chain reads it.
    kept: bool,
    /// What the chain makes of it.
    next: Vec<ValueId>,
}

struct Chains<'p> {
    program: &'p TileProgram,
    costs: &'p [u64],
    links: Vec<Link>,
    run: usize,
}

/// Costs nothing for values inside of chains.
pub(super) fn free(program: &TileProgram, costs: &mut [u64]) {
    let mut chains = Chains {
        program,
        costs,
        links: vec![Link::default(); program.values.len()],
        run: 1,
    };
    chains.walk(&program.body);
    let links = chains.links;
    // A value is defined before those that are made of it.
    let mut inside = vec![false; links.len()];
    for (at, link) in links.iter().enumerate().rev() {
        let ends = |v: &ValueId| {
            let elem = program.values[v.index()].elem;
            inside[v.index()] || matches!(elem, Elem::F16 | Elem::BF16)
        };
        inside[at] = link.run > 0 && !link.loaded && !link.kept && link.next.iter().all(ends);
        if inside[at] {
            costs[at] = 0;
        }
    }
}

impl Chains<'_> {
    fn walk(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Let(v, op @ (Op::Load { .. } | Op::LoadShared { .. })) if is_tile(self.program, *v) => {
                    arguments(op).into_iter().for_each(|a| self.keep(a));
                    let link = &mut self.links[v.index()];
                    (link.run, link.loaded) = (self.run, true);
                }
                Stmt::Let(v, op @ (Op::Math(..) | Op::Cast(_))) => self.pointwise(*v, op),
                Stmt::Let(_, op) => {
                    arguments(op).into_iter().for_each(|a| self.keep(a));
                    // Coordinates and constants are no reason to wait.
                    if matches!(op, Op::Dot { .. } | Op::RowReduce(..) | Op::QuadReduce(..)) {
                        self.run += 1;
                    }
                }
                Stmt::For { carried, body, .. } | Stmt::Guard { carried, body, .. } => {
                    carried.iter().for_each(|c| self.keep(c.init));
                    self.inside(body);
                    carried.iter().for_each(|c| self.keep(c.next));
                }
                Stmt::If { body, .. } => self.inside(body),
                Stmt::Store { value, .. } | Stmt::StoreShared { value, .. } => self.keep(*value),
                _ => self.run += 1,
            }
        }
    }

    fn inside(&mut self, body: &[Stmt]) {
        self.run += 1;
        self.walk(body);
        self.run += 1;
    }

    fn pointwise(&mut self, v: ValueId, op: &Op) {
        let tiles: Vec<ValueId> = arguments(op)
            .into_iter()
            .filter(|a| is_tile(self.program, *a) && self.costs[a.index()] > 0)
            .collect();
        let own = |a: &ValueId| self.links[a.index()].run == self.run;
        if is_tile(self.program, v) && !tiles.is_empty() && tiles.iter().all(own) {
            self.links[v.index()].run = self.run;
            tiles.into_iter().for_each(|a| self.links[a.index()].next.push(v));
        } else {
            tiles.into_iter().for_each(|a| self.keep(a));
        }
    }

    fn keep(&mut self, v: ValueId) {
        self.links[v.index()].kept = true;
    }
}
