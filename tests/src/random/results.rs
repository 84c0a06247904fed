//! Results: the product with the values and what follows it, and second outputs.

use super::draw::Draw;
use super::leads::Leads;
use super::text::Text;

/// Adds one main output, or two at times, and up to two second ones.
pub(crate) fn results(draw: &mut Draw, text: &mut Text, leads: &Leads, ty: &str) {
    if draw.chance(85) {
        product(draw, text, leads, ty);
    } else {
        statistic(draw, text, leads);
    }
    for _ in 0..draw.pick(&[0, 0, 0, 1, 1, 2]) {
        if draw.chance(75) {
            statistic(draw, text, leads);
        } else {
            second(draw, text, leads, ty);
        }
    }
}

fn product(draw: &mut Draw, text: &mut Text, leads: &Leads, ty: &str) {
    let (row, wide) = (leads.query(&["p"]), leads.query(&["p", "f"]));
    let out = |text: &mut Text, value: &str| text.output(&format!("O[{wide}] : {ty} = {value}"));
    match draw.below(24) {
        0 => {
            text.input(&format!("gate[{wide}] : {ty}"));
            out(text, "sigmoid(gate) * (A * V)");
        }
        1 => {
            text.input(&format!("X[{wide}] : {ty}"));
            out(text, "A * V + X");
        }
        2 => {
            text.input(&format!("by_row[{row}] : f32"));
            out(text, "by_row * (A * V)");
        }
        3 => {
            text.define(&format!("Y[{wide}] = A * V"));
            out(text, "rms_norm[f](Y, 0.01)");
        }
        4 => {
            text.input(&format!("X[{wide}] : {ty}"));
            text.define(&format!("Y[{wide}] = A * V"));
            text.define("Z = Y + X");
            out(text, "layer_norm[f](Z, 0.1)");
        }
        5 => out(text, "silu(A * V)"),
        6 => {
            text.input(&format!("U2[{}] : {ty}", leads.key(&["m", "f"])));
            text.define(&format!("Y[{wide}] = A * V"));
            text.define(&format!("Y2[{wide}] = A * U2"));
            out(text, "Y * sigmoid(Y2)");
        }
        7 => {
            text.input("z[m] : i32");
            text.define("part = sum[m](A where z mod 2 == 1)");
            text.define(&format!("Ns[{wide}] = A * V where z mod 2 == 1"));
            out(text, "(1 + part) * Ns + part");
        }
        8 => {
            text.input(&format!("U1[{}] : f32", leads.key(&["m"])));
            out(text, "A * V * U1");
        }
        9 => {
            text.rank("d = 32");
            text.input(&format!("Wo[f,d] : {ty}"));
            text.define(&format!("Y[{wide}] = A * V"));
            text.output(&format!("Pr[{}] : {ty} = Y * Wo / sqrt(F)", leads.query(&["p", "d"])));
        }
        10 => {
            text.input("fscale[f] : f32");
            out(text, "fscale * (A * V)");
        }
        11 => out(text, "A * silu(V)"),
        _ => out(text, "A * V"),
    }
}

fn second(draw: &mut Draw, text: &mut Text, leads: &Leads, ty: &str) {
    match draw.below(4) {
        0 => text.output(&format!("D[{}] : {ty} = A * K", leads.query(&["p", "e"]))),
        1 => text.output(&format!("P1[{}] : {ty} = A", leads.query(&["p", "m"]))),
        2 => text.output(&format!("S1[{}] : f32 = S", leads.query(&["p", "m"]))),
        _ => text.output(&format!("C2[{}] : f32 = sum[p](A * A)", leads.query(&["m"]))),
    }
}

fn statistic(draw: &mut Draw, text: &mut Text, leads: &Leads) {
    let row = leads.query(&["p"]);
    match draw.below(15) {
        0..3 => text.output(&format!("LSE[{row}] : f32 = logsumexp[m](S)")),
        3 => text.output(&format!("Top[{row}] : f32 = max[m](S)")),
        4 => text.output(&format!("Low[{row}] : f32 = min[m](S)")),
        5 => text.output(&format!("Ent[{row}] : f32 = entropy[m](softmax[m](S))")),
        6 => text.output(&format!("N[{row}] : f32 = sum[m](A^2)")),
        7 => text.output(&format!("Sum[{row}] : f32 = sum[m](A)")),
        8 => text.output(&format!("Count[{row}] : i32 = count[m](S where S > 0.5)")),
        9 | 10 => text.output(&format!("C[{}] : f32 = sum[p](A)", leads.query(&["m"]))),
        11 => text.output(&format!("Best[{row}] : i32 = argmax[m](S)")),
        12 => text.output(&format!("Peak[{}] : f32 = max[p](A)", leads.query(&["m"]))),
        13 => text.output(&format!("Mean[{row}] : f32 = mean[m](S)")),
        _ => text.output(&format!("Where[{row}] : f32 = sum[m](A * m) / (1 + M)")),
    }
}
