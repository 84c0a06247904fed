//! The one-sided bound `m <= p + c` of a chunked sum.

use crate::domain::linear::Linear;
use crate::domain::mention::int_operands_of;
use crate::state::State;
use einloom_cascade::expr::{Expr, ExprId, MapOp, VarId};

impl State {
    /// The row variable, the last streamed coordinate of a row, and the conditions that say so. Every list of `conds` must have one such condition
    /// with the same bound, and no other that ties the row to the stream.
    pub(super) fn bound(
        &mut self,
        resident: &[VarId],
        stream: VarId,
        conds: &[Vec<ExprId>],
    ) -> Result<(VarId, ExprId, Vec<ExprId>), String> {
        let mut reason = String::new();
        for &row in resident.iter().rev() {
            let mut tied = conds.iter().flatten();
            if !tied.any(|c| self.ties(*c, row, stream)) {
                continue;
            }
            match self.bound_of(row, stream, conds) {
                Ok((last, ties)) => return Ok((row, last, ties)),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    fn ties(&mut self, cond: ExprId, row: VarId, stream: VarId) -> bool {
        let free = self.free(cond);
        free.contains(&row) && free.contains(&stream)
    }

    fn bound_of(&mut self, row: VarId, stream: VarId, conds: &[Vec<ExprId>]) -> Result<(ExprId, Vec<ExprId>), String> {
        let mut bound: Option<Linear> = None;
        let mut ties = Vec::new();
        for list in conds {
            let mut own = 0;
            for &cond in list {
                if !self.ties(cond, row, stream) {
                    continue;
                }
                own += 1;
                let one_sided = self.one_sided(cond, row, stream);
                let (Some(last), true) = (one_sided, own == 1) else {
                    let nothing = |_| "a value".to_owned();
                    let text = crate::print::Formula::new(&self.cascade, &nothing).text(cond);
                    let (p, m) = (self.var_name(row), self.var_name(stream));
                    return Err(format!("`{text}` is not the one bound {m} <= {p} + c"));
                };
                if bound.as_ref().is_some_and(|b| *b != last) {
                    return Err("its reductions have different bounds".to_owned());
                }
                bound = Some(last);
                if !ties.contains(&cond) {
                    ties.push(cond);
                }
            }
            if own == 0 {
                return Err("a reduction beside it has another domain".to_owned());
            }
        }
        let bound = bound.ok_or_else(String::new)?;
        Ok((bound.emit(self.arena()), ties))
    }

    /// `E` of a comparison that says `stream <= E` with `E = row + c`.
    fn one_sided(&mut self, cond: ExprId, row: VarId, stream: VarId) -> Option<Linear> {
        let Expr::Map(op @ (MapOp::Le | MapOp::Lt), args) = self.expr(cond).clone() else {
            return None;
        };
        let (left, right) = int_operands_of(&self.cascade.exprs, &args, &self.cascade.inputs)?;
        let (left, right) = (
            Linear::of(&self.cascade.exprs, left),
            Linear::of(&self.cascade.exprs, right),
        );
        let mut below = left.sub(&right)?;
        if op == MapOp::Lt {
            below = below.shift(1)?;
        }
        let (m, p) = (self.arena().var(stream), self.arena().var(row));
        let (rest, k) = below.without(m);
        let (others, of_row) = rest.without(p);
        for atom in others.terms.keys() {
            let free = self.free(*atom);
            if free.contains(&row) || free.contains(&stream) || !self.leaves(*atom).is_empty() {
                return None;
            }
        }
        if (k, of_row) != (1, -1) {
            return None;
        }
        rest.scale(-1)
    }
}
