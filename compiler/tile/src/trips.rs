//! Loops that run at most once, known by the form of their bounds.
//!
//! Such a loop is a condition with results: nothing in its body needs to be kept for another iteration.

use crate::ir::{Math, Op, Stmt, TileProgram, ValueId};
use einloom_cascade::expr::MapOp;

/// Definitions of a program's scalars.
pub struct Trips(Vec<Option<Op>>);

impl Trips {
    /// Looks at every definition once.
    pub fn of(program: &TileProgram) -> Trips {
        let mut ops = vec![None; program.values.len()];
        visit(&program.body, program, &mut ops);
        Trips(ops)
    }

    /// Whether `hi <= lo + 1` for certain.
    pub fn at_most_one(&self, lo: ValueId, hi: ValueId) -> bool {
        if self.same(lo, hi) {
            return true;
        }
        match self.op(hi) {
            Some(Op::Int(n)) => self.int(lo).is_some_and(|first| *n <= first.saturating_add(1)),
            Some(Op::Math(Math::Map(MapOp::Min), args)) => args.iter().any(|&a| self.at_most_one(lo, a)),
            Some(Op::Math(Math::Map(MapOp::Add), args)) => {
                let next = |x: ValueId, y: ValueId| self.at_least(lo, x) && self.int(y).is_some_and(|n| n <= 1);
                matches!(args.as_slice(), [x, y] if next(*x, *y) || next(*y, *x))
            }
            Some(Op::Math(Math::Select, args)) => args.iter().skip(1).all(|&a| self.at_most_one(lo, a)),
            _ => false,
        }
    }

    /// Whether `x >= y` for certain.
    fn at_least(&self, x: ValueId, y: ValueId) -> bool {
        match self.op(x) {
            _ if self.same(x, y) => true,
            Some(Op::Math(Math::Map(MapOp::Max), args)) => args.iter().any(|&a| self.same(a, y)),
            _ => false,
        }
    }

    fn op(&self, value: ValueId) -> Option<&Op> {
        self.0.get(value.index()).and_then(Option::as_ref)
    }

    fn int(&self, value: ValueId) -> Option<i64> {
        match self.op(value) {
            Some(Op::Int(n)) => Some(*n),
            _ => None,
        }
    }

    fn same(&self, x: ValueId, y: ValueId) -> bool {
        x == y || self.int(x).is_some_and(|n| self.int(y) == Some(n))
    }
}

fn visit(body: &[Stmt], program: &TileProgram, ops: &mut Vec<Option<Op>>) {
    for stmt in body {
        match stmt {
            Stmt::Let(id, op) => {
                let ty = program.values[id.index()];
                if ty.rows.is_none() && ty.cols.is_none() {
                    ops[id.index()] = Some(op.clone());
                }
            }
            Stmt::For { body, .. } | Stmt::If { body, .. } => visit(body, program, ops),
            _ => {}
        }
    }
}
