//! Causal softmax attention end to end: lowering, verifier, interpreter, against the evaluator of plans.

mod common;

use common::{check, inputs, schedule};
use einloom_cascade::CascadeBuilder;
use einloom_cascade::expr::{DType, Expr, LeafId, MapOp, ReduceOp};
use einloom_plan::ir::{Carry, FusedPlan, Kernel, LeafDef, Policy, Reference, Store, Sweep, Target};

/// `O[h,p,f] = softmax[m](S) V`, `S = Q K / sqrt(E) where m <= p + M - P`, `LSE[h,p]`; one kernel.
fn causal(dtype: DType, wide: i64, value: i64) -> FusedPlan {
    let mut b = CascadeBuilder::new("causal");
    let (h, p, m) = (b.rank("h"), b.rank("p"), b.rank("m"));
    let (e, f) = (b.fixed_rank("e", wide), b.fixed_rank("f", value));
    let q = b.input("Q", dtype, &[h, p, e]);
    let k = b.input("K", dtype, &[h, m, e]);
    let v = b.input("V", dtype, &[h, m, f]);
    let (extent_p, extent_m) = (b.extent(p), b.extent(m));
    let (h, p, m, e, f) = (b.var(h), b.var(p), b.var(m), b.var(e), b.var(f));
    let (qr, kr, vr) = (
        b.read_at(q, &[h, p, e]),
        b.read_at(k, &[h, m, e]),
        b.read_at(v, &[h, m, f]),
    );
    let product = b.map(MapOp::Mul, &[qr, kr]);
    let s = b.sum(&[e], &[], product);
    let root = b.real((wide as f64).sqrt());
    let s = b.map(MapOp::Div, &[s, root]);
    let (at_p, at_m) = (b.at(p), b.at(m));
    let last = b.map(MapOp::Add, &[at_p, extent_m]);
    let last = b.map(MapOp::Sub, &[last, extent_p]);
    let cond = b.map(MapOp::Le, &[at_m, last]);
    let top = b.reduce(ReduceOp::Max, &[m], &[cond], s);
    let below = b.map(MapOp::Sub, &[s, top]);
    let w = b.map(MapOp::Exp, &[below]);
    let d = b.sum(&[m], &[cond], w);
    let weight = b.map(MapOp::Div, &[w, d]);
    let term = b.map(MapOp::Mul, &[weight, vr]);
    let o = b.sum(&[m], &[cond], term);
    let o = b.def("O", &[h, p, f], &[], o);
    let log = b.map(MapOp::Log, &[d]);
    let lse = b.map(MapOp::Add, &[log, top]);
    let lse = b.def("LSE", &[h, p], &[], lse);
    b.output(o, dtype);
    b.output(lse, DType::F32);
    let mut cascade = b.finish();
    let arena = &mut cascade.exprs;
    let (one, zero, never) = (arena.real(1.0), arena.real(0.0), arena.real(f64::NEG_INFINITY));
    let at_f = arena.var(f);
    let n = arena.add(Expr::Leaf(LeafId(0), vec![at_f]));
    let l = arena.add(Expr::Leaf(LeafId(1), vec![]));
    let g = arena.add(Expr::Leaf(LeafId(2), vec![]));
    let ratio = arena.map(MapOp::Div, &[n, l]);
    let some = arena.map(MapOp::Lt, &[never, g]);
    let finish = arena.add(Expr::Select([some, ratio, zero]));
    let log = arena.map(MapOp::Log, &[l]);
    let lse = arena.map(MapOp::Add, &[log, g]);
    let lse = arena.add(Expr::Select([some, lse, never]));
    let carry = |name: &str, dims: &[_], streamed| Carry {
        name: name.into(),
        op: ReduceOp::Sum,
        dims: dims.to_vec(),
        inner: vec![],
        conds: vec![cond],
        streamed,
        weight: Some((0, (1, 1))),
        ordered: false,
        meaning: String::new(),
    };
    let reference = Reference {
        form: s,
        dims: vec![],
        inner: vec![],
        conds: vec![cond],
        policy: Policy::Running,
    };
    let sweep = Sweep {
        stream: vec![m],
        references: vec![reference],
        carries: vec![carry("O.n", &[f], vr), carry("l", &[], one)],
        ..Sweep::default()
    };
    let store = |target, vars: &[_], value| Store {
        target: Target::Output(target),
        vars: vars.to_vec(),
        conds: vec![],
        value,
        places: cascade.outputs[target].places.clone(),
    };
    let stores = vec![store(0, &[f], finish), store(1, &[], lse)];
    let kernel = Kernel {
        name: "causal".into(),
        resident: vec![h, p],
        piece: None,
        domain: vec![],
        sweeps: vec![sweep],
        stores,
    };
    let carried = |carry| LeafDef::Carry {
        kernel: 0,
        sweep: 0,
        carry,
    };
    let leaves = vec![
        carried(0),
        carried(1),
        LeafDef::Reference {
            kernel: 0,
            sweep: 0,
            reference: 0,
        },
    ];
    FusedPlan {
        cascade,
        kernels: vec![kernel],
        crossings: vec![],
        leaves,
        sweeps_written: 3,
        sweeps: 1,
        why: vec![],
    }
}

const SHAPES: [[i64; 3]; 9] = [
    [2, 33, 33],
    [1, 1, 70],
    [1, 40, 1],
    [1, 40, 0],
    [1, 16, 64],
    [1, 33, 17],
    [2, 5, 66],
    [1, 32, 32],
    [1, 17, 97],
];

#[test]
fn half_precision_over_odd_extents() {
    let plan = causal(DType::BF16, 32, 16);
    for (seed, shape) in SHAPES.iter().enumerate() {
        check(
            &plan,
            &inputs(&plan, shape, &[], &|_| 1, seed as u64),
            &schedule(32, 32, 2, 2),
            16,
        );
    }
}

#[test]
fn any_legal_schedule_gives_the_same() {
    let plan = causal(DType::F16, 16, 40);
    let inputs = inputs(&plan, &[1, 37, 51], &[], &|_| 1, 3);
    for (rows, cols, warps, stages) in [(16, 16, 1, 1), (32, 16, 1, 2), (32, 48, 2, 3), (64, 32, 4, 4)] {
        check(&plan, &inputs, &schedule(rows, cols, warps, stages), 16);
    }
}

#[test]
fn single_precision_runs_on_scalar_dots() {
    let plan = causal(DType::F32, 24, 20);
    for shape in [[1, 33, 40], [1, 1, 70], [1, 40, 0]] {
        check(
            &plan,
            &inputs(&plan, &shape, &[], &|_| 1, 5),
            &schedule(32, 32, 2, 2),
            16,
        );
    }
}

#[test]
fn tensors_aligned_to_an_element_are_copied() {
    let plan = causal(DType::BF16, 32, 16);
    check(
        &plan,
        &inputs(&plan, &[1, 33, 50], &[], &|_| 1, 7),
        &schedule(32, 32, 2, 2),
        2,
    );
}
