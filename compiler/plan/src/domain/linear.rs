//! Linear forms `c0 + c1*a1 + ..` of ints over atoms (expressions that are not sums themselves).
//!
//! Coefficients are exact; an operation that would overflow gives `None`, and the caller gives up on the form.

use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp};
use std::collections::BTreeMap;

/// A linear form. Terms have non-zero coefficients.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Linear {
    pub(crate) terms: BTreeMap<ExprId, i64>,
    pub(crate) constant: i64,
}

impl Linear {
    /// The constant `value`.
    pub(crate) fn constant(value: i64) -> Linear {
        Linear {
            terms: BTreeMap::new(),
            constant: value,
        }
    }

    /// The atom `id` itself.
    pub(crate) fn atom(id: ExprId) -> Linear {
        Linear {
            terms: BTreeMap::from([(id, 1)]),
            constant: 0,
        }
    }

    /// The linear form of an int expression. Whatever is not a sum or a product with a constant is an atom.
    pub(crate) fn of(arena: &Arena, id: ExprId) -> Linear {
        Linear::expand(arena, id).unwrap_or_else(|| Linear::atom(id))
    }

    fn expand(arena: &Arena, id: ExprId) -> Option<Linear> {
        match arena.get(id) {
            Expr::Int(value) => Some(Linear::constant(*value)),
            Expr::Map(MapOp::Add, args) => Linear::of(arena, args[0]).add(&Linear::of(arena, args[1])),
            Expr::Map(MapOp::Sub, args) => Linear::of(arena, args[0]).sub(&Linear::of(arena, args[1])),
            Expr::Map(MapOp::Neg, args) => Linear::of(arena, args[0]).scale(-1),
            Expr::Map(MapOp::Mul, args) => {
                let (left, right) = (Linear::of(arena, args[0]), Linear::of(arena, args[1]));
                match (left.as_constant(), right.as_constant()) {
                    (Some(k), _) => right.scale(k),
                    (_, Some(k)) => left.scale(k),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The value, if there is no atom.
    pub(crate) fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// Sum.
    pub(crate) fn add(&self, other: &Linear) -> Option<Linear> {
        let mut sum = self.clone();
        sum.constant = sum.constant.checked_add(other.constant)?;
        for (&atom, &k) in &other.terms {
            let total = sum.terms.get(&atom).copied().unwrap_or(0).checked_add(k)?;
            if total == 0 {
                sum.terms.remove(&atom);
            } else {
                sum.terms.insert(atom, total);
            }
        }
        Some(sum)
    }

    /// Difference.
    pub(crate) fn sub(&self, other: &Linear) -> Option<Linear> {
        self.add(&other.scale(-1)?)
    }

    /// Product with a constant.
    pub(crate) fn scale(&self, k: i64) -> Option<Linear> {
        if k == 0 {
            return Some(Linear::constant(0));
        }
        let mut product = Linear::constant(self.constant.checked_mul(k)?);
        for (&atom, &c) in &self.terms {
            product.terms.insert(atom, c.checked_mul(k)?);
        }
        Some(product)
    }

    /// Sum with a constant.
    pub(crate) fn shift(&self, by: i64) -> Option<Linear> {
        self.add(&Linear::constant(by))
    }

    /// This form without `atom`, and the coefficient of `atom`.
    pub(crate) fn without(&self, atom: ExprId) -> (Linear, i64) {
        let mut rest = self.clone();
        let k = rest.terms.remove(&atom).unwrap_or(0);
        (rest, k)
    }

    /// Product with an int expression, distributed over the terms.
    pub(crate) fn times(&self, arena: &mut Arena, factor: ExprId) -> Option<Linear> {
        if let Some(k) = Linear::of(arena, factor).as_constant() {
            return self.scale(k);
        }
        let mut product = Linear::default();
        for (&atom, &k) in &self.terms {
            let both = arena.map(MapOp::Mul, &[atom, factor]);
            product = product.add(&Linear::atom(both).scale(k)?)?;
        }
        product.add(&Linear::of(arena, factor).scale(self.constant)?)
    }

    /// `floor(self / k)` for a constant `k > 0`.
    pub(crate) fn floor_div(&self, arena: &mut Arena, k: i64) -> Linear {
        debug_assert!(k > 0);
        if k == 1 {
            return self.clone();
        }
        if self.terms.values().all(|c| c % k == 0) {
            // floor((k*x + c) / k) = x + floor(c / k)
            let terms = self.terms.iter().map(|(&a, &c)| (a, c / k)).collect();
            let constant = self.constant.div_euclid(k);
            return Linear { terms, constant };
        }
        let (numerator, divisor) = (self.emit(arena), arena.int(k));
        Linear::atom(arena.map(MapOp::IDiv, &[numerator, divisor]))
    }

    /// The form as an expression: positive terms in id order, then negative ones, then the constant.
    pub(crate) fn emit(&self, arena: &mut Arena) -> ExprId {
        let mut total: Option<ExprId> = None;
        let signed = self.terms.iter().filter(|(_, c)| **c > 0);
        for (&atom, &k) in signed.chain(self.terms.iter().filter(|(_, c)| **c < 0)) {
            let term = scaled(arena, atom, k.unsigned_abs());
            total = Some(match (total, k > 0) {
                (None, true) => term,
                (None, false) => arena.map(MapOp::Neg, &[term]),
                (Some(sum), true) => arena.map(MapOp::Add, &[sum, term]),
                (Some(sum), false) => arena.map(MapOp::Sub, &[sum, term]),
            });
        }
        match total {
            None => arena.int(self.constant),
            Some(sum) if self.constant == 0 => sum,
            Some(sum) => match self.constant.checked_neg() {
                Some(less) if less > 0 => {
                    let less = arena.int(less);
                    arena.map(MapOp::Sub, &[sum, less])
                }
                _ => {
                    let constant = arena.int(self.constant);
                    arena.map(MapOp::Add, &[sum, constant])
                }
            },
        }
    }
}

fn scaled(arena: &mut Arena, atom: ExprId, k: u64) -> ExprId {
    match i64::try_from(k) {
        Ok(1) => atom,
        // |i64::MIN| wraps back to i64::MIN, which is the same residue
        other => {
            let k = arena.int(other.unwrap_or(i64::MIN));
            arena.map(MapOp::Mul, &[atom, k])
        }
    }
}
