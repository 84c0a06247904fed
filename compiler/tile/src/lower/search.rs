//! Searches in sorted tables: the ends of a range that depend on an int tensor.
//!
//! `count(t < x)` over a sorted `t` ([`Count`]) is found before the sweep by a loop over scalars. The answer lies in `low..low + 8 * step`; a
//! round reads seven elements, `step` apart, all at once, and keeps an eighth. The number of rounds follows from the extent, so that
//! every thread runs the same ones.

use super::builder::scalar;
use super::context::Ctx;
use super::error::Result;
use super::{Lowerer, TensorKey};
use crate::ir::{Elem, LoopValue, Op, Stmt, ValueId};
use einloom_cascade::expr::{ExprId, MapOp};
use einloom_plan::domain::{Count, Sorted};

/// Parts of the range that is left, in a round.
const WAYS: i64 = 8;

/// Rounds begin with at most this power of `WAYS`: tables of up to 2^30 elements, as far as coordinates go.
const LAST_POWER: u32 = 9;

impl Lowerer<'_> {
    /// The value of an end of a range, a scalar.
    pub(crate) fn end(&mut self, scalars: &mut Ctx, sorted: &[Sorted], id: ExprId) -> Result<ValueId> {
        self.searches(scalars, sorted, id)?;
        self.eval(scalars, id)
    }

    /// Emits the searches below an expression, inner ones first.
    fn searches(&mut self, scalars: &mut Ctx, sorted: &[Sorted], id: ExprId) -> Result<()> {
        if scalars.memo.contains_key(&id) {
            return Ok(());
        }
        let Some(count) = Count::of(&self.exprs, id) else {
            for child in self.exprs.children(id) {
                self.searches(scalars, sorted, child)?;
            }
            return Ok(());
        };
        let table = Sorted {
            input: count.input,
            dim: count.dim,
        };
        if sorted.contains(&table) {
            let others = count.places.iter().enumerate().filter(|(d, _)| *d != count.dim);
            for inner in others.map(|(_, &place)| place).chain([count.limit]) {
                self.searches(scalars, sorted, inner)?;
            }
            let value = self.search(scalars, &count)?;
            scalars.memo.insert(id, value);
        }
        Ok(())
    }

    fn search(&mut self, scalars: &mut Ctx, count: &Count) -> Result<ValueId> {
        let dims = &self.plan.cascade.inputs[count.input.index()].dims;
        let extents: Vec<ExprId> = dims.iter().map(|d| d.extent).collect();
        let limit = self.eval(scalars, count.limit)?;
        let extent = self.uniform(extents[count.dim]);
        let mut index = Vec::with_capacity(extents.len());
        let mut mask = None;
        for (d, (&place, &bound)) in count.places.iter().zip(&extents).enumerate() {
            if d == count.dim {
                // replaced by each probe
                index.push(extent);
                continue;
            }
            let value = self.eval(scalars, place)?;
            let check = self.index_check(scalars, place, value, bound);
            mask = self.b.and(mask, check);
            index.push(value);
        }
        let table = Table {
            tensor: self.tensor(TensorKey::Input(count.input.index())),
            index,
            dim: count.dim,
            extent,
            mask,
        };
        Ok(self.search_loop(&table, limit))
    }

    fn search_loop(&mut self, table: &Table, limit: ValueId) -> ValueId {
        let int = scalar(Elem::I32);
        let zero = self.b.int(0);
        let (rounds, widest) = self.rounds(table.extent);
        let [found, rest] = [self.b.fresh(int), self.b.fresh(int)];
        self.b.open();
        let [round, low, step] = [self.b.fresh(int), self.b.fresh(int), self.b.fresh(int)];
        let mut next = low;
        let mut at = self.b.add_int(low, -1);
        for _ in 1..WAYS {
            at = self.b.add(at, step);
            let below = self.is_below(table, at, limit);
            let kept = self.b.select(below, step, zero);
            next = self.b.add(next, kept);
        }
        let finer = self.b.div_int(step, WAYS);
        let body = self.b.close();
        let carry = |init, param, next, result| LoopValue {
            init,
            param,
            next,
            result,
        };
        self.b.push(Stmt::For {
            var: round,
            lo: zero,
            hi: rounds,
            carried: vec![carry(zero, low, next, found), carry(widest, step, finer, rest)],
            body,
            label: "search".to_owned(),
        });
        found
    }

    /// Whether the element at `at` exists and is below `limit`.
    fn is_below(&mut self, table: &Table, at: ValueId, limit: ValueId) -> ValueId {
        let zero = self.b.int(0);
        let from = self.b.map(MapOp::Le, &[zero, at]);
        let to = self.b.map(MapOp::Lt, &[at, table.extent]);
        let inside = self.b.map(MapOp::And, &[from, to]);
        let mut index = table.index.clone();
        index[table.dim] = at;
        let read = Op::Load {
            tensor: table.tensor,
            index,
            mask: self.b.and(table.mask, Some(inside)),
        };
        let value = self.b.emit(read, scalar(Elem::I32));
        let below = self.b.map(MapOp::Lt, &[value, limit]);
        self.b.map(MapOp::And, &[inside, below])
    }

    /// Rounds that narrow `0..=extent` down to one place, and the step of the first.
    fn rounds(&mut self, extent: ValueId) -> (ValueId, ValueId) {
        let mut rounds = self.b.int(0);
        let mut step = self.b.int(1);
        for power in 0..=LAST_POWER {
            let width = self.b.int(WAYS.pow(power));
            let number = self.b.int(i64::from(power) + 1);
            let needed = self.b.map(MapOp::Le, &[width, extent]);
            rounds = self.b.select(needed, number, rounds);
            step = self.b.select(needed, width, step);
        }
        (rounds, step)
    }
}

/// A table at fixed other coordinates.
struct Table {
    tensor: crate::ir::TensorId,
    index: Vec<ValueId>,
    dim: usize,
    extent: ValueId,
    mask: Option<ValueId>,
}
