//! The launch check without an allocation and without words.
//!
//! [`Quick::check`] accepts a subset of what [`super::check`] accepts, and then gives the same numbers (a property test holds
//! the two together). It says no more than no: a caller that is refused asks [`super::check`], which either has the
//! reason or, for a manifest past the fixed sizes here, the plan.

use super::launches::grid_limits;
use super::{ArgValue, Place, PlannedMap, ScalarArg, ScalarValue, TensorView, ZEROS_BYTES};
use crate::expr::{DimEnv, DimExpr};
use crate::manifest::{ExtentSource, KernelArg, KernelDesc, Manifest, Role, TensorParam};

const MAX_EXTENTS: usize = 32;
const MAX_SCALARS: usize = 16;
const MAX_TENSORS: usize = 24;
const MAX_DIMS: usize = 8;
const WORKSPACE_ALIGN: u64 = 256;

/// A checked call, on the stack.
#[derive(Clone, Debug)]
pub struct Quick {
    extents: [u64; MAX_EXTENTS],
    integers: [Option<i64>; MAX_SCALARS],
    scalars: [ScalarValue; MAX_SCALARS],
    tensors: [Placed; MAX_TENSORS],
    workspace_bytes: u64,
    zeros: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    /// An address of the caller, or an offset into the workspace.
    start: u64,
    in_workspace: bool,
    span_bytes: u64,
    shape: [u64; MAX_DIMS],
    strides: [i64; MAX_DIMS],
}

const NOWHERE: Placed = Placed {
    start: 0,
    in_workspace: false,
    span_bytes: 0,
    shape: [0; MAX_DIMS],
    strides: [0; MAX_DIMS],
};

/// Whether the tensors are of the types, dimensions and constant extents of this specialisation, whatever else they are.
pub fn has_form(manifest: &Manifest, tensors: &[TensorView<'_>]) -> bool {
    let fits = |(i, param): (usize, &TensorParam)| {
        view_of(tensors, i, param).is_some_and(|view| {
            let constant = |(dim, extent): (&crate::manifest::Dim, &u64)| match dim.extent {
                DimExpr::Const(n) => u64::try_from(n) == Ok(*extent),
                _ => true,
            };
            view.dtype == param.dtype
                && view.shape.len() == param.dims.len()
                && param.dims.iter().zip(view.shape).all(constant)
        })
    };
    let own = manifest.tensors.iter().filter(|t| t.role != Role::Workspace).count();
    let params = manifest.tensors.iter().enumerate();
    tensors.len() == own && params.filter(|(_, t)| t.role != Role::Workspace).all(fits)
}

/// The view of a parameter: the one at its own place, as generated code has it, or any of its name.
pub(crate) fn view_of<'v, 'a>(
    tensors: &'v [TensorView<'a>],
    index: usize,
    param: &TensorParam,
) -> Option<&'v TensorView<'a>> {
    let named = |view: &&TensorView<'_>| view.name == param.name;
    let here = tensors.get(index).filter(named);
    here.or_else(|| tensors.iter().find(named))
}

impl Quick {
    /// Checks a call against the manifest of an artifact. `None`: ask [`super::check`].
    pub fn check(manifest: &Manifest, tensors: &[TensorView<'_>], scalars: &[ScalarArg<'_>]) -> Option<Quick> {
        if manifest.extents.len() > MAX_EXTENTS
            || manifest.scalars.len() > MAX_SCALARS
            || manifest.tensors.len() > MAX_TENSORS
            || manifest.tensors.iter().any(|t| t.dims.len() > MAX_DIMS)
            || !has_form(manifest, tensors)
        {
            return None;
        }
        let mut quick = Quick {
            extents: [0; MAX_EXTENTS],
            integers: [None; MAX_SCALARS],
            scalars: [ScalarValue::I32(0); MAX_SCALARS],
            tensors: [NOWHERE; MAX_TENSORS],
            workspace_bytes: 0,
            zeros: None,
        };
        quick.take_scalars(manifest, scalars)?;
        quick.take_extents(manifest, tensors)?;
        for (i, param) in manifest.tensors.iter().enumerate() {
            let placed = match param.role {
                Role::Workspace => quick.workspace(param)?,
                Role::Input | Role::Output => quick.bound(param, view_of(tensors, i, param)?)?,
            };
            *quick.tensors.get_mut(i)? = placed;
        }
        let clear = |(i, param): (usize, &TensorParam)| quick.no_overlap(manifest, i, param);
        manifest.tensors.iter().enumerate().all(clear).then_some(())?;
        for kernel in &manifest.kernels {
            quick.take_kernel(manifest, kernel)?;
        }
        if quick.zeros.is_some() {
            quick.zeros = Some(quick.workspace_bytes);
            quick.workspace_bytes += ZEROS_BYTES;
        }
        Some(quick)
    }

    /// That the kernel has a grid, and every descriptor if anything is launched.
    fn take_kernel(&mut self, manifest: &Manifest, kernel: &KernelDesc) -> Option<()> {
        if self.grid(kernel)?.contains(&0) {
            return Some(());
        }
        for i in 0..kernel.maps.len() {
            if self.map(manifest, kernel, i)?.is_empty() {
                self.zeros = Some(0);
            }
        }
        Some(())
    }

    /// Descriptor number `index` of a kernel of the manifest that was checked.
    pub fn map(&self, manifest: &Manifest, kernel: &KernelDesc, index: usize) -> Option<PlannedMap> {
        let map = kernel.maps.get(index)?;
        let (param, placed) = (manifest.tensors.get(map.tensor)?, self.tensors.get(map.tensor)?);
        let n = param.dims.len();
        let place = match placed.in_workspace {
            true => Place::Workspace(placed.start),
            false => Place::Address(placed.start),
        };
        PlannedMap::new(param, map, place, placed.shape.get(..n)?, placed.strides.get(..n)?).ok()
    }

    /// As [`super::LaunchPlan::zeros`].
    pub fn zeros(&self) -> Option<u64> {
        self.zeros
    }

    /// Bytes of the one allocation that holds all workspaces, to be aligned to 256; 0: none is needed.
    pub fn workspace_bytes(&self) -> u64 {
        self.workspace_bytes
    }

    /// Blocks in x, y, z. Every kernel of the manifest that was checked has some; a zero means nothing to do.
    pub fn grid(&self, kernel: &KernelDesc) -> Option<[u32; 3]> {
        let mut grid = [0u32; 3];
        for ((slot, expr), limit) in grid.iter_mut().zip(&kernel.grid).zip(grid_limits(kernel)) {
            let value = expr.eval(&self.env()).ok().filter(|value| *value <= limit)?;
            *slot = u32::try_from(value).ok()?;
        }
        Some(grid)
    }

    /// Address and bytes of tensor number `index`, for a workspace at this address.
    pub fn place(&self, index: usize, workspace: u64) -> Option<(u64, u64)> {
        let placed = self.tensors.get(index)?;
        let base = if placed.in_workspace { workspace } else { 0 };
        Some((placed.start.checked_add(base)?, placed.span_bytes))
    }

    /// Whether a tensor of the caller shares bytes with this range.
    pub fn overlaps(&self, manifest: &Manifest, start: u64, bytes: u64) -> bool {
        let clash = |placed: &Placed| {
            !placed.in_workspace && placed.span_bytes > 0 && overlap((placed.start, placed.span_bytes), (start, bytes))
        };
        self.tensors.iter().take(manifest.tensors.len()).any(clash)
    }

    /// The value of a kernel argument of the manifest that was checked.
    pub fn arg(&self, arg: &KernelArg) -> Option<ArgValue> {
        Some(match *arg {
            KernelArg::TensorPtr(i) => ArgValue::Tensor(i),
            KernelArg::TensorStride { tensor, dim } => ArgValue::I64(*self.tensors.get(tensor)?.strides.get(dim)?),
            KernelArg::Extent(i) => ArgValue::I64(i64::try_from(*self.extents.get(i)?).ok()?),
            KernelArg::Extent32(i) => ArgValue::I32(i32::try_from(*self.extents.get(i)?).ok()?),
            KernelArg::Scalar(i) => match *self.scalars.get(i)? {
                ScalarValue::I32(value) => ArgValue::I32(value),
                ScalarValue::I64(value) => ArgValue::I64(value),
                ScalarValue::F32(value) => ArgValue::F32(value),
                ScalarValue::Bool(value) => ArgValue::I32(i32::from(value)),
            },
            KernelArg::Map(i) => ArgValue::Map(i),
        })
    }

    fn env(&self) -> DimEnv<'_> {
        DimEnv {
            extents: &self.extents,
            scalars: &self.integers,
        }
    }

    fn take_scalars(&mut self, manifest: &Manifest, scalars: &[ScalarArg<'_>]) -> Option<()> {
        (scalars.len() == manifest.scalars.len()).then_some(())?;
        for (i, param) in manifest.scalars.iter().enumerate() {
            let value = scalars.iter().find(|arg| arg.name == param.name)?.value;
            (value.dtype() == param.dtype).then_some(())?;
            *self.integers.get_mut(i)? = value.as_integer();
            *self.scalars.get_mut(i)? = value;
        }
        Some(())
    }

    fn take_extents(&mut self, manifest: &Manifest, tensors: &[TensorView<'_>]) -> Option<()> {
        for (i, extent) in manifest.extents.iter().enumerate() {
            let value = match &extent.source {
                ExtentSource::Expr(expr) => expr.eval(&self.env()).ok()?,
                ExtentSource::Dims(dims) => {
                    let mut found = None;
                    for at in dims {
                        let param = manifest.tensors.get(at.tensor)?;
                        let value = *view_of(tensors, at.tensor, param)?.shape.get(at.dim)?;
                        if *found.get_or_insert(value) != value {
                            return None;
                        }
                    }
                    found?
                }
            };
            let fits = (extent.min..=extent.max).contains(&value) && value.is_multiple_of(extent.multiple_of);
            *self.extents.get_mut(i)? = fits.then_some(value)?;
        }
        Some(())
    }

    /// The parameter's shape, its dense strides, and the bytes that it spans with them.
    fn dense(&self, param: &TensorParam) -> Option<Placed> {
        let mut placed = NOWHERE;
        for (slot, dim) in placed.shape.iter_mut().zip(&param.dims) {
            *slot = dim.extent.eval(&self.env()).ok()?;
        }
        let mut next = 1u64;
        for (d, dim) in param.dims.iter().enumerate().rev() {
            next = next.checked_next_multiple_of(dim.stride_multiple.max(1))?;
            *placed.strides.get_mut(d)? = i64::try_from(next).ok()?;
            next = next.checked_mul((*placed.shape.get(d)?).max(1))?;
        }
        Some(placed)
    }

    fn workspace(&mut self, param: &TensorParam) -> Option<Placed> {
        let mut placed = self.dense(param)?;
        placed.span_bytes = span_bytes(param, &placed)?;
        (placed.start, placed.in_workspace) = (self.workspace_bytes, true);
        let end = self.workspace_bytes.checked_add(placed.span_bytes)?;
        self.workspace_bytes = end
            .checked_next_multiple_of(WORKSPACE_ALIGN)
            .filter(|end| i64::try_from(*end).is_ok())?;
        Some(placed)
    }

    /// A tensor of the caller: shape, strides, bounds, alignment.
    fn bound(&self, param: &TensorParam, view: &TensorView<'_>) -> Option<Placed> {
        let mut placed = self.dense(param)?;
        let n = param.dims.len();
        (placed.shape.get(..n)? == view.shape && view.strides.len() == n).then_some(())?;
        for (d, dim) in param.dims.iter().enumerate() {
            let stride = *view.strides.get(d)?;
            if *placed.shape.get(d)? <= 1 {
                continue;
            }
            let contiguous = d + 1 < n || !param.innermost_contiguous || stride == 1;
            let fits = contiguous && stride >= 0 && stride.unsigned_abs().is_multiple_of(dim.stride_multiple);
            *placed.strides.get_mut(d)? = fits.then_some(stride)?;
        }
        placed.start = view.address;
        placed.span_bytes = span_bytes(param, &placed)?;
        if placed.span_bytes > 0 {
            let last = placed.span_bytes / param.dtype.size() - 1;
            let fits = last < view.len_elements
                && view.address.is_multiple_of(u64::from(param.align))
                && view.address.checked_add(placed.span_bytes).is_some();
            fits.then_some(())?;
        }
        (param.role != Role::Output || writable(param, &placed)).then_some(placed)
    }

    /// An output shares no byte with another tensor.
    fn no_overlap(&self, manifest: &Manifest, index: usize, param: &TensorParam) -> bool {
        let range = |i: usize| {
            let placed = self.tensors.get(i)?;
            let has_memory = !placed.in_workspace && placed.start != 0 && placed.span_bytes > 0;
            has_memory.then_some((placed.start, placed.span_bytes))
        };
        let Some(own) = range(index).filter(|_| param.role == Role::Output) else {
            return true;
        };
        let clash = |i: usize| i != index && range(i).is_some_and(|other| overlap(own, other));
        !(0..manifest.tensors.len()).any(clash)
    }
}

fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1)
}

/// Bytes from the first element to the end of the last; strides are not negative.
fn span_bytes(param: &TensorParam, placed: &Placed) -> Option<u64> {
    let dims = || placed.shape.iter().zip(&placed.strides).take(param.dims.len());
    if dims().any(|(extent, _)| *extent == 0) {
        return Some(0);
    }
    let mut last = 0u64;
    for (extent, stride) in dims() {
        last = last.checked_add((extent - 1).checked_mul(stride.unsigned_abs())?)?;
        (last < i64::MAX as u64).then_some(())?;
    }
    (last + 1)
        .checked_mul(param.dtype.size())
        .filter(|bytes| *bytes <= i64::MAX as u64)
}

/// No two places of an output share an element, and one that is cleared has no gaps; see `check_self_overlap`.
fn writable(param: &TensorParam, placed: &Placed) -> bool {
    let n = param.dims.len();
    let shape = placed.shape.get(..n).unwrap_or_default();
    if shape.contains(&0) {
        return true;
    }
    let mut order: [(u64, u64); MAX_DIMS] = [(0, 1); MAX_DIMS];
    for (slot, (stride, extent)) in order.iter_mut().zip(placed.strides.iter().zip(shape)) {
        if *extent > 1 {
            *slot = (stride.unsigned_abs(), *extent);
        }
    }
    order.sort_unstable();
    let (mut span, mut elements) = (1u64, 1u64);
    for (stride, extent) in order.into_iter().filter(|(_, extent)| *extent > 1) {
        if stride < span {
            return false;
        }
        span = span.saturating_add((extent - 1).saturating_mul(stride));
        elements = elements.saturating_mul(extent);
    }
    !param.zeroed || span == elements
}
