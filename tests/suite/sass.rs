//! What the machine code of a kernel must hold: the instructions that its tile program is written for, and no local memory.

use einloom::pipeline;
use einloom::session::Session;
use einloom_tests::sass::{self, Code};
use einloom_tests::{Outcome, ptxas, repo, skip};
use einloom_tile::ir::{DotKind, FillSource, Op, Roles, Stmt, TileProgram};
use einloom_tile::schedule::ShapeClass;
use libtest_mimic::{Failed, Trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("sass::listing_is_read", listing_is_read),
        Trial::test("sass::local_memory_is_seen", local_memory_is_seen),
        Trial::test("sass::what_lacks_is_named", what_lacks_is_named),
    ]
}

/// What is wrong with the machine code of a program, in words.
pub(crate) fn faults(program: &TileProgram, code: &Code) -> Vec<String> {
    let name = &program.name;
    let mut wrong = Vec::new();
    for instruction in ["LDL", "STL"] {
        let count = code.of(instruction).count();
        if count > 0 {
            wrong.push(format!("{name}: {count} {instruction}, so local memory is used"));
        }
    }
    let has = |instruction: &str| code.of(instruction).next().is_some();
    for (asked, instruction, why) in expected(program) {
        if asked && !has(instruction) {
            wrong.push(format!("{name}: no {instruction}, although {why}"));
        }
    }
    if let Roles::Specialised {
        consumer_registers,
        producer_registers,
    } = program.roles
    {
        for registers in [consumer_registers, producer_registers] {
            let operand = format!("{registers:#x}");
            if !code.of("USETMAXREG").any(|text| text.ends_with(&operand)) {
                wrong.push(format!("{name}: no USETMAXREG to {registers} registers"));
            }
        }
    }
    wrong
}

/// Whether each instruction is due, its name, and why.
fn expected(program: &TileProgram) -> [(bool, &'static str, &'static str); 5] {
    let specialised = program.roles != Roles::Uniform;
    let dots = any(&program.body, &|stmt| {
        matches!(
            stmt,
            Stmt::Let(
                _,
                Op::Dot {
                    kind: DotKind::Matrix,
                    ..
                }
            )
        )
    });
    let boxes = any(&program.body, &|stmt| {
        matches!(
            stmt,
            Stmt::Fill {
                source: FillSource::Box { .. },
                ..
            }
        )
    });
    let copies = any(&program.body, &|stmt| matches!(stmt, Stmt::CopyAsync { .. }));
    [
        (specialised, "USETMAXREG", "roles divide the registers"),
        (specialised && dots, "HGMMA", "dots are those of warpgroups"),
        (!specialised && dots, "HMMA", "dots are on the matrix unit"),
        (boxes, "UTMALDG", "tiles are copied as boxes"),
        (copies, "LDGSTS", "copies are asynchronous"),
    ]
}

fn any(body: &[Stmt], holds: &dyn Fn(&Stmt) -> bool) -> bool {
    body.iter().any(|stmt| {
        holds(stmt)
            || match stmt {
                Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => any(body, holds),
                _ => false,
            }
    })
}

fn listing_is_read() -> Outcome {
    let listing = "\t.target\tsm_90a\n\n//---- .text.k ----\n\t.section\t.text.k,\"ax\",@progbits\n\t.align\t128\nk:\n.text.k:\n\
        \x20       /*0000*/                   LDC R1, c[0x0][0x28] ;\n\
        \x20       /*0010*/               @P0 BRA `(.L_x_1) ;\n\
        \x20       /*0020*/              @!P1 HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], RZ, !UPT ;\n.L_x_1:\n\
        \x20       /*0030*/                   USETMAXREG.DEALLOC.CTAPOOL 0x28 ;\n\
        \t.section\t.nv.info,\"\",@\"SHT_CUDA_INFO\"\n        /*0000*/ \t.byte\t0x04, 0x2f\n";
    let codes = sass::parse(listing);
    assert_eq!(codes.len(), 1, "{codes:?}");
    assert_eq!(codes[0].kernel, "k");
    assert_eq!(codes[0].instructions.len(), 4, "{codes:?}");
    assert_eq!(codes[0].of("HGMMA").count(), 1);
    assert_eq!(
        codes[0].of("USETMAXREG").collect::<Vec<_>>(),
        ["USETMAXREG.DEALLOC.CTAPOOL 0x28"]
    );
    assert_eq!(codes[0].of("HGM").count(), 0);
    Ok(())
}

/// Machine code of one instruction lacks everything that attention takes.
fn what_lacks_is_named() -> Outcome {
    let loaded = Session::new().load(&repo::root().join("dsl-examples/causal.ein"))?;
    let cascade = loaded.cascades.first().ok_or("no specialisation")?;
    let plan = pipeline::plan(cascade)?;
    let targets: [(&str, &[&str]); 2] = [
        ("sm_80", &["no HMMA,", "no LDGSTS,"]),
        (
            "sm_90a",
            &["no USETMAXREG,", "no HGMMA,", "no UTMALDG,", "no USETMAXREG to "],
        ),
    ];
    for (target, lacking) in targets {
        let tiled = pipeline::tile(plan.clone(), target, &ShapeClass::aligned(&plan, 16))?;
        let code = Code {
            kernel: "O".to_owned(),
            instructions: vec!["LDL.64 R2, [R1]".to_owned()],
        };
        let said = faults(&tiled.kernels[0].program, &code).join("\n");
        for words in lacking.iter().chain(&["1 LDL,"]) {
            assert!(said.contains(words), "no `{words}` for {target} in:\n{said}");
        }
    }
    Ok(())
}

/// A kernel that indexes an array of its own at run time, which the assembler can only keep in local memory.
fn local_memory_is_seen() -> Outcome {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 i) {\n\
        .local .align 4 .b8 a[64];\n.reg .b64 %p, %a, %o;\n.reg .b32 %i, %v;\n\
        ld.param.b64 %p, [p];\nld.param.b32 %i, [i];\nmov.b64 %a, a;\nmul.wide.u32 %o, %i, 4;\nadd.s64 %o, %a, %o;\n\
        st.local.b32 [%o], %i;\nld.local.b32 %v, [%a+8];\nst.global.b32 [%p], %v;\nret;\n}\n";
    let Some(codes) = code_of("sass::local_memory_is_seen", text, "sm_80")? else {
        return Ok(());
    };
    let [code] = codes.as_slice() else {
        return Err(format!("{} kernels", codes.len()).into());
    };
    assert!(
        code.of("STL").count() > 0 && code.of("LDL").count() > 0,
        "{:?}",
        code.instructions
    );
    Ok(())
}

/// The machine code of PTX; nothing where a tool is missing and that is allowed.
fn code_of(test: &str, text: &str, target: &str) -> Result<Option<Vec<Code>>, Failed> {
    let tools = ptxas::find().and_then(|ptxas| Ok((ptxas, sass::find()?)));
    let (assembler, disassembler) = match tools {
        Ok(tools) => tools,
        Err(reason) => return skip(test, &reason).map(|()| None),
    };
    let folder = tempfile::tempdir()?;
    let (ptx, cubin) = (folder.path().join("kernel.ptx"), folder.path().join("kernel.cubin"));
    std::fs::write(&ptx, text)?;
    ptxas::assemble(&assembler, &ptx, target, Some(&cubin))?;
    Ok(Some(sass::disassemble(&disassembler, &cubin)?))
}
