//! Tile programs to LLVM IR to PTX.

use crate::error::EmitError;
use crate::hopper;
use crate::kernel::emit_kernel;
use crate::shared::layouts;
use crate::target::Target;
use einloom_tile::ir::{Roles, TileProgram};
use einloom_tile::lowered::LoweredKernel;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, TargetMachine, TargetTriple};
use std::rc::Rc;
use std::sync::Once;

/// Passes over the IR before instruction selection: clean-ups only. Hoisting, unrolling and vectorising are left out on purpose, since the
/// emission places values and ptxas knows registers. So is `instcombine`: the wrap flags that it infers cost a later pass quadratic time.
const PASSES: &str = "function(early-cse,instsimplify,simplifycfg,early-cse,dce)";

/// Generated text for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Accepted by `llc -mcpu=<sm> -mattr=+ptx<version>`.
    pub llvm_ir: String,
    pub ptx: String,
    /// In the order of the input.
    pub kernels: Vec<KernelInfo>,
}

/// What a launch of one kernel needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// Name of the entry point in the PTX.
    pub entry: String,
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Threads of a block.
    pub threads: u32,
}

/// Emits kernels into one module. The bytes depend on the arguments alone.
pub fn emit(kernels: &[LoweredKernel], target: Target) -> Result<Emission, EmitError> {
    let programs: Vec<&TileProgram> = kernels.iter().map(|k| &k.program).collect();
    emit_programs(&programs, target)
}

/// As [`emit`], for bare programs.
pub fn emit_programs(programs: &[&TileProgram], target: Target) -> Result<Emission, EmitError> {
    let mut infos = Vec::new();
    for program in programs {
        infos.push(check(program, target, &infos)?);
    }
    let machine = machine(target)?;
    let context = Context::create();
    let module = Rc::new(context.create_module("einloom"));
    module.set_source_file_name("einloom");
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    for program in programs {
        emit_kernel(&context, &module, program).map_err(|fault| fault.in_kernel(&program.name))?;
    }
    verify(&module)?;
    module
        .run_passes(PASSES, &machine, PassBuilderOptions::create())
        .map_err(|e| llvm(&e.to_string()))?;
    verify(&module)?;
    let llvm_ir = module.print_to_string().to_string();
    let buffer = machine
        .write_to_memory_buffer(&module, FileType::Assembly)
        .map_err(|e| llvm(&e.to_string()))?;
    let ptx = String::from_utf8_lossy(buffer.as_slice())
        .trim_end_matches('\0')
        .to_owned();
    Ok(Emission {
        llvm_ir,
        ptx,
        kernels: infos,
    })
}

fn llvm(message: &str) -> EmitError {
    EmitError::Llvm {
        message: message.trim().to_owned(),
    }
}

fn verify(module: &Module<'_>) -> Result<(), EmitError> {
    module.verify().map_err(|e| llvm(&e.to_string()))
}

/// What must hold before LLVM sees anything.
fn check(program: &TileProgram, target: Target, before: &[KernelInfo]) -> Result<KernelInfo, EmitError> {
    let invalid = |what: &str| EmitError::Invalid {
        kernel: program.name.clone(),
        what: what.to_owned(),
    };
    let mut letters = program.name.chars();
    let starts = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') || program.name.starts_with("llvm") {
        return Err(invalid("its name is no PTX identifier"));
    }
    if before.iter().any(|k| k.entry == program.name) || program.name == "einloom_shared" {
        return Err(invalid("another kernel has its name"));
    }
    if program.warps == 0 || program.warps > 32 {
        return Err(invalid("a block has 1 to 32 warps"));
    }
    if let Roles::Specialised { .. } = program.roles {
        hopper::check(program, target).map_err(|fault| fault.in_kernel(&program.name))?;
    }
    let (_, bytes) = layouts(program).map_err(|fault| fault.in_kernel(&program.name))?;
    let limit = target.shared_limit();
    match u32::try_from(bytes) {
        Ok(shared_bytes) if shared_bytes <= limit => Ok(KernelInfo {
            entry: program.name.clone(),
            shared_bytes,
            threads: program.threads(),
        }),
        _ => Err(EmitError::TooLarge {
            kernel: program.name.clone(),
            bytes,
            limit,
            sm: target.sm(),
        }),
    }
}

fn machine(target: Target) -> Result<TargetMachine, EmitError> {
    static INITIALIZED: Once = Once::new();
    INITIALIZED.call_once(|| inkwell::targets::Target::initialize_nvptx(&InitializationConfig::default()));
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let llvm_target = inkwell::targets::Target::from_triple(&triple).map_err(|e| llvm(&e.to_string()))?;
    let features = format!("+ptx{}", target.ptx());
    llvm_target
        .create_target_machine(
            &triple,
            target.sm(),
            &features,
            OptimizationLevel::Aggressive,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| llvm("no machine for this target"))
}
