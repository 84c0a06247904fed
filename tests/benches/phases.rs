//! Where the time from a spec's text to its PTX goes: CPU milliseconds of each phase, the least of several runs.
//!
//! Arguments: parts of what to measure, such as `causal` or `causal e=64, T=bf16 sm_80` (all without), `--runs=N`,
//! `--out=FOLDER`, which writes the LLVM IR and the PTX, and `--untimed`, for profilers. The output is a Markdown table.
//! CPU time of the process is read instead of the clock, so that other load on the machine disturbs little.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Set by `--untimed`: valgrind has no clock for `rustix`.
static UNTIMED: AtomicBool = AtomicBool::new(false);

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
    if UNTIMED.load(Ordering::Relaxed) {
        return 0.0;
    }
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
            None if argument == "--untimed" => UNTIMED.store(true, Ordering::Relaxed),
            None if argument.starts_with("--out=") => folder = argument.strip_prefix("--out=").map(PathBuf::from),
            None if argument.starts_with("--") => {}
            None => names.push(argument),
        }
    }
    println!("| spec | target | {} | all |", PHASES.join(" | "));
    println!("| --- | --- |{}", " ---: |".repeat(PHASES.len() + 1));
    for file in repo::examples() {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        report(&name, &file, &names, runs, folder.as_deref());
    }
}

fn report(name: &str, file: &Path, wanted: &[String], runs: usize, folder: Option<&Path>) {
    let text = repo::read(file);
    let choices: Vec<String> = load(&text).iter().map(choice_text).collect();
    for target in ["sm_80", "sm_90a"] {
        for (i, choice) in choices.iter().enumerate() {
            let label = format!("{name} {choice} {target}");
            if !wanted.is_empty() && !wanted.iter().any(|part| label.contains(part.as_str())) {
                continue;
            }
            let all = |t: &Times| t.values().sum::<f64>();
            let mut best: Option<Times> = None;
            for _ in 0..runs {
                let file = folder.map(|folder| folder.join(format!("{name}-{i}.{target}")));
                let times = measure(&text, i, target, file.as_deref());
                if best.as_ref().is_none_or(|b| all(&times) < all(b)) {
                    best = Some(times);
                }
            }
            let Some(times) = best else { continue };
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

#[inline(never)]
/// One road from text to PTX, as `einloom::pipeline` goes it. `file`, with the endings `ll` and `ptx`, says where the emitted text goes.
fn measure(text: &str, specialisation: usize, target: &str, file: Option<&Path>) -> Times {
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
    if let Some(file) = file {
        let ir = einloom_nvptx::llvm_ir(&programs, target).expect("an example is emitted");
        std::fs::write(file.with_added_extension("ll"), ir).expect("the folder can be written to");
        std::fs::write(file.with_added_extension("ptx"), emission.ptx).expect("the folder can be written to");
    }
    watch.times
}
