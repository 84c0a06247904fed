//! Integer expressions over the run-time extents and integer scalars of a launch.
//!
//! They give tensor extents, grid sizes and dynamic shared memory. A value is a non-negative integer; intermediate values
//! are signed 64-bit and every step is checked, so `max(M - P, 0)` is fine and a product past 2^63 is an error and never
//! a wrapped number. Division and remainder round towards minus infinity.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An expression tree. `Extent(i)` and `Scalar(i)` index [`crate::Manifest::extents`] and [`crate::Manifest::scalars`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DimExpr {
    /// A number.
    Const(i64),
    /// The run-time extent with this index.
    Extent(usize),
    /// The integer scalar parameter (`i32` or `i64`) with this index.
    Scalar(usize),
    /// Sum.
    Add(Box<DimExpr>, Box<DimExpr>),
    /// Difference; the value of the whole expression must not be negative, an intermediate value may.
    Sub(Box<DimExpr>, Box<DimExpr>),
    /// Product.
    Mul(Box<DimExpr>, Box<DimExpr>),
    /// Quotient rounded down.
    Div(Box<DimExpr>, Box<DimExpr>),
    /// Quotient rounded up.
    CeilDiv(Box<DimExpr>, Box<DimExpr>),
    /// Remainder with the sign of the divisor.
    Mod(Box<DimExpr>, Box<DimExpr>),
    /// The larger value.
    Max(Box<DimExpr>, Box<DimExpr>),
    /// The smaller value.
    Min(Box<DimExpr>, Box<DimExpr>),
}

/// The values that the leaves of an expression stand for.
#[derive(Clone, Copy, Debug, Default)]
pub struct DimEnv<'a> {
    /// Extents in the order of [`crate::Manifest::extents`].
    pub extents: &'a [u64],
    /// Scalars in the order of [`crate::Manifest::scalars`]; `None` where the scalar is no integer.
    pub scalars: &'a [Option<i64>],
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A step left the signed 64-bit range.
    #[error("{op} of {lhs} and {rhs} leaves the 64-bit range")]
    Overflow {
        /// The operation.
        op: &'static str,
        /// Left operand.
        lhs: i64,
        /// Right operand.
        rhs: i64,
    },
    /// A divisor is zero or negative.
    #[error("{op} of {lhs} by {rhs}: the divisor must be positive")]
    Divisor {
        /// The operation.
        op: &'static str,
        /// Left operand.
        lhs: i64,
        /// Right operand.
        rhs: i64,
    },
    /// The value of the whole expression is below zero.
    #[error("the value {0} is negative")]
    Negative(i64),
    /// An extent past 2^63 - 1.
    #[error("the extent {0} is past 2^63 - 1")]
    ExtentRange(u64),
    /// The expression names an extent that does not exist (yet).
    #[error("extent #{0} is not known here")]
    UnknownExtent(usize),
    /// The expression names a scalar that does not exist or is no integer.
    #[error("scalar #{0} is no known integer")]
    UnknownScalar(usize),
}

impl DimExpr {
    /// The value under `env`, checked at every step.
    pub fn eval(&self, env: &DimEnv<'_>) -> Result<u64, EvalError> {
        let value = self.eval_signed(env)?;
        u64::try_from(value).map_err(|_| EvalError::Negative(value))
    }

    fn eval_signed(&self, env: &DimEnv<'_>) -> Result<i64, EvalError> {
        match self {
            DimExpr::Const(value) => Ok(*value),
            DimExpr::Extent(i) => {
                let value = *env.extents.get(*i).ok_or(EvalError::UnknownExtent(*i))?;
                i64::try_from(value).map_err(|_| EvalError::ExtentRange(value))
            }
            DimExpr::Scalar(i) => env
                .scalars
                .get(*i)
                .copied()
                .flatten()
                .ok_or(EvalError::UnknownScalar(*i)),
            _ => {
                let (op, lhs, rhs) = self.binary().expect("every other variant is binary");
                let (lhs, rhs) = (lhs.eval_signed(env)?, rhs.eval_signed(env)?);
                op.apply(lhs, rhs)
            }
        }
    }

    /// Calls `leaf` on every leaf.
    pub fn visit_leaves(&self, leaf: &mut dyn FnMut(&DimExpr)) {
        match self.binary() {
            None => leaf(self),
            Some((_, lhs, rhs)) => {
                lhs.visit_leaves(leaf);
                rhs.visit_leaves(leaf);
            }
        }
    }

    /// Height of the tree; a leaf has 1.
    pub fn depth(&self) -> usize {
        self.binary()
            .map_or(1, |(_, lhs, rhs)| 1 + lhs.depth().max(rhs.depth()))
    }

    /// The text of the expression with the given names for extents and scalars; `#i` where a name is missing.
    pub fn display<'a>(&'a self, extents: &'a [String], scalars: &'a [String]) -> impl fmt::Display + 'a {
        Shown {
            expr: self,
            extents,
            scalars,
        }
    }

    fn binary(&self) -> Option<(Op, &DimExpr, &DimExpr)> {
        Some(match self {
            DimExpr::Const(_) | DimExpr::Extent(_) | DimExpr::Scalar(_) => return None,
            DimExpr::Add(a, b) => (Op::Add, a, b),
            DimExpr::Sub(a, b) => (Op::Sub, a, b),
            DimExpr::Mul(a, b) => (Op::Mul, a, b),
            DimExpr::Div(a, b) => (Op::Div, a, b),
            DimExpr::CeilDiv(a, b) => (Op::CeilDiv, a, b),
            DimExpr::Mod(a, b) => (Op::Mod, a, b),
            DimExpr::Max(a, b) => (Op::Max, a, b),
            DimExpr::Min(a, b) => (Op::Min, a, b),
        })
    }

    /// `ceil(self / rhs)`.
    pub fn ceil_div(self, rhs: impl Into<DimExpr>) -> DimExpr {
        DimExpr::CeilDiv(Box::new(self), Box::new(rhs.into()))
    }

    /// The larger of two.
    pub fn max(self, rhs: impl Into<DimExpr>) -> DimExpr {
        DimExpr::Max(Box::new(self), Box::new(rhs.into()))
    }

    /// The smaller of two.
    pub fn min(self, rhs: impl Into<DimExpr>) -> DimExpr {
        DimExpr::Min(Box::new(self), Box::new(rhs.into()))
    }
}

impl From<i64> for DimExpr {
    fn from(value: i64) -> Self {
        DimExpr::Const(value)
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident $variant:ident),*) => {$(
        impl<R: Into<DimExpr>> std::ops::$trait<R> for DimExpr {
            type Output = DimExpr;
            fn $method(self, rhs: R) -> DimExpr {
                DimExpr::$variant(Box::new(self), Box::new(rhs.into()))
            }
        }
    )*};
}
operator!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div, Rem rem Mod);

#[derive(Clone, Copy)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    CeilDiv,
    Mod,
    Max,
    Min,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Op::Add => "sum",
            Op::Sub => "difference",
            Op::Mul => "product",
            Op::Div => "quotient",
            Op::CeilDiv => "rounded-up quotient",
            Op::Mod => "remainder",
            Op::Max => "max",
            Op::Min => "min",
        }
    }

    fn apply(self, lhs: i64, rhs: i64) -> Result<i64, EvalError> {
        if matches!(self, Op::Div | Op::CeilDiv | Op::Mod) && rhs <= 0 {
            return Err(EvalError::Divisor {
                op: self.name(),
                lhs,
                rhs,
            });
        }
        let value = match self {
            Op::Add => lhs.checked_add(rhs),
            Op::Sub => lhs.checked_sub(rhs),
            Op::Mul => lhs.checked_mul(rhs),
            // The divisor is positive, so the Euclidean forms round towards minus infinity and cannot overflow.
            Op::Div => lhs.checked_div_euclid(rhs),
            Op::CeilDiv => lhs
                .checked_div_euclid(rhs)
                .and_then(|q| q.checked_add(i64::from(lhs.rem_euclid(rhs) != 0))),
            Op::Mod => lhs.checked_rem_euclid(rhs),
            Op::Max => Some(lhs.max(rhs)),
            Op::Min => Some(lhs.min(rhs)),
        };
        value.ok_or(EvalError::Overflow {
            op: self.name(),
            lhs,
            rhs,
        })
    }
}

struct Shown<'a> {
    expr: &'a DimExpr,
    extents: &'a [String],
    scalars: &'a [String],
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sub = |expr| Shown { expr, ..*self };
        let named = |f: &mut fmt::Formatter<'_>, names: &[String], i: usize| match names.get(i) {
            Some(name) => f.write_str(name),
            None => write!(f, "#{i}"),
        };
        match self.expr {
            DimExpr::Const(value) => write!(f, "{value}"),
            DimExpr::Extent(i) => named(f, self.extents, *i),
            DimExpr::Scalar(i) => named(f, self.scalars, *i),
            DimExpr::Add(a, b) => write!(f, "({} + {})", sub(a), sub(b)),
            DimExpr::Sub(a, b) => write!(f, "({} - {})", sub(a), sub(b)),
            DimExpr::Mul(a, b) => write!(f, "{} * {}", sub(a), sub(b)),
            DimExpr::Div(a, b) => write!(f, "floor({} / {})", sub(a), sub(b)),
            DimExpr::CeilDiv(a, b) => write!(f, "ceil({} / {})", sub(a), sub(b)),
            DimExpr::Mod(a, b) => write!(f, "({} mod {})", sub(a), sub(b)),
            DimExpr::Max(a, b) => write!(f, "max({}, {})", sub(a), sub(b)),
            DimExpr::Min(a, b) => write!(f, "min({}, {})", sub(a), sub(b)),
        }
    }
}
