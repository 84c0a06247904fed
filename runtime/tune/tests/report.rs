//! The page: complete, escaped, without outside references.

use std::collections::BTreeMap;

use einloom_tune::key::{Class, Key};
use einloom_tune::record::{Measurement, Status, Time, Winner};
use einloom_tune::report::{Roof, Section, page};

fn time(median: f64) -> Time {
    Time {
        median,
        low: median * 0.98,
        high: median * 1.05,
    }
}

fn section(cascade: &str) -> Section {
    let key = Key {
        spec: "abc".into(),
        target: "sm_90a".into(),
        device: "NVIDIA H100 80GB HBM3".into(),
        driver: 13000,
        compiler: "0.1.0".into(),
        class: Class::new(16, [("P", 4096), ("M", 4096)]),
    };
    let shape = BTreeMap::from([("P".to_owned(), 4096), ("M".to_owned(), 4096)]);
    let text = |i: usize| {
        vec![format!(
            "rows={},cols=64,warps=4,stages=2,blocks=2,left=0",
            16 * (i + 1)
        )]
    };
    let measurement = |i: usize, status, us: Option<f64>| Measurement {
        key: key.clone(),
        shape: shape.clone(),
        schedules: text(i),
        predicted: Some(900.0 + 37.0 * i as f64),
        parts: BTreeMap::new(),
        status,
        us: us.map(time),
        note: if us.is_none() {
            "<b>spills</b> & more".into()
        } else {
            String::new()
        },
    };
    let mut measurements: Vec<Measurement> = (0..30)
        .map(|i| {
            measurement(
                i,
                Status::Timed,
                Some(850.0 + (i as f64 * 7.3) % 40.0 + 31.0 * i as f64),
            )
        })
        .collect();
    measurements.push(measurement(40, Status::Refused, None));
    measurements.push(measurement(41, Status::Hang, None));
    Section {
        winner: Winner {
            key,
            cascade: cascade.into(),
            choice: "e=128, T=bf16".into(),
            shape,
            schedules: text(0),
            us: time(848.0),
            default: text(7),
            code: None,
            default_us: Some(time(1120.0)),
            predicted: Some(900.0),
            rank: Some(1),
            legal: 412,
            measured: 32,
            error_share: 0.61,
            flops: 275e9,
            bytes: 270e6,
        },
        measurements,
        why: vec![
            "Kernel O: rows 16 instead of 128.".into(),
            "Shared memory is busy for 380 us instead of 610 us, 38 % less.".into(),
        ],
        roofs: vec![
            Roof {
                name: "mma.sync".into(),
                flops: 426e12,
            },
            Roof {
                name: "wgmma".into(),
                flops: 740e12,
            },
        ],
        bandwidth: 3e12,
    }
}

#[test]
fn the_page_is_whole_and_refers_to_nothing_outside() {
    let html = page(&[section("causal"), section("softcap")]);
    for text in [
        "<!DOCTYPE html>",
        "+32.1 %",
        "1 of 412",
        "Why the winner wins",
        "Shared memory is busy for 380 us",
        "18 slower ones",
        "2 that failed",
        "first five in 2 of 2",
        "Roofline",
        "</html>",
    ] {
        assert!(html.contains(text), "no {text}");
    }
    for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert_eq!(html.matches("<svg").count(), 4);
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    for tag in ["table", "tr", "details", "figure", "div", "ul"] {
        let open = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(!html.contains("NaN") && !html.contains("inf"), "a number is none");
    // For a look at it in a browser.
    if let Some(path) = std::env::var_os("EINLOOM_REPORT_TO") {
        std::fs::write(path, &html).unwrap();
    }
}

#[test]
fn texts_of_records_are_escaped() {
    let html = page(&[section("<script>alert('x')</script>")]);
    assert!(!html.contains("<script"));
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    assert!(html.contains("&lt;b&gt;spills&lt;/b&gt; &amp; more"));
}

#[test]
fn little_data_makes_a_page_too() {
    assert!(page(&[]).contains("no winner"));
    let mut bare = section("causal");
    bare.measurements.clear();
    bare.why.clear();
    bare.winner.default_us = None;
    bare.winner.flops = 0.0;
    bare.winner.rank = None;
    let html = page(&[bare]);
    assert!(!html.contains("NaN") && !html.contains("<svg"));
}
