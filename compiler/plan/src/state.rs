//! State shared by the planner's passes: the cascade with its growing arena, R-nodes, accumulators, events.
//!
//! Leaves of the planner live in ranges of [`LeafId`] of their own and are replaced by leaves of the plan at the end:
//! values of R-nodes, mathematical (unscaled) accumulators, emptiness of an R-node, instances in kernels.

use crate::PlanOptions;
use crate::facts::Facts;
use crate::ir::{Event, EventKind};
use crate::product::{Linear, Product};
use einloom_cascade::expr::{Arena, Expr, ExprId, LeafId, MapOp, ReduceOp, VarId};
use einloom_cascade::ir::Cascade;
use einloom_syntax::span::Span;
use std::collections::{BTreeMap, BTreeSet};

const RANGE: u32 = 1 << 26;

/// Which planner leaf a [`LeafId`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum PlanLeaf {
    /// Value of R-node; indices for its `params`.
    Value(usize),
    /// Mathematical accumulator; indices for its `dims`.
    Accumulator(usize),
    /// Whether the R-node reduced over nothing; indices for its `params`.
    Empty(usize),
    /// Carry instance of a kernel under construction.
    Carry(usize),
    /// Reference instance of a kernel under construction.
    Reference(usize),
    /// Crossing tensor.
    Crossing(usize),
    /// Folded row factor `lam`; indices for its `vars`.
    Folded(usize),
}

impl PlanLeaf {
    pub(crate) fn id(self) -> LeafId {
        let (range, index) = match self {
            PlanLeaf::Value(i) => (1, i),
            PlanLeaf::Accumulator(i) => (2, i),
            PlanLeaf::Empty(i) => (3, i),
            PlanLeaf::Carry(i) => (4, i),
            PlanLeaf::Reference(i) => (5, i),
            PlanLeaf::Crossing(i) => (6, i),
            PlanLeaf::Folded(i) => (7, i),
        };
        LeafId(range * RANGE + u32::try_from(index).expect("a plan should have few leaves"))
    }

    pub(crate) fn of(leaf: LeafId) -> Self {
        let index = (leaf.0 % RANGE) as usize;
        match leaf.0 / RANGE {
            1 => PlanLeaf::Value(index),
            2 => PlanLeaf::Accumulator(index),
            3 => PlanLeaf::Empty(index),
            4 => PlanLeaf::Carry(index),
            5 => PlanLeaf::Reference(index),
            6 => PlanLeaf::Crossing(index),
            _ => PlanLeaf::Folded(index),
        }
    }
}

/// A reduction over at least one big rank, inlined.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) span: Span,
    /// Free variables, the order of its value's indices.
    pub(crate) params: Vec<VarId>,
    pub(crate) op: ReduceOp,
    /// Big reduced variables, outermost first.
    pub(crate) stream: Vec<VarId>,
    /// Local reduced variables.
    pub(crate) inner: Vec<VarId>,
    /// Conditions on `params` alone under which the value exists: nobody reads it elsewhere.
    pub(crate) rows: Vec<ExprId>,
    pub(crate) conds: Vec<ExprId>,
    pub(crate) body: ExprId,
    /// Sweep number (`0` until planned).
    pub(crate) sweep: u32,
    /// Sweep after which the value is known: its own, or that of a late value in its finish.
    pub(crate) ready: u32,
    /// Number of grid-wide barriers before it.
    pub(crate) phase: u32,
    /// Value over accumulators, values of other nodes and emptiness, in terms of `params`.
    pub(crate) finish: Option<ExprId>,
}

/// What a sweep accumulates: `op` over live points of the streamed product.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accumulator {
    pub(crate) name: String,
    pub(crate) op: ReduceOp,
    pub(crate) stream: Vec<VarId>,
    pub(crate) inner: Vec<VarId>,
    pub(crate) dims: Vec<VarId>,
    pub(crate) conds: Vec<ExprId>,
    /// The whole streamed factor with coefficient 1; its exponent is the weight.
    pub(crate) streamed: Product,
    pub(crate) sweep: u32,
    /// Node that asked for it first.
    pub(crate) node: usize,
    /// Index into `State::references` with its coefficient, after grouping.
    pub(crate) reference: Option<(usize, (i64, i64))>,
    /// Its exponent is proved bounded, it needs no reference (N1).
    pub(crate) bounded: bool,
}

/// A group of accumulators with proportional exponents.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceSpec {
    pub(crate) form: Linear,
    pub(crate) stream: Vec<VarId>,
    pub(crate) inner: Vec<VarId>,
    pub(crate) dims: Vec<VarId>,
    pub(crate) conds: Vec<ExprId>,
    pub(crate) sweep: u32,
    pub(crate) node: usize,
}

/// A folded row factor (F4): `lam` and the exponent it normalises.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    /// Row expression `lam` over node values.
    pub(crate) lam: ExprId,
    /// Big variables of the row it belongs to.
    pub(crate) vars: Vec<VarId>,
    /// Nodes whose finished values it holds.
    pub(crate) nodes: Vec<usize>,
}

/// Everything the passes share.
pub(crate) struct State {
    pub(crate) cascade: Cascade,
    pub(crate) options: PlanOptions,
    pub(crate) facts: Facts,
    /// What the spec promises of its inputs.
    pub(crate) promises: crate::range::Facts,
    pub(crate) nodes: Vec<Node>,
    pub(crate) accumulators: Vec<Accumulator>,
    pub(crate) references: Vec<ReferenceSpec>,
    pub(crate) folded: Vec<Folded>,
    /// Inlined bodies of definitions, by definition.
    pub(crate) bodies: Vec<ExprId>,
    pub(crate) conds: Vec<Vec<ExprId>>,
    /// Names of inlined definitions, for messages.
    pub(crate) names: BTreeMap<ExprId, String>,
    pub(crate) big: Vec<bool>,
    /// Fresh copies of variables, made to avoid capture.
    pub(crate) copies: BTreeMap<VarId, Vec<VarId>>,
    pub(crate) events: Vec<Event>,
}

impl State {
    /// A fresh state; ranks are big unless their extent is a constant within the limit.
    pub(crate) fn new(cascade: Cascade, options: PlanOptions) -> Self {
        let limit = options.local_limit as f64;
        let big = cascade
            .vars
            .iter()
            .map(|v| {
                let extent = crate::constant::constant(&cascade.exprs, v.extent);
                extent.is_none_or(|n| n > limit)
            })
            .collect();
        let promises = crate::range::Facts::new(&cascade);
        Self {
            cascade,
            options,
            promises,
            facts: Facts::default(),
            nodes: Vec::new(),
            accumulators: Vec::new(),
            references: Vec::new(),
            folded: Vec::new(),
            bodies: Vec::new(),
            conds: Vec::new(),
            names: BTreeMap::new(),
            big,
            copies: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Range of an expression over the points where `conds` hold.
    pub(crate) fn range(&self, e: ExprId, conds: &[ExprId]) -> crate::range::RealRange {
        let unknown = crate::range::unknown_leaf;
        crate::range::Analysis::new(&self.cascade, &self.promises, conds, &unknown).of(e)
    }

    pub(crate) fn arena(&mut self) -> &mut Arena {
        &mut self.cascade.exprs
    }

    pub(crate) fn expr(&self, id: ExprId) -> &Expr {
        self.cascade.exprs.get(id)
    }

    pub(crate) fn free(&mut self, id: ExprId) -> std::rc::Rc<BTreeSet<VarId>> {
        self.facts.free(&self.cascade.exprs, id)
    }

    pub(crate) fn leaves(&mut self, id: ExprId) -> std::rc::Rc<BTreeSet<LeafId>> {
        self.facts.leaves(&self.cascade.exprs, id)
    }

    /// R-nodes whose values an expression reads, in order.
    pub(crate) fn values(&mut self, id: ExprId) -> Vec<usize> {
        let mut nodes = BTreeSet::new();
        for leaf in self.leaves(id).iter() {
            match PlanLeaf::of(*leaf) {
                PlanLeaf::Value(node) => {
                    nodes.insert(node);
                }
                PlanLeaf::Folded(i) => nodes.extend(self.folded[i].nodes.iter().copied()),
                _ => {}
            }
        }
        nodes.into_iter().collect()
    }

    pub(crate) fn is_big(&self, var: VarId) -> bool {
        self.big[var.index()]
    }

    pub(crate) fn var_name(&self, var: VarId) -> &str {
        &self.cascade.vars[var.index()].name
    }

    pub(crate) fn event(&mut self, kind: EventKind, span: Option<Span>, text: impl Into<String>) {
        let event = Event {
            kind,
            span,
            text: text.into(),
        };
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    pub(crate) fn leaf(&mut self, leaf: PlanLeaf, indices: &[ExprId]) -> ExprId {
        self.arena().add(Expr::Leaf(leaf.id(), indices.to_vec()))
    }

    pub(crate) fn vars_as_indices(&mut self, vars: &[VarId]) -> Vec<ExprId> {
        vars.iter().map(|v| self.cascade.exprs.var(*v)).collect()
    }

    pub(crate) fn map1(&mut self, op: MapOp, a: ExprId) -> ExprId {
        self.arena().map(op, &[a])
    }

    pub(crate) fn is_const(&self, e: ExprId, value: f64) -> bool {
        crate::constant::constant(&self.cascade.exprs, e) == Some(value)
    }

    /// `a * b` without factors of one.
    pub(crate) fn mul(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_const(a, 1.0) {
            b
        } else if self.is_const(b, 1.0) {
            a
        } else {
            self.arena().map(MapOp::Mul, &[a, b])
        }
    }

    pub(crate) fn div(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_const(b, 1.0) {
            a
        } else {
            self.arena().map(MapOp::Div, &[a, b])
        }
    }

    pub(crate) fn add(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_const(a, 0.0) {
            b
        } else if self.is_const(b, 0.0) {
            a
        } else {
            self.arena().map(MapOp::Add, &[a, b])
        }
    }

    pub(crate) fn select(&mut self, c: ExprId, a: ExprId, b: ExprId) -> ExprId {
        if a == b {
            a
        } else {
            self.arena().add(Expr::Select([c, a, b]))
        }
    }
}
