//! Sweeps of specialised programs: rings instead of copies and waits.
//!
//! A tile of the stream is one fill of every streamed ring, in program order at the top of its iteration. The n-th iteration of a block's life fills and reads count n:
//! `count = base + step - first step`, the base being the iterations of all sweeps before. Resident operands are rings that are filled once.
//! Waits and releases are put in afterwards, by [`super::synchronise`]; the loops may be overlapped before, by [`super::overlap`].

use super::Lowerer;
use super::arrange::{arrange, turn};
use super::builder::scalar;
use super::course::Visits;
use super::error::{LowerError, Result};
use super::index::at_tile;
use super::operand::StreamCopy;
use super::overlap::{self, Previous};
use super::pipeline::Draft;
use super::sweep::for_loop;
use super::synchronise::{Counts, Tile};
use crate::ir::{BufferId, Course, Elem, FillSource, Ix, Math, Op, Stmt, TensorId, TensorMap, ValueId};
use einloom_cascade::expr::MapOp;
use std::collections::BTreeMap;

/// The life of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    /// Tiles before this grid point: 0, or carried by a persistent program.
    pub(crate) start: ValueId,
    /// Tiles filled up to here.
    pub(crate) filled: ValueId,
}

/// Rings, and the counts that stand behind stages.
#[derive(Default)]
pub(crate) struct Rings {
    pub(crate) rings: BTreeMap<BufferId, Ring>,
    /// Stages of the body at hand, defined when its loop is assembled.
    pub(crate) stages: BTreeMap<BufferId, ValueId>,
    /// Stages of resident operands.
    pub(crate) filled_once: BTreeMap<BufferId, ValueId>,
    /// The tile of every stage value.
    pub(crate) counts: Counts,
}

/// How the lanes of a copy move through the tensor, if one box does it: coefficient of `Lane`.
fn lane_step(ix: &Ix) -> Option<i64> {
    match ix {
        Ix::Const(_) | Ix::Value(_) => Some(0),
        Ix::Lane => Some(1),
        Ix::Map(op, args) => {
            let steps = args.iter().map(lane_step).collect::<Option<Vec<_>>>()?;
            match (op, steps.as_slice(), args.as_slice()) {
                (_, steps, _) if steps.iter().all(|&s| s == 0) => Some(0),
                (MapOp::Add, [a, b], _) => Some(a + b),
                (MapOp::Sub, [a, b], _) => Some(a - b),
                (MapOp::Mul, [a, _], [_, Ix::Const(n)]) => Some(a * n),
                (MapOp::Mul, [_, b], [Ix::Const(n), _]) => Some(b * n),
                _ => None,
            }
        }
        Ix::Gather(_, args) => args.iter().all(|a| lane_step(a) == Some(0)).then_some(0),
    }
}

fn at_lane_zero(ix: &Ix) -> Ix {
    match ix {
        Ix::Lane => Ix::Const(0),
        Ix::Map(op, args) => super::index::ix_list(*op, args.iter().map(at_lane_zero).collect()),
        other => other.clone(),
    }
}

/// The dimension that the rows of a box run along: `None` if a copy is no box, `Some(None)` if all rows are one.
pub(crate) fn row_dimension(index: &[Ix]) -> Option<Option<usize>> {
    let mut row = None;
    for (at, ix) in index.iter().enumerate() {
        match lane_step(ix)? {
            0 => {}
            1 if row.is_none() => row = Some(at),
            _ => return None,
        }
    }
    Some(row)
}

impl Lowerer<'_> {
    /// A scalar of the kernel's outermost scope that a persistent program replaces by a carried one.
    fn ring_start(&mut self) -> ValueId {
        let start = self.b.fresh_at(0, scalar(Elem::I32));
        self.b.push_at(0, Stmt::Let(start, Op::Int(0)));
        start
    }

    /// Stage of a streamed ring in the body at hand.
    pub(crate) fn ring_stage(&mut self, buffer: BufferId) -> ValueId {
        if let Some(&stage) = self.rings.stages.get(&buffer) {
            return stage;
        }
        let stage = self.b.fresh(scalar(Elem::I32));
        self.rings.stages.insert(buffer, stage);
        stage
    }

    /// Makes a ring of a buffer, unless it is one.
    fn ring(&mut self, buffer: BufferId) -> Ring {
        if let Some(&ring) = self.rings.rings.get(&buffer) {
            return ring;
        }
        let start = self.ring_start();
        self.b.program.buffers[buffer.index()].ring = true;
        let ring = Ring { start, filled: start };
        self.rings.rings.insert(buffer, ring);
        ring
    }

    /// The source of a copy by the producer.
    fn fill_source(&mut self, copy: &StreamCopy, tile: ValueId) -> Result<FillSource> {
        let index: Vec<Ix> = copy.index.iter().map(|i| at_tile(i, tile)).collect();
        let col0 = at_tile(&copy.col0, tile);
        let Some(row_dim) = copy.row_dim else {
            let name = &self.b.program.tensors[copy.tensor.index()].name;
            return Err(LowerError::Schedule(format!(
                "tiles of `{name}` are no boxes of the tensor, and a specialised program copies boxes only"
            )));
        };
        let rows = self.b.axis_size(self.b.program.buffers[copy.buffer.index()].rows);
        let map = self.tensor_map(copy.tensor, row_dim, rows);
        let index = index.iter().map(at_lane_zero).collect();
        Ok(FillSource::Box { map, index, col0 })
    }

    fn tensor_map(&mut self, tensor: TensorId, row_dim: Option<usize>, rows: u32) -> usize {
        let boxes = rows.div_ceil(256);
        let map = TensorMap {
            tensor,
            row_dim,
            rows: rows / boxes,
        };
        let maps = &mut self.b.program.maps;
        match maps.iter().position(|m| *m == map) {
            Some(at) => at,
            None => {
                maps.push(map);
                maps.len() - 1
            }
        }
    }

    /// Fills a resident operand once; its stage.
    pub(crate) fn fill_resident(&mut self, copy: &StreamCopy) -> Result<ValueId> {
        let ring = self.ring(copy.buffer);
        let count = ring.start;
        let source = self.fill_source(copy, super::context::TILE)?;
        self.b.push_at(
            0,
            Stmt::Fill {
                buffer: copy.buffer,
                count,
                source,
            },
        );
        let stage = self.stage_value(0, copy.buffer, count);
        let filled = self.b.add_int(count, 1);
        self.rings.rings.insert(copy.buffer, Ring { filled, ..ring });
        self.rings.filled_once.insert(copy.buffer, stage);
        Ok(stage)
    }

    /// `count % stages` as a value of its own.
    fn stage_value(&mut self, depth: usize, buffer: BufferId, count: ValueId) -> ValueId {
        let stage = self.b.fresh_at(depth, scalar(Elem::I32));
        self.define_stage(depth, buffer, count, stage);
        stage
    }

    fn define_stage(&mut self, depth: usize, buffer: BufferId, count: ValueId, stage: ValueId) {
        let stages = self.b.program.buffers[buffer.index()].stages;
        let stages = self.b.int(i64::from(stages));
        self.b.push_at(
            depth,
            Stmt::Let(stage, Op::Math(Math::Map(MapOp::IMod), vec![count, stages])),
        );
        self.rings.counts.insert(stage, Tile { buffer, count });
    }

    /// Puts the parts of a loop over steps `lo..hi` behind one another (as [`Lowerer::assemble`] does for uniform programs).
    pub(crate) fn assemble_rings(&mut self, drafts: Vec<Draft>, visits: &Visits) -> Result<()> {
        let (lo, hi) = (visits.lo, visits.hi);
        let loops = drafts.iter().map(|d| d.step).collect();
        self.b.program.courses.push(Course { loops, lo, hi });
        let copies = self.operands.stream.clone();
        for copy in &copies {
            self.ring(copy.buffer);
        }
        self.settle();
        let stores = drafts.iter().any(|d| d.barriers);
        let overlapped = if self.overlaps() {
            overlap::deferred(&drafts, &self.b.program)
        } else {
            None
        };
        let Some(deferred) = overlapped else {
            for draft in drafts {
                self.loop_of(draft, &copies, visits, None)?;
            }
            return self.after_loops(&copies, lo, hi, stores);
        };
        let mut previous: Option<Previous> = None;
        for mut draft in drafts {
            let pending = self.defer(&mut draft, &deferred, previous.take())?;
            previous = Some(pending.after.clone());
            self.loop_of(draft, &copies, visits, Some(pending))?;
        }
        if let Some(previous) = previous {
            self.last_dots(previous, lo, hi)?;
        }
        self.after_loops(&copies, lo, hi, stores)
    }

    /// Whether loops are overlapped.
    pub(crate) fn overlaps(&self) -> bool {
        self.schedule.specialised.is_some_and(|s| s.overlap)
    }

    fn after_loops(&mut self, copies: &[StreamCopy], lo: ValueId, hi: ValueId, stores: bool) -> Result<()> {
        if stores {
            self.b.push(Stmt::Barrier);
        }
        let zero = self.b.int(0);
        let trips = self.b.map(MapOp::Sub, &[hi, lo]);
        let trips = self.b.map(MapOp::Max, &[trips, zero]);
        for copy in copies {
            let ring = self.ring(copy.buffer);
            let filled = self.b.map(MapOp::Add, &[ring.filled, trips]);
            self.rings.rings.insert(copy.buffer, Ring { filled, ..ring });
        }
        self.operands.stale = false;
        Ok(())
    }

    /// One loop: fills first, then the body.
    fn loop_of(
        &mut self,
        draft: Draft,
        copies: &[StreamCopy],
        visits: &Visits,
        pending: Option<overlap::Pending>,
    ) -> Result<()> {
        self.b.open();
        let depth = self.b.depth();
        if draft.barriers {
            self.b.push(Stmt::Barrier);
        }
        let step = self.b.map(MapOp::Sub, &[draft.step, visits.lo]);
        // As in all other parts, so that the producer may have one loop for all.
        let tile = self.tile_at(&visits.course, draft.step);
        for copy in copies {
            let ring = self.ring(copy.buffer);
            let count = self.b.map(MapOp::Add, &[ring.filled, step]);
            match draft.stages.get(&copy.buffer) {
                Some(&stage) => self.define_stage(depth, copy.buffer, count, stage),
                None => {
                    return Err(LowerError::Schedule(
                        "a part of the loop does not read a streamed operand".to_owned(),
                    ));
                }
            }
            let source = self.fill_source(copy, tile)?;
            let buffer = copy.buffer;
            self.b.push(Stmt::Fill { buffer, count, source });
        }
        let mut draft = draft;
        let turns = self.schedule.specialised.is_some_and(|s| s.turns);
        if let Some(pending) = pending {
            let one = self.b.int(1);
            for (&buffer, &stage) in &pending.stages {
                let ring = self.ring(buffer);
                let count = self.b.map(MapOp::Add, &[ring.filled, step]);
                let count = self.b.map(MapOp::Sub, &[count, one]);
                self.define_stage(depth, buffer, count, stage);
            }
            let turns = turns.then(|| turn(&self.b.program, &draft.body, &pending.dots));
            draft.body = arrange(std::mem::take(&mut draft.body), &pending, turns);
        }
        let mut body = self.b.close();
        body.append(&mut draft.body);
        self.b.push(for_loop(draft, body));
        Ok(())
    }

    /// The deferred dots of the last tile, if there was one.
    fn last_dots(&mut self, previous: Previous, lo: ValueId, hi: ValueId) -> Result<()> {
        let next = self.b.add_int(lo, 1);
        let end = self.b.map(MapOp::Min, &[next, hi]);
        let one = self.b.int(1);
        let last = self.b.map(MapOp::Sub, &[hi, lo]);
        let last = self.b.map(MapOp::Sub, &[last, one]);
        self.b.open();
        let depth = self.b.depth();
        let tile = self.b.fresh(scalar(Elem::I32));
        let (carried, stages, dots) = self.final_dots(previous);
        for (&buffer, &stage) in &stages {
            let ring = self.ring(buffer);
            // Defined in the loop, so that the wait and the release lie there.
            let count = self.b.fresh(scalar(Elem::I32));
            let sum = Op::Math(Math::Map(MapOp::Add), vec![ring.filled, last]);
            self.b.push(Stmt::Let(count, sum));
            self.define_stage(depth, buffer, count, stage);
        }
        dots.into_iter().for_each(|dot| self.b.push(dot));
        let body = self.b.close();
        self.b.push(Stmt::For {
            var: tile,
            lo,
            hi: end,
            carried,
            body,
            label: "last dots".to_owned(),
        });
        Ok(())
    }
}
