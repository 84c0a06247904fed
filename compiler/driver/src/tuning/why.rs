//! Sections of the report: a winner with its measurements, and why the machine model thinks that it wins.

use super::problem::{Problem, spec_hash};
use crate::data::shapes::Given;
use crate::pipeline;
use crate::predict;
use crate::session::choice_text;
use einloom_cascade::ir::Cascade;
use einloom_tile::dimensions::{DIMENSIONS, from_text};
use einloom_tile::model::{Bound, Device, Prediction};
use einloom_tune::database::Database;
use einloom_tune::record::{Measurement, Record, Winner};
use einloom_tune::report::{Roof, Section};

/// A section for each winner of a specialisation in a database.
pub fn sections(database: &Database, cascade: &Cascade, given: &Given) -> Vec<Section> {
    let spec = spec_hash(cascade);
    let winners = database.winners();
    let ours = winners.iter().map(|t| t.winner).filter(|w| w.key.spec == spec);
    ours.map(|winner| section(database, cascade, given, winner)).collect()
}

fn section(database: &Database, cascade: &Cascade, given: &Given, winner: &Winner) -> Section {
    let device = Device::named(&winner.key.device, &winner.key.target);
    let chip = device.multiprocessors as f64 * device.clock_ghz * 1e9;
    let mut roofs = vec![Roof {
        name: "mma.sync".to_owned(),
        flops: device.mma_flops * chip,
    }];
    if winner.key.target == "sm_90a" && device.wgmma_flops > 0.0 {
        roofs.push(Roof {
            name: "wgmma".to_owned(),
            flops: device.wgmma_flops * chip,
        });
    }
    let measurements: Vec<Measurement> = database
        .records()
        .filter_map(|record| match record {
            Record::Measurement(m) if m.key == winner.key && m.shape == winner.shape => Some(m.clone()),
            _ => None,
        })
        .collect();
    Section {
        why: why(cascade, given, winner, device).unwrap_or_default(),
        winner: winner.clone(),
        measurements,
        roofs,
        bandwidth: device.dram_gbs * 1e9,
    }
}

/// Sentences; `None` where the winner does not compile any more.
fn why(cascade: &Cascade, given: &Given, winner: &Winner, device: &Device) -> Option<Vec<String>> {
    if winner.schedules == winner.default {
        return Some(vec!["The default is the fastest candidate that was found.".to_owned()]);
    }
    let symbols: Vec<i64> = cascade
        .symbols
        .iter()
        .map(|s| winner.shape.get(&s.name).copied())
        .collect::<Option<_>>()?;
    let problem = Problem::new(cascade, given, &symbols, 0).ok()?;
    let ours = predictions(&problem, &winner.schedules, &winner.key.target, device)?;
    let theirs = predictions(&problem, &winner.default, &winner.key.target, device)?;
    let mut lines = Vec::new();
    for (k, (new, old)) in winner.schedules.iter().zip(&winner.default).enumerate() {
        if new != old {
            let name = &problem.plan.kernels.get(k)?.name;
            lines.push(format!("Kernel {name}: {}.", difference(old, new)?));
            compare(&mut lines, theirs.get(k)?, ours.get(k)?);
        }
    }
    let sum = |list: &[Prediction]| list.iter().map(|p| p.us).sum::<f64>();
    let (expected, default) = (sum(&ours), sum(&theirs));
    if expected > default {
        lines.push(format!(
            "The machine model expects {expected:.1} us, more than the default's {default:.1} us: what decided is something that it does not know."
        ));
    }
    Some(lines)
}

fn predictions(problem: &Problem, texts: &[String], target: &str, device: &Device) -> Option<Vec<Prediction>> {
    let schedules = texts.iter().map(|t| from_text(t).ok()).collect::<Option<Vec<_>>>()?;
    let tiled = pipeline::tile_with(problem.plan.clone(), schedules, target, &problem.class).ok()?;
    let one = |kernel| predict::kernel(&tiled.plan, kernel, problem.data(), device);
    tiled.kernels.iter().map(one).collect()
}

/// The fields that differ.
fn difference(old: &str, new: &str) -> Option<String> {
    let (old, new) = (from_text(old).ok()?, from_text(new).ok()?);
    let changed = DIMENSIONS.iter().filter(|d| (d.get)(&old) != (d.get)(&new));
    let texts: Vec<String> = changed
        .map(|d| format!("{} {} instead of {}", d.name, (d.get)(&new), (d.get)(&old)))
        .collect();
    Some(texts.join(", "))
}

/// A change of a busy time is worth a word from this share of the default's time.
const NOTABLE: f64 = 0.05;

fn compare(lines: &mut Vec<String>, old: &Prediction, new: &Prediction) {
    for ((bound, before), (_, after)) in old.busy.iter().zip(&new.busy) {
        if (before - after).abs() >= NOTABLE * old.us {
            let more = if after < before { "less" } else { "more" };
            lines.push(format!(
                "{} is busy for {after:.1} us instead of {before:.1} us, {:.0} % {more}.",
                capital(bound.text()),
                ((after / before.max(1e-9)) - 1.0).abs() * 100.0
            ));
        }
    }
    let busiest = |p: &Prediction| {
        let most = p
            .busy
            .iter()
            .copied()
            .fold((Bound::Latency, 0.0), |a, b| if b.1 > a.1 { b } else { a });
        (most.0, most.1 / p.us * 100.0)
    };
    let ((a, x), (b, y)) = (busiest(old), busiest(new));
    lines.push(format!(
        "Expected: {:.1} us with {} the busiest ({y:.0} % of the time), against {:.1} us with {} the busiest ({x:.0} %).",
        new.us,
        b.text(),
        old.us,
        a.text()
    ));
    if old.blocks != new.blocks || old.resident != new.resident {
        lines.push(format!(
            "{} tiles of work in {:.2} waves, {} blocks on a multiprocessor at once; the default has {} in {:.2} waves, {} at once.",
            new.blocks, new.waves, new.resident, old.blocks, old.waves, old.resident
        ));
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Title of a specialisation.
pub fn title(cascade: &Cascade) -> String {
    format!("{} {}", cascade.name, choice_text(cascade))
        .trim_end()
        .to_owned()
}
