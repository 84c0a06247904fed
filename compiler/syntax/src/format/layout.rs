//! Breaking of long lines.
//!
//! A [`Line`] is a sequence of pieces; between two of them the line may be broken. A line that is too long is broken at
//! the outermost brackets first, there by the order of [`Break`], at the last such place whose left part fits; what is
//! left goes to the next line, indented by [`HANG`].

/// Greatest width of a line in columns.
pub(super) const WIDTH: usize = 100;

/// Columns by which the lines of a block are indented, and space before a comment behind a statement.
pub(super) const INDENT: usize = 4;

/// Columns by which continuation lines are indented.
const HANG: usize = 8;

/// Where a line may be broken, in order of preference. All but the last two stand before the word that they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Break {
    From,
    Where,
    Else,
    Or,
    And,
    Add,
    Mul,
    Divide,
    Compare,
    /// Behind a comma.
    Comma,
    /// Behind `=`.
    Equals,
}

#[derive(Clone, Debug)]
struct Piece {
    /// How many brackets are open before the piece, and the kind of break; `None` for the first piece.
    before: Option<(usize, Break)>,
    /// Whether a space stands before the piece if the line is not broken there.
    space: bool,
    text: String,
}

/// A statement or expression to be laid out.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pieces: Vec<Piece>,
    depth: usize,
}

impl Line {
    pub(super) fn new() -> Line {
        Line {
            pieces: vec![Piece {
                before: None,
                space: false,
                text: String::new(),
            }],
            depth: 0,
        }
    }

    /// Appends text that is not separated from what stands before it.
    pub(super) fn text(&mut self, text: &str) -> &mut Line {
        if let Some(piece) = self.pieces.last_mut() {
            piece.text.push_str(text);
        }
        self
    }

    /// Appends an opening bracket.
    pub(super) fn open(&mut self, bracket: &str) -> &mut Line {
        self.depth += 1;
        self.text(bracket)
    }

    /// Appends a closing bracket.
    pub(super) fn close(&mut self, bracket: &str) -> &mut Line {
        self.depth = self.depth.saturating_sub(1);
        self.text(bracket)
    }

    /// A place where the line may be broken.
    pub(super) fn breakable(&mut self, kind: Break, space: bool) -> &mut Line {
        self.pieces.push(Piece {
            before: Some((self.depth, kind)),
            space,
            text: String::new(),
        });
        self
    }

    /// The text on one line.
    pub(super) fn single(&self) -> String {
        join(&self.pieces)
    }

    /// The text with its indentation, broken where it is too long.
    pub(super) fn lay_out(&self, indent: usize) -> String {
        let mut text = String::new();
        let mut rest = self.pieces.as_slice();
        let mut margin = indent;
        loop {
            text.push_str(&" ".repeat(margin));
            let Some(at) = place(rest, WIDTH.saturating_sub(margin)) else {
                text.push_str(&join(rest));
                return text;
            };
            let (line, others) = rest.split_at(at);
            text.push_str(&join(line));
            text.push('\n');
            rest = others;
            margin = indent + HANG;
        }
    }
}

/// The pieces on one line.
fn join(pieces: &[Piece]) -> String {
    let mut text = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 && piece.space {
            text.push(' ');
        }
        text.push_str(&piece.text);
    }
    text
}

/// Before which piece to break; `None` if all fits or no break is possible.
fn place(pieces: &[Piece], width: usize) -> Option<usize> {
    let mut length = 0;
    let mut best: Option<((usize, Break), usize)> = None;
    let mut all_fits = true;
    for (index, piece) in pieces.iter().enumerate() {
        // The left part ends before this piece and has `length` columns.
        if index > 0
            && let Some((depth, kind)) = piece.before
        {
            // Behind `=` is the last resort, whatever the brackets.
            let key = (if kind == Break::Equals { usize::MAX } else { depth }, kind);
            let fits = length <= width;
            if best.is_none() || (fits && best.is_some_and(|(known, _)| key <= known)) {
                best = Some((key, index));
            }
        }
        length += piece.text.len() + usize::from(index > 0 && piece.space);
        all_fits = length <= width;
        if !all_fits && best.is_some() {
            break;
        }
    }
    if all_fits { None } else { best.map(|(_, index)| index) }
}
