//! The manifest: everything that a caller must know to launch one compiled specialisation.
//!
//! Indices (`Extent(i)`, `TensorPtr(i)`, ..) point into the lists of the same [`Manifest`]. The JSON form is the serde form
//! of these types with its fields in this order; unknown fields and unknown variants are refused, and a reader accepts
//! exactly its own [`FORMAT_VERSION`], since a field that it does not know might change what a launch means.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::expr::DimExpr;
use crate::target::{Capability, PtxVersion, Target};

/// The version of the manifest and of the container that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 2;

/// One compiled specialisation of one cascade for one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of the compiler that wrote it.
    pub einloom_version: String,
    /// Name of the cascade.
    pub cascade: String,
    /// The compile-time choices of this specialisation by name, as text: `e` -> `128`, `T` -> `bf16`.
    pub specialisation: BTreeMap<String, String>,
    /// What the PTX was compiled for.
    pub target: Target,
    /// PTX ISA version in the text's `.version` line.
    pub ptx_version: PtxVersion,
    /// Least compute capability of a device that can run it.
    pub min_capability: Capability,
    /// blake3 of the PTX text, in hexadecimal. [`crate::KernelArtifact::new`] fills it in.
    pub ptx_blake3: String,
    /// Run-time extents. An expression in [`ExtentSource::Expr`] may name earlier ones only.
    pub extents: Vec<ExtentSym>,
    /// Scalar parameters of the cascade.
    pub scalars: Vec<ScalarParam>,
    /// Inputs, outputs and workspaces.
    pub tensors: Vec<TensorParam>,
    /// The kernels of one launch, in order, on one stream.
    pub kernels: Vec<KernelDesc>,
}

/// One run-time extent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtentSym {
    /// Its name in messages, usually the rank's name in capitals.
    pub name: String,
    /// Where its value comes from.
    pub source: ExtentSource,
    /// Least value that the kernels accept. 0: an empty rank is fine.
    pub min: u64,
    /// Largest value that the kernels accept.
    pub max: u64,
    /// The value must be a multiple of this. 1: any value.
    pub multiple_of: u64,
}

/// Where the value of an extent comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExtentSource {
    /// These dimensions of tensors; all must agree.
    Dims(Vec<DimRef>),
    /// An expression over earlier extents and integer scalars: `R = H / G`.
    Expr(DimExpr),
}

/// One dimension of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimRef {
    /// Index into [`Manifest::tensors`].
    pub tensor: usize,
    /// Dimension, outermost first.
    pub dim: usize,
}

/// One scalar parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalarParam {
    /// Its name in the cascade.
    pub name: String,
    /// Its type.
    pub dtype: ScalarType,
}

/// Type of a scalar parameter, and how it is passed to a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalarType {
    /// 4 bytes.
    I32,
    /// 8 bytes.
    I64,
    /// 4 bytes.
    F32,
    /// Passed as a 4-byte integer, 0 or 1.
    Bool,
}

/// One tensor of a launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorParam {
    /// Its name in the cascade; workspaces have a name of the compiler's.
    pub name: String,
    /// Who provides and who writes it.
    pub role: Role,
    /// Type of one element.
    pub dtype: DType,
    /// Its dimensions, outermost first. Empty: one element.
    pub dims: Vec<Dim>,
    /// The last dimension must have stride 1.
    pub innermost_contiguous: bool,
    /// The base address must be a multiple of this, in bytes; a power of two.
    pub align: u32,
    /// Outputs and workspaces: the runtime clears the tensor before the first kernel of every launch.
    pub zeroed: bool,
}

/// One dimension of a tensor parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dim {
    /// Name of its rank in messages; may be empty.
    pub rank: String,
    /// Its extent.
    pub extent: DimExpr,
    /// Its stride, in elements, must be a multiple of this, unless the extent is 0 or 1. 1: any stride.
    pub stride_multiple: u64,
}

/// Who provides and who writes a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Provided by the caller, read only.
    Input,
    /// Provided by the caller, written; overlaps neither itself nor another tensor.
    Output,
    /// Provided by the runtime, dense in row-major order (strides rounded up to their multiples), undefined at the start
    /// of a launch unless `zeroed`.
    Workspace,
}

/// Type of one tensor element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U32,
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Size of one element in bytes.
    pub fn size(self) -> u64 {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// Its name in the language: `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U32 => "u32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScalarType::I32 => "i32",
            ScalarType::I64 => "i64",
            ScalarType::F32 => "f32",
            ScalarType::Bool => "bool",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Input => "input",
            Role::Output => "output",
            Role::Workspace => "workspace",
        })
    }
}

/// One kernel and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelDesc {
    /// Name of the `.entry` in the PTX.
    pub entry: String,
    /// Its arguments, in order.
    pub args: Vec<KernelArg>,
    /// Tensor map descriptors that the arguments name.
    pub maps: Vec<TensorMap>,
    /// Blocks in x, y, z. A zero anywhere means there is nothing to do and the kernel is skipped. With `persistent` these
    /// are tiles, all in x.
    pub grid: [DimExpr; 3],
    /// Blocks on each multiprocessor of a kernel whose blocks loop over the tiles themselves: it is launched with that many times
    /// the multiprocessors, or as many as there are tiles if those are fewer. `null`: one block a tile.
    pub persistent: Option<u32>,
    /// Threads of a block, in x.
    pub block: u32,
    /// Dynamic shared memory, in bytes.
    pub dynamic_shared: u32,
    /// `.minnctapersm` that the kernel was compiled for; 0 where none was given.
    pub min_blocks: u32,
    /// Registers of a thread that the compiler planned with, for reports; 0 where unknown.
    pub planned_registers: u32,
    /// Local memory (spills) is expected; without it a tuner refuses a kernel that has some.
    pub allow_local_memory: bool,
    /// What the kernel does, for reports.
    pub notes: Vec<String>,
}

impl KernelDesc {
    /// The launch grid for the blocks or tiles `grid` on a device with `multiprocessors`, of which each holds `resident` blocks of
    /// this kernel at a time. More blocks of a persistent kernel than the device holds would only wait for the others to end.
    pub fn blocks(&self, grid: [u32; 3], multiprocessors: u32, resident: u32) -> [u32; 3] {
        let Some(most) = self.persistent else {
            return grid;
        };
        let [tiles, y, z] = grid;
        let held = most.min(resident.max(1)).saturating_mul(multiprocessors.max(1));
        [tiles.min(held), y, z]
    }
}

/// One kernel argument. Sizes and order are those of the `.entry`'s parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KernelArg {
    /// Base address of the tensor, 8 bytes.
    TensorPtr(usize),
    /// Stride of a dimension in elements, 8 bytes signed.
    TensorStride {
        /// Index into [`Manifest::tensors`].
        tensor: usize,
        /// Dimension, outermost first.
        dim: usize,
    },
    /// A run-time extent, 8 bytes signed.
    Extent(usize),
    /// A run-time extent whose `max` is below 2^31, 4 bytes signed.
    Extent32(usize),
    /// A scalar parameter, see [`ScalarType`].
    Scalar(usize),
    /// The descriptor of [`KernelDesc::maps`] with this index, by value: 128 bytes, aligned to 64.
    Map(usize),
}

/// A descriptor for box copies of the tensor memory accelerator (PTX ISA, `cp.async.bulk.tensor`), made by the runtime from
/// base, extents and strides of a tensor of the call. Its dimensions are those of the tensor. A box has `rows` elements
/// in `row_dim`, `inner` in the last dimension, and 1 elsewhere; what lies outside the tensor reads as 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorMap {
    /// Index into [`Manifest::tensors`]; its element type is the descriptor's.
    pub tensor: usize,
    /// Dimension of the rows, outermost first, other than the last. `null`: `rows` is 1.
    pub row_dim: Option<usize>,
    /// Elements of a box in `row_dim`, at most 256.
    pub rows: u32,
    /// Elements of a box in the last dimension: 128 bytes.
    pub inner: u32,
    /// How the box lies in shared memory.
    pub swizzle: Swizzle,
}

/// Permutation of the 16-byte pieces of a box in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Swizzle {
    /// Over 8 rows of 128 bytes: piece `c` of row `r` lies at `c xor (r mod 8)`.
    B128,
}

impl TensorMap {
    /// Size of a descriptor in bytes.
    pub const BYTES: usize = 128;
    /// Its alignment as a kernel argument, in bytes.
    pub const ALIGN: usize = 64;
    /// Bytes of a box in the last dimension.
    pub const INNER_BYTES: u64 = 128;
    /// Most dimensions of a tensor with a descriptor.
    pub const MAX_RANK: usize = 5;
    /// Most rows of a box.
    pub const MAX_ROWS: u32 = 256;
}

impl Manifest {
    /// Names of the extents, for messages.
    pub fn extent_names(&self) -> Vec<String> {
        self.extents.iter().map(|e| e.name.clone()).collect()
    }

    /// Names of the scalars, for messages.
    pub fn scalar_names(&self) -> Vec<String> {
        self.scalars.iter().map(|s| s.name.clone()).collect()
    }

    /// Index of the tensor called `name`.
    pub fn tensor_index(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|t| t.name == name)
    }

    /// Alignment of a kernel argument in bytes. The indices must be in range.
    pub fn arg_align(&self, arg: &KernelArg) -> usize {
        self.arg_bytes(arg).min(TensorMap::ALIGN)
    }

    /// Size of a kernel argument in bytes. The indices must be in range.
    pub fn arg_bytes(&self, arg: &KernelArg) -> usize {
        match *arg {
            KernelArg::Map(_) => TensorMap::BYTES,
            KernelArg::TensorPtr(_) | KernelArg::TensorStride { .. } | KernelArg::Extent(_) => 8,
            KernelArg::Extent32(_) => 4,
            KernelArg::Scalar(i) => match self.scalars.get(i).map(|s| s.dtype) {
                Some(ScalarType::I64) => 8,
                Some(ScalarType::I32 | ScalarType::F32 | ScalarType::Bool) | None => 4,
            },
        }
    }
}
