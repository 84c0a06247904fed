//! Weights: what becomes of scores before they meet the values.

use super::draw::Draw;
use super::leads::Leads;
use super::text::Text;

/// Declares what a normaliser needs and gives the weights as an expression over `S`.
pub(crate) fn weights(draw: &mut Draw, text: &mut Text, leads: &Leads) -> String {
    let direct = [
        "softmax[m](S)",
        "softmax[m](S)",
        "softmax[m](S)",
        "softmax[m](S)",
        "softmax[m](S)",
        "softmax_sink[m](S, 0.5)",
        "softmax1[m](S)",
        "sigmoid(S)",
        "sigmoid(S - 2)",
        "S",
        "relu(S)",
        "softmax[m](S) * sigmoid(S)",
        "softmax[m](S)^2",
        "0.7 * softmax[m](S) - 0.4 * softmax[m](0.5 * S)",
        "exp(clamp(S, -4, 4))",
        "silu(S)",
        "kernel",
        "norm",
        "top",
        "temperature",
        "sink",
        "moments",
        "capped",
    ];
    match draw.pick(&direct) {
        "kernel" => {
            text.define("w = exp(min(S, 5))");
            "w / (0.25 + sum[m](w))".to_owned()
        }
        "norm" => {
            text.define("norm = sqrt(sum[m](S^2))");
            "S / (0.5 + norm)".to_owned()
        }
        "top" => {
            text.define("top = max[m](S)");
            "exp(S - top)".to_owned()
        }
        "temperature" if leads.heads() => {
            text.input("tau[h] : f32");
            "softmax[m](S / (1 + abs(tau)))".to_owned()
        }
        "sink" if leads.heads() => {
            text.input("sink[h] : f32");
            "softmax_sink[m](S, sink)".to_owned()
        }
        "temperature" | "sink" => "softmax[m](0.5 * S)".to_owned(),
        "moments" => {
            text.define("mu = mean[m](S)");
            text.define("spread = sqrt(mean[m]((S - mu)^2) + 0.01)");
            "sigmoid((S - mu) / spread)".to_owned()
        }
        "capped" => "min(softmax[m](S), 0.2)".to_owned(),
        direct => direct.to_owned(),
    }
}
