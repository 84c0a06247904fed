//! From bytes to a text that the grammar can read: encoding, size, foreign characters.

use std::borrow::Cow;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::span::{SourceId, Span};

/// Largest source in bytes.
pub const MAX_SOURCE: usize = 1 << 20;

/// The text of a file. A byte order mark at the start is dropped.
///
/// # Errors
/// One message (E0105 or E0106) where the bytes are no UTF-8 or more than [`MAX_SOURCE`].
pub fn decode(bytes: &[u8]) -> Result<String, Diagnostic> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    check_size(bytes.len())?;
    std::str::from_utf8(bytes).map(str::to_string).map_err(|error| {
        let at = error.valid_up_to();
        let line = bytes.iter().take(at).filter(|&&byte| byte == b'\n').count() + 1;
        Diagnostic::new(
            Code::E0105,
            format!("the file is no text: byte {at}, in line {line}, is not UTF-8"),
        )
        .help("save the file as ASCII")
    })
}

/// Refuses a source that is too large.
pub(crate) fn check_size(length: usize) -> Result<(), Diagnostic> {
    if length <= MAX_SOURCE {
        return Ok(());
    }
    Err(Diagnostic::new(
        Code::E0106,
        format!("the source has more than {MAX_SOURCE} bytes"),
    ))
}

/// A text of the same length whose foreign characters are replaced by `?`, their places, and a message for each of the
/// first `limit` runs of them.
pub(crate) fn sanitise(source: SourceId, text: &str, limit: usize) -> (Cow<'_, str>, Vec<Span>, Vec<Diagnostic>) {
    let native = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    if text.as_bytes().iter().all(native) {
        return (Cow::Borrowed(text), Vec::new(), Vec::new());
    }
    let clean = text
        .bytes()
        .map(|byte| if native(&byte) { char::from(byte) } else { '?' })
        .collect();
    let (mut spans, mut diagnostics) = (Vec::new(), Vec::new());
    let mut chars = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        let foreign = |letter: char| !letter.is_ascii() || !native(&(letter as u8));
        if !foreign(first) {
            continue;
        }
        let mut end = start + first.len_utf8();
        while let Some((at, letter)) = chars.next_if(|&(_, letter)| foreign(letter)) {
            end = at + letter.len_utf8();
        }
        let span = Span::new(source, start, end);
        spans.push(span);
        if diagnostics.len() < limit {
            diagnostics.push(foreign_text(span, first, text.get(start..end).unwrap_or("")));
        }
    }
    (Cow::Owned(clean), spans, diagnostics)
}

/// The message about a run of foreign characters that begins with `first`.
fn foreign_text(span: Span, first: char, run: &str) -> Diagnostic {
    if first == '\0' {
        return Diagnostic::new(Code::E0105, "NUL byte in the source").primary(span, "");
    }
    if first.is_control() {
        let message = format!("control character U+{:04X} in the source", u32::from(first));
        return Diagnostic::new(Code::E0105, message).primary(span, "");
    }
    let message = format!("`{first}` (U+{:04X}) is not ASCII", u32::from(first));
    let diagnostic = Diagnostic::new(Code::E0105, message).primary(span, "");
    match ascii_form(first).filter(|_| run.chars().count() == 1) {
        Some(form) => diagnostic.fix(format!("write `{form}`"), span, form),
        None => diagnostic.note("programs and comments are written in ASCII"),
    }
}

/// How a sign that papers and word processors use is written here.
fn ascii_form(sign: char) -> Option<&'static str> {
    Some(match sign {
        '\u{d7}' | '\u{b7}' | '\u{22c5}' | '\u{2217}' => "*",
        '\u{f7}' | '\u{2215}' => "/",
        '\u{2212}' | '\u{2013}' | '\u{2014}' => "-",
        '\u{2264}' => "<=",
        '\u{2265}' => ">=",
        '\u{2260}' => "!=",
        '\u{2227}' => "and",
        '\u{2228}' => "or",
        '\u{ac}' => "not",
        '\u{221e}' => "inf",
        '\u{3c0}' => "pi",
        '\u{2032}' | '\u{2019}' => "'",
        '\u{201c}' | '\u{201d}' => "\"",
        '\u{a0}' => " ",
        '\u{3b1}' => "alpha",
        '\u{3b2}' => "beta",
        '\u{3b3}' => "gamma",
        '\u{3b4}' => "delta",
        '\u{3b5}' => "eps",
        '\u{3b7}' => "eta",
        '\u{3b8}' => "theta",
        '\u{3bb}' => "lam",
        '\u{3bc}' => "mu",
        '\u{3c1}' => "rho",
        '\u{3c3}' => "sigma",
        '\u{3c4}' => "tau",
        _ => return None,
    })
}
