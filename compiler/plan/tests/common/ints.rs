//! A direct evaluator of int and bool expressions, for tests of domains.

use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp, Reduce, ReduceOp, SymId, VarId};

/// Values of variables and extents; ends of tiles are scalars.
#[derive(Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) var: &'a dyn Fn(VarId) -> i64,
    pub(crate) extent: &'a dyn Fn(SymId) -> i64,
    pub(crate) scalar: &'a dyn Fn(u32) -> i64,
    pub(crate) table: &'a dyn Fn(u32, &[i64]) -> i64,
}

impl Point<'_> {
    pub(crate) fn holds(&self, id: ExprId) -> bool {
        self.value(id) != 0
    }

    pub(crate) fn value(&self, id: ExprId) -> i64 {
        match self.arena.get(id) {
            Expr::Int(x) => *x,
            Expr::Bool(x) => i64::from(*x),
            Expr::Var(v) => (self.var)(*v),
            Expr::Extent(s) => (self.extent)(*s),
            Expr::Scalar(s) => (self.scalar)(s.0),
            Expr::Input(input, at) => {
                let at: Vec<i64> = at.iter().map(|&i| self.value(i)).collect();
                (self.table)(input.0, &at)
            }
            Expr::Select([c, a, b]) => self.value(if self.holds(*c) { *a } else { *b }),
            Expr::Map(op, args) => {
                let a = self.value(args[0]);
                let b = args.get(1).map_or(0, |&id| self.value(id));
                apply(*op, a, b)
            }
            Expr::Reduce(Reduce {
                op: ReduceOp::Sum,
                vars,
                conds,
                body,
            }) if vars.len() == 1 && conds.is_empty() => {
                // every counted rank is as long as the first symbol
                let outer = self.var;
                let at = |i: i64| {
                    let var = move |v| if v == vars[0] { i } else { outer(v) };
                    Point { var: &var, ..*self }.value(*body)
                };
                (0..(self.extent)(SymId(0))).map(at).sum()
            }
            other => panic!("not an int expression: {other:?}"),
        }
    }
}

fn apply(op: MapOp, a: i64, b: i64) -> i64 {
    match op {
        MapOp::Add => a + b,
        MapOp::Sub => a - b,
        MapOp::Mul => a * b,
        MapOp::IDiv => a.div_euclid(b) - i64::from(b < 0 && a.rem_euclid(b) != 0),
        MapOp::IMod => a.rem_euclid(b),
        MapOp::Min => a.min(b),
        MapOp::Max => a.max(b),
        MapOp::Neg => -a,
        MapOp::Abs => a.abs(),
        MapOp::Lt => i64::from(a < b),
        MapOp::Le => i64::from(a <= b),
        MapOp::Eq => i64::from(a == b),
        MapOp::Ne => i64::from(a != b),
        MapOp::And => i64::from(a != 0 && b != 0),
        MapOp::Or => i64::from(a != 0 || b != 0),
        MapOp::Not => i64::from(a == 0),
        MapOp::BoolToInt => a,
        other => panic!("not an int map: {other:?}"),
    }
}
