//! Dots on the matrix unit: `mma.sync.m16n8k16` with operands from registers or, by `ldmatrix`, from swizzled shared memory.
//!
//! For each step of 16 along the contracted axis the left fragments of all rows are taken, then 16 columns of the right
//! operand at a time, each used by all row fragments. All products of one step are independent. A dot is one statement of inline PTX: as values
//! of LLVM its fragments would take most of the time of code generation.

use crate::cx::{Cx, Effect, V};
use crate::error::{Res, invalid, unsupported};
use crate::homes::Sums;
use crate::homes::named::{Names, put};
use crate::kernel::Kernel;
use crate::matrices::{Matrices, Source};
use crate::value::{Form, Place, Value, is_packed};
use einloom_tile::ir::{AxisId, Elem, Operand, ValueId};

/// The left operand.
enum Left<'c> {
    /// Names of the registers: of a home, or operands of the statement.
    Named(Names, Elem),
    Shared(Source<'c>),
}

/// The statement of a dot under construction.
struct Statement<'c> {
    text: String,
    /// Of 16 rows.
    fragments: usize,
    /// Sums as names; zeros at first, if `fresh`.
    sums: Vec<String>,
    fresh: bool,
    /// Sums in values of LLVM: how many, and what they are at first.
    lanes: usize,
    before: Vec<V<'c>>,
    /// Other operands.
    inputs: Vec<V<'c>>,
}

impl<'c> Statement<'c> {
    fn new(sums: &Sums<'c>, form: Form, fragments: usize) -> Statement<'c> {
        let lanes = form.len();
        let numbered = || (0..lanes).map(|i| format!("${i}")).collect();
        let (sums, fresh, lanes, before) = match sums {
            Sums::Values(before) => (numbered(), before.is_none(), lanes, before.clone().unwrap_or_default()),
            Sums::Named { names, fresh } => (names.to_vec(), *fresh, 0, Vec::new()),
        };
        Statement {
            text: String::new(),
            fragments,
            sums,
            fresh,
            lanes,
            before,
            inputs: Vec::new(),
        }
    }

    /// An operand's name.
    fn input(&mut self, value: V<'c>) -> String {
        let at = self.inputs.iter().position(|&v| v == value).unwrap_or_else(|| {
            self.inputs.push(value);
            self.inputs.len() - 1
        });
        format!("${}", self.lanes + self.before.len() + at)
    }

    /// One product of fragments, onto the four sums from `at` on.
    fn mma(&mut self, elem: Elem, a: &[String], b: &[String], at: usize, first: bool) {
        let name = if elem == Elem::BF16 { "bf16" } else { "f16" };
        let to = self.sums[at..at + 4].join(", ");
        let from = if first && self.fresh {
            "zero, zero, zero, zero"
        } else {
            &to
        };
        let (a, b) = (a.join(", "), b.join(", "));
        self.text += &format!(
            "mma.sync.aligned.m16n8k16.row.col.f32.{name}.{name}.f32 {{{to}}}, {{{a}}}, {{{b}}}, {{{from}}};\n"
        );
    }

    fn emit(self, cx: &Cx<'c>) -> Vec<V<'c>> {
        let zero = if self.fresh {
            ".reg .b32 zero;\nmov.b32 zero, 0;\n"
        } else {
            ""
        };
        let text = format!(
            "{{\n.reg .b32 a<{}>, b<4>, at;\n{zero}{}}}",
            4 * self.fragments,
            self.text
        );
        // Written before the last operand is read.
        let mut constraints = vec!["=&f".to_owned(); self.lanes];
        constraints.extend((0..self.before.len()).map(|i| i.to_string()));
        constraints.extend(self.inputs.iter().map(|_| "r".to_owned()));
        let (constraints, args) = (constraints.join(","), [self.before, self.inputs].concat());
        if self.lanes == 0 {
            cx.asm(&text, &constraints, &args, Effect::Convergent);
            return Vec::new();
        }
        cx.asm_values(
            cx.f32t().into(),
            self.lanes,
            &text,
            &constraints,
            &args,
            Effect::Convergent,
        )
    }
}

impl<'c> Kernel<'_, 'c> {
    /// `acc + sum over axis of left * right` by plain arithmetic.
    pub(crate) fn dot_by_scalars(
        &mut self,
        form: Form,
        left: Operand,
        right: Operand,
        over: AxisId,
        acc: Option<ValueId>,
    ) -> Res<Value<'c>> {
        let Form::Tile(m, n) = form else {
            return invalid("the result of a dot should be a tile");
        };
        let mut sums: Vec<V<'c>> = match acc {
            Some(id) => {
                let value = self.value(id)?;
                if value.form != form || value.elem != Elem::F32 {
                    return invalid(format!("v{} should be an f32 tile of the dot's shape", id.0));
                }
                value.lanes
            }
            None => vec![self.cx.f32(0.0).into(); form.len()],
        };
        self.scalar_dot(m, n, left, right, over, &mut sums)?;
        Ok(Value {
            form,
            elem: Elem::F32,
            lanes: sums,
        })
    }

    /// `acc + sum over axis of left * right` on the matrix unit, the value of `id`; without lanes, if that has a home.
    pub(crate) fn matrix_dot(
        &mut self,
        id: ValueId,
        left: Operand,
        right: Operand,
        over: AxisId,
        acc: Option<ValueId>,
    ) -> Res<Value<'c>> {
        let form = self.form(id)?;
        let Form::Tile(m, n) = form else {
            return invalid("the result of a dot should be a tile");
        };
        let depth = self.program.axes[over.index()].size;
        if !depth.is_multiple_of(16) {
            return unsupported(format!("a matrix dot over {depth} elements, no multiple of 16"));
        }
        let Operand::Shared(buffer, stage) = right else {
            return invalid("the right operand of a dot should be in shared memory");
        };
        let right = self.source(buffer, stage, over)?;
        let sums = self.sums(id, acc, form)?;
        let mut dot = Statement::new(&sums, form, m);
        let left = self.left(left, over, Form::Tile(m, depth as usize / 8), &mut dot)?;
        let elem = match &left {
            Left::Named(_, elem) => *elem,
            Left::Shared(source) => source.elem,
        };
        if elem != right.elem {
            return invalid("the operands of a matrix dot should have one 16-bit type");
        }
        for step in 0..depth as usize / 16 {
            let lefts = (0..m)
                .map(|fragment| self.left_registers(&left, m, fragment, step, &mut dot))
                .collect::<Vec<_>>();
            for first in (0..n).step_by(2) {
                let count = (n - first).min(2);
                let rights = self.right_registers(&right, first, count, step, &mut dot);
                for (fragment, a) in lefts.iter().enumerate() {
                    for group in 0..count {
                        let at = form.position(Place {
                            fragment,
                            group: first + group,
                            half: 0,
                            parity: 0,
                        });
                        dot.mma(elem, a, &rights[2 * group..2 * group + 2], at, step == 0);
                    }
                }
            }
        }
        Ok(Value {
            form,
            elem: Elem::F32,
            lanes: dot.emit(&self.cx),
        })
    }

    /// The left operand of a dot, a tile of `form`.
    fn left(&mut self, left: Operand, over: AxisId, form: Form, dot: &mut Statement<'c>) -> Res<Left<'c>> {
        let id = match left {
            Operand::Shared(buffer, stage) => return Ok(Left::Shared(self.source(buffer, stage, over)?)),
            Operand::Register(id) => id,
        };
        let elem = self.program.values[id.index()].elem;
        if !is_packed(form, elem) || self.form(id)? != form {
            return invalid("the left operand of a matrix dot should be a 16-bit tile over the contracted axis");
        }
        let names = match self.home_names(id) {
            Some(names) => names,
            None => self.value(id)?.lanes.into_iter().map(|lane| dot.input(lane)).collect(),
        };
        Ok(Left::Named(names, elem))
    }

    /// Names of the registers a0..a3 of one 16 x 16 left fragment.
    fn left_registers(
        &mut self,
        left: &Left<'c>,
        m: usize,
        fragment: usize,
        step: usize,
        dot: &mut Statement<'c>,
    ) -> Vec<String> {
        match left {
            // Two groups of 8 columns a step, each with both halves of the rows.
            Left::Named(names, _) => {
                let groups = names.len() / (2 * m);
                names[2 * (fragment * groups + 2 * step)..][..4].to_vec()
            }
            Left::Shared(source) => {
                let matrices = self.left_matrices(source, m, fragment, step);
                let to = (4 * fragment..4 * fragment + 4)
                    .map(|i| format!("a{i}"))
                    .collect::<Vec<_>>();
                self.load_matrices(source, &matrices, &to, dot);
                to
            }
        }
    }

    /// Names of the registers b0, b1 of `count` (1 or 2) groups of 8 columns from group `first` on.
    fn right_registers(
        &mut self,
        source: &Source<'c>,
        first: usize,
        count: usize,
        step: usize,
        dot: &mut Statement<'c>,
    ) -> Vec<String> {
        let matrices = self.right_matrices(source, first, step);
        let to = (0..2 * count).map(|i| format!("b{i}")).collect::<Vec<_>>();
        self.load_matrices(source, &matrices, &to, dot);
        to
    }

    fn load_matrices(&self, source: &Source<'c>, matrices: &Matrices<'c>, to: &[String], dot: &mut Statement<'c>) {
        let address = self.cx.iadd(matrices.lane, source.base);
        let operand = dot.input(address.into());
        let at = if matrices.low == 0 {
            operand
        } else {
            put(
                &mut dot.text,
                &["xor.b32 at, ", &operand, ", ", &matrices.low.to_string(), ";\n"],
            );
            "at".to_owned()
        };
        dot.text += &source.ldmatrix(to, &at, matrices.offset);
        dot.text.push('\n');
    }
}
