//! Kernels under construction: which carries, references, crossings and stores each needs, on demand.
//!
//! Only what a store, an emit or a crossing reads is ever allocated, so dead carries (F3) do not appear.

use crate::PlanError;
use crate::rational::Rational;
use crate::state::{PlanLeaf, State};
use einloom_cascade::expr::{ExprId, Kind, MapOp, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// A kernel under construction.
#[derive(Clone, Debug)]
pub(crate) struct BuildKernel {
    pub(crate) name: String,
    pub(crate) phase: u32,
    /// Streams of the sweeps it may have.
    pub(crate) streams: Vec<Vec<VarId>>,
    pub(crate) resident: Vec<VarId>,
    pub(crate) stores: Vec<BuildStore>,
    /// Sweep number, stream, store.
    pub(crate) emits: Vec<(u32, Vec<VarId>, BuildStore)>,
}

/// A store under construction.
#[derive(Clone, Debug)]
pub(crate) struct BuildStore {
    pub(crate) target: crate::ir::Target,
    pub(crate) vars: Vec<VarId>,
    pub(crate) conds: Vec<ExprId>,
    pub(crate) value: ExprId,
    pub(crate) places: Vec<ExprId>,
}

/// An accumulator in a kernel.
#[derive(Clone, Debug)]
pub(crate) struct CarryInstance {
    pub(crate) kernel: usize,
    pub(crate) accumulator: usize,
    pub(crate) reference: Option<usize>,
    pub(crate) streamed: ExprId,
    pub(crate) conds: Vec<ExprId>,
}

/// A reference in a kernel.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceInstance {
    pub(crate) kernel: usize,
    pub(crate) spec: usize,
    pub(crate) form: ExprId,
    pub(crate) conds: Vec<ExprId>,
}

/// A crossing tensor.
#[derive(Clone, Debug)]
pub(crate) struct BuildCrossing {
    pub(crate) name: String,
    pub(crate) dims: Vec<VarId>,
    /// Over node values, in the producer's variables.
    pub(crate) value: ExprId,
    pub(crate) kind: Kind,
}

/// All kernels under construction.
pub(crate) struct Build<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) kernels: Vec<BuildKernel>,
    pub(crate) carries: Vec<CarryInstance>,
    pub(crate) references: Vec<ReferenceInstance>,
    pub(crate) crossings: Vec<BuildCrossing>,
    pub(crate) errors: Vec<PlanError>,
}

impl<'a> Build<'a> {
    pub(crate) fn new(state: &'a mut State) -> Self {
        Self {
            state,
            kernels: Vec::new(),
            carries: Vec::new(),
            references: Vec::new(),
            crossings: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// A kernel with this phase and grid that streams one of `streams`; made if there is none.
    pub(crate) fn kernel(&mut self, phase: u32, streams: &[Vec<VarId>], resident: &[VarId], name: &str) -> usize {
        let wanted: BTreeSet<VarId> = resident.iter().copied().collect();
        let found = self.kernels.iter().position(|k| {
            let grid: BTreeSet<VarId> = k.resident.iter().copied().collect();
            k.phase == phase
                && grid == wanted
                && (streams.is_empty() && k.streams.is_empty() || streams.iter().any(|s| k.streams.contains(s)))
        });
        if let Some(found) = found {
            for s in streams {
                if !self.kernels[found].streams.contains(s) {
                    self.kernels[found].streams.push(s.clone());
                }
            }
            return found;
        }
        self.kernels.push(BuildKernel {
            name: name.to_owned(),
            phase,
            streams: streams.to_vec(),
            resident: resident.to_vec(),
            stores: Vec::new(),
            emits: Vec::new(),
        });
        self.kernels.len() - 1
    }

    /// Whether the value of `node`, read at `indices`, is computed inside `kernel`.
    pub(crate) fn belongs(&self, kernel: usize, node: usize, indices: &[ExprId]) -> bool {
        let k = &self.kernels[kernel];
        let n = &self.state.nodes[node];
        n.phase == k.phase
            && k.streams.contains(&n.stream)
            && self
                .state
                .big_indices(node, indices)
                .iter()
                .all(|(v, e)| self.state.is_var(*e, *v) && k.resident.contains(v))
    }

    /// The instance of an accumulator in a kernel.
    pub(crate) fn carry(&mut self, kernel: usize, accumulator: usize) -> usize {
        let found = self
            .carries
            .iter()
            .position(|c| c.kernel == kernel && c.accumulator == accumulator);
        if let Some(found) = found {
            return found;
        }
        let a = self.state.accumulators[accumulator].clone();
        let reference = a.reference.map(|(spec, _)| self.reference(kernel, spec));
        let streamed = if reference.is_some() {
            a.streamed.streamed_expr(self.state.arena())
        } else {
            let mut product = a.streamed.clone();
            if let Some(exponent) = product.exponent.to_expr(self.state.arena()) {
                let weight = self.state.map1(MapOp::Exp, exponent);
                product.factors.insert(0, (weight, Rational::ONE));
            }
            product.streamed_expr(self.state.arena())
        };
        let index = self.carries.len();
        self.carries.push(CarryInstance {
            kernel,
            accumulator,
            reference,
            streamed,
            conds: a.conds.clone(),
        });
        let streamed = self.resolve(kernel, streamed);
        let conds = a.conds.iter().map(|c| self.resolve(kernel, *c)).collect();
        self.carries[index].streamed = streamed;
        self.carries[index].conds = conds;
        index
    }

    /// The instance of a reference in a kernel.
    pub(crate) fn reference(&mut self, kernel: usize, spec: usize) -> usize {
        let found = self
            .references
            .iter()
            .position(|r| r.kernel == kernel && r.spec == spec);
        if let Some(found) = found {
            return found;
        }
        let r = self.state.references[spec].clone();
        let zero = self.state.arena().real(0.0);
        let form = r.form.to_expr(self.state.arena()).unwrap_or(zero);
        let index = self.references.len();
        self.references.push(ReferenceInstance {
            kernel,
            spec,
            form,
            conds: r.conds.clone(),
        });
        let form = self.resolve(kernel, form);
        let conds = r.conds.iter().map(|c| self.resolve(kernel, *c)).collect();
        self.references[index].form = form;
        self.references[index].conds = conds;
        index
    }

    /// An expression over node values as an expression of `kernel`: other kernels' values cross, own values are finished.
    pub(crate) fn resolve(&mut self, kernel: usize, e: ExprId) -> ExprId {
        let e = self.cross(kernel, e);
        crate::finish::Finish::new(self, kernel).value(e)
    }
}

impl State {
    pub(crate) fn is_var(&self, e: ExprId, v: VarId) -> bool {
        matches!(self.expr(e), einloom_cascade::expr::Expr::Var(w) if *w == v)
    }

    pub(crate) fn at_vars(&mut self, from: &[VarId], to: &[ExprId]) -> BTreeMap<VarId, ExprId> {
        from.iter().copied().zip(to.iter().copied()).collect()
    }

    /// Leaf of a carry instance at positions of its accumulator's dims.
    pub(crate) fn carry_leaf(&mut self, instance: usize, indices: &[ExprId]) -> ExprId {
        self.leaf(PlanLeaf::Carry(instance), indices)
    }
}
