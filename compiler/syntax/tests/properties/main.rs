//! Properties of parser, formatter and renderer over random programs and random text.

mod programs;

use einloom_syntax::ast::{Expr, ExprKind, File};
use einloom_syntax::{PlainDiagnostic, SourceId, SourceMap, Style, decode, format, parse, render};
use proptest::prelude::*;

/// Parses, formats and renders; nothing may panic. Returns the tree and whether there was no message.
fn all_stages(text: &str) -> (File, bool) {
    let mut sources = SourceMap::new();
    let id = sources.add("spec.ein", text);
    let (file, diagnostics) = parse(id, text);
    let rendered = render(&diagnostics, &sources, Style::Plain);
    assert_eq!(rendered.is_empty(), diagnostics.is_empty());
    render(&diagnostics, &sources, Style::Color);
    for diagnostic in &diagnostics {
        let plain = PlainDiagnostic::new(diagnostic, &sources);
        assert!(!plain.message.is_empty() && !plain.message.ends_with('.'));
        let fits = |span: einloom_syntax::Span| text.get(span.range()).is_some();
        assert!(diagnostic.labels.iter().all(|label| fits(label.span)), "{diagnostic:?}");
        assert!(
            diagnostic
                .help
                .iter()
                .flat_map(|help| &help.replacements)
                .all(|repair| fits(repair.span))
        );
    }
    assert!(
        file.broken.is_empty() || !diagnostics.is_empty(),
        "a lost statement has a message"
    );
    format(&file, text);
    (file, diagnostics.is_empty())
}

/// The tree without parentheses of the author, for comparison with one that had none.
fn unparenthesised(file: &File) -> File {
    let mut file = file.without_spans();
    programs::for_each_expr(&mut file, &mut |expr: &mut Expr| {
        while let ExprKind::Paren(inner) = &mut expr.kind {
            let inner = std::mem::replace(&mut inner.kind, ExprKind::And(Vec::new()));
            expr.kind = inner;
        }
    });
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is printed parses to the same program, and formatting changes neither program nor its own result.
    #[test]
    fn printed_programs_parse_to_themselves(file in programs::file()) {
        let text: String = file.stmts.iter().map(|stmt| format!("{stmt}\n")).collect();
        let (parsed, clean) = all_stages(&text);
        prop_assert!(clean, "{}", text);
        prop_assert_eq!(unparenthesised(&parsed), unparenthesised(&file), "{}", text);
        let once = format(&parsed, &text);
        let (again, clean) = all_stages(&once);
        prop_assert!(clean, "{}", once);
        prop_assert!(again.same_program(&parsed), "{}", once);
        prop_assert_eq!(format(&again, &once), once.clone());
        let aligned = once.lines().all(|line| line.starts_with(['}', ' ']) || line.as_bytes()[0].is_ascii_alphabetic());
        prop_assert!(aligned);
    }

    /// White space and comments between tokens do not change the program; the formatter keeps every comment.
    #[test]
    fn white_space_does_not_matter(file in programs::file(), seed in any::<u64>()) {
        let text: String = file.stmts.iter().map(|stmt| format!("{stmt}\n")).collect();
        let messy = programs::scatter(&text, seed);
        let (parsed, clean) = all_stages(&messy);
        prop_assert!(clean, "{}", messy);
        prop_assert!(parsed.same_program(&parse(SourceId(0), &text).0), "{}", messy);
        let once = format(&parsed, &messy);
        let (again, clean) = all_stages(&once);
        prop_assert!(clean, "{}", once);
        prop_assert!(again.same_program(&parsed), "{}\n----\n{}", messy, once);
        prop_assert_eq!(once.matches("//").count(), messy.matches("//").count(), "{}\n----\n{}", messy, once);
        let twice = format(&again, &once);
        prop_assert_eq!(&twice, &once, "{}\n----\n{}", messy, once);
        prop_assert!(!once.contains("\n\n\n"));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        all_stages(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(text) = decode(&bytes) {
            all_stages(&text);
        }
        let ascii: String = bytes.iter().map(|byte| char::from(byte % 128)).collect();
        all_stages(&ascii);
    }

    #[test]
    fn no_soup_of_tokens_panics(text in programs::soup()) {
        let (file, clean) = all_stages(&text);
        if clean {
            let once = format(&file, &text);
            prop_assert!(parse(SourceId(0), &once).0.same_program(&file), "{}\n----\n{}", text, once);
        }
    }

    /// One damaged statement of a formatted program never disturbs those before it and after it.
    #[test]
    fn recovery_keeps_the_other_statements(file in programs::file(), at in any::<prop::sample::Index>()) {
        let lines: Vec<String> = file.stmts.iter().map(|stmt| format!("{stmt}\n")).collect();
        let broken = at.index(lines.len() + 1);
        let mut damaged = lines.clone();
        damaged.insert(broken, "zz[b = (1 + * 2\n".to_string());
        let (parsed, clean) = all_stages(&damaged.concat());
        prop_assert!(!clean);
        let (expected, _) = parse(SourceId(0), &lines.concat());
        prop_assert_eq!(parsed.broken.len(), 1);
        prop_assert_eq!(&parsed.poisoned, &["zz".to_string()]);
        prop_assert_eq!(parsed.without_spans().stmts, expected.without_spans().stmts);
    }
}
