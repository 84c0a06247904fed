//! Values of specs against independent formulas in plain loops.
#![allow(clippy::disallowed_methods, reason = "the specs are files")]

mod common;

use common::{at, cascade, close, noise, outputs};
use einloom_cascade::{Scalar, Tensor};

fn spec(name: &str) -> String {
    let path = format!("{}/tests/specs/{name}.ein", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a readable spec")
}

/// Extents of a plain attention.
#[derive(Clone, Copy)]
struct Sizes {
    b: usize,
    h: usize,
    g: usize,
    p: usize,
    m: usize,
    e: usize,
}

/// Softmax attention by its formula: scores of existing points, weights changed by `edit`, values by head.
fn attention(
    s: Sizes,
    score: impl Fn(usize, usize, usize, usize) -> Option<f64>,
    edit: impl Fn(f64, usize, usize, usize) -> f64,
    value: impl Fn(usize, usize, usize, usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for b in 0..s.b {
        for h in 0..s.h {
            for p in 0..s.p {
                let row: Vec<(usize, f64)> = (0..s.m).filter_map(|m| score(b, h, p, m).map(|x| (m, x))).collect();
                let top = row.iter().map(|(_, x)| *x).fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = row.iter().map(|(_, x)| (x - top).exp()).sum();
                lse.push(if row.is_empty() {
                    f64::NEG_INFINITY
                } else {
                    total.ln() + top
                });
                for f in 0..s.e {
                    out.push(
                        row.iter()
                            .map(|(m, x)| edit((x - top).exp() / total, h, p, *m) * value(b, h, *m, f))
                            .sum(),
                    );
                }
            }
        }
    }
    (out, lse)
}

fn dot(n: usize, x: impl Fn(usize) -> f64, y: impl Fn(usize) -> f64) -> f64 {
    (0..n).map(|e| x(e) * y(e)).sum()
}

fn same(w: f64, _: usize, _: usize, _: usize) -> f64 {
    w
}

/// `Q[b,h,p,e]`, `K[b,g,m,e]`, `V[b,g,m,e]`.
fn qkv(s: Sizes) -> Vec<Tensor> {
    vec![
        noise(&[s.b, s.h, s.p, s.e], 1),
        noise(&[s.b, s.g, s.m, s.e], 2),
        noise(&[s.b, s.g, s.m, s.e], 3),
    ]
}

struct Plain {
    s: Sizes,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

impl Plain {
    fn new(s: Sizes) -> Plain {
        let [q, k, v] = [0, 1, 2].map(|at: usize| qkv(s)[at].to_f64());
        Plain { s, q, k, v }
    }

    fn q(&self, b: usize, h: usize, p: usize, e: usize) -> f64 {
        self.q[at(&[self.s.b, self.s.h, self.s.p, self.s.e], &[b, h, p, e])]
    }

    fn k(&self, b: usize, h: usize, m: usize, e: usize) -> f64 {
        let g = h / (self.s.h / self.s.g);
        self.k[at(&[self.s.b, self.s.g, self.s.m, self.s.e], &[b, g, m, e])]
    }

    fn v(&self, b: usize, h: usize, m: usize, e: usize) -> f64 {
        let g = h / (self.s.h / self.s.g);
        self.v[at(&[self.s.b, self.s.g, self.s.m, self.s.e], &[b, g, m, e])]
    }

    fn score(&self, b: usize, h: usize, p: usize, m: usize) -> f64 {
        dot(self.s.e, |e| self.q(b, h, p, e), |e| self.k(b, h, m, e)) / (self.s.e as f64).sqrt()
    }
}

#[test]
fn causal_grouped_queries() {
    let s = Sizes {
        b: 2,
        h: 6,
        g: 2,
        p: 9,
        m: 7,
        e: 64,
    };
    let x = Plain::new(s);
    let found = outputs(&cascade(&spec("causal")), qkv(s), vec![]);
    let score = |b, h, p, m| (m + s.p <= p + s.m).then(|| x.score(b, h, p, m));
    let (out, lse) = attention(s, score, same, |b, h, m, f| x.v(b, h, m, f));
    close(&found[0], &out, 1e-12);
    close(&found[1], &lse, 1e-12);
    assert!(lse[0].is_infinite(), "the first rows should have no keys");
}

#[test]
fn alibi() {
    let text = "rank b, h, p, m, e, f = E\nin  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : bf16\n\
        S[b,h,p,m] = Q * K / sqrt(E) - alibi_slope(h, H) * (p - m) where m <= p\n\
        out O[b,h,p,f] : bf16 = softmax[m](S) * V";
    let s = Sizes {
        b: 1,
        h: 4,
        g: 4,
        p: 6,
        m: 6,
        e: 5,
    };
    let x = Plain::new(s);
    let slope = |h: usize| 2f64.powf(-8.0 * (h as f64 + 1.0) / 4.0);
    let score = |b, h, p, m| (m <= p).then(|| x.score(b, h, p, m) - slope(h) * (p - m) as f64);
    let (out, _) = attention(s, score, same, |b, h, m, f| x.v(b, h, m, f));
    close(&outputs(&cascade(text), qkv(s), vec![])[0], &out, 1e-12);
}

#[test]
fn sink_logit() {
    let text = "rank b, h, p, m, e, f = E\nin  Q[b,h,p,e], K[b,h,m,e], V[b,h,m,f] : bf16\nin  a[h] : f32\n\
        S[b,h,p,m] = Q * K / sqrt(E) where m <= p\n\
        out O[b,h,p,f] : bf16 = softmax_sink[m](S, a) * V";
    let s = Sizes {
        b: 1,
        h: 3,
        g: 3,
        p: 5,
        m: 5,
        e: 4,
    };
    let x = Plain::new(s);
    let sink = noise(&[3], 9);
    let mut tensors = qkv(s);
    tensors.push(sink.clone());
    let a = sink.to_f64();
    let mut out = Vec::new();
    for h in 0..s.h {
        for p in 0..s.p {
            let total: f64 = (0..=p).map(|m| x.score(0, h, p, m).exp()).sum::<f64>() + a[h].exp();
            for f in 0..s.e {
                out.push(
                    (0..=p)
                        .map(|m| x.score(0, h, p, m).exp() / total * x.v(0, h, m, f))
                        .sum(),
                );
            }
        }
    }
    close(&outputs(&cascade(text), tensors, vec![])[0], &out, 1e-12);
}

#[test]
fn sigmoid_with_normaliser() {
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: 5,
        m: 6,
        e: 64,
    };
    let x = Plain::new(s);
    let bias = noise(&[2], 4);
    let mut tensors = qkv(s);
    tensors.push(bias.clone());
    let bias = bias.to_f64();
    let mut out = Vec::new();
    for h in 0..s.h {
        for p in 0..s.p {
            let w: Vec<f64> = (0..=p)
                .map(|m| 1.0 / (1.0 + (-(x.score(0, h, p, m) + bias[h])).exp()))
                .collect();
            let z = w.iter().sum::<f64>().abs().max(1.0);
            for f in 0..s.e {
                out.push(w.iter().enumerate().map(|(m, w)| w * x.v(0, h, m, f) / z).sum());
            }
        }
    }
    close(
        &outputs(&cascade(&spec("generalised-similarity")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn zero_tuning() {
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: 4,
        m: 4,
        e: 128,
    };
    let x = Plain::new(s);
    let gamma = Tensor::reals(&[2], vec![0.5, 3.0]);
    let mut tensors = qkv(s);
    tensors.push(gamma.clone());
    let gamma = gamma.to_f64();
    let mut out = Vec::new();
    for h in 0..s.h {
        for p in 0..s.p {
            let w = |m: usize| x.score(0, h, p, m).exp() * if m == 0 { gamma[h] } else { 1.0 };
            let total: f64 = (0..=p).map(w).sum();
            out.extend((0..s.e).map(|f| (0..=p).map(|m| w(m) / total * x.v(0, h, m, f)).sum::<f64>()));
        }
    }
    close(
        &outputs(&cascade(&spec("zero-tuning")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn calibrated_sinks() {
    let s = Sizes {
        b: 1,
        h: 3,
        g: 3,
        p: 8,
        m: 8,
        e: 128,
    };
    let x = Plain::new(s);
    let on = [true, false, true];
    let (tau, beta) = (0.15, 0.4);
    let mut tensors = qkv(s);
    tensors.push(Tensor::new(&[3], einloom_cascade::Values::Bool(on.to_vec())));
    let mut out = Vec::new();
    for h in 0..s.h {
        let a = |p: usize, m: usize| {
            let total: f64 = (0..=p).map(|n| x.score(0, h, p, n).exp()).sum();
            if m <= p { x.score(0, h, p, m).exp() / total } else { 0.0 }
        };
        let hot: Vec<bool> = (0..s.m)
            .map(|m| (m..s.p).map(|p| a(p, m)).sum::<f64>() / (s.m - m) as f64 > tau)
            .collect();
        let first = hot.iter().position(|x| *x);
        let sink = |m: usize| hot[m] && on[h] && Some(m) != first;
        for p in 0..s.p {
            let l: f64 = (0..=p).filter(|m| sink(*m)).map(|m| a(p, m)).sum();
            for f in 0..s.e {
                let part = |wanted: bool| {
                    (0..=p)
                        .filter(|m| sink(*m) == wanted)
                        .map(|m| a(p, m) * x.v(0, h, m, f))
                        .sum::<f64>()
                };
                out.push(beta * part(true) + (1.0 + (1.0 - beta) * l / (1.0 - l)) * part(false));
            }
        }
    }
    let scalars = vec![Scalar::Real(tau), Scalar::Real(beta)];
    close(
        &outputs(&cascade(&spec("act-calibration")), tensors, scalars)[0],
        &out,
        1e-11,
    );
}

#[test]
fn landmark_with_tail_blocks() {
    // 2 whole blocks and one of 2 points; queries of all of them.
    let s = Sizes {
        b: 1,
        h: 1,
        g: 1,
        p: 130,
        m: 130,
        e: 128,
    };
    let x = Plain::new(s);
    let mut out = Vec::new();
    for p in 0..s.p {
        let own = p / 64;
        let score = |m: usize| x.score(0, 0, p, m);
        let mine: Vec<usize> = (own * 64..s.m.min(own * 64 + 63)).filter(|m| *m <= p).collect();
        let z: f64 =
            mine.iter().map(|m| score(*m).exp()).sum::<f64>() + (0..own).map(|c| score(c * 64 + 63).exp()).sum::<f64>();
        for f in 0..s.e {
            let mut value: f64 = mine.iter().map(|m| score(*m).exp() * x.v(0, 0, *m, f)).sum();
            for c in 0..own {
                let inner: f64 = (c * 64..c * 64 + 63).map(|m| score(m).exp()).sum();
                let block: f64 = (c * 64..c * 64 + 63)
                    .map(|m| score(m).exp() / inner * x.v(0, 0, m, f))
                    .sum();
                value += score(c * 64 + 63).exp() * block;
            }
            out.push(value / z);
        }
    }
    close(&outputs(&cascade(&spec("landmark")), qkv(s), vec![])[0], &out, 1e-11);
}

#[test]
fn linear_attention_with_decay() {
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: 7,
        m: 7,
        e: 128,
    };
    let x = Plain::new(s);
    let slope = [0.1, 0.5];
    let mut tensors = qkv(s);
    tensors.push(Tensor::reals(&[2], slope.to_vec()));
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let mut out = Vec::new();
    for h in 0..s.h {
        for p in 0..s.p {
            let w = |m: usize| {
                dot(s.e, |e| silu(x.q(0, h, p, e)), |e| silu(x.k(0, h, m, e))) * (-slope[h] * (p - m) as f64).exp()
            };
            out.extend((0..s.e).map(|f| (0..=p).map(|m| w(m) * x.v(0, h, m, f)).sum::<f64>()));
        }
    }
    close(
        &outputs(&cascade(&spec("lightning-attention-2")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn stored_logits_take_rows_and_columns() {
    let s = Sizes {
        b: 2,
        h: 2,
        g: 2,
        p: 5,
        m: 5,
        e: 64,
    };
    let x = Plain::new(s);
    let (stored, slot) = (noise(&[2, 5, 3], 7), vec![-1i64, 2, -1, 0, 7]);
    let mut tensors = qkv(s);
    tensors.push(stored.clone());
    tensors.push(Tensor::ints(&[5], slot.clone()));
    let stored = stored.to_f64();
    let inside = |m: usize| usize::try_from(slot[m]).ok().filter(|j| *j < 3);
    let score = |b, h, p, m| {
        let read = |row: usize, j: usize| stored[at(&[2, 5, 3], &[h, row, j])];
        Some(match (inside(p), inside(m)) {
            (Some(j), _) => read(m, j),
            (None, Some(j)) => read(p, j),
            _ => x.score(b, h, p, m),
        })
    };
    let (out, _) = attention(s, score, same, |b, h, m, f| x.v(b, h, m, f));
    close(
        &outputs(&cascade(&spec("prime-composer")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn causal_convolutions() {
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: 5,
        m: 5,
        e: 64,
    };
    let x = Plain::new(s);
    let shapes: [&[usize]; 5] = [&[3, 64], &[64], &[2, 64], &[2, 4096, 64], &[2, 4096]];
    let extra: Vec<Tensor> = shapes
        .iter()
        .zip(20..)
        .map(|(shape, seed)| noise(shape, seed))
        .collect();
    let [cw, cb, u, r, rb] = [0, 1, 2, 3, 4].map(|at: usize| extra[at].to_f64());
    let conv = |read: &dyn Fn(usize) -> f64, p: usize, e: usize| {
        cb[e]
            + (0..3)
                .filter(|t| p + t >= 2)
                .map(|t| cw[t * 64 + e] * read(p + t - 2))
                .sum::<f64>()
    };
    let q = |h: usize, p: usize, e: usize| conv(&|p| x.q(0, h, p, e), p, e);
    let k = |h: usize, p: usize, e: usize| conv(&|p| x.k(0, h, p, e), p, e);
    let score = |_, h: usize, p: usize, m: usize| {
        (m <= p).then(|| {
            let first = dot(64, |e| q(h, p, e) + u[h * 64 + e], |e| k(h, m, e));
            let second = dot(64, |e| q(h, p, e), |e| r[(h * 4096 + p - m) * 64 + e]);
            (first + second + rb[h * 4096 + p - m]) / 8.0
        })
    };
    let (out, _) = attention(s, score, same, |_, h, m, e| conv(&|p| x.v(0, h, p, e), m, e));
    let tensors = qkv(s).into_iter().chain(extra).collect();
    close(&outputs(&cascade(&spec("rcmha")), tensors, vec![])[0], &out, 1e-11);
}

#[test]
fn neighbourhoods_shift_inward() {
    let (ny, nx, w) = (9, 8, 7);
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: ny * nx,
        m: ny * nx,
        e: 32,
    };
    let x = Plain::new(s);
    let bias = noise(&[2, 13, 13], 5);
    let shape = [1, 2, ny, nx, 32];
    let mut tensors: Vec<Tensor> = qkv(s).into_iter().map(|t| Tensor::new(&shape, t.values)).collect();
    tensors.push(bias.clone());
    let bias = bias.to_f64();
    let start = |i: usize, n: usize| i.saturating_sub(3).min(n - w);
    let score = |b, h, p: usize, m: usize| {
        let (y, xx, v, u) = (p / nx, p % nx, m / nx, m % nx);
        let inside = (start(y, ny)..start(y, ny) + w).contains(&v) && (start(xx, nx)..start(xx, nx) + w).contains(&u);
        inside.then(|| x.score(b, h, p, m) + bias[at(&[2, 13, 13], &[h, v + 6 - y, u + 6 - xx])])
    };
    let (out, _) = attention(s, score, same, |b, h, m, f| x.v(b, h, m, f));
    close(
        &outputs(&cascade(&spec("neighborhood-attention")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn paged_latent_cache() {
    let (nb, nh, np, pages, blocks) = (2, 2, 3, 5, 2);
    let shapes: [&[usize]; 5] = [
        &[nb, nh, np, 128],
        &[nb, nh, np, 64],
        &[pages, 64, 576],
        &[nh, 128, 512],
        &[nh, 128, 512],
    ];
    let mut tensors: Vec<Tensor> = shapes.iter().zip(1..).map(|(shape, seed)| noise(shape, seed)).collect();
    let [qc, qr, c, uk, uv] = [0, 1, 2, 3, 4].map(|at: usize| tensors[at].to_f64());
    let (table, len) = ([3i64, 0, 4, -1], [70i64, 20]);
    tensors.push(Tensor::ints(&[nb, blocks], table.to_vec()));
    tensors.push(Tensor::ints(&[nb], len.to_vec()));
    let s = Sizes {
        b: nb,
        h: nh,
        g: nh,
        p: np,
        m: blocks * 64,
        e: 128,
    };
    let row = |b: usize, m: usize| {
        usize::try_from(table[b * blocks + m / 64])
            .ok()
            .map(|page| (page * 64 + m % 64) * 576)
    };
    let score = |b: usize, h: usize, p: usize, m: usize| {
        let exists = (m as i64) < len[b] && m as i64 <= len[b] - np as i64 + p as i64;
        let at = if exists { row(b, m) } else { None }?;
        let k = |n: usize| dot(512, |l| uk[(h * 128 + n) * 512 + l], |l| c[at + l]);
        let q = (b * nh + h) * np + p;
        let total = dot(128, |n| qc[q * 128 + n], k) + dot(64, |j| qr[q * 64 + j], |j| c[at + 512 + j]);
        Some(total / 192f64.sqrt())
    };
    let value = |b: usize, h: usize, m: usize, f: usize| {
        row(b, m).map_or(0.0, |at| dot(512, |l| uv[(h * 128 + f) * 512 + l], |l| c[at + l]))
    };
    let (out, lse) = attention(s, score, same, value);
    let found = outputs(&cascade(&spec("mla-decode")), tensors, vec![]);
    close(&found[0], &out, 1e-10);
    close(&found[1], &lse, 1e-10);
}

#[test]
fn three_operand_scores() {
    let (np, nm, nn, ne) = (3, 4, 5, 64);
    let shapes: [&[usize]; 5] = [
        &[1, 1, np, ne],
        &[1, 1, nm, ne],
        &[1, 1, nn, ne],
        &[1, 1, nm, ne],
        &[1, 1, nn, ne],
    ];
    let tensors: Vec<Tensor> = shapes.iter().zip(1..).map(|(shape, seed)| noise(shape, seed)).collect();
    let [q, k1, k2, v1, v2] = [0, 1, 2, 3, 4].map(|at: usize| tensors[at].to_f64());
    let s = Sizes {
        b: 1,
        h: 1,
        g: 1,
        p: np,
        m: nm * nn,
        e: ne,
    };
    let score = |_, _, p: usize, x: usize| {
        let (m, n) = (x / nn, x % nn);
        Some(
            (0..ne)
                .map(|e| q[p * ne + e] * k1[m * ne + e] * k2[n * ne + e])
                .sum::<f64>()
                / 64.0,
        )
    };
    let (out, _) = attention(s, score, same, |_, _, x, f| v1[x / nn * ne + f] * v2[x % nn * ne + f]);
    close(
        &outputs(&cascade(&spec("kronecker-attention")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn log2_probabilities() {
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: 4,
        m: 6,
        e: 40,
    };
    let x = Plain::new(s);
    let weight = |h: usize, p: usize, m: usize| {
        let total: f64 = (0..s.m).map(|n| x.score(0, h, p, n).exp()).sum();
        x.score(0, h, p, m).exp() / total
    };
    let mut top = 0.0f64;
    for h in 0..s.h {
        for p in 0..s.p {
            top = (1..s.m).map(|m| weight(h, p, m)).fold(top, f64::max);
        }
    }
    let code = |w: f64| (-(w / top).log2()).round_ties_even().clamp(0.0, 15.0);
    let edit = |w: f64, _: usize, _: usize, m: usize| if m > 0 { top * 2f64.powf(-code(w)) } else { w };
    let (out, _) = attention(
        s,
        |b, h, p, m| Some(x.score(b, h, p, m)),
        edit,
        |b, h, m, f| x.v(b, h, m, f),
    );
    close(
        &outputs(&cascade(&spec("dgq-log2-probs")), qkv(s), vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn moduli_and_phases() {
    let (nh, np, nm, ne) = (1, 3, 4, 32);
    let shapes: [&[usize]; 5] = [
        &[1, nh, np, 64],
        &[1, nh, nm, 64],
        &[1, nh, nm, 64],
        &[nh, ne],
        &[nh, ne],
    ];
    let tensors: Vec<Tensor> = shapes.iter().zip(1..).map(|(shape, seed)| noise(shape, seed)).collect();
    let [q, k, v, delta, bias] = [0, 1, 2, 3, 4].map(|at: usize| tensors[at].to_f64());
    let s = Sizes {
        b: 1,
        h: nh,
        g: nh,
        p: np,
        m: nm,
        e: 64,
    };
    let polar = |x: &[f64], row: usize, e: usize| {
        let (re, im) = (x[row * 64 + e], x[row * 64 + 32 + e]);
        (re.hypot(im), im.atan2(re))
    };
    let score = |_, _, p: usize, m: usize| {
        (m <= p).then(|| {
            (0..ne)
                .map(|e| {
                    let ((qm, qa), (km, ka)) = (polar(&q, p, e), polar(&k, m, e));
                    let turn = (p as f64 - m as f64) * 10000f64.powf(-(e as f64) / 32.0);
                    qm * km * (delta[e] * (qa - ka) + bias[e] + turn).cos()
                })
                .sum()
        })
    };
    let (out, _) = attention(s, score, same, |_, _, m, f| v[m * 64 + f]);
    close(
        &outputs(&cascade(&spec("complexformer")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn bilinear_taps() {
    let (nq, nh) = (3, 2);
    let (height, width) = ([4i64, 3, 2, 1], [3i64, 3, 2, 1]);
    let base = [0i64, 12, 21, 25];
    let nm = 26;
    let position = |seed| {
        Tensor::reals(
            &[1, nq, nh, 16],
            noise(&[1, nq, nh, 16], seed).to_f64().iter().map(|x| x.abs()).collect(),
        )
    };
    let tensors = vec![
        noise(&[1, nq, nh, 16], 1),
        position(2),
        position(3),
        noise(&[1, nm, nh, 32], 4),
        Tensor::ints(&[4], base.to_vec()),
        Tensor::ints(&[4], height.to_vec()),
        Tensor::ints(&[4], width.to_vec()),
    ];
    let [logit, py, px, v] = [0, 1, 2, 3].map(|at: usize| tensors[at].to_f64());
    let mut out = Vec::new();
    for q in 0..nq {
        for h in 0..nh {
            let row = (q * nh + h) * 16;
            let total: f64 = (0..16).map(|n| logit[row + n].exp()).sum();
            for f in 0..32 {
                let mut value = 0.0;
                for n in 0..16 {
                    let l = n / 4;
                    let (gy, gx) = (
                        py[row + n] * height[l] as f64 - 0.5,
                        px[row + n] * width[l] as f64 - 0.5,
                    );
                    for (j, k) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        let (iy, ix) = (gy.floor() as i64 + j, gx.floor() as i64 + k);
                        if (0..height[l]).contains(&iy) && (0..width[l]).contains(&ix) {
                            let tap = (1.0 - (gy - iy as f64).abs()) * (1.0 - (gx - ix as f64).abs());
                            let m = (base[l] + iy * width[l] + ix) as usize;
                            value += logit[row + n].exp() / total * tap * v[(m * nh + h) * 32 + f];
                        }
                    }
                }
                out.push(value);
            }
        }
    }
    close(
        &outputs(&cascade(&spec("deformable-attention")), tensors, vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn shared_map_and_peak() {
    let s = Sizes {
        b: 1,
        h: 2,
        g: 2,
        p: 5,
        m: 5,
        e: 64,
    };
    let x = Plain::new(s);
    let values = noise(&[3, 1, 2, 5, 64], 3);
    let col = [4i64, 0, 9, -1];
    let tensors = vec![
        qkv(s)[0].clone(),
        qkv(s)[1].clone(),
        values.clone(),
        Tensor::ints(&[4], col.to_vec()),
    ];
    let found = outputs(&cascade(&spec("echoatt")), tensors, vec![]);
    let v = values.to_f64();
    let score = |b, h, p, m| (m <= p).then(|| x.score(b, h, p, m));
    let mut out = Vec::new();
    for lay in 0..3 {
        out.extend(attention(s, score, same, |_, h, m, f| v[at(&[3, 2, 5, 64], &[lay, h, m, f])]).0);
    }
    close(&found[0], &out, 1e-12);
    let weight = |h: usize, p: usize, m: usize| {
        let total: f64 = (0..=p).map(|n| x.score(0, h, p, n).exp()).sum();
        x.score(0, h, p, m).exp() / total
    };
    let mut map = Vec::new();
    for p in 0..s.p {
        for c in col {
            let exists = (0..=p as i64).contains(&c);
            map.push(if exists {
                (0..2).map(|h| weight(h, p, c as usize)).sum::<f64>() / 2.0
            } else {
                0.0
            });
        }
    }
    close(&found[1], &map, 1e-12);
    let peak = |h: usize, p: usize| {
        (0..=p).fold(0, |best, m| {
            if x.score(0, h, p, m) > x.score(0, h, p, best) {
                m
            } else {
                best
            }
        })
    };
    let peaks: Vec<f64> = (0..2)
        .flat_map(|h| (0..5).map(move |p| (h, p)))
        .map(|(h, p)| peak(h, p) as f64)
        .collect();
    close(&found[2], &peaks, 0.0);
}

#[test]
fn block_patterns() {
    let s = Sizes {
        b: 1,
        h: 1,
        g: 1,
        p: 70,
        m: 640,
        e: 128,
    };
    // Queries are the first 70 rows: blocks 0 and 1. All blocks are local, so only the tail of p matters.
    let x = Plain::new(s);
    let (out, _) = attention(
        s,
        |b, h, p, m| (m <= p).then(|| x.score(b, h, p, m)),
        same,
        |b, h, m, f| x.v(b, h, m, f),
    );
    close(
        &outputs(&cascade(&spec("power-attention")), qkv(s), vec![])[0],
        &out,
        1e-12,
    );
}

#[test]
fn prelude_functions() {
    let text = "rank p, m\nin  x[p,m] : f32\nin  y[p,m] : f32\nin  seed : i64\n\
        out mean_[p] : f32 = mean[m](x)\nout var_[p] : f32 = var[m](x)\nout cum[p,m] : f32 = cumsum[m](x)\n\
        out last_[p] : f32 = last[m](x)\nout find_[p] : i32 = find[m](x > 0.5)\nout ls[p,m] : f32 = log_softmax[m](x)\n\
        out s1[p,m] : f32 = softmax1[m](x)\nout rms[p,m] : f32 = rms_norm[m](x, 1e-6)\nout ln[p,m] : f32 = layer_norm[m](x, 1e-6)\n\
        out l2[p,m] : f32 = l2_norm[m](x, 1e-6)\nout g[p,m] : f32 = gelu(x)\nout sp[p,m] : f32 = softplus(x)\n\
        out cap[p,m] : f32 = softcap(x, 2)\nout turned[p,m] : f32 = rope[m](x, p, 100)\nout pairs[p,m] : f32 = rope_pairs[m](x, p, 100)\n\
        out drop[p,m] : f32 = dropout(x, 0.5, uniform(seed, p, m))\nout ent[p] : f32 = entropy[m](softmax[m](x))\n\
        out diff[p] : f32 = kl[m](softmax[m](x), softmax[m](y))";
    let (np, nm) = (4, 6);
    let (x, y) = (noise(&[np, nm], 1), noise(&[np, nm], 2));
    let found = outputs(&cascade(text), vec![x.clone(), y.clone()], vec![Scalar::Int(7)]);
    let (x, y) = (x.to_f64(), y.to_f64());
    let row = |p: usize| &x[p * nm..(p + 1) * nm];
    let mean = |r: &[f64]| r.iter().sum::<f64>() / nm as f64;
    let var = |r: &[f64]| r.iter().map(|v| (v - mean(r)).powi(2)).sum::<f64>() / nm as f64;
    let total = |r: &[f64]| r.iter().map(|v| v.exp()).sum::<f64>();
    let by_row = |f: &dyn Fn(&[f64]) -> f64| (0..np).map(|p| f(row(p))).collect::<Vec<f64>>();
    let by_point = |f: &dyn Fn(usize, usize) -> f64| {
        (0..np)
            .flat_map(|p| (0..nm).map(move |m| (p, m)))
            .map(|(p, m)| f(p, m))
            .collect::<Vec<f64>>()
    };
    close(&found[0], &by_row(&mean), 1e-13);
    close(&found[1], &by_row(&var), 1e-13);
    close(&found[2], &by_point(&|p, m| row(p)[..=m].iter().sum()), 1e-13);
    close(&found[3], &by_row(&|r| r[nm - 1]), 0.0);
    close(
        &found[4],
        &by_row(&|r| r.iter().position(|v| *v > 0.5).map_or(-1.0, |m| m as f64)),
        0.0,
    );
    close(&found[5], &by_point(&|p, m| row(p)[m] - total(row(p)).ln()), 1e-13);
    close(
        &found[6],
        &by_point(&|p, m| row(p)[m].exp() / (total(row(p)) + 1.0)),
        1e-13,
    );
    close(
        &found[7],
        &by_point(&|p, m| row(p)[m] / (mean(&row(p).iter().map(|v| v * v).collect::<Vec<_>>()) + 1e-6).sqrt()),
        1e-13,
    );
    close(
        &found[8],
        &by_point(&|p, m| (row(p)[m] - mean(row(p))) / (var(row(p)) + 1e-6).sqrt()),
        1e-13,
    );
    close(
        &found[9],
        &by_point(&|p, m| row(p)[m] / row(p).iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-6)),
        1e-13,
    );
    close(
        &found[10],
        &by_point(&|p, m| 0.5 * row(p)[m] * (1.0 + libm::erf(row(p)[m] / 2f64.sqrt()))),
        1e-13,
    );
    close(&found[11], &by_point(&|p, m| (1.0 + row(p)[m].exp()).ln()), 1e-13);
    close(&found[12], &by_point(&|p, m| 2.0 * (row(p)[m] / 2.0).tanh()), 1e-13);
    let angle = |p: usize, pair: usize| p as f64 * 100f64.powf(-2.0 * pair as f64 / nm as f64);
    let half = |p: usize, m: usize| {
        let a = angle(p, m % 3);
        if m < 3 {
            row(p)[m] * a.cos() - row(p)[m + 3] * a.sin()
        } else {
            row(p)[m] * a.cos() + row(p)[m - 3] * a.sin()
        }
    };
    close(&found[13], &by_point(&half), 1e-13);
    let pairs = |p: usize, m: usize| {
        let a = angle(p, m / 2);
        if m.is_multiple_of(2) {
            row(p)[m] * a.cos() - row(p)[m + 1] * a.sin()
        } else {
            row(p)[m] * a.cos() + row(p)[m - 1] * a.sin()
        }
    };
    close(&found[14], &by_point(&pairs), 1e-13);
    let kept = |p: usize, m: usize| einloom_cascade::philox::uniform(&[7, p as i64, m as i64]) >= 0.5;
    close(
        &found[15],
        &by_point(&|p, m| if kept(p, m) { row(p)[m] / 0.5 } else { 0.0 }),
        0.0,
    );
    let soft = |r: &[f64]| r.iter().map(|v| v.exp() / total(r)).collect::<Vec<f64>>();
    close(
        &found[16],
        &by_row(&|r| -soft(r).iter().map(|w| w * w.ln()).sum::<f64>()),
        1e-13,
    );
    let diff: Vec<f64> = (0..np)
        .map(|p| {
            let (a, b) = (soft(row(p)), soft(&y[p * nm..(p + 1) * nm]));
            a.iter().zip(&b).map(|(a, b)| a * (a / b).ln()).sum()
        })
        .collect();
    close(&found[17], &diff, 1e-13);
}

#[test]
fn implied_sums_stay_in_their_terms() {
    // The residual is added once, the product in `exp` is a dot product, the condition is inside the sum.
    let text = "rank p, d, e\nin  O[p,e], WO[e,d], X[p,d] : f32\n\
        out Y[p,d] : f32 = O * WO + X\nout Z[p,d] : f32 = exp(O * WO) * X\nout W[p,d] : f32 = O * WO where e > p";
    let (np, nd, ne) = (3, 2, 4);
    let (o, wo, x) = (noise(&[np, ne], 1), noise(&[ne, nd], 2), noise(&[np, nd], 3));
    let found = outputs(&cascade(text), vec![o.clone(), wo.clone(), x.clone()], vec![]);
    let (o, wo, x) = (o.to_f64(), wo.to_f64(), x.to_f64());
    let part = |p: usize, d: usize, from: usize| (from..ne).map(|e| o[p * ne + e] * wo[e * nd + d]).sum::<f64>();
    let each = |f: &dyn Fn(usize, usize) -> f64| {
        (0..np)
            .flat_map(|p| (0..nd).map(move |d| (p, d)))
            .map(|(p, d)| f(p, d))
            .collect::<Vec<f64>>()
    };
    close(&found[0], &each(&|p, d| part(p, d, 0) + x[p * nd + d]), 1e-14);
    close(&found[1], &each(&|p, d| part(p, d, 0).exp() * x[p * nd + d]), 1e-14);
    close(&found[2], &each(&|p, d| part(p, d, p + 1)), 1e-14);
}

#[test]
fn composites_split_and_check() {
    let text =
        "rank b, h = (g, r), e\nin  Q[b,h,e], K[b,g,e] : f32\nout O[b,h] : f32 = Q * K\nout Z[b,g] : f32 = sum[r,e](Q)";
    let cascade = cascade(text);
    let found = outputs(&cascade, vec![noise(&[1, 4, 2], 1), noise(&[1, 2, 2], 2)], vec![]);
    let (q, k) = (noise(&[1, 4, 2], 1).to_f64(), noise(&[1, 2, 2], 2).to_f64());
    let expected: Vec<f64> = (0..4)
        .map(|h| (0..2).map(|e| q[h * 2 + e] * k[h / 2 * 2 + e]).sum())
        .collect();
    close(&found[0], &expected, 1e-15);
    let error = einloom_cascade::bind(&cascade, &[vec![1, 5, 2], vec![1, 2, 2]], &[]).expect_err("5 heads in 2 groups");
    assert_eq!(error.to_string(), "rank `h` has extent H, not `G * R`: 5 is not 4");
}

#[test]
fn broken_promises_are_found() {
    let text = "rank p\nin  gamma[p] : f32\nassume gamma > 0\nout O[p] : f32 = log(gamma)";
    let cascade = cascade(text);
    let inputs = einloom_cascade::Inputs::new(vec![Tensor::reals(&[3], vec![1.0, -1.0, 2.0])], vec![]);
    let mut evaluator = einloom_cascade::Evaluator::new(&cascade, &inputs).expect("the arguments should fit");
    assert_eq!(
        evaluator.check_assumes().expect_err("a broken promise").to_string(),
        "the inputs break the promise `assume 0.0 < gamma[p]`"
    );
}
