//! The pages of codes are made from `Code::page`, which `einloom explain` prints too: one source of what a message means.

use einloom::session::Session;
use einloom_syntax::{Code, SourceId, Style, format, parse, render};
use einloom_tests::{Outcome, golden, none_of, repo};
use libtest_mimic::Trial;

const INDEX: &str = "# Errors and warnings

Each message has a code that never changes its meaning. `einloom explain E0301` prints what is said here. Every example below is checked by
the tests, and each message shown is what einloom says to it.

| code | what |
| --- | --- |
";

pub(crate) fn tests() -> Vec<Trial> {
    vec![Trial::test(
        "manual::error_pages_are_generated",
        error_pages_are_generated,
    )]
}

fn error_pages_are_generated() -> Outcome {
    let folder = repo::root().join("docs/src/errors");
    let mut index = INDEX.to_owned();
    let mut wrong = Vec::new();
    let mut check = |name: String, text: &str| {
        if let Err(failed) = golden::check(&folder.join(name), text) {
            wrong.push(failed.message().unwrap_or_default().to_owned());
        }
    };
    for &code in Code::ALL {
        index.push_str(&format!("| [{code}]({code}.md) | {} |\n", code.title()));
        check(format!("{code}.md"), &page(code));
    }
    check("index.md".to_owned(), &index);
    none_of(wrong)
}

/// The page of a code: its reason, the program that gets the message, the message, the program repaired.
fn page(code: Code) -> String {
    let content = code.page();
    let mut page = format!("# {code}: {}\n\n{}\n", code.title(), filled(content.reason));
    if content.wrong.is_empty() {
        return page;
    }
    let (found, said) = messages(content.wrong);
    if found == [code] {
        page.push_str(&format!(
            "\n```ein,{code}\n{}\n```\n\n```text\n{}\n```\n",
            content.wrong,
            said.trim_end()
        ));
    } else {
        page.push_str(&format!("\n```text\n{}\n```\n", content.wrong));
    }
    let (found, _) = messages(content.right);
    let (file, _) = parse(SourceId(0), content.right);
    let right = format(&file, content.right);
    page.push_str("\nInstead:\n\n");
    match found.is_empty() {
        true => page.push_str(&format!("```ein\n{}\n```\n", right.trim_end())),
        // A construct that this edition refuses by name.
        false => page.push_str(&format!(
            "```text\n{}\n```\n\nThis edition refuses the program as [not supported yet](E0801.md).\n",
            right.trim_end()
        )),
    }
    page
}

/// The codes that a program gets, and the messages as a person sees them.
fn messages(program: &str) -> (Vec<Code>, String) {
    let mut session = Session::new();
    let loaded = session.load_bytes("spec.ein", format!("{program}\n").as_bytes(), None);
    let said = render(&loaded.diagnostics, session.sources(), Style::Plain);
    (loaded.diagnostics.iter().map(|one| one.code).collect(), said)
}

/// A paragraph in lines of at most 120 columns.
fn filled(text: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a line at any time");
        if !line.is_empty() && line.len() + 1 + word.len() > 120 {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}
