//! Two attentions in one spec: differences, products, a second pass over the same keys, shared keys and values, self attention.

use super::domain::domain;
use super::draw::Draw;
use super::leads::Leads;
use super::score;
use super::text::Text;

/// Two scores and two products of values that meet in one output.
pub(crate) fn pair(draw: &mut Draw) -> String {
    let mut text = Text::new("random_pair");
    let leads = Leads::draw(draw, &mut text);
    for rank in ["p", "m"] {
        text.rank(rank);
    }
    let e = draw.pick(&[16, 32, 32, 64, 64, 128]);
    text.rank(&format!("e = {e}"));
    text.rank(draw.pick(&["f = E", "f = 32", "f = 64"]));
    let ty = score::element(draw, &mut text);
    let (q, k) = (leads.query(&["p", "e"]), leads.key(&["m", "e"]));
    text.input(&format!(
        "Q1[{q}], K1[{k}], Q2[{q}], K2[{k}], V[{}] : {ty}",
        leads.key(&["m", "f"])
    ));
    let pair = leads.query(&["p", "m"]);
    let wide = leads.query(&["p", "f"]);
    for n in [1, 2] {
        let condition = domain(draw, &mut text, &leads)
            .map(|c| format!(" where {c}"))
            .unwrap_or_default();
        text.define(&format!("S{n}[{pair}] = Q{n} * K{n} / sqrt(E){condition}"));
        text.define(&format!(
            "O{n}[{wide}] = {} * V",
            draw.pick(&["softmax[m](S{n})", "sigmoid(S{n})", "softmax[m](S{n})"])
                .replace("{n}", &n.to_string())
        ));
    }
    let value = match draw.below(6) {
        0..2 if leads.heads() => {
            text.input("lambda[h] : f32");
            "O1 - lambda * O2"
        }
        2 => "O1 * O2",
        3 => "O1 * sigmoid(O2)",
        4 => "rms_norm[f](O1 + O2, 0.01)",
        _ => "O1 + 0.5 * O2",
    };
    text.output(&format!("O[{wide}] : {ty} = {value}"));
    if draw.chance(30) {
        text.output(&format!(
            "L[{}] : f32 = logsumexp[m](S1) - logsumexp[m](0.5 * S1)",
            leads.query(&["p"])
        ));
    }
    text.finish()
}

/// Keys and values of one tensor, or queries, keys and values of one sequence.
pub(crate) fn shared(draw: &mut Draw) -> String {
    let mut text = Text::new("random_shared");
    let (lead, ranks): (&str, &[&str]) = draw.pick(&[("", &[] as &[&str]), ("h,", &["h"]), ("b,h,", &["b", "h"])]);
    for rank in ranks {
        text.rank(rank);
    }
    text.rank("p");
    let ty = score::element(draw, &mut text);
    let condition = draw.pick(&["", " where m <= p", " where abs(m - p) <= 9", " where m < p"]);
    match draw.below(4) {
        0 => {
            for rank in ["m", "l = 64", "j = 16", "d = L + J"] {
                text.rank(rank);
            }
            text.input(&format!("Q[{lead}p,d], C[m,d] : {ty}"));
            text.define(&format!("S[{lead}p,m] = Q * C / sqrt(size(d)){condition}"));
            text.output(&format!("O[{lead}p,l] : {ty} = softmax[m](S) * C[m,l]"));
        }
        1 => {
            let e = draw.pick(&[16, 32, 64]);
            for rank in ["m = P", &format!("e = {e}")] {
                text.rank(rank);
            }
            text.input(&format!("X[{lead}p,e] : {ty}"));
            text.define(&format!("S[{lead}p,m] = X * X[{lead}m,e] / E{condition}"));
            text.output(&format!("O[{lead}p,e] : {ty} = softmax[m](S) * X[{lead}m,e] + X"));
        }
        2 => {
            for rank in ["m = P", &format!("e = {}", draw.pick(&[16, 40, 64, 128])), "f = E"] {
                text.rank(rank);
            }
            text.input(&format!("Q[{lead}p,e], K[{lead}p,e], V[{lead}p,f] : {ty}"));
            text.input(&format!("g[{lead}p] : f32"));
            text.define(&format!("decay[{lead}p] = cumsum[p](-softplus(-g))"));
            text.define(&format!(
                "S[{lead}p,m] = Q * K[{lead}m,e] / sqrt(E) + decay - decay[{lead}m] where m <= p"
            ));
            text.output(&format!("O[{lead}p,f] : {ty} = softmax[m](S) * V[{lead}m,f]"));
        }
        _ => {
            for rank in ["m", &format!("e = {}", draw.pick(&[16, 32, 64])), "f = E"] {
                text.rank(rank);
            }
            text.input(&format!("Q[{lead}p,e], K[{lead}m,e], V[{lead}m,f] : {ty}"));
            text.define(&format!("S[{lead}p,m] = Q * K / sqrt(E){condition}"));
            text.define("A = softmax[m](S)");
            text.define(&format!("Cb[{lead}m] = sum[p](A)"));
            text.output(&format!("O[{lead}p,f] : {ty} = A * V / (1 + Cb)"));
        }
    }
    text.finish()
}
