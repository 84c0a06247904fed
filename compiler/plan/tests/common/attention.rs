//! A hand-made plan: causal softmax attention with LSE, one sweep, for tests of evaluator and printer.

use einloom_cascade::CascadeBuilder;
use einloom_cascade::expr::{DType, Expr, LeafId, MapOp, ReduceOp};
use einloom_plan::ir::{Carry, FusedPlan, Kernel, LeafDef, Policy, Reference, Store, Sweep, Target};

/// `O[p,f] = softmax[m](S) V` with `S = Q K where m <= p - shift`, `LSE[p]`. Rows before `shift` are empty.
pub(crate) fn attention(shift: i64, policy: Policy) -> FusedPlan {
    let mut b = CascadeBuilder::new("attention");
    let (p, m) = (b.rank("p"), b.rank("m"));
    let (e, f) = (b.fixed_rank("e", 4), b.fixed_rank("f", 3));
    let q = b.input("Q", DType::F32, &[p, e]);
    let k = b.input("K", DType::F32, &[m, e]);
    let v = b.input("V", DType::F32, &[m, f]);
    let (p, m, e, f) = (b.var(p), b.var(m), b.var(e), b.var(f));
    let (qr, kr, vr) = (b.read_at(q, &[p, e]), b.read_at(k, &[m, e]), b.read_at(v, &[m, f]));
    let product = b.map(MapOp::Mul, &[qr, kr]);
    let s = b.sum(&[e], &[], product);
    let (at_p, at_m, shift) = (b.at(p), b.at(m), b.int(shift));
    let last = b.map(MapOp::Sub, &[at_p, shift]);
    let causal = b.map(MapOp::Le, &[at_m, last]);
    let top = b.reduce(ReduceOp::Max, &[m], &[causal], s);
    let below = b.map(MapOp::Sub, &[s, top]);
    let w = b.map(MapOp::Exp, &[below]);
    let d = b.sum(&[m], &[causal], w);
    let weight = b.map(MapOp::Div, &[w, d]);
    let term = b.map(MapOp::Mul, &[weight, vr]);
    let o = b.sum(&[m], &[causal], term);
    let o = b.def("O", &[p, f], &[], o);
    let log = b.map(MapOp::Log, &[d]);
    let lse = b.map(MapOp::Add, &[log, top]);
    let lse = b.def("LSE", &[p], &[], lse);
    b.output(o, DType::F32);
    b.output(lse, DType::F32);
    let mut cascade = b.finish();
    let arena = &mut cascade.exprs;

    let one = arena.real(1.0);
    let zero = arena.real(0.0);
    let never = arena.real(f64::NEG_INFINITY);
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
        conds: vec![causal],
        streamed,
        weight: Some((0, (1, 1))),
        ordered: false,
        meaning: format!("sum e^S of {name}"),
    };
    let sweep = Sweep {
        stream: vec![m],
        references: vec![Reference {
            form: s,
            dims: vec![],
            inner: vec![],
            conds: vec![causal],
            policy,
        }],
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
        name: "attention".into(),
        resident: vec![p],
        piece: None,
        domain: vec![],
        sweeps: vec![sweep],
        stores,
    };
    let leaf = |carry| LeafDef::Carry {
        kernel: 0,
        sweep: 0,
        carry,
    };
    let reference = LeafDef::Reference {
        kernel: 0,
        sweep: 0,
        reference: 0,
    };
    FusedPlan {
        cascade,
        kernels: vec![kernel],
        crossings: vec![],
        leaves: vec![leaf(0), leaf(1), reference],
        sweeps_written: 3,
        sweeps: 1,
        why: vec![],
    }
}
