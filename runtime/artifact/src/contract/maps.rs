//! Tensor map descriptors of a call.
//!
//! An extent of 1 has a stride that is multiplied by 0 alone, so it gets a legal one. A descriptor cannot
//! have an extent of 0: one of an empty tensor describes a single element that is 0, with the same effect, since every box
//! then reads zeros, inside and outside.

use super::{Place, PlannedTensor};
use crate::error::ContractError;
use crate::manifest::{DType, DimRef, KernelDesc, Manifest, Swizzle, TensorMap, TensorParam};

/// Largest extent.
const MAX_EXTENT: u64 = 1 << 32;
/// Strides are less, in bytes.
const STRIDE_LIMIT: u64 = 1 << 40;
/// Strides are multiples of it, in bytes.
const STRIDE_UNIT: u64 = 16;

/// The numbers of one tensor map descriptor, in the order of `cuTensorMapEncodeTiled`: innermost dimension first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedMap {
    tensor: usize,
    dtype: DType,
    swizzle: Swizzle,
    base: Option<Place>,
    rank: usize,
    extents: [u64; TensorMap::MAX_RANK],
    strides: [u64; TensorMap::MAX_RANK],
    box_extents: [u32; TensorMap::MAX_RANK],
}

/// Which dimension of a tensor no descriptor can hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Excess {
    Extent { dim: usize, extent: u64 },
    Stride { dim: usize, bytes: u64 },
}

impl PlannedMap {
    /// Index of the tensor in [`Manifest::tensors`].
    pub fn tensor(&self) -> usize {
        self.tensor
    }

    /// Type of one element.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How a box lies in shared memory.
    pub fn swizzle(&self) -> Swizzle {
        self.swizzle
    }

    /// Whether the tensor has no elements; the descriptor then describes one element of the cleared bytes.
    pub fn is_empty(&self) -> bool {
        self.base.is_none()
    }

    /// Where the described memory lies: the tensor's place, or `zeros` ([`super::LaunchPlan::zeros`]) if it is empty.
    pub fn base(&self, zeros: Option<u64>) -> Option<Place> {
        self.base.or(zeros.map(Place::Workspace))
    }

    /// Extents, each 1 to 2^32.
    pub fn extents(&self) -> &[u64] {
        self.extents.get(..self.rank).unwrap_or_default()
    }

    /// Strides in bytes of all dimensions but the first, multiples of 16 below 2^40. 0: a dimension that is broadcast.
    pub fn strides(&self) -> &[u64] {
        self.strides.get(..self.rank.saturating_sub(1)).unwrap_or_default()
    }

    /// Extents of the box.
    pub fn box_extents(&self) -> &[u32] {
        self.box_extents.get(..self.rank).unwrap_or_default()
    }

    /// The descriptor `map` of a tensor of this shape with these strides in elements, outermost first. Allocates nothing.
    pub(super) fn new(
        param: &TensorParam,
        map: &TensorMap,
        place: Place,
        shape: &[u64],
        strides: &[i64],
    ) -> Result<PlannedMap, Excess> {
        let rank = shape.len().min(TensorMap::MAX_RANK);
        let empty = shape.contains(&0);
        let mut planned = PlannedMap {
            tensor: map.tensor,
            dtype: param.dtype,
            swizzle: map.swizzle,
            base: (!empty).then_some(place),
            rank,
            extents: [1; TensorMap::MAX_RANK],
            strides: [STRIDE_UNIT; TensorMap::MAX_RANK],
            box_extents: [1; TensorMap::MAX_RANK],
        };
        for (inward, side) in planned.box_extents.iter_mut().take(rank).enumerate() {
            *side = match (inward, map.row_dim) {
                (0, _) => map.inner,
                (_, Some(dim)) if dim + inward + 1 == rank => map.rows,
                _ => 1,
            };
        }
        if !empty {
            planned.measure(param.dtype.size(), shape, strides)?;
        }
        Ok(planned)
    }

    /// Sets extents and strides.
    fn measure(&mut self, size: u64, shape: &[u64], strides: &[i64]) -> Result<(), Excess> {
        // Bytes from the start of the dimension inside to its end, as in a dense tensor.
        let mut past = size;
        let dims = shape.iter().zip(strides).enumerate().rev();
        for (inward, (dim, (&extent, &stride))) in dims.enumerate().take(self.rank) {
            if extent > MAX_EXTENT {
                return Err(Excess::Extent { dim, extent });
            }
            let bytes = match (inward, extent) {
                (0, _) => size,
                (_, 1) => past
                    .checked_next_multiple_of(STRIDE_UNIT)
                    .filter(|bytes| (1..STRIDE_LIMIT).contains(bytes))
                    .unwrap_or(STRIDE_UNIT),
                _ => stride.unsigned_abs().saturating_mul(size),
            };
            if bytes >= STRIDE_LIMIT {
                return Err(Excess::Stride { dim, bytes });
            }
            past = bytes.saturating_mul(extent);
            if let Some(slot) = self.extents.get_mut(inward) {
                *slot = extent;
            }
            if let Some(slot) = inward.checked_sub(1).and_then(|outer| self.strides.get_mut(outer)) {
                *slot = bytes;
            }
        }
        Ok(())
    }
}

/// The descriptors of a kernel.
pub(super) fn plan(
    manifest: &Manifest,
    kernel: &KernelDesc,
    tensors: &[PlannedTensor],
) -> Result<Vec<PlannedMap>, ContractError> {
    const VALID: &str = "the manifest of an artifact has valid indices";
    let one = |map: &TensorMap| {
        let tensor = tensors.get(map.tensor).expect(VALID);
        let param = manifest.tensors.get(map.tensor).expect(VALID);
        PlannedMap::new(param, map, tensor.place, &tensor.shape, &tensor.strides)
            .map_err(|excess| refusal(manifest, kernel, map.tensor, excess))
    };
    kernel.maps.iter().map(one).collect()
}

fn refusal(manifest: &Manifest, kernel: &KernelDesc, tensor: usize, excess: Excess) -> ContractError {
    let kernel = kernel.entry.clone();
    let at = |dim| super::tensors::dim_name(manifest, DimRef { tensor, dim });
    match excess {
        Excess::Extent { dim, extent } => ContractError::MapExtent {
            kernel,
            at: at(dim),
            extent,
        },
        Excess::Stride { dim, bytes } => ContractError::MapStride {
            kernel,
            at: at(dim),
            bytes,
        },
    }
}
