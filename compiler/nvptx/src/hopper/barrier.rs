//! Barriers: those of rings in shared memory, that of the consumers, and fences between proxies.

use crate::cx::Effect;
use crate::error::Res;
use crate::hopper::ring::{EMPTY, PRODUCERS, STAGE_BARRIERS, barrier_offset, source_kinds};
use crate::kernel::Kernel;
use einloom_tile::ir::BufferId;
use inkwell::IntPredicate;
use inkwell::values::IntValue;

/// Number of the consumers' barrier; 0 is that of the whole block.
const CONSUMERS: u32 = 1;

/// Number of the first warpgroup's barrier of turns; the others' follow.
const TURNS: i64 = 2;

/// Threads of a warpgroup.
const WARPGROUP_THREADS: u32 = 128;

impl<'c> Kernel<'_, 'c> {
    /// Initialises the barriers of all rings by one thread, and makes them known to all threads and to copies.
    pub(crate) fn init_barriers(&self) {
        let cx = &self.cx;
        let mut text = String::new();
        for (i, (buffer, kinds)) in self.program.buffers.iter().zip(source_kinds(self.program)).enumerate() {
            if !buffer.ring {
                continue;
            }
            // Box copies complete with one arrival of the thread that starts them, copied rows with one of each thread.
            let full = if kinds.rows { PRODUCERS } else { 1 };
            let first = barrier_offset(self.program, BufferId(i as u32));
            for stage in 0..buffer.stages {
                let at = first + stage * STAGE_BARRIERS;
                for (offset, count) in [(at, full), (at + EMPTY, self.program.warps)] {
                    text.push_str(&format!("@$1 mbarrier.init.shared::cta.b64 [$0+{offset}], {count};\n"));
                }
            }
        }
        if !text.is_empty() {
            let first = cx.icmp(inkwell::IntPredicate::EQ, self.lanes.thread, cx.i32(0));
            let args = [self.smem.into(), first.into()];
            cx.asm(text.trim_end(), "r,b", &args, Effect::Memory);
        }
        cx.asm("fence.mbarrier_init.release.cluster;", "", &[], Effect::Memory);
        cx.asm("bar.sync 0;", "", &[], Effect::Convergent);
    }

    /// Waits until the phase of a barrier with this parity is complete. A loop in one statement: LLVM sees straight code.
    pub(crate) fn barrier_wait(&self, barrier: IntValue<'c>, offset: u32, parity: IntValue<'c>) {
        let text = format!(
            "{{\n.reg .pred done;\nLW_${{:uid}}:\nmbarrier.try_wait.parity.shared::cta.b64 done, [$0+{offset}], $1;\n\
             @done bra.uni LD_${{:uid}};\nbra.uni LW_${{:uid}};\nLD_${{:uid}}:\n}}"
        );
        let args = [barrier.into(), parity.into()];
        self.cx.asm(&text, "r,r", &args, Effect::Convergent);
    }

    /// Orders what this thread wrote or saw written before what the matrix unit reads.
    pub(crate) fn proxy_fence(&self) {
        self.cx.asm("fence.proxy.async.shared::cta;", "", &[], Effect::Memory);
    }

    /// Barrier of the consumers; their stores to shared memory become visible to the matrix unit.
    pub(crate) fn consumer_barrier(&self) {
        self.proxy_fence();
        let text = format!("bar.sync {CONSUMERS}, {};", 32 * self.program.warps);
        self.cx.asm(&text, "", &[], Effect::Convergent);
    }

    /// Number of this thread's warpgroup. Each has a named barrier, at which it waits until the one before it passes the turn.
    fn warpgroup(&self) -> IntValue<'c> {
        self.cx.lshr(self.lanes.warp, self.cx.i32(2))
    }

    /// The first turn is the first warpgroup's: the last one passes before it takes any.
    pub(crate) fn begin_turns(&self) {
        let last = self.cx.i32(i64::from(self.program.warps / 4) - 1);
        let passes = self.cx.icmp(IntPredicate::EQ, self.warpgroup(), last);
        let text = format!("@$0 bar.arrive {TURNS}, {};", 2 * WARPGROUP_THREADS);
        self.cx.asm(&text, "b", &[passes.into()], Effect::Convergent);
    }

    pub(crate) fn take_turn(&mut self) -> Res<()> {
        let id = self.cx.iadd(self.warpgroup(), self.cx.i32(TURNS));
        let text = format!("bar.sync $0, {};", 2 * WARPGROUP_THREADS);
        self.cx.asm(&text, "r", &[id.into()], Effect::Convergent);
        Ok(())
    }

    pub(crate) fn pass_turn(&mut self) -> Res<()> {
        let next = self.cx.iadd(self.warpgroup(), self.cx.i32(1));
        let all = self.cx.i32(i64::from(self.program.warps / 4));
        let around = self.cx.icmp(IntPredicate::EQ, next, all);
        let next = self.cx.iselect(around, self.cx.i32(0), next);
        let id = self.cx.iadd(next, self.cx.i32(TURNS));
        let text = format!("bar.arrive $0, {};", 2 * WARPGROUP_THREADS);
        self.cx.asm(&text, "r", &[id.into()], Effect::Convergent);
        Ok(())
    }
}
