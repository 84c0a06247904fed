//! Which of several kernels for the same tensors a call takes: those whose schedules were chosen for the nearest extents.

use std::collections::BTreeMap;

use crate::contract::{TensorView, view_of};
use crate::error::ArtifactError;
use crate::manifest::{DimRef, ExtentSource, Manifest};

/// Extents that schedules were chosen for. They guide the choice of kernels and never correctness: every kernel takes every extent
/// that its manifest accepts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MadeFor {
    /// Where a call shows the extent, and its binary logarithm.
    dims: Vec<(DimRef, f64)>,
}

/// Extents of 0 are as far away as those of 1.
fn log2(extent: u64) -> f64 {
    (extent.max(1) as f64).log2()
}

impl MadeFor {
    /// # Errors
    /// A name that is no extent of a tensor's dimension.
    pub fn new(manifest: &Manifest, extents: &BTreeMap<String, u64>) -> Result<MadeFor, ArtifactError> {
        let one = |(name, extent): (&String, &u64)| {
            let symbol = manifest.extents.iter().find(|symbol| symbol.name == *name);
            let place = symbol.and_then(|symbol| match &symbol.source {
                ExtentSource::Dims(places) => places.first().copied(),
                ExtentSource::Expr(_) => None,
            });
            place.map(|place| (place, log2(*extent))).ok_or_else(|| {
                ArtifactError::Container(format!(
                    "kernels of `{}` made for {name}={extent}: no dimension has this extent",
                    manifest.cascade
                ))
            })
        };
        let dims = extents.iter().map(one).collect::<Result<_, _>>()?;
        Ok(MadeFor { dims })
    }

    /// Doublings between the extents of a call and these, summed; infinite where none is named. Tensors that are missing count as near: the launch check
    /// says what is wrong.
    pub fn distance(&self, manifest: &Manifest, tensors: &[TensorView<'_>]) -> f64 {
        if self.dims.is_empty() {
            return f64::INFINITY;
        }
        let one = |(place, wanted): &(DimRef, f64)| {
            let param = manifest.tensors.get(place.tensor)?;
            let extent = view_of(tensors, place.tensor, param)?.shape.get(place.dim)?;
            Some((log2(*extent) - wanted).abs())
        };
        self.dims.iter().filter_map(one).sum()
    }
}
