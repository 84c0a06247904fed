//! Whatever parses can be lowered or refused, always the same way, and what is lowered is well formed.

mod common;

use common::lower_text;
use einloom_cascade::kinds::kinds;
use einloom_cascade::print;
use proptest::prelude::*;

const HEADER: &str = "rank b, h = (g, r), p, m, n = (c, i), i = 4, e\nconst W = 3 | 5\nin  Q[b,h,p,e], K[b,g,m,e] : bf16\n\
    in  x[p,m], y[p], z[n] : f32\nin  t[p] : i32\nin  k : i32\nin  tau : f32 = 1\ndef f[a](u) = u / sum[a](u)\n";

fn leaf() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "Q",
        "K",
        "x",
        "y",
        "z",
        "t",
        "k",
        "tau",
        "p",
        "m",
        "n",
        "h",
        "e",
        "c",
        "P",
        "M",
        "E",
        "W",
        "1",
        "0.5",
        "2",
        "inf",
        "true",
        "x[p := m]",
        "x[p, m + 1]",
        "y[t]",
        "y[p - 1]",
        "z[n := n - 1]",
        "K[b, h div R, m, e]",
        "A",
        "unknown",
    ])
    .prop_map(str::to_string)
}

fn expr() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 40, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (
                two.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "div", "mod", "^"])
            )
                .prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            two.clone().prop_map(|(a, b)| format!("{a} * {b}")),
            (
                two.clone(),
                prop::sample::select(vec!["<", "<=", "==", "!=", ">", ">="])
            )
                .prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} where {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} else {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} and not {b})")),
            (
                inner.clone(),
                prop::sample::select(vec!["exp", "abs", "floor", "sqrt", "silu", "i8", "bf16"])
            )
                .prop_map(|(a, f)| format!("{f}({a})")),
            (
                inner.clone(),
                prop::sample::select(vec![
                    "sum", "max", "argmax", "softmax", "mean", "cumsum", "f", "any", "count"
                ]),
                prop::sample::select(vec!["m", "p", "n", "h", "e", "c", "p,m"])
            )
                .prop_map(|(a, f, r)| format!("{f}[{r}]({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lowering_is_total_and_deterministic(first in expr(), second in expr(), dims in prop::sample::select(vec!["b,h,p,m", "p,m", "p", "b,h,p", "n", "b,g,m,e", ""])) {
        let text = format!("{HEADER}A = {first}\nout O[{dims}] : f32 = {second}\nout B[{dims}] : f32 = {first}\n");
        let (cascades, messages) = lower_text(&text);
        let (again, same) = lower_text(&text);
        prop_assert_eq!(&messages, &same);
        for (one, two) in cascades.iter().zip(&again) {
            prop_assert!(kinds(one).is_ok(), "{}\n{:?}", text, kinds(one).err());
            prop_assert_eq!(print(one), print(two));
        }
        prop_assert!(!cascades.is_empty() || messages.contains("error"));
    }

    #[test]
    fn token_soup_does_not_panic(words in prop::collection::vec(prop::sample::select(vec![
        "rank", "const", "in", "out", "def", "assume", "policy", "rec", "from", "where", "else", "sum", "softmax", "[", "]", "(", ")", ",", ":", "=",
        ":=", "+", "*", "/", "<", "==", "p", "m", "P", "x", "A", "f32", "bf16", "1", "2.5", "\n", "\n", "by", "cascade", "{", "}", "return", "|", "and", "not",
    ]), 0..60)) {
        let _ = lower_text(&words.join(" "));
    }

    #[test]
    fn statement_soup_does_not_panic(lines in prop::collection::vec(prop::sample::select(vec![
        "rank p, m", "rank p = M", "rank m = P", "rank h = (g, r)", "rank g = (h, p)", "rank e = 4 | 8", "rank e = E", "const W = W", "const T = bf16 | f16",
        "in  x[p,m] : f32", "in  x : T", "in  k[P + 1] : i32", "A = softmax[m](x)", "A[p] = x", "out O[p,m] : T = x", "out A : f32", "def f(x) = f(x)",
        "def f[m](x) = x[m := m + 1]", "B[p] = f[m](x)", "out O[h] : f32 = g", "assume x > 0", "policy error(O) = 2", "out O[p,p] : f32 = 1", "rank w = size(p)",
        "rec X[p] = X[p - 1] from 0", "inout K[p] : f32", "K' = K", "rank q = (p, m) by k", "const P = 3", "in  P[p] : f32",
    ]), 0..12)) {
        let _ = lower_text(&lines.join("\n"));
    }
}
