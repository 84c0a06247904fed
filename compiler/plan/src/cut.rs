//! Kernel cutting: where each output is written (calculus section 2).
//!
//! An output whose row coordinates are exactly a kernel's grid is a store of that kernel; one that also carries the streamed ranks behind finished
//! values is an emit in the sweep after them; anything else is a map kernel that reads crossings.

use crate::PlanError;
use crate::build::{Build, BuildStore};
use crate::ir::{EventKind, Target};
use einloom_cascade::expr::{Expr, ExprId, VarId};
use std::collections::BTreeSet;

impl Build<'_> {
    /// Places every output.
    pub(crate) fn place_outputs(&mut self) {
        let mut order: Vec<usize> = (0..self.state.cascade.outputs.len()).collect();
        // Outputs that combine several streams first, so that the others join their kernel.
        order.sort_by_key(|o| {
            let def = self.state.cascade.outputs[*o].def.index();
            let values = self.state.values(self.state.bodies[def]);
            let streams: BTreeSet<Vec<VarId>> = values.iter().map(|n| self.state.nodes[*n].stream.clone()).collect();
            std::cmp::Reverse(streams.len())
        });
        for output in order {
            self.place_output(output);
        }
    }

    fn place_output(&mut self, output: usize) {
        let out = self.state.cascade.outputs[output].clone();
        let def = self.state.cascade.defs[out.def.index()].clone();
        let body = self.state.bodies[out.def.index()];
        let body = self.state.fold_finished(body, &BTreeSet::new());
        let conds = self.state.conds[out.def.index()].clone();
        let (resident, local): (Vec<VarId>, Vec<VarId>) = def.dims.iter().copied().partition(|v| self.state.is_big(*v));
        let mut reads = self.state.reads(body);
        for c in &conds {
            reads.extend(self.state.reads(*c));
        }
        let phase = reads.iter().map(|(n, _)| self.state.nodes[*n].phase).max().unwrap_or(0);
        let top: Vec<(usize, Vec<ExprId>)> = reads
            .iter()
            .filter(|(n, _)| self.state.nodes[*n].phase == phase)
            .cloned()
            .collect();
        let mut store = BuildStore {
            target: Target::Output(output),
            vars: local,
            conds,
            value: body,
            places: out.places.clone(),
        };
        let grid: BTreeSet<VarId> = resident.iter().copied().collect();
        match self.home(&top, &grid) {
            _ if reads.is_empty() => {
                let kernel = self.kernel(0, &[], &resident, &def.name);
                self.put(kernel, store);
            }
            Home::Store(streams) => {
                let kernel = self.kernel(phase, &streams, &resident, &def.name);
                self.put(kernel, store);
            }
            Home::Emit(rows, stream) => {
                let sweep = 1 + top.iter().map(|(n, _)| self.state.nodes[*n].ready).max().unwrap_or(0);
                let rows: Vec<VarId> = resident.iter().copied().filter(|v| rows.contains(v)).collect();
                let kernel = self.kernel(phase, std::slice::from_ref(&stream), &rows, &def.name);
                let text = format!(
                    "{}: written over {} behind values reduced over it",
                    def.name,
                    self.names(&stream)
                );
                self.state.event(EventKind::Rejected, Some(def.span), text);
                store.value = self.resolve(kernel, store.value);
                store.conds = store.conds.iter().map(|c| self.resolve(kernel, *c)).collect();
                self.kernels[kernel].emits.push((sweep, stream, store));
            }
            Home::Map => {
                let kernel = self.kernel(phase + 1, &[], &resident, &def.name);
                self.put(kernel, store);
            }
        }
    }

    pub(crate) fn names(&self, vars: &[VarId]) -> String {
        let names: Vec<&str> = vars.iter().map(|v| self.state.var_name(*v)).collect();
        names.join(", ")
    }

    fn put(&mut self, kernel: usize, mut store: BuildStore) {
        store.value = self.resolve(kernel, store.value);
        store.conds = store.conds.iter().map(|c| self.resolve(kernel, *c)).collect();
        for e in store.conds.iter().chain([&store.value]) {
            let left = self.state.values(*e);
            if let Some(node) = left.first() {
                let n = &self.state.nodes[*node];
                self.errors.push(PlanError::new(
                    Some(n.span),
                    format!("{}: its value reaches no kernel", n.name),
                ));
            }
        }
        self.kernels[kernel].stores.push(store);
    }

    /// Where an output with the row coordinates `grid` over these values of the last phase is written.
    fn home(&mut self, top: &[(usize, Vec<ExprId>)], grid: &BTreeSet<VarId>) -> Home {
        let mut rows: BTreeSet<VarId> = BTreeSet::new();
        let mut streams: Vec<Vec<VarId>> = Vec::new();
        for (node, indices) in top {
            for (v, e) in self.state.big_indices(*node, indices) {
                if !matches!(self.state.expr(e), Expr::Var(w) if *w == v) {
                    return Home::Map;
                }
                rows.insert(v);
            }
            let stream = self.state.nodes[*node].stream.clone();
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        if rows == *grid {
            return Home::Store(streams);
        }
        if let [stream] = streams.as_slice() {
            let mut with_stream = rows.clone();
            with_stream.extend(stream.iter().copied());
            if with_stream == *grid {
                return Home::Emit(rows, stream.clone());
            }
        }
        Home::Map
    }
}

enum Home {
    Store(Vec<Vec<VarId>>),
    Emit(BTreeSet<VarId>, Vec<VarId>),
    Map,
}
