//! The closed set of diagnostic codes.
//!
//! `E01..` syntax, `E02..` names and ranks, `E03..` implied sums, `E04..` types, `E05..` recurrences, `E06..` new values
//! and defs, `W07..` suspicious code. A code never changes its meaning; a code that is retired is not used again.

mod pages;

use crate::diagnostic::Severity;
pub use pages::Page;

macro_rules! codes {
    ($($name:ident $title:literal;)*) => {
        /// Stable code of a kind of message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            /// All codes in ascending order.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as printed, `E0301`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// A few words that name the kind of message.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    E0101 "unexpected token";
    E0102 "expression continues on the next line";
    E0103 "missing operand";
    E0104 "reserved word used as a name";
    E0105 "text outside ASCII";
    E0106 "limit of the language exceeded";
    E0107 "number out of range";
    E0108 "rank name not in lower case";
    E0201 "unknown name";
    E0202 "name defined twice";
    E0203 "wrong number of indices";
    E0204 "extent of a rank unknown";
    E0205 "extents of a composite rank disagree";
    E0206 "replaced rank is not a rank of the value";
    E0207 "index list on a tensor defined without one";
    E0208 "dimension without a rank used without an index";
    E0209 "use before definition";
    E0210 "output without an index list";
    E0211 "wrong form of a call";
    E0212 "not a constant expression";
    E0213 "cascade without output";
    E0301 "rank missing on the left stands in one factor only";
    E0302 "no implied sum over one factor";
    E0303 "ambiguous implied sum";
    E0304 "rank occurs only in a condition";
    E0305 "reduction over a rank that the value lacks";
    E0306 "condition mentions a rank summed in one term only";
    E0401 "index is not an integer";
    E0402 "equality of reals";
    E0403 "comparison chain points both ways";
    E0404 "unknown type";
    E0405 "condition is not a bool";
    E0406 "argument of the wrong kind";
    E0501 "recurrence runs both ways";
    E0502 "tensor depends on itself";
    E0503 "order of a recurrence not provable";
    E0601 "new value of a tensor that is not `inout`";
    E0602 "def sees a name that is not its own";
    E0603 "def leaks a local rank";
    E0604 "recursive def";
    E0801 "not supported yet";
    W0701 "real division in a comparison of integers";
    W0702 "condition never holds";
    W0703 "unused name";
    W0704 "read is always outside";
}

impl Code {
    /// Error or warning, by the letter of the code.
    pub fn severity(self) -> Severity {
        if self.as_str().starts_with('W') {
            Severity::Warning
        } else {
            Severity::Error
        }
    }

    /// The code with this text, in either case.
    pub fn from_text(text: &str) -> Option<Code> {
        Code::ALL
            .iter()
            .copied()
            .find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}
