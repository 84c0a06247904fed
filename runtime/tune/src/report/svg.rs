//! Drawings of the report. Both axes are logarithmic.

use std::fmt::Write;

use super::{Section, escape, us};

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 58.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 14.0;
const RIGHT: f64 = 16.0;

const BLUE: &str = "#2f6fb3";
const GREEN: &str = "#1a7f37";
const AMBER: &str = "#b35900";
const GREY: &str = "#8c959f";

/// A pair of logarithmic axes.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
    out: String,
}

impl Axes {
    /// Axes over at least these ranges, which are positive.
    fn new(x: (f64, f64), y: (f64, f64), labels: (&str, &str), alt: &str) -> Axes {
        let mut axes = Axes {
            x,
            y,
            out: format!(
                "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">",
                escape(alt)
            ),
        };
        for tick in ticks(x) {
            let at = axes.px(tick);
            axes.line((at, TOP), (at, HEIGHT - BOTTOM), "#e4e8ec", 1.0);
            axes.text((at, HEIGHT - BOTTOM + 15.0), "middle", &number(tick));
        }
        for tick in ticks(y) {
            let at = axes.py(tick);
            axes.line((LEFT, at), (WIDTH - RIGHT, at), "#e4e8ec", 1.0);
            axes.text((LEFT - 6.0, at + 4.0), "end", &number(tick));
        }
        axes.line(
            (LEFT, HEIGHT - BOTTOM),
            (WIDTH - RIGHT, HEIGHT - BOTTOM),
            "#57606a",
            1.0,
        );
        axes.line((LEFT, TOP), (LEFT, HEIGHT - BOTTOM), "#57606a", 1.0);
        axes.text(((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0), "middle", labels.0);
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let _ = write!(
            axes.out,
            "<text x=\"13\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 13 {middle:.1})\">{}</text>",
            escape(labels.1)
        );
        axes
    }

    fn px(&self, x: f64) -> f64 {
        let share = (x / self.x.0).ln() / (self.x.1 / self.x.0).ln();
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        let share = (y / self.y.0).ln() / (self.y.1 / self.y.0).ln();
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let _ = write!(
            self.out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn text(&mut self, at: (f64, f64), anchor: &str, text: &str) {
        let _ = write!(
            self.out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at.0,
            at.1,
            escape(text)
        );
    }

    /// A point at data coordinates, with a text that a browser shows beside the pointer.
    fn point(&mut self, x: f64, y: f64, colour: &str, radius: f64, hint: &str) {
        let _ = write!(
            self.out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{colour}\" fill-opacity=\"0.75\"><title>{}</title></circle>",
            self.px(x),
            self.py(y),
            escape(hint)
        );
    }

    fn figure(mut self, caption: &str) -> String {
        self.out.push_str("</svg>");
        format!("<figure>{}<figcaption>{caption}</figcaption></figure>\n", self.out)
    }
}

/// Round numbers inside a range; the longer it is, the fewer.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps: &[f64] = match (high / low).log10() {
        d if d < 0.7 => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        d if d < 2.2 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    decades
        .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)))
        .filter(|t| (low..=high).contains(t))
        .collect()
}

fn number(x: f64) -> String {
    if x >= 1.0 { format!("{x:.0}") } else { format!("{x}") }
}

/// A range around positive values, with some air.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for v in values.filter(|v| v.is_finite() && *v > 0.0) {
        (low, high) = (low.min(v), high.max(v));
    }
    (high > 0.0).then_some((low / 1.15, high * 1.15))
}

/// Predicted against measured time of every candidate.
pub(super) fn predictions(s: &Section) -> String {
    let points: Vec<_> = super::timed(s)
        .into_iter()
        .filter_map(|m| Some((m, m.predicted?, m.us?.median)))
        .collect();
    let both = points.iter().flat_map(|(_, p, t)| [*p, *t]);
    let Some(range) = range(both) else {
        return String::new();
    };
    let mut axes = Axes::new(
        range,
        range,
        ("predicted, us", "measured, us"),
        "predicted against measured time",
    );
    let ends = (
        (axes.px(range.0), axes.py(range.0)),
        (axes.px(range.1), axes.py(range.1)),
    );
    axes.line(ends.0, ends.1, GREY, 1.0);
    for (m, predicted, measured) in points.iter().rev() {
        let (colour, radius) = if m.schedules == s.winner.schedules {
            (GREEN, 6.0)
        } else if m.schedules == s.winner.default {
            (AMBER, 6.0)
        } else {
            (BLUE, 3.5)
        };
        let hint = format!(
            "{}: {} us, predicted {}",
            m.schedules.join(" | "),
            us(*measured),
            us(*predicted)
        );
        axes.point(*predicted, *measured, colour, radius, &hint);
    }
    axes.figure(
        "Each point is a candidate. On the line the machine model is right; what counts is that the order is. Green: the winner. Amber: the default.",
    )
}

/// Work over traffic against work over time, under the device's ceilings.
pub(super) fn roofline(s: &Section) -> String {
    let w = &s.winner;
    let peak = s.roofs.iter().map(|r| r.flops).fold(0.0, f64::max) / 1e12;
    if w.flops <= 0.0 || w.bytes <= 0.0 || peak <= 0.0 || s.bandwidth <= 0.0 {
        return String::new();
    }
    let intensity = w.flops / w.bytes;
    let rate = |us: f64| w.flops / us / 1e6;
    let ridge = peak * 1e12 / s.bandwidth;
    let x = (intensity.min(ridge) / 20.0, intensity.max(ridge) * 8.0);
    let slow = super::timed(s)
        .last()
        .and_then(|m| m.us)
        .map_or(w.us.median, |t| t.median);
    let low = rate(slow).min(rate(w.us.median)).min(x.0 * s.bandwidth / 1e12);
    let mut axes = Axes::new(
        x,
        (low / 2.0, peak * 1.6),
        ("operations per byte of compulsory traffic", "TFLOP/s"),
        "roofline",
    );
    for roof in &s.roofs {
        let flops = roof.flops / 1e12;
        let start = flops * 1e12 / s.bandwidth;
        let (from, to) = ((axes.px(start), axes.py(flops)), (axes.px(x.1), axes.py(flops)));
        axes.line(from, to, GREY, 1.5);
        axes.text(
            (to.0 - 2.0, to.1 - 5.0),
            "end",
            &format!("{}: {flops:.0} TFLOP/s", roof.name),
        );
    }
    let (from, to) = ((x.0, x.0 * s.bandwidth / 1e12), (ridge, peak));
    let ends = ((axes.px(from.0), axes.py(from.1)), (axes.px(to.0), axes.py(to.1)));
    axes.line(ends.0, ends.1, GREY, 1.5);
    axes.text(
        ((ends.0.0 + ends.1.0) / 2.0 + 8.0, (ends.0.1 + ends.1.1) / 2.0 + 16.0),
        "start",
        &format!("{:.0} GB/s", s.bandwidth / 1e9),
    );
    for m in super::timed(s).into_iter().rev() {
        if let Some(t) = m.us {
            axes.point(
                intensity,
                rate(t.median),
                BLUE,
                3.0,
                &format!("{}: {:.1} TFLOP/s", m.schedules.join(" | "), rate(t.median)),
            );
        }
    }
    if let Some(t) = w.default_us {
        axes.point(
            intensity,
            rate(t.median),
            AMBER,
            6.0,
            &format!("default: {:.1} TFLOP/s", rate(t.median)),
        );
    }
    axes.point(
        intensity,
        rate(w.us.median),
        GREEN,
        6.0,
        &format!("winner: {:.1} TFLOP/s", rate(w.us.median)),
    );
    let share = rate(w.us.median) / peak.min(intensity * s.bandwidth / 1e12) * 100.0;
    axes.figure(&format!(
        "Roofline. The winner reaches {:.1} TFLOP/s, {share:.0} % of the ceiling at its {} operations a byte. Ceilings are sustained rates of the machine model.",
        rate(w.us.median),
        number(intensity.round().max(1.0))
    ))
}
