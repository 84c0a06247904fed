//! One line of the database: a measurement, or a winner.
//!
//! Lines are JSON objects with a version `v` and a `kind`. A line of another version, with an unknown field, or with a number that
//! makes no sense is damaged: the reader reports and skips it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::Key;

/// The version of the lines that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// How a candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It ran; its time is known.
    Timed,
    /// The compiler or the device refused it with a message.
    Refused,
    /// The compiler's process ended.
    CompilerCrash,
    /// The kernel faulted, or the measuring process ended.
    Crash,
    /// It did not end in time.
    Hang,
    /// An output is wrong.
    Wrong,
}

impl Status {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Status::Timed => "timed",
            Status::Refused => "refused",
            Status::CompilerCrash => "compiler crashed",
            Status::Crash => "crashed",
            Status::Hang => "hung",
            Status::Wrong => "wrong result",
        }
    }
}

/// Time of one launch in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The median of the samples.
    pub median: f64,
    /// Their 5th percentile.
    pub low: f64,
    /// Their 95th percentile.
    pub high: f64,
}

impl Time {
    fn makes_sense(&self) -> bool {
        let Time { median, low, high } = *self;
        low.is_finite() && high.is_finite() && 0.0 < low && low <= median && median <= high
    }
}

/// One candidate as it was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// For what it holds.
    pub key: Key,
    /// The extents that were measured.
    pub shape: BTreeMap<String, i64>,
    /// One schedule for each kernel.
    pub schedules: Vec<String>,
    /// What the machine model expected, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<f64>,
    /// What the prediction is made of: microseconds that each resource is busy, registers, waves; names are the compiler's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// How it ended.
    pub status: Status,
    /// Its time, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us: Option<Time>,
    /// The message of a failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The fastest correct schedules of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Winner {
    /// For what it holds.
    pub key: Key,
    /// Name of the cascade.
    pub cascade: String,
    /// Its choices: `e=128, T=bf16`.
    pub choice: String,
    /// The extents that were measured.
    pub shape: BTreeMap<String, i64>,
    /// One schedule for each kernel, in the plan's order.
    pub schedules: Vec<String>,
    /// Fingerprint of the code that was measured; what generates the same code may use it, whatever its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Their time.
    pub us: Time,
    /// The default schedules.
    pub default: Vec<String>,
    /// Their time in the same race, if they ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_us: Option<Time>,
    /// What the machine model expected of the winner, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<f64>,
    /// The winner's place in the model's order of all legal candidates, from 1; of candidates that measured as fast (within 1 %) the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// How many legal candidates there are.
    pub legal: usize,
    /// How many were measured, earlier sessions included.
    pub measured: usize,
    /// Largest error of any output as a share of what is promised.
    pub error_share: f64,
    /// Floating-point operations of one launch.
    pub flops: f64,
    /// Bytes that one launch must move.
    pub bytes: f64,
}

impl Winner {
    /// Time of the default over time of the winner.
    pub fn gain(&self) -> Option<f64> {
        Some(self.default_us?.median / self.us.median)
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// A candidate as it was tried.
    Measurement(Measurement),
    /// The end of a search.
    Winner(Winner),
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Record {
    /// For what it holds.
    pub fn key(&self) -> &Key {
        match self {
            Record::Measurement(m) => &m.key,
            Record::Winner(w) => &w.key,
        }
    }

    /// The line, without its end.
    pub fn to_line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("v".to_owned(), FORMAT.into());
        }
        value.to_string()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_line(line: &str) -> Result<Record, String> {
        let mut value: serde_json::Value = serde_json::from_str(line).map_err(|e| format!("no JSON: {e}"))?;
        let Version { v } = Version::deserialize(&value).map_err(|e| e.to_string())?;
        if v != FORMAT {
            return Err(format!("version {v}, this einloom reads {FORMAT}"));
        }
        if let Some(object) = value.as_object_mut() {
            object.remove("v");
        }
        let record: Record = serde_json::from_value(value).map_err(|e| e.to_string())?;
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), String> {
        let (schedules, times) = match self {
            Record::Measurement(m) if (m.status == Status::Timed) != m.us.is_some() => {
                return Err("a time belongs to what was timed, and to nothing else".to_owned());
            }
            Record::Measurement(m) => (&m.schedules, m.us.into_iter().collect::<Vec<_>>()),
            Record::Winner(w) => (&w.schedules, [w.us].into_iter().chain(w.default_us).collect()),
        };
        if schedules.is_empty() {
            return Err("no schedules".to_owned());
        }
        match times.iter().all(Time::makes_sense) {
            true => Ok(()),
            false => Err("a time makes no sense".to_owned()),
        }
    }
}
