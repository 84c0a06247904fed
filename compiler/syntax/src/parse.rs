//! Parsing of a whole text, statement by statement, with recovery.
//!
//! The grammar reads one statement at a time from a *window* of tokens. A window ends on a token, never within; if the
//! parser came to its end without a decision, it is enlarged. A statement ends where a word follows that may begin
//! another one: no expression holds two names side by side, so nothing beyond that word can change the decision.
//! Brackets and prefix operators nested deeper than [`MAX_DEPTH`] end a window for good, hence the recursion is bounded
//! whatever the text.
//!
//! After an error, reading goes on at the next word in column 0. Text that was formatted has only statements there, so
//! one broken statement gives one message. If the text was not formatted and a statement does not parse from such a
//! word before the token at fault, that word is taken for a continuation and passed over in silence.

use std::collections::BTreeSet;

use pest::Parser as _;
use pest::error::InputLocation;

use crate::ast::{File, MAX_DEPTH, Stmt};
use crate::build::Builder;
use crate::codes::Code;
use crate::decode;
use crate::diagnostic::Diagnostic;
use crate::explain::Context;
use crate::grammar::{Grammar, Rule};
use crate::lexer::{self, Token, TokenKind};
use crate::span::{SourceId, Span};

/// Messages after which the rest of a file is not read.
const MAX_ERRORS: usize = 100;

/// Tokens of the first window of a statement.
const WINDOW: usize = 192;

/// Parses one source. Never fails as a whole: statements that cannot be read are left out of the tree, one message
/// each; their names stand in [`File::poisoned`], their places in [`File::broken`].
pub fn parse(source: SourceId, text: &str) -> (File, Vec<Diagnostic>) {
    if let Err(diagnostic) = decode::check_size(text.len()) {
        return (File::default(), vec![diagnostic.primary(Span::new(source, 0, 0), "")]);
    }
    let (clean, foreign, diagnostics) = decode::sanitise(source, text, MAX_ERRORS);
    let lexed = lexer::lex(&clean);
    let mut parser = Parser {
        source,
        text: &clean,
        tokens: &lexed.tokens,
        foreign,
        file: File::default(),
        starts: Vec::new(),
        poisoned: BTreeSet::new(),
        diagnostics,
    };
    parser.run();
    let Parser {
        file, mut diagnostics, ..
    } = parser;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().map(|span| span.start));
    (file, diagnostics)
}

struct Parser<'t> {
    source: SourceId,
    text: &'t str,
    tokens: &'t [Token],
    /// Places of foreign characters; they have their message already.
    foreign: Vec<Span>,
    file: File,
    /// First token of each statement of the file; parallel to `file.stmts`.
    starts: Vec<usize>,
    /// The names of `file.poisoned`.
    poisoned: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
}

/// A statement that was read, and the token after it.
struct Read {
    stmt: Stmt,
    next: usize,
    diagnostics: Vec<Diagnostic>,
}

/// Why a statement was not read.
enum Failure {
    /// The token at fault (the number of tokens at the end of the file), and what the grammar would have taken.
    Syntax { at: usize, expected: Vec<Rule> },
    /// Nested too deeply at this token.
    Depth { at: usize },
}

impl Parser<'_> {
    fn run(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            match self.read(at) {
                Ok(read) => at = self.commit(at, read),
                Err(failure) => at = self.recover(at, failure),
            }
            if self.diagnostics.len() >= MAX_ERRORS && at < self.tokens.len() {
                let span = self.span_of(at, self.tokens.len());
                self.diagnostics.push(
                    Diagnostic::new(
                        Code::E0106,
                        format!("more than {MAX_ERRORS} messages, the rest is not read"),
                    )
                    .primary(
                        Span {
                            end: span.start,
                            ..span
                        },
                        "",
                    ),
                );
                self.poison(at, self.tokens.len());
                self.file.broken.push(span);
                return;
            }
        }
    }

    fn commit(&mut self, at: usize, read: Read) -> usize {
        self.file.stmts.push(read.stmt);
        self.starts.push(at);
        self.diagnostics.extend(read.diagnostics);
        read.next
    }

    /// Reads the statement that begins with token `at`, which exists.
    fn read(&self, at: usize) -> Result<Read, Failure> {
        let base = self.tokens.get(at).map_or(0, |token| token.start);
        let mut size = WINDOW;
        loop {
            let limit = at.saturating_add(size).min(self.tokens.len());
            let deep = self.first_too_deep(at, limit);
            let end = deep.unwrap_or(limit);
            let whole = end == self.tokens.len();
            let stop = end
                .checked_sub(1)
                .and_then(|last| self.tokens.get(last))
                .map_or(base, |token| token.end);
            let window = self.text.get(base..stop).unwrap_or("");
            match Grammar::parse(Rule::one, window) {
                Ok(mut pairs) => {
                    let pair = pairs.next().expect("the entry of the grammar is a statement");
                    let next = self
                        .tokens
                        .partition_point(|token| token.end <= base + pair.as_span().end());
                    if next < end || whole {
                        return self.build(at, base, pair, next);
                    }
                }
                Err(error) => {
                    let position = base
                        + match error.location {
                            InputLocation::Pos(position) => position,
                            InputLocation::Span((start, _)) => start,
                        };
                    let fault = self.tokens.partition_point(|token| token.end <= position);
                    match error.variant {
                        pest::error::ErrorVariant::ParsingError { positives, .. } if fault < end || whole => {
                            return Err(Failure::Syntax {
                                at: fault,
                                expected: positives,
                            });
                        }
                        pest::error::ErrorVariant::ParsingError { .. } => {}
                        pest::error::ErrorVariant::CustomError { .. } => {
                            return Err(Failure::Depth { at: fault });
                        }
                    }
                }
            }
            if let Some(deep) = deep {
                return Err(Failure::Depth { at: deep });
            }
            size = size.saturating_mul(4);
        }
    }

    fn build(
        &self,
        at: usize,
        base: usize,
        pair: pest::iterators::Pair<'_, Rule>,
        next: usize,
    ) -> Result<Read, Failure> {
        let mut builder = Builder::new(self.source, base, self.tokens);
        let stmt = builder.stmt(pair);
        match builder.too_deep {
            Some(span) => Err(Failure::Depth {
                at: self
                    .tokens
                    .partition_point(|token| token.end <= span.start as usize)
                    .max(at),
            }),
            None => Ok(Read {
                stmt,
                next,
                diagnostics: builder.diagnostics,
            }),
        }
    }

    /// The first token of `from..to` that brackets and prefix operators nest deeper than [`MAX_DEPTH`].
    fn first_too_deep(&self, from: usize, to: usize) -> Option<usize> {
        // One count for each open bracket: how many prefix operators and powers hold the present operand.
        let mut chains = vec![0usize];
        let deepen = |chains: &mut Vec<usize>| {
            if let Some(chain) = chains.last_mut() {
                *chain += 1;
            }
        };
        let mut depth = 0;
        let mut operand_before = false;
        for (index, token) in self.tokens.iter().enumerate().take(to).skip(from) {
            let text = token.text(self.text);
            let mut operand = true;
            match text {
                "(" | "[" | "{" => {
                    chains.push(0);
                    depth += 1;
                    operand = false;
                }
                ")" | "]" | "}" if chains.len() > 1 => depth -= chains.pop().unwrap_or(0) + 1,
                "^" | "not" => {
                    deepen(&mut chains);
                    depth += 1;
                    operand = false;
                }
                "-" if !operand_before => {
                    deepen(&mut chains);
                    depth += 1;
                    operand = false;
                }
                _ if token.kind == TokenKind::Sign || lexer::is_reserved(text) => {
                    depth -= chains.last_mut().map_or(0, std::mem::take);
                    operand = false;
                }
                _ => {}
            }
            if depth > MAX_DEPTH {
                return Some(index);
            }
            operand_before = operand;
        }
        None
    }

    /// Reports why no statement was read from token `at`, and finds the token to go on with.
    fn recover(&mut self, at: usize, failure: Failure) -> usize {
        let (start, fault, diagnostic) = match failure {
            Failure::Depth { at: deep } => {
                let diagnostic = Diagnostic::new(Code::E0106, "the expression is nested too deeply")
                    .primary(self.span_of(deep, deep + 1), "")
                    .note(format!(
                        "an expression has at most {MAX_DEPTH} levels; a chain of operators counts one for each"
                    ))
                    .help("name a part of it in a statement of its own");
                (at, deep, Some(diagnostic))
            }
            Failure::Syntax { at: fault, expected } => {
                let (start, place) = self.locate(at, fault);
                // What the grammar would have taken belongs to the token where it stopped.
                let expected = if place == fault { expected } else { Vec::new() };
                let fault = place;
                let context = Context {
                    source: self.source,
                    text: self.text,
                    tokens: self.tokens,
                };
                let diagnostic = context.syntax_error(start, fault, &expected);
                (start, fault, Some(diagnostic).filter(|_| !self.is_foreign(fault)))
            }
        };
        self.diagnostics.extend(diagnostic);
        let resume = self.resume(start, fault);
        self.poison(start, resume);
        self.file.broken.push(self.span_of(start, resume));
        resume
    }

    /// The statement that is to blame, by its first token, and the token at fault.
    ///
    /// `S = Q *`, next line `A = 1`: the grammar reads `S = Q * A` and stops at `=`. To blame is the first statement, at
    /// the word `A` that begins a line. In `S = Q K` the statement `S = Q` was read, and belongs to the error.
    fn locate(&mut self, at: usize, fault: usize) -> (usize, usize) {
        let mut start = at;
        let mut fault = fault;
        let previous = self.starts.last().copied().filter(|_| self.follows_statement(at));
        let context = Context {
            source: self.source,
            text: self.text,
            tokens: self.tokens,
        };
        if let Some(head) = context.swallowed_head(previous.unwrap_or(at), fault) {
            if head < at
                && let Some(previous) = previous
            {
                start = previous;
            }
            fault = head;
        } else if let (Some(previous), Some(token)) = (previous, self.tokens.get(at)) {
            let starts = token.kind == TokenKind::Word && lexer::starts_statement(token.text(self.text));
            let same_line = !token.first_on_line(self.text);
            if !starts || same_line {
                start = previous;
                fault = at;
            }
        }
        if start < at {
            self.file.stmts.pop();
            self.starts.pop();
        }
        (start, fault)
    }

    /// Whether the token before `at` is the last one of a statement that was read.
    fn follows_statement(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        match (before, self.file.stmts.last()) {
            (Some(token), Some(stmt)) => token.end == stmt.span.end as usize,
            _ => false,
        }
    }

    /// Where to go on after the statement that begins with `start` failed at `fault`.
    fn resume(&self, start: usize, fault: usize) -> usize {
        let anew = |from: usize| {
            (from..self.tokens.len()).find(|&index| {
                self.tokens
                    .get(index)
                    .is_some_and(|token| token.in_column_zero(self.text))
            })
        };
        let swallowed = Context {
            source: self.source,
            text: self.text,
            tokens: self.tokens,
        }
        .is_head(fault);
        let first = anew(start + 1).unwrap_or(self.tokens.len());
        if first < fault && self.read(first).is_ok() {
            return first;
        }
        if fault > start && swallowed {
            return fault;
        }
        anew(fault.max(start + 1)).unwrap_or(self.tokens.len())
    }

    /// Whether the token has a message already, because it holds foreign characters.
    fn is_foreign(&self, index: usize) -> bool {
        let Some(token) = self.tokens.get(index) else {
            return false;
        };
        self.foreign
            .iter()
            .any(|span| (span.start as usize) < token.end && token.start < span.end as usize)
    }

    /// Notes the names that the tokens `start..end` would have defined.
    fn poison(&mut self, start: usize, end: usize) {
        let context = Context {
            source: self.source,
            text: self.text,
            tokens: self.tokens,
        };
        for name in context.defined_names(start, end) {
            if self.poisoned.insert(name.clone()) {
                self.file.poisoned.push(name);
            }
        }
    }

    /// The span from token `start` to the end of token `end - 1`; at the end of the file an empty one.
    fn span_of(&self, start: usize, end: usize) -> Span {
        Context {
            source: self.source,
            text: self.text,
            tokens: self.tokens,
        }
        .span_of(start, end)
    }
}
