//! Writes the PTX of the small hand-written programs: `small DIR [target]`.

#[path = "../tests/programs/mod.rs"]
mod programs;

use einloom_cascade::expr::DType;
use einloom_nvptx::{Target, emit_programs};
use einloom_tile::ir::{DotKind, Elem};
use programs::small;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(dir), target) = (args.next(), args.next().unwrap_or_else(|| "sm_90a".to_owned())) else {
        eprintln!("usage: small DIR [target]");
        return ExitCode::FAILURE;
    };
    let mut all = vec![
        small::functions("functions"),
        small::copy("copy_f32", DType::F32, Elem::F32, 40, 16),
    ];
    for align in [16, 8, 4, 2] {
        all.push(small::copy(&format!("copy{align}"), DType::BF16, Elem::BF16, 64, align));
    }
    for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
        let suffix = format!("{}{}", u8::from(left), u8::from(right));
        all.push(small::product(
            &format!("matrix{suffix}"),
            DType::F16,
            Elem::F16,
            DotKind::Matrix,
            left,
            right,
        ));
        all.push(small::product(
            &format!("scalar{suffix}"),
            DType::F32,
            Elem::F32,
            DotKind::Scalar,
            left,
            right,
        ));
        all.push(small::product(
            &format!("scalar_half{suffix}"),
            DType::BF16,
            Elem::BF16,
            DotKind::Scalar,
            left,
            right,
        ));
    }
    let all: Vec<_> = all.iter().collect();
    match Target::new(&target).and_then(|target| emit_programs(&all, target)) {
        Ok(emission) => {
            std::fs::write(format!("{dir}/small.ptx"), &emission.ptx).expect("the output should be writable");
            for kernel in &emission.kernels {
                println!("{} {} {}", kernel.entry, kernel.threads, kernel.shared_bytes);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
