//! What is known about the ints of a program before emission: constants, dependence on the lane coordinate, divisibility.
//!
//! `Facts` lets addresses be formed as one run-time base plus compile-time offsets, and pairs of columns be moved by one access.

use einloom_cascade::expr::MapOp;
use einloom_tile::ir::{Math, Op, Stmt, TileProgram, ValueId};

/// Knowledge about one int value `x`. As a vector along an axis: `x[i] = base + step * i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    /// The value, if it is the same compile-time constant everywhere.
    pub(crate) constant: Option<i64>,
    /// `step`, if the value has that form; 0 for scalars.
    pub(crate) step: Option<i64>,
    /// A power of two that divides `base`.
    pub(crate) multiple: u64,
}

const NOTHING: Fact = Fact {
    constant: None,
    step: None,
    multiple: 1,
};

/// Stands for "zero is divisible by anything".
const ANY_MULTIPLE: u64 = 1 << 32;

/// Facts about all values.
pub(crate) struct Facts(Vec<Fact>);

impl Facts {
    /// Looks at every definition once, in program order.
    pub(crate) fn of(program: &TileProgram) -> Facts {
        let mut res: Vec<Fact> = program
            .values
            .iter()
            .map(|ty| Fact {
                step: (ty.rows.is_none() && ty.cols.is_none()).then_some(0),
                ..NOTHING
            })
            .collect();
        visit(&program.body, &mut res);
        Facts(res)
    }

    /// The fact about a value.
    pub(crate) fn get(&self, id: ValueId) -> Fact {
        self.0.get(id.index()).copied().unwrap_or(NOTHING)
    }
}

/// Largest known power of two that divides a constant.
pub(crate) fn multiple_of(n: i64) -> u64 {
    if n == 0 {
        ANY_MULTIPLE
    } else {
        (1u64 << n.unsigned_abs().trailing_zeros()).min(ANY_MULTIPLE)
    }
}

fn visit(body: &[Stmt], facts: &mut Vec<Fact>) {
    for stmt in body {
        match stmt {
            Stmt::Let(id, op) => {
                let scalar = facts[id.index()].step == Some(0);
                let mut fact = of_op(op, facts);
                if scalar {
                    fact.step = Some(0);
                }
                facts[id.index()] = fact;
            }
            Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => visit(body, facts),
            _ => {}
        }
    }
}

fn of_op(op: &Op, facts: &[Fact]) -> Fact {
    let get = |id: &ValueId| facts.get(id.index()).copied().unwrap_or(NOTHING);
    match op {
        Op::Int(n) => Fact {
            constant: Some(*n),
            step: Some(0),
            multiple: multiple_of(*n),
        },
        Op::Lane => Fact {
            constant: None,
            step: Some(1),
            multiple: ANY_MULTIPLE,
        },
        Op::Cast(v) => get(v),
        Op::Math(Math::Map(op), args) => match args.as_slice() {
            [a, b] => arithmetic(*op, get(a), get(b)),
            _ => NOTHING,
        },
        _ => NOTHING,
    }
}

/// Facts of `a op b`.
pub(crate) fn arithmetic(op: MapOp, a: Fact, b: Fact) -> Fact {
    let fold = |f: fn(i64, i64) -> Option<i64>| a.constant.zip(b.constant).and_then(|(x, y)| f(x, y));
    let steps = |f: fn(i64, i64) -> Option<i64>| a.step.zip(b.step).and_then(|(x, y)| f(x, y));
    let least = a.multiple.min(b.multiple);
    match op {
        MapOp::Add => Fact {
            constant: fold(i64::checked_add),
            step: steps(i64::checked_add),
            multiple: least,
        },
        MapOp::Sub => Fact {
            constant: fold(i64::checked_sub),
            step: steps(i64::checked_sub),
            multiple: least,
        },
        MapOp::Mul => {
            let step = match (a, b) {
                (Fact { constant: Some(c), .. }, other) | (other, Fact { constant: Some(c), .. }) => {
                    other.step.and_then(|s| s.checked_mul(c))
                }
                (Fact { step: Some(0), .. }, Fact { step: Some(0), .. }) => Some(0),
                _ => None,
            };
            Fact {
                constant: fold(i64::checked_mul),
                step,
                multiple: a.multiple.saturating_mul(b.multiple).min(ANY_MULTIPLE),
            }
        }
        MapOp::Min | MapOp::Max => Fact {
            multiple: least,
            ..NOTHING
        },
        _ => NOTHING,
    }
}
