//! Every kind of syntax message: source and rendered text in one snapshot.

use einloom_syntax::{SourceMap, Style, parse, render};

/// Source, names that are poisoned, and rendered messages.
fn messages(text: &str) -> String {
    let mut sources = SourceMap::new();
    let id = sources.add("spec.ein", text);
    let (file, diagnostics) = parse(id, text);
    let poisoned = file.poisoned.join(", ");
    let n_stmts = file.stmts.len();
    format!(
        "{text}\n----- {n_stmts} statements read; poisoned: {poisoned}\n{}",
        render(&diagnostics, &sources, Style::Plain)
    )
}

macro_rules! message_tests {
    ($($name:ident $text:expr;)*) => {
        $(
            #[test]
            fn $name() {
                insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                    insta::assert_snapshot!(stringify!($name), messages($text));
                });
            }
        )*
    };
}

message_tests! {
    e0101_list_not_closed "S[b,h = Q\nA = softmax[m](S)\n";
    e0101_list_not_closed_on_line "S[b,h = Q + K\nO[b] = 1\n";
    e0101_list_with_two_names "S[b h] = Q\n";
    e0101_list_closed_by_other_bracket "S[b,h) = Q\n";
    e0101_argument_list "x = max(a, b\ny = 2\n";
    e0101_argument_list_after_ranks "x = sum[m](a b)\n";
    e0101_parenthesis "x = (a + b\nout y : f32 = 2\n";
    e0101_parenthesis_juxtaposed "x = (a b)\n";
    e0101_closes_nothing "x = a)\ny = 1\n";
    e0101_juxtaposed "S = Q K\ny = S\n";
    e0101_juxtaposed_number "S = 2 (a + b)\n";
    e0101_if "x = if c then a else b\n";
    e0101_type_missing "in Q[b,p], K[b,m]\nS = Q * K\n";
    e0101_type_missing_out "out O[b,p] = Q\n";
    e0101_from_missing "rec X[t] = X[t - 1] + 1\ny = 1\n";
    e0101_rank_name "rank 64\n";
    e0101_no_statement "* x\ny = 1\n";
    e0101_prose "This text is prose\nand goes on.\n";
    e0101_equality_for_definition "x == 1\n";
    e0101_assign_for_definition "x := 1\n";
    e0101_definition_for_equality "x = a where b = c\n";
    e0101_two_wheres "x = a where b where c\n";
    e0101_two_wheres_on_lines "x = a where b\n        where c\ny = 1\n";
    e0101_semicolon "x = 1;\ny = 2;\n";
    e0101_remainder "x = a % 2\n";
    e0101_bad_number "x = 12abc\n";
    e0101_point "x = .5\n";
    e0101_open_string "import \"other.ein\nx = 1\n";
    e0101_block "def f(x) {\n    y = x\n    y\n}\nz = 1\n";
    e0101_block_open "def f(x) {\n    y = x\n    return y\nz = 1\n";
    e0101_def_without_parameters "def f = 1\n";
    e0101_policy "policy reference[S] = running\n";
    e0101_import "import other\n";
    e0102_runs_on "in Q[b] : f32\n\nS[p,m] = Q *\nA = softmax[m](S)\nB = A\n";
    e0102_runs_on_keyword "S = Q +\nout O[b] : f32 = S\n";
    e0102_runs_on_list "S[p,m] = Q -\nA[p,m] = K\n";
    e0102_runs_on_where "x = 1 where\ny = 2\n";
    e0102_runs_on_comma "rank a,\nin Q[a] : f32\n";
    e0102_runs_on_equals "x =\nout y : f32 = 1\n";
    e0103_condition_missing "x = 1 where";
    e0103_condition_missing_else "x = 1 where else 2\n";
    e0103_value_missing "x = (1 + ) * 2\n";
    e0103_value_missing_at_end "x = (1 +";
    e0103_initial_value "rec X[t] = X[t - 1] from\n";
    e0103_trailing_comma "x = max(a, b,)\n";
    e0103_power "x = a ** 2\n";
    e0103_empty_parenthesis "x = ()\n";
    e0104_reserved_rank "rank where\n";
    e0104_reserved_index "S[b,in] = Q\n";
    e0104_reserved_value "x = rank + 1\n";
    e0104_reserved_definition "by = 3\n";
    e0104_kept "rank scan, m\nin type[m] : f32\n";
    e0101_second_type "rank b\nin A[b] : f32, L[b,c] : i32\nx = 1\n";
    e0105_foreign_sign "x = a \u{2264} b\ny = 1\n";
    e0105_foreign_name "\u{3b3}x = 1\ny = 1\n";
    e0105_foreign_comment "// \u{e4}\u{f6}\u{fc}\nx = 1\n";
    e0105_nul "x = \0 1\n";
    e0106_depth &format!("x = {}1{}\ny = 2\n", "f(".repeat(201), ")".repeat(201));
    e0107_integer "x = 9223372036854775808\n";
    e0107_real "x = 1e999\n";
    e0108_rank_in_capitals "rank b, M\n";
    e0601_declared_prime "rank m'\n";
    several_statements "rank b,, c\nin Q[b,c : f32\nx = 1\ny = (2\nz = 3\n";
    unformatted_continuation "x = f(a,\nb + * c,\nd)\ny = 1\n";
}
