//! Generated code as texts to pin: the plan and the PTX of each specialisation of a spec, each under the name of its file.

use super::{AotError, DEFAULT_ALIGN, aligns, compile, select, targets};
use crate::pipeline;
use crate::session::choice_stem;
use einloom_cascade::ir::Cascade;

pub use super::Options;

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// File below the folder of the snapshots, with forward slashes: `causal/sm_80/causal-e64-Tbf16.ptx`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The plan of each specialisation (`<spec>/<specialisation>.plan.txt`) and its PTX for each target
/// (`<spec>/<target>/<specialisation>.ptx`), in a fixed order.
///
/// # Errors
/// See [`AotError`].
pub fn snapshots(stem: &str, cascades: &[Cascade], options: &Options) -> Result<Vec<Snapshot>, AotError> {
    let mut snapshots = Vec::new();
    for cascade in select(cascades, &options.given)? {
        let name = choice_stem(cascade, cascades.len());
        let planned = pipeline::plan(cascade).map_err(|error| AotError::Compile {
            what: choice_stem(cascade, cascades.len()),
            error,
        })?;
        snapshots.push(Snapshot {
            name: format!("{stem}/{name}.plan.txt"),
            text: einloom_plan::print::print(&planned),
        });
        for target in targets(options) {
            for align in aligns(options)? {
                let (compiled, _) = compile(cascade, &target, align, options, &options.given)?;
                let suffix = if align == DEFAULT_ALIGN {
                    String::new()
                } else {
                    format!("-align{align}")
                };
                snapshots.push(Snapshot {
                    name: format!("{stem}/{target}/{name}{suffix}.ptx"),
                    text: compiled.emission.ptx,
                });
            }
        }
    }
    snapshots.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(snapshots)
}
