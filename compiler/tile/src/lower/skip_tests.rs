//! One body for tiles with tests and tiles without.
//!
//! What a test does to a value, `v' = select(mask, v, neutral)`, is `v' = v` in a tile without. The body is written with its tests; the selects, and the
//! masks that only they need, move into a guard ([`Stmt::Guard`]) whose condition is that of the tile. A mask that something else reads stays in front.
//! Only tests of the tile are skipped so: where columns pad a block, every tile has tests, and none is skipped ([`super::course`]).

use super::Lowerer;
use super::builder::{Const, arguments};
use super::overlap::uses;
use crate::ir::{LoopValue, Math, Op, Stmt, ValueId};

impl Lowerer<'_> {
    /// `value` where a point of the tile counts, else `otherwise`. In a tile without tests `mask` holds everywhere.
    pub(crate) fn masked_by_test(&mut self, value: ValueId, mask: Option<ValueId>, otherwise: Const) -> ValueId {
        let masked = self.masked(value, mask, otherwise);
        if masked != value {
            self.tests.insert(masked);
        }
        masked
    }

    /// The body with its tests where the scalar `needed` holds.
    pub(crate) fn skip_tests(&mut self, body: Vec<Stmt>, needed: ValueId) -> Vec<Stmt> {
        let tests = std::mem::take(&mut self.tests);
        let mut out: Vec<Stmt> = body
            .into_iter()
            .map(|stmt| match stmt {
                Stmt::Let(id, Op::Math(Math::Select, args)) if tests.contains(&id) => self.guarded(id, args, needed),
                other => other,
            })
            .collect();
        sink(&mut out, needed);
        out
    }

    /// `id = select(args)` where `needed` holds, else `id` is the second of `args`.
    fn guarded(&mut self, id: ValueId, args: Vec<ValueId>, needed: ValueId) -> Stmt {
        let ty = self.b.ty(id);
        let select = Op::Math(Math::Select, args.clone());
        let value = args
            .get(1)
            .copied()
            .filter(|&v| self.b.ty(v) == ty && ty.rows.is_some());
        let Some(init) = value else {
            return Stmt::Let(id, select);
        };
        let inside = self.b.depth() + 1;
        let [param, next] = [(); 2].map(|()| self.b.fresh_at(inside, ty));
        Stmt::Guard {
            cond: needed,
            carried: vec![LoopValue {
                init,
                param,
                next,
                result: id,
            }],
            body: vec![Stmt::Let(next, select)],
        }
    }
}

/// Moves into every guard on `needed` what it alone needs.
fn sink(body: &mut Vec<Stmt>, needed: ValueId) {
    let mut at = body.len();
    while at > 0 {
        at -= 1;
        let Some(id) = movable(&body[at]) else { continue };
        let mut users = (at + 1..body.len()).filter(|&later| uses(&body[later], id));
        let (Some(user), None) = (users.next(), users.next()) else {
            continue;
        };
        // Other than as one of the results: those are needed in front of the body.
        let inner = match &body[user] {
            Stmt::Guard { cond, carried, .. } => *cond == needed && carried.iter().all(|c| c.init != id),
            _ => false,
        };
        if !inner {
            continue;
        }
        let stmt = body.remove(at);
        if let Some(Stmt::Guard { body: inner, .. }) = body.get_mut(user - 1) {
            inner.insert(0, stmt);
        }
    }
}

/// The value that a pure operation defines.
fn movable(stmt: &Stmt) -> Option<ValueId> {
    match stmt {
        Stmt::Let(id, op @ Op::Math(..)) if !arguments(op).is_empty() => Some(*id),
        _ => None,
    }
}
