//! Composite ranks, blocks, gathers and computed operands: the interpreter agrees with the evaluator of plans.

mod common;

use common::plan::{Plan, carry, reference, sweep, weighted};
use common::{check, inputs, schedule};
use einloom_cascade::expr::{DType, ExprId, MapOp, ReduceOp, VarId};
use einloom_cascade::ir::Composite;
use einloom_plan::ir::{Carry, FusedPlan, LeafDef, Reference};

const BF16: DType = DType::BF16;
const F32: DType = DType::F32;

/// Computed operands need a side that all warps share.
fn wide(plan: &FusedPlan, symbols: &[i64]) {
    let inputs = inputs(plan, symbols, &[], &|_| 1, 29);
    check(plan, &inputs, &schedule(32, 32, 2, 2), 16);
    check(plan, &inputs, &schedule(16, 16, 1, 3), 16);
}

fn both(plan: &FusedPlan, symbols: &[i64], limit: i64) {
    let inputs = inputs(plan, symbols, &[], &|_| limit, 23);
    check(plan, &inputs, &schedule(32, 16, 2, 2), 16);
    check(plan, &inputs, &schedule(16, 32, 1, 3), 16);
}

fn composite(plan: &mut Plan, name: &str, atoms: &[&str]) {
    let atoms = atoms.iter().map(|a| (*a).to_owned()).collect();
    plan.b.cascade_mut().composites.push(Composite {
        name: name.into(),
        atoms,
    });
}

/// The normalised output of carries 0 (`N`, with `f`) and 1 (`l`) of sweep 0.
fn ratio(plan: &mut Plan, f: VarId) -> ExprId {
    let (n, l) = (plan.carried(0, 0, 0, &[f]), plan.carried(0, 0, 1, &[]));
    let value = plan.map(MapOp::Div, &[n, l]);
    let zero = plan.b.real(0.0);
    let some = plan.map(MapOp::Lt, &[zero, l]);
    plan.b.select(some, value, zero)
}

/// Grouped queries: heads h = g * R + r share keys of g.
#[test]
fn grouped_queries() {
    let mut plan = Plan::new("gqa");
    let (g, r, p, m) = (
        plan.b.rank("g"),
        plan.b.fixed_rank("r", 3),
        plan.b.rank("p"),
        plan.b.rank("m"),
    );
    let (e, f) = (plan.b.fixed_rank("e", 16), plan.b.fixed_rank("f", 16));
    composite(&mut plan, "h", &["g", "r"]);
    let three = plan.b.int(3);
    let (eg, ep) = (plan.b.extent(g), plan.b.extent(p));
    let heads = plan.mul(eg, three);
    let sixteen = plan.b.int(16);
    let q = plan.b.input_with("Q", BF16, &[heads, ep, sixteen]);
    let rows = plan.b.input("rows", F32, &[p]);
    let k = plan.b.input("K", BF16, &[g, m, e]);
    let v = plan.b.input("V", BF16, &[g, m, f]);
    let [g, r, p, m, e, f] = [g, r, p, m, e, f].map(|x| plan.var(x));
    let (at_g, at_r, at_p, at_e) = (plan.b.at(g), plan.b.at(r), plan.b.at(p), plan.b.at(e));
    let head = plan.mul(at_g, three);
    let head = plan.add(head, at_r);
    let q = plan.b.read(q, &[head, at_p, at_e]);
    let (k, v) = (plan.read(k, &[g, m, e]), plan.read(v, &[g, m, f]));
    let s = plan.dot(q, k, e);
    let bias = plan.read(rows, &[p]);
    let s = plan.add(s, bias);
    let one = plan.b.real(1.0);
    let value = ratio(&mut plan, f);
    let o = plan.output("O", BF16, &[g, r, p, f]);
    let store = plan.store(o, &[f], value);
    let carries = vec![weighted("N", &[f], &[], v), weighted("l", &[], &[], one)];
    plan.kernel(
        "gqa",
        &[g, r, p],
        vec![sweep(&[m], vec![reference(s, &[])], carries)],
        vec![store],
    );
    both(&plan.finish(), &[1, 21, 34], 1);
}

/// A two-dimensional neighbourhood over product ranks p = (y, x), m = (v, u), with a relative bias.
#[test]
fn neighbourhood() {
    let mut plan = Plan::new("neighbourhood");
    let (y, x) = (plan.b.rank("y"), plan.b.rank("x"));
    let (ey, ex) = (plan.b.extent(y), plan.b.extent(x));
    let (v, u) = (plan.b.rank_with("v", ey), plan.b.rank_with("u", ex));
    let (e, f) = (plan.b.fixed_rank("e", 16), plan.b.fixed_rank("f", 16));
    composite(&mut plan, "p", &["y", "x"]);
    composite(&mut plan, "m", &["v", "u"]);
    let q = plan.b.input("Q", BF16, &[y, x, e]);
    let k = plan.b.input("K", BF16, &[y, x, e]);
    let val = plan.b.input("V", BF16, &[y, x, f]);
    let five = plan.b.int(5);
    let bias = plan.b.input_with("bias", F32, &[five, five]);
    let [y, x, v, u, e, f] = [y, x, v, u, e, f].map(|r| plan.var(r));
    let (q, k, val) = (
        plan.read(q, &[y, x, e]),
        plan.read(k, &[v, u, e]),
        plan.read(val, &[v, u, f]),
    );
    let dot = plan.dot(q, k, e);
    let two = plan.b.int(2);
    let mut conds = Vec::new();
    let mut near = Vec::new();
    for (a, b) in [(v, y), (u, x)] {
        let (a, b) = (plan.b.at(a), plan.b.at(b));
        let d = plan.sub(a, b);
        let far = plan.map(MapOp::Abs, &[d]);
        conds.push(plan.map(MapOp::Le, &[far, two]));
        near.push(plan.add(d, two));
    }
    let bias = plan.b.read(bias, &near);
    let s = plan.add(dot, bias);
    let one = plan.b.real(1.0);
    let value = ratio(&mut plan, f);
    let o = plan.output("O", BF16, &[y, x, f]);
    let store = plan.store(o, &[f], value);
    let carries = vec![weighted("N", &[f], &conds, val), weighted("l", &[], &conds, one)];
    plan.kernel(
        "near",
        &[y, x],
        vec![sweep(&[v, u], vec![reference(s, &conds)], carries)],
        vec![store],
    );
    both(&plan.finish(), &[7, 5], 1);
}

/// Pages found by a table: keys `K[table[b,c], i, e]`, m = (c, i), length by sequence.
#[test]
fn paged_keys() {
    let mut plan = Plan::new("paged");
    let (b, p, c, page) = (
        plan.b.rank("b"),
        plan.b.rank("p"),
        plan.b.rank("c"),
        plan.b.rank("page"),
    );
    let (i, e, f) = (
        plan.b.fixed_rank("i", 16),
        plan.b.fixed_rank("e", 16),
        plan.b.fixed_rank("f", 16),
    );
    composite(&mut plan, "m", &["c", "i"]);
    let q = plan.b.input("Q", BF16, &[b, p, e]);
    let k = plan.b.input("K", BF16, &[page, i, e]);
    let v = plan.b.input("V", BF16, &[page, i, f]);
    let table = plan.b.input("table", DType::I32, &[b, c]);
    let len = plan.b.input("len", DType::I32, &[b]);
    let [b, p, c, i, e, f] = [b, p, c, i, e, f].map(|r| plan.var(r));
    let (q, entry, len) = (
        plan.read(q, &[b, p, e]),
        plan.read(table, &[b, c]),
        plan.read(len, &[b]),
    );
    let (at_i, at_e, at_f, at_c) = (plan.b.at(i), plan.b.at(e), plan.b.at(f), plan.b.at(c));
    let k = plan.b.read(k, &[entry, at_i, at_e]);
    let v = plan.b.read(v, &[entry, at_i, at_f]);
    let s = plan.dot(q, k, e);
    let sixteen = plan.b.int(16);
    let key = plan.mul(at_c, sixteen);
    let key = plan.add(key, at_i);
    let seven = plan.b.int(7);
    let long = plan.mul(len, seven);
    let conds = [plan.map(MapOp::Lt, &[key, long])];
    let one = plan.b.real(1.0);
    let value = ratio(&mut plan, f);
    let o = plan.output("O", BF16, &[b, p, f]);
    let store = plan.store(o, &[f], value);
    let inner = |carry: Carry| Carry {
        inner: vec![i],
        ..carry
    };
    let carries = vec![
        inner(weighted("N", &[f], &conds, v)),
        inner(weighted("l", &[], &conds, one)),
    ];
    let reference = Reference {
        inner: vec![i],
        ..reference(s, &conds)
    };
    plan.kernel(
        "paged",
        &[b, p],
        vec![sweep(&[c], vec![reference], carries)],
        vec![store],
    );
    both(&plan.finish(), &[3, 5, 4, 6], 6);
}

/// Nested blocks: an inner softmax over the block, weighted by the score of the block's last key.
#[test]
fn landmark() {
    let mut plan = Plan::new("landmark");
    let (h, cp, c) = (plan.b.rank("h"), plan.b.rank("cp"), plan.b.rank("c"));
    let (ip, i, e, f) = (
        plan.b.fixed_rank("ip", 16),
        plan.b.fixed_rank("i", 16),
        plan.b.fixed_rank("e", 16),
        plan.b.fixed_rank("f", 24),
    );
    composite(&mut plan, "p", &["cp", "ip"]);
    composite(&mut plan, "m", &["c", "i"]);
    let (ecp, ec, eh) = (plan.b.extent(cp), plan.b.extent(c), plan.b.extent(h));
    let (sixteen, width) = (plan.b.int(16), plan.b.int(24));
    let (np, nm) = (plan.mul(ecp, sixteen), plan.mul(ec, sixteen));
    let q = plan.b.input_with("Q", BF16, &[eh, np, sixteen]);
    let k = plan.b.input_with("K", BF16, &[eh, nm, sixteen]);
    let v = plan.b.input_with("V", BF16, &[eh, nm, width]);
    let _bind = (
        plan.b.input("bh", F32, &[h]),
        plan.b.input("bcp", F32, &[cp]),
        plan.b.input("bc", F32, &[c]),
    );
    let [h, cp, c, ip, i, e, f] = [h, cp, c, ip, i, e, f].map(|r| plan.var(r));
    let inner_rank = plan.b.fixed_rank("i", 16);
    let (i2, i3) = (plan.var(inner_rank), plan.var(inner_rank));
    let (at_h, at_cp, at_c, at_ip, at_e, at_f) = (
        plan.b.at(h),
        plan.b.at(cp),
        plan.b.at(c),
        plan.b.at(ip),
        plan.b.at(e),
        plan.b.at(f),
    );
    let row = plan.mul(at_cp, sixteen);
    let row = plan.add(row, at_ip);
    let q = plan.b.read(q, &[at_h, row, at_e]);
    let block = plan.mul(at_c, sixteen);
    let score = |plan: &mut Plan, lane: ExprId| {
        let key = plan.add(block, lane);
        let k = plan.b.read(k, &[at_h, key, at_e]);
        plan.dot(q, k, e)
    };
    let value = |plan: &mut Plan, lane: ExprId| {
        let key = plan.add(block, lane);
        plan.b.read(v, &[at_h, key, at_f])
    };
    let last = plan.b.int(15);
    let mark = score(&mut plan, last);
    // Inner softmax over the block without its last key.
    let (a2, a3, a1) = (plan.b.at(i2), plan.b.at(i3), plan.b.at(i));
    let (s2, s3, s1) = (score(&mut plan, a2), score(&mut plan, a3), score(&mut plan, a1));
    let (c2, c3) = (plan.map(MapOp::Lt, &[a2, last]), plan.map(MapOp::Lt, &[a3, last]));
    let top = plan.b.reduce(ReduceOp::Max, &[i3], &[c3], s3);
    let e3 = plan.sub(s3, top);
    let e3 = plan.map(MapOp::Exp, &[e3]);
    let total = plan.b.sum(&[i3], &[c3], e3);
    let e2 = plan.sub(s2, top);
    let e2 = plan.map(MapOp::Exp, &[e2]);
    let weight = plan.map(MapOp::Div, &[e2, total]);
    let v2 = value(&mut plan, a2);
    let term = plan.mul(weight, v2);
    let inside = plan.b.sum(&[i2], &[c2], term);
    let earlier = [plan.map(MapOp::Lt, &[at_c, at_cp])];
    let own = [plan.map(MapOp::Eq, &[at_c, at_cp]), plan.map(MapOp::Le, &[a1, at_ip])];
    let one = plan.b.real(1.0);
    let v1 = value(&mut plan, a1);
    let weigh = |r: usize, carry: Carry| Carry {
        weight: Some((r, (1, 1))),
        ..carry
    };
    let carries = vec![
        weigh(0, carry("N1", ReduceOp::Sum, &[ip, f], &earlier, inside)),
        weigh(0, carry("l1", ReduceOp::Sum, &[ip], &earlier, one)),
        Carry {
            inner: vec![i],
            ..weigh(1, carry("N2", ReduceOp::Sum, &[ip, f], &own, v1))
        },
        Carry {
            inner: vec![i],
            ..weigh(1, carry("l2", ReduceOp::Sum, &[ip], &own, one))
        },
    ];
    let references = vec![
        Reference {
            dims: vec![ip],
            ..reference(mark, &earlier)
        },
        Reference {
            dims: vec![ip],
            inner: vec![i],
            ..reference(s1, &own)
        },
    ];
    let leaf = |plan: &mut Plan, n: usize| {
        let dims = if n.is_multiple_of(2) { vec![ip, f] } else { vec![ip] };
        plan.carried(0, 0, n, &dims)
    };
    let [n1, l1, n2, l2] = [0, 1, 2, 3].map(|n| leaf(&mut plan, n));
    let [g1, g2] = [0, 1].map(|reference| {
        plan.leaf(
            LeafDef::Reference {
                kernel: 0,
                sweep: 0,
                reference,
            },
            &[ip],
        )
    });
    let t = plan.map(MapOp::Max, &[g1, g2]);
    let (u1, u2) = (plan.sub(g1, t), plan.sub(g2, t));
    let (u1, u2) = (plan.map(MapOp::Exp, &[u1]), plan.map(MapOp::Exp, &[u2]));
    let (x1, x2) = (plan.mul(n1, u1), plan.mul(n2, u2));
    let (y1, y2) = (plan.mul(l1, u1), plan.mul(l2, u2));
    let (x, y) = (plan.add(x1, x2), plan.add(y1, y2));
    let result = plan.map(MapOp::Div, &[x, y]);
    let o = plan.output("O", BF16, &[h, cp, ip, f]);
    let store = plan.store(o, &[ip, f], result);
    plan.kernel(
        "landmark",
        &[h, cp],
        vec![sweep(&[c], references, carries)],
        vec![store],
    );
    both(&plan.finish(), &[1, 2, 2], 1);
}

/// Two key ranks and computed operands: `S = sum_e Q K1 K2`, values `V1 V2`.
#[test]
fn two_key_ranks() {
    let mut plan = Plan::new("kronecker");
    let (p, m, n) = (plan.b.rank("p"), plan.b.rank("m"), plan.b.rank("n"));
    let (e, f) = (plan.b.fixed_rank("e", 16), plan.b.fixed_rank("f", 16));
    let q = plan.b.input("Q", BF16, &[p, e]);
    let k1 = plan.b.input("K1", BF16, &[m, e]);
    let k2 = plan.b.input("K2", BF16, &[n, e]);
    let v1 = plan.b.input("V1", BF16, &[m, f]);
    let v2 = plan.b.input("V2", BF16, &[n, f]);
    let [p, m, n, e, f] = [p, m, n, e, f].map(|r| plan.var(r));
    let (q, k1, k2) = (plan.read(q, &[p, e]), plan.read(k1, &[m, e]), plan.read(k2, &[n, e]));
    let (v1, v2) = (plan.read(v1, &[m, f]), plan.read(v2, &[n, f]));
    let (k, v) = (plan.mul(k1, k2), plan.mul(v1, v2));
    let s = plan.dot(q, k, e);
    let one = plan.b.real(1.0);
    let value = ratio(&mut plan, f);
    let o = plan.output("O", BF16, &[p, f]);
    let store = plan.store(o, &[f], value);
    let carries = vec![weighted("N", &[f], &[], v), weighted("l", &[], &[], one)];
    plan.kernel(
        "kronecker",
        &[p],
        vec![sweep(&[m, n], vec![reference(s, &[])], carries)],
        vec![store],
    );
    wide(&plan.finish(), &[17, 7, 5]);
}

/// A projection inside of the score (`sum_e Q (sum_d W X)`), a biased query, and a normalised key.
#[test]
fn computed_operands() {
    let mut plan = Plan::new("computed");
    let (p, m) = (plan.b.rank("p"), plan.b.rank("m"));
    let (e, f, d) = (
        plan.b.fixed_rank("e", 16),
        plan.b.fixed_rank("f", 16),
        plan.b.fixed_rank("d", 32),
    );
    let q = plan.b.input("Q", BF16, &[p, e]);
    let x = plan.b.input("X", BF16, &[m, d]);
    let w = plan.b.input("W", BF16, &[e, d]);
    let bias = plan.b.input("B", BF16, &[e]);
    let v = plan.b.input("V", BF16, &[m, f]);
    let [p, m, e, f, d] = [p, m, e, f, d].map(|r| plan.var(r));
    let (q, x, w) = (plan.read(q, &[p, e]), plan.read(x, &[m, d]), plan.read(w, &[e, d]));
    let (bias, v) = (plan.read(bias, &[e]), plan.read(v, &[m, f]));
    let k = plan.dot(w, x, d);
    let q = plan.add(q, bias);
    let s = plan.dot(q, k, e);
    let small = plan.b.real(0.01);
    let s = plan.mul(s, small);
    let w = plan.map(MapOp::Tanh, &[s]);
    let term = plan.mul(w, v);
    let leaf = plan.carried(0, 0, 0, &[f]);
    let o = plan.output("O", BF16, &[p, f]);
    let store = plan.store(o, &[f], leaf);
    let carries = vec![carry("O", ReduceOp::Sum, &[f], &[], term)];
    plan.kernel("computed", &[p], vec![sweep(&[m], vec![], carries)], vec![store]);
    wide(&plan.finish(), &[17, 20]);
}
