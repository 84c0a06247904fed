//! Formulas as inline PTX: a function of forty instructions is one statement for LLVM, which would spend ten microseconds on each of them.
//!
//! The text is what LLVM would select: every operation rounded to nearest, denormal numbers kept, NaN from minima and maxima.
//! Registers are of the bits of an f32 or int (`%xr`), of an f64 (`%xd`), or predicates (`%xp`), in the scope of the statement.

use super::arith::Arith;
use super::functions;
use einloom_cascade::expr::MapOp;
use std::cell::{Cell, RefCell};
use std::fmt::Write;

/// The statement for a function of `arguments` f32, for the constraints `=f,f..`; `None` for an operator without a formula.
pub(crate) fn function(op: MapOp, arguments: usize) -> Option<String> {
    let text = Text::default();
    let args: Vec<Word> = (1..=arguments as u32).map(Word::Argument).collect();
    let res = functions::formula(&text, op, &args)?;
    let mut all = "{\n\t".to_owned();
    for (ty, name, count) in [
        ("b32", "xr", &text.words),
        ("b64", "xd", &text.wides),
        ("pred", "xp", &text.predicates),
    ] {
        if count.get() > 0 {
            write!(all, ".reg .{ty} %{name}<{}>;\n\t", count.get()).expect("a string can be written to");
        }
    }
    all += &text.body.borrow();
    write!(all, "mov.b32 $0, {};\n\t}}", res.real()).expect("a string can be written to");
    Some(all)
}

/// The statement so far, and how many registers it has.
#[derive(Default)]
struct Text {
    body: RefCell<String>,
    words: Cell<u32>,
    wides: Cell<u32>,
    predicates: Cell<u32>,
}

/// An f32 or i32.
#[derive(Clone, Copy)]
enum Word {
    Argument(u32),
    Register(u32),
    Constant(u32),
}

/// An f64.
#[derive(Clone, Copy)]
enum Wide {
    Register(u32),
    Constant(f64),
}

/// A bool.
#[derive(Clone, Copy)]
struct Predicate(u32);

impl Word {
    /// As an operand of an instruction on f32.
    fn real(self) -> String {
        match self {
            Word::Constant(bits) => format!("0f{bits:08X}"),
            other => other.int(),
        }
    }

    /// As an operand of an instruction on i32.
    fn int(self) -> String {
        match self {
            Word::Argument(i) => format!("${i}"),
            Word::Register(i) => format!("%xr{i}"),
            Word::Constant(bits) => (bits as i32).to_string(),
        }
    }
}

impl Wide {
    fn name(self) -> String {
        match self {
            Wide::Register(i) => format!("%xd{i}"),
            Wide::Constant(x) => format!("0d{:016X}", x.to_bits()),
        }
    }
}

impl Text {
    fn line(&self, op: &str, to: &str, args: &[String]) {
        let mut body = self.body.borrow_mut();
        write!(body, "{op} {to}, {};\n\t", args.join(", ")).expect("a string can be written to");
    }

    fn word(&self, op: &str, args: &[String]) -> Word {
        let res = Word::Register(self.words.replace(self.words.get() + 1));
        self.line(op, &res.int(), args);
        res
    }

    fn reals(&self, op: &str, args: &[Word]) -> Word {
        self.word(op, &args.iter().map(|a| a.real()).collect::<Vec<_>>())
    }

    fn ints(&self, op: &str, args: &[Word]) -> Word {
        self.word(op, &args.iter().map(|a| a.int()).collect::<Vec<_>>())
    }

    fn wides(&self, op: &str, args: &[String]) -> Wide {
        let res = Wide::Register(self.wides.replace(self.wides.get() + 1));
        self.line(op, &res.name(), args);
        res
    }

    fn predicate(&self, op: &str, args: &[String]) -> Predicate {
        let res = Predicate(self.predicates.replace(self.predicates.get() + 1));
        self.line(op, &res.name(), args);
        res
    }
}

impl Predicate {
    fn name(self) -> String {
        format!("%xp{}", self.0)
    }
}

impl Arith for Text {
    type F = Word;
    type D = Wide;
    type I = Word;
    type B = Predicate;

    fn num(&self, x: f32) -> Word {
        Word::Constant(x.to_bits())
    }
    fn add(&self, a: Word, b: Word) -> Word {
        self.reals("add.rn.f32", &[a, b])
    }
    fn sub(&self, a: Word, b: Word) -> Word {
        self.reals("sub.rn.f32", &[a, b])
    }
    fn mul(&self, a: Word, b: Word) -> Word {
        self.reals("mul.rn.f32", &[a, b])
    }
    fn div(&self, a: Word, b: Word) -> Word {
        self.reals("div.rn.f32", &[a, b])
    }
    fn fma(&self, a: Word, b: Word, c: Word) -> Word {
        self.reals("fma.rn.f32", &[a, b, c])
    }
    fn sqrt(&self, a: Word) -> Word {
        self.reals("sqrt.rn.f32", &[a])
    }
    fn abs(&self, a: Word) -> Word {
        self.reals("abs.f32", &[a])
    }
    fn neg(&self, a: Word) -> Word {
        self.reals("neg.f32", &[a])
    }
    fn max(&self, a: Word, b: Word) -> Word {
        self.reals("max.NaN.f32", &[a, b])
    }
    fn min(&self, a: Word, b: Word) -> Word {
        self.reals("min.NaN.f32", &[a, b])
    }
    fn lt(&self, a: Word, b: Word) -> Predicate {
        self.predicate("setp.lt.f32", &[a.real(), b.real()])
    }
    fn eq(&self, a: Word, b: Word) -> Predicate {
        self.predicate("setp.eq.f32", &[a.real(), b.real()])
    }
    fn select(&self, c: Predicate, yes: Word, no: Word) -> Word {
        self.word("selp.f32", &[yes.real(), no.real(), c.name()])
    }
    fn and(&self, a: Predicate, b: Predicate) -> Predicate {
        self.predicate("and.pred", &[a.name(), b.name()])
    }

    fn int(&self, n: i32) -> Word {
        Word::Constant(n as u32)
    }
    fn bits(&self, a: Word) -> Word {
        a
    }
    fn from_bits(&self, a: Word) -> Word {
        a
    }
    fn real(&self, a: Word) -> Word {
        self.ints("cvt.rn.f32.s32", &[a])
    }
    fn iadd(&self, a: Word, b: Word) -> Word {
        self.ints("add.s32", &[a, b])
    }
    fn isub(&self, a: Word, b: Word) -> Word {
        self.ints("sub.s32", &[a, b])
    }
    fn iand(&self, a: Word, b: Word) -> Word {
        self.ints("and.b32", &[a, b])
    }
    fn ior(&self, a: Word, b: Word) -> Word {
        self.ints("or.b32", &[a, b])
    }
    fn ixor(&self, a: Word, b: Word) -> Word {
        self.ints("xor.b32", &[a, b])
    }
    fn shl(&self, a: Word, by: u32) -> Word {
        self.ints("shl.b32", &[a, Word::Constant(by)])
    }
    fn shr(&self, a: Word, by: u32) -> Word {
        self.ints("shr.s32", &[a, Word::Constant(by)])
    }
    fn ine(&self, a: Word, b: Word) -> Predicate {
        self.predicate("setp.ne.s32", &[a.int(), b.int()])
    }
    fn ilt(&self, a: Word, b: Word) -> Predicate {
        self.predicate("setp.lt.s32", &[a.int(), b.int()])
    }
    fn iselect(&self, c: Predicate, yes: Word, no: Word) -> Word {
        self.word("selp.b32", &[yes.int(), no.int(), c.name()])
    }

    fn wide(&self, x: f64) -> Wide {
        Wide::Constant(x)
    }
    fn widen(&self, a: Word) -> Wide {
        self.wides("cvt.f64.f32", &[a.real()])
    }
    fn narrow(&self, a: Wide) -> Word {
        self.word("cvt.rn.f32.f64", &[a.name()])
    }
    fn dadd(&self, a: Wide, b: Wide) -> Wide {
        self.wides("add.rn.f64", &[a.name(), b.name()])
    }
    fn dsub(&self, a: Wide, b: Wide) -> Wide {
        self.wides("sub.rn.f64", &[a.name(), b.name()])
    }
    fn dmul(&self, a: Wide, b: Wide) -> Wide {
        self.wides("mul.rn.f64", &[a.name(), b.name()])
    }
    fn ddiv(&self, a: Wide, b: Wide) -> Wide {
        self.wides("div.rn.f64", &[a.name(), b.name()])
    }
    fn dfma(&self, a: Wide, b: Wide, c: Wide) -> Wide {
        self.wides("fma.rn.f64", &[a.name(), b.name(), c.name()])
    }
    fn dselect(&self, c: Predicate, yes: Wide, no: Wide) -> Wide {
        self.wides("selp.f64", &[yes.name(), no.name(), c.name()])
    }
    fn dreal(&self, a: Word) -> Wide {
        self.wides("cvt.rn.f64.s32", &[a.int()])
    }
    fn low_bits(&self, a: Wide) -> Word {
        self.word("cvt.u32.u64", &[a.name()])
    }
}
