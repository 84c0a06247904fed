//! Split sweeps: pieces of the streamed rank lie on the grid, a second kernel merges their states.
//!
//! A sweep absorbs any disjoint tiles, and partial states merge (module doc of [`crate::ir`]). So one kernel over `m < M` may be two, which give
//! a card enough blocks where there are few resident points and many streamed ones (a few queries, a long cache):
//!
//! ```text
//! pieces: for every resident point and every s < ceil(M / length):
//!             the state (g_s, B_s) over the points s length <= m < (s + 1) length -> crossings
//! merge:  for every resident point: g = max_s g_s,  B = op_s exp(k (g_s - g)) B_s; then the stores
//! ```
//!
//! The second kernel is a sweep over `s` like any other: `g_s` is its form, `B_s` what it streams. A piece without live points has the reference
//! -inf, which weighs nothing, and the identity of `op`. What cannot be merged element by element (the place of a maximum), is streamed in order, or emits at
//! streamed points stays one kernel, and so does a kernel of several sweeps: each would need a merge before the next.

use crate::ir::{
    Carry, Crossing, Event, EventKind, FusedPlan, Kernel, LeafDef, Policy, Reference, Store, Sweep, Target,
};
use crate::kinds::carry_kind;
use crate::rewrite::with_children;
use einloom_cascade::expr::{Expr, ExprId, Kind, LeafId, MapOp, ReduceOp, VarId};
use einloom_cascade::ir::{Cascade, Var};
use std::collections::BTreeMap;

/// Whether sweeps are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Split {
    /// As the extents of launches suggest, where they are known: the compiler's choice, not the planner's.
    #[default]
    Auto,
    Off,
    /// In pieces of so many streamed points.
    Pieces(i64),
}

impl Split {
    /// What the spec says by `policy split = off | 512`; the last one counts.
    pub fn of(cascade: &Cascade) -> Split {
        let said = cascade.policies.iter().rev().filter(|p| p.key == "split");
        let mut said = said.filter_map(|p| Split::parse(&p.value));
        said.next().unwrap_or_default()
    }

    pub(crate) fn parse(value: &str) -> Option<Split> {
        match value {
            "auto" => Some(Split::Auto),
            "off" => Some(Split::Off),
            number => number.parse().ok().filter(|n| *n > 0).map(Split::Pieces),
        }
    }
}

/// Why a kernel stays one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("a piece has {0} points; it must have one at least")]
    Length(i64),
    #[error("it streams nothing")]
    NoStream,
    #[error("it has {0} sweeps, and each would need a merge before the next")]
    Sweeps(usize),
    #[error("it writes at streamed points")]
    Emits,
    #[error("`{0}` is not merged element by element")]
    Carry(String),
    #[error("it merges pieces itself")]
    Merge,
}

/// Splits every kernel that can be split, and says in the report why another one is not.
pub fn split_all(plan: &mut FusedPlan, length: i64) {
    let mut at = 0;
    while at < plan.kernels.len() {
        let name = plan.kernels[at].name.clone();
        at += match split(plan, at, length) {
            Ok(()) => 2,
            Err(reason) => {
                plan.why
                    .push(event(EventKind::Rejected, format!("{name}: not split, {reason}")));
                1
            }
        };
    }
    plan.why.sort_by_key(|e| e.kind);
}

/// Whether a kernel can be split.
///
/// # Errors
/// The reason why not.
pub fn splittable(plan: &FusedPlan, kernel: usize) -> Result<(), SplitError> {
    let kernel = &plan.kernels[kernel];
    let [sweep] = kernel.sweeps.as_slice() else {
        return Err(SplitError::Sweeps(kernel.sweeps.len()));
    };
    if kernel.piece.is_some() || plan.merges(kernel) {
        return Err(SplitError::Merge);
    }
    if sweep.stream.is_empty() {
        return Err(SplitError::NoStream);
    }
    if !sweep.emits.is_empty() {
        return Err(SplitError::Emits);
    }
    let merged = |carry: &&Carry| {
        let op = matches!(carry.op, ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min);
        // The identities of whole numbers do not fit the 32 bits of a crossing, but 0 does.
        let kind = match carry_kind(plan, &plan.cascade.exprs, carry) {
            Kind::Real => true,
            Kind::Int => carry.op == ReduceOp::Sum,
            Kind::Bool => false,
        };
        op && kind && !carry.ordered
    };
    match sweep.carries.iter().find(|c| !merged(c)) {
        Some(carry) => Err(SplitError::Carry(carry.name.clone())),
        None => Ok(()),
    }
}

/// Replaces a kernel by one for pieces of `length` points of its outermost streamed variable, and one that merges them.
///
/// # Errors
/// See [`SplitError`]; the plan is as it was.
pub fn split(plan: &mut FusedPlan, kernel: usize, length: i64) -> Result<(), SplitError> {
    if length < 1 {
        return Err(SplitError::Length(length));
    }
    splittable(plan, kernel)?;
    for leaf in &mut plan.leaves {
        shift(leaf, kernel);
    }
    let whole = plan.kernels[kernel].clone();
    let piece = plan.piece_var(whole.sweeps[0].stream[0], length);
    let pieces = plan.pieces(kernel, &whole, piece, length);
    let first = plan.crossings.len() - pieces.stores.len();
    let merge = plan.merge(kernel, &whole, piece, first);
    let stream = plan.var_name(whole.sweeps[0].stream[0]);
    let text = format!(
        "{}: {stream} in pieces of {length}, whose states `{}` merges",
        pieces.name, merge.name
    );
    plan.why.push(event(EventKind::Rule, text));
    plan.kernels.splice(kernel..=kernel, [pieces, merge]);
    plan.why.sort_by_key(|e| e.kind);
    Ok(())
}

fn event(kind: EventKind, text: String) -> Event {
    Event { kind, span: None, text }
}

/// Makes room for a kernel behind `kernel`.
fn shift(leaf: &mut LeafDef, kernel: usize) {
    match leaf {
        LeafDef::Carry { kernel: at, .. }
        | LeafDef::Reference { kernel: at, .. }
        | LeafDef::State { kernel: at, .. }
        | LeafDef::StateReference { kernel: at, .. } => *at += usize::from(*at > kernel),
        LeafDef::Crossing(_) => {}
    }
}

impl FusedPlan {
    /// Whether a kernel merges the states of pieces.
    pub fn merges(&self, kernel: &Kernel) -> bool {
        let streams = kernel.sweeps.iter().flat_map(|s| &s.stream);
        let pieces: Vec<VarId> = self.kernels.iter().filter_map(|k| k.piece).collect();
        streams.into_iter().any(|v| pieces.contains(v))
    }

    fn var_name(&self, var: VarId) -> String {
        self.cascade.vars[var.index()].name.clone()
    }

    /// The number of a piece: `ceil(extent / length)` coordinates.
    fn piece_var(&mut self, stream: VarId, length: i64) -> VarId {
        let Var { name, extent } = self.cascade.vars[stream.index()].clone();
        let exprs = &mut self.cascade.exprs;
        let extent = match exprs.get(extent) {
            Expr::Int(n) => {
                let pieces = n / length + i64::from(n % length > 0);
                exprs.int(pieces)
            }
            _ => {
                let (length, rest) = (exprs.int(length), exprs.int(length - 1));
                let up = exprs.map(MapOp::Add, &[extent, rest]);
                exprs.map(MapOp::IDiv, &[up, length])
            }
        };
        let names: Vec<&str> = self.cascade.vars.iter().map(|v| v.name.as_str()).collect();
        let base = format!("{name}_piece");
        let name = fresh(&base, &names);
        let id = VarId(u32::try_from(self.cascade.vars.len()).expect("few variables"));
        self.cascade.vars.push(Var { name, extent });
        id
    }

    /// The kernel of pieces; its states are the last crossings, references first.
    fn pieces(&mut self, kernel: usize, whole: &Kernel, piece: VarId, length: i64) -> Kernel {
        let mut sweep = whole.sweeps[0].clone();
        sweep.chunks = None;
        let inside = self.inside(sweep.stream[0], piece, length);
        for conds in
            (sweep.references.iter_mut().map(|r| &mut r.conds)).chain(sweep.carries.iter_mut().map(|c| &mut c.conds))
        {
            conds.splice(0..0, inside);
        }
        let resident: Vec<VarId> = [piece].into_iter().chain(whole.resident.iter().copied()).collect();
        let mut states = Vec::new();
        for (reference, r) in sweep.references.iter().enumerate() {
            let def = LeafDef::Reference {
                kernel,
                sweep: 0,
                reference,
            };
            states.push((format!("{}_g{reference}", whole.name), r.dims.clone(), def, Kind::Real));
        }
        for (carry, c) in sweep.carries.iter().enumerate() {
            let def = LeafDef::Carry {
                kernel,
                sweep: 0,
                carry,
            };
            let kind = carry_kind(self, &self.cascade.exprs, c);
            states.push((format!("{}_{}", whole.name, c.name), c.dims.clone(), def, kind));
        }
        let stores = states
            .into_iter()
            .map(|(name, vars, def, kind)| self.state_store(&name, &resident, vars, def, kind))
            .collect();
        Kernel {
            name: format!("{}_pieces", whole.name),
            resident,
            piece: Some(piece),
            domain: whole.domain.clone(),
            sweeps: vec![sweep],
            stores,
        }
    }

    /// `length piece <= stream`, `stream < length piece + length`.
    fn inside(&mut self, stream: VarId, piece: VarId, length: i64) -> [ExprId; 2] {
        let exprs = &mut self.cascade.exprs;
        let (at, piece, length) = (exprs.var(stream), exprs.var(piece), exprs.int(length));
        let first = exprs.map(MapOp::Mul, &[length, piece]);
        let end = exprs.map(MapOp::Add, &[first, length]);
        [exprs.map(MapOp::Le, &[first, at]), exprs.map(MapOp::Lt, &[at, end])]
    }

    /// Writes a value of a piece's state to a crossing of its own.
    fn state_store(&mut self, name: &str, resident: &[VarId], vars: Vec<VarId>, def: LeafDef, kind: Kind) -> Store {
        let names: Vec<&str> = self.crossings.iter().map(|c| c.name.as_str()).collect();
        let name = fresh(&name.replace('.', "_"), &names);
        let dims: Vec<VarId> = resident.iter().chain(&vars).copied().collect();
        let value = self.leaf_at(def, &vars);
        let places = dims.iter().map(|&v| self.cascade.exprs.var(v)).collect();
        self.crossings.push(Crossing {
            name,
            dims,
            kind,
            partial: true,
        });
        Store {
            target: Target::Crossing(self.crossings.len() - 1),
            vars,
            conds: Vec::new(),
            value,
            places,
        }
    }

    /// The kernel that merges: `first` is the first of the crossings of the states.
    fn merge(&mut self, pieces: usize, whole: &Kernel, piece: VarId, first: usize) -> Kernel {
        let old = &whole.sweeps[0];
        let mut crossing = first;
        let mut next = |plan: &mut FusedPlan| {
            let dims = plan.crossings[crossing].dims.clone();
            crossing += 1;
            plan.leaf_at(LeafDef::Crossing(crossing - 1), &dims)
        };
        let mut sweep = Sweep {
            stream: vec![piece],
            ..Sweep::default()
        };
        for r in &old.references {
            sweep.references.push(Reference {
                form: next(self),
                dims: r.dims.clone(),
                inner: Vec::new(),
                conds: Vec::new(),
                policy: Policy::Running,
            });
        }
        for c in &old.carries {
            sweep.carries.push(Carry {
                streamed: next(self),
                inner: Vec::new(),
                conds: Vec::new(),
                meaning: format!("{} of the pieces, merged", c.name),
                ..c.clone()
            });
        }
        let mut memo = BTreeMap::new();
        let mut moved = |plan: &mut FusedPlan, id: ExprId| plan.read_merged(id, pieces, &mut memo);
        let stores = whole
            .stores
            .iter()
            .map(|s| Store {
                conds: s.conds.iter().map(|&c| moved(self, c)).collect(),
                value: moved(self, s.value),
                ..s.clone()
            })
            .collect();
        Kernel {
            name: whole.name.clone(),
            resident: whole.resident.clone(),
            piece: None,
            domain: whole.domain.clone(),
            sweeps: vec![sweep],
            stores,
        }
    }

    /// An expression of the whole kernel with the state of the kernel behind it in place of its own.
    fn read_merged(&mut self, id: ExprId, pieces: usize, memo: &mut BTreeMap<ExprId, ExprId>) -> ExprId {
        if let Some(done) = memo.get(&id) {
            return *done;
        }
        let children = self.cascade.exprs.children(id);
        let children: Vec<ExprId> = children
            .into_iter()
            .map(|c| self.read_merged(c, pieces, memo))
            .collect();
        let own = match self.cascade.exprs.get(id) {
            Expr::Leaf(leaf, _) => match self.leaf(*leaf) {
                LeafDef::Carry { kernel, sweep, carry } if kernel == pieces => Some(LeafDef::Carry {
                    kernel: kernel + 1,
                    sweep,
                    carry,
                }),
                LeafDef::Reference {
                    kernel,
                    sweep,
                    reference,
                } if kernel == pieces => Some(LeafDef::Reference {
                    kernel: kernel + 1,
                    sweep,
                    reference,
                }),
                _ => None,
            },
            _ => None,
        };
        let result = match own {
            Some(def) => {
                let leaf = self.leaf_of(def);
                self.cascade.exprs.add(Expr::Leaf(leaf, children))
            }
            None => with_children(&mut self.cascade.exprs, id, &children),
        };
        memo.insert(id, result);
        result
    }

    fn leaf_at(&mut self, def: LeafDef, vars: &[VarId]) -> ExprId {
        let leaf = self.leaf_of(def);
        let indices = vars.iter().map(|&v| self.cascade.exprs.var(v)).collect();
        self.cascade.exprs.add(Expr::Leaf(leaf, indices))
    }

    /// The leaf that stands for `def`; made if there is none.
    fn leaf_of(&mut self, def: LeafDef) -> LeafId {
        let at = self.leaves.iter().position(|l| *l == def).unwrap_or_else(|| {
            self.leaves.push(def);
            self.leaves.len() - 1
        });
        LeafId(u32::try_from(at).expect("few leaves"))
    }
}

/// `base`, or with the first number that makes it a name of its own.
fn fresh(base: &str, taken: &[&str]) -> String {
    if !taken.contains(&base) {
        return base.to_owned();
    }
    (2..)
        .map(|i| format!("{base}{i}"))
        .find(|name| !taken.contains(&name.as_str()))
        .expect("there is always a free number")
}
