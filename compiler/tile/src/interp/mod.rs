//! CPU interpreter of tile programs: the meaning of [`crate::ir`], block after block, in f32 and i32 with the
//! program's own roundings. Every rule a GPU would punish silently is an error here: out-of-range accesses,
//! reads of unfinished copies, missing barriers.

pub mod math;
pub mod memory;
mod ops;
mod rings;
mod shared;
pub mod value;

use crate::ir::{BufferId, Elem, Extent, Ix, LoopValue, Op, Stmt, TensorId, TileProgram, ValueId};
use einloom_cascade::expr::MapOp;
pub use memory::TensorMemory;
use rings::Rings;
use shared::Shared;
use value::{Cells, Grid, is_real, round};

/// Why a program could not be executed: always a defect of the program or of its arguments.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InterpError {
    #[error("index {index:?} lies outside tensor `{tensor}` of shape {shape:?}")]
    OutOfBounds {
        tensor: String,
        index: Vec<i64>,
        shape: Vec<i64>,
    },
    #[error("stage {stage} of buffer `{buffer}` does not exist; it has {stages}")]
    Stage { buffer: String, stage: i64, stages: usize },
    #[error("stage {stage} of buffer `{buffer}` is {what}")]
    Hazard {
        buffer: String,
        stage: i64,
        what: &'static str,
    },
    #[error("value v{0} is used before it is defined")]
    Undefined(u32),
    #[error("v{value}: {what}")]
    Illegal { value: u32, what: String },
    #[error("the program takes {expected} {what}, {found} given")]
    Arguments {
        what: &'static str,
        expected: usize,
        found: usize,
    },
    #[error("grid extent: {0}")]
    Extent(String),
}

/// A scalar argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarValue {
    F32(f32),
    Int(i64),
}

/// Evaluates a grid extent for scalar arguments.
///
/// # Errors
/// Division by zero, overflow, or a real where an int belongs.
pub fn extent(extent: &Extent, scalars: &[ScalarValue]) -> Result<i64, InterpError> {
    match extent {
        Extent::Const(n) => Ok(*n),
        Extent::Param(i) => match scalars.get(*i) {
            Some(ScalarValue::Int(n)) => Ok(*n),
            _ => Err(InterpError::Extent(format!("scalar {i} is no int"))),
        },
        Extent::Map(op, args) => {
            let args = args
                .iter()
                .map(|a| self::extent(a, scalars))
                .collect::<Result<Vec<_>, _>>()?;
            math::int(*op, &args).ok_or_else(|| InterpError::Extent(format!("{op:?} of ints")))
        }
        Extent::CeilDiv(a, b) => {
            let a = self::extent(a, scalars)?;
            if *b <= 0 {
                Err(InterpError::Extent("division by zero".into()))
            } else {
                Ok((a + b - 1).div_euclid(*b))
            }
        }
    }
}

/// Blocks that a persistent program is run with: few, so that every block sees several tiles.
const PERSISTENT_BLOCKS: i64 = 3;

/// Runs every block of `program` over `tensors` (one for each of `program.tensors`), in order.
///
/// # Errors
/// See [`InterpError`].
pub fn run(program: &TileProgram, scalars: &[ScalarValue], tensors: &mut [TensorMemory]) -> Result<(), InterpError> {
    let check = |what, expected: usize, found: usize| {
        if expected == found {
            Ok(())
        } else {
            Err(InterpError::Arguments { what, expected, found })
        }
    };
    check("tensors", program.tensors.len(), tensors.len())?;
    check("scalars", program.scalars.len(), scalars.len())?;
    let extents = program
        .grid
        .iter()
        .map(|g| extent(&g.extent, scalars))
        .collect::<Result<Vec<_>, _>>()?;
    let tiles: i64 = extents.iter().map(|n| n.max(&0)).product();
    let blocks = if program.persistent() {
        tiles.min(PERSISTENT_BLOCKS)
    } else {
        tiles
    };
    for block in 0..blocks {
        let mut rest = block;
        let mut coordinates = vec![0; extents.len()];
        for (i, n) in extents.iter().enumerate().rev() {
            let at = rest % n;
            coordinates[i] = if program.grid[i].reversed { n - 1 - at } else { at };
            rest /= n;
        }
        Block {
            program,
            scalars,
            tensors,
            coordinates,
            launch: (block, blocks),
            rings: Rings::new(program),
            values: vec![None; program.values.len()],
            shared: Shared::new(program),
        }
        .statements(&program.body)?;
    }
    Ok(())
}

struct Block<'a> {
    program: &'a TileProgram,
    scalars: &'a [ScalarValue],
    tensors: &'a mut [TensorMemory],
    coordinates: Vec<i64>,
    /// This block, and the number of blocks.
    launch: (i64, i64),
    rings: Rings,
    values: Vec<Option<Cells>>,
    shared: Shared,
}

impl Block<'_> {
    fn value(&self, id: ValueId) -> Result<&Cells, InterpError> {
        self.values[id.index()].as_ref().ok_or(InterpError::Undefined(id.0))
    }

    fn grid(&self, id: ValueId) -> Grid {
        Grid::of(self.program, self.program.values[id.index()])
    }

    fn scalar(&self, id: ValueId) -> Result<i64, InterpError> {
        Ok(self.value(id)?.int(0))
    }

    fn statements(&mut self, body: &[Stmt]) -> Result<(), InterpError> {
        body.iter().try_for_each(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> Result<(), InterpError> {
        self.check_pending(stmt)?;
        match stmt {
            Stmt::Let(id, op) => {
                let cells = self.operation(*id, op)?;
                self.values[id.index()] = Some(cells);
            }
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                ..
            } => self.for_loop(*var, *lo, *hi, carried, body)?,
            Stmt::If { cond, body } => {
                if self.scalar(*cond)? != 0 {
                    self.statements(body)?;
                    self.check_settled()?;
                }
            }
            Stmt::Guard { cond, carried, body } => self.guard(*cond, carried, body)?,
            Stmt::Store {
                tensor,
                index,
                value,
                mask,
                through: _,
            } => self.store(*tensor, index, *value, *mask)?,
            Stmt::StoreShared { buffer, stage, value } => self.store_shared(*buffer, *stage, *value)?,
            Stmt::CopyAsync {
                buffer,
                stage,
                tensor,
                index,
                col0,
                valid,
                cols,
            } => {
                let cells = self.copied(*buffer, *tensor, index, col0, valid.as_ref(), *cols)?;
                let stage = stage.map_or(Ok(0), |s| self.scalar(s))?;
                let elem = self.program.buffers[buffer.index()].elem;
                self.shared.copy(*buffer, stage, elem, cells)?;
            }
            Stmt::Commit => self.shared.commit(),
            Stmt::Wait(n) => self.shared.wait(*n as usize),
            Stmt::Barrier => self.shared.barrier(),
            Stmt::Fill { buffer, count, source } => self.fill(*buffer, *count, source)?,
            Stmt::Await { buffer, count } => self.await_tile(*buffer, *count)?,
            Stmt::Release { buffer, count } => self.release(*buffer, *count)?,
            Stmt::DotWait(n) => self.dot_wait(*n),
            Stmt::Take => return self.turn(true),
            Stmt::Pass => return self.turn(false),
        }
        Ok(())
    }

    fn for_loop(
        &mut self,
        var: ValueId,
        lo: ValueId,
        hi: ValueId,
        carried: &[LoopValue],
        body: &[Stmt],
    ) -> Result<(), InterpError> {
        let (lo, hi) = (self.scalar(lo)?, self.scalar(hi)?);
        let mut state = carried
            .iter()
            .map(|c| self.value(c.init).cloned())
            .collect::<Result<Vec<_>, _>>()?;
        for i in lo..hi {
            self.values[var.index()] = Some(Cells::Int(vec![i]));
            for (c, cells) in carried.iter().zip(state.drain(..)) {
                self.values[c.param.index()] = Some(cells);
            }
            self.statements(body)?;
            self.check_settled()?;
            state = carried
                .iter()
                .map(|c| self.value(c.next).cloned())
                .collect::<Result<Vec<_>, _>>()?;
        }
        for (c, cells) in carried.iter().zip(state) {
            self.values[c.result.index()] = Some(cells);
        }
        Ok(())
    }

    /// Row fragments (16 rows) where the condition holds for some row take what the body makes.
    fn guard(&mut self, cond: ValueId, carried: &[LoopValue], body: &[Stmt]) -> Result<(), InterpError> {
        let shape = self.grid(cond);
        let holds = |at: usize| -> Result<bool, InterpError> { Ok(self.value(cond)?.int(shape.at(at, 0)) != 0) };
        let mut taken = vec![false; shape.rows.div_ceil(16)];
        for row in 0..shape.rows {
            taken[row / 16] |= holds(row)?;
        }
        let scalar = self.program.values[cond.index()].rows.is_none();
        self.statements(body)?;
        for c in carried {
            let grid = self.grid(c.init);
            let mut cells = self.value(c.init)?.clone();
            let raised = self.value(c.next)?;
            for row in (0..grid.rows).filter(|row| taken[if scalar { 0 } else { row / 16 }]) {
                for col in 0..grid.cols {
                    cells.set(grid.at(row, col), raised, grid.at(row, col));
                }
            }
            self.values[c.result.index()] = Some(cells);
        }
        Ok(())
    }

    fn store(
        &mut self,
        tensor: TensorId,
        index: &[ValueId],
        value: ValueId,
        mask: Option<ValueId>,
    ) -> Result<(), InterpError> {
        let mut all: Vec<ValueId> = index.to_vec();
        all.push(value);
        all.extend(mask);
        let joined = self.joined(&all);
        for row in 0..joined.rows {
            for col in 0..joined.cols {
                if let Some(m) = mask
                    && self.value(m)?.int(self.grid(m).at(row, col)) == 0
                {
                    continue;
                }
                let at = index
                    .iter()
                    .map(|i| Ok(self.value(*i)?.int(self.grid(*i).at(row, col))))
                    .collect::<Result<Vec<_>, InterpError>>()?;
                let position =
                    self.tensors[tensor.index()].position(&self.program.tensors[tensor.index()].name, &at)?;
                let from = self.values[value.index()]
                    .as_ref()
                    .ok_or(InterpError::Undefined(value.0))?;
                self.tensors[tensor.index()].store(position, from, self.grid(value).at(row, col));
            }
        }
        Ok(())
    }

    /// Row and column extents of the join of several values' shapes.
    fn joined(&self, values: &[ValueId]) -> Grid {
        let grids: Vec<Grid> = values.iter().map(|v| self.grid(*v)).collect();
        let rows = grids.iter().map(|g| g.rows).max().unwrap_or(1);
        let cols = grids.iter().map(|g| g.cols).max().unwrap_or(1);
        Grid {
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    fn store_shared(&mut self, buffer: BufferId, stage: Option<ValueId>, value: ValueId) -> Result<(), InterpError> {
        let stage = stage.map_or(Ok(0), |s| self.scalar(s))?;
        let info = &self.program.buffers[buffer.index()];
        let ty = self.program.values[value.index()];
        let grid = self.grid(value);
        let size = |axis: crate::ir::AxisId| self.program.axes[axis.index()].size as usize;
        let (rows, cols) = (size(info.rows), size(info.cols));
        let transposed = info.rows != info.cols && ty.cols == Some(info.rows) || ty.rows == Some(info.cols);
        let from = self.value(value)?;
        let mut cells = Cells::poison(info.elem, rows * cols);
        for row in 0..rows {
            for col in 0..cols {
                let source = if transposed {
                    grid.at(col, row)
                } else {
                    grid.at(row, col)
                };
                cells.set(row * cols + col, from, source);
            }
        }
        if let Cells::Real(v) = &mut cells {
            v.iter_mut().for_each(|x| *x = round(info.elem, *x));
        }
        self.shared.write(buffer, stage, cells)
    }

    fn load_shared(&mut self, id: ValueId, buffer: BufferId, stage: Option<ValueId>) -> Result<Cells, InterpError> {
        let stage = stage.map_or(Ok(0), |s| self.scalar(s))?;
        let ty = self.program.values[id.index()];
        let info = &self.program.buffers[buffer.index()];
        let grid = self.grid(id);
        let turned = ty.rows != Some(info.rows);
        let from = self.shared.read(buffer, stage)?;
        if !turned {
            return Ok(from.clone());
        }
        let mut cells = Cells::poison(ty.elem, grid.len());
        for row in 0..grid.rows {
            for col in 0..grid.cols {
                cells.set(row * grid.cols + col, from, col * grid.rows + row);
            }
        }
        Ok(cells)
    }

    fn copied(
        &self,
        buffer: BufferId,
        tensor: TensorId,
        index: &[Ix],
        col0: &Ix,
        valid: Option<&Ix>,
        cols: u32,
    ) -> Result<Cells, InterpError> {
        let info = &self.program.buffers[buffer.index()];
        let rows = self.program.axes[info.rows.index()].size as usize;
        let width = self.program.axes[info.cols.index()].size as usize;
        let mut cells = Cells::poison(info.elem, rows * width);
        let source = &self.tensors[tensor.index()];
        let name = &self.program.tensors[tensor.index()].name;
        for row in 0..rows {
            let live = valid.map_or(Ok(1), |v| self.ix(v, row))? != 0;
            let mut at = Vec::new();
            if live {
                at = index.iter().map(|i| self.ix(i, row)).collect::<Result<Vec<_>, _>>()?;
                at.push(self.ix(col0, row)?);
            }
            for col in 0..width {
                if live && col < cols as usize {
                    let position = source.position(name, &at)?;
                    cells.set(row * width + col, &source.cells, position);
                    *at.last_mut().expect("the contiguous dimension was pushed above") += 1;
                } else {
                    cells.clear(row * width + col);
                }
            }
        }
        Ok(cells)
    }

    fn ix(&self, ix: &Ix, lane: usize) -> Result<i64, InterpError> {
        Ok(match ix {
            Ix::Const(n) => *n,
            Ix::Value(v) => self.scalar(*v)?,
            Ix::Lane => lane as i64,
            // A guarded gather must not be read where its guard is false.
            Ix::Map(MapOp::And, args) if args.len() == 2 => {
                if self.ix(&args[0], lane)? == 0 {
                    0
                } else {
                    self.ix(&args[1], lane)?
                }
            }
            Ix::Map(op, args) => {
                let args = args.iter().map(|a| self.ix(a, lane)).collect::<Result<Vec<_>, _>>()?;
                math::int(*op, &args).ok_or_else(|| InterpError::Illegal {
                    value: 0,
                    what: format!("{op:?} in an index"),
                })?
            }
            Ix::Gather(tensor, index) => {
                let at = index.iter().map(|i| self.ix(i, lane)).collect::<Result<Vec<_>, _>>()?;
                let memory = &self.tensors[tensor.index()];
                memory
                    .cells
                    .int(memory.position(&self.program.tensors[tensor.index()].name, &at)?)
            }
        })
    }

    fn operation(&mut self, id: ValueId, op: &Op) -> Result<Cells, InterpError> {
        let ty = self.program.values[id.index()];
        let grid = self.grid(id);
        Ok(match op {
            Op::Real(x) => Cells::Real(vec![round(ty.elem, *x as f32); grid.len()]),
            Op::Int(n) => Cells::Int(vec![*n; grid.len()]),
            Op::Param(i) => match self.scalars[*i] {
                ScalarValue::F32(x) => Cells::Real(vec![x]),
                ScalarValue::Int(n) => Cells::Int(vec![n]),
            },
            Op::Grid(i) => Cells::Int(vec![self.coordinates[*i]]),
            Op::Block => Cells::Int(vec![self.launch.0]),
            Op::Blocks => Cells::Int(vec![self.launch.1]),
            Op::Lane => Cells::Int((0..grid.len() as i64).collect()),
            Op::Math(math, args) => self.pointwise(id, *math, args)?,
            Op::Cast(arg) => self.cast(ty.elem, *arg)?,
            Op::Load { tensor, index, mask } => self.load(id, *tensor, index, *mask)?,
            Op::LoadShared { buffer, stage } => self.load_shared(id, *buffer, *stage)?,
            Op::RowReduce(reduce, arg) => self.row_reduce(*reduce, *arg)?,
            Op::QuadReduce(_, arg) => self.value(*arg)?.clone(),
            Op::Dot {
                left,
                right,
                over,
                acc,
                kind,
            } => {
                if *kind == crate::ir::DotKind::Matrix {
                    self.issue_dot(id, *left, *right)?;
                }
                self.dot(id, *left, *right, *over, *acc)?
            }
        })
    }

    fn cast(&self, elem: Elem, arg: ValueId) -> Result<Cells, InterpError> {
        Ok(match (self.value(arg)?, is_real(elem)) {
            (Cells::Real(v), true) => Cells::Real(v.iter().map(|x| round(elem, *x)).collect()),
            (Cells::Int(v), true) => Cells::Real(v.iter().map(|x| round(elem, *x as f32)).collect()),
            (Cells::Int(v), false) if elem == Elem::I32 => Cells::Int(v.iter().map(|x| i64::from(*x as i32)).collect()),
            (Cells::Int(v), false) => Cells::Int(v.clone()),
            (Cells::Real(_), false) => {
                return Err(InterpError::Illegal {
                    value: arg.0,
                    what: "a real cannot be cast to an int".into(),
                });
            }
        })
    }
}
