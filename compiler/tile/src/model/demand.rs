//! What one operation asks of a multiprocessor.
//!
//! Counts are warp instructions of a whole block. The lane of a tile holds `pressure::cost` elements, so an elementwise
//! operation is that many instructions in each warp. Counts of real functions are those of the backend's sequences, roughly.

use crate::ir::{AxisId, DotKind, Elem, Math, Op, Operand, Roles, TileProgram, Type, ValueId};
use einloom_cascade::expr::{MapOp, ReduceOp};
use std::ops::AddAssign;

/// Work of a block, or of any part of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// Operations of `mma.sync` and of the asynchronous matrix instruction.
    pub mma_flops: f64,
    pub wgmma_flops: f64,
    /// Warp instructions by pipe.
    pub fma: f64,
    pub alu: f64,
    pub mufu: f64,
    /// Warp instructions of other pipes: matrix, loads, stores, copies.
    pub other: f64,
    pub shared_bytes: f64,
    /// Bytes between multiprocessors and L2.
    pub l2_bytes: f64,
    /// Points where a block waits for copies.
    pub waits: f64,
    /// Cycles of one warpgroup of a specialised program that is alone on its multiprocessor.
    pub alone: f64,
}

impl Demand {
    /// All warp instructions.
    pub fn instructions(&self) -> f64 {
        self.fma + self.alu + self.mufu + self.other
    }

    /// The demand `times` over.
    #[must_use]
    pub fn scaled(&self, times: f64) -> Demand {
        Demand {
            mma_flops: self.mma_flops * times,
            wgmma_flops: self.wgmma_flops * times,
            fma: self.fma * times,
            alu: self.alu * times,
            mufu: self.mufu * times,
            other: self.other * times,
            shared_bytes: self.shared_bytes * times,
            l2_bytes: self.l2_bytes * times,
            waits: self.waits * times,
            alone: self.alone * times,
        }
    }
}

impl AddAssign<&Demand> for Demand {
    fn add_assign(&mut self, more: &Demand) {
        self.mma_flops += more.mma_flops;
        self.wgmma_flops += more.wgmma_flops;
        self.fma += more.fma;
        self.alu += more.alu;
        self.mufu += more.mufu;
        self.other += more.other;
        self.shared_bytes += more.shared_bytes;
        self.l2_bytes += more.l2_bytes;
        self.waits += more.waits;
        self.alone += more.alone;
    }
}

/// Instructions of one element: f32 pipe, ALU, special functions.
#[derive(Clone, Copy)]
struct Pipes(f64, f64, f64);

fn pipes(math: Math, real: bool) -> Pipes {
    let op = match math {
        Math::Fma => return Pipes(1.0, 0.0, 0.0),
        Math::Exp2Fast => return Pipes(0.0, 0.0, 1.0),
        Math::ReciprocalFast | Math::TanhFast => return Pipes(0.0, 0.0, 1.0),
        Math::Select => return Pipes(0.0, 1.0, 0.0),
        Math::Map(op) => op,
    };
    match op {
        MapOp::Add | MapOp::Sub | MapOp::Mul if real => Pipes(1.0, 0.0, 0.0),
        MapOp::Exp | MapOp::Exp2 | MapOp::Log | MapOp::Log2 => Pipes(6.0, 2.0, 1.0),
        MapOp::Div | MapOp::Sqrt | MapOp::Rsqrt => Pipes(7.0, 1.0, 1.0),
        MapOp::Pow | MapOp::Sin | MapOp::Cos | MapOp::Atan2 => Pipes(25.0, 6.0, 2.0),
        MapOp::Tanh | MapOp::Erf | MapOp::Acos => Pipes(12.0, 3.0, 1.0),
        MapOp::Uniform => Pipes(0.0, 80.0, 0.0),
        MapOp::IDiv | MapOp::IMod => Pipes(2.0, 12.0, 1.0),
        MapOp::Mul => Pipes(0.0, 2.0, 0.0),
        MapOp::And | MapOp::Or | MapOp::Not => Pipes(0.0, 0.5, 0.0),
        _ => Pipes(0.0, 1.0, 0.0),
    }
}

/// Instructions of the address of one element, for each dimension of its tensor.
const ADDRESS: f64 = 2.0;

/// Sharing of operands of a scalar dot in registers.
const SCALAR_REUSE: f64 = 4.0;

/// The operations of one program.
pub(super) struct Costs<'a> {
    pub(super) program: &'a TileProgram,
}

impl Costs<'_> {
    fn size(&self, axis: AxisId) -> f64 {
        f64::from(self.program.axes[axis.index()].size)
    }

    /// Warp instructions of the block for one instruction an element; scalars cost each warp one.
    pub(super) fn instructions(&self, ty: Type) -> f64 {
        let wide = Type { elem: Elem::F32, ..ty };
        let lane = if ty.rows.is_none() && ty.cols.is_none() {
            // Half of the scalar work lies on the uniform path or is folded.
            0.5
        } else {
            crate::pressure::cost(self.program, wide) as f64
        };
        lane * f64::from(self.program.warps)
    }

    fn elements(&self, ty: Type) -> f64 {
        ty.rows.map_or(1.0, |a| self.size(a)) * ty.cols.map_or(1.0, |a| self.size(a))
    }

    fn ty(&self, value: ValueId) -> Type {
        self.program.values[value.index()]
    }

    pub(super) fn buffer_bytes(&self, buffer: crate::ir::BufferId) -> f64 {
        let b = &self.program.buffers[buffer.index()];
        self.size(b.rows) * self.size(b.cols) * crate::schedule::elem_bytes(b.elem) as f64
    }

    /// Demand of an operation whose result is `value`.
    pub(super) fn op(&self, value: ValueId, op: &Op) -> Demand {
        let ty = self.ty(value);
        let count = self.instructions(ty);
        let mut d = Demand::default();
        match op {
            Op::Math(math, args) => {
                let real = args.iter().any(|a| self.ty(*a).elem == Elem::F32);
                let Pipes(fma, alu, mufu) = pipes(*math, real);
                d.fma = fma * count;
                d.alu = alu * count;
                d.mufu = mufu * count;
            }
            // One conversion packs two elements.
            Op::Cast(_) if matches!(ty.elem, Elem::F16 | Elem::BF16) => d.alu = 0.5 * count,
            Op::Cast(_) => d.alu = count,
            Op::Load { tensor, mask, .. } => {
                let t = &self.program.tensors[tensor.index()];
                d.other = count;
                d.alu = count * (ADDRESS * t.rank as f64 + f64::from(u8::from(mask.is_some())));
                d.l2_bytes = count * 32.0 * f64::from(crate::schedule::dtype_bytes(t.dtype));
            }
            // 512 bytes an instruction.
            Op::LoadShared { .. } => {
                d.shared_bytes = self.elements(ty) * crate::schedule::elem_bytes(ty.elem) as f64;
                d.other = d.shared_bytes / 512.0;
            }
            Op::RowReduce(op, tile) => {
                self.fold(&mut d, *op, self.instructions(self.ty(*tile)));
                if !ty.partial {
                    self.quad(&mut d, *op, count);
                }
            }
            Op::QuadReduce(op, _) => self.quad(&mut d, *op, count),
            Op::Dot { left, over, kind, .. } => self.dot(&mut d, ty, left, self.size(*over), *kind),
            _ => {}
        }
        d
    }

    fn fold(&self, d: &mut Demand, op: ReduceOp, count: f64) {
        match op {
            ReduceOp::Sum => d.fma += count,
            _ => d.alu += count,
        }
    }

    /// Two shuffles and two operations for each row of a lane.
    fn quad(&self, d: &mut Demand, op: ReduceOp, rows: f64) {
        self.fold(d, op, 2.0 * rows);
        d.other += 2.0 * rows;
        d.shared_bytes += 2.0 * rows * 128.0;
    }

    fn dot(&self, d: &mut Demand, ty: Type, left: &Operand, depth: f64, kind: DotKind) {
        let (Some(m), Some(n)) = (ty.rows.map(|a| self.size(a)), ty.cols.map(|a| self.size(a))) else {
            return;
        };
        let products = m * n * depth;
        let warps = f64::from(self.program.warps);
        let left_bytes = match left {
            Operand::Shared(..) => m * depth * 2.0,
            Operand::Register(_) => 0.0,
        };
        match (kind, self.program.roles) {
            (DotKind::Scalar, _) => {
                d.fma += products / 32.0;
                d.other += products / 32.0 / SCALAR_REUSE;
                d.shared_bytes += products * 4.0 / SCALAR_REUSE;
            }
            // Every warp reads the whole right operand, 512 bytes an instruction.
            (DotKind::Matrix, Roles::Uniform) => {
                let bytes = warps * n * depth * 2.0 + left_bytes;
                d.mma_flops += 2.0 * products;
                d.shared_bytes += bytes;
                d.other += products * 2.0 / 4096.0 + bytes / 512.0;
            }
            // Every warpgroup reads it.
            (DotKind::Matrix, Roles::Specialised { .. }) => {
                d.wgmma_flops += 2.0 * products;
                d.shared_bytes += (warps / 4.0).max(1.0) * n * depth * 2.0 + left_bytes;
                d.other += warps * depth / 16.0;
            }
        }
    }

    /// A store to global memory of a value of this type.
    pub(super) fn store(&self, tensor: crate::ir::TensorId, value: ValueId) -> Demand {
        let t = &self.program.tensors[tensor.index()];
        let ty = self.ty(value);
        let count = self.instructions(ty);
        Demand {
            other: count / 2.0,
            alu: count * ADDRESS,
            l2_bytes: self.elements(ty) * f64::from(crate::schedule::dtype_bytes(t.dtype)),
            ..Demand::default()
        }
    }

    /// A store of a tile to shared memory.
    pub(super) fn store_shared(&self, value: ValueId) -> Demand {
        let ty = self.ty(value);
        Demand {
            other: self.instructions(ty),
            shared_bytes: self.elements(ty) * crate::schedule::elem_bytes(ty.elem) as f64,
            ..Demand::default()
        }
    }

    /// A copy into one stage of a buffer: by all threads, 16 bytes each with its address, or by one instruction of the producer.
    pub(super) fn copy(&self, buffer: crate::ir::BufferId, by_box: bool) -> Demand {
        let bytes = self.buffer_bytes(buffer);
        let each = if by_box { 0.0 } else { bytes / 512.0 };
        Demand {
            other: each,
            alu: each * 3.0,
            shared_bytes: bytes,
            l2_bytes: bytes,
            ..Demand::default()
        }
    }
}
