//! `einloom tune`: searches the fastest correct schedules on a GPU and keeps them.

use super::common::{CliError, CliResult, DeviceArg, given, load};
use super::compile::select;
use super::print::{errln, outln};
use super::{MessageFormat, Output};
use crate::data::usual;
use crate::pipeline;
use crate::session::Session;
use crate::tuning::lookup;
use crate::tuning::tune::{self, Progress, Request, Tuned};
use crate::tuning::why;
use clap::Args;
use comfy_table::{Table, presets};
use einloom_tune::database::Database;
use einloom_tune::record::Winner;
use einloom_tune::report::{self, Section};
use einloom_tune::search::{Event, Options};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct TuneArgs {
    /// Spec files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The GPU, cuda:N
    #[arg(long, default_value = "cuda:0")]
    device: DeviceArg,
    /// Extents, choices and scalars; long ranks are 4096 without, batch 4, heads 16; every specialisation that is left is tuned
    #[arg(long)]
    shape: Vec<String>,
    /// Target; the device's best without
    #[arg(long)]
    target: Option<String>,
    /// Time for each specialisation, e.g. 60s, 5m; 0s only reads the database. 60s without this and without --candidates
    #[arg(long, value_parser = duration)]
    budget: Option<Duration>,
    /// Candidates that are tried at most for each specialisation, earlier sessions left out
    #[arg(long)]
    candidates: Option<usize>,
    /// Share of the candidates that are tried for their variety rather than by the model's order, 0 to 1
    #[arg(long, default_value_t = Options::default().explore, value_parser = share)]
    explore: f64,
    /// Folder of the database; `tuned` beside each spec without
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Processes that compile; without, all processors but two
    #[arg(long)]
    workers: Option<usize>,
    /// Writes a page about what the database holds for these specs: one HTML file without outside references
    #[arg(long)]
    report: Option<PathBuf>,
    /// One JSON line for each winner on standard output
    #[arg(long)]
    json: bool,
    /// Seed of inputs and of the order of measurements
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = match unit {
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "ms" => 1e-3,
        _ => return Err(format!("`{unit}` is no unit of time; units: ms, s, m, h")),
    };
    let number = number.parse::<f64>().ok().filter(|n| (0.0..=1e6).contains(n));
    number
        .and_then(|n| Duration::try_from_secs_f64(n * unit).ok())
        .ok_or_else(|| format!("`{text}` is no duration"))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|x| (0.0..=1.0).contains(x));
    share.ok_or_else(|| format!("`{text}` is no number from 0 to 1"))
}

pub(crate) fn tune(args: &TuneArgs, output: Output) -> CliResult {
    let given = given(&args.shape)?;
    let DeviceArg::Cuda(device) = args.device else {
        return Err(CliError::Other("tune measures GPUs: give --device cuda:N".to_owned()));
    };
    let budget = match (args.budget, args.candidates) {
        (None, None) => Options::default().budget,
        (budget, _) => budget,
    };
    let searches = budget.is_none_or(|time| !time.is_zero()) && args.candidates != Some(0);
    let stop = Arc::new(AtomicBool::new(false));
    // A second interrupt ends the process at once.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let now = signal_hook::flag::register_conditional_default(signal, stop.clone());
        now.and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|error| CliError::Other(format!("signals cannot be handled: {error}")))?;
    }
    let program = std::env::current_exe().map_err(|e| CliError::Other(format!("einloom's own file: {e}")))?;
    let mut session = Session::new();
    let mut winners: Vec<Winner> = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut good = true;
    for path in &args.files {
        let Some(loaded) = load(&mut session, path, output)? else {
            good = false;
            continue;
        };
        let folder = args.output.clone().unwrap_or_else(|| lookup::folder(path));
        for cascade in select(&loaded.cascades, &given)? {
            let title = why::title(cascade);
            if searches && !stop.load(Ordering::Relaxed) {
                let request = Request {
                    program: program.clone(),
                    folder: folder.clone(),
                    target: args.target.clone(),
                    device,
                    workers: args.workers.unwrap_or_else(workers),
                    options: Options {
                        budget,
                        candidates: args.candidates,
                        explore: args.explore,
                        seed: args.seed,
                        ..Options::default()
                    },
                };
                let symbols = usual::symbols(cascade, &pipeline::plan(cascade)?, &given)?;
                let mut view = View::new(title, budget.unwrap_or_default(), output);
                let stopped = || stop.load(Ordering::Relaxed);
                let tuned = tune::tune(path, cascade, &given, &symbols, &request, &stopped, &mut |p| {
                    view.show(p)
                });
                view.bar.finish_and_clear();
                good &= view.conclude(tuned, &mut winners, args.json, output);
            }
            if args.report.is_some() {
                let database = Database::open_all(&folder);
                sections.extend(why::sections(&database, cascade, &given));
            }
        }
    }
    if !args.json && !winners.is_empty() {
        outln!("{}", table(&winners));
    }
    if let Some(path) = &args.report {
        std::fs::write(path, report::page(&sections)).map_err(|error| CliError::io(path, error))?;
        errln!("wrote {}", path.display());
    }
    Ok(good && !stop.load(Ordering::Relaxed))
}

/// Processors but two, which measure and search.
fn workers() -> usize {
    let all = std::thread::available_parallelism().map_or(2, usize::from);
    all.saturating_sub(2).clamp(1, 12)
}

/// The progress bar of one search.
struct View {
    title: String,
    bar: ProgressBar,
    start: Instant,
    tried: usize,
    failed: usize,
    legal: usize,
    stage: &'static str,
    best: String,
}

impl View {
    fn new(title: String, budget: Duration, output: Output) -> View {
        let bar = match budget.as_millis() as u64 {
            0 => ProgressBar::no_length(),
            length => ProgressBar::new(length),
        };
        if output.format == MessageFormat::Json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        bar.set_prefix(title.clone());
        View {
            title,
            bar,
            start: Instant::now(),
            tried: 0,
            failed: 0,
            legal: 0,
            stage: "starting",
            best: String::new(),
        }
    }

    fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Start { facts, legal } => {
                self.legal = legal;
                self.bar.suspend(|| {
                    let seconds = self.start.elapsed().as_secs_f64();
                    errln!(
                        "{}: {legal} legal candidates, {}, ready after {seconds:.1} s",
                        self.title,
                        facts.device
                    );
                });
            }
            Progress::Problem(problem) => self.bar.suspend(|| errln!("warning: {problem}")),
            Progress::Search(Event::Stage(stage)) => self.stage = stage,
            Progress::Search(Event::Tried { result, .. }) => {
                self.tried += 1;
                self.failed += usize::from(result.is_err());
            }
            Progress::Search(Event::Best(candidate, time)) => {
                self.best = format!(", best {:.1} us: {}", time.median, candidate.join(" | "));
            }
        }
        self.bar.set_position(self.start.elapsed().as_millis() as u64);
        self.bar.set_message(format!(
            "{}: {} tried, {} failed{}",
            self.stage, self.tried, self.failed, self.best
        ));
    }

    /// Says how the search ended; whether it was in order.
    fn conclude(
        &self,
        tuned: Result<Tuned, tune::TuneError>,
        winners: &mut Vec<Winner>,
        json: bool,
        output: Output,
    ) -> bool {
        let title = &self.title;
        match tuned {
            Ok(Tuned::Winner(winner)) => {
                if json {
                    outln!("{}", einloom_tune::record::Record::Winner(*winner.clone()).to_line());
                }
                let (tried, failed) = (self.tried, self.failed);
                let seconds = self.start.elapsed().as_secs_f64();
                errln!("{title}: {tried} tried, {failed} failed, in {seconds:.1} s");
                winners.push(*winner);
                true
            }
            Ok(Tuned::Stopped { measured }) => {
                errln!("{title}: stopped; {measured} measurements are kept, the same command goes on from them");
                true
            }
            Ok(Tuned::Failed(failure)) => {
                let text = format!(
                    "{title}: no correct schedule: {}: {}",
                    failure.status.text(),
                    failure.note
                );
                super::common::report(&CliError::Other(text), output);
                false
            }
            Err(error) => {
                super::common::report(&CliError::Other(format!("{title}: {error}")), output);
                false
            }
        }
    }
}

/// Gains.
fn table(winners: &[Winner]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "spec",
        "default",
        "tuned",
        "gain",
        "TFLOP/s",
        "model's place",
        "schedule",
    ]);
    for w in winners {
        let gain = w
            .gain()
            .map_or("-".to_owned(), |g| format!("{:+.1} %", (g - 1.0) * 100.0));
        table.add_row([
            format!("{} {}", w.cascade, w.choice).trim_end().to_owned(),
            w.default_us.map_or("-".to_owned(), |t| format!("{:.1} us", t.median)),
            format!("{:.1} us", w.us.median),
            gain,
            format!("{:.1}", w.flops / w.us.median / 1e6),
            format!("{} of {}", w.rank.map_or("-".to_owned(), |r| r.to_string()), w.legal),
            w.schedules.join(" | "),
        ]);
    }
    table
}
