//! PTX as a graph of instructions, and what must hold on all of its ways. ptxas checks types; it takes a register that was never written
//! for an undefined value, and believes that nobody touches what the matrix unit still reads or writes.
//!
//! [`read`] is the text as kernels; [`flow`], [`pending`] and [`agree`] each name what is wrong with one. Their messages begin with the line.

pub mod agree;
pub mod flow;
mod graph;
pub mod pending;
pub mod read;

/// A declared register of a kernel, by its number.
pub type Register = usize;

/// A kernel's code.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub name: String,
    /// Names of the declared registers. Those of inner scopes stand for themselves, whatever they share a name with.
    pub registers: Vec<String>,
    pub code: Vec<Instruction>,
}

/// One instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// Line of the text, from 1.
    pub line: usize,
    /// The predicate under which it is executed.
    pub guard: Option<Register>,
    /// With all modifiers: `add.s32`.
    pub opcode: String,
    pub operands: Vec<Operand>,
    /// Instruction that a branch goes to.
    pub target: Option<usize>,
}

/// Registers of an operand, and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    pub text: String,
    pub registers: Vec<Register>,
}

/// Everything that is wrong with the kernels of a text.
///
/// # Errors
/// The text is not read: the line and what stands there.
pub fn faults(text: &str) -> Result<Vec<String>, String> {
    let kernels = read::kernels(text)?;
    let mut wrong = Vec::new();
    for kernel in &kernels {
        wrong.extend(flow::faults(kernel));
        wrong.extend(pending::faults(kernel));
        wrong.extend(agree::faults(kernel));
    }
    Ok(wrong)
}

/// Names of instructions whose first operand is no result.
const WITHOUT_RESULT: [&str; 13] = [
    "st",
    "stmatrix",
    "bar",
    "bra",
    "ret",
    "cp",
    "fence",
    "prefetch",
    "setmaxnreg",
    "wgmma",
    "red",
    "membar",
    "trap",
];

/// Names of instructions whose first operand is the result.
const WITH_RESULT: &[&str] = &[
    "abs",
    "add",
    "and",
    "atom",
    "bfe",
    "bfi",
    "clz",
    "copysign",
    "cos",
    "cvt",
    "cvta",
    "div",
    "elect",
    "ex2",
    "fma",
    "ld",
    "ldmatrix",
    "lg2",
    "lop3",
    "mad",
    "max",
    "mbarrier",
    "min",
    "mma",
    "mov",
    "movmatrix",
    "mul",
    "neg",
    "not",
    "or",
    "popc",
    "prmt",
    "rcp",
    "rem",
    "rsqrt",
    "selp",
    "setp",
    "shf",
    "shfl",
    "shl",
    "shr",
    "sin",
    "sqrt",
    "sub",
    "tanh",
    "testp",
    "vote",
    "xor",
];

impl Instruction {
    /// The opcode without modifiers.
    pub fn name(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    /// Whether the opcode begins so.
    pub fn is(&self, opcode: &str) -> bool {
        self.opcode
            .strip_prefix(opcode)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The dots of a warpgroup, which run on behind their instruction.
    pub fn is_wgmma(&self) -> bool {
        self.is("wgmma.mma_async")
    }

    /// Registers that it writes at once.
    pub fn writes(&self) -> &[Register] {
        if WITHOUT_RESULT.contains(&self.name()) {
            return &[];
        }
        self.operands.first().map_or(&[], |operand| &operand.registers)
    }

    /// Registers that it reads at once, other than its guard.
    pub fn reads(&self) -> impl Iterator<Item = Register> + '_ {
        let first = usize::from(!WITHOUT_RESULT.contains(&self.name()));
        let operands = self.operands.get(first..).unwrap_or_default();
        operands.iter().flat_map(|operand| operand.registers.iter().copied())
    }

    /// Whether it can go on with the next instruction.
    pub fn falls_through(&self) -> bool {
        !matches!(self.name(), "bra" | "ret") || self.guard.is_some()
    }
}

impl Kernel {
    /// A message about an instruction and a register.
    pub(crate) fn fault(&self, at: &Instruction, register: Register, what: &str) -> String {
        let name = self.registers.get(register).map_or("?", String::as_str);
        format!("line {}, {}: {}: {name} {what}", at.line, self.name, at.opcode)
    }
}
