//! Random slices, executed twice: over values, and over homes as the emission treats them. What they store must agree.
//!
//! Numbers stand for tiles: an operation mixes the numbers of its operands, so that a wrong operand shows.

use super::tests::{COLS, Slice};
use super::{Homes, Shared};
use einloom_cascade::expr::MapOp;
use einloom_tile::ir::*;

/// A linear congruential generator (Knuth's constants).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn pick(&mut self, from: &[ValueId]) -> ValueId {
        from[self.below(from.len())]
    }
}

/// What is visible at a point.
#[derive(Clone, Default)]
struct Scope {
    tiles: Vec<ValueId>,
    pairs: Vec<ValueId>,
    rows: Vec<ValueId>,
    conditions: Vec<ValueId>,
}

struct Generator {
    random: Random,
    base: Slice,
}

impl Generator {
    fn new(seed: u64) -> Generator {
        Generator {
            random: Random(seed),
            base: Slice::new(),
        }
    }

    fn value(&mut self, rows: bool, cols: bool, elem: Elem) -> ValueId {
        self.base.value(rows, cols, elem)
    }

    fn tile(&mut self) -> ValueId {
        self.base.tile()
    }

    /// A slice that begins with a tile, pairs and a row of each kind.
    fn slice(&mut self) -> Vec<Stmt> {
        let mut scope = Scope::default();
        let (zero, one, loaded, zeros) = (
            self.tile(),
            self.tile(),
            self.tile(),
            self.value(true, true, Elem::BF16),
        );
        let (row, condition) = (self.value(true, false, Elem::F32), self.value(true, true, Elem::Bool));
        let load = |to| {
            let op = Op::Load {
                tensor: TensorId(0),
                index: Vec::new(),
                mask: None,
            };
            Stmt::Let(to, op)
        };
        let mut body = vec![
            Stmt::Let(zero, Op::Real(0.0)),
            Stmt::Let(one, Op::Real(1.0)),
            Stmt::Let(zeros, Op::Real(0.0)),
            load(loaded),
            load(row),
            Stmt::Let(condition, Op::Math(Math::Map(MapOp::Lt), vec![loaded, row])),
        ];
        scope.tiles.extend([zero, one, loaded]);
        scope.pairs.push(zeros);
        scope.rows.push(row);
        scope.conditions.push(condition);
        self.block(&mut body, &mut scope, 3);
        body
    }

    fn block(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope, depth: usize) {
        for _ in 0..2 + self.random.below(6) {
            match self.random.below(if depth == 0 { 8 } else { 12 }) {
                0..3 => self.dots(body, scope),
                3..6 => self.pure(body, scope),
                6..8 => {
                    let value = self.random.pick(&scope.tiles);
                    // One of pairs, one of reals.
                    let buffer = BufferId(2 * self.random.below(2) as u32);
                    body.push(Stmt::StoreShared {
                        buffer,
                        stage: None,
                        value,
                    });
                }
                8 => {
                    let cond = self.value(false, false, Elem::Bool);
                    let mut inner = Vec::new();
                    self.block(&mut inner, &mut scope.clone(), depth - 1);
                    body.push(Stmt::If { cond, body: inner });
                }
                9 => self.guard(body, scope),
                _ => self.repeat(body, scope, depth),
            }
        }
    }

    /// One to three dots in flight, perhaps an operation beside them, and the wait.
    fn dots(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope) {
        let mut fresh: Vec<ValueId> = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let id = self.tile();
            let acc = match self.random.below(4) {
                0 => None,
                1 if !fresh.is_empty() => Some(fresh.swap_remove(self.random.below(fresh.len()))),
                _ => Some(self.random.pick(&scope.tiles)),
            };
            let left = match self.random.below(2) {
                0 => Operand::Shared(BufferId(0), None),
                _ => Operand::Register(self.random.pick(&scope.pairs)),
            };
            let op = Op::Dot {
                left,
                right: Operand::Shared(BufferId(0), None),
                over: COLS,
                acc,
                kind: DotKind::Matrix,
            };
            body.push(Stmt::Let(id, op));
            fresh.push(id);
            if self.random.below(3) == 0 {
                self.pure(body, scope);
            }
        }
        body.push(Stmt::DotWait(0));
        scope.tiles.extend(fresh);
    }

    fn pure(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope) {
        let (a, b, row) = (
            self.random.pick(&scope.tiles),
            self.random.pick(&scope.tiles),
            self.random.pick(&scope.rows),
        );
        let condition = self.random.pick(&scope.conditions);
        let id = match self.random.below(8) {
            0 => self.value(true, true, Elem::BF16),
            1 => self.value(true, false, Elem::F32),
            2 => self.value(true, true, Elem::Bool),
            _ => self.tile(),
        };
        let ty = self.base.program.values[id.index()];
        let op = match (ty.elem, ty.cols) {
            (Elem::BF16, _) => Op::Cast(a),
            (Elem::Bool, _) => Op::Math(Math::Map(MapOp::Lt), vec![a, b]),
            (_, None) => Op::RowReduce(einloom_cascade::expr::ReduceOp::Sum, a),
            _ => match self.random.below(6) {
                0 => Op::Math(Math::Map(MapOp::Div), vec![a, b]),
                1 => Op::Math(Math::Map(MapOp::Add), vec![a, b]),
                2 => Op::Math(Math::Exp2Fast, vec![a]),
                3 => Op::Math(Math::Select, vec![condition, a, row]),
                4 => Op::Cast(self.random.pick(&scope.pairs)),
                _ => Op::Math(Math::Map(MapOp::Mul), vec![a, row]),
            },
        };
        body.push(Stmt::Let(id, op));
        match (ty.elem, ty.cols) {
            (Elem::BF16, _) => scope.pairs.push(id),
            (Elem::Bool, _) => scope.conditions.push(id),
            (_, None) => scope.rows.push(id),
            _ => scope.tiles.push(id),
        }
    }

    /// Names for carried values: tiles, and perhaps pairs.
    fn carried(&mut self, scope: &Scope) -> Vec<LoopValue> {
        let mut carried = Vec::new();
        for _ in 0..self.random.below(4) {
            let init = self.random.pick(&scope.tiles);
            let (param, result) = (self.tile(), self.tile());
            carried.push(LoopValue {
                init,
                param,
                next: param,
                result,
            });
        }
        if self.random.below(2) == 0 {
            let init = self.random.pick(&scope.pairs);
            let (param, result) = (self.value(true, true, Elem::BF16), self.value(true, true, Elem::BF16));
            carried.push(LoopValue {
                init,
                param,
                next: param,
                result,
            });
        }
        carried
    }

    fn list<'s>(&self, scope: &'s mut Scope, id: ValueId) -> &'s mut Vec<ValueId> {
        match self.base.program.values[id.index()].elem {
            Elem::BF16 => &mut scope.pairs,
            _ => &mut scope.tiles,
        }
    }

    fn repeat(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope, depth: usize) {
        let mut carried = self.carried(scope);
        let mut inner = Vec::new();
        let mut inside = scope.clone();
        for carry in &carried {
            self.list(&mut inside, carry.param).push(carry.param);
        }
        self.block(&mut inner, &mut inside, depth - 1);
        for carry in &mut carried {
            let list = self.list(&mut inside, carry.param).clone();
            carry.next = self.random.pick(&list[list.len().saturating_sub(4)..]);
            self.list(scope, carry.result).push(carry.result);
        }
        let ends = self.value(false, false, Elem::I32);
        body.push(Stmt::For {
            var: ends,
            lo: ends,
            hi: ends,
            carried,
            body: inner,
            label: String::new(),
        });
    }

    fn guard(&mut self, body: &mut Vec<Stmt>, scope: &mut Scope) {
        let cond = self.value(true, false, Elem::Bool);
        let mut carried = self.carried(scope);
        let mut inner = Vec::new();
        let mut inside = scope.clone();
        for _ in 0..3 {
            self.pure(&mut inner, &mut inside);
        }
        for carry in &mut carried {
            let list = self.list(&mut inside, carry.result).clone();
            carry.next = self.random.pick(&list);
            self.list(scope, carry.result).push(carry.result);
        }
        body.push(Stmt::Guard {
            cond,
            carried,
            body: inner,
        });
    }
}

fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(17, |h: u64, &n| {
        (h ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    })
}

/// A machine with homes, or without.
struct Machine<'a> {
    homes: &'a Homes,
    /// Values of LLVM.
    values: Vec<Option<u64>>,
    registers: Vec<u64>,
    /// Of dots: result, and homes that are read and written until they are complete.
    pending: Vec<(ValueId, Option<usize>, Option<usize>)>,
    /// Decides branches: both machines take the same ones.
    branches: Random,
    stored: Vec<u64>,
}

impl Machine<'_> {
    fn number(&self, id: ValueId) -> u64 {
        match (self.homes.constant(id), self.homes.home(id)) {
            (Some(bits), _) => u64::from(bits),
            (_, Some(home)) => {
                assert!(self.pending.iter().all(|p| p.2 != Some(home)), "v{} is pending", id.0);
                self.registers[home]
            }
            _ => self.snapshot(id),
        }
    }

    fn snapshot(&self, id: ValueId) -> u64 {
        match self.homes.constant(id) {
            Some(bits) => u64::from(bits),
            None => self.values[id.index()].unwrap_or_else(|| panic!("v{} should have a snapshot", id.0)),
        }
    }

    fn write(&mut self, home: usize, number: u64) {
        let free = self.pending.iter().all(|p| p.1 != Some(home) && p.2 != Some(home));
        assert!(free, "home {home} is written while a dot is pending");
        self.registers[home] = number;
    }

    fn settle(&mut self, id: ValueId) {
        self.values[id.index()] = self.homes.is_read(id).then(|| self.number(id));
    }

    fn flow(&mut self, from: ValueId, to: ValueId) {
        if let Some(home) = self.homes.home(to)
            && self.homes.home(from) != Some(home)
        {
            let number = self.number(from);
            self.write(home, number);
        }
    }

    fn run(&mut self, body: &[Stmt], shared: &Shared<'_>) {
        for stmt in body {
            match stmt {
                Stmt::Let(id, op) => self.define(*id, op, shared),
                Stmt::DotWait(_) => {
                    let done = std::mem::take(&mut self.pending);
                    for (id, _, result) in done {
                        if result.is_some() {
                            self.settle(id);
                        }
                    }
                }
                Stmt::StoreShared { value, .. } => {
                    let by_name = shared.stored_by_name(stmt).is_some();
                    let number = if by_name {
                        self.number(*value)
                    } else {
                        self.snapshot(*value)
                    };
                    self.stored.push(number);
                }
                Stmt::If { body, .. } => {
                    for _ in 0..self.branches.below(2) {
                        self.run(body, shared);
                    }
                }
                Stmt::Guard { carried, body, .. } => {
                    let times = self.branches.below(2);
                    self.carry(carried, shared, body, times, |c| (c.init, c.result, c.next, None));
                }
                Stmt::For { carried, body, .. } => {
                    let trips = self.branches.below(4);
                    self.carry(carried, shared, body, trips, |c| {
                        (c.init, c.param, c.next, Some(c.result))
                    });
                }
                _ => {}
            }
        }
    }

    /// Loops and guards: values flow into their place before, at the end of each run of the body, and to the result.
    fn carry(
        &mut self,
        carried: &[LoopValue],
        shared: &Shared<'_>,
        body: &[Stmt],
        trips: usize,
        names: impl Fn(&LoopValue) -> (ValueId, ValueId, ValueId, Option<ValueId>),
    ) {
        let (named, others): (Vec<_>, Vec<_>) = carried
            .iter()
            .map(names)
            .partition(|(_, place, ..)| self.homes.home(*place).is_some());
        named.iter().for_each(|(init, place, ..)| self.flow(*init, *place));
        let mut numbers: Vec<u64> = others.iter().map(|(init, ..)| self.snapshot(*init)).collect();
        for _ in 0..trips {
            for ((_, place, _, result), number) in others.iter().zip(&numbers) {
                if result.is_some() {
                    self.values[place.index()] = Some(*number);
                }
            }
            for (_, place, _, result) in &named {
                if result.is_some() {
                    self.settle(*place);
                }
            }
            self.run(body, shared);
            numbers = others.iter().map(|(_, _, next, _)| self.snapshot(*next)).collect();
            named.iter().for_each(|(_, place, next, _)| self.flow(*next, *place));
        }
        for ((_, place, _, result), number) in others.iter().zip(&numbers) {
            self.values[result.unwrap_or(*place).index()] = Some(*number);
        }
        for (_, place, _, result) in &named {
            let result = result.unwrap_or(*place);
            self.flow(*place, result);
            self.settle(result);
        }
    }

    fn define(&mut self, id: ValueId, op: &Op, shared: &Shared<'_>) {
        if let Op::Dot { left, acc, .. } = op {
            return self.dot(id, *left, *acc, shared);
        }
        let mut numbers = vec![u64::from(id.0)];
        if let Op::Real(x) = op {
            numbers = vec![u64::from((*x as f32).to_bits())];
        }
        shared.operands(id, op, &mut |value, by_name| {
            numbers.push(if by_name {
                self.number(value)
            } else {
                self.snapshot(value)
            });
        });
        let number = if let Op::Real(_) = op {
            numbers[0]
        } else {
            mix(&numbers)
        };
        match self.homes.home(id) {
            Some(home) => {
                self.write(home, number);
                if self.homes.has_lines(id) {
                    self.settle(id);
                } else {
                    self.values[id.index()] = Some(number);
                }
            }
            None => self.values[id.index()] = Some(number),
        }
    }

    fn dot(&mut self, id: ValueId, left: Operand, acc: Option<ValueId>, shared: &Shared<'_>) {
        let left = match left {
            Operand::Register(left) => Some(left),
            Operand::Shared(..) => None,
        };
        let factor = left.map_or(1, |left| self.number(left));
        let home = self.homes.home(id);
        let sum = match acc {
            None => 0,
            Some(acc) if home.is_some() && self.homes.home(acc) == home => {
                let own = |p: &(ValueId, Option<usize>, Option<usize>)| p.0 == acc || p.2 != home;
                assert!(self.pending.iter().all(own), "v{} is lost", acc.0);
                self.pending.retain(|p| p.0 != acc);
                home.map_or(0, |home| self.registers[home])
            }
            Some(acc) if home.is_none() => {
                self.pending.retain(|p| p.0 != acc);
                self.snapshot(acc)
            }
            Some(acc) => self.number(acc),
        };
        let number = mix(&[u64::from(id.0), factor, sum]);
        match home {
            Some(home) => self.write(home, number),
            None => self.values[id.index()] = Some(number),
        }
        if !shared.synchronous() {
            self.pending
                .push((id, left.and_then(|left| self.homes.home(left)), home));
        } else if home.is_some() {
            self.settle(id);
        }
    }
}

/// What a slice stores, by a machine with the given homes.
fn stored(program: &TileProgram, body: &[Stmt], homes: &Homes, seed: u64) -> Vec<u64> {
    let shared = homes.choice(program);
    let mut machine = Machine {
        homes,
        values: vec![None; program.values.len()],
        registers: vec![0; homes.all().len()],
        pending: Vec::new(),
        branches: Random(seed),
        stored: Vec::new(),
    };
    machine.run(body, &shared);
    machine.stored
}

#[test]
fn random_slices_store_the_same() {
    let consumer = Roles::Specialised {
        consumer_registers: 0,
        producer_registers: 0,
    };
    store_the_same(consumer);
}

#[test]
fn random_programs_without_roles_store_the_same() {
    store_the_same(Roles::Uniform);
}

fn store_the_same(roles: Roles) {
    let (mut with, mut without, mut copied) = (0, 0, 0);
    for seed in 0..1000 {
        let mut generator = Generator::new(seed);
        let body = generator.slice();
        let program = TileProgram {
            roles,
            ..generator.base.program
        };
        let homes = Homes::of(&program, &body);
        let none = Homes::default();
        for branches in 0..4 {
            let expected = stored(&program, &body, &none, branches);
            assert_eq!(
                stored(&program, &body, &homes, branches),
                expected,
                "slice {seed}: {body:#?}"
            );
        }
        for value in (0..program.values.len() as u32).map(ValueId) {
            let ty = program.values[value.index()];
            if ty.rows.is_some() && ty.cols.is_some() {
                *(if homes.home(value).is_some() {
                    &mut with
                } else {
                    &mut without
                }) += 1;
            }
        }
        copied += homes.all().len();
    }
    // Most tiles have homes, else nothing is tested; and several share one.
    assert!(with > 2 * without && with > copied, "{with} {without} {copied}");
}
