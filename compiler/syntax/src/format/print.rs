//! Statements and expressions as pieces of lines.
//!
//! Parentheses of the author are nodes of the tree; where a tree that was not parsed needs more, they are added, so that
//! every tree prints as itself.

use super::layout::{Break, Line};
use crate::ast::{
    BinaryOp, Comparison, ConstItem, Decl, Def, DefBody, Expr, ExprKind, Ident, Lhs, Place, PolicyValue, RankItem,
    RankValue, Stmt, StmtKind,
};

impl std::fmt::Display for Expr {
    /// The canonical text on one line.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut line = Line::new();
        expr(&mut line, self, Level::Else);
        out.write_str(&line.single())
    }
}

impl std::fmt::Display for Stmt {
    /// The canonical text on one line; a block on one line as well.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&stmt(&self.kind).single())
    }
}

/// Levels of precedence, loosest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Else,
    Where,
    Or,
    And,
    Not,
    Compare,
    Add,
    Mul,
    Unary,
    Power,
    Atom,
}

/// A statement without its comments; blocks go on one line.
pub(super) fn stmt(kind: &StmtKind) -> Line {
    let mut line = Line::new();
    match kind {
        StmtKind::Cascade(name) => {
            line.text("cascade ").text(&name.text);
        }
        StmtKind::Import(path) => {
            line.text("import \"").text(&path.text).text("\"");
        }
        StmtKind::Rank(items) => {
            line.text("rank ");
            separated(&mut line, items, rank_item);
        }
        StmtKind::Const(items) => {
            line.text("const ");
            separated(&mut line, items, const_item);
        }
        StmtKind::Input { decls, ty, default } => {
            // Padded to the width of `out`.
            line.text("in  ");
            declaration(&mut line, decls, ty);
            if let Some(default) = default {
                defined_as(&mut line, default);
            }
        }
        StmtKind::Inout { decls, ty } => {
            line.text("inout ");
            declaration(&mut line, decls, ty);
        }
        StmtKind::Output { lhs: left, ty, value } => {
            line.text("out ");
            lhs(&mut line, left);
            line.text(" : ").text(&ty.text);
            if let Some(value) = value {
                defined_as(&mut line, value);
            }
        }
        StmtKind::Rec { lhs: left, value, init } => {
            line.text("rec ");
            lhs(&mut line, left);
            defined_as(&mut line, value);
            line.breakable(Break::From, true).text("from ");
            expr(&mut line, init, Level::Else);
        }
        StmtKind::Assume(cond) => {
            line.text("assume ");
            expr(&mut line, cond, Level::Else);
        }
        StmtKind::Policy { key, names, value } => policy(&mut line, key, names, value),
        StmtKind::Def(def) => definition(&mut line, def),
        StmtKind::Define { lhs: left, value } => {
            lhs(&mut line, left);
            defined_as(&mut line, value);
        }
    }
    line
}

/// `def name[ranks](params) {`
pub(super) fn block_head(def: &Def) -> Line {
    let mut line = Line::new();
    def_head(&mut line, def);
    line.text(" {");
    line
}

/// `return value`
pub(super) fn returned(value: &Expr) -> Line {
    let mut line = Line::new();
    line.text("return ");
    expr(&mut line, value, Level::Else);
    line
}

fn definition(line: &mut Line, def: &Def) {
    def_head(line, def);
    match &def.body {
        DefBody::Expr(value) => defined_as(line, value),
        DefBody::Block { stmts, result } => {
            line.text(" {");
            for inner in stmts {
                line.text(" ").text(&stmt(&inner.kind).single());
            }
            line.text(" ").text(&returned(result).single()).text(" }");
        }
    }
}

fn def_head(line: &mut Line, def: &Def) {
    line.text("def ").text(&def.name.text);
    rank_list(line, &def.ranks);
    line.open("(");
    separated(line, &def.params, name);
    line.close(")");
}

fn policy(line: &mut Line, key: &Ident, names: &[Ident], value: &PolicyValue) {
    line.text("policy ").text(&key.text);
    if !names.is_empty() {
        line.open("(");
        separated(line, names, name);
        line.close(")");
    }
    line.text(" = ").text(match value {
        PolicyValue::Name(name) => &name.text,
        PolicyValue::Number { number, .. } => &number.text,
    });
}

fn declaration(line: &mut Line, decls: &[Decl], ty: &Ident) {
    separated(line, decls, |line, decl| {
        line.text(&decl.name.text);
        if let Some(dims) = &decl.dims {
            index_list(line, dims);
        }
    });
    line.text(" : ").text(&ty.text);
}

/// ` = value`
fn defined_as(line: &mut Line, value: &Expr) {
    line.text(" =").breakable(Break::Equals, true);
    expr(line, value, Level::Else);
}

fn rank_item(line: &mut Line, item: &RankItem) {
    line.text(&item.name.text);
    match &item.value {
        Some(RankValue::Tuple { parts, by }) => {
            line.text(" = ").open("(");
            separated(line, parts, name);
            line.close(")");
            if let Some(by) = by {
                line.text(" by ").text(&by.text);
            }
        }
        Some(RankValue::Choice(choices)) => choice(line, choices),
        None => {}
    }
}

fn const_item(line: &mut Line, item: &ConstItem) {
    line.text(&item.name.text);
    choice(line, &item.choices);
}

fn choice(line: &mut Line, choices: &[Expr]) {
    line.text(" =");
    for (index, value) in choices.iter().enumerate() {
        line.text(if index > 0 { " | " } else { " " });
        expr(line, value, Level::Else);
    }
}

fn lhs(line: &mut Line, lhs: &Lhs) {
    line.text(&lhs.name.text);
    let Some(places) = &lhs.places else { return };
    line.open("[");
    let plain = places.iter().all(|place| place.at.is_none());
    list(line, places, !plain, |line, place: &Place| {
        line.text(&place.rank.text);
        if let Some(at) = &place.at {
            line.text(" = ");
            expr(line, at, Level::Else);
        }
    });
    line.close("]");
}

/// `[b,h]` of names, `[b, h + 1]` if any member is more than a name.
fn index_list(line: &mut Line, args: &[Expr]) {
    let plain = args.iter().all(|arg| matches!(arg.kind, ExprKind::Name(_)));
    line.open("[");
    list(line, args, !plain, |line, arg| expr(line, arg, Level::Else));
    line.close("]");
}

/// `[m,n]`, nothing if there are none.
fn rank_list(line: &mut Line, ranks: &[Ident]) {
    if !ranks.is_empty() {
        line.open("[");
        list(line, ranks, false, name);
        line.close("]");
    }
}

fn name(line: &mut Line, name: &Ident) {
    line.text(&name.text);
}

/// Members with `, ` between them.
fn separated<T>(line: &mut Line, members: &[T], member: impl FnMut(&mut Line, &T)) {
    list(line, members, true, member);
}

fn list<T>(line: &mut Line, members: &[T], space: bool, mut member: impl FnMut(&mut Line, &T)) {
    for (index, each) in members.iter().enumerate() {
        if index > 0 {
            line.text(",").breakable(Break::Comma, space);
        }
        member(line, each);
    }
}

/// An expression where at least `level` is due; parentheses are added where it is looser.
fn expr(line: &mut Line, node: &Expr, level: Level) {
    let own = level_of(node);
    if own < level {
        line.open("(");
        bare(line, node);
        line.close(")");
    } else {
        bare(line, node);
    }
}

fn level_of(node: &Expr) -> Level {
    match &node.kind {
        ExprKind::Else(parts) if parts.len() > 1 => Level::Else,
        ExprKind::Or(parts) if parts.len() > 1 => Level::Or,
        ExprKind::And(parts) if parts.len() > 1 => Level::And,
        ExprKind::Else(parts) | ExprKind::Or(parts) | ExprKind::And(parts) => {
            parts.first().map_or(Level::Atom, level_of)
        }
        ExprKind::Where { .. } => Level::Where,
        ExprKind::Not(_) => Level::Not,
        ExprKind::Compare { .. } => Level::Compare,
        ExprKind::Neg(_) => Level::Unary,
        ExprKind::Binary { op, .. } => match op {
            BinaryOp::Add | BinaryOp::Sub => Level::Add,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod => Level::Mul,
            BinaryOp::Pow => Level::Power,
        },
        ExprKind::Number(_)
        | ExprKind::Name(_)
        | ExprKind::Index { .. }
        | ExprKind::Subst { .. }
        | ExprKind::Call { .. }
        | ExprKind::Paren(_) => Level::Atom,
    }
}

fn bare(line: &mut Line, node: &Expr) {
    match &node.kind {
        ExprKind::Number(number) => {
            line.text(&number.text);
        }
        ExprKind::Name(name) => {
            line.text(&name.text);
        }
        ExprKind::Index { name, args } => {
            line.text(&name.text);
            index_list(line, args);
        }
        ExprKind::Subst { name, pairs } => {
            line.text(&name.text).open("[");
            separated(line, pairs, |line, pair| {
                line.text(&pair.rank.text).text(" := ");
                expr(line, &pair.value, Level::Else);
            });
            line.close("]");
        }
        ExprKind::Call { name, ranks, args } => {
            line.text(&name.text);
            rank_list(line, ranks);
            line.open("(");
            separated(line, args, |line, arg| expr(line, arg, Level::Else));
            line.close(")");
        }
        ExprKind::Paren(inner) => {
            line.open("(");
            expr(line, inner, Level::Else);
            line.close(")");
        }
        ExprKind::Neg(inner) => {
            line.text("-");
            expr(line, inner, Level::Unary);
        }
        ExprKind::Not(inner) => {
            line.text("not ");
            expr(line, inner, Level::Not);
        }
        ExprKind::Binary { op, left, right, .. } => binary(line, *op, left, right),
        ExprKind::Compare { first, rest } => comparison(line, first, rest),
        ExprKind::And(parts) => joined(line, parts, Break::And, "and ", Level::Not),
        ExprKind::Or(parts) => joined(line, parts, Break::Or, "or ", Level::And),
        ExprKind::Else(parts) => joined(line, parts, Break::Else, "else ", Level::Where),
        ExprKind::Where { value, cond } => {
            expr(line, value, Level::Or);
            line.breakable(Break::Where, true).text("where ");
            expr(line, cond, Level::Or);
        }
    }
}

fn joined(line: &mut Line, parts: &[Expr], kind: Break, word: &str, level: Level) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            line.breakable(kind, true).text(word);
        }
        expr(line, part, level);
    }
}

fn comparison(line: &mut Line, first: &Expr, rest: &[Comparison]) {
    expr(line, first, Level::Add);
    for link in rest {
        line.breakable(Break::Compare, true).text(link.op.text()).text(" ");
        expr(line, &link.right, Level::Add);
    }
}

fn binary(line: &mut Line, op: BinaryOp, left: &Expr, right: &Expr) {
    let (kind, left_level, right_level) = match op {
        BinaryOp::Add | BinaryOp::Sub => (Break::Add, Level::Add, Level::Mul),
        BinaryOp::Mul => (Break::Mul, Level::Mul, Level::Unary),
        BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod => (Break::Divide, Level::Mul, Level::Unary),
        BinaryOp::Pow => {
            expr(line, left, Level::Atom);
            line.text("^");
            return expr(line, right, Level::Unary);
        }
    };
    expr(line, left, left_level);
    line.breakable(kind, true).text(op.text()).text(" ");
    expr(line, right, right_level);
}
