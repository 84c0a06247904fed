//! Whether sweeps are split into pieces, where the extents of launches are known: by the machine model.

use einloom_cascade::expr::VarId;
use einloom_plan::ir::FusedPlan;
use einloom_plan::split::{self, Split};
use einloom_tile::lower::{expected_cost, expected_extent};
use einloom_tile::machine::MachineModel;
use einloom_tile::model::Device;
use einloom_tile::schedule::ShapeClass;

/// Points of a piece are whole tiles of the widest schedules.
const GRAIN: i64 = 128;

/// Rows of the largest tiles.
const MOST_ROWS: i64 = 192;

/// Pieces for each place that the whole kernel leaves empty: a block's start and end hide behind another one's work.
const PER_PLACE: [f64; 3] = [1.0, 2.0, 4.0];

/// What the model must promise of pieces, as a part of the time of the whole: it is no more precise than that.
const CLEARLY: f64 = 0.9;

/// The plan, or the same plan in pieces of such a length that the model expects the launch to be clearly faster. Plans whose grids fill the device stay whole, and so do
/// those whose extents are not known and those of specs that say how they are split.
pub fn fitted(plan: FusedPlan, target: &str, shape: &ShapeClass) -> FusedPlan {
    let machine = MachineModel::named(target);
    let auto = Split::of(&plan.cascade) == Split::Auto;
    let Some(machine) = machine.filter(|_| auto) else {
        return plan;
    };
    let candidates: Vec<usize> = (0..plan.kernels.len())
        .filter(|&k| split::splittable(&plan, k).is_ok())
        .collect();
    let [kernel] = candidates[..] else {
        return plan;
    };
    let stream = plan.kernels[kernel].sweeps[0].stream[0];
    let extent = |var: VarId| expected_extent(&plan, plan.cascade.vars[var.index()].extent, shape);
    let rows: Option<i64> = plan.kernels[kernel].resident.iter().map(|&v| extent(v)).product();
    // Enough rows for every multiprocessor: not worth a look at the model.
    let device = Device::named("", machine.name);
    if rows.is_none_or(|n| n >= MOST_ROWS * device.multiprocessors as i64) {
        return plan;
    }
    let points = extent(stream).filter(|n| *n > GRAIN);
    let whole = points.and_then(|n| Some((n, expected_cost(&plan, machine, shape)?)));
    let Some((points, whole)) = whole else { return plan };
    let waves = whole.waves[kernel];
    if waves >= 0.75 {
        return plan;
    }
    let mut best = (CLEARLY * whole.us, None);
    let mut tried = Vec::new();
    for per_place in PER_PLACE {
        let pieces = (per_place / waves).clamp(1.0, points as f64);
        let length = ((points as f64 / pieces / GRAIN as f64).ceil() as i64 * GRAIN).max(GRAIN);
        if length >= points || tried.contains(&length) {
            continue;
        }
        tried.push(length);
        let mut split = plan.clone();
        if split::split(&mut split, kernel, length).is_err() {
            continue;
        }
        if let Some(cost) = expected_cost(&split, machine, shape).filter(|c| c.us < best.0) {
            best = (cost.us, Some(split));
        }
    }
    best.1.unwrap_or(plan)
}

#[cfg(test)]
mod tests {
    use crate::case::{Case, DeviceArg, Runner, shape_class};
    use crate::data::layout::Layout;
    use crate::data::shapes::{self, Given};
    use crate::pipeline;
    use crate::session::Session;
    use crate::verify::references;
    use einloom_cascade::ir::{Cascade, Policy};
    use einloom_plan::ir::FusedPlan;
    use einloom_tile::schedule::ShapeClass;
    use std::path::Path;

    fn cascade(given: &Given, policy: &str) -> Cascade {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl-examples");
        let loaded = Session::new().load(&folder.join("causal.ein")).expect("an example");
        let fits = |(name, value): &(String, String)| given.get(name).is_none_or(|v| v == value);
        let mut cascades = loaded.cascades.into_iter();
        let mut cascade = cascades.find(|c| c.choices.iter().all(fits)).expect("a specialisation");
        cascade.policies.push(Policy {
            key: "split".to_owned(),
            names: Vec::new(),
            value: policy.to_owned(),
            span: cascade.defs[0].span,
        });
        cascade
    }

    fn given(text: &str) -> Given {
        let pair = |part: &str| part.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
        text.split(',').filter_map(pair).collect()
    }

    fn fitted(policy: &str, text: &str) -> FusedPlan {
        let given = given(text);
        let cascade = cascade(&given, policy);
        let plan = pipeline::plan(&cascade).expect("a plan");
        let symbols = shapes::symbols(&cascade, &given, |_| 1).expect("extents");
        let shape = ShapeClass {
            extents: symbols.into_iter().map(Some).collect(),
            ..ShapeClass::aligned(&plan, 16)
        };
        super::fitted(plan, "sm_90a", &shape)
    }

    #[test]
    fn one_query_and_a_long_cache_are_split() {
        let plan = fitted("auto", "e=128,T=bf16,b=1,p=1,m=16384,h=32,g=8");
        assert!(plan.kernels[0].piece.is_some(), "{}", einloom_plan::print::print(&plan));
        assert_eq!(plan.kernels.len(), 2);
    }

    #[test]
    fn what_fills_the_card_or_must_not_be_split_stays_whole() {
        let decode = "e=128,T=bf16,b=1,p=1,m=16384,h=32,g=8";
        let whole = |policy, shape| fitted(policy, shape).kernels.len() == 1;
        assert!(whole("auto", "e=128,T=bf16,b=4,p=4096,m=4096,h=16,g=16"), "prefill");
        assert!(whole("auto", "e=128,T=bf16,b=64,p=1,m=4096,h=32,g=32"), "a large batch");
        assert!(whole("auto", "e=128,T=bf16,b=1,p=1,m=96,h=32,g=8"), "a short cache");
        assert!(whole("off", decode), "off");
    }

    /// Heads of a group on one tile, keys in pieces: the numbers are those of the spec, at shapes that divide nothing.
    #[test]
    fn launches_in_pieces_are_right() {
        let given = given("e=64,T=bf16,b=1,p=2,m=2100,h=6,g=2");
        let cascade = cascade(&given, "auto");
        let symbols = shapes::symbols(&cascade, &given, |_| 1).expect("extents");
        let case = Case::from_symbols(&cascade, &given, &symbols, 7).expect("inputs");
        let plan = pipeline::plan(&cascade).expect("a plan");
        let runner = Runner::new(DeviceArg::Cpu).expect("the interpreter");
        let shape = shape_class(&plan, &case.inputs.shapes(), &case.extents, Layout::Dense);
        let split = super::fitted(plan.clone(), runner.target(), &shape);
        assert!(split.kernels[0].piece.is_some(), "the case is to be one in pieces");
        let outputs = runner.run(&plan, None, &case, Layout::Dense).expect("a run");
        for (reference, found) in references(&cascade, &case.inputs, 7)
            .expect("the oracle")
            .iter()
            .zip(&outputs)
        {
            let accuracy = reference.compare(found);
            assert!(accuracy.holds(), "{accuracy:?}");
        }
    }
}
