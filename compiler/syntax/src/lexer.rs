//! Tokens: a flat view of a text for recovery, messages, bounds and comments.
//!
//! The grammar decides what a program is; the tokens only say where words, numbers, signs and comments stand. Cutting
//! a text into tokens never fails: what belongs to no token becomes [`TokenKind::Unknown`].

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or a reserved word, with its `'`.
    Word,
    Number,
    /// A closed string.
    Text,
    /// An operator or bracket of the language.
    Sign,
    /// Anything else: a foreign character, a number that runs into letters, an open string.
    Unknown,
}

/// A token as byte range; offsets fit `u32`, because sources are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The tokens of a text and, apart from them, its comments (without line end), both in order.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<(usize, usize)>,
}

/// Signs, longer ones first.
const SIGNS: [&str; 22] = [
    ":=", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ":", "=", "<", ">", "+", "-", "*", "/", "^", "|",
];

/// Words that cannot be names.
pub const RESERVED: [&str; 21] = [
    "cascade", "import", "rank", "const", "in", "inout", "out", "rec", "from", "assume", "policy", "def", "return",
    "by", "where", "else", "and", "or", "not", "div", "mod",
];

/// Reserved words that begin a statement.
pub(crate) const STARTERS: [&str; 10] = [
    "cascade", "import", "rank", "const", "in", "inout", "out", "rec", "assume", "policy",
];

/// Words that are kept for later editions and refused as names.
pub const KEPT: [&str; 10] = [
    "grad", "kernel", "type", "if", "then", "for", "let", "scan", "group", "test",
];

/// Cuts a text into tokens and comments.
pub(crate) fn lex(text: &str) -> Lexed {
    let bytes = text.as_bytes();
    let mut lexed = Lexed::default();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
        } else if bytes[at..].starts_with(b"//") {
            let end = at + run(bytes, at, |byte| byte != b'\n');
            lexed.comments.push((at, end));
            at = end;
        } else {
            let (kind, length) = token(text, at);
            lexed.tokens.push(Token {
                kind,
                start: at,
                end: at + length,
            });
            at += length;
        }
    }
    lexed
}

/// Kind and length of the token at `at`; the length is never 0.
fn token(text: &str, at: usize) -> (TokenKind, usize) {
    let bytes = text.as_bytes();
    let byte = bytes[at];
    if byte.is_ascii_alphabetic() {
        let length = run(bytes, at, is_word);
        let prime = usize::from(bytes.get(at + length) == Some(&b'\''));
        return (TokenKind::Word, length + prime);
    }
    if byte.is_ascii_digit() {
        let length = number(bytes, at);
        let tail = run(bytes, at + length, is_word);
        return (
            if tail == 0 {
                TokenKind::Number
            } else {
                TokenKind::Unknown
            },
            length + tail,
        );
    }
    if byte == b'"' {
        let length = 1 + run(bytes, at + 1, |byte| byte != b'"' && byte != b'\n');
        let closed = bytes.get(at + length) == Some(&b'"');
        return (
            if closed { TokenKind::Text } else { TokenKind::Unknown },
            length + usize::from(closed),
        );
    }
    if let Some(sign) = SIGNS.iter().find(|sign| bytes[at..].starts_with(sign.as_bytes())) {
        return (TokenKind::Sign, sign.len());
    }
    let length = text
        .get(at..)
        .and_then(|rest| rest.chars().next())
        .map_or(1, char::len_utf8);
    (TokenKind::Unknown, length)
}

/// Length of the number at `at`, by the rule `number` of the grammar.
fn number(bytes: &[u8], at: usize) -> usize {
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut end = at + run(bytes, at, digit);
    if bytes.get(end) == Some(&b'.') {
        let fraction = run(bytes, end + 1, digit);
        end += if fraction > 0 { 1 + fraction } else { 0 };
    }
    if bytes.get(end) == Some(&b'e') {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = run(bytes, end + 1 + sign, digit);
        end += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    end - at
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes from `at` satisfy `keep`.
fn run(bytes: &[u8], at: usize, keep: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(at).take_while(|&&byte| keep(byte)).count()
}

impl Token {
    pub(crate) fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or("")
    }

    /// Whether the token begins a line, apart from white space.
    pub(crate) fn first_on_line(&self, text: &str) -> bool {
        let before = text.as_bytes().get(..self.start).unwrap_or(&[]);
        before
            .iter()
            .rev()
            .take_while(|&&byte| byte != b'\n')
            .all(|byte| byte.is_ascii_whitespace())
    }

    /// Whether a letter of this token stands in column 0: the place where recovery begins anew.
    pub(crate) fn in_column_zero(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        self.kind == TokenKind::Word && (self.start == 0 || bytes.get(self.start - 1) == Some(&b'\n'))
    }
}

/// Whether the word, without its `'`, is reserved.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word.strip_suffix('\'').unwrap_or(word))
}

/// Whether a statement may begin with this word.
pub(crate) fn starts_statement(word: &str) -> bool {
    STARTERS.contains(&word) || word == "def" || !is_reserved(word)
}
