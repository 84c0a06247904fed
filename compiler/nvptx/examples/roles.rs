//! Compiles specs to specialised programs and says what ptxas thinks of them: `roles OUT_FOLDER FILE.ein..`. For each specialisation the first
//! of a list of schedules that lowers is taken, with and without a fixed reference.

#[path = "../tests/programs/mod.rs"]
mod programs;

use einloom_nvptx::{Target, emit, ptxas};
use einloom_tile::schedule::{Schedule, Specialised};
use std::path::Path;
use std::process::ExitCode;

const SHAPES: [(u32, u32, u32); 6] = [
    (192, 128, 2),
    (128, 128, 2),
    (128, 80, 2),
    (128, 64, 2),
    (128, 32, 2),
    (64, 64, 2),
];

fn one(folder: &str, file: &str, choice: usize, first_reference: bool) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let mut refusals = String::new();
    for (rows, cols, stages) in SHAPES {
        let schedule = Schedule {
            rows,
            cols,
            warps: rows / 16,
            stages,
            blocks_per_sm: 1,
            left_in_registers: false,
            specialised: Some(Specialised {
                overlap: true,
                persistent: true,
                first_reference,
                ahead: false,
            }),
        };
        let kernels = match programs::spec::kernels(&text, choice, "sm_90a", Some(schedule.clone())) {
            Ok(kernels) => kernels,
            Err(refusal) => {
                refusals.push_str(&format!("    {rows}x{cols}: {refusal}\n"));
                continue;
            }
        };
        let lowered: Vec<_> = kernels.into_iter().map(|(k, _)| k).collect();
        let target = Target::new("sm_90a").map_err(|e| e.to_string())?;
        let emission = emit(&lowered, target).map_err(|e| format!("{schedule}: emit: {e}"))?;
        let stem = Path::new(file)
            .file_stem()
            .map_or("kernel".into(), |s| s.to_string_lossy());
        let out = format!(
            "{folder}/{stem}-{choice}{}",
            if first_reference { "-first" } else { "" }
        );
        let write = |path: String, bytes: &[u8]| std::fs::write(path, bytes).map_err(|e| e.to_string());
        write(format!("{out}.ptx"), emission.ptx.as_bytes())?;
        for kernel in &lowered {
            let text = einloom_tile::print::print(&kernel.program);
            write(format!("{out}.{}.tile", kernel.program.name), text.as_bytes())?;
        }
        let Some(path) = ptxas::find() else {
            return Ok(format!("{schedule}"));
        };
        let assembled = ptxas::assemble(&path, &emission.ptx, "sm_90a").map_err(|e| format!("{schedule}: {e}"))?;
        write(format!("{out}.cubin"), &assembled.cubin)?;
        let clean = if assembled.usage.is_clean() { "clean" } else { "DIRTY" };
        return Ok(format!("{clean} {schedule} {:?}", assembled.usage));
    }
    Err(format!("no schedule\n{refusals}"))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, files @ ..] = args.as_slice() else {
        eprintln!("usage: roles OUT_FOLDER FILE.ein..");
        return ExitCode::FAILURE;
    };
    for file in files {
        for choice in [0, 2, 4] {
            for first in [false, true] {
                match one(folder, file, choice, first) {
                    Ok(line) => println!("{file} {choice} {first}: {line}"),
                    Err(line) => println!("{file} {choice} {first}: refused: {line}"),
                }
            }
        }
    }
    ExitCode::SUCCESS
}
