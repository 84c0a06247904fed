//! Diagnostics: what is wrong in the user's text, free of any form of output.
//!
//! A [`Diagnostic`] has a stable [`Code`], one terse sentence in the user's terms without a final full stop, labels on
//! the source, notes with reasons and help lines, of which some carry a repair. `render` draws them.

use crate::codes::Code;
use crate::span::Span;

/// How bad it is. Only errors keep a file from being compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Severity {
    Error,
    Warning,
}

/// A marked place; the primary one gets the caret and the line number of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Label {
    pub span: Span,
    /// Text beside the mark, may be empty.
    pub text: String,
    pub primary: bool,
}

/// New text for a span. An empty span is an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Replacement {
    pub span: Span,
    pub text: String,
}

/// A help line, with the repair where one is known. Several replacements of one help are applied together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Help {
    pub text: String,
    pub replacements: Vec<Replacement>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
    pub message: String,
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    pub help: Vec<Help>,
}

impl Diagnostic {
    /// A message of the severity that belongs to the code (`E....` error, `W....` warning).
    pub fn new(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: code.severity(),
            code,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Adds the place at fault (the caret). The first primary label gives the position of the message.
    pub fn primary(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label {
            span,
            text: text.into(),
            primary: true,
        });
        self
    }

    /// Adds a related place.
    pub fn secondary(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label {
            span,
            text: text.into(),
            primary: false,
        });
        self
    }

    /// Adds a note: the reason.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Adds a help line without a repair.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(Help {
            text: text.into(),
            replacements: Vec::new(),
        });
        self
    }

    /// Adds a help line with a repair: `span` is replaced by `with`.
    pub fn fix(mut self, text: impl Into<String>, span: Span, with: impl Into<String>) -> Diagnostic {
        let replacements = vec![Replacement {
            span,
            text: with.into(),
        }];
        self.help.push(Help {
            text: text.into(),
            replacements,
        });
        self
    }

    /// Whether this message keeps the file from being compiled.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The place of the message: the first primary label, else the first label.
    pub fn span(&self) -> Option<Span> {
        self.labels
            .iter()
            .find(|label| label.primary)
            .or(self.labels.first())
            .map(|label| label.span)
    }
}

/// Whether any message is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(Diagnostic::is_error)
}
