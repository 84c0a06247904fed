//! From text to cascade: the printed form of every example that this edition supports, the refusals of the others.
#![allow(clippy::disallowed_methods, reason = "the specs are files")]

mod common;

use common::lower_text;
use einloom_cascade::kinds::kinds;
use einloom_cascade::print;

#[test]
fn examples() {
    insta::glob!("specs/*.ein", |path| {
        let text = std::fs::read_to_string(path).expect("a readable spec");
        let (cascades, messages) = lower_text(&text);
        for cascade in &cascades {
            kinds(cascade).expect("a lowered cascade should be well formed");
        }
        let printed = cascades.first().map_or(String::new(), print);
        insta::with_settings!({omit_expression => true}, {
            insta::assert_snapshot!(format!("{messages}{}{printed}", if messages.is_empty() { "" } else { "\n" }));
        });
    });
}

#[test]
fn shipped_examples_lower_in_silence() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dsl-examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "ein") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable spec");
        let (cascades, messages) = lower_text(&text);
        assert!(
            messages.is_empty() && !cascades.is_empty(),
            "{}:\n{messages}",
            path.display()
        );
        for cascade in &cascades {
            kinds(cascade).expect("a lowered cascade should be well formed");
        }
        count += 1;
    }
    assert!(count > 10, "only {count} examples");
}
