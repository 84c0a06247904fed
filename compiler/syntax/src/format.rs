//! The canonical form of a text: one statement a line, comments and blank lines kept.
//!
//! The statements are printed from the tree, so the program cannot change; comments come from the source. A comment on
//! a line of its own stays before the statement that follows it, a comment behind a statement stays behind it if the
//! line holds it, and a comment inside a statement moves in front of it. Of several blank lines one stays. Regions that
//! could not be parsed are copied. Formatting a formatted text changes nothing.

mod layout;
mod print;

use crate::ast::{Def, DefBody, File, Stmt, StmtKind};
use crate::lexer;
use crate::parse::parse;
use crate::span::SourceId;
use layout::{INDENT, Line, WIDTH};

/// The canonical text of a parsed file; `source` is the text that it was parsed from.
pub fn format(file: &File, source: &str) -> String {
    let comments = lexer::lex(source).comments;
    let mut writer = Writer {
        source,
        comments: &comments,
        next: 0,
        end: 0,
        lines: Vec::new(),
    };
    let mut items: Vec<Item<'_>> = file.stmts.iter().map(Item::of).collect();
    items.extend(file.broken.iter().map(|span| Item {
        start: span.start as usize,
        end: span.end as usize,
        body: Body::Verbatim,
    }));
    items.sort_by_key(|item| item.start);
    writer.sequence(&items, 0, source.len());
    let mut text = String::new();
    for line in writer.lines {
        if line.blank_before && !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

/// Parses and formats a text. `None` where it has syntax errors.
pub fn format_text(source: &str) -> Option<String> {
    let (file, diagnostics) = parse(SourceId::default(), source);
    if crate::has_errors(&diagnostics) {
        None
    } else {
        Some(format(&file, source))
    }
}

/// One line of output, or several of one statement.
struct Written {
    blank_before: bool,
    text: String,
}

/// A part of a sequence with its place in the source.
struct Item<'a> {
    start: usize,
    end: usize,
    body: Body<'a>,
}

enum Body<'a> {
    Plain(Line),
    Block(&'a Def),
    /// The text of the source as it stands.
    Verbatim,
}

impl<'a> Item<'a> {
    fn of(stmt: &'a Stmt) -> Item<'a> {
        let body = match &stmt.kind {
            StmtKind::Def(def) if matches!(def.body, DefBody::Block { .. }) => Body::Block(def),
            kind => Body::Plain(print::stmt(kind)),
        };
        Item {
            start: stmt.span.start as usize,
            end: stmt.span.end as usize,
            body,
        }
    }
}

struct Writer<'t> {
    source: &'t str,
    comments: &'t [(usize, usize)],
    /// The first comment that is not written.
    next: usize,
    /// Where the last thing that was written ends in the source.
    end: usize,
    lines: Vec<Written>,
}

impl Writer<'_> {
    /// Writes the items and the comments before `limit`.
    fn sequence(&mut self, items: &[Item<'_>], indent: usize, limit: usize) {
        let mut first = true;
        for item in items {
            self.own_lines(item.start, indent, &mut first);
            self.item(item, indent, first, limit);
            first = false;
        }
        self.own_lines(limit, indent, &mut first);
    }

    /// Writes the comments that begin before `limit`, each on a line of its own.
    fn own_lines(&mut self, limit: usize, indent: usize, first: &mut bool) {
        while let Some((start, end)) = self.take_before(limit) {
            let blank_before = !*first && self.blank_between(self.end, start);
            self.push(blank_before, indent, self.comment(start, end));
            self.end = end;
            *first = false;
        }
    }

    fn item(&mut self, item: &Item<'_>, indent: usize, first: bool, limit: usize) {
        let mut blank_before = !first && self.blank_between(self.end, item.start);
        // Comments inside the statement, or inside the head of a block, move in front of it.
        let inner = match item.body {
            Body::Plain(_) => item.end,
            Body::Verbatim => item.start,
            Body::Block(_) => self.block_start(item),
        };
        while let Some((start, end)) = self.take_before(inner) {
            self.push(std::mem::take(&mut blank_before), indent, self.comment(start, end));
        }
        match &item.body {
            Body::Plain(line) => {
                let text = line.lay_out(indent);
                self.end = item.end;
                self.with_comment_behind(text, blank_before, indent, limit);
            }
            Body::Verbatim => {
                while self.take_before(item.end).is_some() {}
                let text = self
                    .source
                    .get(item.start..item.end)
                    .unwrap_or("")
                    .trim_end()
                    .to_string();
                self.end = item.end;
                self.with_comment_behind(text, blank_before, indent, limit);
            }
            Body::Block(def) => {
                self.push(blank_before, indent, print::block_head(def).lay_out(indent));
                self.end = inner;
                self.block(def, indent + INDENT, item.end);
                self.end = item.end;
                self.with_comment_behind(format!("{:indent$}}}", ""), false, indent, limit);
            }
        }
    }

    /// The statements of a block and its `return`.
    fn block(&mut self, def: &Def, indent: usize, end: usize) {
        let DefBody::Block { stmts, result } = &def.body else {
            return;
        };
        let mut items: Vec<Item<'_>> = stmts.iter().map(Item::of).collect();
        // The tree does not place `return`; it stands behind the last statement and its comments.
        let result_start = result.span.start as usize;
        let before = self.source.get(..result_start).unwrap_or("");
        let start = self.keyword_before(before, "return").unwrap_or(result_start);
        let body = Body::Plain(print::returned(result));
        items.push(Item {
            start,
            end: result.span.end as usize,
            body,
        });
        self.sequence(&items, indent, end);
    }

    /// Where the last `word` outside comments begins in the text.
    fn keyword_before(&self, text: &str, word: &str) -> Option<usize> {
        text.rmatch_indices(word).map(|(at, _)| at).find(|&at| {
            let behind = self.comments.partition_point(|&(start, _)| start <= at);
            let comment = behind.checked_sub(1).and_then(|last| self.comments.get(last));
            comment.is_none_or(|&(_, end)| end <= at)
        })
    }

    /// The offset behind the `{` of a block.
    fn block_start(&self, item: &Item<'_>) -> usize {
        let Some(text) = self.source.get(item.start..item.end) else {
            return item.start;
        };
        let tokens = lexer::lex(text).tokens;
        let brace = tokens.iter().find(|token| token.text(text) == "{");
        brace.map_or(item.start, |token| item.start + token.end)
    }

    /// Writes a statement with the comment that follows it on its line: behind it, or before it where the line would
    /// be too long.
    fn with_comment_behind(&mut self, text: String, blank_before: bool, indent: usize, limit: usize) {
        let behind = self.comments.get(self.next).copied().filter(|&(start, _)| {
            let gap = self.source.get(self.end..start);
            start < limit && gap.is_some_and(|gap| !gap.contains('\n'))
        });
        let Some((start, end)) = behind else {
            self.lines.push(Written { blank_before, text });
            return;
        };
        self.next += 1;
        self.end = end;
        let comment = self.comment(start, end);
        let last = text.rsplit('\n').next().unwrap_or("");
        if last.len() + INDENT + comment.len() <= WIDTH {
            self.lines.push(Written {
                blank_before,
                text: format!("{text}{:INDENT$}{comment}", ""),
            });
        } else {
            self.push(blank_before, indent, comment);
            self.lines.push(Written {
                blank_before: false,
                text,
            });
        }
    }

    fn push(&mut self, blank_before: bool, indent: usize, text: impl AsRef<str>) {
        let text = text.as_ref();
        let text = if text.starts_with(' ') {
            text.to_string()
        } else {
            format!("{:indent$}{text}", "")
        };
        self.lines.push(Written { blank_before, text });
    }

    /// Takes the next comment if it begins before `limit`.
    fn take_before(&mut self, limit: usize) -> Option<(usize, usize)> {
        let comment = self
            .comments
            .get(self.next)
            .copied()
            .filter(|&(start, _)| start < limit)?;
        self.next += 1;
        Some(comment)
    }

    fn comment(&self, start: usize, end: usize) -> String {
        self.source.get(start..end).unwrap_or("").trim_end().to_string()
    }

    /// Whether the source has an empty line between the two offsets.
    fn blank_between(&self, from: usize, to: usize) -> bool {
        let gap = self.source.get(from..to).unwrap_or("");
        gap.bytes().filter(|&byte| byte == b'\n').count() > 1
    }
}
