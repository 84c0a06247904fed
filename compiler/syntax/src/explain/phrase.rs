//! Words for rules of the grammar.

use crate::grammar::Rule;

/// Phrase of all infix operators together.
pub(super) const OPERATOR: &str = "an operator";

/// The expected rules as a list of phrases, `a, b or c`; `None` if there is nothing to say.
pub(super) fn alternatives(expected: &[Rule]) -> Option<String> {
    let mut phrases: Vec<&str> = Vec::new();
    let mut operator = false;
    // After an operand of an expression a bracket may follow as well as an operator; neither is worth naming.
    let in_expression = expected.contains(&Rule::mul_op);
    let continues = [Rule::open_paren, Rule::args, Rule::open_list, Rule::dims, Rule::ranks];
    for &rule in expected
        .iter()
        .filter(|rule| !(in_expression && continues.contains(rule)))
    {
        match phrase(rule) {
            Some(OPERATOR) => operator = true,
            Some(phrase) if !phrases.contains(&phrase) => phrases.push(phrase),
            _ => {}
        }
    }
    phrases.sort_unstable_by_key(|&phrase| (!phrase.starts_with('`'), phrase));
    if phrases.is_empty() && operator {
        phrases.push(OPERATOR);
    }
    let (last, rest) = phrases.split_last()?;
    if rest.is_empty() {
        Some(last.to_string())
    } else {
        Some(format!("{} or {last}", rest.join(", ")))
    }
}

/// The phrase of one rule; rules that no message names have none.
fn phrase(rule: Rule) -> Option<&'static str> {
    use Rule::*;
    Some(match rule {
        WHITESPACE | COMMENT | word | reserved | one | stop | EOI => return None,
        stmt | cascade | import | rank | constant | input | inout | output | recur | assume | policy | def => {
            "a statement"
        }
        define | lhs => "a definition",
        rank_item => "a rank",
        const_item => "a constant",
        decl => "a tensor",
        place => "a rank",
        ident => "a name",
        string => "a path in quotes",
        number => "a number",
        tuple | choice | expr | guarded | disj | conj | neg | compare | sum | product | unary | power | atom
        | paren | call | subst | index | minus | kw_not => "a value",
        pair => "a replacement",
        cmp_op | add_op | mul_op | caret | bar | kw_and | kw_or | kw_where | kw_else | kw_by => OPERATOR,
        comma => "`,`",
        colon => "`:` and a type",
        assign => "`:=`",
        equals => "`=`",
        open_paren | params | args | subjects => "`(`",
        close_paren => "`)`",
        open_list | dims | places | ranks => "`[`",
        close_list => "`]`",
        open_block | block => "`{`",
        close_block => "`}`",
        kw_from => "`from` and an initial value",
        kw_return => "`return`",
        kw_cascade | kw_import | kw_rank | kw_const | kw_in | kw_inout | kw_out | kw_rec | kw_assume | kw_policy
        | kw_def => "a statement",
    })
}
