//! The manifest's own consistency: what holds for every manifest inside a [`crate::KernelArtifact`].
//!
//! After [`Manifest::validate`] every index is in range, names are unique and expressions are shallow. The launch check
//! relies on that and runs it first. [`Manifest::validate_ptx`] compares every kernel with its `.entry`.

use std::collections::BTreeSet;

use crate::error::ArtifactError;
use crate::expr::DimExpr;
use crate::manifest::{ExtentSource, FORMAT_VERSION, KernelArg, KernelDesc, Manifest, Role, ScalarType, TensorParam};
use crate::ptx::entry_params;

/// Most entries of any list in a manifest.
const MAX_ITEMS: usize = 1024;
/// Deepest expression.
const MAX_DEPTH: usize = 48;
/// Most bytes of kernel parameters (PTX ISA, `.param` of kernels before PTX 8.1).
const MAX_PARAM_BYTES: usize = 4352;
/// Most threads of a block (CUDA C++ programming guide, technical specifications).
const MAX_BLOCK: u32 = 1024;
/// Largest base alignment that can be asked for: what device allocations have.
const MAX_ALIGN: u32 = 256;
/// Most blocks that a multiprocessor holds (CUDA C++ programming guide, technical specifications).
const MAX_BLOCKS_PER_MULTIPROCESSOR: u32 = 32;

pub(crate) type Checked = Result<(), ArtifactError>;

impl Manifest {
    /// Checks the manifest against itself.
    pub fn validate(&self) -> Result<(), ArtifactError> {
        if self.format_version != FORMAT_VERSION {
            let found = u64::from(self.format_version);
            return Err(ArtifactError::FormatVersion {
                found,
                supported: FORMAT_VERSION,
            });
        }
        self.check_sizes_and_names()?;
        self.check_target()?;
        self.check_extents()?;
        self.tensors.iter().try_for_each(|tensor| self.check_tensor(tensor))?;
        self.kernels.iter().try_for_each(|kernel| self.check_kernel(kernel))
    }

    /// Checks that the PTX has every kernel, with the parameters that the (valid) manifest passes to it.
    pub fn validate_ptx(&self, ptx: &str) -> Result<(), ArtifactError> {
        if ptx.contains('\0') {
            return Err(invalid("PTX", "it contains a NUL byte"));
        }
        for kernel in &self.kernels {
            let place = format!("kernel `{}`", kernel.entry);
            let expected: Vec<_> = kernel.args.iter().map(|arg| self.arg_bytes(arg)).collect();
            match entry_params(ptx, &kernel.entry) {
                None => return Err(invalid(place, "the PTX has no such .entry")),
                Some(found) if found != expected => {
                    let reason =
                        format!("the PTX declares parameters of {found:?} bytes, the manifest passes {expected:?}");
                    return Err(invalid(place, reason));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_sizes_and_names(&self) -> Checked {
        if self.kernels.is_empty() {
            return Err(invalid("kernels", "there is none"));
        }
        let lists: [(&str, Vec<&str>); 4] = [
            ("extents", self.extents.iter().map(|x| x.name.as_str()).collect()),
            ("scalars", self.scalars.iter().map(|x| x.name.as_str()).collect()),
            ("tensors", self.tensors.iter().map(|x| x.name.as_str()).collect()),
            ("kernels", self.kernels.iter().map(|x| x.entry.as_str()).collect()),
        ];
        for (list, names) in lists {
            if names.len() > MAX_ITEMS {
                return Err(invalid(
                    list,
                    format!("{} entries, the limit is {MAX_ITEMS}", names.len()),
                ));
            }
            let mut seen = BTreeSet::new();
            for name in names {
                if name.is_empty() || name.contains('\0') {
                    return Err(invalid(list, "a name is empty or contains a NUL byte"));
                }
                // One entry may be launched more than once; everything else is found by its name.
                if !seen.insert(name) && list != "kernels" {
                    return Err(invalid(list, format!("`{name}` appears twice")));
                }
            }
        }
        Ok(())
    }

    fn check_target(&self) -> Checked {
        if self.target.runs_on(self.min_capability) {
            return Ok(());
        }
        let reason = format!(
            "{} does not run on the capability {} that is said to suffice",
            self.target, self.min_capability
        );
        Err(invalid("min_capability", reason))
    }

    fn check_extents(&self) -> Checked {
        for (i, extent) in self.extents.iter().enumerate() {
            let place = format!("extent `{}`", extent.name);
            if extent.multiple_of == 0 || extent.min > extent.max || extent.max > i64::MAX as u64 {
                return Err(invalid(place, "its limits admit no value"));
            }
            match &extent.source {
                ExtentSource::Expr(expr) => self.check_expr(&place, expr, i)?,
                ExtentSource::Dims(dims) if dims.is_empty() => return Err(invalid(place, "it has no source")),
                ExtentSource::Dims(dims) => {
                    for source in dims {
                        let tensor = self
                            .tensors
                            .get(source.tensor)
                            .ok_or_else(|| no_tensor(&place, source.tensor))?;
                        if source.dim >= tensor.dims.len() {
                            return Err(no_dim(&place, tensor, source.dim));
                        }
                        if tensor.role == Role::Workspace {
                            return Err(invalid(place, format!("its source `{}` is a workspace", tensor.name)));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn check_tensor(&self, tensor: &TensorParam) -> Checked {
        let place = format!("tensor `{}`", tensor.name);
        if !tensor.align.is_power_of_two() || tensor.align > MAX_ALIGN || u64::from(tensor.align) < tensor.dtype.size()
        {
            let reason = format!(
                "alignment {} is no power of two from the element size to {MAX_ALIGN}",
                tensor.align
            );
            return Err(invalid(place, reason));
        }
        if tensor.zeroed && tensor.role == Role::Input {
            return Err(invalid(place, "an input cannot be zeroed"));
        }
        if tensor.dims.len() > 64 {
            return Err(invalid(
                place,
                format!("{} dimensions, the limit is 64", tensor.dims.len()),
            ));
        }
        for (d, dim) in tensor.dims.iter().enumerate() {
            if dim.stride_multiple == 0 || dim.stride_multiple > 1 << 20 {
                return Err(invalid(
                    place,
                    format!("stride multiple {} of dimension {d}", dim.stride_multiple),
                ));
            }
            let innermost = d + 1 == tensor.dims.len();
            if innermost && tensor.innermost_contiguous && dim.stride_multiple != 1 {
                return Err(invalid(place, "the innermost stride is 1, and a multiple of more"));
            }
            self.check_expr(&place, &dim.extent, self.extents.len())?;
        }
        Ok(())
    }

    fn check_kernel(&self, kernel: &KernelDesc) -> Checked {
        let place = format!("kernel `{}`", kernel.entry);
        if kernel.block == 0 || kernel.block > MAX_BLOCK {
            return Err(invalid(
                place,
                format!("{} threads in a block, the limit is {MAX_BLOCK}", kernel.block),
            ));
        }
        let limit = self.target.max_dynamic_shared();
        if kernel.dynamic_shared > limit {
            let reason = format!(
                "{} bytes of shared memory, {} has {limit}",
                kernel.dynamic_shared, self.target
            );
            return Err(invalid(place, reason));
        }
        kernel
            .grid
            .iter()
            .try_for_each(|axis| self.check_expr(&place, axis, self.extents.len()))?;
        if kernel.args.len() > MAX_ITEMS {
            return Err(invalid(
                place,
                format!("{} arguments, the limit is {MAX_ITEMS}", kernel.args.len()),
            ));
        }
        let mut bytes = 0usize;
        for arg in &kernel.args {
            self.check_arg(&place, arg)?;
            if let KernelArg::Map(i) = arg
                && *i >= kernel.maps.len()
            {
                return Err(invalid(place, format!("there is no tensor map #{i}")));
            }
            bytes = bytes.next_multiple_of(self.arg_align(arg)) + self.arg_bytes(arg);
        }
        if bytes > MAX_PARAM_BYTES {
            return Err(invalid(
                place,
                format!("{bytes} bytes of arguments, the limit is {MAX_PARAM_BYTES}"),
            ));
        }
        self.check_maps(&place, kernel)?;
        check_persistent(&place, kernel)
    }

    /// That the argument's indices are in range and its value fits its size.
    fn check_arg(&self, place: &str, arg: &KernelArg) -> Checked {
        match *arg {
            KernelArg::TensorPtr(i) => self.tensors.get(i).map(|_| ()).ok_or_else(|| no_tensor(place, i)),
            KernelArg::TensorStride { tensor, dim } => {
                let param = self.tensors.get(tensor).ok_or_else(|| no_tensor(place, tensor))?;
                if dim < param.dims.len() {
                    Ok(())
                } else {
                    Err(no_dim(place, param, dim))
                }
            }
            KernelArg::Extent(i) | KernelArg::Extent32(i) => {
                let extent = self
                    .extents
                    .get(i)
                    .ok_or_else(|| invalid(place, format!("there is no extent #{i}")))?;
                match arg {
                    KernelArg::Extent32(_) if extent.max >= 1 << 31 => {
                        Err(invalid(place, format!("extent `{}` may pass 31 bits", extent.name)))
                    }
                    _ => Ok(()),
                }
            }
            KernelArg::Scalar(i) => self
                .scalars
                .get(i)
                .map(|_| ())
                .ok_or_else(|| invalid(place, format!("there is no scalar #{i}"))),
            // The index was compared with the kernel's list.
            KernelArg::Map(_) => Ok(()),
        }
    }

    /// `extents`: how many of the extents the expression may name.
    fn check_expr(&self, place: &str, expr: &DimExpr, extents: usize) -> Checked {
        if expr.depth() > MAX_DEPTH {
            return Err(invalid(place, format!("an expression deeper than {MAX_DEPTH}")));
        }
        let mut res = Ok(());
        expr.visit_leaves(&mut |leaf| match leaf {
            DimExpr::Extent(i) if *i >= extents => res = Err(invalid(place, format!("extent #{i} is not known here"))),
            DimExpr::Scalar(i) => match self.scalars.get(*i).map(|s| s.dtype) {
                Some(ScalarType::I32 | ScalarType::I64) => {}
                _ => res = Err(invalid(place, format!("scalar #{i} is no known integer"))),
            },
            _ => {}
        });
        res
    }
}

/// A persistent kernel counts its tiles along x.
fn check_persistent(place: &str, kernel: &KernelDesc) -> Checked {
    let Some(blocks) = kernel.persistent else {
        return Ok(());
    };
    if !(1..=MAX_BLOCKS_PER_MULTIPROCESSOR).contains(&blocks) {
        let reason =
            format!("{blocks} persistent blocks on a multiprocessor, it holds 1 to {MAX_BLOCKS_PER_MULTIPROCESSOR}");
        return Err(invalid(place, reason));
    }
    match &kernel.grid {
        [_, DimExpr::Const(1), DimExpr::Const(1)] => Ok(()),
        _ => Err(invalid(place, "the tiles of a persistent kernel are not all in x")),
    }
}

pub(crate) fn invalid(place: impl Into<String>, reason: impl Into<String>) -> ArtifactError {
    ArtifactError::Invalid {
        place: place.into(),
        reason: reason.into(),
    }
}

pub(crate) fn no_tensor(place: &str, index: usize) -> ArtifactError {
    invalid(place, format!("there is no tensor #{index}"))
}

pub(crate) fn no_dim(place: &str, tensor: &TensorParam, dim: usize) -> ArtifactError {
    invalid(place, format!("tensor `{}` has no dimension #{dim}", tensor.name))
}
