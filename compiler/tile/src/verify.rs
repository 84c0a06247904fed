//! Static checks of a tile program: scopes, shapes, element types, layouts, limits. What depends on the execution (bounds,
//! unfinished copies, missing barriers) is checked by the interpreter on every run.
//!
//! A program that passes is legal input of every backend; LLVM is never the first to find an illegal one.

use crate::ir::{
    AxisId, DotKind, Elem, FillSource, Ix, LoopValue, Math, Op, Operand, Passage, Roles, Stmt, TensorId, TileProgram,
    Type, ValueId,
};
use einloom_cascade::expr::{DType, ReduceOp};

/// A broken rule: always a defect of the compiler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tile program `{program}`: {what}")]
pub struct VerifyError {
    pub program: String,
    pub what: String,
}

/// Checks a whole program.
///
/// # Errors
/// The first broken rule.
pub fn verify(program: &TileProgram) -> Result<(), VerifyError> {
    let mut v = Verifier {
        p: program,
        defined: vec![false; program.values.len()],
        seen: vec![false; program.values.len()],
    };
    v.program().map_err(|what| VerifyError {
        program: program.name.clone(),
        what,
    })
}

struct Verifier<'a> {
    p: &'a TileProgram,
    /// In scope at this point.
    defined: Vec<bool>,
    /// Defined somewhere: SSA allows one definition.
    seen: Vec<bool>,
}

type Res = Result<(), String>;

fn ensure(ok: bool, what: impl FnOnce() -> String) -> Res {
    if ok { Ok(()) } else { Err(what()) }
}

impl Verifier<'_> {
    fn program(&mut self) -> Res {
        let p = self.p;
        ensure((1..=32).contains(&p.warps), || {
            format!("{} warps; 1 to 32 are possible", p.warps)
        })?;
        for (i, ty) in p.values.iter().enumerate() {
            self.type_ok(*ty).map_err(|e| format!("v{i}: {e}"))?;
        }
        for b in &p.buffers {
            let known = b.rows.index() < p.axes.len() && b.cols.index() < p.axes.len();
            ensure(known && b.stages > 0, || {
                format!("buffer `{}` has no such axis or no stage", b.name)
            })?;
        }
        self.body(&p.body)
    }

    fn type_ok(&self, ty: Type) -> Res {
        for axis in [ty.rows, ty.cols].into_iter().flatten() {
            ensure(axis.index() < self.p.axes.len(), || "unknown axis".into())?;
        }
        if let Some(rows) = ty.rows {
            let size = self.size(rows);
            ensure(size % (16 * self.p.warps) == 0, || {
                format!("row axis of {size} is no multiple of 16 * {} warps", self.p.warps)
            })?;
        }
        if let Some(cols) = ty.cols {
            ensure(self.size(cols) % 8 == 0, || {
                format!("column axis of {} is no multiple of 8", self.size(cols))
            })?;
        }
        ensure(!ty.partial || (ty.rows.is_some() && ty.cols.is_none()), || {
            "only row vectors can be partial".into()
        })
    }

    fn size(&self, axis: AxisId) -> u32 {
        self.p.axes[axis.index()].size
    }

    fn ty(&self, v: ValueId) -> Type {
        self.p.values[v.index()]
    }

    fn used(&self, v: ValueId) -> Result<Type, String> {
        ensure(self.defined.get(v.index()) == Some(&true), || {
            format!("v{} is used where it is not defined", v.0)
        })?;
        Ok(self.ty(v))
    }

    fn define(&mut self, v: ValueId) -> Res {
        ensure(v.index() < self.seen.len(), || format!("v{} has no type", v.0))?;
        ensure(!self.seen[v.index()], || format!("v{} is defined twice", v.0))?;
        self.seen[v.index()] = true;
        self.defined[v.index()] = true;
        Ok(())
    }

    fn body(&mut self, body: &[Stmt]) -> Res {
        body.iter().try_for_each(|stmt| self.statement(stmt))
    }

    /// A nested body: what it defines goes out of scope at its end.
    fn scope(&mut self, body: &[Stmt], then: impl FnOnce(&mut Self) -> Res) -> Res {
        let outer = self.defined.clone();
        self.body(body)?;
        then(self)?;
        self.defined = outer;
        Ok(())
    }

    fn scalar(&self, v: ValueId, elem: Elem) -> Res {
        let ty = self.used(v)?;
        ensure(ty.rows.is_none() && ty.cols.is_none() && ty.elem == elem, || {
            format!("v{} should be a scalar {elem:?}", v.0)
        })
    }

    fn statement(&mut self, stmt: &Stmt) -> Res {
        match stmt {
            Stmt::Let(id, op) => {
                self.op(*id, op).map_err(|e| format!("v{}: {e}", id.0))?;
                self.define(*id)
            }
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                ..
            } => self.for_loop(*var, *lo, *hi, carried, body),
            Stmt::If { cond, body } => {
                self.scalar(*cond, Elem::Bool)?;
                self.scope(body, |_| Ok(()))
            }
            Stmt::Guard { cond, carried, body } => self.guard(*cond, carried, body),
            Stmt::Store {
                tensor,
                index,
                value,
                mask,
                through,
            } => {
                let ty = self.used(*value)?;
                if let Some(passage) = through {
                    self.passage(*passage, *tensor, index, ty)?;
                }
                ensure(self.p.tensors[tensor.index()].writable, || {
                    format!("t{} is not writable", tensor.0)
                })?;
                ensure(!ty.partial, || format!("v{} is stored while partial", value.0))?;
                let joined = self.access(*tensor, index, *mask)?;
                self.join(joined, ty).map(|_| ())
            }
            Stmt::StoreShared { buffer, stage, value } => {
                let b = &self.p.buffers[buffer.index()];
                let ty = self.used(*value)?;
                let same = ty.rows == Some(b.rows) && ty.cols == Some(b.cols);
                let transposed = ty.rows == Some(b.cols) && ty.cols == Some(b.rows);
                ensure(same || transposed, || {
                    format!("v{} does not have the axes of buffer `{}`", value.0, b.name)
                })?;
                stage.map_or(Ok(()), |s| self.scalar(s, Elem::I32))
            }
            Stmt::CopyAsync {
                buffer,
                stage,
                tensor,
                index,
                col0,
                valid,
                cols,
            } => {
                ensure(self.p.roles == Roles::Uniform, || {
                    "a copy by all threads in a specialised program".into()
                })?;
                self.copy(*buffer, *tensor, index, *cols)?;
                index
                    .iter()
                    .chain([col0])
                    .chain(valid.as_ref())
                    .try_for_each(|i| self.ix(i))?;
                stage.map_or(Ok(()), |s| self.scalar(s, Elem::I32))
            }
            Stmt::Fill { buffer, count, source } => self.fill(*buffer, *count, source),
            Stmt::Await { buffer, count } | Stmt::Release { buffer, count } => {
                self.ring(*buffer)?;
                self.scalar(*count, Elem::I32)
            }
            Stmt::Commit | Stmt::Wait(_) => ensure(self.p.roles == Roles::Uniform, || {
                "groups of copies in a specialised program".into()
            }),
            Stmt::DotWait(_) => self.specialised("a wait for dots"),
            Stmt::Take | Stmt::Pass => self.specialised("a turn"),
            Stmt::Barrier => Ok(()),
        }
    }

    fn copy(&self, buffer: crate::ir::BufferId, tensor: TensorId, index: &[Ix], cols: u32) -> Res {
        let b = &self.p.buffers[buffer.index()];
        let t = self.p.tensors.get(tensor.index()).ok_or("unknown tensor")?;
        ensure(t.contiguous, || {
            format!("copy from `{}`, whose last dimension is not contiguous", t.name)
        })?;
        ensure(index.len() + 1 == t.rank, || {
            format!("copy from `{}` gives {} of {} indices", t.name, index.len() + 1, t.rank)
        })?;
        ensure(cols <= self.size(b.cols), || {
            format!("copy of {cols} columns into buffer `{}`", b.name)
        })?;
        let width = match (b.elem, t.dtype) {
            (Elem::F32, DType::F32) | (Elem::I32, DType::I32) => 4,
            (Elem::F16, DType::F16) | (Elem::BF16, DType::BF16) => 2,
            _ => {
                return Err(format!(
                    "copy from {:?} `{}` into {:?} buffer `{}`",
                    t.dtype, t.name, b.elem, b.name
                ));
            }
        };
        // What is aligned to less than the smallest asynchronous copy, 4 bytes, is moved element by element.
        ensure(t.align >= width, || {
            format!("copy from `{}`, which is aligned to {} bytes only", t.name, t.align)
        })?;
        let chunk = t.align.min(16);
        ensure(cols * width % chunk == 0, || {
            format!("copy of {cols} columns is no multiple of {chunk} bytes")
        })
    }

    fn guard(&mut self, cond: ValueId, carried: &[LoopValue], body: &[Stmt]) -> Res {
        let ty = self.used(cond)?;
        ensure(ty.elem == Elem::Bool && ty.cols.is_none(), || {
            format!("guard v{} is no row vector or scalar of bools", cond.0)
        })?;
        for c in carried {
            let ty = self.used(c.init)?;
            let same = [c.next, c.result].iter().all(|v| self.ty(*v) == ty);
            ensure(same && ty.rows.is_some(), || {
                format!("guarded value v{} changes its type, or has no rows", c.init.0)
            })?;
        }
        let plain = |s: &Stmt| matches!(s, Stmt::Let(_, op) if !matches!(op, Op::Dot { .. }));
        ensure(body.iter().all(plain), || {
            "a guard's body does more than compute".into()
        })?;
        self.scope(body, |v| carried.iter().try_for_each(|c| v.used(c.next).map(|_| ())))?;
        carried.iter().try_for_each(|c| self.define(c.result))
    }

    fn specialised(&self, what: &str) -> Res {
        ensure(self.p.roles != Roles::Uniform, || {
            format!("{what} in a program without roles")
        })
    }

    /// The way of a stored tile: a buffer like the tile, a box of the tensor with the rows of a warp.
    fn passage(&self, passage: Passage, tensor: TensorId, index: &[ValueId], ty: Type) -> Res {
        self.specialised("a store by box copies")?;
        let b = self.p.buffers.get(passage.buffer.index()).ok_or("unknown buffer")?;
        let m = self.p.maps.get(passage.map).ok_or("unknown map")?;
        let t = self.p.tensors.get(tensor.index()).ok_or("unknown tensor")?;
        let same = matches!((b.elem, t.dtype), (Elem::F16, DType::F16) | (Elem::BF16, DType::BF16));
        ensure(same && !b.ring && b.stages == 1, || {
            format!("a store of {:?} through buffer `{}`", t.dtype, b.name)
        })?;
        ensure(ty.rows == Some(b.rows) && ty.cols == Some(b.cols), || {
            format!("a store of another tile than that of buffer `{}`", b.name)
        })?;
        let box_ = m.tensor == tensor && m.rows == 16 && t.align >= 16 && t.rank <= 5;
        let rows = |at: &usize| self.ty(index[*at]).rows.is_some();
        let moved: Vec<usize> = (0..index.len()).filter(rows).collect();
        ensure(box_ && m.row_dim.is_some_and(|d| moved == [d]), || {
            format!("a store to `{}` that is no box of it", t.name)
        })
    }

    fn ring(&self, buffer: crate::ir::BufferId) -> Res {
        self.specialised("a ring")?;
        let b = self.p.buffers.get(buffer.index()).ok_or("unknown buffer")?;
        ensure(b.ring, || format!("buffer `{}` is no ring", b.name))
    }

    fn fill(&self, buffer: crate::ir::BufferId, count: ValueId, source: &FillSource) -> Res {
        self.ring(buffer)?;
        self.scalar(count, Elem::I32)?;
        source.indices().try_for_each(|i| self.ix(i))?;
        match source {
            FillSource::Rows {
                tensor, index, cols, ..
            } => self.copy(buffer, *tensor, index, *cols),
            FillSource::Box { map, index, .. } => {
                let m = self.p.maps.get(*map).ok_or("unknown map")?;
                let t = self.p.tensors.get(m.tensor.index()).ok_or("unknown tensor")?;
                let b = &self.p.buffers[buffer.index()];
                self.copy(buffer, m.tensor, index, self.size(b.cols))?;
                let rows = self.size(b.rows);
                ensure(m.row_dim.is_none_or(|d| d + 1 < t.rank), || {
                    format!("rows of a box of `{}`", t.name)
                })?;
                ensure(t.align >= 16 && t.rank <= 5, || {
                    format!(
                        "a box of `{}`, of rank {}, aligned to {} bytes",
                        t.name, t.rank, t.align
                    )
                })?;
                // A box is at most 256 long; longer tiles are several boxes.
                ensure(m.rows > 0 && m.rows <= 256 && rows % m.rows == 0, || {
                    format!("boxes of {} rows for a tile of {rows}", m.rows)
                })
            }
        }
    }

    fn ix(&self, ix: &Ix) -> Res {
        match ix {
            Ix::Const(_) | Ix::Lane => Ok(()),
            Ix::Value(v) => {
                let ty = self.used(*v)?;
                let int = matches!(ty.elem, Elem::I32 | Elem::I64 | Elem::Bool);
                ensure(ty.rows.is_none() && ty.cols.is_none() && int, || {
                    format!("v{} is no int scalar", v.0)
                })
            }
            Ix::Map(_, args) => args.iter().try_for_each(|a| self.ix(a)),
            Ix::Gather(t, args) => {
                let tensor = self.p.tensors.get(t.index()).ok_or("unknown tensor")?;
                let int = matches!(
                    tensor.dtype,
                    DType::I32 | DType::I64 | DType::I16 | DType::I8 | DType::U8 | DType::Bool
                );
                ensure(int && args.len() == tensor.rank, || {
                    format!("gather from `{}`", tensor.name)
                })?;
                args.iter().try_for_each(|a| self.ix(a))
            }
        }
    }

    fn for_loop(&mut self, var: ValueId, lo: ValueId, hi: ValueId, carried: &[LoopValue], body: &[Stmt]) -> Res {
        self.scalar(lo, Elem::I32)?;
        self.scalar(hi, Elem::I32)?;
        for c in carried {
            self.used(c.init)?;
            let ty = self.ty(c.init);
            let same = [c.param, c.next, c.result].iter().all(|v| self.ty(*v) == ty);
            ensure(same, || format!("loop value v{} changes its type", c.param.0))?;
        }
        let outer = self.defined.clone();
        self.define(var)?;
        carried.iter().try_for_each(|c| self.define(c.param))?;
        self.body(body)?;
        carried.iter().try_for_each(|c| self.used(c.next).map(|_| ()))?;
        self.defined = outer;
        carried.iter().try_for_each(|c| self.define(c.result))
    }

    /// Join of two shapes, one axis a direction.
    fn join(&self, a: Type, b: Type) -> Result<Type, String> {
        let one = |x: Option<AxisId>, y: Option<AxisId>| match (x, y) {
            (Some(x), Some(y)) if x != y => Err(format!("axes {} and {} meet", x.0, y.0)),
            (x, y) => Ok(x.or(y)),
        };
        Ok(Type {
            rows: one(a.rows, b.rows)?,
            cols: one(a.cols, b.cols)?,
            ..a
        })
    }

    /// Index and mask of a load or store: their joined shape.
    fn access(&self, tensor: TensorId, index: &[ValueId], mask: Option<ValueId>) -> Result<Type, String> {
        let t = self.p.tensors.get(tensor.index()).ok_or("unknown tensor")?;
        ensure(index.len() == t.rank, || {
            format!("`{}` has {} dimensions, {} indices given", t.name, t.rank, index.len())
        })?;
        let mut joined = Type {
            rows: None,
            cols: None,
            elem: Elem::I32,
            partial: false,
        };
        for i in index {
            let ty = self.used(*i)?;
            ensure(matches!(ty.elem, Elem::I32 | Elem::I64), || {
                format!("index v{} is no int", i.0)
            })?;
            joined = self.join(joined, ty)?;
        }
        if let Some(m) = mask {
            let ty = self.used(m)?;
            ensure(ty.elem == Elem::Bool, || format!("mask v{} is no bool", m.0))?;
            joined = self.join(joined, ty)?;
        }
        Ok(joined)
    }

    fn op(&self, id: ValueId, op: &Op) -> Res {
        let ty = self.ty(id);
        match op {
            Op::Real(_) => ensure(matches!(ty.elem, Elem::F32 | Elem::F16 | Elem::BF16), || {
                "real constant of an int type".into()
            }),
            Op::Int(_) => ensure(matches!(ty.elem, Elem::I32 | Elem::I64 | Elem::Bool), || {
                "int constant of a real type".into()
            }),
            Op::Param(i) => {
                let elem = self.p.scalars.get(*i).ok_or("unknown scalar")?.elem;
                ensure(ty.elem == elem && ty.rows.is_none() && ty.cols.is_none(), || {
                    "type of a scalar parameter".into()
                })
            }
            Op::Grid(i) => ensure(*i < self.p.grid.len() && ty.elem == Elem::I32, || {
                "unknown grid dimension".into()
            }),
            Op::Block | Op::Blocks => ensure(ty.elem == Elem::I32 && ty.rows.is_none() && ty.cols.is_none(), || {
                "a block index is a scalar int".into()
            }),
            Op::Lane => ensure(ty.elem == Elem::I32 && (ty.rows.is_some() != ty.cols.is_some()), || {
                "lane needs one axis".into()
            }),
            Op::Math(math, args) => self.math(ty, *math, args),
            Op::Cast(v) => {
                let from = self.used(*v)?;
                ensure(
                    (from.rows, from.cols, from.partial) == (ty.rows, ty.cols, ty.partial),
                    || "a cast changes the shape".into(),
                )
            }
            Op::Load { tensor, index, mask } => {
                let joined = self.access(*tensor, index, *mask)?;
                ensure((joined.rows, joined.cols) == (ty.rows, ty.cols), || {
                    "a load's type is not the join of its indices".into()
                })
            }
            Op::LoadShared { buffer, stage } => self.load_shared(ty, *buffer, *stage),
            Op::RowReduce(reduce, v) => self.row_reduce(ty, *reduce, *v),
            Op::QuadReduce(_, v) => {
                let from = self.used(*v)?;
                ensure(
                    from.partial && !ty.partial && from.rows == ty.rows && ty.cols.is_none(),
                    || "quad reduction of a complete vector".into(),
                )
            }
            Op::Dot {
                left,
                right,
                over,
                acc,
                kind,
            } => self.dot(ty, *left, *right, *over, *acc, *kind),
        }
    }

    fn load_shared(&self, ty: Type, buffer: crate::ir::BufferId, stage: Option<ValueId>) -> Res {
        ensure(self.p.roles == Roles::Uniform, || {
            "a load from shared memory in a program with roles".into()
        })?;
        let b = self.p.buffers.get(buffer.index()).ok_or("unknown buffer")?;
        let axes = (ty.rows, ty.cols);
        let same = axes == (Some(b.rows), Some(b.cols)) || axes == (Some(b.cols), Some(b.rows));
        ensure(same && ty.elem == b.elem, || {
            format!("a load that is no tile of buffer `{}`", b.name)
        })?;
        let half = matches!(b.elem, Elem::F16 | Elem::BF16);
        let own = b.elem == Elem::F32 && ty.rows == Some(b.rows);
        ensure(half || own, || {
            format!("a load of {:?} from shared memory, or of its transpose", b.elem)
        })?;
        stage.map_or(Ok(()), |s| self.scalar(s, Elem::I32))
    }

    fn math(&self, ty: Type, math: Math, args: &[ValueId]) -> Res {
        let arity = match math {
            Math::Fma | Math::Select => 3,
            Math::Exp2Fast | Math::ReciprocalFast | Math::TanhFast => 1,
            Math::Map(_) => args.len(),
        };
        ensure(args.len() == arity && !args.is_empty(), || {
            format!("{math:?} of {} arguments", args.len())
        })?;
        let mut joined = Type {
            rows: None,
            cols: None,
            ..ty
        };
        for a in args {
            joined = self.join(joined, self.used(*a)?)?;
        }
        ensure((joined.rows, joined.cols) == (ty.rows, ty.cols), || {
            format!("{math:?}: the type is not the join of its arguments")
        })
    }

    fn row_reduce(&self, ty: Type, reduce: ReduceOp, v: ValueId) -> Res {
        let from = self.used(v)?;
        ensure(from.cols.is_some() && from.rows.is_some(), || {
            "row reduction of something that is no tile".into()
        })?;
        ensure(
            from.rows == ty.rows && ty.cols.is_none() && from.elem == ty.elem,
            || "row reduction of another shape or type".into(),
        )?;
        let known = matches!(
            reduce,
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All
        );
        ensure(known, || format!("{reduce:?} over columns"))
    }

    fn dot(&self, ty: Type, left: Operand, right: Operand, over: AxisId, acc: Option<ValueId>, kind: DotKind) -> Res {
        ensure(ty.elem == Elem::F32, || "a dot gives F32".into())?;
        let side = |operand: Operand| -> Result<(AxisId, Elem), String> {
            let (rows, cols, elem) = match operand {
                Operand::Register(v) => {
                    let t = self.used(v)?;
                    let both = t
                        .rows
                        .zip(t.cols)
                        .ok_or_else(|| format!("operand v{} is no tile", v.0))?;
                    (both.0, both.1, t.elem)
                }
                Operand::Shared(b, stage) => {
                    let b = self.p.buffers.get(b.index()).ok_or("unknown buffer")?;
                    stage.map_or(Ok(()), |s| self.scalar(s, Elem::I32))?;
                    (b.rows, b.cols, b.elem)
                }
            };
            ensure((rows == over) != (cols == over), || {
                "the contracted axis is not exactly one axis of an operand".into()
            })?;
            Ok((if rows == over { cols } else { rows }, elem))
        };
        let ((row, a), (col, b)) = (side(left)?, side(right)?);
        ensure(ty.rows == Some(row) && ty.cols == Some(col), || {
            "a dot's type is not (rows of left, columns of right)".into()
        })?;
        ensure(!matches!(right, Operand::Register(_)), || {
            "the right operand of a dot lies in shared memory".into()
        })?;
        if let Some(v) = acc {
            ensure(self.used(v)? == ty, || "an accumulator of another type".into())?;
        }
        match kind {
            DotKind::Matrix => {
                let halves = a == b && matches!(a, Elem::F16 | Elem::BF16);
                ensure(halves, || format!("matrix dot of {a:?} and {b:?}"))?;
                ensure(self.size(over) % 16 == 0, || {
                    format!("contracted axis of {} is no multiple of 16", self.size(over))
                })?;
                let by_rows = |v: ValueId| self.ty(v).rows != Some(over);
                ensure(!matches!(left, Operand::Register(v) if !by_rows(v)), || {
                    "the left register operand has the contracted axis as rows".into()
                })
            }
            DotKind::Scalar => ensure(matches!(left, Operand::Shared(..)), || {
                "operands of a scalar dot lie in shared memory".into()
            }),
        }
    }
}
