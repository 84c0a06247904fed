//! Writes the PTX of a hand-written attention program: `attention OUT.ptx [target] [key=value ..]`.
//!
//! Keys: queries, keys, width, warps, blocks, stages, causal. Arguments of the kernel stand in `tests/programs/attention.rs`.

#[path = "../tests/programs/mod.rs"]
mod programs;

use einloom_nvptx::{Target, emit_programs, llvm_ir};
use programs::attention::{Attention, attention};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(path), target) = (args.next(), args.next().unwrap_or_else(|| "sm_90a".to_owned())) else {
        eprintln!("usage: attention OUT.ptx [target] [key=value ..]");
        return ExitCode::FAILURE;
    };
    let mut a = Attention::default();
    for arg in args {
        let Some((key, value)) = arg.split_once('=') else {
            return ExitCode::FAILURE;
        };
        let number: u32 = value.parse().unwrap_or(0);
        match key {
            "queries" => a.queries = number,
            "keys" => a.keys = number,
            "width" => a.width = number,
            "warps" => a.warps = number,
            "blocks" => a.blocks_per_sm = number,
            "stages" => a.stages = number,
            "causal" => a.causal = number != 0,
            _ => return ExitCode::FAILURE,
        }
    }
    let program = attention("attention", a);
    let res = Target::new(&target)
        .and_then(|target| Ok((emit_programs(&[&program], target)?, llvm_ir(&[&program], target)?)));
    match res {
        Ok((emission, text)) => {
            let ir = std::path::Path::new(&path).with_extension("ll");
            std::fs::write(&path, &emission.ptx)
                .and_then(|()| std::fs::write(ir, text))
                .expect("the output should be writable");
            let kernel = &emission.kernels[0];
            println!(
                "entry {} threads {} shared {}",
                kernel.entry, kernel.threads, kernel.shared_bytes
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
