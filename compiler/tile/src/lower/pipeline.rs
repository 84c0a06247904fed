//! The software pipeline of a sweep.
//!
//! With `s` stages, `s - 1` tiles of every streamed operand are on their way before the first iteration. Iteration `j`
//! waits for its own tile, passes a barrier (all threads see the tile, and all are done with that of `j - 1`), starts the copies
//! for iteration `j + s - 1` into the stage of iteration `j - 1`, and computes. A group is committed in every iteration, empty at the
//! end, so that the number of open groups is the same everywhere and the parts of the loop share one pipeline. With one
//! stage a tile is copied and waited for in its own iteration.

use super::Lowerer;
use super::builder::scalar;
use super::course::{Course, Visits};
use super::sweep::for_loop;
use crate::ir::{BufferId, Elem, LoopValue, Stmt, ValueId};
use einloom_cascade::expr::MapOp;
use std::collections::BTreeMap;

/// A part of a sweep's loop before the pipeline is put in.
pub(crate) struct Draft {
    /// The loop's variable.
    pub(crate) step: ValueId,
    pub(crate) course: Course,
    pub(crate) lo: ValueId,
    pub(crate) hi: ValueId,
    pub(crate) carried: Vec<LoopValue>,
    pub(crate) body: Vec<Stmt>,
    /// The body writes shared memory itself.
    pub(crate) barriers: bool,
    /// Stages of streamed rings that the body reads.
    pub(crate) stages: BTreeMap<BufferId, ValueId>,
    pub(crate) label: String,
}

impl Lowerer<'_> {
    /// Puts the parts of a loop behind one another.
    pub(crate) fn assemble(&mut self, drafts: Vec<Draft>, visits: &Visits) {
        let streams = !self.operands.stream.is_empty();
        let ahead = i64::from(self.schedule.stages) - 1;
        if streams && ahead > 0 {
            for step in 0..ahead {
                let step = self.b.add_int(visits.lo, step);
                self.copies_of(step, visits);
                self.b.push(Stmt::Commit);
            }
            self.operands.pending = false;
        } else {
            self.settle();
        }
        for mut draft in drafts {
            let mut body = self.top_of_body(&draft, visits, streams, ahead);
            body.append(&mut draft.body);
            self.b.push(for_loop(draft, body));
        }
        if streams && ahead > 0 {
            self.b.push(Stmt::Wait(0));
        }
        if streams || self.operands.body_stores {
            self.b.push(Stmt::Barrier);
        }
        self.operands.stale = false;
    }

    fn top_of_body(&mut self, draft: &Draft, visits: &Visits, streams: bool, ahead: i64) -> Vec<Stmt> {
        self.b.open();
        // Loop values belong to this scope too: make the step known here.
        let step = draft.step;
        if streams && ahead > 0 {
            self.b.push(Stmt::Wait(ahead as u32 - 1));
            self.b.push(Stmt::Barrier);
            let next = self.b.add_int(step, ahead);
            self.copies_of(next, visits);
            self.b.push(Stmt::Commit);
        } else if streams {
            self.b.push(Stmt::Barrier);
            let tile = self.tile_at(&draft.course, step);
            for copy in self.operands.stream.clone() {
                self.b.push(copy.issue(tile, None));
            }
            self.b.push(Stmt::Commit);
            self.b.push(Stmt::Wait(0));
            self.b.push(Stmt::Barrier);
        } else if draft.barriers {
            self.b.push(Stmt::Barrier);
        }
        self.b.close()
    }

    /// Starts all streamed copies of a step's tile if there is such a step.
    fn copies_of(&mut self, step: ValueId, visits: &Visits) {
        let cond = self.b.map(MapOp::Lt, &[step, visits.hi]);
        self.b.open();
        let stages = self.b.int(i64::from(self.schedule.stages));
        let ty = scalar(Elem::I32);
        let depth = self.b.depth();
        let stage = self.b.emit_at(
            depth,
            crate::ir::Op::Math(crate::ir::Math::Map(MapOp::IMod), vec![step, stages]),
            ty,
        );
        let tile = self.tile_at(&visits.course, step);
        for copy in self.operands.stream.clone() {
            self.b.push(copy.issue(tile, Some(stage)));
        }
        let body = self.b.close();
        self.b.push(Stmt::If { cond, body });
    }
}
