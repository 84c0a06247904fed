//! For what a measurement holds. Results are shared only between equal keys, or between neighbouring shape classes where
//! the user is told so.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a measurement was made with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// BLAKE3 of the specialisation's cascade as the compiler prints it: comments and layout of the file do not matter.
    pub spec: String,
    /// Target of the code: `sm_90a`.
    pub target: String,
    /// Name of the device as its driver gives it.
    pub device: String,
    /// CUDA version of the driver: 13000 is 13.0.
    pub driver: u32,
    /// Version of einloom.
    pub compiler: String,
    /// Alignment and extents.
    pub class: Class,
}

/// A class of launches: the alignment that the code was compiled for, and each run-time extent up to a factor of two.
///
/// Text form: `align=16 M=4096.. P=4096..`, where `4096..` stands for 4096 to 8191; 0 and 1 are classes of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Class {
    align: u32,
    /// Name to the largest power of two that does not exceed the extent; 0 for 0.
    extents: BTreeMap<String, u64>,
}

/// The largest power of two that does not exceed `n`; 0 for 0.
fn floor_power(n: u64) -> u64 {
    n.checked_ilog2().map_or(0, |k| 1 << k)
}

impl Class {
    /// The class of launches with these extents. `align` is the least alignment in bytes of any input or output.
    pub fn new<N: Into<String>>(align: u32, extents: impl IntoIterator<Item = (N, u64)>) -> Class {
        Class {
            align,
            extents: extents
                .into_iter()
                .map(|(name, n)| (name.into(), floor_power(n)))
                .collect(),
        }
    }

    /// How far apart two classes are: for each extent the number of doublings between them, at most [`Class::REACH`], summed. `None` if the
    /// alignments or names differ, or an extent is further away: 1 and 2 are as far apart as can be, since one row is another kernel.
    pub fn distance(&self, other: &Class) -> Option<u32> {
        if self.align != other.align || !self.extents.keys().eq(other.extents.keys()) {
            return None;
        }
        let mut sum = 0;
        for (&a, &b) in self.extents.values().zip(other.extents.values()) {
            if a == b {
                continue;
            }
            if a.min(b) <= 1 {
                return None;
            }
            let doublings = a.ilog2().abs_diff(b.ilog2());
            if doublings > Self::REACH {
                return None;
            }
            sum += doublings;
        }
        Some(sum)
    }

    /// The most doublings of one extent that a tuned schedule is used across.
    pub const REACH: u32 = 2;
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "align={}", self.align)?;
        for (name, n) in &self.extents {
            let more = if *n > 1 { ".." } else { "" };
            write!(f, " {name}={n}{more}")?;
        }
        Ok(())
    }
}

impl From<Class> for String {
    fn from(class: Class) -> String {
        class.to_string()
    }
}

impl TryFrom<String> for Class {
    type Error = String;

    fn try_from(text: String) -> Result<Class, String> {
        text.parse()
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Class, String> {
        let bad = |part: &str| format!("`{part}` is no part of a shape class");
        let mut parts = text.split_whitespace();
        let first = parts.next().unwrap_or("");
        let align = first
            .strip_prefix("align=")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| bad(first))?;
        let mut extents = BTreeMap::new();
        for part in parts {
            let (name, n) = part.split_once('=').ok_or_else(|| bad(part))?;
            let n: u64 = n.trim_end_matches("..").parse().map_err(|_| bad(part))?;
            if floor_power(n) != n || extents.insert(name.to_owned(), n).is_some() {
                return Err(bad(part));
            }
        }
        Ok(Class { align, extents })
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn extents_up_to_a_factor_of_two_share_a_class() {
        let class = |p, m| Class::new(16, [("P", p), ("M", m)]);
        assert_eq!(class(4096, 4096), class(8191, 5000));
        assert_ne!(class(4096, 4096), class(4095, 4096));
        assert_eq!(class(1, 4096).to_string(), "align=16 M=4096.. P=1");
        for class in [class(0, 1), class(3, 1 << 40)] {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
    }

    #[test]
    fn distance_counts_doublings_and_has_a_reach() {
        let class = |p| Class::new(16, [("P", p)]);
        assert_eq!(class(4096).distance(&class(5000)), Some(0));
        assert_eq!(class(4096).distance(&class(16384)), Some(2));
        assert_eq!(class(4096).distance(&class(32768)), None);
        assert_eq!(class(1).distance(&class(2)), None);
        assert_eq!(class(4096).distance(&Class::new(8, [("P", 4096)])), None);
        assert_eq!(class(4096).distance(&Class::new(16, [("M", 4096)])), None);
    }

    #[test]
    fn damaged_classes_are_refused() {
        for text in [
            "",
            "P=4",
            "align=x",
            "align=16 P",
            "align=16 P=3..",
            "align=16 P=4.. P=4..",
        ] {
            assert!(text.parse::<Class>().is_err(), "{text}");
        }
    }
}
