//! Grids and arguments of the kernels.

use super::{ArgValue, PlannedKernel, PlannedTensor, ScalarValue};
use crate::error::ContractError;
use crate::expr::DimEnv;
use crate::manifest::{KernelArg, KernelDesc, Manifest};

/// Most blocks in x, y and z (CUDA C++ programming guide, technical specifications).
const GRID_LIMITS: [u64; 3] = [(1 << 31) - 1, 65_535, 65_535];
/// Most tiles of a persistent kernel, whose blocks step past the last tile in 32 bits.
const MAX_TILES: u64 = 1 << 30;

/// Most blocks or tiles in x, y and z.
pub(super) fn grid_limits(kernel: &KernelDesc) -> [u64; 3] {
    let [x, y, z] = GRID_LIMITS;
    match kernel.persistent {
        None => GRID_LIMITS,
        Some(_) => [x.min(MAX_TILES), y, z],
    }
}

/// The kernels to launch, and those with nothing to do.
pub(super) fn plan(
    manifest: &Manifest,
    tensors: &[PlannedTensor],
    scalars: &[ScalarValue],
    env: &DimEnv<'_>,
) -> Result<(Vec<PlannedKernel>, Vec<usize>), ContractError> {
    let (mut launches, mut skipped) = (Vec::new(), Vec::new());
    for (i, kernel) in manifest.kernels.iter().enumerate() {
        match grid(manifest, kernel, env)? {
            None => skipped.push(i),
            Some(grid) => {
                let args = kernel
                    .args
                    .iter()
                    .map(|arg| value(arg, tensors, scalars, env.extents))
                    .collect();
                launches.push(PlannedKernel {
                    kernel: i,
                    grid,
                    args,
                    maps: super::maps::plan(manifest, kernel, tensors)?,
                });
            }
        }
    }
    Ok((launches, skipped))
}

/// `None` where an axis has no blocks. A zero on one axis excuses no excess on another.
fn grid(manifest: &Manifest, kernel: &KernelDesc, env: &DimEnv<'_>) -> Result<Option<[u32; 3]>, ContractError> {
    let mut grid = [0u32; 3];
    for ((slot, axis), (expr, limit)) in grid
        .iter_mut()
        .zip(['x', 'y', 'z'])
        .zip(kernel.grid.iter().zip(grid_limits(kernel)))
    {
        let name = || kernel.entry.clone();
        let text = || {
            expr.display(&manifest.extent_names(), &manifest.scalar_names())
                .to_string()
        };
        let value = expr.eval(env).map_err(|source| ContractError::GridEval {
            kernel: name(),
            axis,
            expr: text(),
            source,
        })?;
        *slot = u32::try_from(value)
            .ok()
            .filter(|_| value <= limit)
            .ok_or_else(|| ContractError::GridLimit {
                kernel: name(),
                axis,
                expr: text(),
                value,
                limit,
            })?;
    }
    Ok((!grid.contains(&0)).then_some(grid))
}

fn value(arg: &KernelArg, tensors: &[PlannedTensor], scalars: &[ScalarValue], extents: &[u64]) -> ArgValue {
    const VALID: &str = "the manifest of an artifact has valid indices";
    match *arg {
        KernelArg::TensorPtr(i) => ArgValue::Tensor(i),
        KernelArg::TensorStride { tensor, dim } => {
            ArgValue::I64(*tensors.get(tensor).and_then(|t| t.strides.get(dim)).expect(VALID))
        }
        // An extent is at most `ExtentSym::max`, which a valid manifest keeps within 63 bits.
        KernelArg::Extent(i) => ArgValue::I64(*extents.get(i).expect(VALID) as i64),
        // A valid manifest has such an extent's `max` below 2^31.
        KernelArg::Extent32(i) => ArgValue::I32(*extents.get(i).expect(VALID) as i32),
        KernelArg::Scalar(i) => match *scalars.get(i).expect(VALID) {
            ScalarValue::I32(value) => ArgValue::I32(value),
            ScalarValue::I64(value) => ArgValue::I64(value),
            ScalarValue::F32(value) => ArgValue::F32(value),
            ScalarValue::Bool(value) => ArgValue::I32(i32::from(value)),
        },
        KernelArg::Map(i) => ArgValue::Map(i),
    }
}
