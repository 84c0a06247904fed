//! Rings and asynchronous dots of specialised programs, with their rules enforced: counts in order, a tile awaited before it is read
//! and released once after its last reader is complete, no use of a pending result.

use super::value::Cells;
use super::{Block, InterpError};
use crate::ir::{BufferId, FillSource, Ix, Operand, Roles, Stmt, TileProgram, ValueId};
use crate::roles::needs_complete;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Filled(i64),
    Awaited(i64),
}

/// Queues of one block, and its pending dots.
pub(super) struct Rings {
    /// Stages of each buffer.
    places: Vec<Vec<Place>>,
    /// Tiles filled so far into each buffer.
    filled: Vec<i64>,
    /// Pending dots, oldest first: the result, and the stages that it reads.
    pending: Vec<(ValueId, Vec<(BufferId, i64)>)>,
    /// A turn is taken and not passed.
    turn: bool,
}

impl Rings {
    pub(super) fn new(program: &TileProgram) -> Rings {
        Rings {
            places: program
                .buffers
                .iter()
                .map(|b| vec![Place::Free; if b.ring { b.stages as usize } else { 0 }])
                .collect(),
            filled: vec![0; program.buffers.len()],
            pending: Vec::new(),
            turn: false,
        }
    }

    fn is_pending(&self, id: ValueId) -> bool {
        self.pending.iter().any(|(v, _)| *v == id)
    }
}

impl Block<'_> {
    fn hazard<T>(&self, buffer: BufferId, stage: i64, what: &'static str) -> Result<T, InterpError> {
        Err(InterpError::Hazard {
            buffer: self.program.buffers[buffer.index()].name.clone(),
            stage,
            what,
        })
    }

    fn stage_of(&self, buffer: BufferId, count: ValueId) -> Result<(i64, i64), InterpError> {
        let count = self.scalar(count)?;
        Ok((
            count,
            count.rem_euclid(i64::from(self.program.buffers[buffer.index()].stages)),
        ))
    }

    pub(super) fn fill(&mut self, buffer: BufferId, count: ValueId, source: &FillSource) -> Result<(), InterpError> {
        let (count, stage) = self.stage_of(buffer, count)?;
        if count != self.rings.filled[buffer.index()] {
            return self.hazard(buffer, stage, "filled out of order");
        }
        if self.rings.places[buffer.index()][stage as usize] != Place::Free {
            return self.hazard(buffer, stage, "filled before its last tile is released");
        }
        let cells = match source {
            FillSource::Rows {
                tensor,
                index,
                col0,
                valid,
                cols,
            } => self.copied(buffer, *tensor, index, col0, valid.as_ref(), *cols)?,
            FillSource::Box { map, index, col0 } => self.boxed(buffer, *map, index, col0)?,
        };
        self.rings.filled[buffer.index()] += 1;
        self.rings.places[buffer.index()][stage as usize] = Place::Filled(count);
        self.shared.deliver(buffer, stage, cells)
    }

    /// A tile by boxes: zero outside of the tensor.
    fn boxed(&self, buffer: BufferId, map: usize, index: &[Ix], col0: &Ix) -> Result<Cells, InterpError> {
        let info = &self.program.buffers[buffer.index()];
        let map = &self.program.maps[map];
        let size = |axis: crate::ir::AxisId| self.program.axes[axis.index()].size as usize;
        let (rows, width) = (size(info.rows), size(info.cols));
        let source = &self.tensors[map.tensor.index()];
        let name = &self.program.tensors[map.tensor.index()].name;
        let mut start = index.iter().map(|i| self.ix(i, 0)).collect::<Result<Vec<_>, _>>()?;
        start.push(self.ix(col0, 0)?);
        let mut cells = Cells::poison(info.elem, rows * width);
        for row in 0..rows {
            let mut at = start.clone();
            if let Some(dim) = map.row_dim {
                at[dim] += row as i64;
            }
            for col in 0..width {
                let mut at = at.clone();
                *at.last_mut().expect("a box has a last dimension") += col as i64;
                let inside = at.iter().zip(&source.shape).all(|(i, n)| (0..*n).contains(i));
                if inside && (map.row_dim.is_some() || row == 0) {
                    cells.set(row * width + col, &source.cells, source.position(name, &at)?);
                } else {
                    cells.clear(row * width + col);
                }
            }
        }
        Ok(cells)
    }

    pub(super) fn await_tile(&mut self, buffer: BufferId, count: ValueId) -> Result<(), InterpError> {
        let (count, stage) = self.stage_of(buffer, count)?;
        match self.rings.places[buffer.index()][stage as usize] {
            Place::Filled(c) | Place::Awaited(c) if c == count => {}
            _ => return self.hazard(buffer, stage, "awaited, and holds another tile"),
        }
        self.rings.places[buffer.index()][stage as usize] = Place::Awaited(count);
        Ok(())
    }

    pub(super) fn release(&mut self, buffer: BufferId, count: ValueId) -> Result<(), InterpError> {
        let (count, stage) = self.stage_of(buffer, count)?;
        if self.rings.places[buffer.index()][stage as usize] != Place::Awaited(count) {
            return self.hazard(buffer, stage, "released without being awaited");
        }
        let read = |(_, reads): &(ValueId, Vec<(BufferId, i64)>)| reads.contains(&(buffer, stage));
        if self.rings.pending.iter().any(read) {
            return self.hazard(buffer, stage, "released while a pending dot reads it");
        }
        self.rings.places[buffer.index()][stage as usize] = Place::Free;
        self.shared.retire(buffer, stage)
    }

    /// Turns alternate between taken and passed.
    pub(super) fn turn(&mut self, taken: bool) -> Result<(), InterpError> {
        if self.rings.turn == taken {
            let what = if taken {
                "a turn is taken twice"
            } else {
                "a turn is passed that nobody has"
            };
            return Err(InterpError::Illegal {
                value: 0,
                what: what.into(),
            });
        }
        self.rings.turn = taken;
        Ok(())
    }

    pub(super) fn dot_wait(&mut self, n: u32) {
        let done = self.rings.pending.len().saturating_sub(n as usize);
        self.rings.pending.drain(..done);
    }

    /// Notes a matrix dot as pending and checks that the stages it reads are there.
    pub(super) fn issue_dot(&mut self, id: ValueId, left: Operand, right: Operand) -> Result<(), InterpError> {
        let mut reads = Vec::new();
        for operand in [left, right] {
            let Operand::Shared(buffer, stage) = operand else {
                continue;
            };
            let stage = stage.map_or(Ok(0), |s| self.scalar(s))?;
            self.readable(buffer, stage)?;
            reads.push((buffer, stage));
        }
        if matches!(self.program.roles, Roles::Specialised { .. }) {
            self.rings.pending.push((id, reads));
        }
        Ok(())
    }

    /// A stage of a ring can be read once it was awaited.
    pub(super) fn readable(&self, buffer: BufferId, stage: i64) -> Result<(), InterpError> {
        if !self.program.buffers[buffer.index()].ring {
            return Ok(());
        }
        match self.rings.places[buffer.index()].get(stage as usize) {
            Some(Place::Awaited(_)) => Ok(()),
            _ => self.hazard(buffer, stage, "read without being awaited"),
        }
    }

    /// Refuses uses of pending results, except as accumulators, and pending results where control flow begins.
    pub(super) fn check_pending(&self, stmt: &Stmt) -> Result<(), InterpError> {
        if self.rings.pending.is_empty() {
            return Ok(());
        }
        let used = match stmt {
            Stmt::For { .. } | Stmt::If { .. } | Stmt::Guard { .. } => self.rings.pending.iter().map(|p| p.0).collect(),
            other => needs_complete(other),
        };
        match used.into_iter().find(|v| self.rings.is_pending(*v)) {
            Some(v) => self.pending_error(v),
            None => Ok(()),
        }
    }

    /// No dot may be pending at the end of a body.
    pub(super) fn check_settled(&self) -> Result<(), InterpError> {
        match self.rings.pending.first() {
            Some((v, _)) => self.pending_error(*v),
            None => Ok(()),
        }
    }

    fn pending_error(&self, value: ValueId) -> Result<(), InterpError> {
        Err(InterpError::Illegal {
            value: value.0,
            what: "a pending dot is used, or left pending at the end of a body".into(),
        })
    }
}
