//! Random specs on their whole road: checked, planned, verified on the CPU, compiled for both targets, assembled.
//!
//! What is refused by name is counted by reason; the share that runs is asserted. A panic, a wrong result, a refusal by one
//! target alone without a reason, or PTX that the assembler rejects is a failure, with the spec's text in it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use einloom::case::{Case, CaseError, DeviceArg, Runner};
use einloom::data::layout::Layout;
use einloom::data::shapes::{Given, default_cases};
use einloom::pipeline::{self, CompileError};
use einloom::session::Session;
use einloom_cascade::ir::Cascade;
use einloom_tests::{Outcome, none_of, ptxas, random, skip};
use einloom_tile::lower::LowerError;
use libtest_mimic::{Failed, Trial};

const TARGETS: [&str; 2] = ["sm_80", "sm_90a"];

/// Seeds of the suite.
const SEEDS: std::ops::Range<u64> = 0..48;

/// Least share of the specs that must run, in percent: less than what was measured over 400 seeds.
const SHARE: usize = 75;

/// Which of the default shapes are taken: a tile that is cut, one key, no key.
const SHAPES: [usize; 3] = [8, 3, 6];

/// One spec in so many is assembled.
const ASSEMBLED: u64 = 4;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("random::same_text", same_text),
        Trial::test("random::cascades", cascades),
    ]
}

fn same_text() -> Outcome {
    for seed in SEEDS {
        assert_eq!(random::spec(seed), random::spec(seed), "seed {seed}");
    }
    let mut all: Vec<String> = SEEDS.map(random::spec).collect();
    all.sort();
    all.dedup();
    assert!(all.len() * 10 > SEEDS.count() * 9, "{} different specs", all.len());
    Ok(())
}

/// What became of a spec.
enum Fate {
    Ran,
    Refused(String),
}

fn cascades() -> Outcome {
    let assembler = ptxas::find();
    if let Err(reason) = &assembler {
        skip("assembling random specs", reason)?;
    }
    let mut ran = 0;
    let mut refused: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for seed in SEEDS {
        let text = random::spec(seed);
        let assembler = assembler.as_deref().ok().filter(|_| seed % ASSEMBLED == 0);
        match catch_unwind(AssertUnwindSafe(|| road(&text, assembler))) {
            Ok(Ok(Fate::Ran)) => ran += 1,
            Ok(Ok(Fate::Refused(reason))) => refused.entry(reason).or_default().push(seed),
            Ok(Err(failed)) => wrong.push(format!("seed {seed}: {}\n{text}", failed.message().unwrap_or_default())),
            Err(_) => wrong.push(format!("seed {seed}: panic\n{text}")),
        }
    }
    eprintln!("random cascades: {ran} of {} ran; refused: {refused:?}", SEEDS.count());
    assert!(ran * 100 >= SEEDS.count() * SHARE, "{ran} ran; refused: {refused:#?}");
    none_of(wrong)
}

fn road(text: &str, assembler: Option<&std::path::Path>) -> Result<Fate, Failed> {
    let loaded = Session::new().load_bytes("random.ein", text.as_bytes(), None);
    let errors: Vec<String> = (loaded.diagnostics.iter())
        .filter(|diagnostic| diagnostic.code.to_string().starts_with('E'))
        .map(|diagnostic| diagnostic.message.clone())
        .collect();
    if !errors.is_empty() || loaded.cascades.is_empty() {
        return Err(format!("not valid: {errors:?}").into());
    }
    for cascade in &loaded.cascades {
        if let Some(reason) = verified(cascade)? {
            return Ok(Fate::Refused(reason));
        }
        for target in TARGETS {
            let compiled = match pipeline::compile(cascade, target, 16) {
                Ok(compiled) => compiled,
                Err(error) => return refusal(&error).map(Fate::Refused),
            };
            let again = pipeline::compile(cascade, target, 16)?;
            if compiled.emission.ptx != again.emission.ptx {
                return Err(format!("{target}: compiled twice to different PTX").into());
            }
            if let Some(assembler) = assembler {
                assembled(assembler, &compiled.emission.ptx, target)?;
            }
        }
    }
    Ok(Fate::Ran)
}

/// Compares a few small shapes with the exact evaluator; a reason where the spec is refused.
fn verified(cascade: &Cascade) -> Result<Option<String>, Failed> {
    let plan = match pipeline::plan(cascade) {
        Ok(plan) => plan,
        Err(error) => return refusal(&error).map(Some),
    };
    let runner = Runner::new(DeviceArg::Cpu)?;
    let (long, streamed) = (pipeline::long_symbols(&plan), pipeline::streamed_ranks(&plan));
    let cases = default_cases(cascade, &long, streamed, 1);
    if cases.is_empty() {
        return Err("no shape was found".into());
    }
    for symbols in SHAPES.iter().filter_map(|shape| cases.get(*shape)) {
        let case = Case::from_symbols(cascade, &Given::new(), symbols, 0)?;
        let outputs = match runner.run(&plan, None, &case, Layout::Dense) {
            Ok(outputs) => outputs,
            Err(CaseError::Compile(error)) => return refusal(&error).map(Some),
            Err(error) => return Err(error.into()),
        };
        let references = einloom::verify::references(cascade, &case.inputs, 0)?;
        for ((output, reference), info) in outputs.iter().zip(&references).zip(&cascade.outputs) {
            let accuracy = reference.compare(output);
            if !accuracy.holds() {
                let name = &cascade.defs[info.def.index()].name;
                return Err(format!("{symbols:?}: {name} is wrong: {accuracy:?}").into());
            }
        }
    }
    Ok(None)
}

/// The reason of a refusal by name; an error if it is a defect.
fn refusal(error: &CompileError) -> Result<String, Failed> {
    match error {
        CompileError::Tile { error, .. } => match error {
            LowerError::Unsupported { what, .. } => Ok(what.clone()),
            LowerError::Limit { limit, .. } => Ok(limit.clone()),
            LowerError::Schedule(text) => Ok(text.clone()),
            LowerError::Bug(text) => Err(text.clone().into()),
        },
        CompileError::Plan(errors) => Ok(errors.first().map(|e| e.message.clone()).unwrap_or_default()),
        other => Err(other.to_string().into()),
    }
}

/// Errors and serialised instructions are failures. Spills are not: default schedules of rare forms have some, which makes them slower.
fn assembled(assembler: &std::path::Path, ptx: &str, target: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("random.ptx");
    std::fs::write(&file, ptx)?;
    match ptxas::assemble(assembler, &file, target, None) {
        Ok(_) => Ok(()),
        Err(said) if said.contains("spill") => Ok(()),
        Err(said) => Err(format!("{target}: {said}").into()),
    }
}
