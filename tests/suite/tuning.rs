//! Messages of `tune` where it cannot measure.

use einloom_tests::Outcome;
use einloom_tests::cli::einloom;
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![Trial::test("tuning::no_gpu_is_an_error", no_gpu_is_an_error)]
}

const SPEC: &str = "dsl-examples/full.ein";
const CHOICES: &str = "e=64,T=bf16";

fn no_gpu_is_an_error() -> Outcome {
    let folder = tempfile::tempdir()?;
    let output = folder.path().display().to_string();
    let said = einloom([
        "tune",
        SPEC,
        "--device",
        "cuda:1000",
        "--shape",
        CHOICES,
        "--budget",
        "1s",
        "-o",
        &output,
    ]);
    said.expect(1)?;
    assert!(
        said.stderr.contains("NVIDIA driver") || said.stderr.contains("cuda:1000"),
        "{}",
        said.stderr
    );
    for (args, word) in [(["--device", "cpu"], "tune measures GPUs"), (["--shape", "z=1"], "`z`")] {
        let said = einloom(["tune", SPEC].iter().chain(&args));
        said.expect(1)?;
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    let said = einloom(["tune", SPEC, "--budget", "5 parsecs"]);
    said.expect(2)?;
    Ok(())
}
