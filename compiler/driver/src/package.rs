//! From lowered kernels and their PTX to an artifact: the manifest with the launch contract.
//!
//! Tensors of the manifest are the cascade's inputs, its outputs, then the workspaces (crossings). Extents are the cascade's
//! symbols, followed by the derived extents that kernels take as arguments.

use einloom_artifact::{
    Capability, Dim, DimExpr, DimRef, ExtentSource, ExtentSym, KernelArg, KernelArtifact, KernelDesc, Manifest,
    PtxVersion, Role, ScalarParam, ScalarType, Swizzle, Target, TensorMap, TensorParam,
};
use einloom_cascade::expr::{DType, Expr, ExprId, Kind, MapOp};
use einloom_cascade::ir::{Cascade, MemDim};
use einloom_plan::ir::FusedPlan;
use einloom_tile::ir::{Elem, Extent};
use einloom_tile::lowered::{LoweredKernel, ScalarSource, TensorSource};

/// Why no artifact can be made: limits of the contract, not of the spec.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    #[error("the extent of `{0}` is no expression that a launch contract can hold")]
    Extent(String),
    #[error("{0}")]
    Artifact(#[from] einloom_artifact::ArtifactError),
    #[error("storage type {0} cannot be passed to a kernel")]
    Type(&'static str),
    #[error("target `{0}`: {1}")]
    Target(String, String),
}

/// What a backend says about one emitted kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmittedKernel {
    pub entry: String,
    pub dynamic_shared: u32,
    pub threads: u32,
}

/// Largest extent that a kernel may take as a 32-bit argument.
const MAX_EXTENT_32: u64 = (1 << 31) - 1;

/// Alignment in bytes that a tensor map needs of base and outer strides.
const MAP_ALIGN: u32 = 16;

/// Builds the artifact of one specialisation.
///
/// # Errors
/// See [`PackageError`].
pub fn package(
    plan: &FusedPlan,
    kernels: &[LoweredKernel],
    emitted: &[EmittedKernel],
    target: &str,
    ptx: String,
) -> Result<KernelArtifact, PackageError> {
    let cascade = &plan.cascade;
    let target_name = target;
    let target: Target = target.parse()?;
    let mut p = Packager {
        plan,
        extents: symbols(cascade),
    };
    let mut tensors = Vec::new();
    for input in &cascade.inputs {
        tensors.push(p.tensor(&input.name, Role::Input, input.dtype, &input.dims)?);
    }
    for output in &cascade.outputs {
        tensors.push(p.tensor(&output.name, Role::Output, output.dtype, &output.dims)?);
    }
    for crossing in &plan.crossings {
        tensors.push(p.workspace(crossing)?);
    }
    for kernel in kernels {
        p.constrain(kernel, &mut tensors);
    }
    p.checks()?;
    let descs = kernels
        .iter()
        .zip(emitted)
        .map(|(k, e)| p.kernel(k, e))
        .collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest {
        format_version: einloom_artifact::FORMAT_VERSION,
        einloom_version: env!("CARGO_PKG_VERSION").to_owned(),
        cascade: cascade.name.clone(),
        specialisation: cascade.choices.iter().cloned().collect(),
        target,
        ptx_version: ptx_version(&ptx)
            .ok_or_else(|| PackageError::Target(target_name.to_owned(), "the PTX has no version line".to_owned()))?,
        min_capability: Capability {
            major: target.capability.major,
            minor: target.capability.minor,
        },
        ptx_blake3: String::new(),
        extents: p.extents,
        scalars: scalars(cascade)?,
        tensors,
        kernels: descs,
    };
    Ok(KernelArtifact::new(manifest, ptx)?)
}

fn ptx_version(ptx: &str) -> Option<PtxVersion> {
    let line = ptx.lines().find(|line| line.starts_with(".version"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn names(extents: &[ExtentSym]) -> Vec<String> {
    extents.iter().map(|extent| extent.name.clone()).collect()
}

fn symbols(cascade: &Cascade) -> Vec<ExtentSym> {
    let one = |symbol: &einloom_cascade::ir::Symbol| ExtentSym {
        name: symbol.name.clone(),
        source: ExtentSource::Dims(
            symbol
                .sources
                .iter()
                .map(|(input, dim)| DimRef {
                    tensor: input.index(),
                    dim: *dim,
                })
                .collect(),
        ),
        min: 0,
        max: MAX_EXTENT_32,
        multiple_of: 1,
    };
    cascade.symbols.iter().map(one).collect()
}

fn scalars(cascade: &Cascade) -> Result<Vec<ScalarParam>, PackageError> {
    let one = |scalar: &einloom_cascade::ir::Scalar| {
        let dtype = match scalar.dtype {
            DType::F32 => ScalarType::F32,
            DType::I32 => ScalarType::I32,
            DType::I64 => ScalarType::I64,
            DType::Bool => ScalarType::Bool,
            other => return Err(PackageError::Type(other.name())),
        };
        Ok(ScalarParam {
            name: scalar.name.clone(),
            dtype,
        })
    };
    cascade.scalars.iter().map(one).collect()
}

/// The storage type in the contract's terms.
pub fn storage(dtype: DType) -> einloom_artifact::DType {
    match dtype {
        DType::F32 => einloom_artifact::DType::F32,
        DType::F16 => einloom_artifact::DType::F16,
        DType::BF16 => einloom_artifact::DType::BF16,
        DType::I64 => einloom_artifact::DType::I64,
        DType::I32 => einloom_artifact::DType::I32,
        DType::I16 => einloom_artifact::DType::I16,
        DType::I8 => einloom_artifact::DType::I8,
        DType::U8 => einloom_artifact::DType::U8,
        DType::Bool => einloom_artifact::DType::Bool,
    }
}

struct Packager<'a> {
    plan: &'a FusedPlan,
    extents: Vec<ExtentSym>,
}

impl Packager<'_> {
    fn tensor(&self, name: &str, role: Role, dtype: DType, dims: &[MemDim]) -> Result<TensorParam, PackageError> {
        let dim = |dim: &MemDim| {
            let extent = self.dim(dim.extent, &dim.name)?;
            Ok(Dim {
                rank: dim.name.clone(),
                extent,
                stride_multiple: 1,
            })
        };
        Ok(TensorParam {
            name: name.to_owned(),
            role,
            dtype: storage(dtype),
            dims: dims.iter().map(dim).collect::<Result<Vec<_>, PackageError>>()?,
            innermost_contiguous: false,
            align: storage(dtype).size() as u32,
            zeroed: false,
        })
    }

    fn workspace(&self, crossing: &einloom_plan::ir::Crossing) -> Result<TensorParam, PackageError> {
        let dims: Vec<MemDim> = crossing
            .dims
            .iter()
            .map(|v| &self.plan.cascade.vars[v.index()])
            .map(|var| MemDim {
                name: var.name.clone(),
                extent: var.extent,
            })
            .collect();
        let dtype = if crossing.kind == Kind::Real {
            DType::F32
        } else {
            DType::I32
        };
        self.tensor(&format!("workspace.{}", crossing.name), Role::Workspace, dtype, &dims)
    }

    /// What a kernel demands of its tensors: contiguity, base alignment, stride multiples.
    fn constrain(&self, kernel: &LoweredKernel, tensors: &mut [TensorParam]) {
        let maps = &kernel.program.maps;
        for (i, (source, info)) in kernel.tensors.iter().zip(&kernel.program.tensors).enumerate() {
            let param = &mut tensors[self.tensor_index(*source)];
            let size = param.dtype.size();
            let mapped = maps.iter().any(|map| map.tensor.index() == i);
            let align = if mapped { info.align.max(MAP_ALIGN) } else { info.align };
            let multiple = (u64::from(align) / size).max(1);
            param.align = param.align.max(align);
            param.innermost_contiguous |= info.contiguous || mapped;
            let outer = param.dims.len().saturating_sub(1);
            for dim in &mut param.dims[..outer] {
                dim.stride_multiple = dim.stride_multiple.max(multiple);
            }
        }
    }

    /// What must hold at launch, `H = G * R`, as extents that admit nothing but 0: the distance of the two sides.
    fn checks(&mut self) -> Result<(), PackageError> {
        let cascade = &self.plan.cascade;
        for check in &cascade.checks {
            let Expr::Map(MapOp::Eq, sides) = cascade.exprs.get(check.cond) else {
                return Err(PackageError::Extent(check.message.clone()));
            };
            let &[left, right] = &sides[..] else {
                return Err(PackageError::Extent(check.message.clone()));
            };
            let (left, right) = (self.dim(left, &check.message)?, self.dim(right, &check.message)?);
            let (extents, scalars) = (
                names(&self.extents),
                cascade.scalars.iter().map(|s| s.name.clone()).collect::<Vec<_>>(),
            );
            let text = |side: &DimExpr| side.display(&extents, &scalars).to_string();
            let name = format!("{} - {}", text(&left), text(&right));
            let apart = |a: &DimExpr, b: &DimExpr| Box::new(DimExpr::Sub(Box::new(a.clone()), Box::new(b.clone())));
            let source = ExtentSource::Expr(DimExpr::Max(apart(&left, &right), apart(&right, &left)));
            if self.extents.iter().any(|known| known.name == name) {
                continue;
            }
            self.extents.push(ExtentSym {
                name,
                source,
                min: 0,
                max: 0,
                multiple_of: 1,
            });
        }
        Ok(())
    }

    /// The descriptors of a kernel's box copies.
    fn maps(&self, kernel: &LoweredKernel) -> Vec<TensorMap> {
        let map = |map: &einloom_tile::ir::TensorMap| {
            let info = &kernel.program.tensors[map.tensor.index()];
            TensorMap {
                tensor: self.tensor_index(kernel.tensors[map.tensor.index()]),
                row_dim: map.row_dim,
                rows: map.rows,
                inner: (TensorMap::INNER_BYTES / storage(info.dtype).size()) as u32,
                swizzle: Swizzle::B128,
            }
        };
        kernel.program.maps.iter().map(map).collect()
    }

    fn tensor_index(&self, source: TensorSource) -> usize {
        let cascade = &self.plan.cascade;
        match source {
            TensorSource::Input(i) => i,
            TensorSource::Output(i) => cascade.inputs.len() + i,
            TensorSource::Crossing(i) => cascade.inputs.len() + cascade.outputs.len() + i,
        }
    }

    fn kernel(&mut self, kernel: &LoweredKernel, emitted: &EmittedKernel) -> Result<KernelDesc, PackageError> {
        let program = &kernel.program;
        let mut args = Vec::new();
        for (source, info) in kernel.tensors.iter().zip(&program.tensors) {
            let tensor = self.tensor_index(*source);
            args.push(KernelArg::TensorPtr(tensor));
            let strides = info.rank - usize::from(info.contiguous && info.rank > 0);
            args.extend((0..strides).map(|dim| KernelArg::TensorStride { tensor, dim }));
        }
        for (source, info) in kernel.scalars.iter().zip(&program.scalars) {
            args.push(match source {
                ScalarSource::Scalar(id) => KernelArg::Scalar(id.index()),
                ScalarSource::Extent(expr) => {
                    let i = self.extent_index(*expr, &info.name)?;
                    if info.elem == Elem::I64 {
                        KernelArg::Extent(i)
                    } else {
                        KernelArg::Extent32(i)
                    }
                }
            });
        }
        args.extend((0..program.maps.len()).map(KernelArg::Map));
        let mut blocks = DimExpr::Const(1);
        for dim in &program.grid {
            let extent = self.grid(&dim.extent, kernel)?;
            blocks = match blocks {
                DimExpr::Const(1) => extent,
                other => DimExpr::Mul(Box::new(other), Box::new(extent)),
            };
        }
        Ok(KernelDesc {
            entry: emitted.entry.clone(),
            args,
            maps: self.maps(kernel),
            grid: [blocks, DimExpr::Const(1), DimExpr::Const(1)],
            persistent: program.persistent().then_some(program.blocks_per_sm.max(1)),
            block: emitted.threads,
            dynamic_shared: emitted.dynamic_shared,
            min_blocks: program.blocks_per_sm,
            planned_registers: 0,
            allow_local_memory: false,
            notes: Vec::new(),
        })
    }

    /// Index of the extent with this value, added if it is new.
    fn extent_index(&mut self, expr: ExprId, name: &str) -> Result<usize, PackageError> {
        let dim = self.dim(expr, name)?;
        if let DimExpr::Extent(i) = dim {
            return Ok(i);
        }
        let source = ExtentSource::Expr(dim);
        if let Some(i) = self.extents.iter().position(|e| e.source == source) {
            return Ok(i);
        }
        self.extents.push(ExtentSym {
            name: name.to_owned(),
            source,
            min: 0,
            max: MAX_EXTENT_32,
            multiple_of: 1,
        });
        Ok(self.extents.len() - 1)
    }

    fn dim(&self, expr: ExprId, name: &str) -> Result<DimExpr, PackageError> {
        let bad = || PackageError::Extent(name.to_owned());
        Ok(match self.plan.cascade.exprs.get(expr) {
            Expr::Int(n) => DimExpr::Const(*n),
            Expr::Extent(s) => DimExpr::Extent(s.index()),
            Expr::Scalar(s) => DimExpr::Scalar(s.index()),
            Expr::Map(op, args) => {
                let args = args.iter().map(|a| self.dim(*a, name)).collect::<Result<Vec<_>, _>>()?;
                dim_map(*op, args).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        })
    }

    fn grid(&mut self, extent: &Extent, kernel: &LoweredKernel) -> Result<DimExpr, PackageError> {
        Ok(match extent {
            Extent::Const(n) => DimExpr::Const(*n),
            Extent::Param(i) => match kernel.scalars[*i] {
                ScalarSource::Extent(expr) => self.dim(expr, &kernel.program.scalars[*i].name)?,
                ScalarSource::Scalar(id) => DimExpr::Scalar(id.index()),
            },
            Extent::CeilDiv(a, n) => DimExpr::CeilDiv(Box::new(self.grid(a, kernel)?), Box::new(DimExpr::Const(*n))),
            Extent::Map(op, args) => {
                let args = args
                    .iter()
                    .map(|a| self.grid(a, kernel))
                    .collect::<Result<Vec<_>, _>>()?;
                dim_map(*op, args).ok_or_else(|| PackageError::Extent(kernel.program.name.clone()))?
            }
        })
    }
}

fn dim_map(op: MapOp, args: Vec<DimExpr>) -> Option<DimExpr> {
    let mut args = args.into_iter().map(Box::new);
    let first = args.next()?;
    let Some(second) = args.next() else {
        return (op == MapOp::Neg).then(|| DimExpr::Sub(Box::new(DimExpr::Const(0)), first));
    };
    Some(match op {
        MapOp::Add => DimExpr::Add(first, second),
        MapOp::Sub => DimExpr::Sub(first, second),
        MapOp::Mul => DimExpr::Mul(first, second),
        MapOp::IDiv => DimExpr::Div(first, second),
        MapOp::IMod => DimExpr::Mod(first, second),
        MapOp::Min => DimExpr::Min(first, second),
        MapOp::Max => DimExpr::Max(first, second),
        _ => return None,
    })
}
