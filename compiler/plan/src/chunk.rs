//! Chunks (calculus D2): sweeps whose rows share the sums of earlier points as a carried state instead of visiting every pair.
//!
//! Identity: over points that count for all rows of a chunk, `sum_m sum_j alpha_j(p) beta_j(m) = sum_j alpha_j(p) St_j` with
//! `St_j = sum_m beta_j(m)`, the law of separation with late := "mentions p". What is left, the diagonal tile, is absorbed directly into a row
//! that starts at `alpha St` and whose reference starts at that of the state: the two meet as any two parts of a sum do (F2).
//! Side conditions: the only condition that ties p to m is `m <= p + c`, and **all** reductions of the sweep separate.
//! Floating point: sums in another order; `exp(a(p) + b(m))` is kept as `exp(a + g) exp(b - g)` with g the largest `b` so far, so that a decay is
//! a product of factors of at most 1.
//! Cost: a plan says from which extent on the state is cheaper; it keeps the direct form too, and whoever lowers it picks.

mod bound;
mod shared;

use crate::assemble::{Places, SweepKey};
use crate::build::Build;
use crate::ir::{Chunks, EventKind, Sweep};
use crate::separate::{Separation, Streamed};
use crate::state::{Node, PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, Kind, LeafId, MapOp, ReduceOp, VarId};
use shared::Shared;
use std::collections::{BTreeMap, BTreeSet};

/// Stands for the coordinates of rows while a body is separated over them.
const ROW: usize = (1 << 20) - 1;

impl Build<'_> {
    /// The chunks of a sweep of `kernel`, `at` its kernel and sweep in the plan; else why there are none, in words that follow "visited"
    /// (nothing where the sum does not split, or is not worth it).
    pub(crate) fn chunks(
        &mut self,
        at: (usize, usize),
        kernel: usize,
        sweep: &Sweep,
        (references, carries): (&[usize], &[usize]),
        places: &mut Places,
    ) -> Result<Chunks, String> {
        let [stream] = sweep.stream[..] else {
            return Err(String::new());
        };
        if carries.is_empty() {
            return Err(String::new());
        }
        if !sweep.emits.is_empty() {
            return Err("it writes values over its stream".to_owned());
        }
        let inner = sweep.carries.iter().any(|c| !c.inner.is_empty());
        if inner || sweep.references.iter().any(|r| !r.inner.is_empty()) {
            return Err("its tiles are whole blocks".to_owned());
        }
        let mut conds: Vec<Vec<ExprId>> = references.iter().map(|r| self.references[*r].conds.clone()).collect();
        conds.extend(carries.iter().map(|c| self.carries[*c].conds.clone()));
        let (row, last, ties) = self.state.bound(&self.kernels[kernel].resident, stream, &conds)?;
        let before = places.len();
        let mut shared = Shared::new(self, at, row, stream, ties, places);
        let built = shared.build(references, carries);
        let (state, starts, pays_from) = match built {
            Ok(built) => built,
            Err(reason) => {
                places.truncate(before);
                return Err(reason);
            }
        };
        let (references, carries) = starts;
        self.report(
            row,
            stream,
            last,
            sweep,
            &state,
            pays_from,
            carries_node(self, kernel, &sweep.stream),
        );
        Ok(Chunks {
            row,
            last,
            state,
            references,
            carries,
            pays_from,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it in one line of the report")]
    fn report(
        &mut self,
        row: VarId,
        stream: VarId,
        last: ExprId,
        sweep: &Sweep,
        state: &Sweep,
        pays_from: u64,
        span: Option<einloom_syntax::span::Span>,
    ) {
        let names: Vec<&str> = sweep.carries.iter().map(|c| c.name.as_str()).collect();
        let (p, m) = (self.state.var_name(row), self.state.var_name(stream));
        let states: Vec<String> = state.carries.iter().map(|c| c.name.clone()).collect();
        let nothing = |_: LeafId| String::new();
        let last = crate::print::Formula::new(&self.state.cascade, &nothing).text(last);
        let text = format!(
            "D2: {}: rows of a chunk of {p} share {} over {m} <= {last} of its first row; the rest is absorbed row by row; fewer multiply-adds than all pairs from {m} = {pays_from} on",
            names.join(", "),
            states.join(", "),
        );
        self.state.event(EventKind::Rule, span, text);
        for carry in &state.carries {
            let text = format!("{} = {}", carry.name, carry.meaning);
            self.state.event(EventKind::Carry, span, text);
        }
    }
}

/// Where the first reduction over `stream` in a kernel stands.
fn carries_node(build: &Build<'_>, kernel: usize, stream: &[VarId]) -> Option<einloom_syntax::span::Span> {
    let phase = build.kernels[kernel].phase;
    let own = |n: &&Node| n.phase == phase && n.stream == stream;
    build.state.nodes.iter().find(own).map(|n| n.span)
}

impl State {
    /// Says which sweeps are quadratic although every reduction splits over the rows; `done` has the sweeps of all kernels, with the reason where
    /// they have no chunks.
    pub(crate) fn report_chunks(&mut self, done: &[(SweepKey, Option<String>)]) {
        let mut loops: Vec<(u32, Vec<VarId>)> = Vec::new();
        for node in &self.nodes {
            let key = (node.sweep, node.stream.clone());
            if !loops.contains(&key) {
                loops.push(key);
            }
        }
        for key in loops {
            let found = done.iter().filter(|(k, _)| *k == key);
            let reasons: Option<Vec<&String>> = found.map(|(_, reason)| reason.as_ref()).collect();
            let Some(reasons) = reasons else { continue };
            let reason = reasons.into_iter().find(|r| !r.is_empty()).cloned();
            let (sweep, stream) = key;
            let members = self.nodes.iter().filter(|n| n.sweep == sweep && n.stream == stream);
            let members: Vec<Node> = members.cloned().collect();
            let rows: Option<Vec<BTreeSet<VarId>>> = members.iter().map(|n| self.splits_over_rows(n)).collect();
            let Some(rows) = rows else { continue };
            let names: Vec<&str> = members.iter().map(|n| n.name.as_str()).collect();
            let list = |vars: &mut dyn Iterator<Item = VarId>| {
                let names: Vec<String> = vars.map(|v| self.var_name(v).to_owned()).collect();
                names.join(", ")
            };
            let rows: BTreeSet<VarId> = rows.into_iter().flatten().collect();
            let (rows, over) = (list(&mut rows.into_iter()), list(&mut stream.iter().copied()));
            let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
            let text = format!(
                "{}: splits over {rows} and {over}, but chunks with a carried state (D2) are not applied: every pair of {rows} and {over} is visited{reason}",
                names.join(", ")
            );
            self.event(EventKind::Rejected, Some(members[0].span), text);
        }
    }

    /// The big rows that the domain couples to the stream, if the sum separates over them.
    fn splits_over_rows(&mut self, node: &Node) -> Option<BTreeSet<VarId>> {
        if node.op != ReduceOp::Sum || self.kind(node.body) != Kind::Real {
            return None;
        }
        let streamed: BTreeSet<VarId> = node.stream.iter().chain(&node.inner).copied().collect();
        let mut rows = BTreeSet::new();
        for &cond in &node.conds {
            let free = self.free(cond);
            if free.iter().any(|v| streamed.contains(v)) {
                rows.extend(
                    free.iter()
                        .copied()
                        .filter(|v| self.is_big(*v) && !streamed.contains(v)),
                );
            }
        }
        if rows.is_empty() {
            return None;
        }
        let row = self.leaf(PlanLeaf::Crossing(ROW), &[]);
        let map: BTreeMap<_, _> = rows.iter().map(|v| (*v, row)).collect();
        let body = self.substitute(node.body, &map);
        let body = self.spread_coordinates(body);
        let late: BTreeSet<LeafId> = [PlanLeaf::Crossing(ROW).id()].into();
        let mut taken: BTreeSet<VarId> = node.params.iter().copied().collect();
        taken.extend(&streamed);
        // a local rank that both factors mention is a rank of the state
        let mut separation = Separation {
            state: self,
            late,
            vars: Streamed::These(node.stream.iter().copied().collect()),
            taken,
        };
        separation.separate(body).ok().map(|_| rows)
    }

    /// `real(p - m)` as `real(p) - real(m)`, so that decays of a distance split.
    fn spread_coordinates(&mut self, e: ExprId) -> ExprId {
        self.rewrite(e, &mut BTreeMap::new(), &mut |state, e| {
            let Expr::Map(MapOp::ToReal, args) = state.expr(e).clone() else {
                return None;
            };
            Some(state.spread(args[0]))
        })
    }

    fn spread(&mut self, int: ExprId) -> ExprId {
        match self.expr(int).clone() {
            Expr::Map(op @ (MapOp::Add | MapOp::Sub | MapOp::Neg), args) => {
                let args: Vec<ExprId> = args.into_iter().map(|arg| self.spread(arg)).collect();
                self.arena().map(op, &args)
            }
            _ => self.map1(MapOp::ToReal, int),
        }
    }
}
