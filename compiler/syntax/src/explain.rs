//! From a token at fault to a message in the user's terms.
//!
//! The grammar says where reading stopped and which rules it tried there. The message follows from the tokens around
//! that place: the token before it decides whether a value, a name or a continuation was due; the innermost open
//! bracket gives the context. Phrases for rules of the grammar are the last resort.

mod phrase;
mod tokens;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::grammar::Rule;
use crate::lexer::{self, KEPT, STARTERS, Token, TokenKind};
use crate::span::{SourceId, Span};

/// A text with its tokens.
#[derive(Clone, Copy)]
pub(crate) struct Context<'t> {
    pub(crate) source: SourceId,
    pub(crate) text: &'t str,
    pub(crate) tokens: &'t [Token],
}

/// What has to follow a token.
#[derive(Clone, Copy, PartialEq)]
enum Due {
    /// A name: after `rank`, `def`, `:` and the like.
    Name,
    /// A value: after an operator, `=`, an opening bracket.
    Value,
    /// Nothing in particular: the token ends an operand.
    Anything,
}

impl Context<'_> {
    /// The message about the statement that begins with token `start` and has its fault at token `fault`.
    pub(crate) fn syntax_error(&self, start: usize, fault: usize, expected: &[Rule]) -> Diagnostic {
        let found = self.tokens.get(fault);
        if let Some(token) = found.filter(|token| token.kind == TokenKind::Unknown) {
            return self.unknown(fault, token.text(self.text));
        }
        let Some(before) = fault.checked_sub(1).filter(|&before| before >= start && fault > start) else {
            return self.no_statement(fault);
        };
        let due = self.due(start, before);
        let begins_line = found.is_some_and(|token| token.first_on_line(self.text));
        if due != Due::Anything {
            if begins_line && self.begins_statement(fault) {
                return self.runs_on(before, fault);
            }
            return self.missing_operand(start, before, fault, due);
        }
        self.misplaced(start, before, fault, expected)
    }

    /// What has to follow the token `index` of the statement that begins with `start`.
    fn due(&self, start: usize, index: usize) -> Due {
        let text = self.word(index);
        match text {
            "cascade" | "import" | "rank" | "const" | "in" | "inout" | "out" | "rec" | "policy" | "def" | "by"
            | ":" => Due::Name,
            "," if self.open_bracket(start, index).is_none()
                && matches!(self.word(start), "rank" | "const" | "in" | "inout") =>
            {
                Due::Name
            }
            ")" | "]" | "}" | "{" => Due::Anything,
            _ if self.kind(index) == Some(TokenKind::Sign) || lexer::is_reserved(text) => Due::Value,
            _ => Due::Anything,
        }
    }

    /// E0102: a statement swallowed the next one, because its line ends with an operator.
    fn runs_on(&self, before: usize, fault: usize) -> Diagnostic {
        let (line, next) = (self.line(before), self.line(fault));
        let last = self.word(before);
        let message =
            format!("the expression of line {line} continues on line {next}, because line {line} ends with `{last}`");
        Diagnostic::new(Code::E0102, message)
            .primary(self.span(before), "an operand is missing")
            .secondary(self.span(fault), "taken for the continuation")
            .note("line ends only separate tokens; a statement ends where the next one begins")
    }

    /// E0103 and E0104: an operand or a name is missing.
    fn missing_operand(&self, start: usize, before: usize, fault: usize, due: Due) -> Diagnostic {
        let last = self.word(before);
        let found = self.word(fault);
        let takes_operator = !matches!(last, "," | "(" | "[");
        let reserved = lexer::is_reserved(found) && found != "not";
        if reserved && (due == Due::Name || !takes_operator || STARTERS.contains(&found) || found == "def") {
            return Diagnostic::new(Code::E0104, format!("`{found}` is a reserved word"))
                .primary(
                    self.span(fault),
                    format!("expected {} here", self.operand_phrase(start, before)),
                )
                .help("choose another name");
        }
        if last == "," && matches!(found, ")" | "]") {
            return Diagnostic::new(Code::E0103, format!("expected a value after `,`, found `{found}`"))
                .primary(self.span(fault), "")
                .fix("drop the `,`", self.span(before), "");
        }
        if last == "*" && found == "*" {
            let both = self.span(before).to(self.span(fault));
            return Diagnostic::new(Code::E0103, "`**` is no operator")
                .primary(both, "")
                .fix("a power is written `^`", both, "^");
        }
        let code = if due == Due::Name { Code::E0101 } else { Code::E0103 };
        let diagnostic = Diagnostic::new(
            code,
            format!("expected {} after `{last}`", self.operand_phrase(start, before)),
        );
        let diagnostic = self.at_fault(diagnostic, before, fault);
        match self.open_bracket(start, before) {
            Some(open) if self.tokens.get(fault).is_none() => {
                diagnostic.secondary(self.span(open), "this bracket is open")
            }
            _ => diagnostic,
        }
    }

    /// Marks the token at fault, or the end of the one before it where the line ends between them.
    fn at_fault(&self, diagnostic: Diagnostic, before: usize, fault: usize) -> Diagnostic {
        if self.on_same_line(fault) {
            return diagnostic.primary(self.span(fault), self.found(fault));
        }
        let end = self.span(before).end;
        diagnostic.primary(
            Span {
                start: end,
                ..self.span(before)
            },
            "",
        )
    }

    /// Whether the token follows another one on its line.
    fn on_same_line(&self, index: usize) -> bool {
        self.tokens
            .get(index)
            .is_some_and(|token| !token.first_on_line(self.text))
    }

    /// E0101: the statement was complete or a list goes on, but this token fits neither.
    fn misplaced(&self, start: usize, before: usize, fault: usize, expected: &[Rule]) -> Diagnostic {
        if let Some(open) = self.open_bracket(start, fault) {
            return self.open_list(start, open, before, fault, expected);
        }
        let found = self.word(fault);
        let same_line = self.on_same_line(fault);
        if let Some(diagnostic) = self.confused_sign(start, before, fault, expected) {
            return diagnostic;
        }
        if matches!(found, ")" | "]" | "}") {
            return Diagnostic::new(Code::E0101, format!("`{found}` closes no bracket"))
                .primary(self.span(fault), "")
                .fix("drop it", self.span(fault), "");
        }
        let phrase = phrase::alternatives(expected);
        if same_line && self.begins_operand(fault) && phrase.is_none_or(|phrase| phrase == phrase::OPERATOR) {
            return self.juxtaposed(before, fault);
        }
        match phrase::alternatives(expected) {
            Some(phrase) if phrase != phrase::OPERATOR => {
                let after = self.operand_text(start, before);
                let diagnostic = Diagnostic::new(Code::E0101, format!("expected {phrase} after `{after}`"));
                self.at_fault(diagnostic, before, fault)
            }
            _ => Diagnostic::new(
                Code::E0101,
                format!("unexpected {} after the expression", self.quoted(fault)),
            )
            .primary(self.span(fault), "")
            .note("a statement begins with a keyword or with `name =`"),
        }
    }

    /// A list or parenthesis is not closed.
    fn open_list(&self, start: usize, open: usize, before: usize, fault: usize, expected: &[Rule]) -> Diagnostic {
        let list = self.list_at(start, open);
        if list.block {
            if self.word(fault) == "}" && (open..fault).all(|index| self.word(index) != "return") {
                return Diagnostic::new(Code::E0101, "expected `return` and a value before `}`")
                    .primary(self.span(fault), "")
                    .secondary(self.span(open), "the block begins here");
            }
            let phrase = phrase::alternatives(expected).unwrap_or_else(|| "a definition or `return`".to_string());
            let diagnostic = Diagnostic::new(Code::E0101, format!("expected {phrase} in the block"));
            return self
                .at_fault(diagnostic, before, fault)
                .secondary(self.span(open), "the block begins here");
        }
        let juxtaposed = list.name.is_none() && list.closer == ")" && self.begins_operand(fault);
        let same_line = self.on_same_line(fault);
        if juxtaposed && same_line {
            return self.juxtaposed(before, fault);
        }
        let what = if list.separated {
            format!("`,` or `{}`", list.closer)
        } else {
            format!("`{}`", list.closer)
        };
        let place = match list.name {
            Some(name) => format!(" in the {} of `{name}`", list.kind),
            None => String::new(),
        };
        let diagnostic = Diagnostic::new(Code::E0101, format!("expected {what}{place}"));
        self.at_fault(diagnostic, before, fault)
            .secondary(self.span(open), "opened here")
    }

    /// `=` for `==` and the reverse, a second `where`.
    fn confused_sign(&self, start: usize, before: usize, fault: usize, expected: &[Rule]) -> Option<Diagnostic> {
        let span = self.span(fault);
        match self.word(fault) {
            "==" if expected.contains(&Rule::equals) => Some(
                Diagnostic::new(Code::E0101, "expected `=`, found `==`")
                    .primary(span, "")
                    .fix("a definition is written with `=`", span, "="),
            ),
            ":=" if expected.contains(&Rule::equals) => Some(
                Diagnostic::new(Code::E0101, "expected `=`, found `:=`")
                    .primary(span, "")
                    .fix("a definition is written with `=`", span, "="),
            ),
            "=" if (start + 1..before).any(|index| matches!(self.word(index), "where" | "=")) => Some(
                Diagnostic::new(Code::E0101, "unexpected `=` in an expression")
                    .primary(span, "")
                    .fix("a comparison is written with `==`", span, "=="),
            ),
            "," if matches!(self.word(start), "in" | "inout")
                && (start..fault).any(|index| self.word(index) == ":") =>
            {
                Some(
                    Diagnostic::new(Code::E0101, "inputs of another type begin another statement")
                        .primary(span, "a type is the end of a list of inputs")
                        .fix(
                            format!("begin it with `{}`", self.word(start)),
                            span,
                            format!("\n{}", self.word(start)),
                        ),
                )
            }
            "where" if (start..fault).any(|index| self.word(index) == "where") => Some(
                Diagnostic::new(Code::E0101, "the expression has a `where` already")
                    .primary(span, "")
                    .fix("join the conditions", span, "and"),
            ),
            _ => None,
        }
    }

    /// Two operands side by side.
    fn juxtaposed(&self, before: usize, fault: usize) -> Diagnostic {
        let (left, right) = (self.word(before), self.word(fault));
        let diagnostic = Diagnostic::new(
            Code::E0101,
            format!("expected an operator between `{left}` and `{right}`"),
        )
        .primary(self.span(fault), "");
        let gap = Span {
            end: self.span(fault).start,
            ..self.span(fault)
        };
        if KEPT.contains(&left) || KEPT.contains(&right) {
            return diagnostic.help("a choice is written `a where c else b`");
        }
        diagnostic.fix("a product is written with `*`", gap, "* ")
    }

    /// No statement begins with this token.
    fn no_statement(&self, fault: usize) -> Diagnostic {
        let found = self.word(fault);
        if lexer::is_reserved(found) && matches!(self.word(fault + 1), "=" | "[") {
            return Diagnostic::new(Code::E0104, format!("`{found}` is a reserved word"))
                .primary(self.span(fault), "not a name")
                .help("choose another name");
        }
        let diagnostic = Diagnostic::new(
            Code::E0101,
            format!("expected a statement, found {}", self.quoted(fault)),
        )
        .primary(self.span(fault), "")
        .note("a statement begins with a keyword or with `name =`");
        match found {
            "/" | "*" => diagnostic.help("a comment begins with `//`"),
            _ => diagnostic,
        }
    }

    /// A token that belongs to no program.
    fn unknown(&self, fault: usize, found: &str) -> Diagnostic {
        let span = self.span(fault);
        let error = |message: String| Diagnostic::new(Code::E0101, message).primary(span, "");
        let unexpected = || error(format!("unexpected character `{found}`"));
        match found {
            ";" => unexpected().fix("a statement needs no terminator", span, ""),
            "&" => unexpected().help("a conjunction is written `and`"),
            "!" => unexpected().help("a negation is written `not`"),
            "%" => unexpected().fix("the remainder is written `mod`", span, "mod"),
            "#" | "@" => unexpected().help("a comment begins with `//`"),
            "." => unexpected().help("a number has digits on both sides of the point"),
            "'" => unexpected().help("`'` ends the name of a new value, as in `K'`"),
            _ if found.starts_with('"') => error("the string is not closed on its line".to_string()),
            _ if found.starts_with(|first: char| first.is_ascii_digit()) => {
                error(format!("`{found}` is neither a number nor a name"))
                    .note("a name begins with a letter, a number ends before one")
            }
            _ => unexpected(),
        }
    }
}
