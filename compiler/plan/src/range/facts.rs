//! What a cascade promises: ranges of inputs and scalars, and linear forms of ints that are at most 0.

use super::interval::RealRange;
use crate::domain::linear::Linear;
use crate::domain::mention;
use einloom_cascade::expr::{Arena, Expr, ExprId, InputId, MapOp, ScalarId};
use einloom_cascade::ir::Cascade;
use std::collections::BTreeMap;

/// Facts that hold for every launch: the spec's `assume`s and the launch checks.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    inputs: BTreeMap<InputId, RealRange>,
    scalars: BTreeMap<ScalarId, RealRange>,
    below: Vec<Linear>,
}

impl Facts {
    /// Reads the assumptions and checks of a cascade.
    pub fn new(cascade: &Cascade) -> Facts {
        let mut facts = Facts::default();
        let arena = &cascade.exprs;
        let checks = cascade.checks.iter().map(|check| check.cond);
        for cond in cascade.assumes.iter().copied().chain(checks) {
            facts.assume(arena, cond);
        }
        facts
    }

    /// Range of all elements of an input.
    pub fn input(&self, input: InputId) -> RealRange {
        self.inputs.get(&input).copied().unwrap_or(RealRange::ALL)
    }

    /// Range of a scalar.
    pub fn scalar(&self, scalar: ScalarId) -> RealRange {
        self.scalars.get(&scalar).copied().unwrap_or(RealRange::ALL)
    }

    /// The linear facts, with those of `conds`.
    pub(super) fn with(&self, arena: &Arena, conds: &[ExprId]) -> Vec<Linear> {
        let mut below = self.below.clone();
        for &cond in conds {
            linear(arena, cond, false, &mut below);
        }
        below
    }

    fn assume(&mut self, arena: &Arena, cond: ExprId) {
        linear(arena, cond, false, &mut self.below);
        let Expr::Map(op, args) = arena.get(cond) else {
            return;
        };
        match op {
            MapOp::And => args.iter().for_each(|&arg| self.assume(arena, arg)),
            MapOp::Lt | MapOp::Le => {
                let strict = *op == MapOp::Lt;
                if let Some(limit) = constant(arena, args[1]) {
                    self.bound(arena, args[0], f64::NEG_INFINITY, limit, strict);
                }
                if let Some(limit) = constant(arena, args[0]) {
                    self.bound(arena, args[1], limit, f64::INFINITY, strict);
                }
            }
            MapOp::Eq => {
                if let Some(value) = constant(arena, args[1]) {
                    self.bound(arena, args[0], value, value, false);
                }
            }
            _ => {}
        }
    }

    /// `lo <= subject <= hi`; the subject is a scalar or an input at distinct plain coordinates (so: everywhere).
    fn bound(&mut self, arena: &Arena, subject: ExprId, lo: f64, hi: f64, strict: bool) {
        let mut range = RealRange::new(lo, hi);
        if strict && (lo == 0.0 || hi == 0.0) {
            range = range.without_zero();
        }
        match arena.get(subject) {
            Expr::Map(MapOp::ToReal, args) => self.bound(arena, args[0], lo, hi, strict),
            Expr::Map(MapOp::Neg, args) => self.bound(arena, args[0], -hi, -lo, strict),
            Expr::Map(MapOp::Abs, args) if hi.is_finite() => {
                self.bound(arena, args[0], -hi, hi, false);
            }
            Expr::Scalar(scalar) => {
                let known = self.scalar(*scalar);
                self.scalars.insert(*scalar, known.meet(range));
            }
            Expr::Input(input, places) => {
                let plain = places.iter().all(|&place| matches!(arena.get(place), Expr::Var(_)));
                let distinct = (1..places.len()).all(|i| !places[..i].contains(&places[i]));
                if plain && distinct {
                    let known = self.input(*input);
                    self.inputs.insert(*input, known.meet(range));
                }
            }
            _ => {}
        }
    }
}

fn constant(arena: &Arena, id: ExprId) -> Option<f64> {
    match arena.get(id) {
        Expr::Real(bits) => Some(f64::from_bits(*bits)),
        Expr::Int(value) => Some(*value as f64),
        Expr::Map(MapOp::ToReal, args) => constant(arena, args[0]),
        Expr::Map(MapOp::Neg, args) => constant(arena, args[0]).map(|x| -x),
        _ => None,
    }
}

/// Adds the forms that are at most 0 where `cond` (or its negation) holds.
fn linear(arena: &Arena, cond: ExprId, negated: bool, below: &mut Vec<Linear>) {
    let Expr::Map(op, args) = arena.get(cond) else {
        return;
    };
    match (op, negated) {
        (MapOp::And, false) | (MapOp::Or, true) => {
            for &arg in args {
                linear(arena, arg, negated, below);
            }
        }
        (MapOp::Not, _) => linear(arena, args[0], !negated, below),
        (MapOp::Lt | MapOp::Le | MapOp::Eq, _) => {
            let Some((left, right)) = mention::int_operands(arena, args) else {
                return;
            };
            let (left, right) = (Linear::of(arena, left), Linear::of(arena, right));
            let less = |a: &Linear, b: &Linear, by: i64| a.sub(b).and_then(|d| d.shift(by));
            match (op, negated) {
                (MapOp::Lt, false) => below.extend(less(&left, &right, 1)),
                (MapOp::Lt, true) => below.extend(less(&right, &left, 0)),
                (MapOp::Le, false) => below.extend(less(&left, &right, 0)),
                (MapOp::Le, true) => below.extend(less(&right, &left, 1)),
                (MapOp::Eq, false) => {
                    below.extend(less(&left, &right, 0));
                    below.extend(less(&right, &left, 0));
                }
                _ => {}
            }
        }
        _ => {}
    }
}
