//! Compiles a spec by its default schedules: `spec FILE.ein OUT.ptx [target] [specialisation] [rows cols warps stages blocks]`.

#[path = "../tests/programs/mod.rs"]
mod programs;

use einloom_nvptx::{Target, emit, llvm_ir, ptxas};
use einloom_tile::schedule::Schedule;
use std::process::ExitCode;

fn run() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, out, rest @ ..] = args.as_slice() else {
        return Err("usage: spec FILE.ein OUT.ptx [target] ..".to_owned());
    };
    let target = rest.first().map_or("sm_90a", String::as_str);
    let numbers: Vec<u32> = rest.iter().skip(1).filter_map(|n| n.parse().ok()).collect();
    let schedule = match numbers.get(1..6) {
        Some(&[rows, cols, warps, stages, blocks_per_sm]) => Some(Schedule {
            rows,
            cols,
            warps,
            stages,
            blocks_per_sm,
            left_in_registers: false,
            specialised: None,
        }),
        _ => None,
    };
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let choice = numbers.first().map_or(0, |n| *n as usize);
    let kernels = programs::spec::kernels(&text, choice, target, schedule)?;
    let lowered: Vec<_> = kernels.iter().map(|(k, _)| k.clone()).collect();
    let programs: Vec<_> = lowered.iter().map(|k| &k.program).collect();
    let (emission, ir) = Target::new(target)
        .and_then(|t| Ok((emit(&lowered, t)?, llvm_ir(&programs, t)?)))
        .map_err(|e| format!("emit: {e}"))?;
    std::fs::write(out, &emission.ptx)
        .and_then(|()| std::fs::write(format!("{out}.ll"), ir))
        .map_err(|e| e.to_string())?;
    for ((kernel, schedule), info) in kernels.iter().zip(&emission.kernels) {
        println!(
            "{} threads {} shared {}: {schedule}",
            info.entry, info.threads, info.shared_bytes
        );
        std::fs::write(
            format!("{out}.{}.tile", info.entry),
            einloom_tile::print::print(&kernel.program),
        )
        .map_err(|e| e.to_string())?;
    }
    if let Some(path) = ptxas::find() {
        let assembled = ptxas::assemble(&path, &emission.ptx, target).map_err(|e| e.to_string())?;
        for e in &assembled.usage.entries {
            println!(
                "  {}: {} registers, {} + {} bytes spilled",
                e.entry, e.registers, e.spill_store_bytes, e.spill_load_bytes
            );
        }
        std::fs::write(format!("{out}.cubin"), assembled.cubin).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
