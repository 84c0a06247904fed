//! NVIDIA's assembler as a checker: resources of each kernel, spills, and the messages that cost performance.
//!
//! ptxas is not part of this project. `EINLOOM_PTXAS` names it; without it nothing here runs, and the PTX is the same.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thiserror::Error;

/// The environment variable that names ptxas.
pub const PTXAS: &str = "EINLOOM_PTXAS";

/// What ptxas said about one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryUsage {
    pub entry: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory, bytes (dynamic shared memory is the launch's).
    pub shared_bytes: u32,
    pub stack_bytes: u32,
    pub spill_store_bytes: u32,
    pub spill_load_bytes: u32,
}

/// What ptxas said about a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceUsage {
    /// In the order of ptxas, which is not that of the module.
    pub entries: Vec<EntryUsage>,
    /// Lines with a code `C7ddd`: serialised matrix pipelines, ignored register requests.
    pub messages: Vec<String>,
}

impl ResourceUsage {
    /// Whether nothing spills and no message costs performance.
    pub fn is_clean(&self) -> bool {
        self.messages.is_empty()
            && self
                .entries
                .iter()
                .all(|e| e.spill_store_bytes == 0 && e.spill_load_bytes == 0)
    }
}

/// A cubin and its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    pub cubin: Vec<u8>,
    pub usage: ResourceUsage,
}

/// Failure to assemble.
#[derive(Debug, Error)]
pub enum PtxasError {
    #[error("cannot run {}: {source}", path.display())]
    Start { path: PathBuf, source: std::io::Error },
    #[error("ptxas refused the PTX: {message}")]
    Refused { message: String },
    #[error("{} gave no machine code: it is no ptxas", path.display())]
    NoCode { path: PathBuf },
}

/// The ptxas that the environment names.
pub fn find() -> Option<PathBuf> {
    std::env::var_os(PTXAS).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Assembles PTX for a processor (`sm_90a`).
pub fn assemble(ptxas: &Path, ptx: &str, target: &str) -> Result<Assembled, PtxasError> {
    let start = |source| PtxasError::Start {
        path: ptxas.to_owned(),
        source,
    };
    let mut child = Command::new(ptxas)
        .arg(format!("-arch={target}"))
        .args(["-v", "--warn-on-spills", "-", "-o", "/dev/stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    // ptxas reads its input to the end before it writes; a refusal to read shows in its status.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(ptx.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(PtxasError::Refused {
            message: log.trim().to_owned(),
        });
    }
    if !output.stdout.starts_with(b"\x7fELF") {
        return Err(PtxasError::NoCode { path: ptxas.to_owned() });
    }
    Ok(Assembled {
        cubin: output.stdout,
        usage: parse(&log),
    })
}

/// Reads the log of `ptxas -v`.
pub fn parse(log: &str) -> ResourceUsage {
    let mut res = ResourceUsage::default();
    for line in log.lines() {
        if has_code(line) {
            res.messages.push(line.trim().to_owned());
        }
        if let Some(name) = line
            .split_once("Compiling entry function '")
            .and_then(|(_, rest)| rest.split_once('\''))
        {
            res.entries.push(EntryUsage {
                entry: name.0.to_owned(),
                ..EntryUsage::default()
            });
        }
        let Some(entry) = res.entries.last_mut() else { continue };
        let number = |unit: &str| number_before(line, unit);
        if line.contains("bytes stack frame") {
            entry.stack_bytes = number(" bytes stack frame").unwrap_or(0);
            entry.spill_store_bytes = number(" bytes spill stores").unwrap_or(0);
            entry.spill_load_bytes = number(" bytes spill loads").unwrap_or(0);
        } else if line.contains("Used ") {
            entry.registers = number(" registers").unwrap_or(0);
            entry.shared_bytes = number(" bytes smem").unwrap_or(0);
        }
    }
    res
}

/// The number that stands before `unit`.
fn number_before(line: &str, unit: &str) -> Option<u32> {
    let (before, _) = line.split_once(unit)?;
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |i| i + 1);
    before[start..].parse().ok()
}

/// Whether a line holds `C7` and three digits.
fn has_code(line: &str) -> bool {
    line.as_bytes()
        .windows(5)
        .any(|w| w.starts_with(b"C7") && w[2..].iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_log() {
        let log = "ptxas info    : (C7513) Potential Performance Loss: wgmma serialized\n\
            ptxas info    : Compiling entry function 'k' for 'sm_90a'\n\
            ptxas info    : Function properties for k\n    40 bytes stack frame, 84 bytes spill stores, 80 bytes spill loads\n\
            ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem, 40 bytes cumulative stack size\n";
        let usage = parse(log);
        assert_eq!(usage.messages.len(), 1);
        assert!(!usage.is_clean());
        let entry = EntryUsage {
            entry: "k".to_owned(),
            registers: 255,
            shared_bytes: 1024,
            stack_bytes: 40,
            spill_store_bytes: 84,
            spill_load_bytes: 80,
        };
        assert_eq!(usage.entries, [entry]);
    }
}
