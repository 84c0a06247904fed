//! Conditions on pairs of a query and a key: one, or a conjunction of two.

use super::draw::Draw;
use super::leads::Leads;
use super::text::Text;

/// A condition, or nothing.
pub(crate) fn domain(draw: &mut Draw, text: &mut Text, leads: &Leads) -> Option<String> {
    match draw.below(10) {
        0..3 => None,
        3..8 => Some(condition(draw, text, leads)),
        _ => {
            let parts = [condition(draw, text, leads), condition(draw, text, leads)];
            Some(match &parts {
                [a, b] if a == b => a.clone(),
                [a, b] => format!("{} and {}", bracket(a), bracket(b)),
            })
        }
    }
}

fn bracket(condition: &str) -> String {
    if condition.contains(" or ") {
        format!("({condition})")
    } else {
        condition.to_owned()
    }
}

fn condition(draw: &mut Draw, text: &mut Text, leads: &Leads) -> String {
    match draw.below(20) {
        0..3 => "m <= p".to_owned(),
        3 | 4 => "m <= p + M - P".to_owned(),
        5 => "m < p".to_owned(),
        6 => {
            text.input("window : i32");
            "0 <= p - m < window".to_owned()
        }
        7 => format!("abs(p - m) <= {}", draw.pick(&[3, 17, 40])),
        8 => {
            text.input("prefix : i32");
            "m <= p or m < prefix".to_owned()
        }
        9 => {
            text.input("window, sinks : i32");
            "m <= p and (m < sinks or p - m < window)".to_owned()
        }
        10 | 11 if leads.batch() => {
            text.input("len[b] : i32");
            "m < len".to_owned()
        }
        12 if leads.batch() => {
            text.input("left[b], right[b] : i32");
            "left - 20 <= m - p <= right".to_owned()
        }
        10..13 => {
            text.input("len : i32");
            "m < len".to_owned()
        }
        13 => documents(draw, text, leads),
        14 => {
            text.input("mine[p], theirs[m] : i32");
            "mine mod 3 == theirs mod 3".to_owned()
        }
        15 => format!("(p - m) mod {} == 0", draw.pick(&[2, 3, 8])),
        16 => {
            let n = draw.pick(&[4, 16, 50]);
            format!("m div {n} == p div {n}")
        }
        17 => format!("m div 16 <= p div {}", draw.pick(&[16, 8])),
        18 => {
            text.input("keep[m] : bool");
            "keep".to_owned()
        }
        _ => "m != p".to_owned(),
    }
}

/// Segments of a packed sequence, of one table or of two, promised to be sorted or not.
fn documents(draw: &mut Draw, text: &mut Text, leads: &Leads) -> String {
    let dims = if leads.batch() { ("b,p", "b,m") } else { ("p", "m") };
    text.input(&format!("doc[{}], kdoc[{}] : i32", dims.0, dims.1));
    if draw.chance(50) {
        text.assume("doc <= doc[p := p + 1]");
        text.assume("kdoc <= kdoc[m := m + 1]");
    }
    "doc == kdoc".to_owned()
}
