//! Bounds: size, depth, number of messages.

use einloom_syntax::{Code, Diagnostic, MAX_SOURCE, SourceId, ast::MAX_DEPTH, decode, format, parse};

fn codes(diagnostics: &[Diagnostic]) -> Vec<Code> {
    diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
}

/// `open` n times, `1`, `close` n times as the value of `x`, then a second statement.
fn nested(open: &str, close: &str, n: usize) -> String {
    format!("x = {}1{}\ny = 2\n", open.repeat(n), close.repeat(n))
}

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

#[test]
fn depth_is_bounded_and_the_next_statement_is_read() {
    for (open, close) in NESTINGS {
        let (file, diagnostics) = parse(SourceId(0), &nested(open, close, MAX_DEPTH - 2));
        assert_eq!((diagnostics.as_slice(), file.stmts.len()), (&[][..], 2), "{open}");
        for n in [MAX_DEPTH + 1, 50_000] {
            let (file, diagnostics) = parse(SourceId(0), &nested(open, close, n));
            assert_eq!(codes(&diagnostics), [Code::E0106], "{open} {n}");
            assert_eq!(
                (file.stmts.len(), file.poisoned.as_slice()),
                (1, &["x".to_string()][..]),
                "{open} {n}"
            );
        }
    }
}

#[test]
fn chains_of_one_level_are_bounded_where_they_make_the_tree_deep() {
    for operator in ["+", "-", "*", "/", "div", "mod"] {
        let chain = |n: usize| format!("x = 1{}\ny = 2\n", format!(" {operator} a").repeat(n));
        assert_eq!(parse(SourceId(0), &chain(MAX_DEPTH - 1)).1, []);
        for n in [MAX_DEPTH, 10_000] {
            let (file, diagnostics) = parse(SourceId(0), &chain(n));
            assert_eq!(
                (codes(&diagnostics), file.stmts.len()),
                (vec![Code::E0106], 1),
                "{operator} {n}"
            );
        }
    }
    for operator in ["and", "or", "else", "<"] {
        let text = format!("x = a{}\ny = 2\n", format!(" {operator} a").repeat(10_000));
        let (file, diagnostics) = parse(SourceId(0), &text);
        assert_eq!((diagnostics.as_slice(), file.stmts.len()), (&[][..], 2), "{operator}");
    }
}

#[test]
fn long_statements_and_long_comments_are_read_whole() {
    let list: Vec<String> = (0..20_000).map(|number| format!("r{number}")).collect();
    let comment = "// comment\n".repeat(10_000);
    let text = format!(
        "rank {}\n{comment}, last{comment}\nx = f(last, {})\n",
        list.join(", "),
        list.join(",")
    );
    let (file, diagnostics) = parse(SourceId(0), &text);
    assert_eq!(diagnostics, []);
    assert_eq!(file.stmts.len(), 2);
    let once = format(&file, &text);
    assert!(parse(SourceId(0), &once).0.same_program(&file));
}

#[test]
fn large_sources_are_refused() {
    let (file, diagnostics) = parse(SourceId(0), &" ".repeat(MAX_SOURCE + 1));
    assert_eq!((codes(&diagnostics), file.stmts.len()), (vec![Code::E0106], 0));
    assert!(parse(SourceId(0), &" ".repeat(MAX_SOURCE)).1.is_empty());
    assert_eq!(
        decode(&vec![b' '; MAX_SOURCE + 1]).map_err(|refused| refused.code),
        Err(Code::E0106)
    );
}

#[test]
fn the_number_of_messages_is_bounded() {
    for line in [
        "x = (\n",
        "x = 1 2\n",
        "* \n",
        "? ",
        "x = \u{e4}\n",
        "x = (((1 + * [\n",
        "S = Q *\nA = 2\n",
        "a[\n",
        "a]\n",
        "in a[\n",
    ] {
        let text = line.repeat(MAX_SOURCE / line.len());
        let (file, diagnostics) = parse(SourceId(0), &text);
        assert!((1..=101).contains(&diagnostics.len()), "{line}: {}", diagnostics.len());
        assert!(!file.broken.is_empty());
    }
}

#[test]
fn a_large_file_is_read() {
    let line = "S[b,h,p,m] = Q[b, h, p - 2 + t, e] * K / sqrt(E) where m <= p + M - P\n";
    let text = line.repeat(MAX_SOURCE / line.len());
    let (file, diagnostics) = parse(SourceId(0), &text);
    assert_eq!(diagnostics, []);
    assert_eq!(file.stmts.len(), MAX_SOURCE / line.len());
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let refused = decode(b"x = 1\ny = \xff\n").expect_err("no UTF-8");
    assert_eq!(refused.code, Code::E0105);
    assert!(refused.message.contains("byte 10, in line 2"), "{}", refused.message);
    assert_eq!(decode(b"\xef\xbb\xbfx = 1").as_deref(), Ok("x = 1"));
}
