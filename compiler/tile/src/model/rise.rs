//! How often a kept reference has to be raised.
//!
//! A kept reference is raised where a tile's weights pass the guard's limit. What data do to a score is not known, and taken to have no direction:
//! products and real tensors count as 0. What is left is the part of the exponent that depends on the position alone, a linear position bias for
//! instance. If it rises along the tile, it rises as much from one tile to the next, and passes a limit of `2^n` every `n / rise` tiles.

use crate::interp::math::{int, real, real_to_int};
use crate::ir::{Elem, Math, Op, Stmt, TileProgram, ValueId};
use einloom_cascade::expr::MapOp;
use std::collections::{BTreeMap, BTreeSet};

/// The operation of every value that a statement defines.
pub(super) struct Definitions<'a> {
    program: &'a TileProgram,
    ops: Vec<Option<&'a Op>>,
}

/// The values of scalar ints, where they are known.
pub(super) type Ints<'a> = &'a dyn Fn(ValueId) -> Option<i64>;

impl<'a> Definitions<'a> {
    pub(super) fn of(program: &'a TileProgram) -> Definitions<'a> {
        let mut ops = vec![None; program.values.len()];
        visit(&program.body, &mut ops);
        Definitions { program, ops }
    }

    fn op(&self, value: ValueId) -> Option<&'a Op> {
        self.ops.get(value.index()).copied().flatten()
    }

    /// Values that statements define, with their operations.
    pub(super) fn all(&self) -> impl Iterator<Item = (ValueId, &'a Op)> {
        let defined = |(at, op): (usize, &Option<&'a Op>)| op.map(|op| (ValueId(at as u32), op));
        self.ops.iter().enumerate().filter_map(defined)
    }

    /// Share of the tiles whose guard `cond` holds by the position alone: 0 where nothing rises.
    pub(super) fn raised(&self, cond: ValueId, ints: Ints<'_>) -> f64 {
        let mut most = 0.0f64;
        for (sum, limit) in self.limits(cond) {
            if let Some(rise) = self.rise(sum, ints).filter(|rise| rise.is_finite()) {
                most = most.max(rise / limit.log2().max(1.0));
            }
        }
        most.clamp(0.0, 1.0)
    }

    /// Sums of weights and their limits in a condition of the form `not (sum <= limit) or ..`.
    fn limits(&self, cond: ValueId) -> Vec<(ValueId, f64)> {
        match self.op(cond) {
            Some(Op::Math(Math::Map(MapOp::Or | MapOp::Not), args)) => {
                args.iter().flat_map(|arg| self.limits(*arg)).collect()
            }
            Some(Op::Math(Math::Map(MapOp::Le), args)) => {
                match (args.as_slice(), args.get(1).and_then(|l| self.op(*l))) {
                    ([sum, _], Some(Op::Real(limit))) => vec![(*sum, *limit)],
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// How much the binary logarithm of a weight below `sum` rises from one tile to the next.
    fn rise(&self, sum: ValueId, ints: Ints<'_>) -> Option<f64> {
        let (exponent, unit) = self.exponent(sum, &mut BTreeSet::new())?;
        let cols = self.program.values[exponent.index()].cols?;
        let cols = f64::from(self.program.axes[cols.index()].size);
        let at = |col: f64| {
            let mut known = BTreeMap::new();
            self.element(exponent, col, ints, &mut known)
        };
        let within = at(cols - 1.0)? - at(0.0)?;
        Some(unit * within * cols / (cols - 1.0).max(1.0))
    }

    /// The argument of the exponential that a sum of weights is made of, and what it is in powers of two.
    fn exponent(&self, value: ValueId, seen: &mut BTreeSet<ValueId>) -> Option<(ValueId, f64)> {
        if !seen.insert(value) {
            return None;
        }
        match self.op(value)? {
            Op::Math(Math::Exp2Fast | Math::Map(MapOp::Exp2), args) => Some((*args.first()?, 1.0)),
            Op::Math(Math::Map(MapOp::Exp), args) => Some((*args.first()?, std::f64::consts::LOG2_E)),
            Op::Math(_, args) => args.iter().find_map(|arg| self.exponent(*arg, seen)),
            Op::Cast(a) | Op::RowReduce(_, a) | Op::QuadReduce(_, a) => self.exponent(*a, seen),
            _ => None,
        }
    }

    /// The element of the first row and column `col`, as far as it depends on positions; what data decide counts as 0. `None` where a point does not exist
    /// or a number has no value.
    fn element(
        &self,
        value: ValueId,
        col: f64,
        ints: Ints<'_>,
        known: &mut BTreeMap<ValueId, Option<f64>>,
    ) -> Option<f64> {
        if let Some(found) = known.get(&value) {
            return *found;
        }
        let found = self.computed(value, col, ints, known);
        known.insert(value, found);
        found
    }

    fn computed(
        &self,
        value: ValueId,
        col: f64,
        ints: Ints<'_>,
        known: &mut BTreeMap<ValueId, Option<f64>>,
    ) -> Option<f64> {
        let ty = self.program.values[value.index()];
        let scalar = ty.rows.is_none() && ty.cols.is_none();
        if scalar && ty.elem != Elem::F32 {
            return ints(value).map(|n| n as f64);
        }
        match self.op(value) {
            Some(Op::Real(x)) => Some(*x),
            Some(Op::Int(n)) => Some(*n as f64),
            Some(Op::Lane) => Some(if ty.cols.is_some() { col } else { 0.0 }),
            Some(Op::Cast(a)) => self.element(*a, col, ints, known),
            Some(Op::Math(Math::Select, args)) => {
                // A point that data may rule out counts.
                let chosen = match self.element(*args.first()?, col, ints, known) {
                    Some(0.0) => args.get(2)?,
                    _ => args.get(1)?,
                };
                self.element(*chosen, col, ints, known)
            }
            Some(Op::Math(math, args)) => {
                let args: Vec<f64> = args
                    .iter()
                    .map(|arg| self.element(*arg, col, ints, known))
                    .collect::<Option<_>>()?;
                self.pointwise(value, *math, &args)
            }
            Some(Op::Load { .. }) if ty.elem != Elem::F32 => None,
            _ => Some(0.0),
        }
    }

    fn pointwise(&self, value: ValueId, math: Math, args: &[f64]) -> Option<f64> {
        if self.program.values[value.index()].elem == Elem::F32 {
            return match math {
                Math::Map(MapOp::ToReal) => args.first().copied(),
                _ => real(math, args),
            };
        }
        let Math::Map(op) = math else { return None };
        let whole: Vec<i64> = args.iter().map(|x| *x as i64).collect();
        let exact = whole.iter().zip(args).all(|(n, x)| *n as f64 == *x);
        let found = if exact { int(op, &whole) } else { None };
        found.or_else(|| real_to_int(op, args)).map(|n| n as f64)
    }
}

fn visit<'a>(body: &'a [Stmt], ops: &mut Vec<Option<&'a Op>>) {
    for stmt in body {
        match stmt {
            Stmt::Let(id, op) => ops[id.index()] = Some(op),
            Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => visit(body, ops),
            _ => {}
        }
    }
}
