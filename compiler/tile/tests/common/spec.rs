//! Random specs as text: attention over heads and groups in three element types, nested blocks, linear attention.
#![allow(dead_code, reason = "every test binary uses its own part")]

use crate::chain::{Case, schedule};
use einloom_cascade::expr::DType;
use einloom_cascade::ir::Cascade;
use einloom_cascade::lower::{lower, specialisations};
use einloom_cascade::{Inputs, Scalar, Tensor};
use einloom_syntax::{SourceMap, parse};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The only specialisation of a spec.
pub(crate) fn cascade(text: &str) -> Cascade {
    let mut sources = SourceMap::default();
    let prelude = sources.add("prelude.ein", einloom_syntax::PRELUDE);
    let prelude = parse(prelude, einloom_syntax::PRELUDE).0;
    let main = sources.add("main.ein", text);
    let (main, diagnostics) = parse(main, text);
    assert!(diagnostics.is_empty(), "{diagnostics:?}\n{text}");
    let (choices, _) = specialisations(&main);
    let (cascade, diagnostics) = lower(&[&prelude, &main], &choices[0]);
    cascade.unwrap_or_else(|| panic!("{diagnostics:?}\n{text}"))
}

/// Random arguments: reals in -2..2, labels 0 to 2; extents by symbol.
pub(crate) fn arguments(cascade: &Cascade, rng: &mut ChaCha8Rng, extents: &[i64]) -> Inputs {
    let scalars: Vec<Scalar> = cascade.scalars.iter().map(|_| Scalar::Real(0.4)).collect();
    let tensors = cascade.inputs.iter().map(|input| {
        let shape: Vec<usize> = (input.dims.iter())
            .map(|dim| extent(cascade, extents, dim.extent).max(0) as usize)
            .collect();
        let points: usize = shape.iter().product();
        let tensor = match input.dtype {
            DType::F32 | DType::F16 | DType::BF16 => {
                Tensor::reals(&shape, (0..points).map(|_| rng.random_range(-2.0..2.0)).collect())
            }
            _ => Tensor::ints(&shape, (0..points).map(|_| rng.random_range(0..3)).collect()),
        };
        tensor.rounded(input.dtype)
    });
    Inputs::new(tensors.collect(), scalars)
}

fn extent(cascade: &Cascade, extents: &[i64], id: einloom_cascade::expr::ExprId) -> i64 {
    use einloom_cascade::expr::Expr;
    match cascade.exprs.get(id) {
        Expr::Int(i) => *i,
        Expr::Extent(s) => extents[s.index()],
        Expr::Map(op, args) => {
            let args: Vec<Scalar> = (args.iter())
                .map(|&a| Scalar::Int(extent(cascade, extents, a)))
                .collect();
            let value = einloom_cascade::ops::apply(*op, &args).expect("a total map");
            value.as_int().expect("an int")
        }
        other => panic!("no extent: {other:?}"),
    }
}

/// The case of a spec: `limits` are the largest extents of symbols by name.
pub(crate) fn case(text: String, rng: &mut ChaCha8Rng, seed: u64, limits: &[(&str, i64)]) -> Case {
    let cascade = cascade(&text);
    let mut extents: Vec<i64> = (cascade.symbols.iter())
        .map(|s| match limits.iter().find(|(name, _)| *name == s.name) {
            Some((_, most)) => rng.random_range(1.min(*most)..=*most),
            None => rng.random_range(1..=2),
        })
        .collect();
    // composites have the extent of their parts: heads in groups of two, whole blocks
    let named = |name: &str| cascade.symbols.iter().position(|s| s.name == name);
    if let (Some(heads), Some(groups)) = (named("H"), named("G")) {
        extents[heads] = 2 * extents[groups];
    }
    let block = cascade
        .vars
        .iter()
        .find(|v| v.name == "i")
        .map(|v| extent(&cascade, &[], v.extent));
    if let (Some(keys), Some(blocks), Some(block)) = (named("M"), named("C"), block) {
        extents[keys] = extents[blocks] * block;
    }
    let inputs = arguments(&cascade, rng, &extents);
    Case {
        cascade,
        inputs,
        schedule: schedule(rng),
        align: [4, 8, 16][rng.random_range(0..3)],
        seed,
        text,
    }
}

fn pick<'a>(rng: &mut ChaCha8Rng, list: &[&'a str]) -> &'a str {
    list[rng.random_range(0..list.len())]
}

/// The ranks before tokens: of queries and results, of keys and values, and their declaration.
fn leads(rng: &mut ChaCha8Rng) -> (&'static str, &'static str, &'static str) {
    [
        ("", "", ""),
        ("h,", "h,", "h, "),
        ("b,h,", "b,g,", "b, h = (g, r), r = 2, "),
        ("b,h,", "b,", "b, h, "),
    ][rng.random_range(0..4)]
}

const DOMAINS: [&str; 9] = [
    "",
    "",
    " where m <= p",
    " where m <= p + M - P",
    " where 0 <= p - m and p - m < 7",
    " where m < 3 or abs(p - m) <= 4",
    " where m div 4 <= p div 4",
    " where row == z",
    " where m <= p and row == z",
];

const SCORES: [&str; 9] = [
    "Q * K / sqrt(E)",
    "Q * K / sqrt(E)",
    "softcap(Q * K, 6)",
    "Q * K / E - 0.1 * abs(p - m)",
    "Q * K / sqrt(E) + bias[clamp(m - p, -6, 6) + 6]",
    "Q * K / sqrt(E) + T + U",
    "Q * K / (1 + abs(T))",
    "-sum[e]((Q - K)^2) / E",
    "Q * K * w / sqrt(E)",
];

const WEIGHTS: [&str; 10] = [
    "softmax[m](S)",
    "softmax[m](S)",
    "softmax[m](S)",
    "softmax_sink[m](S, 0.5)",
    "sigmoid(S)",
    "relu(S)",
    "S",
    "softmax[p](S)",
    "softmax[m](S) * sigmoid(S)",
    "0.7 * softmax[m](S) - 0.4 * softmax[m](2 * S)",
];

/// `{q}` are the ranks before the tokens of results, `{t}` is the element type.
const RESULTS: [&str; 18] = [
    "out O[{q}p,f] : {t} = A * V",
    "out O[{q}p,f] : {t} = A * V",
    "out O[{q}p,f] : {t} = A * V",
    "out L[{q}p] : f32 = logsumexp[m](S)",
    "out Ent[{q}p] : f32 = -sum[m](A * log(A + 2))",
    "out Top[{q}p] : f32 = max[m](A)",
    "out N[{q}p] : f32 = sum[m](A^2)",
    "out C[{q}m] : f32 = sum[p](A)",
    "mu[{q}p,f] = A * V\nout Va[{q}p,f] : f32 = sum[m](A * (V - mu)^2)",
    "part = sum[m](A where z == 1)\nNs[{q}p,f] = A * V where z == 1\nout Cl[{q}p,f] : {t} = (1 + part) * Ns + part",
    "out Best[{q}p] : i32 = argmax[m](S)",
    "out W[{q}p,m] : {t} = A",
    "out Th[{q}p,f] : {t} = tanh(3 * A) * V",
    "out D[{q}p,e] : {t} = A * K",
    "Cb[{q}m] = sum[p](A)\nout Fb[{q}p,f] : {t} = A * Cb * V",
    "Ov[{q}p,f] = A * V\nout Pr[{q}p,d] : {t} = Ov * Wo",
    "out Cut[{q}p,f] : {t} = V * A where A > 0.0313",
    "out Per[{q}p,f] : {t} = A * V / z where z != 0",
];

/// Attention in many spellings.
pub(crate) fn attention(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xa77e);
    let rng = &mut rng;
    let (q, k, ranks) = leads(rng);
    let t = pick(rng, &["bf16", "f16", "f32"]);
    let (e, f) = (pick(rng, &["8", "16", "24"]), pick(rng, &["8", "16", "24"]));
    let (domain, score, weight) = (pick(rng, &DOMAINS), pick(rng, &SCORES), pick(rng, &WEIGHTS));
    let body = draw(rng, &RESULTS, 3).replace("{q}", q).replace("{t}", t);
    let mut text = format!(
        "cascade attention\nrank {ranks}p, m, e = {e}, f = {f}, d = 16\nin Q[{q}p,e], K[{k}m,e], V[{k}m,f] : {t}\n"
    );
    for (name, line) in [
        ("bias", "in bias[13] : f32\n"),
        ("T", "in T[p], U[m] : f32\n"),
        ("w", "in w[e] : f32\n"),
        ("z", "in z[m] : i32\n"),
        ("row", "in row[p] : i32\n"),
        ("Wo", "in Wo[f,d] : bf16\n"),
    ] {
        let used = [domain, score, &body].iter().any(|part| {
            part.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name)
        });
        if used {
            text += &line.replace("bf16", t);
        }
    }
    text += &format!("S[{q}p,m] = {score}{domain}\nA = {weight}\n{body}\n");
    case(text, rng, seed, &[("P", 20), ("M", 40)])
}

/// Scores in blocks `m = (c, i)`: reductions inside of a block, over blocks, and over both.
const NESTED: [&str; 9] = [
    "out O[{q}p,f] : {t} = softmax[m](S) * V",
    "near = softmax[i](S)\nfar = softmax[c](max[i](S))\nOn[{q}p,c,f] = near * V\nout Nest[{q}p,f] : {t} = far * On",
    "out Far[{q}p] : f32 = logsumexp[c](max[i](S))",
    "out Each[{q}p] : f32 = max[c](sum[i](exp(S / 4)))",
    "out Wide[{q}p] : f32 = sum[c](max[i](S) * U)",
    "out In[{q}p,f] : {t} = V * softmax[i](S)",
    "out Gate[{q}p,f] : {t} = V * sigmoid(S) * U",
    "out Lse[{q}p] : f32 = logsumexp[m](S)",
    "out Mid[{q}p] : f32 = sum[c](logsumexp[i](S) * U)",
];

const BLOCK_DOMAINS: [&str; 5] = [
    "",
    " where m <= p",
    " where c <= p div I",
    " where m <= p and c != 1",
    " where i < I - 1",
];

/// Nested reductions over blocks of keys.
pub(crate) fn blocks(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xb10c);
    let rng = &mut rng;
    let (q, k, ranks) = [("", "", ""), ("h,", "h,", "h, ")][rng.random_range(0..2)];
    let t = pick(rng, &["bf16", "f16", "f32"]);
    let (e, f, i) = (
        pick(rng, &["8", "16"]),
        pick(rng, &["8", "16", "24"]),
        pick(rng, &["4", "8", "16", "20"]),
    );
    let domain = pick(rng, &BLOCK_DOMAINS);
    let results = draw(rng, &NESTED, 2).replace("{q}", q).replace("{t}", t);
    let gate = if results.contains(" U") { "in U[c] : f32\n" } else { "" };
    let text = format!(
        "cascade blocks\nrank {ranks}p, m = (c, i), i = {i}, e = {e}, f = {f}\n\
         in Q[{q}p,e], K[{k}m,e], V[{k}m,f] : {t}\n{gate}\
         S[{q}p,m] = Q * K / sqrt(E){domain}\n{results}\n"
    );
    case(text, rng, seed, &[("P", 24), ("M", 40), ("C", 3)])
}

/// Sums without a softmax, whose order of contraction is free.
const STATES: [&str; 9] = [
    "S[{q}p,m] = qf * kf\nout O[{q}p,f] : {t} = S * V",
    "S[{q}p,m] = qf * kf\nout O[{q}p,f] : {t} = S * V / (1 + abs(sum[m](S)))",
    "St[{k}e,f] = kf * V\nout O[{q}p,f] : {t} = qf * St",
    "out St[{k}e,f] : f32 = kf * V",
    "out Z[{k}e] : f32 = sum[m](kf)",
    "S[{q}p,m] = qf * kf where m <= p\nout O[{q}p,f] : {t} = S * V",
    "S[{q}p,m] = qf * kf * 0.9^(p - m) where m <= p\nout O[{q}p,f] : {t} = S * V",
    "S[{q}p,m] = qf * kf where m <= p\nout O[{q}p,f] : {t} = S * V / (1 + abs(sum[m](S)))",
    "top[{k}e] = max[m](kf)\nSt[{k}e,f] = exp(kf - top) * V\nout O[{q}p,f] : {t} = qf * St",
];

const FEATURES: [&str; 4] = ["{x}", "elu({x}) + 1", "relu({x})", "exp({x} / 4)"];

/// Linear attention and recurrences written as sums.
pub(crate) fn linear(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x11e4);
    let rng = &mut rng;
    let (q, k, ranks) = leads(rng);
    let t = pick(rng, &["bf16", "f16", "f32"]);
    let (e, f) = (pick(rng, &["8", "16", "24"]), pick(rng, &["8", "16", "24"]));
    let feature = pick(rng, &FEATURES);
    let results = draw(rng, &STATES, 1)
        .replace("{q}", q)
        .replace("{k}", k)
        .replace("{t}", t);
    let text = format!(
        "cascade states\nrank {ranks}p, m, e = {e}, f = {f}\n\
         in Q[{q}p,e], K[{k}m,e], V[{k}m,f] : {t}\n\
         qf[{q}p,e] = {}\nkf[{k}m,e] = {}\n{results}\n",
        feature.replace("{x}", "Q"),
        feature.replace("{x}", "K"),
    );
    case(text, rng, seed, &[("P", 20), ("M", 40)])
}

const WINDOWS: [&str; 4] = [
    "",
    " where abs(v - y) <= 1 and abs(u - x) <= 1",
    " where v <= y",
    " where v * U + u <= y * X + x",
];

/// Two streamed ranks.
pub(crate) fn planes(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x9a7e);
    let rng = &mut rng;
    let (q, k, ranks) = [("", "", ""), ("h,", "h,", "h, ")][rng.random_range(0..2)];
    let t = pick(rng, &["bf16", "f16", "f32"]);
    let (e, f) = (pick(rng, &["8", "16"]), pick(rng, &["8", "16", "24"]));
    let domain = pick(rng, &WINDOWS);
    let results = [
        "out O[{q}y,x,f] : {t} = softmax[m](S) * V",
        "out L[{q}y,x] : f32 = logsumexp[m](S)",
        "A = softmax[m](S)\nout Cv[{k}v,u] : f32 = sum[p](A)",
        "out Row[{q}y,x,f] : {t} = softmax[u](S) * V",
        "out Best[{q}y,x] : f32 = max[v](sum[u](sigmoid(S)))",
    ];
    let results = draw(rng, &results, 2)
        .replace("{q}", q)
        .replace("{k}", k)
        .replace("{t}", t);
    let text = format!(
        "cascade planes\nrank {ranks}y, x, v, u, p = (y, x), m = (v, u), e = {e}, f = {f}\n\
         in Q[{q}y,x,e], K[{k}v,u,e], V[{k}v,u,f] : {t}\n\
         S[{q}p,m] = Q * K / sqrt(E){domain}\n{results}\n"
    );
    case(text, rng, seed, &[("Y", 6), ("X", 5), ("V", 6), ("U", 6)])
}

/// Some of the lines, in order of the draw.
fn draw(rng: &mut ChaCha8Rng, lines: &[&str], most: usize) -> String {
    let mut list: Vec<&str> = Vec::new();
    for _ in 0..rng.random_range(1..=most) {
        let line = pick(rng, lines);
        if !list.contains(&line) {
            list.push(line);
        }
    }
    list.join("\n")
}
