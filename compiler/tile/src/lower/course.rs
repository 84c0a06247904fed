//! Which tiles the steps of a loop visit.
//!
//! One live range is visited tile by tile: the step is the tile. Several ranges (sink tokens and a window) are one loop too, over steps
//! `0, 1, ..` that count the tiles of all ranges: so stages and counts follow the steps, the pipeline runs on from range to range, and each of
//! the loop's parts has one body. A range begins behind the tiles of the ranges before it, so that no tile is visited twice.
//! The parts are the tiles with tests and the tiles without, each part over all ranges; where the order of the points matters, the parts
//! follow one another as the tiles do.

use super::Lowerer;
use crate::ir::ValueId;
use einloom_cascade::expr::MapOp;

/// Name of the part that is the first tile.
pub(crate) const FIRST: &str = "first";

/// Tiles `lo..hi` of a live range, of which `full` need no tests. Never `hi < lo`, unless it is the only range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles {
    pub(crate) lo: ValueId,
    pub(crate) hi: ValueId,
    pub(crate) full: Option<(ValueId, ValueId)>,
}

/// Step `s` visits tile `s + offset` for the last `(first step, offset)` that begins at or before `s`; without any, tile `s`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course(Vec<(ValueId, ValueId)>);

/// A part of a loop, over steps `lo..hi`.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) lo: ValueId,
    pub(crate) hi: ValueId,
    pub(crate) tested: bool,
    pub(crate) label: &'static str,
    pub(crate) course: Course,
    /// Of a tested part: where its steps need the tests; everywhere if `None`.
    pub(crate) tests: Option<ValueId>,
}

/// All steps of a loop, and its parts in order.
#[derive(Clone, Debug)]
pub(crate) struct Visits {
    pub(crate) lo: ValueId,
    pub(crate) hi: ValueId,
    pub(crate) course: Course,
    pub(crate) parts: Vec<Part>,
}

/// Tiles from the first to before the second, and whether they are tested.
type Stretch = (ValueId, ValueId, bool);

impl Lowerer<'_> {
    /// The tile of a step.
    pub(crate) fn tile_at(&mut self, course: &Course, step: ValueId) -> ValueId {
        let Some((&(_, first), rest)) = course.0.split_first() else {
            return step;
        };
        let mut offset = first;
        for &(start, next) in rest {
            let reached = self.b.map(MapOp::Le, &[start, step]);
            offset = self.b.select(reached, next, offset);
        }
        self.b.add(step, offset)
    }

    /// The loop over the tiles of live ranges in ascending order; `ordered`: points must be absorbed in order.
    pub(crate) fn visits(&mut self, ranges: &[Tiles], ordered: bool) -> Visits {
        if let [only] = ranges {
            return only.visits();
        }
        let mut stretches: Vec<Stretch> = ranges.iter().flat_map(Tiles::stretches).collect();
        if !ordered {
            // Stable: the tested stretches first, ascending, then the others.
            stretches.sort_by_key(|(_, _, tested)| !tested);
        }
        let mut end = self.b.int(0);
        let lo = end;
        let mut all = Course::default();
        let mut parts: Vec<Part> = Vec::new();
        for (first, behind, tested) in stretches {
            let offset = self.b.map(MapOp::Sub, &[first, end]);
            let length = self.b.map(MapOp::Sub, &[behind, first]);
            let start = end;
            end = self.b.add(end, length);
            all.0.push((start, offset));
            match parts.last_mut() {
                Some(part) if part.tested == tested => {
                    part.hi = end;
                    part.course.0.push((start, offset));
                }
                _ => parts.push(Part {
                    lo: start,
                    hi: end,
                    tested,
                    label: if tested { "tested" } else { "full" },
                    course: Course(vec![(start, offset)]),
                    tests: None,
                }),
            }
        }
        Visits {
            lo,
            hi: end,
            course: all,
            parts,
        }
    }

    /// The visits with the first step as a part of its own: overlapped loops begin with it. Where there are tiles with tests and tiles without,
    /// it has the tests, and skips them if its tile is one without. `padded`: tiles without tests test the columns that pad them, too, so nothing is skipped.
    pub(crate) fn first_apart(&mut self, visits: &mut Visits, padded: bool) {
        let second = self.b.add_int(visits.lo, 1);
        let end = self.b.map(MapOp::Min, &[second, visits.hi]);
        let tested = visits.parts.iter().any(|p| p.tested);
        let full = visits.parts.iter().find(|p| !p.tested).map(|p| (p.lo, p.hi));
        let tests = full.filter(|_| tested && !padded).map(|(from, to)| {
            let behind_from = self.b.map(MapOp::Le, &[from, visits.lo]);
            let before_to = self.b.map(MapOp::Lt, &[visits.lo, to]);
            let full = self.b.map(MapOp::And, &[behind_from, before_to]);
            self.b.map(MapOp::Not, &[full])
        });
        let first = Part {
            lo: visits.lo,
            hi: end,
            tested,
            label: FIRST,
            course: visits.course.clone(),
            tests,
        };
        for part in &mut visits.parts {
            part.lo = self.b.map(MapOp::Max, &[part.lo, second]);
        }
        visits.parts.insert(0, first);
    }
}

impl Tiles {
    /// Stretches in order.
    fn stretches(&self) -> Vec<Stretch> {
        let Some((from, to)) = self.full else {
            return vec![(self.lo, self.hi, true)];
        };
        let mut list = Vec::new();
        if from != self.lo {
            list.push((self.lo, from, true));
        }
        list.push((from, to, false));
        if to != self.hi {
            list.push((to, self.hi, true));
        }
        list
    }

    /// The visits of the only range.
    pub(crate) fn visits(&self) -> Visits {
        let label = |at: usize, tested: bool| match (self.full, tested) {
            (None, _) => "tested",
            (_, false) => "full",
            _ if at == 0 => "head",
            _ => "tail",
        };
        let stretches = self.stretches();
        let part = |(at, (lo, hi, tested)): (usize, Stretch)| Part {
            lo,
            hi,
            tested,
            label: label(at, tested),
            course: Course::default(),
            tests: None,
        };
        Visits {
            lo: self.lo,
            hi: self.hi,
            course: Course::default(),
            parts: stretches.into_iter().enumerate().map(part).collect(),
        }
    }
}
