//! Helpers of the tests: text to cascade, deterministic arguments.
#![allow(dead_code, reason = "each test file uses its own part")]

use einloom_cascade::ir::Cascade;
use einloom_cascade::{Choices, Evaluator, Inputs, Scalar, Tensor, lower, specialisations};
use einloom_syntax::{PRELUDE, SourceMap, Style, parse, render};

/// Lowers every specialisation of a text; all messages of the first.
pub(crate) fn lower_text(text: &str) -> (Vec<Cascade>, String) {
    let mut sources = SourceMap::new();
    let prelude_id = sources.add("prelude.ein", PRELUDE);
    let main_id = sources.add("test.ein", text);
    let (prelude, problems) = parse(prelude_id, PRELUDE);
    assert!(problems.is_empty(), "the prelude should parse");
    let (main, mut diagnostics) = parse(main_id, text);
    let (choices, more) = specialisations(&main);
    diagnostics.extend(more);
    let mut cascades = Vec::new();
    for (at, choice) in choices.iter().enumerate() {
        let (cascade, found) = lower(&[&prelude, &main], choice);
        if at == 0 {
            diagnostics.extend(found);
        }
        cascades.extend(cascade);
    }
    (cascades, render(&diagnostics, &sources, Style::Plain))
}

/// The first specialisation of a text without errors.
#[track_caller]
pub(crate) fn cascade(text: &str) -> Cascade {
    let (cascades, messages) = lower_text(text);
    match cascades.into_iter().next() {
        Some(cascade) => cascade,
        None => panic!("the text should lower:\n{messages}"),
    }
}

/// Deterministic values in (-1, 1).
pub(crate) fn noise(shape: &[usize], seed: u64) -> Tensor {
    let points: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..points)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            f64::from((state >> 40) as u32) / f64::from(1u32 << 23) - 1.0
        })
        .collect();
    Tensor::reals(shape, values)
}

/// All outputs before rounding, as f64.
#[track_caller]
pub(crate) fn outputs(cascade: &Cascade, tensors: Vec<Tensor>, scalars: Vec<Scalar>) -> Vec<Vec<f64>> {
    let inputs = Inputs::new(tensors, scalars);
    let mut evaluator = match Evaluator::new(cascade, &inputs) {
        Ok(evaluator) => evaluator,
        Err(error) => panic!("the arguments should fit: {error}"),
    };
    evaluator.check_assumes().expect("the promises should hold");
    (0..cascade.outputs.len())
        .map(|at| match evaluator.output(at) {
            Ok(tensor) => tensor.to_f64(),
            Err(error) => panic!("output {at}: {error}"),
        })
        .collect()
}

/// Equal up to a tolerance, NaN to NaN and infinity to infinity.
#[track_caller]
pub(crate) fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "number of elements");
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        let same = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= tolerance * y.abs().max(1.0);
        assert!(same, "element {at}: {x} instead of {y}");
    }
}

/// Row-major offset.
pub(crate) fn at(shape: &[usize], index: &[usize]) -> usize {
    shape
        .iter()
        .zip(index)
        .fold(0, |flat, (extent, index)| flat * extent + index)
}

/// Choices are part of the public surface.
pub(crate) fn no_choice() -> Choices {
    Choices::default()
}
