//! Small programs, each for a few operations.

use super::*;

/// Copies a tensor `[rows, cols]` of the given alignment through shared memory in tiles of 32 x `width`.
pub fn copy(name: &str, dtype: DType, elem: Elem, width: u32, align: u32) -> TileProgram {
    let mut b = Build::new(name, 2, 1);
    let (r, c) = (b.axis("r", 32), b.axis("c", width));
    let x = b.tensor("X", dtype, 2, align, false);
    let y = b.tensor("Y", dtype, 2, align, true);
    let n = b.param("N", Elem::I32);
    let cols = b.param("C", Elem::I32);
    let block = b.grid("r", Extent::CeilDiv(Box::new(Extent::Param(0)), 32), false);
    let tile = b.buffer("T", r, c, elem, 1);
    let copied = b.buffer("U", c, r, elem, 1);
    let size = b.int(32);
    let row0 = b.imap(MapOp::Mul, &[block, size]);
    b.push(Stmt::CopyAsync {
        buffer: tile,
        stage: None,
        tensor: x,
        index: vec![ix_row(row0)],
        col0: Ix::Const(0),
        valid: ix_lt(ix_row(row0), n),
        cols: width - 2,
    });
    b.push(Stmt::Commit);
    b.push(Stmt::Wait(0));
    b.push(Stmt::Barrier);
    let lane = b.set(ty(Some(r), None, Elem::I32), Op::Lane);
    let rows = b.map(ty(Some(r), None, Elem::I32), MapOp::Add, &[row0, lane]);
    let col = b.set(ty(None, Some(c), Elem::I32), Op::Lane);
    let below = b.map(ty(Some(r), None, Elem::Bool), MapOp::Lt, &[rows, n]);
    let left = b.map(ty(None, Some(c), Elem::Bool), MapOp::Lt, &[col, cols]);
    let mask = b.map(ty(Some(r), Some(c), Elem::Bool), MapOp::And, &[below, left]);
    let value = b.set(
        ty(Some(r), Some(c), Elem::F32),
        Op::Load {
            tensor: x,
            index: vec![rows, col],
            mask: Some(mask),
        },
    );
    b.push(Stmt::StoreShared {
        buffer: tile,
        stage: None,
        value,
    });
    b.push(Stmt::StoreShared {
        buffer: copied,
        stage: None,
        value,
    });
    b.push(Stmt::Store {
        tensor: y,
        index: vec![rows, col],
        value,
        mask: Some(mask),
        through: None,
    });
    b.finish()
}

/// Applies every real function to a row of numbers, and every int function to their positions.
pub fn functions(name: &str) -> TileProgram {
    let mut b = Build::new(name, 1, 1);
    let r = b.axis("r", 16);
    let x = b.tensor("X", DType::F32, 1, 4, false);
    let y = b.tensor("Y", DType::F32, 2, 4, true);
    let z = b.tensor("Z", DType::I64, 2, 8, true);
    let n = b.param("N", Elem::I32);
    let block = b.grid("r", Extent::CeilDiv(Box::new(Extent::Param(0)), 16), true);
    let size = b.int(16);
    let row0 = b.imap(MapOp::Mul, &[block, size]);
    let ints = ty(Some(r), None, Elem::I32);
    let reals = ty(Some(r), None, Elem::F32);
    let lane = b.set(ints, Op::Lane);
    let rows = b.map(ints, MapOp::Add, &[row0, lane]);
    let mask = b.map(ty(Some(r), None, Elem::Bool), MapOp::Lt, &[rows, n]);
    let v = b.set(
        reals,
        Op::Load {
            tensor: x,
            index: vec![rows],
            mask: Some(mask),
        },
    );
    use MapOp::*;
    let unary = [
        Neg, Abs, Sign, Exp, Exp2, Log, Log2, Sqrt, Rsqrt, Sin, Cos, Tanh, Acos, Erf,
    ];
    let mut results: Vec<ValueId> = unary.iter().map(|&op| b.map(reals, op, &[v])).collect();
    let half = b.set(scalar(Elem::F32), Op::Real(0.5));
    results.extend([Add, Sub, Mul, Div, Pow, Min, Max, Atan2].map(|op| b.map(reals, op, &[v, half])));
    results.extend([DType::F16, DType::BF16, DType::F32].map(|t| b.map(reals, RoundTo(t), &[v])));
    let seed = b.int(7);
    results.push(b.map(reals, Uniform, &[seed, rows, lane]));
    let fast = b.set(reals, Op::Math(Math::Exp2Fast, vec![v]));
    results.push(b.set(reals, Op::Math(Math::Fma, vec![v, fast, half])));
    for (i, value) in results.into_iter().enumerate() {
        let i = b.int(i as i64);
        b.push(Stmt::Store {
            tensor: y,
            index: vec![i, rows],
            value,
            mask: Some(mask),
            through: None,
        });
    }
    let three = b.int(3);
    let mut results: Vec<ValueId> = [Add, Sub, Mul, Min, Max, IDiv, IMod, BitAnd, BitOr, BitXor, Shl, Shr]
        .map(|op| b.map(ints, op, &[rows, three]))
        .to_vec();
    results.extend([Neg, Abs, Sign, Popcount].map(|op| b.map(ints, op, &[rows])));
    results.extend([Floor, Ceil, Round].map(|op| b.map(ints, op, &[v])));
    results.push(b.map(ints, RoundTo(DType::I8), &[v]));
    for (i, value) in results.into_iter().enumerate() {
        let i = b.int(i as i64);
        b.push(Stmt::Store {
            tensor: z,
            index: vec![i, rows],
            value,
            mask: Some(mask),
            through: None,
        });
    }
    b.finish()
}

/// `C[m, n] = sum over k of A * B`, tiles of 64 x 64 x 32. Operands are stored so that `left_t` and `right_t` choose which axis of each is contracted.
pub fn product(name: &str, dtype: DType, elem: Elem, kind: DotKind, left_t: bool, right_t: bool) -> TileProgram {
    let mut b = Build::new(name, 2, 1);
    let (m, n, k) = (b.axis("m", 64), b.axis("n", 64), b.axis("k", 32));
    let at = b.tensor("A", dtype, 2, 16, false);
    let bt = b.tensor("B", dtype, 2, 16, false);
    let ct = b.tensor("C", DType::F32, 2, 16, true);
    let rows = b.param("M", Elem::I32);
    let cols = b.param("N", Elem::I32);
    let depth = b.param("K", Elem::I32);
    let bm = b.grid("m", Extent::CeilDiv(Box::new(Extent::Param(0)), 64), false);
    let bn = b.grid("n", Extent::CeilDiv(Box::new(Extent::Param(1)), 64), false);
    let left = if left_t {
        b.buffer("A", k, m, elem, 2)
    } else {
        b.buffer("A", m, k, elem, 2)
    };
    let right = if right_t {
        b.buffer("B", n, k, elem, 2)
    } else {
        b.buffer("B", k, n, elem, 2)
    };
    let (tile, step, one) = (b.int(64), b.int(32), b.int(1));
    let (m0, n0) = (b.imap(MapOp::Mul, &[bm, tile]), b.imap(MapOp::Mul, &[bn, tile]));
    let (zero, round) = (b.int(0), b.int(31));
    let padded = b.imap(MapOp::Add, &[depth, round]);
    let steps = b.imap(MapOp::IDiv, &[padded, step]);
    let out = ty(Some(m), Some(n), Elem::F32);
    let acc = b.set(out, Op::Real(0.0));
    let acc = b.for_loop(zero, steps, &[acc], |b, j, c| {
        let k0 = b.imap(MapOp::Mul, &[j, step]);
        let stage = b.imap(MapOp::BitAnd, &[j, one]);
        let mut copy = |tensor, buffer, first, end, col0, cols| {
            b.push(Stmt::CopyAsync {
                buffer,
                stage: Some(stage),
                tensor,
                index: vec![ix_row(first)],
                col0: Ix::Value(col0),
                valid: ix_lt(ix_row(first), end),
                cols,
            });
        };
        if left_t {
            copy(at, left, k0, depth, m0, 64)
        } else {
            copy(at, left, m0, rows, k0, 32)
        }
        if right_t {
            copy(bt, right, n0, cols, k0, 32)
        } else {
            copy(bt, right, k0, depth, n0, 64)
        }
        b.push(Stmt::Commit);
        b.push(Stmt::Wait(0));
        b.push(Stmt::Barrier);
        let (left, right) = (Operand::Shared(left, Some(stage)), Operand::Shared(right, Some(stage)));
        vec![b.set(
            out,
            Op::Dot {
                left,
                right,
                over: k,
                acc: Some(c[0]),
                kind,
            },
        )]
    });
    let lane = b.set(ty(Some(m), None, Elem::I32), Op::Lane);
    let r = b.map(ty(Some(m), None, Elem::I32), MapOp::Add, &[m0, lane]);
    let lane = b.set(ty(None, Some(n), Elem::I32), Op::Lane);
    let c = b.map(ty(None, Some(n), Elem::I32), MapOp::Add, &[n0, lane]);
    let below = b.map(ty(Some(m), None, Elem::Bool), MapOp::Lt, &[r, rows]);
    let left = b.map(ty(None, Some(n), Elem::Bool), MapOp::Lt, &[c, cols]);
    let mask = b.map(ty(Some(m), Some(n), Elem::Bool), MapOp::And, &[below, left]);
    b.push(Stmt::Store {
        tensor: ct,
        index: vec![r, c],
        value: acc[0],
        mask: Some(mask),
        through: None,
    });
    b.finish()
}

/// Products whose sums cannot keep a register each, since a loop exchanges them.
pub fn exchanged(name: &str) -> TileProgram {
    let mut b = Build::new(name, 2, 1);
    let (m, n, k) = (b.axis("m", 32), b.axis("n", 32), b.axis("k", 32));
    let source = b.tensor("A", DType::BF16, 2, 16, false);
    let y = b.tensor("Y", DType::F32, 3, 16, true);
    let times = b.param("N", Elem::I32);
    let (left, right) = (b.buffer("A", m, k, Elem::BF16, 1), b.buffer("B", k, n, Elem::BF16, 1));
    let zero = b.int(0);
    for buffer in [left, right] {
        b.push(Stmt::CopyAsync {
            buffer,
            stage: None,
            tensor: source,
            index: vec![ix_row(zero)],
            col0: Ix::Const(0),
            valid: None,
            cols: 32,
        });
    }
    b.push(Stmt::Commit);
    b.push(Stmt::Wait(0));
    b.push(Stmt::Barrier);
    let out = ty(Some(m), Some(n), Elem::F32);
    let dot = |b: &mut Build, acc| {
        let op = Op::Dot {
            left: Operand::Shared(left, None),
            right: Operand::Shared(right, None),
            over: k,
            acc,
            kind: DotKind::Matrix,
        };
        b.set(out, op)
    };
    let (first, second) = (dot(&mut b, None), dot(&mut b, None));
    let sums = b.for_loop(zero, times, &[first, second], |_, _, c| vec![c[1], c[0]]);
    let last = dot(&mut b, Some(sums[0]));
    let row = b.set(ty(Some(m), None, Elem::I32), Op::Lane);
    let col = b.set(ty(None, Some(n), Elem::I32), Op::Lane);
    for (i, value) in [last, sums[1]].into_iter().enumerate() {
        let place = b.int(i as i64);
        b.push(Stmt::Store {
            tensor: y,
            index: vec![place, row, col],
            value,
            mask: None,
            through: None,
        });
    }
    b.finish()
}
