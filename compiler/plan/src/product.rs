//! Normal forms of the calculus: linear forms (exponents) and products `c * prod x^k * exp(form)`.
//!
//! Sums inside a factor are never multiplied out: the product structure of the spec survives (a dot stays a dot).

use crate::constant::{constant, rational};
use crate::rational::Rational;
use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp};
use std::collections::BTreeMap;

/// `sum coefficient * atom` with exact coefficients; atoms are opaque expressions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Linear(pub(crate) BTreeMap<ExprId, Rational>);

impl Linear {
    pub(crate) fn atom(e: ExprId) -> Self {
        Self(BTreeMap::from([(e, Rational::ONE)]))
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        let mut sum = self.0.clone();
        for (atom, k) in &other.0 {
            let total = sum.get(atom).copied().unwrap_or(Rational::ZERO).add(*k)?;
            if total == Rational::ZERO {
                sum.remove(atom);
            } else {
                sum.insert(*atom, total);
            }
        }
        Some(Self(sum))
    }

    pub(crate) fn scale(&self, k: Rational) -> Option<Self> {
        if k == Rational::ZERO {
            return Some(Self::default());
        }
        let scaled: Option<_> = self.0.iter().map(|(a, c)| Some((*a, c.mul(k)?))).collect();
        scaled.map(Self)
    }

    pub(crate) fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.scale(Rational::int(-1))?)
    }

    /// `k` with `self = k * other`, if the forms are proportional.
    pub(crate) fn ratio(&self, other: &Self) -> Option<Rational> {
        let (first, c) = self.0.iter().next()?;
        let k = c.div(*other.0.get(first)?)?;
        (other.scale(k)? == *self).then_some(k)
    }

    /// Splits into the atoms that satisfy `test` and the others.
    pub(crate) fn partition(&self, mut test: impl FnMut(ExprId) -> bool) -> (Self, Self) {
        let (yes, no) = self.0.iter().partition(|(a, _)| test(**a));
        (Self(yes), Self(no))
    }

    /// The linear form of an expression: sums, signs and rational multiples are followed, `log(exp x)` is `x`.
    pub(crate) fn of(arena: &mut Arena, e: ExprId) -> Self {
        Self::split(arena, e).unwrap_or_else(|| Self::atom(e))
    }

    fn split(arena: &mut Arena, e: ExprId) -> Option<Self> {
        if constant(arena, e) == Some(0.0) {
            return Some(Self::default());
        }
        let Expr::Map(op, args) = arena.get(e).clone() else {
            return None;
        };
        match op {
            MapOp::Add => Self::of(arena, args[0]).add(&Self::of(arena, args[1])),
            MapOp::Sub => Self::of(arena, args[0]).sub(&Self::of(arena, args[1])),
            MapOp::Neg => Self::of(arena, args[0]).scale(Rational::int(-1)),
            MapOp::Mul => {
                if let Some(k) = rational(arena, args[0]) {
                    Self::of(arena, args[1]).scale(k)
                } else {
                    let k = rational(arena, args[1])?;
                    Self::of(arena, args[0]).scale(k)
                }
            }
            MapOp::Div => {
                let k = Rational::ONE.div(rational(arena, args[1])?)?;
                Self::of(arena, args[0]).scale(k)
            }
            MapOp::Log => match arena.get(args[0]).clone() {
                Expr::Map(MapOp::Exp, inner) => Some(Self::of(arena, inner[0])),
                _ => None,
            },
            _ => None,
        }
    }

    /// The form as an expression; `None` stands for zero.
    pub(crate) fn to_expr(&self, arena: &mut Arena) -> Option<ExprId> {
        let mut sum: Option<ExprId> = None;
        // Positive terms first, so that the result reads `a - b` and not `-b + a`.
        let (minus, plus): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, k)| k.num < 0);
        for (atom, k) in plus.into_iter().chain(minus) {
            let magnitude = Rational {
                num: k.num.abs(),
                den: k.den,
            };
            let term = if magnitude == Rational::ONE {
                *atom
            } else {
                let k = rational_expr(arena, magnitude);
                arena.map(MapOp::Mul, &[k, *atom])
            };
            sum = Some(match (sum, k.num < 0) {
                (None, false) => term,
                (None, true) => arena.map(MapOp::Neg, &[term]),
                (Some(sum), false) => arena.map(MapOp::Add, &[sum, term]),
                (Some(sum), true) => arena.map(MapOp::Sub, &[sum, term]),
            });
        }
        sum
    }
}

/// A rational as a real expression.
pub(crate) fn rational_expr(arena: &mut Arena, k: Rational) -> ExprId {
    let num = arena.real(k.num as f64);
    if k.den == 1 {
        return num;
    }
    if (k.den as u64).is_power_of_two() {
        return arena.real(k.to_f64());
    }
    let den = arena.real(k.den as f64);
    arena.map(MapOp::Div, &[num, den])
}

/// `coefficient * prod factor^power * exp(exponent)`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Product {
    pub(crate) coefficient: f64,
    /// Factors in order of appearance with non-zero powers.
    pub(crate) factors: Vec<(ExprId, Rational)>,
    pub(crate) exponent: Linear,
}

impl Product {
    pub(crate) fn one() -> Self {
        Self::number(1.0)
    }

    pub(crate) fn number(coefficient: f64) -> Self {
        Self {
            coefficient,
            factors: Vec::new(),
            exponent: Linear::default(),
        }
    }

    pub(crate) fn factor(e: ExprId) -> Self {
        Self {
            factors: vec![(e, Rational::ONE)],
            ..Self::one()
        }
    }

    pub(crate) fn exp(exponent: Linear) -> Self {
        Self {
            exponent,
            ..Self::one()
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        self.factors.is_empty() && self.exponent.is_zero()
    }

    pub(crate) fn mul(&self, other: &Self) -> Option<Self> {
        let mut product = self.clone();
        product.coefficient *= other.coefficient;
        for (factor, power) in &other.factors {
            match product.factors.iter_mut().find(|(f, _)| f == factor) {
                Some((_, p)) => *p = p.add(*power)?,
                None => product.factors.push((*factor, *power)),
            }
        }
        product.factors.retain(|(_, p)| *p != Rational::ZERO);
        product.exponent = product.exponent.add(&other.exponent)?;
        Some(product)
    }

    /// Integer power, or any power when all bases are known to be positive (the caller knows).
    pub(crate) fn pow(&self, k: Rational) -> Option<Self> {
        let factors: Option<Vec<_>> = self.factors.iter().map(|(f, p)| Some((*f, p.mul(k)?))).collect();
        Some(Self {
            coefficient: if k.is_int() {
                self.coefficient.powi(i32::try_from(k.num).ok()?)
            } else {
                self.coefficient.powf(k.to_f64())
            },
            factors: factors?,
            exponent: self.exponent.scale(k)?,
        })
    }

    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        self.mul(&other.pow(Rational::int(-1))?)
    }

    /// Equal but for the coefficient and the order of factors.
    pub(crate) fn same_monomial(&self, other: &Self) -> bool {
        self.exponent == other.exponent
            && self.factors.len() == other.factors.len()
            && self.factors.iter().all(|f| other.factors.contains(f))
    }

    /// The product form of an expression. Sums and all other functions are opaque factors.
    pub(crate) fn of(arena: &mut Arena, e: ExprId) -> Self {
        Self::split(arena, e).unwrap_or_else(|| Self::factor(e))
    }

    fn split(arena: &mut Arena, e: ExprId) -> Option<Self> {
        if let Expr::Real(_) | Expr::Map(..) = arena.get(e)
            && let Some(value) = constant(arena, e)
        {
            return Some(Self::number(value));
        }
        let Expr::Map(op, args) = arena.get(e).clone() else {
            return None;
        };
        match op {
            MapOp::Mul => Self::of(arena, args[0]).mul(&Self::of(arena, args[1])),
            MapOp::Div => Self::of(arena, args[0]).div(&Self::of(arena, args[1])),
            MapOp::Neg => Self::number(-1.0).mul(&Self::of(arena, args[0])),
            MapOp::Exp => Some(Self::exp(Linear::of(arena, args[0]))),
            MapOp::Exp2 => {
                let ln2 = arena.real(std::f64::consts::LN_2);
                let mut exponent = Linear::default();
                for (atom, k) in Linear::of(arena, args[0]).0 {
                    let atom = arena.map(MapOp::Mul, &[ln2, atom]);
                    exponent = exponent.add(&Linear::atom(atom).scale(k)?)?;
                }
                Some(Self::exp(exponent))
            }
            MapOp::Pow => {
                let k = rational(arena, args[1])?;
                if !k.is_int() || k.num.abs() > 16 {
                    return None;
                }
                Self::of(arena, args[0]).pow(k)
            }
            _ => None,
        }
    }

    /// The factors without coefficient and exponential, as one expression (`1` if there are none).
    pub(crate) fn factors_expr(&self, arena: &mut Arena) -> ExprId {
        let mut above: Option<ExprId> = None;
        let mut below: Option<ExprId> = None;
        for (factor, power) in &self.factors {
            let magnitude = Rational {
                num: power.num.abs(),
                den: power.den,
            };
            let term = power_expr(arena, *factor, magnitude);
            let side = if power.num > 0 { &mut above } else { &mut below };
            *side = Some(match *side {
                None => term,
                Some(e) => arena.map(MapOp::Mul, &[e, term]),
            });
        }
        let one = arena.real(1.0);
        match (above, below) {
            (None, None) => one,
            (Some(a), None) => a,
            (a, Some(b)) => arena.map(MapOp::Div, &[a.unwrap_or(one), b]),
        }
    }

    /// The factors of a streamed product: divisors become a factor of their own, so that `w * V` stays an operand times an operand.
    pub(crate) fn streamed_expr(&self, arena: &mut Arena) -> ExprId {
        let (above, below): (Vec<_>, Vec<_>) = self.factors.iter().copied().partition(|(_, k)| k.num > 0);
        if above.is_empty() || below.is_empty() {
            return self.factors_expr(arena);
        }
        let part = |factors| Product {
            factors,
            ..Product::one()
        };
        let (above, below) = (part(above), part(below));
        let (below, above) = (below.factors_expr(arena), above.factors_expr(arena));
        arena.map(MapOp::Mul, &[below, above])
    }

    /// The whole product as an expression.
    pub(crate) fn to_expr(&self, arena: &mut Arena) -> ExprId {
        let mut product = self.clone();
        if let Some(exponent) = self.exponent.to_expr(arena) {
            let weight = arena.map(MapOp::Exp, &[exponent]);
            product.factors.insert(0, (weight, Rational::ONE));
        }
        if self.coefficient == 1.0 {
            return product.factors_expr(arena);
        }
        if self.coefficient == -1.0 {
            let e = product.factors_expr(arena);
            return arena.map(MapOp::Neg, &[e]);
        }
        let coefficient = arena.real(self.coefficient);
        if product.factors.is_empty() {
            return coefficient;
        }
        product.factors.insert(0, (coefficient, Rational::ONE));
        product.factors_expr(arena)
    }
}

/// `base^power` for a positive power, with square roots and small integer powers spelled out.
pub(crate) fn power_expr(arena: &mut Arena, base: ExprId, power: Rational) -> ExprId {
    match (power.num, power.den) {
        (1, 1) => base,
        (2, 1) => arena.map(MapOp::Mul, &[base, base]),
        (1, 2) => arena.map(MapOp::Sqrt, &[base]),
        _ => {
            let k = rational_expr(arena, power);
            arena.map(MapOp::Pow, &[base, k])
        }
    }
}
