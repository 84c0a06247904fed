//! Schedules: how one kernel is cut into tiles. Data, checked against a machine model; a default for every kernel.

use crate::ir::{Elem, Roles, TileProgram};
use crate::lower::LowerError;
use crate::machine::MachineModel;
use einloom_cascade::expr::DType;
use einloom_plan::ir::FusedPlan;

/// Tiles and resources of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Rows of a tile, a multiple of 16 * warps.
    pub rows: u32,
    /// Streamed points of a tile, a multiple of 16. Kernels with tile-local reductions use whole blocks instead.
    pub cols: u32,
    pub warps: u32,
    /// Tiles of every streamed operand in shared memory, 1 to 4: one is computed on, the others are on their way.
    pub stages: u32,
    /// Blocks that should fit one multiprocessor.
    pub blocks_per_sm: u32,
    /// Keep resident left operands of matrix dots in registers instead of shared memory.
    pub left_in_registers: bool,
    /// A producer warpgroup copies, the other warps compute (`sm_90a`).
    pub specialised: Option<Specialised>,
}

/// How a specialised program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Specialised {
    /// The last dots of a tile are computed beside the first dots of the next one.
    pub overlap: bool,
    /// Blocks stay and loop over the grid.
    pub persistent: bool,
    /// References of exponentials keep the maximum of the first tile, with a guard; exact running maxima otherwise. Takes overlap.
    pub first_reference: bool,
    /// Resident operands have two stages, so that a persistent block fetches those of its next grid point early.
    pub ahead: bool,
    /// Warpgroups of consumers issue their dots in turns, one's beside the arithmetic of another. Takes overlap.
    pub turns: bool,
}

/// Registers of a multiprocessor for each of the 128 threads of a warpgroup.
const WARPGROUP_REGISTERS: u32 = 512;

/// Registers that a producer's thread would like, for the bounds of several loops; and the least that it gets.
const PRODUCER_REGISTERS: (u32, u32) = (40, 24);

/// Registers of a consumer that are enough, so that the producer can have its share.
const CONSUMER_ENOUGH: u32 = 216;

/// Registers that every thread of a specialised block starts with, a multiple of 8: all that a multiprocessor has for its blocks.
fn start_registers(blocks: u32, consumers: u32) -> u32 {
    (WARPGROUP_REGISTERS / (blocks.max(1) * (consumers + 1)) / 8 * 8).min(248)
}

impl Schedule {
    /// Roles of the program's threads. A block starts with the same number of registers in every thread, a multiple of 8; consumers take
    /// what the producer gives back of these, and no more: a request that the block's registers cannot meet would wait for ever.
    pub fn roles(&self) -> Roles {
        if self.specialised.is_none() {
            return Roles::Uniform;
        }
        let consumers = (self.warps / 4).max(1);
        let start = start_registers(self.blocks_per_sm, consumers);
        let pool = start * (consumers + 1);
        let share = |producer: u32| (pool.saturating_sub(producer) / consumers / 8 * 8).min(240);
        let (wanted, least) = PRODUCER_REGISTERS;
        let consumer_registers = if share(wanted) >= CONSUMER_ENOUGH {
            share(wanted)
        } else {
            share(least)
        };
        Roles::Specialised {
            consumer_registers,
            producer_registers: pool.saturating_sub(consumers * consumer_registers).min(wanted),
        }
    }
}

/// What the compiler may assume about the tensors that the kernel will be launched with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeClass {
    /// Guaranteed alignment in bytes of base and strides of every input: 16, 8, 4, 2 or 1. A program demands it only of tensors whose accesses use it.
    pub input_align: Vec<u32>,
    /// The same for outputs.
    pub output_align: Vec<u32>,
    /// Expected extents of the cascade's symbols, where known: they guide defaults and never correctness.
    pub extents: Vec<Option<i64>>,
}

impl ShapeClass {
    /// The class in which every tensor has the same alignment and no extent is known.
    pub fn aligned(plan: &FusedPlan, align: u32) -> Self {
        ShapeClass {
            input_align: vec![align; plan.cascade.inputs.len()],
            output_align: vec![align; plan.cascade.outputs.len()],
            extents: vec![None; plan.cascade.symbols.len()],
        }
    }
}

/// Bytes of an element in memory.
pub fn dtype_bytes(dtype: DType) -> u32 {
    match dtype {
        DType::I64 => 8,
        DType::F32 | DType::I32 => 4,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        DType::I8 | DType::U8 | DType::Bool => 1,
    }
}

/// Bytes of an element in registers and shared memory.
pub fn elem_bytes(elem: Elem) -> u64 {
    match elem {
        Elem::F32 | Elem::I32 => 4,
        Elem::I64 => 8,
        Elem::F16 | Elem::BF16 => 2,
        Elem::Bool => 1,
    }
}

/// Schedules in the order in which the default is looked for: the first that fits the kernel and the machine is taken.
pub fn candidates(machine: &MachineModel) -> Vec<Schedule> {
    let mut list = if machine.specialises {
        specialised_candidates()
    } else {
        Vec::new()
    };
    list.extend(uniform_candidates());
    list
}

fn specialised_candidates() -> Vec<Schedule> {
    // Rows, columns, stages. The more rows, the less shared memory traffic a product; the columns are what registers allow.
    const SHAPES: [(u32, u32, u32); 7] = [
        (192, 96, 4),
        (128, 128, 2),
        (192, 64, 3),
        (128, 80, 2),
        (128, 64, 2),
        (128, 32, 2),
        (64, 64, 2),
    ];
    let one = |(rows, cols, stages), ahead| Schedule {
        rows,
        cols,
        warps: rows / 16,
        stages,
        blocks_per_sm: 1,
        left_in_registers: false,
        specialised: Some(Specialised {
            overlap: true,
            persistent: true,
            first_reference: true,
            ahead,
            turns: rows > 64,
        }),
    };
    SHAPES
        .into_iter()
        .flat_map(|shape| [one(shape, true), one(shape, false)])
        .collect()
}

/// Rows, columns, warps, stages, blocks a multiprocessor.
type Uniform = (u32, u32, u32, u32, u32);

fn uniform((rows, cols, warps, stages, blocks_per_sm): Uniform) -> Schedule {
    Schedule {
        rows,
        cols,
        warps,
        stages,
        blocks_per_sm,
        left_in_registers: false,
        specialised: None,
    }
}

fn uniform_candidates() -> Vec<Schedule> {
    // 128 x 64 with 32 rows a warp halves the shared memory
    // traffic of the right operands; the rest trade size for shared memory and registers.
    const SHAPES: [Uniform; 16] = [
        (128, 64, 4, 2, 2),
        (128, 48, 4, 2, 2),
        (128, 128, 8, 2, 1),
        (64, 96, 4, 2, 2),
        (64, 64, 4, 2, 2),
        (64, 48, 4, 2, 2),
        (64, 64, 4, 2, 1),
        (64, 48, 4, 2, 1),
        (64, 32, 4, 2, 1),
        (128, 64, 8, 2, 1),
        (64, 64, 4, 1, 1),
        (64, 32, 4, 1, 1),
        (64, 16, 4, 1, 1),
        (32, 32, 2, 2, 1),
        (32, 16, 2, 1, 1),
        (16, 16, 1, 1, 1),
    ];
    SHAPES.into_iter().map(uniform).collect()
}

/// As [`candidates`], for kernels that walk their row tiles with a carried state: about as many columns as rows, because what a row tile's diagonal
/// needs is visited pair by pair, and warps that divide the rows of the state.
pub(crate) fn chunk_candidates() -> Vec<Schedule> {
    const SHAPES: [Uniform; 11] = [
        (64, 64, 4, 2, 2),
        (64, 32, 4, 2, 2),
        (128, 64, 8, 2, 1),
        (128, 32, 8, 2, 1),
        (64, 64, 4, 2, 1),
        (64, 32, 4, 2, 1),
        (128, 16, 8, 2, 1),
        (64, 16, 4, 1, 1),
        (32, 32, 2, 2, 1),
        (32, 16, 2, 1, 1),
        (16, 16, 1, 1, 1),
    ];
    SHAPES.into_iter().map(uniform).collect()
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Schedule {
            rows,
            cols,
            warps,
            stages,
            blocks_per_sm,
            left_in_registers,
            specialised,
        } = self;
        write!(
            f,
            "{rows}x{cols} tiles, {warps} warps, {stages} stages, {blocks_per_sm} blocks/SM"
        )?;
        if *left_in_registers {
            write!(f, ", left operands in registers")?;
        }
        let Some(specialised) = specialised else {
            return Ok(());
        };
        write!(f, ", specialised")?;
        if specialised.overlap {
            write!(f, ", overlapped")?;
        }
        if specialised.persistent {
            write!(f, ", persistent")?;
        }
        if specialised.first_reference {
            write!(f, ", reference of the first tile")?;
        }
        if specialised.ahead {
            write!(f, ", fetched ahead")?;
        }
        if specialised.turns {
            write!(f, ", in turns")?;
        }
        Ok(())
    }
}

impl Schedule {
    /// Checks the fields by themselves.
    ///
    /// # Errors
    /// Names the field and its limits.
    pub fn check(&self) -> Result<(), LowerError> {
        let fail = |text: String| Err(LowerError::Schedule(text));
        if self.specialised.is_some() {
            return self.check_specialised();
        }
        if !matches!(self.warps, 1 | 2 | 4 | 8 | 16) {
            return fail(format!("warps is {}, must be 1, 2, 4, 8 or 16", self.warps));
        }
        if self.rows == 0 || !self.rows.is_multiple_of(16 * self.warps) || self.rows > 512 {
            return fail(format!(
                "rows is {}, must be a multiple of 16 * warps = {} up to 512",
                self.rows,
                16 * self.warps
            ));
        }
        if self.cols == 0 || !self.cols.is_multiple_of(16) || self.cols > 512 {
            return fail(format!("cols is {}, must be a multiple of 16 up to 512", self.cols));
        }
        if self.stages == 0 || self.stages > 4 {
            return fail(format!("stages is {}, must be 1 to 4", self.stages));
        }
        if self.blocks_per_sm == 0 || self.blocks_per_sm > 16 {
            return fail(format!("blocks_per_sm is {}, must be 1 to 16", self.blocks_per_sm));
        }
        Ok(())
    }
}

impl Schedule {
    /// As [`Schedule::check`], for specialised programs.
    fn check_specialised(&self) -> Result<(), LowerError> {
        let fail = |text: String| Err(LowerError::Schedule(text));
        if !matches!(self.warps, 4 | 8 | 12) {
            return fail(format!(
                "warps is {}, must be 4, 8 or 12 (whole warpgroups) for a specialised program",
                self.warps
            ));
        }
        if self.rows != 16 * self.warps {
            return fail(format!(
                "rows is {}, must be 16 * warps = {} for a specialised program",
                self.rows,
                16 * self.warps
            ));
        }
        if self.cols == 0 || !self.cols.is_multiple_of(16) || self.cols > 256 {
            return fail(format!("cols is {}, must be a multiple of 16 up to 256", self.cols));
        }
        if self.stages < 2 || self.stages > 8 {
            return fail(format!(
                "stages is {}, must be 2 to 8 for a specialised program",
                self.stages
            ));
        }
        if self.blocks_per_sm == 0 || self.blocks_per_sm > 2 {
            return fail(format!(
                "blocks_per_sm is {}, must be 1 or 2 for a specialised program",
                self.blocks_per_sm
            ));
        }
        if self.left_in_registers {
            return fail("a specialised program reads its operands from shared memory".to_owned());
        }
        if self
            .specialised
            .is_some_and(|s| s.turns && !(s.overlap && self.warps > 4))
        {
            return fail("turns take overlap and several warpgroups".to_owned());
        }
        Ok(())
    }
}

/// Bytes of shared memory of a program. Specialised programs keep rows in blocks of 128 bytes, behind a page of barriers.
pub fn shared_bytes(program: &TileProgram) -> u64 {
    let size = |axis: crate::ir::AxisId| u64::from(program.axes[axis.index()].size);
    let specialised = program.roles != Roles::Uniform;
    let stage = |b: &crate::ir::Buffer| {
        let row = size(b.cols) * elem_bytes(b.elem);
        let row = if specialised { row.next_multiple_of(128) } else { row };
        let stage = size(b.rows) * row;
        if specialised {
            stage.next_multiple_of(1024)
        } else {
            stage
        }
    };
    let buffers: u64 = program.buffers.iter().map(|b| stage(b) * u64::from(b.stages)).sum();
    buffers + if specialised { 1024 } else { 0 }
}

/// Registers that a thread needs at the widest point of the program, besides addresses and operand fragments.
pub fn register_estimate(program: &TileProgram) -> u64 {
    crate::pressure::estimate(program)
}

/// Registers beside values that ptxas 13.0 usually takes: the median over the examples.
const USUAL_OTHER_REGISTERS: u64 = 66;

/// Registers of a thread that the assembler is expected to report: what every thread of a specialised program starts with; otherwise values and
/// the usual rest, within the thread's share of the multiprocessor.
pub fn expected_registers(program: &TileProgram, machine: &MachineModel) -> u64 {
    if program.roles != Roles::Uniform {
        return u64::from(start_registers(program.blocks_per_sm, (program.warps / 4).max(1)));
    }
    let threads = u64::from(program.threads() * program.blocks_per_sm.max(1));
    let share = machine.registers_per_sm / threads.max(1) / 8 * 8;
    (register_estimate(program) + USUAL_OTHER_REGISTERS).min(share.min(machine.registers_per_thread))
}

/// Registers for addresses of copies and fragments, fragments in flight and loop control. Calibrated on the examples: ptxas 13.0
/// spilled nothing up to 168 registers of values, and something in most programs from 176.
const REGISTER_MARGIN: u64 = 87;

/// Registers that walks with a carried state need beside [`REGISTER_MARGIN`]: two loops and what goes from row tile to row tile are alive together.
/// A program of 164 values spilled 32 bytes, and of 162 and 152 nothing.
const WALK_MARGIN: u64 = 12;

/// What a walk needs besides where tensors are not aligned to 16 bytes, whose tiles are copied in smaller units: a program of 149 values spilled 4 bytes.
const NARROW_WALK_MARGIN: u64 = 8;

/// Checks that `values` registers of a thread fit beside what the program needs besides; `walk`: it walks row tiles with a carried state.
pub(crate) fn registers_fit(
    program: &TileProgram,
    values: u64,
    machine: &MachineModel,
    walk: bool,
) -> Result<(), LowerError> {
    let (budget, margin) = match program.roles {
        Roles::Uniform => {
            let threads = u64::from(program.threads()) * u64::from(program.blocks_per_sm);
            let share = machine.registers_per_sm / threads.max(1);
            let narrow = program.tensors.iter().any(|t| t.align < 16);
            let margin = match (walk, narrow) {
                (false, _) => REGISTER_MARGIN,
                (true, false) => REGISTER_MARGIN + WALK_MARGIN,
                (true, true) => REGISTER_MARGIN + WALK_MARGIN + NARROW_WALK_MARGIN,
            };
            (share.min(machine.registers_per_thread), margin as i64)
        }
        Roles::Specialised { consumer_registers, .. } => {
            (u64::from(consumer_registers), consumer_margin(consumer_registers))
        }
    };
    let need = values.saturating_add_signed(margin);
    if need > budget {
        return Err(past("registers of a thread (estimate)", need, budget));
    }
    Ok(())
}

/// As [`REGISTER_MARGIN`], for consumers by their registers: programs of 220 values ran in 232 registers without a spill, and of 140 in 160.
fn consumer_margin(registers: u32) -> i64 {
    if registers >= 200 { 10 } else { 18 }
}

fn past(limit: &str, have: u64, most: u64) -> LowerError {
    LowerError::Limit {
        limit: limit.to_owned(),
        have,
        most,
    }
}

/// Checks shared memory alone, as [`validate`] does.
pub(crate) fn shared_fits(program: &TileProgram, machine: &MachineModel) -> Result<(), LowerError> {
    let shared = shared_bytes(program);
    if shared > machine.shared_per_block {
        return Err(past(
            "shared memory of a block in bytes",
            shared,
            machine.shared_per_block,
        ));
    }
    let blocks = u64::from(program.blocks_per_sm);
    let together = (shared + machine.shared_reserved) * blocks;
    if together > machine.shared_per_sm {
        return Err(past(
            &format!("shared memory of {blocks} blocks in bytes"),
            together,
            machine.shared_per_sm,
        ));
    }
    Ok(())
}

/// Checks a lowered program against the machine.
///
/// # Errors
/// Names the limit that is passed, with the numbers.
pub fn validate(program: &TileProgram, machine: &MachineModel) -> Result<(), LowerError> {
    validate_as(program, machine, false)
}

/// [`validate`], for walks over row tiles as well.
pub(crate) fn validate_as(program: &TileProgram, machine: &MachineModel, walk: bool) -> Result<(), LowerError> {
    if program.roles != Roles::Uniform && !machine.specialises {
        return Err(LowerError::Schedule(format!(
            "{} has no specialised programs",
            machine.name
        )));
    }
    shared_fits(program, machine)?;
    let blocks = u64::from(program.blocks_per_sm);
    let limit = |limit: &str, have: u64, most: u64| Err(past(limit, have, most));
    let threads = u64::from(program.threads()) * blocks;
    if threads > machine.threads_per_sm {
        return limit(&format!("threads of {blocks} blocks"), threads, machine.threads_per_sm);
    }
    registers_fit(program, register_estimate(program), machine, walk)
}
