//! The `einloom` command line.

fn main() -> std::process::ExitCode {
    einloom::cli::process()
}
