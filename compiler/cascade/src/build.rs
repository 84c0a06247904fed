//! A programmatic builder of cascades, for tests and tools that do not start from text.
//!
//! ```
//! use einloom_cascade::build::CascadeBuilder;
//! use einloom_cascade::expr::DType;
//!
//! let mut b = CascadeBuilder::new("row_sums");
//! let (p, m) = (b.rank("p"), b.rank("m"));
//! let x = b.input("X", DType::F32, &[p, m]);
//! let (vp, vm) = (b.var(p), b.var(m));
//! let at = [b.at(vp), b.at(vm)];
//! let body = b.read(x, &at);
//! let total = b.sum(&[vm], &[], body);
//! let def = b.def("Y", &[vp], &[], total);
//! b.output(def, DType::F32);
//! let cascade = b.finish();
//! assert_eq!(cascade.outputs[0].name, "Y");
//! ```

use crate::expr::{DType, DefId, Expr, ExprId, InputId, MapOp, Reduce, ReduceOp, ScalarId, SymId, VarId};
use crate::ir::{Cascade, Check, Def, Input, MemDim, Output, Scalar, Symbol, Var};
use einloom_syntax::span::Span;

/// A rank: a name and an extent. Each iteration over it is a [`VarId`] of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank(usize);

/// Builds a [`Cascade`]. Public fields of the result can be changed freely afterwards.
#[derive(Debug)]
pub struct CascadeBuilder {
    cascade: Cascade,
    ranks: Vec<(String, ExprId, Option<SymId>)>,
}

impl CascadeBuilder {
    /// An empty cascade.
    pub fn new(name: &str) -> CascadeBuilder {
        CascadeBuilder {
            cascade: Cascade {
                name: name.to_string(),
                ..Cascade::default()
            },
            ranks: Vec::new(),
        }
    }

    /// A rank with a run-time extent; the inputs that have it as a dimension bind it.
    pub fn rank(&mut self, name: &str) -> Rank {
        let sym = SymId(self.cascade.symbols.len() as u32);
        self.cascade.symbols.push(Symbol {
            name: name.to_uppercase(),
            sources: Vec::new(),
        });
        let extent = self.cascade.exprs.add(Expr::Extent(sym));
        self.ranks.push((name.to_string(), extent, Some(sym)));
        Rank(self.ranks.len() - 1)
    }

    /// A rank with a compile-time extent.
    pub fn fixed_rank(&mut self, name: &str, extent: i64) -> Rank {
        let extent = self.cascade.exprs.int(extent);
        self.rank_with(name, extent)
    }

    /// A rank whose extent is an expression, `rank m = P`.
    pub fn rank_with(&mut self, name: &str, extent: ExprId) -> Rank {
        self.ranks.push((name.to_string(), extent, None));
        Rank(self.ranks.len() - 1)
    }

    /// Extent of a rank.
    pub fn extent(&self, rank: Rank) -> ExprId {
        self.ranks[rank.0].1
    }

    /// A new iteration over a rank.
    pub fn var(&mut self, rank: Rank) -> VarId {
        let (name, extent, _) = &self.ranks[rank.0];
        let taken = |name: &str| self.cascade.vars.iter().any(|var| var.name == name);
        let mut unique = name.clone();
        let mut suffix = 2;
        while taken(&unique) {
            unique = format!("{name}{suffix}");
            suffix += 1;
        }
        self.cascade.vars.push(Var {
            name: unique,
            extent: *extent,
        });
        VarId(self.cascade.vars.len() as u32 - 1)
    }

    /// An input with one dimension for each rank; binds the extents of run-time ranks.
    pub fn input(&mut self, name: &str, dtype: DType, ranks: &[Rank]) -> InputId {
        let id = InputId(self.cascade.inputs.len() as u32);
        let mut dims = Vec::new();
        for (at, rank) in ranks.iter().enumerate() {
            let (name, extent, sym) = self.ranks[rank.0].clone();
            if let Some(sym) = sym {
                self.cascade.symbols[sym.index()].sources.push((id, at));
            }
            dims.push(MemDim { name, extent });
        }
        self.cascade.inputs.push(Input {
            name: name.to_string(),
            dtype,
            dims,
            span: Span::default(),
        });
        id
    }

    /// An input whose dimensions are extents without ranks.
    pub fn input_with(&mut self, name: &str, dtype: DType, extents: &[ExprId]) -> InputId {
        let dims = extents
            .iter()
            .map(|extent| MemDim {
                name: String::new(),
                extent: *extent,
            })
            .collect();
        self.cascade.inputs.push(Input {
            name: name.to_string(),
            dtype,
            dims,
            span: Span::default(),
        });
        InputId(self.cascade.inputs.len() as u32 - 1)
    }

    /// A scalar parameter.
    pub fn scalar(&mut self, name: &str, dtype: DType, default: Option<f64>) -> ExprId {
        let id = ScalarId(self.cascade.scalars.len() as u32);
        self.cascade.scalars.push(Scalar {
            name: name.to_string(),
            dtype,
            default,
            span: Span::default(),
        });
        self.cascade.exprs.add(Expr::Scalar(id))
    }

    /// A real constant.
    pub fn real(&mut self, value: f64) -> ExprId {
        self.cascade.exprs.real(value)
    }

    /// An int constant.
    pub fn int(&mut self, value: i64) -> ExprId {
        self.cascade.exprs.int(value)
    }

    /// The coordinate of a variable.
    pub fn at(&mut self, var: VarId) -> ExprId {
        self.cascade.exprs.var(var)
    }

    /// A pointwise function.
    pub fn map(&mut self, op: MapOp, args: &[ExprId]) -> ExprId {
        self.cascade.exprs.map(op, args)
    }

    /// An int or bool as a real.
    pub fn to_real(&mut self, value: ExprId) -> ExprId {
        self.map(MapOp::ToReal, &[value])
    }

    /// `condition ? then : otherwise`.
    pub fn select(&mut self, cond: ExprId, then: ExprId, otherwise: ExprId) -> ExprId {
        self.cascade.exprs.add(Expr::Select([cond, then, otherwise]))
    }

    /// An element of an input.
    pub fn read(&mut self, input: InputId, index: &[ExprId]) -> ExprId {
        self.cascade.exprs.add(Expr::Input(input, index.to_vec()))
    }

    /// An element of an input at the coordinates of variables.
    pub fn read_at(&mut self, input: InputId, vars: &[VarId]) -> ExprId {
        let index: Vec<ExprId> = vars.iter().map(|var| self.at(*var)).collect();
        self.read(input, &index)
    }

    /// A point of a definition. The caller takes over the conditions of the definition.
    pub fn value(&mut self, def: DefId, index: &[ExprId]) -> ExprId {
        self.cascade.exprs.add(Expr::Def(def, index.to_vec()))
    }

    /// A point of a definition at the coordinates of variables.
    pub fn value_at(&mut self, def: DefId, vars: &[VarId]) -> ExprId {
        let index: Vec<ExprId> = vars.iter().map(|var| self.at(*var)).collect();
        self.value(def, &index)
    }

    /// A reduction.
    pub fn reduce(&mut self, op: ReduceOp, vars: &[VarId], conds: &[ExprId], body: ExprId) -> ExprId {
        let reduce = Reduce {
            op,
            vars: vars.to_vec(),
            conds: conds.to_vec(),
            body,
        };
        self.cascade.exprs.add(Expr::Reduce(reduce))
    }

    /// A sum.
    pub fn sum(&mut self, vars: &[VarId], conds: &[ExprId], body: ExprId) -> ExprId {
        self.reduce(ReduceOp::Sum, vars, conds, body)
    }

    /// `name[dims] = body where conds`.
    pub fn def(&mut self, name: &str, dims: &[VarId], conds: &[ExprId], body: ExprId) -> DefId {
        self.cascade.defs.push(Def {
            name: name.to_string(),
            dims: dims.to_vec(),
            conds: conds.to_vec(),
            body,
            span: Span::default(),
        });
        DefId(self.cascade.defs.len() as u32 - 1)
    }

    /// Writes a definition to an output of its name, dimensions in the order of its variables.
    pub fn output(&mut self, def: DefId, dtype: DType) {
        let target = self.cascade.defs[def.index()].clone();
        let mut dims = Vec::new();
        let mut places = Vec::new();
        for var in target.dims {
            let Var { name, extent } = self.cascade.vars[var.index()].clone();
            dims.push(MemDim { name, extent });
            places.push(self.at(var));
        }
        self.cascade.outputs.push(Output {
            name: target.name,
            dtype,
            def,
            dims,
            places,
            span: Span::default(),
        });
    }

    /// A condition that must hold at launch.
    pub fn check(&mut self, cond: ExprId, message: &str) {
        self.cascade.checks.push(Check {
            cond,
            message: message.to_string(),
        });
    }

    /// The cascade so far, for what has no method here.
    pub fn cascade_mut(&mut self) -> &mut Cascade {
        &mut self.cascade
    }

    /// The finished cascade.
    pub fn finish(self) -> Cascade {
        self.cascade
    }
}
