//! Chains of reductions over rows or columns of plain tensors, without any dot: norms, moments, entropies, cumulative sums, gates.

use super::draw::Draw;
use super::score;
use super::text::Text;

/// Reductions of a row `x[..,m]`; later ones may use earlier ones.
const REDUCTIONS: [(&str, &str); 12] = [
    ("mu", "mean[m](x)"),
    ("top", "max[m](x)"),
    ("low", "min[m](x)"),
    ("dev", "sqrt(mean[m]((x - mean[m](x))^2) + 0.01)"),
    ("two", "sqrt(mean[m](x^2) + 0.01)"),
    ("lse", "logsumexp[m](x)"),
    ("half", "logsumexp[m](x / 2)"),
    ("away", "mean[m](abs(x - mean[m](x)))"),
    ("gate", "sigmoid(mean[m](x * sigmoid(x)))"),
    ("ent", "entropy[m](softmax[m](x))"),
    ("high", "sum[m](x where x > mean[m](x)) / (1 + M)"),
    ("few", "count[m](x where x > 0.5 * max[m](x)) / (1 + M)"),
];

/// What is written for each point, of rows and of a value `{s}` of the row.
const POINTS: [&str; 8] = [
    "x - {s}",
    "x * sigmoid(x - {s})",
    "exp(min(x - {s}, 3))",
    "softmax[m](x / (1 + abs({s})))",
    "(x where x > {s})",
    "(x where x > {s} else {s})",
    "tanh(x * {s})",
    "x * {s} + y",
];

/// A chain of two or three reductions.
pub(crate) fn chain(draw: &mut Draw) -> String {
    let mut text = Text::new("random_chain");
    let (lead, ranks): (&str, &[&str]) = draw.pick(&[("", &[] as &[&str]), ("b,", &["b"]), ("b,h,", &["b", "h"])]);
    for rank in ranks {
        text.rank(rank);
    }
    // Rows along the streamed rank, or columns of a matrix.
    let local = draw.chance(40);
    let lead = if local { format!("{lead}p,") } else { lead.to_owned() };
    if local {
        text.rank("p");
    }
    text.rank("m");
    let ty = score::element(draw, &mut text);
    text.input(&format!("x[{lead}m] : {ty}"));
    let rows = lead.trim_end_matches(',');
    let chosen = draw.some(&REDUCTIONS, 3);
    for (name, value) in &chosen {
        text.define(&format!("{name}[{rows}] = {value}"));
    }
    for (name, _) in &chosen {
        match draw.below(3) {
            0 => text.output(&format!("R_{name}[{rows}] : f32 = {name}")),
            1 => {
                let other = draw.pick(&chosen).0;
                text.output(&format!(
                    "M_{name}[{rows}] : f32 = mean[m](abs(x - {name}) * sigmoid({other} + x))"
                ));
            }
            _ => {
                let point = draw.pick(&POINTS).replace("{s}", name);
                if point.contains('y') {
                    text.input("y[m] : f32");
                }
                text.output(&format!("Y_{name}[{lead}m] : {ty} = {point}"));
            }
        }
    }
    if local && draw.chance(30) {
        text.output(&format!(
            "Col[{}m] : f32 = sum[p](x * sigmoid({}))",
            lead.trim_end_matches("p,"),
            chosen[0].0
        ));
    }
    text.finish()
}

/// Prefix sums and scans written as sums.
pub(crate) fn scan(draw: &mut Draw) -> String {
    let mut text = Text::new("random_scan");
    let (lead, ranks): (&str, &[&str]) = draw.pick(&[("", &[] as &[&str]), ("b,", &["b"]), ("b,h,", &["b", "h"])]);
    for rank in ranks {
        text.rank(rank);
    }
    text.rank("n");
    let ty = score::element(draw, &mut text);
    text.input(&format!("x[{lead}n] : {ty}"));
    match draw.below(5) {
        0 => text.output(&format!("y[{lead}n] : f32 = cumsum[n](sigmoid(x))")),
        1 => {
            text.rank("s = N");
            text.output(&format!(
                "y[{lead}n] : f32 = x[{lead}s] * exp(-0.1 * (n - s)) where s <= n"
            ));
        }
        2 => {
            text.rank("s = N");
            text.output(&format!("y[{lead}n] : f32 = max[s](x[{lead}s] where s <= n)"));
        }
        3 => {
            text.rank("s = N");
            text.output(&format!("y[{lead}n] : {ty} = mean[s](x[{lead}s] where 0 <= n - s < 9)"));
        }
        _ => {
            text.rank("w = 5");
            text.input("taps[w] : f32");
            text.output(&format!("y[{lead}n] : {ty} = taps * x[{lead}n + w - 2]"));
        }
    }
    if draw.chance(40) && !lead.is_empty() {
        text.output(&format!("total[{}] : f32 = sum[n](x^2)", lead.trim_end_matches(',')));
    }
    text.finish()
}
