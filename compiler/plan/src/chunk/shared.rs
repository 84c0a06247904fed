//! The shared state of chunks, and where the rows of a chunk start from it.

use super::ROW;
use crate::assemble::Places;
use crate::build::Build;
use crate::ir::{Carry, LeafDef, Reference, Sweep};
use crate::product::{Linear, Product};
use crate::separate::{Separation, Streamed, Term};
use crate::state::PlanLeaf;
use einloom_cascade::expr::{DType, Expr, ExprId, LeafId, MapOp, Reduce, ReduceOp, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// A reference of the state: its form, its conditions, its dimensions.
struct StateReference {
    form: ExprId,
    conds: Vec<ExprId>,
    dims: Vec<VarId>,
    leaf: LeafId,
}

struct StateCarry {
    op: ReduceOp,
    streamed: Product,
    conds: Vec<ExprId>,
    dims: Vec<VarId>,
    weight: Option<(usize, (i64, i64))>,
    leaf: LeafId,
    name: String,
}

/// References and carries where a row starts.
type Starts = (Vec<ExprId>, Vec<ExprId>);

/// The state under construction.
pub(super) struct Shared<'s, 'b, 'p> {
    build: &'s mut Build<'b>,
    at: (usize, usize),
    row: VarId,
    stream: VarId,
    /// The conditions that the bound replaces.
    ties: Vec<ExprId>,
    places: &'p mut Places,
    memo: BTreeMap<ExprId, ExprId>,
    references: Vec<StateReference>,
    carries: Vec<StateCarry>,
    /// Multiply-adds of a pair.
    pair: f64,
}

impl<'s, 'b, 'p> Shared<'s, 'b, 'p> {
    pub(super) fn new(
        build: &'s mut Build<'b>,
        at: (usize, usize),
        row: VarId,
        stream: VarId,
        ties: Vec<ExprId>,
        places: &'p mut Places,
    ) -> Self {
        Self {
            build,
            at,
            row,
            stream,
            ties,
            places,
            memo: BTreeMap::new(),
            references: Vec::new(),
            carries: Vec::new(),
            pair: 0.0,
        }
    }

    /// The state, the starts and the extent from which on they pay.
    pub(super) fn build(&mut self, references: &[usize], carries: &[usize]) -> Result<(Sweep, Starts, u64), String> {
        let mut starts = (Vec::new(), Vec::new());
        // of each reference of the sweep its place in the state
        let mut own = Vec::new();
        for &r in references {
            let (at, start) = self.reference(r)?;
            own.push(at);
            starts.0.push(start);
        }
        let mut contracted: BTreeSet<Vec<VarId>> = BTreeSet::new();
        for &c in carries {
            let instance = self.build.carries[c].clone();
            let of = instance.reference.and_then(|r| references.iter().position(|x| *x == r));
            let start = self.carry(c, of.map(|of| own[of]), &mut contracted)?;
            starts.1.push(start);
        }
        if self.carries.iter().all(|c| c.dims.is_empty()) {
            return Err(String::new());
        }
        let contracted: Vec<f64> = contracted.iter().map(|vars| self.elements(vars)).collect();
        let pair = self.pair + contracted.into_iter().sum::<f64>();
        let dims: Vec<Vec<VarId>> = self.carries.iter().map(|c| c.dims.clone()).collect();
        let state: f64 = dims.iter().map(|dims| self.elements(dims)).sum();
        let limit = self.build.state.options.carry_limit;
        if let Some(most) = dims.iter().map(|d| self.elements(d)).find(|n| *n > limit as f64) {
            return Err(format!("a state of {most} elements, limit {limit}"));
        }
        let pays_from = (4.0 * state / pair.max(1.0)).ceil() as u64;
        Ok((self.sweep(), starts, pays_from))
    }

    /// Splits the form of a reference; gives the reference of the state and where a row's starts.
    fn reference(&mut self, r: usize) -> Result<(usize, ExprId), String> {
        let instance = self.build.references[r].clone();
        let (conds, guards) = self.split_conds(&instance.conds);
        let (form, mut separation) = self.separation(instance.form);
        let terms = separation.exponential(form, form, 1.0).map_err(|_| String::new())?;
        let [term] = &terms[..] else {
            return Err(String::new());
        };
        let (alpha, beta) = (term.row.exponent.clone(), term.streamed.exponent.clone());
        let at = self.state_reference(&beta, &conds);
        let mut start = self.reference_leaf(at);
        if let Some(alpha) = alpha.to_expr(self.build.state.arena()) {
            let alpha = self.placed(alpha);
            start = self.build.state.arena().map(MapOp::Add, &[alpha, start]);
        }
        let nothing = self.build.state.arena().real(f64::NEG_INFINITY);
        for guard in guards {
            start = self.build.state.select(guard, start, nothing);
        }
        Ok((at, start))
    }

    /// Splits what a carry sums; gives where a row's starts.
    fn carry(
        &mut self,
        c: usize,
        reference: Option<usize>,
        contracted: &mut BTreeSet<Vec<VarId>>,
    ) -> Result<ExprId, String> {
        let instance = self.build.carries[c].clone();
        let spec = self.build.state.accumulators[instance.accumulator].clone();
        let weight = reference.zip(spec.reference.map(|(_, k)| k));
        let (conds, guards) = self.split_conds(&instance.conds);
        self.pair += self.elements(&spec.dims);
        if spec.op != ReduceOp::Sum {
            return self.extremum(&spec.name, spec.op, &instance.streamed, &conds, &guards);
        }
        let (body, mut separation) = self.separation(instance.streamed);
        let terms = separation.separate(body).map_err(|_| String::new())?;
        let mixed = self.has_mixed_exponential(body);
        self.gate(&terms)?;
        let mut sum: Option<ExprId> = None;
        for term in terms {
            contracted.extend((!term.shared.is_empty()).then(|| term.shared.clone()));
            let part = self.term(&spec.name, &conds, term, weight, mixed)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => self.build.state.add(sum, part),
            });
        }
        let zero = self.build.state.arena().real(0.0);
        let mut start = sum.unwrap_or(zero);
        for guard in guards {
            start = self.build.state.select(guard, start, zero);
        }
        Ok(start)
    }

    /// `alpha St` of one term. Exponentials that mix row and stream leave a weight of their own in the state, relative to a reference; others are
    /// factors that the direct form computes as they stand.
    fn term(
        &mut self,
        name: &str,
        conds: &[ExprId],
        mut term: Term,
        mut weight: Option<(usize, (i64, i64))>,
        mixed: bool,
    ) -> Result<ExprId, String> {
        let mut scale = None;
        if mixed && !term.streamed.exponent.is_zero() {
            if weight.is_some() {
                return Err("a weight of its own beside the reference".to_owned());
            }
            let at = self.state_reference(&term.streamed.exponent, conds);
            weight = Some((at, (1, 1)));
            let g = self.reference_leaf(at);
            let alpha = std::mem::take(&mut term.row.exponent);
            term.streamed.exponent = Linear::default();
            let exponent = match alpha.to_expr(self.build.state.arena()) {
                Some(alpha) => {
                    let alpha = self.placed(alpha);
                    self.build.state.arena().map(MapOp::Add, &[alpha, g])
                }
                None => g,
            };
            scale = Some(self.build.state.map1(MapOp::Exp, exponent));
        }
        let mut row = term.row.clone();
        row.coefficient *= term.streamed.coefficient;
        term.streamed.coefficient = 1.0;
        let row = row.to_expr(self.build.state.arena());
        let mut value = self.placed(row);
        if let Some(scale) = scale {
            value = self.build.state.mul(value, scale);
        }
        let at = self.state_carry(name, ReduceOp::Sum, term.streamed, conds, weight, &term.shared);
        let leaf = self.carry_leaf(at);
        value = self.build.state.mul(value, leaf);
        if term.shared.is_empty() {
            return Ok(value);
        }
        Ok(self.build.state.arena().add(Expr::Reduce(Reduce {
            op: ReduceOp::Sum,
            vars: term.shared,
            conds: Vec::new(),
            body: value,
        })))
    }

    /// Reductions other than sums are shared as they stand (S0 only).
    fn extremum(
        &mut self,
        name: &str,
        op: ReduceOp,
        streamed: &ExprId,
        conds: &[ExprId],
        guards: &[ExprId],
    ) -> Result<ExprId, String> {
        let (body, mut separation) = self.separation(*streamed);
        let late = separation.late(body);
        let plain = matches!(op, ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All);
        if late || !plain || !guards.is_empty() {
            let op = format!("{op:?}").to_lowercase();
            return Err(format!("{op} does not split over rows"));
        }
        let at = self.state_carry(name, op, Product::factor(body), conds, None, &[]);
        Ok(self.carry_leaf(at))
    }

    /// `e` with the row as a late leaf, and a separation over it.
    fn separation(&mut self, e: ExprId) -> (ExprId, Separation<'_>) {
        let state = &mut *self.build.state;
        let row = state.leaf(PlanLeaf::Crossing(ROW), &[]);
        let e = state.substitute(e, &BTreeMap::from([(self.row, row)]));
        let e = state.spread_coordinates(e);
        // state of the row itself is a row value as well
        let of_row = |l: &LeafId| matches!(PlanLeaf::of(*l), PlanLeaf::Carry(_) | PlanLeaf::Reference(_));
        let mut late: BTreeSet<LeafId> = state.leaves(e).iter().copied().filter(of_row).collect();
        late.insert(PlanLeaf::Crossing(ROW).id());
        let mut taken: BTreeSet<VarId> = state.free(e).iter().copied().collect();
        taken.insert(self.stream);
        let separation = Separation {
            state,
            late,
            vars: Streamed::These([self.stream].into()),
            taken,
        };
        (e, separation)
    }

    /// Conditions of the state, and those of the row alone as finished guards. The bound is neither.
    fn split_conds(&mut self, conds: &[ExprId]) -> (Vec<ExprId>, Vec<ExprId>) {
        let (mut state, mut guards) = (Vec::new(), Vec::new());
        let others: Vec<ExprId> = conds.iter().copied().filter(|c| !self.ties.contains(c)).collect();
        for cond in others {
            let row = self.build.state.free(cond).contains(&self.row) || {
                let leaves = self.build.state.leaves(cond);
                let of_row = |l: &LeafId| matches!(PlanLeaf::of(*l), PlanLeaf::Carry(_) | PlanLeaf::Reference(_));
                leaves.iter().any(of_row)
            };
            if row {
                let guard = self.placed(cond);
                guards.push(guard);
            } else {
                state.push(cond);
            }
        }
        (state, guards)
    }

    /// Whether an exponential mentions both the row and the stream.
    fn has_mixed_exponential(&mut self, e: ExprId) -> bool {
        let row = PlanLeaf::Crossing(ROW).id();
        let mut open = vec![e];
        let mut seen = BTreeSet::new();
        while let Some(e) = open.pop() {
            if !seen.insert(e) {
                continue;
            }
            let state = &mut *self.build.state;
            if matches!(state.expr(e), Expr::Map(MapOp::Exp | MapOp::Exp2, _))
                && state.leaves(e).contains(&row)
                && state.free(e).contains(&self.stream)
            {
                return true;
            }
            open.extend(state.cascade.exprs.children(e));
        }
        false
    }

    /// N5: terms of opposite sign must not cancel after a 16-bit dot.
    fn gate(&mut self, terms: &[Term]) -> Result<(), String> {
        if terms.len() < 2 || self.build.state.options.fold_rounded {
            return Ok(());
        }
        let half = |d: DType| matches!(d, DType::F16 | DType::BF16);
        if !self.build.state.cascade.inputs.iter().any(|i| half(i.dtype)) {
            return Ok(());
        }
        let (mut positive, mut negative) = (true, true);
        for term in terms {
            let row = term.row.to_expr(self.build.state.arena());
            let sign = self.build.state.sign(row);
            positive &= sign.nonneg();
            negative &= sign.nonpos();
        }
        if positive || negative {
            return Ok(());
        }
        Err(format!(
            "{} terms of opposite sign would cancel after a 16-bit dot",
            terms.len()
        ))
    }

    fn state_reference(&mut self, form: &Linear, conds: &[ExprId]) -> usize {
        let state = &mut *self.build.state;
        let zero = state.arena().real(0.0);
        let form = form.to_expr(state.arena()).unwrap_or(zero);
        let found = self.references.iter().position(|r| r.form == form && r.conds == conds);
        if let Some(found) = found {
            return found;
        }
        let dims = self.dims(&[form], conds, &[]);
        let (kernel, sweep) = self.at;
        let reference = self.references.len();
        let leaf = self.places.push(LeafDef::StateReference {
            kernel,
            sweep,
            reference,
        });
        self.references.push(StateReference {
            form,
            conds: conds.to_vec(),
            dims,
            leaf,
        });
        reference
    }

    fn state_carry(
        &mut self,
        name: &str,
        op: ReduceOp,
        streamed: Product,
        conds: &[ExprId],
        weight: Option<(usize, (i64, i64))>,
        shared: &[VarId],
    ) -> usize {
        let mut parts: Vec<ExprId> = streamed.factors.iter().map(|(f, _)| *f).collect();
        parts.extend(streamed.exponent.0.keys());
        let mut dims = self.dims(&parts, conds, shared);
        if let Some((r, _)) = weight {
            let more: Vec<VarId> = self.references[r]
                .dims
                .iter()
                .copied()
                .filter(|d| !dims.contains(d))
                .collect();
            dims.extend(more);
        }
        let found = self.carries.iter().position(|c| {
            (c.op, c.weight, &c.dims) == (op, weight, &dims) && c.conds == conds && c.streamed.same_monomial(&streamed)
        });
        if let Some(found) = found {
            return found;
        }
        let of_name = self
            .carries
            .iter()
            .filter(|c| c.name.starts_with(&format!("{name}.state")));
        let name = match of_name.count() {
            0 => format!("{name}.state"),
            n => format!("{name}.state{n}"),
        };
        let (kernel, sweep) = self.at;
        let carry = self.carries.len();
        let leaf = self.places.push(LeafDef::State { kernel, sweep, carry });
        self.carries.push(StateCarry {
            op,
            streamed,
            conds: conds.to_vec(),
            dims,
            weight,
            leaf,
            name,
        });
        carry
    }

    /// Local variables of `parts` and `conds`, `first` before the others.
    fn dims(&mut self, parts: &[ExprId], conds: &[ExprId], first: &[VarId]) -> Vec<VarId> {
        let mut free: BTreeSet<VarId> = BTreeSet::new();
        for e in parts.iter().chain(conds) {
            free.extend(self.build.state.free(*e).iter().copied());
        }
        let state = &*self.build.state;
        let mut dims: Vec<VarId> = first.iter().copied().filter(|v| free.contains(v)).collect();
        let rest: Vec<VarId> = free
            .into_iter()
            .filter(|v| !state.is_big(*v) && *v != self.stream && !dims.contains(v))
            .collect();
        dims.extend(rest);
        dims
    }

    fn reference_leaf(&mut self, at: usize) -> ExprId {
        let (leaf, dims) = (self.references[at].leaf, self.references[at].dims.clone());
        let indices = self.build.state.vars_as_indices(&dims);
        self.build.state.arena().add(Expr::Leaf(leaf, indices))
    }

    fn carry_leaf(&mut self, at: usize) -> ExprId {
        let (leaf, dims) = (self.carries[at].leaf, self.carries[at].dims.clone());
        let indices = self.build.state.vars_as_indices(&dims);
        self.build.state.arena().add(Expr::Leaf(leaf, indices))
    }

    /// An expression of the finished plan: the row is its variable again.
    fn placed(&mut self, e: ExprId) -> ExprId {
        let row = self.build.state.arena().var(self.row);
        let id = PlanLeaf::Crossing(ROW).id();
        let e = self.build.state.rewrite(e, &mut BTreeMap::new(), &mut |state, e| {
            matches!(state.expr(e), Expr::Leaf(leaf, _) if *leaf == id).then_some(row)
        });
        self.build.state.final_expr(e, self.places, &mut self.memo)
    }

    fn elements(&mut self, vars: &[VarId]) -> f64 {
        let state = &*self.build.state;
        let extents = vars.iter().filter_map(|v| {
            let extent = state.cascade.vars[v.index()].extent;
            crate::constant::constant(&state.cascade.exprs, extent)
        });
        extents.product()
    }

    fn sweep(&mut self) -> Sweep {
        let policy = self.build.state.options.policy;
        let mut sweep = Sweep {
            stream: vec![self.stream],
            ..Sweep::default()
        };
        for r in std::mem::take(&mut self.references) {
            let conds = r.conds.iter().map(|c| self.placed(*c)).collect();
            sweep.references.push(Reference {
                form: self.placed(r.form),
                dims: r.dims,
                inner: Vec::new(),
                conds,
                policy,
            });
        }
        for c in std::mem::take(&mut self.carries) {
            let conds = c.conds.iter().map(|c| self.placed(*c)).collect();
            let meaning = self.meaning(&c, &sweep);
            let streamed = match c.op {
                ReduceOp::Sum => c.streamed.to_expr(self.build.state.arena()),
                _ => c.streamed.factors[0].0,
            };
            sweep.carries.push(Carry {
                name: c.name,
                op: c.op,
                dims: c.dims,
                inner: Vec::new(),
                conds,
                streamed: self.placed(streamed),
                weight: c.weight,
                ordered: false,
                meaning,
            });
        }
        sweep
    }

    fn meaning(&mut self, c: &StateCarry, sweep: &Sweep) -> String {
        let mut whole = c.streamed.clone();
        if let Some((r, _)) = c.weight {
            let form = Linear::of(self.build.state.arena(), sweep.references[r].form);
            whole.exponent = whole.exponent.add(&form).unwrap_or_default();
        }
        let stream = [self.stream];
        self.build
            .state
            .reduction_text(c.op, &stream, &whole, c.weight.is_some())
    }
}
