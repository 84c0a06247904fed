//! The two roles of a specialised program: who runs which slice, with how many registers.

use crate::cx::{Cx, Effect};
use crate::error::{Res, invalid};
use crate::homes::Homes;
use crate::hopper::outgoing::sends;
use crate::hopper::ring::source_kinds;
use crate::kernel::{Kernel, Lanes};
use einloom_tile::ir::{Op, Roles, Stmt, ValueId};
use einloom_tile::roles;
use inkwell::IntPredicate;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::context::Context;
use inkwell::types::AnyType;
use inkwell::values::{FunctionValue, IntValue};
use std::collections::BTreeSet;

/// Bytes of a descriptor of a box copy.
const DESCRIPTOR_BYTES: u32 = 128;

/// Whose statements are emitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role<'c> {
    /// Everyone's.
    Uniform,
    Consumer,
    /// `elected`: the thread that starts box copies, where more than one runs the slice.
    Producer {
        elected: Option<IntValue<'c>>,
    },
}

/// Why control flow cannot fail to build.
const POSITIONED: &str = "the builder should stand in a block";

/// Marks a parameter as a descriptor: passed by value, read where it lies.
pub(crate) fn declare_descriptor<'c>(context: &'c Context, function: FunctionValue<'c>, param: u32) {
    let kind = |name| Attribute::get_named_enum_kind_id(name);
    let bytes = context.i8_type().array_type(DESCRIPTOR_BYTES).as_any_type_enum();
    let at = AttributeLoc::Param(param);
    function.add_attribute(at, context.create_type_attribute(kind("byval"), bytes));
    function.add_attribute(at, context.create_enum_attribute(kind("align"), 64));
    function.add_attribute(at, context.create_string_attribute("nvvm.grid_constant", ""));
}

/// The first lane's value, in all lanes: ptxas then knows that the warp agrees.
pub(crate) fn uniform<'c>(cx: &Cx<'c>, value: IntValue<'c>) -> IntValue<'c> {
    let text = "shfl.sync.idx.b32 $0, $1, 0, 0x1f, 0xffffffff;";
    cx.asm_value(cx.i32t().into(), text, "=r,r", &[value.into()], Effect::Collective)
        .into_int_value()
}

fn takes_turns(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Take => true,
        Stmt::For { body, .. } | Stmt::If { body, .. } => takes_turns(body),
        _ => false,
    })
}

impl<'c> Kernel<'_, 'c> {
    /// Emits the body of a specialised program from the current block on; the builder then stands where both roles end.
    pub(crate) fn specialised(&mut self) -> Res<()> {
        let Roles::Specialised {
            consumer_registers,
            producer_registers,
        } = self.program.roles
        else {
            return invalid("a program without roles has no slices");
        };
        let mut consumers_slice = roles::slice(self.program, roles::Role::Consumer);
        let mut producers_slice = roles::slice(self.program, roles::Role::Producer);
        let both = self.shared_scalars(&consumers_slice, &producers_slice);
        for slice in [&mut consumers_slice, &mut producers_slice] {
            slice.retain(|stmt| !both.contains(stmt));
        }
        self.init_barriers();
        self.statements(&both)?;
        let known = self.values.clone();
        let block = |name| self.cx.context.append_basic_block(self.cx.function, name);
        let (consumer, producer, exit) = (block("consumer"), block("producer"), block("exit"));
        let consumers = self.cx.i32(i64::from(self.program.warps));
        let produces = self.cx.icmp(IntPredicate::UGE, self.lanes.warp, consumers);
        self.cx
            .builder
            .build_conditional_branch(produces, producer, consumer)
            .expect(POSITIONED);

        self.cx.builder.position_at_end(consumer);
        self.set_registers("inc", consumer_registers);
        if takes_turns(&consumers_slice) {
            self.begin_turns();
        }
        self.run_role(Role::Consumer, consumer, None, &consumers_slice, exit)?;

        self.cx.builder.position_at_end(producer);
        self.set_registers("dec", producer_registers);
        let first = self.cx.i32(32 * i64::from(self.program.warps));
        self.lanes = self.producer_lanes(self.cx.isub(self.lanes.thread, first));
        let elected = self.cx.icmp(IntPredicate::EQ, self.lanes.thread, self.cx.i32(0));
        self.prefetch_descriptors(elected);
        self.values = known;
        // One thread starts box copies; only rows need all of them.
        if source_kinds(self.program).iter().any(|kinds| kinds.rows) {
            let role = Role::Producer { elected: Some(elected) };
            self.run_role(role, producer, None, &producers_slice, exit)?;
        } else {
            let role = Role::Producer { elected: None };
            self.run_role(role, producer, Some(elected), &producers_slice, exit)?;
        }
        self.cx.builder.position_at_end(exit);
        Ok(())
    }

    /// The scalars at the top of both slices, which are computed once, before the roles part: divisions that place a block in its grid, for instance.
    fn shared_scalars(&self, consumers: &[Stmt], producers: &[Stmt]) -> Vec<Stmt> {
        let scalar = |id: ValueId| {
            let ty = self.program.values[id.index()];
            ty.rows.is_none() && ty.cols.is_none()
        };
        let of = |stmt: &Stmt| match stmt {
            Stmt::Let(id, _) => Some(*id),
            _ => None,
        };
        let theirs: BTreeSet<ValueId> = producers.iter().filter_map(of).collect();
        let mut shared = Vec::new();
        let mut known = BTreeSet::new();
        for stmt in consumers {
            let Stmt::Let(id, op) = stmt else { continue };
            let computed = match op {
                Op::Real(_) | Op::Int(_) | Op::Param(_) | Op::Grid(_) | Op::Block | Op::Blocks => true,
                Op::Math(_, args) => args.iter().all(|v| known.contains(v)),
                Op::Cast(v) => known.contains(v),
                _ => false,
            };
            if computed && scalar(*id) && theirs.contains(id) {
                known.insert(*id);
                shared.push(stmt.clone());
            }
        }
        shared
    }

    /// Emits a slice behind `entry`, which holds what does not change while it runs; threads without `takes_part` skip it.
    fn run_role(
        &mut self,
        role: Role<'c>,
        entry: BasicBlock<'c>,
        takes_part: Option<IntValue<'c>>,
        slice: &[Stmt],
        exit: BasicBlock<'c>,
    ) -> Res<()> {
        let start = self.cx.context.append_basic_block(self.cx.function, "start");
        let outer = std::mem::replace(&mut self.entry, entry);
        self.invariants.clear();
        self.pending.clear();
        self.role = role;
        self.homes = match role {
            Role::Consumer => Homes::of(self.program, slice),
            _ => Homes::default(),
        };
        self.cx.builder.position_at_end(entry);
        self.declare_homes()?;
        self.cx.builder.position_at_end(start);
        self.statements(slice)?;
        if role == Role::Consumer && sends(slice) {
            self.wait_sent();
        }
        self.cx.builder.build_unconditional_branch(exit).expect(POSITIONED);
        self.cx.builder.position_at_end(entry);
        match takes_part {
            None => self.cx.builder.build_unconditional_branch(start),
            Some(cond) => self.cx.builder.build_conditional_branch(cond, start, exit),
        }
        .expect(POSITIONED);
        self.entry = outer;
        Ok(())
    }

    /// Gives back registers of all threads of the warpgroup, or takes some of those given back.
    fn set_registers(&self, way: &str, registers: u32) {
        let text = format!("setmaxnreg.{way}.sync.aligned.u32 {registers};");
        self.cx.asm(&text, "", &[], Effect::Convergent);
    }

    /// Brings the descriptors near before the first copy asks for them.
    fn prefetch_descriptors(&self, elected: IntValue<'c>) {
        for &map in &self.maps {
            let args = [map.into(), elected.into()];
            self.cx
                .asm("@$1 prefetch.tensormap [$0];", "l,b", &args, Effect::Memory);
        }
    }

    /// Coordinates of a producer thread, counted from the first one.
    fn producer_lanes(&self, thread: IntValue<'c>) -> Lanes<'c> {
        let cx = &self.cx;
        Lanes {
            thread,
            warp: cx.lshr(thread, cx.i32(5)),
            ..self.lanes
        }
    }
}
