//! From kernels under construction to the plan: order of kernels, sweeps and carries, final leaves.

use crate::build::{Build, BuildStore};
use crate::ir::{Carry, Crossing, Event, EventKind, FusedPlan, Kernel, LeafDef, Reference, Store, Sweep, Target};
use crate::state::{PlanLeaf, State};
use einloom_cascade::expr::{Expr, ExprId, LeafId, VarId};
use std::collections::{BTreeMap, BTreeSet};

/// Positions of instances in the finished plan.
pub(crate) struct Places {
    leaves: Vec<LeafDef>,
    of: BTreeMap<LeafId, LeafId>,
}

impl Places {
    fn add(&mut self, from: PlanLeaf, def: LeafDef) {
        let id = LeafId(u32::try_from(self.leaves.len()).expect("a plan should have few leaves"));
        self.leaves.push(def);
        self.of.insert(from.id(), id);
    }

    /// A leaf that the finished plan alone has.
    pub(crate) fn push(&mut self, def: LeafDef) -> LeafId {
        self.leaves.push(def);
        LeafId(u32::try_from(self.leaves.len() - 1).expect("a plan should have few leaves"))
    }

    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.leaves.truncate(len);
    }
}

pub(crate) type SweepKey = (u32, Vec<VarId>);

impl Build<'_> {
    /// Finishes the plan.
    pub(crate) fn assemble(mut self, sweeps_written: u32) -> FusedPlan {
        let live = self.live();
        for kernel in &mut self.kernels {
            kernel.stores.retain(|s| match s.target {
                Target::Output(_) => true,
                Target::Crossing(c) => live.contains(&PlanLeaf::Crossing(c)),
            });
        }
        let mut order: Vec<usize> = (0..self.kernels.len())
            .filter(|k| !self.kernels[*k].stores.is_empty() || !self.kernels[*k].emits.is_empty())
            .collect();
        order.sort_by_key(|k| self.kernels[*k].phase);
        let keys: Vec<Vec<SweepKey>> = order.iter().map(|k| self.sweep_keys(*k, &live)).collect();
        let mut places = Places {
            leaves: Vec::new(),
            of: BTreeMap::new(),
        };
        let mut layout = Vec::new();
        for (position, kernel) in order.iter().enumerate() {
            let mut per_sweep = Vec::new();
            for (sweep, key) in keys[position].iter().enumerate() {
                let at = (position, sweep);
                per_sweep.push(self.lay_out(at, *kernel, key, &live, &mut places));
            }
            layout.push(per_sweep);
        }
        let crossings: Vec<usize> = (0..self.crossings.len())
            .filter(|c| live.contains(&PlanLeaf::Crossing(*c)))
            .collect();
        for (index, crossing) in crossings.iter().enumerate() {
            places.add(PlanLeaf::Crossing(*crossing), LeafDef::Crossing(index));
        }
        for kernel in &mut self.kernels {
            for store in &mut kernel.stores {
                if let Target::Crossing(c) = &mut store.target {
                    let index = crossings.iter().position(|x| x == c);
                    *c = index.expect("dead crossings were removed with their stores");
                }
            }
        }
        self.report_dead(&live);
        self.crossings = crossings.iter().map(|c| self.crossings[*c].clone()).collect();
        let mut memo = BTreeMap::new();
        let mut kernels = Vec::new();
        let mut chunked: Vec<(SweepKey, Option<String>)> = Vec::new();
        for (position, kernel) in order.iter().enumerate() {
            let mut sweeps = Vec::new();
            for (sweep, key) in keys[position].iter().enumerate() {
                let (references, carries) = &layout[position][sweep];
                let mut built = self.sweep(*kernel, key, references, carries, &places, &mut memo);
                let at = (position, sweep);
                match self.chunks(at, *kernel, &built, (references, carries), &mut places) {
                    Ok(chunks) => {
                        built.chunks = Some(Box::new(chunks));
                        chunked.push((key.clone(), None));
                    }
                    Err(reason) => chunked.push((key.clone(), Some(reason))),
                }
                sweeps.push(built);
            }
            let k = self.kernels[*kernel].clone();
            let stores = k
                .stores
                .into_iter()
                .map(|s| self.store(s, &places, &mut memo))
                .collect();
            kernels.push(Kernel {
                name: k.name,
                domain: self.domain(*kernel),
                resident: k.resident,
                piece: None,
                sweeps,
                stores,
            });
        }
        self.state.report_chunks(&chunked);
        let sweeps = State::loops(keys.into_iter().flatten());
        self.finish_plan(kernels, places.leaves, sweeps_written, sweeps)
    }

    /// The conditions that all R-nodes share which a kernel may compute.
    fn domain(&self, kernel: usize) -> Vec<ExprId> {
        let kernel = &self.kernels[kernel];
        let own = |n: &&crate::state::Node| n.phase == kernel.phase && kernel.streams.contains(&n.stream);
        let mut nodes = self.state.nodes.iter().filter(own);
        let mut domain = nodes.next().map(|n| n.rows.clone()).unwrap_or_default();
        for node in nodes {
            domain.retain(|c| node.rows.contains(c));
        }
        domain
    }

    /// Everything that an output reads, directly or through other state (F3).
    fn live(&mut self) -> BTreeSet<PlanLeaf> {
        let mut live: BTreeSet<PlanLeaf> = BTreeSet::new();
        let mut queue: Vec<ExprId> = Vec::new();
        for kernel in &self.kernels {
            let emits = kernel.emits.iter().map(|e| &e.2);
            for store in kernel.stores.iter().chain(emits) {
                if let Target::Output(_) = store.target {
                    queue.push(store.value);
                    queue.extend(&store.conds);
                }
            }
        }
        while let Some(e) = queue.pop() {
            for leaf in self.state.leaves(e).iter() {
                let leaf = PlanLeaf::of(*leaf);
                if !live.insert(leaf) {
                    continue;
                }
                match leaf {
                    PlanLeaf::Carry(c) => {
                        let carry = &self.carries[c];
                        queue.push(carry.streamed);
                        queue.extend(&carry.conds);
                        if let Some(r) = carry.reference {
                            queue.push(self.state.leaf(PlanLeaf::Reference(r), &[]));
                        }
                    }
                    PlanLeaf::Reference(r) => {
                        queue.push(self.references[r].form);
                        queue.extend(&self.references[r].conds);
                    }
                    PlanLeaf::Crossing(c) => {
                        let stores = self.kernels.iter().flat_map(|k| &k.stores);
                        let store = stores.into_iter().find(|s| s.target == Target::Crossing(c));
                        queue.extend(store.map(|s| s.value));
                    }
                    _ => {}
                }
            }
        }
        live
    }

    fn report_dead(&mut self, live: &BTreeSet<PlanLeaf>) {
        let used: BTreeSet<usize> = (0..self.carries.len())
            .filter(|c| live.contains(&PlanLeaf::Carry(*c)))
            .map(|c| self.carries[c].accumulator)
            .collect();
        for (index, a) in self.state.accumulators.clone().iter().enumerate() {
            if !used.contains(&index) {
                let span = Some(self.state.nodes[a.node].span);
                let text = format!("{}: no finish reads it, dropped (F3)", a.name);
                self.state.event(EventKind::Dead, span, text);
            }
        }
    }

    fn sweep_keys(&self, kernel: usize, live: &BTreeSet<PlanLeaf>) -> Vec<SweepKey> {
        let mut keys: BTreeSet<SweepKey> = BTreeSet::new();
        for (index, c) in self.carries.iter().enumerate() {
            if c.kernel != kernel || !live.contains(&PlanLeaf::Carry(index)) {
                continue;
            }
            let a = &self.state.accumulators[c.accumulator];
            keys.insert((a.sweep, a.stream.clone()));
        }
        for (index, r) in self.references.iter().enumerate() {
            if r.kernel != kernel || !live.contains(&PlanLeaf::Reference(index)) {
                continue;
            }
            let spec = &self.state.references[r.spec];
            keys.insert((spec.sweep, spec.stream.clone()));
        }
        for (sweep, stream, _) in &self.kernels[kernel].emits {
            keys.insert((*sweep, stream.clone()));
        }
        keys.into_iter().collect()
    }

    /// Instances of one sweep in order, with their leaves.
    fn lay_out(
        &self,
        (position, sweep): (usize, usize),
        kernel: usize,
        key: &SweepKey,
        live: &BTreeSet<PlanLeaf>,
        places: &mut Places,
    ) -> (Vec<usize>, Vec<usize>) {
        let mut references: Vec<usize> = (0..self.references.len())
            .filter(|r| {
                let is_live = live.contains(&PlanLeaf::Reference(*r));
                let instance = &self.references[*r];
                let spec = &self.state.references[instance.spec];
                is_live && instance.kernel == kernel && spec.sweep == key.0 && spec.stream == key.1
            })
            .collect();
        references.sort_by_key(|r| self.references[*r].spec);
        let mut carries: Vec<usize> = (0..self.carries.len())
            .filter(|c| {
                let is_live = live.contains(&PlanLeaf::Carry(*c));
                let instance = &self.carries[*c];
                let a = &self.state.accumulators[instance.accumulator];
                is_live && instance.kernel == kernel && a.sweep == key.0 && a.stream == key.1
            })
            .collect();
        carries.sort_by_key(|c| self.carries[*c].accumulator);
        for (index, r) in references.iter().enumerate() {
            places.add(
                PlanLeaf::Reference(*r),
                LeafDef::Reference {
                    kernel: position,
                    sweep,
                    reference: index,
                },
            );
        }
        for (index, c) in carries.iter().enumerate() {
            places.add(
                PlanLeaf::Carry(*c),
                LeafDef::Carry {
                    kernel: position,
                    sweep,
                    carry: index,
                },
            );
        }
        (references, carries)
    }

    fn sweep(
        &mut self,
        kernel: usize,
        key: &SweepKey,
        references: &[usize],
        carries: &[usize],
        places: &Places,
        memo: &mut BTreeMap<ExprId, ExprId>,
    ) -> Sweep {
        let policy = self.state.options.policy;
        let mut sweep = Sweep {
            stream: key.1.clone(),
            ..Sweep::default()
        };
        for r in references {
            let instance = self.references[*r].clone();
            let spec = self.state.references[instance.spec].clone();
            sweep.references.push(Reference {
                form: self.state.final_expr(instance.form, places, memo),
                dims: spec.dims,
                inner: spec.inner,
                conds: self.state.final_exprs(&instance.conds, places, memo),
                policy,
            });
        }
        for c in carries {
            let instance = self.carries[*c].clone();
            let a = self.state.accumulators[instance.accumulator].clone();
            let weight = instance.reference.zip(a.reference).map(|(r, (_, k))| {
                let index = references.iter().position(|x| *x == r);
                (index.expect("a carry's reference is in its sweep"), k)
            });
            let meaning = self.meaning(instance.accumulator);
            let streamed = self.state.final_expr(instance.streamed, places, memo);
            sweep.carries.push(Carry {
                name: a.name.clone(),
                op: a.op,
                dims: a.dims,
                inner: a.inner,
                conds: self.state.final_exprs(&instance.conds, places, memo),
                streamed,
                weight,
                ordered: matches!(
                    a.op,
                    einloom_cascade::expr::ReduceOp::ArgMax | einloom_cascade::expr::ReduceOp::ArgMin
                ),
                meaning: meaning.clone(),
            });
            let span = Some(self.state.nodes[a.node].span);
            let text = format!("{} = {meaning}", a.name);
            self.state.event(EventKind::Carry, span, text);
        }
        let emits = self.kernels[kernel].emits.clone();
        for (number, stream, store) in emits {
            if (number, stream) == *key {
                let store = self.store(store, places, memo);
                sweep.emits.push(store);
            }
        }
        sweep
    }

    fn store(&mut self, store: BuildStore, places: &Places, memo: &mut BTreeMap<ExprId, ExprId>) -> Store {
        Store {
            target: store.target,
            vars: store.vars,
            conds: self.state.final_exprs(&store.conds, places, memo),
            value: self.state.final_expr(store.value, places, memo),
            places: store.places,
        }
    }

    fn finish_plan(self, kernels: Vec<Kernel>, leaves: Vec<LeafDef>, sweeps_written: u32, sweeps: u32) -> FusedPlan {
        let mut why: Vec<Event> = std::mem::take(&mut self.state.events);
        why.sort_by_key(|e| e.kind);
        FusedPlan {
            cascade: std::mem::take(&mut self.state.cascade),
            kernels,
            crossings: self
                .crossings
                .into_iter()
                .map(|c| Crossing {
                    name: c.name,
                    dims: c.dims,
                    kind: c.kind,
                    partial: false,
                })
                .collect(),
            leaves,
            sweeps_written,
            sweeps,
            why,
        }
    }

    /// What an accumulator means, in formula form.
    fn meaning(&mut self, accumulator: usize) -> String {
        let a = self.state.accumulators[accumulator].clone();
        let over: Vec<VarId> = a.stream.iter().chain(&a.inner).copied().collect();
        self.state
            .reduction_text(a.op, &over, &a.streamed, a.reference.is_some())
    }
}

impl State {
    /// `sum[m] exp(S - g) V`.
    pub(crate) fn reduction_text(
        &mut self,
        op: einloom_cascade::expr::ReduceOp,
        over: &[VarId],
        streamed: &crate::product::Product,
        referred: bool,
    ) -> String {
        let over: Vec<&str> = over.iter().map(|v| self.var_name(*v)).collect();
        let over = over.join(", ");
        let mut factors: Vec<String> = Vec::new();
        let mut weight: Vec<String> = Vec::new();
        for (atom, k) in &streamed.exponent.0 {
            let name = self.short_name(*atom);
            weight.push(match (k.num, k.den) {
                (1, 1) => name,
                (-1, 1) => format!("-{name}"),
                (n, 1) => format!("{n} {name}"),
                (n, d) => format!("{n}/{d} {name}"),
            });
        }
        if !weight.is_empty() {
            let g = if referred { " - g" } else { "" };
            factors.push(format!("exp({}{g})", weight.join(" + ")));
        }
        for (factor, k) in &streamed.factors {
            let name = self.short_name(*factor);
            factors.push(if (k.num, k.den) == (1, 1) {
                name
            } else {
                format!("{name}^{}", k.to_f64())
            });
        }
        if factors.is_empty() {
            factors.push("1".to_owned());
        }
        let op = format!("{op:?}").to_lowercase();
        format!("{op}[{over}] {}", factors.join(" "))
    }

    pub(crate) fn final_expr(&mut self, e: ExprId, places: &Places, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        self.rewrite(e, memo, &mut |state, e| {
            let Expr::Leaf(leaf, indices) = state.expr(e).clone() else {
                return None;
            };
            let to = places.of.get(&leaf).copied()?;
            Some(state.arena().add(Expr::Leaf(to, indices)))
        })
    }

    pub(crate) fn final_exprs(
        &mut self,
        list: &[ExprId],
        places: &Places,
        memo: &mut BTreeMap<ExprId, ExprId>,
    ) -> Vec<ExprId> {
        list.iter().map(|e| self.final_expr(*e, places, memo)).collect()
    }

    /// The name of an expression for reports: its definition's or its input's, or the names it is made of.
    pub(crate) fn short_name(&mut self, e: ExprId) -> String {
        if let Some(name) = self.names.get(&e) {
            return name.clone();
        }
        match self.expr(e).clone() {
            Expr::Input(i, _) => self.cascade.inputs[i.index()].name.clone(),
            Expr::Leaf(leaf, _) => match PlanLeaf::of(leaf) {
                PlanLeaf::Value(n) => self.nodes[n].name.clone(),
                PlanLeaf::Folded(_) => "lam".to_owned(),
                _ => "state".to_owned(),
            },
            Expr::Bool(true) => "live".to_owned(),
            Expr::Map(einloom_cascade::expr::MapOp::ToReal, args) => {
                format!("[{}]", self.short_name(args[0]))
            }
            _ => {
                let mut names: Vec<String> = Vec::new();
                let mut queue = vec![e];
                let mut seen = BTreeSet::new();
                while let Some(next) = queue.pop() {
                    if !seen.insert(next) {
                        continue;
                    }
                    let name = match self.expr(next) {
                        Expr::Input(i, _) => Some(self.cascade.inputs[i.index()].name.clone()),
                        Expr::Leaf(..) => Some(self.short_name(next)),
                        _ => self.names.get(&next).cloned(),
                    };
                    match name {
                        Some(name) if !names.contains(&name) => names.push(name),
                        Some(_) => {}
                        None => {
                            let mut children = self.cascade.exprs.children(next);
                            children.reverse();
                            queue.extend(children);
                        }
                    }
                }
                if names.is_empty() {
                    return "coordinates".to_owned();
                }
                format!("f({})", names.join(", "))
            }
        }
    }
}
