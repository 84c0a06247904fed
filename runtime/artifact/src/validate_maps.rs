//! What a manifest must promise for its tensor map descriptors, so that a descriptor can be made from every checked call.
//!
//! The conditions are those of `cuTensorMapEncodeTiled` (CUDA driver API, tensor map object management) for tiles without
//! interleave: 1 to 5 dimensions, the last contiguous, base and outer strides multiples of 16 bytes, boxes of at most 256
//! elements a dimension, swizzled boxes of at most 128 bytes in the last. Conditions on the numbers of a call (extents up to
//! 2^32, strides below 2^40 bytes) are the launch check's.

use crate::manifest::{DType, KernelDesc, Manifest, TensorMap};
use crate::validate::{Checked, invalid, no_dim, no_tensor};

/// Base and outer strides are multiples of this, in bytes.
const ALIGN: u64 = 16;
/// First capability with tensor maps.
const CAPABILITY: u32 = 9;
/// Most descriptors of a kernel: more do not fit its arguments.
const MAX_MAPS: usize = 32;

impl Manifest {
    /// Checks the descriptors of a kernel.
    pub(crate) fn check_maps(&self, place: &str, kernel: &KernelDesc) -> Checked {
        if kernel.maps.is_empty() {
            return Ok(());
        }
        if self.target.capability.major < CAPABILITY {
            return Err(invalid(
                place,
                format!("tensor maps, which {} does not have", self.target),
            ));
        }
        if kernel.maps.len() > MAX_MAPS {
            let reason = format!("{} tensor maps, the limit is {MAX_MAPS}", kernel.maps.len());
            return Err(invalid(place, reason));
        }
        kernel
            .maps
            .iter()
            .enumerate()
            .try_for_each(|(i, map)| self.check_map(&format!("{place}: tensor map #{i}"), map))
    }

    fn check_map(&self, place: &str, map: &TensorMap) -> Checked {
        let tensor = self
            .tensors
            .get(map.tensor)
            .ok_or_else(|| no_tensor(place, map.tensor))?;
        let (name, rank, size) = (&tensor.name, tensor.dims.len(), tensor.dtype.size());
        if !matches!(
            tensor.dtype,
            DType::F16 | DType::BF16 | DType::F32 | DType::I16 | DType::I32 | DType::U32
        ) {
            let reason = format!("tensor `{name}` is {}, elements have 2 or 4 bytes", tensor.dtype);
            return Err(invalid(place, reason));
        }
        if rank == 0 || rank > TensorMap::MAX_RANK {
            let reason = format!(
                "tensor `{name}` has {rank} dimensions, 1 to {} can be described",
                TensorMap::MAX_RANK
            );
            return Err(invalid(place, reason));
        }
        if u64::from(map.inner) * size != TensorMap::INNER_BYTES {
            let reason = format!("a box is {} elements of {size} bytes wide, not 128 bytes", map.inner);
            return Err(invalid(place, reason));
        }
        match map.row_dim {
            Some(dim) if dim + 1 >= rank => return Err(no_dim(place, tensor, dim)),
            None if map.rows != 1 => return Err(invalid(place, format!("{} rows along no dimension", map.rows))),
            _ => {}
        }
        if map.rows == 0 || map.rows > TensorMap::MAX_ROWS {
            let reason = format!("a box of {} rows, the limit is {}", map.rows, TensorMap::MAX_ROWS);
            return Err(invalid(place, reason));
        }
        if !tensor.innermost_contiguous {
            return Err(invalid(
                place,
                format!("the last dimension of `{name}` may have any stride"),
            ));
        }
        if u64::from(tensor.align) % ALIGN != 0 {
            let reason = format!("`{name}` is aligned to {} bytes, not to {ALIGN}", tensor.align);
            return Err(invalid(place, reason));
        }
        let outer = tensor.dims.iter().take(rank - 1);
        match outer
            .enumerate()
            .find(|(_, dim)| dim.stride_multiple * size % ALIGN != 0)
        {
            Some((d, dim)) => {
                let bytes = dim.stride_multiple * size;
                let reason = format!("stride #{d} of `{name}` is a multiple of {bytes} bytes, not of {ALIGN}");
                Err(invalid(place, reason))
            }
            None => Ok(()),
        }
    }
}
