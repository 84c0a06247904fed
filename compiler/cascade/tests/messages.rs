//! Every message about meaning: the source and the rendered text.

mod common;

use common::lower_text;

/// Each name is that of its snapshot.
const CASES: [(&str, &str); 57] = [
    (
        "e0201_unknown_name",
        "rank p, m, e\nin  Q[p,e], K[m,e] : f32\nout S[p,m] : f32 = Qx * K",
    ),
    (
        "e0201_unknown_rank",
        "rank p, m\nin  Q[p,e] : f32\nin  x[p,m] : f32\nout S[p,mm] : f32 = x",
    ),
    (
        "e0202_twice",
        "rank p\nin  x[p] : f32\ny[p] = x + 1\ny[p] = x + 2\nout z[p] : f32 = y",
    ),
    (
        "e0202_local",
        "rank p\nin  x[p] : f32\ndef f[p](y) {\n    y = y * y\n    exp = 3\n    a = y\n    a = y + 1\n    return sum[p](a)\n}\nout O[p] : f32 = f[p](x) + x",
    ),
    ("e0202_function_name", "rank p\nin  exp[p] : f32\nout z[p] : f32 = 1"),
    (
        "e0203_count",
        "rank b, g, m, e\nin  K[b,g,m,e] : f32\nout O[b,m,e] : f32 = K[b,m,e]",
    ),
    (
        "e0204_self_attention",
        "rank p, m, e\nin  Q[p,e], K[p,e] : f32\nout S[p,m] : f32 = Q * K[m,e]",
    ),
    (
        "e0204_cycle",
        "rank p = M, m = P\nin  x[p,m] : f32\nout O[p,m] : f32 = x",
    ),
    (
        "e0204_part",
        "rank p, h = (g, r)\nin  x[p] : f32\nout O[p,h] : f32 = x + g",
    ),
    (
        "e0206_no_rank",
        "rank b, h, p, m\nin  x[b,h,p] : f32\nin  y[m] : f32\nout O[b,h,p] : f32 = x[m := 0]\nout Y[m] : f32 = y",
    ),
    (
        "e0207_no_list",
        "rank b, p, m\nin  S[b,p,m] : f32\nA = softmax[m](S)\nout O[b,p,m] : f32 = A[b,p,m]",
    ),
    (
        "e0207_parameter",
        "rank p\nin  x[p] : f32\ndef f[m](y) = y[m]\nout O[p] : f32 = f[p](x)",
    ),
    (
        "e0207_local_list",
        "rank p\nin  x[p] : f32\ndef f[p](y) {\n    a[p] = y * y\n    b[n = 3] = y\n    return sum[p](a + b)\n}\nout O[p] : f32 = f[p](x) + x",
    ),
    (
        "e0208_no_name",
        "rank h\nconst W = 3\nin  bias[h, 2 * W - 1] : f32\nout O[h] : f32 = bias",
    ),
    (
        "e0209_ahead",
        "rank p\nin  x[p] : f32\nout z[p] : f32 = y\ny[p] = x + 1",
    ),
    (
        "e0210_no_list",
        "rank p, m\nin  S[p,m] : f32\nout A : f32 = softmax[m](S)",
    ),
    (
        "e0210_export",
        "rank p, m\nin  S[p,m] : f32\nA = softmax[m](S)\nout A : f32",
    ),
    ("e0211_arity", "rank p\nin  x[p] : f32\nout O[p] : f32 = exp(x, x)"),
    (
        "e0211_def",
        "rank p, m\nin  x[p,m] : f32\nout O[p,m] : f32 = rms_norm[m](x)",
    ),
    (
        "e0211_no_bracket",
        "rank p, m\nin  x[p,m] : f32\nout O[p] : f32 = sum(x)",
    ),
    (
        "e0212_extent",
        "rank p, w = n[0]\nin  n[p] : i32\nin  x[p] : f32\nout O[p,w] : f32 = x + n",
    ),
    (
        "e0212_local_extent",
        "rank p\nin  x[p] : f32\nin  n[p] : i32\ndef f[p](y, n) {\n    rank w = n[0]\n    rank u = n[p := 0]\n    rank v = P where P > 2\n    return sum[w](y[p := w])\n}\nout O[p] : f32 = f[p](x, n) + x",
    ),
    (
        "e0212_part",
        "rank p, v = (a, w), w = n[0]\nin  n[p] : i32\nin  x[p,v] : f32\nout O[p,w] : f32 = sum[a](x)",
    ),
    ("e0213_no_output", "cascade nothing\nrank p\nin  x[p] : f32\ny[p] = x"),
    (
        "e0301_one_factor",
        "rank b, h, p, m, e\nin  Q[b,h,p,e], K[b,h,m,e] : f32\nout S[b,h,p] : f32 = Q * K",
    ),
    (
        "e0302_no_product",
        "rank p, m\nin  S[p,m] : f32\nout l[p] : f32 = exp(S)",
    ),
    (
        "e0302_composite",
        "rank b, m = (c, i), i = 4\nin  x[b,m] : f32\nout l[b] : f32 = exp(x)",
    ),
    (
        "e0303_ambiguous",
        "rank p, m, e\nin  Q[p,e], K[m,e], U[p,e], W[m,e] : f32\nout X[p,m] : f32 = (Q * K) * (U * W)",
    ),
    (
        "e0304_where_only",
        "rank p, n\nin  x[p] : f32\nin  y[n] : f32\nout O[p] : f32 = x where n < 3\nout Y[n] : f32 = y",
    ),
    (
        "e0305_independent",
        "rank p, m\nin  q[p] : f32\nin  k[m] : f32\nout O[p] : f32 = sum[m](q)\nout K[m] : f32 = k",
    ),
    (
        "e0306_split",
        "rank p, m\nin  A[p,m], V[m], y[p] : f32\nin  z[m] : bool\nout O[p] : f32 = A * V + y where z[m]",
    ),
    (
        "e0401_real_index",
        "rank b, h, g, m, e\nin  K[b,g,m,e], Q[b,h,m,e] : f32\nout O[b,h,m,e] : f32 = Q + K[b, h / G, m, e]",
    ),
    (
        "e0402_equality",
        "rank p, m\nin  S[p,m] : f32\nout O[p,m] : f32 = S where p / 16 == m / 16",
    ),
    (
        "e0403_chain",
        "rank p, m\nin  S[p,m] : f32\nout O[p,m] : f32 = S where 0 < m > p",
    ),
    (
        "e0404_type",
        "rank b, p, e\nin  Q[b,p,e] : bf17\nout O[b,p,e] : f32 = Q",
    ),
    (
        "e0405_condition",
        "rank p\nin  S[p], A[p] : f32\nout O[p] : f32 = S + 1 where A",
    ),
    ("e0406_mod", "rank p\nin  x[p] : f32\nout O[p] : f32 = x mod 2"),
    (
        "e0502_itself",
        "rank t\nin  y[t] : f32\nX[t] = X[t - 1] + y\nout O[t] : f32 = X",
    ),
    (
        "e0601_new_value",
        "rank p\nin  K[p] : f32\nK' = K + 1\nout O[p] : f32 = K",
    ),
    (
        "e0601_local",
        "rank p\nin  x[p] : f32\ndef f(y) {\n    z' = y\n    return y\n}\nout O[p] : f32 = f(x)",
    ),
    (
        "e0602_outer",
        "rank p\nin  x[p] : f32\nin  gamma : f32\ndef f(y) = y * gamma\nout O[p] : f32 = f(x) + gamma",
    ),
    (
        "e0603_leak",
        "rank p\nin  x[p] : f32\ndef f[m](y) {\n    rank n = M\n    return y[m := n]\n}\nout O[p] : f32 = f[p](x)",
    ),
    (
        "e0604_recursive",
        "rank p\nin  x[p] : f32\ndef f(y) = f(y) + 1\nout O[p] : f32 = f(x)",
    ),
    (
        "e0604_mutual",
        "rank p\nin  x[p] : f32\ndef f(y) = g(y) + 1\ndef g(y) = f(y) * 2\nout O[p] : f32 = f(x)",
    ),
    (
        "e0801_rec",
        "rank t\nin  x[t] : f32\nrec X[t] = X[t - 1] + x from 0\nout O[t] : f32 = X",
    ),
    (
        "e0801_order",
        "rank p, m\nin  S[p,m] : f32\nout O[p,m] : i32 = order[m](S)",
    ),
    (
        "e0801_topk",
        "rank p, m\nin  S[p,m] : f32\nout O[p] : f32 = sum[m](S where topk[m](S, 4))",
    ),
    (
        "e0801_ragged",
        "rank b, t = (b, p) by cu\nin  cu[B + 1] : i32\nin  x[t] : f32\nout O[t] : f32 = x",
    ),
    (
        "e0801_inout",
        "rank p\ninout K[p] : f32\nK' = K + 1\nin  x[p] : f32\nout O[p] : f32 = x",
    ),
    (
        "e0801_places",
        "rank p, n\nin  x[p], y[n] : f32\nin  to[p] : i32\nout O[n = to[p]] : f32 = x\nout Y[n] : f32 = y",
    ),
    ("e0801_type", "rank p\nin  x[p] : e4m3\nout O[p] : f32 = x"),
    (
        "w0701_division",
        "rank p, m\nin  S[p,m] : f32\nout O[p,m] : f32 = S where p / 16 < m / 16",
    ),
    (
        "w0702_never",
        "rank p, m\nin  S[p,m] : f32\nout O[p,m] : f32 = S where m > M",
    ),
    (
        "w0703_unused",
        "rank p, n = 3\nconst W = 3\nin  x[p], V[p] : f32\nin  tau : f32\ny[p] = x + 1\nout O[p] : f32 = x",
    ),
    ("w0704_outside", "rank m\nin  K[m] : f32\nout O[m] : f32 = K[m + M]"),
    (
        "all_errors_of_a_file",
        "rank p, m, e\nin  Q[p,e], K[m,e] : bf17\nin  x[p] : f32\ny[p] = xx + 1\nz[p] = y where x\nw[p] = x where 0 < p > 3\nout O[p] : f32 = exp(x, x)",
    ),
    (
        "syntax_error_silences_names",
        "rank p, m\nin  x[p] : f32\ny[p = x + 1\nout O[p] : f32 = y + nothing",
    ),
];

#[test]
fn messages() {
    for (name, source) in CASES {
        let (_, messages) = lower_text(source);
        insta::with_settings!({omit_expression => true}, {
            insta::assert_snapshot!(name, format!("{source}\n\n{messages}"));
        });
        let warning = name.starts_with('w');
        let code = name.split('_').next().unwrap_or_default().to_uppercase();
        if warning || name.starts_with('e') {
            assert!(messages.contains(&format!("[{code}]")), "{name}:\n{messages}");
        }
    }
}

#[test]
fn a_program_too_large_is_refused() {
    let mut source = String::from("rank p\nin  x[p] : f32\ndef f0(y) = y + sin(y)\n");
    for at in 1..40 {
        source += &format!("def f{at}(y) = f{}(y) * f{}(y + {at})\n", at - 1, at - 1);
    }
    source += "out O[p] : f32 = f39(x)\n";
    let (cascades, messages) = lower_text(&source);
    assert!(cascades.is_empty() && messages.contains("[E0106]"), "{messages}");
}

#[test]
fn too_many_specialisations_are_refused() {
    let mut source = String::from("rank p\n");
    for name in ["A", "B", "C", "D", "F"] {
        source += &format!("const {name} = 1 | 2 | 3 | 4\n");
    }
    source += "in  x[p] : f32\nout O[p] : f32 = x * A * B * C * D * F\n";
    let (main, _) = einloom_syntax::parse(einloom_syntax::SourceId(0), &source);
    let (choices, diagnostics) = einloom_cascade::specialisations(&main);
    assert_eq!(choices.len(), 256);
    assert_eq!(diagnostics.len(), 1);
}

/// Deep and shared expressions are lowered or refused in bounded time and stack.
#[test]
fn deep_programs_are_bounded() {
    let deep = |open: &str, close: &str, n: usize| format!("{}x{}", open.repeat(n), close.repeat(n));
    let halves = deep("(", " / 2 < 1)", 90);
    let bodies = [
        deep("exp(", ")", 190),
        deep("(1 + ", ")", 95),
        deep("softmax[p](", ")", 150),
        deep("-", "", 190),
        deep("(0 else ", " where p < 3)", 60),
        format!("1 where {halves} > 0"),
        deep("f(", ")", 100),
    ];
    for body in bodies {
        let source = format!(
            "rank p\nin  x[p] : f32\ndef f(y) = g(y + y) + g(y)\ndef g(y) = y + y * y\nout O[p] : f32 = {body}\n"
        );
        let (cascades, messages) = lower_text(&source);
        assert!(
            !cascades.is_empty() || messages.contains("[E0106]"),
            "{source}\n{messages}"
        );
    }
    let mut source = String::from("rank p\nconst C0 = 1\n");
    for at in 1..60 {
        source += &format!("const C{at} = C{} + C{} + P\n", at - 1, at - 1);
    }
    source += "in  x[p] : f32\nout O[p] : f32 = x where p < C59\n";
    let (cascades, messages) = lower_text(&source);
    assert!(!cascades.is_empty() || messages.contains("error"), "{messages}");
}
