//! Hand-written tile programs through LLVM, and through ptxas where `EINLOOM_PTXAS` names one.

mod programs;

use einloom_cascade::expr::DType;
use einloom_nvptx::{Emission, EmitError, Target, emit_programs, ptxas};
use einloom_tile::ir::{DotKind, Elem, TileProgram};
use programs::attention::{Attention, attention};
use programs::small;

const TARGETS: [&str; 2] = ["sm_80", "sm_90a"];

fn emit(program: &TileProgram, target: &str) -> Emission {
    let target = Target::new(target).expect("the target should be known");
    emit_programs(&[program], target).expect("the program should be emitted")
}

/// Emits for all targets, twice; where there is a ptxas, assembles and demands that nothing spills.
fn check(program: &TileProgram) {
    for name in TARGETS {
        let emission = emit(program, name);
        assert_eq!(
            emission,
            emit(program, name),
            "{} changes from run to run",
            program.name
        );
        assert!(
            !emission.ptx.contains(".loc") && !emission.ptx.contains(".func"),
            "{}: debug lines or calls",
            program.name
        );
        let Some(path) = ptxas::find() else {
            eprintln!("no {}: PTX of {} is not assembled", ptxas::PTXAS, program.name);
            continue;
        };
        let assembly = ptxas::assemble(&path, &emission.ptx, name).expect("ptxas should accept the PTX");
        assert!(
            assembly.usage.is_clean(),
            "{} for {name}: {:?}",
            program.name,
            assembly.usage
        );
    }
}

#[test]
fn copies_of_all_alignments() {
    for align in [16, 8, 4, 2] {
        check(&small::copy(
            &format!("copy{align}"),
            DType::BF16,
            Elem::BF16,
            64,
            align,
        ));
    }
    check(&small::copy("copy_f32", DType::F32, Elem::F32, 40, 16));
    check(&small::copy("copy_f16", DType::F16, Elem::F16, 80, 16));
}

#[test]
fn pointwise_functions() {
    check(&small::functions("functions"));
}

#[test]
fn products_of_all_orientations() {
    for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
        let suffix = format!("{}{}", u8::from(left), u8::from(right));
        check(&small::product(
            &format!("matrix{suffix}"),
            DType::F16,
            Elem::F16,
            DotKind::Matrix,
            left,
            right,
        ));
        check(&small::product(
            &format!("scalar{suffix}"),
            DType::F32,
            Elem::F32,
            DotKind::Scalar,
            left,
            right,
        ));
        check(&small::product(
            &format!("scalar_half{suffix}"),
            DType::BF16,
            Elem::BF16,
            DotKind::Scalar,
            left,
            right,
        ));
    }
}

#[test]
fn exchanged_sums_are_values() {
    let program = small::exchanged("exchanged");
    check(&program);
    let ptx = emit(&program, "sm_80").ptx;
    let by_name = |line: &&str| line.trim_start().starts_with("mma") && line.contains("home");
    assert_eq!(ptx.matches("mma.sync").count(), 3 * 2 * 4, "{ptx}");
    assert_eq!(ptx.lines().filter(by_name).count(), 0, "{ptx}");
}

#[test]
fn attention_does_not_spill() {
    let small = Attention {
        queries: 64,
        blocks_per_sm: 2,
        ..Attention::default()
    };
    check(&attention("attention", small));
    check(&attention(
        "attention_causal",
        Attention {
            causal: true,
            stages: 2,
            ..small
        },
    ));
    check(&attention(
        "attention_f16",
        Attention {
            width: 64,
            dtype: DType::F16,
            ..Attention::default()
        },
    ));
}

#[test]
fn several_kernels_share_a_module() {
    let (a, b) = (
        small::functions("first"),
        small::copy("second", DType::F32, Elem::F32, 32, 16),
    );
    let target = Target::new("sm_80").expect("the target should be known");
    let emission = emit_programs(&[&a, &b], target).expect("the programs should be emitted");
    let entries: Vec<&str> = emission.kernels.iter().map(|k| k.entry.as_str()).collect();
    assert_eq!(entries, ["first", "second"]);
    assert_eq!(emission.kernels[1].shared_bytes, 2 * 32 * 32 * 4);
    let twice = emit_programs(&[&a, &a], target);
    assert!(
        matches!(twice, Err(EmitError::Invalid { .. })),
        "two kernels of one name"
    );
}

#[test]
fn refusals_name_the_limit() {
    let target = Target::new("sm_80").expect("the target should be known");
    let large = attention(
        "large",
        Attention {
            queries: 512,
            stages: 2,
            ..Attention::default()
        },
    );
    let Err(error) = emit_programs(&[&large], target) else {
        panic!("the buffers should not fit")
    };
    assert_eq!(
        error.to_string(),
        "kernel large needs 196608 bytes of shared memory; sm_80 has 166912 for a block"
    );
    assert_eq!(
        Target::new("sm_100a").map(|t| t.sm()).unwrap_err().to_string(),
        "target sm_100a is not known; known are sm_80 and sm_90a"
    );
    assert!(Target::with_ptx("sm_90a", 90).is_err());
}

#[test]
fn ptx_of_a_small_kernel() {
    let program = small::copy("copy", DType::BF16, Elem::BF16, 16, 16);
    insta::assert_snapshot!(emit(&program, "sm_80").ptx);
}

#[test]
fn a_program_that_writes_nothing_is_no_assembler() {
    let error = einloom_nvptx::ptxas::assemble(std::path::Path::new("/bin/true"), "", "sm_80").expect_err("no code");
    assert!(error.to_string().contains("no machine code"), "{error}");
}
