//! Trees without spans, for the comparison of what was written.

use crate::ast::*;
use crate::span::Span;

impl File {
    /// A copy with every span empty.
    pub fn without_spans(&self) -> File {
        let mut copy = self.clone();
        copy.stmts.iter_mut().for_each(stmt);
        copy.broken.iter_mut().for_each(clear);
        copy
    }
}

impl Expr {
    /// A copy with every span empty.
    pub fn without_spans(&self) -> Expr {
        let mut copy = self.clone();
        expr(&mut copy);
        copy
    }
}

fn clear(span: &mut Span) {
    *span = Span::default();
}

fn ident(name: &mut Ident) {
    clear(&mut name.span);
}

fn stmt(stmt: &mut Stmt) {
    clear(&mut stmt.span);
    match &mut stmt.kind {
        StmtKind::Cascade(name) | StmtKind::Import(name) => ident(name),
        StmtKind::Rank(items) => items.iter_mut().for_each(rank_item),
        StmtKind::Const(items) => items.iter_mut().for_each(const_item),
        StmtKind::Input { decls, ty, default } => {
            decls.iter_mut().for_each(decl);
            ident(ty);
            default.iter_mut().for_each(expr);
        }
        StmtKind::Inout { decls, ty } => {
            decls.iter_mut().for_each(decl);
            ident(ty);
        }
        StmtKind::Output { lhs: left, ty, value } => {
            lhs(left);
            ident(ty);
            value.iter_mut().for_each(expr);
        }
        StmtKind::Rec { lhs: left, value, init } => {
            lhs(left);
            expr(value);
            expr(init);
        }
        StmtKind::Assume(cond) => expr(cond),
        StmtKind::Policy { key, names, value } => {
            ident(key);
            names.iter_mut().for_each(ident);
            match value {
                PolicyValue::Name(name) => ident(name),
                PolicyValue::Number { span, .. } => clear(span),
            }
        }
        StmtKind::Def(definition) => def(definition),
        StmtKind::Define { lhs: left, value } => {
            lhs(left);
            expr(value);
        }
    }
}

fn rank_item(item: &mut RankItem) {
    clear(&mut item.span);
    ident(&mut item.name);
    match &mut item.value {
        Some(RankValue::Tuple { parts, by }) => {
            parts.iter_mut().for_each(ident);
            by.iter_mut().for_each(ident);
        }
        Some(RankValue::Choice(choices)) => choices.iter_mut().for_each(expr),
        None => {}
    }
}

fn const_item(item: &mut ConstItem) {
    clear(&mut item.span);
    ident(&mut item.name);
    item.choices.iter_mut().for_each(expr);
}

fn decl(decl: &mut Decl) {
    clear(&mut decl.span);
    ident(&mut decl.name);
    decl.dims.iter_mut().flatten().for_each(expr);
}

fn lhs(lhs: &mut Lhs) {
    clear(&mut lhs.span);
    ident(&mut lhs.name);
    for place in lhs.places.iter_mut().flatten() {
        clear(&mut place.span);
        ident(&mut place.rank);
        place.at.iter_mut().for_each(expr);
    }
}

fn def(def: &mut Def) {
    ident(&mut def.name);
    def.ranks.iter_mut().for_each(ident);
    def.params.iter_mut().for_each(ident);
    match &mut def.body {
        DefBody::Expr(value) => expr(value),
        DefBody::Block { stmts, result } => {
            stmts.iter_mut().for_each(stmt);
            expr(result);
        }
    }
}

fn expr(node: &mut Expr) {
    clear(&mut node.span);
    match &mut node.kind {
        ExprKind::Number(_) => {}
        ExprKind::Name(name) => ident(name),
        ExprKind::Index { name, args } => {
            ident(name);
            args.iter_mut().for_each(expr);
        }
        ExprKind::Subst { name, pairs } => {
            ident(name);
            for pair in pairs {
                clear(&mut pair.span);
                ident(&mut pair.rank);
                expr(&mut pair.value);
            }
        }
        ExprKind::Call { name, ranks, args } => {
            ident(name);
            ranks.iter_mut().for_each(ident);
            args.iter_mut().for_each(expr);
        }
        ExprKind::Neg(inner) | ExprKind::Not(inner) | ExprKind::Paren(inner) => expr(inner),
        ExprKind::Binary {
            op_span, left, right, ..
        } => {
            clear(op_span);
            expr(left);
            expr(right);
        }
        ExprKind::Compare { first, rest } => {
            expr(first);
            for link in rest {
                clear(&mut link.op_span);
                expr(&mut link.right);
            }
        }
        ExprKind::And(parts) | ExprKind::Or(parts) | ExprKind::Else(parts) => parts.iter_mut().for_each(expr),
        ExprKind::Where { value, cond } => {
            expr(value);
            expr(cond);
        }
    }
}
