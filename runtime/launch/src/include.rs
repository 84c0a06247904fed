//! [`include_kernels!`](crate::include_kernels).

/// Includes the typed launcher of kernels that were compiled ahead of time, as a module of the spec's name.
///
/// - `include_kernels!("mha");` takes `mha.ein` as the build script compiled it (crate `einloom-build`).
/// - `include_kernels!(path = "kernels/mha.rs");` takes what `einloom pack` wrote; the build needs neither LLVM nor a build script.
///   The path is relative to the source file of the call, or an expression such as `concat!(env!("KERNELS"), "/mha.rs")`.
///
/// The module has `Args` with a field for each tensor and scalar of the spec, and `Kernels` with `load`, `workspace_bytes`,
/// `launch` and `prepare`.
#[macro_export]
macro_rules! include_kernels {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
    };
    (path = $($path:tt)+) => {
        include!($($path)+);
    };
}
