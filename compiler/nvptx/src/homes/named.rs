//! Tiles in homes: the inline PTX that declares, sets, copies, computes and reads the named registers of [`crate::homes`].
//!
//! All of it is marked as having side effects, so that LLVM keeps its order; each tile takes one statement.

use crate::cx::{Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::homes::lines;
use crate::kernel::Kernel;
use crate::map::Shifted;
use crate::value::{Form, Place, Value, is_packed};
use einloom_cascade::expr::ReduceOp;
use einloom_tile::ir::{DotKind, Elem, Math, Op, ValueId};
use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use std::rc::Rc;

/// What one register of a home is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Real,
    /// An int, or a pair of 16-bit reals.
    Word,
    Condition,
}

impl Class {
    /// Type in PTX.
    fn name(self) -> &'static str {
        match self {
            Class::Real => "f32",
            Class::Word => "b32",
            Class::Condition => "pred",
        }
    }

    /// The instruction that copies a register.
    fn copy(self) -> &'static str {
        match self {
            Class::Real | Class::Word => "mov.b32",
            Class::Condition => "mov.pred",
        }
    }
}

/// The names of a home's registers.
pub(crate) type Names = Rc<[String]>;

/// An operand of lines: names of registers, of operands of the statement, or literals.
struct Source(Form, Names);

impl Source {
    /// The element that a broadcast to `place` reads.
    fn at(&self, place: Place) -> &str {
        &self.1[self.0.position(place)]
    }
}

impl<'c> Kernel<'_, 'c> {
    /// Declares the homes of the slice at the current position, which comes before all others in the text.
    pub(crate) fn declare_homes(&mut self) -> Res<()> {
        let mut text = String::new();
        self.names.clear();
        for (home, &value) in self.homes.all().iter().enumerate() {
            let (class, n) = self.home_shape(value)?;
            text += &format!(".reg .{} home{home}_<{n}>;\n", class.name());
            self.names.push((0..n).map(|i| format!("home{home}_{i}")).collect());
        }
        if !text.is_empty() {
            self.cx.asm(text.trim_end(), "", &[], Effect::Memory);
        }
        Ok(())
    }

    /// What the registers of a value with a home are, and how many.
    fn home_shape(&self, value: ValueId) -> Res<(Class, usize)> {
        let (form, elem) = (self.form(value)?, self.program.values[value.index()].elem);
        Ok(match elem {
            _ if is_packed(form, elem) => (Class::Word, form.len() / 2),
            Elem::F32 => (Class::Real, form.len()),
            Elem::Bool => (Class::Condition, form.len()),
            Elem::I32 => (Class::Word, form.len()),
            _ => return unsupported(format!("{elem:?} in named registers")),
        })
    }

    /// The names of a value's registers.
    pub(crate) fn home_names(&self, value: ValueId) -> Option<Names> {
        self.homes.home(value).map(|home| Rc::clone(&self.names[home]))
    }

    /// Makes `from` what the home of `to` holds, if `to` has one.
    pub(crate) fn flow(&self, from: ValueId, to: ValueId) -> Res<()> {
        let Some(to_names) = self.home_names(to) else {
            return Ok(());
        };
        let (class, _) = self.home_shape(to)?;
        let copy = class.copy();
        if let Some(bits) = self.homes.constant(from) {
            let number = literal(class, bits);
            self.each(&to_names, &[], |text, _, name| {
                put(text, &[copy, " ", name, ", ", &number])
            });
            return Ok(());
        }
        match self.home_names(from) {
            Some(_) if self.homes.home(from) == self.homes.home(to) => {}
            Some(names) => self.each(&to_names, &[], |text, i, name| {
                put(text, &[copy, " ", name, ", ", &names[i]]);
            }),
            None => self.fill_home(&to_names, class, &self.value(from)?),
        }
        Ok(())
    }

    fn fill_home(&self, names: &[String], class: Class, value: &Value<'c>) {
        let copy = class.copy();
        self.each(names, &value.lanes, |text, i, name| {
            put(text, &[copy, " ", name, ", $", &i.to_string()]);
        });
    }

    /// One statement with a line for each register.
    fn each(&self, names: &[String], args: &[V<'c>], line: impl Fn(&mut String, usize, &str)) {
        let mut text = String::with_capacity(48 * names.len());
        for (i, name) in names.iter().enumerate() {
            line(&mut text, i, name);
            text.push_str(";\n");
        }
        self.cx.asm(text.trim_end(), &constraints(args), args, Effect::Memory);
    }

    /// Binds a value with a home, with a snapshot if something reads one.
    pub(crate) fn settle(&mut self, id: ValueId) -> Res<()> {
        let lanes = if self.homes.is_read(id) {
            self.snapshots("", &[id])?
        } else {
            Vec::new()
        };
        self.bind_home(id, lanes)
    }

    /// Binds a value with a home; `lanes` are empty if nothing reads a snapshot.
    pub(crate) fn bind_home(&mut self, id: ValueId, lanes: Vec<V<'c>>) -> Res<()> {
        let (form, elem) = (self.form(id)?, self.program.values[id.index()].elem);
        self.define(id, Value { form, elem, lanes })
    }

    /// Emits `first` and reads the registers of values of one type.
    pub(crate) fn snapshots(&self, first: &str, ids: &[ValueId]) -> Res<Vec<V<'c>>> {
        let (mut text, mut n, mut class) = (first.to_owned(), 0, Class::Real);
        for &id in ids {
            class = self.home_shape(id)?.0;
            for name in self.home_names(id).iter().flat_map(|names| names.iter()) {
                let number = n.to_string();
                match class {
                    Class::Condition => put(&mut text, &["\nselp.b32 $", &number, ", 1, 0, ", name, ";"]),
                    Class::Real | Class::Word => put(&mut text, &["\nmov.b32 $", &number, ", ", name, ";"]),
                }
                n += 1;
            }
        }
        let (ty, kind): (BasicTypeEnum<'c>, _) = match class {
            Class::Real => (self.cx.f32t().into(), "=f"),
            Class::Word | Class::Condition => (self.cx.i32t().into(), "=r"),
        };
        let constraints = vec![kind; n].join(",");
        let text = text.trim_start();
        let lanes = self.cx.asm_values(ty, n, text, &constraints, &[], Effect::Convergent);
        Ok(match class {
            Class::Real | Class::Word => lanes,
            Class::Condition => lanes.into_iter().map(|lane| self.is_set(lane)).collect(),
        })
    }

    /// A word as a condition.
    fn is_set(&self, word: V<'c>) -> V<'c> {
        let zero = self.cx.i32(0);
        self.cx.icmp(IntPredicate::NE, word.into_int_value(), zero).into()
    }

    /// Emits the definition of a value with a home, other than by a dot that is waited for.
    pub(crate) fn define_home(&mut self, id: ValueId, op: &Op) -> Res<()> {
        let Some(names) = self.home_names(id) else {
            return invalid(format!("v{} has no home", id.0));
        };
        if let Op::Dot {
            kind: DotKind::Matrix, ..
        } = op
        {
            self.op(id, op)?;
            return self.settle(id);
        }
        if !self.homes.has_lines(id) {
            let value = self.op(id, op)?;
            self.fill_home(&names, self.home_shape(id)?.0, &value);
            return self.define(id, value);
        }
        let mut operands: Vec<V<'c>> = Vec::new();
        match op {
            Op::Math(math, args) => self.pointwise(id, &names, *math, args)?,
            Op::Cast(from) => {
                let Source(_, from_names) = self.operand(*from, &mut operands)?;
                let elem = self.program.values[id.index()].elem;
                if elem == Elem::F32 {
                    let elem = self.program.values[from.index()].elem;
                    let mut text = String::new();
                    for (pair, from) in names.chunks_exact(2).zip(from_names.iter()) {
                        lines::unpack(&mut text, elem, [&pair[0], &pair[1]], from);
                    }
                    let text = text.trim_end();
                    self.cx.asm(text, &constraints(&operands), &operands, Effect::Memory);
                } else {
                    self.each(&names, &operands, |text, i, name| {
                        lines::pack(text, elem, name, &from_names[2 * i], &from_names[2 * i + 1]);
                    });
                }
            }
            _ => return invalid(format!("v{} has no lines", id.0)),
        }
        self.settle(id)
    }

    fn pointwise(&self, id: ValueId, names: &[String], math: Math, args: &[ValueId]) -> Res<()> {
        let (form, elem) = (self.form(id)?, self.program.values[id.index()].elem);
        let elems: Vec<Elem> = args.iter().map(|a| self.program.values[a.index()].elem).collect();
        let Some(name) = lines::name(math, elem, &elems) else {
            return self.formula_lines(form, names, math, args);
        };
        if args.iter().all(|&a| self.homes.home(a).is_none()) {
            let values = args.iter().map(|&a| self.value(a)).collect::<Res<Vec<_>>>()?;
            if let Some(shifted) = self.shifted_comparison(form, math, args, &values) {
                self.compare_columns(form, names, &shifted);
                return Ok(());
            }
        }
        let mut operands: Vec<V<'c>> = Vec::new();
        let sources = args
            .iter()
            .map(|&a| self.operand(a, &mut operands))
            .collect::<Res<Vec<_>>>()?;
        // PTX takes the condition of a selection last.
        let first = usize::from(math == Math::Select);
        let order: Vec<&Source> = sources[first..].iter().chain(&sources[..first]).collect();
        self.each(names, &operands, |text, i, to| {
            let place = form.place(i);
            put(text, &[name, " ", to]);
            order.iter().for_each(|source| put(text, &[", ", source.at(place)]));
        });
        Ok(())
    }

    /// A function of several instructions, of one argument.
    fn formula_lines(&self, form: Form, names: &[String], math: Math, args: &[ValueId]) -> Res<()> {
        let (Math::Map(op), &[arg]) = (math, args) else {
            return unsupported(format!("{math:?} by lines"));
        };
        let Some(statement) = self.cx.formula_text(op, 1) else {
            return unsupported(format!("{math:?} by lines"));
        };
        let mut operands: Vec<V<'c>> = Vec::new();
        let source = self.operand(arg, &mut operands)?;
        let mut text = String::with_capacity((statement.len() + 32) * names.len());
        for (i, to) in names.iter().enumerate() {
            // A register even of a known number: some instructions of a function take it as an int.
            put(&mut text, &["mov.b32 ", to, ", ", source.at(form.place(i)), ";\n"]);
            lines::apply(&mut text, &statement, to, to);
            text.push('\n');
        }
        let text = text.trim_end();
        self.cx.asm(text, &constraints(&operands), &operands, Effect::Memory);
        Ok(())
    }

    fn compare_columns(&self, form: Form, names: &[String], shifted: &Shifted<'c>) {
        let limits: Vec<V<'c>> = shifted.limits.iter().map(|&l| l.into()).collect();
        let name = match (shifted.strict, shifted.column_left) {
            (true, true) => "gt",
            (true, false) => "lt",
            (false, true) => "ge",
            (false, false) => "le",
        };
        self.each(names, &limits, |text, i, to| {
            let place = form.place(i);
            let limit = shifted.rows.position(place).to_string();
            let column = (8 * place.group + place.parity).to_string();
            put(text, &["setp.", name, ".s32 ", to, ", $", &limit, ", ", &column]);
        });
    }

    /// What lines name an argument by; values of LLVM become `operands`.
    fn operand(&self, arg: ValueId, operands: &mut Vec<V<'c>>) -> Res<Source> {
        let form = self.form(arg)?;
        if let Some(names) = self.home_names(arg) {
            return Ok(Source(form, names));
        }
        if let (Some(bits), false) = (
            self.homes.constant(arg),
            is_packed(form, self.program.values[arg.index()].elem),
        ) {
            return Ok(Source(form, vec![literal(Class::Real, bits); form.len()].into()));
        }
        let value = self.value(arg)?;
        let mut names = Vec::with_capacity(value.lanes.len());
        for lane in value.lanes {
            names.push(match known(lane) {
                Some(literal) => literal,
                None => {
                    operands.push(lane);
                    format!("${}", operands.len() - 1)
                }
            });
        }
        Ok(Source(form, names.into()))
    }

    /// Reduces the columns that a lane holds of a tile in a home; nothing for tiles and reductions that have no lines.
    pub(crate) fn reduce_home(&self, op: ReduceOp, arg: ValueId) -> Res<Option<Value<'c>>> {
        let elem = self.program.values[arg.index()].elem;
        let (Some(names), Some(name)) = (self.home_names(arg), lines::combine(op, elem)) else {
            return Ok(None);
        };
        let form = self.form(arg)?;
        let Form::Tile(m, _) = form else {
            return invalid(format!("v{} should be a tile", arg.0));
        };
        let rows = Form::Row(m);
        let mut text = String::new();
        for row in 0..rows.len() {
            let terms: Vec<&String> = (0..names.len())
                .filter(|&i| rows.position(form.place(i)) == row)
                .map(|i| &names[i])
                .collect();
            let total = if elem == Elem::Bool {
                format!("any{row}")
            } else {
                format!("${row}")
            };
            let mut last = terms[0].clone();
            for &term in &terms[1..] {
                put(&mut text, &[name, " ", &total, ", ", &last, ", ", term, ";\n"]);
                last.clone_from(&total);
            }
        }
        let n = rows.len();
        let lanes = if elem == Elem::Bool {
            let words: String = (0..n).map(|i| format!("selp.b32 ${i}, 1, 0, any{i};\n")).collect();
            let text = format!("{{\n.reg .pred any<{n}>;\n{text}{words}}}");
            let constraints = vec!["=r"; n].join(",");
            let words = self
                .cx
                .asm_values(self.cx.i32t().into(), n, &text, &constraints, &[], Effect::Convergent);
            words.into_iter().map(|word| self.is_set(word)).collect()
        } else {
            let (text, constraints) = (text.trim_end(), vec!["=f"; n].join(","));
            self.cx
                .asm_values(self.cx.f32t().into(), n, text, &constraints, &[], Effect::Convergent)
        };
        Ok(Some(Value {
            form: rows,
            elem,
            lanes,
        }))
    }

    /// The pairs of a tile in a home as names, rounded to `to` if it is f32: lines to write before them, and the names. Each pair is given by its
    /// position in the order of pairs.
    pub(crate) fn home_pairs(&self, value: ValueId, to: Elem, at: &[usize]) -> Res<Option<(String, Vec<String>)>> {
        let Some(names) = self.home_names(value) else {
            return Ok(None);
        };
        let elem = self.program.values[value.index()].elem;
        if !lines::can_store(elem, to) {
            return Ok(None);
        }
        if elem == to {
            return Ok(Some((String::new(), at.iter().map(|&i| names[i].clone()).collect())));
        }
        let mut text = format!(".reg .b32 pair<{}>;\n", at.len());
        for (n, &i) in at.iter().enumerate() {
            lines::pack(&mut text, to, &format!("pair{n}"), &names[2 * i], &names[2 * i + 1]);
            text.push_str(";\n");
        }
        Ok(Some((text, (0..at.len()).map(|n| format!("pair{n}")).collect())))
    }
}

/// Appends all parts.
pub(crate) fn put(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

/// A register's content in PTX.
fn literal(class: Class, bits: u32) -> String {
    match class {
        Class::Real => format!("0f{bits:08X}"),
        Class::Word | Class::Condition => bits.to_string(),
    }
}

/// The literal of a known number.
fn known(lane: V<'_>) -> Option<String> {
    match lane {
        V::FloatValue(x) => x
            .get_constant()
            .map(|(x, _)| literal(Class::Real, (x as f32).to_bits())),
        V::IntValue(n) if n.get_type().get_bit_width() == 32 => n.get_sign_extended_constant().map(|n| n.to_string()),
        _ => None,
    }
}

/// Constraints of inputs.
fn constraints(args: &[V<'_>]) -> String {
    let kind = |arg: &V<'_>| match arg {
        V::FloatValue(_) => "f",
        V::IntValue(n) if n.get_type().get_bit_width() == 1 => "b",
        _ => "r",
    };
    args.iter().map(kind).collect::<Vec<_>>().join(",")
}
