//! A bundle on a device: for each call the fitting specialisation, made for the best target that the device runs.
//!
//! [`Launcher::launch`] checks a call and queues its kernels without an allocation. A call is dispatched by its tensors: their
//! types and constant extents name the specialisation, their addresses and strides the alignment, and of kernels whose schedules were chosen for
//! different extents the nearest are taken. A choice that no
//! tensor shows is made when the bundle is loaded. Code is assembled at the first call of a specialisation, or
//! ahead of all calls by [`Launcher::load_all`].

use std::collections::BTreeMap;
use std::sync::OnceLock;

use einloom_artifact::contract::{self, Quick, has_form};
use einloom_artifact::{
    ArtifactError, Bundle, BundleEntry, ContractError, KernelArtifact, LaunchPlan, MadeFor, Target,
};

use crate::device::Device;
use crate::direct;
use crate::error::LaunchError;
use crate::module::Module;
use crate::prepared::PreparedLaunch;
use crate::stream::Stream;
use crate::tensor::{AsCall, Parts, Workspace};
use crate::version::newest_ptx;

/// Why a bundle or a call has no kernel here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum DispatchError {
    #[error(transparent)]
    Bundle(#[from] ArtifactError),
    #[error("the kernels of `{cascade}` are not those that this launcher was generated for; generate both again")]
    OtherBundle { cascade: String },
    #[error("cascade `{cascade}` was compiled for {targets}, none of which {device} runs")]
    NoTarget {
        cascade: String,
        targets: String,
        device: String,
    },
    #[error("cascade `{cascade}` has no specialisation {choice}; there are: {known}")]
    NoChoice {
        cascade: String,
        choice: String,
        known: String,
    },
    #[error("cascade `{cascade}`: no tensor tells {first} from {second}; load it with one of them")]
    OpenChoice {
        cascade: String,
        first: String,
        second: String,
    },
    #[error("cascade `{cascade}` has no specialisation for {found}; there are: {known}")]
    NoSpecialisation {
        cascade: String,
        found: String,
        known: String,
    },
    #[error("the workspace has {found} bytes, the call needs {needed}")]
    WorkspaceSize { found: u64, needed: u64 },
    #[error("the workspace is at address {address:#x}, it must be a multiple of 256")]
    WorkspaceAlignment { address: u64 },
    #[error("the workspace overlaps a tensor in memory")]
    WorkspaceOverlap,
}

/// A bundle on a device.
pub struct Launcher {
    device: Device,
    cascade: String,
    /// In the order of preference.
    variants: Vec<Variant>,
}

/// One specialisation for one alignment and for some extents, of the target that was chosen.
struct Variant {
    artifact: KernelArtifact,
    align: u32,
    extents: BTreeMap<String, u64>,
    made_for: MadeFor,
    /// Whether another one differs from it in what it was made for only.
    rivals: bool,
    cubin: Option<Vec<u8>>,
    module: OnceLock<Result<Module, LaunchError>>,
}

/// What a launcher has for a specialisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantInfo {
    /// Its compile-time choices: `e=128, T=bf16`.
    pub choice: String,
    /// The target whose code is used.
    pub target: Target,
    /// Alignment in bytes that the code counts on.
    pub align: u32,
    /// Extents that its schedules were chosen for; none: any.
    pub made_for: BTreeMap<String, u64>,
    /// Whether machine code is at hand, so that the driver assembles nothing.
    pub has_cubin: bool,
}

/// A checked call that is launched as often as wanted while its tensors live.
pub struct PreparedCall<'a> {
    launch: PreparedLaunch,
    memory: std::marker::PhantomData<&'a ()>,
}

impl PreparedCall<'_> {
    /// Queues the kernels on the stream; checks and allocates nothing.
    pub fn launch(&self, stream: &Stream) -> Result<(), LaunchError> {
        self.launch.launch(stream)
    }

    /// The checked call: extents, strides, grids.
    pub fn plan(&self) -> &LaunchPlan {
        self.launch.plan()
    }
}

impl Launcher {
    /// Takes from a bundle what fits the device. `choices` narrow the specialisations, by name and text: `("c", "64")`.
    pub fn new(device: &Device, bundle: &Bundle, choices: &[(&str, &str)]) -> Result<Launcher, LaunchError> {
        let entries = select(bundle, choices)?;
        let mut best: Vec<&BundleEntry> = Vec::new();
        for entry in entries.iter().copied().filter(|entry| runs(device, entry)) {
            let same = |known: &&mut &BundleEntry| differ_by_target(known, entry);
            match best.iter_mut().find(same) {
                Some(known) if known.target < entry.target => *known = entry,
                Some(_) => {}
                None => best.push(entry),
            }
        }
        if best.is_empty() {
            return Err(no_target(bundle, device).into());
        }
        let mut variants = Vec::with_capacity(best.len());
        for entry in best {
            if let Some(artifact) = readable(device, bundle, &entries, entry)? {
                variants.push(artifact);
            }
        }
        if variants.is_empty() {
            return Err(no_target(bundle, device).into());
        }
        for at in 0..variants.len() {
            let like = |(i, other): (usize, &Variant)| i != at && variants[at].is_like(other);
            variants[at].rivals = variants.iter().enumerate().any(like);
        }
        let launcher = Launcher {
            device: device.clone(),
            cascade: bundle.cascade().to_owned(),
            variants,
        };
        launcher.check_choices()?;
        Ok(launcher)
    }

    /// As [`Launcher::new`], from the bytes of a program; `hash` is that of the bundle for which the caller was generated.
    pub fn embedded(
        device: &Device,
        bundle: &'static [u8],
        hash: &str,
        choices: &[(&str, &str)],
    ) -> Result<Launcher, LaunchError> {
        let bundle = Bundle::from_bytes(bundle).map_err(DispatchError::from)?;
        if bundle.hash() != hash {
            let cascade = bundle.cascade().to_owned();
            return Err(DispatchError::OtherBundle { cascade }.into());
        }
        Launcher::new(device, &bundle, choices)
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What there is, in the order of preference.
    pub fn variants(&self) -> Vec<VariantInfo> {
        self.variants.iter().map(Variant::info).collect()
    }

    /// What a call takes.
    pub fn variant<'c>(&self, call: &impl AsCall<'c>) -> Result<VariantInfo, LaunchError> {
        match self.find(call.parts())? {
            Found::Quick(variant, _) | Found::Slow(variant, _) => Ok(variant.info()),
        }
    }

    /// Assembles and loads the code of all specialisations, so that no call has to wait for it.
    pub fn load_all(&self) -> Result<(), LaunchError> {
        self.variants
            .iter()
            .try_for_each(|variant| variant.module(&self.device).map(|_| ()))
    }

    /// Bytes of workspace that a call needs, to be aligned to 256. Tensors may have no memory yet.
    pub fn workspace_bytes<'c>(&self, call: &impl AsCall<'c>) -> Result<u64, LaunchError> {
        match self.find(call.parts())? {
            Found::Quick(_, quick) => Ok(quick.workspace_bytes()),
            Found::Slow(_, plan) => Ok(plan.workspace_bytes),
        }
    }

    /// Checks a call, and queues its kernels on the stream.
    pub fn launch<'c>(
        &self,
        stream: &Stream,
        call: &impl AsCall<'c>,
        workspace: Workspace<'_>,
    ) -> Result<(), LaunchError> {
        let parts = call.parts();
        self.check_devices(parts, workspace)?;
        match self.find(parts)? {
            Found::Quick(variant, quick) => {
                let module = variant.module(&self.device)?;
                direct::launch(module, &quick, workspace, stream)
            }
            Found::Slow(variant, plan) => {
                PreparedLaunch::from_plan(variant.module(&self.device)?, plan, workspace)?.launch(stream)
            }
        }
    }

    /// Checks a call ahead of its launches.
    pub fn prepare<'a>(
        &self,
        call: &impl AsCall<'a>,
        workspace: Workspace<'a>,
    ) -> Result<PreparedCall<'a>, LaunchError> {
        let parts = call.parts();
        self.check_devices(parts, workspace)?;
        let variant = match self.find(parts)? {
            Found::Quick(variant, _) | Found::Slow(variant, _) => variant,
        };
        let plan = contract::check(variant.artifact.manifest(), parts.views, parts.scalars)?;
        Ok(PreparedCall {
            launch: PreparedLaunch::from_plan(variant.module(&self.device)?, plan, workspace)?,
            memory: std::marker::PhantomData,
        })
    }

    /// Variants for a call: of those that differ only in what their schedules were chosen for, the nearest.
    fn nearest<'l>(&'l self, call: Parts<'l>) -> impl Iterator<Item = &'l Variant> {
        let distance = move |variant: &Variant| variant.made_for.distance(variant.artifact.manifest(), call.views);
        let nearest = move |(at, one): &(usize, &Variant)| {
            !one.rivals || {
                let own = distance(one);
                let nearer = |(i, other): (usize, &Variant)| {
                    i != *at && one.is_like(other) && {
                        let there = distance(other);
                        there < own || (there == own && i < *at)
                    }
                };
                !self.variants.iter().enumerate().any(nearer)
            }
        };
        self.variants
            .iter()
            .enumerate()
            .filter(nearest)
            .map(|(_, variant)| variant)
    }

    /// The first variant that takes the call.
    fn find<'l>(&'l self, call: Parts<'l>) -> Result<Found<'l>, LaunchError> {
        for variant in self.nearest(call) {
            if let Some(quick) = Quick::check(variant.artifact.manifest(), call.views, call.scalars)
                && direct::can_launch(variant.artifact.manifest())
            {
                return Ok(Found::Quick(variant, quick));
            }
        }
        let mut refusal = None;
        for variant in self.nearest(call) {
            let manifest = variant.artifact.manifest();
            if !has_form(manifest, call.views) {
                continue;
            }
            match contract::check(manifest, call.views, call.scalars) {
                Ok(plan) => return Ok(Found::Slow(variant, plan)),
                // The last one asks for the least alignment.
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.map_or_else(|| self.no_specialisation(call), LaunchError::from))
    }

    /// With one specialisation its own refusal says most; with several, what they are.
    fn no_specialisation(&self, call: Parts<'_>) -> LaunchError {
        let known = choices(self.variants.iter().map(|v| &v.artifact.manifest().specialisation));
        if let ([first, ..], [_]) = (self.variants.as_slice(), known.as_slice())
            && let Err(error) = contract::check(first.artifact.manifest(), call.views, call.scalars)
        {
            return error.into();
        }
        // A name that is missing or unknown is missing in all of them.
        if let Some(first) = self.variants.first()
            && let Err(
                error @ (ContractError::UnknownTensor { .. }
                | ContractError::MissingTensor { .. }
                | ContractError::Rank { .. }
                | ContractError::DuplicateTensor { .. }),
            ) = contract::check(first.artifact.manifest(), call.views, call.scalars)
        {
            return error.into();
        }
        let tensor =
            |view: &einloom_artifact::TensorView<'_>| format!("`{}` {} {:?}", view.name, view.dtype, view.shape);
        DispatchError::NoSpecialisation {
            cascade: self.cascade.clone(),
            found: call.views.iter().map(tensor).collect::<Vec<_>>().join(", "),
            known: known.join("; "),
        }
        .into()
    }

    fn check_devices(&self, call: Parts<'_>, workspace: Workspace<'_>) -> Result<(), LaunchError> {
        for (view, device) in call.views.iter().zip(call.devices) {
            if let Some(device) = device {
                self.device
                    .expect_same(device, || format!("the buffer of tensor `{}`", view.name))?;
            }
        }
        if let Some(device) = workspace.device {
            self.device.expect_same(device, || "the workspace".to_owned())?;
        }
        Ok(())
    }

    /// Two specialisations that take the same tensors cannot be told apart by a call.
    fn check_choices(&self) -> Result<(), LaunchError> {
        for (i, a) in self.variants.iter().enumerate() {
            for b in self.variants.iter().take(i) {
                let (a_manifest, b_manifest) = (a.artifact.manifest(), b.artifact.manifest());
                if a_manifest.specialisation != b_manifest.specialisation && same_form(a_manifest, b_manifest) {
                    return Err(DispatchError::OpenChoice {
                        cascade: self.cascade.clone(),
                        first: choice_text(&b_manifest.specialisation),
                        second: choice_text(&a_manifest.specialisation),
                    }
                    .into());
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Launcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Launcher({}, {:?})", self.cascade, self.variants())
    }
}

/// A variant with the checked call.
enum Found<'l> {
    Quick(&'l Variant, Quick),
    Slow(&'l Variant, LaunchPlan),
}

impl Variant {
    fn info(&self) -> VariantInfo {
        VariantInfo {
            choice: choice_text(&self.artifact.manifest().specialisation),
            target: self.artifact.manifest().target,
            align: self.align,
            made_for: self.extents.clone(),
            has_cubin: self.cubin.is_some(),
        }
    }

    /// Whether two differ in nothing but what their schedules were chosen for.
    fn is_like(&self, other: &Variant) -> bool {
        let (own, others) = (self.artifact.manifest(), other.artifact.manifest());
        self.align == other.align && own.specialisation == others.specialisation
    }

    fn module(&self, device: &Device) -> Result<&Module, LaunchError> {
        let load = || match &self.cubin {
            Some(cubin) => Module::load_cubin(device, &self.artifact, cubin),
            None => Module::load(device, &self.artifact),
        };
        self.module.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}

fn select<'b>(bundle: &'b Bundle, choices: &[(&str, &str)]) -> Result<Vec<&'b BundleEntry>, DispatchError> {
    let chosen = |entry: &&BundleEntry| {
        choices
            .iter()
            .all(|(name, value)| entry.specialisation.get(*name).is_some_and(|v| v == value))
    };
    let entries: Vec<&BundleEntry> = bundle.entries().iter().filter(chosen).collect();
    if !entries.is_empty() {
        return Ok(entries);
    }
    let text: Vec<String> = choices.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Err(DispatchError::NoChoice {
        cascade: bundle.cascade().to_owned(),
        choice: text.join(", "),
        known: self::choices(bundle.entries().iter().map(|e| &e.specialisation)).join("; "),
    })
}

/// Whether two entries are the same for different targets, or one entry.
fn differ_by_target(a: &BundleEntry, b: &BundleEntry) -> bool {
    a.specialisation == b.specialisation && a.align == b.align && a.made_for == b.made_for
}

fn runs(device: &Device, entry: &BundleEntry) -> bool {
    entry.target.runs_on(device.facts().capability)
}

/// The entry, or in its place the best one whose PTX is not newer than the driver.
fn readable(
    device: &Device,
    bundle: &Bundle,
    entries: &[&BundleEntry],
    best: &BundleEntry,
) -> Result<Option<Variant>, LaunchError> {
    let facts = device.facts();
    let mut candidates: Vec<&BundleEntry> = entries
        .iter()
        .copied()
        .filter(|e| differ_by_target(e, best) && runs(device, e))
        .collect();
    candidates.sort_by_key(|e| std::cmp::Reverse(e.target));
    for entry in candidates {
        let artifact = bundle.artifact(entry).map_err(DispatchError::from)?;
        let cubin = match entry.target.binary_runs_on(facts.capability) {
            true => bundle.cubin(entry).map_err(DispatchError::from)?,
            false => None,
        };
        let made_for = MadeFor::new(artifact.manifest(), &entry.made_for).map_err(DispatchError::from)?;
        let reads = newest_ptx(facts.driver_version).is_none_or(|newest| artifact.manifest().ptx_version <= newest);
        if reads || cubin.is_some() {
            return Ok(Some(Variant {
                artifact,
                align: entry.align,
                extents: entry.made_for.clone(),
                made_for,
                rivals: false,
                cubin: cubin.map(<[u8]>::to_vec),
                module: OnceLock::new(),
            }));
        }
    }
    Ok(None)
}

fn no_target(bundle: &Bundle, device: &Device) -> DispatchError {
    let mut targets: Vec<Target> = bundle.entries().iter().map(|e| e.target).collect();
    targets.sort_unstable();
    targets.dedup();
    let facts = device.facts();
    DispatchError::NoTarget {
        cascade: bundle.cascade().to_owned(),
        targets: targets.iter().map(Target::to_string).collect::<Vec<_>>().join(", "),
        device: format!(
            "{} of capability {} with driver {}",
            facts.name, facts.capability, facts.driver_version
        ),
    }
}

/// Whether every call that has the form of one has the form of the other.
fn same_form(a: &einloom_artifact::Manifest, b: &einloom_artifact::Manifest) -> bool {
    use einloom_artifact::{DimExpr, Role, TensorParam};
    let constant = |expr: &DimExpr| match expr {
        DimExpr::Const(n) => Some(*n),
        _ => None,
    };
    let form = |tensor: &TensorParam| {
        let dims: Vec<_> = tensor.dims.iter().map(|dim| constant(&dim.extent)).collect();
        (tensor.name.clone(), tensor.dtype, dims)
    };
    let forms = |m: &einloom_artifact::Manifest| {
        let own = m.tensors.iter().filter(|t| t.role != Role::Workspace);
        own.map(form).collect::<Vec<_>>()
    };
    forms(a) == forms(b)
}

/// The different specialisations in words.
fn choices<'m>(all: impl Iterator<Item = &'m BTreeMap<String, String>>) -> Vec<String> {
    let mut texts = Vec::new();
    for text in all.map(choice_text) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

fn choice_text(choice: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = choice.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}
