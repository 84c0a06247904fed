//! Compile-time choices: which specialisations a file has.

use super::text::text;
use einloom_syntax::ast::{Expr, File, RankValue, StmtKind};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;
use std::collections::BTreeMap;

/// Specialisations of one file.
pub const MAX_SPECIALISATIONS: usize = 256;

/// One specialisation: which alternative of each rank and constant that has several.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choices {
    /// Position of the alternative, by name. A name that is missing takes its first.
    pub picks: BTreeMap<String, usize>,
    /// Names and texts of the alternatives, in declaration order.
    pub texts: Vec<(String, String)>,
}

/// All specialisations of a file, in declaration order, the last choice varying fastest. A file without choices has
/// one. More than [`MAX_SPECIALISATIONS`] are an error; the first are returned.
pub fn specialisations(file: &File) -> (Vec<Choices>, Vec<Diagnostic>) {
    let mut all = vec![Choices::default()];
    let mut diagnostics = Vec::new();
    for stmt in &file.stmts {
        let items: Vec<(&str, &[Expr])> = match &stmt.kind {
            StmtKind::Rank(items) => items
                .iter()
                .filter_map(|item| match &item.value {
                    Some(RankValue::Choice(list)) => Some((item.name.text.as_str(), list.as_slice())),
                    _ => None,
                })
                .collect(),
            StmtKind::Const(items) => items
                .iter()
                .map(|item| (item.name.text.as_str(), item.choices.as_slice()))
                .collect(),
            _ => continue,
        };
        for (name, list) in items {
            if list.len() < 2 {
                continue;
            }
            if all.len() * list.len() > MAX_SPECIALISATIONS {
                diagnostics.push(
                    Diagnostic::new(Code::E0106, format!("more than {MAX_SPECIALISATIONS} specialisations"))
                        .primary(stmt.span, "")
                        .note("choices of several ranks and constants multiply"),
                );
                return (all, diagnostics);
            }
            all = all
                .iter()
                .flat_map(|before| {
                    list.iter().enumerate().map(|(at, value)| {
                        let mut choice = before.clone();
                        choice.picks.insert(name.to_string(), at);
                        choice.texts.push((name.to_string(), text(value)));
                        choice
                    })
                })
                .collect();
        }
    }
    (all, diagnostics)
}
