//! Numbers of the machines that schedules are checked against.
//!
//! Sources: CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability" (shared memory, registers,
//! threads); PTX ISA, sections on `cp.async` and `mma` for the copy sizes and the fragment shape.

/// What a schedule must fit into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineModel {
    /// Name of the target, e.g. `sm_80`.
    pub name: &'static str,
    /// Shared memory of a multiprocessor that blocks can share, in bytes.
    pub shared_per_sm: u64,
    /// Shared memory that one block can have, in bytes.
    pub shared_per_block: u64,
    /// Shared memory that every block costs besides its own, in bytes.
    pub shared_reserved: u64,
    /// 32-bit registers of a multiprocessor.
    pub registers_per_sm: u64,
    /// 32-bit registers that a thread can have.
    pub registers_per_thread: u64,
    /// Threads that a multiprocessor can hold.
    pub threads_per_sm: u64,
    pub multiprocessors: u64,
    /// Warpgroup matrix instructions, box copies and register re-allocation.
    pub specialises: bool,
}

/// Compute capability 8.0 (A100).
pub const SM_80: MachineModel = MachineModel {
    name: "sm_80",
    shared_per_sm: 164 * 1024,
    shared_per_block: 163 * 1024,
    shared_reserved: 1024,
    registers_per_sm: 65536,
    registers_per_thread: 255,
    threads_per_sm: 2048,
    multiprocessors: 108,
    specialises: false,
};

/// Compute capability 9.0 with architecture-specific features (H100).
pub const SM_90A: MachineModel = MachineModel {
    name: "sm_90a",
    shared_per_sm: 228 * 1024,
    shared_per_block: 227 * 1024,
    shared_reserved: 1024,
    registers_per_sm: 65536,
    registers_per_thread: 255,
    threads_per_sm: 2048,
    multiprocessors: 132,
    specialises: true,
};

impl MachineModel {
    /// The model of a target by name.
    pub fn named(name: &str) -> Option<&'static MachineModel> {
        [&SM_80, &SM_90A].into_iter().find(|m| m.name == name)
    }
}
