//! Which tiles share registers, and which must not.

use super::Homes;
use einloom_cascade::expr::{MapOp, ReduceOp};
use einloom_tile::ir::*;

const ROWS: AxisId = AxisId(0);
pub(super) const COLS: AxisId = AxisId(1);

fn buffer(elem: Elem) -> Buffer {
    Buffer {
        name: String::new(),
        rows: ROWS,
        cols: COLS,
        elem,
        stages: 1,
        ring: false,
    }
}

/// A slice of one warpgroup on tiles of 64 x 64.
pub(super) struct Slice {
    pub(super) program: TileProgram,
}

impl Slice {
    pub(super) fn new() -> Slice {
        let axis = |name: &str| Axis {
            name: name.to_owned(),
            size: 64,
        };
        Slice {
            program: TileProgram {
                warps: 4,
                roles: Roles::Specialised {
                    consumer_registers: 0,
                    producer_registers: 0,
                },
                axes: vec![axis("rows"), axis("cols")],
                buffers: vec![
                    buffer(Elem::BF16),
                    buffer(Elem::BF16),
                    buffer(Elem::F32),
                    buffer(Elem::BF16),
                ],
                ..TileProgram::default()
            },
        }
    }

    pub(super) fn value(&mut self, rows: bool, cols: bool, elem: Elem) -> ValueId {
        self.program.values.push(Type {
            rows: rows.then_some(ROWS),
            cols: cols.then_some(COLS),
            elem,
            partial: false,
        });
        ValueId(self.program.values.len() as u32 - 1)
    }

    pub(super) fn tile(&mut self) -> ValueId {
        self.value(true, true, Elem::F32)
    }

    fn pairs(&mut self) -> ValueId {
        self.value(true, true, Elem::BF16)
    }

    fn row(&mut self) -> ValueId {
        self.value(true, false, Elem::F32)
    }

    fn int(&mut self) -> ValueId {
        self.value(false, false, Elem::I32)
    }

    fn homes(&self, body: &[Stmt]) -> Homes {
        Homes::of(&self.program, body)
    }
}

fn dot_of(left: Operand, id: ValueId, acc: Option<ValueId>) -> Stmt {
    let op = Op::Dot {
        left,
        right: Operand::Shared(BufferId(1), None),
        over: COLS,
        acc,
        kind: DotKind::Matrix,
    };
    Stmt::Let(id, op)
}

fn dot(id: ValueId, acc: Option<ValueId>) -> Stmt {
    dot_of(Operand::Shared(BufferId(0), None), id, acc)
}

fn scale(id: ValueId, tile: ValueId, by: ValueId) -> Stmt {
    Stmt::Let(id, Op::Math(Math::Map(MapOp::Mul), vec![tile, by]))
}

fn store(value: ValueId) -> Stmt {
    Stmt::StoreShared {
        buffer: BufferId(2),
        stage: None,
        value,
    }
}

fn repeat(s: &mut Slice, carried: Vec<LoopValue>, body: Vec<Stmt>) -> Stmt {
    Stmt::For {
        var: s.int(),
        lo: s.int(),
        hi: s.int(),
        carried,
        body,
        label: String::new(),
    }
}

fn carry(init: ValueId, param: ValueId, next: ValueId, result: ValueId) -> LoopValue {
    LoopValue {
        init,
        param,
        next,
        result,
    }
}

/// By name.
fn store_rounded(value: ValueId) -> Stmt {
    Stmt::StoreShared {
        buffer: BufferId(3),
        stage: None,
        value,
    }
}

const WAIT: Stmt = Stmt::DotWait(0);

/// Accumulators that start from zeros, are rescaled by rows under a guard and stored after the loop.
#[test]
fn an_accumulator_has_one_home() {
    let mut s = Slice::new();
    let (zero, param, sum, scaled, raised, result) = (s.tile(), s.tile(), s.tile(), s.tile(), s.tile(), s.tile());
    let (factor, cond) = (s.row(), s.value(true, false, Elem::Bool));
    let guard = Stmt::Guard {
        cond,
        carried: vec![carry(sum, sum, scaled, raised)],
        body: vec![scale(scaled, sum, factor)],
    };
    let body = vec![dot(sum, Some(param)), WAIT, guard];
    let body = vec![
        Stmt::Let(zero, Op::Real(0.0)),
        repeat(&mut s, vec![carry(zero, param, raised, result)], body),
        store(result),
    ];
    let homes = s.homes(&body);
    assert_eq!(homes.home(zero), None);
    assert_eq!(homes.constant(zero), Some(0));
    for value in [param, sum, scaled, raised, result] {
        assert_eq!(homes.home(value), Some(0), "{value:?}");
        assert_eq!(homes.is_read(value), value == result, "{value:?}");
    }
}

/// The second dot still needs what the first one accumulated onto.
#[test]
fn a_value_that_is_needed_again_is_not_overwritten() {
    let mut s = Slice::new();
    let (first, second, third) = (s.tile(), s.tile(), s.tile());
    let body = [
        dot(first, None),
        WAIT,
        dot(second, Some(first)),
        WAIT,
        dot(third, Some(first)),
        WAIT,
    ];
    let homes = s.homes(&body);
    assert_ne!(homes.home(second), homes.home(first));
    assert_eq!(homes.home(third), homes.home(first));
}

/// Dots in flight accumulate onto one home; a copy between them would have to wait.
#[test]
fn a_chain_in_flight_has_one_home() {
    let mut s = Slice::new();
    let (first, second) = (s.tile(), s.tile());
    let homes = s.homes(&[dot(first, None), dot(second, Some(first)), WAIT, store(second)]);
    assert_eq!(homes.home(first), Some(0));
    assert_eq!(homes.home(second), Some(0));
    assert!(!homes.is_read(first) && homes.is_read(second));
}

/// What is stored is a snapshot, so the old value does not need its home.
#[test]
fn an_old_value_may_be_read() {
    let mut s = Slice::new();
    let (first, second) = (s.tile(), s.tile());
    let homes = s.homes(&[
        dot(first, None),
        WAIT,
        dot(second, Some(first)),
        WAIT,
        store(first),
        store(second),
    ]);
    assert_eq!(homes.home(first), homes.home(second));
    assert!(homes.is_read(first) && homes.is_read(second));
}

/// Each iteration starts from a value of before the loop.
#[test]
fn a_loop_does_not_overwrite_what_its_next_iteration_needs() {
    let mut s = Slice::new();
    let (start, sum) = (s.tile(), s.tile());
    let body = vec![dot(sum, Some(start)), WAIT, store(sum)];
    let body = [dot(start, None), WAIT, repeat(&mut s, Vec::new(), body)];
    let homes = s.homes(&body);
    assert!(homes.home(start).is_some() && homes.home(sum).is_some());
    assert_ne!(homes.home(start), homes.home(sum));
}

/// Nor does a condition whose body may run.
#[test]
fn a_condition_does_not_overwrite_what_is_needed_after_it() {
    let mut s = Slice::new();
    let (start, inner, last) = (s.tile(), s.tile(), s.tile());
    let cond = s.value(false, false, Elem::Bool);
    let body = [
        dot(start, None),
        WAIT,
        Stmt::If {
            cond,
            body: vec![dot(inner, Some(start)), WAIT, store(inner)],
        },
        dot(last, Some(start)),
        WAIT,
    ];
    let homes = s.homes(&body);
    assert_ne!(homes.home(inner), homes.home(start));
    assert_eq!(homes.home(last), homes.home(start));
}

/// Two accumulators that change places every iteration: one after the other they cannot be copied.
#[test]
fn values_that_change_places_have_no_homes() {
    let mut s = Slice::new();
    let (a, b, x, y, u, v) = (s.tile(), s.tile(), s.tile(), s.tile(), s.tile(), s.tile());
    let swap = repeat(&mut s, vec![carry(a, x, y, u), carry(b, y, x, v)], Vec::new());
    let homes = s.homes(&[dot(a, None), dot(b, None), WAIT, swap, store(u), store(v)]);
    for value in [a, b, x, y, u, v] {
        assert_eq!(homes.home(value), None, "{value:?}");
    }
}

/// Two carried values that begin as one.
#[test]
fn one_value_in_two_carried_ones_is_copied() {
    let mut s = Slice::new();
    let (a, x, y, p, q, u, v) = (s.tile(), s.tile(), s.tile(), s.tile(), s.tile(), s.tile(), s.tile());
    let body = vec![dot(p, Some(x)), dot(q, Some(y)), WAIT];
    let both = repeat(&mut s, vec![carry(a, x, p, u), carry(a, y, q, v)], body);
    let homes = s.homes(&[dot(a, None), WAIT, both, store(u), store(v)]);
    assert!([a, x, y, p, q, u, v].iter().all(|&value| homes.home(value).is_some()));
    assert_ne!(homes.home(x), homes.home(y));
    assert_eq!((homes.home(x), homes.home(y)), (homes.home(p), homes.home(q)));
}

/// The operand of a dot in flight is not overwritten by the next one, unless the dot is complete before.
#[test]
fn operands_in_flight_keep_their_home() {
    for waits in [false, true] {
        let mut s = Slice::new();
        let (init, param, next, result) = (s.pairs(), s.pairs(), s.pairs(), s.pairs());
        let (sum, wide) = (s.tile(), s.tile());
        let product = dot_of(Operand::Register(param), sum, None);
        let cast = Stmt::Let(next, Op::Cast(wide));
        let body = match waits {
            false => vec![product, cast, WAIT, store(sum)],
            true => vec![product, WAIT, cast, store(sum)],
        };
        let body = [
            Stmt::Let(init, Op::Real(0.0)),
            repeat(&mut s, vec![carry(init, param, next, result)], body),
        ];
        let homes = s.homes(&body);
        assert!(homes.home(param).is_some() && homes.home(next).is_some());
        assert_eq!(homes.home(param) == homes.home(next), waits);
    }
}

/// A carried tile that no dot and no lines make or take stays a value of LLVM.
#[test]
fn other_tiles_have_no_homes() {
    let mut s = Slice::new();
    let (init, param, next, result) = (s.tile(), s.tile(), s.tile(), s.tile());
    let product = s.tile();
    let quotient = Stmt::Let(next, Op::Math(Math::Map(MapOp::Div), vec![param, product]));
    let around = repeat(
        &mut s,
        vec![carry(init, param, next, result)],
        vec![dot(product, None), WAIT, quotient],
    );
    let homes = s.homes(&[Stmt::Let(init, Op::Real(1.0)), around, store(result)]);
    assert_eq!(homes.home(product), Some(0));
    assert!(homes.is_read(product));
    for value in [init, param, next, result] {
        assert_eq!(homes.home(value), None, "{value:?}");
    }
}

/// A quotient of tiles, which has no lines, is put into the home that a dot accumulates onto.
#[test]
fn what_llvm_computes_flows_into_a_home() {
    let mut s = Slice::new();
    let (init, param, next, result) = (s.tile(), s.tile(), s.tile(), s.tile());
    let (product, more) = (s.tile(), s.tile());
    let quotient = Stmt::Let(next, Op::Math(Math::Map(MapOp::Div), vec![product, more]));
    let body = vec![dot(product, Some(param)), dot(more, None), WAIT, quotient];
    let around = repeat(&mut s, vec![carry(init, param, next, result)], body);
    let homes = s.homes(&[Stmt::Let(init, Op::Real(1.0)), around, store(result)]);
    assert_eq!(homes.constant(init), Some(1.0f32.to_bits()));
    for value in [param, product, next, result] {
        assert_eq!(homes.home(value), homes.home(param), "{value:?}");
    }
    assert_ne!(homes.home(more), homes.home(param));
    assert!(homes.is_read(product) && homes.is_read(more));
}

/// Lines from a dot's result to the pairs of the next dot: nothing is read but the sums of rows.
#[test]
fn a_chain_of_lines_has_homes() {
    let mut s = Slice::new();
    let (scores, shifted, weights, pairs, sum) = (s.tile(), s.tile(), s.tile(), s.pairs(), s.tile());
    let (scale, offset, total) = (s.row(), s.row(), s.row());
    let body = [
        dot(scores, None),
        WAIT,
        Stmt::Let(shifted, Op::Math(Math::Fma, vec![scores, scale, offset])),
        Stmt::Let(weights, Op::Math(Math::Exp2Fast, vec![shifted])),
        Stmt::Let(total, Op::RowReduce(ReduceOp::Sum, weights)),
        Stmt::Let(pairs, Op::Cast(weights)),
        dot_of(Operand::Register(pairs), sum, None),
        WAIT,
        store_rounded(sum),
    ];
    let homes = s.homes(&body);
    for value in [scores, shifted, weights, pairs, sum] {
        assert!(homes.home(value).is_some() && !homes.is_read(value), "{value:?}");
    }
    assert_eq!(homes.home(total), None);
}

/// Lines that spare nothing, and conditions that a load reads.
#[test]
fn lone_operations_stay_in_llvm() {
    let mut s = Slice::new();
    let (loaded, doubled, root) = (s.tile(), s.tile(), s.tile());
    let (mask, again) = (s.value(true, true, Elem::Bool), s.tile());
    let square_root = |to, of| Stmt::Let(to, Op::Math(Math::Map(MapOp::Sqrt), vec![of]));
    let load = |mask| Op::Load {
        tensor: TensorId(0),
        index: Vec::new(),
        mask,
    };
    let body = [
        Stmt::Let(loaded, load(None)),
        Stmt::Let(doubled, Op::Math(Math::Map(MapOp::Add), vec![loaded, loaded])),
        square_root(root, doubled),
        Stmt::Let(mask, Op::Math(Math::Map(MapOp::Lt), vec![loaded, root])),
        Stmt::Let(again, load(Some(mask))),
    ];
    let homes = s.homes(&body);
    for value in [loaded, doubled, root, mask, again] {
        assert_eq!(homes.home(value), None, "{value:?}");
    }
}

/// A store that rounds takes the home itself, so it has to come before the next dot.
#[test]
fn stores_by_name_need_the_home() {
    for late in [false, true] {
        let mut s = Slice::new();
        let (first, second) = (s.tile(), s.tile());
        let mut body = vec![
            dot(first, None),
            WAIT,
            store_rounded(first),
            dot(second, Some(first)),
            WAIT,
        ];
        if late {
            body.push(store_rounded(first));
        }
        let homes = s.homes(&body);
        assert_eq!(homes.home(first) != homes.home(second), late);
        assert!(homes.home(second).is_some() && !homes.is_read(first));
    }
}
