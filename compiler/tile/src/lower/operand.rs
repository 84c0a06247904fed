//! Operands of dots in shared memory: asynchronous copies of tensors, or values computed and stored.

use super::context::{Base, Ctx, Group};
use super::error::{LowerError, Result};
use super::facts::{const_extent, const_int, is_half};
use super::index::{at_tile, is_streamed};
use super::{Lowerer, TensorKey};
use crate::ir::{AxisId, BufferId, Elem, Ix, Op, Operand, Stmt, TensorId, Type, ValueId};
use crate::schedule::elem_bytes;
use einloom_cascade::expr::{DType, Expr, ExprId, MapOp};
use einloom_plan::ir::LeafDef;
use std::collections::BTreeMap;

/// A copy that the pipeline issues for every streamed tile.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamCopy {
    pub(crate) buffer: BufferId,
    pub(crate) tensor: TensorId,
    pub(crate) index: Vec<Ix>,
    pub(crate) col0: Ix,
    valid: Option<Ix>,
    cols: u32,
    /// The copy is a box of the tensor, whose rows run along this dimension.
    pub(crate) row_dim: Option<Option<usize>>,
}

impl StreamCopy {
    /// The copy of the tile with index `tile` into `stage`.
    pub(crate) fn issue(&self, tile: ValueId, stage: Option<ValueId>) -> Stmt {
        Stmt::CopyAsync {
            buffer: self.buffer,
            stage,
            tensor: self.tensor,
            index: self.index.iter().map(|i| at_tile(i, tile)).collect(),
            col0: at_tile(&self.col0, tile),
            valid: self.valid.as_ref().map(|v| at_tile(v, tile)),
            cols: self.cols,
        }
    }
}

/// A copy (of buffer 0) and the tile that it makes: row and column axis, element type, whether it is streamed.
type CopyKey = (StreamCopy, AxisId, AxisId, Elem, bool);

/// What is in shared memory.
#[derive(Default)]
pub(crate) struct Operands {
    /// Copied tiles.
    copied: Vec<(CopyKey, BufferId)>,
    /// Copies of the sweep at hand.
    pub(crate) stream: Vec<StreamCopy>,
    /// Stage of the current iteration.
    pub(crate) stage: Option<ValueId>,
    /// Buffers of computed tiles of loop bodies by type: every body uses them from the first on.
    pool: BTreeMap<(AxisId, AxisId, Elem), Vec<BufferId>>,
    cursor: BTreeMap<(AxisId, AxisId, Elem), usize>,
    /// Computed tiles of the body at hand, and of the outermost scope.
    stored: BTreeMap<(ValueId, Elem), BufferId>,
    resident: BTreeMap<(ValueId, Elem), BufferId>,
    /// The body at hand touches computed tiles, so that its iterations need a barrier between them.
    pub(crate) body_stores: bool,
    /// Stores of the body at hand that no barrier follows yet.
    pub(crate) stale: bool,
    /// Copies or stores of the outermost scope that nothing waited for yet.
    pub(crate) pending: bool,
}

impl Operands {
    pub(crate) fn begin_body(&mut self) {
        self.cursor.clear();
        self.stored.clear();
        self.stale = false;
        self.body_stores = false;
    }
}

/// The element type that a copy keeps, for storage types that dots read.
pub(crate) fn dot_elem(dtype: DType) -> Option<Elem> {
    match dtype {
        DType::F32 => Some(Elem::F32),
        DType::F16 => Some(Elem::F16),
        DType::BF16 => Some(Elem::BF16),
        _ => None,
    }
}

impl Lowerer<'_> {
    /// Tensor, indices and extents of an access to global memory.
    pub(crate) fn access(&self, id: ExprId) -> Option<(TensorKey, Vec<ExprId>, Vec<ExprId>)> {
        match self.exprs.get(id) {
            Expr::Input(input, index) => {
                let extents = self.plan.cascade.inputs[input.index()]
                    .dims
                    .iter()
                    .map(|d| d.extent)
                    .collect();
                Some((TensorKey::Input(input.index()), index.clone(), extents))
            }
            Expr::Leaf(leaf, index) => match self.plan.leaf(*leaf) {
                LeafDef::Crossing(c) => Some((TensorKey::Crossing(c), index.clone(), self.crossing_extents(c))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Copies the tile of an access whose rows are lanes of `a` and whose last dimension is the local variable of `b`.
    /// `None` if the access has another form; the operand is then computed.
    pub(crate) fn copied_operand(
        &mut self,
        ctx: &mut Ctx,
        id: ExprId,
        a: &Group,
        b: &Group,
    ) -> Result<Option<Operand>> {
        let Some((key, index, extents)) = self.access(id) else {
            return Ok(None);
        };
        let dtype = self.dtype_of(key);
        let Some(elem) = dot_elem(dtype) else { return Ok(None) };
        let [(column, column_extent)] = b.vars.as_slice() else {
            return Ok(None);
        };
        let Some(cols) = const_extent(&self.exprs, &self.plan.cascade.vars, *column) else {
            return Ok(None);
        };
        let Some((&last, others)) = index.split_last() else {
            return Ok(None);
        };
        if b.base != Base::Zero {
            return Ok(None);
        }
        for &other in others {
            if self.free.of(&self.exprs, other).contains(column) {
                return Ok(None);
            }
        }
        let Some(start) = self.last_index_start(last, *column, elem) else {
            return Ok(None);
        };
        // The whole row must exist: the rank of the last dimension itself, or a constant part of a constant extent.
        let last_extent = extents.last().copied();
        let fits = match last_extent.and_then(|e| const_int(&self.exprs, e)) {
            Some(n) => start + cols <= n,
            None => start == 0 && last_extent == Some(*column_extent),
        };
        if !fits {
            return Ok(None);
        }
        let mut list = Vec::with_capacity(index.len());
        let mut checks = Vec::new();
        for (&other, &extent) in others.iter().zip(&extents) {
            match self.copy_index(ctx, a, other) {
                Ok(ix) => {
                    checks.push((other, ix.clone(), extent));
                    list.push(ix);
                }
                Err(LowerError::Unsupported { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let valid = self.copy_valid(a, &checks);
        let row_dim = self.box_rows(a, &checks).filter(|_| {
            let padded = i64::from(self.b.axis_size(b.axis)) > cols;
            let ends = last_extent.and_then(|e| const_int(&self.exprs, e)) == Some(start + cols);
            self.align_of(key) >= 16 && index.len() <= 5 && (!padded || ends)
        });
        let copy = StreamCopy {
            row_dim,
            buffer: BufferId(0),
            tensor: self.tensor(key),
            index: list,
            col0: Ix::Const(start),
            valid,
            cols: cols as u32,
        };
        Ok(Some(self.register_copy(copy, a, b, elem)?))
    }

    /// The value of an access at every point of a streamed tile, from a copy that was issued tiles ahead. Only in walks: their blocks are few, so that
    /// nothing else hides the way of plain loads. `None`: it is loaded.
    pub(crate) fn staged(&mut self, ctx: &mut Ctx, id: ExprId) -> Result<Option<ValueId>> {
        let (Some(rows), Some(cols)) = (ctx.rows.clone(), ctx.cols.clone()) else {
            return Ok(None);
        };
        if !self.by_chunks || self.b.depth() == 0 || rows.streamed() == cols.streamed() {
            return Ok(None);
        }
        let half = self.access(id).is_some_and(|(key, ..)| is_half(self.dtype_of(key)));
        let (stream, other) = if rows.streamed() {
            (&rows, &cols)
        } else {
            (&cols, &rows)
        };
        let vars = self.free.of(&self.exprs, id);
        if vars.iter().any(|v| ctx.hidden.contains(v)) {
            return Ok(None);
        }
        let moves = vars.iter().any(|&v| stream.has(v));
        let whole = |s: &Self, g: &Group| s.b.axis_size(g.axis).is_multiple_of(16);
        if !half || !moves || !whole(self, stream) || !whole(self, other) {
            return Ok(None);
        }
        let Some(Operand::Shared(buffer, stage)) = self.copied_operand(ctx, id, stream, other)? else {
            return Ok(None);
        };
        let elem = self.b.program.buffers[buffer.index()].elem;
        let ty = Type {
            rows: Some(rows.axis),
            cols: Some(cols.axis),
            elem,
            partial: false,
        };
        let depth = self.b.depth();
        let tile = self.b.emit_at(depth, Op::LoadShared { buffer, stage }, ty);
        Ok(Some(self.b.cast(tile, Elem::F32)))
    }

    /// The dimension along which a copy's rows run, if a box of the tensor is the copy: rows at or beyond the group's end are beyond the
    /// tensor's end as well (and so 0), or there are none.
    fn box_rows(&self, a: &Group, checks: &[(ExprId, Ix, ExprId)]) -> Option<Option<usize>> {
        let index: Vec<Ix> = checks.iter().map(|(_, ix, _)| ix.clone()).collect();
        let row_dim = super::rings::row_dimension(&index)?;
        let whole = a.base == Base::Zero
            && a.bound.and_then(|b| self.b.known_int(b)) == Some(i64::from(self.b.axis_size(a.axis)));
        let ends_with = |dim: usize| {
            let (id, _, extent) = &checks[dim];
            a.vars.len() == 1 && self.is_coordinate(*id, *extent)
        };
        let exact = a.bound.is_none() || whole || row_dim.is_some_and(ends_with);
        (exact && row_dim.is_some()).then_some(row_dim)
    }

    /// `start` of a last index `var` or `var + start` that keeps 16-byte groups whole.
    fn last_index_start(&self, last: ExprId, column: einloom_cascade::expr::VarId, elem: Elem) -> Option<i64> {
        let is_column = |id: ExprId| matches!(self.exprs.get(id), Expr::Var(v) if *v == column);
        if is_column(last) {
            return Some(0);
        }
        let Expr::Map(MapOp::Add, args) = self.exprs.get(last) else {
            return None;
        };
        let (var, start) = if is_column(args[0]) {
            (args[0], args[1])
        } else {
            (args[1], args[0])
        };
        let start = const_int(&self.exprs, start)?;
        (is_column(var) && start >= 0 && start * elem_bytes(elem) as i64 % 16 == 0).then_some(start)
    }

    fn register_copy(&mut self, mut copy: StreamCopy, a: &Group, b: &Group, elem: Elem) -> Result<Operand> {
        let streamed =
            a.streamed() || copy.index.iter().any(is_streamed) || copy.valid.as_ref().is_some_and(is_streamed);
        let key = (copy.clone(), a.axis, b.axis, elem, streamed);
        let resident = 1 + u32::from(self.schedule.specialised.is_some_and(|s| s.ahead));
        let stages = if streamed { self.schedule.stages } else { resident };
        let known = self.operands.copied.iter().find(|(k, _)| *k == key).map(|(_, b)| *b);
        let buffer = match known {
            Some(buffer) => buffer,
            None => {
                let name = self.b.program.tensors[copy.tensor.index()].name.clone();
                let buffer = self.b.buffer(&name, a.axis, b.axis, elem, stages);
                self.operands.copied.push((key, buffer));
                buffer
            }
        };
        copy.buffer = buffer;
        if streamed {
            if !self.operands.stream.iter().any(|c| c.buffer == buffer) {
                self.operands.stream.push(copy);
            }
            let stage = match self.schedule.specialised {
                Some(_) => Some(self.ring_stage(buffer)),
                None => self.operands.stage,
            };
            return Ok(Operand::Shared(buffer, stage));
        }
        if self.schedule.specialised.is_some() {
            let stage = match self.rings.filled_once.get(&buffer) {
                Some(&stage) => stage,
                None => self.fill_resident(&copy)?,
            };
            return Ok(Operand::Shared(buffer, Some(stage)));
        }
        if known.is_none() {
            self.b.push_at(0, copy.issue(super::context::TILE, None));
            self.operands.pending = true;
        }
        Ok(Operand::Shared(buffer, None))
    }

    /// Stores a computed tile (rows or columns on `a` and `b`) where a dot can read it.
    pub(crate) fn stored_operand(&mut self, value: ValueId, elem: Elem) -> Result<Operand> {
        let ty = self.b.ty(value);
        let (Some(rows), Some(cols)) = (ty.rows, ty.cols) else {
            return Err(LowerError::Bug("a stored operand is no tile".to_owned()));
        };
        let key = (value, elem);
        let resident = self.b.depth_of(value) == 0;
        let known = self
            .operands
            .resident
            .get(&key)
            .or_else(|| self.operands.stored.get(&key));
        if let Some(&buffer) = known {
            return Ok(Operand::Shared(buffer, None));
        }
        let buffer = if resident {
            self.b.buffer("resident", rows, cols, elem, 1)
        } else {
            self.pooled(rows, cols, elem)
        };
        let rounded = self.b.cast(value, elem);
        let store = Stmt::StoreShared {
            buffer,
            stage: None,
            value: rounded,
        };
        if resident {
            self.b.push_at(0, store);
            self.operands.resident.insert(key, buffer);
            self.operands.pending = true;
            self.operands.stale |= self.b.depth() == 0;
        } else {
            self.b.push(store);
            self.operands.stored.insert(key, buffer);
            self.operands.stale = true;
            self.operands.body_stores = true;
        }
        Ok(Operand::Shared(buffer, None))
    }

    fn pooled(&mut self, rows: AxisId, cols: AxisId, elem: Elem) -> BufferId {
        let at = self.operands.cursor.entry((rows, cols, elem)).or_insert(0);
        let index = *at;
        *at += 1;
        if let Some(&buffer) = self
            .operands
            .pool
            .get(&(rows, cols, elem))
            .and_then(|list| list.get(index))
        {
            return buffer;
        }
        let buffer = self.b.buffer("computed", rows, cols, elem, 1);
        self.operands.pool.entry((rows, cols, elem)).or_default().push(buffer);
        buffer
    }

    /// Which of two groups can be the rows of a computed tile: `true` for the first.
    pub(crate) fn first_as_rows(&self, a: &Group, b: &Group) -> Result<bool> {
        let step = 16 * self.schedule.warps;
        let fits = |g: &Group| self.b.axis_size(g.axis).is_multiple_of(step);
        if fits(a) {
            return Ok(true);
        }
        if fits(b) {
            return Ok(false);
        }
        Err(LowerError::Schedule(format!(
            "a computed operand of {} x {} needs one side to be a multiple of 16 * warps = {step}",
            self.b.axis_size(a.axis),
            self.b.axis_size(b.axis)
        )))
    }

    /// Makes shared memory readable for a dot in the current scope.
    pub(crate) fn settle(&mut self) {
        if self.b.depth() == 0 {
            if self.operands.pending {
                if self.schedule.specialised.is_none() {
                    self.b.push(Stmt::Commit);
                    self.b.push(Stmt::Wait(0));
                }
                self.b.push(Stmt::Barrier);
                self.operands.pending = false;
            }
        } else if self.operands.stale {
            self.b.push(Stmt::Barrier);
        }
        self.operands.stale = false;
    }
}
