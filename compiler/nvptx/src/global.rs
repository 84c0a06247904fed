//! Loads and stores of values in global memory.
//!
//! The offset of an element is the sum of one term for each index. Terms are added by shape (scalar, row, column, tile), so that a tile
//! costs one sum for each element and no multiplication. An index that runs along an axis with a compile-time step contributes one run-time
//! base and compile-time offsets. Two neighbouring columns of a lane move by one access where they are known to be adjacent and aligned.
//! Only reals do, in columns along the last dimension: of other tensors a lowered program demands no alignment beyond that of an element.
//! Masked accesses are predicated: an address outside the tensor is never dereferenced.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid};
use crate::kernel::Kernel;
use crate::quad::stores_home;
use crate::value::{Form, Place, Value};
use einloom_cascade::expr::DType;
use einloom_tile::ir::{Elem, TensorId, ValueId};
use inkwell::types::BasicTypeEnum;
use inkwell::values::{IntValue, PointerValue};

/// Addresses of a value's elements.
struct Addresses<'c> {
    form: Form,
    /// One pointer for each row of the lane (one, if the form has no rows).
    rows: Vec<PointerValue<'c>>,
    /// Run-time byte offset of each column (empty: none).
    cols: Vec<IntValue<'c>>,
    /// Run-time byte offsets of each element (empty: none).
    tile: Vec<IntValue<'c>>,
    /// Compile-time bytes between neighbouring columns, on top.
    col_step: i64,
    /// The two columns of a lane are adjacent in memory and aligned to their common size.
    pairs: bool,
    /// Bytes that the first column of every row is aligned to, where columns are adjacent (`pairs`).
    align: u64,
}

/// Bytes of an element of a tensor.
pub(crate) fn dtype_bytes(dtype: DType) -> u32 {
    match dtype {
        DType::I64 => 8,
        DType::F32 | DType::I32 => 4,
        DType::F16 | DType::BF16 | DType::I16 => 2,
        DType::I8 | DType::U8 | DType::Bool => 1,
    }
}

impl<'c> Kernel<'_, 'c> {
    /// Emits [`einloom_tile::ir::Op::Load`].
    pub(crate) fn load(
        &mut self,
        form: Form,
        elem: Elem,
        tensor: TensorId,
        index: &[ValueId],
        mask: Option<ValueId>,
    ) -> Res<Value<'c>> {
        let addresses = self.addresses(form, tensor, index)?;
        let declared = &self.program.tensors[tensor.index()];
        let mask = mask.map(|m| self.value(m)).transpose()?;
        let mut lanes = Vec::with_capacity(form.len());
        let pair_mask = mask
            .as_ref()
            .is_none_or(|m| matches!(m.form, Form::Scalar | Form::Row(_)));
        let pairs = addresses.pairs && pair_mask && matches!(declared.dtype, DType::F32 | DType::F16 | DType::BF16);
        let mut i = 0;
        while i < form.len() {
            let place = form.place(i);
            let (address, offset) = self.element_address(&addresses, place);
            let mask = mask.as_ref().map(|m| m.at(place).into_int_value());
            if pairs {
                lanes.extend(self.load_pair(declared.dtype, address, offset, mask, !declared.writable)?);
                i += 2;
            } else {
                lanes.push(self.load_element(declared.dtype, address, offset, mask, !declared.writable)?);
                i += 1;
            }
        }
        let loaded = Value {
            form,
            elem: widened(declared.dtype),
            lanes,
        };
        self.cast(&loaded, elem)
    }

    /// Emits [`einloom_tile::ir::Stmt::Store`].
    pub(crate) fn store(
        &mut self,
        tensor: TensorId,
        index: &[ValueId],
        value: ValueId,
        mask: Option<ValueId>,
    ) -> Res<()> {
        let by_name = self.homes.home(value).is_some() && stores_home(self.program, tensor, value, mask);
        let mut form = self.form(value)?;
        for &i in index {
            form = form.join(self.value(i)?.form)?;
        }
        let addresses = self.addresses(form, tensor, index)?;
        let dtype = self.program.tensors[tensor.index()].dtype;
        let mask = mask.map(|m| self.value(m)).transpose()?;
        let mut stored = self.value(value)?;
        if by_name && addresses.pairs && addresses.align >= 16 && stored.form == form {
            return self.store_home_quads(&addresses.rows, value, dtype, mask.as_ref());
        }
        if by_name {
            stored.lanes = self.snapshots("", &[value])?;
        }
        let value = self.storable(&stored, dtype)?;
        let once = self.writers(form);
        let half = dtype_bytes(dtype) == 2 && matches!(dtype, DType::F16 | DType::BF16);
        let pairs = addresses.pairs && (half || dtype == DType::F32);
        let by_row = mask
            .as_ref()
            .is_none_or(|m| matches!(m.form, Form::Scalar | Form::Row(_)));
        let whole = addresses.align >= 16 && by_row && value.form == form && Self::has_whole_quads(form);
        if pairs && half && whole {
            self.store_quads(&addresses.rows, &value, mask.as_ref());
            return Ok(());
        }
        let mut i = 0;
        while i < form.len() {
            let place = form.place(i);
            let (address, offset) = self.element_address(&addresses, place);
            let active = |place| {
                let mask = mask.as_ref().map(|m: &Value<'c>| m.at(place).into_int_value());
                self.both(mask, once)
            };
            if pairs {
                let other = Place { parity: 1, ..place };
                let same = mask
                    .as_ref()
                    .is_none_or(|m| matches!(m.form, Form::Scalar | Form::Row(_)));
                let lanes = [self.store_lane(&value, place), self.store_lane(&value, other)];
                self.store_pair(
                    dtype,
                    address,
                    offset,
                    lanes,
                    active(place),
                    if same { None } else { active(other) },
                );
                i += 2;
            } else {
                let lane = self.store_lane(&value, place);
                let lane = if value.is_packed() {
                    self.halves(dtype, [lane, lane])[place.parity]
                } else {
                    lane
                };
                self.store_element(dtype, address, offset, lane, active(place));
                i += 1;
            }
        }
        Ok(())
    }

    /// The lanes that write where several hold the same element (`None`: all do different ones).
    fn writers(&self, form: Form) -> Option<IntValue<'c>> {
        let cx = &self.cx;
        let zero = |v| cx.icmp(inkwell::IntPredicate::EQ, v, cx.i32(0));
        match form {
            Form::Scalar => Some(zero(self.lanes.thread)),
            Form::Row(_) => Some(zero(self.lanes.quad)),
            Form::Col(_) => {
                let cut = cx.i32(4);
                Some(cx.icmp(inkwell::IntPredicate::ULT, self.lanes.thread, cut))
            }
            Form::Tile(..) => None,
        }
    }

    fn both(&self, a: Option<IntValue<'c>>, b: Option<IntValue<'c>>) -> Option<IntValue<'c>> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.cx.iand(a, b)),
            (a, b) => a.or(b),
        }
    }

    /// The value rounded to the tensor's type, as registers that a store takes.
    fn storable(&self, value: &Value<'c>, dtype: DType) -> Res<Value<'c>> {
        match dtype {
            DType::F32 => self.cast(value, Elem::F32),
            DType::F16 => self.cast(value, Elem::F16),
            DType::BF16 => self.cast(value, Elem::BF16),
            DType::I64 => self.cast(value, Elem::I64),
            DType::I32 | DType::I16 | DType::I8 | DType::U8 => self.cast(value, Elem::I32),
            DType::Bool => {
                let value = self.cast(value, Elem::Bool)?;
                self.cast(&value, Elem::I32)
            }
        }
    }

    /// One element as f32, i16 bits, i32 or i64; or the whole pair if the value is packed.
    fn store_lane(&self, value: &Value<'c>, place: Place) -> V<'c> {
        if value.is_packed() {
            return value.pair(place.fragment, place.group, place.half);
        }
        match value.at(place) {
            V::FloatValue(v) if v.get_type() != self.cx.f32t() => self.cx.bitcast(v.into(), self.cx.i16t().into()),
            v => v,
        }
    }

    /// Sums the terms of all indices.
    fn addresses(&mut self, form: Form, tensor: TensorId, index: &[ValueId]) -> Res<Addresses<'c>> {
        let Some(declared) = self.program.tensors.get(tensor.index()) else {
            return invalid("an access to a tensor that is not declared");
        };
        if index.len() != declared.rank {
            return invalid(format!(
                "{} indices for tensor {} of rank {}",
                index.len(),
                declared.name,
                declared.rank
            ));
        }
        let bytes = i64::from(dtype_bytes(declared.dtype));
        let (groups, fragments) = match form {
            Form::Scalar => (0, 0),
            Form::Row(m) => (0, m),
            Form::Col(n) => (n, 0),
            Form::Tile(m, n) => (n, m),
        };
        let cx = &self.cx;
        let arg = &self.tensors[tensor.index()];
        let mut scalar = cx.i64(0);
        let mut rows: Vec<IntValue<'c>> = vec![cx.i64(0); (2 * fragments).max(1)];
        let mut cols: Vec<IntValue<'c>> = Vec::new();
        let mut tile: Vec<IntValue<'c>> = Vec::new();
        let mut col_step = 0;
        let mut pairs = form != Form::Scalar && !matches!(form, Form::Row(_));
        let mut align = u64::from(declared.align);
        for (d, &id) in index.iter().enumerate() {
            let value = self.value(id)?;
            let fact = self.facts.get(id);
            let last = declared.contiguous && d + 1 == declared.rank;
            let stride = cx.imul(arg.strides[d], cx.i64(bytes));
            // By a known stride, one instruction: LLVM would extend the index and then shift it.
            let known = stride.get_sign_extended_constant().and_then(|n| i32::try_from(n).ok());
            let term = |v: V<'c>| match (v.into_int_value(), known) {
                (v, Some(n)) if v.get_type() == cx.i32t() && !v.is_const() => cx.mul_wide(v, n),
                (v, _) => cx.imul(cx.resize(v, cx.i64t()), stride),
            };
            match (value.form, fact.step) {
                (Form::Scalar, _) => scalar = cx.iadd(scalar, term(value.lanes[0])),
                (Form::Row(_), Some(step)) => {
                    scalar = cx.iadd(scalar, term(value.lanes[0]));
                    for (i, row) in rows.iter_mut().enumerate().skip(1) {
                        let place = Form::Row(fragments).place(i);
                        let distance = step * (16 * place.fragment + 8 * place.half) as i64;
                        *row = cx.iadd(*row, cx.imul(cx.i64(distance), stride));
                    }
                }
                (Form::Row(_), None) => {
                    for (row, &v) in rows.iter_mut().zip(&value.lanes) {
                        *row = cx.iadd(*row, term(v));
                    }
                }
                (Form::Col(_), Some(step)) if last => {
                    scalar = cx.iadd(scalar, term(value.lanes[0]));
                    col_step += step * bytes;
                    let wide = 2 * bytes as u64;
                    pairs &= step == 1 && fact.multiple >= 2 && u64::from(declared.align) >= wide;
                    align = align.min(fact.multiple.saturating_mul(bytes as u64));
                }
                (Form::Col(_), _) => {
                    pairs = false;
                    cols.resize(2 * groups, cx.i64(0));
                    for (col, &v) in cols.iter_mut().zip(&value.lanes) {
                        *col = cx.iadd(*col, term(v));
                    }
                }
                (Form::Tile(..), _) => {
                    pairs = false;
                    tile.resize(form.len(), cx.i64(0));
                    for (sum, &v) in tile.iter_mut().zip(&value.lanes) {
                        *sum = cx.iadd(*sum, term(v));
                    }
                }
            }
        }
        let base = cx.offset(arg.base, scalar);
        let rows = rows.into_iter().map(|row| cx.offset(base, row)).collect();
        Ok(Addresses {
            form,
            rows,
            cols,
            tile,
            col_step,
            pairs: pairs && col_step == bytes,
            align,
        })
    }

    /// Pointer and compile-time byte offset of an element.
    fn element_address(&self, addresses: &Addresses<'c>, place: Place) -> (PointerValue<'c>, i64) {
        let cx = &self.cx;
        let mut pointer = match addresses.form {
            Form::Row(_) | Form::Tile(..) => addresses.rows[2 * place.fragment + place.half],
            _ => addresses.rows[0],
        };
        if let Some(&col) = addresses.cols.get(2 * place.group + place.parity) {
            pointer = cx.offset(pointer, col);
        }
        if let Some(&offset) = addresses.tile.get(addresses.form.position(place)) {
            pointer = cx.offset(pointer, offset);
        }
        (pointer, addresses.col_step * (8 * place.group + place.parity) as i64)
    }

    /// Loads one element, widened; 0 where the mask is false.
    pub(crate) fn load_element(
        &self,
        dtype: DType,
        address: PointerValue<'c>,
        offset: i64,
        mask: Option<IntValue<'c>>,
        constant: bool,
    ) -> Res<V<'c>> {
        let cx = &self.cx;
        let (ty, class, name): (BasicTypeEnum<'c>, _, _) = match dtype {
            DType::F32 => (cx.f32t().into(), "f", "f32"),
            DType::I32 => (cx.i32t().into(), "r", "b32"),
            DType::I64 => (cx.i64t().into(), "l", "b64"),
            DType::F16 | DType::BF16 | DType::I16 => (cx.i16t().into(), "h", "b16"),
            DType::I8 => (cx.i16t().into(), "h", "s8"),
            DType::U8 | DType::Bool => (cx.i16t().into(), "h", "u8"),
        };
        let raw = self.load_raw(ty, class, name, dtype_bytes(dtype), (address, offset), mask, constant);
        Ok(match dtype {
            DType::F32 | DType::I32 | DType::I64 => raw,
            DType::F16 | DType::BF16 => {
                let half = if dtype == DType::F16 {
                    cx.context.f16_type()
                } else {
                    cx.context.bf16_type()
                };
                cx.fcast(cx.bitcast(raw, half.into()).into_float_value(), cx.f32t())
                    .into()
            }
            DType::I16 | DType::I8 | DType::U8 => cx.resize(raw.into_int_value(), cx.i32t()).into(),
            DType::Bool => cx
                .icmp(inkwell::IntPredicate::NE, raw.into_int_value(), cx.i16t().const_zero())
                .into(),
        })
    }

    /// Loads two neighbouring reals.
    fn load_pair(
        &self,
        dtype: DType,
        address: PointerValue<'c>,
        offset: i64,
        mask: Option<IntValue<'c>>,
        constant: bool,
    ) -> Res<[V<'c>; 2]> {
        let cx = &self.cx;
        if dtype == DType::F32 {
            let (cache, effect) = cache(constant);
            let guard = if mask.is_some() { "@$3 " } else { "" };
            let text =
                format!("mov.b32 $0, 0; mov.b32 $1, 0; {guard}ld.global{cache}.v2.f32 {{$0, $1}}, [$2+{offset}];");
            let mut args: Vec<V<'c>> = vec![address.into()];
            args.extend(mask.map(V::from));
            let constraints = if mask.is_some() { "=&f,=&f,l,b" } else { "=&f,=&f,l" };
            let res = cx.asm_values(cx.f32t().into(), 2, &text, constraints, &args, effect);
            return Ok([res[0], res[1]]);
        }
        let raw = self.load_raw(cx.i32t().into(), "r", "b32", 4, (address, offset), mask, constant);
        let elem = if dtype == DType::F16 { Elem::F16 } else { Elem::BF16 };
        let pair = Value {
            form: Form::Tile(1, 1),
            elem,
            lanes: vec![raw],
        };
        let wide = self.cast(&pair, Elem::F32)?;
        Ok([wide.lanes[0], wide.lanes[1]])
    }

    #[allow(clippy::too_many_arguments)]
    fn load_raw(
        &self,
        ty: BasicTypeEnum<'c>,
        class: &str,
        name: &str,
        bytes: u32,
        (address, offset): (PointerValue<'c>, i64),
        mask: Option<IntValue<'c>>,
        constant: bool,
    ) -> V<'c> {
        let cx = &self.cx;
        let Some(mask) = mask else {
            let narrow = bytes == 1;
            let address = cx.offset(address, cx.i64(offset));
            if !narrow {
                return cx.load(ty, address, bytes, constant);
            }
            let raw = cx
                .load(cx.context.i8_type().into(), address, 1, constant)
                .into_int_value();
            let wide = if name == "s8" {
                cx.resize(raw, cx.i16t())
            } else {
                cx.zext(raw, cx.i16t())
            };
            return wide.into();
        };
        let (cache, effect) = cache(constant);
        let width = match class {
            "l" => "b64",
            "h" => "b16",
            _ => "b32",
        };
        let text = format!("mov.{width} $0, 0; @$2 ld.global{cache}.{name} $0, [$1+{offset}];");
        cx.asm_value(
            ty,
            &text,
            &format!("=&{class},l,b"),
            &[address.into(), mask.into()],
            effect,
        )
    }

    fn store_element(
        &self,
        dtype: DType,
        address: PointerValue<'c>,
        offset: i64,
        value: V<'c>,
        mask: Option<IntValue<'c>>,
    ) {
        let cx = &self.cx;
        let (class, name) = match dtype {
            DType::F32 => ("f", "f32"),
            DType::I64 => ("l", "b64"),
            DType::I32 => ("r", "b32"),
            DType::F16 | DType::BF16 => ("h", "b16"),
            DType::I16 => ("h", "b16"),
            DType::I8 | DType::U8 | DType::Bool => ("h", "b8"),
        };
        let value = match (class, value) {
            ("h", V::IntValue(v)) => cx.resize(v, cx.i16t()).into(),
            (_, v) => v,
        };
        let mut args: Vec<V<'c>> = vec![address.into(), value];
        args.extend(mask.map(V::from));
        let (guard, predicate) = if mask.is_some() { ("@$2 ", ",b") } else { ("", "") };
        let text = format!("{guard}st.global.{name} [$0+{offset}], $1;");
        cx.asm(&text, &format!("l,{class}{predicate}"), &args, Effect::Memory);
    }

    /// Stores two neighbouring reals; `second` is the mask of the second, if it differs from the first's.
    fn store_pair(
        &self,
        dtype: DType,
        address: PointerValue<'c>,
        offset: i64,
        lanes: [V<'c>; 2],
        first: Option<IntValue<'c>>,
        second: Option<IntValue<'c>>,
    ) {
        let cx = &self.cx;
        let size = i64::from(dtype_bytes(dtype));
        let whole = self.both(first, second);
        let mut args: Vec<V<'c>> = vec![address.into()];
        let (text, class) = if dtype == DType::F32 {
            args.extend(lanes);
            (format!("st.global.v2.f32 [$0+{offset}], {{$1, $2}};"), "l,f,f")
        } else {
            args.push(self.pair_bits(lanes));
            (format!("st.global.b32 [$0+{offset}], $1;"), "l,r")
        };
        let n = args.len();
        args.extend(whole.map(V::from));
        let (guard, predicate) = if whole.is_some() {
            (format!("@${n} "), ",b")
        } else {
            (String::new(), "")
        };
        cx.asm(
            &format!("{guard}{text}"),
            &format!("{class}{predicate}"),
            &args,
            Effect::Memory,
        );
        if let (Some(first), Some(second)) = (first, second) {
            let only_first = cx.iand(first, cx.not(second));
            let only_second = cx.iand(second, cx.not(first));
            let [low, high] = self.halves(dtype, lanes);
            self.store_element(dtype, address, offset, low, Some(only_first));
            self.store_element(dtype, address, offset + size, high, Some(only_second));
        }
    }

    /// Two lanes of a store as one word; packed values come as the word already.
    fn pair_bits(&self, [low, high]: [V<'c>; 2]) -> V<'c> {
        let cx = &self.cx;
        let word = low.into_int_value();
        if word.get_type().get_bit_width() == 32 {
            return word.into();
        }
        let high = cx.shl(cx.zext(high.into_int_value(), cx.i32t()), cx.i32(16));
        cx.ior(cx.zext(word, cx.i32t()), high).into()
    }

    fn halves(&self, dtype: DType, [low, high]: [V<'c>; 2]) -> [V<'c>; 2] {
        let cx = &self.cx;
        match low {
            V::IntValue(word) if dtype != DType::F32 && word.get_type().get_bit_width() == 32 => [
                cx.resize(word, cx.i16t()).into(),
                cx.resize(cx.lshr(word, cx.i32(16)), cx.i16t()).into(),
            ],
            _ => [low, high],
        }
    }
}

/// Register type of a loaded element.
fn widened(dtype: DType) -> Elem {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Elem::F32,
        DType::I64 => Elem::I64,
        DType::I32 | DType::I16 | DType::I8 | DType::U8 => Elem::I32,
        DType::Bool => Elem::Bool,
    }
}

/// Cache operator and effect of a load.
fn cache(constant: bool) -> (&'static str, Effect) {
    if constant {
        (".nc", Effect::Pure)
    } else {
        ("", Effect::Memory)
    }
}
