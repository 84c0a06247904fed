//! NVIDIA's disassembler: which instructions the assembler made of a kernel. PTX only asks; what runs stands in the machine code.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repo;

/// The disassembler: `EINLOOM_NVDISASM`, or the one that set-up fetched. `Err` says why there is none.
pub fn find() -> Result<PathBuf, String> {
    let named = std::env::var_os("EINLOOM_NVDISASM").filter(|name| !name.is_empty());
    let file = named.map_or_else(|| repo::root().join(".tools/nvdisasm"), PathBuf::from);
    if file.is_file() {
        Ok(file)
    } else {
        Err(format!("no nvdisasm at {}; `make setup` fetches it", file.display()))
    }
}

/// Machine code of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// The kernel's name.
    pub kernel: String,
    /// Instructions without their predicates: `USETMAXREG.DEALLOC.CTAPOOL 0x28`.
    pub instructions: Vec<String>,
}

impl Code {
    /// Instructions of this name, whatever their modifiers.
    pub fn of(&self, name: &str) -> impl Iterator<Item = &str> {
        let has_name = move |text: &&str| text.split(['.', ' ']).next() == Some(name);
        self.instructions.iter().map(String::as_str).filter(has_name)
    }
}

/// Disassembles a cubin. `Err` holds what nvdisasm said.
pub fn disassemble(nvdisasm: &Path, cubin: &Path) -> Result<Vec<Code>, String> {
    let output = Command::new(nvdisasm)
        .arg("--print-code")
        .arg(cubin)
        .output()
        .map_err(|error| format!("{}: {error}", nvdisasm.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let codes = parse(&String::from_utf8_lossy(&output.stdout));
    match codes.iter().find(|code| code.instructions.is_empty()) {
        Some(code) => Err(format!("no instruction of {} was read", code.kernel)),
        None if codes.is_empty() => Err("no kernel was read".to_owned()),
        None => Ok(codes),
    }
}

/// Reads the listing: a section for each kernel, and lines `/*0080*/ @!P0 NAME.MODIFIER operands ;`.
pub fn parse(listing: &str) -> Vec<Code> {
    let mut codes: Vec<Code> = Vec::new();
    for line in listing.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix(".section") {
            let name = rest
                .trim()
                .strip_prefix(".text.")
                .and_then(|rest| rest.split(',').next());
            codes.extend(name.map(|name| Code {
                kernel: name.to_owned(),
                instructions: Vec::new(),
            }));
        }
        let Some((_, text)) = line.strip_prefix("/*").and_then(|rest| rest.split_once("*/")) else {
            continue;
        };
        let text = text.split(';').next().unwrap_or_default().trim();
        let text = match text.strip_prefix('@') {
            Some(rest) => rest.split_once(' ').map_or("", |(_, text)| text.trim()),
            None => text,
        };
        if let Some(code) = codes.last_mut()
            && text.starts_with(|c: char| c.is_ascii_uppercase())
        {
            code.instructions.push(text.to_owned());
        }
    }
    codes
}
