//! What a specialised program must keep to on this target.

use crate::error::{Res, invalid, unsupported};
use crate::hopper::ring::source_kinds;
use crate::target::Target;
use einloom_tile::ir::{Roles, TileProgram};

/// Registers of a multiprocessor (CUDA C++ Programming Guide, technical specifications per compute capability).
const REGISTERS: u32 = 64 * 1024;

/// Registers of a thread that a block can surely start with.
const MOST_AT_START: u32 = 248;

/// Refuses what the emission of roles cannot express.
pub(crate) fn check(program: &TileProgram, target: Target) -> Res<()> {
    let Roles::Specialised {
        consumer_registers,
        producer_registers,
    } = program.roles
    else {
        return Ok(());
    };
    if target.sm() != "sm_90a" {
        return unsupported(format!("a program with roles on {}", target.sm()));
    }
    if !program.warps.is_multiple_of(4) || program.threads() > 1024 {
        return invalid(format!(
            "{} consumer warps; 4, 8, .. 28 are possible beside a producer",
            program.warps
        ));
    }
    for n in [consumer_registers, producer_registers] {
        if !n.is_multiple_of(8) || !(24..=256).contains(&n) {
            return invalid(format!(
                "{n} registers for a role; multiples of 8 from 24 to 256 are possible"
            ));
        }
    }
    // What the block starts with; a role that asks for more than the others gave back would wait for ever.
    let start = REGISTERS / (program.threads() * program.blocks_per_sm.max(1)) / 8 * 8;
    let pool = start.min(MOST_AT_START) * program.threads();
    let registers = program.warps * 32 * consumer_registers + 128 * producer_registers;
    if registers > pool {
        return invalid(format!("roles with {registers} registers; the block has {pool}"));
    }
    for (buffer, kinds) in program.buffers.iter().zip(source_kinds(program)) {
        if kinds.boxes && kinds.rows {
            return unsupported(format!("a ring {} filled by boxes and by rows", buffer.name));
        }
    }
    Ok(())
}
