//! Specialised programs through LLVM, and through ptxas where `EINLOOM_PTXAS` names one.

mod programs;

use einloom_cascade::expr::DType;
use einloom_nvptx::{Emission, EmitError, Target, emit_programs, llvm_ir, ptxas};
use einloom_tile::ir::TileProgram;
use einloom_tile::verify::verify;
use programs::hopper::{Specialised, specialised};

fn emit(program: &TileProgram) -> Emission {
    verify(program).expect("the program should be legal");
    let target = Target::new("sm_90a").expect("the target should be known");
    emit_programs(&[program], target).expect("the program should be emitted")
}

/// Emits twice, looks for the instructions of roles; where there is a ptxas, assembles and demands that nothing spills and no matrix
/// instruction is serialised.
fn check(program: &TileProgram) -> Emission {
    let emission = emit(program);
    assert_eq!(emission, emit(program), "{} changes from run to run", program.name);
    for text in [
        "wgmma.mma_async",
        "setmaxnreg.inc",
        "setmaxnreg.dec",
        "cp.async.bulk.tensor",
        "mbarrier.try_wait",
    ] {
        assert!(emission.ptx.contains(text), "{} has no {text}", program.name);
    }
    assert!(!emission.ptx.contains(".local"), "{} uses local memory", program.name);
    let name = std::env::var("EINLOOM_DUMP").unwrap_or_default();
    if !name.is_empty() {
        std::fs::write(format!("{name}/{}.ptx", program.name), &emission.ptx).expect("the folder should exist");
        let target = Target::new("sm_90a").expect("the target should be known");
        let ir = llvm_ir(&[program], target).expect("an emitted program should have IR");
        std::fs::write(format!("{name}/{}.ll", program.name), ir).expect("the folder should exist");
    }
    match ptxas::find() {
        None => eprintln!("no {}: PTX of {} is not assembled", ptxas::PTXAS, program.name),
        Some(path) => {
            let assembly = ptxas::assemble(&path, &emission.ptx, "sm_90a").expect("ptxas should accept the PTX");
            assert!(assembly.usage.is_clean(), "{}: {:?}", program.name, assembly.usage);
        }
    }
    emission
}

#[test]
fn attention_128_wide() {
    check(&specialised("wide128", Specialised::default()));
    let persistent = Specialised {
        persistent: true,
        ..Specialised::default()
    };
    check(&specialised("persistent128", persistent));
}

#[test]
fn attention_64_wide() {
    let three = Specialised {
        consumers: 3,
        width: 64,
        consumer_registers: 160,
        producer_registers: 32,
        ..Specialised::default()
    };
    check(&specialised("wide64", three));
    let half = Specialised {
        dtype: DType::F16,
        stages: 3,
        ..three
    };
    check(&specialised("wide64_f16", half));
}

#[test]
fn attention_256_wide() {
    for keys in [64, 80] {
        let two = Specialised {
            width: 256,
            keys,
            ..Specialised::default()
        };
        check(&specialised(&format!("wide256_{keys}"), two));
    }
}

#[test]
fn keys_from_a_table() {
    for align in [16, 8, 4] {
        let gathered = Specialised {
            gathered: true,
            align,
            consumer_registers: 216,
            producer_registers: 56,
            ..Specialised::default()
        };
        let emission = check(&specialised(&format!("gathered{align}"), gathered));
        for text in ["cp.async.mbarrier.arrive.noinc", "fence.proxy.async"] {
            assert!(emission.ptx.contains(text), "no {text}");
        }
    }
}

#[test]
fn operands_through_shared_memory() {
    let through = Specialised {
        through_shared: true,
        keys: 64,
        ..Specialised::default()
    };
    let emission = check(&specialised("through", through));
    assert!(
        emission.ptx.contains("bar.sync 1, 256"),
        "the consumers meet without the producer"
    );
    assert!(
        emission.ptx.contains("fence.proxy.async"),
        "stores before the matrix unit's reads"
    );
}

#[test]
fn refusals() {
    let program = specialised("roles", Specialised::default());
    let target = Target::new("sm_80").expect("the target should be known");
    let Err(error) = emit_programs(&[&program], target) else {
        panic!("sm_80 has no roles")
    };
    assert_eq!(
        error.to_string(),
        "kernel roles: a program with roles on sm_80 is not supported by the PTX backend"
    );
    let large = Specialised {
        consumers: 3,
        ..Specialised::default()
    };
    let target = Target::new("sm_90a").expect("the target should be known");
    let error = emit_programs(&[&specialised("large", large)], target);
    assert!(matches!(error, Err(EmitError::Invalid { .. })), "too many registers");
}
