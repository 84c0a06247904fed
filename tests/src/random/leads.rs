//! The ranks before the tokens: batches and heads, their order in memory, and how many heads share the keys.

use super::draw::Draw;
use super::text::Text;

/// What stands before the token ranks of queries and of keys.
#[derive(Clone, Debug)]
pub(crate) struct Leads {
    query: Vec<&'static str>,
    key: Vec<&'static str>,
    /// Whether tokens stand between the batch and the heads in memory.
    tokens_first: bool,
}

impl Leads {
    /// Draws the ranks and declares them.
    pub(crate) fn draw(draw: &mut Draw, text: &mut Text) -> Self {
        let (query, key, ranks): (&[&str], &[&str], &[&str]) = match draw.below(10) {
            0 | 1 => (&[], &[], &[]),
            2 | 3 => (&["h"], &["h"], &["h"]),
            4 => (&["b"], &["b"], &["b"]),
            5 | 6 => (&["b", "h"], &["b", "h"], &["b", "h"]),
            7 => (&["b", "h"], &["b", "g"], &["b", "h = (g, r)"]),
            8 => (&["b", "h"], &["b", "g"], &["b", "h = (g, r)", "r = 4"]),
            _ => (&["b", "h"], &["b"], &["b", "h"]),
        };
        for rank in ranks {
            text.rank(rank);
        }
        Self {
            query: query.to_vec(),
            key: key.to_vec(),
            tokens_first: query.len() > 1 && draw.chance(20),
        }
    }

    /// The index list of a tensor over queries, with `rest` behind the leading ranks.
    pub(crate) fn query(&self, rest: &[&str]) -> String {
        self.list(&self.query, rest)
    }

    /// The index list of a tensor over keys.
    pub(crate) fn key(&self, rest: &[&str]) -> String {
        self.list(&self.key, rest)
    }

    fn list(&self, leads: &[&'static str], rest: &[&str]) -> String {
        let mut list: Vec<&str> = leads.to_vec();
        let at = match (self.tokens_first, rest.len() > 1, leads.len()) {
            (true, true, 2..) => 1,
            _ => leads.len(),
        };
        list.splice(at..at, rest.first().copied());
        list.extend(rest.iter().skip(1));
        list.join(",")
    }

    /// Whether queries have heads.
    pub(crate) fn heads(&self) -> bool {
        self.query.contains(&"h")
    }

    /// Whether there is a batch.
    pub(crate) fn batch(&self) -> bool {
        self.query.contains(&"b")
    }
}
