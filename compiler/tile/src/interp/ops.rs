//! Loads, pointwise functions, reductions and dots of the interpreter.

use super::value::{Cells, Grid, is_real, round};
use super::{Block, InterpError, math};
use crate::ir::{AxisId, Elem, Math, Operand, TensorId, ValueId};
use einloom_cascade::expr::ReduceOp;

/// A two-dimensional operand of a dot with its axes.
struct Matrix {
    cells: Cells,
    rows: AxisId,
    /// Extent of the second axis.
    width: usize,
}

impl Block<'_> {
    pub(super) fn pointwise(&self, id: ValueId, op: Math, args: &[ValueId]) -> Result<Cells, InterpError> {
        let ty = self.program.values[id.index()];
        let grid = self.grid(id);
        let sources = args
            .iter()
            .map(|a| Ok((self.value(*a)?, self.grid(*a))))
            .collect::<Result<Vec<_>, InterpError>>()?;
        let illegal = || InterpError::Illegal {
            value: id.0,
            what: format!("{op:?} of these types"),
        };
        let mut out = Cells::poison(ty.elem, grid.len());
        let mut reals = vec![0.0; args.len()];
        let mut ints = vec![0; args.len()];
        for row in 0..grid.rows {
            for col in 0..grid.cols {
                let to = grid.at(row, col);
                if op == Math::Select {
                    let chosen = if sources[0].0.int(sources[0].1.at(row, col)) != 0 {
                        1
                    } else {
                        2
                    };
                    out.set(to, sources[chosen].0, sources[chosen].1.at(row, col));
                    continue;
                }
                for (i, (cells, layout)) in sources.iter().enumerate() {
                    let from = layout.at(row, col);
                    reals[i] = cells.number(from);
                    ints[i] = cells.int(from);
                }
                let real_args = matches!(sources[0].0, Cells::Real(_));
                match (&mut out, real_args) {
                    (Cells::Real(v), true) => {
                        v[to] = round(ty.elem, math::real(op, &reals).ok_or_else(illegal)? as f32)
                    }
                    (Cells::Int(v), true) => {
                        v[to] = self.map_int(op, |m| math::real_to_int(m, &reals)).ok_or_else(illegal)?
                    }
                    (Cells::Int(v), false) => {
                        let n = self.map_int(op, |m| math::int(m, &ints)).ok_or_else(illegal)?;
                        v[to] = if ty.elem == Elem::I32 { i64::from(n as i32) } else { n };
                    }
                    (Cells::Real(v), false) => v[to] = round(ty.elem, ints[0] as f32),
                }
            }
        }
        Ok(out)
    }

    fn map_int(&self, op: Math, f: impl Fn(einloom_cascade::expr::MapOp) -> Option<i64>) -> Option<i64> {
        match op {
            Math::Map(m) => f(m),
            _ => None,
        }
    }

    pub(super) fn load(
        &self,
        id: ValueId,
        tensor: TensorId,
        index: &[ValueId],
        mask: Option<ValueId>,
    ) -> Result<Cells, InterpError> {
        let ty = self.program.values[id.index()];
        let grid = self.grid(id);
        let memory = &self.tensors[tensor.index()];
        let name = &self.program.tensors[tensor.index()].name;
        let mut out = Cells::poison(ty.elem, grid.len());
        let mut at = vec![0; index.len()];
        for row in 0..grid.rows {
            for col in 0..grid.cols {
                let to = grid.at(row, col);
                if let Some(m) = mask
                    && self.value(m)?.int(self.grid(m).at(row, col)) == 0
                {
                    out.clear(to);
                    continue;
                }
                for (slot, i) in at.iter_mut().zip(index) {
                    *slot = self.value(*i)?.int(self.grid(*i).at(row, col));
                }
                out.set(to, &memory.cells, memory.position(name, &at)?);
            }
        }
        Ok(out)
    }

    pub(super) fn row_reduce(&self, op: ReduceOp, arg: ValueId) -> Result<Cells, InterpError> {
        let grid = self.grid(arg);
        let illegal = || InterpError::Illegal {
            value: arg.0,
            what: format!("{op:?} over columns"),
        };
        let column = |row: usize| (0..grid.cols).map(move |col| grid.at(row, col));
        Ok(match self.value(arg)? {
            Cells::Real(v) => {
                let fold: fn(f32, f32) -> f32 = match op {
                    ReduceOp::Sum => |a, b| a + b,
                    ReduceOp::Prod => |a, b| a * b,
                    ReduceOp::Max => |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) },
                    ReduceOp::Min => |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) },
                    _ => return Err(illegal()),
                };
                let identity = match op {
                    ReduceOp::Sum => 0.0,
                    ReduceOp::Prod => 1.0,
                    ReduceOp::Max => f32::NEG_INFINITY,
                    _ => f32::INFINITY,
                };
                Cells::Real(
                    (0..grid.rows)
                        .map(|r| column(r).fold(identity, |a, i| fold(a, v[i])))
                        .collect(),
                )
            }
            Cells::Int(v) => {
                let fold: fn(i64, i64) -> i64 = match op {
                    ReduceOp::Sum => |a, b| i64::from((a + b) as i32),
                    ReduceOp::Max => i64::max,
                    ReduceOp::Min => i64::min,
                    ReduceOp::Any => |a, b| a | b,
                    ReduceOp::All => |a, b| a & b,
                    _ => return Err(illegal()),
                };
                let fold_row = |r: usize| column(r).map(|i| v[i]).reduce(fold).unwrap_or(0);
                Cells::Int((0..grid.rows).map(fold_row).collect())
            }
        })
    }

    fn matrix(&mut self, operand: Operand) -> Result<Matrix, InterpError> {
        match operand {
            Operand::Register(v) => {
                let ty = self.program.values[v.index()];
                let rows = ty.rows.ok_or_else(|| InterpError::Illegal {
                    value: v.0,
                    what: "operand without rows".into(),
                })?;
                Ok(Matrix {
                    cells: self.value(v)?.clone(),
                    rows,
                    width: self.grid(v).cols,
                })
            }
            Operand::Shared(buffer, stage) => {
                let stage = stage.map_or(Ok(0), |s| self.scalar(s))?;
                let info = self.program.buffers[buffer.index()].clone();
                let width = self.program.axes[info.cols.index()].size as usize;
                Ok(Matrix {
                    cells: self.shared.read(buffer, stage)?.clone(),
                    rows: info.rows,
                    width,
                })
            }
        }
    }

    pub(super) fn dot(
        &mut self,
        id: ValueId,
        left: Operand,
        right: Operand,
        over: AxisId,
        acc: Option<ValueId>,
    ) -> Result<Cells, InterpError> {
        let grid = self.grid(id);
        let depth = self.program.axes[over.index()].size as usize;
        let (a, b) = (self.matrix(left)?, self.matrix(right)?);
        let (Cells::Real(a_cells), Cells::Real(b_cells)) = (&a.cells, &b.cells) else {
            return Err(InterpError::Illegal {
                value: id.0,
                what: "dot of ints".into(),
            });
        };
        let strides = |m: &Matrix| if m.rows == over { (1, m.width) } else { (m.width, 1) };
        let ((a_row, a_k), (b_col, b_k)) = (strides(&a), strides(&b));
        let mut out = match acc {
            Some(v) => match self.value(v)? {
                Cells::Real(x) => x.clone(),
                Cells::Int(_) => {
                    return Err(InterpError::Illegal {
                        value: v.0,
                        what: "int accumulator".into(),
                    });
                }
            },
            None => vec![0.0; grid.len()],
        };
        // Columns contiguous, so that the innermost loop is one over slices: this is where the interpreter spends its time.
        let at = |i: usize| b_cells[(i % grid.cols) * b_col + (i / grid.cols) * b_k];
        let right: Vec<f32> = (0..depth * grid.cols).map(at).collect();
        for row in 0..grid.rows {
            let out_row = &mut out[row * grid.cols..(row + 1) * grid.cols];
            for k in 0..depth {
                let x = a_cells[row * a_row + k * a_k];
                for (y, w) in out_row.iter_mut().zip(&right[k * grid.cols..(k + 1) * grid.cols]) {
                    *y += x * w;
                }
            }
        }
        debug_assert!(is_real(self.program.values[id.index()].elem));
        let _: Grid = grid;
        Ok(Cells::Real(out))
    }
}
