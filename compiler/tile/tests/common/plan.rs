//! Hand-made plans in few words.

use einloom_cascade::CascadeBuilder;
use einloom_cascade::build::Rank;
use einloom_cascade::expr::{DType, Expr, ExprId, InputId, Kind, LeafId, MapOp, ReduceOp, VarId};
use einloom_plan::ir::{Carry, Crossing, FusedPlan, Kernel, LeafDef, Policy, Reference, Store, Sweep, Target};

pub(crate) struct Plan {
    pub(crate) b: CascadeBuilder,
    pub(crate) kernels: Vec<Kernel>,
    crossings: Vec<Crossing>,
    leaves: Vec<LeafDef>,
}

impl Plan {
    pub(crate) fn new(name: &str) -> Self {
        Plan {
            b: CascadeBuilder::new(name),
            kernels: Vec::new(),
            crossings: Vec::new(),
            leaves: Vec::new(),
        }
    }

    pub(crate) fn map(&mut self, op: MapOp, args: &[ExprId]) -> ExprId {
        self.b.map(op, args)
    }

    pub(crate) fn mul(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.b.map(MapOp::Mul, &[a, b])
    }

    pub(crate) fn add(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.b.map(MapOp::Add, &[a, b])
    }

    pub(crate) fn sub(&mut self, a: ExprId, b: ExprId) -> ExprId {
        self.b.map(MapOp::Sub, &[a, b])
    }

    /// `sum over e of Q * K`.
    pub(crate) fn dot(&mut self, q: ExprId, k: ExprId, e: VarId) -> ExprId {
        let product = self.mul(q, k);
        self.b.sum(&[e], &[], product)
    }

    pub(crate) fn read(&mut self, input: InputId, vars: &[VarId]) -> ExprId {
        self.b.read_at(input, vars)
    }

    pub(crate) fn var(&mut self, rank: Rank) -> VarId {
        self.b.var(rank)
    }

    /// An output over variables; its definition only says what kind it is.
    pub(crate) fn output(&mut self, name: &str, dtype: DType, vars: &[VarId]) -> usize {
        let body = match dtype {
            DType::F32 | DType::F16 | DType::BF16 => self.b.real(0.0),
            _ => self.b.int(0),
        };
        let def = self.b.def(name, vars, &[], body);
        self.b.output(def, dtype);
        self.b.cascade_mut().outputs.len() - 1
    }

    pub(crate) fn store(&mut self, output: usize, vars: &[VarId], value: ExprId) -> Store {
        let places = self.b.cascade_mut().outputs[output].places.clone();
        Store {
            target: Target::Output(output),
            vars: vars.to_vec(),
            conds: vec![],
            value,
            places,
        }
    }

    pub(crate) fn crossing(&mut self, name: &str, dims: &[VarId]) -> usize {
        self.crossings.push(Crossing {
            name: name.into(),
            dims: dims.to_vec(),
            kind: Kind::Real,
            partial: false,
        });
        self.crossings.len() - 1
    }

    pub(crate) fn store_crossing(&mut self, crossing: usize, vars: &[VarId], value: ExprId) -> Store {
        let dims = self.crossings[crossing].dims.clone();
        let places = dims.iter().map(|&v| self.b.at(v)).collect();
        Store {
            target: Target::Crossing(crossing),
            vars: vars.to_vec(),
            conds: vec![],
            value,
            places,
        }
    }

    pub(crate) fn leaf(&mut self, def: LeafDef, index: &[VarId]) -> ExprId {
        let at = self.leaves.iter().position(|l| *l == def).unwrap_or_else(|| {
            self.leaves.push(def);
            self.leaves.len() - 1
        });
        let index = index.iter().map(|&v| self.b.at(v)).collect();
        self.b.cascade_mut().exprs.add(Expr::Leaf(LeafId(at as u32), index))
    }

    pub(crate) fn carried(&mut self, kernel: usize, sweep: usize, carry: usize, index: &[VarId]) -> ExprId {
        self.leaf(LeafDef::Carry { kernel, sweep, carry }, index)
    }

    pub(crate) fn kernel(&mut self, name: &str, resident: &[VarId], sweeps: Vec<Sweep>, stores: Vec<Store>) {
        self.kernels.push(Kernel {
            name: name.into(),
            resident: resident.to_vec(),
            piece: None,
            domain: vec![],
            sweeps,
            stores,
        });
    }

    pub(crate) fn finish(self) -> FusedPlan {
        FusedPlan {
            cascade: self.b.finish(),
            kernels: self.kernels,
            crossings: self.crossings,
            leaves: self.leaves,
            sweeps_written: 1,
            sweeps: 1,
            why: vec![],
        }
    }
}

pub(crate) fn carry(name: &str, op: ReduceOp, dims: &[VarId], conds: &[ExprId], streamed: ExprId) -> Carry {
    Carry {
        name: name.into(),
        op,
        dims: dims.to_vec(),
        inner: vec![],
        conds: conds.to_vec(),
        streamed,
        weight: None,
        ordered: false,
        meaning: String::new(),
    }
}

/// A carry weighted by reference 0.
pub(crate) fn weighted(name: &str, dims: &[VarId], conds: &[ExprId], streamed: ExprId) -> Carry {
    Carry {
        weight: Some((0, (1, 1))),
        ..carry(name, ReduceOp::Sum, dims, conds, streamed)
    }
}

pub(crate) fn reference(form: ExprId, conds: &[ExprId]) -> Reference {
    Reference {
        form,
        dims: vec![],
        inner: vec![],
        conds: conds.to_vec(),
        policy: Policy::Running,
    }
}

pub(crate) fn sweep(stream: &[VarId], references: Vec<Reference>, carries: Vec<Carry>) -> Sweep {
    Sweep {
        stream: stream.to_vec(),
        references,
        carries,
        ..Sweep::default()
    }
}
