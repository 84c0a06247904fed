//! Builds a `TileProgram`: typed emission with value numbering, constant folding and hoisting.
//!
//! Scopes are nested statement lists (depth 0 is the kernel, depth 1 a loop body). A pure operation is emitted in the
//! outermost scope that knows all of its arguments, so whatever does not depend on a loop leaves it without a pass.
//! Equal operations get equal values; a closed scope forgets its values.

use crate::ir::{Axis, AxisId, Buffer, BufferId, Elem, Math, Op, Stmt, TileProgram, Type, ValueId};
use einloom_cascade::expr::{MapOp, ReduceOp};
use std::collections::BTreeMap;

/// A value known at compile time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Const {
    Real(f64),
    Int(i64),
    Bool(bool),
}

#[derive(Default)]
struct Scope {
    stmts: Vec<Stmt>,
    memo: Memo,
}

/// Operations that have a value, by their fingerprint.
#[derive(Default)]
struct Memo(BTreeMap<u64, Vec<(Op, Type, ValueId)>>);

impl Memo {
    fn find(&self, op: &Op, ty: Type) -> Option<ValueId> {
        let same = |(o, t, _): &&(Op, Type, ValueId)| *t == ty && equal(o, op);
        let alike = self.0.get(&fingerprint(op))?;
        alike.iter().find(same).map(|(_, _, value)| *value)
    }

    fn insert(&mut self, op: Op, ty: Type, value: ValueId) {
        self.0.entry(fingerprint(&op)).or_default().push((op, ty, value));
    }
}

/// The same operation: reals by their bits, so that the two zeros differ.
fn equal(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Real(x), Op::Real(y)) => x.to_bits() == y.to_bits(),
        _ => a == b,
    }
}

/// Equal for equal operations, and mostly for them alone.
fn fingerprint(op: &Op) -> u64 {
    let words = match op {
        Op::Real(x) => vec![x.to_bits()],
        Op::Int(i) => vec![*i as u64],
        Op::Param(i) | Op::Grid(i) => vec![*i as u64],
        _ => arguments(op).iter().map(|v| u64::from(v.0)).collect(),
    };
    // The hash FNV-1a, by words.
    words.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The program under construction.
pub(crate) struct Builder {
    pub(crate) program: TileProgram,
    scopes: Vec<Scope>,
    depths: Vec<usize>,
    consts: BTreeMap<ValueId, Const>,
    /// Depth of a scope that is rarely entered: nothing leaves it that is not computed outside anyway.
    pub(crate) rare: Option<usize>,
    /// First type clash; checked once at the end.
    pub(crate) clash: Option<String>,
}

/// The scalar type of an element.
pub(crate) fn scalar(elem: Elem) -> Type {
    Type {
        rows: None,
        cols: None,
        elem,
        partial: false,
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Builder {
            program: TileProgram::default(),
            scopes: vec![Scope::default()],
            depths: Vec::new(),
            consts: BTreeMap::new(),
            rare: None,
            clash: None,
        }
    }

    pub(crate) fn axis(&mut self, name: &str, size: u32) -> AxisId {
        self.program.axes.push(Axis {
            name: name.to_owned(),
            size,
        });
        AxisId(self.program.axes.len() as u32 - 1)
    }

    pub(crate) fn axis_size(&self, axis: AxisId) -> u32 {
        self.program.axes[axis.index()].size
    }

    pub(crate) fn buffer(&mut self, name: &str, rows: AxisId, cols: AxisId, elem: Elem, stages: u32) -> BufferId {
        let same = self.program.buffers.iter().filter(|b| b.name.starts_with(name)).count();
        let name = if same == 0 {
            name.to_owned()
        } else {
            format!("{name}{same}")
        };
        self.program.buffers.push(Buffer {
            name,
            rows,
            cols,
            elem,
            stages,
            ring: false,
        });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub(crate) fn depth(&self) -> usize {
        self.scopes.len() - 1
    }

    pub(crate) fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    pub(crate) fn close(&mut self) -> Vec<Stmt> {
        self.scopes.pop().map(|s| s.stmts).unwrap_or_default()
    }

    /// Statements of the current scope so far.
    pub(crate) fn scope(&self) -> &[Stmt] {
        self.scopes.last().map_or(&[], |s| &s.stmts)
    }

    /// Drops statements of the current scope.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Stmt) -> bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.stmts.retain(keep);
        }
    }

    /// Appends a statement to the current scope.
    pub(crate) fn push(&mut self, stmt: Stmt) {
        let depth = self.depth();
        self.push_at(depth, stmt);
    }

    pub(crate) fn push_at(&mut self, depth: usize, stmt: Stmt) {
        self.scopes[depth].stmts.push(stmt);
    }

    /// A new value that belongs to the current scope (loop variables, carried values).
    pub(crate) fn fresh(&mut self, ty: Type) -> ValueId {
        let depth = self.depth();
        self.fresh_at(depth, ty)
    }

    pub(crate) fn fresh_at(&mut self, depth: usize, ty: Type) -> ValueId {
        self.program.values.push(ty);
        self.depths.push(depth);
        ValueId(self.program.values.len() as u32 - 1)
    }

    pub(crate) fn ty(&self, value: ValueId) -> Type {
        self.program.values[value.index()]
    }

    pub(crate) fn depth_of(&self, value: ValueId) -> usize {
        self.depths[value.index()]
    }

    pub(crate) fn known(&self, value: ValueId) -> Option<Const> {
        self.consts.get(&value).copied()
    }

    pub(crate) fn known_int(&self, value: ValueId) -> Option<i64> {
        match self.known(value) {
            Some(Const::Int(i)) => Some(i),
            _ => None,
        }
    }

    /// Emits a pure operation as far out as its arguments allow, or finds it.
    pub(crate) fn emit(&mut self, op: Op, ty: Type) -> ValueId {
        let arguments = arguments(&op);
        let mut depth = arguments.iter().map(|&a| self.depth_of(a)).max().unwrap_or(0);
        if let Some(rare) = self.rare.filter(|_| !arguments.is_empty()) {
            if let Some(found) = self.scopes[depth].memo.find(&op, ty) {
                return found;
            }
            depth = depth.max(rare);
        }
        self.emit_at(depth, op, ty)
    }

    /// Emits an operation in the scope at `depth`, or finds it there.
    pub(crate) fn emit_at(&mut self, depth: usize, op: Op, ty: Type) -> ValueId {
        let depth = depth.min(self.depth());
        if let Some(found) = self.scopes[depth].memo.find(&op, ty) {
            return found;
        }
        let value = self.fresh_at(depth, ty);
        self.scopes[depth].stmts.push(Stmt::Let(value, op.clone()));
        self.scopes[depth].memo.insert(op, ty, value);
        value
    }

    pub(crate) fn real(&mut self, x: f64) -> ValueId {
        self.constant(Op::Real(x), scalar(Elem::F32), Const::Real(x))
    }

    pub(crate) fn int(&mut self, x: i64) -> ValueId {
        self.constant(Op::Int(x), scalar(Elem::I32), Const::Int(x))
    }

    pub(crate) fn boolean(&mut self, x: bool) -> ValueId {
        self.constant(Op::Int(i64::from(x)), scalar(Elem::Bool), Const::Bool(x))
    }

    fn constant(&mut self, op: Op, ty: Type, value: Const) -> ValueId {
        let id = self.emit(op, ty);
        self.consts.insert(id, value);
        id
    }

    /// A constant in every element of `ty` (not folded: it fixes a shape).
    pub(crate) fn splat(&mut self, value: Const, ty: Type) -> ValueId {
        let op = match value {
            Const::Real(x) => Op::Real(x),
            Const::Int(x) => Op::Int(x),
            Const::Bool(x) => Op::Int(i64::from(x)),
        };
        self.emit(op, ty)
    }

    /// `0, 1, ..` along an axis as rows or as columns.
    pub(crate) fn lane(&mut self, axis: AxisId, as_rows: bool) -> ValueId {
        let mut ty = scalar(Elem::I32);
        if as_rows {
            ty.rows = Some(axis);
        } else {
            ty.cols = Some(axis);
        }
        self.emit(Op::Lane, ty)
    }

    /// The joined shape of values, with `elem`.
    pub(crate) fn join(&mut self, args: &[ValueId], elem: Elem) -> Type {
        let mut ty = scalar(elem);
        for &arg in args {
            let other = self.ty(arg);
            ty.partial |= other.partial;
            for (mine, theirs, what) in [
                (&mut ty.rows, other.rows, "rows"),
                (&mut ty.cols, other.cols, "columns"),
            ] {
                match (*mine, theirs) {
                    (Some(a), Some(b)) if a != b => {
                        self.clash.get_or_insert(format!("values of two {what} axes meet"));
                    }
                    (None, Some(b)) => *mine = Some(b),
                    _ => {}
                }
            }
        }
        ty
    }

    pub(crate) fn math(&mut self, math: Math, args: &[ValueId], elem: Elem) -> ValueId {
        let ty = self.join(args, elem);
        self.emit(Op::Math(math, args.to_vec()), ty)
    }

    /// A pointwise function, folded where its arguments are known.
    pub(crate) fn map(&mut self, op: MapOp, args: &[ValueId]) -> ValueId {
        let known: Vec<_> = args.iter().map(|&a| self.known(a)).collect();
        if let Some(value) = super::fold::fold(op, &known) {
            return match value {
                Const::Real(x) => self.real(x),
                Const::Int(x) => self.int(x),
                Const::Bool(x) => self.boolean(x),
            };
        }
        if let Some(same) = super::fold::identity(op, args, &known) {
            return same;
        }
        if let Some(value) = self.recombined(op, args).or_else(|| self.scaled_once(op, args)) {
            return value;
        }
        let elem = self.result_elem(op, args);
        self.math(Math::Map(op), args, elem)
    }

    /// `(x div c) * c + x mod c` is `x`.
    fn recombined(&mut self, op: MapOp, args: &[ValueId]) -> Option<ValueId> {
        if op != MapOp::Add {
            return None;
        }
        let (_, rem) = self.definition(args[1], MapOp::IMod)?;
        let (div, by) = self.definition(args[0], MapOp::Mul)?;
        let (x, c) = self.definition(div, MapOp::IDiv)?;
        let (y, d) = self.definition(args[1], MapOp::IMod)?;
        (x == y && c == d && by == c && rem == d).then_some(x)
    }

    /// Constants of nested products are one constant: `c (d x)`. Not where their product leaves the normal numbers, which `d x` may not.
    fn scaled_once(&mut self, op: MapOp, args: &[ValueId]) -> Option<ValueId> {
        if op != MapOp::Mul {
            return None;
        }
        let (c, x) = self.constant_of(args[0], args[1])?;
        let (a, b) = self.definition(x, MapOp::Mul)?;
        let (d, rest) = self.constant_of(a, b)?;
        let product = Self::merged(c, d)?;
        let product = self.real(product);
        Some(self.mul(rest, product))
    }

    /// `c (d y + e)` as `(c d) y + c e`, for constants of normal size.
    pub(crate) fn scaled_fma(&mut self, x: ValueId, c: ValueId) -> Option<ValueId> {
        let (y, d, e) = self.fma_definition(x)?;
        let real = |s: &Self, v: ValueId| match s.known(v) {
            Some(Const::Real(x)) => Some(x),
            _ => None,
        };
        let (c, d, e) = (real(self, c)?, real(self, d)?, real(self, e)?);
        let (d, e) = (Self::merged(c, d)?, Self::merged(c, e)?);
        let (d, e) = (self.real(d), self.real(e));
        Some(self.fma(y, d, e))
    }

    /// The constant and the other one of two factors.
    fn constant_of(&self, a: ValueId, b: ValueId) -> Option<(f64, ValueId)> {
        match (self.known(a), self.known(b)) {
            (Some(Const::Real(x)), None) => Some((x, b)),
            (None, Some(Const::Real(x))) => Some((x, a)),
            _ => None,
        }
    }

    fn merged(c: f64, d: f64) -> Option<f64> {
        Some(c * d).filter(|x| (*x as f32).is_normal())
    }

    fn fma_definition(&self, value: ValueId) -> Option<(ValueId, ValueId, ValueId)> {
        let depth = self.depth_of(value);
        self.scopes.get(depth)?.stmts.iter().rev().find_map(|stmt| match stmt {
            Stmt::Let(v, Op::Math(Math::Fma, list)) if *v == value => Some((list[0], list[1], list[2])),
            _ => None,
        })
    }

    fn definition(&self, value: ValueId, op: MapOp) -> Option<(ValueId, ValueId)> {
        let depth = self.depth_of(value);
        self.scopes[depth].stmts.iter().rev().find_map(|stmt| match stmt {
            Stmt::Let(v, Op::Math(Math::Map(o), list)) if *v == value && *o == op && list.len() == 2 => {
                Some((list[0], list[1]))
            }
            _ => None,
        })
    }

    fn result_elem(&self, op: MapOp, args: &[ValueId]) -> Elem {
        match op {
            MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne | MapOp::And | MapOp::Or | MapOp::Not => Elem::Bool,
            MapOp::Floor | MapOp::Ceil | MapOp::Round | MapOp::Popcount | MapOp::BoolToInt => Elem::I32,
            MapOp::ToReal | MapOp::Uniform | MapOp::RoundTo(_) => Elem::F32,
            _ => self.ty(args[0]).elem,
        }
    }

    pub(crate) fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.map(MapOp::Add, &[a, b])
    }

    pub(crate) fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.map(MapOp::Mul, &[a, b])
    }

    pub(crate) fn add_int(&mut self, a: ValueId, b: i64) -> ValueId {
        let b = self.int(b);
        self.add(a, b)
    }

    pub(crate) fn mul_int(&mut self, a: ValueId, b: i64) -> ValueId {
        let b = self.int(b);
        self.mul(a, b)
    }

    pub(crate) fn div_int(&mut self, a: ValueId, b: i64) -> ValueId {
        let b = self.int(b);
        self.map(MapOp::IDiv, &[a, b])
    }

    pub(crate) fn and(&mut self, a: Option<ValueId>, b: Option<ValueId>) -> Option<ValueId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.map(MapOp::And, &[a, b])),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn or(&mut self, a: Option<ValueId>, b: Option<ValueId>) -> Option<ValueId> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.map(MapOp::Or, &[a, b])),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn fma(&mut self, a: ValueId, b: ValueId, c: ValueId) -> ValueId {
        self.math(Math::Fma, &[a, b, c], Elem::F32)
    }

    pub(crate) fn exp2(&mut self, a: ValueId) -> ValueId {
        if let Some(Const::Real(x)) = self.known(a) {
            return self.real(x.exp2());
        }
        self.math(Math::Exp2Fast, &[a], Elem::F32)
    }

    pub(crate) fn select(&mut self, cond: ValueId, then: ValueId, otherwise: ValueId) -> ValueId {
        match self.known(cond) {
            Some(Const::Bool(true)) => then,
            Some(Const::Bool(false)) => otherwise,
            _ if then == otherwise => then,
            _ => {
                let elem = self.ty(then).elem;
                self.math(Math::Select, &[cond, then, otherwise], elem)
            }
        }
    }

    pub(crate) fn cast(&mut self, value: ValueId, elem: Elem) -> ValueId {
        let from = self.ty(value);
        if from.elem == elem {
            value
        } else {
            self.emit(Op::Cast(value), Type { elem, ..from })
        }
    }

    /// Reduces the columns of a tile to a row vector, not yet combined over the quad if `partial`.
    pub(crate) fn row_reduce(&mut self, op: ReduceOp, tile: ValueId, partial: bool) -> ValueId {
        let from = self.ty(tile);
        self.emit(
            Op::RowReduce(op, tile),
            Type {
                cols: None,
                partial,
                ..from
            },
        )
    }

    pub(crate) fn quad_reduce(&mut self, op: ReduceOp, value: ValueId) -> ValueId {
        let from = self.ty(value);
        if !from.partial {
            return value;
        }
        self.emit(Op::QuadReduce(op, value), Type { partial: false, ..from })
    }

    /// The neutral element of a reduction on values of `elem`.
    pub(crate) fn identity(&mut self, op: ReduceOp, elem: Elem) -> Option<Const> {
        Some(match (op, elem) {
            (ReduceOp::Sum, Elem::F32) => Const::Real(0.0),
            (ReduceOp::Sum, Elem::I32) => Const::Int(0),
            (ReduceOp::Max, Elem::F32) => Const::Real(f64::NEG_INFINITY),
            (ReduceOp::Min, Elem::F32) => Const::Real(f64::INFINITY),
            (ReduceOp::Max, Elem::I32) => Const::Int(i64::from(i32::MIN)),
            (ReduceOp::Min, Elem::I32) => Const::Int(i64::from(i32::MAX)),
            (ReduceOp::Any, Elem::Bool) => Const::Bool(false),
            (ReduceOp::All, Elem::Bool) => Const::Bool(true),
            _ => return None,
        })
    }

    /// A constant as a scalar value.
    pub(crate) fn konst(&mut self, value: Const) -> ValueId {
        match value {
            Const::Real(x) => self.real(x),
            Const::Int(x) => self.int(x),
            Const::Bool(x) => self.boolean(x),
        }
    }

    /// The two-argument function of a reduction.
    pub(crate) fn combine(&mut self, op: ReduceOp, a: ValueId, b: ValueId) -> ValueId {
        let map = match op {
            ReduceOp::Prod => MapOp::Mul,
            ReduceOp::Max | ReduceOp::ArgMax => MapOp::Max,
            ReduceOp::Min | ReduceOp::ArgMin => MapOp::Min,
            ReduceOp::Any => MapOp::Or,
            ReduceOp::All => MapOp::And,
            ReduceOp::Sum => MapOp::Add,
        };
        self.map(map, &[a, b])
    }
}

/// Values that an operation reads.
pub(crate) fn arguments(op: &Op) -> Vec<ValueId> {
    use crate::ir::Operand;
    let operand = |o: &Operand| match o {
        Operand::Register(v) => Some(*v),
        Operand::Shared(_, stage) => *stage,
    };
    match op {
        Op::Real(_) | Op::Int(_) | Op::Param(_) | Op::Grid(_) | Op::Block | Op::Blocks | Op::Lane => Vec::new(),
        Op::Math(_, list) => list.clone(),
        Op::Cast(v) | Op::RowReduce(_, v) | Op::QuadReduce(_, v) => vec![*v],
        Op::LoadShared { stage, .. } => stage.iter().copied().collect(),
        Op::Load { index, mask, .. } => index.iter().copied().chain(*mask).collect(),
        Op::Dot { left, right, acc, .. } => operand(left).into_iter().chain(operand(right)).chain(*acc).collect(),
    }
}
