//! All example specs and the prelude parse without a message and are in canonical form.
#![allow(clippy::disallowed_methods, reason = "the specs are files")]

use einloom_syntax::{PRELUDE, SourceId, format, parse};

#[test]
fn every_spec_parses_and_is_in_canonical_form() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs");
    let mut n_specs = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of specs exists") {
        let path = entry.expect("the folder can be listed").path();
        let text = std::fs::read_to_string(&path).expect("a spec can be read");
        let (file, diagnostics) = parse(SourceId(0), &text);
        assert!(diagnostics.is_empty(), "{}: {diagnostics:#?}", path.display());
        assert!(
            file.cascade_name().is_some() && file.stmts.len() > 3,
            "{}",
            path.display()
        );
        assert!(file.broken.is_empty() && file.poisoned.is_empty());
        let formatted = format(&file, &text);
        assert_eq!(formatted, text, "{}", path.display());
        n_specs += 1;
    }
    assert_eq!(n_specs, 27);
}

#[test]
fn the_prelude_parses_and_is_in_canonical_form() {
    let (file, diagnostics) = parse(SourceId(0), PRELUDE);
    assert_eq!(diagnostics, []);
    assert_eq!(
        file.stmts.len(),
        PRELUDE.lines().filter(|line| line.starts_with("def ")).count()
    );
    assert_eq!(format(&file, PRELUDE), PRELUDE);
}
