//! Signs of expressions: from their shape (values of R-nodes included), else from range analysis.

use crate::constant::constant;
use crate::state::{PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, MapOp, ReduceOp};

/// What is known of the sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    /// Above zero wherever the value exists and its reductions are not empty.
    Positive,
    NonNegative,
    NonPositive,
    Negative,
    Unknown,
}

impl Sign {
    fn flip(self) -> Self {
        match self {
            Sign::Positive => Sign::Negative,
            Sign::NonNegative => Sign::NonPositive,
            Sign::NonPositive => Sign::NonNegative,
            Sign::Negative => Sign::Positive,
            Sign::Unknown => Sign::Unknown,
        }
    }

    pub(crate) fn nonneg(self) -> bool {
        matches!(self, Sign::Positive | Sign::NonNegative)
    }

    pub(crate) fn nonpos(self) -> bool {
        matches!(self, Sign::Negative | Sign::NonPositive)
    }

    fn strict(self) -> bool {
        matches!(self, Sign::Positive | Sign::Negative)
    }

    fn times(self, other: Self) -> Self {
        if self == Sign::Unknown || other == Sign::Unknown {
            return Sign::Unknown;
        }
        let strict = self.strict() && other.strict();
        match (self.nonneg() == other.nonneg(), strict) {
            (true, true) => Sign::Positive,
            (true, false) => Sign::NonNegative,
            (false, true) => Sign::Negative,
            (false, false) => Sign::NonPositive,
        }
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Sign::Positive, b) if b.nonneg() => Sign::Positive,
            (a, Sign::Positive) if a.nonneg() => Sign::Positive,
            (a, b) if a.nonneg() && b.nonneg() => Sign::NonNegative,
            (Sign::Negative, b) if b.nonpos() => Sign::Negative,
            (a, Sign::Negative) if a.nonpos() => Sign::Negative,
            (a, b) if a.nonpos() && b.nonpos() => Sign::NonPositive,
            _ => Sign::Unknown,
        }
    }
}

impl State {
    /// The sign of an expression of the planner.
    pub(crate) fn sign(&mut self, e: ExprId) -> Sign {
        let sign = self.sign_of_shape(e);
        if sign != Sign::Unknown {
            return sign;
        }
        let range = self.range(e, &[]);
        if range.positive() {
            Sign::Positive
        } else if range.negative() {
            Sign::Negative
        } else if range.lo >= 0.0 {
            Sign::NonNegative
        } else if range.hi <= 0.0 {
            Sign::NonPositive
        } else {
            Sign::Unknown
        }
    }

    fn sign_of_shape(&mut self, e: ExprId) -> Sign {
        if let Some(value) = constant(&self.cascade.exprs, e) {
            return match value {
                v if v > 0.0 => Sign::Positive,
                v if v < 0.0 => Sign::Negative,
                _ => Sign::NonNegative,
            };
        }
        match self.expr(e).clone() {
            Expr::Var(_) => Sign::NonNegative,
            Expr::Extent(_) => Sign::Positive,
            Expr::Map(op, args) => self.sign_of_map(op, &args),
            Expr::Select([_, a, b]) => {
                let (a, b) = (self.sign(a), self.sign(b));
                if a == b {
                    a
                } else if a.nonneg() && b.nonneg() {
                    Sign::NonNegative
                } else if a.nonpos() && b.nonpos() {
                    Sign::NonPositive
                } else {
                    Sign::Unknown
                }
            }
            Expr::Reduce(r) => self.sign_of_reduce(r.op, r.body),
            Expr::Leaf(leaf, _) => match PlanLeaf::of(leaf) {
                PlanLeaf::Value(node) => {
                    let (op, body) = (self.nodes[node].op, self.nodes[node].body);
                    self.sign_of_reduce(op, body)
                }
                _ => Sign::Unknown,
            },
            _ => Sign::Unknown,
        }
    }

    fn sign_of_reduce(&mut self, op: ReduceOp, body: ExprId) -> Sign {
        match op {
            ReduceOp::Sum => self.sign(body),
            ReduceOp::Max | ReduceOp::Min => self.sign(body),
            ReduceOp::Prod if self.sign(body) == Sign::Positive => Sign::Positive,
            _ => Sign::Unknown,
        }
    }

    fn sign_of_map(&mut self, op: MapOp, args: &[ExprId]) -> Sign {
        let a = self.sign(args[0]);
        match op {
            MapOp::Exp | MapOp::Exp2 | MapOp::Rsqrt => Sign::Positive,
            MapOp::Sqrt if a == Sign::Positive => Sign::Positive,
            MapOp::Sqrt => Sign::NonNegative,
            MapOp::Abs if a.strict() => Sign::Positive,
            MapOp::Abs => Sign::NonNegative,
            MapOp::Tanh | MapOp::Erf | MapOp::Sign | MapOp::RoundTo(_) | MapOp::ToReal => a,
            MapOp::BoolToInt => Sign::NonNegative,
            MapOp::Neg => a.flip(),
            MapOp::Mul if args[0] == args[1] => {
                if a.strict() {
                    Sign::Positive
                } else {
                    Sign::NonNegative
                }
            }
            MapOp::Mul => a.times(self.sign(args[1])),
            MapOp::Div => a.times(self.sign(args[1])),
            MapOp::Add => a.plus(self.sign(args[1])),
            MapOp::Sub => a.plus(self.sign(args[1]).flip()),
            MapOp::Max => {
                let b = self.sign(args[1]);
                if a == Sign::Positive || b == Sign::Positive {
                    Sign::Positive
                } else if a.nonneg() || b.nonneg() {
                    Sign::NonNegative
                } else if a.nonpos() && b.nonpos() {
                    Sign::NonPositive
                } else {
                    Sign::Unknown
                }
            }
            MapOp::Min if a.nonneg() && self.sign(args[1]) == a => a,
            MapOp::Pow => {
                let even = constant(&self.cascade.exprs, args[1]).is_some_and(|k| k % 2.0 == 0.0);
                if a == Sign::Positive {
                    Sign::Positive
                } else if a.nonneg() || even {
                    Sign::NonNegative
                } else {
                    Sign::Unknown
                }
            }
            MapOp::Uniform => Sign::NonNegative,
            _ => Sign::Unknown,
        }
    }
}
