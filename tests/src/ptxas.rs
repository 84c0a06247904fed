//! NVIDIA's assembler as a check of generated PTX: what it refuses, warns of or spills is an error.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repo;

/// The assembler: `EINLOOM_PTXAS`, or the one that set-up fetched. `Err` says why there is none.
pub fn find() -> Result<PathBuf, String> {
    let named = std::env::var_os("EINLOOM_PTXAS").filter(|name| !name.is_empty());
    let file = named.map_or_else(|| repo::root().join(".tools/ptxas"), PathBuf::from);
    if file.is_file() {
        Ok(file)
    } else {
        Err(format!("no ptxas at {}; `make setup` fetches it", file.display()))
    }
}

/// What one kernel takes of the machine, as ptxas reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The kernel's name.
    pub kernel: String,
    /// Registers per thread.
    pub registers: u32,
    /// Static shared memory in bytes; dynamic shared memory is the launch contract's.
    pub shared_bytes: u32,
    /// Stack frame, spill stores and spill loads in bytes; all 0 for a good kernel.
    pub local_bytes: [u32; 3],
}

/// Assembles one file, into `cubin` if that is given. `Err` holds what ptxas said: errors, and also warnings and the `C75xx` remarks, by which it tells that
/// asynchronous instructions were serialised although its exit status is 0.
pub fn assemble(ptxas: &Path, ptx: &Path, target: &str, cubin: Option<&Path>) -> Result<Vec<Usage>, String> {
    let output = Command::new(ptxas)
        .arg(format!("-arch={target}"))
        .args(["-v", "--warn-on-spills", "--warning-as-error", "-o"])
        .arg(cubin.unwrap_or(Path::new("/dev/null")))
        .arg(ptx)
        .output()
        .map_err(|error| format!("{}: {error}", ptxas.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        // The report of a whole module is long; the complaints are what matters.
        let complaints: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("error") || line.contains("fatal"))
            .collect();
        return Err(if complaints.is_empty() {
            said
        } else {
            complaints.join("\n")
        });
    }
    if let Some(line) = said
        .lines()
        .find(|line| line.contains("(C7") || line.contains("warning"))
    {
        return Err(line.to_owned());
    }
    parse(&said)
}

/// Reads the report of `ptxas -v`; kernels are sorted by name.
pub fn parse(report: &str) -> Result<Vec<Usage>, String> {
    let mut kernels = Vec::new();
    for line in report.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(Usage {
                kernel,
                registers: 0,
                shared_bytes: 0,
                local_bytes: [0; 3],
            });
        }
        let Some(usage) = kernels.last_mut() else { continue };
        if line.contains("bytes stack frame") {
            for (slot, word) in usage
                .local_bytes
                .iter_mut()
                .zip(["stack frame", "spill stores", "spill loads"])
            {
                *slot =
                    number_before(line, &format!(" bytes {word}")).ok_or_else(|| format!("no {word} in: {line}"))?;
            }
        }
        if line.contains("Used ") {
            usage.registers = number_before(line, " registers").ok_or_else(|| format!("no registers in: {line}"))?;
            usage.shared_bytes = number_before(line, " bytes smem").unwrap_or(0);
        }
    }
    match kernels.iter().find(|usage| usage.registers == 0) {
        Some(usage) => Err(format!("ptxas reported no registers of {}", usage.kernel)),
        None if kernels.is_empty() => Err("ptxas reported no kernel".to_owned()),
        None => {
            kernels.sort_by(|a, b| a.kernel.cmp(&b.kernel));
            Ok(kernels)
        }
    }
}

fn number_before(line: &str, word: &str) -> Option<u32> {
    let before = &line[..line.find(word)?];
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before[start..].parse().ok()
}
