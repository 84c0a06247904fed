//! Softmax attention with roles: queries, keys and values come through rings, the score product of the next keys runs beside
//! the value product of the last ones.

use super::*;

/// Choices of the schedule.
#[derive(Clone, Copy)]
pub struct Specialised {
    /// Warpgroups of 64 queries.
    pub consumers: u32,
    pub keys: u32,
    pub width: u32,
    pub stages: u32,
    pub consumer_registers: u32,
    pub producer_registers: u32,
    /// Blocks loop over the grid.
    pub persistent: bool,
    /// Keys and values are copied row by row, at places that a table gives.
    pub gathered: bool,
    /// Alignment of keys and values in bytes, where they are gathered.
    pub align: u32,
    /// Probabilities go to the value product through shared memory.
    pub through_shared: bool,
    pub dtype: DType,
}

impl Default for Specialised {
    fn default() -> Specialised {
        Specialised {
            consumers: 2,
            keys: 128,
            width: 128,
            stages: 2,
            consumer_registers: 240,
            producer_registers: 24,
            persistent: false,
            gathered: false,
            align: 16,
            through_shared: false,
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
    ps: Option<BufferId>,
    kt: TensorId,
    vt: TensorId,
    ot: TensorId,
    /// Place of each key.
    table: Option<TensorId>,
    positions: ValueId,
    scale: ValueId,
    zero: ValueId,
    one: ValueId,
    stages: ValueId,
}

/// One tile of queries: where it lies, and how many tiles the block has seen.
struct Tile {
    batch: ValueId,
    head: ValueId,
    row0: ValueId,
    /// Tiles of queries before this one.
    count: ValueId,
    /// Tiles of keys before this one.
    first: ValueId,
    blocks: ValueId,
}

/// Arguments: Q, K, V, O `[batch, head, position, width]` (pointer, 3 strides each), batches, heads, positions (i32; a multiple of the
/// tiles), scale times log2 e (f32), descriptors of Q, K, V.
pub fn specialised(name: &str, s: Specialised) -> TileProgram {
    let mut b = Build::new(name, 4 * s.consumers, 1);
    b.program.roles = Roles::Specialised {
        consumer_registers: s.consumer_registers,
        producer_registers: s.producer_registers,
    };
    let elem = if s.dtype == DType::BF16 { Elem::BF16 } else { Elem::F16 };
    let queries = 64 * s.consumers;
    let (q, k, d) = (b.axis("q", queries), b.axis("k", s.keys), b.axis("d", s.width));
    let tensors =
        [("Q", 16), ("K", s.align), ("V", s.align)].map(|(name, align)| b.tensor(name, s.dtype, 4, align, false));
    let [_, kt, vt] = tensors;
    let boxes = if s.gathered { 1 } else { 3 };
    for (tensor, rows) in tensors.into_iter().zip([queries, s.keys, s.keys]).take(boxes) {
        b.program.maps.push(TensorMap {
            tensor,
            row_dim: Some(2),
            rows,
        });
    }
    let ot = b.tensor("O", s.dtype, 4, 16, true);
    let table = s.gathered.then(|| b.tensor("places", DType::I32, 1, 4, false));
    let (batches, heads) = (b.param("B", Elem::I32), b.param("H", Elem::I32));
    let positions = b.param("M", Elem::I32);
    let scale = b.param("scale_log2e", Elem::F32);
    let (qs, ks, vs) = (
        b.ring("Q", q, d, elem, 1),
        b.ring("K", k, d, elem, s.stages),
        b.ring("V", k, d, elem, s.stages),
    );
    let ps = s.through_shared.then(|| b.buffer("P", q, k, elem, 1));
    let (zero, one, stages) = (b.int(0), b.int(1), b.int(i64::from(s.stages)));
    let n = Names {
        q,
        k,
        d,
        elem,
        qs,
        ks,
        vs,
        ps,
        kt,
        vt,
        ot,
        table,
        positions,
        scale,
        zero,
        one,
        stages,
    };
    let size = b.int(i64::from(queries));
    let tile = b.int(i64::from(s.keys));
    let blocks = b.imap(MapOp::IDiv, &[positions, tile]);
    let extent = Extent::CeilDiv(Box::new(Extent::Param(2)), i64::from(queries));
    if !s.persistent {
        let batch = b.grid("b", Extent::Param(0), false);
        let head = b.grid("h", Extent::Param(1), false);
        let block = b.grid("q", extent, false);
        let row0 = b.imap(MapOp::Mul, &[block, size]);
        let t = Tile {
            batch,
            head,
            row0,
            count: zero,
            first: zero,
            blocks,
        };
        one_tile(&mut b, &n, &t);
        return b.finish();
    }
    for (name, extent) in [("b", Extent::Param(0)), ("h", Extent::Param(1)), ("q", extent)] {
        b.program.grid.push(GridDim {
            name: name.to_owned(),
            extent,
            reversed: false,
        });
    }
    let wide = b.imap(MapOp::IDiv, &[positions, size]);
    let both = b.imap(MapOp::Mul, &[batches, heads]);
    let all = b.imap(MapOp::Mul, &[both, wide]);
    let start = b.set(scalar(Elem::I32), Op::Block);
    let step = b.set(scalar(Elem::I32), Op::Blocks);
    let left = b.imap(MapOp::Sub, &[all, start]);
    let up = b.imap(MapOp::Sub, &[step, one]);
    let left = b.imap(MapOp::Add, &[left, up]);
    let mine = b.imap(MapOp::IDiv, &[left, step]);
    b.for_loop(zero, mine, &[], |b, count, _| {
        let past = b.imap(MapOp::Mul, &[count, step]);
        let index = b.imap(MapOp::Add, &[start, past]);
        let block = b.imap(MapOp::IMod, &[index, wide]);
        let rest = b.imap(MapOp::IDiv, &[index, wide]);
        let t = Tile {
            batch: b.imap(MapOp::IDiv, &[rest, heads]),
            head: b.imap(MapOp::IMod, &[rest, heads]),
            row0: b.imap(MapOp::Mul, &[block, size]),
            count,
            first: b.imap(MapOp::Mul, &[count, blocks]),
            blocks,
        };
        one_tile(b, &n, &t);
        vec![]
    });
    b.finish()
}

fn one_tile(b: &mut Build, n: &Names, t: &Tile) {
    fill(b, n.qs, 0, t, t.count, t.row0);
    fill_keys(b, n, n.ks, 1, t, n.zero);
    await_tile(b, n.qs, t.count);
    let (count, stage) = tile(b, n, t, n.zero);
    await_tile(b, n.ks, count);
    let s = scores(b, n, stage);
    b.push(Stmt::DotWait(0));
    release(b, n.ks, count);
    let row = ty(Some(n.q), None, Elem::F32);
    let partial = Type { partial: true, ..row };
    let m = b.reduce(row, ReduceOp::Max, s);
    let (p, l) = exponentials(b, n, s, m);
    let p = b.set(half_tile(n), Op::Cast(p));
    let o = b.set(ty(Some(n.q), Some(n.d), Elem::F32), Op::Real(0.0));
    let carried = b.for_loop(n.one, t.blocks, &[m, l, o, p], |b, j, c| {
        let [m, l, o, p] = *c else {
            panic!("four values are carried")
        };
        let last = b.imap(MapOp::Sub, &[j, n.one]);
        fill_keys(b, n, n.ks, 1, t, j);
        fill_keys(b, n, n.vs, 2, t, last);
        let ((kc, kstage), (vc, vstage)) = (tile(b, n, t, j), tile(b, n, t, last));
        await_tile(b, n.ks, kc);
        let s = scores(b, n, kstage);
        await_tile(b, n.vs, vc);
        let o = values(b, n, p, vstage, o);
        b.push(Stmt::DotWait(1));
        release(b, n.ks, kc);
        let top = b.reduce(row, ReduceOp::Max, s);
        let m2 = b.map(row, MapOp::Max, &[m, top]);
        let down = b.map(row, MapOp::Sub, &[m, m2]);
        let down = b.map(row, MapOp::Mul, &[down, n.scale]);
        let alpha = b.set(row, Op::Math(Math::Exp2Fast, vec![down]));
        let (p, part) = exponentials(b, n, s, m2);
        let l = b.set(partial, Op::Math(Math::Fma, vec![l, alpha, part]));
        b.push(Stmt::DotWait(0));
        release(b, n.vs, vc);
        let p = b.set(half_tile(n), Op::Cast(p));
        let o = b.map(ty(Some(n.q), Some(n.d), Elem::F32), MapOp::Mul, &[o, alpha]);
        vec![m2, l, o, p]
    });
    let [_, l, o, p] = carried[..] else {
        panic!("four values are carried")
    };
    let last = b.imap(MapOp::Sub, &[t.blocks, n.one]);
    fill_keys(b, n, n.vs, 2, t, last);
    let (count, stage) = tile(b, n, t, last);
    await_tile(b, n.vs, count);
    let o = values(b, n, p, stage, o);
    b.push(Stmt::DotWait(0));
    release(b, n.vs, count);
    release(b, n.qs, t.count);
    store(b, n, t, l, o);
}

fn store(b: &mut Build, n: &Names, t: &Tile, l: ValueId, o: ValueId) {
    let (row, wide) = (ty(Some(n.q), None, Elem::F32), ty(Some(n.q), Some(n.d), Elem::F32));
    let l = b.set(row, Op::QuadReduce(ReduceOp::Sum, l));
    let unit = b.set(scalar(Elem::F32), Op::Real(1.0));
    let inverse = b.map(row, MapOp::Div, &[unit, l]);
    let o = b.map(wide, MapOp::Mul, &[o, inverse]);
    let o = b.set(Type { elem: n.elem, ..wide }, Op::Cast(o));
    let rows = ty(Some(n.q), None, Elem::I32);
    let lane = b.set(rows, Op::Lane);
    let at = b.map(rows, MapOp::Add, &[t.row0, lane]);
    let inside = b.map(
        Type {
            elem: Elem::Bool,
            ..rows
        },
        MapOp::Lt,
        &[at, n.positions],
    );
    let cols = b.set(ty(None, Some(n.d), Elem::I32), Op::Lane);
    b.push(Stmt::Store {
        tensor: n.ot,
        index: vec![t.batch, t.head, at, cols],
        value: o,
        mask: Some(inside),
        through: None,
    });
}

fn half_tile(n: &Names) -> Type {
    ty(Some(n.q), Some(n.k), n.elem)
}

/// Count and stage of the tile of keys `j`.
fn tile(b: &mut Build, n: &Names, t: &Tile, j: ValueId) -> (ValueId, ValueId) {
    let count = b.imap(MapOp::Add, &[t.first, j]);
    (count, b.imap(MapOp::IMod, &[count, n.stages]))
}

fn fill(b: &mut Build, buffer: BufferId, map: usize, t: &Tile, count: ValueId, row: ValueId) {
    b.push(Stmt::Fill {
        buffer,
        count,
        source: FillSource::Box {
            map,
            index: vec![ix(t.batch), ix(t.head), ix(row)],
            col0: Ix::Const(0),
        },
    });
}

fn fill_keys(b: &mut Build, n: &Names, buffer: BufferId, map: usize, t: &Tile, j: ValueId) {
    let size = b.program.axes[n.k.index()].size;
    let size = b.int(i64::from(size));
    let row = b.imap(MapOp::Mul, &[j, size]);
    let count = b.imap(MapOp::Add, &[t.first, j]);
    let Some(table) = n.table else {
        return fill(b, buffer, map, t, count, row);
    };
    b.push(Stmt::Fill {
        buffer,
        count,
        source: FillSource::Rows {
            tensor: if map == 1 { n.kt } else { n.vt },
            index: vec![ix(t.batch), ix(t.head), Ix::Gather(table, vec![ix_row(row)])],
            col0: Ix::Const(0),
            valid: ix_lt(ix_row(row), n.positions),
            cols: b.program.axes[n.d.index()].size,
        },
    });
}

fn await_tile(b: &mut Build, buffer: BufferId, count: ValueId) {
    b.push(Stmt::Await { buffer, count });
}

fn release(b: &mut Build, buffer: BufferId, count: ValueId) {
    b.push(Stmt::Release { buffer, count });
}

fn scores(b: &mut Build, n: &Names, stage: ValueId) -> ValueId {
    let op = Op::Dot {
        left: Operand::Shared(n.qs, None),
        right: Operand::Shared(n.ks, Some(stage)),
        over: n.d,
        acc: None,
        kind: DotKind::Matrix,
    };
    b.set(ty(Some(n.q), Some(n.k), Elem::F32), op)
}

fn values(b: &mut Build, n: &Names, p: ValueId, stage: ValueId, o: ValueId) -> ValueId {
    let left = match n.ps {
        None => Operand::Register(p),
        Some(buffer) => {
            b.push(Stmt::Barrier);
            b.push(Stmt::StoreShared {
                buffer,
                stage: None,
                value: p,
            });
            b.push(Stmt::Barrier);
            Operand::Shared(buffer, None)
        }
    };
    let op = Op::Dot {
        left,
        right: Operand::Shared(n.vs, Some(stage)),
        over: n.k,
        acc: Some(o),
        kind: DotKind::Matrix,
    };
    b.set(ty(Some(n.q), Some(n.d), Elem::F32), op)
}

/// `2^(scale (s - m))` and its partial sums.
fn exponentials(b: &mut Build, n: &Names, s: ValueId, m: ValueId) -> (ValueId, ValueId) {
    let (row, tile) = (ty(Some(n.q), None, Elem::F32), ty(Some(n.q), Some(n.k), Elem::F32));
    let low = b.map(row, MapOp::Mul, &[m, n.scale]);
    let low = b.map(row, MapOp::Neg, &[low]);
    let x = b.set(tile, Op::Math(Math::Fma, vec![s, n.scale, low]));
    let p = b.set(tile, Op::Math(Math::Exp2Fast, vec![x]));
    let sum = b.reduce(Type { partial: true, ..row }, ReduceOp::Sum, p);
    (p, sum)
}
