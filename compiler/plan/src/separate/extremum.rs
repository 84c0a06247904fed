//! S8 extrema of monotone maps and S9 indices of extrema.
//!
//! S8 identity: `max_s f(x(s), g) = f(max_s x(s), g)` for f rising in x, `f(min_s x(s), g)` for f falling; a factor of unknown sign
//! selects between both; `max |x| = max(max x, -min x)`; `max` distributes over `max`. Side condition: monotone for every g. Exact.
//!
//! S9 identity: `argmax_s f(x(s), g) = argmax_s x(s)` for f strictly rising. Ties: the smallest coordinate, hence an ordered merge.

use super::{Refusal, Separation};
use crate::product::Product;
use crate::sign::Sign;
use einloom_cascade::expr::{Expr, ExprId, MapOp, ReduceOp};

/// Expression over accumulators that an extremum becomes: `leaf(op, streamed)` allocates one.
pub(crate) type Allocate<'a> = dyn FnMut(&mut crate::state::State, ReduceOp, Product) -> ExprId + 'a;

fn flip(op: ReduceOp) -> ReduceOp {
    match op {
        ReduceOp::Max => ReduceOp::Min,
        ReduceOp::Min => ReduceOp::Max,
        ReduceOp::ArgMax => ReduceOp::ArgMin,
        ReduceOp::ArgMin => ReduceOp::ArgMax,
        other => other,
    }
}

fn rises(op: MapOp) -> bool {
    matches!(
        op,
        MapOp::Exp
            | MapOp::Exp2
            | MapOp::Log
            | MapOp::Log2
            | MapOp::Sqrt
            | MapOp::Tanh
            | MapOp::Erf
            | MapOp::ToReal
            | MapOp::Floor
            | MapOp::Ceil
            | MapOp::Round
            | MapOp::RoundTo(_)
    )
}

impl Separation<'_> {
    /// `Ext(e)`: the extremum as an expression over accumulators and late values.
    pub(crate) fn extremum(&mut self, op: ReduceOp, e: ExprId, allocate: &mut Allocate<'_>) -> Result<ExprId, Refusal> {
        if !self.late(e) {
            return Ok(allocate(self.state, op, Product::factor(e)));
        }
        if !self.streamed(e) {
            return Ok(e);
        }
        let Expr::Map(map, args) = self.state.expr(e).clone() else {
            return Err(self.not_monotone(e));
        };
        match map {
            _ if rises(map) => {
                let inner = self.extremum(op, args[0], allocate)?;
                Ok(self.state.map1(map, inner))
            }
            MapOp::Neg => {
                let inner = self.extremum(flip(op), args[0], allocate)?;
                Ok(self.state.map1(MapOp::Neg, inner))
            }
            MapOp::Rsqrt => {
                let inner = self.extremum(flip(op), args[0], allocate)?;
                Ok(self.state.map1(map, inner))
            }
            MapOp::Abs if op == ReduceOp::Max => {
                let high = self.extremum(ReduceOp::Max, args[0], allocate)?;
                let low = self.extremum(ReduceOp::Min, args[0], allocate)?;
                let low = self.state.map1(MapOp::Neg, low);
                Ok(self.state.arena().map(MapOp::Max, &[high, low]))
            }
            MapOp::Max | MapOp::Min => self.extremum_of_two(op, map, e, &args, allocate),
            MapOp::Add | MapOp::Sub => self.extremum_of_sum(op, map, e, &args, allocate),
            MapOp::Mul | MapOp::Div => self.extremum_of_product(op, map, e, &args, allocate),
            _ => Err(self.not_monotone(e)),
        }
    }

    fn extremum_of_two(
        &mut self,
        op: ReduceOp,
        map: MapOp,
        e: ExprId,
        args: &[ExprId],
        allocate: &mut Allocate<'_>,
    ) -> Result<ExprId, Refusal> {
        let same = (op == ReduceOp::Max) == (map == MapOp::Max);
        if !same && self.streamed(args[0]) && self.streamed(args[1]) {
            return Err(self.not_monotone(e));
        }
        let a = self.extremum_or_row(op, args[0], allocate)?;
        let b = self.extremum_or_row(op, args[1], allocate)?;
        Ok(self.state.arena().map(map, &[a, b]))
    }

    fn extremum_or_row(&mut self, op: ReduceOp, e: ExprId, allocate: &mut Allocate<'_>) -> Result<ExprId, Refusal> {
        if self.streamed(e) {
            self.extremum(op, e, allocate)
        } else {
            Ok(e)
        }
    }

    fn extremum_of_sum(
        &mut self,
        op: ReduceOp,
        map: MapOp,
        e: ExprId,
        args: &[ExprId],
        allocate: &mut Allocate<'_>,
    ) -> Result<ExprId, Refusal> {
        if self.streamed(args[0]) && self.streamed(args[1]) {
            return self.extremum_of_terms(op, e, allocate);
        }
        let a = self.extremum_or_row(op, args[0], allocate)?;
        let second = if map == MapOp::Sub { flip(op) } else { op };
        let b = self.extremum_or_row(second, args[1], allocate)?;
        Ok(self.state.arena().map(map, &[a, b]))
    }

    /// A sum whose streamed terms are all late-free: `max(x + y + g) = max(x + y) + g`.
    fn extremum_of_terms(&mut self, op: ReduceOp, e: ExprId, allocate: &mut Allocate<'_>) -> Result<ExprId, Refusal> {
        let form = crate::product::Linear::of(self.state.arena(), e);
        for atom in form.0.keys() {
            if self.late(*atom) && self.streamed(*atom) {
                return Err(self.not_monotone(e));
            }
        }
        let (row, streamed) = form.partition(|a| !self.streamed(a));
        let streamed = streamed.to_expr(self.state.arena());
        let row = row.to_expr(self.state.arena());
        let Some((streamed, row)) = streamed.zip(row) else {
            return Err(self.not_monotone(e));
        };
        let best = allocate(self.state, op, Product::factor(streamed));
        Ok(self.state.add(best, row))
    }

    fn extremum_of_product(
        &mut self,
        op: ReduceOp,
        map: MapOp,
        e: ExprId,
        args: &[ExprId],
        allocate: &mut Allocate<'_>,
    ) -> Result<ExprId, Refusal> {
        let (streamed, row) = if !self.streamed(args[1]) {
            (args[0], args[1])
        } else if map == MapOp::Mul && !self.streamed(args[0]) {
            (args[1], args[0])
        } else {
            return Err(self.not_monotone(e));
        };
        let sign = self.state.sign(row);
        if sign.nonneg() {
            let inner = self.extremum(op, streamed, allocate)?;
            return Ok(self.state.arena().map(map, &[inner, row]));
        }
        if sign.nonpos() {
            let inner = self.extremum(flip(op), streamed, allocate)?;
            return Ok(self.state.arena().map(map, &[inner, row]));
        }
        let rising = self.extremum(op, streamed, allocate)?;
        let falling = self.extremum(flip(op), streamed, allocate)?;
        let zero = self.state.arena().real(0.0);
        let test = self.state.arena().map(MapOp::Le, &[zero, row]);
        let a = self.state.arena().map(map, &[rising, row]);
        let b = self.state.arena().map(map, &[falling, row]);
        Ok(self.state.select(test, a, b))
    }

    /// S9: strips strictly rising row maps until the rest is late-free.
    pub(crate) fn index_of_extremum(
        &mut self,
        op: ReduceOp,
        e: ExprId,
        allocate: &mut Allocate<'_>,
    ) -> Result<ExprId, Refusal> {
        if !self.late(e) {
            return Ok(allocate(self.state, op, Product::factor(e)));
        }
        let Expr::Map(map, args) = self.state.expr(e).clone() else {
            return Err(self.not_monotone(e));
        };
        match map {
            MapOp::Exp | MapOp::Exp2 | MapOp::Log | MapOp::Tanh | MapOp::Sqrt => {
                self.index_of_extremum(op, args[0], allocate)
            }
            MapOp::Neg => self.index_of_extremum(flip(op), args[0], allocate),
            MapOp::Add if !self.streamed(args[0]) => self.index_of_extremum(op, args[1], allocate),
            MapOp::Add | MapOp::Sub if !self.streamed(args[1]) => self.index_of_extremum(op, args[0], allocate),
            MapOp::Sub if !self.streamed(args[0]) => self.index_of_extremum(flip(op), args[1], allocate),
            MapOp::Mul | MapOp::Div => {
                let (rest, row) = if !self.streamed(args[1]) {
                    (args[0], args[1])
                } else if map == MapOp::Mul && !self.streamed(args[0]) {
                    (args[1], args[0])
                } else {
                    return Err(self.not_monotone(e));
                };
                match self.state.sign(row) {
                    Sign::Positive => self.index_of_extremum(op, rest, allocate),
                    Sign::Negative => self.index_of_extremum(flip(op), rest, allocate),
                    _ => Err(self.not_monotone(e)),
                }
            }
            _ => Err(self.not_monotone(e)),
        }
    }

    fn not_monotone(&mut self, e: ExprId) -> Refusal {
        let mut refusal = self.does_not_split(e);
        refusal.reason = format!("{}; not monotone in the streamed part", refusal.reason);
        refusal
    }
}
