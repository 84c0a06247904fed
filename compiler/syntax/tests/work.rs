//! Parsing takes linear work. The call limit of pest is global to the process, hence a single test in this file.

use std::num::NonZeroUsize;

use einloom_syntax::{Code, SourceId, ast::MAX_DEPTH, parse};

const NESTINGS: [(&str, &str); 8] = [
    ("(", ")"),
    ("f(", ")"),
    ("a[", "]"),
    ("a[m := ", "]"),
    ("f[m](", ")"),
    ("-", ""),
    ("not ", ""),
    ("2^", ""),
];

/// Alternatives of the grammar are decided early: the work is linear whatever is nested and wherever it breaks off.
#[test]
fn parsing_takes_linear_work() {
    let tails = ["", "1", ")", "]", " where", " +", "\ny = 2\n", ":=", "="];
    for (open, close) in NESTINGS {
        for tail in tails {
            for n in [20, MAX_DEPTH - 2] {
                for text in [
                    format!("x = {}{tail}", open.repeat(n)),
                    format!("x[{}{tail}", open.repeat(n)),
                    format!("x[{}1{}{tail}", open.repeat(n), close.repeat(n)),
                    format!("rank x = ({}1{}{tail}", open.repeat(n), close.repeat(n)),
                    format!("in {}1{}{tail}", open.repeat(n), close.repeat(n)),
                    format!("def f(x) {{ y = {}1{}{tail}", open.repeat(n), close.repeat(n)),
                ] {
                    pest::set_call_limit(NonZeroUsize::new(500 * text.len() + 20_000));
                    let (_, diagnostics) = parse(SourceId(0), &text);
                    pest::set_call_limit(None);
                    let limited = diagnostics.iter().any(|one| one.code == Code::E0106);
                    assert!(!limited, "{text}");
                }
            }
        }
    }
}
