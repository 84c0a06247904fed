//! Where operands of dots may be rounded to 16 bits.
//!
//! A dot whose operands are stored in the same 16-bit type is exact up to f32 accumulation and always runs on the matrix
//! unit. An operand that is computed (a weight, `silu(K)`) is rounded to the 16-bit type of the other one only if its
//! result reaches nothing but 16-bit outputs: a computation in that type would have rounded it too. Every other dot is
//! computed in f32, one multiply-add after another, from f32 operands in shared memory. This is also the path of f32 inputs.

use super::Lowerer;
use super::facts::is_half;
use super::roles::accesses;
use einloom_cascade::expr::{Expr, ExprId};
use einloom_plan::ir::{LeafDef, Store, Target};
use std::collections::BTreeSet;

impl Lowerer<'_> {
    fn half_target(&self, target: Target) -> bool {
        match target {
            Target::Output(o) => is_half(self.plan.cascade.outputs[o].dtype),
            Target::Crossing(_) => false,
        }
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
        let reads = |id: ExprId| self.reads_carry(id, sweep, carry);
        let store = |s: &Store| !self.half_target(s.target) && (reads(s.value) || s.conds.iter().any(|&c| reads(c)));
        if self.kernel.stores.iter().any(store) {
            return false;
        }
        self.kernel
            .sweeps
            .iter()
            .enumerate()
            .skip(sweep + 1)
            .all(|(at, later)| {
                !later.emits.iter().any(store)
                    && !later
                        .references
                        .iter()
                        .any(|r| reads(r.form) || r.conds.iter().any(|&c| reads(c)))
                    && later.carries.iter().enumerate().all(|(c, carry)| {
                        let used = reads(carry.streamed) || carry.conds.iter().any(|&c| reads(c));
                        !used || self.rounds_carry(at, c)
                    })
            })
    }

    fn reads_carry(&self, id: ExprId, sweep: usize, carry: usize) -> bool {
        self.leaves_of(id).into_iter().any(|leaf| {
            leaf == LeafDef::Carry {
                kernel: self.index,
                sweep,
                carry,
            }
        })
    }

    fn leaves_of(&self, id: ExprId) -> Vec<LeafDef> {
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

    /// Whether an expression reads accumulators or references of this kernel, which have a row each.
    pub(crate) fn reads_state(&self, id: ExprId) -> bool {
        self.leaves_of(id)
            .iter()
            .any(|leaf| !matches!(leaf, LeafDef::Crossing(_)))
    }
}

/// Where the functions at hand may be computed by the fast instructions of the machine. Weights that a dot rounds to 16 bits need no exponential
/// better than 2^-20, and an exponent needs its absolute error small, not its relative one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Near {
    /// Exponentials of a tile are weights of a 16-bit dot.
    pub(crate) weights: bool,
    /// What is evaluated is an exponent of such a weight.
    pub(crate) exponent: bool,
}

impl Lowerer<'_> {
    /// Whether a sweep's weights go into a dot of 16-bit operands.
    pub(crate) fn near(&self, index: usize) -> Near {
        let carries = self.kernel.sweeps[index].carries.iter().enumerate();
        let weights = carries
            .filter(|(_, c)| !c.dims.is_empty())
            .any(|(at, _)| self.rounds_carry(index, at));
        Near {
            weights,
            exponent: false,
        }
    }
}
