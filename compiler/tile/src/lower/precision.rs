//! Where operands of dots may be rounded to 16 bits.
//!
//! A dot whose operands are stored in the same 16-bit type is exact up to f32 accumulation and always runs on the matrix
//! unit. An operand that is computed (a weight, `silu(K)`) is rounded to the 16-bit type of the other one only if its
//! result reaches nothing but 16-bit outputs: a computation in that type would have rounded it too. Every other dot is
//! computed in f32, one multiply-add after another, from f32 operands in shared memory. This is also the path of f32 inputs.
//!
//! A weight that such a dot rounds and that a sum beside it counts is rounded for both, if it has no reference: `sum r(W) v / sum r(W)` is the exact mean
//! under slightly other weights, while `sum r(W) v / sum W` keeps the rounding of a weight that stands alone, which the promise has no room for (2^-8 of
//! the result in bf16). Relative to the running maximum the largest weight is 1, which no rounding changes: its sum is taken as it stands.

use super::Lowerer;
use super::contract::{Factor, Term};
use super::facts::is_half;
use super::operand::dot_elem;
use super::roles::accesses;
use crate::ir::{Elem, ValueId};
use einloom_cascade::expr::{DType, Expr, ExprId, ReduceOp};
use einloom_plan::ir::{Carry, LeafDef, Store, Target};
use std::collections::BTreeSet;

impl Lowerer<'_> {
    pub(crate) fn half_target(&self, target: Target) -> bool {
        match target {
            Target::Output(o) => is_half(self.plan.cascade.outputs[o].dtype),
            Target::Crossing(c) => self.plan.crossings[c].partial && self.rounds_partial(c),
        }
    }

    /// Whether the state of a piece reaches 16-bit outputs only: through the carry that it is merged into, or, a reference, through all of them.
    fn rounds_partial(&self, crossing: usize) -> bool {
        let reads = |id: ExprId| self.leaves_of(id).contains(&LeafDef::Crossing(crossing));
        self.plan.kernels.iter().enumerate().all(|(index, kernel)| {
            kernel.sweeps.iter().enumerate().all(|(at, sweep)| {
                let carry = |(c, carry): (usize, &Carry)| !reads(carry.streamed) || self.rounds_in(index, at, c);
                let reference = sweep.references.iter().any(|r| reads(r.form));
                let stores = || kernel.stores.iter().all(|s| self.half_target(s.target));
                (!reference || stores()) && sweep.carries.iter().enumerate().all(carry)
            })
        })
    }

    /// Whether everything that this kernel writes is 16-bit.
    pub(crate) fn rounds_scores(&self) -> bool {
        let emits = self.kernel.sweeps.iter().flat_map(|s| &s.emits);
        self.kernel
            .stores
            .iter()
            .chain(emits)
            .all(|s| self.half_target(s.target))
    }

    /// Whether a carry reaches 16-bit outputs only.
    pub(crate) fn rounds_carry(&self, sweep: usize, carry: usize) -> bool {
        if self.shared.inside {
            // a shared state reaches what the sweep's carries reach
            return (0..self.kernel.sweeps[sweep].carries.len()).all(|at| self.rounds_in(self.index, sweep, at));
        }
        self.rounds_in(self.index, sweep, carry)
    }

    fn rounds_in(&self, kernel: usize, sweep: usize, carry: usize) -> bool {
        let reads = |id: ExprId| self.reads_carry(id, kernel, sweep, carry);
        let store = |s: &Store| !self.half_target(s.target) && (reads(s.value) || s.conds.iter().any(|&c| reads(c)));
        let of = &self.plan.kernels[kernel];
        if of.stores.iter().any(store) {
            return false;
        }
        of.sweeps.iter().enumerate().skip(sweep + 1).all(|(at, later)| {
            !later.emits.iter().any(store)
                && !later
                    .references
                    .iter()
                    .any(|r| reads(r.form) || r.conds.iter().any(|&c| reads(c)))
                && later.carries.iter().enumerate().all(|(c, carry)| {
                    let used = reads(carry.streamed) || carry.conds.iter().any(|&c| reads(c));
                    !used || self.rounds_in(kernel, at, c)
                })
        })
    }

    fn reads_carry(&self, id: ExprId, kernel: usize, sweep: usize, carry: usize) -> bool {
        self.leaves_of(id).contains(&LeafDef::Carry { kernel, sweep, carry })
    }

    pub(crate) fn leaves_of(&self, id: ExprId) -> Vec<LeafDef> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        accesses(&self.exprs, id, &mut seen, &mut found);
        found
            .into_iter()
            .filter_map(|a| match self.exprs.get(a) {
                Expr::Leaf(leaf, _) => Some(self.plan.leaf(*leaf)),
                _ => None,
            })
            .collect()
    }

    /// The carries whose weights are rounded alike for a dot and for a sum: `number` and one of the others. Where the dot is the quotient's numerator
    /// in every store, and both have the same weights without a reference, at the same points.
    pub(crate) fn rounded_alike(&self, sweep: usize, number: usize) -> Option<Elem> {
        if self.shared.inside {
            return None;
        }
        let carries = &self.kernel.sweeps[sweep].carries;
        (0..carries.len()).find_map(|other| {
            let dot = if carries[number].dims.is_empty() { other } else { number };
            let sum = if dot == number { other } else { number };
            let elem = self.rounded_weight(&carries[dot], &carries[sum])?;
            let both = [dot, sum].into_iter().all(|at| self.rounds_carry(sweep, at));
            // the quotient of pieces stands in the kernel behind them, which has the same carries
            let finish = self.index + usize::from(self.kernel.piece.is_some());
            let reads = |s: &Store, at: usize| self.reads_carry(s.value, finish, sweep, at);
            let divided = |s: &Store| reads(s, dot) || !reads(s, sum);
            (both && self.plan.kernels[finish].stores.iter().all(divided)).then_some(elem)
        })
    }

    /// The 16-bit type of the right operand, if `dot` sums exactly what `sum` does, times that operand.
    fn rounded_weight(&self, dot: &Carry, sum: &Carry) -> Option<Elem> {
        let sums = [dot, sum].iter().all(|c| c.op == ReduceOp::Sum && c.weight.is_none());
        if !sums || dot.dims.is_empty() || !sum.dims.is_empty() || dot.conds != sum.conds {
            return None;
        }
        let (mut product, mut weight) = (Term::one(), Term::one());
        self.product(dot.streamed, &mut product);
        self.product(sum.streamed, &mut weight);
        if product.scale != 1.0 || weight.scale != 1.0 || weight.factors.is_empty() {
            return None;
        }
        for factor in &weight.factors {
            let at = product.factors.iter().position(|f| f == factor)?;
            product.factors.remove(at);
        }
        let [Factor::Expr(right)] = product.factors[..] else {
            return None;
        };
        let dtype = self.dtype_of(self.access(right)?.0);
        is_half(dtype).then(|| dot_elem(dtype)).flatten()
    }

    /// A value as a 16-bit operand holds it.
    pub(crate) fn rounded(&mut self, value: ValueId, elem: Elem) -> ValueId {
        let narrow = self.b.cast(value, elem);
        self.b.cast(narrow, Elem::F32)
    }

    /// Whether an expression reads accumulators or references of this kernel, which have a row each.
    pub(crate) fn reads_state(&self, id: ExprId) -> bool {
        self.leaves_of(id)
            .iter()
            .any(|leaf| !matches!(leaf, LeafDef::Crossing(_) | LeafDef::State { .. }))
    }
}

/// Where the functions at hand may be computed by the fast instructions of the machine. Weights that a dot rounds to 16 bits need no exponential
/// better than 2^-20, and an exponent needs its absolute error small, not its relative one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Near {
    /// Exponentials of a tile are weights of a 16-bit dot.
    pub(crate) weights: bool,
    /// So are tangents of exponents that are products, to 2^-11: the dot's operands have 8 bits, and a naive computation in their type rounds the
    /// exponent to 2^-9 of itself.
    pub(crate) coarse: bool,
    /// What is evaluated is an exponent of such a weight.
    pub(crate) exponent: bool,
    /// What is evaluated is stored in 16 bits: 2^-23 of a divisor is far below its rounding.
    pub(crate) result: bool,
    /// The value at hand is near enough for an exponent, and for nothing else.
    pub(crate) only_here: bool,
}

impl Lowerer<'_> {
    /// Whether a sweep's weights go into a dot of 16-bit operands, and nothing that the sweep carries is stored with more bits.
    pub(crate) fn near(&self, index: usize) -> Near {
        let carries = &self.kernel.sweeps[index].carries;
        let dot = carries.iter().any(|c| !c.dims.is_empty());
        let rounds = (0..carries.len()).all(|at| self.rounds_carry(index, at));
        let weights = dot && rounds;
        let cascade = &self.plan.cascade;
        let dtypes = cascade.inputs.iter().map(|t| t.dtype);
        let fine = |d: DType| matches!(d, DType::F16 | DType::F32);
        let fine = dtypes.chain(cascade.outputs.iter().map(|t| t.dtype)).any(fine);
        Near {
            weights,
            coarse: weights && !fine,
            ..Near::default()
        }
    }
}
