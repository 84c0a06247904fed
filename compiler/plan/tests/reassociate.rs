//! Contraction order: which orders are chosen, and that they compute the same.

use einloom_cascade::build::Rank;
use einloom_cascade::expr::{DType, Expr, ExprId, InputId, MapOp, VarId};
use einloom_cascade::ir::{Cascade, Policy};
use einloom_cascade::{CascadeBuilder, Evaluator, Inputs, Tensor};
use einloom_plan::print::Formula;
use einloom_plan::reassociate::reassociate;
use einloom_syntax::span::Span;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn policy(key: &str, name: Option<&str>, value: &str) -> Policy {
    Policy {
        key: key.into(),
        names: name.map(String::from).into_iter().collect(),
        value: value.into(),
        span: Span::default(),
    }
}

fn body(cascade: &Cascade, name: &str) -> String {
    let def = cascade
        .defs
        .iter()
        .find(|def| def.name == name)
        .expect("the definition exists");
    Formula::new(cascade, &|_| "leaf".into()).text(def.body)
}

fn random_inputs(cascade: &Cascade, seed: u64, symbols: &[usize]) -> Inputs {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let extent = |id: ExprId| match cascade.exprs.get(id) {
        Expr::Extent(s) => symbols[s.index() % symbols.len()],
        Expr::Int(n) => *n as usize,
        other => panic!("unexpected extent {other:?}"),
    };
    let tensors = cascade.inputs.iter().map(|input| {
        let shape: Vec<usize> = input.dims.iter().map(|dim| extent(dim.extent)).collect();
        let points = shape.iter().product();
        let values = (0..points).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::reals(&shape, values)
    });
    Inputs::new(tensors.collect(), vec![])
}

fn outputs(cascade: &Cascade, inputs: &Inputs) -> Vec<f64> {
    let mut oracle = Evaluator::new(cascade, inputs).expect("the inputs fit");
    (0..cascade.outputs.len())
        .flat_map(|at| oracle.output(at).expect("the cascade has a value").to_f64())
        .collect()
}

fn assert_same(before: &Cascade, after: &Cascade, symbols: &[usize]) {
    let inputs = random_inputs(before, 7, symbols);
    let (a, b) = (outputs(before, &inputs), outputs(after, &inputs));
    let largest = a.iter().fold(1e-30, |x: f64, y| x.max(y.abs()));
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() <= 1e-12 * largest, "{x} is not {y}");
    }
}

/// `O[p,f] = sum_m (sum_e Q K) V`, with `m <= p` if causal; S is a definition of its own.
fn linear_attention(causal: bool) -> Cascade {
    let mut b = CascadeBuilder::new("linear");
    let (p, m) = (b.rank("p"), b.rank("m"));
    let (e, f) = (b.fixed_rank("e", 64), b.fixed_rank("f", 64));
    let q = b.input("Q", DType::F32, &[p, e]);
    let k = b.input("K", DType::F32, &[m, e]);
    let v = b.input("V", DType::F32, &[m, f]);
    let (p, m, e, f) = (b.var(p), b.var(m), b.var(e), b.var(f));
    let (qr, kr, vr) = (b.read_at(q, &[p, e]), b.read_at(k, &[m, e]), b.read_at(v, &[m, f]));
    let dot = b.map(MapOp::Mul, &[qr, kr]);
    let dot = b.sum(&[e], &[], dot);
    let scale = b.real(8.0);
    let dot = b.map(MapOp::Div, &[dot, scale]);
    let (at_m, at_p) = (b.at(m), b.at(p));
    let conds = match causal {
        true => vec![b.map(MapOp::Le, &[at_m, at_p])],
        false => vec![],
    };
    let s = b.def("S", &[p, m], &conds, dot);
    let s = b.value_at(s, &[p, m]);
    let term = b.map(MapOp::Mul, &[s, vr]);
    let o = b.sum(&[m], &conds, term);
    let o = b.def("O", &[p, f], &[], o);
    b.output(o, DType::F32);
    b.finish()
}

#[test]
fn linear_attention_sums_over_keys_first() {
    let cascade = linear_attention(false);
    let (new, events) = reassociate(&cascade);
    assert_eq!(body(&new, "O"), "sum[e](Q[p,e] * sum[m](K[m,e] * V[m,f])) / 8.0");
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    let text = "A1: sums over m, e in another order: 4096 * M + 4096 * P multiply-adds instead of \
                128 * M * P, for P = 4096, M = 4096";
    assert_eq!(texts, [text]);
    assert_same(&cascade, &new, &[5, 6]);
}

#[test]
fn a_predicate_that_couples_the_ranks_keeps_the_order() {
    let cascade = linear_attention(true);
    let (new, events) = reassociate(&cascade);
    assert!(events.is_empty());
    assert_eq!(body(&new, "O"), body(&cascade, "O"));
}

#[test]
fn policies_pin_the_written_order() {
    for name in [None, Some("O")] {
        let mut cascade = linear_attention(false);
        cascade.policies.push(policy("association", name, "written"));
        assert!(reassociate(&cascade).1.is_empty());
    }
    let mut cascade = linear_attention(false);
    cascade.policies.push(policy("association", Some("S"), "written"));
    assert_eq!(reassociate(&cascade).1.len(), 1);
}

/// Latent keys: `S[p,m] = sum_e Q[p,e] (sum_c W[c,e] C[m,c])` under an `exp`.
fn latent(nominal: Option<&str>) -> Cascade {
    let mut b = CascadeBuilder::new("latent");
    let (p, m) = (b.rank("p"), b.rank("m"));
    let (e, c) = (b.fixed_rank("e", 16), b.fixed_rank("c", 48));
    let q = b.input("Q", DType::F32, &[p, e]);
    let w = b.input("W", DType::F32, &[c, e]);
    let l = b.input("C", DType::F32, &[m, c]);
    let (p, m, e, c) = (b.var(p), b.var(m), b.var(e), b.var(c));
    let (wr, lr) = (b.read_at(w, &[c, e]), b.read_at(l, &[m, c]));
    let key = b.map(MapOp::Mul, &[wr, lr]);
    let key = b.sum(&[c], &[], key);
    let k = b.def("K", &[m, e], &[], key);
    let (qr, kr) = (b.read_at(q, &[p, e]), b.value_at(k, &[m, e]));
    let dot = b.map(MapOp::Mul, &[qr, kr]);
    let s = b.sum(&[e], &[], dot);
    let s = b.def("S", &[p, m], &[], s);
    let s = b.value_at(s, &[p, m]);
    let s = b.map(MapOp::Exp, &[s]);
    let o = b.sum(&[m], &[], s);
    let o = b.def("O", &[p], &[], o);
    b.output(o, DType::F32);
    let mut cascade = b.finish();
    cascade
        .policies
        .extend(nominal.map(|n| policy("nominal", Some("p"), n)));
    cascade
}

#[test]
fn latent_keys_are_absorbed_for_one_query_and_expanded_for_many() {
    let decode = latent(Some("1"));
    let (new, events) = reassociate(&decode);
    assert_eq!(events.len(), 1);
    assert_eq!(body(&new, "S"), "sum[c](sum[e](Q[p,e] * W[c,e]) * C[m,c])");
    assert_same(&decode, &new, &[2, 5]);
    let (prefill, events) = reassociate(&latent(None));
    assert!(events.is_empty());
    assert_eq!(body(&prefill, "S"), "sum[e](Q[p,e] * K[m,e])");
}

/// `sum_m (1 / d[p]) K V` over an empty domain is 0, whatever d is.
#[test]
fn a_quotient_does_not_leave_a_sum_that_may_be_empty() {
    let mut b = CascadeBuilder::new("quotient");
    let (p, m, n) = (b.rank("p"), b.rank("m"), b.rank("n"));
    let d = b.input("D", DType::F32, &[p]);
    let k = b.input("K", DType::F32, &[m]);
    let v = b.input("V", DType::F32, &[n]);
    let (p, m, n) = (b.var(p), b.var(m), b.var(n));
    let (dr, kr, vr) = (b.read_at(d, &[p]), b.read_at(k, &[m]), b.read_at(v, &[n]));
    let one = b.real(1.0);
    let row = b.map(MapOp::Div, &[one, dr]);
    let inner = b.sum(&[n], &[], vr);
    let term = b.map(MapOp::Mul, &[kr, inner]);
    let term = b.map(MapOp::Mul, &[row, term]);
    let (at_m, zero) = (b.at(m), b.int(0));
    let never = b.map(MapOp::Lt, &[at_m, zero]);
    let sum = b.sum(&[m], &[never], term);
    let o = b.def("O", &[p], &[], sum);
    b.output(o, DType::F32);
    let cascade = b.finish();
    let (new, _) = reassociate(&cascade);
    let mut inputs = random_inputs(&cascade, 1, &[2, 3, 4]);
    inputs.tensors[0] = Tensor::reals(&[2], vec![0.0, 1.0]);
    assert_eq!(outputs(&new, &inputs), [0.0, 0.0]);
}

/// Features `exp(Q)` are finite and leave the sum over keys.
#[test]
fn exponential_features_may_leave() {
    let mut cascade = linear_attention(false);
    let q = (0..cascade.exprs.len() as u32)
        .map(ExprId)
        .find(|&id| matches!(cascade.exprs.get(id), Expr::Input(InputId(0), _)))
        .expect("Q is read");
    let feature = cascade.exprs.map(MapOp::Exp, &[q]);
    let k = match cascade.exprs.get(cascade.defs[0].body).clone() {
        Expr::Map(MapOp::Div, args) => args[0],
        other => panic!("unexpected {other:?}"),
    };
    let Expr::Reduce(mut sum) = cascade.exprs.get(k).clone() else {
        panic!("S is a sum");
    };
    let Expr::Map(MapOp::Mul, args) = cascade.exprs.get(sum.body).clone() else {
        panic!("of products");
    };
    sum.body = cascade.exprs.map(MapOp::Mul, &[feature, args[1]]);
    cascade.defs[0].body = cascade.exprs.add(Expr::Reduce(sum));
    let (new, _) = reassociate(&cascade);
    assert_eq!(body(&new, "O"), "sum[e](exp(Q[p,e]) * sum[m](K[m,e] * V[m,f]))");
    assert_same(&cascade, &new, &[5, 6]);
}

/// The same definition twice in one product needs two summed variables.
#[test]
fn a_square_of_a_sum_is_two_sums() {
    let mut b = CascadeBuilder::new("square");
    let (p, m) = (b.rank("p"), b.rank("m"));
    let e = b.fixed_rank("e", 3);
    let q = b.input("Q", DType::F32, &[p, e]);
    let k = b.input("K", DType::F32, &[m, e]);
    let (p, m, e) = (b.var(p), b.var(m), b.var(e));
    let (qr, kr) = (b.read_at(q, &[p, e]), b.read_at(k, &[m, e]));
    let dot = b.map(MapOp::Mul, &[qr, kr]);
    let dot = b.sum(&[e], &[], dot);
    let s = b.def("S", &[p, m], &[], dot);
    let s = b.value_at(s, &[p, m]);
    let square = b.map(MapOp::Mul, &[s, s]);
    let o = b.sum(&[m], &[], square);
    let o = b.def("O", &[p], &[], o);
    b.output(o, DType::F32);
    let cascade = b.finish();
    let (new, events) = reassociate(&cascade);
    // 9 M + 9 P instead of 6 P M + ..: second moments of the keys
    assert_eq!(events.len(), 1);
    assert_same(&cascade, &new, &[5, 6]);
}

/// A random nested sum of products over five ranks, some of them run-time, with predicates.
fn random_product(seed: u64) -> Cascade {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut b = CascadeBuilder::new("random");
    let ranks: Vec<Rank> = ["a", "b", "c", "d", "x"]
        .iter()
        .enumerate()
        .map(|(at, name)| {
            if at % 2 == 0 {
                b.rank(name)
            } else {
                b.fixed_rank(name, 2 + at as i64)
            }
        })
        .collect();
    let vars: Vec<VarId> = ranks.iter().map(|&rank| b.var(rank)).collect();
    let mut tensors: Vec<(InputId, Vec<usize>)> = Vec::new();
    for (at, &rank) in ranks.iter().enumerate() {
        let anchor = b.input(&format!("A{at}"), DType::F32, &[rank]);
        tensors.push((anchor, vec![at]));
    }
    for at in 0..rng.random_range(2..5) {
        let mut own: Vec<usize> = (0..5).filter(|_| rng.random_bool(0.4)).collect();
        if own.is_empty() {
            own.push(at % 5);
        }
        let shape: Vec<Rank> = own.iter().map(|&at| ranks[at]).collect();
        tensors.push((b.input(&format!("T{at}"), DType::F32, &shape), own));
    }
    let read = |b: &mut CascadeBuilder, rng: &mut ChaCha8Rng| {
        let (input, own) = tensors[rng.random_range(0..tensors.len())].clone();
        let own: Vec<VarId> = own.iter().map(|&at| vars[at]).collect();
        let value = b.read_at(input, &own);
        if rng.random_bool(0.2) {
            b.map(MapOp::Exp, &[value])
        } else {
            value
        }
    };
    let mut value = read(&mut b, &mut rng);
    for &var in vars.iter().skip(1) {
        for _ in 0..rng.random_range(0..2) {
            let next = read(&mut b, &mut rng);
            value = b.map(MapOp::Mul, &[value, next]);
        }
        if rng.random_bool(0.75) {
            let (at, other) = (b.at(var), b.at(vars[0]));
            let conds = match rng.random_range(0..4) {
                0 => vec![b.map(MapOp::Le, &[at, other])],
                _ => vec![],
            };
            value = b.sum(&[var], &conds, value);
        } else {
            let anchor = b.read_at(tensors[0].0, &[vars[0]]);
            value = b.map(MapOp::Mul, &[value, anchor]);
        }
    }
    // whatever is still free is summed
    let names = b.sum(&vars[1..], &[], value);
    let o = b.def("O", &[vars[0]], &[], names);
    b.output(o, DType::F32);
    b.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn random_products_keep_their_value(seed in any::<u64>()) {
        let cascade = random_product(seed);
        let (new, _) = reassociate(&cascade);
        assert_same(&cascade, &new, &[2, 3, 4]);
    }
}
