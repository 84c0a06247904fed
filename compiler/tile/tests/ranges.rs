//! Sweeps over several live ranges: sink tokens and windows, uniform and specialised, against the evaluator.
//!
//! A point that is visited twice, or not at all, changes the sums by far more than rounding.

mod common;

use common::specs::planned;
use common::{compare_with, expected, inputs};
use einloom_cascade::{Inputs, Scalar};
use einloom_plan::ir::FusedPlan;
use einloom_tile::lower::{LowerError, lower_unchecked};
use einloom_tile::lowered::LoweredKernel;
use einloom_tile::print::print;
use einloom_tile::schedule::{Schedule, ShapeClass, Specialised};
use einloom_tile::verify::verify;

fn uniform(stages: u32) -> Schedule {
    common::schedule(16, 16, 1, stages)
}

fn specialised(stages: u32, overlap: bool, persistent: bool, first_reference: bool) -> Schedule {
    Schedule {
        specialised: Some(Specialised {
            overlap,
            persistent,
            first_reference,
            ahead: persistent,
            ..Specialised::default()
        }),
        ..common::schedule(64, 16, 4, stages)
    }
}

/// Every form of a plan that there is, with its schedule.
fn forms(plan: &FusedPlan) -> Vec<(Schedule, Vec<LoweredKernel>)> {
    let shape = ShapeClass::aligned(plan, 16);
    let mut forms = Vec::new();
    for schedule in [
        uniform(1),
        uniform(3),
        specialised(2, false, true, false),
        specialised(3, true, false, false),
        specialised(2, true, true, true),
    ] {
        let kernels: Result<Vec<_>, _> = (0..plan.kernels.len())
            .map(|k| lower_unchecked(plan, k, &schedule, &shape))
            .collect();
        let kernels = match kernels {
            Ok(kernels) => kernels,
            Err(LowerError::Schedule(_)) if schedule.specialised.is_some() => continue,
            Err(error) => panic!("{}: {error}", plan.cascade.name),
        };
        for kernel in &kernels {
            verify(&kernel.program).unwrap_or_else(|e| panic!("{e}\n{}", print(&kernel.program)));
        }
        forms.push((schedule, kernels));
    }
    forms
}

/// Compares all forms with the evaluator.
fn all_agree(plan: &FusedPlan, inputs: &Inputs, forms: &[(Schedule, Vec<LoweredKernel>)]) {
    let wanted = expected(plan, inputs);
    for (schedule, kernels) in forms {
        compare_with(plan, inputs, schedule, kernels, &wanted);
    }
}

/// Runs all forms for windows and sinks that are empty, touch, overlap, or are longer than the stream.
fn run(text: &str, wanted_forms: usize) {
    let plan = planned(text);
    let forms = forms(&plan);
    assert_eq!(forms.len(), wanted_forms, "{text}");
    let windows = [(0, 0), (0, 5), (7, 4), (40, 33), (20, 500), (33, 64), (-3, -9)];
    for (&(w, sinks), (p, m)) in windows.iter().zip([(70, 79), (66, 40), (1, 40)].into_iter().cycle()) {
        let symbols: Vec<i64> = (plan.cascade.symbols.iter())
            .map(|s| match s.name.as_str() {
                "P" => p,
                "M" => m,
                _ => 1,
            })
            .collect();
        let scalars: Vec<Scalar> = (plan.cascade.scalars.iter())
            .map(|s| Scalar::Int(if s.name == "W" { w } else { sinks }))
            .collect();
        let inputs = inputs(&plan, &symbols, &scalars, &|_| 2, (p + 7 * w + sinks) as u64);
        all_agree(&plan, &inputs, &forms);
    }
}

/// A spec with condition `cond`; `result` reads the scores `S`.
fn spec(cond: &str, result: &str) -> String {
    format!(
        "cascade ranges\nrank b, h, p, m, e = 16, f = E\nin  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : bf16\n\
         in  W, sinks : i32\nS[b,h,p,m] = Q * K where {cond} and W < 1000 and sinks < 1000\n{result}\n"
    )
}

/// Outputs of 4 bytes ask for dots that specialised programs do not have.
const EXACT: &str = "out O[b,h,p,f] : f32 = sigmoid(S) * V";
const SIGMOID: &str = "out O[b,h,p,f] : bf16 = sigmoid(S) * V";
const SOFTMAX: &str = "out O[b,h,p,f] : bf16 = softmax[m](S) * V";

macro_rules! conditions {
    ($($name:ident $cond:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            run(&spec($cond, EXACT), 2);
            run(&spec($cond, SIGMOID), 5);
            run(&spec($cond, SOFTMAX), 5);
        }
    )*};
}

conditions! {
    window_and_sinks "m <= p and (m < sinks or p - m < W)",
    window_and_sinks_of_all_rows "(m < sinks or 0 <= p - m < W)",
    outside_a_window "abs(m - p) > W",
    two_halves "(m < sinks or W <= m)",
    constant_ranges "(m < 5 or 20 <= m < 37)",
    constant_ranges_in_the_other_order "(24 <= m < 37 or m < 7)",
}

/// Bounds that are as large or as small as scalars can be wrap around nowhere.
#[test]
fn bounds_as_large_as_ints() {
    let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
    for (dtype, cond) in [
        ("i32", "abs(p - m) <= W"),
        ("i32", "0 <= p - m < W"),
        ("i32", "p + W <= m"),
        ("i32", "(m < sinks - 1 or W <= m)"),
        ("i64", "m - p < max(W, 3) and sinks <= m + 9"),
        ("i32", "abs(p - m) <= near[h] and m < W"),
        ("i64", "m <= near[h] - P + p and m < sinks"),
        ("i32", "m <= p + far[p] and W <= m + 2"),
    ] {
        let text = format!(
            "cascade ranges\nrank h, p, m, e = 16, f = E\nin  Q[h,p,e], K[h,m,e], V[h,m,f] : bf16\nin  W, sinks : {dtype}\n\
             in  near[h], far[p] : {dtype}\nS[h,p,m] = Q * K where {cond}\nout O[h,p,f] : bf16 = sigmoid(S) * V\n"
        );
        let plan = planned(&text);
        let forms = forms(&plan);
        let far = if dtype == "i64" { 1 << 40 } else { 0 };
        for (w, sinks) in [
            (least - far, most + far),
            (most + far, least - far),
            (most - 1, 3),
            (least + 1, 0),
        ] {
            let scalar = |name: &str| Scalar::Int(if name == "W" { w } else { sinks });
            let scalars: Vec<Scalar> = plan.cascade.scalars.iter().map(|s| scalar(&s.name)).collect();
            let extent = |name: &str| {
                [("P", 70), ("M", 40), ("H", 1)]
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map_or(16, |(_, n)| *n)
            };
            let extents: Vec<i64> = plan.cascade.symbols.iter().map(|s| extent(&s.name)).collect();
            let mut inputs = inputs(&plan, &extents, &scalars, &|_| 2, 5);
            for (tensor, input) in inputs.tensors.iter_mut().zip(&plan.cascade.inputs) {
                if ["near", "far"].contains(&input.name.as_str()) {
                    *tensor = einloom_cascade::Tensor::ints(&tensor.shape, vec![w; tensor.shape[0]]);
                }
            }
            all_agree(&plan, &inputs, &forms);
        }
    }
}

/// Makes the rows `from..to` of keys' values no numbers: whoever visits a tile of them spoils its sums, masked or not.
fn spoil(plan: &FusedPlan, inputs: &mut Inputs, from: usize, to: usize) {
    for (tensor, input) in inputs.tensors.iter_mut().zip(&plan.cascade.inputs) {
        if input.name != "V" {
            continue;
        }
        let [keys, row] = [tensor.shape[2], tensor.shape[3]];
        let spoilt = |(at, x): (usize, &f64)| {
            if (from..to).contains(&(at / row % keys)) {
                f64::NAN
            } else {
                *x
            }
        };
        let values: Vec<f64> = tensor.to_f64().iter().enumerate().map(spoilt).collect();
        *tensor = einloom_cascade::Tensor::reals(&tensor.shape, values).rounded(input.dtype);
    }
}

/// Packed documents: `cond` beside `promises`, over tables of documents of several lengths.
fn documents(promises: &str, cond: &str, searched: bool) {
    for (dtype, wanted_forms) in [("f32", 2), ("bf16", 5)] {
        documents_of(dtype, wanted_forms, promises, cond, searched);
    }
}

fn documents_of(dtype: &str, wanted_forms: usize, promises: &str, cond: &str, searched: bool) {
    let text = format!(
        "cascade documents\nrank b, h, p, m = P, e = 16, f = E\nin  Q[b,h,p,e], K[b,h,p,e], V[b,h,p,f] : bf16\n\
         in  doc[b,p] : i32\n{promises}\nS[b,h,p,m] = Q * K[b,h,m,e] where {cond}\n\
         out O[b,h,p,f] : {dtype} = sum[m](sigmoid(S) * V[b,h,m,f])\n"
    );
    let plan = planned(&text);
    let forms = forms(&plan);
    assert_eq!(forms.len(), wanted_forms);
    for (_, kernels) in &forms {
        assert_eq!(print(&kernels[0].program).contains("// search"), searched);
    }
    // lengths of documents, the last one repeated
    for lengths in [vec![1000], vec![3, 40, 1, 1, 20, 13], vec![16, 16, 32]] {
        for tokens in [1, 70] {
            let mut inputs = inputs(&plan, &[2, 1, tokens], &[], &|_| 1, tokens as u64);
            let ids = ids(&lengths, tokens as usize);
            // the second batch entry begins inside of a document, with a negative number
            let shifted = ids.iter().skip(5).chain([ids.last().expect("an id"); 5]).map(|x| x - 3);
            let both: Vec<i64> = ids.iter().copied().chain(shifted.take(tokens as usize)).collect();
            inputs.tensors[3] = einloom_cascade::Tensor::ints(&[2, tokens as usize], both);
            all_agree(&plan, &inputs, &forms);
        }
    }
    if searched && cond.contains("m <= p") {
        // Rows of the second document visit no tile of the first.
        let mut inputs = inputs(&plan, &[1, 1, 128], &[], &|_| 1, 3);
        inputs.tensors[3] = einloom_cascade::Tensor::ints(&[1, 128], ids(&[64, 100], 128));
        spoil(&plan, &mut inputs, 0, 64);
        all_agree(&plan, &inputs, &forms);
    }
}

/// Numbers of the documents of `tokens` tokens, rising by steps of 1 and 3.
fn ids(lengths: &[usize], tokens: usize) -> Vec<i64> {
    let last = *lengths.last().expect("a length");
    let all = lengths.iter().copied().chain(std::iter::repeat(last));
    let numbered = all
        .enumerate()
        .flat_map(|(at, n)| std::iter::repeat_n(2 * at as i64 + (at % 2) as i64, n));
    numbered.take(tokens).collect()
}

const SORTED: &str = "assume doc <= doc[p := p + 1]";

#[test]
fn sorted_documents_are_searched() {
    documents(SORTED, "m <= p and doc == doc[b,m]", true);
}

#[test]
fn sorted_documents_in_both_directions_are_searched() {
    documents_of("bf16", 5, SORTED, "doc == doc[b,m]", true);
    documents_of("f32", 2, SORTED, "doc <= doc[b,m] + 2 and doc[b,m] < doc + 4", true);
}

#[test]
fn documents_without_a_promise_are_tested() {
    documents("", "m <= p and doc == doc[b,m]", false);
}

/// Keys between the sinks and the window are not read.
#[test]
fn what_lies_between_is_not_visited() {
    let plan = planned(&spec("m <= p and (m < sinks or p - m < W)", SIGMOID));
    let scalars: Vec<Scalar> = (plan.cascade.scalars.iter())
        .map(|s| Scalar::Int(if s.name == "W" { 33 } else { 16 }))
        .collect();
    let symbols: Vec<i64> = (plan.cascade.symbols.iter())
        .map(|s| if ["P", "M"].contains(&s.name.as_str()) { 256 } else { 1 })
        .collect();
    let mut inputs = inputs(&plan, &symbols, &scalars, &|_| 2, 5);
    let forms = forms(&plan);
    assert_eq!(forms.len(), 5);
    // Rows from 128 on see none of these: the evaluator says what the others are.
    spoil(&plan, &mut inputs, 64, 96);
    all_agree(&plan, &inputs, &forms);
}

/// The smallest coordinate among equals wins: the tiles are visited in order.
#[test]
fn ordered_accumulators_keep_the_order() {
    let text = spec(
        "m <= p and (m < sinks or p - m < W)",
        "out A[b,h,p] : i32 = argmax[m](floor(2 * S))",
    );
    run(&text, 5);
}

/// Two ranges are one loop for tiles with tests and one for tiles without, and the tiles between are not visited.
#[test]
fn a_gap_is_not_visited() {
    let plan = planned(&spec("m <= p and (m < sinks or p - m < W)", SOFTMAX));
    let shape = ShapeClass::aligned(&plan, 16);
    let kernel = lower_unchecked(&plan, 0, &specialised(2, true, false, true), &shape).expect("a specialised form");
    let text = print(&kernel.program);
    let loops: Vec<&str> = text.lines().filter(|l| l.trim_start().starts_with("for ")).collect();
    // The first tile, one loop over all tested tiles, one over the others, the last dots.
    let first = loops.iter().filter(|l| l.ends_with("// first0")).count();
    assert_eq!((loops.len(), first), (4, 1), "{loops:?}");
}
