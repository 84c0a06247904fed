//! Launches kernels that the build script compiled.

mod measure;
mod naive;
mod program;

einloom_runtime::include_kernels!("causal");

fn main() -> std::process::ExitCode {
    program::main()
}
