//! What the tests that want a GPU share.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use einloom_artifact::{
    DType, Dim, DimExpr, DimRef, ExtentSource, ExtentSym, FORMAT_VERSION, KernelArg, KernelArtifact, KernelDesc,
    Manifest, Role, ScalarParam, ScalarType, TensorParam,
};
use einloom_runtime::Device;

/// The first GPU. Without one the test says why it is skipped; where `EINLOOM_REQUIRE_GPU` is set it fails.
pub(crate) fn device() -> Option<Device> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(reason) => {
            let required = std::env::var_os("EINLOOM_REQUIRE_GPU").is_some();
            assert!(!required, "a GPU is required: {reason}");
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
        maps: Vec::new(),
        grid: [DimExpr::Extent(0).ceil_div(128), 1.into(), 1.into()],
        persistent: None,
        block: 128,
        dynamic_shared: 0,
        min_blocks: 0,
        planned_registers: 0,
        allow_local_memory: false,
        notes: Vec::new(),
    }
}

/// `count[i] += 1` into a tensor that each launch clears, then `out[i] = count[i] + x[i]`.
pub(crate) const COUNT: &str = "\
.version 7.0
.target sm_80
.address_size 64
.visible .entry count(.param .u64 count_ptr, .param .u64 n_value)
{
    .reg .pred %p;
    .reg .u32 %a, %b, %c, %one;
    .reg .u64 %i, %n, %at;
    mov.u32 %a, %ctaid.x;
    mov.u32 %b, %ntid.x;
    mov.u32 %c, %tid.x;
    mad.lo.u32 %a, %a, %b, %c;
    cvt.u64.u32 %i, %a;
    ld.param.u64 %n, [n_value];
    setp.ge.u64 %p, %i, %n;
    @%p ret;
    ld.param.u64 %at, [count_ptr];
    cvta.to.global.u64 %at, %at;
    shl.b64 %i, %i, 2;
    add.u64 %at, %at, %i;
    mov.u32 %one, 1;
    red.global.add.u32 [%at], %one;
    ret;
}
.visible .entry sum(.param .u64 count_ptr, .param .u64 x_ptr, .param .u64 out_ptr, .param .u64 n_value)
{
    .reg .pred %p;
    .reg .u32 %a, %b, %c;
    .reg .u64 %i, %n, %at;
    mov.u32 %a, %ctaid.x;
    mov.u32 %b, %ntid.x;
    mov.u32 %c, %tid.x;
    mad.lo.u32 %a, %a, %b, %c;
    cvt.u64.u32 %i, %a;
    ld.param.u64 %n, [n_value];
    setp.ge.u64 %p, %i, %n;
    @%p ret;
    shl.b64 %i, %i, 2;
    ld.param.u64 %at, [count_ptr];
    cvta.to.global.u64 %at, %at;
    add.u64 %at, %at, %i;
    ld.global.u32 %a, [%at];
    ld.param.u64 %at, [x_ptr];
    cvta.to.global.u64 %at, %at;
    add.u64 %at, %at, %i;
    ld.global.u32 %b, [%at];
    add.u32 %a, %a, %b;
    ld.param.u64 %at, [out_ptr];
    cvta.to.global.u64 %at, %at;
    add.u64 %at, %at, %i;
    st.global.u32 [%at], %a;
    ret;
}
";

pub(crate) fn count_artifact() -> KernelArtifact {
    let mut count = tensor("count", Role::Workspace, DType::I32, None);
    count.zeroed = true;
    let tensors = vec![
        tensor("out", Role::Output, DType::I32, None),
        tensor("x", Role::Input, DType::I32, None),
        count,
    ];
    let kernels = vec![
        kernel("count", vec![KernelArg::TensorPtr(2), KernelArg::Extent(0)]),
        kernel(
            "sum",
            vec![
                KernelArg::TensorPtr(2),
                KernelArg::TensorPtr(1),
                KernelArg::TensorPtr(0),
                KernelArg::Extent(0),
            ],
        ),
    ];
    KernelArtifact::new(manifest(tensors, &[], kernels), COUNT.to_owned()).unwrap()
}
