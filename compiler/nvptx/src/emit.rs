//! Tile programs to LLVM IR to PTX.

use crate::error::EmitError;
use crate::hopper;
use crate::kernel::emit_kernel;
use crate::shared::layouts;
use crate::target::Target;
use einloom_tile::ir::{Roles, TileProgram};
use einloom_tile::lowered::LoweredKernel;
use inkwell::OptimizationLevel;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, TargetMachine, TargetTriple};
use std::rc::Rc;
use std::sync::Once;

/// Passes over the IR before instruction selection: clean-ups only. Hoisting, unrolling and vectorising are left out on purpose, since the
/// emission places values and ptxas knows registers. So is `instcombine`: the wrap flags that it infers cost a later pass quadratic time.
const PASSES: &str = "function(early-cse,simplifycfg,dce)";

/// Generated text for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
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
    emit_watched(programs, target, &mut |_| {})
}

/// As [`emit_programs`]; `ended` is told the name of each stage as it ends: `build`, `verify`, `passes`, `codegen`.
pub fn emit_watched(
    programs: &[&TileProgram],
    target: Target,
    ended: &mut dyn FnMut(&'static str),
) -> Result<Emission, EmitError> {
    let mut kernels = Vec::new();
    for program in programs {
        kernels.push(check(program, target, &kernels)?);
    }
    let machine = machine(target)?;
    let context = Context::create();
    let module = module(&context, programs, &machine, ended)?;
    let buffer = machine
        .write_to_memory_buffer(&module, FileType::Assembly)
        .map_err(|e| llvm(&e.to_string()))?;
    let ptx = flush_exponentials(String::from_utf8_lossy(buffer.as_slice()).trim_end_matches('\0'));
    ended("codegen");
    Ok(Emission { ptx, kernels })
}

/// Makes each exponential of the text the one that flushes denormal numbers to 0, which is one instruction of the machine instead of three.
/// LLVM's own operation keeps them. Its intrinsic for the flushing one costs several times the code generator's time, since it looks for
/// an intrinsic among all of them, one by one; and to let the function flush would change all other arithmetic.
fn flush_exponentials(ptx: &str) -> String {
    ptx.replace("ex2.approx.f32", "ex2.approx.ftz.f32")
}

/// The LLVM IR that [`emit`] makes PTX of. `llc -mcpu=<sm> -mattr=+ptx<version>` accepts it; its `ex2.approx` keep denormal numbers.
pub fn llvm_ir(programs: &[&TileProgram], target: Target) -> Result<String, EmitError> {
    let mut before = Vec::new();
    for program in programs {
        before.push(check(program, target, &before)?);
    }
    let context = Context::create();
    let machine = machine(target)?;
    let module = module(&context, programs, &machine, &mut |_| {})?;
    Ok(module.print_to_string().to_string())
}

/// Checked programs as a module, cleaned up.
fn module<'c>(
    context: &'c Context,
    programs: &[&TileProgram],
    machine: &TargetMachine,
    ended: &mut dyn FnMut(&'static str),
) -> Result<Rc<Module<'c>>, EmitError> {
    let module = Rc::new(context.create_module("einloom"));
    module.set_source_file_name("einloom");
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    for program in programs {
        emit_kernel(context, &module, program).map_err(|fault| fault.in_kernel(&program.name))?;
    }
    ended("build");
    module.verify().map_err(|e| llvm(&e.to_string()))?;
    ended("verify");
    module
        .run_passes(PASSES, machine, PassBuilderOptions::create())
        .map_err(|e| llvm(&e.to_string()))?;
    keep(context, &module);
    ended("passes");
    Ok(module)
}

/// Marks all functions as not to be optimised by the code generator. Its optimisations take longer than everything else, and ptxas
/// schedules, combines and hoists anew: without them its machine code of the examples is as long. Copies are still coalesced, which the
/// lowest level of the code generator would not do: an accumulator that is copied between two dots in flight makes ptxas serialise the dots.
fn keep<'c>(context: &'c Context, module: &Module<'c>) {
    for function in module.get_functions().filter(|f| f.count_basic_blocks() > 0) {
        for name in ["optnone", "noinline"] {
            let kind = Attribute::get_named_enum_kind_id(name);
            function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
        }
    }
}

fn llvm(message: &str) -> EmitError {
    EmitError::Llvm {
        message: message.trim().to_owned(),
    }
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
            OptimizationLevel::Less,
            RelocMode::Default,
            CodeModel::Default,
        )
        .ok_or_else(|| llvm("no machine for this target"))
}
