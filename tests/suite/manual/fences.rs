//! Reading the fenced blocks of the manual's pages.

use std::path::{Path, PathBuf};

use einloom_tests::repo;

/// A fenced block whose language is `ein`.
#[derive(Debug)]
pub(crate) struct Fence {
    /// Page and line, for messages: `docs/src/guide/variant.md:12`.
    pub(crate) place: String,
    pub(crate) kind: Kind,
    /// What the comment `<!-- plan: .. -->` before the block says of its plan.
    pub(crate) plan: Option<String>,
    /// The text that a reader sees, with `{{#include}}` lines resolved.
    pub(crate) text: String,
}

/// What a block claims to be; see the table of [`super`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Spec,
    Context(String),
    Fragment(String),
    Library,
    Error(String),
    /// A mark that nobody knows.
    Unknown(String),
}

impl Kind {
    /// `None` for a block that is not in our language.
    fn of(info: &str) -> Option<Kind> {
        let rest = info.strip_prefix("ein")?;
        if rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        let argument = |name: &str| rest.strip_prefix(name)?.strip_suffix(')').map(str::to_owned);
        Some(match rest {
            "" => Kind::Spec,
            "-library" => Kind::Library,
            _ => None
                .or_else(|| argument("-context(").map(Kind::Context))
                .or_else(|| argument("-fragment(").map(Kind::Fragment))
                .or_else(|| rest.strip_prefix(',').map(|code| Kind::Error(code.to_owned())))
                .unwrap_or_else(|| Kind::Unknown(info.to_owned())),
        })
    }
}

/// The blocks of all pages, in order.
pub(crate) fn all() -> Vec<Fence> {
    let folder = repo::root().join("docs/src");
    let pages = repo::files_with(&["md"]);
    pages
        .iter()
        .filter(|page| page.starts_with(&folder))
        .flat_map(|page| of_page(page, &repo::read(page)))
        .collect()
}

/// The blocks of one page.
pub(crate) fn of_page(page: &Path, text: &str) -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    let mut plan: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => open = Some((number + 1, info.trim(), String::new())),
            (None, None) if line.trim().is_empty() => {}
            (None, None) => plan = announced(line),
            (Some((start, info, body)), Some("")) => {
                if let Some(kind) = Kind::of(info) {
                    fences.push(Fence {
                        place: format!("{}:{start}", repo::relative(page)),
                        kind,
                        plan: plan.take(),
                        text: body.lines().map(|line| shown(page, line)).collect(),
                    });
                }
                open = None;
            }
            (Some((_, _, body)), _) => {
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    fences
}

/// What a comment says of the plan of the block behind it.
fn announced(line: &str) -> Option<String> {
    Some(line.strip_prefix("<!-- plan: ")?.strip_suffix(" -->")?.to_owned())
}

/// The file that a line includes.
pub(crate) fn included(page: &Path, line: &str) -> Option<PathBuf> {
    let file = line.trim().strip_prefix("{{#include ")?.strip_suffix("}}")?;
    Some(page.parent()?.join(file.trim()))
}

/// A line as a reader sees it: an `{{#include FILE}}` is the text of that file. One that is not there stays as it is.
fn shown(page: &Path, line: &str) -> String {
    let file = included(page, line).and_then(|file| std::fs::read_to_string(file).ok());
    file.unwrap_or_else(|| format!("{line}\n"))
}
