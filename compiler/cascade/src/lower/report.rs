//! Messages: where they point when a def is being expanded, and suggestions of names.

use super::Lowerer;
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::{Diagnostic, Help, Replacement};
use einloom_syntax::span::Span;

impl Lowerer<'_> {
    /// Adds a message. What is wrong inside a def of another file is shown at the call in the main file.
    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) {
        let place = diagnostic.span();
        if let Some(frame) = self.frames.first() {
            if place.is_none_or(|span| span.source != self.main) {
                diagnostic.labels.clear();
                diagnostic.help.clear();
                diagnostic = diagnostic.primary(frame.call, "").note(format!(
                    "found in the definition of `{}`",
                    self.frames[self.frames.len() - 1].def.name.text
                ));
            } else {
                diagnostic = diagnostic.secondary(frame.call, "expanded here");
            }
        }
        let same = |other: &Diagnostic| {
            other.code == diagnostic.code && other.message == diagnostic.message && other.span() == diagnostic.span()
        };
        if !self.diagnostics.iter().any(same) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// A message with one mark.
    pub(crate) fn error(&mut self, code: Code, span: Span, message: impl Into<String>, mark: impl Into<String>) {
        self.report(Diagnostic::new(code, message).primary(span, mark));
    }

    /// What this edition refuses by name.
    pub(crate) fn unsupported(&mut self, span: Span, what: &str, note: &str) {
        self.report(
            Diagnostic::new(Code::E0801, format!("not supported yet: {what}"))
                .primary(span, "")
                .note(note),
        );
    }

    /// A name that resembles `name`, among those that can be used here.
    pub(crate) fn similar(&self, name: &str) -> Option<String> {
        let mut best: Option<(usize, String)> = None;
        let main = self.names.keys().chain(self.places.keys()).cloned();
        let defs = self.defs.keys().map(|(_, name)| name.clone());
        let consts = self.consts.keys().map(|(_, name)| name.clone());
        let builtin = super::calls::NAMES.iter().map(|name| name.to_string());
        let values = self
            .frames
            .last()
            .into_iter()
            .flat_map(|frame| frame.values.keys().chain(frame.ranks.keys()).cloned());
        for candidate in values.chain(main).chain(defs).chain(consts).chain(builtin) {
            let far = distance(name, &candidate);
            let limit = (name.len().max(candidate.len()) / 3).clamp(1, 2);
            if far <= limit && name != candidate && best.as_ref().is_none_or(|(near, _)| far < *near) {
                best = Some((far, candidate));
            }
        }
        best.map(|(_, name)| name)
    }
}

/// Levenshtein's distance.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

/// A help line that wraps a span: `sum[m](` and `)`.
pub(crate) fn wrap(text: String, span: Span, before: &str, after: &str) -> Help {
    let at = |offset: u32| Span {
        source: span.source,
        start: offset,
        end: offset,
    };
    Help {
        text,
        replacements: vec![
            Replacement {
                span: at(span.start),
                text: before.to_string(),
            },
            Replacement {
                span: at(span.end),
                text: after.to_string(),
            },
        ],
    }
}
