//! Attention: scores on a domain, a normaliser, results.

use super::domain::domain;
use super::draw::Draw;
use super::leads::Leads;
use super::results::results;
use super::score;
use super::text::Text;
use super::weights::weights;

/// One attention of random parts.
pub(crate) fn attention(draw: &mut Draw) -> String {
    let mut text = Text::new("random_attention");
    let leads = Leads::draw(draw, &mut text);
    text.rank("p");
    text.rank("m");
    score::widths(draw, &mut text);
    let ty = score::element(draw, &mut text);
    let dot = score::dot(draw, &mut text, &leads, ty);
    let score = score::mapped(draw, &mut text, &leads, dot);
    let condition = domain(draw, &mut text, &leads);
    let condition = condition.map(|c| format!(" where {c}")).unwrap_or_default();
    text.define(&format!("S[{}] = {score}{condition}", leads.query(&["p", "m"])));
    let weights = weights(draw, &mut text, &leads);
    text.define(&format!("A = {weights}"));
    results(draw, &mut text, &leads, ty);
    policies(draw, &mut text);
    text.finish()
}

fn policies(draw: &mut Draw, text: &mut Text) {
    let drawn = draw.below(20);
    match drawn {
        0..2 => text.policy("reference = running"),
        2 => text.policy("reference = first"),
        3 => text.policy("fold = off"),
        4 => text.policy("association = written"),
        _ => {}
    }
}
