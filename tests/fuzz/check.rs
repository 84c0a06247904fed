//! What holds for every text, however broken. Shared by the fuzz target and the bounded run of the suite.

use einloom_syntax::{Diagnostic, SourceMap, decode, parse};

/// Reads `bytes` as a `.ein` file. Panics if a message points outside the text or has no words, or if reading the same text again
/// gives something else.
pub(crate) fn source(bytes: &[u8]) {
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(diagnostic) => return diagnostics(&[diagnostic], ""),
    };
    let mut sources = SourceMap::new();
    let id = sources.add("fuzz.ein", text.as_str());
    let (file, found) = parse(id, &text);
    diagnostics(&found, &text);
    let (again, found_again) = parse(id, &text);
    assert_eq!(format!("{file:?}"), format!("{again:?}"), "two readings give two trees");
    assert_eq!(
        format!("{found:?}"),
        format!("{found_again:?}"),
        "two readings give different messages"
    );
}

fn diagnostics(found: &[Diagnostic], text: &str) {
    for diagnostic in found {
        assert!(
            !diagnostic.message.trim().is_empty(),
            "a message without words: {diagnostic:?}"
        );
        let span = diagnostic.span().map_or(0..0, |span| span.range());
        assert!(
            text.get(span.clone()).is_some(),
            "{span:?} is no part of the text: {diagnostic:?}"
        );
    }
}
