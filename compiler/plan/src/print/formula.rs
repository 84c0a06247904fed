//! Expressions as text, in the notation of the language.

use einloom_cascade::expr::{DType, Expr, ExprId, LeafId, MapOp, Reduce, ReduceOp, VarId};
use einloom_cascade::ir::Cascade;

/// Writes expressions of a cascade; leaves are named by the caller.
pub struct Formula<'a> {
    cascade: &'a Cascade,
    leaf: &'a dyn Fn(LeafId) -> String,
}

/// Binding strength, loosest first, as in the grammar of the language.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Else,
    Where,
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Unary,
    Power,
    Atom,
}

impl<'a> Formula<'a> {
    /// A writer for expressions of `cascade`.
    pub fn new(cascade: &'a Cascade, leaf: &'a dyn Fn(LeafId) -> String) -> Formula<'a> {
        Formula { cascade, leaf }
    }

    /// The text of an expression.
    pub fn text(&self, id: ExprId) -> String {
        self.node(id).0
    }

    /// The text of a conjunction; empty for no condition.
    pub fn conjunction(&self, conds: &[ExprId]) -> String {
        let parts: Vec<String> = conds.iter().map(|&c| self.at(c, Level::And)).collect();
        parts.join(" and ")
    }

    /// Names of variables, `b, p`.
    pub fn vars(&self, vars: &[VarId]) -> String {
        let names: Vec<&str> = (vars.iter())
            .map(|var| self.cascade.vars[var.index()].name.as_str())
            .collect();
        names.join(", ")
    }

    /// The text as a factor of a product.
    pub(super) fn factor(&self, id: ExprId) -> String {
        self.at(id, Level::Unary)
    }

    fn at(&self, id: ExprId, least: Level) -> String {
        let (text, level) = self.node(id);
        if level < least { format!("({text})") } else { text }
    }

    fn list(&self, ids: &[ExprId]) -> String {
        let texts: Vec<String> = ids.iter().map(|&id| self.text(id)).collect();
        let plain = ids.iter().all(|&id| matches!(self.cascade.exprs.get(id), Expr::Var(_)));
        texts.join(if plain { "," } else { ", " })
    }

    fn indexed(&self, name: &str, places: &[ExprId]) -> (String, Level) {
        let text = match places {
            [] => name.to_string(),
            _ => format!("{name}[{}]", self.list(places)),
        };
        (text, Level::Atom)
    }

    fn node(&self, id: ExprId) -> (String, Level) {
        match self.cascade.exprs.get(id) {
            Expr::Real(bits) => real(f64::from_bits(*bits)),
            Expr::Int(value) => signed(value.to_string()),
            Expr::Bool(value) => (value.to_string(), Level::Atom),
            Expr::Var(var) => (self.vars(&[*var]), Level::Atom),
            Expr::Extent(symbol) => (self.cascade.symbols[symbol.index()].name.clone(), Level::Atom),
            Expr::Scalar(scalar) => (self.cascade.scalars[scalar.index()].name.clone(), Level::Atom),
            Expr::Input(input, places) => self.indexed(&self.cascade.inputs[input.index()].name, places),
            Expr::Def(def, places) => self.indexed(&self.cascade.defs[def.index()].name, places),
            Expr::Leaf(leaf, places) => self.indexed(&(self.leaf)(*leaf), places),
            Expr::Map(op, args) => self.map(*op, args),
            Expr::Select([cond, then, otherwise]) => {
                let (then, otherwise) = (self.at(*then, Level::Or), self.at(*otherwise, Level::Where));
                let cond = self.at(*cond, Level::Or);
                (format!("{then} where {cond} else {otherwise}"), Level::Else)
            }
            Expr::Reduce(reduce) => (self.reduce(reduce), Level::Atom),
        }
    }

    fn reduce(&self, reduce: &Reduce) -> String {
        let (op, vars) = (reduction(reduce.op), self.vars(&reduce.vars));
        if reduce.conds.is_empty() {
            return format!("{op}[{vars}]({})", self.text(reduce.body));
        }
        let (body, conds) = (self.at(reduce.body, Level::Or), self.conjunction(&reduce.conds));
        format!("{op}[{vars}]({body} where {conds})")
    }

    fn map(&self, op: MapOp, args: &[ExprId]) -> (String, Level) {
        if let ([a, b], Some((sign, level, right))) = (args, infix(op)) {
            let (a, b) = (self.at(*a, level), self.at(*b, right));
            return (format!("{a} {sign} {b}"), level);
        }
        match (op, args) {
            (MapOp::Pow, [a, b]) => {
                let (a, b) = (self.at(*a, Level::Atom), self.at(*b, Level::Unary));
                (format!("{a}^{b}"), Level::Power)
            }
            (MapOp::Neg, [a]) => (format!("-{}", self.at(*a, Level::Unary)), Level::Unary),
            (MapOp::Not, [a]) => (format!("not {}", self.at(*a, Level::Not)), Level::Not),
            // the language converts by itself
            (MapOp::ToReal | MapOp::BoolToInt, [a]) => self.node(*a),
            _ => (format!("{}({})", function(op), self.call(args)), Level::Atom),
        }
    }

    fn call(&self, args: &[ExprId]) -> String {
        let texts: Vec<String> = args.iter().map(|&id| self.text(id)).collect();
        texts.join(", ")
    }
}

/// Operator sign, its level, and the least level of its right operand.
fn infix(op: MapOp) -> Option<(&'static str, Level, Level)> {
    Some(match op {
        MapOp::Or => ("or", Level::Or, Level::And),
        MapOp::And => ("and", Level::And, Level::Not),
        MapOp::Lt => ("<", Level::Compare, Level::Sum),
        MapOp::Le => ("<=", Level::Compare, Level::Sum),
        MapOp::Eq => ("==", Level::Compare, Level::Sum),
        MapOp::Ne => ("!=", Level::Compare, Level::Sum),
        MapOp::Add => ("+", Level::Sum, Level::Product),
        MapOp::Sub => ("-", Level::Sum, Level::Product),
        MapOp::Mul => ("*", Level::Product, Level::Unary),
        MapOp::Div => ("/", Level::Product, Level::Unary),
        MapOp::IDiv => ("div", Level::Product, Level::Unary),
        MapOp::IMod => ("mod", Level::Product, Level::Unary),
        _ => return None,
    })
}

fn signed(text: String) -> (String, Level) {
    let level = if text.starts_with('-') {
        Level::Unary
    } else {
        Level::Atom
    };
    (text, level)
}

fn real(value: f64) -> (String, Level) {
    signed(format!("{value:?}"))
}

/// The name of a reduction in the language.
pub(super) fn reduction(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Max => "max",
        ReduceOp::Min => "min",
        ReduceOp::Any => "any",
        ReduceOp::All => "all",
        ReduceOp::ArgMax => "argmax",
        ReduceOp::ArgMin => "argmin",
    }
}

fn function(op: MapOp) -> &'static str {
    match op {
        MapOp::Min => "min",
        MapOp::Max => "max",
        MapOp::BitAnd => "bitand",
        MapOp::BitOr => "bitor",
        MapOp::BitXor => "bitxor",
        MapOp::Shl => "shl",
        MapOp::Shr => "shr",
        MapOp::Atan2 => "atan2",
        MapOp::Abs => "abs",
        MapOp::Sign => "sign",
        MapOp::Exp => "exp",
        MapOp::Exp2 => "exp2",
        MapOp::Log => "log",
        MapOp::Log2 => "log2",
        MapOp::Sqrt => "sqrt",
        MapOp::Rsqrt => "rsqrt",
        MapOp::Sin => "sin",
        MapOp::Cos => "cos",
        MapOp::Tanh => "tanh",
        MapOp::Acos => "acos",
        MapOp::Erf => "erf",
        MapOp::Floor => "floor",
        MapOp::Ceil => "ceil",
        MapOp::Round => "round",
        MapOp::Popcount => "popcount",
        MapOp::Uniform => "uniform",
        MapOp::RoundTo(dtype) => storage(dtype),
        MapOp::Add
        | MapOp::Sub
        | MapOp::Mul
        | MapOp::Div
        | MapOp::Pow
        | MapOp::IDiv
        | MapOp::IMod
        | MapOp::Neg
        | MapOp::ToReal
        | MapOp::BoolToInt
        | MapOp::Lt
        | MapOp::Le
        | MapOp::Eq
        | MapOp::Ne
        | MapOp::And
        | MapOp::Or
        | MapOp::Not => "operator",
    }
}

fn storage(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I64 => "i64",
        DType::I32 => "i32",
        DType::I16 => "i16",
        DType::I8 => "i8",
        DType::U8 => "u8",
        DType::Bool => "bool",
    }
}
