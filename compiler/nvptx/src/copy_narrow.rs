//! Copies in units of less than 16 bytes: of tensors whose alignment allows no more.
//!
//! A tile is many such units for each thread, so its rows are a loop, whose iterations form their addresses anew: registers beside those are few,
//! whatever the tile. Units of 4 and 8 bytes are copied asynchronously. Elements of 16 bits go through registers, [`BATCH`] loads on their way
//! before their stores.

use crate::copy::{Copy, Source};
use crate::cx::{Effect, V};
use crate::error::Res;
use crate::kernel::Kernel;
use inkwell::IntPredicate;
use inkwell::values::{IntValue, PointerValue};

/// Units of a thread in one iteration: of elements, each holds a register for its value and one for its address in shared memory.
const BATCH: u32 = 16;

/// What the builder stands in.
const BUILT: &str = "the builder should stand in a block";

/// A loaded element, and where it goes.
struct Element<'c> {
    value: V<'c>,
    target: IntValue<'c>,
    inside: Option<IntValue<'c>>,
}

impl<'c> Kernel<'_, 'c> {
    /// Copies the thread's part of a tile: rows from `first_row` on, in each the units from `first_byte` on.
    pub(crate) fn copy_narrow(
        &mut self,
        copy: &Copy<'_, 'c>,
        first_row: IntValue<'c>,
        first_byte: IntValue<'c>,
        source: &Source<'c>,
    ) -> Res<()> {
        let columns = copy.layout.width() / copy.unit / copy.wide;
        let steps = copy.layout.rows.div_ceil(copy.tall);
        let at_once = (1..=steps)
            .rev()
            .find(|n| steps.is_multiple_of(*n) && n * columns <= BATCH)
            .unwrap_or(1);
        let rows = at_once * copy.tall;
        if at_once == steps {
            self.copy_batch(copy, first_row, first_byte, source, source.start, at_once)?;
            return Ok(());
        }
        let (top, done) = (self.append_block("copy"), self.append_block("copied"));
        let before = self.here();
        self.branch(top);
        self.cx.builder.position_at_end(top);
        let row_phi = self.cx.builder.build_phi(self.cx.i32t(), "").expect(BUILT);
        let source_phi = self.cx.builder.build_phi(source.start.get_type(), "").expect(BUILT);
        row_phi.add_incoming(&[(&first_row, before)]);
        source_phi.add_incoming(&[(&source.start, before)]);
        let counter = row_phi.as_basic_value().into_int_value();
        let row = self.opaque(counter);
        let start = source_phi.as_basic_value().into_pointer_value();
        let next_source = self.copy_batch(copy, row, first_byte, source, start, at_once)?;
        let end = self.here();
        let next = self.cx.iadd(counter, self.cx.i32(i64::from(rows)));
        let limit = self.cx.i32(i64::from(steps * copy.tall));
        let again = self.cx.icmp(IntPredicate::ULT, next, limit);
        row_phi.add_incoming(&[(&next, end)]);
        source_phi.add_incoming(&[(&next_source, end)]);
        self.branch_if(again, top, done);
        self.cx.builder.position_at_end(done);
        Ok(())
    }

    /// Copies `count` rows of the thread from `row` on, which starts at `start` if the rows are linear; gives the start of the next one.
    fn copy_batch(
        &mut self,
        copy: &Copy<'_, 'c>,
        row: IntValue<'c>,
        first_byte: IntValue<'c>,
        source: &Source<'c>,
        start: PointerValue<'c>,
        count: u32,
    ) -> Res<PointerValue<'c>> {
        let columns = copy.layout.width() / copy.unit / copy.wide;
        let mut batch = Vec::new();
        let mut address = start;
        for step in 0..count {
            let row = self.cx.iadd(row, self.cx.i32(i64::from(step * copy.tall)));
            let from = if source.linear {
                address
            } else {
                self.row_address(copy, row, first_byte)?
            };
            let whole = copy.layout.rows.is_multiple_of(copy.tall);
            let rows = self.cx.i32(i64::from(copy.layout.rows));
            let inside = (!whole).then(|| self.cx.icmp(IntPredicate::ULT, row, rows));
            let valid = match copy.valid {
                Some(valid) => Some(self.ix(valid, row)?),
                None => None,
            };
            for column in 0..columns {
                let byte = column * copy.wide * copy.unit;
                let at = self.cx.iadd(first_byte, self.cx.i32(i64::from(byte)));
                let target = self.cx.iadd(copy.base, self.shared_offset(copy.layout, row, at));
                if copy.unit >= 4 {
                    self.copy_unit(copy, from, byte, first_byte, (target, 0), valid, inside)?;
                    continue;
                }
                let end = self.cx.i32(i64::from(copy.row_end));
                let exists = (copy.row_end < copy.layout.width()).then(|| self.cx.icmp(IntPredicate::ULT, at, end));
                let active = [valid, exists, inside]
                    .into_iter()
                    .flatten()
                    .reduce(|a, b| self.cx.iand(a, b));
                batch.push(Element {
                    value: self.element_or_zero(from, byte, active),
                    target,
                    inside,
                });
                if batch.len() == BATCH as usize {
                    self.store_elements(&mut batch);
                }
            }
            address = self.cx.offset(address, source.step);
        }
        self.store_elements(&mut batch);
        Ok(address)
    }

    fn store_elements(&self, batch: &mut Vec<Element<'c>>) {
        for element in batch.drain(..) {
            let mut args: Vec<V<'c>> = vec![element.target.into(), element.value];
            let (guard, constraints) = match element.inside {
                Some(inside) => {
                    args.push(inside.into());
                    ("@$2 ", "r,h,b")
                }
                None => ("", "r,h"),
            };
            let text = format!("{guard}st.shared.b16 [$0], $1;");
            self.cx.asm(&text, constraints, &args, Effect::Memory);
        }
    }

    /// A 16-bit element as i16, 0 where it is not `active`.
    fn element_or_zero(&self, row: PointerValue<'c>, byte: u32, active: Option<IntValue<'c>>) -> V<'c> {
        let cx = &self.cx;
        let mut args: Vec<V<'c>> = vec![row.into()];
        let (text, constraints) = match active {
            None => (format!("ld.global.b16 $0, [$1+{byte}];"), "=h,l"),
            Some(active) => {
                args.push(active.into());
                let text = format!("mov.b16 $0, 0; @$2 ld.global.b16 $0, [$1+{byte}];");
                (text, "=&h,l,b")
            }
        };
        cx.asm_value(cx.i16t().into(), &text, constraints, &args, Effect::Memory)
    }
}
