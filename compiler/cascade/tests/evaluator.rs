//! The evaluator and the builder, without the front end.

use einloom_cascade::build::CascadeBuilder;
use einloom_cascade::expr::{DType, DefId, ExprId, MapOp, ReduceOp};
use einloom_cascade::ir::Cascade;
use einloom_cascade::{EvalError, Evaluator, Inputs, Scalar, Tensor, Values, bind, evaluate, evaluate_naive};

/// Deterministic values in (-1, 1).
fn noise(shape: &[usize], seed: u64) -> Tensor {
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

/// `softmax[m](Q * K / sqrt(E) where m <= p + M - P) * V` and its log-sum-exp.
fn causal() -> Cascade {
    let mut b = CascadeBuilder::new("causal");
    let (rb, rh, rp, rm) = (b.rank("b"), b.rank("h"), b.rank("p"), b.rank("m"));
    let (re, rf) = (b.rank("e"), b.rank("f"));
    let q = b.input("Q", DType::BF16, &[rb, rh, rp, re]);
    let k = b.input("K", DType::BF16, &[rb, rh, rm, re]);
    let v = b.input("V", DType::BF16, &[rb, rh, rm, rf]);
    let (vb, vh, vp, vm, ve, vf) = (b.var(rb), b.var(rh), b.var(rp), b.var(rm), b.var(re), b.var(rf));
    let (am, ap) = (b.at(vm), b.at(vp));
    let (em, ep, ee) = (b.extent(rm), b.extent(rp), b.extent(re));
    let shifted = b.map(MapOp::Add, &[ap, em]);
    let limit = b.map(MapOp::Sub, &[shifted, ep]);
    let cond = b.map(MapOp::Le, &[am, limit]);
    let (qx, kx) = (b.read_at(q, &[vb, vh, vp, ve]), b.read_at(k, &[vb, vh, vm, ve]));
    let product = b.map(MapOp::Mul, &[qx, kx]);
    let dot = b.sum(&[ve], &[], product);
    let width = b.to_real(ee);
    let root = b.map(MapOp::Sqrt, &[width]);
    let score = b.map(MapOp::Div, &[dot, root]);
    let s = b.def("S", &[vb, vh, vp, vm], &[cond], score);
    let sx = b.value_at(s, &[vb, vh, vp, vm]);
    let top = b.reduce(ReduceOp::Max, &[vm], &[cond], sx);
    let top = b.def("top", &[vb, vh, vp], &[], top);
    let topx = b.value_at(top, &[vb, vh, vp]);
    let below = b.map(MapOp::Sub, &[sx, topx]);
    let w = b.map(MapOp::Exp, &[below]);
    let total = b.sum(&[vm], &[cond], w);
    let weight = b.map(MapOp::Div, &[w, total]);
    let vx = b.read_at(v, &[vb, vh, vm, vf]);
    let weighted = b.map(MapOp::Mul, &[weight, vx]);
    let o = b.sum(&[vm], &[cond], weighted);
    let o = b.def("O", &[vb, vh, vp, vf], &[], o);
    b.output(o, DType::BF16);
    let log = b.map(MapOp::Log, &[total]);
    let lse = b.map(MapOp::Add, &[log, topx]);
    let lse = b.def("LSE", &[vb, vh, vp], &[], lse);
    b.output(lse, DType::F32);
    b.finish()
}

struct Sizes(usize, usize, usize, usize, usize);

fn arguments(Sizes(b, h, p, m, e): Sizes) -> Inputs {
    Inputs::new(
        vec![
            noise(&[b, h, p, e], 1),
            noise(&[b, h, m, e], 2),
            noise(&[b, h, m, e], 3),
        ]
        .into_iter()
        .map(|tensor| tensor.rounded(DType::BF16))
        .collect(),
        vec![],
    )
}

/// The formula in plain loops: outputs and log-sum-exp.
fn formula(inputs: &Inputs, Sizes(nb, nh, np, nm, ne): Sizes) -> (Vec<f64>, Vec<f64>) {
    let [q, k, v] = [0, 1, 2].map(|at: usize| inputs.tensors[at].to_f64());
    let (mut out, mut lse) = (vec![0.0; nb * nh * np * ne], vec![]);
    for bh in 0..nb * nh {
        for p in 0..np {
            let row = |m: usize| {
                (0..ne)
                    .map(|e| q[(bh * np + p) * ne + e] * k[(bh * nm + m) * ne + e])
                    .sum::<f64>()
            };
            let limit = (p + nm + 1).saturating_sub(np);
            let scores: Vec<f64> = (0..limit).map(|m| row(m) / (ne as f64).sqrt()).collect();
            let total: f64 = scores.iter().map(|s| s.exp()).sum();
            lse.push(total.ln());
            for (m, s) in scores.iter().enumerate() {
                for e in 0..ne {
                    out[(bh * np + p) * ne + e] += s.exp() / total * v[(bh * nm + m) * ne + e];
                }
            }
        }
    }
    (out, lse)
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!(x == y || (x - y).abs() <= tolerance, "point {at}: {x} instead of {y}");
    }
}

#[test]
fn causal_attention_is_the_formula() {
    let cascade = causal();
    let sizes = || Sizes(2, 4, 130, 200, 64);
    let inputs = arguments(sizes());
    let mut evaluator = Evaluator::new(&cascade, &inputs).expect("the arguments should fit");
    let (out, lse) = formula(&inputs, sizes());
    close(&evaluator.output(0).expect("O").to_f64(), &out, 1e-12);
    close(&evaluator.output(1).expect("LSE").to_f64(), &lse, 1e-12);
}

#[test]
fn rows_without_keys() {
    let cascade = causal();
    let inputs = arguments(Sizes(1, 1, 5, 2, 3));
    let outputs = evaluate(&cascade, &inputs).expect("the arguments should fit");
    assert_eq!(outputs[0].to_f64()[..9], [0.0; 9]);
    assert_eq!(outputs[1].to_f64()[..3], [f64::NEG_INFINITY; 3]);
    assert!(outputs[1].to_f64()[3].is_finite());
}

#[test]
fn zero_extents_are_legal() {
    let outputs = evaluate(&causal(), &arguments(Sizes(1, 2, 3, 0, 4))).expect("the arguments should fit");
    assert_eq!(outputs[0].to_f64(), vec![0.0; 24]);
    let outputs = evaluate(&causal(), &arguments(Sizes(0, 2, 3, 4, 4))).expect("the arguments should fit");
    assert_eq!(outputs[0].shape, [0, 2, 3, 4]);
}

#[test]
fn samples_are_points_of_the_whole() {
    let cascade = causal();
    let inputs = arguments(Sizes(1, 2, 7, 9, 4));
    let whole = Evaluator::new(&cascade, &inputs)
        .and_then(|mut e| e.output(0))
        .expect("whole");
    let mut evaluator = Evaluator::new(&cascade, &inputs).expect("the arguments should fit");
    for sample in evaluator
        .samples(0, &[vec![0, 1, 6, 3], vec![0, 0, 0, 0]])
        .expect("samples")
    {
        let place = sample.place.expect("the point should exist");
        assert_eq!(whole.values.get(place), sample.value);
    }
}

#[test]
fn a_huge_problem_in_one_row() {
    // 2^40 scores; one row is touched.
    let mut b = CascadeBuilder::new("row");
    let (rp, rm) = (b.fixed_rank("p", 1 << 20), b.fixed_rank("m", 1 << 20));
    let (p, m) = (b.var(rp), b.var(rm));
    let (ap, am) = (b.at(p), b.at(m));
    let s = b.map(MapOp::Sub, &[am, ap]);
    let s = b.def("S", &[p, m], &[], s);
    let sx = b.value_at(s, &[p, m]);
    let top = b.reduce(ReduceOp::Max, &[m], &[], sx);
    let def = b.def("top", &[p], &[], top);
    b.output(def, DType::I64);
    let cascade = b.finish();
    let inputs = Inputs::default();
    let mut evaluator = Evaluator::new(&cascade, &inputs).expect("no arguments");
    let samples = evaluator.samples(0, &[vec![7]]).expect("a sample");
    assert_eq!(samples[0].value, Some(Scalar::Int((1 << 20) - 8)));
}

#[test]
fn naive_is_near_but_not_exact() {
    let cascade = causal();
    let inputs = arguments(Sizes(1, 2, 16, 40, 32));
    let exact = evaluate(&cascade, &inputs).expect("exact");
    let naive = evaluate_naive(&cascade, &inputs, DType::BF16).expect("naive");
    let error = |x: &Tensor, y: &Tensor| {
        x.to_f64()
            .iter()
            .zip(y.to_f64())
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, f64::max)
    };
    let found = error(&exact[0], &naive[0]);
    assert!(found > 1e-4 && found < 2e-2, "bf16 error {found}");
    let single = evaluate_naive(&cascade, &inputs, DType::F32).expect("naive");
    assert!(error(&exact[1], &single[1]) < 1e-5);
}

fn chain(length: usize) -> (Cascade, DefId) {
    let mut b = CascadeBuilder::new("chain");
    let rank = b.fixed_rank("i", 3);
    let var = b.var(rank);
    let mut body: ExprId = b.at(var);
    let mut def = b.def("X0", &[var], &[], body);
    for at in 1..length {
        let (one, before) = (b.int(1), b.value_at(def, &[var]));
        body = b.map(MapOp::Add, &[before, one]);
        def = b.def(&format!("X{at}"), &[var], &[], body);
    }
    b.output(def, DType::I32);
    (b.finish(), def)
}

#[test]
fn deep_chains_do_not_overflow_the_stack() {
    let (cascade, _) = chain(5000);
    let outputs = evaluate(&cascade, &Inputs::default()).expect("a chain");
    assert_eq!(outputs[0].values, Values::I32(vec![4999, 5000, 5001]));
}

#[test]
fn lazy_branches_and_conditions() {
    // x[i] = i == 0 ? -1 : 12 div i, for i where i != 2 and (i < 2 or 6 mod (i - 2) == 0)
    let mut b = CascadeBuilder::new("lazy");
    let rank = b.fixed_rank("i", 8);
    let var = b.var(rank);
    let (i, zero, two, twelve, six, minus) = (b.at(var), b.int(0), b.int(2), b.int(12), b.int(6), b.int(-1));
    let first = b.map(MapOp::Eq, &[i, zero]);
    let quotient = b.map(MapOp::IDiv, &[twelve, i]);
    let body = b.select(first, minus, quotient);
    let not_two = b.map(MapOp::Ne, &[i, two]);
    let small = b.map(MapOp::Lt, &[i, two]);
    let less = b.map(MapOp::Sub, &[i, two]);
    let rest = b.map(MapOp::IMod, &[six, less]);
    let divides = b.map(MapOp::Eq, &[rest, zero]);
    let either = b.map(MapOp::Or, &[small, divides]);
    let def = b.def("x", &[var], &[not_two, either], body);
    b.output(def, DType::I32);
    let total = {
        let value = b.value_at(def, &[var]);
        b.sum(&[var], &[not_two, either], value)
    };
    let def = b.def("total", &[], &[], total);
    b.output(def, DType::I32);
    let outputs = evaluate(&b.finish(), &Inputs::default()).expect("no fault where nothing exists");
    assert_eq!(outputs[0].values, Values::I32(vec![-1, 12, 0, 4, 3, 2, 0, 0]));
    assert_eq!(outputs[1].values, Values::I32(vec![20]));
}

#[test]
fn argmax_takes_the_first() {
    let mut b = CascadeBuilder::new("arg");
    let rank = b.rank("m");
    let x = b.input("x", DType::F32, &[rank]);
    let m = b.var(rank);
    let value = b.read_at(x, &[m]);
    let best = b.reduce(ReduceOp::ArgMax, &[m], &[], value);
    let def = b.def("best", &[], &[], best);
    b.output(def, DType::I32);
    let never = b.cascade_mut().exprs.add(einloom_cascade::expr::Expr::Bool(false));
    let none = b.reduce(ReduceOp::ArgMin, &[m], &[never], value);
    let def = b.def("none", &[], &[], none);
    b.output(def, DType::I32);
    let inputs = Inputs::new(vec![Tensor::reals(&[5], vec![f64::NAN, 2.0, 3.0, 3.0, 1.0])], vec![]);
    let outputs = evaluate(&b.finish(), &inputs).expect("arguments fit");
    assert_eq!(outputs[0].values, Values::I32(vec![2]));
    assert_eq!(outputs[1].values, Values::I32(vec![-1]));
}

#[test]
fn sums_are_compensated_and_keep_infinities() {
    let mut b = CascadeBuilder::new("sums");
    let (rr, rm) = (b.rank("r"), b.rank("m"));
    let x = b.input("x", DType::F32, &[rr, rm]);
    let (r, m) = (b.var(rr), b.var(rm));
    let value = b.read_at(x, &[r, m]);
    let total = b.sum(&[m], &[], value);
    let def = b.def("y", &[r], &[], total);
    b.output(def, DType::F32);
    let cascade = b.finish();
    let rows = vec![1e16, 1.0, -1e16, f64::INFINITY, 1.0, 2.0];
    let inputs = Inputs::new(vec![Tensor::reals(&[2, 3], rows)], vec![]);
    let out = Evaluator::new(&cascade, &inputs)
        .and_then(|mut e| e.output(0))
        .expect("sums");
    assert_eq!(out.to_f64(), [1.0, f64::INFINITY]);
}

#[test]
fn int_overflow_is_an_error() {
    let mut b = CascadeBuilder::new("overflow");
    let (big, two) = (b.int(i64::MAX), b.int(2));
    let body = b.map(MapOp::Mul, &[big, two]);
    let def = b.def("y", &[], &[], body);
    b.output(def, DType::I64);
    let error = evaluate(&b.finish(), &Inputs::default()).expect_err("an overflow");
    assert_eq!(error.to_string(), "integer overflow in `Mul`");
    assert!(matches!(error, EvalError::Math(_)));
}

#[test]
fn binding_reports_what_disagrees() {
    let cascade = causal();
    let error = bind(&cascade, &[vec![1, 2, 3, 4], vec![1, 2, 5, 8], vec![1, 2, 5, 4]], &[]).expect_err("disagreement");
    assert_eq!(
        error.to_string(),
        "dimension 4 of `K` is 8, but `E` is 4 by dimension 4 of `Q`"
    );
    let error = bind(&cascade, &[vec![1, 2, 3], vec![1, 2, 5, 4], vec![1, 2, 5, 4]], &[]).expect_err("rank");
    assert_eq!(error.to_string(), "input `Q` has 4 dimensions, 3 given");
}
