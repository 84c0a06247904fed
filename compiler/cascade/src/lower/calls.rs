//! Calls: functions, conversions, reductions, defs.

use super::products::Context;
use super::reductions::REDUCTIONS;
use super::{Const, Lowerer};
use crate::expr::{DType, Kind, MapOp};
use crate::lower::terms::{Val, join};
use einloom_syntax::ast::{Expr, ExprKind, Ident};
use einloom_syntax::codes::Code;

/// What a function takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Reals,
    Ints,
    /// Reals or ints, and gives the same.
    Numbers,
}

/// Functions of one result: name, operation, number of arguments, what they take.
const FUNCTIONS: [(&str, MapOp, usize, Takes); 25] = [
    ("exp", MapOp::Exp, 1, Takes::Reals),
    ("exp2", MapOp::Exp2, 1, Takes::Reals),
    ("log", MapOp::Log, 1, Takes::Reals),
    ("log2", MapOp::Log2, 1, Takes::Reals),
    ("sqrt", MapOp::Sqrt, 1, Takes::Reals),
    ("rsqrt", MapOp::Rsqrt, 1, Takes::Reals),
    ("sin", MapOp::Sin, 1, Takes::Reals),
    ("cos", MapOp::Cos, 1, Takes::Reals),
    ("tanh", MapOp::Tanh, 1, Takes::Reals),
    ("atan2", MapOp::Atan2, 2, Takes::Reals),
    ("acos", MapOp::Acos, 1, Takes::Reals),
    ("erf", MapOp::Erf, 1, Takes::Reals),
    ("abs", MapOp::Abs, 1, Takes::Numbers),
    ("sign", MapOp::Sign, 1, Takes::Numbers),
    ("floor", MapOp::Floor, 1, Takes::Reals),
    ("ceil", MapOp::Ceil, 1, Takes::Reals),
    ("round", MapOp::Round, 1, Takes::Reals),
    ("min", MapOp::Min, 2, Takes::Numbers),
    ("max", MapOp::Max, 2, Takes::Numbers),
    ("bitand", MapOp::BitAnd, 2, Takes::Ints),
    ("bitor", MapOp::BitOr, 2, Takes::Ints),
    ("bitxor", MapOp::BitXor, 2, Takes::Ints),
    ("shl", MapOp::Shl, 2, Takes::Ints),
    ("shr", MapOp::Shr, 2, Takes::Ints),
    ("popcount", MapOp::Popcount, 1, Takes::Ints),
];

/// Names of all functions, for suggestions.
pub(crate) const NAMES: [&str; 35] = [
    "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "sin", "cos", "tanh", "atan2", "acos", "erf", "abs", "sign",
    "floor", "ceil", "round", "min", "max", "bitand", "bitor", "bitxor", "shl", "shr", "popcount", "clamp", "uniform",
    "size", "sum", "prod", "any", "all", "count", "argmax", "argmin",
];

/// Whether a name is a function or reduction of the language, which no file may define.
pub(crate) fn is_builtin(name: &str) -> bool {
    NAMES.contains(&name) || REDUCTIONS.contains(&name)
}

impl<'a> Lowerer<'a> {
    /// `name[ranks](args)`.
    pub(crate) fn call(
        &mut self,
        e: &'a Expr,
        name: &'a Ident,
        ranks: &'a [Ident],
        args: &'a [Expr],
        cx: &Context<'a>,
    ) -> Option<Val> {
        let text = name.text.as_str();
        if REDUCTIONS.contains(&text) && (!ranks.is_empty() || (text != "max" && text != "min")) {
            if ranks.is_empty() {
                self.error(
                    Code::E0211,
                    name.span,
                    format!("`{text}` needs the ranks it reduces: `{text}[..](..)`"),
                    "",
                );
                return None;
            }
            return self.reduction(e, name, ranks, args, cx);
        }
        if let Some(def) = self.find_def(text) {
            return self.expand(e, name, def, ranks, args, cx);
        }
        if !ranks.is_empty() && (is_builtin(text) || DType::from_name(text).is_some()) {
            self.error(Code::E0211, name.span, format!("`{text}` takes no ranks"), "");
            return None;
        }
        if text == "size" {
            return self.size(e, args);
        }
        if let Some(dtype) = self.conversion(name) {
            return self.convert(e, name, dtype?, args, cx);
        }
        let vals: Vec<Option<Val>> = args.iter().map(|arg| self.expr(arg, cx)).collect();
        if !is_builtin(text) {
            self.unknown_function(name);
            return None;
        }
        let vals: Option<Vec<Val>> = vals.into_iter().collect();
        self.function(e, name, args, vals?)
    }

    fn unknown_function(&mut self, name: &Ident) {
        let known = match self.frames.last() {
            Some(frame) => frame.values.contains_key(&name.text) || frame.ranks.contains_key(&name.text),
            None => self.names.contains_key(&name.text) || self.places.contains_key(&name.text),
        };
        if known {
            self.error(Code::E0211, name.span, format!("`{}` is not a function", name.text), "");
        } else {
            self.unknown(name);
        }
    }

    /// The type that a call converts to; `Some(None)` if that was refused.
    fn conversion(&mut self, name: &Ident) -> Option<Option<DType>> {
        let text = name.text.as_str();
        if DType::from_name(text).is_some() || super::consts::NARROW.contains(&text) {
            return Some(self.dtype(name));
        }
        match self.constant(text) {
            Some(Some(Const::Type(dtype))) => {
                self.used.insert(text.to_string());
                Some(Some(dtype))
            }
            Some(None) => Some(None),
            _ => None,
        }
    }

    fn convert(&mut self, e: &'a Expr, name: &Ident, dtype: DType, args: &'a [Expr], cx: &Context<'a>) -> Option<Val> {
        let [arg] = args else {
            self.count(e, name, "1 argument", args.len());
            return None;
        };
        let val = self.expr(arg, cx)?;
        let expr = self.terms.map(MapOp::RoundTo(dtype), &[val.expr]);
        Some(Val {
            expr,
            kind: super::decls::kind_of(dtype),
            conds: val.conds,
        })
    }

    fn size(&mut self, e: &'a Expr, args: &'a [Expr]) -> Option<Val> {
        let [arg] = args else {
            self.error(Code::E0211, e.span, "`size` takes one rank", "");
            return None;
        };
        let ExprKind::Name(name) = &arg.unparen().kind else {
            self.error(Code::E0211, arg.span, "`size` takes the name of a rank", "");
            return None;
        };
        let rank = self.rank(name)?;
        let extent = self.extent(rank)?;
        Some(Val::total(extent, Kind::Int))
    }

    fn count(&mut self, e: &Expr, name: &Ident, expected: &str, given: usize) {
        self.error(
            Code::E0211,
            e.span,
            format!("`{}` takes {expected}, {given} given", name.text),
            "",
        );
    }

    fn function(&mut self, e: &'a Expr, name: &Ident, args: &'a [Expr], mut vals: Vec<Val>) -> Option<Val> {
        match (name.text.as_str(), vals.len()) {
            ("clamp", 3) => {
                let (high, low) = (vals.pop()?, vals.pop()?);
                let least = self.arithmetic(MapOp::Min, vals.pop()?, high);
                return Some(self.arithmetic(MapOp::Max, least, low));
            }
            ("clamp", given) => {
                self.count(e, name, "3 arguments", given);
                return None;
            }
            ("uniform", given) => {
                if !(1..=5).contains(&given) {
                    self.count(e, name, "a seed and up to 4 ints", given);
                    return None;
                }
                return self.uniform(args, vals);
            }
            ("min" | "max", given) if given >= 2 => {
                let op = if name.text == "min" { MapOp::Min } else { MapOp::Max };
                return vals.into_iter().reduce(|a, b| self.arithmetic(op, a, b));
            }
            _ => {}
        }
        let (_, op, arity, takes) = *FUNCTIONS.iter().find(|(other, ..)| *other == name.text)?;
        if vals.len() != arity {
            let expected = if arity == 1 {
                "1 argument".to_string()
            } else {
                format!("{arity} arguments")
            };
            self.count(e, name, &expected, vals.len());
            return None;
        }
        if takes == Takes::Ints {
            for (val, arg) in vals.iter().zip(args) {
                if val.kind == Kind::Real {
                    self.error(Code::E0406, arg.span, format!("`{}` takes integers", name.text), "real");
                    return None;
                }
            }
        }
        if let (MapOp::Floor | MapOp::Ceil | MapOp::Round, Kind::Int | Kind::Bool) = (op, vals[0].kind) {
            let val = vals.pop()?;
            return Some(self.to_kind(val, Kind::Int));
        }
        let wide = vals.iter().any(|val| val.kind == Kind::Real);
        let kind = match takes {
            Takes::Reals => Kind::Real,
            Takes::Ints => Kind::Int,
            Takes::Numbers => {
                if wide {
                    Kind::Real
                } else {
                    Kind::Int
                }
            }
        };
        Some(self.apply(op, vals, kind))
    }

    fn uniform(&mut self, args: &'a [Expr], vals: Vec<Val>) -> Option<Val> {
        for (val, arg) in vals.iter().zip(args) {
            if val.kind == Kind::Real {
                self.error(Code::E0406, arg.span, "`uniform` takes integers", "real");
                return None;
            }
        }
        Some(self.apply(MapOp::Uniform, vals, Kind::Int))
    }

    fn apply(&mut self, op: MapOp, vals: Vec<Val>, kind: Kind) -> Val {
        let mut conds = Vec::new();
        let mut list = Vec::new();
        for val in vals {
            let val = self.to_kind(val, kind);
            join(&mut conds, &val.conds);
            list.push(val.expr);
        }
        let kind = crate::ops::result_kind(op, &vec![kind; list.len()]).unwrap_or(kind);
        Val {
            expr: self.terms.map(op, &list),
            kind,
            conds,
        }
    }
}
