//! Keys in blocks, `m = (c, i)`, and keys in a plane, `m = (v, u)`: reductions inside of a block, over blocks, over both.

use super::draw::Draw;
use super::score;
use super::text::Text;

const BLOCK_RESULTS: [&str; 10] = [
    "O[{q}p,f] : {t} = softmax[m](S) * V",
    "Nest[{q}p,f] : {t} = far * On",
    "Nest[{q}p,f] : {t} = far * On",
    "Far[{q}p] : f32 = logsumexp[c](max[i](S))",
    "Each[{q}p] : f32 = max[c](sum[i](exp(S / 4)))",
    "Wide[{q}p] : f32 = sum[c](max[i](S) * U)",
    "In[{q}p,f] : {t} = V * softmax[i](S) / (1 + C)",
    "Gate[{q}p,f] : {t} = V * sigmoid(S) * U",
    "Lse[{q}p] : f32 = logsumexp[m](S)",
    "Mid[{q}p] : f32 = sum[c](logsumexp[i](S) * U)",
];

const BLOCK_DOMAINS: [&str; 6] = [
    "",
    "",
    " where m <= p",
    " where c <= p div I",
    " where m <= p and c != 1",
    " where i < I - 1",
];

/// Attention over blocks of keys.
pub(crate) fn blocks(draw: &mut Draw) -> String {
    let mut text = Text::new("random_blocks");
    let (lead, ranks): (&str, &[&str]) = draw.pick(&[("", &[] as &[&str]), ("h,", &["h"]), ("b,h,", &["b", "h"])]);
    for rank in ranks {
        text.rank(rank);
    }
    text.rank("p");
    text.rank("m = (c, i)");
    text.rank(&format!("i = {}", draw.pick(&[4, 8, 16, 20, 32, 64, 128])));
    score::widths(draw, &mut text);
    let ty = score::element(draw, &mut text);
    text.input(&format!("Q[{lead}p,e], K[{lead}m,e], V[{lead}m,f] : {ty}"));
    let chosen = draw.some(&BLOCK_RESULTS, 2);
    if chosen.iter().any(|result| result.contains(" U")) {
        text.input("U[c] : f32");
    }
    let domain = draw.pick(&BLOCK_DOMAINS);
    text.define(&format!("S[{lead}p,m] = Q * K / sqrt(E){domain}"));
    for result in chosen {
        if result.contains("far") {
            text.define("near = softmax[i](S)");
            text.define("far = softmax[c](max[i](S))");
            text.define(&format!("On[{lead}p,c,f] = near * V"));
        }
        text.output(&result.replace("{q}", lead).replace("{t}", ty));
    }
    text.finish()
}

const PLANE_RESULTS: [&str; 6] = [
    "O[{q}y,x,f] : {t} = softmax[m](S) * V",
    "O[{q}y,x,f] : {t} = softmax[m](S) * V",
    "L[{q}y,x] : f32 = logsumexp[m](S)",
    "Cv[{q}v,u] : f32 = sum[p](softmax[m](S))",
    "Row[{q}y,x,f] : {t} = softmax[u](S) * V / (1 + size(v))",
    "Best[{q}y,x] : f32 = max[v](sum[u](sigmoid(S)))",
];

const PLANE_DOMAINS: [&str; 6] = [
    "",
    " where abs(v - y) <= 1 and abs(u - x) <= 1",
    " where abs(v - y) <= 2 and abs(u - x) <= 4",
    " where v <= y",
    " where v * size(u) + u <= y * X + x",
    " where (v - y) mod 2 == 0",
];

/// Attention over pixels.
pub(crate) fn planes(draw: &mut Draw) -> String {
    let mut text = Text::new("random_planes");
    let (lead, ranks): (&str, &[&str]) = draw.pick(&[("", &[] as &[&str]), ("h,", &["h"]), ("b,h,", &["b", "h"])]);
    for rank in ranks {
        text.rank(rank);
    }
    for rank in ["y", "x", "v", "u", "p = (y, x)", "m = (v, u)"] {
        text.rank(rank);
    }
    score::widths(draw, &mut text);
    let ty = score::element(draw, &mut text);
    text.input(&format!("Q[{lead}y,x,e], K[{lead}v,u,e], V[{lead}v,u,f] : {ty}"));
    let domain = draw.pick(&PLANE_DOMAINS);
    text.define(&format!("S[{lead}p,m] = Q * K / sqrt(E){domain}"));
    for result in draw.some(&PLANE_RESULTS, 2) {
        text.output(&result.replace("{q}", lead).replace("{t}", ty));
    }
    text.finish()
}
