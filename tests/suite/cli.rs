//! The command line on good and on bad input: exit status, a message in the user's terms, never a panic.

use std::path::Path;

use einloom_tests::cli::{self, einloom, einloom_in};
use einloom_tests::{Outcome, golden, repo};
use libtest_mimic::Trial;

/// The commands, each with its section in the manual.
const COMMANDS: [&str; 11] = [
    "check",
    "fmt",
    "explain",
    "compile",
    "pack",
    "snapshot",
    "run",
    "verify",
    "bench",
    "tune",
    "completions",
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        Trial::test("cli::version", version),
        Trial::test("cli::usage_error_exits_2", usage_error_exits_2),
        Trial::test("cli::completions", completions),
        Trial::test("cli::messages_as_json", messages_as_json),
        Trial::test("cli::unreadable_files", unreadable_files),
        Trial::test("cli::hostile_specs", hostile_specs),
        Trial::test("cli::empty_file_is_a_library", empty_file_is_a_library),
        Trial::test("cli::impossible_shapes", impossible_shapes),
        Trial::test("cli::broken_tensor_files", broken_tensor_files),
        Trial::test("cli::unknown_target", unknown_target),
        Trial::test("cli::specialisation_is_named", specialisation_is_named),
        Trial::test("cli::codes_are_explained", codes_are_explained),
        Trial::test("cli::layouts", layouts),
        Trial::test("cli::nothing_grows_without_bound", nothing_grows_without_bound),
        Trial::test("cli::promises", promises),
        Trial::test("cli::closed_and_full_streams", closed_and_full_streams),
        Trial::test("cli::missing_gpu_or_driver", missing_gpu_or_driver),
    ];
    for command in COMMANDS {
        tests.push(Trial::test(format!("cli::help::{command}"), move || help(command)));
    }
    for file in repo::files_with(&["ein"]) {
        let name = repo::relative(&file);
        if name.starts_with("tests/cases/errors/") {
            tests.push(Trial::test(
                format!("cli::errors::{}", name.trim_start_matches("tests/cases/errors/")),
                move || bad_spec(&file),
            ));
        }
    }
    tests
}

/// A spec with errors: status 1, the codes that its first lines announce (`//~ E0201`), and the messages of the golden file.
fn bad_spec(file: &Path) -> Outcome {
    let name = repo::relative(file);
    let said = einloom(["check", &name]);
    said.expect(1)?;
    let text = repo::read(file);
    let announced: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//~ ")).collect();
    assert!(!announced.is_empty(), "{name} announces no code");
    for code in announced {
        if !said.stderr.contains(&format!("[{code}]")) {
            return Err(format!("no {code} in:\n{}", said.stderr).into());
        }
    }
    golden::check(&file.with_extension("stderr"), &said.stderr)
}

/// Refused with status 1 and at least one line `error...` that has all of `words`.
fn refused(args: &[&str], words: &[&str]) -> Outcome {
    let said = einloom(args);
    said.expect(1)?;
    let has_all = |line: &str| words.iter().all(|word| line.contains(word));
    match said
        .stderr
        .lines()
        .any(|line| line.starts_with("error") && has_all(line))
    {
        true => Ok(()),
        false => Err(format!(
            "einloom {}: no error with {words:?} in:\n{}",
            args.join(" "),
            said.stderr
        )
        .into()),
    }
}

fn version() -> Outcome {
    let said = einloom(["--version"]);
    said.expect(0)?;
    assert_eq!(said.stdout, format!("einloom {}\n", env!("CARGO_PKG_VERSION")));
    Ok(())
}

fn usage_error_exits_2() -> Outcome {
    for args in [
        &["frobnicate"][..],
        &[],
        &["check"],
        &["check", "--frobnicate", "x.ein"],
        &["run", "x.ein", "--device", "tpu"],
    ] {
        let said = einloom(args);
        said.expect(2)?;
        assert!(
            said.stderr.contains("Usage: einloom") || said.stderr.contains("try '--help'"),
            "{args:?}: {}",
            said.stderr
        );
    }
    Ok(())
}

/// The help of a command is part of the manual.
fn help(command: &str) -> Outcome {
    let said = einloom([command, "--help"]);
    let said = said.expect(0)?;
    golden::check(
        &repo::root()
            .join("tests/snapshots/help")
            .join(command)
            .with_extension("txt"),
        &said.stdout,
    )
}

fn completions() -> Outcome {
    for shell in ["bash", "fish", "zsh", "elvish", "powershell"] {
        let said = einloom(["completions", shell]);
        said.expect(0)?;
        assert!(said.stdout.contains("verify"), "{shell}: {}", said.stdout);
    }
    Ok(())
}

fn messages_as_json() -> Outcome {
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join("a.ein"),
        "cascade a\nrank p\nin X[p] : f32\nout Y[p] : f32 = Z\n",
    )?;
    let said = einloom_in(folder.path(), ["--message-format", "json", "check", "a.ein"]);
    said.expect(1)?;
    for line in said.stderr.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        assert_eq!(message["code"], "E0201", "{line}");
        assert_eq!(message["severity"], "error", "{line}");
    }
    assert!(!said.stderr.is_empty());
    Ok(())
}

fn unreadable_files() -> Outcome {
    refused(&["check", "no-such-file.ein"], &["no-such-file.ein"])?;
    refused(&["check", "dsl-examples"], &["dsl-examples"])?;
    refused(&["run", "no-such-file.ein"], &["no-such-file.ein"])?;
    refused(
        &["run", "dsl-examples/full.ein", "--input", "no-such-file.safetensors"],
        &["no-such-file.safetensors"],
    )
}

/// Files that no person writes: each is refused in bounded time.
fn hostile_specs() -> Outcome {
    let folder = tempfile::tempdir()?;
    let head = "cascade a\nrank p\nin X[p] : f32\nout Y[p] : f32 = ";
    let cases: [(&str, Vec<u8>); 9] = [
        ("nul", [head.as_bytes(), b"X\0\n"].concat()),
        ("not-utf8", [head.as_bytes(), &[b'X', 0xff, 0xfe, b'\n']].concat()),
        ("binary", (0..=255).cycle().take(5000).collect()),
        (
            "nested",
            format!("{head}{}X{}\n", "(".repeat(100_000), ")".repeat(100_000)).into_bytes(),
        ),
        (
            "nested-calls",
            format!("{head}{}X{}\n", "exp(".repeat(50_000), ")".repeat(50_000)).into_bytes(),
        ),
        (
            "megabytes",
            format!("{head}X\n{}", "// nothing\n".repeat(500_000)).into_bytes(),
        ),
        (
            "zero-extent",
            b"cascade a\nrank p, e = 0\nin X[p,e] : f32\nout Y[p] : f32 = sum[e](X)\n".to_vec(),
        ),
        (
            "negative-extent",
            b"cascade a\nrank p, e = 3 - 5\nin X[p,e] : f32\nout Y[p] : f32 = sum[e](X)\n".to_vec(),
        ),
        (
            "huge-extent",
            b"cascade a\nrank p, e = 99999999999999999999\nin X[p,e] : f32\nout Y[p] : f32 = sum[e](X)\n".to_vec(),
        ),
    ];
    for (name, bytes) in cases {
        let file = format!("{name}.ein");
        std::fs::write(folder.path().join(&file), bytes)?;
        let said = einloom_in(folder.path(), ["check", &file]);
        said.expect(1)
            .map_err(|failed| format!("{name}: {}", failed.message().unwrap_or_default()))?;
        assert!(said.stderr.contains("error"), "{name}: {}", said.stderr);
        assert!(said.stderr.contains(&file), "{name}: {}", said.stderr);
        assert!(
            said.stderr.len() < 100_000,
            "{name}: {} bytes of messages",
            said.stderr.len()
        );
    }
    Ok(())
}

/// A file without a cascade is a library: it checks, and there is nothing to run.
fn empty_file_is_a_library() -> Outcome {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("empty.ein"), "")?;
    einloom_in(folder.path(), ["check", "empty.ein"]).expect(0)?;
    for command in ["run", "verify", "compile", "explain"] {
        let said = einloom_in(folder.path(), [command, "empty.ein"]);
        said.expect(1)
            .map_err(|failed| format!("{command}: {}", failed.message().unwrap_or_default()))?;
        assert!(said.stderr.contains("error"), "{command}: {}", said.stderr);
    }
    Ok(())
}

fn impossible_shapes() -> Outcome {
    let spec = "dsl-examples/full.ein";
    refused(&["run", spec, "--shape", "p"], &["p"])?;
    refused(&["run", spec, "--shape", "p=many"], &["many"])?;
    refused(&["run", spec, "--shape", "p=-1"], &["-1"])?;
    refused(
        &["run", spec, "--shape", "p=99999999999999999999999"],
        &["99999999999999999999999"],
    )?;
    refused(&["run", spec, "--shape", "p=1000000000,m=1000000000"], &[])?;
    refused(&["run", spec, "--shape", "zebra=3"], &["zebra"])?;
    refused(&["run", spec, "--shape", "p=3,p=4"], &["`p` is given twice"])?;
    refused(
        &["compile", spec, "--shape", "e=64", "--shape", "e=128"],
        &["`e` is given twice"],
    )?;
    refused(&["run", spec, "--shape", "e=77"], &[])?;
    for shape in ["p=3,zebra=5", "zebra=5"] {
        let said = einloom(["verify", spec, "--shape", shape]);
        said.expect(1)?;
        if !said.stdout.contains("zebra") {
            return Err(format!("verify --shape {shape} does not name the rank:\n{}", said.stdout).into());
        }
    }
    Ok(())
}

/// A safetensors file: length of the header, the header, the data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn broken_tensor_files() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("in.safetensors");
    let tensor = |dtype: &str, shape: &str, bytes: usize| {
        format!(r#"{{"X":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#)
    };
    let good = safetensors(&tensor("F32", "[3,4]", 48), &[0; 48]);
    let spec = folder.path().join("row-sum.ein");
    std::fs::write(
        &spec,
        "cascade row_sum\nrank p, m\nin X[p,m] : f32\nout Y[p] : f32 = sum[m](X)\n",
    )?;
    let cases: [(&str, Vec<u8>); 8] = [
        ("empty", Vec::new()),
        ("truncated header", good[..20].to_vec()),
        ("truncated data", good[..good.len() - 5].to_vec()),
        (
            "header of 2^60 bytes",
            [&(1_u64 << 60).to_le_bytes()[..], b"{}"].concat(),
        ),
        ("no JSON", safetensors("certainly not", &[0; 48])),
        ("wrong rank", safetensors(&tensor("F32", "[12]", 48), &[0; 48])),
        ("wrong type", safetensors(&tensor("F64", "[3,2]", 48), &[0; 48])),
        (
            "overflowing shape",
            safetensors(&tensor("F32", "[4294967296,4294967296]", 48), &[0; 48]),
        ),
    ];
    let args = |file: &Path| {
        [
            "run".to_owned(),
            spec.display().to_string(),
            "--input".to_owned(),
            file.display().to_string(),
        ]
    };
    for (name, bytes) in cases {
        std::fs::write(&file, bytes)?;
        let said = einloom(args(&file));
        said.expect(1)
            .map_err(|failed| format!("{name}: {}", failed.message().unwrap_or_default()))?;
        assert!(said.stderr.starts_with("error"), "{name}: {}", said.stderr);
    }
    std::fs::write(&file, good)?;
    einloom(args(&file)).expect(0)?;
    Ok(())
}

fn unknown_target() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().display().to_string();
    refused(
        &["compile", "dsl-examples/full.ein", "--target", "sm_12", "-o", &out],
        &["sm_12"],
    )?;
    refused(&["compile", "dsl-examples/full.ein", "--target", "", "-o", &out], &[])
}

/// A device that is not there is said to be missing. Machines with that many GPUs do not exist.
fn missing_gpu_or_driver() -> Outcome {
    refused(&["run", "dsl-examples/full.ein", "--device", "cuda:1000"], &[])
}

/// A command that takes one specialisation of several says which, and names the others.
fn specialisation_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let spec =
        "cascade s\nrank p, m, e = 16 | 32\nconst T = f32 | f16\nin  X[p,m,e] : T\nout Y[p,e] : f32 = sum[m](X)\n";
    std::fs::write(folder.path().join("s.ein"), spec)?;
    for command in ["run", "explain"] {
        let said = einloom_in(folder.path(), [command, "s.ein", "--shape", "T=f16"]);
        said.expect(0)?;
        let note = "note: specialisation e=16, T=f16 of 2 is taken; --shape names another: e=32, T=f16\n";
        assert!(said.stderr.contains(note), "{command}: {}", said.stderr);
        let said = einloom_in(folder.path(), [command, "s.ein", "--shape", "T=f16,e=32"]);
        assert!(!said.expect(0)?.stderr.contains("note"), "{command}: {}", said.stderr);
    }
    Ok(())
}

fn codes_are_explained() -> Outcome {
    let said = einloom(["explain", "E0301"]);
    assert_eq!(said.expect(0)?.stdout, einloom_syntax::Code::E0301.explain());
    Ok(())
}

/// Every layout of memory that the interpreter holds, and the refusal of the one that it does not.
fn layouts() -> Outcome {
    let spec = "dsl-examples/causal.ein";
    let shape = "b=2,p=70,m=130,h=4,g=2,e=64,T=bf16";
    let said = einloom([
        "verify",
        spec,
        "--shape",
        shape,
        "--layout",
        "dense,padded,permuted,unaligned",
    ]);
    assert!(
        said.expect(0)?.stdout.ends_with("4 passed, 0 failed\n"),
        "{}",
        said.stdout
    );
    let said = einloom(["verify", spec, "--shape", shape, "--layout", "huge"]);
    assert!(said.expect(1)?.stdout.contains("needs a GPU"), "{}", said.stdout);
    Ok(())
}

/// Random inputs keep a promise of a known form; one that they break is named.
fn promises() -> Outcome {
    let folder = tempfile::tempdir()?;
    let spec = |promise: &str| {
        format!("cascade s\nrank p, m\nin  X[p,m], g[m] : f32\nassume {promise}\nout Y[p] : f32 = sum[m](X * log(g))\n")
    };
    std::fs::write(folder.path().join("kept.ein"), spec("g > 0.5 and M mod 3 == 0"))?;
    let said = einloom_in(folder.path(), ["verify", "kept.ein"]);
    assert!(
        said.expect(0)?.stdout.ends_with(" passed, 0 failed\n"),
        "{}",
        said.stdout
    );
    std::fs::write(folder.path().join("broken.ein"), spec("g * X > 0"))?;
    let said = einloom_in(folder.path(), ["verify", "broken.ein"]);
    let named = "break the promise `assume 0.0 < g[m] * X[p,m]`";
    assert!(said.expect(1)?.stdout.contains(named), "{}", said.stdout);
    std::fs::write(folder.path().join("never.ein"), spec("M mod 4 == 7"))?;
    let said = einloom_in(folder.path(), ["verify", "never.ein"]);
    assert!(
        said.expect(1)?.stdout.contains("give one with --shape"),
        "{}",
        said.stdout
    );
    Ok(())
}

/// A reader that has gone ends the process quietly, a full disk with a message; neither is a panic.
fn closed_and_full_streams() -> Outcome {
    let spec = "dsl-examples/lse.ein";
    let shape = "b=1,h=1,p=2,m=3,e=64";
    let commands: [&[&str]; 6] = [
        &["check", spec],
        &["explain", spec],
        &["explain", "E0301"],
        &["completions", "bash"],
        &["run", spec, "--shape", shape],
        &["verify", spec, "--shape", shape],
    ];
    for args in commands {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let full = std::fs::File::options().write(true).open("/dev/full")?;
        let targets: [(std::process::Stdio, &str); 2] =
            [(writer.into(), ""), (full.into(), "error: standard output: ")];
        for (stdout, said) in targets {
            let mut command = cli::command();
            let child = command
                .args(args)
                .current_dir(repo::root())
                .stdout(stdout)
                .stderr(std::process::Stdio::piped());
            let output = child.spawn()?.wait_with_output()?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.code() != Some(1) || !stderr.contains(said) || stderr.contains("panicked at") {
                return Err(format!("einloom {}: {:?}\n{stderr}", args.join(" "), output.status).into());
            }
        }
    }
    Ok(())
}

/// Outputs, scalars and files that would take all memory are refused before it is asked for.
fn nothing_grows_without_bound() -> Outcome {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    write(
        "outer.ein",
        "cascade outer\nrank p, m\nin  X[p], Z[m] : f32\nin  n : i32\nout Y[p,m] : f32 = X * Z + n\n",
    )?;
    write(
        "import.ein",
        "import \"/dev/zero\"\ncascade a\nrank p\nin  X[p] : f32\nout Y[p] : f32 = X\n",
    )?;
    let cases: [(&[&str], &str); 8] = [
        (
            &["run", "outer.ein", "--shape", "p=1000000,m=1000000"],
            "4000008000000 bytes",
        ),
        (
            &["run", "outer.ein", "--shape", "p=30000,m=30000"],
            "the interpreter holds",
        ),
        (
            &["run", "outer.ein", "--shape", "n=99999999999"],
            "`n` = `99999999999` is no value of type i32",
        ),
        (
            &["run", "outer.ein", "--shape", "n=2.5"],
            "`n` = `2.5` is no value of type i32",
        ),
        (&["check", "/dev/zero"], "E0106"),
        (&["check", "import.ein"], "E0106"),
        (&["run", "outer.ein", "--input", "/dev/zero"], "not a regular file"),
        (&["explain", "E9999"], "no message has the code `E9999`"),
    ];
    for (args, words) in cases {
        let said = einloom_in(folder.path(), args);
        said.expect(1)?;
        if !said.stderr.contains(words) {
            return Err(format!("einloom {}: no `{words}` in:\n{}", args.join(" "), said.stderr).into());
        }
    }
    let said = einloom_in(folder.path(), ["run", "outer.ein", "--shape", "p=0,m=3"]);
    assert!(!said.expect(0)?.stdout.contains("NaN"), "{}", said.stdout);
    Ok(())
}
