//! Sums of products as dots.
//!
//! `sum over k of product` with result rows r and columns c: factors are sorted by the variables they mention. Those with
//! (r, k) make the left operand, those with (k, c) the right one, those without k stay outside. A factor that mentions all
//! three is distributed if it is a sum, else the contraction has no matrix form (the caller reduces elementwise).

use super::Lowerer;
use super::context::{Ctx, Group};
use super::error::Result;
use super::facts::{const_real, is_half};
use super::operand::dot_elem;
use super::roles::accesses;
use crate::ir::{DotKind, Elem, Op, Operand, Type, ValueId};
use einloom_cascade::expr::{DType, Expr, ExprId, Kind, MapOp, ReduceOp};
use std::collections::BTreeSet;

/// A factor of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Factor {
    Expr(ExprId),
    /// Its reciprocal.
    Inverse(ExprId),
    /// A value that exists already (the weight of a carry).
    Value(ValueId),
}

/// A product: constant, factors, and the conditions under which it is not 0.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) scale: f64,
    pub(crate) factors: Vec<Factor>,
    pub(crate) masks: Vec<ValueId>,
}

/// What a contraction is over, and what its result is.
pub(crate) struct Contraction<'c> {
    pub(crate) rows: &'c Group,
    pub(crate) cols: &'c Group,
    pub(crate) over: &'c Group,
    /// Added to, inside the dot.
    pub(crate) acc: Option<ValueId>,
    /// Computed operands may be rounded to 16 bits.
    pub(crate) rounds: bool,
    /// The masks of the term hold the test of columns outside of the stream.
    pub(crate) tested: bool,
    /// Where the contracted points count; the terms' masks say so too.
    pub(crate) conds: &'c [ExprId],
}

/// Which of (over, rows, columns) a factor mentions.
type Mentions = (bool, bool, bool);

struct Sorted {
    left: Vec<Factor>,
    right: Vec<Factor>,
    outer: Vec<Factor>,
    right_has_columns: bool,
}

impl Lowerer<'_> {
    /// The factors of a product expression.
    pub(crate) fn product(&self, id: ExprId, term: &mut Term) {
        if let Some(x) = const_real(&self.exprs, id) {
            term.scale *= x;
            return;
        }
        match self.exprs.get(id) {
            Expr::Map(MapOp::Mul, args) => {
                self.product(args[0], term);
                self.product(args[1], term);
            }
            Expr::Map(MapOp::Div, args) => {
                self.product(args[0], term);
                match const_real(&self.exprs, args[1]) {
                    Some(x) => term.scale /= x,
                    None => term.factors.push(Factor::Inverse(args[1])),
                }
            }
            Expr::Map(MapOp::Neg, args) => {
                term.scale = -term.scale;
                self.product(args[0], term);
            }
            _ => term.factors.push(Factor::Expr(id)),
        }
    }

    /// Whether a factor is surely finite at points that do not count, as far as the tensors that it reads are.
    pub(crate) fn is_finite(&self, factor: Factor) -> bool {
        match factor {
            Factor::Value(_) => true,
            Factor::Inverse(_) => false,
            Factor::Expr(id) => self.is_polynomial(id),
        }
    }

    fn is_polynomial(&self, id: ExprId) -> bool {
        match self.exprs.get(id) {
            Expr::Map(op, args) => {
                let total = matches!(
                    op,
                    MapOp::Add | MapOp::Sub | MapOp::Mul | MapOp::Neg | MapOp::Abs | MapOp::Tanh | MapOp::ToReal
                ) || self.kind(id) != Kind::Real;
                let constant = *op == MapOp::Div && const_real(&self.exprs, args[1]).is_some_and(|x| x != 0.0);
                (total || constant) && args.iter().all(|&a| self.is_polynomial(a))
            }
            Expr::Select([_, a, b]) => self.is_polynomial(*a) && self.is_polynomial(*b),
            Expr::Reduce(r) => r.op == ReduceOp::Sum && self.is_polynomial(r.body),
            Expr::Leaf(..) | Expr::Def(..) => false,
            _ => true,
        }
    }

    fn mentions(&mut self, ctx: &Ctx, c: &Contraction<'_>, factor: Factor) -> Mentions {
        let id = match factor {
            Factor::Value(v) => {
                let ty = self.b.ty(v);
                return (ty.cols == Some(c.over.axis), ty.rows.is_some(), false);
            }
            Factor::Expr(id) | Factor::Inverse(id) => id,
        };
        let vars = self.free.of(&self.exprs, id);
        let any = |g: &Group| vars.iter().any(|&v| g.has(v));
        let rows = any(c.rows) || self.reads_state(id) || {
            vars.iter().any(|v| {
                ctx.env.get(v).is_some_and(|&x| self.b.ty(x).rows.is_some()) && !c.over.has(*v) && !c.cols.has(*v)
            })
        };
        (any(c.over), rows, any(c.cols))
    }

    /// The terms of a sum of products that a contraction can use, distributing only factors that mention everything.
    fn separate(&mut self, ctx: &Ctx, c: &Contraction<'_>, term: Term) -> Option<Vec<Term>> {
        let mut open = vec![term];
        let mut done = Vec::new();
        while let Some(term) = open.pop() {
            let mixed = (0..term.factors.len()).find(|&i| {
                let m = self.mentions(ctx, c, term.factors[i]);
                m == (true, true, true) || (c.acc.is_some() && m == (false, true, true))
            });
            let Some(at) = mixed else {
                done.push(term);
                continue;
            };
            let id = match term.factors[at] {
                Factor::Expr(id) => id,
                Factor::Inverse(id) => {
                    // `1 / (a b)` is a product of reciprocals.
                    let Expr::Map(MapOp::Mul, args) = self.exprs.get(id) else {
                        return None;
                    };
                    let parts = [args[0], args[1]].map(Factor::Inverse);
                    let mut copy = term.clone();
                    copy.factors.splice(at..=at, parts);
                    open.push(copy);
                    continue;
                }
                Factor::Value(_) => return None,
            };
            let (parts, second) = match self.exprs.get(id) {
                Expr::Map(MapOp::Add, args) => ([args[0], args[1]], 1.0),
                Expr::Map(MapOp::Sub, args) => ([args[0], args[1]], -1.0),
                _ => return None,
            };
            for (part, sign) in [(parts[1], second), (parts[0], 1.0)] {
                let mut copy = term.clone();
                copy.factors.remove(at);
                copy.scale *= sign;
                self.product(part, &mut copy);
                open.push(copy);
            }
            if open.len() + done.len() > 16 {
                return None;
            }
        }
        Some(done)
    }

    fn sort(&mut self, ctx: &Ctx, c: &Contraction<'_>, term: &Term) -> Sorted {
        let mut sorted = Sorted {
            left: Vec::new(),
            right: Vec::new(),
            outer: Vec::new(),
            right_has_columns: false,
        };
        for &factor in &term.factors {
            let (over, rows, cols) = self.mentions(ctx, c, factor);
            let streamed = match factor {
                Factor::Expr(id) | Factor::Inverse(id) => {
                    let streamed = self.free.of(&self.exprs, id).iter().any(|v| ctx.stream.contains_key(v));
                    streamed || self.reads_shared(id)
                }
                Factor::Value(_) => false,
            };
            match (over, rows, cols) {
                (true, _, true) | (true, false, false) if cols || streamed && c.acc.is_none() => {
                    sorted.right_has_columns |= cols;
                    sorted.right.push(factor);
                }
                (true, ..) => sorted.left.push(factor),
                (false, ..) if c.acc.is_none() => sorted.outer.push(factor),
                (false, _, true) => {
                    sorted.right_has_columns = true;
                    sorted.right.push(factor);
                }
                (false, ..) => sorted.left.push(factor),
            }
        }
        sorted
    }

    /// The contraction as one or more dots; `None` if it has no such form. `left` binds rows and the contracted axis (as
    /// columns), `result` rows and columns.
    pub(crate) fn contract(
        &mut self,
        left: &mut Ctx,
        result: &mut Ctx,
        c: &Contraction<'_>,
        term: Term,
    ) -> Result<Option<ValueId>> {
        let Some(terms) = self.separate(result, c, term) else {
            return Ok(None);
        };
        let mut sum = c.acc;
        for term in terms {
            let c = Contraction {
                acc: c.acc.and(sum),
                ..*c
            };
            let Some(value) = self.contract_term(left, result, &c, &term)? else {
                return Ok(None);
            };
            sum = Some(match (sum, c.acc) {
                (Some(before), None) => self.b.add(before, value),
                _ => value,
            });
        }
        Ok(sum)
    }

    fn contract_term(
        &mut self,
        left: &mut Ctx,
        result: &mut Ctx,
        c: &Contraction<'_>,
        term: &Term,
    ) -> Result<Option<ValueId>> {
        let mut sorted = self.sort(result, c, term);
        if sorted.right.is_empty() {
            return Ok(None);
        }
        let inner_scale = c.acc.is_some() && term.scale != 1.0;
        if sorted.left.is_empty() || inner_scale {
            let one = self.b.real(if inner_scale { term.scale } else { 1.0 });
            sorted.left.push(Factor::Value(one));
        }
        let unit = if sorted.right_has_columns {
            None
        } else {
            Some(self.unit_group()?)
        };
        let c = Contraction {
            cols: unit.as_ref().unwrap_or(c.cols),
            ..*c
        };
        let half = self.operand_type(&c, &sorted);
        let (kind, elem) = match half {
            Some(elem) => (DotKind::Matrix, elem),
            None => (DotKind::Scalar, Elem::F32),
        };
        let first = self.left_operand(left, &c, &sorted.left, &term.masks, kind, elem)?;
        let second = self.right_operand(result, &c, &sorted.right, kind, elem)?;
        self.settle();
        let ty = Type {
            rows: Some(c.rows.axis),
            cols: Some(c.cols.axis),
            elem: Elem::F32,
            partial: false,
        };
        let dot = Op::Dot {
            left: first,
            right: second,
            over: c.over.axis,
            acc: c.acc,
            kind,
        };
        let depth = self.b.depth();
        let mut value = self.b.emit_at(depth, dot, ty);
        if unit.is_some() {
            value = self.b.row_reduce(ReduceOp::Max, value, false);
        }
        if c.acc.is_none() {
            let outer = Term {
                scale: term.scale,
                factors: sorted.outer,
                masks: Vec::new(),
            };
            value = self.times(result, value, &outer)?;
        }
        Ok(Some(value))
    }

    /// A column axis whose 8 lanes are copies of one point.
    pub(crate) fn unit_group(&mut self) -> Result<Group> {
        let axis = self.local_axis("unit", 8)?;
        Ok(Group {
            axis,
            base: super::context::Base::Zero,
            vars: Vec::new(),
            bound: None,
            tested: false,
        })
    }

    /// `value * scale * factors`, small shapes first.
    pub(crate) fn times(&mut self, ctx: &mut Ctx, value: ValueId, term: &Term) -> Result<ValueId> {
        let mut factor = None;
        for &f in &term.factors {
            let f = self.factor_value(ctx, f)?;
            factor = Some(match factor {
                Some(before) => self.b.mul(before, f),
                None => f,
            });
        }
        let scale = self.b.real(term.scale);
        let factor = factor.map_or(scale, |f| self.b.mul(f, scale));
        Ok(self.b.mul(value, factor))
    }

    fn factor_value(&mut self, ctx: &mut Ctx, factor: Factor) -> Result<ValueId> {
        match factor {
            Factor::Expr(id) => self.eval(ctx, id),
            Factor::Inverse(id) => {
                let value = self.eval(ctx, id)?;
                let one = self.b.real(1.0);
                Ok(self.divide(one, value))
            }
            Factor::Value(value) => Ok(value),
        }
    }

    /// The 16-bit type of a matrix dot; `None` for a dot in f32 (module doc of [`super::precision`]).
    fn operand_type(&self, c: &Contraction<'_>, sorted: &Sorted) -> Option<Elem> {
        let sides = [self.side_types(&sorted.left), self.side_types(&sorted.right)];
        let halves: BTreeSet<DType> = sides
            .iter()
            .flat_map(|(_, types)| types)
            .copied()
            .filter(|&d| is_half(d))
            .collect();
        let wide = sides
            .iter()
            .any(|(natural, types)| *natural && types.contains(&DType::F32));
        let computed = sides.iter().any(|(natural, _)| !natural);
        let [half] = halves.iter().copied().collect::<Vec<_>>()[..] else {
            return None;
        };
        if wide || (computed && !c.rounds) {
            return None;
        }
        dot_elem(half)
    }

    /// Whether a side is one access that is used as it is stored, and the real storage types that it reads directly.
    fn side_types(&self, factors: &[Factor]) -> (bool, BTreeSet<DType>) {
        let mut types = BTreeSet::new();
        let mut add = |id: ExprId| {
            if let Some((key, ..)) = self.access(id) {
                types.insert(self.dtype_of(key));
            }
        };
        if let [Factor::Expr(id)] = factors
            && self.access(*id).is_some()
        {
            add(*id);
            return (true, types);
        }
        for factor in factors {
            if let Factor::Expr(id) | Factor::Inverse(id) = factor {
                let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
                accesses(&self.exprs, *id, &mut seen, &mut found);
                found.into_iter().for_each(&mut add);
            }
        }
        (false, types)
    }

    fn left_operand(
        &mut self,
        ctx: &mut Ctx,
        c: &Contraction<'_>,
        factors: &[Factor],
        masks: &[ValueId],
        kind: DotKind,
        elem: Elem,
    ) -> Result<Operand> {
        if let ([Factor::Expr(id)], []) = (factors, masks) {
            let resident = c.acc.is_none();
            if !(kind == DotKind::Matrix && resident && self.schedule.left_in_registers) {
                for (a, b) in [(c.rows, c.over), (c.over, c.rows)] {
                    if let Some(operand) = self.copied_operand(ctx, *id, a, b)? {
                        return Ok(operand);
                    }
                }
            }
        }
        let one = self.b.real(1.0);
        let value = self.times(
            ctx,
            one,
            &Term {
                scale: 1.0,
                factors: factors.to_vec(),
                masks: Vec::new(),
            },
        )?;
        let mut value = self.widen(value, Some(c.rows.axis), Some(c.over.axis));
        // A weight is 0 already at columns outside of the stream.
        let weighted = factors.iter().any(|f| match f {
            Factor::Value(v) => self.b.ty(*v).cols == Some(c.over.axis),
            Factor::Expr(_) | Factor::Inverse(_) => false,
        });
        let inside = if weighted || c.tested {
            None
        } else {
            self.inside(c.over, false)
        };
        for &mask in masks.iter().chain(&inside) {
            let zero = self.b.real(0.0);
            value = self.b.select(mask, value, zero);
        }
        // What a walk holds from row tile to row tile leaves few registers; the loop over the tested tiles reads the same operand.
        let once = self.b.depth() == 0 && !self.by_chunks;
        let loops = self.b.depth_of(value) > 0 || once || self.schedule.left_in_registers;
        if kind == DotKind::Matrix && loops {
            return Ok(Operand::Register(self.b.cast(value, elem)));
        }
        self.stored_operand(value, elem)
    }

    fn right_operand(
        &mut self,
        ctx: &mut Ctx,
        c: &Contraction<'_>,
        factors: &[Factor],
        kind: DotKind,
        elem: Elem,
    ) -> Result<Operand> {
        if let [Factor::Expr(id)] = factors {
            for (a, b) in [(c.cols, c.over), (c.over, c.cols)] {
                if let Some(operand) = self.copied_operand(ctx, *id, a, b)? {
                    return Ok(operand);
                }
            }
        }
        let _ = kind;
        let over_rows = self.first_as_rows(c.over, c.cols)?;
        let (rows, cols) = if over_rows { (c.over, c.cols) } else { (c.cols, c.over) };
        let mut inner = ctx.scalars(self);
        self.bind(&mut inner, rows, true);
        self.bind(&mut inner, cols, false);
        let one = self.b.real(1.0);
        let value = self.times(
            &mut inner,
            one,
            &Term {
                scale: 1.0,
                factors: factors.to_vec(),
                masks: Vec::new(),
            },
        )?;
        let mut value = self.widen(value, Some(rows.axis), Some(cols.axis));
        for (group, as_rows) in [(rows, true), (cols, false)] {
            if let Some(mask) = self.inside(group, as_rows) {
                let zero = self.b.real(0.0);
                value = self.b.select(mask, value, zero);
            }
        }
        // The left operand is 0 at points that do not count, which a right one must not turn into NaN.
        if !factors.iter().all(|&f| self.is_finite(f)) {
            for &cond in c.conds {
                let vars = self.free.of(&self.exprs, cond);
                if vars.iter().any(|&v| c.over.has(v)) && vars.iter().all(|v| inner.env.contains_key(v)) {
                    let counts = self.eval(&mut inner, cond)?;
                    let zero = self.b.real(0.0);
                    value = self.b.select(counts, value, zero);
                }
            }
        }
        self.stored_operand(value, elem)
    }
}

impl Term {
    /// The product of nothing.
    pub(crate) fn one() -> Self {
        Term {
            scale: 1.0,
            factors: Vec::new(),
            masks: Vec::new(),
        }
    }
}
