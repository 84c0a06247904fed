//! The slices of a specialised program: what its producer and what its consumers execute.
//!
//! The producer keeps every [`Stmt::Fill`] with the loops, conditions and scalars that these need; the consumers keep everything
//! else. Neither needs a result of the other but through rings, so each slice by itself is a complete program of its threads.

mod courses;

use crate::ir::{Op, Operand, Stmt, TileProgram, ValueId};
use crate::lower::{arguments, dead};

/// Who executes a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
}

/// The slice of `program.body` for one role, without what it does not use.
pub fn slice(program: &TileProgram, role: Role) -> Vec<Stmt> {
    let mut body = keep(&program.body, role);
    dead::remove_from(&mut body);
    if role == Role::Producer {
        courses::join(&mut body, &program.courses, &program.values);
    }
    body
}

fn keep(body: &[Stmt], role: Role) -> Vec<Stmt> {
    let mut kept = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Let(..) => kept.push(stmt.clone()),
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                label,
            } => kept.push(Stmt::For {
                var: *var,
                lo: *lo,
                hi: *hi,
                carried: carried.clone(),
                body: keep(body, role),
                label: label.clone(),
            }),
            Stmt::If { cond, body } => kept.push(Stmt::If {
                cond: *cond,
                body: keep(body, role),
            }),
            Stmt::Fill { .. } if role == Role::Producer => kept.push(stmt.clone()),
            Stmt::Fill { .. } => {}
            _ if role == Role::Consumer => kept.push(stmt.clone()),
            _ => {}
        }
    }
    kept
}

/// Values that a statement without a body reads, other than as the accumulator of a dot: pending results among them must be complete.
pub(crate) fn needs_complete(stmt: &Stmt) -> Vec<ValueId> {
    match stmt {
        Stmt::Let(_, Op::Dot { left, right, .. }) => [left, right]
            .into_iter()
            .filter_map(|o| match o {
                Operand::Register(v) => Some(*v),
                Operand::Shared(..) => None,
            })
            .collect(),
        Stmt::Let(_, op) => arguments(op),
        Stmt::Store { index, value, mask, .. } => index.iter().copied().chain([*value]).chain(*mask).collect(),
        Stmt::StoreShared { value, .. } => vec![*value],
        _ => Vec::new(),
    }
}
