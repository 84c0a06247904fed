//! Dots without the matrix unit: fused multiply-adds in f32, in ascending order of the contracted axis, operands in shared memory.
//!
//! A loop takes 8 (or 4) steps of the contracted axis at a time: the left elements of the lane's rows first, then one pair of columns after
//! the other. An operand whose rows run along the contracted axis is read in vectors of 16 bytes, the other kind in rows of pairs; the
//! swizzle keeps both free of bank conflicts.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::shared::{Layout, split_bytes};
use crate::value::{Form, Place, Value, is_half};
use einloom_tile::ir::{AxisId, Elem, Operand};
use inkwell::IntPredicate;
use inkwell::values::{BasicValue, FloatValue, IntValue, PhiValue};

/// An operand in shared memory.
struct Operand_<'c> {
    layout: Layout,
    base: IntValue<'c>,
    elem: Elem,
    /// Rows of the buffer run along the contracted axis.
    along: bool,
}

/// Why control flow cannot fail to build.
const POSITIONED: &str = "the builder should stand in a block";

impl<'c> Kernel<'_, 'c> {
    /// Adds the products to `sums`.
    pub(crate) fn scalar_dot(
        &mut self,
        m: usize,
        n: usize,
        left: Operand,
        right: Operand,
        over: AxisId,
        sums: &mut [V<'c>],
    ) -> Res<()> {
        let left = self.scalar_operand(left, over)?;
        let right = self.scalar_operand(right, over)?;
        let depth = self.program.axes[over.index()].size;
        let steps = if depth.is_multiple_of(8) { 8 } else { 4 };
        if !depth.is_multiple_of(steps) || (steps == 4 && (is_half(left.elem) || is_half(right.elem))) {
            return unsupported(format!("a scalar dot over {depth} elements"));
        }
        let before = self.cx.builder.get_insert_block().expect(POSITIONED);
        let top = self.cx.context.append_basic_block(self.cx.function, "dot");
        let done = self.cx.context.append_basic_block(self.cx.function, "done");
        // Lane parts that the loop needs are computed before it.
        let row = self.lane_row(m);
        self.cx.builder.build_unconditional_branch(top).expect(POSITIONED);
        self.cx.builder.position_at_end(top);
        let zero = self.cx.i32(0);
        let counter = self.cx.builder.build_phi(self.cx.i32t(), "").expect(POSITIONED);
        counter.add_incoming(&[(&zero, before)]);
        let k = counter.as_basic_value().into_int_value();
        let phis: Vec<PhiValue<'c>> = sums
            .iter()
            .map(|sum| {
                let phi = self.cx.builder.build_phi(self.cx.f32t(), "").expect(POSITIONED);
                phi.add_incoming(&[(sum as &dyn BasicValue<'c>, before)]);
                phi
            })
            .collect();
        let mut totals: Vec<FloatValue<'c>> = phis.iter().map(|p| p.as_basic_value().into_float_value()).collect();
        self.scalar_steps(m, n, (&left, &right), row, k, steps, &mut totals)?;
        let next = self.cx.iadd(k, self.cx.i32(i64::from(steps)));
        counter.add_incoming(&[(&next, top)]);
        for (phi, total) in phis.iter().zip(&totals) {
            phi.add_incoming(&[(total as &dyn BasicValue<'c>, top)]);
        }
        let again = self.cx.icmp(IntPredicate::ULT, next, self.cx.i32(i64::from(depth)));
        self.cx
            .builder
            .build_conditional_branch(again, top, done)
            .expect(POSITIONED);
        self.cx.builder.position_at_end(done);
        for (sum, total) in sums.iter_mut().zip(totals) {
            *sum = total.into();
        }
        Ok(())
    }

    fn scalar_operand(&self, operand: Operand, over: AxisId) -> Res<Operand_<'c>> {
        let Operand::Shared(buffer, stage) = operand else {
            return unsupported("a scalar dot of registers");
        };
        let Some(declared) = self.program.buffers.get(buffer.index()) else {
            return invalid("a dot reads a buffer that is not declared");
        };
        if declared.rows != over && declared.cols != over {
            return invalid(format!("buffer {} does not have the contracted axis", declared.name));
        }
        if !matches!(declared.elem, Elem::F32 | Elem::F16 | Elem::BF16) {
            return unsupported(format!("a dot of {:?} elements", declared.elem));
        }
        let (layout, base) = (self.layouts[buffer.index()], self.stage_base(buffer, stage)?);
        Ok(Operand_ {
            layout,
            base,
            elem: declared.elem,
            along: declared.cols == over,
        })
    }

    /// `steps` steps from `k` on.
    #[allow(clippy::too_many_arguments)]
    fn scalar_steps(
        &self,
        m: usize,
        n: usize,
        (left, right): (&Operand_<'c>, &Operand_<'c>),
        row: IntValue<'c>,
        k: IntValue<'c>,
        steps: u32,
        totals: &mut [FloatValue<'c>],
    ) -> Res<()> {
        let cx = &self.cx;
        // lefts[row of the lane][step]
        let mut lefts = Vec::with_capacity(2 * m);
        for i in 0..2 * m {
            let place = Form::Row(m).place(i);
            let further = (16 * place.fragment + 8 * place.half) as u32;
            // The first rows of warps are multiples of 16 m: for other m their bits are also those of rows within a warp.
            let at = match m.is_power_of_two() {
                true => (row, further),
                false => (cx.iadd(row, cx.i32(i64::from(further))), 0),
            };
            lefts.push(self.elements(left, at, k, steps, 1).concat());
        }
        for group in 0..n {
            // rights[parity][step]
            let rights = self.elements(right, (self.lanes.col, 8 * group as u32), k, steps, 2);
            for (parity, column) in rights.iter().enumerate() {
                for (i, row) in lefts.iter().enumerate() {
                    let (fragment, half) = (i / 2, i % 2);
                    let at = Form::Tile(m, n).position(Place {
                        fragment,
                        group,
                        half,
                        parity,
                    });
                    for (&a, &b) in row.iter().zip(column) {
                        totals[at] = cx.fma(a, b, totals[at]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Elements at `count` (1 or 2) neighbouring places of the free axis, for `steps` steps from `k` on, a multiple of them: `[place][step]`.
    ///
    /// The first place is `at.0 + at.1`, where `at.1` is a multiple of 8 that has no bit in common with `at.0`. What is known of an address is
    /// an offset in the instruction, so that few addresses are live.
    fn elements(
        &self,
        source: &Operand_<'c>,
        (at, further): (IntValue<'c>, u32),
        k: IntValue<'c>,
        steps: u32,
        count: u32,
    ) -> Vec<Vec<FloatValue<'c>>> {
        let cx = &self.cx;
        let layout = source.layout;
        let bytes = layout.elem_bytes;
        let scaled = |v: IntValue<'c>| cx.imul(v, cx.i32(i64::from(bytes)));
        let known = |n: u32| cx.i32(i64::from(n));
        if source.along {
            let whole = 16 / bytes;
            return (0..count)
                .map(|i| {
                    let row = cx.iadd(at, known(i));
                    // Rows are swizzled alike at a distance of 8.
                    let start = cx.iadd(cx.imul(row, known(layout.row_bytes)), source.base);
                    (0..steps / whole)
                        .flat_map(|v| {
                            let byte = scaled(cx.iadd(k, known(v * whole)));
                            let byte = self.swizzled(layout, byte, self.swizzle(layout, row));
                            let address = cx.iadd(start, byte);
                            self.shared_vector(source.elem, (address, further * layout.row_bytes), whole)
                        })
                        .collect()
                })
                .collect();
        }
        let (permuted, rest) = split_bytes(layout, further * bytes);
        let start = cx.iadd(cx.imul(k, known(layout.row_bytes)), source.base);
        let mut res = vec![Vec::new(); count as usize];
        for step in 0..steps {
            // Steps of 8 start at a row that is swizzled like row 0.
            let swizzle = match steps {
                8 => self.swizzle(layout, known(step)),
                _ => self.swizzle(layout, cx.iadd(k, known(step))),
            };
            let byte = self.swizzled(layout, scaled(at), cx.ixor(swizzle, known(permuted)));
            let address = cx.iadd(start, byte);
            let offset = step * layout.row_bytes + rest;
            for (list, element) in res
                .iter_mut()
                .zip(self.shared_vector(source.elem, (address, offset), count))
            {
                list.push(element);
            }
        }
        res
    }

    /// `count` neighbouring elements as f32, at an address and bytes further on.
    fn shared_vector(&self, elem: Elem, (address, offset): (IntValue<'c>, u32), count: u32) -> Vec<FloatValue<'c>> {
        let cx = &self.cx;
        let half = is_half(elem);
        if half && count == 1 {
            let raw = cx.asm_value(
                cx.i16t().into(),
                &format!("ld.shared.b16 $0, [$1+{offset}];"),
                "=h,r",
                &[address.into()],
                Effect::Memory,
            );
            let value = cx.bitcast(raw, self.elem_type(elem)).into_float_value();
            return vec![cx.fcast(value, cx.f32t())];
        }
        let words = if half { count / 2 } else { count };
        let (ty, class) = if half {
            (cx.i32t().into(), "=r,")
        } else {
            (cx.f32t().into(), "=f,")
        };
        let list = (0..words).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
        let (vector, list) = if words == 1 {
            (String::new(), list)
        } else {
            (format!(".v{words}"), format!("{{{list}}}"))
        };
        let text = format!("ld.shared{vector}.b32 {list}, [${words}+{offset}];");
        let lanes = cx.asm_values(
            ty,
            words as usize,
            &text,
            &format!("{}r", class.repeat(words as usize)),
            &[address.into()],
            Effect::Memory,
        );
        let lanes = if half {
            self.unpack(&Value {
                form: Form::Tile(1, 1),
                elem,
                lanes,
            })
            .lanes
        } else {
            lanes
        };
        lanes.into_iter().map(|v| v.into_float_value()).collect()
    }
}
