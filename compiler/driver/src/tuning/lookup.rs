//! Tuned schedules for a compilation: from the folder `tuned` beside the spec, or from a given one.

use super::problem::{COMPILER, code_hash, key_class, spec_hash};
use crate::pipeline;
use einloom_cascade::ir::Cascade;
use einloom_plan::ir::FusedPlan;
use einloom_tile::dimensions::from_text;
use einloom_tile::schedule::{Schedule, ShapeClass};
use einloom_tune::database::{Database, Query};
use std::path::{Path, PathBuf};

/// Schedules and where they come from.
#[derive(Clone, Debug)]
pub struct Choice {
    /// `None`: the default ones.
    pub schedules: Option<Vec<Schedule>>,
    /// For people.
    pub origin: String,
}

/// The folder where tuned schedules of a spec lie.
pub fn folder(spec: &Path) -> PathBuf {
    spec.parent().unwrap_or(Path::new("")).join("tuned")
}

/// What a compilation is for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    pub target: &'a str,
    /// Alignment that launches guarantee.
    pub align: u32,
    /// Expected extents, one for each symbol.
    pub symbols: &'a [i64],
    /// Name and driver of the device, if the code is for this one.
    pub device: Option<(&'a str, u32)>,
}

/// Looks schedules up. What is found must still be legal: otherwise the default is taken, and the origin says why.
pub fn choose(
    database: &Database,
    cascade: &Cascade,
    plan: &FusedPlan,
    shape: &ShapeClass,
    for_: &Purpose<'_>,
) -> Choice {
    let default = |reason: String| Choice {
        schedules: None,
        origin: format!("default ({reason})"),
    };
    let class = key_class(cascade, for_.align, for_.symbols);
    let query = Query {
        spec: &spec_hash(cascade),
        target: for_.target,
        compiler: Some(COMPILER),
        class: &class,
        device: for_.device,
    };
    let ours = database.find(&query).map(|tuned| (tuned, true));
    // What another version measured holds for this one where both generate the same code.
    let found = ours.or_else(|reason| {
        let any = Query {
            compiler: None,
            ..query
        };
        database.find(&any).map(|tuned| (tuned, false)).map_err(|_| reason)
    });
    let (tuned, ours) = match found {
        Ok(found) => found,
        Err(reason) => return default(reason),
    };
    let parsed: Result<Vec<Schedule>, String> = tuned.winner.schedules.iter().map(|text| from_text(text)).collect();
    let origin = tuned.origin();
    match parsed {
        Err(error) => default(format!("{origin}: {error}")),
        Ok(schedules) if schedules.len() != plan.kernels.len() => {
            default(format!("{origin}: made for another number of kernels"))
        }
        Ok(schedules) => match pipeline::tile_with(plan.clone(), schedules.clone(), for_.target, shape) {
            Ok(_) if ours => Choice {
                schedules: Some(schedules),
                origin,
            },
            Ok(tiled) => {
                let version = &tuned.winner.key.compiler;
                let now = pipeline::emit(tiled, for_.target)
                    .ok()
                    .map(|c| code_hash(&c.emission.ptx));
                match now.is_some() && now == tuned.winner.code {
                    true => Choice {
                        schedules: Some(schedules),
                        origin: format!("{origin}, by einloom {version}, whose code is the same"),
                    },
                    false => default(format!("{origin}, by einloom {version}, whose code differs")),
                }
            }
            Err(error) => default(format!("{origin}: {error}")),
        },
    }
}
