//! Plans of every class, hand-made: the interpreter agrees with the evaluator of plans.

mod common;

use common::plan::{Plan, carry, reference, sweep, weighted};
use common::{check, inputs, schedule};
use einloom_cascade::Scalar;
use einloom_cascade::expr::{DType, ExprId, MapOp, ReduceOp, VarId};
use einloom_plan::ir::{Carry, FusedPlan, LeafDef, Sweep};

const F32: DType = DType::F32;
const BF16: DType = DType::BF16;

/// Ranks h, p, m, e = 16, f = 24 and inputs Q, K, V of a type; scores `S = Q K / 4` and the causal condition.
struct Attention {
    plan: Plan,
    h: VarId,
    p: VarId,
    m: VarId,
    e: VarId,
    f: VarId,
    q: einloom_cascade::expr::InputId,
    k: einloom_cascade::expr::InputId,
    v: ExprId,
    s: ExprId,
    causal: ExprId,
}

fn attention(name: &str, dtype: DType) -> Attention {
    let mut plan = Plan::new(name);
    let (h, p, m) = (plan.b.rank("h"), plan.b.rank("p"), plan.b.rank("m"));
    let (e, f) = (plan.b.fixed_rank("e", 16), plan.b.fixed_rank("f", 24));
    let q = plan.b.input("Q", dtype, &[h, p, e]);
    let k = plan.b.input("K", dtype, &[h, m, e]);
    let v = plan.b.input("V", dtype, &[h, m, f]);
    let [h, p, m, e, f] = [h, p, m, e, f].map(|r| plan.var(r));
    let (qr, kr, v) = (
        plan.read(q, &[h, p, e]),
        plan.read(k, &[h, m, e]),
        plan.read(v, &[h, m, f]),
    );
    let dot = plan.dot(qr, kr, e);
    let quarter = plan.b.real(0.25);
    let s = plan.mul(dot, quarter);
    let (at_m, at_p) = (plan.b.at(m), plan.b.at(p));
    let causal = plan.map(MapOp::Le, &[at_m, at_p]);
    Attention {
        plan,
        h,
        p,
        m,
        e,
        f,
        q,
        k,
        v,
        s,
        causal,
    }
}

fn sigmoid(plan: &mut Plan, x: ExprId) -> ExprId {
    let minus = plan.map(MapOp::Neg, &[x]);
    let power = plan.map(MapOp::Exp, &[minus]);
    let one = plan.b.real(1.0);
    let sum = plan.add(one, power);
    plan.map(MapOp::Div, &[one, sum])
}

fn both(plan: &FusedPlan, symbols: &[i64], scalars: &[Scalar]) {
    let inputs = inputs(plan, symbols, scalars, &|name| if name == "seg" { 3 } else { 5 }, 11);
    check(plan, &inputs, &schedule(32, 16, 2, 2), 16);
    check(plan, &inputs, &schedule(16, 32, 1, 1), 16);
}

#[test]
fn sigmoid_attention() {
    for dtype in [F32, BF16] {
        let mut a = attention("sigmoid", dtype);
        let w = sigmoid(&mut a.plan, a.s);
        let term = a.plan.mul(w, a.v);
        let o = a.plan.output("O", dtype, &[a.h, a.p, a.f]);
        let leaf = a.plan.carried(0, 0, 0, &[a.f]);
        let store = a.plan.store(o, &[a.f], leaf);
        let carries = vec![carry("O", ReduceOp::Sum, &[a.f], &[a.causal], term)];
        a.plan.kernel(
            "sigmoid",
            &[a.h, a.p],
            vec![sweep(&[a.m], vec![], carries)],
            vec![store],
        );
        both(&a.plan.finish(), &[1, 21, 34], &[]);
    }
}

/// `C[m] = sum over p of exp(S - lse)`: two kernels, the second streams queries.
#[test]
fn column_sums() {
    let mut a = attention("column_sums", BF16);
    let lam = a.plan.crossing("lam", &[a.h, a.p]);
    let one = a.plan.b.real(1.0);
    let l = a.plan.carried(0, 0, 0, &[]);
    let g = a.plan.leaf(
        LeafDef::Reference {
            kernel: 0,
            sweep: 0,
            reference: 0,
        },
        &[],
    );
    let log = a.plan.map(MapOp::Log, &[l]);
    let lse = a.plan.add(log, g);
    let minus = a.plan.map(MapOp::Neg, &[lse]);
    let store = a.plan.store_crossing(lam, &[], minus);
    let first = sweep(
        &[a.m],
        vec![reference(a.s, &[a.causal])],
        vec![weighted("l", &[], &[a.causal], one)],
    );
    a.plan.kernel("rows", &[a.h, a.p], vec![first], vec![store]);
    let lam = a.plan.leaf(LeafDef::Crossing(lam), &[a.h, a.p]);
    let form = a.plan.add(a.s, lam);
    let weight = a.plan.map(MapOp::Exp, &[form]);
    let c = a.plan.output("C", F32, &[a.h, a.m]);
    let leaf = a.plan.carried(1, 0, 0, &[]);
    let store = a.plan.store(c, &[], leaf);
    let second = sweep(
        &[a.p],
        vec![],
        vec![carry("C", ReduceOp::Sum, &[], &[a.causal], weight)],
    );
    a.plan.kernel("columns", &[a.h, a.m], vec![second], vec![store]);
    both(&a.plan.finish(), &[1, 34, 27], &[]);
}

/// `St = sum over m of K V`, `z = sum over m of K`, `O = Q St / (Q z)`.
#[test]
fn linear_attention() {
    for dtype in [F32, BF16] {
        let mut a = attention("linear", dtype);
        let k = a.plan.read(a.k, &[a.h, a.m, a.e]);
        let square = a.plan.mul(k, k);
        let term = a.plan.mul(square, a.v);
        let st = a.plan.crossing("St", &[a.h, a.e, a.f]);
        let z = a.plan.crossing("z", &[a.h, a.e]);
        let (s0, s1) = (a.plan.carried(0, 0, 0, &[a.e, a.f]), a.plan.carried(0, 0, 1, &[a.e]));
        let stores = vec![
            a.plan.store_crossing(st, &[a.e, a.f], s0),
            a.plan.store_crossing(z, &[a.e], s1),
        ];
        let carries = vec![
            carry("St", ReduceOp::Sum, &[a.e, a.f], &[], term),
            carry("z", ReduceOp::Sum, &[a.e], &[], square),
        ];
        a.plan
            .kernel("state", &[a.h], vec![sweep(&[a.m], vec![], carries)], stores);
        let st = a.plan.leaf(LeafDef::Crossing(st), &[a.h, a.e, a.f]);
        let z = a.plan.leaf(LeafDef::Crossing(z), &[a.h, a.e]);
        let q = a.plan.read(a.q, &[a.h, a.p, a.e]);
        let square = a.plan.mul(q, q);
        let (top, bottom) = (a.plan.dot(square, st, a.e), a.plan.dot(square, z, a.e));
        let value = a.plan.map(MapOp::Div, &[top, bottom]);
        let o = a.plan.output("O", dtype, &[a.h, a.p, a.f]);
        let store = a.plan.store(o, &[a.f], value);
        a.plan.kernel("read", &[a.h, a.p], vec![], vec![store]);
        both(&a.plan.finish(), &[1, 21, 34], &[]);
    }
}

/// Raw `sum over m of K V`: both operands of the dot are copies.
#[test]
fn carried_matrix_of_copies() {
    let mut a = attention("matrix", BF16);
    let k = a.plan.read(a.k, &[a.h, a.m, a.e]);
    let term = a.plan.mul(k, a.v);
    let st = a.plan.output("St", F32, &[a.h, a.e, a.f]);
    let leaf = a.plan.carried(0, 0, 0, &[a.e, a.f]);
    let store = a.plan.store(st, &[a.e, a.f], leaf);
    let carries = vec![carry("St", ReduceOp::Sum, &[a.e, a.f], &[], term)];
    a.plan
        .kernel("state", &[a.h], vec![sweep(&[a.m], vec![], carries)], vec![store]);
    both(&a.plan.finish(), &[3, 1, 50], &[]);
}

/// Bias table, slope, document ids; entropy, row maximum, its place, and a class split beside the output.
#[test]
fn many_carries() {
    let mut a = attention("many", BF16);
    let (rank_h, rank_p, rank_m) = {
        let b = &mut a.plan.b;
        (
            b.rank_with("h", ExprId(0)),
            b.rank_with("p", ExprId(0)),
            b.rank_with("m", ExprId(0)),
        )
    };
    let _ = (rank_h, rank_p, rank_m);
    let extents: Vec<ExprId> = {
        let inputs = &a.plan.b.cascade_mut().inputs;
        vec![
            inputs[0].dims[0].extent,
            inputs[0].dims[1].extent,
            inputs[1].dims[1].extent,
        ]
    };
    let slope = a.plan.b.input_with("slope", F32, &[extents[0]]);
    let seg = a.plan.b.input_with("seg", DType::I32, &[extents[1]]);
    let segm = a.plan.b.input_with("seg", DType::I32, &[extents[2]]);
    let scale = a.plan.b.scalar("temperature", F32, None);
    let (slope, seg, segm) = (
        a.plan.read(slope, &[a.h]),
        a.plan.read(seg, &[a.p]),
        a.plan.read(segm, &[a.m]),
    );
    let (at_p, at_m) = (a.plan.b.at(a.p), a.plan.b.at(a.m));
    let distance = a.plan.sub(at_m, at_p);
    let distance = a.plan.b.to_real(distance);
    let alibi = a.plan.mul(slope, distance);
    let score = a.plan.mul(a.s, scale);
    let form = a.plan.add(score, alibi);
    let same = a.plan.map(MapOp::Eq, &[seg, segm]);
    let conds = [a.causal, same];
    let two = a.plan.b.int(1);
    let late = a.plan.map(MapOp::Lt, &[two, segm]);
    let split = [a.causal, same, late];
    let one = a.plan.b.real(1.0);
    let carries = vec![
        weighted("N", &[a.f], &conds, a.v),
        weighted("l", &[], &conds, one),
        weighted("x", &[], &conds, form),
        weighted("l1", &[], &split, one),
        weighted("N1", &[a.f], &split, a.v),
        carry("top", ReduceOp::Max, &[], &conds, form),
        carry("n", ReduceOp::Sum, &[], &conds, one),
        Carry {
            ordered: true,
            ..carry("at", ReduceOp::ArgMax, &[], &conds, form)
        },
        carry("any", ReduceOp::Any, &[], &[same], late),
    ];
    let c: Vec<ExprId> = (0..9)
        .map(|i| {
            let dims = if i == 0 || i == 4 { vec![a.f] } else { vec![] };
            a.plan.carried(0, 0, i, &dims)
        })
        .collect();
    let g = a.plan.leaf(
        LeafDef::Reference {
            kernel: 0,
            sweep: 0,
            reference: 0,
        },
        &[],
    );
    let zero = a.plan.b.real(0.0);
    let some = a.plan.map(MapOp::Lt, &[zero, c[1]]);
    let mut stores = Vec::new();
    let ratio = a.plan.map(MapOp::Div, &[c[0], c[1]]);
    let part = a.plan.map(MapOp::Div, &[c[4], c[1]]);
    let share = a.plan.map(MapOp::Div, &[c[3], c[1]]);
    let mix = a.plan.mul(part, share);
    let value = a.plan.add(ratio, mix);
    let value = a.plan.b.select(some, value, zero);
    let o = a.plan.output("O", BF16, &[a.h, a.p, a.f]);
    stores.push(a.plan.store(o, &[a.f], value));
    let log = a.plan.map(MapOp::Log, &[c[1]]);
    let lse = a.plan.add(log, g);
    let mean = a.plan.map(MapOp::Div, &[c[2], c[1]]);
    let entropy = a.plan.sub(lse, mean);
    let entropy = a.plan.b.select(some, entropy, zero);
    let any = a.plan.map(MapOp::BoolToInt, &[c[8]]);
    for (name, value, dtype) in [
        ("H", entropy, F32),
        ("top", c[5], F32),
        ("n", c[6], F32),
        ("at", c[7], DType::I32),
        ("any", any, DType::I32),
    ] {
        let output = a.plan.output(name, dtype, &[a.h, a.p]);
        stores.push(a.plan.store(output, &[], value));
    }
    a.plan.kernel(
        "many",
        &[a.h, a.p],
        vec![sweep(&[a.m], vec![reference(form, &conds)], carries)],
        stores,
    );
    both(&a.plan.finish(), &[1, 21, 34], &[Scalar::Real(0.7)]);
}

/// A second sweep reads finished values of the first and writes at every streamed point.
#[test]
fn second_sweep_with_emits() {
    let mut a = attention("emits", BF16);
    let one = a.plan.b.real(1.0);
    let first = sweep(
        &[a.m],
        vec![reference(a.s, &[a.causal])],
        vec![weighted("l", &[], &[a.causal], one)],
    );
    let l = a.plan.carried(0, 0, 0, &[]);
    let g = a.plan.leaf(
        LeafDef::Reference {
            kernel: 0,
            sweep: 0,
            reference: 0,
        },
        &[],
    );
    let below = a.plan.sub(a.s, g);
    let w = a.plan.map(MapOp::Exp, &[below]);
    let p = a.plan.map(MapOp::Div, &[w, l]);
    let squashed = a.plan.map(MapOp::Tanh, &[p]);
    let term = a.plan.mul(squashed, a.v);
    let probs = a.plan.output("P", F32, &[a.h, a.p, a.m]);
    let mut emit = a.plan.store(probs, &[], p);
    emit.conds = vec![a.causal];
    let second = Sweep {
        emits: vec![emit],
        chunks: None,
        ..sweep(
            &[a.m],
            vec![],
            vec![carry("O", ReduceOp::Sum, &[a.f], &[a.causal], term)],
        )
    };
    let o = a.plan.output("O", BF16, &[a.h, a.p, a.f]);
    let leaf = a.plan.carried(0, 1, 0, &[a.f]);
    let store = a.plan.store(o, &[a.f], leaf);
    a.plan.kernel("emits", &[a.h, a.p], vec![first, second], vec![store]);
    both(&a.plan.finish(), &[1, 21, 34], &[]);
}

/// A normalised gate over one tensor: three passes, no dot at all.
#[test]
fn gate_without_dots() {
    let mut plan = Plan::new("gate");
    let (p, m) = (plan.b.rank("p"), plan.b.rank("m"));
    let x = plan.b.input("X", F32, &[p, m]);
    let [p, m] = [p, m].map(|r| plan.var(r));
    let x = plan.read(x, &[p, m]);
    let square = plan.mul(x, x);
    let mean = plan.carried(0, 0, 0, &[]);
    let root = plan.map(MapOp::Rsqrt, &[mean]);
    let normal = plan.mul(x, root);
    let y = plan.output("Y", F32, &[p, m]);
    let emit = plan.store(y, &[], normal);
    let first = sweep(&[m], vec![], vec![carry("q", ReduceOp::Sum, &[], &[], square)]);
    let second = Sweep {
        emits: vec![emit],
        chunks: None,
        ..sweep(&[m], vec![], vec![])
    };
    plan.kernel("gate", &[p], vec![first, second], vec![]);
    both(&plan.finish(), &[21, 34], &[]);
}
