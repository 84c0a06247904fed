//! Every example on its whole road: checked, formatted, verified on the CPU, compiled to the goldens of `kernels-generated/`,
//! assembled, and compiled twice to the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use einloom::pipeline::{self, Compiled};
use einloom::session::Session;
use einloom_cascade::ir::Cascade;
use einloom_tests::cli::{self, einloom};
use einloom_tests::ptxas::{self, Usage};
use einloom_tests::sass::{self, Code};
use einloom_tests::{Outcome, golden, none_of, ptx, repo, skip};
use libtest_mimic::{Failed, Trial};

/// The targets that there are kernels for.
const TARGETS: [&str; 2] = ["sm_80", "sm_90a"];

/// Alignment in bytes that compiled kernels may count on.
const ALIGN: u32 = 16;

/// Where a spec has several specialisations, goldens are kept of the first one with the most of these choices.
const SHOWN: [(&str, &str); 2] = [("e", "128"), ("T", "bf16")];

/// Fewer cases would not cover the shapes that break kernels: no keys, one query, extents that divide nothing.
const MIN_CASES: usize = 8;

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![Trial::test("examples::no_stale_goldens", no_stale_goldens)];
    for file in repo::examples() {
        let name = stem(&file);
        let mut add = |kind: &str, run: fn(&Path) -> Outcome| {
            let file = file.clone();
            tests.push(Trial::test(format!("examples::{kind}::{name}"), move || run(&file)));
        };
        add("check", check);
        add("verify", verify);
        add("same_bytes", same_bytes);
        for target in TARGETS {
            for (kind, run) in [
                ("kernels", kernels as fn(&Path, &'static str) -> Outcome),
                ("assembly", assembly),
                ("strided", strided),
            ] {
                let file = file.clone();
                tests.push(Trial::test(format!("examples::{kind}::{name}::{target}"), move || {
                    run(&file, target)
                }));
            }
        }
    }
    tests
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// No message at all, and the canonical form.
fn check(file: &Path) -> Outcome {
    let name = repo::relative(file);
    let said = einloom(["check", &name]);
    assert_eq!(said.expect(0)?.stderr, "");
    einloom(["fmt", "--check", &name]).expect(0)?;
    Ok(())
}

fn verify(file: &Path) -> Outcome {
    let said = einloom(["verify", &repo::relative(file), "--device", "cpu"]);
    said.expect(0)?;
    let last = said.stdout.lines().last().unwrap_or_default();
    let passed = last
        .strip_suffix(" passed, 0 failed")
        .and_then(|number| number.parse::<usize>().ok());
    match passed {
        Some(passed) if passed >= MIN_CASES => Ok(()),
        _ => Err(format!("the last line is `{last}`; at least {MIN_CASES} cases are expected").into()),
    }
}

fn golden_folder(file: &Path, target: &str) -> PathBuf {
    repo::root().join("kernels-generated").join(stem(file)).join(target)
}

const GOLDENS: [&str; 5] = ["plan.txt", "tile.txt", "kernel.ptx", "manifest.json", "ptxas.txt"];

/// The specialisation that goldens are kept of, by its number.
fn shown(cascades: &[Cascade]) -> Option<usize> {
    let liking = |cascade: &Cascade| {
        let liked = |(name, value): &&(String, String)| SHOWN.contains(&(name.as_str(), value.as_str()));
        cascade.choices.iter().filter(liked).count()
    };
    let most = cascades.iter().map(liking).max()?;
    cascades.iter().position(|cascade| liking(cascade) == most)
}

/// One specialisation is compared with its goldens.
fn kernels(file: &Path, target: &str) -> Outcome {
    let loaded = Session::new().load(file)?;
    let shown = shown(&loaded.cascades).ok_or("no specialisation")?;
    let compiled = pipeline::compile(&loaded.cascades[shown], target, ALIGN)?;
    let tiles = compiled
        .tiled
        .kernels
        .iter()
        .map(|kernel| einloom_tile::print::print(&kernel.program))
        .collect();
    let texts: [(&str, String); 4] = [
        ("plan.txt", einloom_plan::print::print(&compiled.tiled.plan)),
        ("tile.txt", tiles),
        ("kernel.ptx", compiled.emission.ptx.clone()),
        ("manifest.json", compiled.artifact.manifest_json()),
    ];
    let folder = golden_folder(file, target);
    let failed = texts
        .iter()
        .filter_map(|(name, text)| golden::check(&folder.join(name), text).err());
    none_of(
        failed
            .map(|failed| failed.message().unwrap_or_default().to_owned())
            .collect(),
    )
}

/// All specialisations assemble without a warning, a spill or other local memory, and their machine code has the instructions that the tile
/// programs ask for; what one of them takes is a golden.
fn assembly(file: &Path, target: &str) -> Outcome {
    let program = match ptxas::find() {
        Ok(program) => program,
        Err(reason) => return skip(&format!("assembling {} for {target}", stem(file)), &reason),
    };
    let disassembler = disassembler_for(file, target)?;
    let loaded = Session::new().load(file)?;
    let shown = shown(&loaded.cascades);
    let folder = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for (number, cascade) in loaded.cascades.iter().enumerate() {
        let file_of_ptx = folder.path().join(format!("{number}.ptx"));
        let cubin = folder.path().join(format!("{number}.cubin"));
        let compiled = pipeline::compile(cascade, target, ALIGN)?;
        std::fs::write(&file_of_ptx, &compiled.emission.ptx)?;
        let faults = ptx::faults(&compiled.emission.ptx)?;
        wrong.extend(
            faults
                .into_iter()
                .map(|fault| format!("{:?}: {fault}", cascade.choices)),
        );
        match ptxas::assemble(&program, &file_of_ptx, target, Some(&cubin)) {
            Err(said) => wrong.push(format!("{:?}: {said}", cascade.choices)),
            Ok(usages) => {
                let local = usages.iter().filter(|usage| usage.local_bytes != [0; 3]);
                wrong.extend(local.map(|usage| format!("{:?}: local memory is used: {usage:?}", cascade.choices)));
                if let Some(disassembler) = &disassembler {
                    let faults = machine_code(&compiled, &sass::disassemble(disassembler, &cubin)?);
                    wrong.extend(
                        faults
                            .into_iter()
                            .map(|fault| format!("{:?}: {fault}", cascade.choices)),
                    );
                }
                if Some(number) == shown {
                    let report: String = usages.iter().map(report_line).collect();
                    let failed = golden::check(&golden_folder(file, target).join("ptxas.txt"), &report).err();
                    wrong.extend(failed.map(|failed| failed.message().unwrap_or_default().to_owned()));
                }
            }
        }
    }
    none_of(wrong)
}

/// Alignments of strided tensors, for which tiles are copied in units of less than 16 bytes: by far the most registers and code.
const STRIDED: [u32; 2] = [4, 2];

/// The widest specialisation has kernels for tensors of every alignment, which assemble without a spill.
fn strided(file: &Path, target: &'static str) -> Outcome {
    let loaded = Session::new().load(file)?;
    let width = |cascade: &&Cascade| -> u64 {
        cascade
            .choices
            .iter()
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    };
    let widest = loaded
        .cascades
        .iter()
        .rev()
        .max_by_key(width)
        .ok_or("no specialisation")?;
    let folder = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for align in STRIDED {
        let said = |text: String| format!("{:?}, aligned to {align} bytes: {text}", widest.choices);
        let compiled = match pipeline::compile(widest, target, align) {
            Ok(compiled) => compiled,
            Err(error) => {
                wrong.push(said(error.to_string()));
                continue;
            }
        };
        wrong.extend(ptx::faults(&compiled.emission.ptx)?.into_iter().map(said));
        let Ok(program) = ptxas::find() else { continue };
        let file = folder.path().join(format!("{align}.ptx"));
        std::fs::write(&file, &compiled.emission.ptx)?;
        match ptxas::assemble(&program, &file, target, None) {
            Err(text) => wrong.push(said(text)),
            Ok(usages) => {
                let local = usages.iter().filter(|usage| usage.local_bytes != [0; 3]);
                wrong.extend(local.map(|usage| said(format!("local memory is used: {usage:?}"))));
            }
        }
    }
    none_of(wrong)
}

/// The disassembler; none where it is missing and that is allowed.
fn disassembler_for(file: &Path, target: &str) -> Result<Option<PathBuf>, Failed> {
    match sass::find() {
        Ok(program) => Ok(Some(program)),
        Err(reason) => skip(&format!("disassembling {} for {target}", stem(file)), &reason).map(|()| None),
    }
}

/// What is wrong with the machine code of the kernels.
fn machine_code(compiled: &Compiled, codes: &[Code]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kernel, described) in compiled.tiled.kernels.iter().zip(&compiled.artifact.manifest().kernels) {
        match codes.iter().find(|code| code.kernel == described.entry) {
            Some(code) => wrong.extend(crate::sass::faults(&kernel.program, code)),
            None => wrong.push(format!("no machine code of {}", described.entry)),
        }
    }
    wrong
}

fn report_line(usage: &Usage) -> String {
    let Usage {
        kernel,
        registers,
        shared_bytes,
        local_bytes: [stack, stores, loads],
    } = usage;
    format!(
        "{kernel}: {registers} registers, {shared_bytes} bytes static shared memory, \
         {stack} bytes stack, {stores} bytes spill stores, {loads} bytes spill loads\n"
    )
}

fn no_stale_goldens() -> Outcome {
    let folder = repo::root().join("kernels-generated");
    let mut known = vec![folder.join("README.md")];
    for file in repo::examples() {
        for target in TARGETS {
            known.extend(GOLDENS.iter().map(|name| golden_folder(&file, target).join(name)));
        }
    }
    golden::check_no_others(&folder, &known)
}

/// Two processes in different places, one that knows of ptxas and one that does not, write the same bytes.
fn same_bytes(file: &Path) -> Outcome {
    let folder = tempfile::tempdir()?;
    let levels = "ast,cascade,plan,tile,llvm-ir,ptx,manifest,module";
    let mut runs: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    for name in ["first", "second"] {
        let out = folder.path().join(name);
        std::fs::create_dir(&out)?;
        let mut command = cli::command();
        command
            .arg("compile")
            .arg(file)
            .args(["--target", "sm_90a", "-o"])
            .arg(&out)
            .args(["--emit", levels]);
        if name == "second" {
            command
                .env_remove("EINLOOM_PTXAS")
                .env("LANG", "tr_TR.UTF-8")
                .env("TZ", "Asia/Tokyo")
                .current_dir(&out);
        } else {
            command.current_dir(repo::root());
        }
        cli::run(&mut command).expect(0)?;
        runs.push(contents(&out)?);
    }
    let (first, second) = (&runs[0], &runs[1]);
    assert!(!first.is_empty(), "nothing was written");
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    none_of(
        first
            .keys()
            .filter(|name| first[*name] != second[*name])
            .map(|name| format!("{name} differs"))
            .collect(),
    )
}

fn contents(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failed> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            std::fs::read(entry.path())?,
        );
    }
    Ok(files)
}
