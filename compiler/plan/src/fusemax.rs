//! Loops of the cascade as written (FuseMax): `pass(n) = max over inputs of pass(input) + 1` if n iterates a rank that the input lacks and depends on a
//! reduction over it, else `pass(input)`.
//!
//! Counted over R-nodes: reading a value that was reduced, in a reduction that iterates again, costs another pass. Reductions with equal
//! pass and equal stream share a loop; the count is that of different loops.

use crate::state::State;
use einloom_cascade::expr::VarId;
use std::collections::BTreeSet;

impl State {
    /// The number of loops if nothing were rewritten.
    pub(crate) fn passes_written(&mut self) -> u32 {
        let mut passes: Vec<u32> = Vec::new();
        for index in 0..self.nodes.len() {
            let node = self.nodes[index].clone();
            let mut pass = 1;
            for e in node.conds.iter().chain([&node.body]) {
                for value in self.values(*e) {
                    pass = pass.max(passes[value] + 1);
                }
            }
            passes.push(pass);
        }
        let mut loops: BTreeSet<(u32, Vec<VarId>)> = BTreeSet::new();
        for (node, pass) in self.nodes.iter().zip(&passes) {
            loops.insert((*pass, sorted(&node.stream)));
        }
        for output in 0..self.cascade.outputs.len() {
            let def = self.cascade.outputs[output].def.index();
            let body = self.bodies[def];
            let dims = self.cascade.defs[def].dims.clone();
            for (value, _) in self.reads(body) {
                // Written behind values over a rank that they were reduced over: one more pass.
                let stream = self.nodes[value].stream.clone();
                if stream.iter().all(|v| dims.contains(v)) {
                    loops.insert((passes[value] + 1, sorted(&stream)));
                }
            }
        }
        u32::try_from(loops.len()).unwrap_or(u32::MAX)
    }

    /// Loops of the plan.
    pub(crate) fn loops(keys: impl Iterator<Item = (u32, Vec<VarId>)>) -> u32 {
        let loops: BTreeSet<(u32, Vec<VarId>)> = keys.map(|(k, s)| (k, sorted(&s))).collect();
        u32::try_from(loops.len()).unwrap_or(u32::MAX)
    }
}

fn sorted(stream: &[VarId]) -> Vec<VarId> {
    let mut stream = stream.to_vec();
    stream.sort();
    stream
}
