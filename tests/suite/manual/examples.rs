//! Each example of the manual is a test of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use einloom_cascade::ir::Cascade;
use einloom_cascade::lower::{Choices, lower, specialisations};
use einloom_plan::ir::FusedPlan;
use einloom_plan::print::{print, why};
use einloom_plan::{PlanOptions, plan};
use einloom_syntax::{Code, Diagnostic, PRELUDE, SourceId, SourceMap, Style, format, has_errors, parse, render};
use einloom_tests::{Outcome, golden, none_of, repo};
use libtest_mimic::{Failed, Trial};

use super::fences::{Fence, Kind, all, of_page};

/// The line of a context where fragments are put.
const MARK: &str = "// ...\n";

pub(crate) fn tests() -> Vec<Trial> {
    let fences = all();
    let contexts: BTreeMap<String, String> = fences
        .iter()
        .filter_map(|fence| match &fence.kind {
            Kind::Context(name) => Some((name.clone(), fence.text.clone())),
            _ => None,
        })
        .collect();
    let contexts = Arc::new(contexts);
    let mut tests = vec![
        Trial::test("manual::bad_examples_are_found", bad_examples_are_found),
        Trial::test("manual::shown_plan_is_printed", shown_plan_is_printed),
        Trial::test("manual::there_are_examples", {
            let n = fences.len();
            move || {
                if n > 40 {
                    Ok(())
                } else {
                    Err(format!("only {n} examples were found").into())
                }
            }
        }),
    ];
    for fence in fences {
        let contexts = Arc::clone(&contexts);
        let name = format!("manual::{}", fence.place.trim_start_matches("docs/src/"));
        tests.push(Trial::test(name, move || check(&fence, &contexts)));
    }
    tests
}

fn check(fence: &Fence, contexts: &BTreeMap<String, String>) -> Outcome {
    let text = &fence.text;
    match &fence.kind {
        Kind::Spec => {
            silent(text, &messages(text))?;
            canonical(text)?;
            fence.plan.as_ref().map_or(Ok(()), |expected| planned(text, expected))
        }
        Kind::Context(_) if text.matches(MARK).count() != 1 => Err("a context has one line `// ...`".into()),
        Kind::Context(_) => silent(text, &messages_of_parts(text)).and_then(|()| canonical(text)),
        Kind::Fragment(name) => {
            let context = contexts
                .get(name)
                .ok_or_else(|| format!("no context is called `{name}`"))?;
            let whole = context.replace(MARK, text);
            silent(&whole, &messages_of_parts(&whole)).and_then(|()| canonical(text))
        }
        Kind::Library => {
            silent(text, &parse(SourceId(0), text).1)?;
            canonical(text)
        }
        Kind::Error(code) => gives(text, code),
        Kind::Unknown(mark) => Err(format!("unknown mark `{mark}`").into()),
    }
}

/// All messages of a file, from the parser and from the lowering of every specialisation, each once.
fn messages(text: &str) -> Vec<Diagnostic> {
    let (prelude, _) = parse(SourceId(1), PRELUDE);
    let (file, mut diagnostics) = parse(SourceId(0), text);
    let (choices, found) = specialisations(&file);
    diagnostics.extend(found);
    for choice in &choices {
        let (cascade, found) = lower(&[&prelude, &file], choice);
        assert!(
            cascade.is_some() || has_errors(&found) || has_errors(&diagnostics),
            "refused without a message"
        );
        for diagnostic in found {
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
    }
    diagnostics
}

/// Passes if the plan of every specialisation is `expected`: `2 sweeps, 1 kernel`, and behind a `;` words of its report.
fn planned(text: &str, expected: &str) -> Outcome {
    let (expected, words) = expected.split_once("; ").unwrap_or((expected, ""));
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    for plan in plans(text)? {
        let (sweeps, why) = (plan.sweeps as usize, why(&plan));
        let found = format!("{}, {}", count(sweeps, "sweep"), count(plan.kernels.len(), "kernel"));
        if found != expected || !why.contains(words) {
            return Err(format!("{expected} {words} are announced, the plan has {found}\n{why}").into());
        }
    }
    Ok(())
}

/// The cascades of all specialisations.
fn cascades(text: &str) -> Result<Vec<Cascade>, Failed> {
    let (prelude, file) = (parse(SourceId(1), PRELUDE).0, parse(SourceId(0), text).0);
    let one = |choice: &Choices| lower(&[&prelude, &file], choice).0.ok_or_else(|| "refused".into());
    specialisations(&file).0.iter().map(one).collect()
}

/// The plans of all specialisations.
pub(super) fn plans(text: &str) -> Result<Vec<FusedPlan>, Failed> {
    let one = |cascade: &Cascade| {
        plan(cascade, &PlanOptions::default()).map_err(|error| format!("no plan: {error:?}").into())
    };
    cascades(text)?.iter().map(one).collect()
}

/// The cascade and the plan that the page about `explain` shows are what is printed.
fn shown_plan_is_printed() -> Outcome {
    let text = repo::read(&repo::root().join("dsl-examples/causal.ein"));
    let (cascades, plans) = (cascades(&text)?, plans(&text)?);
    let (cascade, plan) = cascades.first().zip(plans.first()).ok_or("no specialisation")?;
    let folder = repo::root().join("docs/src/guide");
    golden::check(
        &folder.join("causal-cascade.txt"),
        &einloom_cascade::print::print(cascade),
    )?;
    golden::check(&folder.join("causal-plan.txt"), &print(plan))
}

/// As [`messages`], but parts need not use everything that their context declares.
fn messages_of_parts(text: &str) -> Vec<Diagnostic> {
    let mut diagnostics = messages(text);
    diagnostics.retain(|diagnostic| diagnostic.code != Code::W0703);
    diagnostics
}

/// Passes if there are no messages at all, warnings included.
fn silent(text: &str, diagnostics: &[Diagnostic]) -> Outcome {
    if diagnostics.is_empty() {
        Ok(())
    } else {
        Err(rendered(text, diagnostics).into())
    }
}

/// Passes if there are messages and all of them have this code.
fn gives(text: &str, code: &str) -> Outcome {
    let diagnostics = messages(text);
    if diagnostics.is_empty() {
        return Err(format!("no message, {code} was announced").into());
    }
    let others = diagnostics.iter().any(|found| found.code.as_str() != code);
    if others {
        Err(rendered(text, &diagnostics).into())
    } else {
        Ok(())
    }
}

/// Passes if the formatter leaves the text alone.
fn canonical(text: &str) -> Outcome {
    let (file, diagnostics) = parse(SourceId(0), text);
    let formatted = format(&file, text);
    if has_errors(&diagnostics) || formatted == text {
        return Ok(());
    }
    Err(golden::difference("example", text, &formatted).into())
}

fn rendered(text: &str, diagnostics: &[Diagnostic]) -> String {
    let mut sources = SourceMap::new();
    sources.add("example", text);
    sources.add("prelude", PRELUDE);
    render(diagnostics, &sources, Style::Plain)
}

/// The checks above can fail.
fn bad_examples_are_found() -> Outcome {
    let page = std::path::Path::new("docs/src/page.md");
    let failing = [
        "```ein\ncascade x\nrank p q\n```\n",
        "```ein\ncascade  x\n```\n",
        "```ein,E0101\ncascade x\n```\n",
        "```ein,E0102\ncascade x\nrank p q\n```\n",
        "```ein-fragment(nowhere)\nX = 1\n```\n",
        "```ein-context(twice)\n// ...\n// ...\n```\n",
        "<!-- plan: 2 sweeps, 1 kernel -->\n\n```ein\ncascade x\nrank p, m\nin  S[p,m] : f32\nout L[p] : f32 = logsumexp[m](S)\n```\n",
        "<!-- plan: 1 sweep, 1 kernel; nothing of the kind -->\n```ein\ncascade x\nrank p, m\nin  S[p,m] : f32\nout L[p] : f32 = logsumexp[m](S)\n```\n",
        "```ein-fragmnt(x)\ncascade x\nrank p q\n```\n",
    ];
    let passing = failing.iter().filter(|text| {
        let fences = of_page(page, text);
        fences.len() != 1 || fences.iter().all(|fence| check(fence, &BTreeMap::new()).is_ok())
    });
    none_of(passing.map(|text| format!("nothing was found in\n{text}")).collect())
}
