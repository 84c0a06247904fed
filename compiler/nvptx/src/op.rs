//! Pure operations: constants, coordinates, conversions; the rest is dispatched to its own module.

use crate::cx::V;
use crate::error::{Res, invalid, unsupported};
use crate::hopper::Role;
use crate::kernel::Kernel;
use crate::value::{Form, Value, is_half, is_packed};
use einloom_tile::ir::{DotKind, Elem, Op, ValueId};
use inkwell::FloatPredicate;
use inkwell::types::{BasicTypeEnum, FloatType};
use inkwell::values::{FloatValue, IntValue};

impl<'c> Kernel<'_, 'c> {
    /// Value of an operation that defines `id`.
    pub(crate) fn op(&mut self, id: ValueId, op: &Op) -> Res<Value<'c>> {
        let form = self.form(id)?;
        let elem = self.program.values[id.index()].elem;
        match op {
            Op::Real(x) => self.constant(form, elem, *x),
            Op::Int(n) => self.int_constant(form, elem, *n),
            Op::Param(i) => match self.scalars.get(*i) {
                Some(&v) => Ok(Value {
                    form: Form::Scalar,
                    elem,
                    lanes: vec![v],
                }),
                None => invalid(format!("v{} reads scalar {i}, which is not declared", id.0)),
            },
            Op::Grid(i) => match self.grid.get(*i) {
                Some(&v) => Ok(Value {
                    form: Form::Scalar,
                    elem,
                    lanes: vec![self.cx.resize(v, self.cx.i32t()).into()],
                }),
                None => invalid(format!("v{} reads grid dimension {i}, which is not declared", id.0)),
            },
            Op::Block | Op::Blocks => {
                let name = if *op == Op::Block { "ctaid.x" } else { "nctaid.x" };
                Ok(Value {
                    form,
                    elem,
                    lanes: vec![self.cx.special_register(name).into()],
                })
            }
            Op::Lane => self.lane_numbers(form, elem),
            Op::Math(math, args) => self.math(form, elem, *math, args),
            Op::Cast(arg) => {
                let value = self.value(*arg)?;
                self.cast(&value, elem)
            }
            Op::Load { tensor, index, mask } => self.load(form, elem, *tensor, index, *mask),
            Op::LoadShared { buffer, stage } => self.load_shared(id, form, elem, *buffer, *stage),
            Op::RowReduce(op, arg) => {
                let partial = self.program.values[id.index()].partial;
                self.row_reduce(*op, *arg, partial)
            }
            Op::QuadReduce(op, arg) => self.quad_reduce(*op, *arg),
            Op::Dot {
                left,
                right,
                over,
                acc,
                kind: DotKind::Matrix,
            } if self.role != Role::Uniform => self.warpgroup_dot(id, *left, *right, *over, *acc),
            Op::Dot {
                left,
                right,
                over,
                acc,
                kind: DotKind::Matrix,
            } => self.matrix_dot(id, *left, *right, *over, *acc),
            Op::Dot {
                left,
                right,
                over,
                acc,
                kind: DotKind::Scalar,
            } => self.dot_by_scalars(form, *left, *right, *over, *acc),
        }
    }

    /// LLVM type of one element in a register (packed tiles aside).
    pub(crate) fn elem_type(&self, elem: Elem) -> BasicTypeEnum<'c> {
        match elem {
            Elem::F32 => self.cx.f32t().into(),
            Elem::F16 => self.cx.context.f16_type().into(),
            Elem::BF16 => self.cx.context.bf16_type().into(),
            Elem::I32 => self.cx.i32t().into(),
            Elem::I64 => self.cx.i64t().into(),
            Elem::Bool => self.cx.i1t().into(),
        }
    }

    fn half_type(&self, elem: Elem) -> FloatType<'c> {
        self.elem_type(elem).into_float_type()
    }

    fn constant(&self, form: Form, elem: Elem, x: f64) -> Res<Value<'c>> {
        if is_packed(form, elem) {
            let one = Value {
                form: Form::Scalar,
                elem: Elem::F32,
                lanes: vec![self.cx.f32(x as f32).into()],
            };
            let all = Value {
                form,
                elem: Elem::F32,
                lanes: vec![one.lanes[0]; form.len()],
            };
            return self.cast(&all, elem);
        }
        let lane: V<'c> = match self.elem_type(elem) {
            BasicTypeEnum::FloatType(ty) => ty.const_float(x).into(),
            _ => return invalid("a real constant of a type that is not real"),
        };
        Ok(Value {
            form,
            elem,
            lanes: vec![lane; form.len()],
        })
    }

    fn int_constant(&self, form: Form, elem: Elem, n: i64) -> Res<Value<'c>> {
        let lane: V<'c> = match self.elem_type(elem) {
            BasicTypeEnum::IntType(ty) => ty.const_int(n as u64, true).into(),
            _ => return invalid("an int constant of a type that is not int or bool"),
        };
        Ok(Value {
            form,
            elem,
            lanes: vec![lane; form.len()],
        })
    }

    fn lane_numbers(&mut self, form: Form, elem: Elem) -> Res<Value<'c>> {
        let base = match form {
            Form::Row(m) => self.lane_row(m),
            Form::Col(_) => self.lanes.col,
            _ => return invalid("lane numbers need exactly one axis"),
        };
        let ty = self.elem_type(elem);
        let BasicTypeEnum::IntType(ty) = ty else {
            return invalid("lane numbers are ints");
        };
        let lanes = (0..form.len())
            .map(|i| {
                let place = form.place(i);
                let offset = 16 * place.fragment + 8 * place.half + 8 * place.group + place.parity;
                self.cx
                    .resize(self.cx.iadd(base, self.cx.i32(offset as i64)), ty)
                    .into()
            })
            .collect();
        Ok(Value { form, elem, lanes })
    }

    /// Converts a value to another element type.
    pub(crate) fn cast(&self, value: &Value<'c>, to: Elem) -> Res<Value<'c>> {
        let form = value.form;
        if value.elem == to {
            return Ok(value.clone());
        }
        if value.is_packed() {
            let wide = self.unpack(value);
            return self.cast(&wide, to);
        }
        if is_packed(form, to) {
            let wide = self.cast(value, Elem::F32)?;
            let lanes = wide
                .lanes
                .chunks_exact(2)
                .map(|p| self.pack(p[0].into_float_value(), p[1].into_float_value(), to).into())
                .collect();
            return Ok(Value { form, elem: to, lanes });
        }
        let lanes = value
            .lanes
            .iter()
            .map(|&v| self.cast_lane(v, value.elem, to))
            .collect::<Res<_>>()?;
        Ok(Value { form, elem: to, lanes })
    }

    fn cast_lane(&self, v: V<'c>, from: Elem, to: Elem) -> Res<V<'c>> {
        let cx = &self.cx;
        Ok(match (from, to) {
            (Elem::Bool, Elem::F32 | Elem::F16 | Elem::BF16) => {
                let ty = self.half_type(to);
                cx.select(v.into_int_value(), ty.const_float(1.0).into(), ty.const_zero().into())
            }
            (Elem::Bool, _) => cx.zext(v.into_int_value(), self.elem_type(to).into_int_type()).into(),
            (Elem::I32 | Elem::I64, Elem::I32 | Elem::I64) => {
                cx.resize(v.into_int_value(), self.elem_type(to).into_int_type()).into()
            }
            (Elem::I32 | Elem::I64, Elem::F32 | Elem::F16 | Elem::BF16) => cx
                .fcast(cx.to_real(v.into_int_value(), cx.f32t()), self.half_type(to))
                .into(),
            (Elem::F32, Elem::F16 | Elem::BF16) | (Elem::F16 | Elem::BF16, Elem::F32) => {
                cx.fcast(v.into_float_value(), self.half_type(to)).into()
            }
            (Elem::F16 | Elem::BF16, Elem::F16 | Elem::BF16) => {
                let wide = cx.fcast(v.into_float_value(), cx.f32t());
                cx.fcast(wide, self.half_type(to)).into()
            }
            (_, Elem::Bool) if !is_half(from) => match v {
                V::IntValue(v) => cx.icmp(inkwell::IntPredicate::NE, v, v.get_type().const_zero()).into(),
                V::FloatValue(v) => cx.fcmp(FloatPredicate::UNE, v, v.get_type().const_zero()).into(),
                _ => return invalid("a cast of something that is no number"),
            },
            _ => return unsupported(format!("a conversion from {from:?} to {to:?}")),
        })
    }

    /// Two f32 rounded to 16 bits in one register, `low` in the low half. LLVM selects one instruction for the whole; the intrinsic of that
    /// instruction it would look for among all intrinsics, one by one.
    pub(crate) fn pack(&self, low: FloatValue<'c>, high: FloatValue<'c>, elem: Elem) -> IntValue<'c> {
        let cx = &self.cx;
        let half = self.half_type(elem);
        let (low, high) = (cx.fcast(low, half), cx.fcast(high, half));
        cx.bitcast(cx.pair(low, high), cx.i32t().into()).into_int_value()
    }

    /// A packed tile as f32.
    pub(crate) fn unpack(&self, value: &Value<'c>) -> Value<'c> {
        let cx = &self.cx;
        let mut lanes = Vec::with_capacity(2 * value.lanes.len());
        for pair in &value.lanes {
            let pair = pair.into_int_value();
            if value.elem == Elem::BF16 {
                lanes.push(cx.from_bits(cx.shl(pair, cx.i32(16))).into());
                lanes.push(cx.from_bits(cx.iand(pair, cx.i32(0xffff_0000))).into());
            } else {
                for half in [pair, cx.lshr(pair, cx.i32(16))] {
                    let bits = cx.resize(half, cx.i16t());
                    let half = cx.bitcast(bits.into(), cx.context.f16_type().into()).into_float_value();
                    lanes.push(cx.fcast(half, cx.f32t()).into());
                }
            }
        }
        Value {
            form: value.form,
            elem: Elem::F32,
            lanes,
        }
    }
}
