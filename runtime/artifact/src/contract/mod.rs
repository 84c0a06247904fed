//! The launch check: tensors and scalars of one call against the manifest.
//!
//! [`check`] resolves the run-time extents, verifies every type, shape, stride, address and bound, lays out the
//! workspaces and evaluates every grid. What it returns can be launched without a further test of the arguments; what
//! the device must provide (capability, shared memory, free memory) is the runtime's to check.
//!
//! Strides of dimensions with extent 0 or 1 are multiplied by nothing but 0. They are not checked, and the plan carries
//! the dense stride in their place, so that a kernel may rely on the promised multiples.

mod extents;
mod launches;
mod maps;
mod quick;
mod tensors;

use crate::error::ContractError;
use crate::expr::DimEnv;
use crate::manifest::{DType, Manifest, Role, ScalarType};

pub use extents::{bind_extents, resolve_extents};
pub use maps::PlannedMap;
pub(crate) use quick::view_of;
pub use quick::{Quick, has_form};
pub use tensors::{dense_strides, shape_of};

/// A tensor as the caller holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorView<'a> {
    /// Its name in the cascade.
    pub name: &'a str,
    /// Type of one element.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: &'a [u64],
    /// Strides in elements, outermost first.
    pub strides: &'a [i64],
    /// Device address of the first element. 0: no memory yet, for a check ahead of allocation; then alignment and overlap
    /// are not tested, and the plan cannot be launched.
    pub address: u64,
    /// Elements from `address` to the end of the allocation.
    pub len_elements: u64,
}

/// A scalar argument by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalarArg<'a> {
    /// Its name in the cascade.
    pub name: &'a str,
    /// Its value.
    pub value: ScalarValue,
}

/// The value of a scalar argument.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ScalarValue {
    I32(i32),
    I64(i64),
    F32(f32),
    Bool(bool),
}

impl ScalarValue {
    /// Its type.
    pub fn dtype(self) -> ScalarType {
        match self {
            ScalarValue::I32(_) => ScalarType::I32,
            ScalarValue::I64(_) => ScalarType::I64,
            ScalarValue::F32(_) => ScalarType::F32,
            ScalarValue::Bool(_) => ScalarType::Bool,
        }
    }

    /// Its value where it may stand in a [`crate::DimExpr`].
    pub fn as_integer(self) -> Option<i64> {
        match self {
            ScalarValue::I32(value) => Some(i64::from(value)),
            ScalarValue::I64(value) => Some(value),
            ScalarValue::F32(_) | ScalarValue::Bool(_) => None,
        }
    }
}

/// A checked call.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchPlan {
    /// Extents in the order of the manifest.
    pub extents: Vec<u64>,
    /// Scalars in the order of the manifest.
    pub scalars: Vec<ScalarValue>,
    /// Tensors in the order of the manifest.
    pub tensors: Vec<PlannedTensor>,
    /// Bytes of the one allocation that holds all workspaces; 0: none is needed.
    pub workspace_bytes: u64,
    /// Where in that allocation [`ZEROS_BYTES`] bytes lie that are cleared before the first kernel: the memory that
    /// descriptors of empty tensors point to.
    pub zeros: Option<u64>,
    /// Tensors that are cleared before the first kernel, as indices: the `zeroed` ones.
    pub clears: Vec<usize>,
    /// The kernels to launch, in order. Those with an empty grid are left out.
    pub launches: Vec<PlannedKernel>,
    /// Kernels with an empty grid, as indices into the manifest.
    pub skipped: Vec<usize>,
}

/// A tensor of a checked call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Where it lies.
    pub place: Place,
    /// Extents.
    pub shape: Vec<u64>,
    /// Strides in elements.
    pub strides: Vec<i64>,
    /// Bytes from the first element to the end of the last one; 0 for an empty tensor.
    pub span_bytes: u64,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this device address, given by the caller.
    Address(u64),
    /// This many bytes into the workspace; a multiple of 256.
    Workspace(u64),
}

/// A kernel of a checked call.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedKernel {
    /// Index into [`Manifest::kernels`].
    pub kernel: usize,
    /// Blocks in x, y, z; none is 0. Tiles if the kernel is persistent, see [`crate::KernelDesc::blocks`].
    pub grid: [u32; 3],
    /// Arguments in order.
    pub args: Vec<ArgValue>,
    /// Descriptors that the arguments name.
    pub maps: Vec<PlannedMap>,
}

/// The value of one kernel argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArgValue {
    /// Base address of a tensor, see [`PlannedTensor::place`].
    Tensor(usize),
    /// 8 bytes.
    I64(i64),
    /// 4 bytes.
    I32(i32),
    /// 4 bytes.
    F32(f32),
    /// The descriptor of [`PlannedKernel::maps`] with this index.
    Map(usize),
}

/// Bytes at [`LaunchPlan::zeros`].
pub const ZEROS_BYTES: u64 = 256;

/// Checks a call against the manifest.
///
/// `tensors` holds every input and output once, in any order; `scalars` every scalar once.
pub fn check(
    manifest: &Manifest,
    tensors: &[TensorView<'_>],
    scalars: &[ScalarArg<'_>],
) -> Result<LaunchPlan, ContractError> {
    manifest.validate()?;
    let views = tensors::by_parameter(manifest, tensors)?;
    if let Some((param, _)) = manifest
        .tensors
        .iter()
        .zip(&views)
        .find(|(p, v)| p.role != Role::Workspace && v.is_none())
    {
        return Err(ContractError::MissingTensor {
            tensor: param.name.clone(),
            role: param.role,
        });
    }
    let scalars = scalars_in_order(manifest, scalars)?;
    let integers: Vec<_> = scalars.iter().map(|s| s.as_integer()).collect();
    let extents = extents::resolve(manifest, &views, &integers)?;
    let env = DimEnv {
        extents: &extents,
        scalars: &integers,
    };
    let (tensors, mut workspace_bytes) = tensors::plan(manifest, &views, &env)?;
    let (launches, skipped) = launches::plan(manifest, &tensors, &scalars, &env)?;
    let zeros = launches
        .iter()
        .any(|launch| launch.maps.iter().any(PlannedMap::is_empty))
        .then_some(workspace_bytes);
    if zeros.is_some() {
        // Below 2^63 before, so this is in range.
        workspace_bytes += ZEROS_BYTES;
    }
    let clears = (0..tensors.len())
        .filter(|i| manifest.tensors.get(*i).is_some_and(|t| t.zeroed))
        .collect();
    Ok(LaunchPlan {
        extents,
        scalars,
        tensors,
        workspace_bytes,
        zeros,
        clears,
        launches,
        skipped,
    })
}

/// The scalars in the manifest's order, each with the right type.
pub fn scalars_in_order(manifest: &Manifest, scalars: &[ScalarArg<'_>]) -> Result<Vec<ScalarValue>, ContractError> {
    for (i, arg) in scalars.iter().enumerate() {
        let scalar = || arg.name.to_owned();
        if scalars.iter().take(i).any(|other| other.name == arg.name) {
            return Err(ContractError::DuplicateScalar { scalar: scalar() });
        }
        if !manifest.scalars.iter().any(|param| param.name == arg.name) {
            let known = name_list(manifest.scalars.iter().map(|s| s.name.as_str()));
            return Err(ContractError::UnknownScalar {
                scalar: scalar(),
                known,
            });
        }
    }
    let find = |param: &crate::manifest::ScalarParam| {
        let scalar = || param.name.clone();
        let arg = scalars.iter().find(|arg| arg.name == param.name);
        let value = arg
            .ok_or_else(|| ContractError::MissingScalar { scalar: scalar() })?
            .value;
        let (found, expected) = (value.dtype(), param.dtype);
        if found != expected {
            return Err(ContractError::ScalarType {
                scalar: scalar(),
                found,
                expected,
            });
        }
        Ok(value)
    };
    manifest.scalars.iter().map(find).collect()
}

/// `Q`, `K` and `V` as they stand in a message.
fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
