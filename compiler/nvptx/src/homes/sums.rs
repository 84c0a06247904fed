//! What matrix dots accumulate onto.

use crate::cx::V;
use crate::error::{Res, invalid};
use crate::homes::named::Names;
use crate::kernel::Kernel;
use crate::value::Form;
use einloom_tile::ir::{Elem, ValueId};

/// Where a dot's sums are.
pub(crate) enum Sums<'c> {
    /// In values of LLVM: what is accumulated onto, nothing for zeros.
    Values(Option<Vec<V<'c>>>),
    /// In named registers, which hold zeros only in name if `fresh`.
    Named { names: Names, fresh: bool },
}

impl<'c> Kernel<'_, 'c> {
    /// What the dot `id` accumulates onto.
    pub(crate) fn sums(&mut self, id: ValueId, acc: Option<ValueId>, form: Form) -> Res<Sums<'c>> {
        let Some(names) = self.home_names(id) else {
            let values = acc.map(|acc| self.accumulator(acc, form)).transpose()?;
            return Ok(Sums::Values(values.flatten()));
        };
        let Some(acc) = acc.filter(|&acc| self.homes.constant(acc) != Some(0)) else {
            return Ok(Sums::Named { names, fresh: true });
        };
        for pending in self.pending.iter_mut().filter(|p| p.id == acc) {
            pending.consumed = true;
        }
        self.flow(acc, id)?;
        Ok(Sums::Named { names, fresh: false })
    }

    /// Elements to accumulate onto; nothing for zeros, which the unit supplies itself.
    fn accumulator(&mut self, acc: ValueId, form: Form) -> Res<Option<Vec<V<'c>>>> {
        let value = self.value(acc)?;
        if value.form != form || value.elem != Elem::F32 {
            return invalid(format!("v{} should be an f32 tile of the dot's shape", acc.0));
        }
        for pending in self.pending.iter_mut().filter(|p| p.id == acc) {
            pending.consumed = true;
        }
        let zero = |v: &V<'c>| matches!(v, V::FloatValue(v) if v.get_constant().is_some_and(|(x, _)| x.to_bits() == 0));
        Ok((!value.lanes.iter().all(zero)).then_some(value.lanes))
    }
}
