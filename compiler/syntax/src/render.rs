//! Diagnostics as text for people, in the manner of rustc: message, source with carets, notes, help with the repaired
//! source. The only module that knows annotate-snippets.

use annotate_snippets::{AnnotationKind, Element, Group, Level, Patch, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Help, Label, Severity};
use crate::span::{SourceFile, SourceId, SourceMap, Span};

/// Whether the text carries terminal colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    Color,
}

/// Columns of the terminal that long source lines are cut to.
const WIDTH: usize = 140;

/// All messages in order, a blank line between two, a line end after the last. Labels on sources that the map does not
/// know are left out; spans that do not fit a source are cut to it.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Color => Renderer::styled(),
    };
    let renderer = renderer.term_width(WIDTH);
    let mut text = String::new();
    for diagnostic in diagnostics {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(renderer.render(&report(diagnostic, sources)).trim_end());
        text.push('\n');
    }
    text
}

/// The message with its labels and notes, then one group for each help that carries a repair.
fn report<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.as_str());
    let mut main = title.elements(snippets(diagnostic, sources));
    for note in &diagnostic.notes {
        main = main.element(Level::NOTE.message(note.as_str()));
    }
    let (repairs, plain): (Vec<&Help>, Vec<&Help>) = diagnostic
        .help
        .iter()
        .partition(|help| help.replacements.iter().any(|repair| fits(repair.span, sources)));
    for help in plain {
        main = main.element(Level::HELP.message(help.text.as_str()));
    }
    std::iter::once(main)
        .chain(repairs.into_iter().map(|help| repair(help, sources)))
        .collect()
}

/// One snippet for each source with labels, that of the primary label first.
fn snippets<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Vec<Element<'a>> {
    let mut order: Vec<SourceId> = diagnostic.span().map(|span| span.source).into_iter().collect();
    for label in &diagnostic.labels {
        if !order.contains(&label.span.source) {
            order.push(label.span.source);
        }
    }
    let snippet = |id: SourceId| {
        let file = sources.get(id)?;
        let labels = diagnostic.labels.iter().filter(|label| label.span.source == id);
        let annotations: Vec<_> = labels.map(|label| annotation(label, file)).collect();
        Some(
            Snippet::source(file.text.as_str())
                .path(file.name.as_str())
                .annotations(annotations)
                .into(),
        )
    };
    order.into_iter().filter_map(snippet).collect()
}

fn annotation<'a>(label: &'a Label, file: &SourceFile) -> annotate_snippets::Annotation<'a> {
    let kind = if label.primary {
        AnnotationKind::Primary
    } else {
        AnnotationKind::Context
    };
    let annotation = kind.span(clip(label.span, &file.text));
    if label.text.is_empty() {
        annotation
    } else {
        annotation.label(label.text.as_str())
    }
}

/// A help line with the source as it would read.
fn repair<'a>(help: &'a Help, sources: &'a SourceMap) -> Group<'a> {
    let mut repairs: Vec<_> = help
        .replacements
        .iter()
        .filter(|repair| fits(repair.span, sources))
        .collect();
    repairs.sort_by_key(|repair| (repair.span.source, repair.span.start, repair.span.end));
    let mut group = Group::with_title(Level::HELP.secondary_title(help.text.as_str()));
    for of_file in repairs.chunk_by(|one, other| one.span.source == other.span.source) {
        let Some(file) = of_file.first().and_then(|first| sources.get(first.span.source)) else {
            continue;
        };
        let mut end = 0;
        let mut patches = Vec::new();
        for repair in of_file {
            let range = clip(repair.span, &file.text);
            // Overlapping repairs contradict each other; the first one stands.
            if range.start >= end || patches.is_empty() {
                end = range.end;
                patches.push(Patch::new(range, repair.text.as_str()));
            }
        }
        group = group.element(
            Snippet::source(file.text.as_str())
                .path(file.name.as_str())
                .patches(patches),
        );
    }
    group
}

/// Whether the span lies in a source of the map.
fn fits(span: Span, sources: &SourceMap) -> bool {
    sources
        .get(span.source)
        .is_some_and(|file| file.text.get(span.range()).is_some())
}

/// The span as a range that lies in the text and cuts no character.
fn clip(span: Span, text: &str) -> std::ops::Range<usize> {
    let floor = |offset: u32| text.floor_char_boundary((offset as usize).min(text.len()));
    let start = floor(span.start);
    start..floor(span.end).max(start)
}
