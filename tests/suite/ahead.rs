//! Kernels ahead of time: bundles, generated launchers, build scripts, snapshots, and the programs of `tests/ahead-of-time`.

use std::path::{Path, PathBuf};
use std::process::Command;

use einloom::pipeline;
use einloom::session::Session;
use einloom_artifact::contract::{self, Quick};
use einloom_artifact::{ContractError, TensorView};
use einloom_build::{BuildError, Config};
use einloom_tests::cli::{self, Said, einloom_in};
use einloom_tests::{Outcome, golden, none_of, repo};
use libtest_mimic::{Failed, Trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("ahead::build_script", build_script),
        Trial::test("ahead::program_with_build_script", program_with_build_script),
        Trial::test("ahead::program_with_packed_kernels", program_with_packed_kernels),
        Trial::test("ahead::same_bundle_anywhere", same_bundle_anywhere),
        Trial::test("ahead::kernels_for_several_extents", kernels_for_several_extents),
        Trial::test("ahead::launcher_reads_like_this", launcher_reads_like_this),
        Trial::test("ahead::pack_refuses", pack_refuses),
        Trial::test("ahead::snapshots", snapshots),
        Trial::test("ahead::composite_extents_are_checked", composite_extents_are_checked),
        Trial::test("ahead::alignment_where_it_is_used", alignment_where_it_is_used),
    ]
}

/// A spec whose tensors show one of its choices, and do not show the other; with a scalar.
const CHUNKS: &str = "\
// Sums of chunks.
cascade chunks
rank p, m = (c, i), i = 4 | 8
const T = f32 | f16
in X[p,m] : T
in scale : f32
out Y[p,c] : T = sum[i](X) * scale
";

const WRONG: &str = "cascade wrong\nrank p\nin X[p] : f32\nout Y[p] : f32 = Z\n";

fn spec(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Failed> {
    let file = folder.join(name);
    std::fs::write(&file, text)?;
    Ok(file)
}

fn example(name: &str) -> PathBuf {
    repo::root().join("dsl-examples").join(name)
}

/// The library as a build script uses it: files in the folder that is named and nowhere else, kept while nothing changes;
/// diagnostics as text without colours.
fn build_script() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let config = Config::new().choose("e", "64").choose("T", "f16").out_dir(&out);
    let full = example("full.ein");
    let written = config.try_compile(&[&full])?;
    assert_eq!(written, [out.join("full.rs")]);
    let names = files_below(folder.path())?;
    assert_eq!(names, [out.join("full.einpack"), out.join("full.rs")]);
    let times = || {
        names
            .iter()
            .map(|name| name.metadata()?.modified())
            .collect::<Result<Vec<_>, _>>()
    };
    let before = times()?;
    config.try_compile(&[&full])?;
    assert_eq!(before, times()?);

    let wrong = spec(folder.path(), "wrong.ein", WRONG)?;
    match config.try_compile(&[&wrong]) {
        Err(error @ BuildError::Spec { .. }) => {
            let text = error.to_string();
            for part in ["error[E0201]", "4 | out Y[p] : f32 = Z", "wrong.ein has errors"] {
                assert!(text.contains(part), "no {part} in:\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "colours in:\n{text}");
        }
        other => return Err(format!("a wrong spec gives {other:?}").into()),
    }
    let refused = |config: &Config, file: &Path, words: &str| match config.try_compile(&[file]) {
        Err(error) if error.to_string().contains(words) => Ok(()),
        other => Err(Failed::from(format!("no `{words}` in {other:?}"))),
    };
    let plain = Config::new().out_dir(&out);
    refused(&plain.clone().target("sm_12"), &full, "sm_12")?;
    refused(&plain.clone().align(3), &full, "alignment 3 is none of 16, 8, 4, 2")?;
    refused(&plain.clone().choose("e", "77"), &full, "there are: e=64, T=bf16")?;
    refused(&plain, &folder.path().join("missing.ein"), "missing.ein")?;
    assert!(matches!(
        plain.try_compile(&[&full, &full]),
        Err(BuildError::SameName(_))
    ));
    let texts = config.snapshots(&[&full])?;
    let names: Vec<&str> = texts.iter().map(|snapshot| snapshot.name.as_str()).collect();
    assert_eq!(names, ["full/full-e64-Tf16.plan.txt", "full/sm_80/full-e64-Tf16.ptx"]);
    Ok(())
}

/// Extents that kernels are made for give entries of their own, and only where the code differs.
fn kernels_for_several_extents() -> Outcome {
    let folder = tempfile::tempdir()?;
    let made_for = |other: u64| -> Result<Vec<String>, Failed> {
        let config = Config::new()
            .target("sm_90a")
            .choose("e", "64")
            .choose("T", "bf16")
            .made_for(&[("p", other), ("m", other)])
            .made_for(&[("p", 4096), ("m", 4096)])
            .out_dir(folder.path());
        config.try_compile(&[example("full.ein")])?;
        let bundle = einloom_artifact::Bundle::from_bytes(std::fs::read(folder.path().join("full.einpack"))?)?;
        Ok(bundle
            .entries()
            .iter()
            .map(|entry| format!("{:?}", entry.made_for))
            .collect())
    };
    assert_eq!(
        made_for(1024)?,
        [r#"{"M": 1024, "P": 1024}"#, r#"{"M": 4096, "P": 4096}"#]
    );
    assert_eq!(made_for(8192)?, ["{}"]);
    let config = Config::new().made_for(&[("e", 64)]).out_dir(folder.path());
    match config.try_compile(&[example("full.ein")]) {
        Err(error)
            if error
                .to_string()
                .ends_with("kernels are made for extents, and `e` is none") =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn ahead_of_time() -> PathBuf {
    repo::root().join("tests/ahead-of-time")
}

/// Where the programs are built: beside what this binary was built into, and kept from run to run.
fn target_dir() -> Result<PathBuf, Failed> {
    let this = std::env::current_exe()?;
    let profile = this.ancestors().nth(2).and_then(Path::parent);
    Ok(profile
        .ok_or("this binary lies in no target folder")?
        .join("ahead-of-time"))
}

fn cargo(args: &[&str]) -> Result<Said, Failed> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(args)
        .args(["--locked", "--offline"])
        .current_dir(ahead_of_time())
        .env("CARGO_TARGET_DIR", target_dir()?);
    let said = cli::run(&mut command);
    said.expect(0)?;
    Ok(said)
}

fn program_with_build_script() -> Outcome {
    let before = files_below(&ahead_of_time().join("compiled"))?;
    cargo(&["build", "--package", "compiled", "--features", "dynamic-llvm"])?;
    assert_eq!(
        before,
        files_below(&ahead_of_time().join("compiled"))?,
        "the build wrote outside of OUT_DIR"
    );
    let script: String = files_below(&target_dir()?.join("debug/build"))?
        .iter()
        .filter(|file| file.ends_with("output") && file.to_string_lossy().contains("build/compiled-"))
        .map(|file| repo::read(file))
        .collect();
    assert!(
        script.contains("cargo::rerun-if-changed=causal.ein\n"),
        "the build script said:\n{script}"
    );
    has_no_llvm("compiled", &["--edges", "normal"])?;
    runs("compiled")
}

fn program_with_packed_kernels() -> Outcome {
    let args = [
        "pack",
        "compiled/causal.ein",
        "--target",
        "sm_90a,sm_80",
        "-o",
        "packed/kernels",
    ];
    let said = einloom_in(&ahead_of_time(), args);
    let said = said.expect(0)?;
    assert!(
        said.stdout.contains("causal (e=64, T=bf16) for sm_90a\n"),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout.contains("packed/kernels/causal.einpack ("),
        "{}",
        said.stdout
    );
    cargo(&["build", "--package", "packed"])?;
    has_no_llvm("packed", &["--edges", "normal,build"])?;
    runs("packed")
}

/// Neither the crates of the program nor its file know LLVM.
fn has_no_llvm(package: &str, edges: &[&str]) -> Outcome {
    let mut args = vec!["tree", "--prefix", "none", "--format", "{p}", "--package", package];
    args.extend(edges);
    let tree = cargo(&args)?;
    assert!(
        tree.stdout.starts_with(package) && tree.stdout.contains("einloom-runtime"),
        "{}",
        tree.stdout
    );
    let foreign = ["llvm-sys", "inkwell", "einloom-nvptx", "einloom v"];
    let found = tree
        .stdout
        .lines()
        .filter(|line| foreign.iter().any(|name| line.starts_with(name)));
    none_of(found.map(|line| format!("{package} reaches {line}")).collect())?;
    let bytes = std::fs::read(target_dir()?.join("debug").join(package))?;
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    assert!(has(b"libcuda"), "the search in the program's file finds nothing");
    let words: [&[u8]; 3] = [b"libLLVM", b"LLVMInitialize", b"_ZN4llvm"];
    none_of(
        words
            .iter()
            .filter(|word| has(word))
            .map(|word| format!("{package} has {}", String::from_utf8_lossy(word)))
            .collect(),
    )
}

/// With a GPU the program passes. Without one it says so, and is satisfied only if told to be.
fn runs(package: &str) -> Outcome {
    let program = target_dir()?.join("debug").join(package);
    let said = cli::run(Command::new(&program).arg("--allow-no-gpu"));
    said.expect(0)?;
    if !said.stdout.starts_with("skipped: ") {
        let passed = said.stdout.lines().last() == Some("PASS");
        return none_of(if passed { Vec::new() } else { vec![said.stdout.clone()] });
    }
    let said = cli::run(&mut Command::new(&program));
    said.expect(1)?;
    assert!(said.stderr.starts_with("error: "), "{}", said.stderr);
    Ok(())
}

/// Neither ptxas nor the place changes a byte.
fn same_bundle_anywhere() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = spec(folder.path(), "chunks.ein", CHUNKS)?;
    let mut bundles = Vec::new();
    for name in ["first", "second"] {
        let mut command = cli::command();
        command
            .arg("pack")
            .arg(&file)
            .args(["--target", "sm_90a,sm_80", "-o", name]);
        command.current_dir(folder.path());
        if name == "second" {
            command
                .env("EINLOOM_PTXAS", "/nowhere/ptxas")
                .env("LANG", "tr_TR.UTF-8");
            command.env("CUDA_VISIBLE_DEVICES", "");
        }
        cli::run(&mut command).expect(0)?;
        let read = |extension: &str| std::fs::read(folder.path().join(name).join(format!("chunks.{extension}")));
        bundles.push((read("einpack")?, read("rs")?));
    }
    assert!(bundles[0] == bundles[1], "the bundles differ");
    Ok(())
}

fn launcher_reads_like_this() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = spec(folder.path(), "chunks.ein", CHUNKS)?;
    let mut command = cli::command();
    command.arg("pack").arg(&file).arg("-o").arg(folder.path());
    cli::run(&mut command).expect(0)?;
    let text = std::fs::read_to_string(folder.path().join("chunks.rs"))?;
    // The hash changes with each change of code generation.
    let stable = |line: &str| match line.trim_start().starts_with("const HASH") {
        true => "    const HASH: &str = \"..\";\n".to_owned(),
        false => format!("{line}\n"),
    };
    let text: String = text.lines().map(stable).collect();
    golden::check(&repo::root().join("tests/snapshots/launcher/chunks.rs.txt"), &text)
}

fn pack_refuses() -> Outcome {
    let folder = tempfile::tempdir()?;
    spec(folder.path(), "chunks.ein", CHUNKS)?;
    spec(folder.path(), "1st.ein", CHUNKS)?;
    spec(folder.path(), "library.ein", "def twice(x) = x + x\n")?;
    spec(folder.path(), "wrong.ein", WRONG)?;
    let cases: [(&[&str], &str); 7] = [
        (&["chunks.ein", "--align", "32"], "alignment 32 is none of 16, 8, 4, 2"),
        (&["chunks.ein", "--target", "sm_12"], "sm_12"),
        (
            &["chunks.ein", "--shape", "i=5"],
            "no specialisation has these choices; there are: i=4, T=f32",
        ),
        (&["1st.ein"], "names no module in Rust"),
        (&["library.ein"], "library of definitions"),
        (&["wrong.ein"], "error[E0201]"),
        (&["missing.ein"], "missing.ein"),
    ];
    for (args, words) in cases {
        let said = einloom_in(folder.path(), std::iter::once("pack").chain(args.iter().copied()));
        said.expect(1)?;
        if !said.stderr.contains(words) {
            return Err(format!("pack {args:?}: no `{words}` in:\n{}", said.stderr).into());
        }
    }
    Ok(())
}

/// Written, compared, and told apart: a change, a missing file, a file too many.
fn snapshots() -> Outcome {
    let folder = tempfile::tempdir()?;
    spec(folder.path(), "chunks.ein", CHUNKS)?;
    let run = |args: &[&str]| {
        einloom_in(
            folder.path(),
            ["snapshot", "chunks.ein", "-o", "pinned"].iter().chain(args),
        )
    };
    run(&["--check"]).expect(1)?;
    run(&[]).expect(0)?;
    let pinned = folder.path().join("pinned/chunks");
    let names: Vec<String> = files_below(&pinned)?
        .iter()
        .map(|file| file.strip_prefix(&pinned).unwrap_or(file).display().to_string())
        .collect();
    assert!(names.contains(&"chunks-i4-Tf32.plan.txt".to_owned()), "{names:?}");
    assert!(names.contains(&"sm_80/chunks-i8-Tf16.ptx".to_owned()), "{names:?}");
    assert_eq!(names.len(), 8, "{names:?}");
    let said = run(&["--check"]);
    assert_eq!(said.expect(0)?.stdout, "8 snapshots are up to date\n");

    let plan = pinned.join("chunks-i4-Tf32.plan.txt");
    let text = repo::read(&plan);
    std::fs::write(&plan, text.replacen("plan chunks", "plan chunkz", 1))?;
    std::fs::remove_file(pinned.join("sm_80/chunks-i8-Tf16.ptx"))?;
    std::fs::write(pinned.join("sm_80/chunks-i16-Tf16.ptx"), "")?;
    std::fs::write(pinned.join("sm_80/notes.md"), "mine\n")?;
    let said = run(&["--check"]);
    said.expect(1)?;
    for line in [
        "-plan chunkz",
        "+plan chunks",
        "missing: pinned/chunks/sm_80/chunks-i8-Tf16.ptx",
        "no longer generated: pinned/chunks/sm_80/chunks-i16-Tf16.ptx",
    ] {
        assert!(
            said.stdout.lines().any(|found| found == line),
            "no `{line}` in:\n{}",
            said.stdout
        );
    }
    assert!(
        said.stderr.starts_with("error: generated code differs"),
        "{}",
        said.stderr
    );
    run(&[]).expect(0)?;
    run(&["--check"]).expect(0)?;
    assert!(
        pinned.join("sm_80/notes.md").is_file(),
        "a file of the user's was removed"
    );
    Ok(())
}

/// Five heads are no two groups: an artifact alone, without the spec, refuses the call.
fn composite_extents_are_checked() -> Outcome {
    let loaded = Session::new().load(&example("causal.ein"))?;
    let cascade = loaded.cascades.first().ok_or("no specialisation")?;
    let compiled = pipeline::compile(cascade, "sm_80", 16)?;
    let manifest = compiled.artifact.manifest();
    let check = |heads: u64| {
        let shapes: [&[u64]; 5] = [
            &[1, heads, 4, 64],
            &[1, 2, 4, 64],
            &[1, 2, 4, 64],
            &[1, heads, 4, 64],
            &[1, heads, 4],
        ];
        let strides: [&[i64]; 5] = [
            &[2048, 256, 64, 1],
            &[512, 256, 64, 1],
            &[512, 256, 64, 1],
            &[2048, 256, 64, 1],
            &[32, 4, 1],
        ];
        let views: Vec<TensorView<'_>> = ["Q", "K", "V", "O", "LSE"]
            .iter()
            .enumerate()
            .map(|(i, name)| TensorView {
                name,
                dtype: manifest.tensors[i].dtype,
                shape: shapes[i],
                strides: strides[i],
                address: (i as u64 + 1) << 32,
                len_elements: 1 << 20,
            })
            .collect();
        let plan = contract::check(manifest, &views, &[]);
        assert_eq!(plan.is_ok(), Quick::check(manifest, &views, &[]).is_some());
        plan
    };
    check(4)?;
    match check(5) {
        Err(ContractError::ExtentRange {
            extent,
            value: 1,
            max: 0,
            ..
        }) if extent.starts_with("H - ") => Ok(()),
        other => Err(format!("five heads in two groups give {other:?}").into()),
    }
}

/// `LSE` is written one element a row: 129 queries make strides that are no multiples of 16 bytes, and the contract minds only those of rows that
/// are moved whole.
fn alignment_where_it_is_used() -> Outcome {
    let loaded = Session::new().load(&example("causal.ein"))?;
    let cascade = loaded.cascades.first().ok_or("no specialisation")?;
    for target in ["sm_80", "sm_90a"] {
        let compiled = pipeline::compile(cascade, target, 16)?;
        for tensor in &compiled.artifact.manifest().tensors {
            let (align, multiple) = if tensor.name == "LSE" { (4, 1) } else { (16, 8) };
            assert_eq!(tensor.align, align, "{target}: {}", tensor.name);
            let outer = &tensor.dims[..tensor.dims.len() - 1];
            assert!(
                outer.iter().all(|d| d.stride_multiple == multiple),
                "{target}: {tensor:?}"
            );
        }
    }
    Ok(())
}
