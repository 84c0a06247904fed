//! Scalar statements that are put together behind the lowering proper, outside of its scopes.

use super::builder::{Builder, scalar};
use crate::ir::{Elem, Extent, Math, Op, Stmt, ValueId};
use einloom_cascade::expr::MapOp;

/// Scalar statements in order.
#[derive(Default)]
pub(super) struct Scalars(pub(super) Vec<Stmt>);

impl Scalars {
    pub(super) fn emit_as(&mut self, b: &mut Builder, op: Op, elem: Elem) -> ValueId {
        let id = b.fresh_at(0, scalar(elem));
        self.0.push(Stmt::Let(id, op));
        id
    }

    pub(super) fn emit(&mut self, b: &mut Builder, op: Op) -> ValueId {
        self.emit_as(b, op, Elem::I32)
    }

    pub(super) fn int(&mut self, b: &mut Builder, n: i64) -> ValueId {
        self.emit(b, Op::Int(n))
    }

    pub(super) fn map(&mut self, b: &mut Builder, op: MapOp, x: ValueId, y: ValueId) -> ValueId {
        self.emit(b, Op::Math(Math::Map(op), vec![x, y]))
    }

    /// `x - y`, 0 where that is negative: a count, which is divided faster.
    pub(super) fn difference(&mut self, b: &mut Builder, x: ValueId, y: ValueId) -> ValueId {
        let zero = self.int(b, 0);
        let difference = self.map(b, MapOp::Sub, x, y);
        self.map(b, MapOp::Max, difference, zero)
    }

    pub(super) fn compare(&mut self, b: &mut Builder, op: MapOp, x: ValueId, y: ValueId) -> ValueId {
        self.emit_as(b, Op::Math(Math::Map(op), vec![x, y]), Elem::Bool)
    }

    /// `x / y`, rounded up; `one` is 1.
    pub(super) fn ceil_div(&mut self, b: &mut Builder, x: ValueId, y: ValueId, one: ValueId) -> ValueId {
        let above = self.map(b, MapOp::Add, x, y);
        let above = self.map(b, MapOp::Sub, above, one);
        self.map(b, MapOp::IDiv, above, y)
    }

    /// Extents of the grid.
    pub(super) fn extents(&mut self, b: &mut Builder) -> Vec<ValueId> {
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
