//! A manifest with every feature: grouped-query attention with two kernels, a cleared workspace, scalars of all types.
//!
//! `Q[b,h,p,e]`, `K[b,g,m,e]`, `V[b,g,m,f]`, `O[b,h,p,f]`, `LSE[b,h,p]`, workspace `partial[b,h,p]`; `h = g * r`, `e = 64`.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use einloom_artifact::*;

pub(crate) const PTX: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
.visible .entry attend(.param .u64 q, .param .u64 k, .param .u64 v, .param .u64 o, .param .u64 part,\n\
  .param .u64 qs, .param .u64 m, .param .f32 scale, .param .u32 window, .param .u64 seed, .param .u32 causal)\n{ ret; }\n\
.visible .entry finish(.param .u64 part, .param .u64 lse)\n{ ret; }\n";

pub(crate) const Q: usize = 0;
pub(crate) const K: usize = 1;
pub(crate) const V: usize = 2;
pub(crate) const O: usize = 3;
pub(crate) const LSE: usize = 4;
pub(crate) const PARTIAL: usize = 5;
const NAMES: [&str; 6] = ["Q", "K", "V", "O", "LSE", "partial"];

const B: usize = 0;
const H: usize = 1;
const G: usize = 2;
const R: usize = 3;
const P: usize = 4;
const M: usize = 5;
const F: usize = 6;

fn extent(name: &str, source: ExtentSource) -> ExtentSym {
    ExtentSym {
        name: name.into(),
        source,
        min: 0,
        max: 1 << 40,
        multiple_of: 1,
    }
}

fn from(dims: &[(usize, usize)]) -> ExtentSource {
    ExtentSource::Dims(dims.iter().map(|&(tensor, dim)| DimRef { tensor, dim }).collect())
}

fn tensor(index: usize, role: Role, dtype: DType, dims: &[(&str, DimExpr)]) -> TensorParam {
    let last = dims.len() - 1;
    let wide = dtype == DType::BF16;
    let dim = |(i, (rank, extent)): (usize, &(&str, DimExpr))| Dim {
        rank: (*rank).into(),
        extent: extent.clone(),
        stride_multiple: if wide && i != last { 8 } else { 1 },
    };
    TensorParam {
        name: NAMES[index].into(),
        role,
        dtype,
        dims: dims.iter().enumerate().map(dim).collect(),
        innermost_contiguous: true,
        align: if wide { 16 } else { 4 },
        zeroed: role == Role::Workspace,
    }
}

fn kernel(entry: &str, args: Vec<KernelArg>, grid: [DimExpr; 3]) -> KernelDesc {
    KernelDesc {
        entry: entry.into(),
        args,
        maps: Vec::new(),
        grid,
        persistent: None,
        block: 128,
        dynamic_shared: 98_304,
        min_blocks: 1,
        planned_registers: 255,
        allow_local_memory: false,
        notes: vec!["stream m".into()],
    }
}

fn scalar(name: &str, dtype: ScalarType) -> ScalarParam {
    ScalarParam {
        name: name.into(),
        dtype,
    }
}

pub(crate) fn manifest() -> Manifest {
    let x = DimExpr::Extent;
    let heads = || x(G) * x(R);
    let mut m_extent = extent("M", from(&[(K, 2), (V, 2)]));
    m_extent.multiple_of = 2;
    let mut b_extent = extent("B", from(&[(Q, 0), (K, 0), (V, 0), (O, 0)]));
    b_extent.max = 65_536;
    Manifest {
        format_version: FORMAT_VERSION,
        einloom_version: "0.1.0".into(),
        cascade: "grouped".into(),
        specialisation: BTreeMap::from([("e".into(), "64".into()), ("T".into(), "bf16".into())]),
        target: "sm_80".parse().unwrap(),
        ptx_version: "8.0".parse().unwrap(),
        min_capability: "8.0".parse().unwrap(),
        ptx_blake3: String::new(),
        extents: vec![
            b_extent,
            extent("H", from(&[(Q, 1)])),
            extent("G", from(&[(K, 1), (V, 1)])),
            extent("R", ExtentSource::Expr(x(H) / x(G))),
            extent("P", from(&[(Q, 2), (O, 2)])),
            m_extent,
            extent("F", from(&[(V, 3)])),
        ],
        scalars: vec![
            scalar("scale", ScalarType::F32),
            scalar("window", ScalarType::I32),
            scalar("seed", ScalarType::I64),
            scalar("causal", ScalarType::Bool),
        ],
        tensors: vec![
            tensor(
                Q,
                Role::Input,
                DType::BF16,
                &[("b", x(B)), ("h", heads()), ("p", x(P)), ("e", 64.into())],
            ),
            tensor(
                K,
                Role::Input,
                DType::BF16,
                &[("b", x(B)), ("g", x(G)), ("m", x(M)), ("e", 64.into())],
            ),
            tensor(
                V,
                Role::Input,
                DType::BF16,
                &[("b", x(B)), ("g", x(G)), ("m", x(M)), ("f", x(F))],
            ),
            tensor(
                O,
                Role::Output,
                DType::BF16,
                &[("b", x(B)), ("h", heads()), ("p", x(P)), ("f", x(F))],
            ),
            tensor(
                LSE,
                Role::Output,
                DType::F32,
                &[("b", x(B)), ("h", heads()), ("p", x(P))],
            ),
            tensor(
                PARTIAL,
                Role::Workspace,
                DType::F32,
                &[("b", x(B)), ("h", heads()), ("p", x(P))],
            ),
        ],
        kernels: vec![
            kernel(
                "attend",
                vec![
                    KernelArg::TensorPtr(Q),
                    KernelArg::TensorPtr(K),
                    KernelArg::TensorPtr(V),
                    KernelArg::TensorPtr(O),
                    KernelArg::TensorPtr(PARTIAL),
                    KernelArg::TensorStride { tensor: Q, dim: 2 },
                    KernelArg::Extent(M),
                    KernelArg::Scalar(0),
                    KernelArg::Scalar(1),
                    KernelArg::Scalar(2),
                    KernelArg::Scalar(3),
                ],
                [x(P).ceil_div(128), heads(), x(B)],
            ),
            kernel(
                "finish",
                vec![KernelArg::TensorPtr(PARTIAL), KernelArg::TensorPtr(LSE)],
                [(x(B) * heads() * x(P)).ceil_div(128), 1.into(), 1.into()],
            ),
        ],
    }
}

/// The common manifest for sm_90a, its first kernel persistent with descriptors of Q, K and V.
pub(crate) fn mapped() -> Manifest {
    let mut manifest = manifest();
    manifest.target = "sm_90a".parse().unwrap();
    manifest.min_capability = "9.0".parse().unwrap();
    let map = |tensor, rows| TensorMap {
        tensor,
        row_dim: Some(2),
        rows,
        inner: 64,
        swizzle: Swizzle::B128,
    };
    let kernel = &mut manifest.kernels[0];
    kernel.maps = vec![map(Q, 64), map(K, 128), map(V, 128)];
    kernel.args.extend((0..3).map(KernelArg::Map));
    let [x, y, z] = kernel.grid.clone();
    kernel.grid = [x * y * z, 1.into(), 1.into()];
    kernel.persistent = Some(2);
    manifest
}

pub(crate) fn artifact() -> KernelArtifact {
    KernelArtifact::new(manifest(), PTX.to_owned()).unwrap()
}

/// A call that fits, to be spoilt by the tests.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) names: Vec<&'static str>,
    pub(crate) dtypes: Vec<DType>,
    pub(crate) shapes: Vec<Vec<u64>>,
    pub(crate) strides: Vec<Vec<i64>>,
    pub(crate) addresses: Vec<u64>,
    pub(crate) lens: Vec<u64>,
    pub(crate) scalars: Vec<ScalarArg<'static>>,
}

fn dense(shape: &[u64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d].wrapping_mul(shape[d].max(1) as i64);
    }
    strides
}

/// B = 2, G = 2, R = 3, and the given P, M, F.
pub(crate) fn call(p: u64, m: u64, f: u64) -> Call {
    let shapes = vec![
        vec![2, 6, p, 64],
        vec![2, 2, m, 64],
        vec![2, 2, m, f],
        vec![2, 6, p, f],
        vec![2, 6, p],
    ];
    Call {
        names: NAMES[..5].to_vec(),
        dtypes: vec![DType::BF16, DType::BF16, DType::BF16, DType::BF16, DType::F32],
        strides: shapes.iter().map(|s| dense(s)).collect(),
        addresses: (1..=5).map(|i| i << 32).collect(),
        lens: shapes
            .iter()
            .map(|s| s.iter().fold(1, |n: u64, x| n.wrapping_mul(*x)))
            .collect(),
        shapes,
        scalars: vec![
            ScalarArg {
                name: "scale",
                value: ScalarValue::F32(0.125),
            },
            ScalarArg {
                name: "window",
                value: ScalarValue::I32(-1),
            },
            ScalarArg {
                name: "seed",
                value: ScalarValue::I64(1 << 40),
            },
            ScalarArg {
                name: "causal",
                value: ScalarValue::Bool(true),
            },
        ],
    }
}

impl Call {
    pub(crate) fn views(&self) -> Vec<TensorView<'_>> {
        (0..self.names.len())
            .map(|i| TensorView {
                name: self.names[i],
                dtype: self.dtypes[i],
                shape: &self.shapes[i],
                strides: &self.strides[i],
                address: self.addresses[i],
                len_elements: self.lens[i],
            })
            .collect()
    }

    pub(crate) fn check(&self, manifest: &Manifest) -> Result<LaunchPlan, ContractError> {
        contract::check(manifest, &self.views(), &self.scalars)
    }

    /// The message of the refusal.
    pub(crate) fn refused(&self) -> String {
        self.check(&manifest())
            .expect_err("the call should be refused")
            .to_string()
    }
}
