//! Finds and runs ptxas. Nothing else depends on its presence.

use einloom_nvptx::ptxas::{Assembled, assemble};
use std::path::PathBuf;

/// The assembler to use: `EINLOOM_PTXAS`, else `.tools/ptxas` of the working folder, else `ptxas` on the path.
pub fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("EINLOOM_PTXAS") {
        return Some(PathBuf::from(path));
    }
    let local = PathBuf::from(".tools/ptxas");
    if local.is_file() {
        return Some(local);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("ptxas"))
        .find(|file| file.is_file())
}

/// Assembles PTX with the found ptxas.
///
/// # Errors
/// No ptxas, or its refusal.
pub fn run(ptx: &str, target: &str) -> Result<Assembled, String> {
    let ptxas = find().ok_or("no ptxas found; set EINLOOM_PTXAS to its file")?;
    assemble(&ptxas, ptx, target).map_err(|error| error.to_string())
}

/// The machine code of PTX.
///
/// # Errors
/// As [`run`]; registers that spill, and messages of ptxas that cost performance.
pub fn cubin(ptx: &str, target: &str) -> Result<Vec<u8>, String> {
    let Assembled { cubin, usage } = run(ptx, target)?;
    if let Some(message) = usage.messages.first() {
        return Err(format!("ptxas gives slow code: {message}"));
    }
    match usage
        .entries
        .iter()
        .find(|e| e.spill_store_bytes + e.spill_load_bytes > 0)
    {
        Some(entry) => Err(format!(
            "kernel `{}` spills {} bytes of registers; smaller tiles need fewer (--schedule)",
            entry.entry, entry.spill_store_bytes
        )),
        None => Ok(cubin),
    }
}
