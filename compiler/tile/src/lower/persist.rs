//! Persistent programs: a block loops over grid points instead of computing one.
//!
//! The body becomes that of a loop over `block, block + blocks, ..`. Where the last grid dimension orders tiles by length (`reversed`), a round takes a pair
//! of tiles, the t-th longest and the t-th shortest, one after the other: all pairs of a row are about equally long, so that all blocks end
//! together. Rings live on from one grid point to the next.

use super::builder::{Builder, scalar};
use super::rings::Ring;
use crate::ir::{Elem, Extent, LoopValue, Math, Op, Stmt, ValueId};
use einloom_cascade::expr::MapOp;

/// Wraps the finished body of the outermost scope.
pub(crate) fn persist(b: &mut Builder, body: Vec<Stmt>, rings: &[Ring]) -> Vec<Stmt> {
    let mut outer = Scalars::default();
    let extents = outer.extents(b);
    let paired = b.program.grid.last().is_some_and(|g| g.reversed);
    let zero = outer.int(b, 0);
    let one = outer.int(b, 1);
    let two = outer.int(b, 2);
    // Extents of the units that blocks take in turn: grid points, or pairs of them.
    let mut units = extents.clone();
    if let Some(last) = units.last_mut().filter(|_| paired) {
        let above = outer.map(b, MapOp::Add, *last, one);
        *last = outer.map(b, MapOp::IDiv, above, two);
    }
    let total = units.iter().copied().reduce(|x, y| outer.map(b, MapOp::Mul, x, y));
    let total = total.unwrap_or(one);
    let block = outer.emit(b, Op::Block);
    let blocks = outer.emit(b, Op::Blocks);
    let left = outer.map(b, MapOp::Sub, total, block);
    let above = outer.map(b, MapOp::Add, left, blocks);
    let above = outer.map(b, MapOp::Sub, above, one);
    let mut rounds = outer.map(b, MapOp::IDiv, above, blocks);
    if paired {
        rounds = outer.map(b, MapOp::Mul, rounds, two);
    }
    let round = b.fresh_at(0, scalar(Elem::I32));
    let mut inner = Scalars::default();
    let mut turn = round;
    if paired {
        turn = inner.map(b, MapOp::IDiv, round, two);
    }
    let first = inner.map(b, MapOp::Mul, turn, blocks);
    let linear = inner.map(b, MapOp::Add, first, block);
    let mut coordinates = unpack(&mut inner, b, linear, &units);
    let mut present = None;
    if let (Some(at), Some(&extent)) = (coordinates.last_mut().filter(|_| paired), extents.last()) {
        // Longest first: the t-th longest, then the t-th shortest. The middle one of an odd number has no partner.
        let last = inner.map(b, MapOp::Sub, extent, one);
        let mirrored = inner.map(b, MapOp::Sub, last, *at);
        let second = inner.map(b, MapOp::IMod, round, two);
        let second = inner.compare(b, MapOp::Eq, second, one);
        let alone = inner.compare(b, MapOp::Eq, *at, mirrored);
        let missing = inner.compare(b, MapOp::And, second, alone);
        present = Some(inner.emit(b, Op::Math(Math::Select, vec![missing, zero, one])));
        *at = inner.emit(b, Op::Math(Math::Select, vec![second, *at, mirrored]));
    }
    let body: Vec<Stmt> = body
        .into_iter()
        .filter_map(|stmt| match stmt {
            Stmt::Let(id, _) if rings.iter().any(|r| r.start == id) => None,
            Stmt::Let(id, Op::Grid(at)) => Some(Stmt::Let(id, Op::Cast(coordinates[at]))),
            other => Some(other),
        })
        .collect();
    let mut point = inner.0;
    let carried = match present {
        None => {
            point.extend(body);
            let one_loop = |ring: &Ring, result| LoopValue {
                init: zero,
                param: ring.start,
                next: ring.filled,
                result,
            };
            rings
                .iter()
                .map(|r| one_loop(r, b.fresh_at(0, scalar(Elem::I32))))
                .collect()
        }
        Some(present) => {
            let mut carried = Vec::new();
            let mut inside = Vec::new();
            for ring in rings {
                let [param, result, last] = [(); 3].map(|()| b.fresh_at(0, scalar(Elem::I32)));
                carried.push(LoopValue {
                    init: zero,
                    param,
                    next: result,
                    result: last,
                });
                inside.push(LoopValue {
                    init: param,
                    param: ring.start,
                    next: ring.filled,
                    result,
                });
            }
            point.push(Stmt::For {
                var: b.fresh_at(0, scalar(Elem::I32)),
                lo: zero,
                hi: present,
                carried: inside,
                body,
                label: "grid point".to_owned(),
            });
            carried
        }
    };
    let mut stmts = outer.0;
    stmts.push(Stmt::For {
        var: round,
        lo: zero,
        hi: rounds,
        carried,
        body: point,
        label: "grid".to_owned(),
    });
    stmts
}

/// Coordinates of a linear index, first dimension outermost.
fn unpack(s: &mut Scalars, b: &mut Builder, linear: ValueId, extents: &[ValueId]) -> Vec<ValueId> {
    let mut rest = linear;
    let mut coordinates = vec![linear; extents.len()];
    for at in (0..extents.len()).rev() {
        let mut coordinate = rest;
        if at > 0 {
            coordinate = s.map(b, MapOp::IMod, rest, extents[at]);
            rest = s.map(b, MapOp::IDiv, rest, extents[at]);
        }
        coordinates[at] = coordinate;
    }
    coordinates
}

/// Scalar statements in order.
#[derive(Default)]
struct Scalars(Vec<Stmt>);

impl Scalars {
    fn emit_as(&mut self, b: &mut Builder, op: Op, elem: Elem) -> ValueId {
        let id = b.fresh_at(0, scalar(elem));
        self.0.push(Stmt::Let(id, op));
        id
    }

    fn emit(&mut self, b: &mut Builder, op: Op) -> ValueId {
        self.emit_as(b, op, Elem::I32)
    }

    fn int(&mut self, b: &mut Builder, n: i64) -> ValueId {
        self.emit(b, Op::Int(n))
    }

    fn map(&mut self, b: &mut Builder, op: MapOp, x: ValueId, y: ValueId) -> ValueId {
        self.emit(b, Op::Math(Math::Map(op), vec![x, y]))
    }

    fn compare(&mut self, b: &mut Builder, op: MapOp, x: ValueId, y: ValueId) -> ValueId {
        self.emit_as(b, Op::Math(Math::Map(op), vec![x, y]), Elem::Bool)
    }

    /// Extents of the grid.
    fn extents(&mut self, b: &mut Builder) -> Vec<ValueId> {
        let grid: Vec<Extent> = b.program.grid.iter().map(|g| g.extent.clone()).collect();
        grid.iter().map(|e| self.extent(b, e)).collect()
    }

    fn extent(&mut self, b: &mut Builder, extent: &Extent) -> ValueId {
        match extent {
            Extent::Const(n) => self.int(b, *n),
            Extent::Param(i) => {
                let elem = b.program.scalars[*i].elem;
                let value = self.emit_as(b, Op::Param(*i), elem);
                if elem == Elem::I32 {
                    value
                } else {
                    self.emit(b, Op::Cast(value))
                }
            }
            Extent::CeilDiv(inner, by) => {
                let inner = self.extent(b, inner);
                let more = self.int(b, by - 1);
                let by = self.int(b, *by);
                let above = self.map(b, MapOp::Add, inner, more);
                self.map(b, MapOp::IDiv, above, by)
            }
            Extent::Map(op, args) => {
                let args: Vec<ValueId> = args.iter().map(|a| self.extent(b, a)).collect();
                self.emit(b, Op::Math(Math::Map(*op), args))
            }
        }
    }
}
