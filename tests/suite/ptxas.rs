//! The assembler's verdict is read right: spills and refusals are errors, and its report is parsed.

use std::path::PathBuf;

use einloom_tests::ptxas::{self, Usage};
use einloom_tests::{Outcome, skip};
use libtest_mimic::Trial;

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("ptxas::report_is_read", report_is_read),
        Trial::test("ptxas::usage_of_kernels", usage_of_kernels),
        Trial::test("ptxas::spills_are_refused", spills_are_refused),
        Trial::test("ptxas::bad_text_is_refused", bad_text_is_refused),
    ]
}

fn report_is_read() -> Outcome {
    let report = "ptxas info    : 0 bytes gmem\n\
        ptxas info    : Compiling entry function 'k' for 'sm_80'\n\
        ptxas info    : Function properties for k\n    \
            16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n\
        ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size, 128 bytes smem\n";
    let expected = Usage {
        kernel: "k".to_owned(),
        registers: 40,
        shared_bytes: 128,
        local_bytes: [16, 8, 4],
    };
    assert_eq!(ptxas::parse(report)?, [expected]);
    Ok(())
}

fn usage_of_kernels() -> Outcome {
    let text = format!(
        "{HEADER}.visible .entry b() {{ .shared .b8 s[64]; st.shared.b32 [s], 1; ret; }}\n.visible .entry a() {{ ret; }}\n"
    );
    let Some(said) = assemble("ptxas::usage_of_kernels", &text)? else {
        return Ok(());
    };
    let usages = said?;
    assert_eq!(
        usages.iter().map(|usage| usage.kernel.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(usages[1].shared_bytes >= 64, "{usages:?}");
    Ok(())
}

/// 100 values that live across a barrier do not fit into the 24 registers that the kernel allows itself.
fn spills_are_refused() -> Outcome {
    let mut text =
        format!("{HEADER}.visible .entry k(.param .u64 p) .maxnreg 24 {{\n.reg .b64 %p;\n.reg .b32 %v<100>;\n");
    text += "ld.param.b64 %p, [p];\n";
    (0..100).for_each(|i| text += &format!("ld.volatile.global.b32 %v{i}, [%p+{}];\n", 4 * i));
    text += "bar.sync 0;\n";
    (0..100).for_each(|i| text += &format!("st.volatile.global.b32 [%p+{}], %v{i};\n", 4 * (99 - i)));
    text += "ret;\n}\n";
    match assemble("ptxas::spills_are_refused", &text)? {
        Some(Ok(usages)) => Err(format!("accepted: {usages:?}").into()),
        Some(Err(said)) if !said.to_lowercase().contains("spill") => {
            Err(format!("refused for another reason: {said}").into())
        }
        Some(Err(_)) | None => Ok(()),
    }
}

fn bad_text_is_refused() -> Outcome {
    match assemble(
        "ptxas::bad_text_is_refused",
        &format!("{HEADER}.visible .entry k() {{ frobnicate; }}\n"),
    )? {
        Some(Ok(usages)) => Err(format!("accepted: {usages:?}").into()),
        Some(Err(_)) | None => Ok(()),
    }
}

/// What ptxas says to `text`; nothing where there is no ptxas and that is allowed.
fn assemble(test: &str, text: &str) -> Result<Option<Result<Vec<Usage>, String>>, libtest_mimic::Failed> {
    let program: PathBuf = match ptxas::find() {
        Ok(program) => program,
        Err(reason) => return skip(test, &reason).map(|()| None),
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kernel.ptx");
    std::fs::write(&file, text)?;
    Ok(Some(ptxas::assemble(&program, &file, "sm_80", None)))
}
