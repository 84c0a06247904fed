//! Extents that stand for usual work where none are given: what `bench` and `tune` measure, and what `compile` looks tuned schedules up by.

use super::shapes::{self, Given, ShapeError};
use crate::pipeline;
use einloom_cascade::expr::SymId;
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;

/// Symbol values: the given ones; long ranks 4096, the first other rank 4 (a batch), the others 16 (heads).
///
/// # Errors
/// Names that the cascade does not have, values that are no extents.
pub fn symbols(cascade: &Cascade, plan: &FusedPlan, given: &Given) -> Result<Vec<i64>, ShapeError> {
    let long = pipeline::long_symbols(plan);
    let mut first = true;
    let defaults: Vec<(String, i64)> = cascade
        .symbols
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let n = if long.contains(&SymId(i as u32)) {
                4096
            } else if std::mem::take(&mut first) {
                4
            } else {
                16
            };
            (s.name.clone(), n)
        })
        .collect();
    let default = |name: &str| defaults.iter().find(|(n, _)| n == name).map_or(16, |(_, n)| *n);
    shapes::symbols(cascade, given, default)
}

/// Extents that defaults may count on: all of [`symbols`] if one of them was given at least, and none otherwise.
pub fn expected(cascade: &Cascade, given: &Given, symbols: &[i64]) -> Vec<Option<i64>> {
    let names =
        |s: &einloom_cascade::ir::Symbol| given.contains_key(&s.name) || given.contains_key(&s.name.to_lowercase());
    let known = cascade.symbols.iter().any(names);
    symbols.iter().map(|n| known.then_some(*n)).collect()
}
