//! Diagnostics as plain data for other programs (`--message-format json`): positions are lines and columns, nothing
//! refers to a source map. The field names are part of the interface of the command line.

use crate::diagnostic::{Diagnostic, Severity};
use crate::span::{SourceMap, Span};

/// A message without references.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainDiagnostic {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// `E0301`.
    pub code: &'static str,
    pub message: String,
    /// Places with their labels, the primary one first.
    pub labels: Vec<PlainLabel>,
    pub notes: Vec<String>,
    pub help: Vec<PlainHelp>,
}

/// A marked place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainLabel {
    pub primary: bool,
    pub text: String,
    pub place: PlainPlace,
}

/// A help line with its repairs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainHelp {
    pub text: String,
    pub replacements: Vec<PlainReplacement>,
}

/// New text for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainReplacement {
    pub place: PlainPlace,
    pub text: String,
}

/// A place in a file; lines and columns from 1, columns and offsets in bytes, the end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainPlace {
    /// Name of the source, empty if the map does not know it.
    pub file: String,
    pub start: u32,
    pub end: u32,
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

impl PlainDiagnostic {
    /// The plain form of a message about sources of this map.
    pub fn new(diagnostic: &Diagnostic, sources: &SourceMap) -> PlainDiagnostic {
        let mut labels: Vec<PlainLabel> = diagnostic
            .labels
            .iter()
            .map(|label| PlainLabel {
                primary: label.primary,
                text: label.text.clone(),
                place: place(label.span, sources),
            })
            .collect();
        labels.sort_by_key(|label| !label.primary);
        let help = diagnostic.help.iter().map(|help| PlainHelp {
            text: help.text.clone(),
            replacements: help
                .replacements
                .iter()
                .map(|repair| PlainReplacement {
                    place: place(repair.span, sources),
                    text: repair.text.clone(),
                })
                .collect(),
        });
        PlainDiagnostic {
            severity: match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: diagnostic.code.as_str(),
            message: diagnostic.message.clone(),
            labels,
            notes: diagnostic.notes.clone(),
            help: help.collect(),
        }
    }
}

fn place(span: Span, sources: &SourceMap) -> PlainPlace {
    let file = sources.get(span.source);
    let ((line, column), (end_line, end_column)) = file.map_or(((1, 1), (1, 1)), |file| {
        (file.line_column(span.start), file.line_column(span.end))
    });
    PlainPlace {
        file: file.map_or(String::new(), |file| file.name.clone()),
        start: span.start,
        end: span.end,
        line,
        column,
        end_line,
        end_column,
    }
}
