//! Expressions to values: every scalar expression becomes a value of the shape of its variables.
//!
//! Arguments are evaluated at their own shapes and broadcast by the operation that joins them, so a row factor costs one
//! operation a row. Equal operations are shared by the builder.

use super::builder::{Const, scalar};
use super::context::Ctx;
use super::error::{LowerError, Result};
use super::facts::{const_int, const_real};
use super::{Lowerer, TensorKey};
use crate::ir::{Elem, Math, Op, Type, ValueId};
use crate::lowered::ScalarSource;
use einloom_cascade::expr::{DType, Expr, ExprId, Kind, MapOp};
use einloom_plan::domain::{Class, classify_wrapping};
use einloom_plan::ir::LeafDef;
use einloom_plan::kinds;

impl Lowerer<'_> {
    /// The value of an expression in a context.
    pub(crate) fn eval(&mut self, ctx: &mut Ctx, id: ExprId) -> Result<ValueId> {
        if let Some(&value) = ctx.memo.get(&id) {
            return Ok(value);
        }
        // What is near enough for an exponent only is no value of the expression elsewhere.
        let outside = std::mem::take(&mut self.near.only_here);
        let value = self.eval_new(ctx, id)?;
        if !self.near.only_here {
            ctx.memo.insert(id, value);
        }
        self.near.only_here |= outside;
        Ok(value)
    }

    fn eval_new(&mut self, ctx: &mut Ctx, id: ExprId) -> Result<ValueId> {
        match self.exprs.get(id).clone() {
            Expr::Real(bits) => Ok(self.b.real(f64::from_bits(bits))),
            Expr::Int(i) => Ok(self.b.int(i)),
            Expr::Bool(t) => Ok(self.b.boolean(t)),
            Expr::Var(var) => ctx
                .env
                .get(&var)
                .copied()
                .ok_or_else(|| LowerError::Bug(format!("variable {} is not bound", self.var_name(var)))),
            Expr::Extent(_) | Expr::Scalar(_) => Ok(self.uniform(id)),
            Expr::Input(input, index) => {
                if let Some(value) = self.staged(ctx, id)? {
                    return Ok(value);
                }
                let extents: Vec<ExprId> = self.plan.cascade.inputs[input.index()]
                    .dims
                    .iter()
                    .map(|d| d.extent)
                    .collect();
                let value = self.load(ctx, TensorKey::Input(input.index()), &index, &extents)?;
                let value = self.limited_element(id, value);
                Ok(self.as_int(value))
            }
            Expr::Def(def, _) => Err(LowerError::Bug(format!(
                "the plan still reads the definition {}",
                self.plan.cascade.defs[def.index()].name
            ))),
            Expr::Leaf(leaf, index) => match self.plan.leaf(leaf) {
                LeafDef::Crossing(c) => {
                    let extents = self.crossing_extents(c);
                    let value = self.load(ctx, TensorKey::Crossing(c), &index, &extents)?;
                    Ok(self.as_int(value))
                }
                def => self.state_leaf(ctx, def, &index),
            },
            Expr::Map(op, args) => self.eval_map(ctx, id, op, &args),
            Expr::Select([cond, then, otherwise]) => {
                let cond = self.eval(ctx, cond)?;
                let then = self.eval(ctx, then)?;
                let otherwise = self.eval(ctx, otherwise)?;
                Ok(self.b.select(cond, then, otherwise))
            }
            Expr::Reduce(reduce) => self.reduce(ctx, &reduce),
        }
    }

    fn eval_map(&mut self, ctx: &mut Ctx, id: ExprId, op: MapOp, args: &[ExprId]) -> Result<ValueId> {
        if self.is_uniform_int(id) {
            return Ok(self.uniform(id));
        }
        // A sum may be smaller than its terms: an error relative to a term is none relative to the sum.
        let coarse = self.near.coarse;
        self.near.coarse &= matches!(op, MapOp::Mul | MapOp::Div | MapOp::Neg | MapOp::Exp | MapOp::Tanh);
        let value = self.eval_real_map(ctx, id, op, args);
        self.near.coarse = coarse;
        value
    }

    fn eval_real_map(&mut self, ctx: &mut Ctx, id: ExprId, op: MapOp, args: &[ExprId]) -> Result<ValueId> {
        if op == MapOp::Add && self.kind(id) == Kind::Real {
            for (product, other) in [(args[0], args[1]), (args[1], args[0])] {
                if let Some((a, b)) = self.factors_of(product) {
                    let (a, b) = (self.eval_factor(ctx, a)?, self.eval_factor(ctx, b)?);
                    let other = self.eval(ctx, other)?;
                    if self.b.known(a).is_none() || self.b.known(b).is_none() {
                        return Ok(self.b.fma(a, b, other));
                    }
                }
            }
        }
        if let (MapOp::Div, Some(by)) = (op, args.get(1).and_then(|&b| const_real(&self.exprs, b))) {
            let value = self.eval(ctx, args[0])?;
            let inverse = self.b.real(1.0 / by);
            return Ok(self.b.mul(value, inverse));
        }
        if op == MapOp::Exp && self.near.weights {
            let outside = std::mem::replace(&mut self.near.exponent, true);
            let exponent = self.eval(ctx, args[0])?;
            let log2_e = self.b.real(std::f64::consts::LOG2_E);
            // In an exponent the constants of `d y + e` take the factor in: that keeps the absolute error small, not the relative one.
            let scaled = self.b.scaled_fma(exponent, log2_e);
            let exponent = scaled.unwrap_or_else(|| self.b.mul(exponent, log2_e));
            self.near.exponent = outside;
            return Ok(self.b.exp2(exponent));
        }
        let mut values = Vec::with_capacity(args.len());
        for &arg in args {
            values.push(self.eval(ctx, arg)?);
        }
        if let (MapOp::Mul, true, &[a, b]) = (op, self.near.exponent, values.as_slice())
            && let Some(value) = self.b.scaled_fma(a, b).or_else(|| self.b.scaled_fma(b, a))
        {
            return Ok(value);
        }
        if op == MapOp::Tanh && self.near.exponent {
            return Ok(self.tanh_in_exponent(values[0]));
        }
        if op == MapOp::Div {
            return Ok(self.divide(values[0], values[1]));
        }
        if op == MapOp::Pow && self.b.known(values[1]) == Some(Const::Real(2.0)) {
            return Ok(self.b.mul(values[0], values[0]));
        }
        if op == MapOp::Uniform {
            return Err(LowerError::unsupported("uniform()", "random numbers in a kernel"));
        }
        Ok(self.b.map(op, &values))
    }

    /// Where an exponent is a product and weights are rounded to bf16, whatever is relative to 2^-11 (module doc of [`super::precision`]). Else
    /// `tanh x = 1 - 2 / (e^(2x) + 1)`: near 0 the difference cancels, which leaves an absolute error of about 2^-22 as everywhere else;
    /// enough in an exponent, not for a small result by itself.
    fn tanh_in_exponent(&mut self, x: ValueId) -> ValueId {
        self.near.only_here = true;
        if self.near.coarse {
            return self.b.math(Math::TanhFast, &[x], Elem::F32);
        }
        let scale = self.b.real(2.0 * std::f64::consts::LOG2_E);
        let x = self.b.mul(x, scale);
        let power = self.b.exp2(x);
        let one = self.b.real(1.0);
        let sum = self.b.add(power, one);
        let inverse = self.b.math(Math::ReciprocalFast, &[sum], Elem::F32);
        let minus_two = self.b.real(-2.0);
        self.b.fma(inverse, minus_two, one)
    }

    /// `a / b`; a divisor of smaller shape is inverted once.
    pub(crate) fn divide(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let (whole, by) = (self.b.join(&[a, b], Elem::F32), self.b.ty(b));
        if self.near.weights && by.rows.is_some() && by.cols.is_some() {
            let inverse = self.b.math(Math::ReciprocalFast, &[b], Elem::F32);
            return self.b.mul(a, inverse);
        }
        if (whole.rows, whole.cols) == (by.rows, by.cols) {
            return self.b.map(MapOp::Div, &[a, b]);
        }
        let inverse = if self.near.result {
            self.b.math(Math::ReciprocalFast, &[b], Elem::F32)
        } else {
            let one = self.b.real(1.0);
            self.b.map(MapOp::Div, &[one, b])
        };
        self.b.mul(a, inverse)
    }

    /// The two factors of a real product whose sum with something is one fused operation.
    fn factors_of(&self, id: ExprId) -> Option<(Side, Side)> {
        match self.exprs.get(id) {
            Expr::Map(MapOp::Mul, args) => Some((Side::Value(args[0]), Side::Value(args[1]))),
            Expr::Map(MapOp::Div, args) => {
                const_real(&self.exprs, args[1]).map(|by| (Side::Value(args[0]), Side::Real(1.0 / by)))
            }
            _ => None,
        }
    }

    fn eval_factor(&mut self, ctx: &mut Ctx, side: Side) -> Result<ValueId> {
        match side {
            Side::Value(id) => self.eval(ctx, id),
            Side::Real(x) => Ok(self.b.real(x)),
        }
    }

    pub(crate) fn kind(&self, id: ExprId) -> Kind {
        kinds::kind(self.plan, &self.exprs, id)
    }

    /// Whether an expression is an int over extents, scalars and constants alone.
    fn is_uniform_int(&self, id: ExprId) -> bool {
        match self.exprs.get(id) {
            Expr::Int(_) | Expr::Extent(_) => true,
            Expr::Scalar(s) => kinds::of_dtype(self.plan.cascade.scalars[s.index()].dtype) == Kind::Int,
            Expr::Map(op, args) => {
                matches!(
                    op,
                    MapOp::Add
                        | MapOp::Sub
                        | MapOp::Mul
                        | MapOp::IDiv
                        | MapOp::IMod
                        | MapOp::Min
                        | MapOp::Max
                        | MapOp::Neg
                ) && args.iter().all(|&a| self.is_uniform_int(a))
            }
            _ => false,
        }
    }

    /// A scalar parameter for an expression over extents and scalars.
    pub(crate) fn uniform(&mut self, id: ExprId) -> ValueId {
        if let Some(i) = const_int(&self.exprs, id) {
            return self.b.int(i);
        }
        // Expressions that the lowering itself made are computed in the kernel from the plan's own, and so is what limited scalars are part of.
        if (id.index() >= self.plan.cascade.exprs.len() || self.is_of_limited(id))
            && let Expr::Map(op, args) = self.exprs.get(id).clone()
        {
            let args: Vec<ValueId> = args.iter().map(|&a| self.uniform(a)).collect();
            return self.b.map(op, &args);
        }
        let (source, elem) = match self.exprs.get(id) {
            Expr::Scalar(s) => {
                let elem = match self.plan.cascade.scalars[s.index()].dtype {
                    DType::I64 => Elem::I64,
                    dtype if kinds::of_dtype(dtype) == Kind::Real => Elem::F32,
                    _ => Elem::I32,
                };
                (ScalarSource::Scalar(*s), elem)
            }
            _ => (ScalarSource::Extent(id), Elem::I32),
        };
        let index = self.param(source, elem);
        let value = self.b.emit(Op::Param(index), scalar(elem));
        match self.exprs.get(id) {
            Expr::Scalar(s) if self.plan.cascade.scalars[s.index()].dtype == DType::Bool => {
                let zero = self.b.int(0);
                self.b.map(MapOp::Ne, &[value, zero])
            }
            Expr::Scalar(_) if elem != Elem::F32 => {
                let value = self.limited_scalar(id, value);
                self.b.cast(value, Elem::I32)
            }
            _ => value,
        }
    }

    /// Elements of a tensor as it holds them, 0 at coordinates outside of it.
    pub(crate) fn load(
        &mut self,
        ctx: &mut Ctx,
        key: TensorKey,
        index: &[ExprId],
        extents: &[ExprId],
    ) -> Result<ValueId> {
        let mut values = Vec::with_capacity(index.len());
        let mut mask = None;
        for (&id, &extent) in index.iter().zip(extents) {
            let value = self.eval(ctx, id)?;
            values.push(value);
            let check = self.index_check(ctx, id, value, extent);
            mask = self.b.and(mask, check);
        }
        let dtype = self.dtype_of(key);
        let elem = match dtype {
            DType::F32 | DType::F16 | DType::BF16 => Elem::F32,
            DType::I64 => Elem::I64,
            DType::Bool => Elem::Bool,
            DType::I32 | DType::I16 | DType::I8 | DType::U8 => Elem::I32,
        };
        let tensor = self.tensor(key);
        let all: Vec<ValueId> = values.iter().copied().chain(mask).collect();
        let ty = Type {
            partial: false,
            ..self.b.join(&all, elem)
        };
        let value = self.b.emit(
            Op::Load {
                tensor,
                index: values,
                mask,
            },
            ty,
        );
        Ok(value)
    }

    /// Ints of 64 bits as those of a kernel.
    fn as_int(&mut self, value: ValueId) -> ValueId {
        match self.b.ty(value).elem {
            Elem::I64 => self.b.cast(value, Elem::I32),
            _ => value,
        }
    }

    /// Whether an index is a coordinate of the dimension's own rank.
    pub(crate) fn is_coordinate(&self, id: ExprId, extent: ExprId) -> bool {
        match self.exprs.get(id) {
            Expr::Var(var) => self
                .plan
                .cascade
                .vars
                .get(var.index())
                .is_some_and(|v| v.extent == extent),
            _ => false,
        }
    }

    /// Whether an index is inside of its dimension by its form, whatever its variables are: those of a tile's lanes may lie outside of their ranks,
    /// and what is computed from them, or from inputs, may wrap around.
    fn is_inside(&mut self, id: ExprId, extent: ExprId) -> bool {
        let zero = self.exprs.int(0);
        let low = self.exprs.map(MapOp::Le, &[zero, id]);
        let high = self.exprs.map(MapOp::Lt, &[id, extent]);
        classify_wrapping(&self.exprs, &[low, high]) == Class::Always
    }

    /// The condition that an index is inside of its dimension, where that is not certain.
    pub(crate) fn index_check(&mut self, ctx: &Ctx, id: ExprId, value: ValueId, extent: ExprId) -> Option<ValueId> {
        if let Expr::Var(var) = self.exprs.get(id)
            && self.is_coordinate(id, extent)
        {
            return ctx.valid.get(var).copied();
        }
        if let (Some(i), Some(n)) = (self.b.known_int(value), const_int(&self.exprs, extent))
            && (0..n).contains(&i)
        {
            return None;
        }
        if self.is_inside(id, extent) {
            return None;
        }
        let zero = self.b.int(0);
        let extent = self.uniform(extent);
        let low = self.b.map(MapOp::Le, &[zero, value]);
        let high = self.b.map(MapOp::Lt, &[value, extent]);
        self.b.and(Some(low), Some(high))
    }
}

/// A factor of a fused multiply-add.
#[derive(Clone, Copy)]
enum Side {
    Value(ExprId),
    Real(f64),
}
