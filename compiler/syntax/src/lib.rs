//! Syntax of the einloom language: text to a spanned tree and diagnostics, and back to text.
//!
//! The crate is pure: no files, clock, threads, environment or printing; the same text gives the same result.
//! Parsing never fails as a whole: it returns the statements that could be read and the messages about the others.

pub mod ast;
mod build;
pub mod codes;
mod decode;
pub mod diagnostic;
mod explain;
mod format;
mod grammar;
mod lexer;
mod parse;
mod plain;
mod render;
pub mod span;
mod strip;

pub use codes::{Code, Page};
pub use diagnostic::{Diagnostic, Help, Label, Replacement, Severity, has_errors};
pub use span::{SourceFile, SourceId, SourceMap, Span};

pub use decode::{MAX_SOURCE, decode};
pub use format::{format, format_text};
pub use lexer::{KEPT, RESERVED};
pub use parse::parse;
pub use plain::{PlainDiagnostic, PlainHelp, PlainLabel, PlainPlace, PlainReplacement};
pub use render::{Style, render};

/// The prelude: definitions that every file sees. A library in the language itself.
pub const PRELUDE: &str = include_str!("prelude.ein");
