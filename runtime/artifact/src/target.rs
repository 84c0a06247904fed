//! Targets, compute capabilities and PTX versions, and the limits that the launch check needs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ArtifactError;

macro_rules! serde_as_text {
    ($($type:ident),*) => {$(
        impl TryFrom<String> for $type {
            type Error = ArtifactError;
            fn try_from(text: String) -> Result<Self, ArtifactError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )*};
}
serde_as_text!(Target, Capability, PtxVersion);

/// A PTX target: `sm_80`, `sm_90a`, `sm_100f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// The capability in its name.
    pub capability: Capability,
    /// Which devices the code runs on.
    pub reach: Reach,
}

/// Which devices the code of a target runs on (PTX ISA, `.target`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Its own capability and all later ones.
    Onwards,
    /// Suffix `f`: its own and later capabilities of the same major number.
    Family,
    /// Suffix `a`: exactly its own capability.
    Exact,
}

impl Target {
    /// Whether a device of this capability can run the code.
    pub fn runs_on(self, device: Capability) -> bool {
        match self.reach {
            Reach::Onwards => device >= self.capability,
            Reach::Family => device.major == self.capability.major && device >= self.capability,
            Reach::Exact => device == self.capability,
        }
    }

    /// Whether a device of this capability can run machine code that was assembled for the target (CUDA C++ programming
    /// guide, "Binary compatibility"): the same major number, and no lower minor one.
    pub fn binary_runs_on(self, device: Capability) -> bool {
        self.runs_on(device) && device.major == self.capability.major
    }

    /// Most dynamic shared memory of one block on the target's own device, in bytes: 1 KiB, which the system keeps, less
    /// than the multiprocessor's (CUDA C++ programming guide, "Technical specifications per compute capability").
    pub fn max_dynamic_shared(self) -> u32 {
        let kib = match (self.capability.major, self.capability.minor) {
            (7, 0) => 96,
            (7, _) => 64,
            (8, 0 | 7) => 163,
            (8, _) | (12, _) => 99,
            (9..=11, _) => 227,
            _ => 48,
        };
        kib * 1024
    }
}

impl FromStr for Target {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let bad = || ArtifactError::Target(text.chars().take(40).collect());
        let rest = text.strip_prefix("sm_").ok_or_else(bad)?;
        let (digits, reach) = match rest.strip_suffix('a') {
            Some(digits) => (digits, Reach::Exact),
            None => match rest.strip_suffix('f') {
                Some(digits) => (digits, Reach::Family),
                None => (rest, Reach::Onwards),
            },
        };
        if !(2..=3).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
            return Err(bad());
        }
        let number: u32 = digits.parse().map_err(|_| bad())?;
        Ok(Target {
            capability: Capability {
                major: number / 10,
                minor: number % 10,
            },
            reach,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.reach {
            Reach::Onwards => "",
            Reach::Family => "f",
            Reach::Exact => "a",
        };
        write!(f, "sm_{}{}{suffix}", self.capability.major, self.capability.minor)
    }
}

/// A compute capability: `9.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct Capability {
    pub major: u32,
    pub minor: u32,
}

/// A PTX ISA version: `8.6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub struct PtxVersion {
    pub major: u32,
    pub minor: u32,
}

impl FromStr for Capability {
    type Err = ArtifactError;
    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        dotted(text).map(|(major, minor)| Capability { major, minor })
    }
}

impl FromStr for PtxVersion {
    type Err = ArtifactError;
    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        dotted(text).map(|(major, minor)| PtxVersion { major, minor })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for PtxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// `major.minor`, one or two digits each.
fn dotted(text: &str) -> Result<(u32, u32), ArtifactError> {
    let number = |part: &str| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| digits)
    };
    text.split_once('.')
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
        .ok_or_else(|| ArtifactError::Version(text.chars().take(40).collect()))
}
