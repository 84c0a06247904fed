//! Expressions: names, arithmetic, comparisons, conditions, `where`, `else`.

use super::products::Context;
use super::{Binding, Const, Lowerer};
use crate::expr::{ExprId, Kind, MapOp};
use crate::lower::terms::{Val, join};
use einloom_syntax::ast::{BinaryOp, CompareOp, Comparison, Expr, ExprKind, Ident, NumberValue};
use einloom_syntax::codes::Code;
use einloom_syntax::diagnostic::Diagnostic;

const MAX_NEST: usize = 420;

impl<'a> Lowerer<'a> {
    /// An expression without implied sums.
    pub(crate) fn raw(&mut self, e: &'a Expr) -> Option<Val> {
        self.expr(e, &Context::raw())
    }

    /// An expression with the implied sums and pending conditions of a context.
    pub(crate) fn expr(&mut self, e: &'a Expr, cx: &Context<'a>) -> Option<Val> {
        if self.nest >= MAX_NEST || self.terms.overflow {
            if !self.terms.overflow {
                self.error(Code::E0106, e.span, "defs are nested too deeply", "");
            }
            return None;
        }
        self.nest += 1;
        let val = self.distribute(e, cx);
        self.nest -= 1;
        val
    }

    /// Pending conditions go into each term of a sum; everything else takes them as a whole.
    fn distribute(&mut self, e: &'a Expr, cx: &Context<'a>) -> Option<Val> {
        match &e.kind {
            ExprKind::Paren(inner) => self.expr(inner, cx),
            ExprKind::Where { value, cond } if cx.sums() => {
                let mut inner = cx.clone();
                inner.guards.push(cond);
                self.expr(value, &inner)
            }
            ExprKind::Neg(inner) => {
                let val = self.expr(inner, cx)?;
                self.unary_op(MapOp::Neg, val)
            }
            ExprKind::Binary {
                op: op @ (BinaryOp::Add | BinaryOp::Sub),
                left,
                right,
                ..
            } => {
                let (a, b) = (self.expr(left, cx), self.expr(right, cx));
                let op = if *op == BinaryOp::Add { MapOp::Add } else { MapOp::Sub };
                Some(self.arithmetic(op, a?, b?))
            }
            ExprKind::Binary {
                op: BinaryOp::Mul | BinaryOp::Div,
                ..
            } if cx.sums() => self.product(e, cx),
            _ => {
                let val = self.plain(e, &cx.without_guards());
                self.guard(val?, cx)
            }
        }
    }

    fn plain(&mut self, e: &'a Expr, cx: &Context<'a>) -> Option<Val> {
        match &e.kind {
            ExprKind::Number(number) => Some(match number.value {
                NumberValue::Int(x) => Val::total(self.terms.int(x), Kind::Int),
                NumberValue::Real(x) => Val::total(self.terms.real(x), Kind::Real),
            }),
            ExprKind::Name(name) => self.name(name),
            ExprKind::Index { name, args } => self.index(e, name, args, cx),
            ExprKind::Subst { name, pairs } => self.substitute(name, pairs, cx),
            ExprKind::Call { name, ranks, args } => self.call(e, name, ranks, args, cx),
            ExprKind::Binary { op, left, right, .. } => {
                let (a, b) = (self.expr(left, cx), self.expr(right, cx));
                self.binary(*op, left, right, a?, b?)
            }
            ExprKind::Compare { first, rest } => {
                let parts = self.links(first, rest, cx)?;
                let mut whole = Val::total(self.terms.bool(true), Kind::Bool);
                for part in parts {
                    whole = self.arithmetic(MapOp::And, whole, part);
                }
                Some(whole)
            }
            ExprKind::Not(inner) => {
                let val = self.condition(inner, cx)?;
                self.unary_op(MapOp::Not, val)
            }
            ExprKind::And(parts) | ExprKind::Or(parts) => {
                let op = if matches!(e.kind, ExprKind::And(_)) {
                    MapOp::And
                } else {
                    MapOp::Or
                };
                let vals: Vec<Option<Val>> = parts.iter().map(|part| self.condition(part, cx)).collect();
                let vals: Option<Vec<Val>> = vals.into_iter().collect();
                vals?.into_iter().reduce(|a, b| self.arithmetic(op, a, b))
            }
            ExprKind::Where { value, cond } => {
                let val = self.expr(value, cx);
                let parts = self.cond_parts(cond, cx);
                let (mut val, mut conds) = (val?, parts?);
                join(&mut conds, &val.conds);
                val.conds = conds;
                Some(val)
            }
            ExprKind::Else(parts) => self.else_chain(parts, cx),
            ExprKind::Paren(_) | ExprKind::Neg(_) => self.distribute(e, cx),
        }
    }

    /// Applies the pending conditions of a context to a value.
    pub(crate) fn guard(&mut self, mut val: Val, cx: &Context<'a>) -> Option<Val> {
        for cond in cx.guards.iter().rev() {
            let mut keep = cx.without_guards();
            keep.keep(&self.terms.ranks(&val));
            let mut conds = self.cond_parts(cond, &keep)?;
            join(&mut conds, &val.conds);
            val.conds = conds;
        }
        Some(val)
    }

    /// The parts of a condition: of its top-level `and`, of a chain, and the conditions of what it reads.
    pub(crate) fn cond_parts(&mut self, e: &'a Expr, cx: &Context<'a>) -> Option<Vec<ExprId>> {
        let vals: Vec<Option<Val>> = match &e.unparen().kind {
            ExprKind::And(parts) => {
                let lists: Vec<Option<Vec<ExprId>>> = parts.iter().map(|part| self.cond_parts(part, cx)).collect();
                let mut all = Vec::new();
                for list in lists {
                    join(&mut all, &list?);
                }
                return Some(all);
            }
            ExprKind::Compare { first, rest } => self.links(first, rest, cx)?.into_iter().map(Some).collect(),
            _ => vec![self.condition(e, cx)],
        };
        let mut all = Vec::new();
        for val in vals {
            let val = val?;
            join(&mut all, &val.conds);
            join(&mut all, &[val.expr]);
            if self.terms.constant(val.expr) == Some(crate::ops::Scalar::Bool(false))
                && self.frames.is_empty()
                && !self.chosen(e)
            {
                let message = "this condition never holds: the statement has no points";
                self.error(Code::W0702, e.span, message, "");
            }
        }
        Some(self.terms.without_true(all))
    }

    /// Whether a condition is about constants only: a compile-time choice may well be false.
    fn chosen(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Name(name) => {
                (0..self.files.len()).any(|file| self.consts.contains_key(&(file, name.text.clone())))
                    || name.text == "false"
            }
            _ => e.children().into_iter().any(|child| self.chosen(child)),
        }
    }

    /// A value that must be a bool.
    pub(crate) fn condition(&mut self, e: &'a Expr, cx: &Context<'a>) -> Option<Val> {
        let val = self.expr(e, cx)?;
        if val.kind != Kind::Bool {
            let what = if val.kind == Kind::Real { "real" } else { "an int" };
            let text = super::text::text(e);
            let subject = if text.len() <= 24 {
                format!("`{text}`")
            } else {
                "this".to_string()
            };
            self.report(
                Diagnostic::new(Code::E0405, format!("a condition must be a bool, {subject} is {what}"))
                    .primary(e.span, "")
                    .fix(format!("compare it: `{text} > 0`"), e.span, format!("{text} > 0")),
            );
            return None;
        }
        Some(val)
    }

    /// The links of a comparison chain, each a bool.
    fn links(&mut self, first: &'a Expr, rest: &'a [Comparison], cx: &Context<'a>) -> Option<Vec<Val>> {
        let way = |op: CompareOp| match op {
            CompareOp::Lt | CompareOp::Le => 1,
            CompareOp::Gt | CompareOp::Ge => -1,
            CompareOp::Eq | CompareOp::Ne => 0,
        };
        let ways: Vec<i32> = rest.iter().map(|link| way(link.op)).collect();
        let not_equal = rest.len() > 1 && rest.iter().any(|link| link.op == CompareOp::Ne);
        if (ways.contains(&1) && ways.contains(&-1)) || not_equal {
            let at = rest
                .iter()
                .skip(1)
                .find(|link| way(link.op) != ways[0])
                .unwrap_or(&rest[0]);
            self.report(
                Diagnostic::new(Code::E0403, "a comparison chain must point one way")
                    .primary(at.op_span, "")
                    .help("write two comparisons with `and`"),
            );
            return None;
        }
        let mut operands = vec![self.expr(first, cx)];
        operands.extend(rest.iter().map(|link| self.expr(&link.right, cx)));
        let operands: Option<Vec<Val>> = operands.into_iter().collect();
        let operands = operands?;
        let mut parts = Vec::new();
        for (at, link) in rest.iter().enumerate() {
            let sides = [if at == 0 { first } else { &rest[at - 1].right }, &link.right];
            parts.push(self.comparison(link, sides, operands[at].clone(), operands[at + 1].clone())?);
        }
        Some(parts)
    }

    fn comparison(&mut self, link: &Comparison, sides: [&'a Expr; 2], a: Val, b: Val) -> Option<Val> {
        let equality = matches!(link.op, CompareOp::Eq | CompareOp::Ne);
        let divisions: Vec<&'a Expr> = sides.into_iter().filter(|side| self.int_division(side)).collect();
        if equality && (a.kind == Kind::Real || b.kind == Kind::Real) {
            let mut diagnostic = Diagnostic::new(Code::E0402, format!("`{}` compares reals", link.op.text()))
                .primary(link.op_span, "")
                .note("reals are rounded; ints and bools can be compared for equality");
            if !divisions.is_empty() {
                diagnostic = diagnostic.note("`/` is real division, also of ints");
                diagnostic.help.push(self.use_div(&divisions));
            }
            self.report(diagnostic);
            return None;
        }
        if !equality && !divisions.is_empty() && self.frames.is_empty() {
            let mut diagnostic = Diagnostic::new(
                Code::W0701,
                "real division inside a comparison of integers; did you mean `div`?",
            )
            .primary(divisions[0].span, "");
            diagnostic.help.push(self.use_div(&divisions));
            self.report(diagnostic);
        }
        if !equality && a.kind == Kind::Bool && b.kind == Kind::Bool {
            let (a, b) = (self.to_kind(a, Kind::Int), self.to_kind(b, Kind::Int));
            return self.comparison(link, sides, a, b);
        }
        Some(match link.op {
            CompareOp::Eq => self.arithmetic(MapOp::Eq, a, b),
            CompareOp::Ne => self.arithmetic(MapOp::Ne, a, b),
            CompareOp::Lt => self.arithmetic(MapOp::Lt, a, b),
            CompareOp::Le => self.arithmetic(MapOp::Le, a, b),
            CompareOp::Gt => self.arithmetic(MapOp::Lt, b, a),
            CompareOp::Ge => self.arithmetic(MapOp::Le, b, a),
        })
    }

    /// Whether an operand is `a / b` of two ints.
    pub(crate) fn int_division(&mut self, e: &'a Expr) -> bool {
        let ExprKind::Binary {
            op: BinaryOp::Div,
            left,
            right,
            ..
        } = &e.unparen().kind
        else {
            return false;
        };
        if !small(left) || !small(right) {
            return false;
        }
        let mut int = |side: &'a Expr| self.raw(side).is_some_and(|val| val.kind == Kind::Int);
        int(left) && int(right)
    }

    pub(crate) fn use_div(&self, divisions: &[&Expr]) -> einloom_syntax::diagnostic::Help {
        let operators = divisions.iter().filter_map(|e| match &e.unparen().kind {
            ExprKind::Binary { op_span, .. } => Some(*op_span),
            _ => None,
        });
        einloom_syntax::diagnostic::Help {
            text: "use floor division".to_string(),
            replacements: operators
                .map(|span| einloom_syntax::diagnostic::Replacement {
                    span,
                    text: "div".to_string(),
                })
                .collect(),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &'a Expr, right: &'a Expr, a: Val, b: Val) -> Option<Val> {
        let op = match op {
            BinaryOp::Add => MapOp::Add,
            BinaryOp::Sub => MapOp::Sub,
            BinaryOp::Mul => MapOp::Mul,
            BinaryOp::Div => MapOp::Div,
            BinaryOp::Pow => MapOp::Pow,
            BinaryOp::FloorDiv | BinaryOp::Mod => {
                for (side, val) in [(left, &a), (right, &b)] {
                    if val.kind == Kind::Real {
                        self.error(Code::E0406, side.span, "`div` and `mod` need integers", "real");
                        return None;
                    }
                }
                if op == BinaryOp::FloorDiv {
                    MapOp::IDiv
                } else {
                    MapOp::IMod
                }
            }
        };
        Some(self.arithmetic(op, a, b))
    }

    /// A function of two values: converted to a common kind, with the conditions of both.
    pub(crate) fn arithmetic(&mut self, op: MapOp, a: Val, b: Val) -> Val {
        let wider = match (a.kind, b.kind) {
            (Kind::Real, _) | (_, Kind::Real) => Kind::Real,
            (Kind::Int, _) | (_, Kind::Int) => Kind::Int,
            _ => Kind::Bool,
        };
        let kind = match op {
            MapOp::Div | MapOp::Pow | MapOp::Atan2 => Kind::Real,
            MapOp::And | MapOp::Or => Kind::Bool,
            MapOp::Eq | MapOp::Ne => wider,
            _ if wider == Kind::Bool => Kind::Int,
            _ => wider,
        };
        let (a, b) = (self.to_kind(a, kind), self.to_kind(b, kind));
        let expr = self.terms.map(op, &[a.expr, b.expr]);
        let mut conds = a.conds;
        join(&mut conds, &b.conds);
        let kind = match op {
            MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne => Kind::Bool,
            _ => kind,
        };
        Val { expr, kind, conds }
    }

    pub(crate) fn unary_op(&mut self, op: MapOp, val: Val) -> Option<Val> {
        let val = if val.kind == Kind::Bool && op != MapOp::Not {
            self.to_kind(val, Kind::Int)
        } else {
            val
        };
        let expr = self.terms.map(op, &[val.expr]);
        Some(Val { expr, ..val })
    }

    pub(crate) fn to_kind(&mut self, val: Val, kind: Kind) -> Val {
        let expr = self.terms.convert(val.expr, val.kind, kind);
        Val {
            expr,
            kind,
            conds: val.conds,
        }
    }

    fn else_chain(&mut self, parts: &'a [Expr], cx: &Context<'a>) -> Option<Val> {
        self.in_else += 1;
        let vals: Vec<Option<Val>> = parts.iter().map(|part| self.expr(part, cx)).collect();
        self.in_else -= 1;
        let vals: Option<Vec<Val>> = vals.into_iter().collect();
        let vals = vals?;
        let real = vals.iter().any(|val| val.kind == Kind::Real);
        let bool = vals.iter().all(|val| val.kind == Kind::Bool);
        let kind = if real {
            Kind::Real
        } else if bool {
            Kind::Bool
        } else {
            Kind::Int
        };
        let mut rest = vals.into_iter().rev();
        let last = rest.next()?;
        let mut whole = self.to_kind(last, kind);
        for val in rest {
            let val = self.to_kind(val, kind);
            whole = self.otherwise(val, whole);
        }
        Some(whole)
    }

    /// `x else y`. Conditions that both have stay as they are; of the others one of the two sets must hold.
    fn otherwise(&mut self, x: Val, y: Val) -> Val {
        let (common, own): (Vec<ExprId>, Vec<ExprId>) = x.conds.iter().partition(|cond| y.conds.contains(cond));
        let other: Vec<ExprId> = y.conds.iter().copied().filter(|cond| !common.contains(cond)).collect();
        let (first, second) = (self.terms.all(&own), self.terms.all(&other));
        let expr = self.terms.select(first, x.expr, y.expr);
        let negated = self.terms.map(MapOp::Not, &[second]);
        let opposite = self.terms.map(MapOp::Not, &[first]);
        let mut conds = common;
        if negated != first && opposite != second {
            let either = self.terms.map(MapOp::Or, &[first, second]);
            join(&mut conds, &[either]);
        }
        Val {
            expr,
            kind: x.kind,
            conds: self.terms.without_true(conds),
        }
    }

    /// A bare name as a value.
    pub(crate) fn name(&mut self, name: &Ident) -> Option<Val> {
        let text = name.text.as_str();
        match text {
            "pi" => return Some(Val::total(self.terms.real(std::f64::consts::PI), Kind::Real)),
            "inf" => return Some(Val::total(self.terms.real(f64::INFINITY), Kind::Real)),
            "true" | "false" => return Some(Val::total(self.terms.bool(text == "true"), Kind::Bool)),
            _ => {}
        }
        if let Some(frame) = self.frames.last() {
            if let Some(val) = frame.values.get(text) {
                return val.clone();
            }
            if let Some(rank) = frame.ranks.get(text).copied() {
                return self.coordinate(rank);
            }
        } else if let Some((binding, _)) = self.names.get(text).copied() {
            self.used.insert(text.to_string());
            return match binding {
                Binding::Rank(rank) => self.coordinate(rank),
                Binding::Scalar(scalar) => {
                    let kind = super::decls::kind_of(self.out.scalars[scalar.index()].dtype);
                    Some(Val::total(self.terms.add(crate::expr::Expr::Scalar(scalar)), kind))
                }
                Binding::Tensor(at) => self.bare(at, name),
                Binding::Broken => None,
            };
        }
        if let Some(value) = self.constant(text) {
            self.used.insert(text.to_string());
            return match value? {
                Const::Value(val) => Some(val),
                Const::Type(_) => {
                    self.error(Code::E0406, name.span, format!("`{text}` is a type, not a value"), "");
                    None
                }
            };
        }
        if let Some(rank) = self.extent_name(text) {
            let name = self.ranks[rank].name.clone();
            self.used.insert(name);
            let extent = self.extent(rank)?;
            return Some(Val::total(extent, Kind::Int));
        }
        self.unknown(name);
        None
    }

    /// The rank whose extent a name in capitals is.
    fn extent_name(&self, text: &str) -> Option<usize> {
        let matches = |name: &str| name.to_uppercase() == text && name != text;
        match self.frames.last() {
            Some(frame) => frame
                .ranks
                .iter()
                .find(|(name, _)| matches(name))
                .map(|(_, rank)| *rank),
            None => self.names.iter().find_map(|(name, (binding, _))| match binding {
                Binding::Rank(rank) if matches(name) => Some(*rank),
                _ => None,
            }),
        }
    }

    fn bare(&mut self, at: usize, name: &Ident) -> Option<Val> {
        let info = &self.tensors[at];
        if let Some(val) = &info.bare {
            return Some(val.clone());
        }
        let dims = info.dims.as_deref().unwrap_or_default();
        let position = dims.iter().position(|dim| matches!(dim, super::Dim::Extent(_)));
        if let Some(position) = position {
            let message = format!("dimension {} of `{}` has no rank: index it", position + 1, name.text);
            self.error(Code::E0208, name.span, message, "");
        }
        None
    }

    /// Says why a name means nothing here.
    pub(crate) fn unknown(&mut self, name: &Ident) {
        let text = name.text.clone();
        if self.poisoned(&text) || self.poisoned(name.base()) {
            return;
        }
        if let Some(frame) = self.frames.last() {
            // Bodies in the main file were checked as they stand.
            if frame.file + 1 < self.files.len() {
                self.error(
                    Code::E0602,
                    name.span,
                    format!("a def sees its parameters, constants and defs only; pass `{text}`"),
                    "",
                );
            }
            return;
        }
        if self.current.as_deref() == Some(text.as_str()) {
            self.report(
                Diagnostic::new(Code::E0502, format!("`{text}` depends on itself"))
                    .primary(name.span, "")
                    .help(format!("a recurrence is written `rec {text}[t] = .. from ..`")),
            );
            return;
        }
        if let Some(place) = self.places.get(&text).copied() {
            self.report(
                Diagnostic::new(Code::E0209, format!("`{text}` is used before it is defined"))
                    .primary(name.span, "")
                    .secondary(place, "defined here")
                    .note("only `rec` values may be read ahead, at a smaller index"),
            );
            return;
        }
        if self.defs.keys().any(|(_, def)| *def == text) || super::calls::is_builtin(&text) {
            self.error(
                Code::E0211,
                name.span,
                format!("`{text}` is a function: call it, `{text}(..)`"),
                "",
            );
            return;
        }
        if name.is_new() {
            let base = name.base().to_string();
            self.error(
                Code::E0601,
                name.span,
                format!("`{text}` is the new value of an `inout` tensor, and `{base}` is none"),
                "",
            );
            return;
        }
        let near = self.similar(&text);
        let message = match &near {
            Some(near) => format!("unknown name `{text}`; did you mean `{near}`?"),
            None => format!("unknown name `{text}`"),
        };
        let mut diagnostic = Diagnostic::new(Code::E0201, message).primary(name.span, "");
        if let Some(near) = near {
            diagnostic = diagnostic.fix(format!("use `{near}`"), name.span, near);
        }
        self.report(diagnostic);
    }
}

/// Whether an expression has few nodes: it may be lowered once more for a better message.
fn small(e: &Expr) -> bool {
    let mut open = vec![e];
    let mut count = 0;
    while let Some(e) = open.pop() {
        count += 1;
        if count > 24 {
            return false;
        }
        open.extend(e.children());
    }
    true
}
