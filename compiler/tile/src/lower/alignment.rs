//! The alignment that a program needs of its tensors.
//!
//! A shape class promises an alignment of whole tensors, and the accesses to most of them use it: copies move up to 16 bytes at once, and so do
//! loads and stores of columns of reals along the last dimension. An access that moves single elements cannot use more than the alignment of an
//! element: one element a row (log-sum-exp), a scalar, columns along another dimension, ints (targets load them one by one). [`relax`] lowers
//! what each tensor demands to what its accesses can use, so that launches are refused for no stride that the program does not mind.

use crate::ir::{FillSource, Op, Stmt, TileProgram, ValueId};
use crate::schedule::dtype_bytes;

/// Lowers [`crate::ir::Tensor::align`] to the size of an element for every tensor that is only accessed one element at a time.
pub(crate) fn relax(program: &mut TileProgram) {
    let mut wide = vec![false; program.tensors.len()];
    for map in &program.maps {
        wide[map.tensor.index()] = true;
    }
    mark(program, &program.body, &mut wide);
    for (tensor, wide) in program.tensors.iter_mut().zip(wide) {
        if !wide {
            tensor.align = tensor.align.min(dtype_bytes(tensor.dtype));
        }
    }
}

/// Marks the tensors that some statement may access by more than an element at once.
fn mark(program: &TileProgram, body: &[Stmt], wide: &mut [bool]) {
    for stmt in body {
        match stmt {
            Stmt::Let(_, Op::Load { tensor, index, .. }) | Stmt::Store { tensor, index, .. } => {
                let real = program.tensors[tensor.index()].dtype.is_real();
                wide[tensor.index()] |= real && along_columns(program, index);
            }
            Stmt::CopyAsync { tensor, .. }
            | Stmt::Fill {
                source: FillSource::Rows { tensor, .. },
                ..
            } => wide[tensor.index()] = true,
            Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => mark(program, body, wide),
            // The tensor of a box is that of its map. Indices (`Ix::Gather`) are read one at a time.
            Stmt::Fill { .. }
            | Stmt::Let(..)
            | Stmt::StoreShared { .. }
            | Stmt::Commit
            | Stmt::Wait(_)
            | Stmt::Barrier
            | Stmt::Await { .. }
            | Stmt::Release { .. }
            | Stmt::DotWait(_)
            | Stmt::Take
            | Stmt::Pass => {}
        }
    }
}

/// Whether neighbouring columns of an access may be neighbours in memory: the last index is a column vector, and no other has columns.
fn along_columns(program: &TileProgram, index: &[ValueId]) -> bool {
    let Some((last, others)) = index.split_last() else {
        return false;
    };
    let ty = |v: &ValueId| program.values[v.index()];
    ty(last).cols.is_some() && ty(last).rows.is_none() && others.iter().all(|v| ty(v).cols.is_none())
}
