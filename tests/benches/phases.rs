//! Where the time from a spec's text to its PTX goes: CPU milliseconds of each phase, the least of several runs.
//!
//! Arguments: parts of the names of examples to measure (all without), `--runs=N`, and `--ptx=FOLDER`, which writes the PTX. The output is a
//! Markdown table.
//! CPU time of the process is read instead of the clock, so that other load on the machine disturbs little.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use einloom::pipeline;
use einloom::session::{Session, choice_text};
use einloom_cascade::ir::Cascade;
use einloom_tests::repo;
use einloom_tile::lower::lower_by_default;
use einloom_tile::machine::MachineModel;
use einloom_tile::schedule::ShapeClass;
use rustix::time::{ClockId, clock_gettime};

const PHASES: [&str; 7] = ["check", "plan", "tile", "build", "verify", "passes", "codegen"];

/// Alignment in bytes that compiled kernels may count on.
const ALIGN: u32 = 16;

type Times = BTreeMap<&'static str, f64>;

struct Watch {
    last: f64,
    times: Times,
}

impl Watch {
    fn start() -> Watch {
        Watch {
            last: now(),
            times: Times::new(),
        }
    }

    fn ended(&mut self, phase: &'static str) {
        let now = now();
        *self.times.entry(phase).or_default() += now - self.last;
        self.last = now;
    }
}

/// CPU time of this process in milliseconds.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

fn main() {
    let mut runs = 5;
    let mut names = Vec::new();
    let mut folder = None;
    for argument in std::env::args().skip(1) {
        match argument.strip_prefix("--runs=") {
            Some(n) => runs = n.parse().expect("--runs wants a number"),
            None if argument.starts_with("--ptx=") => folder = argument.strip_prefix("--ptx=").map(PathBuf::from),
            None if argument.starts_with("--") => {}
            None => names.push(argument),
        }
    }
    println!("| spec | target | {} | all |", PHASES.join(" | "));
    println!("| --- | --- |{}", " ---: |".repeat(PHASES.len() + 1));
    for file in repo::examples() {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if names.is_empty() || names.iter().any(|part| name.contains(part.as_str())) {
            report(&name, &file, runs, folder.as_deref());
        }
    }
}

fn report(name: &str, file: &Path, runs: usize, folder: Option<&Path>) {
    let text = repo::read(file);
    let count = load(&text).len();
    for target in ["sm_80", "sm_90a"] {
        for i in 0..count {
            let all = |t: &Times| t.values().sum::<f64>();
            let mut best: Option<(String, Times)> = None;
            for _ in 0..runs {
                let (choice, times, ptx) = measure(&text, i, target);
                if let Some(folder) = folder {
                    let file = folder.join(format!("{name}-{i}.{target}.ptx"));
                    std::fs::write(file, ptx).expect("the folder can be written to");
                }
                if best.as_ref().is_none_or(|(_, b)| all(&times) < all(b)) {
                    best = Some((choice, times));
                }
            }
            let Some((choice, times)) = best else { continue };
            print!("| {name} {choice} | {target} |");
            for phase in PHASES {
                print!(" {:.1} |", times.get(phase).copied().unwrap_or(0.0));
            }
            println!(" {:.1} |", all(&times));
        }
    }
}

fn load(text: &str) -> Vec<Cascade> {
    Session::new().load_bytes("spec.ein", text.as_bytes(), None).cascades
}

/// One road from text to PTX, as `einloom::pipeline` goes it.
fn measure(text: &str, specialisation: usize, target: &str) -> (String, Times, String) {
    let mut watch = Watch::start();
    let cascades = load(text);
    watch.ended("check");
    let cascade = &cascades[specialisation];
    let plan = pipeline::plan(cascade).expect("an example has a plan");
    watch.ended("plan");
    let machine = MachineModel::named(target).expect("the target is known");
    let shape = ShapeClass::aligned(&plan, ALIGN);
    let kernels: Vec<_> = (0..plan.kernels.len())
        .map(|k| {
            lower_by_default(&plan, k, machine, &shape)
                .expect("an example has a schedule")
                .1
        })
        .collect();
    watch.ended("tile");
    for kernel in &kernels {
        einloom_tile::verify::verify(&kernel.program).expect("the program is valid");
    }
    watch.ended("verify");
    let programs: Vec<_> = kernels.iter().map(|k| &k.program).collect();
    let target = einloom_nvptx::Target::new(target).expect("the target is known");
    let emission =
        einloom_nvptx::emit_watched(&programs, target, &mut |phase| watch.ended(phase)).expect("an example is emitted");
    (choice_text(cascade), watch.times, emission.ptx)
}
