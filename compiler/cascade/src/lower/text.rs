//! Short texts of expressions, for dimension names and messages.

use einloom_syntax::ast::{Expr, ExprKind};

/// The expression in the form of the formatter. Long ones are cut.
pub(crate) fn text(expr: &Expr) -> String {
    let list = |args: &[Expr]| args.iter().map(text).collect::<Vec<_>>().join(", ");
    let joined = |parts: &[Expr], word: &str| parts.iter().map(text).collect::<Vec<_>>().join(word);
    match &expr.kind {
        ExprKind::Number(number) => number.text.clone(),
        ExprKind::Name(name) => name.text.clone(),
        ExprKind::Index { name, args } => format!("{}[{}]", name.text, list(args)),
        ExprKind::Subst { name, pairs } => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|pair| format!("{} := {}", pair.rank.text, text(&pair.value)))
                .collect();
            format!("{}[{}]", name.text, pairs.join(", "))
        }
        ExprKind::Call { name, ranks, args } => {
            let ranks: Vec<&str> = ranks.iter().map(|rank| rank.text.as_str()).collect();
            let bracket = if ranks.is_empty() {
                String::new()
            } else {
                format!("[{}]", ranks.join(","))
            };
            format!("{}{bracket}({})", name.text, list(args))
        }
        ExprKind::Neg(inner) => format!("-{}", text(inner)),
        ExprKind::Binary { op, left, right, .. } if op.text() == "^" => format!("{}^{}", text(left), text(right)),
        ExprKind::Binary { op, left, right, .. } => format!("{} {} {}", text(left), op.text(), text(right)),
        ExprKind::Compare { first, rest } => {
            let links: String = rest
                .iter()
                .map(|link| format!(" {} {}", link.op.text(), text(&link.right)))
                .collect();
            format!("{}{links}", text(first))
        }
        ExprKind::Not(inner) => format!("not {}", text(inner)),
        ExprKind::And(parts) => joined(parts, " and "),
        ExprKind::Or(parts) => joined(parts, " or "),
        ExprKind::Where { value, cond } => format!("{} where {}", text(value), text(cond)),
        ExprKind::Else(parts) => joined(parts, " else "),
        ExprKind::Paren(inner) => format!("({})", text(inner)),
    }
}
