//! The slices of a specialised program: what its producer and what its consumers execute.
//!
//! The producer keeps every [`Stmt::Fill`] with the loops, conditions and scalars that these need; the consumers keep everything
//! else. Neither needs a result of the other but through rings, so each slice by itself is a complete program of its threads.

use crate::ir::{Stmt, TileProgram};
use crate::lower::dead;

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
