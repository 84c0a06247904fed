//! The gallery is made from the index of the examples: a section for each, with its text included.

use einloom_plan::ir::FusedPlan;
use einloom_tests::{Outcome, golden, none_of, repo};
use libtest_mimic::{Failed, Trial};

use super::examples::plans;

const HEAD: &str = "# Gallery

<!-- Generated from dsl-examples/README.md; `make bless` rewrites it. -->

Every spec of the folder `dsl-examples/`, as it lies there. Under each stands what the planner makes of it: passes over a streamed rank as
written and as planned.
";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("manual::gallery_is_generated", gallery_is_generated),
        Trial::test("manual::gallery_holds_every_example", gallery_holds_every_example),
    ]
}

fn gallery_is_generated() -> Outcome {
    let index = repo::read(&repo::root().join("dsl-examples/README.md"));
    golden::check(&repo::root().join("docs/src/gallery.md"), &gallery(&index)?)
}

fn gallery_holds_every_example() -> Outcome {
    let page = repo::read(&repo::root().join("docs/src/gallery.md"));
    let mut wrong = Vec::new();
    for example in repo::examples() {
        let name = example
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let include = format!("\n```ein\n{{{{#include ../../dsl-examples/{name}}}}}\n```\n");
        if page.matches(&include).count() != 1 {
            wrong.push(format!("{name} is not included once in gallery.md"));
        }
    }
    none_of(wrong)
}

/// The page for an index whose sections hold tables with the rows `| [file](file) | what it shows |`.
fn gallery(index: &str) -> Result<String, Failed> {
    let mut page = HEAD.to_owned();
    for line in index.lines() {
        if let Some(section) = line.strip_prefix("## ") {
            page.push_str(&format!("\n## {section}\n"));
        }
        let Some((link, shows)) = line.strip_prefix("| [").and_then(|row| row.split_once(") | ")) else {
            continue;
        };
        let file = link.split(']').next().unwrap_or(link);
        let shows = shows.trim_end_matches('|').trim();
        let name = file.trim_end_matches(".ein");
        let mut letters = shows.chars();
        let shows: String = letters
            .next()
            .iter()
            .flat_map(|first| first.to_uppercase())
            .chain(letters)
            .collect();
        let planned = planned(file)?;
        page.push_str(&format!(
            "\n### {name}\n\n{shows}.\n\n```ein\n{{{{#include ../../dsl-examples/{file}}}}}\n```\n\n*{planned}.*\n"
        ));
    }
    Ok(page)
}

/// What the plans of an example have: as a rule the same for all of its specialisations.
fn planned(file: &str) -> Result<String, Failed> {
    let text = repo::read(&repo::root().join("dsl-examples").join(file));
    let plans = plans(&text).map_err(|error| format!("{file}: {}", error.message().unwrap_or_default()))?;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let one = |plan: &FusedPlan| {
        let written = count(plan.sweeps_written as usize, "sweep");
        format!(
            "{written} as written, {} planned, {}",
            plan.sweeps,
            count(plan.kernels.len(), "kernel")
        )
    };
    let mut all: Vec<String> = plans.iter().map(one).collect();
    all.dedup();
    Ok(format!(
        "{}; {}",
        count(plans.len(), "specialisation"),
        all.join("; or ")
    ))
}
