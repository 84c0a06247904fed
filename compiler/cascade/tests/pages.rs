//! The programs that explain the codes: the wrong one gets its message, the right one none.

mod common;

use common::lower_text;
use einloom_syntax::Code;

/// Codes of constructs that this edition refuses by name before the rule of the code can matter.
const REFUSED: [Code; 3] = [Code::E0501, Code::E0502, Code::E0503];

#[test]
fn wrong_programs_get_their_code_and_right_ones_none() {
    let mut problems = String::new();
    for &code in Code::ALL {
        let page = code.page();
        if code.as_str().starts_with("E01") || page.wrong.is_empty() {
            continue;
        }
        let (_, messages) = lower_text(page.wrong);
        let (_, repaired) = lower_text(page.right);
        let refused = |text: &str| text.contains("[E0801]");
        if !(REFUSED.contains(&code) || refused(&messages) && code != Code::E0801) {
            let errors = messages.matches("error[").count();
            if !messages.contains(&format!("[{code}]")) || errors > 1 {
                problems += &format!("{code} should stand alone:\n{}\n{messages}\n", page.wrong);
            }
        }
        if !refused(&repaired) && !repaired.is_empty() {
            problems += &format!(
                "{code}, repaired, should have no message:\n{}\n{repaired}\n",
                page.right
            );
        }
    }
    assert!(problems.is_empty(), "{problems}");
}
