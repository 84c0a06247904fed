//! Which tiles of a slice live in *homes*: named PTX registers, declared once, one for each element that a lane holds.
//!
//! A tile with a home is no value of LLVM: the matrix unit accumulates onto the registers by name, pointwise operations are lines of
//! PTX ([`crate::homes::lines`]), and loops carry nothing for it. That spares LLVM a value for each element of each operation; ptxas forms its own values
//! from either text.
//!
//! # Who has a home
//! Results of matrix dots, 16-bit left operands of matrix dots in registers, what lines compute, and all tiles that flow into or out of these as
//! accumulator or as carried value of a loop or guard (a *group*). Constants have none: where one flows into a home, the home is set.
//! An operation stays in LLVM if its lines would spare nothing: no operand is in a home and all uses read snapshots, or it makes conditions that something reads.
//!
//! # Meaning
//! At every point of the program a home *holds* at most one value ([`crate::homes::occupancy`] follows which). Uses *by name* need that a value's home
//! still holds it: as accumulator or left operand of a dot, by lines, by a reduction or by a store, and where it flows into a carried value.
//! If source and target of such a flow have different homes, the registers are copied. Every other use reads a *snapshot* in values of LLVM that is taken
//! where the value is defined (a dot's when it is complete); what happens to the home later does not matter to it.
//! A home that a pending dot reads or writes is not touched, but by a dot that accumulates onto the pending result. In programs without roles no dot is
//! ever pending: its result is complete where it stands.
//!
//! # How homes are shared
//! At first all tiles of a flow share one home. If some need then fails, the flows of that group are joined one by one, as long as no more
//! needs fail than before. A group in which one still fails has no homes: its tiles are values of LLVM.

pub(crate) mod lines;
pub(crate) mod named;
mod occupancy;
mod sums;

use crate::homes::lines::{can_store, combine, has_lines};
use crate::homes::occupancy::conflicts;
use crate::quad::stores_home;
use crate::value::{Form, is_packed};
use einloom_tile::ir::{DotKind, Elem, LoopValue, Op, Operand, Roles, Stmt, TileProgram, ValueId};

pub(crate) use sums::Sums;

/// Homes of the tiles of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Homes {
    /// By value: the number of its home.
    of: Vec<Option<usize>>,
    /// By value: whether something reads a snapshot of it.
    read: Vec<bool>,
    /// By home: a value that lives in it.
    first: Vec<ValueId>,
    /// By value: the bits of each register of a constant tile.
    constants: Vec<Option<u32>>,
    /// By value: lines compute it, if it has a home.
    lines: Vec<bool>,
}

impl Homes {
    /// Finds the homes of `body`, a slice of `program`.
    pub(crate) fn of(program: &TileProgram, body: &[Stmt]) -> Homes {
        let mut flows = Flows::new(program);
        flows.visit(body);
        while flows.spare(body) {}
        let mut groups = flows.groups();
        loop {
            let homes = flows.share(body, &groups);
            let failed = conflicts(&homes, body);
            if failed.iter().all(|&n| n == 0) {
                return homes.numbered(body);
            }
            for (value, &n) in failed.iter().enumerate() {
                if let (true, Some(group)) = (n > 0, groups[value]) {
                    for other in &mut groups {
                        if *other == Some(group) {
                            *other = None;
                        }
                    }
                }
            }
        }
    }

    /// Number of a value's home.
    pub(crate) fn home(&self, id: ValueId) -> Option<usize> {
        self.of.get(id.index()).copied().flatten()
    }

    /// Whether something reads a snapshot of a value.
    pub(crate) fn is_read(&self, id: ValueId) -> bool {
        self.read.get(id.index()).copied().unwrap_or(false)
    }

    /// The bits of each register of a constant tile.
    pub(crate) fn constant(&self, id: ValueId) -> Option<u32> {
        self.constants.get(id.index()).copied().flatten()
    }

    /// Whether lines compute a value with a home.
    pub(crate) fn has_lines(&self, id: ValueId) -> bool {
        self.lines.get(id.index()).copied().unwrap_or(false)
    }

    /// A value of each home.
    pub(crate) fn all(&self) -> &[ValueId] {
        &self.first
    }

    #[cfg(test)]
    fn choice<'a>(&self, program: &'a TileProgram) -> Shared<'a> {
        Shared {
            program,
            of: self.of.clone(),
            constants: self.constants.clone(),
            lines: self.lines.clone(),
        }
    }
}

/// Where tiles flow unchanged from one name to another.
struct Flows<'a> {
    program: &'a TileProgram,
    /// By value: it can have a home.
    fits: Vec<bool>,
    /// By value: a dot makes or takes it.
    dots: Vec<bool>,
    /// By value: lines compute it.
    lines: Vec<bool>,
    constants: Vec<Option<u32>>,
    /// From a value to a value, the accumulators of dots first.
    sums: Vec<(ValueId, ValueId)>,
    carried: Vec<(ValueId, ValueId)>,
}

impl<'a> Flows<'a> {
    fn new(program: &'a TileProgram) -> Flows<'a> {
        let n = program.values.len();
        let fits = program.values.iter().map(|&ty| match Form::of(program, ty) {
            Ok(form @ Form::Tile(..)) => is_packed(form, ty.elem) || ty.elem != Elem::I64,
            // Ints along the columns are one int and known distances.
            Ok(Form::Col(_)) => matches!(ty.elem, Elem::F32 | Elem::Bool),
            _ => false,
        });
        Flows {
            program,
            fits: fits.collect(),
            dots: vec![false; n],
            lines: vec![false; n],
            constants: vec![None; n],
            sums: Vec::new(),
            carried: Vec::new(),
        }
    }

    fn visit(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let(id, op) => self.define(*id, op),
                Stmt::For { carried, body, .. } => {
                    for LoopValue {
                        init,
                        param,
                        next,
                        result,
                    } in carried
                    {
                        self.carried
                            .extend([(*init, *param), (*next, *param), (*param, *result)]);
                    }
                    self.visit(body);
                }
                Stmt::Guard { carried, body, .. } => {
                    for LoopValue { init, next, result, .. } in carried {
                        self.carried.extend([(*init, *result), (*next, *result)]);
                    }
                    self.visit(body);
                }
                Stmt::If { body, .. } => self.visit(body),
                _ => {}
            }
        }
    }

    fn define(&mut self, id: ValueId, op: &Op) {
        let index = id.index();
        match op {
            // 16-bit zeros are the one constant whose pair is known without rounding.
            Op::Real(x) if self.fits[index] && (self.program.values[index].elem == Elem::F32 || x.to_bits() == 0) => {
                self.constants[index] = Some((*x as f32).to_bits());
                self.fits[index] = false;
            }
            Op::Dot {
                left,
                acc,
                kind: DotKind::Matrix,
                ..
            } => {
                self.dots[index] = true;
                if let Operand::Register(left) = left {
                    self.dots[left.index()] = true;
                }
                self.sums.extend(acc.map(|acc| (acc, id)));
            }
            _ => self.lines[index] = self.fits[index] && has_lines(self.program, id, op),
        }
    }

    /// Gives up lines that spare nothing; whether there were some.
    fn spare(&mut self, body: &[Stmt]) -> bool {
        let groups = self.groups();
        let shared = self.shared(&mut Sets::new(groups.len()), &groups);
        let (mut fed, mut named, mut read) = (self.dots.clone(), self.dots.clone(), vec![false; groups.len()]);
        shared.uses(body, &mut |user, value, by_name| {
            if by_name {
                named[value.index()] = true;
                if let Some(user) = user {
                    fed[user.index()] = true;
                }
            } else {
                read[value.index()] = true;
            }
        });
        let before = self.lines.clone();
        for value in 0..groups.len() {
            let condition = self.program.values[value].elem == Elem::Bool && read[value];
            self.lines[value] &= !condition && (fed[value] || named[value]);
        }
        before != self.lines
    }

    /// By value: its group, if something in the group wants a home and all of it can have one.
    fn groups(&self) -> Vec<Option<usize>> {
        let mut sets = Sets::new(self.fits.len());
        for (from, to) in self.sums.iter().chain(&self.carried) {
            if self.constants[from.index()].is_none() && self.constants[to.index()].is_none() {
                sets.join(from.index(), to.index());
            }
        }
        let roots: Vec<usize> = (0..self.fits.len()).map(|v| sets.find(v)).collect();
        let mut wanted = vec![false; roots.len()];
        let mut fits = vec![true; roots.len()];
        for (value, &root) in roots.iter().enumerate() {
            wanted[root] |= self.dots[value] || self.lines[value];
            fits[root] &= self.fits[value];
        }
        roots
            .iter()
            .map(|&root| (wanted[root] && fits[root]).then_some(root))
            .collect()
    }

    /// Flows between values with homes, in the order in which they are joined.
    fn joinable<'s>(&'s self, groups: &'s [Option<usize>]) -> impl Iterator<Item = (usize, usize)> + 's {
        let ends = self
            .sums
            .iter()
            .chain(&self.carried)
            .map(|(from, to)| (from.index(), to.index()));
        ends.filter(|&(from, to)| groups[from].is_some() && groups[to].is_some())
    }

    /// Homes for the values of groups.
    fn share(&self, body: &[Stmt], groups: &[Option<usize>]) -> Shared<'a> {
        let n = groups.len();
        let mut together = Sets::new(n);
        self.joinable(groups).for_each(|(from, to)| together.join(from, to));
        let failed = conflicts(&self.shared(&mut together, groups), body);
        if failed.iter().all(|&n| n == 0) {
            return self.shared(&mut together, groups);
        }
        let mut broken = vec![false; n];
        for (value, &failures) in failed.iter().enumerate() {
            broken[together.find(value)] |= failures > 0;
        }
        let mut sets = Sets::new(n);
        let total = |sets: &mut Sets| -> usize { conflicts(&self.shared(sets, groups), body).iter().sum() };
        let mut doubtful = Vec::new();
        for (from, to) in self.joinable(groups) {
            if broken[together.find(from)] {
                doubtful.push((from, to));
            } else {
                sets.join(from, to);
            }
        }
        let mut least = total(&mut sets);
        for (from, to) in doubtful {
            let mut joined = sets.clone();
            joined.join(from, to);
            let failures = total(&mut joined);
            if failures <= least {
                (sets, least) = (joined, failures);
            }
        }
        self.shared(&mut sets, groups)
    }

    fn shared(&self, sets: &mut Sets, groups: &[Option<usize>]) -> Shared<'a> {
        let of = groups.iter().enumerate().map(|(v, group)| group.map(|_| sets.find(v)));
        Shared {
            program: self.program,
            of: of.collect(),
            constants: self.constants.clone(),
            lines: self.lines.clone(),
        }
    }
}

/// A choice of homes, named by one of their values each.
pub(crate) struct Shared<'a> {
    program: &'a TileProgram,
    of: Vec<Option<usize>>,
    constants: Vec<Option<u32>>,
    lines: Vec<bool>,
}

impl Shared<'_> {
    pub(crate) fn home(&self, id: ValueId) -> Option<usize> {
        self.of.get(id.index()).copied().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether a dot is complete where it stands, not at a wait.
    pub(crate) fn synchronous(&self) -> bool {
        self.program.roles == Roles::Uniform
    }

    pub(crate) fn is_constant(&self, id: ValueId) -> bool {
        self.constants.get(id.index()).is_some_and(Option::is_some)
    }

    /// Numbers the homes in the order of their first value.
    fn numbered(self, body: &[Stmt]) -> Homes {
        let mut first: Vec<ValueId> = Vec::new();
        let mut numbers: Vec<Option<usize>> = vec![None; self.of.len()];
        let mut of = Vec::with_capacity(self.of.len());
        for (value, root) in self.of.iter().enumerate() {
            of.push(root.map(|root| {
                *numbers[root].get_or_insert_with(|| {
                    first.push(ValueId(value as u32));
                    first.len() - 1
                })
            }));
        }
        let read = self.read(body);
        Homes {
            of,
            read,
            first,
            constants: self.constants,
            lines: self.lines,
        }
    }

    /// By value: whether something reads a snapshot of it.
    pub(crate) fn read(&self, body: &[Stmt]) -> Vec<bool> {
        let mut read = vec![false; self.of.len()];
        self.uses(body, &mut |_, value, by_name| read[value.index()] |= !by_name);
        read
    }

    /// Tells of every use of a value, other than as accumulator: the value that it defines if it is an operation, the used one, whether by name.
    fn uses(&self, body: &[Stmt], tell: &mut dyn FnMut(Option<ValueId>, ValueId, bool)) {
        for stmt in body {
            match stmt {
                Stmt::Let(id, op) => self.operands(*id, op, &mut |value, by_name| tell(Some(*id), value, by_name)),
                Stmt::For { carried, body, .. } => {
                    for carry in carried {
                        let by_name = self.home(carry.param).is_some();
                        tell(None, carry.init, by_name);
                        tell(None, carry.next, by_name);
                    }
                    self.uses(body, tell);
                }
                Stmt::Guard { cond, carried, body } => {
                    tell(None, *cond, false);
                    for carry in carried {
                        let by_name = self.home(carry.result).is_some();
                        tell(None, carry.init, by_name);
                        tell(None, carry.next, by_name);
                    }
                    self.uses(body, tell);
                }
                Stmt::If { body, .. } => self.uses(body, tell),
                Stmt::Store { index, value, mask, .. } => {
                    index.iter().chain(mask).for_each(|&v| tell(None, v, false));
                    tell(None, *value, self.stored_by_name(stmt).is_some());
                }
                Stmt::StoreShared { value, .. } => tell(None, *value, self.stored_by_name(stmt).is_some()),
                // Their operands are scalars.
                Stmt::CopyAsync { .. }
                | Stmt::Commit
                | Stmt::Wait(_)
                | Stmt::Barrier
                | Stmt::Fill { .. }
                | Stmt::Await { .. }
                | Stmt::Release { .. }
                | Stmt::DotWait(_)
                | Stmt::Take
                | Stmt::Pass => {}
            }
        }
    }

    /// The tile that a statement stores from its home.
    pub(crate) fn stored_by_name(&self, stmt: &Stmt) -> Option<ValueId> {
        let (value, buffer) = match stmt {
            Stmt::Store {
                value,
                through: Some(passage),
                ..
            } => (*value, passage.buffer),
            Stmt::StoreShared { value, buffer, .. } => (*value, *buffer),
            Stmt::Store {
                tensor, value, mask, ..
            } => {
                self.home(*value)?;
                return stores_home(self.program, *tensor, *value, *mask).then_some(*value);
            }
            _ => return None,
        };
        self.home(value)?;
        let to = self.program.buffers.get(buffer.index())?.elem;
        can_store(self.program.values[value.index()].elem, to).then_some(value)
    }

    /// Tells of every value that an operation reads, other than as accumulator, and whether by name.
    pub(crate) fn operands(&self, id: ValueId, op: &Op, tell: &mut dyn FnMut(ValueId, bool)) {
        let elem = |v: ValueId| self.program.values[v.index()].elem;
        let named = |v: ValueId| self.home(v).is_some();
        let lines = named(id) && self.lines[id.index()];
        match op {
            Op::Real(_) | Op::Int(_) | Op::Param(_) | Op::Grid(_) | Op::Block | Op::Blocks | Op::Lane => {}
            Op::Math(_, args) => args.iter().for_each(|&v| tell(v, lines && named(v))),
            Op::Cast(v) => tell(*v, lines && named(*v)),
            Op::RowReduce(op, v) => tell(*v, named(*v) && combine(*op, elem(*v)).is_some()),
            Op::QuadReduce(_, v) => tell(*v, false),
            Op::LoadShared { stage, .. } => stage.iter().for_each(|&v| tell(v, false)),
            Op::Load { index, mask, .. } => index.iter().chain(mask).for_each(|&v| tell(v, false)),
            Op::Dot {
                left, right, acc, kind, ..
            } => {
                let matrix = *kind == DotKind::Matrix;
                if let Operand::Register(v) = left {
                    tell(*v, matrix && named(*v));
                }
                if let Operand::Register(v) = right {
                    tell(*v, false);
                }
                if let (Some(acc), false) = (acc, matrix && named(id)) {
                    tell(*acc, false);
                }
            }
        }
    }
}

/// Disjoint sets of values.
#[derive(Clone)]
struct Sets(Vec<usize>);

impl Sets {
    fn new(n: usize) -> Sets {
        Sets((0..n).collect())
    }

    fn find(&mut self, value: usize) -> usize {
        let mut root = value;
        while self.0[root] != root {
            root = self.0[root];
        }
        self.0[value] = root;
        root
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod random;
