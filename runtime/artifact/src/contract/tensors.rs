//! Types, shapes, strides, addresses and bounds of the tensors, and the layout of the workspaces.

use super::{Place, PlannedTensor, TensorView, name_list};
use crate::error::ContractError;
use crate::expr::DimEnv;
use crate::manifest::{DimRef, Manifest, Role, TensorParam};

/// Workspaces start at multiples of this many bytes: the alignment of device allocations.
const WORKSPACE_ALIGN: u64 = 256;

/// The views in the manifest's order; each is known, single, of the right type and number of dimensions.
pub(super) fn by_parameter<'v, 'a>(
    manifest: &Manifest,
    tensors: &'v [TensorView<'a>],
) -> Result<Vec<Option<&'v TensorView<'a>>>, ContractError> {
    let mut views = vec![None; manifest.tensors.len()];
    for view in tensors {
        let tensor = || view.name.to_owned();
        let index = manifest
            .tensor_index(view.name)
            .filter(|i| role(manifest, *i) != Some(Role::Workspace));
        let Some((param, slot)) = index.and_then(|i| manifest.tensors.get(i).zip(views.get_mut(i))) else {
            let own = manifest.tensors.iter().filter(|t| t.role != Role::Workspace);
            let known = name_list(own.map(|t| t.name.as_str()));
            return Err(ContractError::UnknownTensor {
                tensor: tensor(),
                known,
            });
        };
        if slot.replace(view).is_some() {
            return Err(ContractError::DuplicateTensor { tensor: tensor() });
        }
        check_form(param, view)?;
    }
    Ok(views)
}

fn role(manifest: &Manifest, index: usize) -> Option<Role> {
    manifest.tensors.get(index).map(|t| t.role)
}

fn check_form(param: &TensorParam, view: &TensorView<'_>) -> Result<(), ContractError> {
    let tensor = || param.name.clone();
    if view.dtype != param.dtype {
        return Err(ContractError::DType {
            tensor: tensor(),
            found: view.dtype,
            expected: param.dtype,
        });
    }
    if view.shape.len() != param.dims.len() {
        let ranks: Vec<_> = param.dims.iter().map(|d| d.rank.as_str()).collect();
        let (found, expected) = (view.shape.len(), param.dims.len());
        return Err(ContractError::Rank {
            tensor: tensor(),
            found,
            expected,
            ranks: ranks.join(","),
        });
    }
    if view.strides.len() != view.shape.len() {
        let (shape, strides) = (view.shape.len(), view.strides.len());
        return Err(ContractError::StrideCount {
            tensor: tensor(),
            shape,
            strides,
        });
    }
    Ok(())
}

/// Every tensor placed and checked, and the bytes of all workspaces.
pub(super) fn plan(
    manifest: &Manifest,
    views: &[Option<&TensorView<'_>>],
    env: &DimEnv<'_>,
) -> Result<(Vec<PlannedTensor>, u64), ContractError> {
    let mut planned = Vec::with_capacity(manifest.tensors.len());
    let mut workspace_bytes = 0u64;
    for (i, param) in manifest.tensors.iter().enumerate() {
        let shape = shape_of(manifest, i, env)?;
        let dense = dense_strides(param, &shape)?;
        planned.push(match views.get(i).copied().flatten() {
            Some(view) => {
                check_shape(manifest, i, &shape, view.shape)?;
                bound(param, view, shape, &dense)?
            }
            None => {
                let span_bytes = span_bytes(param, &shape, &dense)?;
                let place = Place::Workspace(workspace_bytes);
                workspace_bytes = workspace_bytes
                    .checked_add(span_bytes)
                    .and_then(|end| end.checked_next_multiple_of(WORKSPACE_ALIGN))
                    .filter(|end| *end <= i64::MAX as u64)
                    .ok_or(ContractError::WorkspaceTooLarge)?;
                PlannedTensor {
                    place,
                    shape,
                    strides: dense,
                    span_bytes,
                }
            }
        });
    }
    check_overlaps(manifest, &planned)?;
    Ok((planned, workspace_bytes))
}

/// The shape that the manifest gives tensor number `index`.
pub fn shape_of(manifest: &Manifest, index: usize, env: &DimEnv<'_>) -> Result<Vec<u64>, ContractError> {
    let Some(param) = manifest.tensors.get(index) else {
        return Ok(Vec::new());
    };
    let extent = |(dim, d): (usize, &crate::manifest::Dim)| {
        d.extent.eval(env).map_err(|source| ContractError::DimEval {
            at: dim_name(manifest, DimRef { tensor: index, dim }),
            expr: d
                .extent
                .display(&manifest.extent_names(), &manifest.scalar_names())
                .to_string(),
            source,
        })
    };
    param.dims.iter().enumerate().map(extent).collect()
}

/// Row-major strides in elements, each rounded up to its multiple. An extent of 0 counts as 1, so that a stride is never 0.
pub fn dense_strides(param: &TensorParam, shape: &[u64]) -> Result<Vec<i64>, ContractError> {
    let too_large = || ContractError::TensorTooLarge {
        tensor: param.name.clone(),
    };
    let mut strides = vec![0i64; shape.len()];
    let mut next = 1u64;
    let dims = strides.iter_mut().zip(shape).zip(&param.dims).rev();
    for ((stride, extent), dim) in dims {
        next = next
            .checked_next_multiple_of(dim.stride_multiple.max(1))
            .ok_or_else(too_large)?;
        *stride = i64::try_from(next).map_err(|_| too_large())?;
        next = next.checked_mul((*extent).max(1)).ok_or_else(too_large)?;
    }
    Ok(strides)
}

/// `rank m of tensor K`, or the dimension's number where the rank has no name.
pub(super) fn dim_name(manifest: &Manifest, at: DimRef) -> String {
    manifest
        .tensors
        .get(at.tensor)
        .map_or_else(String::new, |param| dim_of(param, at.dim))
}

fn dim_of(param: &TensorParam, dim: usize) -> String {
    match param.dims.get(dim).map(|d| d.rank.as_str()) {
        Some(rank) if !rank.is_empty() => format!("rank `{rank}` of tensor `{}`", param.name),
        _ => format!("dimension {dim} of tensor `{}`", param.name),
    }
}

fn check_shape(manifest: &Manifest, tensor: usize, expected: &[u64], found: &[u64]) -> Result<(), ContractError> {
    for (dim, (&expected, &found)) in expected.iter().zip(found).enumerate() {
        if expected != found {
            let expr = manifest.tensors.get(tensor).and_then(|t| t.dims.get(dim)).map(|d| {
                d.extent
                    .display(&manifest.extent_names(), &manifest.scalar_names())
                    .to_string()
            });
            let at = dim_name(manifest, DimRef { tensor, dim });
            return Err(ContractError::Extent {
                at,
                found,
                expected,
                expr: expr.unwrap_or_default(),
            });
        }
    }
    Ok(())
}

/// A tensor of the caller: strides, bounds, alignment.
fn bound(
    param: &TensorParam,
    view: &TensorView<'_>,
    shape: Vec<u64>,
    dense: &[i64],
) -> Result<PlannedTensor, ContractError> {
    let tensor = || param.name.clone();
    let mut strides = Vec::with_capacity(shape.len());
    for (d, dim) in param.dims.iter().enumerate() {
        let (extent, stride, dense) = (at(&shape, d), at(view.strides, d), at(dense, d));
        if extent <= 1 {
            strides.push(dense);
            continue;
        }
        if d + 1 == shape.len() && param.innermost_contiguous && stride != 1 {
            return Err(ContractError::InnermostStride {
                tensor: tensor(),
                stride,
            });
        }
        if stride < 0 {
            return Err(ContractError::NegativeStride {
                at: dim_of(param, d),
                stride,
            });
        }
        if stride.unsigned_abs() % dim.stride_multiple != 0 {
            let multiple_of = dim.stride_multiple;
            return Err(ContractError::StrideMultiple {
                at: dim_of(param, d),
                stride,
                multiple_of,
            });
        }
        strides.push(stride);
    }
    let span_bytes = span_bytes(param, &shape, &strides)?;
    if span_bytes > 0 {
        let last = span_bytes / param.dtype.size() - 1;
        if last >= view.len_elements {
            return Err(ContractError::OutOfBounds {
                tensor: tensor(),
                last,
                len: view.len_elements,
            });
        }
        if !view.address.is_multiple_of(u64::from(param.align)) {
            return Err(ContractError::Alignment {
                tensor: tensor(),
                address: view.address,
                align: param.align,
            });
        }
        if view.address.checked_add(span_bytes).is_none() {
            return Err(ContractError::TensorTooLarge { tensor: tensor() });
        }
    }
    if param.role == Role::Output {
        check_self_overlap(param, &shape, &strides)?;
        check_clearable(param, &shape, span_bytes)?;
    }
    Ok(PlannedTensor {
        place: Place::Address(view.address),
        shape,
        strides,
        span_bytes,
    })
}

/// Bytes from the first element to the end of the last; strides are not negative.
fn span_bytes(param: &TensorParam, shape: &[u64], strides: &[i64]) -> Result<u64, ContractError> {
    if shape.contains(&0) {
        return Ok(0);
    }
    let mut last = 0u64;
    for (extent, stride) in shape.iter().zip(strides) {
        let reach = (extent - 1).checked_mul(stride.unsigned_abs());
        last = reach
            .and_then(|reach| last.checked_add(reach))
            .filter(|last| *last < i64::MAX as u64)
            .ok_or_else(|| ContractError::TensorTooLarge {
                tensor: param.name.clone(),
            })?;
    }
    (last + 1)
        .checked_mul(param.dtype.size())
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(|| ContractError::TensorTooLarge {
            tensor: param.name.clone(),
        })
}

/// Two places of an output never share an element: in the order of strides, each is larger than the reach of those before.
/// The condition is sufficient; interleaved layouts that are free of overlap without it are refused too.
fn check_self_overlap(param: &TensorParam, shape: &[u64], strides: &[i64]) -> Result<(), ContractError> {
    if shape.contains(&0) {
        return Ok(());
    }
    let mut order: Vec<usize> = (0..shape.len()).filter(|d| at(shape, *d) > 1).collect();
    order.sort_by_key(|d| at(strides, *d));
    let mut span = 1u64;
    for d in order {
        let stride = at(strides, d);
        if stride.unsigned_abs() < span {
            let at = dim_of(param, d);
            return Err(ContractError::SelfOverlap {
                tensor: param.name.clone(),
                at,
                stride,
                span,
            });
        }
        // In range: `span_bytes` has bounded the reach of the whole tensor.
        span = span.saturating_add((at(shape, d) - 1).saturating_mul(stride.unsigned_abs()));
    }
    Ok(())
}

/// Clearing writes the whole span, so there must be no gaps that belong to someone else. Given no overlap, the span of a
/// tensor without gaps is its number of elements.
fn check_clearable(param: &TensorParam, shape: &[u64], span_bytes: u64) -> Result<(), ContractError> {
    let elements = shape.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
    let span = span_bytes / param.dtype.size();
    if param.zeroed && span != elements {
        return Err(ContractError::ClearedWithGaps {
            tensor: param.name.clone(),
            elements,
            span,
        });
    }
    Ok(())
}

/// No output shares a byte range with another tensor.
fn check_overlaps(manifest: &Manifest, planned: &[PlannedTensor]) -> Result<(), ContractError> {
    let range = |t: &PlannedTensor| match t.place {
        Place::Address(start) if start != 0 && t.span_bytes > 0 => Some((start, start.saturating_add(t.span_bytes))),
        _ => None,
    };
    let named: Vec<_> = manifest
        .tensors
        .iter()
        .zip(planned)
        .filter_map(|(p, t)| Some((p, range(t)?)))
        .collect();
    for (i, (output, (start, end))) in named.iter().enumerate() {
        if output.role != Role::Output {
            continue;
        }
        let clash = named
            .iter()
            .enumerate()
            .find(|(j, (_, (s, e)))| i != *j && start < e && s < end);
        if let Some((_, (other, _))) = clash {
            return Err(ContractError::Overlap {
                output: output.name.clone(),
                other: other.name.clone(),
            });
        }
    }
    Ok(())
}

/// The entry of a list as long as the tensor has dimensions.
fn at<T: Copy>(list: &[T], d: usize) -> T {
    *list
        .get(d)
        .expect("shape and strides have one entry for each dimension of the parameter")
}
