//! What the tests that want a GPU share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use einloom_artifact::{
    DType, Dim, DimExpr, DimRef, ExtentSource, ExtentSym, FORMAT_VERSION, KernelArg, KernelDesc, Manifest, Role,
    ScalarParam, ScalarType, TensorParam,
};
use einloom_runtime::Device;

/// The first GPU. Without one the test says why it is skipped.
pub(crate) fn device() -> Option<Device> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// A manifest for sm_80 with one extent `N`, the extent of every tensor's last dimension.
pub(crate) fn manifest(
    tensors: Vec<TensorParam>,
    scalars: &[(&str, ScalarType)],
    kernels: Vec<KernelDesc>,
) -> Manifest {
    let last = |(i, t): (usize, &TensorParam)| DimRef {
        tensor: i,
        dim: t.dims.len() - 1,
    };
    let own = tensors
        .iter()
        .enumerate()
        .filter(|(_, t)| t.role != Role::Workspace)
        .map(last)
        .collect();
    Manifest {
        format_version: FORMAT_VERSION,
        einloom_version: "0.0.0".to_owned(),
        cascade: "test".to_owned(),
        specialisation: BTreeMap::new(),
        target: "sm_80".parse().unwrap(),
        ptx_version: "7.0".parse().unwrap(),
        min_capability: "8.0".parse().unwrap(),
        ptx_blake3: String::new(),
        extents: vec![ExtentSym {
            name: "N".to_owned(),
            source: ExtentSource::Dims(own),
            min: 0,
            max: 1 << 38,
            multiple_of: 1,
        }],
        scalars: scalars
            .iter()
            .map(|(name, dtype)| ScalarParam {
                name: (*name).to_owned(),
                dtype: *dtype,
            })
            .collect(),
        tensors,
        kernels,
    }
}

/// A tensor `[rows, N]`, or `[N]` where `rows` is `None`.
pub(crate) fn tensor(name: &str, role: Role, dtype: DType, rows: Option<i64>) -> TensorParam {
    let dim = |rank: &str, extent| Dim {
        rank: rank.to_owned(),
        extent,
        stride_multiple: 1,
    };
    let mut dims: Vec<_> = rows.map(|rows| dim("r", rows.into())).into_iter().collect();
    dims.push(dim("n", DimExpr::Extent(0)));
    let align = u32::try_from(dtype.size()).unwrap();
    TensorParam {
        name: name.to_owned(),
        role,
        dtype,
        dims,
        innermost_contiguous: true,
        align,
        zeroed: false,
    }
}

/// A kernel with one thread for each of `N`, 128 in a block.
pub(crate) fn kernel(entry: &str, args: Vec<KernelArg>) -> KernelDesc {
    KernelDesc {
        entry: entry.to_owned(),
        args,
        grid: [DimExpr::Extent(0).ceil_div(128), 1.into(), 1.into()],
        block: 128,
        dynamic_shared: 0,
        min_blocks: 0,
        planned_registers: 0,
        allow_local_memory: false,
        notes: Vec::new(),
    }
}
