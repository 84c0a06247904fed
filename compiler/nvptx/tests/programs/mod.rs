//! Hand-written tile programs, and a small builder for them.
#![allow(dead_code, unreachable_pub)]

pub mod attention;
pub mod hopper;
pub mod small;
pub mod spec;

use einloom_cascade::expr::{DType, MapOp, ReduceOp};
use einloom_tile::ir::*;

/// Builds a program statement by statement.
#[derive(Default)]
pub struct Build {
    pub program: TileProgram,
    /// Open statement lists, innermost last.
    open: Vec<Vec<Stmt>>,
}

pub fn ty(rows: Option<AxisId>, cols: Option<AxisId>, elem: Elem) -> Type {
    Type {
        rows,
        cols,
        elem,
        partial: false,
    }
}

pub fn scalar(elem: Elem) -> Type {
    ty(None, None, elem)
}

impl Build {
    pub fn new(name: &str, warps: u32, blocks_per_sm: u32) -> Build {
        let program = TileProgram {
            name: name.to_owned(),
            warps,
            blocks_per_sm,
            ..TileProgram::default()
        };
        Build {
            program,
            open: vec![Vec::new()],
        }
    }

    pub fn axis(&mut self, name: &str, size: u32) -> AxisId {
        self.program.axes.push(Axis {
            name: name.to_owned(),
            size,
        });
        AxisId(self.program.axes.len() as u32 - 1)
    }

    pub fn tensor(&mut self, name: &str, dtype: DType, rank: usize, align: u32, writable: bool) -> TensorId {
        self.program.tensors.push(Tensor {
            name: name.to_owned(),
            dtype,
            rank,
            contiguous: true,
            align,
            writable,
        });
        TensorId(self.program.tensors.len() as u32 - 1)
    }

    pub fn param(&mut self, name: &str, elem: Elem) -> ValueId {
        self.program.scalars.push(ScalarParam {
            name: name.to_owned(),
            elem,
        });
        let index = self.program.scalars.len() - 1;
        self.set(scalar(elem), Op::Param(index))
    }

    pub fn buffer(&mut self, name: &str, rows: AxisId, cols: AxisId, elem: Elem, stages: u32) -> BufferId {
        self.program.buffers.push(Buffer {
            name: name.to_owned(),
            rows,
            cols,
            elem,
            stages,
            ring: false,
        });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub fn ring(&mut self, name: &str, rows: AxisId, cols: AxisId, elem: Elem, stages: u32) -> BufferId {
        let id = self.buffer(name, rows, cols, elem, stages);
        self.program.buffers[id.index()].ring = true;
        id
    }

    pub fn grid(&mut self, name: &str, extent: Extent, reversed: bool) -> ValueId {
        self.program.grid.push(GridDim {
            name: name.to_owned(),
            extent,
            reversed,
        });
        let index = self.program.grid.len() - 1;
        self.set(scalar(Elem::I32), Op::Grid(index))
    }

    pub fn fresh(&mut self, ty: Type) -> ValueId {
        self.program.values.push(ty);
        ValueId(self.program.values.len() as u32 - 1)
    }

    pub fn push(&mut self, stmt: Stmt) {
        self.open.last_mut().expect("a list should be open").push(stmt);
    }

    pub fn set(&mut self, ty: Type, op: Op) -> ValueId {
        let id = self.fresh(ty);
        self.push(Stmt::Let(id, op));
        id
    }

    pub fn int(&mut self, n: i64) -> ValueId {
        self.set(scalar(Elem::I32), Op::Int(n))
    }

    pub fn map(&mut self, ty: Type, op: MapOp, args: &[ValueId]) -> ValueId {
        self.set(ty, Op::Math(Math::Map(op), args.to_vec()))
    }

    pub fn imap(&mut self, op: MapOp, args: &[ValueId]) -> ValueId {
        self.map(scalar(Elem::I32), op, args)
    }

    pub fn reduce(&mut self, ty: Type, op: ReduceOp, arg: ValueId) -> ValueId {
        self.set(ty, Op::RowReduce(op, arg))
    }

    /// A loop; `body` gets the counter and the carried values and returns their next values.
    pub fn for_loop(
        &mut self,
        lo: ValueId,
        hi: ValueId,
        inits: &[ValueId],
        body: impl FnOnce(&mut Build, ValueId, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        let var = self.fresh(scalar(Elem::I32));
        let like = |b: &mut Build, ids: &[ValueId]| -> Vec<ValueId> {
            ids.iter()
                .map(|i| {
                    let t = b.program.values[i.index()];
                    b.fresh(t)
                })
                .collect()
        };
        let params = like(self, inits);
        self.open.push(Vec::new());
        let next = body(self, var, &params);
        let body = self.open.pop().expect("the loop's list should be open");
        let results = like(self, inits);
        let carried = inits
            .iter()
            .enumerate()
            .map(|(i, &init)| LoopValue {
                init,
                param: params[i],
                next: next[i],
                result: results[i],
            })
            .collect();
        self.push(Stmt::For {
            var,
            lo,
            hi,
            carried,
            body,
            label: "loop".to_owned(),
        });
        results
    }

    pub fn finish(mut self) -> TileProgram {
        self.program.body = self.open.pop().expect("the outermost list should be open");
        self.program
    }
}

pub fn ix(v: ValueId) -> Ix {
    Ix::Value(v)
}

/// `v + row`.
pub fn ix_row(v: ValueId) -> Ix {
    Ix::Map(MapOp::Add, vec![Ix::Value(v), Ix::Lane])
}

pub fn ix_lt(a: Ix, b: ValueId) -> Option<Ix> {
    Some(Ix::Map(MapOp::Lt, vec![a, Ix::Value(b)]))
}
