//! The dimensions of a schedule, as a table: name, values worth trying, how to read and set them.
//!
//! The text form of a schedule (`rows=128,cols=64,warps=4,stages=2,blocks=2,left=0,..`), the enumeration of legal schedules
//! ([`crate::enumerate`]) and the neighbours of local search all go by this table: a new field of [`Schedule`] is one more line here.

use crate::machine::SM_80;
use crate::schedule::{Schedule, Specialised, candidates};

/// One field of a schedule.
pub struct Dimension {
    /// Its name in texts.
    pub name: &'static str,
    /// Values worth trying, ascending.
    pub domain: &'static [u32],
    /// A larger value never needs less shared memory or fewer registers, all else equal.
    pub grows: bool,
    pub get: fn(&Schedule) -> u32,
    pub set: fn(&mut Schedule, u32),
}

/// All fields, in the order of texts.
pub const DIMENSIONS: &[Dimension] = &[
    Dimension {
        name: "rows",
        domain: &[16, 32, 64, 96, 128, 192, 256],
        grows: true,
        get: |s| s.rows,
        set: |s, v| s.rows = v,
    },
    Dimension {
        name: "cols",
        domain: &[16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        grows: true,
        get: |s| s.cols,
        set: |s, v| s.cols = v,
    },
    Dimension {
        name: "warps",
        domain: &[1, 2, 4, 8, 12, 16],
        grows: false,
        get: |s| s.warps,
        set: |s, v| s.warps = v,
    },
    Dimension {
        name: "stages",
        domain: &[1, 2, 3, 4],
        grows: true,
        get: |s| s.stages,
        set: |s, v| s.stages = v,
    },
    Dimension {
        name: "blocks",
        domain: &[1, 2, 3, 4, 6, 8],
        grows: true,
        get: |s| s.blocks_per_sm,
        set: |s, v| s.blocks_per_sm = v,
    },
    Dimension {
        name: "left",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.left_in_registers),
        set: |s, v| s.left_in_registers = v != 0,
    },
    Dimension {
        name: "specialised",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.specialised.is_some()),
        set: |s, v| s.specialised = (v != 0).then(|| s.specialised.unwrap_or(PLAIN)),
    },
    Dimension {
        name: "overlap",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.specialised.is_some_and(|x| x.overlap)),
        set: |s, v| specialise(s, v, |x| &mut x.overlap),
    },
    Dimension {
        name: "persistent",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.specialised.is_some_and(|x| x.persistent)),
        set: |s, v| specialise(s, v, |x| &mut x.persistent),
    },
    Dimension {
        name: "first",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.specialised.is_some_and(|x| x.first_reference)),
        set: |s, v| specialise(s, v, |x| &mut x.first_reference),
    },
    Dimension {
        name: "ahead",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.specialised.is_some_and(|x| x.ahead)),
        set: |s, v| specialise(s, v, |x| &mut x.ahead),
    },
    Dimension {
        name: "turns",
        domain: &[0, 1],
        grows: false,
        get: |s| u32::from(s.specialised.is_some_and(|x| x.turns)),
        set: |s, v| specialise(s, v, |x| &mut x.turns),
    },
];

/// A specialised program without anything else.
const PLAIN: Specialised = Specialised {
    overlap: false,
    persistent: false,
    first_reference: false,
    ahead: false,
    turns: false,
};

/// Sets a flag of specialised programs, which implies one.
fn specialise(schedule: &mut Schedule, value: u32, flag: fn(&mut Specialised) -> &mut bool) {
    if value != 0 || schedule.specialised.is_some() {
        *flag(schedule.specialised.get_or_insert(PLAIN)) = value != 0;
    }
}

/// Position of a dimension in the table.
pub fn position(name: &str) -> Option<usize> {
    DIMENSIONS.iter().position(|d| d.name == name)
}

/// The values of a schedule, in the order of the table.
pub fn values(schedule: &Schedule) -> Vec<u32> {
    DIMENSIONS.iter().map(|d| (d.get)(schedule)).collect()
}

/// The schedule with these values, in the order of the table.
pub fn from_values(values: &[u32]) -> Schedule {
    let mut schedule = candidates(&SM_80).swap_remove(0);
    for (dimension, value) in DIMENSIONS.iter().zip(values) {
        (dimension.set)(&mut schedule, *value);
    }
    schedule
}

/// The text of a schedule: every dimension, so that defaults may change.
pub fn to_text(schedule: &Schedule) -> String {
    let one = |d: &Dimension| format!("{}={}", d.name, (d.get)(schedule));
    DIMENSIONS.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Reads `name=value,name=value`; dimensions that are not named keep the first candidate's value.
///
/// # Errors
/// An unknown name, a value that is no number, a schedule that breaks its own limits.
pub fn from_text(text: &str) -> Result<Schedule, String> {
    let mut schedule = candidates(&SM_80).swap_remove(0);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is not of the form name=value"))?;
        let dimension = DIMENSIONS.iter().find(|d| d.name == name.trim()).ok_or_else(|| {
            let known: Vec<&str> = DIMENSIONS.iter().map(|d| d.name).collect();
            format!("no field `{}`; fields: {}", name.trim(), known.join(", "))
        })?;
        let value = value.trim();
        if dimension.name == "specialised" && value.parse::<u32>().is_err() {
            specialised_words(&mut schedule, value)?;
            continue;
        }
        let number = match value {
            // Words that read better than 0 and 1.
            "shared" if dimension.name == "left" => 0,
            "registers" if dimension.name == "left" => 1,
            other => other.parse().map_err(|_| format!("`{other}` is no number"))?,
        };
        (dimension.set)(&mut schedule, number);
    }
    schedule.check().map_err(|error| error.to_string())?;
    Ok(schedule)
}

/// Reads `no`, `plain`, `overlap+persistent`, ..
fn specialised_words(schedule: &mut Schedule, text: &str) -> Result<(), String> {
    if text == "no" {
        schedule.specialised = None;
        return Ok(());
    }
    schedule.specialised = Some(PLAIN);
    for word in text.split('+').filter(|word| *word != "plain") {
        let known = ["overlap", "persistent", "first", "ahead", "turns"].contains(&word);
        let dimension = DIMENSIONS.iter().find(|d| known && d.name == word);
        let dimension = dimension.ok_or_else(|| format!("a specialised program has no `{word}`"))?;
        (dimension.set)(schedule, 1);
    }
    Ok(())
}
