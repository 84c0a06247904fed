//! Chunks (calculus D2): sweeps that could carry a state instead of visiting every pair, for the report.
//!
//! A sum over `m <= p` whose body separates with late := "mentions p" needs on tiles without tests only `sum_j alpha_j(p) St_j`,
//! `St_j = sum_m beta_j(m)` being carried from chunk to chunk. Such plans are not built: the sweep is right, and quadratic.

use crate::ir::EventKind;
use crate::separate::{Separation, Streamed};
use crate::state::{Node, PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, Kind, LeafId, MapOp, ReduceOp, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for the coordinates of rows while a body is separated over them.
const ROW: usize = (1 << 20) - 1;

impl State {
    /// Says which sweeps are quadratic only because chunks are not built: those in which every reduction splits over the rows.
    pub(crate) fn report_chunks(&mut self) {
        let mut loops: Vec<(u32, Vec<VarId>)> = Vec::new();
        for node in &self.nodes {
            let key = (node.sweep, node.stream.clone());
            if !loops.contains(&key) {
                loops.push(key);
            }
        }
        for (sweep, stream) in loops {
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
            let text = format!(
                "{}: splits over {rows} and {over}, but chunks with a carried state (D2) are not applied: every pair of {rows} and {over} is visited",
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
