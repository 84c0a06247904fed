//! Shared memory with its rules enforced: data of an asynchronous copy arrives at the wait that covers it (until then the stage
//! is poison), a read needs a barrier after the write, an overwrite needs a barrier after the last read.

use super::InterpError;
use super::value::{Cells, is_real};
use crate::ir::{BufferId, Elem, TileProgram};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Access {
    /// Written since the last barrier.
    written: bool,
    /// Read since the last barrier.
    read: bool,
    /// Target of copies that are still under way.
    copying: u32,
}

struct Stage {
    cells: Cells,
    access: Access,
}

struct Copy {
    buffer: usize,
    stage: usize,
    cells: Cells,
}

/// Shared memory of one block.
pub(super) struct Shared {
    names: Vec<String>,
    stages: Vec<Vec<Stage>>,
    open: Vec<Copy>,
    groups: Vec<Vec<Copy>>,
}

impl Shared {
    /// Fresh, poisoned buffers of a program.
    pub(super) fn new(program: &TileProgram) -> Shared {
        let size = |axis: crate::ir::AxisId| program.axes[axis.index()].size as usize;
        let stages = program.buffers.iter().map(|buffer| {
            let n = size(buffer.rows) * size(buffer.cols);
            (0..buffer.stages)
                .map(|_| Stage {
                    cells: Cells::poison(buffer.elem, n),
                    access: Access::default(),
                })
                .collect()
        });
        Shared {
            names: program.buffers.iter().map(|b| b.name.clone()).collect(),
            stages: stages.collect(),
            open: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn stage(&mut self, buffer: BufferId, stage: i64) -> Result<&mut Stage, InterpError> {
        let name = &self.names[buffer.index()];
        let stages = &mut self.stages[buffer.index()];
        let n = stages.len();
        usize::try_from(stage)
            .ok()
            .and_then(|i| stages.get_mut(i))
            .ok_or_else(|| InterpError::Stage {
                buffer: name.clone(),
                stage,
                stages: n,
            })
    }

    /// Reads a stage.
    ///
    /// # Errors
    /// A hazard: written since the last barrier, or a copy is under way.
    pub(super) fn read(&mut self, buffer: BufferId, stage: i64) -> Result<&Cells, InterpError> {
        let name = self.names[buffer.index()].clone();
        let slot = self.stage(buffer, stage)?;
        if slot.access.copying > 0 {
            return Err(InterpError::Hazard {
                buffer: name,
                stage,
                what: "read while a copy into it is under way",
            });
        }
        if slot.access.written {
            return Err(InterpError::Hazard {
                buffer: name,
                stage,
                what: "read without a barrier after the write",
            });
        }
        slot.access.read = true;
        Ok(&slot.cells)
    }

    fn begin_write(&mut self, buffer: BufferId, stage: i64) -> Result<&mut Stage, InterpError> {
        let name = self.names[buffer.index()].clone();
        let slot = self.stage(buffer, stage)?;
        if slot.access.read {
            return Err(InterpError::Hazard {
                buffer: name,
                stage,
                what: "overwritten without a barrier after the last read",
            });
        }
        Ok(slot)
    }

    /// Writes a whole stage from registers.
    ///
    /// # Errors
    /// A hazard: read since the last barrier, or a copy is under way.
    pub(super) fn write(&mut self, buffer: BufferId, stage: i64, cells: Cells) -> Result<(), InterpError> {
        let name = self.names[buffer.index()].clone();
        let slot = self.begin_write(buffer, stage)?;
        if slot.access.copying > 0 {
            return Err(InterpError::Hazard {
                buffer: name,
                stage,
                what: "written while a copy into it is under way",
            });
        }
        slot.cells = cells;
        slot.access.written = true;
        Ok(())
    }

    /// Starts an asynchronous copy of a whole stage.
    ///
    /// # Errors
    /// A hazard: read since the last barrier.
    pub(super) fn copy(&mut self, buffer: BufferId, stage: i64, elem: Elem, cells: Cells) -> Result<(), InterpError> {
        let slot = self.begin_write(buffer, stage)?;
        slot.access.copying += 1;
        slot.cells = Cells::poison(elem, cells.len());
        debug_assert_eq!(is_real(elem), matches!(cells, Cells::Real(_)));
        self.open.push(Copy {
            buffer: buffer.index(),
            stage: stage as usize,
            cells,
        });
        Ok(())
    }

    /// A tile of a ring arrives; its reader awaits it, which is as good as a barrier.
    ///
    /// # Errors
    /// The stage does not exist.
    pub(super) fn deliver(&mut self, buffer: BufferId, stage: i64, cells: Cells) -> Result<(), InterpError> {
        let slot = self.stage(buffer, stage)?;
        slot.cells = cells;
        slot.access = Access::default();
        Ok(())
    }

    /// A tile of a ring is gone.
    ///
    /// # Errors
    /// The stage does not exist.
    pub(super) fn retire(&mut self, buffer: BufferId, stage: i64) -> Result<(), InterpError> {
        let slot = self.stage(buffer, stage)?;
        slot.access = Access::default();
        let cells = slot.cells.len();
        let elem = if matches!(slot.cells, Cells::Real(_)) {
            Elem::F32
        } else {
            Elem::I32
        };
        slot.cells = Cells::poison(elem, cells);
        Ok(())
    }

    /// Closes the current group.
    pub(super) fn commit(&mut self) {
        self.groups.push(std::mem::take(&mut self.open));
    }

    /// Completes all but the `n` newest groups.
    pub(super) fn wait(&mut self, n: usize) {
        let done = self.groups.len().saturating_sub(n);
        for copy in self.groups.drain(..done).flatten() {
            let slot = &mut self.stages[copy.buffer][copy.stage];
            slot.cells = copy.cells;
            slot.access.copying -= 1;
            slot.access.written = true;
        }
    }

    /// Barrier of the block.
    pub(super) fn barrier(&mut self) {
        for slot in self.stages.iter_mut().flatten() {
            slot.access.written = false;
            slot.access.read = false;
        }
    }
}
