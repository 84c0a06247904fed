//! Statements: structured control flow, and the order of memory operations.

use crate::cx::Effect;
use crate::error::{Fault, Res, invalid};
use crate::hopper::Role;
use crate::kernel::Kernel;
use crate::value::Value;
use einloom_tile::ir::{DotKind, Elem, LoopValue, Op, Stmt, ValueId};
use inkwell::IntPredicate;
use inkwell::basic_block::BasicBlock;
use inkwell::values::{BasicValue, BasicValueEnum, IntValue, PhiValue};

/// Why a branch cannot fail to build.
const POSITIONED: &str = "the builder should stand in a block";

fn is_matrix_dot(op: &Op) -> bool {
    matches!(
        op,
        Op::Dot {
            kind: DotKind::Matrix,
            ..
        }
    )
}

impl<'c> Kernel<'_, 'c> {
    /// Emits statements in order.
    pub(crate) fn statements(&mut self, body: &[Stmt]) -> Res<()> {
        body.iter().try_for_each(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> Res<()> {
        match stmt {
            Stmt::Let(id, op)
                if self.homes.home(*id).is_some() && (self.role == Role::Uniform || !is_matrix_dot(op)) =>
            {
                self.define_home(*id, op)
            }
            Stmt::Let(id, op) => {
                let value = self.op(*id, op)?;
                self.define(*id, value)
            }
            Stmt::For {
                var,
                lo,
                hi,
                carried,
                body,
                ..
            } => self.for_loop(*var, *lo, *hi, carried, body),
            Stmt::If { cond, body } => self.conditional(*cond, body),
            Stmt::Guard { cond, carried, body } => self.guard(*cond, carried, body),
            Stmt::Store {
                tensor,
                index,
                value,
                mask,
                through,
            } => match through {
                Some(passage) => self.send(*passage, index, *value),
                None => self.store(*tensor, index, *value, *mask),
            },
            Stmt::StoreShared { buffer, stage, value } => self.store_shared(*buffer, *stage, *value),
            Stmt::CopyAsync { .. } => self.copy_async(stmt),
            Stmt::Commit => {
                self.cx.asm("cp.async.commit_group;", "", &[], Effect::Memory);
                Ok(())
            }
            Stmt::Wait(n) => {
                self.cx
                    .asm(&format!("cp.async.wait_group {n};"), "", &[], Effect::Memory);
                Ok(())
            }
            Stmt::Barrier if self.role != Role::Uniform => {
                self.consumer_barrier();
                Ok(())
            }
            Stmt::Barrier => {
                self.cx.asm("bar.sync 0;", "", &[], Effect::Convergent);
                Ok(())
            }
            Stmt::Fill { buffer, count, source } => self.fill(*buffer, *count, source),
            Stmt::Await { buffer, count } => self.await_tile(*buffer, *count),
            Stmt::Release { buffer, count } => self.release(*buffer, *count),
            Stmt::DotWait(n) => self.dot_wait(*n),
            Stmt::Take => self.take_turn(),
            Stmt::Pass => self.pass_turn(),
        }
    }

    /// Binds a name.
    pub(crate) fn define(&mut self, id: ValueId, value: Value<'c>) -> Res<()> {
        match self.values.get_mut(id.index()) {
            Some(slot) => *slot = Some((value, self.loops.len())),
            None => return invalid(format!("v{} is not declared", id.0)),
        }
        Ok(())
    }

    pub(crate) fn append_block(&self, name: &str) -> BasicBlock<'c> {
        self.cx.context.append_basic_block(self.cx.function, name)
    }

    pub(crate) fn here(&self) -> BasicBlock<'c> {
        self.cx.builder.get_insert_block().expect(POSITIONED)
    }

    pub(crate) fn branch(&self, to: BasicBlock<'c>) {
        self.cx.builder.build_unconditional_branch(to).expect(POSITIONED);
    }

    pub(crate) fn branch_if(&self, cond: IntValue<'c>, yes: BasicBlock<'c>, no: BasicBlock<'c>) {
        self.cx
            .builder
            .build_conditional_branch(cond, yes, no)
            .expect(POSITIONED);
    }

    fn conditional(&mut self, cond: ValueId, body: &[Stmt]) -> Res<()> {
        let cond = self.scalar_int(cond)?;
        let (yes, done) = (self.append_block("then"), self.append_block("done"));
        self.branch_if(cond, yes, done);
        self.cx.builder.position_at_end(yes);
        self.statements(body)?;
        self.branch(done);
        self.cx.builder.position_at_end(done);
        Ok(())
    }

    /// The body for warps in which the condition holds somewhere.
    fn guard(&mut self, cond: ValueId, carried: &[LoopValue], body: &[Stmt]) -> Res<()> {
        let cx = &self.cx;
        let mut any: Option<IntValue<'c>> = None;
        for lane in self.value(cond)?.lanes {
            let lane = lane.into_int_value();
            any = Some(any.map_or(lane, |any| cx.ior(any, lane)));
        }
        let mut some = any.ok_or_else(|| Fault::Invalid("a guard without rows".to_owned()))?;
        if self.program.values[cond.index()].rows.is_some() {
            let text = "{ .reg .pred p; vote.sync.any.pred p, $1, -1; selp.u32 $0, 1, 0, p; }";
            let vote = cx.asm_value(cx.i32t().into(), text, "=r,b", &[some.into()], Effect::Convergent);
            some = cx.icmp(IntPredicate::NE, vote.into_int_value(), cx.i32(0));
        }
        let (named, carried): (Vec<LoopValue>, Vec<LoopValue>) =
            carried.iter().partition(|c| self.homes.home(c.result).is_some());
        let inits = carried.iter().map(|c| self.value(c.init)).collect::<Res<Vec<_>>>()?;
        for carry in &named {
            self.flow(carry.init, carry.result)?;
        }
        let (yes, done) = (self.append_block("raise"), self.append_block("done"));
        let before = self.here();
        self.branch_if(some, yes, done);
        self.cx.builder.position_at_end(yes);
        self.statements(body)?;
        let nexts = carried.iter().map(|c| self.value(c.next)).collect::<Res<Vec<_>>>()?;
        for carry in &named {
            self.flow(carry.next, carry.result)?;
        }
        let end = self.here();
        self.branch(done);
        self.cx.builder.position_at_end(done);
        for ((carry, init), next) in carried.iter().zip(&inits).zip(&nexts) {
            let phis = self.phis(init, before);
            for (phi, lane) in phis.iter().zip(&next.lanes) {
                phi.add_incoming(&[(lane as &dyn BasicValue<'c>, end)]);
            }
            let lanes = phis.iter().map(|p| p.as_basic_value()).collect();
            let (form, elem) = (init.form, init.elem);
            self.define(carry.result, Value { form, elem, lanes })?;
        }
        for carry in &named {
            self.settle(carry.result)?;
        }
        Ok(())
    }

    /// A loop that is tested before its first iteration and then at its end.
    fn for_loop(&mut self, var: ValueId, lo: ValueId, hi: ValueId, carried: &[LoopValue], body: &[Stmt]) -> Res<()> {
        // Without a way back nothing has to be kept for a second iteration that never comes.
        let once = self.trips.at_most_one(lo, hi);
        let (lo, hi) = (self.scalar_int(lo)?, self.scalar_int(hi)?);
        let (named, carried): (Vec<LoopValue>, Vec<LoopValue>) =
            carried.iter().partition(|c| self.homes.home(c.param).is_some());
        for carry in &named {
            self.flow(carry.init, carry.param)?;
        }
        let inits = carried.iter().map(|c| self.value(c.init)).collect::<Res<Vec<_>>>()?;
        let (top, done) = (self.append_block("loop"), self.append_block("done"));
        let before = self.here();
        let enter = self.cx.icmp(IntPredicate::SLT, lo, hi);
        self.branch_if(enter, top, done);

        self.cx.builder.position_at_end(top);
        let counter = (!once).then(|| self.cx.builder.build_phi(lo.get_type(), "").expect(POSITIONED));
        if let Some(counter) = counter {
            counter.add_incoming(&[(&lo, before)]);
        }
        let index = counter.map_or(lo, |counter| counter.as_basic_value().into_int_value());
        let phis: Vec<Vec<PhiValue<'c>>> = inits
            .iter()
            .filter(|_| !once)
            .map(|init| self.phis(init, before))
            .collect();
        let seen = self.opaque(index);
        self.loops.push(before);
        self.define(
            var,
            Value {
                form: crate::value::Form::Scalar,
                elem: Elem::I32,
                lanes: vec![seen.into()],
            },
        )?;
        for (at, (carry, init)) in carried.iter().zip(&inits).enumerate() {
            let lanes = match phis.get(at) {
                Some(phis) => phis.iter().map(|p| p.as_basic_value()).collect(),
                None => init.lanes.clone(),
            };
            self.define(
                carry.param,
                Value {
                    form: init.form,
                    elem: init.elem,
                    lanes,
                },
            )?;
        }
        for carry in &named {
            self.settle(carry.param)?;
        }
        self.statements(body)?;
        for carry in &named {
            self.flow(carry.next, carry.param)?;
        }
        self.loops.pop();
        let end = self.here();
        let mut nexts = Vec::new();
        for (at, (carry, init)) in carried.iter().zip(&inits).enumerate() {
            let value = self.value(carry.next)?;
            if value.form != init.form || value.elem != init.elem {
                return invalid(format!(
                    "v{} changes its type from one iteration to the next",
                    carry.param.0
                ));
            }
            let mut value = value;
            if once {
                self.pin_constants(&mut value);
            }
            for (phi, lane) in phis.get(at).into_iter().flatten().zip(&value.lanes) {
                phi.add_incoming(&[(lane as &dyn BasicValue<'c>, end)]);
            }
            nexts.push(value);
        }
        match counter {
            Some(counter) => {
                let next = self.cx.iadd(index, index.get_type().const_int(1, false));
                let again = self.cx.icmp(IntPredicate::SLT, next, hi);
                counter.add_incoming(&[(&next, end)]);
                self.branch_if(again, top, done);
            }
            None => self.branch(done),
        }

        self.cx.builder.position_at_end(done);
        for (carry, (init, next)) in carried.iter().zip(inits.iter().zip(&nexts)) {
            let phis = self.phis(init, before);
            for (phi, lane) in phis.iter().zip(&next.lanes) {
                phi.add_incoming(&[(lane as &dyn BasicValue<'c>, end)]);
            }
            let lanes = phis.iter().map(|p| p.as_basic_value()).collect();
            self.define(
                carry.result,
                Value {
                    form: init.form,
                    elem: init.elem,
                    lanes,
                },
            )?;
        }
        for carry in &named {
            self.flow(carry.param, carry.result)?;
            self.settle(carry.result)?;
        }
        Ok(())
    }

    /// The counter as the body sees it. LLVM's strength reduction would otherwise carry an address of its own for every copy of the
    /// body through the loop, 32 registers for 16 copies. ptxas drops the move.
    pub(crate) fn opaque(&self, index: IntValue<'c>) -> IntValue<'c> {
        let index = self.cx.resize(index, self.cx.i32t());
        self.cx
            .asm_value(
                self.cx.i32t().into(),
                "mov.b32 $0, $1;",
                "=r,r",
                &[index.into()],
                Effect::Pure,
            )
            .into_int_value()
    }

    /// Forms f32 constants here. LLVM forms the constants of a phi as early as it likes, in the phi's registers: what these hold until here
    /// (accumulators that are still stored) would be copied away, and dots be waited for.
    fn pin_constants(&self, value: &mut Value<'c>) {
        for lane in &mut value.lanes {
            let constant = match lane {
                BasicValueEnum::FloatValue(x) if x.get_type() == self.cx.f32t() => x.get_constant(),
                _ => None,
            };
            let Some((constant, _)) = constant else { continue };
            let text = format!("mov.b32 $0, 0f{:08X};", (constant as f32).to_bits());
            *lane = self
                .cx
                .asm_value(self.cx.f32t().into(), &text, "=f", &[], Effect::Memory);
        }
    }

    /// One phi for each element, with the value that comes from `before`.
    fn phis(&self, init: &Value<'c>, before: BasicBlock<'c>) -> Vec<PhiValue<'c>> {
        init.lanes
            .iter()
            .map(|lane| {
                let phi = self.cx.builder.build_phi(lane.get_type(), "").expect(POSITIONED);
                phi.add_incoming(&[(lane as &dyn BasicValue<'c>, before)]);
                phi
            })
            .collect()
    }
}
