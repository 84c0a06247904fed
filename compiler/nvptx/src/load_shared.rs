//! Loads of tiles from shared memory into registers. Of 16-bit tiles, `ldmatrix` gives the fragments as it gives those of a left operand; of f32 tiles,
//! each lane reads the pairs of columns that it stores.

use crate::cx::Effect;
use crate::error::{Res, invalid, unsupported};
use crate::kernel::Kernel;
use crate::shared::split_bytes;
use crate::value::{Form, Value, is_half};
use einloom_tile::ir::{BufferId, Elem, ValueId};

impl<'c> Kernel<'_, 'c> {
    /// Emits [`einloom_tile::ir::Op::LoadShared`].
    pub(crate) fn load_shared(
        &mut self,
        id: ValueId,
        form: Form,
        elem: Elem,
        buffer: BufferId,
        stage: Option<ValueId>,
    ) -> Res<Value<'c>> {
        let (Form::Tile(m, n), Some(cols)) = (form, self.program.values[id.index()].cols) else {
            return invalid("a load from shared memory of something that is no tile");
        };
        if elem == Elem::F32 {
            return self.load_rows(form, buffer, stage);
        }
        if !is_half(elem) || !n.is_multiple_of(2) {
            return unsupported(format!("a load of {n} groups of {elem:?} from shared memory"));
        }
        let source = self.source(buffer, stage, cols)?;
        let mut lanes = Vec::with_capacity(form.len() / 2);
        for fragment in 0..m {
            for step in 0..n / 2 {
                // Both halves of the first group of columns, then of the second: the order of the form.
                lanes.extend(self.left_fragment(&source, m, fragment, step)?);
            }
        }
        Ok(Value { form, elem, lanes })
    }

    /// The reverse of a store of an f32 tile that is not transposed.
    fn load_rows(&mut self, form: Form, buffer: BufferId, stage: Option<ValueId>) -> Res<Value<'c>> {
        let Form::Tile(m, n) = form else {
            return invalid("a load from shared memory of something that is no tile");
        };
        let layout = self.layouts[buffer.index()];
        let base = self.stage_base(buffer, stage)?;
        let mut lanes = vec![self.cx.f32(0.0).into(); form.len()];
        for group in 0..n {
            let (low, high) = split_bytes(layout, 8 * layout.elem_bytes * group as u32);
            let lane = self.fragment_address(layout, m, low);
            let address = self.cx.iadd(lane, base);
            for i in 0..2 * m {
                let (fragment, half) = (i / 2, i % 2);
                let offset = (16 * fragment + 8 * half) as u32 * layout.row_bytes + high;
                let text = format!("ld.shared.v2.b32 {{$0, $1}}, [$2+{offset}];");
                let args = [address.into()];
                let pair = self
                    .cx
                    .asm_values(self.cx.f32t().into(), 2, &text, "=f,=f,r", &args, Effect::Memory);
                let at = ((fragment * n + group) * 2 + half) * 2;
                lanes[at..at + 2].copy_from_slice(&pair);
            }
        }
        Ok(Value {
            form,
            elem: Elem::F32,
            lanes,
        })
    }
}
