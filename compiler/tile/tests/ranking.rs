//! The machine model's order of schedules against measurements on an H100: `data/h100.tsv`, from a database by `data/sample.py`.
//!
//! A case is a specialisation with its extents. Its measured best should be among the model's first [`FIRST`]; schedules within [`NOISE`] of the
//! best cannot be told from it by a brief measurement, and count as best. The model's constants were fitted to earlier
//! measurements of these cases; those of width 128 and 4096 tokens were measured again since, but for `full` and `window-sinks`, and nothing was fitted to them.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test may read recorded data, ask and print"
)]

mod common;

use common::specs::planned;
use einloom_cascade::expr::{Expr, ExprId};
use einloom_plan::ir::FusedPlan;
use einloom_tile::dimensions::from_text;
use einloom_tile::interp::math::int;
use einloom_tile::lower::lower_unchecked;
use einloom_tile::lowered::{LoweredKernel, ScalarSource, TensorSource};
use einloom_tile::machine::MachineModel;
use einloom_tile::model::device::H100;
use einloom_tile::model::{Device, Launch, Table, predict};
use einloom_tile::schedule::ShapeClass;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many of the model's best are looked at.
const FIRST: usize = 5;

/// Times that differ by less are alike.
const NOISE: f64 = 0.01;

/// Share of the cases that the rule must hold for.
const SHARE: f64 = 0.8;

struct Case {
    name: String,
    /// Extents and scalars by name, and `bytes` of all tensors.
    given: BTreeMap<String, i64>,
    plan: FusedPlan,
    /// Int inputs that decide the domains, by name.
    tables: BTreeMap<String, Arc<Table>>,
    /// Measured microseconds, the schedule's text, its program.
    rows: Vec<(f64, String, LoweredKernel)>,
}

fn spec(file: &str, width: i64) -> FusedPlan {
    let path = format!("{}/../../dsl-examples/{file}.ein", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("an example");
    let text = text.replace("64 | 128 | 256", &width.to_string());
    planned(&text.replace("64 | 128", &width.to_string()))
}

/// `table NAME 4x4096 0*1030 1*880 ..`: its elements row by row, in runs.
fn table(mut words: std::str::SplitWhitespace<'_>) -> Table {
    let number = |word: &str| word.parse::<i64>().expect("a number");
    let extents = words.next().expect("extents").split('x').map(number).collect();
    let run = |word: &str| {
        let (value, times) = word.split_once('*').expect("value*times");
        vec![number(value); number(times) as usize]
    };
    let values = words.flat_map(run).collect();
    Table { extents, values }
}

/// Lines `case FILE e=.. P=.. bytes=..`, each before its lines `table ..` and `MICROSECONDS SCHEDULE`.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else {
            continue;
        };
        if first == "case" {
            let number = |word: &str| {
                let (name, value) = word.split_once('=').expect("name=value");
                (name.to_owned(), value.parse().expect("a number"))
            };
            let given: BTreeMap<String, i64> = words.map(number).collect();
            cases.push(Case {
                name: line.to_owned(),
                plan: spec(second, given["e"]),
                given,
                tables: BTreeMap::new(),
                rows: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a case before its measurements");
        if first == "table" {
            case.tables.insert(second.to_owned(), Arc::new(table(words)));
            continue;
        }
        let schedule = from_text(second).expect("a schedule");
        let shape = ShapeClass::aligned(&case.plan, 16);
        // What was legal when it was measured need not pass the limits of today.
        if let Ok(kernel) = lower_unchecked(&case.plan, 0, &schedule, &shape) {
            case.rows
                .push((first.parse().expect("microseconds"), second.to_owned(), kernel));
        }
    }
    cases
}

impl Case {
    fn value(&self, expr: ExprId) -> i64 {
        match self.plan.cascade.exprs.get(expr) {
            Expr::Int(n) => *n,
            Expr::Extent(s) => self.named(&self.plan.cascade.symbols[s.index()].name),
            Expr::Map(op, args) => {
                let args: Vec<i64> = args.iter().map(|a| self.value(*a)).collect();
                int(*op, &args).expect("a value")
            }
            Expr::Scalar(s) => self.named(&self.plan.cascade.scalars[s.index()].name),
            other => panic!("{other:?}"),
        }
    }

    fn named(&self, name: &str) -> i64 {
        self.given.get(name).copied().unwrap_or(1)
    }

    fn predicted(&self, kernel: &LoweredKernel, device: &Device) -> f64 {
        let scalar = |source: &ScalarSource| match source {
            ScalarSource::Extent(expr) => self.value(*expr),
            ScalarSource::Scalar(s) => self.named(&self.plan.cascade.scalars[s.index()].name),
        };
        let table = |source: &TensorSource| match source {
            TensorSource::Input(i) => self.tables.get(&self.plan.cascade.inputs[*i].name).cloned(),
            _ => None,
        };
        let launch = Launch {
            scalars: kernel.scalars.iter().map(scalar).collect(),
            tables: kernel.tensors.iter().map(table).collect(),
            bytes: self.named("bytes") as f64,
        };
        predict(&kernel.program, &launch, device).us
    }

    /// Predictions in the order of the rows.
    fn predictions(&self, device: &Device) -> Vec<f64> {
        self.rows
            .iter()
            .map(|(.., kernel)| self.predicted(kernel, device))
            .collect()
    }

    fn best(&self) -> f64 {
        self.rows.iter().map(|(us, ..)| *us).fold(f64::INFINITY, f64::min)
    }

    /// Place of the best, or of one that is as fast, in the order of predictions, from 1.
    fn place(&self, predictions: &[f64]) -> usize {
        let limit = self.best() * (1.0 + NOISE);
        let alike = self.rows.iter().zip(predictions).filter(|((us, ..), _)| *us <= limit);
        let first = alike.map(|(_, p)| *p).fold(f64::INFINITY, f64::min);
        1 + predictions.iter().filter(|p| **p < first).count()
    }
}

fn recorded() -> Vec<Case> {
    let path = std::env::var("EINLOOM_RANKING_DATA")
        .unwrap_or_else(|_| format!("{}/tests/data/h100.tsv", env!("CARGO_MANIFEST_DIR")));
    cases(&std::fs::read_to_string(path).expect("recorded data"))
}

#[test]
fn the_measured_best_is_among_the_models_first() {
    let cases = recorded();
    assert!(cases.len() >= 10);
    let device = device();
    let mut within = 0;
    for case in &cases {
        let predictions = case.predictions(&device);
        let place = case.place(&predictions);
        within += usize::from(place <= FIRST);
        println!("{}: place {place} of {}", case.name, case.rows.len());
    }
    println!("{within} of {}", cases.len());
    assert!(
        within as f64 >= SHARE * cases.len() as f64,
        "{within} of {} cases have their best among the first {FIRST}",
        cases.len()
    );
}

/// Not a test by itself: with `EINLOOM_RANKING_ALL` prints the place of the measured best among all legal schedules of the cases whose line contains
/// its text, which takes a minute each.
#[test]
fn all() {
    let Ok(only) = std::env::var("EINLOOM_RANKING_ALL") else {
        return;
    };
    let machine = MachineModel::named("sm_90a").expect("a target");
    for case in recorded().iter().filter(|case| case.name.contains(&only)) {
        let shape = ShapeClass::aligned(&case.plan, 16);
        let legal = einloom_tile::enumerate::legal(&case.plan, 0, machine, &shape);
        let all: Vec<f64> = legal.iter().map(|l| case.predicted(&l.kernel, &device())).collect();
        let limit = case.best() * (1.0 + NOISE);
        let alike = case.rows.iter().filter(|(us, ..)| *us <= limit);
        let first = alike
            .map(|(.., k)| case.predicted(k, &device()))
            .fold(f64::INFINITY, f64::min);
        let place = 1 + all.iter().filter(|p| **p < first).count();
        println!("{}: place {place} of {}", case.name, all.len());
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| all[*a].total_cmp(&all[*b]));
        for i in order.into_iter().take(8) {
            let text = einloom_tile::dimensions::to_text(&legal[i].schedule);
            let measured = case
                .rows
                .iter()
                .find(|(_, t, _)| *t == text)
                .map_or(f64::NAN, |(us, ..)| *us);
            println!("  {:.1} {measured:.1} {text}", all[i]);
        }
    }
}

/// Constants that no data sheet gives, with the steps of the fit.
type Field = (&'static str, fn(&mut Device) -> &mut f64);
const FITTED: [Field; 13] = [
    ("wgmma_flops", |d| &mut d.wgmma_flops),
    ("wgmma_peak", |d| &mut d.wgmma_peak),
    ("delayed", |d| &mut d.delayed),
    ("dram_gbs", |d| &mut d.dram_gbs),
    ("latency", |d| &mut d.latency),
    ("specialised_overhead", |d| &mut d.specialised_overhead),
    ("exposed", |d| &mut d.exposed),
    ("dot_latency", |d| &mut d.dot_latency),
    ("reduce_latency", |d| &mut d.reduce_latency),
    ("guard_cycles", |d| &mut d.guard_cycles),
    ("fill_bytes", |d| &mut d.fill_bytes),
    ("l2_gbs", |d| &mut d.l2_gbs),
    ("sharpness", |d| &mut d.sharpness),
];

/// The device, with the constants that `EINLOOM_RANKING_DEVICE` names instead: `exposed=0.4,sharpness=3`.
fn device() -> Device {
    let mut device = H100;
    let given = std::env::var("EINLOOM_RANKING_DEVICE").unwrap_or_default();
    for (name, value) in given.split(',').filter_map(|part| part.split_once('=')) {
        let (_, field) = FITTED.iter().find(|(n, _)| *n == name).expect("a constant of the fit");
        *field(&mut device) = value.parse().expect("a number");
    }
    device
}

/// How badly the model orders: per case, what is lost by trying its first [`FIRST`] only, and the spread of its errors among the faster half.
fn loss(cases: &[Case], device: &Device) -> f64 {
    let one = |case: &Case| {
        let predictions = case.predictions(device);
        let mut order: Vec<usize> = (0..predictions.len()).collect();
        order.sort_by(|a, b| predictions[*a].total_cmp(&predictions[*b]));
        let best = case.best();
        let found = order
            .iter()
            .take(FIRST)
            .map(|i| case.rows[*i].0)
            .fold(f64::INFINITY, f64::min);
        let fast = (0..predictions.len()).filter(|i| case.rows[*i].0 < 1.5 * best);
        let errors: Vec<f64> = fast.map(|i| (predictions[i] / case.rows[i].0).ln()).collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let spread = (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / errors.len() as f64).sqrt();
        4.0 * (found / best - 1.0) + spread + 0.1 * mean.abs()
    };
    cases.iter().map(one).sum::<f64>() / cases.len() as f64
}

/// Not a test by itself: with `EINLOOM_RANKING_FIT` fits the constants of `model/device.rs` to the recorded data by coordinate descent, and prints
/// them, which takes minutes.
#[test]
fn fit() {
    if std::env::var_os("EINLOOM_RANKING_FIT").is_none() {
        return;
    }
    let cases = recorded();
    let mut device = device();
    let mut least = loss(&cases, &device);
    println!("start {least:.4}");
    for step in [1.25, 1.1] {
        for _ in 0..1 {
            for (name, field) in FITTED {
                for factor in [step, 1.0 / step] {
                    loop {
                        let mut other = device.clone();
                        *field(&mut other) *= factor;
                        let now = loss(&cases, &other);
                        if now >= least - 1e-5 {
                            break;
                        }
                        (device, least) = (other, now);
                    }
                }
                println!("{name} {:.2}: {least:.4}", field(&mut device));
            }
        }
    }
}

/// Not a test by itself: with `EINLOOM_RANKING_CASE` prints predictions beside measurements of the cases whose line contains its text.
#[test]
fn show() {
    let Ok(only) = std::env::var("EINLOOM_RANKING_CASE") else {
        return;
    };
    for case in recorded().iter().filter(|case| case.name.contains(&only)) {
        let predictions = case.predictions(&device());
        let mut order: Vec<usize> = (0..predictions.len()).collect();
        order.sort_by(|a, b| predictions[*a].total_cmp(&predictions[*b]));
        println!("{}", case.name);
        for (place, i) in order.iter().enumerate() {
            let (us, text, _) = &case.rows[*i];
            println!(
                "{:3} {:7.1} {us:7.1} {:.3} {text}",
                place + 1,
                predictions[*i],
                us / case.best()
            );
        }
    }
}
