//! The set of codes and their pages.

use einloom_syntax::{Code, Severity, SourceId, parse};

#[test]
fn codes_are_in_order_and_found_by_text() {
    assert!(Code::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    for &code in Code::ALL {
        assert_eq!(Code::from_text(&code.to_string().to_lowercase()), Some(code));
        assert_eq!(code.severity() == Severity::Warning, code.as_str().starts_with('W'));
        assert!(!code.title().ends_with('.') && !code.page().reason.is_empty());
        let explained = code.explain();
        assert!(explained.starts_with(code.as_str()), "{explained}");
        assert!(!explained.contains("  \n"), "{explained}");
    }
    assert_eq!(Code::from_text("E9999"), None);
}

/// Wrong programs of syntax codes get their message, all others and all right ones parse.
#[test]
fn programs_of_pages_are_what_they_claim() {
    for &code in Code::ALL {
        let page = code.page();
        let (_, diagnostics) = parse(SourceId(0), page.right);
        assert_eq!(diagnostics, [], "{code}");
        let (_, diagnostics) = parse(SourceId(0), page.wrong);
        let is_syntax = code.as_str().starts_with("E01") && !page.wrong.is_empty();
        let expected: &[Code] = if is_syntax { &[code] } else { &[] };
        assert_eq!(
            diagnostics.iter().map(|one| one.code).collect::<Vec<_>>(),
            expected,
            "{code}"
        );
        assert_eq!(page.wrong.is_empty(), page.right.is_empty(), "{code}");
    }
}
