//! Chunks: rows in ascending order that share the sums of earlier points.
//!
//! What [`crate::ir::Chunks`] leaves open is drawn too: the cut of the rows into chunks, and how many of the points that it may hold the state does.

use super::state::State;
use super::{EvalError, Run};
use crate::ir::Kernel;
use einloom_cascade::expr::VarId;

impl Run<'_> {
    /// The row variable, if this kernel is to be evaluated by chunks.
    pub(super) fn chunked(&mut self, kernel: &Kernel) -> Option<VarId> {
        let chunks = kernel.sweeps.iter().find_map(|sweep| sweep.chunks.as_ref())?;
        let chosen = match self.options.chunks {
            Some(chosen) => chosen,
            None => self.random.below(4) > 0,
        };
        chosen.then_some(chunks.row)
    }

    pub(super) fn by_chunks(&mut self, at: usize, kernel: &Kernel, row: VarId) -> Result<(), EvalError> {
        let others: Vec<VarId> = kernel.resident.iter().copied().filter(|v| *v != row).collect();
        for point in self.machine.points(&others) {
            self.machine.unset(&[row]);
            self.machine.set(&others, &point);
            let mut shared: Vec<Option<(State, i64)>> = Vec::new();
            for sweep in &kernel.sweeps {
                let own = sweep.chunks.as_ref().filter(|c| c.row == row);
                shared.push(own.map(|c| (State::new(&self.machine, &c.state), 0)));
            }
            let rows = self.machine.extent(row);
            let mut first = 0;
            while first < rows {
                let end = rows.min(first + 1 + self.random.below(self.options.tile.max(1)) as i64);
                self.advance(kernel, row, first, &mut shared)?;
                self.rows(at, kernel, row, (first, end), &shared)?;
                first = end;
            }
        }
        Ok(())
    }

    /// Lets the shared states absorb some of the points up to the bound of the chunk's first row.
    fn advance(
        &mut self,
        kernel: &Kernel,
        row: VarId,
        first: i64,
        shared: &mut [Option<(State, i64)>],
    ) -> Result<(), EvalError> {
        for (sweep, shared) in kernel.sweeps.iter().zip(shared) {
            let (Some(chunks), Some((state, held))) = (&sweep.chunks, shared) else {
                continue;
            };
            self.machine.set(&[row], &[first]);
            let last = self.machine.ints(&[chunks.last])?[0];
            self.machine.unset(&[row]);
            let points = self.machine.points(&chunks.state.stream);
            let most = (last + 1).clamp(*held, (points.len() as i64).max(*held));
            // less than the most now and then, as whole tiles are
            let room = (most - *held) as usize;
            let to = match self.random.below(3) {
                0 => *held + self.random.below(room + 1) as i64,
                _ => most,
            };
            let new = points[*held as usize..to as usize].to_vec();
            *state = self.absorb(&chunks.state, new, state.clone())?;
            *held = to;
        }
        Ok(())
    }

    /// The rows `first..end`, each from the shared states on.
    fn rows(
        &mut self,
        at: usize,
        kernel: &Kernel,
        row: VarId,
        (first, end): (i64, i64),
        shared: &[Option<(State, i64)>],
    ) -> Result<(), EvalError> {
        let states = || {
            shared
                .iter()
                .map(|s| s.as_ref().map(|(state, _)| state.clone()))
                .collect()
        };
        for at_row in first..end {
            self.machine.set(&[row], &[at_row]);
            self.machine.share(at, states());
            for (sweep, shared) in kernel.sweeps.iter().zip(shared) {
                let state = match (&sweep.chunks, shared) {
                    (Some(chunks), Some((_, held))) => {
                        let start = State::starting(&mut self.machine, sweep, chunks)?;
                        let points = self.machine.points(&sweep.stream);
                        self.absorb(sweep, points[*held as usize..].to_vec(), start)?
                    }
                    _ => self.sweep(sweep)?,
                };
                self.machine.finish(state);
                self.emit(sweep)?;
            }
            for store in &kernel.stores {
                self.store(store, &store.vars)?;
            }
        }
        Ok(())
    }
}
