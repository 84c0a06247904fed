//! Values of the interpreter: dense row-major arrays of f32 or i64 with the shape of their type.

use crate::ir::{Elem, TileProgram, Type};
use half::{bf16, f16};

/// Elements of a value, a buffer stage or a tensor. Reals hold values already rounded to their type; bools are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    Real(Vec<f32>),
    Int(Vec<i64>),
}

impl Cells {
    /// `n` elements of poison: NaN for reals, a large negative number for ints.
    pub fn poison(elem: Elem, n: usize) -> Cells {
        if is_real(elem) {
            Cells::Real(vec![f32::NAN; n])
        } else {
            Cells::Int(vec![i64::from(i32::MIN) + 7; n])
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Cells::Real(v) => v.len(),
            Cells::Int(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i` as a number.
    pub fn number(&self, i: usize) -> f64 {
        match self {
            Cells::Real(v) => f64::from(v[i]),
            Cells::Int(v) => v[i] as f64,
        }
    }

    /// Element `i` as an int (0 for a real: types are checked before).
    pub fn int(&self, i: usize) -> i64 {
        match self {
            Cells::Real(_) => 0,
            Cells::Int(v) => v[i],
        }
    }

    /// Copies element `j` of `from` to element `i`.
    pub fn set(&mut self, i: usize, from: &Cells, j: usize) {
        match (self, from) {
            (Cells::Real(to), Cells::Real(from)) => to[i] = from[j],
            (Cells::Int(to), Cells::Int(from)) => to[i] = from[j],
            (Cells::Real(to), Cells::Int(from)) => to[i] = from[j] as f32,
            (Cells::Int(to), Cells::Real(from)) => to[i] = from[j] as i64,
        }
    }

    /// Writes zero to element `i`.
    pub fn clear(&mut self, i: usize) {
        match self {
            Cells::Real(v) => v[i] = 0.0,
            Cells::Int(v) => v[i] = 0,
        }
    }
}

/// Whether elements of this type are reals.
pub fn is_real(elem: Elem) -> bool {
    matches!(elem, Elem::F32 | Elem::F16 | Elem::BF16)
}

/// Rounds a real to an element type, to nearest even.
pub fn round(elem: Elem, x: f32) -> f32 {
    match elem {
        Elem::F16 => f16::from_f32(x).to_f32(),
        Elem::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// Extents and strides of a type's array: `(rows, cols)`, `(row stride, column stride)`; absent axes have extent 1, stride 0.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl Grid {
    /// Layout of values of type `ty`.
    pub fn of(program: &TileProgram, ty: Type) -> Grid {
        let extent = |axis: Option<crate::ir::AxisId>| axis.map_or(1, |a| program.axes[a.index()].size as usize);
        let (rows, cols) = (extent(ty.rows), extent(ty.cols));
        Grid {
            rows,
            cols,
            row_stride: if ty.rows.is_some() { cols } else { 0 },
            col_stride: usize::from(ty.cols.is_some()),
        }
    }

    /// Position of `(row, col)`; axes that the value lacks are broadcast.
    pub fn at(self, row: usize, col: usize) -> usize {
        row * self.row_stride + col * self.col_stride
    }

    /// Number of elements.
    #[allow(clippy::len_without_is_empty, reason = "a grid has at least one element")]
    pub fn len(self) -> usize {
        self.rows * self.cols
    }
}
