//! What lies where: the top level, the examples and their index, the pages of the manual.

use std::collections::BTreeSet;

use einloom_syntax::Code;
use einloom_tests::{Outcome, none_of, repo};
use libtest_mimic::Trial;

/// The folders of the top level. There are no others beside those with a dot.
const FOLDERS: [&str; 6] = [
    "compiler",
    "docs",
    "dsl-examples",
    "kernels-generated",
    "runtime",
    "tests",
];

/// The files of the top level beside those with a dot.
const FILES: [&str; 10] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "rustfmt.toml",
    "typos.toml",
];

/// What may stand there with a dot.
const DOTTED: [&str; 5] = [".cargo", ".ci", ".config", ".gitattributes", ".gitignore"];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("tidy::top_level", top_level),
        Trial::test("tidy::examples_are_listed", examples_are_listed),
        Trial::test("tidy::examples_say_what_they_show", examples_say_what_they_show),
        Trial::test("tidy::manual_is_complete", manual_is_complete),
        Trial::test("tidy::error_codes_are_documented", error_codes_are_documented),
    ]
}

fn top_level() -> Outcome {
    let mut found = BTreeSet::new();
    for file in repo::files() {
        let name = repo::relative(&file);
        let (first, is_folder) = name
            .split_once('/')
            .map_or((name.as_str(), false), |(first, _)| (first, true));
        found.insert((first.to_owned(), is_folder));
    }
    let is_known = |name: &str, is_folder: bool| {
        DOTTED.contains(&name)
            || if is_folder {
                FOLDERS.contains(&name)
            } else {
                FILES.contains(&name)
            }
    };
    let strangers = found.iter().filter(|(name, is_folder)| !is_known(name, *is_folder));
    none_of(
        strangers
            .map(|(name, _)| format!("{name} does not belong to the top level"))
            .collect(),
    )
}

fn examples_are_listed() -> Outcome {
    let index = repo::root().join("dsl-examples/README.md");
    let text = repo::read(&index);
    let listed: BTreeSet<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .filter(|word| word.ends_with(".ein") && *word != ".ein")
        .collect();
    let examples = repo::examples();
    let present: BTreeSet<String> = examples
        .iter()
        .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(
        present
            .iter()
            .filter(|name| !listed.contains(name.as_str()))
            .map(|name| format!("{name} is not listed")),
    );
    wrong.extend(
        listed
            .iter()
            .filter(|name| !present.contains(**name))
            .map(|name| format!("{name} is listed, but not there")),
    );
    none_of(wrong)
}

fn examples_say_what_they_show() -> Outcome {
    let silent = repo::examples()
        .into_iter()
        .filter(|file| !repo::read(file).starts_with("//"));
    none_of(
        silent
            .map(|file| format!("{} does not start with a comment", repo::relative(&file)))
            .collect(),
    )
}

/// Every page stands in the table of contents, and every entry there has its page.
fn manual_is_complete() -> Outcome {
    let folder = repo::root().join("docs/src");
    let summary = repo::read(&folder.join("SUMMARY.md"));
    let listed: BTreeSet<String> = summary
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.trim_start_matches("./").to_owned()))
        .collect();
    let pages: BTreeSet<String> = repo::files_with(&["md"])
        .iter()
        .filter_map(|file| Some(file.strip_prefix(&folder).ok()?.to_string_lossy().into_owned()))
        .filter(|page| page != "SUMMARY.md")
        .collect();
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(
        pages
            .difference(&listed)
            .map(|page| format!("docs/src/{page} is missing in SUMMARY.md")),
    );
    wrong.extend(
        listed
            .difference(&pages)
            .map(|page| format!("docs/src/{page} is listed, but not there")),
    );
    none_of(wrong)
}

/// Each code has its page with its title, and stands in the table of codes.
fn error_codes_are_documented() -> Outcome {
    let folder = repo::root().join("docs/src/errors");
    let table = repo::read(&folder.join("index.md"));
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let (name, title) = (code.as_str(), code.title());
        let page = folder.join(format!("{name}.md"));
        if !page.is_file() || !repo::read(&page).starts_with(&format!("# {name}: {title}\n\n")) {
            wrong.push(format!(
                "docs/src/errors/{name}.md with the heading `# {name}: {title}` is missing"
            ));
        }
        let row = format!("| [{name}]({name}.md) | {title} |");
        if !table.lines().any(|line| line == row) {
            wrong.push(format!("docs/src/errors/index.md lacks `{row}`"));
        }
    }
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for file in repo::files_with(&["md"])
        .iter()
        .filter(|file| file.parent() == Some(folder.as_path()))
    {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name != "index" && !known.contains(name.as_str()) {
            wrong.push(format!("docs/src/errors/{name}.md explains a code that is not there"));
        }
    }
    none_of(wrong)
}
