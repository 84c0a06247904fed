//! A thin layer over inkwell's builder: scalar arithmetic that cannot fail on well-typed operands, and the inline PTX glue.
//!
//! Floating point instructions carry `contract` and nothing else: infinities and NaN keep their meaning. Where an exact rounding of a
//! product or a sum matters (argument reductions), the `_exact` forms carry no flag.

use einloom_cascade::expr::MapOp;
use inkwell::attributes::AttributeLoc;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::types::{BasicMetadataTypeEnum, BasicTypeEnum, FloatType, IntType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, CallSiteValue, FastMathFlags, FloatValue, FunctionValue,
    InstructionValue, IntValue, PointerValue, StructValue, ValueKind,
};
use inkwell::{FloatPredicate, IntPredicate};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A scalar SSA value of one lane.
pub(crate) type V<'c> = BasicValueEnum<'c>;

/// Why a builder call cannot fail.
const BUILT: &str = "the builder should stand in a block and its operands should agree in type";

/// LLVM context, module and builder of one kernel.
pub(crate) struct Cx<'c> {
    pub(crate) context: &'c Context,
    pub(crate) module: Rc<Module<'c>>,
    pub(crate) builder: Builder<'c>,
    pub(crate) function: FunctionValue<'c>,
    /// Declarations of intrinsics with their type parameters; LLVM would look them up by name at every call.
    pub(crate) intrinsics: RefCell<Vec<(String, Vec<BasicTypeEnum<'c>>, FunctionValue<'c>)>>,
    /// PTX of the functions that were used (`math::text`).
    pub(crate) formulas: RefCell<BTreeMap<MapOp, Rc<str>>>,
}

/// How an inline PTX statement behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A function of its operands.
    Pure,
    /// A function of its operands in all lanes of the warp, which must execute it together.
    Collective,
    /// Reads or writes memory, or orders what does.
    Memory,
    /// As `Memory`, and all lanes must execute it together.
    Convergent,
}

macro_rules! int_binary {
    ($($name:ident => $method:ident),* $(,)?) => {$(
        pub(crate) fn $name(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
            self.builder.$method(a, b, "").expect(BUILT)
        }
    )*};
}

macro_rules! float_binary {
    ($($name:ident, $exact:ident => $method:ident),* $(,)?) => {$(
        pub(crate) fn $name(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> FloatValue<'c> {
            let res = self.$exact(a, b);
            if let Some(instruction) = res.as_instruction_value() {
                instruction.set_fast_math_flags(FastMathFlags::AllowContract).expect(BUILT);
            }
            res
        }

        pub(crate) fn $exact(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> FloatValue<'c> {
            self.builder.$method(a, b, "").expect(BUILT)
        }
    )*};
}

impl<'c> Cx<'c> {
    pub(crate) fn i1t(&self) -> IntType<'c> {
        self.context.bool_type()
    }

    pub(crate) fn i16t(&self) -> IntType<'c> {
        self.context.i16_type()
    }

    pub(crate) fn i32t(&self) -> IntType<'c> {
        self.context.i32_type()
    }

    pub(crate) fn i64t(&self) -> IntType<'c> {
        self.context.i64_type()
    }

    pub(crate) fn f32t(&self) -> FloatType<'c> {
        self.context.f32_type()
    }

    pub(crate) fn f64t(&self) -> FloatType<'c> {
        self.context.f64_type()
    }

    /// The low 32 bits of `n`.
    pub(crate) fn i32(&self, n: i64) -> IntValue<'c> {
        self.i32t().const_int(i64::from(n as i32) as u64, true)
    }

    pub(crate) fn i64(&self, n: i64) -> IntValue<'c> {
        self.i64t().const_int(n as u64, true)
    }

    pub(crate) fn f32(&self, x: f32) -> FloatValue<'c> {
        self.f32t().const_float(f64::from(x))
    }

    pub(crate) fn f64(&self, x: f64) -> FloatValue<'c> {
        self.f64t().const_float(x)
    }

    int_binary! {
        iadd => build_int_add, isub => build_int_sub, imul => build_int_mul, iand => build_and, ior => build_or, ixor => build_xor,
        shl => build_left_shift, sdiv => build_int_signed_div, udiv => build_int_unsigned_div,
    }

    float_binary! {
        fadd, fadd_exact => build_float_add, fsub, fsub_exact => build_float_sub, fmul, fmul_exact => build_float_mul,
    }

    /// The remainder of [`Cx::sdiv`]. By the quotient, which is mostly wanted as well: a division is the dearest thing that ints do.
    pub(crate) fn srem(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.isub(a, self.imul(self.sdiv(a, b), b))
    }

    /// The remainder of [`Cx::udiv`], likewise.
    pub(crate) fn urem(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.isub(a, self.imul(self.udiv(a, b), b))
    }

    /// `a * by` in i64 for an i32 `a`.
    pub(crate) fn mul_wide(&self, a: IntValue<'c>, by: i32) -> IntValue<'c> {
        let text = format!("mul.wide.s32 $0, $1, {by};");
        self.asm_value(self.i64t().into(), &text, "=l,r", &[a.into()], Effect::Pure)
            .into_int_value()
    }

    pub(crate) fn lshr(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_right_shift(a, b, false, "").expect(BUILT)
    }

    pub(crate) fn ashr(&self, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_right_shift(a, b, true, "").expect(BUILT)
    }

    /// Correctly rounded.
    pub(crate) fn fdiv(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> FloatValue<'c> {
        self.builder.build_float_div(a, b, "").expect(BUILT)
    }

    pub(crate) fn fneg(&self, a: FloatValue<'c>) -> FloatValue<'c> {
        self.builder.build_float_neg(a, "").expect(BUILT)
    }

    pub(crate) fn not(&self, a: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_not(a, "").expect(BUILT)
    }

    pub(crate) fn icmp(&self, predicate: IntPredicate, a: IntValue<'c>, b: IntValue<'c>) -> IntValue<'c> {
        self.builder.build_int_compare(predicate, a, b, "").expect(BUILT)
    }

    pub(crate) fn fcmp(&self, predicate: FloatPredicate, a: FloatValue<'c>, b: FloatValue<'c>) -> IntValue<'c> {
        self.builder.build_float_compare(predicate, a, b, "").expect(BUILT)
    }

    pub(crate) fn select(&self, cond: IntValue<'c>, yes: V<'c>, no: V<'c>) -> V<'c> {
        self.builder.build_select(cond, yes, no, "").expect(BUILT)
    }

    pub(crate) fn iselect(&self, cond: IntValue<'c>, yes: IntValue<'c>, no: IntValue<'c>) -> IntValue<'c> {
        self.select(cond, yes.into(), no.into()).into_int_value()
    }

    pub(crate) fn fselect(&self, cond: IntValue<'c>, yes: FloatValue<'c>, no: FloatValue<'c>) -> FloatValue<'c> {
        self.select(cond, yes.into(), no.into()).into_float_value()
    }

    /// Sign extension or truncation to `ty`; nothing if the width is right.
    pub(crate) fn resize(&self, a: IntValue<'c>, ty: IntType<'c>) -> IntValue<'c> {
        self.builder.build_int_cast_sign_flag(a, ty, true, "").expect(BUILT)
    }

    pub(crate) fn zext(&self, a: IntValue<'c>, ty: IntType<'c>) -> IntValue<'c> {
        self.builder.build_int_z_extend(a, ty, "").expect(BUILT)
    }

    /// A bool or word as a word.
    pub(crate) fn zext_to_word(&self, a: IntValue<'c>) -> IntValue<'c> {
        if a.get_type().get_bit_width() < 32 {
            self.zext(a, self.i32t())
        } else {
            a
        }
    }

    pub(crate) fn bitcast(&self, a: V<'c>, ty: BasicTypeEnum<'c>) -> V<'c> {
        self.builder.build_bit_cast(a, ty, "").expect(BUILT)
    }

    pub(crate) fn bits(&self, a: FloatValue<'c>) -> IntValue<'c> {
        self.bitcast(a.into(), self.i32t().into()).into_int_value()
    }

    pub(crate) fn from_bits(&self, a: IntValue<'c>) -> FloatValue<'c> {
        self.bitcast(a.into(), self.f32t().into()).into_float_value()
    }

    pub(crate) fn to_real(&self, a: IntValue<'c>, ty: FloatType<'c>) -> FloatValue<'c> {
        self.builder.build_signed_int_to_float(a, ty, "").expect(BUILT)
    }

    /// Rounds to a narrower real type, or widens.
    pub(crate) fn fcast(&self, a: FloatValue<'c>, ty: FloatType<'c>) -> FloatValue<'c> {
        self.builder.build_float_cast(a, ty, "").expect(BUILT)
    }

    /// Two reals of one type as a vector.
    pub(crate) fn pair(&self, first: FloatValue<'c>, second: FloatValue<'c>) -> V<'c> {
        let mut res = first.get_type().vec_type(2).get_poison();
        for (i, lane) in [first, second].into_iter().enumerate() {
            let at = self.i32(i as i64);
            res = self.builder.build_insert_element(res, lane, at, "").expect(BUILT);
        }
        res.into()
    }

    /// Calls an LLVM intrinsic; `overloads` are its type parameters.
    pub(crate) fn intrinsic(&self, name: &str, overloads: &[BasicTypeEnum<'c>], args: &[V<'c>]) -> V<'c> {
        match self.intrinsic_call(name, overloads, args).try_as_basic_value() {
            ValueKind::Basic(value) => value,
            ValueKind::Instruction(_) => unreachable!("{name} should have a result"),
        }
    }

    fn intrinsic_call(&self, name: &str, overloads: &[BasicTypeEnum<'c>], args: &[V<'c>]) -> CallSiteValue<'c> {
        let callee = self.declaration(name, overloads);
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|&a| a.into()).collect();
        self.builder.build_direct_call(callee, &args, "").expect(BUILT)
    }

    fn declaration(&self, name: &str, overloads: &[BasicTypeEnum<'c>]) -> FunctionValue<'c> {
        let mut known = self.intrinsics.borrow_mut();
        if let Some((_, _, found)) = known.iter().find(|(n, o, _)| n == name && o == overloads) {
            return *found;
        }
        let found = Intrinsic::find(name)
            .expect("LLVM 22 should know every intrinsic that is used here")
            .get_declaration(&self.module, overloads)
            .expect("the overloads of an intrinsic should be complete");
        known.push((name.to_owned(), overloads.to_vec(), found));
        found
    }

    /// A float intrinsic on f32 or f64 operands of one type.
    pub(crate) fn float_intrinsic(&self, name: &str, args: &[FloatValue<'c>]) -> FloatValue<'c> {
        let ty = args
            .first()
            .expect("a float intrinsic should have an operand")
            .get_type();
        let args: Vec<V<'c>> = args.iter().map(|&a| a.into()).collect();
        self.intrinsic(name, &[ty.into()], &args).into_float_value()
    }

    /// An int intrinsic on operands of one type.
    pub(crate) fn int_intrinsic(&self, name: &str, args: &[IntValue<'c>]) -> IntValue<'c> {
        let ty = args
            .first()
            .expect("an int intrinsic should have an operand")
            .get_type();
        let args: Vec<V<'c>> = args.iter().map(|&a| a.into()).collect();
        self.intrinsic(name, &[ty.into()], &args).into_int_value()
    }

    /// `a * b + c`, rounded once.
    pub(crate) fn fma(&self, a: FloatValue<'c>, b: FloatValue<'c>, c: FloatValue<'c>) -> FloatValue<'c> {
        self.float_intrinsic("llvm.fma", &[a, b, c])
    }

    /// Maximum; NaN if one of them is NaN.
    pub(crate) fn fmax(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> FloatValue<'c> {
        self.float_intrinsic("llvm.maximum", &[a, b])
    }

    /// Minimum; NaN if one of them is NaN.
    pub(crate) fn fmin(&self, a: FloatValue<'c>, b: FloatValue<'c>) -> FloatValue<'c> {
        self.float_intrinsic("llvm.minimum", &[a, b])
    }

    /// A special register, such as `tid.x`.
    pub(crate) fn special_register(&self, name: &str) -> IntValue<'c> {
        self.intrinsic(&format!("llvm.nvvm.read.ptx.sreg.{name}"), &[], &[])
            .into_int_value()
    }

    /// Inline PTX. `constraints` as in LLVM, outputs first; several results come back as a struct.
    fn asm_call(
        &self,
        result: Option<BasicTypeEnum<'c>>,
        text: &str,
        constraints: &str,
        args: &[V<'c>],
        effect: Effect,
    ) -> CallSiteValue<'c> {
        let params: Vec<BasicMetadataTypeEnum<'c>> = args.iter().map(|a| a.get_type().into()).collect();
        let ty = match result {
            Some(BasicTypeEnum::StructType(ty)) => ty.fn_type(&params, false),
            Some(BasicTypeEnum::IntType(ty)) => ty.fn_type(&params, false),
            Some(BasicTypeEnum::FloatType(ty)) => ty.fn_type(&params, false),
            Some(_) => unreachable!("inline PTX should give ints, floats or structs of them"),
            None => self.context.void_type().fn_type(&params, false),
        };
        let pure = matches!(effect, Effect::Pure | Effect::Collective);
        let constraints = match (pure, constraints.is_empty()) {
            (true, _) => constraints.to_owned(),
            (false, true) => "~{memory}".to_owned(),
            (false, false) => format!("{constraints},~{{memory}}"),
        };
        let asm = self
            .context
            .create_inline_asm(ty, text.to_owned(), constraints, !pure, false, None, false);
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|&a| a.into()).collect();
        let call = self.builder.build_indirect_call(ty, asm, &args, "").expect(BUILT);
        if matches!(effect, Effect::Collective | Effect::Convergent) {
            let kind = inkwell::attributes::Attribute::get_named_enum_kind_id("convergent");
            call.add_attribute(AttributeLoc::Function, self.context.create_enum_attribute(kind, 0));
        }
        call
    }

    /// Inline PTX without a result.
    pub(crate) fn asm(&self, text: &str, constraints: &str, args: &[V<'c>], effect: Effect) {
        self.asm_call(None, text, constraints, args, effect);
    }

    /// Inline PTX with one result.
    pub(crate) fn asm_value(
        &self,
        ty: BasicTypeEnum<'c>,
        text: &str,
        constraints: &str,
        args: &[V<'c>],
        effect: Effect,
    ) -> V<'c> {
        match self
            .asm_call(Some(ty), text, constraints, args, effect)
            .try_as_basic_value()
        {
            ValueKind::Basic(value) => value,
            ValueKind::Instruction(_) => unreachable!("inline PTX with a result type should have a result"),
        }
    }

    /// Inline PTX with `n` results of one type.
    pub(crate) fn asm_values(
        &self,
        ty: BasicTypeEnum<'c>,
        n: usize,
        text: &str,
        constraints: &str,
        args: &[V<'c>],
        effect: Effect,
    ) -> Vec<V<'c>> {
        if n == 1 {
            return vec![self.asm_value(ty, text, constraints, args, effect)];
        }
        let fields = vec![ty; n];
        let all = self.context.struct_type(&fields, false);
        let res = self
            .asm_value(all.into(), text, constraints, args, effect)
            .into_struct_value();
        self.fields(res)
    }

    /// The fields of a struct value.
    pub(crate) fn fields(&self, value: StructValue<'c>) -> Vec<V<'c>> {
        (0..value.get_type().count_fields())
            .map(|i| self.builder.build_extract_value(value, i, "").expect(BUILT))
            .collect()
    }

    /// `base + bytes` in global memory.
    #[allow(unsafe_code)]
    pub(crate) fn offset(&self, base: PointerValue<'c>, bytes: IntValue<'c>) -> PointerValue<'c> {
        // SAFETY: the element type is i8 and the one index an int, so the instruction is well formed; not marked inbounds.
        unsafe { self.builder.build_gep(self.context.i8_type(), base, &[bytes], "") }.expect(BUILT)
    }

    /// A load from global memory that nothing writes while the kernel runs, if `constant`.
    pub(crate) fn load(&self, ty: BasicTypeEnum<'c>, address: PointerValue<'c>, align: u32, constant: bool) -> V<'c> {
        let res = self.builder.build_load(ty, address, "").expect(BUILT);
        let instruction: InstructionValue<'c> = res.as_instruction_value().expect("a load should be an instruction");
        instruction.set_alignment(align).expect(BUILT);
        if constant {
            let kind = self.context.get_kind_id("invariant.load");
            instruction
                .set_metadata(self.context.metadata_node(&[]), kind)
                .expect(BUILT);
        }
        res
    }
}
