//! The report: one HTML page without outside references. Tables, and drawings as inline SVG: predicted against measured time, and the roofline.
//!
//! All text that comes from records is escaped; a page never runs a script.

mod svg;

use std::fmt::Write;

use crate::record::{Measurement, Status, Winner};

/// A ceiling of the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Roof {
    /// What it is: `matrix unit, wgmma`.
    pub name: String,
    /// Operations per second.
    pub flops: f64,
}

/// One tuned case.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The winner.
    pub winner: Winner,
    /// Everything that was measured for it.
    pub measurements: Vec<Measurement>,
    /// Why the winner wins, one sentence each.
    pub why: Vec<String>,
    /// Ceilings of the device.
    pub roofs: Vec<Roof>,
    /// Bytes per second of the device's memory.
    pub bandwidth: f64,
}

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff;max-width:72rem;margin:2rem auto;padding:0 1.5rem}\
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.6rem 0 .4rem;border-top:1px solid #d0d7de;padding-top:1.4rem}\
h3{font-size:1rem;margin:1.2rem 0 .4rem}p{margin:.4rem 0}.quiet{color:#57606a}\
table{border-collapse:collapse;margin:.6rem 0;font-size:13px}th,td{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #e4e8ec;vertical-align:top}\
th{background:#f6f8fa;font-weight:600;white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
code{display:inline-block;min-width:24rem;font:12px/1.5 ui-monospace,monospace}tr.win td{background:#e9f7ec}tr.def td{background:#fdf4e3}\
.plots{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:.6rem 0}figcaption{font-size:13px;color:#57606a;max-width:32rem}\
svg{display:block;max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#1b1f24}\
.scroll{overflow-x:auto}li{margin:.2rem 0}details{margin:.6rem 0}summary{cursor:pointer}";

/// The page.
pub fn page(sections: &[Section]) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>einloom: tuned schedules</title><style>{STYLE}</style></head><body>\n<h1>Tuned schedules</h1>\n"
    );
    if sections.is_empty() {
        out.push_str("<p>The database holds no winner for these specs.</p>\n");
    } else {
        summary(&mut out, sections);
    }
    for (i, section) in sections.iter().enumerate() {
        detail(&mut out, i, section);
    }
    out.push_str("</body></html>\n");
    out
}

/// Text with what HTML reads as marks replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Schedules as code that may break behind its commas.
fn schedules(list: &[String]) -> String {
    let text = escape(&list.join(" | ")).replace(',', ",<wbr>");
    format!("<code>{text}</code>")
}

fn title(w: &Winner) -> String {
    format!("{} {}", w.cascade, w.choice).trim_end().to_owned()
}

fn shape(w: &Winner) -> String {
    let one = |(name, n): (&String, &i64)| format!("{}={n}", name.to_lowercase());
    w.shape.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Microseconds with sensible digits.
fn us(x: f64) -> String {
    match x {
        x if x >= 1000.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        x => format!("{x:.2}"),
    }
}

fn gain(w: &Winner) -> String {
    w.gain()
        .map_or("-".to_owned(), |g| format!("{:+.1} %", (g - 1.0) * 100.0))
}

fn summary(out: &mut String, sections: &[Section]) {
    let gains: Vec<f64> = sections.iter().filter_map(|s| s.winner.gain()).collect();
    let mean = (gains.iter().map(|g| g.ln()).sum::<f64>() / gains.len().max(1) as f64).exp();
    let early = sections
        .iter()
        .filter(|s| s.winner.rank.is_some_and(|r| r <= 5))
        .count();
    let plural = if sections.len() == 1 { "case" } else { "cases" };
    let _ = writeln!(
        out,
        "<p class=\"quiet\">{} {plural}; geometric mean of the gains {:+.1} %; the machine model ranked the winner within its first five in \
         {early} of {}.</p>",
        sections.len(),
        (mean - 1.0) * 100.0,
        sections.len()
    );
    out.push_str(
        "<div class=\"scroll\"><table><tr><th>spec</th><th>shape</th><th>device</th><th class=n>default us</th><th class=n>tuned us</th>\
         <th class=n>gain</th><th class=n>TFLOP/s</th><th class=n>GB/s</th><th class=n>model's place</th><th class=n>error share</th></tr>\n",
    );
    for (i, s) in sections.iter().enumerate() {
        let w = &s.winner;
        let _ = writeln!(
            out,
            "<tr><td><a href=\"#s{i}\">{}</a></td><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{}</td><td class=n>{:.1}</td>\
             <td class=n>{:.0}</td><td class=n>{} of {}</td><td class=n>{:.0} %</td></tr>",
            escape(&title(w)),
            escape(&shape(w)),
            escape(&w.key.device),
            w.default_us.map_or("-".to_owned(), |t| us(t.median)),
            us(w.us.median),
            gain(w),
            w.flops / w.us.median / 1e6,
            w.bytes / w.us.median / 1e3,
            w.rank.map_or("-".to_owned(), |r| r.to_string()),
            w.legal,
            w.error_share * 100.0
        );
    }
    out.push_str("</table></div>\n");
}

fn detail(out: &mut String, i: usize, s: &Section) {
    let w = &s.winner;
    let k = &w.key;
    let _ = writeln!(
        out,
        "<h2 id=\"s{i}\">{}</h2>\n<p class=\"quiet\">{} &middot; {} &middot; driver {} &middot; {} &middot; einloom {} &middot; class {}</p>",
        escape(&title(w)),
        escape(&shape(w)),
        escape(&k.device),
        k.driver,
        escape(&k.target),
        escape(&k.compiler),
        escape(&k.class.to_string())
    );
    let _ = writeln!(
        out,
        "<p>The default takes {} us, the winner {} us: {}. Of {} legal candidates {} were measured.</p>",
        w.default_us.map_or("-".to_owned(), |t| us(t.median)),
        us(w.us.median),
        gain(w),
        w.legal,
        w.measured
    );
    if !s.why.is_empty() {
        out.push_str("<h3>Why the winner wins</h3>\n<ul>");
        for line in &s.why {
            let _ = write!(out, "<li>{}</li>", escape(line));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<div class=\"plots\">\n");
    out.push_str(&svg::predictions(s));
    out.push_str(&svg::roofline(s));
    out.push_str("</div>\n");
    candidates(out, s);
    failures(out, s);
}

/// Rows of the table of candidates that stand open.
const FASTEST: usize = 12;

/// The last measurement of each candidate, fastest first.
fn timed(s: &Section) -> Vec<&Measurement> {
    let mut last: Vec<&Measurement> = Vec::new();
    for m in s.measurements.iter().rev() {
        if !last.iter().any(|other| other.schedules == m.schedules) {
            last.push(m);
        }
    }
    last.retain(|m| m.us.is_some());
    let time = |m: &Measurement| m.us.map_or(f64::INFINITY, |t| t.median);
    last.sort_by(|a, b| time(a).total_cmp(&time(b)));
    last
}

fn candidates(out: &mut String, s: &Section) {
    let timed = timed(s);
    let head = "<div class=\"scroll\"><table><tr><th class=n>measured us</th><th class=n>5 to 95 %</th><th class=n>predicted us</th>\
                <th class=n>TFLOP/s</th><th>schedules</th></tr>\n";
    out.push_str("<h3>Candidates</h3>\n<p class=\"quiet\">Times of the screening, which are brief; the race decided between the first few. Green: the winner. \
                  Amber: the default.</p>\n");
    out.push_str(head);
    let rows = |out: &mut String, list: &[&Measurement]| {
        for m in list {
            let Some(t) = m.us else { continue };
            let class = if m.schedules == s.winner.schedules {
                " class=win"
            } else if m.schedules == s.winner.default {
                " class=def"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "<tr{class}><td class=n>{}</td><td class=n>{} .. {}</td><td class=n>{}</td><td class=n>{:.1}</td><td>{}</td></tr>",
                us(t.median),
                us(t.low),
                us(t.high),
                m.predicted.map_or("-".to_owned(), us),
                s.winner.flops / t.median / 1e6,
                schedules(&m.schedules)
            );
        }
        out.push_str("</table></div>\n");
    };
    let (first, rest) = timed.split_at(timed.len().min(FASTEST));
    rows(out, first);
    if !rest.is_empty() {
        let _ = write!(out, "<details><summary>{} slower ones</summary>", rest.len());
        out.push_str(head);
        rows(out, rest);
        out.push_str("</details>\n");
    }
}

fn failures(out: &mut String, s: &Section) {
    let failed: Vec<&Measurement> = s.measurements.iter().filter(|m| m.status != Status::Timed).collect();
    if failed.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<details><summary>{} that failed</summary><div class=\"scroll\"><table><tr><th>how</th><th>schedules</th><th>message</th></tr>",
        failed.len()
    );
    for m in failed {
        let note: String = m.note.chars().take(300).collect();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            m.status.text(),
            schedules(&m.schedules),
            escape(&note)
        );
    }
    out.push_str("</table></div></details>\n");
}
