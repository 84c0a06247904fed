//! Lower bounds of scalar ints: what is never negative is divided without regard to signs, in half the instructions.
//!
//! Ints of a program do not overflow: launches check extents and grids, and a spec whose own products pass 32 bits has no meaning on a device. So sums and
//! products of what is never negative are not negative either.

use einloom_cascade::expr::MapOp;
use einloom_tile::ir::{Extent, Math, Op, Stmt, TileProgram, ValueId};

/// A lower bound of a value, and the value itself, where they are known.
type Known = (Option<i64>, Option<i64>);

/// What is known of every value.
pub(crate) struct Counts(Vec<Known>);

impl Counts {
    /// Looks at every definition once, in program order.
    pub(crate) fn of(program: &TileProgram) -> Counts {
        let mut counts = Counts(vec![(None, None); program.values.len()]);
        counts.visit(program, &program.body);
        counts
    }

    /// Whether a value is known not to be negative.
    pub(crate) fn counts(&self, id: ValueId) -> bool {
        self.least(&id).is_some_and(|least| least >= 0)
    }

    fn least(&self, id: &ValueId) -> Option<i64> {
        self.0.get(id.index()).and_then(|known| known.0)
    }

    fn constant(&self, id: &ValueId) -> Option<i64> {
        self.0.get(id.index()).and_then(|known| known.1)
    }

    fn visit(&mut self, program: &TileProgram, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let(id, op) => {
                    let ty = program.values[id.index()];
                    if ty.rows.is_none() && ty.cols.is_none() {
                        let constant = match op {
                            Op::Int(n) => Some(*n),
                            _ => None,
                        };
                        self.0[id.index()] = (self.of_op(program, op), constant);
                    }
                }
                Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => self.visit(program, body),
                _ => {}
            }
        }
    }

    fn of_op(&self, program: &TileProgram, op: &Op) -> Option<i64> {
        match op {
            Op::Int(n) => Some(*n),
            Op::Block | Op::Grid(_) => Some(0),
            Op::Blocks => Some(1),
            Op::Param(at) => program.grid.iter().any(|g| counted_by(&g.extent, *at)).then_some(0),
            Op::Cast(v) => self.least(v),
            Op::Math(Math::Select, args) => match args.as_slice() {
                [_, a, b] => Some(self.least(a)?.min(self.least(b)?)),
                _ => None,
            },
            Op::Math(Math::Map(op), args) => match args.as_slice() {
                [a, b] => self.of_map(*op, a, b),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_map(&self, op: MapOp, a: &ValueId, b: &ValueId) -> Option<i64> {
        let (low, other) = (self.least(a), self.least(b));
        let counted = |x: Option<i64>| x.filter(|least| *least >= 0);
        match op {
            MapOp::Add => low?.checked_add(other?),
            MapOp::Sub => low?.checked_sub(self.constant(b)?),
            MapOp::Mul => counted(low)?.checked_mul(counted(other)?),
            MapOp::IDiv => counted(low).and(counted(other)).map(|_| 0),
            MapOp::IMod => counted(other).map(|_| 0),
            MapOp::Min => Some(low?.min(other?)),
            MapOp::Max => low.max(other),
            _ => None,
        }
    }
}

/// Whether a parameter is an extent that the grid counts.
fn counted_by(extent: &Extent, param: usize) -> bool {
    match extent {
        Extent::Param(at) => *at == param,
        Extent::Map(MapOp::Mul, args) => args.iter().any(|e| counted_by(e, param)),
        Extent::CeilDiv(inner, _) => counted_by(inner, param),
        Extent::Const(_) | Extent::Map(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use einloom_tile::ir::{Elem, GridDim, ScalarParam, Type};

    /// Scalars by their operations; which of them are counts.
    fn counted(ops: Vec<Op>) -> Vec<bool> {
        let scalar = Type {
            rows: None,
            cols: None,
            elem: Elem::I32,
            partial: false,
        };
        let param = |name: &str| ScalarParam {
            name: name.to_owned(),
            elem: Elem::I32,
        };
        let program = TileProgram {
            scalars: vec![param("P"), param("W")],
            grid: vec![GridDim {
                name: "p".to_owned(),
                extent: Extent::CeilDiv(Box::new(Extent::Param(0)), 128),
                reversed: false,
            }],
            values: vec![scalar; ops.len()],
            body: (0..).map(ValueId).zip(ops).map(|(id, op)| Stmt::Let(id, op)).collect(),
            ..TileProgram::default()
        };
        let counts = Counts::of(&program);
        (0..program.values.len() as u32)
            .map(|id| counts.counts(ValueId(id)))
            .collect()
    }

    fn map(op: MapOp, a: u32, b: u32) -> Op {
        Op::Math(Math::Map(op), vec![ValueId(a), ValueId(b)])
    }

    /// An extent and the number of blocks are counts; another parameter and a difference are not, unless something keeps them from being negative.
    #[test]
    fn counts_are_what_is_never_negative() {
        let found = counted(vec![
            Op::Param(0),
            Op::Param(1),
            Op::Blocks,
            Op::Int(1),
            map(MapOp::Sub, 2, 3),  // blocks - 1
            map(MapOp::Sub, 0, 3),  // P - 1
            map(MapOp::Sub, 0, 2),  // P - blocks
            map(MapOp::Mul, 0, 4),  // P (blocks - 1)
            map(MapOp::IMod, 6, 2), // a remainder by a count
            map(MapOp::IDiv, 6, 2),
            map(MapOp::Min, 0, 1),
            map(MapOp::Max, 6, 8),
        ]);
        let expected = [
            true, false, true, true, true, false, false, true, true, false, false, true,
        ];
        assert_eq!(found, expected);
    }
}
