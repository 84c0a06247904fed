//! One launch with tensors in a layout of their own.

use super::{Gpu, GpuError, POISON, scalar};
use crate::data::layout::{Layout, Placement};
use crate::package::storage;
use einloom_artifact::{KernelArtifact, ScalarArg};
use einloom_cascade::bind::Extents;
use einloom_cascade::data::{Inputs, Tensor, Values};
use einloom_cascade::expr::DType;
use einloom_cascade::ir::Cascade;
use einloom_runtime::{DeviceBuffer, Module, PreparedLaunch, TensorArg};

/// Largest buffer whose gaps are looked through after a run.
const MAX_LOOKED_AT: u64 = 1 << 30;

/// A tensor on the device.
struct Placed<'a> {
    name: &'a str,
    dtype: DType,
    place: Placement,
    buffer: DeviceBuffer,
}

impl Placed<'_> {
    fn argument(&self) -> TensorArg<'_> {
        TensorArg {
            name: self.name,
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
    /// Uploads inputs in a layout, launches once on poisoned outputs, and downloads these.
    ///
    /// # Errors
    /// Whatever the driver or the launch contract refuses; a write between the elements of an output.
    pub fn run_placed(
        &self,
        artifact: &KernelArtifact,
        cascade: &Cascade,
        inputs: &Inputs,
        extents: &Extents,
        layout: Layout,
    ) -> Result<Vec<Tensor>, GpuError> {
        let module = Module::load(&self.device, artifact)?;
        let mut tensors = Vec::new();
        for (info, tensor) in cascade.inputs.iter().zip(&inputs.tensors) {
            let shape: Vec<i64> = tensor.shape.iter().map(|n| *n as i64).collect();
            let placed = self.allocate(&info.name, info.dtype, &shape, layout)?;
            let bytes = tensor.values.rounded(info.dtype).to_bytes();
            for (at, row) in placed.rows().zip(bytes.chunks(placed.row_bytes().max(1))) {
                placed.buffer.upload(&self.stream, at, row)?;
            }
            tensors.push(placed);
        }
        let first_output = tensors.len();
        for (info, shape) in cascade.outputs.iter().zip(&extents.outputs) {
            tensors.push(self.allocate(&info.name, info.dtype, shape, layout)?);
        }
        let args: Vec<TensorArg<'_>> = tensors.iter().map(Placed::argument).collect();
        let scalars: Vec<ScalarArg<'_>> = cascade
            .scalars
            .iter()
            .zip(&extents.scalars)
            .map(|(info, value)| ScalarArg {
                name: &info.name,
                value: scalar(info.dtype, *value),
            })
            .collect();
        let prepared = PreparedLaunch::new(&module, &args, &scalars)?;
        prepared.launch(&self.stream)?;
        self.stream.synchronize()?;
        tensors[first_output..]
            .iter()
            .map(|output| self.fetch(output))
            .collect()
    }

    /// A poisoned buffer for a tensor.
    fn allocate<'a>(&self, name: &'a str, dtype: DType, shape: &[i64], layout: Layout) -> Result<Placed<'a>, GpuError> {
        let place = layout.place(dtype, shape);
        let buffer = DeviceBuffer::alloc(&self.device, place.span() as u64 * dtype.size() as u64)?;
        buffer.fill(&self.stream, POISON)?;
        Ok(Placed {
            name,
            dtype,
            place,
            buffer,
        })
    }

    /// Downloads the elements of a tensor; the gaps must be as they were.
    fn fetch(&self, output: &Placed<'_>) -> Result<Tensor, GpuError> {
        let width = output.row_bytes();
        let mut bytes = Vec::new();
        if output.buffer.len() <= MAX_LOOKED_AT {
            let mut all = output.buffer.to_vec(&self.stream)?;
            for at in output.rows() {
                let row = &mut all[at as usize..at as usize + width];
                bytes.extend_from_slice(row);
                row.fill(POISON);
            }
            if all.iter().any(|byte| *byte != POISON) {
                return Err(GpuError::Gap(output.name.to_owned()));
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
        let values = values.ok_or_else(|| GpuError::Download(output.name.to_owned()))?;
        Ok(Tensor::new(&shape, values))
    }
}
