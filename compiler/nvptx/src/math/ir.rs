//! Formulas as LLVM IR, and the dispatch of the language's real functions to them.

use super::arith::Arith;
use super::{functions, text};
use crate::cx::{Cx, Effect, V};
use crate::error::{Res, unsupported};
use crate::kernel::Kernel;
use einloom_cascade::expr::MapOp;
use inkwell::values::{FloatValue, IntValue};
use inkwell::{FloatPredicate, IntPredicate};
use std::collections::btree_map::Entry;
use std::rc::Rc;

impl<'c> Arith for Cx<'c> {
    type F = FloatValue<'c>;
    type D = FloatValue<'c>;
    type I = IntValue<'c>;
    type B = IntValue<'c>;

    fn num(&self, x: f32) -> Self::F {
        self.f32(x)
    }
    fn add(&self, a: Self::F, b: Self::F) -> Self::F {
        self.fadd_exact(a, b)
    }
    fn sub(&self, a: Self::F, b: Self::F) -> Self::F {
        self.fsub_exact(a, b)
    }
    fn mul(&self, a: Self::F, b: Self::F) -> Self::F {
        self.fmul_exact(a, b)
    }
    fn div(&self, a: Self::F, b: Self::F) -> Self::F {
        self.fdiv(a, b)
    }
    fn fma(&self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        Cx::fma(self, a, b, c)
    }
    fn sqrt(&self, a: Self::F) -> Self::F {
        self.float_intrinsic("llvm.sqrt", &[a])
    }
    fn abs(&self, a: Self::F) -> Self::F {
        self.float_intrinsic("llvm.fabs", &[a])
    }
    fn neg(&self, a: Self::F) -> Self::F {
        self.fneg(a)
    }
    fn max(&self, a: Self::F, b: Self::F) -> Self::F {
        self.fmax(a, b)
    }
    fn min(&self, a: Self::F, b: Self::F) -> Self::F {
        self.fmin(a, b)
    }
    fn lt(&self, a: Self::F, b: Self::F) -> Self::B {
        self.fcmp(FloatPredicate::OLT, a, b)
    }
    fn eq(&self, a: Self::F, b: Self::F) -> Self::B {
        self.fcmp(FloatPredicate::OEQ, a, b)
    }
    fn select(&self, c: Self::B, yes: Self::F, no: Self::F) -> Self::F {
        self.fselect(c, yes, no)
    }
    fn and(&self, a: Self::B, b: Self::B) -> Self::B {
        Cx::iand(self, a, b)
    }

    fn int(&self, n: i32) -> Self::I {
        self.i32(i64::from(n))
    }
    fn bits(&self, a: Self::F) -> Self::I {
        Cx::bits(self, a)
    }
    fn from_bits(&self, a: Self::I) -> Self::F {
        Cx::from_bits(self, a)
    }
    fn real(&self, a: Self::I) -> Self::F {
        self.to_real(a, self.f32t())
    }
    fn iadd(&self, a: Self::I, b: Self::I) -> Self::I {
        Cx::iadd(self, a, b)
    }
    fn isub(&self, a: Self::I, b: Self::I) -> Self::I {
        Cx::isub(self, a, b)
    }
    fn iand(&self, a: Self::I, b: Self::I) -> Self::I {
        Cx::iand(self, a, b)
    }
    fn ior(&self, a: Self::I, b: Self::I) -> Self::I {
        Cx::ior(self, a, b)
    }
    fn ixor(&self, a: Self::I, b: Self::I) -> Self::I {
        Cx::ixor(self, a, b)
    }
    fn shl(&self, a: Self::I, by: u32) -> Self::I {
        Cx::shl(self, a, self.i32(i64::from(by)))
    }
    fn shr(&self, a: Self::I, by: u32) -> Self::I {
        self.ashr(a, self.i32(i64::from(by)))
    }
    fn ine(&self, a: Self::I, b: Self::I) -> Self::B {
        self.icmp(IntPredicate::NE, a, b)
    }
    fn ilt(&self, a: Self::I, b: Self::I) -> Self::B {
        self.icmp(IntPredicate::SLT, a, b)
    }
    fn iselect(&self, c: Self::B, yes: Self::I, no: Self::I) -> Self::I {
        Cx::iselect(self, c, yes, no)
    }

    fn wide(&self, x: f64) -> Self::D {
        self.f64(x)
    }
    fn widen(&self, a: Self::F) -> Self::D {
        self.fcast(a, self.f64t())
    }
    fn narrow(&self, a: Self::D) -> Self::F {
        self.fcast(a, self.f32t())
    }
    fn dadd(&self, a: Self::D, b: Self::D) -> Self::D {
        self.fadd_exact(a, b)
    }
    fn dsub(&self, a: Self::D, b: Self::D) -> Self::D {
        self.fsub_exact(a, b)
    }
    fn dmul(&self, a: Self::D, b: Self::D) -> Self::D {
        self.fmul_exact(a, b)
    }
    fn ddiv(&self, a: Self::D, b: Self::D) -> Self::D {
        self.fdiv(a, b)
    }
    fn dfma(&self, a: Self::D, b: Self::D, c: Self::D) -> Self::D {
        Cx::fma(self, a, b, c)
    }
    fn dselect(&self, c: Self::B, yes: Self::D, no: Self::D) -> Self::D {
        self.fselect(c, yes, no)
    }
    fn dreal(&self, a: Self::I) -> Self::D {
        self.to_real(a, self.f64t())
    }
    fn low_bits(&self, a: Self::D) -> Self::I {
        let bits = self.bitcast(a.into(), self.i64t().into()).into_int_value();
        self.resize(bits, self.i32t())
    }
}

impl<'c> Kernel<'_, 'c> {
    /// `2^x` by the special function unit: relative error 2^-22, numbers below the normal range become 0 (`emit::flush_exponentials`).
    pub(crate) fn ex2_approx(&self, x: FloatValue<'c>) -> FloatValue<'c> {
        self.cx.float_intrinsic("llvm.exp2", &[x])
    }

    /// `1 / x`, relative error about 2^-23; infinite for denormal numbers.
    pub(crate) fn reciprocal_fast(&self, x: FloatValue<'c>) -> FloatValue<'c> {
        let ty = self.cx.f32t().into();
        self.cx
            .asm_value(ty, "rcp.approx.ftz.f32 $0, $1;", "=f,f", &[x.into()], Effect::Pure)
            .into_float_value()
    }

    /// `tanh x` by the special function unit: relative error 2^-11.
    pub(crate) fn tanh_fast(&self, x: FloatValue<'c>) -> FloatValue<'c> {
        let ty = self.cx.f32t().into();
        self.cx
            .asm_value(ty, "tanh.approx.f32 $0, $1;", "=f,f", &[x.into()], Effect::Pure)
            .into_float_value()
    }

    /// An operator or function on f32.
    pub(crate) fn real_map(&self, op: MapOp, args: &[FloatValue<'c>]) -> Res<V<'c>> {
        let cx = &self.cx;
        Ok(match (op, args) {
            (MapOp::Add, &[a, b]) => cx.fadd(a, b),
            (MapOp::Sub, &[a, b]) => cx.fsub(a, b),
            (MapOp::Mul, &[a, b]) => cx.fmul(a, b),
            (MapOp::Div, &[a, b]) => cx.fdiv(a, b),
            (MapOp::Min, &[a, b]) => cx.fmin(a, b),
            (MapOp::Max, &[a, b]) => cx.fmax(a, b),
            // Squares are frequent, and exact rounding of x * x is what every target computes.
            (MapOp::Pow, &[a, b]) if b.get_constant().is_some_and(|(c, _)| c == 2.0) => cx.fmul(a, a),
            (MapOp::Neg, &[a]) => cx.fneg(a),
            (MapOp::Abs, &[a]) => Arith::abs(cx, a),
            (MapOp::Sign, &[a]) => functions::sign(cx, a),
            (MapOp::Sqrt, &[a]) => Arith::sqrt(cx, a),
            (MapOp::Rsqrt, &[a]) => cx.fdiv(cx.f32(1.0), Arith::sqrt(cx, a)),
            // Known arguments are for LLVM to fold.
            _ if args.iter().any(|a| a.is_const()) => match functions::formula(cx, op, args) {
                Some(res) => res,
                None => return unsupported(format!("{op:?} of {} reals", args.len())),
            },
            _ => match cx.formula(op, args) {
                Some(res) => res,
                None => return unsupported(format!("{op:?} of {} reals", args.len())),
            },
        }
        .into())
    }
}

impl<'c> Cx<'c> {
    /// The statement for a function of `arguments` f32 ([`text::function`]).
    pub(crate) fn formula_text(&self, op: MapOp, arguments: usize) -> Option<Rc<str>> {
        let mut known = self.formulas.borrow_mut();
        Some(match known.entry(op) {
            Entry::Occupied(entry) => Rc::clone(entry.get()),
            Entry::Vacant(entry) => Rc::clone(entry.insert(text::function(op, arguments)?.into())),
        })
    }

    /// A function of several instructions, as one statement of inline PTX.
    fn formula(&self, op: MapOp, args: &[FloatValue<'c>]) -> Option<FloatValue<'c>> {
        let statement = self.formula_text(op, args.len())?;
        let constraints = format!("=f{}", ",f".repeat(args.len()));
        let args: Vec<V<'c>> = args.iter().map(|&a| a.into()).collect();
        let res = self.asm_value(self.f32t().into(), &statement, &constraints, &args, Effect::Pure);
        Some(res.into_float_value())
    }
}
