//! The pages of codes show what einloom says: the ```` ```text ```` block after a spec with a code beside `ein` is its message.
//! `EINLOOM_BLESS=1` writes it.

use std::path::Path;

use einloom::session::Session;
use einloom_tests::{Outcome, golden, none_of, repo};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    let folder = repo::root().join("docs/src/errors");
    for page in repo::files_with(&["md"])
        .into_iter()
        .filter(|page| page.starts_with(&folder))
    {
        let blocks = blocks(&page);
        if !blocks.is_empty() {
            let name = page.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            tests.push(Trial::test(format!("messages::{name}"), move || {
                check_page(&page, &blocks)
            }));
        }
    }
    tests
}

struct Block {
    /// The line of the opening fence, from 1.
    line: usize,
    /// The index of the closing fence.
    end: usize,
    /// The message that the page shows, with the lines of its fences.
    message: Option<Message>,
    /// The code that the spec is refused with; none for a good one.
    code: Option<String>,
    text: String,
}

struct Message {
    text: String,
    /// Indices of the opening and the closing fence.
    fences: (usize, usize),
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = repo::read(page);
    let lines: Vec<&str> = text.lines().collect();
    let end_of = |open: usize| (open + 1..lines.len()).find(|at| lines[*at] == "```");
    let mut blocks: Vec<Block> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let info = lines[at]
            .strip_prefix("```")
            .map(|info| info.split_once(',').unwrap_or((info, "")));
        let (Some((language, code)), Some(end)) = (info, end_of(at)) else {
            at += 1;
            continue;
        };
        let follows = |block: &Block| block.code.is_some() && block.message.is_none() && block.end + 2 == at;
        if language == "ein" {
            let code = (!code.is_empty()).then(|| code.to_owned());
            blocks.push(Block {
                line: at + 1,
                end,
                code,
                message: None,
                text: spec(page, &lines[at + 1..end]),
            });
        } else if let Some(block) = blocks.last_mut().filter(|block| language == "text" && follows(block)) {
            let text = lines[at + 1..end].iter().map(|line| format!("{line}\n")).collect();
            block.message = Some(Message {
                text,
                fences: (at, end),
            });
        }
        at = end + 1;
    }
    blocks
}

/// The lines of a block, with included files put in.
fn spec(page: &Path, lines: &[&str]) -> String {
    let included = |line: &&str| {
        line.strip_prefix("{{#include ")?
            .strip_suffix("}}")
            .map(|file| page.with_file_name(file))
    };
    lines
        .iter()
        .map(|line| included(line).map_or_else(|| format!("{line}\n"), |file| repo::read(&file)))
        .collect()
}

fn check_page(page: &Path, blocks: &[Block]) -> Outcome {
    let mut wrong = Vec::new();
    let mut lines: Vec<String> = repo::read(page).lines().map(str::to_owned).collect();
    let mut is_changed = false;
    // From the end, so that the line numbers of blocks above stay right.
    for block in blocks.iter().rev() {
        let (found, said) = messages(page, block);
        let expected: Vec<&str> = block.code.as_deref().into_iter().collect();
        if found != expected {
            wrong.push(format!(
                "line {}: expected {expected:?}, found {found:?}\n{said}",
                block.line
            ));
            continue;
        }
        let Some(shown) = block.message.as_ref().filter(|shown| shown.text != said) else {
            continue;
        };
        if golden::blessing() {
            lines.splice(shown.fences.0 + 1..shown.fences.1, said.lines().map(str::to_owned));
            is_changed = true;
        } else {
            wrong.push(golden::difference(
                &format!("{}:{}", repo::relative(page), block.line),
                &shown.text,
                &said,
            ));
        }
    }
    if is_changed {
        std::fs::write(page, lines.join("\n") + "\n")?;
    }
    none_of(wrong)
}

/// The codes that are reported for a block, and the messages as a person sees them.
fn messages(page: &Path, block: &Block) -> (Vec<&'static str>, String) {
    let mut session = Session::new();
    let loaded = session.load_bytes("spec.ein", block.text.as_bytes(), page.parent());
    let found = loaded
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code.as_str())
        .collect();
    let said = einloom_syntax::render(&loaded.diagnostics, session.sources(), einloom_syntax::Style::Plain);
    (found, format!("{}\n", said.trim_end()))
}
