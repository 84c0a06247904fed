//! Tensors in device memory, in a layout of their own.

use super::{Gpu, GpuError, POISON};
use crate::data::layout::{Layout, Placement};
use crate::package::storage;
use einloom_cascade::data::{Tensor, Values};
use einloom_cascade::expr::DType;
use einloom_runtime::{DeviceBuffer, TensorArg};

/// Largest buffer whose gaps are looked through after a run.
const MAX_LOOKED_AT: u64 = 1 << 30;

/// A tensor on the device. Clones are handles of the same memory.
#[derive(Clone)]
pub(super) struct Placed {
    name: String,
    dtype: DType,
    place: Placement,
    buffer: DeviceBuffer,
}

impl Placed {
    pub(super) fn argument(&self) -> TensorArg<'_> {
        TensorArg {
            name: &self.name,
            buffer: &self.buffer,
            offset: self.place.offset as u64 * self.dtype.size() as u64,
            dtype: storage(self.dtype),
            shape: self.place.shape.iter().map(|n| *n as u64).collect(),
            strides: self.place.strides.clone(),
        }
    }

    fn row_bytes(&self) -> usize {
        self.place.width() * self.dtype.size()
    }

    /// Byte positions of the rows.
    fn rows(&self) -> impl Iterator<Item = u64> + '_ {
        self.place.rows().map(|at| at as u64 * self.dtype.size() as u64)
    }
}

impl Gpu {
    /// A tensor with the values of `tensor`, and poison in its gaps.
    pub(super) fn upload(&self, name: &str, dtype: DType, tensor: &Tensor, layout: Layout) -> Result<Placed, GpuError> {
        let shape: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
        let placed = self.allocate(name, dtype, &shape, layout)?;
        let bytes = tensor.values.rounded(dtype).to_bytes();
        if placed.place.is_dense() {
            placed.buffer.upload(&self.stream, 0, &bytes)?;
            return Ok(placed);
        }
        self.poison(&placed)?;
        for (at, row) in placed.rows().zip(bytes.chunks(placed.row_bytes().max(1))) {
            placed.buffer.upload(&self.stream, at, row)?;
        }
        Ok(placed)
    }

    /// Memory for a tensor, undefined as yet.
    pub(super) fn allocate(&self, name: &str, dtype: DType, shape: &[i64], layout: Layout) -> Result<Placed, GpuError> {
        let place = layout.place(dtype, shape);
        let buffer = DeviceBuffer::alloc(&self.device, place.span() as u64 * dtype.size() as u64)?;
        Ok(Placed {
            name: name.to_owned(),
            dtype,
            place,
            buffer,
        })
    }

    pub(super) fn poison(&self, placed: &Placed) -> Result<(), GpuError> {
        Ok(placed.buffer.fill(&self.stream, POISON)?)
    }

    /// Downloads the elements of a tensor; the gaps must be poison still.
    pub(super) fn fetch(&self, output: &Placed) -> Result<Tensor, GpuError> {
        let width = output.row_bytes();
        let mut bytes = Vec::new();
        if output.place.is_dense() {
            bytes = output.buffer.to_vec(&self.stream)?;
        } else if output.buffer.len() <= MAX_LOOKED_AT {
            let mut all = output.buffer.to_vec(&self.stream)?;
            for at in output.rows() {
                let row = &mut all[at as usize..at as usize + width];
                bytes.extend_from_slice(row);
                row.fill(POISON);
            }
            if all.iter().any(|byte| *byte != POISON) {
                return Err(GpuError::Gap(output.name.clone()));
            }
        } else {
            let mut row = vec![0; width];
            for at in output.rows() {
                output.buffer.download(&self.stream, at, &mut row)?;
                bytes.extend_from_slice(&row);
            }
        }
        let shape: Vec<usize> = output.place.shape.iter().map(|n| *n as usize).collect();
        let values = Values::from_bytes(output.dtype, &bytes).filter(|v| v.len() == shape.iter().product::<usize>());
        let values = values.ok_or_else(|| GpuError::Download(output.name.clone()))?;
        Ok(Tensor::new(&shape, values))
    }
}
