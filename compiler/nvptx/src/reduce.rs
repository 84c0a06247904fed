//! Reductions of a tile's columns: a tree over the columns that a lane holds, then two exchanges in the quad.

use crate::cx::V;
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::value::{Form, Place, Value};
use einloom_cascade::expr::ReduceOp;
use einloom_tile::ir::{Elem, ValueId};

impl<'c> Kernel<'_, 'c> {
    /// Reduces the columns of a tile to a row vector; `partial` leaves out the exchange in the quad.
    pub(crate) fn row_reduce(&self, op: ReduceOp, arg: ValueId, partial: bool) -> Res<Value<'c>> {
        if let Some(res) = self.reduce_home(op, arg)? {
            return if partial { Ok(res) } else { self.across_quad(op, &res) };
        }
        let value = self.value(arg)?;
        let Form::Tile(m, n) = value.form else {
            return invalid(format!("v{} should be a tile", arg.0));
        };
        if value.is_packed() {
            return unsupported("a reduction of 16-bit values");
        }
        let mut lanes = Vec::with_capacity(2 * m);
        for i in 0..2 * m {
            let (fragment, half) = (i / 2, i % 2);
            let terms: Vec<V<'c>> = (0..2 * n)
                .map(|j| {
                    value.at(Place {
                        fragment,
                        half,
                        group: j / 2,
                        parity: j % 2,
                    })
                })
                .collect();
            // A chain for each row: it needs one register beside the tile, and the rows of a lane are chains enough to hide its latency.
            let mut total = terms[0];
            for &term in &terms[1..] {
                total = self.combine(op, value.elem, total, term)?;
            }
            lanes.push(total);
        }
        let res = Value {
            form: Form::Row(m),
            elem: value.elem,
            lanes,
        };
        if partial { Ok(res) } else { self.across_quad(op, &res) }
    }

    /// Completes a partial row vector.
    pub(crate) fn quad_reduce(&self, op: ReduceOp, arg: ValueId) -> Res<Value<'c>> {
        let value = self.value(arg)?;
        match value.form {
            Form::Row(_) => self.across_quad(op, &value),
            _ => invalid(format!("v{} should be a row vector", arg.0)),
        }
    }

    fn across_quad(&self, op: ReduceOp, value: &Value<'c>) -> Res<Value<'c>> {
        let mut lanes = value.lanes.clone();
        for distance in [1, 2] {
            let others = lanes
                .iter()
                .map(|&v| self.exchange(v, distance))
                .collect::<Res<Vec<_>>>()?;
            lanes = lanes
                .iter()
                .zip(others)
                .map(|(&a, b)| self.combine(op, value.elem, a, b))
                .collect::<Res<_>>()?;
        }
        Ok(Value {
            form: value.form,
            elem: value.elem,
            lanes,
        })
    }

    /// The value of the lane whose number differs in one bit.
    fn exchange(&self, v: V<'c>, distance: u32) -> Res<V<'c>> {
        let cx = &self.cx;
        let shuffle = |name: &str, v: V<'c>| {
            let [all, distance, last] = [cx.i32(-1), cx.i32(i64::from(distance)), cx.i32(31)];
            cx.intrinsic(name, &[], &[all.into(), v, distance.into(), last.into()])
        };
        Ok(match v {
            V::FloatValue(v) if v.get_type() == cx.f32t() => shuffle("llvm.nvvm.shfl.sync.bfly.f32", v.into()),
            V::IntValue(v) => match v.get_type().get_bit_width() {
                1 | 32 => {
                    let res = shuffle("llvm.nvvm.shfl.sync.bfly.i32", cx.zext_to_word(v).into());
                    cx.resize(res.into_int_value(), v.get_type()).into()
                }
                _ => return unsupported("a reduction of 64-bit ints"),
            },
            _ => return unsupported("a reduction of 16-bit values"),
        })
    }

    /// One step of a reduction.
    fn combine(&self, op: ReduceOp, elem: Elem, a: V<'c>, b: V<'c>) -> Res<V<'c>> {
        let cx = &self.cx;
        Ok(match (op, a, b) {
            (ReduceOp::Sum, V::FloatValue(a), V::FloatValue(b)) => cx.fadd(a, b).into(),
            (ReduceOp::Prod, V::FloatValue(a), V::FloatValue(b)) => cx.fmul(a, b).into(),
            (ReduceOp::Max, V::FloatValue(a), V::FloatValue(b)) => cx.fmax(a, b).into(),
            (ReduceOp::Min, V::FloatValue(a), V::FloatValue(b)) => cx.fmin(a, b).into(),
            (ReduceOp::Any, V::IntValue(a), V::IntValue(b)) => cx.ior(a, b).into(),
            (ReduceOp::All, V::IntValue(a), V::IntValue(b)) => cx.iand(a, b).into(),
            (ReduceOp::Sum, V::IntValue(a), V::IntValue(b)) if elem != Elem::Bool => cx.iadd(a, b).into(),
            (ReduceOp::Prod, V::IntValue(a), V::IntValue(b)) if elem != Elem::Bool => cx.imul(a, b).into(),
            (ReduceOp::Max, V::IntValue(a), V::IntValue(b)) if elem != Elem::Bool => {
                cx.int_intrinsic("llvm.smax", &[a, b]).into()
            }
            (ReduceOp::Min, V::IntValue(a), V::IntValue(b)) if elem != Elem::Bool => {
                cx.int_intrinsic("llvm.smin", &[a, b]).into()
            }
            _ => return unsupported(format!("the reduction {op:?} of {elem:?}")),
        })
    }
}
