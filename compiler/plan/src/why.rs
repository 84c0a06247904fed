//! Texts of the *why* report for separations.

use crate::ir::EventKind;
use crate::separate::Term;
use crate::state::State;
use einloom_cascade::expr::LeafId;
use std::collections::BTreeSet;

impl State {
    /// Says which rules let late values leave a reduction.
    pub(crate) fn report_rules(&mut self, node: usize, sweep: u32, late: &BTreeSet<LeafId>, terms: &[Term]) {
        if late.is_empty() {
            return;
        }
        let name = self.nodes[node].name.clone();
        let mut rules: Vec<&str> = Vec::new();
        if terms.iter().any(|t| !t.row.exponent.is_zero()) {
            rules.push("S3 exp splits");
        }
        if terms.iter().any(|t| t.row.factors.iter().any(|(_, k)| k.num < 0)) {
            rules.push("S2 deferred division");
        }
        if terms.iter().any(|t| !t.shared.is_empty()) {
            rules.push("S6 contraction with a late value");
        }
        if terms.len() > 1 {
            rules.push("S1 several terms");
        }
        let late: Vec<String> = late
            .iter()
            .filter_map(|l| match crate::state::PlanLeaf::of(*l) {
                crate::state::PlanLeaf::Value(n) => Some(self.nodes[n].name.clone()),
                _ => None,
            })
            .collect();
        let rules = if rules.is_empty() {
            "row factors leave the sum".to_owned()
        } else {
            rules.join(", ")
        };
        let text = format!("{name}: in sweep {sweep} before {} is known: {rules}", late.join(", "));
        let span = Some(self.nodes[node].span);
        self.event(EventKind::Rule, span, text);
    }
}
