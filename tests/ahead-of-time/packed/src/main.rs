//! Launches kernels that `einloom pack` wrote. The program is that of `compiled`.

#[path = "../../compiled/src/measure.rs"]
mod measure;
#[path = "../../compiled/src/naive.rs"]
mod naive;
#[path = "../../compiled/src/program.rs"]
mod program;

einloom_runtime::include_kernels!(path = "../kernels/causal.rs");

fn main() -> std::process::ExitCode {
    program::main()
}
