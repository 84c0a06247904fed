//! Links between pages lead to files and headings that are there, and included files exist. mdBook itself checks neither.

use std::path::{Path, PathBuf};

use einloom_tests::{Outcome, none_of, repo};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("tidy::links_lead_somewhere", links_lead_somewhere),
        Trial::test("tidy::broken_links_are_found", broken_links_are_found),
    ]
}

fn links_lead_somewhere() -> Outcome {
    let pages = repo::files_with(&["md"]);
    let wrong = pages.iter().flat_map(|page| broken(page, &repo::read(page))).collect();
    none_of(wrong)
}

/// The check can fail: a page with one link of each kind that is wrong.
fn broken_links_are_found() -> Outcome {
    let page = repo::root().join("README.md");
    let text = "# A heading\n[a](nowhere.md) [b](docs/src/SUMMARY.md#no-such-heading) [c](#a-heading)\n{{#include gone.txt}}\n\
                ```\n[in a block](nowhere.md)\n```\n";
    assert_eq!(broken(&page, text).len(), 3, "{:?}", broken(&page, text));
    Ok(())
}

/// What is wrong with the links and inclusions of a page.
fn broken(page: &Path, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let folder = page.parent().unwrap_or(repo::root());
    let mut is_code = false;
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}:{}", repo::relative(page), number + 1);
        is_code ^= line.trim_start().starts_with("```");
        for included in between(line, "{{#include ", "}}") {
            if !folder.join(included.trim()).is_file() {
                wrong.push(format!("{} includes `{included}`, which is not there", place()));
            }
        }
        if is_code {
            continue;
        }
        // What stands in backticks is code: `sum[m](x)` is no link.
        let prose: String = line.split('`').step_by(2).collect();
        for link in between(&prose, "](", ")") {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target: PathBuf = if file.is_empty() {
                page.to_owned()
            } else {
                folder.join(file)
            };
            if !target.exists() {
                wrong.push(format!("{} links to `{link}`, which is not there", place()));
            } else if !anchor.is_empty() {
                let content = if file.is_empty() {
                    text.to_owned()
                } else {
                    repo::read(&target)
                };
                if !headings(&content).any(|heading| heading == anchor) {
                    wrong.push(format!("{} links to `{link}`, which has no such heading", place()));
                }
            }
        }
    }
    wrong
}

/// The parts of a line between two marks.
fn between<'a>(line: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(open)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// The names of a page's headings in links: lower case, hyphens for spaces, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
