//! Sums over keys without a softmax: states, linear attention, decays, recurrences written as sums.

use super::draw::Draw;
use super::leads::Leads;
use super::score;
use super::text::Text;

const FEATURES: [&str; 6] = [
    "{x}",
    "elu({x}) + 1",
    "relu({x})",
    "exp({x} / 4)",
    "silu({x})",
    "softmax[e]({x})",
];

/// Linear attention, causal or not, with a decay or a normaliser at times, or its state alone.
pub(crate) fn linear(draw: &mut Draw) -> String {
    let mut text = Text::new("random_linear");
    let leads = Leads::draw(draw, &mut text);
    text.rank("p");
    text.rank("m");
    score::widths(draw, &mut text);
    let ty = score::element(draw, &mut text);
    let (q, k, v) = (leads.query(&["p", "e"]), leads.key(&["m", "e"]), leads.key(&["m", "f"]));
    text.input(&format!("Q[{q}], K[{k}], V[{v}] : {ty}"));
    let feature = draw.pick(&FEATURES);
    text.define(&format!("qf[{q}] = {}", feature.replace("{x}", "Q")));
    text.define(&format!("kf[{k}] = {}", feature.replace("{x}", "K")));
    let wide = leads.query(&["p", "f"]);
    let pair = leads.query(&["p", "m"]);
    let out = format!("O[{wide}] : {ty}");
    match draw.below(10) {
        0 => {
            let state = leads.key(&["e", "f"]);
            text.define(&format!("St[{state}] = kf * V / (1 + M)"));
            text.output(&format!("{out} = qf * St"));
            if draw.chance(50) {
                text.output(&format!("St2[{state}] : f32 = St"));
            }
        }
        1 => {
            text.define(&format!("S[{pair}] = qf * kf / E"));
            text.output(&format!("{out} = S * V / (1 + M)"));
        }
        2 => {
            text.define(&format!("S[{pair}] = qf * kf / E"));
            text.define("D = sum[m](S)");
            text.output(&format!("{out} = S * V / (1 + abs(D))"));
        }
        3 => {
            text.define(&format!("top[{}] = max[m](kf)", leads.key(&["e"])));
            text.define(&format!("St[{}] = exp(kf - top) * V", leads.key(&["e", "f"])));
            text.output(&format!("{out} = qf * St / (1 + M)"));
        }
        4 => {
            text.output(&format!("Z[{}] : f32 = sum[m](kf)", leads.key(&["e"])));
            text.output(&format!("Q2[{q}] : {ty} = qf"));
        }
        drawn => causal(draw, &mut text, &leads, drawn, &out),
    }
    text.finish()
}

fn causal(draw: &mut Draw, text: &mut Text, leads: &Leads, drawn: usize, out: &str) {
    let pair = leads.query(&["p", "m"]);
    let condition = draw.pick(&["m <= p", "m <= p", "m < p", "m <= p + M - P"]);
    // A decay grows without bound past the query.
    let condition = if drawn < 7 { "m <= p" } else { condition };
    let decay = match drawn {
        5 => " * 0.9^(p - m)".to_owned(),
        6 if leads.heads() => {
            text.input("rate[h] : f32");
            text.assume("rate >= 0");
            " * exp(-rate * (p - m))".to_owned()
        }
        7 => {
            text.input(&format!("beta[{}] : f32", leads.key(&["m"])));
            " * sigmoid(beta)".to_owned()
        }
        _ => String::new(),
    };
    text.define(&format!("S[{pair}] = qf * kf{decay} / E where {condition}"));
    if drawn == 8 {
        text.define("D = sum[m](S)");
        text.output(&format!("{out} = S * V / (1 + abs(D))"));
    } else {
        text.output(&format!("{out} = S * V"));
    }
    if draw.chance(20) {
        text.output(&format!("D2[{}] : f32 = sum[m](S)", leads.query(&["p"])));
    }
}
