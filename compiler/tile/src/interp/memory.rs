//! Global tensors of the interpreter, with bounds checked on every access.

use super::InterpError;
use super::value::Cells;
use einloom_cascade::expr::DType;
use half::{bf16, f16};

/// A tensor in memory: elements at `sum(index * strides)` of `cells`.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorMemory {
    pub dtype: DType,
    pub shape: Vec<i64>,
    /// In elements.
    pub strides: Vec<i64>,
    pub cells: Cells,
}

impl TensorMemory {
    /// A dense row-major tensor over `cells`.
    pub fn dense(dtype: DType, shape: &[i64], cells: Cells) -> TensorMemory {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i].max(1);
        }
        TensorMemory {
            dtype,
            shape: shape.to_vec(),
            strides,
            cells,
        }
    }

    /// A dense tensor filled with poison (NaN, or a large negative int).
    pub fn poisoned(dtype: DType, shape: &[i64]) -> TensorMemory {
        let n = shape.iter().product::<i64>().max(0) as usize;
        let cells = if is_real(dtype) {
            Cells::Real(vec![f32::NAN; n])
        } else {
            Cells::Int(vec![-77_777_777; n])
        };
        TensorMemory::dense(dtype, shape, cells)
    }

    /// Position of an element.
    ///
    /// # Errors
    /// The index lies outside the shape.
    pub fn position(&self, name: &str, index: &[i64]) -> Result<usize, InterpError> {
        let inside = index.len() == self.shape.len() && index.iter().zip(&self.shape).all(|(i, n)| (0..*n).contains(i));
        let offset: i64 = index.iter().zip(&self.strides).map(|(i, s)| i * s).sum();
        if !inside || offset < 0 || offset as usize >= self.cells.len() {
            return Err(InterpError::OutOfBounds {
                tensor: name.to_owned(),
                index: index.to_vec(),
                shape: self.shape.clone(),
            });
        }
        Ok(offset as usize)
    }

    /// Stores a number, rounded (reals) or saturated (ints) to the storage type.
    pub fn store(&mut self, position: usize, from: &Cells, j: usize) {
        match &mut self.cells {
            Cells::Real(to) => to[position] = round_real(self.dtype, from.number(j) as f32),
            Cells::Int(to) => to[position] = saturate(self.dtype, from.int(j)),
        }
    }
}

/// Whether a storage type holds reals.
pub fn is_real(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

fn round_real(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(x).to_f32(),
        DType::BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

fn saturate(dtype: DType, x: i64) -> i64 {
    let (lo, hi) = match dtype {
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DType::U8 => (0, 255),
        DType::Bool => (0, 1),
        _ => (i64::MIN, i64::MAX),
    };
    x.clamp(lo, hi)
}
