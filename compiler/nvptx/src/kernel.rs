//! One kernel: its function, parameters, block coordinates, and the state of emission.
//!
//! The function starts with a block `entry` that holds what does not change while the kernel runs (lane coordinates, lane parts of shared
//! addresses). Its terminator is added last, so that emission anywhere can append to it by [`Kernel::invariant`]. Hoisting is left to
//! this and to ptxas: a general loop-invariant code motion would keep hundreds of cheap values in registers.

use crate::counts::Counts;
use crate::cx::{Cx, V};
use crate::error::{Res, invalid, unsupported};
use crate::facts::Facts;
use crate::homes::Homes;
use crate::homes::named::Names;
use crate::hopper::{Pending, Role, declare_descriptor, uniform};
use crate::shared::{BLOCK_ALIGN, Layout, STAGE_ALIGN, layouts};
use crate::value::{Form, Value};
use einloom_cascade::expr::MapOp;
use einloom_tile::ir::{Elem, Extent, Roles, TileProgram, ValueId};
use einloom_tile::trips::Trips;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::types::{BasicMetadataTypeEnum, BasicType};
use inkwell::values::{FunctionValue, IntValue, PointerValue};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// LLVM's number of the calling convention `ptx_kernel`.
const PTX_KERNEL: u32 = 71;

/// Name of dynamic shared memory in the module.
const SHARED: &str = "einloom_shared";

/// A tensor parameter: base and the stride of each dimension in elements (i64).
pub(crate) struct TensorArg<'c> {
    pub(crate) base: PointerValue<'c>,
    pub(crate) strides: Vec<IntValue<'c>>,
}

/// Coordinates of a thread.
pub(crate) struct Lanes<'c> {
    pub(crate) thread: IntValue<'c>,
    pub(crate) warp: IntValue<'c>,
    pub(crate) lane: IntValue<'c>,
    /// `lane / 4`: the row of a fragment half.
    pub(crate) row: IntValue<'c>,
    /// `lane % 4`.
    pub(crate) quad: IntValue<'c>,
    /// `2 (lane % 4)`: the first column of a group.
    pub(crate) col: IntValue<'c>,
}

/// Key of a cached invariant: what it is, and its compile-time parameters.
pub(crate) type InvariantKey = (&'static str, [u32; 5]);

/// A kernel under construction.
pub(crate) struct Kernel<'a, 'c> {
    pub(crate) cx: Cx<'c>,
    pub(crate) program: &'a TileProgram,
    pub(crate) facts: Facts,
    pub(crate) counts: Counts,
    pub(crate) trips: Trips,
    pub(crate) tensors: Vec<TensorArg<'c>>,
    pub(crate) scalars: Vec<V<'c>>,
    pub(crate) lanes: Lanes<'c>,
    pub(crate) grid: Vec<IntValue<'c>>,
    pub(crate) layouts: Vec<Layout>,
    /// Shared address (i32) of dynamic shared memory.
    pub(crate) smem: IntValue<'c>,
    /// Values, with the number of loops around their definition.
    pub(crate) values: Vec<Option<(Value<'c>, usize)>>,
    /// The blocks before the loops around the current position, outermost first.
    pub(crate) loops: Vec<BasicBlock<'c>>,
    /// Whose slice of a specialised program is emitted.
    pub(crate) role: Role<'c>,
    /// Tiles of the slice in named registers.
    pub(crate) homes: Homes,
    /// By home.
    pub(crate) names: Vec<Names>,
    /// Descriptor parameters, one for each of `program.maps`.
    pub(crate) maps: Vec<PointerValue<'c>>,
    /// Dots that are not known to be complete, oldest first.
    pub(crate) pending: Vec<Pending>,
    pub(crate) entry: BasicBlock<'c>,
    pub(crate) invariants: BTreeMap<InvariantKey, IntValue<'c>>,
}

/// Emits one program as a function of `module`.
pub(crate) fn emit_kernel<'c>(context: &'c Context, module: &Rc<Module<'c>>, program: &TileProgram) -> Res<()> {
    let (layouts, _) = layouts(program)?;
    let function = declare(context, module, program);
    let entry = context.append_basic_block(function, "entry");
    let start = context.append_basic_block(function, "start");
    let cx = Cx {
        context,
        module: Rc::clone(module),
        builder: context.create_builder(),
        function,
        intrinsics: RefCell::default(),
        formulas: RefCell::default(),
    };
    cx.builder.position_at_end(entry);
    let lanes = lanes(&cx, program);
    let (tensors, scalars, maps) = parameters(program, function, &cx);
    let smem = cx
        .builder
        .build_ptr_to_int(shared_memory(&cx, program), cx.i32t(), "")
        .expect("the shared array should be a pointer");
    let grid = if program.persistent() {
        Vec::new()
    } else {
        unpack_grid(&cx, program, &scalars)?
    };
    let mut kernel = Kernel {
        facts: Facts::of(program),
        counts: Counts::of(program),
        trips: Trips::of(program),
        values: vec![None; program.values.len()],
        loops: Vec::new(),
        role: Role::Uniform,
        homes: Homes::default(),
        names: Vec::new(),
        maps,
        pending: Vec::new(),
        invariants: BTreeMap::new(),
        cx,
        program,
        tensors,
        scalars,
        lanes,
        grid,
        layouts,
        smem,
        entry,
    };
    if program.roles == Roles::Uniform {
        kernel.homes = Homes::of(program, &program.body);
        kernel.declare_homes()?;
    }
    kernel.cx.builder.position_at_end(start);
    match program.roles {
        Roles::Uniform => kernel.statements(&program.body)?,
        Roles::Specialised { .. } => kernel.specialised()?,
    }
    kernel
        .cx
        .builder
        .build_return(None)
        .expect("the builder should stand in a block");
    kernel.cx.builder.position_at_end(entry);
    kernel
        .cx
        .builder
        .build_unconditional_branch(start)
        .expect("the builder should stand in a block");
    Ok(())
}

impl<'c> Kernel<'_, 'c> {
    /// A value of the program. Ints that run along an axis by a compile-time step are formed anew from their first element: kept, they
    /// would hold a register for each element from their definition to their last use.
    pub(crate) fn value(&self, id: ValueId) -> Res<Value<'c>> {
        let Some(Some((value, _))) = self.values.get(id.index()) else {
            return invalid(format!("v{} is used before it is defined", id.0));
        };
        let mut res = value.clone();
        let (Some(step), Form::Row(_) | Form::Col(_)) = (self.facts.get(id).step, value.form) else {
            return Ok(res);
        };
        let (Elem::I32 | Elem::I64, Some(V::IntValue(first))) = (value.elem, value.lanes.first()) else {
            return Ok(res);
        };
        for (i, lane) in res.lanes.iter_mut().enumerate() {
            let place = value.form.place(i);
            let distance = step * (16 * place.fragment + 8 * place.half + 8 * place.group + place.parity) as i64;
            *lane = self
                .cx
                .iadd(*first, first.get_type().const_int(distance as u64, true))
                .into();
        }
        Ok(res)
    }

    /// Number of loops around the definition of a value.
    pub(crate) fn depth(&self, id: ValueId) -> usize {
        self.values
            .get(id.index())
            .and_then(|v| v.as_ref())
            .map_or(0, |(_, depth)| *depth)
    }

    /// Emits before the innermost loop, if there is one; nothing that is defined in the loop may be used.
    pub(crate) fn before_loop<T>(&self, make: impl FnOnce(&Self) -> Res<T>) -> Res<T> {
        let Some(terminator) = self.loops.last().and_then(|block| block.get_terminator()) else {
            return make(self);
        };
        let here = self
            .cx
            .builder
            .get_insert_block()
            .expect("emission should stand in a block");
        self.cx.builder.position_before(&terminator);
        let res = make(self);
        self.cx.builder.position_at_end(here);
        res
    }

    /// A scalar int or bool.
    pub(crate) fn scalar_int(&self, id: ValueId) -> Res<IntValue<'c>> {
        let value = self.value(id)?;
        match (value.form, value.lanes.first()) {
            (Form::Scalar, Some(V::IntValue(v))) => Ok(*v),
            _ => invalid(format!("v{} should be an int scalar", id.0)),
        }
    }

    /// Form of a value's declared type.
    pub(crate) fn form(&self, id: ValueId) -> Res<Form> {
        match self.program.values.get(id.index()) {
            Some(&ty) => Form::of(self.program, ty),
            None => invalid(format!("v{} is not declared", id.0)),
        }
    }

    /// An int that does not change while the kernel runs, computed once in the entry block.
    pub(crate) fn invariant(&mut self, key: InvariantKey, make: impl FnOnce(&Self) -> IntValue<'c>) -> IntValue<'c> {
        if let Some(&value) = self.invariants.get(&key) {
            return value;
        }
        let here = self
            .cx
            .builder
            .get_insert_block()
            .expect("emission should stand in a block");
        self.cx.builder.position_at_end(self.entry);
        let value = make(self);
        self.cx.builder.position_at_end(here);
        self.invariants.insert(key, value);
        value
    }

    /// First row of the warp's run on a row axis with `fragments` fragments for each warp, plus `lane / 4`.
    pub(crate) fn lane_row(&mut self, fragments: usize) -> IntValue<'c> {
        self.invariant(("lane row", [fragments as u32, 0, 0, 0, 0]), |k| {
            let first = k.cx.imul(k.lanes.warp, k.cx.i32(16 * fragments as i64));
            k.cx.iadd(first, k.lanes.row)
        })
    }
}

/// Adds the function with its attributes.
fn declare<'c>(context: &'c Context, module: &Module<'c>, program: &TileProgram) -> FunctionValue<'c> {
    let mut params: Vec<BasicMetadataTypeEnum<'c>> = Vec::new();
    for tensor in &program.tensors {
        params.push(context.ptr_type(1.into()).into());
        params.extend(vec![
            BasicMetadataTypeEnum::from(context.i64_type());
            tensor.rank - usize::from(tensor.contiguous && tensor.rank > 0)
        ]);
    }
    for scalar in &program.scalars {
        params.push(match scalar.elem {
            Elem::F32 => context.f32_type().into(),
            Elem::I64 => context.i64_type().into(),
            _ => context.i32_type().into(),
        });
    }
    let descriptors = params.len() as u32;
    params.extend(vec![
        BasicMetadataTypeEnum::from(context.ptr_type(0.into()));
        program.maps.len()
    ]);
    let function = module.add_function(&program.name, context.void_type().fn_type(&params, false), None);
    function.set_call_conventions(PTX_KERNEL);
    let text = |key: &str, value: String| {
        function.add_attribute(AttributeLoc::Function, context.create_string_attribute(key, &value))
    };
    text("nvvm.maxntid", program.threads().to_string());
    text("nvvm.minctasm", program.blocks_per_sm.max(1).to_string());
    let mut index = 0;
    for tensor in &program.tensors {
        let mark = |name: &str, value: u64| {
            let kind = Attribute::get_named_enum_kind_id(name);
            function.add_attribute(AttributeLoc::Param(index), context.create_enum_attribute(kind, value));
        };
        mark("noalias", 0);
        mark("align", u64::from(tensor.align.max(1)));
        if !tensor.writable {
            mark("readonly", 0);
        }
        index += 1 + (tensor.rank - usize::from(tensor.contiguous && tensor.rank > 0)) as u32;
    }
    for map in 0..program.maps.len() as u32 {
        declare_descriptor(context, function, descriptors + map);
    }
    function
}

/// The array that stands for dynamic shared memory, shared by all kernels of the module.
fn shared_memory<'c>(cx: &Cx<'c>, program: &TileProgram) -> PointerValue<'c> {
    let align = match program.roles {
        Roles::Uniform => STAGE_ALIGN,
        Roles::Specialised { .. } => BLOCK_ALIGN,
    };
    if let Some(global) = cx.module.get_global(SHARED) {
        global.set_alignment(align.max(global.get_alignment()));
        return global.as_pointer_value();
    }
    let ty = cx.context.i8_type().array_type(0);
    let global = cx.module.add_global(ty.as_basic_type_enum(), Some(3.into()), SHARED);
    global.set_linkage(Linkage::External);
    global.set_alignment(align);
    global.as_pointer_value()
}

fn lanes<'c>(cx: &Cx<'c>, program: &TileProgram) -> Lanes<'c> {
    let thread = cx.special_register("tid.x");
    let warp = cx.lshr(thread, cx.i32(5));
    let warp = match program.roles {
        Roles::Uniform => warp,
        Roles::Specialised { .. } => uniform(cx, warp),
    };
    let lane = cx.iand(thread, cx.i32(31));
    let quad = cx.iand(thread, cx.i32(3));
    Lanes {
        thread,
        warp,
        lane,
        row: cx.lshr(lane, cx.i32(2)),
        quad,
        col: cx.shl(quad, cx.i32(1)),
    }
}

fn parameters<'c>(
    program: &TileProgram,
    function: FunctionValue<'c>,
    cx: &Cx<'c>,
) -> (Vec<TensorArg<'c>>, Vec<V<'c>>, Vec<PointerValue<'c>>) {
    let mut params = function.get_param_iter();
    let mut next = || {
        params
            .next()
            .expect("the function should have the parameters that it was declared with")
    };
    let mut tensors = Vec::new();
    for tensor in &program.tensors {
        let base = next().into_pointer_value();
        let unit = usize::from(tensor.contiguous && tensor.rank > 0);
        let mut strides: Vec<_> = (unit..tensor.rank).map(|_| next().into_int_value()).collect();
        if unit == 1 {
            strides.push(cx.i64(1));
        }
        tensors.push(TensorArg { base, strides });
    }
    let scalars = program.scalars.iter().map(|_| next()).collect();
    let maps = program.maps.iter().map(|_| next().into_pointer_value()).collect();
    (tensors, scalars, maps)
}

/// Coordinates of the block: the linear block index over the extents, first dimension outermost.
fn unpack_grid<'c>(cx: &Cx<'c>, program: &TileProgram, scalars: &[V<'c>]) -> Res<Vec<IntValue<'c>>> {
    let mut rest = cx.special_register("ctaid.x");
    let mut res = Vec::new();
    for (i, dim) in program.grid.iter().enumerate().rev() {
        let extent = extent(cx, &dim.extent, scalars)?;
        let extent = cx.resize(extent, cx.i32t());
        // The outermost coordinate needs no division: the index is below the product.
        let coordinate = if i == 0 { rest } else { cx.urem(rest, extent) };
        if i > 0 {
            rest = cx.udiv(rest, extent);
        }
        let coordinate = if dim.reversed {
            cx.isub(cx.isub(extent, cx.i32(1)), coordinate)
        } else {
            coordinate
        };
        res.push(coordinate);
    }
    res.reverse();
    Ok(res)
}

/// An extent, in i64 if it reads an i64 scalar and in i32 otherwise.
fn extent<'c>(cx: &Cx<'c>, extent_: &Extent, scalars: &[V<'c>]) -> Res<IntValue<'c>> {
    Ok(match extent_ {
        Extent::Const(n) => match i32::try_from(*n) {
            Ok(n) => cx.i32(i64::from(n)),
            Err(_) => cx.i64(*n),
        },
        Extent::Param(i) => match scalars.get(*i) {
            Some(V::IntValue(v)) => *v,
            _ => return invalid(format!("grid extent: scalar {i} is no int parameter")),
        },
        Extent::CeilDiv(inner, by) => {
            if *by < 1 {
                return invalid("grid extent: division by a number below 1");
            }
            let inner = extent(cx, inner, scalars)?;
            let ty = inner.get_type();
            let up = cx.iadd(inner, ty.const_int(*by as u64 - 1, true));
            cx.sdiv(up, ty.const_int(*by as u64, true))
        }
        Extent::Map(op, args) => {
            let [a, b] = args.as_slice() else {
                return invalid("grid extent: operator without two operands");
            };
            let (a, b) = (extent(cx, a, scalars)?, extent(cx, b, scalars)?);
            let ty = if a.get_type().get_bit_width() < b.get_type().get_bit_width() {
                b.get_type()
            } else {
                a.get_type()
            };
            let (a, b) = (cx.resize(a, ty), cx.resize(b, ty));
            match op {
                MapOp::Add => cx.iadd(a, b),
                MapOp::Sub => cx.isub(a, b),
                MapOp::Mul => cx.imul(a, b),
                MapOp::IDiv => cx.sdiv(a, b),
                MapOp::IMod => cx.srem(a, b),
                MapOp::Min => cx.int_intrinsic("llvm.smin", &[a, b]),
                MapOp::Max => cx.int_intrinsic("llvm.smax", &[a, b]),
                _ => return unsupported(format!("{op:?} in a grid extent")),
            }
        }
    })
}
