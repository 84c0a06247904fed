//! Softmax attention as the tile lowering would write it: online softmax, one tile of queries for each block, keys streamed.

use super::*;

/// Choices of the schedule.
#[derive(Clone, Copy)]
pub struct Attention {
    pub queries: u32,
    pub keys: u32,
    pub width: u32,
    pub warps: u32,
    pub blocks_per_sm: u32,
    /// 1: keys are fetched during the second product, values during the first. 2: both a whole tile ahead.
    pub stages: u32,
    pub causal: bool,
    /// Queries are kept in registers.
    pub resident: bool,
    pub dtype: DType,
}

impl Default for Attention {
    fn default() -> Attention {
        Attention {
            queries: 128,
            keys: 64,
            width: 128,
            warps: 4,
            blocks_per_sm: 2,
            stages: 1,
            causal: false,
            resident: false,
            dtype: DType::BF16,
        }
    }
}

struct Names {
    q: AxisId,
    k: AxisId,
    d: AxisId,
    elem: Elem,
    qs: BufferId,
    ks: BufferId,
    vs: BufferId,
    kt: TensorId,
    vt: TensorId,
    batch: ValueId,
    head: ValueId,
    keys: ValueId,
    one: ValueId,
    tile: ValueId,
    scale: ValueId,
    rows: ValueId,
}

/// Arguments: Q, K, V, O `[batch, head, position, width]` (pointer, 3 strides each), LSE `[batch, head, position]` (pointer, 2 strides),
/// batches, heads, positions (i32), scale times log2 e (f32).
pub fn attention(name: &str, a: Attention) -> TileProgram {
    let mut b = Build::new(name, a.warps, a.blocks_per_sm);
    let elem = if a.dtype == DType::BF16 { Elem::BF16 } else { Elem::F16 };
    let (q, k, d) = (b.axis("q", a.queries), b.axis("k", a.keys), b.axis("d", a.width));
    let qt = b.tensor("Q", a.dtype, 4, 16, false);
    let kt = b.tensor("K", a.dtype, 4, 16, false);
    let vt = b.tensor("V", a.dtype, 4, 16, false);
    let ot = b.tensor("O", a.dtype, 4, 16, true);
    let lt = b.tensor("LSE", DType::F32, 3, 4, true);
    let _batches = b.param("B", Elem::I32);
    let _heads = b.param("H", Elem::I32);
    let keys = b.param("M", Elem::I32);
    let scale = b.param("scale_log2e", Elem::F32);
    let batch = b.grid("b", Extent::Param(0), false);
    let head = b.grid("h", Extent::Param(1), false);
    let block = b.grid(
        "q",
        Extent::CeilDiv(Box::new(Extent::Param(2)), i64::from(a.queries)),
        a.causal,
    );
    let qs = b.buffer("Q", q, d, elem, 1);
    let ks = b.buffer("K", k, d, elem, a.stages);
    let vs = b.buffer("V", k, d, elem, a.stages);
    let size = b.int(i64::from(a.queries));
    let row0 = b.imap(MapOp::Mul, &[block, size]);
    let lane = b.set(ty(Some(q), None, Elem::I32), Op::Lane);
    let rows = b.map(ty(Some(q), None, Elem::I32), MapOp::Add, &[row0, lane]);
    let (zero, one, tile) = (b.int(0), b.int(1), b.int(i64::from(a.keys)));
    let n = Names {
        q,
        k,
        d,
        elem,
        qs,
        ks,
        vs,
        kt,
        vt,
        batch,
        head,
        keys,
        one,
        tile,
        scale,
        rows,
    };
    b.push(Stmt::CopyAsync {
        buffer: qs,
        stage: None,
        tensor: qt,
        index: vec![ix(batch), ix(head), ix_row(row0)],
        col0: Ix::Const(0),
        valid: ix_lt(ix_row(row0), keys),
        cols: a.width,
    });
    copy_tile(&mut b, &n, kt, ks, (a.stages > 1).then_some(zero), zero);
    if a.stages > 1 {
        copy_tile(&mut b, &n, vt, vs, Some(zero), zero);
    }
    b.push(Stmt::Commit);
    let left = if a.resident {
        b.push(Stmt::Wait(0));
        b.push(Stmt::Barrier);
        None
    } else {
        None
    };
    let full = b.imap(MapOp::IDiv, &[keys, tile]);
    let round = b.int(i64::from(a.keys) - 1);
    let padded = b.imap(MapOp::Add, &[keys, round]);
    let all = b.imap(MapOp::IDiv, &[padded, tile]);
    let (full, all) = if a.causal {
        let diagonal = b.imap(MapOp::IDiv, &[row0, tile]);
        let end = b.imap(MapOp::Add, &[row0, size]);
        let last = b.imap(MapOp::IDiv, &[end, tile]);
        (b.imap(MapOp::Min, &[full, diagonal]), b.imap(MapOp::Min, &[all, last]))
    } else {
        (full, all)
    };
    let row = ty(Some(q), None, Elem::F32);
    let m = b.set(row, Op::Real(f64::NEG_INFINITY));
    let l = b.set(Type { partial: true, ..row }, Op::Real(0.0));
    let o = b.set(ty(Some(q), Some(d), Elem::F32), Op::Real(0.0));
    let carried = b.for_loop(zero, full, &[m, l, o], |b, j, c| step(b, &n, &a, j, c, false, left));
    let carried = b.for_loop(full, all, &carried, |b, j, c| step(b, &n, &a, j, c, true, left));
    b.push(Stmt::Wait(0));
    let [m, l, o] = carried[..] else {
        panic!("three values are carried")
    };
    let l = b.set(row, Op::QuadReduce(ReduceOp::Sum, l));
    let unit = b.set(scalar(Elem::F32), Op::Real(1.0));
    let inverse = b.map(row, MapOp::Div, &[unit, l]);
    let o = b.map(ty(Some(q), Some(d), Elem::F32), MapOp::Mul, &[o, inverse]);
    let o = b.set(ty(Some(q), Some(d), elem), Op::Cast(o));
    let inside = b.map(ty(Some(q), None, Elem::Bool), MapOp::Lt, &[rows, keys]);
    let cols = b.set(ty(None, Some(d), Elem::I32), Op::Lane);
    b.push(Stmt::Store {
        tensor: ot,
        index: vec![batch, head, rows, cols],
        value: o,
        mask: Some(inside),
        through: None,
    });
    let logs = b.map(row, MapOp::Log2, &[l]);
    let ln2 = b.set(scalar(Elem::F32), Op::Real(std::f64::consts::LN_2));
    let ms = b.map(row, MapOp::Mul, &[m, scale]);
    let sum = b.map(row, MapOp::Add, &[ms, logs]);
    let lse = b.map(row, MapOp::Mul, &[sum, ln2]);
    b.push(Stmt::Store {
        tensor: lt,
        index: vec![batch, head, rows],
        value: lse,
        mask: Some(inside),
        through: None,
    });
    b.finish()
}

/// Starts copying tile `j` of K or V; rows beyond the end are zero.
fn copy_tile(b: &mut Build, n: &Names, tensor: TensorId, buffer: BufferId, stage: Option<ValueId>, j: ValueId) {
    let first = b.imap(MapOp::Mul, &[j, n.tile]);
    b.push(Stmt::CopyAsync {
        buffer,
        stage,
        tensor,
        index: vec![ix(n.batch), ix(n.head), ix_row(first)],
        col0: Ix::Const(0),
        valid: ix_lt(ix_row(first), n.keys),
        cols: b.program.axes[n.d.index()].size,
    });
}

fn wait(b: &mut Build, groups: u32) {
    b.push(Stmt::Wait(groups));
    b.push(Stmt::Barrier);
}

/// One tile of keys.
fn step(
    b: &mut Build,
    n: &Names,
    a: &Attention,
    j: ValueId,
    carried: &[ValueId],
    masked: bool,
    left: Option<ValueId>,
) -> Vec<ValueId> {
    let [m, l, o] = *carried else {
        panic!("three values are carried")
    };
    let (row, tile) = (ty(Some(n.q), None, Elem::F32), ty(Some(n.q), Some(n.k), Elem::F32));
    wait(b, 0);
    let next = b.imap(MapOp::Add, &[j, n.one]);
    let stage = (a.stages > 1).then(|| b.imap(MapOp::BitAnd, &[j, n.one]));
    if a.stages > 1 {
        let other = b.imap(MapOp::BitAnd, &[next, n.one]);
        copy_tile(b, n, n.kt, n.ks, Some(other), next);
        copy_tile(b, n, n.vt, n.vs, Some(other), next);
    } else {
        copy_tile(b, n, n.vt, n.vs, None, j);
    }
    b.push(Stmt::Commit);
    let left = left.map_or(Operand::Shared(n.qs, None), Operand::Register);
    let s = b.set(
        tile,
        Op::Dot {
            left,
            right: Operand::Shared(n.ks, stage),
            over: n.d,
            acc: None,
            kind: DotKind::Matrix,
        },
    );
    if a.stages == 1 {
        wait(b, 0);
        copy_tile(b, n, n.kt, n.ks, None, next);
        b.push(Stmt::Commit);
    }
    let s = if masked { mask(b, n, a, j, s) } else { s };
    let top = b.reduce(row, ReduceOp::Max, s);
    let m2 = b.map(row, MapOp::Max, &[m, top]);
    let low = b.map(row, MapOp::Mul, &[m2, n.scale]);
    let low = b.map(row, MapOp::Neg, &[low]);
    let difference = b.set(row, Op::Math(Math::Fma, vec![m, n.scale, low]));
    let alpha = b.set(row, Op::Math(Math::Exp2Fast, vec![difference]));
    let x = b.set(tile, Op::Math(Math::Fma, vec![s, n.scale, low]));
    let p = b.set(tile, Op::Math(Math::Exp2Fast, vec![x]));
    let part = b.reduce(Type { partial: true, ..row }, ReduceOp::Sum, p);
    let l2 = b.set(Type { partial: true, ..row }, Op::Math(Math::Fma, vec![l, alpha, part]));
    let wide = ty(Some(n.q), Some(n.d), Elem::F32);
    let o2 = b.map(wide, MapOp::Mul, &[o, alpha]);
    let p = b.set(Type { elem: n.elem, ..tile }, Op::Cast(p));
    let right = Operand::Shared(n.vs, stage);
    let o2 = b.set(
        wide,
        Op::Dot {
            left: Operand::Register(p),
            right,
            over: n.k,
            acc: Some(o2),
            kind: DotKind::Matrix,
        },
    );
    vec![m2, l2, o2]
}

fn mask(b: &mut Build, n: &Names, a: &Attention, j: ValueId, s: ValueId) -> ValueId {
    let lane = b.set(ty(None, Some(n.k), Elem::I32), Op::Lane);
    let first = b.imap(MapOp::Mul, &[j, n.tile]);
    let cols = b.map(ty(None, Some(n.k), Elem::I32), MapOp::Add, &[first, lane]);
    let inside = b.map(ty(None, Some(n.k), Elem::Bool), MapOp::Lt, &[cols, n.keys]);
    let both = ty(Some(n.q), Some(n.k), Elem::Bool);
    let keep = if a.causal {
        let causal = b.map(both, MapOp::Le, &[cols, n.rows]);
        b.map(both, MapOp::And, &[causal, inside])
    } else {
        inside
    };
    let none = b.set(scalar(Elem::F32), Op::Real(f64::NEG_INFINITY));
    b.set(
        ty(Some(n.q), Some(n.k), Elem::F32),
        Op::Math(Math::Select, vec![keep, s, none]),
    )
}
