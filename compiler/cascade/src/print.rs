//! A cascade as text: deterministic, for people, snapshots and `--emit cascade`.
//!
//! One line for each declaration, one statement for each definition with its conditions below. Large expressions that
//! a definition uses more than once are named `$1`, `$2` and printed first, so the text stays linear in the cascade.

use crate::expr::{Arena, Expr, ExprId, MapOp, ReduceOp};
use crate::ir::Cascade;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Shared expressions with more nodes than this get a name.
const LARGE: usize = 24;

/// The whole cascade.
pub fn print(cascade: &Cascade) -> String {
    let mut text = format!("cascade {}\n", cascade.name);
    let printer = Printer {
        cascade,
        names: BTreeMap::new(),
    };
    // Writing to a string cannot fail.
    let _ = printer.header(&mut text);
    for def in &cascade.defs {
        let dims: Vec<&str> = def
            .dims
            .iter()
            .map(|var| cascade.vars[var.index()].name.as_str())
            .collect();
        let roots: Vec<ExprId> = def.conds.iter().copied().chain([def.body]).collect();
        let mut printer = Printer {
            cascade,
            names: BTreeMap::new(),
        };
        for (at, id) in shared(&cascade.exprs, &roots).into_iter().enumerate() {
            let _ = writeln!(text, "  ${} = {}", at + 1, printer.expr(id));
            printer.names.insert(id, format!("${}", at + 1));
        }
        let _ = writeln!(text, "{}[{}] = {}", def.name, dims.join(","), printer.expr(def.body));
        if !def.conds.is_empty() {
            let conds: Vec<String> = def.conds.iter().map(|cond| printer.expr(*cond)).collect();
            let _ = writeln!(text, "    where {}", conds.join(", "));
        }
    }
    for out in &cascade.outputs {
        let dims: Vec<String> = out
            .dims
            .iter()
            .zip(&out.places)
            .map(|(dim, place)| {
                let place = printer.expr(*place);
                if place == dim.name {
                    place
                } else {
                    format!("{} = {place}", dim.name)
                }
            })
            .collect();
        let name = &cascade.defs[out.def.index()].name;
        let _ = writeln!(
            text,
            "out {}[{}] : {} = {name}",
            out.name,
            dims.join(", "),
            out.dtype.name()
        );
    }
    text
}

/// One expression, in the names of the cascade.
pub fn print_expr(cascade: &Cascade, id: ExprId) -> String {
    Printer {
        cascade,
        names: BTreeMap::new(),
    }
    .expr(id)
}

/// Expressions to be named: large, used more than once, in ascending order, hence before their users.
fn shared(arena: &Arena, roots: &[ExprId]) -> Vec<ExprId> {
    let mut users: BTreeMap<ExprId, usize> = BTreeMap::new();
    let mut open: Vec<ExprId> = roots.to_vec();
    for root in roots {
        *users.entry(*root).or_insert(0) += 1;
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        for child in arena.children(id) {
            *users.entry(child).or_insert(0) += 1;
            open.push(child);
        }
    }
    let mut sizes: BTreeMap<ExprId, usize> = BTreeMap::new();
    let mut named = Vec::new();
    for (id, count) in &users {
        let size = 1 + arena
            .children(*id)
            .iter()
            .map(|child| sizes.get(child).copied().unwrap_or(1))
            .sum::<usize>();
        let name = *count > 1 && size > LARGE;
        if name {
            named.push(*id);
        }
        sizes.insert(*id, if name { 1 } else { size });
    }
    named
}

struct Printer<'a> {
    cascade: &'a Cascade,
    names: BTreeMap<ExprId, String>,
}

/// Binding strengths, loosest first.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const UNARY: u8 = 7;
const POWER: u8 = 8;
const ATOM: u8 = 9;

impl Printer<'_> {
    fn header(&self, text: &mut String) -> std::fmt::Result {
        let cascade = self.cascade;
        for (name, value) in &cascade.choices {
            writeln!(text, "choice {name} = {value}")?;
        }
        for symbol in &cascade.symbols {
            let sources: Vec<String> = symbol
                .sources
                .iter()
                .map(|(input, dim)| format!("{}.{}", cascade.inputs[input.index()].name, dim + 1))
                .collect();
            writeln!(text, "extent {} of {}", symbol.name, sources.join(", "))?;
        }
        for composite in &cascade.composites {
            writeln!(text, "rank {} = ({})", composite.name, composite.atoms.join(", "))?;
        }
        for var in &cascade.vars {
            writeln!(text, "var {} < {}", var.name, self.expr(var.extent))?;
        }
        for input in &cascade.inputs {
            let dims: Vec<&str> = input.dims.iter().map(|dim| dim.name.as_str()).collect();
            writeln!(text, "in {}[{}] : {}", input.name, dims.join(", "), input.dtype.name())?;
        }
        for scalar in &cascade.scalars {
            let default = scalar.default.map_or(String::new(), |value| format!(" = {value:?}"));
            writeln!(text, "in {} : {}{default}", scalar.name, scalar.dtype.name())?;
        }
        for check in &cascade.checks {
            writeln!(text, "check {}", self.expr(check.cond))?;
        }
        for assume in &cascade.assumes {
            writeln!(text, "assume {}", self.expr(*assume))?;
        }
        for policy in &cascade.policies {
            writeln!(
                text,
                "policy {}({}) = {}",
                policy.key,
                policy.names.join(", "),
                policy.value
            )?;
        }
        Ok(())
    }

    fn expr(&self, id: ExprId) -> String {
        self.at(id, 0)
    }

    fn list(&self, list: &[ExprId]) -> String {
        let simple = list
            .iter()
            .all(|id| matches!(self.cascade.exprs.get(*id), Expr::Var(_)));
        let texts: Vec<String> = list.iter().map(|id| self.expr(*id)).collect();
        texts.join(if simple { "," } else { ", " })
    }

    /// The expression, in parentheses where it binds looser than `strength`.
    fn at(&self, id: ExprId, strength: u8) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let (text, own) = self.bare(id);
        if own < strength { format!("({text})") } else { text }
    }

    fn bare(&self, id: ExprId) -> (String, u8) {
        let cascade = self.cascade;
        let text = match cascade.exprs.get(id) {
            Expr::Real(bits) => real(f64::from_bits(*bits)),
            Expr::Int(x) => x.to_string(),
            Expr::Bool(x) => x.to_string(),
            Expr::Var(var) => cascade
                .vars
                .get(var.index())
                .map_or_else(|| format!("v{}", var.0), |var| var.name.clone()),
            Expr::Extent(sym) => cascade.symbols[sym.index()].name.clone(),
            Expr::Scalar(scalar) => cascade.scalars[scalar.index()].name.clone(),
            Expr::Input(input, list) => format!("{}[{}]", cascade.inputs[input.index()].name, self.list(list)),
            Expr::Def(def, list) => {
                let name = cascade
                    .defs
                    .get(def.index())
                    .map_or_else(|| format!("d{}", def.0), |def| def.name.clone());
                format!("{name}[{}]", self.list(list))
            }
            Expr::Leaf(leaf, list) => format!("leaf{}[{}]", leaf.0, self.list(list)),
            Expr::Map(op, args) => return self.map(*op, args),
            Expr::Select([cond, then, otherwise]) => {
                format!(
                    "select({}, {}, {})",
                    self.expr(*cond),
                    self.expr(*then),
                    self.expr(*otherwise)
                )
            }
            Expr::Reduce(reduce) => {
                let vars: Vec<&str> = reduce
                    .vars
                    .iter()
                    .map(|var| cascade.vars[var.index()].name.as_str())
                    .collect();
                let conds: Vec<String> = reduce.conds.iter().map(|cond| self.expr(*cond)).collect();
                let conds = if conds.is_empty() {
                    String::new()
                } else {
                    format!(" where {}", conds.join(", "))
                };
                format!(
                    "{}[{}]({}{conds})",
                    reduction(reduce.op),
                    vars.join(","),
                    self.expr(reduce.body)
                )
            }
        };
        let own = if text.starts_with('-') { UNARY } else { ATOM };
        (text, own)
    }

    fn map(&self, op: MapOp, args: &[ExprId]) -> (String, u8) {
        let infix = |word: &str, own: u8, left: u8, right: u8| {
            (
                format!("{} {word} {}", self.at(args[0], left), self.at(args[1], right)),
                own,
            )
        };
        match (op, args.len()) {
            (MapOp::Or, 2) => infix("or", OR, OR, AND),
            (MapOp::And, 2) => infix("and", AND, AND, NOT),
            (MapOp::Not, 1) => (format!("not {}", self.at(args[0], NOT)), NOT),
            (MapOp::Lt, 2) => infix("<", COMPARE, SUM, SUM),
            (MapOp::Le, 2) => infix("<=", COMPARE, SUM, SUM),
            (MapOp::Eq, 2) => infix("==", COMPARE, SUM, SUM),
            (MapOp::Ne, 2) => infix("!=", COMPARE, SUM, SUM),
            (MapOp::Add, 2) => infix("+", SUM, SUM, PRODUCT),
            (MapOp::Sub, 2) => infix("-", SUM, SUM, PRODUCT),
            (MapOp::Mul, 2) => infix("*", PRODUCT, PRODUCT, UNARY),
            (MapOp::Div, 2) => infix("/", PRODUCT, PRODUCT, UNARY),
            (MapOp::IDiv, 2) => infix("div", PRODUCT, PRODUCT, UNARY),
            (MapOp::IMod, 2) => infix("mod", PRODUCT, PRODUCT, UNARY),
            (MapOp::Neg, 1) => (format!("-{}", self.at(args[0], UNARY)), UNARY),
            (MapOp::Pow, 2) => (format!("{}^{}", self.at(args[0], ATOM), self.at(args[1], UNARY)), POWER),
            _ => {
                let args: Vec<String> = args.iter().map(|arg| self.expr(*arg)).collect();
                (format!("{}({})", function(op), args.join(", ")), ATOM)
            }
        }
    }
}

/// The shortest text that reads back as the number.
fn real(x: f64) -> String {
    if x == f64::INFINITY {
        "inf".to_string()
    } else if x == f64::NEG_INFINITY {
        "-inf".to_string()
    } else if x.abs() >= 1e16 || (x != 0.0 && x.abs() < 1e-5) {
        format!("{x:e}")
    } else {
        format!("{x:?}")
    }
}

fn reduction(op: ReduceOp) -> &'static str {
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

/// Name of a function in the language; conversions between kinds, which are silent there, have names here.
pub fn function(op: MapOp) -> &'static str {
    match op {
        MapOp::Add => "add",
        MapOp::Sub => "sub",
        MapOp::Mul => "mul",
        MapOp::Div => "div_real",
        MapOp::Pow => "pow",
        MapOp::Min => "min",
        MapOp::Max => "max",
        MapOp::IDiv => "div",
        MapOp::IMod => "mod",
        MapOp::BitAnd => "bitand",
        MapOp::BitOr => "bitor",
        MapOp::BitXor => "bitxor",
        MapOp::Shl => "shl",
        MapOp::Shr => "shr",
        MapOp::Atan2 => "atan2",
        MapOp::Neg => "neg",
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
        MapOp::ToReal => "real",
        MapOp::BoolToInt => "int",
        MapOp::RoundTo(dtype) => dtype.name(),
        MapOp::Lt => "lt",
        MapOp::Le => "le",
        MapOp::Eq => "eq",
        MapOp::Ne => "ne",
        MapOp::And => "and",
        MapOp::Or => "or",
        MapOp::Not => "not",
        MapOp::Uniform => "uniform",
    }
}
