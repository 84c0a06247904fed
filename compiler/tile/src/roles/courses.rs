//! One loop for the producer where the consumers have several.
//!
//! The parts of a loop ([`Course`]) differ in what is computed on a tile, while tiles are copied alike. Where the producer's slices of all parts are the same
//! but for names, they are one loop over all steps.

use crate::ir::{Course, FillSource, Ix, Op, Stmt, Type, ValueId};
use crate::lower::arguments;
use std::collections::BTreeMap;

/// Joins the parts of courses in a producer's slice.
pub(super) fn join(body: &mut Vec<Stmt>, courses: &[Course], types: &[Type]) {
    for course in courses {
        join_one(body, course, types);
    }
    for stmt in body {
        if let Stmt::For { body, .. } | Stmt::If { body, .. } = stmt {
            join(body, courses, types);
        }
    }
}

fn join_one(body: &mut Vec<Stmt>, course: &Course, types: &[Type]) {
    let part = |s: &Stmt| matches!(s, Stmt::For { var, .. } if course.loops.contains(var));
    let parts: Vec<usize> = (0..body.len()).filter(|&at| part(&body[at])).collect();
    let [first, rest @ ..] = parts.as_slice() else { return };
    // A part that is not here copies nothing, which the others do.
    if parts.len() != course.loops.len() || !rest.iter().all(|&at| alike(&body[*first], &body[at], types)) {
        return;
    }
    // What is copied between the parts stays between them.
    let scalars = |&at: &usize| part(&body[at]) || matches!(body[at], Stmt::Let(..));
    let last = rest.last().map_or(*first, |at| *at);
    if !(*first..=last).all(|at| scalars(&at)) {
        return;
    }
    for &at in rest.iter().rev() {
        body.remove(at);
    }
    if let Stmt::For { lo, hi, .. } = &mut body[*first] {
        (*lo, *hi) = (course.lo, course.hi);
    }
}

/// Whether two loops that carry nothing do the same in every iteration.
fn alike(a: &Stmt, b: &Stmt, types: &[Type]) -> bool {
    let (
        Stmt::For {
            var: x,
            carried: c,
            body: a,
            ..
        },
        Stmt::For {
            var: y,
            carried: d,
            body: b,
            ..
        },
    ) = (a, b)
    else {
        return false;
    };
    let mut names = Names {
        map: BTreeMap::from([(*y, *x)]),
        types,
    };
    c.is_empty() && d.is_empty() && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| names.same(a, b))
}

/// The values of one body by those of the other, and the types of all.
struct Names<'a> {
    map: BTreeMap<ValueId, ValueId>,
    types: &'a [Type],
}

impl Names<'_> {
    fn of(&self, id: ValueId) -> ValueId {
        self.map.get(&id).copied().unwrap_or(id)
    }

    fn same(&mut self, a: &Stmt, b: &Stmt) -> bool {
        match (a, b) {
            (Stmt::Let(x, p), Stmt::Let(y, q)) => {
                self.map.insert(*y, *x);
                self.types[x.index()] == self.types[y.index()] && self.same_op(p, q)
            }
            (
                Stmt::Fill {
                    buffer: a,
                    count: n,
                    source: s,
                },
                Stmt::Fill {
                    buffer: b,
                    count: m,
                    source: t,
                },
            ) => a == b && *n == self.of(*m) && self.same_source(s, t),
            _ => false,
        }
    }

    /// Of operations whose only operands are their arguments.
    fn same_op(&self, p: &Op, q: &Op) -> bool {
        let args = arguments(q).into_iter().map(|v| self.of(v));
        let renamed = match (p, q) {
            (Op::Math(_, _), Op::Math(math, _)) => Op::Math(*math, args.collect()),
            (Op::Cast(_), Op::Cast(v)) => Op::Cast(self.of(*v)),
            (Op::Load { .. }, Op::Load { tensor, index, mask }) => Op::Load {
                tensor: *tensor,
                index: index.iter().map(|v| self.of(*v)).collect(),
                mask: mask.map(|v| self.of(v)),
            },
            (_, Op::Real(_) | Op::Int(_) | Op::Param(_)) => q.clone(),
            _ => return false,
        };
        *p == renamed
    }

    fn same_source(&self, s: &FillSource, t: &FillSource) -> bool {
        let renamed = match t {
            FillSource::Box { map, index, col0 } => FillSource::Box {
                map: *map,
                index: index.iter().map(|ix| self.ix(ix)).collect(),
                col0: self.ix(col0),
            },
            FillSource::Rows {
                tensor,
                index,
                col0,
                valid,
                cols,
            } => FillSource::Rows {
                tensor: *tensor,
                index: index.iter().map(|ix| self.ix(ix)).collect(),
                col0: self.ix(col0),
                valid: valid.as_ref().map(|ix| self.ix(ix)),
                cols: *cols,
            },
        };
        *s == renamed
    }

    fn ix(&self, ix: &Ix) -> Ix {
        let list = |args: &[Ix]| args.iter().map(|ix| self.ix(ix)).collect();
        match ix {
            Ix::Const(_) | Ix::Lane => ix.clone(),
            Ix::Value(v) => Ix::Value(self.of(*v)),
            Ix::Map(op, args) => Ix::Map(*op, list(args)),
            Ix::Gather(tensor, args) => Ix::Gather(*tensor, list(args)),
        }
    }
}
