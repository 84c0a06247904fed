//! Values of the run-time extents.

use std::collections::BTreeMap;

use super::tensors::{by_parameter, dim_name};
use super::{ScalarArg, TensorView, scalars_in_order};
use crate::error::ContractError;
use crate::expr::{DimEnv, DimExpr};
use crate::manifest::{DimRef, ExtentSource, ExtentSym, Manifest};

type Views<'v, 'a> = [Option<&'v TensorView<'a>>];

/// The extents that follow from some of the tensors, usually the inputs, so that outputs can be allocated.
pub fn resolve_extents(
    manifest: &Manifest,
    tensors: &[TensorView<'_>],
    scalars: &[ScalarArg<'_>],
) -> Result<Vec<u64>, ContractError> {
    manifest.validate()?;
    let views = by_parameter(manifest, tensors)?;
    let scalars = scalars_in_order(manifest, scalars)?;
    let integers: Vec<_> = scalars.iter().map(|s| s.as_integer()).collect();
    resolve(manifest, &views, &integers)
}

/// The extents when those that tensors determine are given by name, for a caller that makes up its inputs.
pub fn bind_extents(
    manifest: &Manifest,
    by_name: &BTreeMap<String, u64>,
    scalars: &[Option<i64>],
) -> Result<Vec<u64>, ContractError> {
    manifest.validate()?;
    each(manifest, scalars, |extent, _| {
        let value = by_name.get(&extent.name).copied();
        value.ok_or_else(|| ContractError::ExtentUnknown {
            extent: extent.name.clone(),
        })
    })
}

pub(super) fn resolve(
    manifest: &Manifest,
    views: &Views<'_, '_>,
    scalars: &[Option<i64>],
) -> Result<Vec<u64>, ContractError> {
    each(manifest, scalars, |extent, dims| agreed(manifest, views, extent, dims))
}

fn each(
    manifest: &Manifest,
    scalars: &[Option<i64>],
    mut from_dims: impl FnMut(&ExtentSym, &[DimRef]) -> Result<u64, ContractError>,
) -> Result<Vec<u64>, ContractError> {
    let mut extents = Vec::with_capacity(manifest.extents.len());
    for extent in &manifest.extents {
        let value = match &extent.source {
            ExtentSource::Dims(dims) => from_dims(extent, dims)?,
            ExtentSource::Expr(expr) => evaluated(
                manifest,
                extent,
                expr,
                &DimEnv {
                    extents: &extents,
                    scalars,
                },
            )?,
        };
        check_limits(extent, value)?;
        extents.push(value);
    }
    Ok(extents)
}

/// The one value that all dimensions at hand have.
fn agreed(
    manifest: &Manifest,
    views: &Views<'_, '_>,
    extent: &ExtentSym,
    dims: &[DimRef],
) -> Result<u64, ContractError> {
    let mut first: Option<(u64, DimRef)> = None;
    for &at in dims {
        let view = views.get(at.tensor).copied().flatten();
        let Some(&value) = view.and_then(|view| view.shape.get(at.dim)) else {
            continue;
        };
        match first {
            Some((known, first_at)) if known != value => {
                return Err(ContractError::ExtentsDisagree {
                    extent: extent.name.clone(),
                    first: known,
                    first_at: dim_name(manifest, first_at),
                    second: value,
                    second_at: dim_name(manifest, at),
                });
            }
            Some(_) => {}
            None => first = Some((value, at)),
        }
    }
    first
        .map(|(value, _)| value)
        .ok_or_else(|| ContractError::ExtentUnknown {
            extent: extent.name.clone(),
        })
}

fn evaluated(manifest: &Manifest, extent: &ExtentSym, expr: &DimExpr, env: &DimEnv<'_>) -> Result<u64, ContractError> {
    expr.eval(env).map_err(|source| ContractError::ExtentEval {
        extent: extent.name.clone(),
        expr: expr
            .display(&manifest.extent_names(), &manifest.scalar_names())
            .to_string(),
        source,
    })
}

fn check_limits(extent: &ExtentSym, value: u64) -> Result<(), ContractError> {
    let ExtentSym {
        min, max, multiple_of, ..
    } = *extent;
    let name = || extent.name.clone();
    if value < min || value > max {
        return Err(ContractError::ExtentRange {
            extent: name(),
            value,
            min,
            max,
        });
    }
    if !value.is_multiple_of(multiple_of) {
        return Err(ContractError::ExtentMultiple {
            extent: name(),
            value,
            multiple_of,
        });
    }
    Ok(())
}
