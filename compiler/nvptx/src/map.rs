//! Pointwise operations: arithmetic, comparisons, logic, selection. The real functions stand in [`crate::math`].

use crate::cx::V;
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::value::{Form, Value};
use einloom_cascade::expr::{DType, MapOp};
use einloom_tile::ir::{Elem, Math, ValueId};
use inkwell::values::{FloatValue, IntValue};
use inkwell::{FloatPredicate, IntPredicate};

/// Predicate of a comparison of ints.
pub(crate) fn compare(op: MapOp) -> Option<IntPredicate> {
    Some(match op {
        MapOp::Lt => IntPredicate::SLT,
        MapOp::Le => IntPredicate::SLE,
        MapOp::Eq => IntPredicate::EQ,
        MapOp::Ne => IntPredicate::NE,
        _ => return None,
    })
}

/// Predicate of a comparison of reals; a comparison with NaN is false, `Ne` true.
fn compare_reals(op: MapOp) -> Option<FloatPredicate> {
    Some(match op {
        MapOp::Lt => FloatPredicate::OLT,
        MapOp::Le => FloatPredicate::OLE,
        MapOp::Eq => FloatPredicate::OEQ,
        MapOp::Ne => FloatPredicate::UNE,
        _ => return None,
    })
}

/// A comparison of each column's number with a limit (`Kernel::shifted_comparison`).
pub(crate) struct Shifted<'c> {
    pub(crate) limits: Vec<IntValue<'c>>,
    /// Form of the limits.
    pub(crate) rows: Form,
    /// The column's number is the left operand.
    pub(crate) column_left: bool,
    /// Less, not less or equal.
    pub(crate) strict: bool,
}

impl<'c> Kernel<'_, 'c> {
    /// Emits a pointwise operation at the joined form of its arguments, broadcast to the declared one.
    pub(crate) fn math(&mut self, form: Form, elem: Elem, math: Math, args: &[ValueId]) -> Res<Value<'c>> {
        let values = args.iter().map(|&a| self.value(a)).collect::<Res<Vec<_>>>()?;
        let mut joined = Form::Scalar;
        for value in &values {
            joined = joined.join(value.form)?;
        }
        if joined.join(form)? != form {
            return invalid(format!("{math:?} of larger shape than its declared type"));
        }
        if elem == Elem::F16 || elem == Elem::BF16 || values.iter().any(|v| matches!(v.elem, Elem::F16 | Elem::BF16)) {
            return unsupported(format!("{math:?} on 16-bit values (convert to F32 first)"));
        }
        if let (Form::Tile(..), true) = (joined, joined == form)
            && let Some(shifted) = self.shifted_comparison(joined, math, args, &values)
        {
            let lanes = self.compare_shifted(form, &shifted);
            return Ok(Value { form, elem, lanes });
        }
        if let Some(quotient) = self.count_division(math, args, &values) {
            let lanes = vec![quotient.into(); form.len()];
            return Ok(Value { form, elem, lanes });
        }
        let mut computed: Vec<V<'c>> = Vec::with_capacity(joined.len());
        for i in 0..joined.len() {
            let place = joined.place(i);
            let lanes: Vec<V<'c>> = values.iter().map(|v| v.at(place)).collect();
            computed.push(self.math_lane(math, elem, &lanes)?);
        }
        let small = Value {
            form: joined,
            elem,
            lanes: computed,
        };
        let lanes = (0..form.len()).map(|i| small.at(form.place(i))).collect();
        Ok(Value { form, elem, lanes })
    }

    /// A comparison of i32 between something that runs along the columns by steps of one and a row vector or scalar, as one
    /// comparison of each element with a compile-time number: `base + k < r` is `k < r - base`, with a saturating difference, since
    /// `k` is small. One instruction an element instead of two, and no register for each column.
    pub(crate) fn shifted_comparison(
        &self,
        form: Form,
        math: Math,
        args: &[ValueId],
        values: &[Value<'c>],
    ) -> Option<Shifted<'c>> {
        let Math::Map(op @ (MapOp::Lt | MapOp::Le)) = math else {
            return None;
        };
        let ([left, right], [a, b]) = (args, values) else {
            return None;
        };
        if a.elem != Elem::I32 || b.elem != Elem::I32 {
            return None;
        }
        let runs = |id: ValueId, v: &Value<'c>| matches!(v.form, Form::Col(_)) && self.facts.get(id).step == Some(1);
        let is_row = |v: &Value<'c>| match form {
            Form::Tile(..) => matches!(v.form, Form::Row(_)),
            _ => v.form == Form::Scalar,
        };
        let (column, rows, column_left) = if runs(*left, a) && is_row(b) {
            (a, b, true)
        } else if runs(*right, b) && is_row(a) {
            (b, a, false)
        } else {
            return None;
        };
        let cx = &self.cx;
        let base = column.lanes[0].into_int_value();
        let limits: Vec<IntValue<'c>> = rows
            .lanes
            .iter()
            .map(|r| cx.int_intrinsic("llvm.ssub.sat", &[r.into_int_value(), base]))
            .collect();
        Some(Shifted {
            limits,
            rows: rows.form,
            column_left,
            strict: op == MapOp::Lt,
        })
    }

    fn compare_shifted(&self, form: Form, shifted: &Shifted<'c>) -> Vec<V<'c>> {
        let cx = &self.cx;
        let predicate = if shifted.strict {
            IntPredicate::SLT
        } else {
            IntPredicate::SLE
        };
        (0..form.len())
            .map(|i| {
                let place = form.place(i);
                let limit = shifted.limits[shifted.rows.position(place)];
                let k = cx.i32((8 * place.group + place.parity) as i64);
                let (x, y) = if shifted.column_left { (k, limit) } else { (limit, k) };
                cx.icmp(predicate, x, y).into()
            })
            .collect()
    }

    fn math_lane(&self, math: Math, elem: Elem, args: &[V<'c>]) -> Res<V<'c>> {
        let cx = &self.cx;
        match (math, args) {
            (Math::Fma, [V::FloatValue(a), V::FloatValue(b), V::FloatValue(c)]) => Ok(cx.fma(*a, *b, *c).into()),
            (Math::Exp2Fast, [V::FloatValue(a)]) => Ok(self.ex2_approx(*a).into()),
            (Math::ReciprocalFast, [V::FloatValue(a)]) => Ok(self.reciprocal_fast(*a).into()),
            (Math::TanhFast, [V::FloatValue(a)]) => Ok(self.tanh_fast(*a).into()),
            (Math::Select, [V::IntValue(cond), yes, no]) if yes.get_type() == no.get_type() => {
                Ok(cx.select(*cond, *yes, *no))
            }
            (Math::Map(op), _) => self.map_lane(op, elem, args),
            _ => invalid(format!("{math:?} of operands that do not fit")),
        }
    }

    fn map_lane(&self, op: MapOp, elem: Elem, args: &[V<'c>]) -> Res<V<'c>> {
        let cx = &self.cx;
        match (op, args) {
            (MapOp::And, [V::IntValue(a), V::IntValue(b)]) => Ok(cx.iand(*a, *b).into()),
            (MapOp::Or, [V::IntValue(a), V::IntValue(b)]) => Ok(cx.ior(*a, *b).into()),
            (MapOp::Not, [V::IntValue(a)]) => Ok(cx.not(*a).into()),
            (MapOp::ToReal | MapOp::BoolToInt, [V::IntValue(a)]) => self.from_int(*a, elem),
            (MapOp::Floor | MapOp::Ceil | MapOp::Round, [V::FloatValue(a)]) => self.real_to_int(op, *a, elem),
            (MapOp::RoundTo(dtype), [a]) => self.round_to(dtype, *a, elem),
            (MapOp::Uniform, _) => {
                let ints: Vec<IntValue<'c>> = args
                    .iter()
                    .filter_map(|a| if let V::IntValue(v) = a { Some(*v) } else { None })
                    .collect();
                if ints.len() != args.len() {
                    invalid("uniform of operands that are no ints")
                } else {
                    self.uniform(&ints)
                }
            }
            (_, [V::FloatValue(a)]) => self.real_map(op, &[*a]),
            (_, [V::FloatValue(a), V::FloatValue(b)]) => match compare_reals(op) {
                Some(predicate) => Ok(cx.fcmp(predicate, *a, *b).into()),
                None => self.real_map(op, &[*a, *b]),
            },
            (_, [V::IntValue(a)]) => Ok(self.int_map(op, &[*a])?.into()),
            (_, [V::IntValue(a), V::IntValue(b)]) => {
                let ty = if a.get_type().get_bit_width() < b.get_type().get_bit_width() {
                    b.get_type()
                } else {
                    a.get_type()
                };
                let (a, b) = (cx.resize(*a, ty), cx.resize(*b, ty));
                match compare(op) {
                    Some(predicate) => Ok(cx.icmp(predicate, a, b).into()),
                    None => {
                        let res = self.int_map(op, &[a, b])?;
                        Ok(cx.resize(res, self.elem_type(elem).into_int_type()).into())
                    }
                }
            }
            _ => invalid(format!("{op:?} of operands that do not fit")),
        }
    }

    fn from_int(&self, a: IntValue<'c>, elem: Elem) -> Res<V<'c>> {
        let from = match a.get_type().get_bit_width() {
            1 => Elem::Bool,
            64 => Elem::I64,
            _ => Elem::I32,
        };
        let one = Value {
            form: Form::Scalar,
            elem: from,
            lanes: vec![a.into()],
        };
        Ok(self.cast(&one, elem)?.lanes[0])
    }

    fn real_to_int(&self, op: MapOp, a: FloatValue<'c>, elem: Elem) -> Res<V<'c>> {
        let cx = &self.cx;
        let name = match op {
            MapOp::Floor => "llvm.floor",
            MapOp::Ceil => "llvm.ceil",
            _ => "llvm.roundeven",
        };
        let whole = cx.float_intrinsic(name, &[a]);
        let ty = self.elem_type(elem);
        if !ty.is_int_type() {
            return invalid(format!("{op:?} gives an int"));
        }
        // Saturating: the plain conversion is undefined beyond the range of ints.
        Ok(cx.intrinsic("llvm.fptosi.sat", &[ty, a.get_type().into()], &[whole.into()]))
    }

    /// Rounds to a storage type, to nearest even, beyond its largest number to that; the result keeps its register type.
    fn round_to(&self, dtype: DType, a: V<'c>, elem: Elem) -> Res<V<'c>> {
        let cx = &self.cx;
        let limits = match dtype {
            DType::I8 => Some((-128, 127)),
            DType::U8 => Some((0, 255)),
            DType::I16 => Some((-32768, 32767)),
            DType::I32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            _ => None,
        };
        match (dtype, a, limits) {
            (DType::F32, V::FloatValue(_), _) => Ok(a),
            (DType::F16 | DType::BF16, V::FloatValue(v), _) => {
                // Largest finite numbers: (2 - 2^-10) 2^15 and (2 - 2^-7) 2^127. An infinity stays one.
                let (to, largest) = if dtype == DType::F16 {
                    (Elem::F16, 65504.0f32)
                } else {
                    (Elem::BF16, f32::from_bits(0x7f7f_0000))
                };
                let finite = cx.fcmp(
                    FloatPredicate::ONE,
                    cx.float_intrinsic("llvm.fabs", &[v]),
                    cx.f32(f32::INFINITY),
                );
                let clamped = cx.fmin(cx.fmax(v, cx.f32(-largest)), cx.f32(largest));
                let v = cx.fselect(finite, clamped, v);
                let ty = self.elem_type(to).into_float_type();
                Ok(cx.fcast(cx.fcast(v, ty), cx.f32t()).into())
            }
            (DType::Bool, _, _) => unsupported("rounding to bool"),
            (_, V::FloatValue(v), _) => {
                let whole = self.real_to_int(MapOp::Round, v, Elem::I64)?;
                let whole = self.round_to(dtype, whole, Elem::I64)?.into_int_value();
                Ok(cx.resize(whole, self.elem_type(elem).into_int_type()).into())
            }
            (_, V::IntValue(v), Some((low, high))) => {
                let ty = v.get_type();
                if ty.get_bit_width() == 32 && dtype == DType::I32 {
                    return Ok(v.into());
                }
                let v = cx.int_intrinsic("llvm.smax", &[v, ty.const_int(low as u64, true)]);
                Ok(cx
                    .int_intrinsic("llvm.smin", &[v, ty.const_int(high as u64, true)])
                    .into())
            }
            (DType::I64, V::IntValue(v), None) => Ok(cx.resize(v, cx.i64t()).into()),
            _ => unsupported(format!("rounding to {dtype:?}")),
        }
    }

    /// Arithmetic of ints of one width.
    pub(crate) fn int_map(&self, op: MapOp, args: &[IntValue<'c>]) -> Res<IntValue<'c>> {
        let cx = &self.cx;
        let zero = |a: IntValue<'c>| a.get_type().const_zero();
        Ok(match (op, args) {
            (MapOp::Add, &[a, b]) => cx.iadd(a, b),
            (MapOp::Sub, &[a, b]) => cx.isub(a, b),
            (MapOp::Mul, &[a, b]) => cx.imul(a, b),
            (MapOp::Min, &[a, b]) => cx.int_intrinsic("llvm.smin", &[a, b]),
            (MapOp::Max, &[a, b]) => cx.int_intrinsic("llvm.smax", &[a, b]),
            (MapOp::IDiv, &[a, b]) => self.floor_division(a, b).0,
            (MapOp::IMod, &[a, b]) => self.floor_division(a, b).1,
            (MapOp::BitAnd | MapOp::And, &[a, b]) => cx.iand(a, b),
            (MapOp::BitOr | MapOp::Or, &[a, b]) => cx.ior(a, b),
            (MapOp::BitXor, &[a, b]) => cx.ixor(a, b),
            (MapOp::Shl, &[a, b]) => self.shift(a, b, true),
            (MapOp::Shr, &[a, b]) => self.shift(a, b, false),
            (MapOp::Neg, &[a]) => cx.isub(zero(a), a),
            (MapOp::Abs, &[a]) => cx.int_intrinsic("llvm.smax", &[a, cx.isub(zero(a), a)]),
            (MapOp::Sign, &[a]) => {
                let one = a.get_type().const_int(1, false);
                let high = cx.int_intrinsic("llvm.smin", &[a, one]);
                cx.int_intrinsic("llvm.smax", &[high, cx.isub(zero(a), one)])
            }
            (MapOp::Popcount, &[a]) => cx.int_intrinsic("llvm.ctpop", &[a]),
            _ => return unsupported(format!("{op:?} of {} ints", args.len())),
        })
    }

    /// The quotient or remainder of scalars that are never negative.
    fn count_division(&self, math: Math, args: &[ValueId], values: &[Value<'c>]) -> Option<IntValue<'c>> {
        let Math::Map(op @ (MapOp::IDiv | MapOp::IMod)) = math else {
            return None;
        };
        let [a, b] = values else { return None };
        let scalars = a.form == Form::Scalar && b.form == Form::Scalar;
        if !scalars || !args.iter().all(|v| self.counts.counts(*v)) {
            return None;
        }
        let (V::IntValue(a), V::IntValue(b)) = (a.lanes.first()?, b.lanes.first()?) else {
            return None;
        };
        // Known divisors are left to LLVM and ptxas, which make shifts and multiplications of them.
        let constant = b.get_sign_extended_constant().is_some();
        (!constant).then(|| match op {
            MapOp::IDiv => self.cx.udiv(*a, *b),
            _ => self.cx.urem(*a, *b),
        })
    }

    /// Floor quotient and remainder; by a constant power of two, shift and mask.
    fn floor_division(&self, a: IntValue<'c>, b: IntValue<'c>) -> (IntValue<'c>, IntValue<'c>) {
        let cx = &self.cx;
        let ty = a.get_type();
        if let Some(n) = b.get_sign_extended_constant()
            && n > 0
            && n.count_ones() == 1
        {
            let shift = ty.const_int(u64::from(n.trailing_zeros()), false);
            return (cx.ashr(a, shift), cx.iand(a, ty.const_int(n as u64 - 1, false)));
        }
        let (q, r) = (cx.sdiv(a, b), cx.srem(a, b));
        let zero = ty.const_zero();
        let signs_differ = cx.icmp(IntPredicate::SLT, cx.ixor(r, b), zero);
        let inexact = cx.icmp(IntPredicate::NE, r, zero);
        let fix = cx.iand(signs_differ, inexact);
        let one = ty.const_int(1, false);
        (cx.iselect(fix, cx.isub(q, one), q), cx.iselect(fix, cx.iadd(r, b), r))
    }

    /// Shifts; by the width or more, all bits leave.
    fn shift(&self, a: IntValue<'c>, by: IntValue<'c>, left: bool) -> IntValue<'c> {
        let cx = &self.cx;
        let ty = a.get_type();
        let last = ty.const_int(u64::from(ty.get_bit_width()) - 1, false);
        let far = cx.icmp(IntPredicate::UGT, by, last);
        let near = cx.iselect(far, last, by);
        if left {
            cx.iselect(far, ty.const_zero(), cx.shl(a, near))
        } else {
            cx.ashr(a, near)
        }
    }
}
