//! A spec under construction: declarations are collected as they are needed, and written in the order that the formatter keeps.

use std::fmt::Write;

/// A spec in parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    name: String,
    ranks: Vec<String>,
    constants: Vec<String>,
    inputs: Vec<String>,
    promises: Vec<String>,
    lines: Vec<String>,
    policies: Vec<String>,
    outputs: usize,
}

impl Text {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Declares a rank once, such as `e = 64`.
    pub(crate) fn rank(&mut self, item: &str) {
        once(&mut self.ranks, item);
    }

    /// Declares a constant once, such as `W = 6`.
    pub(crate) fn constant(&mut self, item: &str) {
        once(&mut self.constants, item);
    }

    /// Declares inputs once, such as `bias[h] : f32`.
    pub(crate) fn input(&mut self, item: &str) {
        once(&mut self.inputs, item);
    }

    /// Adds a promise of the caller once.
    pub(crate) fn assume(&mut self, item: &str) {
        once(&mut self.promises, item);
    }

    /// Adds a policy once.
    pub(crate) fn policy(&mut self, item: &str) {
        once(&mut self.policies, item);
    }

    /// Adds a definition; equal ones are one.
    pub(crate) fn define(&mut self, line: &str) {
        once(&mut self.lines, line);
    }

    /// Adds an output, such as `O[p] : f32 = x`, unless there is one of its name.
    pub(crate) fn output(&mut self, line: &str) {
        let name = |line: &str| line.split('[').next().unwrap_or_default().to_owned();
        let known = |other: &String| {
            other
                .strip_prefix("out ")
                .is_some_and(|other| name(other) == name(line))
        };
        if !self.lines.iter().any(known) {
            self.outputs += 1;
            self.lines.push(format!("out {line}"));
        }
    }

    /// The whole spec. Ranks that no input and no line names are left out.
    pub(crate) fn finish(&self) -> String {
        let mut text = format!("cascade {}\n", self.name);
        let _ = writeln!(text, "rank {}", self.ranks.join(", "));
        if !self.constants.is_empty() {
            let _ = writeln!(text, "const {}", self.constants.join(", "));
        }
        for (word, list) in [
            ("in  ", &self.inputs),
            ("assume ", &self.promises),
            ("", &self.lines),
            ("policy ", &self.policies),
        ] {
            for item in list {
                let _ = writeln!(text, "{word}{item}");
            }
        }
        text
    }
}

fn once(list: &mut Vec<String>, item: &str) {
    if !list.iter().any(|known| known == item) {
        list.push(item.to_owned());
    }
}
