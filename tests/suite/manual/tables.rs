//! Links of the manual, and tables of the reference that mirror the compiler: the prelude and the reserved words.

use einloom_syntax::ast::StmtKind;
use einloom_syntax::{KEPT, PRELUDE, RESERVED, SourceId, parse};
use einloom_tests::{Outcome, none_of, repo};
use libtest_mimic::Trial;

use super::fences::included;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("manual::links_lead_somewhere", links_lead_somewhere),
        Trial::test(
            "manual::every_definition_of_the_prelude_is_listed",
            every_definition_is_listed,
        ),
        Trial::test("manual::every_reserved_word_is_listed", every_reserved_word_is_listed),
    ]
}

/// Files that pages include are there, and so are pages and sections that they link to.
fn links_lead_somewhere() -> Outcome {
    let mut wrong = Vec::new();
    let folder = repo::root().join("docs/src");
    for page in repo::files_with(&["md"])
        .iter()
        .filter(|page| page.starts_with(&folder))
    {
        let mut is_code = false;
        for (number, line) in repo::read(page).lines().enumerate() {
            let mut bad = |what: &str| wrong.push(format!("{}:{}: {what}", repo::relative(page), number + 1));
            if included(page, line).is_some_and(|file| !file.is_file()) {
                bad("the included file is not there");
            }
            is_code ^= line.trim_start().starts_with("```");
            // Brackets of code are no links.
            let prose: String = line.split('`').step_by(2).filter(|_| !is_code).collect();
            for link in prose
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split_once(')'))
                .map(|(link, _)| link)
            {
                let (file, section) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() {
                    page.clone()
                } else {
                    page.with_file_name(file)
                };
                if !link.contains("://") && !(target.is_file() && has_section(&repo::read(&target), section)) {
                    bad(&format!("`{link}` leads nowhere"));
                }
            }
        }
    }
    none_of(wrong)
}

/// Whether a heading of the page gets this anchor; the empty one is the page itself.
fn has_section(page: &str, section: &str) -> bool {
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-");
    let headings = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    section.is_empty() || headings.map(anchor).any(|found| found == section)
}

fn page(name: &str) -> String {
    repo::read(&repo::root().join("docs/src/reference").join(name))
}

fn every_definition_is_listed() -> Outcome {
    let page = page("prelude.md");
    let (file, _) = parse(SourceId(0), PRELUDE);
    let mut wrong = Vec::new();
    for stmt in &file.stmts {
        let StmtKind::Def(def) = &stmt.kind else { continue };
        let names = |list: &[einloom_syntax::ast::Ident]| {
            list.iter()
                .map(|name| name.text.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let ranks = if def.ranks.is_empty() {
            String::new()
        } else {
            format!("[{}]", names(&def.ranks))
        };
        let row = format!("| `{}{ranks}({})` |", def.name.text, names(&def.params));
        if !page.contains(&row) {
            wrong.push(format!("prelude.md lacks the row {row}"));
        }
    }
    none_of(wrong)
}

fn every_reserved_word_is_listed() -> Outcome {
    let page = page("lexical.md");
    let missing = RESERVED
        .iter()
        .chain(&KEPT)
        .filter(|word| !page.contains(&format!("`{word}`")));
    none_of(missing.map(|word| format!("lexical.md lacks `{word}`")).collect())
}
