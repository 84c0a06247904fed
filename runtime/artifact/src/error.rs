//! The errors of reading an artifact and of checking a launch against it.

use crate::expr::EvalError;
use crate::manifest::{DType, Role, ScalarType};

/// Why bytes or parts are no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The bytes do not start like a container.
    #[error("not an einloom kernel file: {0}")]
    Container(String),
    /// Written by another version of the format.
    #[error("kernel file of format version {found}, this runtime reads version {supported}; compile it again")]
    FormatVersion {
        /// Version in the file.
        found: u64,
        /// Version of this crate.
        supported: u32,
    },
    /// A part is longer than a reader accepts.
    #[error("the {part} has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// `manifest` or `PTX`.
        part: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The manifest is no JSON of the expected form.
    #[error("manifest: {0}")]
    Json(String),
    /// The manifest contradicts itself or the PTX.
    #[error("manifest: {place}: {reason}")]
    Invalid {
        /// Which part: `kernel "main"`, `tensor "Q"`.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The PTX is not the one that the manifest describes.
    #[error("the PTX does not match its manifest: blake3 {found}, the manifest says {expected}")]
    Hash {
        /// Of the PTX at hand.
        found: String,
        /// In the manifest.
        expected: String,
    },
    /// No target name.
    #[error("`{0}` is no target; a target reads `sm_80` or `sm_90a`")]
    Target(String),
    /// No version.
    #[error("`{0}` is no version; a version reads `8.0`")]
    Version(String),
}

/// Why a call does not fit the manifest. Every message names the tensor, scalar, extent or kernel, and the numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ContractError {
    #[error(transparent)]
    Manifest(#[from] ArtifactError),
    #[error("{role} `{tensor}` is missing")]
    MissingTensor { tensor: String, role: Role },
    #[error("the cascade has no input or output `{tensor}`; it has {known}")]
    UnknownTensor { tensor: String, known: String },
    #[error("tensor `{tensor}` is given twice")]
    DuplicateTensor { tensor: String },
    #[error("scalar `{scalar}` is missing")]
    MissingScalar { scalar: String },
    #[error("the cascade has no scalar `{scalar}`; it has {known}")]
    UnknownScalar { scalar: String, known: String },
    #[error("scalar `{scalar}` is given twice")]
    DuplicateScalar { scalar: String },
    #[error("scalar `{scalar}` is {found}, the kernel was compiled for {expected}")]
    ScalarType {
        scalar: String,
        found: ScalarType,
        expected: ScalarType,
    },
    #[error("tensor `{tensor}` is {found}, the kernel was compiled for {expected}")]
    DType {
        tensor: String,
        found: DType,
        expected: DType,
    },
    #[error("tensor `{tensor}` has {found} dimensions, the cascade declares {expected} ({ranks})")]
    Rank {
        tensor: String,
        found: usize,
        expected: usize,
        ranks: String,
    },
    #[error("tensor `{tensor}` has {shape} extents but {strides} strides")]
    StrideCount {
        tensor: String,
        shape: usize,
        strides: usize,
    },
    #[error("extent {extent} is {first} in {first_at}, but {second} in {second_at}")]
    ExtentsDisagree {
        extent: String,
        first: u64,
        first_at: String,
        second: u64,
        second_at: String,
    },
    #[error("extent {extent} follows from no tensor that is given")]
    ExtentUnknown { extent: String },
    #[error("extent {extent} = {expr} has no value: {source}")]
    ExtentEval {
        extent: String,
        expr: String,
        source: EvalError,
    },
    #[error("extent {extent} is {value}, the kernel accepts {min} to {max}")]
    ExtentRange {
        extent: String,
        value: u64,
        min: u64,
        max: u64,
    },
    #[error("extent {extent} is {value}, the kernel accepts multiples of {multiple_of}")]
    ExtentMultiple {
        extent: String,
        value: u64,
        multiple_of: u64,
    },
    #[error("{at} has extent {found}, not {expr} = {expected}")]
    Extent {
        at: String,
        found: u64,
        expected: u64,
        expr: String,
    },
    #[error("the extent {expr} of {at} has no value: {source}")]
    DimEval {
        at: String,
        expr: String,
        source: EvalError,
    },
    #[error("the innermost dimension of tensor `{tensor}` has stride {stride}, the kernel needs stride 1")]
    InnermostStride { tensor: String, stride: i64 },
    #[error("{at} has the negative stride {stride}")]
    NegativeStride { at: String, stride: i64 },
    #[error("{at} has stride {stride}, the kernel needs multiples of {multiple_of} elements")]
    StrideMultiple { at: String, stride: i64, multiple_of: u64 },
    #[error("tensor `{tensor}` is at address {address:#x}, the kernel needs multiples of {align} bytes")]
    Alignment { tensor: String, address: u64, align: u32 },
    #[error("tensor `{tensor}` has a null address")]
    NullAddress { tensor: String },
    #[error("tensor `{tensor}` reaches element {last}, its memory holds {len}")]
    OutOfBounds { tensor: String, last: u64, len: u64 },
    #[error("the elements or bytes of tensor `{tensor}` leave the 64-bit range")]
    TensorTooLarge { tensor: String },
    #[error(
        "output `{tensor}` overlaps itself: {at} has stride {stride}, less than the {span} elements that its inner dimensions span"
    )]
    SelfOverlap {
        tensor: String,
        at: String,
        stride: i64,
        span: u64,
    },
    #[error("output `{output}` overlaps tensor `{other}` in memory")]
    Overlap { output: String, other: String },
    #[error(
        "output `{tensor}` is cleared before the launch and must have no gaps: its {elements} elements span {span}"
    )]
    ClearedWithGaps { tensor: String, elements: u64, span: u64 },
    #[error("{at} has extent {extent}, box copies of kernel `{kernel}` reach 2^32")]
    MapExtent { kernel: String, at: String, extent: u64 },
    #[error("{at} has a stride of {bytes} bytes, box copies of kernel `{kernel}` take less than 2^40")]
    MapStride { kernel: String, at: String, bytes: u64 },
    #[error("the workspaces need more bytes than 64 bits can count")]
    WorkspaceTooLarge,
    #[error("kernel `{kernel}`: grid {axis} = {expr} has no value: {source}")]
    GridEval {
        kernel: String,
        axis: char,
        expr: String,
        source: EvalError,
    },
    #[error("kernel `{kernel}`: grid {axis} = {expr} is {value}, the limit is {limit}")]
    GridLimit {
        kernel: String,
        axis: char,
        expr: String,
        value: u64,
        limit: u64,
    },
}
