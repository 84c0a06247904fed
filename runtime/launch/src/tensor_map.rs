//! Tensor map descriptors, encoded by the driver from the numbers of a checked call.

use cudarc::driver::sys::{
    CUtensorMap, CUtensorMapDataType_enum as Type, CUtensorMapFloatOOBfill_enum as Fill,
    CUtensorMapInterleave_enum as Interleave, CUtensorMapL2promotion_enum as Promotion,
    CUtensorMapSwizzle_enum as Pattern,
};
use einloom_artifact::contract::{Place, PlannedMap};
use einloom_artifact::{DType, Manifest, Swizzle, TensorMap};

use crate::api::Api;
use crate::error::{DeviceError, LaunchError};

const _: () = assert!(size_of::<CUtensorMap>() == TensorMap::BYTES && align_of::<CUtensorMap>() >= TensorMap::ALIGN);

/// The address that a descriptor is made over, for a workspace at this address.
pub(crate) fn base(map: &PlannedMap, zeros: Option<u64>, workspace: u64) -> u64 {
    match map
        .base(zeros)
        .expect("a plan has zeros where it has empty descriptors")
    {
        Place::Address(address) => address,
        Place::Workspace(offset) => workspace + offset,
    }
}

/// The descriptor of `map` over memory at `base`. `kernel` is named where the driver refuses.
pub(crate) fn encode(
    api: &Api,
    manifest: &Manifest,
    kernel: &str,
    map: &PlannedMap,
    base: u64,
) -> Result<CUtensorMap, LaunchError> {
    let encode = api
        .tensor_map_encode
        .ok_or(DeviceError::MissingSymbol("cuTensorMapEncodeTiled"))?;
    let rank = map.extents().len();
    let element_strides = [1u32; TensorMap::MAX_RANK];
    let mut descriptor = CUtensorMap { opaque: [0; 16] };
    // SAFETY: writes the 128 aligned bytes of the descriptor; every list has `rank` (strides: `rank - 1`) entries or
    // more, which the driver reads. The base is stored, not read.
    let status = unsafe {
        encode(
            &mut descriptor,
            data_type(map.dtype()) as u32,
            rank as u32,
            base as *mut _,
            map.extents().as_ptr(),
            map.strides().as_ptr(),
            map.box_extents().as_ptr(),
            element_strides.as_ptr(),
            Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE as u32,
            swizzle(map.swizzle()) as u32,
            Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B as u32,
            Fill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE as u32,
        )
    };
    match api.check("cuTensorMapEncodeTiled", status) {
        Ok(()) => Ok(descriptor),
        Err(DeviceError::Driver(error)) => Err(LaunchError::TensorMap {
            kernel: kernel.to_owned(),
            tensor: manifest
                .tensors
                .get(map.tensor())
                .map_or_else(String::new, |t| t.name.clone()),
            extents: map.extents().to_vec(),
            strides: map.strides().to_vec(),
            box_extents: map.box_extents().to_vec(),
            hint: if map.strides().contains(&0) {
                "; a stride of 0, a broadcast dimension, may be the reason: copy the tensor to a dense one"
            } else {
                ""
            },
            error: Box::new(error),
        }),
        Err(other) => Err(other.into()),
    }
}

fn data_type(dtype: DType) -> Type {
    match dtype {
        DType::F16 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        DType::BF16 => Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        DType::F32 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::F64 => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
        // Copies move bits: a type of the same size.
        DType::I16 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT16,
        DType::I32 => Type::CU_TENSOR_MAP_DATA_TYPE_INT32,
        DType::U32 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        DType::I64 => Type::CU_TENSOR_MAP_DATA_TYPE_INT64,
        DType::I8 | DType::U8 | DType::Bool => Type::CU_TENSOR_MAP_DATA_TYPE_UINT8,
    }
}

fn swizzle(swizzle: Swizzle) -> Pattern {
    match swizzle {
        Swizzle::B128 => Pattern::CU_TENSOR_MAP_SWIZZLE_128B,
    }
}
