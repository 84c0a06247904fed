//! Scores: a dot of queries and keys in some spelling, behind maps and biases. They stay within about 10, so that results are well
//! conditioned.

use super::draw::Draw;
use super::leads::Leads;
use super::text::Text;

/// Types of element, with the likelier ones repeated.
const TYPES: [&str; 7] = ["bf16", "bf16", "bf16", "f16", "f16", "f32", "T"];

/// Widths of heads; the small ones make for cheap tests and are repeated.
const WIDTHS: [usize; 16] = [16, 16, 24, 32, 32, 40, 48, 64, 64, 64, 80, 96, 112, 128, 192, 256];

/// Draws the type of elements; a choice of two is declared as `T`.
pub(crate) fn element(draw: &mut Draw, text: &mut Text) -> &'static str {
    let drawn = draw.pick(&TYPES);
    if drawn == "T" && draw.chance(50) {
        text.constant("T = bf16 | f16");
        return "T";
    }
    if drawn == "T" { "bf16" } else { drawn }
}

/// Declares the widths `e` and `f`.
pub(crate) fn widths(draw: &mut Draw, text: &mut Text) {
    let e = draw.pick(&WIDTHS);
    match draw.below(12) {
        0 => text.rank("e = 32 | 64"),
        _ => text.rank(&format!("e = {e}")),
    }
    match draw.below(5) {
        0 | 1 => text.rank("f = E"),
        2 if e <= 64 => text.rank("f = 2 * E"),
        _ => text.rank(&format!("f = {}", draw.pick(&WIDTHS))),
    }
}

/// Declares queries, keys and values; says how a score begins.
pub(crate) fn dot(draw: &mut Draw, text: &mut Text, leads: &Leads, ty: &str) -> String {
    let (q, k) = (leads.query(&["p", "e"]), leads.key(&["m", "e"]));
    text.input(&format!("Q[{q}], K[{k}], V[{}] : {ty}", leads.key(&["m", "f"])));
    let scaled = |draw: &mut Draw, dot: &str| match draw.below(6) {
        0..3 => format!("{dot} / sqrt(E)"),
        3 => format!("0.125 * {dot}"),
        4 => format!("2 * {dot} / E"),
        _ => format!("{dot} * scale / sqrt(E)"),
    };
    let score = match draw.below(20) {
        0 => {
            text.rank("j = 16");
            text.input(&format!(
                "Qr[{}], Kr[{}] : {ty}",
                leads.query(&["p", "j"]),
                leads.key(&["m", "j"])
            ));
            "(Q * K + Qr * Kr) / sqrt(E + J)".to_owned()
        }
        1 => "-sum[e]((Q - K)^2) / (2 * E)".to_owned(),
        2 => {
            text.input("wq[e] : f32");
            "Q * K * wq / sqrt(E)".to_owned()
        }
        3 => {
            text.define("q = rms_norm[e](Q, 0.001)");
            text.define("k = rms_norm[e](K, 0.001)");
            scaled(draw, "q * k")
        }
        4 => {
            text.define("q = l2_norm[e](Q, 0.001)");
            text.define("k = l2_norm[e](K, 0.001)");
            "5 * (q * k)".to_owned()
        }
        5 => {
            text.define(&format!("q[{q}] = Q + 0.5"));
            scaled(draw, "q * K")
        }
        6 => {
            text.define(&format!("k[{k}] = silu(K)"));
            scaled(draw, "Q * k")
        }
        _ => scaled(draw, "Q * K"),
    };
    if score.contains("scale") {
        text.input("scale : f32");
    }
    score
}

/// Puts up to two maps or biases around a score.
pub(crate) fn mapped(draw: &mut Draw, text: &mut Text, leads: &Leads, score: String) -> String {
    let count = draw.pick(&[0, 0, 0, 1, 1, 1, 2]);
    (0..count).fold(score, |score, _| match draw.below(3) {
        0 => map(draw, &score),
        _ => biased(draw, text, leads, &score),
    })
}

fn map(draw: &mut Draw, x: &str) -> String {
    match draw.below(14) {
        0 | 1 => format!("softcap({x}, 6)"),
        2 => format!("4 * tanh({x} / 2)"),
        3 => format!("abs({x})"),
        4 => format!("({x})^2 / 4"),
        5 => format!("relu({x})"),
        6 => format!("silu({x})"),
        7 => format!("3 * sigmoid({x})"),
        8 => format!("clamp({x}, -3, 3)"),
        9 => format!("max({x}, -1)"),
        10 => format!("gelu({x})"),
        11 => format!("softplus({x})"),
        12 => format!("elu({x})"),
        _ => format!("3 * sin({x} / 3)"),
    }
}

fn biased(draw: &mut Draw, text: &mut Text, leads: &Leads, x: &str) -> String {
    match draw.below(13) {
        0 if leads.heads() => format!("{x} + alibi_slope(h, H) * (m - p)"),
        1 if leads.heads() => {
            text.input("slope[h] : f32");
            format!("{x} - 0.02 * abs(slope) * abs(p - m)")
        }
        2 if leads.heads() => {
            text.constant("W = 9");
            text.input("near[h, 2 * W + 1] : f32");
            format!("{x} + near[h, clamp(m - p, -W, W) + W]")
        }
        0..3 => {
            text.constant("W = 9");
            text.input("near[2 * W + 1] : f32");
            format!("{x} + near[clamp(m - p, -W, W) + W]")
        }
        3 => {
            text.input("kind[m] : i32");
            text.input("by_kind[5] : f32");
            format!("{x} + by_kind[kind mod 5]")
        }
        4 => {
            text.input("T1[p] : f32");
            text.input(&format!("U1[{}] : f32", leads.key(&["m"])));
            format!("{x} + T1 + U1")
        }
        5 => {
            text.input(&format!("U1[{}] : f32", leads.key(&["m"])));
            format!("{x} / (1 + abs(U1))")
        }
        6 => {
            text.input(&format!("T2[{}] : bf16", leads.query(&["p"])));
            format!("{x} / (1 + abs(T2))")
        }
        7 => format!("{x} - 0.05 * abs(p - m)"),
        8 => format!("{x} * exp(-0.02 * abs(p - m))"),
        9 => format!("({x} where m < p else 0.5 * ({x}))"),
        10 => format!("({x} where m mod 3 == 0 else -1)"),
        11 => {
            text.input(&format!("B[{}] : bf16", leads.query(&["p", "m"])));
            format!("{x} + B")
        }
        _ => format!("{x} + 0.5 * cos(0.3 * (p - m))"),
    }
}
