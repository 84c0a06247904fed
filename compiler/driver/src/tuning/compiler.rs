//! The worker that compiles candidates. LLVM can end this process on an internal error: that loses one candidate.
//!
//! Where a GPU is at hand the driver assembles the PTX here too: several workers do that at once, the driver's cache hands the result to
//! the measuring worker, and what does not assemble, or spills, is refused without taking its time.

use super::problem::Problem;
use super::protocol::{Answer, CompileRequest, serve, setup};
use crate::exec::gpu::{Gpu, GpuError};
use crate::pipeline;
use einloom_runtime::LaunchError;
use einloom_tile::dimensions::from_text;
use einloom_tune::record::Status;

/// Serves compile requests.
///
/// # Errors
/// A setup or request that cannot be understood.
pub fn run(lines: &mut dyn Iterator<Item = std::io::Result<String>>) -> Result<(), String> {
    let setup = setup(lines)?;
    let (_, problem) = Problem::load(&setup)?;
    let gpu = Gpu::open(setup.device).ok();
    serve(lines, |request: CompileRequest| {
        let answer = match compile(&problem, &setup.target, &request, gpu.as_ref()) {
            Ok(()) => Answer::Compiled,
            Err(note) => Answer::failed(Status::Refused, note),
        };
        (answer, true)
    })
}

fn compile(problem: &Problem, target: &str, request: &CompileRequest, gpu: Option<&Gpu>) -> Result<(), String> {
    let schedules = request
        .schedules
        .iter()
        .map(|text| from_text(text))
        .collect::<Result<Vec<_>, _>>()?;
    if schedules.len() != problem.plan.kernels.len() {
        return Err(format!(
            "{} schedules for {} kernels",
            schedules.len(),
            problem.plan.kernels.len()
        ));
    }
    let tiled =
        pipeline::tile_with(problem.plan.clone(), schedules, target, &problem.class).map_err(|e| e.to_string())?;
    let compiled = pipeline::emit(tiled, target).map_err(|e| e.to_string())?;
    match gpu.map(|gpu| gpu.load_trial(&compiled.artifact)) {
        // The device's own troubles say nothing about the candidate.
        None | Some(Ok(_) | Err(GpuError::Device(_) | GpuError::Launch(LaunchError::Device(_)))) => {}
        Some(Err(error)) => return Err(error.to_string()),
    }
    std::fs::write(&request.out, compiled.artifact.to_bytes()).map_err(|e| e.to_string())
}
