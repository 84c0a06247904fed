//! Random programs, random white space, random tokens.

use einloom_syntax::Span;
use einloom_syntax::ast::*;
use proptest::prelude::*;

const NAMES: [&str; 14] = [
    "Q", "K", "b", "h", "m", "e", "S", "x_1", "M", "softmax", "sum", "inx", "orb", "pi",
];

fn name() -> impl Strategy<Value = Ident> {
    prop::sample::select(&NAMES[..]).prop_map(|text| Ident {
        span: Span::default(),
        text: text.to_string(),
    })
}

fn rank() -> impl Strategy<Value = Ident> {
    prop::sample::select(vec!["b", "h", "m", "e", "t2"]).prop_map(|text| Ident {
        span: Span::default(),
        text: text.to_string(),
    })
}

/// A name that may be the new value of an `inout`.
fn target() -> impl Strategy<Value = Ident> {
    (name(), any::<bool>()).prop_map(|(mut name, new)| {
        if new {
            name.text.push('\'');
        }
        name
    })
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        (0i64..1000).prop_map(|value| Number {
            text: value.to_string(),
            value: NumberValue::Int(value)
        }),
        (0u32..1000).prop_map(|value| {
            let text = format!("{}.{}e-{}", value / 10, value % 10, value % 7);
            let value = text.parse().expect("the text is a number");
            Number {
                text,
                value: NumberValue::Real(value),
            }
        }),
    ]
}

fn list<T: std::fmt::Debug>(of: impl Strategy<Value = T>, least: usize) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, least..least + 3)
}

fn node(kind: ExprKind) -> Expr {
    Expr {
        span: Span::default(),
        kind,
    }
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![number().prop_map(ExprKind::Number), target().prop_map(ExprKind::Name),].prop_map(node);
    leaf.prop_recursive(5, 40, 3, |inner| compound(inner.boxed()).prop_map(node))
}

fn compound(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = ExprKind> {
    let one = || inner.clone().prop_map(Box::new);
    let op = prop::sample::select(vec![
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::FloorDiv,
        BinaryOp::Mod,
        BinaryOp::Pow,
    ]);
    let compare = prop::sample::select(vec![
        CompareOp::Eq,
        CompareOp::Ne,
        CompareOp::Le,
        CompareOp::Ge,
        CompareOp::Lt,
        CompareOp::Gt,
    ]);
    let link = (compare, inner.clone()).prop_map(|(op, right)| Comparison {
        op,
        op_span: Span::default(),
        right,
    });
    let pair = (name(), inner.clone()).prop_map(|(rank, value)| Pair {
        span: Span::default(),
        rank,
        value,
    });
    prop_oneof![
        3 => (op, one(), one()).prop_map(|(op, left, right)| {
            ExprKind::Binary { op, op_span: Span::default(), left, right }
        }),
        2 => (target(), list(inner.clone(), 0)).prop_map(|(name, args)| ExprKind::Index { name, args }),
        2 => (name(), list(name(), 0), list(inner.clone(), 0))
            .prop_map(|(name, ranks, args)| ExprKind::Call { name, ranks, args }),
        1 => (name(), list(pair, 1)).prop_map(|(name, pairs)| ExprKind::Subst { name, pairs }),
        1 => one().prop_map(ExprKind::Neg),
        1 => one().prop_map(ExprKind::Not),
        1 => one().prop_map(ExprKind::Paren),
        1 => (one(), list(link, 1)).prop_map(|(first, rest)| ExprKind::Compare { first, rest }),
        1 => list(inner.clone(), 2).prop_map(ExprKind::And),
        1 => list(inner.clone(), 2).prop_map(ExprKind::Or),
        1 => list(inner.clone(), 2).prop_map(ExprKind::Else),
        1 => (one(), one()).prop_map(|(value, cond)| ExprKind::Where { value, cond }),
    ]
}

fn lhs() -> impl Strategy<Value = Lhs> {
    let place = (rank(), prop::option::weighted(0.2, expr())).prop_map(|(rank, at)| Place {
        span: Span::default(),
        rank,
        at,
    });
    (target(), prop::option::of(list(place, 0))).prop_map(|(name, places)| Lhs {
        span: Span::default(),
        name,
        places,
    })
}

fn decl() -> impl Strategy<Value = Decl> {
    (name(), prop::option::of(list(expr(), 0))).prop_map(|(name, dims)| Decl {
        span: Span::default(),
        name,
        dims,
    })
}

fn rank_stmt() -> impl Strategy<Value = StmtKind> {
    let value = prop_oneof![
        (list(rank(), 2), prop::option::of(name())).prop_map(|(parts, by)| RankValue::Tuple { parts, by }),
        list(expr(), 1).prop_map(RankValue::Choice),
    ];
    let item = (rank(), prop::option::of(value)).prop_map(|(name, value)| RankItem {
        span: Span::default(),
        name,
        value,
    });
    list(item, 1).prop_map(StmtKind::Rank)
}

fn define() -> impl Strategy<Value = StmtKind> {
    (lhs(), expr()).prop_map(|(lhs, value)| StmtKind::Define { lhs, value })
}

fn def() -> impl Strategy<Value = StmtKind> {
    let local = prop_oneof![rank_stmt(), define()].prop_map(|kind| Stmt {
        span: Span::default(),
        kind,
    });
    let body = prop_oneof![
        expr().prop_map(DefBody::Expr),
        (list(local, 0), expr()).prop_map(|(stmts, result)| DefBody::Block { stmts, result }),
    ];
    (name(), list(rank(), 0), list(name(), 0), body).prop_map(|(name, ranks, params, body)| {
        StmtKind::Def(Def {
            name,
            ranks,
            params,
            body,
        })
    })
}

fn stmt() -> impl Strategy<Value = Stmt> {
    let policy = prop_oneof![
        name().prop_map(PolicyValue::Name),
        number().prop_map(|number| PolicyValue::Number {
            span: Span::default(),
            number
        }),
    ];
    let constant = (name(), list(expr(), 1)).prop_map(|(name, choices)| ConstItem {
        span: Span::default(),
        name,
        choices,
    });
    prop_oneof![
        1 => name().prop_map(StmtKind::Cascade),
        1 => name().prop_map(|mut path| { path.text.push_str(" // x.ein"); StmtKind::Import(path) }),
        1 => rank_stmt(),
        1 => list(constant, 1).prop_map(StmtKind::Const),
        1 => (list(decl(), 1), name(), prop::option::of(expr()))
            .prop_map(|(decls, ty, default)| StmtKind::Input { decls, ty, default }),
        1 => (list(decl(), 1), name()).prop_map(|(decls, ty)| StmtKind::Inout { decls, ty }),
        1 => (lhs(), name(), prop::option::of(expr()))
            .prop_map(|(lhs, ty, value)| StmtKind::Output { lhs, ty, value }),
        1 => (lhs(), expr(), expr()).prop_map(|(lhs, value, init)| StmtKind::Rec { lhs, value, init }),
        1 => expr().prop_map(StmtKind::Assume),
        1 => (name(), list(name(), 0), policy)
            .prop_map(|(key, names, value)| StmtKind::Policy { key, names, value }),
        2 => def(),
        3 => define(),
    ]
    .prop_map(|kind| Stmt {
        span: Span::default(),
        kind,
    })
}

/// A program that the grammar allows; it need not mean anything.
pub(crate) fn file() -> impl Strategy<Value = File> {
    prop::collection::vec(stmt(), 1..5).prop_map(|stmts| File {
        stmts,
        ..File::default()
    })
}

/// The text with random white space and comments between its tokens. Strings hold a blank and `//`, which are no
/// places between tokens.
pub(crate) fn scatter(text: &str, seed: u64) -> String {
    let mut state = seed | 1;
    let mut messy = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        quoted ^= letter == '"';
        if quoted || !letter.is_ascii_whitespace() {
            messy.push(letter);
            continue;
        }
        // Xorshift: the choice of white space needs no better generator.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        messy.push_str(match state % 12 {
            0 => "\n",
            1 => "\n\n\n",
            2 => " // a comment\n",
            3 => "\n  // another comment\n\n",
            4 => "\t\r\n",
            _ => " ",
        });
    }
    // An import whose path holds `//` is no comment, but is counted like one in both texts.
    messy
}

/// Words, numbers, signs and line ends in any order.
pub(crate) fn soup() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "cascade",
        "import",
        "rank",
        "const",
        "in",
        "inout",
        "out",
        "rec",
        "from",
        "assume",
        "policy",
        "def",
        "return",
        "by",
        "where",
        "else",
        "and",
        "or",
        "not",
        "div",
        "mod",
        "grad",
        "Q",
        "K'",
        "b",
        "m",
        "sum",
        "1",
        "0.5",
        "1e-6",
        "12ab",
        "\"x\"",
        "\"",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "=",
        ":=",
        "==",
        "<=",
        "<",
        "+",
        "-",
        "*",
        "/",
        "^",
        "|",
        "?",
        ";",
        "// c\n",
        "\n",
        "\n\n",
        " ",
        "\u{e4}",
        "\0",
        "\r\n",
        "\t",
        "S[p,m] = Q * K\n",
        "x = 1\n",
    ]);
    let space = prop::sample::select(vec!["", " ", " ", "\n"]);
    prop::collection::vec((token, space), 0..60).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(token, space)| format!("{token}{space}"))
            .collect()
    })
}

/// Applies `change` to every expression of the file, outer ones first.
pub(crate) fn for_each_expr(file: &mut File, change: &mut impl FnMut(&mut Expr)) {
    for stmt in &mut file.stmts {
        in_stmt(stmt, change);
    }
}

fn in_stmt(stmt: &mut Stmt, change: &mut impl FnMut(&mut Expr)) {
    let in_lhs = |lhs: &mut Lhs, change: &mut dyn FnMut(&mut Expr)| {
        lhs.places
            .iter_mut()
            .flatten()
            .filter_map(|place| place.at.as_mut())
            .for_each(change);
    };
    let mut exprs: Vec<&mut Expr> = Vec::new();
    match &mut stmt.kind {
        StmtKind::Cascade(_) | StmtKind::Import(_) | StmtKind::Policy { .. } => {}
        StmtKind::Rank(items) => {
            for item in items {
                if let Some(RankValue::Choice(choices)) = &mut item.value {
                    exprs.extend(choices);
                }
            }
        }
        StmtKind::Const(items) => exprs.extend(items.iter_mut().flat_map(|item| &mut item.choices)),
        StmtKind::Input { decls, default, .. } => {
            exprs.extend(decls.iter_mut().flat_map(|decl| decl.dims.iter_mut().flatten()));
            exprs.extend(default);
        }
        StmtKind::Inout { decls, .. } => {
            exprs.extend(decls.iter_mut().flat_map(|decl| decl.dims.iter_mut().flatten()));
        }
        StmtKind::Output { lhs, value, .. } => {
            in_lhs(lhs, &mut |expr| in_expr(expr, change));
            exprs.extend(value);
        }
        StmtKind::Rec { lhs, value, init } => {
            in_lhs(lhs, &mut |expr| in_expr(expr, change));
            exprs.extend([value, init]);
        }
        StmtKind::Assume(cond) => exprs.push(cond),
        StmtKind::Def(def) => match &mut def.body {
            DefBody::Expr(value) => exprs.push(value),
            DefBody::Block { stmts, result } => {
                stmts.iter_mut().for_each(|stmt| in_stmt(stmt, change));
                exprs.push(result);
            }
        },
        StmtKind::Define { lhs, value } => {
            in_lhs(lhs, &mut |expr| in_expr(expr, change));
            exprs.push(value);
        }
    }
    exprs.into_iter().for_each(|expr| in_expr(expr, change));
}

fn in_expr(expr: &mut Expr, change: &mut impl FnMut(&mut Expr)) {
    change(expr);
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::Name(_) => {}
        ExprKind::Index { args, .. } | ExprKind::Call { args, .. } => {
            args.iter_mut().for_each(|arg| in_expr(arg, change));
        }
        ExprKind::Subst { pairs, .. } => pairs.iter_mut().for_each(|pair| in_expr(&mut pair.value, change)),
        ExprKind::Neg(inner) | ExprKind::Not(inner) | ExprKind::Paren(inner) => in_expr(inner, change),
        ExprKind::Binary { left, right, .. } => {
            in_expr(left, change);
            in_expr(right, change);
        }
        ExprKind::Compare { first, rest } => {
            in_expr(first, change);
            rest.iter_mut().for_each(|link| in_expr(&mut link.right, change));
        }
        ExprKind::And(parts) | ExprKind::Or(parts) | ExprKind::Else(parts) => {
            parts.iter_mut().for_each(|part| in_expr(part, change));
        }
        ExprKind::Where { value, cond } => {
            in_expr(value, change);
            in_expr(cond, change);
        }
    }
}
