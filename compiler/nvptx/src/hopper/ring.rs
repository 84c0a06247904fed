//! Rings: two barriers in shared memory for each stage.
//!
//! The barriers lie at the start of shared memory, 16 bytes for each stage: *full* (completed by the producer's copies), then *empty* (completed by
//! an arrival of each consumer warp). The n-th tile is round `n / stages` of its stage; consumers wait for the phase of that round, the
//! producer for the round before, which a fresh barrier passes.

use crate::cx::Effect;
use crate::error::{Res, invalid};
use crate::kernel::Kernel;
use crate::shared::BLOCK_ALIGN;
use einloom_tile::ir::{BufferId, DotKind, FillSource, Op, Operand, Roles, Stmt, TileProgram, ValueId};
use inkwell::values::IntValue;

/// Bytes of a stage's barriers.
pub(crate) const STAGE_BARRIERS: u32 = 16;

/// From a stage's full to its empty barrier.
pub(crate) const EMPTY: u32 = 8;

/// Threads of the producer.
pub(crate) const PRODUCERS: u32 = 128;

/// Place of a buffer's barriers from the start of shared memory.
pub(crate) fn barrier_offset(program: &TileProgram, buffer: BufferId) -> u32 {
    let before = program.buffers.iter().take(buffer.index()).filter(|b| b.ring);
    before.map(|b| b.stages * STAGE_BARRIERS).sum()
}

/// Shared memory in front of the buffers.
pub(crate) fn barrier_bytes(program: &TileProgram) -> u64 {
    if program.roles == Roles::Uniform {
        return 0;
    }
    let stages: u64 = program
        .buffers
        .iter()
        .filter(|b| b.ring)
        .map(|b| u64::from(b.stages))
        .sum();
    (stages * u64::from(STAGE_BARRIERS)).next_multiple_of(u64::from(BLOCK_ALIGN))
}

/// How the fills of a ring move data.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SourceKinds {
    pub(crate) boxes: bool,
    pub(crate) rows: bool,
}

/// For each buffer.
pub(crate) fn source_kinds(program: &TileProgram) -> Vec<SourceKinds> {
    let mut res = vec![SourceKinds::default(); program.buffers.len()];
    each(&program.body, &mut |stmt| {
        if let Stmt::Fill { buffer, source, .. } = stmt
            && let Some(kinds) = res.get_mut(buffer.index())
        {
            match source {
                FillSource::Box { .. } => kinds.boxes = true,
                FillSource::Rows { .. } => kinds.rows = true,
            }
        }
    });
    res
}

/// Whether dots of a kind read a buffer.
pub(crate) fn read_by(program: &TileProgram, buffer: BufferId, by: DotKind) -> bool {
    let mut res = false;
    each(&program.body, &mut |stmt| {
        if let Stmt::Let(_, Op::Dot { left, right, kind, .. }) = stmt {
            let reads = |o: &Operand| matches!(o, Operand::Shared(b, _) if *b == buffer);
            res |= *kind == by && (reads(left) || reads(right));
        }
    });
    res
}

/// Visits all statements.
pub(crate) fn each(body: &[Stmt], visit: &mut impl FnMut(&Stmt)) {
    for stmt in body {
        visit(stmt);
        if let Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } = stmt {
            each(body, visit);
        }
    }
}

/// Where a tile of a ring lies.
pub(crate) struct Place<'c> {
    /// Shared address of the stage's first byte.
    pub(crate) base: IntValue<'c>,
    /// Shared address of its full barrier; the empty one stands [`EMPTY`] behind.
    pub(crate) barriers: IntValue<'c>,
    /// Phase of the full barrier that the tile completes.
    pub(crate) parity: IntValue<'c>,
}

impl<'c> Kernel<'_, 'c> {
    /// Place of tile `count`. Counts are not negative, so that plain unsigned division divides them.
    pub(crate) fn place(&self, buffer: BufferId, count: ValueId) -> Res<Place<'c>> {
        let cx = &self.cx;
        let Some(declared) = self.program.buffers.get(buffer.index()).filter(|b| b.ring) else {
            return invalid("a tile of something that is no ring");
        };
        let count = cx.resize(self.scalar_int(count)?, cx.i32t());
        let stages = declared.stages;
        let (stage, round) = match stages {
            1 => (cx.i32(0), count),
            n if n.is_power_of_two() => (
                cx.iand(count, cx.i32(i64::from(n) - 1)),
                cx.lshr(count, cx.i32(i64::from(n.trailing_zeros()))),
            ),
            n => (
                cx.urem(count, cx.i32(i64::from(n))),
                cx.udiv(count, cx.i32(i64::from(n))),
            ),
        };
        let layout = self.layouts[buffer.index()];
        let at = |first: u32, each: u32| {
            let start = cx.iadd(self.smem, cx.i32(i64::from(first)));
            cx.iadd(start, cx.imul(stage, cx.i32(i64::from(each))))
        };
        Ok(Place {
            base: at(layout.offset, layout.stage_bytes),
            barriers: at(barrier_offset(self.program, buffer), STAGE_BARRIERS),
            parity: cx.iand(round, cx.i32(1)),
        })
    }

    /// Emits [`Stmt::Await`].
    pub(crate) fn await_tile(&mut self, buffer: BufferId, count: ValueId) -> Res<()> {
        let place = self.place(buffer, count)?;
        self.barrier_wait(place.barriers, 0, place.parity);
        let kinds = source_kinds(self.program)[buffer.index()];
        if kinds.rows && read_by(self.program, buffer, DotKind::Matrix) {
            // Copies of rows write through the generic proxy, the matrix unit reads through the asynchronous one.
            self.proxy_fence();
        }
        Ok(())
    }

    /// Emits [`Stmt::Release`].
    pub(crate) fn release(&mut self, buffer: BufferId, count: ValueId) -> Res<()> {
        let place = self.place(buffer, count)?;
        if read_by(self.program, buffer, DotKind::Scalar) {
            // Lanes read on their own; one of them tells for all.
            self.cx.asm("bar.warp.sync 0xffffffff;", "", &[], Effect::Convergent);
        }
        // Any lane may tell; to ask the hardware for one takes no register, as lane numbers would through the whole kernel.
        let text = format!(
            "{{\n.reg .pred one;\nelect.sync _|one, 0xffffffff;\n@one mbarrier.arrive.shared::cta.b64 _, [$0+{EMPTY}];\n}}"
        );
        self.cx.asm(&text, "r", &[place.barriers.into()], Effect::Convergent);
        Ok(())
    }
}
