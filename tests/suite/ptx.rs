//! The PTX of all examples by the rules of [`einloom_tests::ptx`], and whether these rules see what breaks them.

use std::path::{Path, PathBuf};

use einloom_tests::{Outcome, none_of, ptx, repo};
use libtest_mimic::{Failed, Trial};

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        Trial::test("ptx::instructions_are_read", instructions_are_read),
        Trial::test("ptx::early_reads_are_seen", early_reads_are_seen),
        Trial::test("ptx::touched_dots_are_seen", touched_dots_are_seen),
        Trial::test("ptx::parted_lanes_are_seen", parted_lanes_are_seen),
        Trial::test("ptx::broken_kernels_are_seen", broken_kernels_are_seen),
    ];
    for (name, file) in goldens() {
        tests.push(Trial::test(format!("ptx::kernels::{name}"), move || {
            none_of(ptx::faults(&std::fs::read_to_string(&file)?)?)
        }));
    }
    tests
}

/// The kernels that are checked in, by example and target. Which of them lack, the tests of `examples` say.
fn goldens() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for example in repo::examples() {
        let stem = example.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for target in ["sm_80", "sm_90a"] {
            let file = repo::root()
                .join("kernels-generated")
                .join(&stem)
                .join(target)
                .join("kernel.ptx");
            if file.is_file() {
                found.push((format!("{stem}::{target}"), file));
            }
        }
    }
    found
}

/// A kernel with these registers and this code.
fn kernel(code: &str) -> String {
    format!(
        ".version 8.6\n.target sm_90a\n.visible .entry k(.param .u64 p)\n{{\n.reg .pred %p<4>;\n.reg .b32 %r<8>;\n\
         .reg .f32 sum<4>;\n.reg .b64 %d;\n{code}\nret;\n}}\n"
    )
}

fn faults(code: &str) -> Result<Vec<String>, Failed> {
    Ok(ptx::faults(&kernel(code))?)
}

/// A dot that starts from zeros, and what stands behind it; `left` is its left operand.
fn dot(left: &str, behind: &str) -> String {
    format!(
        "mov.b64 %d, 0;\nmov.b32 %r0, 0;\nmov.b32 %r1, 0;\nmov.b32 %r2, 0;\nmov.b32 %r3, 0;\n\
         {{\n.reg .pred none;\nsetp.ne.b32 none, 0, 0;\nwgmma.fence.sync.aligned;\n\
         wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{sum0, sum1, sum2, sum3}}, {left}, %d, none, 1, 1, 0;\n\
         wgmma.commit_group.sync.aligned;\n}}\n{behind}"
    )
}

const LEFT: &str = "{%r0, %r1, %r2, %r3}";

fn instructions_are_read() -> Outcome {
    let text = kernel(
        "{\n.reg .pred done;\nLW_0:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%d+8], %r1;\n@done bra.uni LD_0;\nbra.uni LW_0;\nLD_0:\n}\nmov.b32 %r2, %r1; // as %r3",
    );
    let kernels = ptx::read::kernels(&text)?;
    let [kernel] = kernels.as_slice() else {
        return Err(format!("{} kernels", kernels.len()).into());
    };
    assert_eq!(kernel.name, "k");
    let opcodes: Vec<&str> = kernel.code.iter().map(|i| i.name()).collect();
    assert_eq!(opcodes, ["mbarrier", "bra", "bra", "mov", "ret"]);
    let targets: Vec<_> = kernel.code.iter().map(|i| i.target).collect();
    assert_eq!(targets, [None, Some(3), Some(0), None, None]);
    let name = |register: &usize| kernel.registers[*register].as_str();
    assert_eq!(kernel.code[0].writes().iter().map(name).collect::<Vec<_>>(), ["done"]);
    assert_eq!(
        kernel.code[0].reads().map(|r| name(&r)).collect::<Vec<_>>(),
        ["%d", "%r1"]
    );
    assert_eq!(kernel.code[1].guard.as_ref().map(name), Some("done"));
    assert_eq!(kernel.code[3].line, 17);
    assert!(ptx::read::kernels(&self::kernel("frobnicate.b32 %r1, %r2;")).is_err());
    Ok(())
}

/// Asserts that each code has the first fault that is named, or none.
fn expect(cases: &[(String, &str)]) -> Outcome {
    for (code, expected) in cases {
        let found = faults(code)?;
        let first = found.first().map_or("", String::as_str);
        let as_expected = if expected.is_empty() {
            found.is_empty()
        } else {
            first.contains(expected)
        };
        assert!(as_expected, "`{expected}` is expected of:\n{code}\nfound: {found:?}");
    }
    Ok(())
}

fn early_reads_are_seen() -> Outcome {
    let early = "is read before it is written";
    expect(&[
        ("mov.b32 %r1, 0;\nadd.s32 %r2, %r1, %r1;".to_owned(), ""),
        ("add.s32 %r2, %r1, 1;".to_owned(), early),
        (
            "mov.b32 %r1, 0;\nsetp.eq.b32 %p1, %r1, 0;\n@%p1 mov.b32 %r2, 1;\nst.global.b32 [%d], %r2;".to_owned(),
            early,
        ),
        // On one of two ways.
        (
            "mov.b32 %r1, 0;\nsetp.eq.b32 %p1, %r1, 0;\n@%p1 bra $L1;\nmov.b32 %r2, 1;\n$L1:\nmov.b32 %r3, %r2;"
                .to_owned(),
            early,
        ),
        // The inner scope's register is another one of the same name.
        (
            "mov.b32 %r1, 0;\n{\n.reg .b32 %r1;\nmov.b32 %r2, %r1;\n}".to_owned(),
            early,
        ),
    ])
}

fn touched_dots_are_seen() -> Outcome {
    let wait = "wgmma.wait_group.sync.aligned 0;\n";
    let cases = [
        (LEFT, format!("{wait}mov.b32 %r4, sum0;"), ""),
        ("%d", format!("{wait}mov.b32 %r4, sum0;"), ""),
        (
            LEFT,
            format!("mov.b32 %r4, sum0;\n{wait}"),
            "is read while a dot writes it",
        ),
        (
            LEFT,
            format!("mov.b32 %r1, 5;\n{wait}"),
            "is written while a dot is pending",
        ),
        (LEFT, format!("mov.b32 %r4, %r1;\n{wait}"), ""),
        (LEFT, String::new(), "that nothing waited for"),
        (
            LEFT,
            "wgmma.wait_group.sync.aligned 1;".to_owned(),
            "that nothing waited for",
        ),
    ];
    let cases: Vec<(String, &str)> = cases
        .iter()
        .map(|(left, behind, what)| (dot(left, behind), *what))
        .collect();
    expect(&cases)?;
    // What a dot takes is written behind the fence, or the dots of a loop are never waited for.
    let fence = "wgmma.fence.sync.aligned;\n";
    let moved = dot(LEFT, wait)
        .replace(fence, "")
        .replace("mov.b32 %r0", &format!("{fence}mov.b32 %r0"));
    let round = dot(LEFT, "").replace("{\n.reg", "$L1:\n{\n.reg") + "setp.eq.b32 %p1, %r0, 0;\n@%p1 bra $L1;\n" + wait;
    expect(&[(moved, "without a fence"), (round, "that a loop never waits for")])
}

fn parted_lanes_are_seen() -> Outcome {
    let behind = |number: &str, inner: &str| {
        format!("mov.u32 %r0, %tid.x;\n{number}setp.eq.b32 %p1, %r1, 0;\n@%p1 bra $L1;\n{inner}\n$L1:")
    };
    let own = "and.b32 %r1, %r0, 31;\n";
    let warp = "shr.u32 %r2, %r0, 5;\nshfl.sync.idx.b32 %r1, %r2, 0, 0x1f, 0xffffffff;\n";
    let vote = "setp.eq.b32 %p2, %r0, 0;\nvote.sync.any.pred %p3, %p2, -1;\nselp.u32 %r1, 1, 0, %p3;\n";
    let shuffle = "shfl.sync.bfly.b32 %r3, %r1, 1, 0x1f, 0xffffffff;";
    expect(&[
        (behind(own, shuffle), "lanes may differ"),
        (behind(own, "mov.b32 %r3, 0;"), ""),
        (behind(own, "") + "\nbar.sync 0;", ""),
        (behind(vote, shuffle), ""),
        (behind(vote, "bar.sync 0;"), "warps may differ"),
        (behind(warp, "bar.sync 1, 256;"), ""),
        // What was written behind the branch differs where its ways meet.
        (
            "mov.b32 %r4, 0;\n".to_owned()
                + &behind(own, "mov.b32 %r4, 1;")
                + "\nsetp.eq.b32 %p2, %r4, 0;\n@%p2 bra $L2;\nbar.sync 0;\n$L2:",
            "lanes may differ",
        ),
    ])
}

/// Kernels as they are, with one line out of place.
fn broken_kernels_are_seen() -> Outcome {
    let file = repo::root().join("kernels-generated/causal/sm_90a/kernel.ptx");
    let text = std::fs::read_to_string(Path::new(&file))?;
    let without = |wanted: &str, nth: usize| -> Result<String, Failed> {
        let (at, _) = text.match_indices(wanted).nth(nth).ok_or("a line that is not there")?;
        let end = at + text[at..].find(';').ok_or("a line without an end")? + 1;
        Ok(format!("{}{}", &text[..at], &text[end..]))
    };
    // Waits that leave dots pending stand before a stage is handed back, which registers do not show.
    let wait = "wgmma.wait_group.sync.aligned 0";
    let waits = text.matches(wait).count();
    assert!(waits > 2, "{waits} waits");
    for nth in 0..waits {
        let found = ptx::faults(&without(wait, nth)?)?;
        assert!(!found.is_empty(), "wait {nth} is missing, and nothing is said");
    }
    assert!(
        !ptx::faults(&without("wgmma.fence", 0)?)?.is_empty(),
        "a fence is missing"
    );
    // The first register of a home loses its first value.
    assert!(
        !ptx::faults(&without("ex2.approx.ftz.f32 home", 0)?)?.is_empty(),
        "a line is missing"
    );
    Ok(())
}
