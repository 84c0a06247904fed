//! Tensors of the interpreter in any layout: on poisoned buffers whose gaps must stay as they are.

use crate::data::layout::{Layout, Placement};
use einloom_tile::interp::TensorMemory;
use einloom_tile::interp::value::Cells;

/// A dense tensor of the interpreter, laid out anew in poison.
pub(super) fn spread(dense: &TensorMemory, layout: Layout) -> TensorMemory {
    let place = layout.place(dense.dtype, &dense.shape);
    let mut memory = TensorMemory::poisoned(dense.dtype, &[place.span()]);
    for (row, at) in place.rows().enumerate() {
        let (from, to, width) = (row * place.width(), at as usize, place.width());
        match (&dense.cells, &mut memory.cells) {
            (Cells::Real(a), Cells::Real(b)) => b[to..to + width].copy_from_slice(&a[from..from + width]),
            (Cells::Int(a), Cells::Int(b)) => b[to..to + width].copy_from_slice(&a[from..from + width]),
            _ => {}
        }
    }
    skip(&mut memory.cells, place.offset);
    memory.shape = place.shape;
    memory.strides = place.strides;
    memory
}

/// The elements of a tensor in row-major order; `None` if something was written between them.
pub(super) fn gather(memory: TensorMemory, layout: Layout) -> Option<TensorMemory> {
    let Placement { shape, strides, .. } = layout.place(memory.dtype, &memory.shape);
    let place = Placement {
        shape,
        strides,
        offset: 0,
    };
    let mut dense = TensorMemory::poisoned(memory.dtype, &memory.shape);
    let mut rest = memory.cells;
    let poison = TensorMemory::poisoned(memory.dtype, &[1]).cells;
    for (row, at) in place.rows().enumerate() {
        let (to, from) = (row * place.width(), at as usize);
        for k in 0..place.width() {
            match (&mut rest, &mut dense.cells, &poison) {
                (Cells::Real(a), Cells::Real(b), Cells::Real(p)) => {
                    b[to + k] = std::mem::replace(&mut a[from + k], p[0])
                }
                (Cells::Int(a), Cells::Int(b), Cells::Int(p)) => b[to + k] = std::mem::replace(&mut a[from + k], p[0]),
                _ => {}
            }
        }
    }
    let clean = match (&rest, &poison) {
        (Cells::Real(a), _) => a.iter().all(|x| x.is_nan()),
        (Cells::Int(a), Cells::Int(p)) => a.iter().all(|x| *x == p[0]),
        _ => false,
    };
    clean.then_some(dense)
}

/// Drops the cells before the base: positions count from it.
fn skip(cells: &mut Cells, offset: i64) {
    match cells {
        Cells::Real(v) => drop(v.drain(..(offset as usize).min(v.len()))),
        Cells::Int(v) => drop(v.drain(..(offset as usize).min(v.len()))),
    }
}
