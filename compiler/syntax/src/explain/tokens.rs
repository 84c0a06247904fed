//! Questions about tokens: lines, brackets, heads of statements.

use super::Context;
use crate::lexer::{self, STARTERS, TokenKind};
use crate::span::Span;

/// Tokens of the index list of a left side, beyond which messages no longer look for its `=`.
const LONGEST_LIST: usize = 256;

/// What an opening bracket opens.
pub(super) struct List<'t> {
    /// The name before the bracket.
    pub(super) name: Option<&'t str>,
    /// How messages call the list.
    pub(super) kind: &'static str,
    pub(super) closer: &'static str,
    /// Whether the list may have several members.
    pub(super) separated: bool,
    pub(super) block: bool,
}

impl<'t> Context<'t> {
    /// The text of a token, empty at the end of the file.
    pub(super) fn word(&self, index: usize) -> &'t str {
        self.tokens.get(index).map_or("", |token| token.text(self.text))
    }

    pub(super) fn kind(&self, index: usize) -> Option<TokenKind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    /// The span of a token; at the end of the file an empty one after the last token.
    pub(super) fn span(&self, index: usize) -> Span {
        self.span_of(index, index + 1)
    }

    /// The span from token `start` to the end of token `end - 1`; at the end of the file an empty one.
    pub(crate) fn span_of(&self, start: usize, end: usize) -> Span {
        let last = end
            .min(self.tokens.len())
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last));
        let stop = last.map_or(0, |token| token.end);
        let begin = self.tokens.get(start).map_or(stop, |token| token.start);
        Span::new(self.source, begin, stop.max(begin))
    }

    /// The line of a token, from 1.
    pub(super) fn line(&self, index: usize) -> usize {
        let start = self.span(index).start as usize;
        self.text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1
    }

    /// `` `x` `` or the end of the file.
    pub(super) fn quoted(&self, index: usize) -> String {
        match self.tokens.get(index) {
            Some(token) => format!("`{}`", token.text(self.text)),
            None => "the end of the file".to_string(),
        }
    }

    /// Label for an unexpected token.
    pub(super) fn found(&self, index: usize) -> String {
        match self.tokens.get(index) {
            Some(_) => format!("found {}", self.quoted(index)),
            None => "the file ends here".to_string(),
        }
    }

    /// What has to follow token `last`, an operator, a separator or a keyword.
    pub(super) fn operand_phrase(&self, start: usize, last: usize) -> &'static str {
        let list = self.open_bracket(start, last + 1).map(|open| self.word(open));
        match self.word(last) {
            "," if list.is_none() && last > start => self.operand_phrase(start, start),
            "," | "[" if list == Some("[") => "an index",
            "where" | "and" | "or" | "not" | "assume" => "a condition",
            "from" => "an initial value",
            "cascade" | "def" | "policy" => "a name",
            "rank" => "the name of a rank",
            "const" => "the name of a constant",
            "in" | "inout" | "out" | "rec" => "the name of a tensor",
            "import" => "a path in quotes",
            "by" => "the name of a tensor of offsets",
            ":" => "a type",
            _ => "a value",
        }
    }

    /// Whether an operand may begin with this token.
    pub(super) fn begins_operand(&self, index: usize) -> bool {
        match self.kind(index) {
            Some(TokenKind::Word) => !lexer::is_reserved(self.word(index)),
            Some(TokenKind::Number) => true,
            Some(TokenKind::Sign) => self.word(index) == "(",
            _ => false,
        }
    }

    /// The operand that ends with token `last`, for a message: a name with its brackets, else the token.
    pub(super) fn operand_text(&self, start: usize, last: usize) -> &'t str {
        let head = self.head_before(start, last + 1).unwrap_or(last);
        self.text
            .get(self.span_of(head, last + 1).range())
            .filter(|text| text.len() <= 40)
            .unwrap_or(self.word(last))
    }

    /// The innermost bracket that is open before token `end`, of those from `start` on.
    pub(super) fn open_bracket(&self, start: usize, end: usize) -> Option<usize> {
        let mut open = Vec::new();
        for index in start..end {
            match self.word(index) {
                "(" | "[" | "{" => open.push(index),
                ")" | "]" | "}" => {
                    open.pop();
                }
                _ => {}
            }
        }
        open.pop()
    }

    /// What the bracket at `open` opens.
    pub(super) fn list_at(&self, start: usize, open: usize) -> List<'t> {
        let head = open.checked_sub(1).filter(|&head| head >= start);
        let mut name =
            head.filter(|&head| self.kind(head) == Some(TokenKind::Word) && !lexer::is_reserved(self.word(head)));
        let in_def = self.word(start) == "def";
        let bracket = self.word(open);
        if bracket == "(" && name.is_none() && head.is_some_and(|head| self.word(head) == "]") {
            name = self.head_before(start, open);
        }
        let def_head = in_def && name == Some(start + 1);
        let tuple = bracket == "(" && name.is_none() && self.word(start) == "rank";
        let (kind, closer) = match bracket {
            "[" if def_head => ("list of ranks", "]"),
            "[" => ("index list", "]"),
            "{" => ("block", "}"),
            _ if def_head => ("parameter list", ")"),
            _ if self.word(start) == "policy" => ("list of tensors", ")"),
            _ => ("argument list", ")"),
        };
        let separated = bracket == "[" || name.is_some() || tuple;
        List {
            name: name.map(|name| self.word(name)),
            kind,
            closer,
            separated,
            block: bracket == "{",
        }
    }

    /// The name of the operand `name` or `name[..]` that ends just before token `end`, not before `start`.
    fn head_before(&self, start: usize, end: usize) -> Option<usize> {
        let mut index = end.checked_sub(1)?;
        if self.word(index) == "]" {
            let mut depth = 0usize;
            loop {
                match self.word(index) {
                    "]" => depth += 1,
                    "[" => depth -= 1,
                    _ => {}
                }
                index = index.checked_sub(1).filter(|&index| index >= start)?;
                if depth == 0 {
                    break;
                }
            }
        }
        let names = self.kind(index) == Some(TokenKind::Word) && !lexer::is_reserved(self.word(index));
        Some(index).filter(|&index| names && index >= start)
    }

    /// If token `fault` is the `=` of a statement that the one from `start` swallowed: the name of its left side, which
    /// begins a line.
    pub(crate) fn swallowed_head(&self, start: usize, fault: usize) -> Option<usize> {
        if self.word(fault) != "=" {
            return None;
        }
        let head = self.head_before(start, fault)?;
        let token = self.tokens.get(head)?;
        Some(head).filter(|&head| head > start && token.first_on_line(self.text))
    }

    /// Whether token `index` begins a line and is followed by `=` or `[..] =`, or is a keyword of a statement.
    pub(crate) fn is_head(&self, index: usize) -> bool {
        self.tokens
            .get(index)
            .is_some_and(|token| token.first_on_line(self.text))
            && self.begins_statement(index)
    }

    /// Whether token `index` looks like the first one of a statement.
    pub(super) fn begins_statement(&self, index: usize) -> bool {
        let word = self.word(index);
        if STARTERS.contains(&word) || word == "def" {
            return true;
        }
        if self.kind(index) != Some(TokenKind::Word) || lexer::is_reserved(word) {
            return false;
        }
        let mut after = index + 1;
        if self.word(after) == "[" {
            let mut depth = 0usize;
            for token in self.tokens.iter().skip(after).take(LONGEST_LIST) {
                match token.text(self.text) {
                    "[" => depth += 1,
                    "]" => depth -= 1,
                    _ => {}
                }
                after += 1;
                if depth == 0 {
                    break;
                }
            }
        }
        self.word(after) == "="
    }

    /// The names that the statements of the tokens `start..end` would have defined.
    pub(crate) fn defined_names(&self, start: usize, end: usize) -> Vec<String> {
        let heads = (start..end.min(self.tokens.len())).filter(|&index| {
            index == start
                || self
                    .tokens
                    .get(index)
                    .is_some_and(|token| token.first_on_line(self.text))
        });
        heads
            .filter(|&head| head == start || self.begins_statement(head))
            .flat_map(|head| self.names_at(head, end))
            .collect()
    }

    /// The names that the statement with first token `head` would have defined.
    fn names_at(&self, head: usize, end: usize) -> Vec<String> {
        let is_name = |&index: &usize| {
            index < end && self.kind(index) == Some(TokenKind::Word) && !lexer::is_reserved(self.word(index))
        };
        let name = |index: usize| self.word(index).to_string();
        match self.word(head) {
            "rank" | "const" | "in" | "inout" => {
                let mut names = Vec::new();
                let mut depth = 0usize;
                let input = matches!(self.word(head), "in" | "inout");
                for index in head..end {
                    let tuple = depth == 1 && self.word(head) == "rank";
                    match self.word(index) {
                        "(" | "[" | "{" => depth += 1,
                        ")" | "]" | "}" => depth = depth.saturating_sub(1),
                        ":" if !input => break,
                        // the extent of a rank would have followed from the input
                        _ if input && depth > 0 => names.extend(Some(index).filter(is_name).map(name)),
                        _ => {}
                    }
                    let lists = index == head || matches!(self.word(index), "," | "(");
                    if lists && (depth == 0 || tuple || self.word(index) == "(" && self.word(head) == "rank") {
                        names.extend(Some(index + 1).filter(is_name).map(name));
                    }
                    if index > head && self.begins_statement(index) && self.is_head(index) {
                        break;
                    }
                }
                names
            }
            "out" | "rec" | "def" => Some(head + 1).filter(is_name).map(name).into_iter().collect(),
            _ => Some(head).filter(is_name).map(name).into_iter().collect(),
        }
    }
}
