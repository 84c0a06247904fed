//! Links LLVM 22 into every binary above this crate.
//!
//! inkwell is built without its own link directives, because those take every archive that LLVM has, and zlib, zstd, libffi and
//! libstdc++ as shared libraries. Linked from here, a binary holds the NVPTX target and the pass pipelines alone and needs
//! nothing but the C library and libgcc_s at run time. The feature `dynamic-llvm` takes the shared libLLVM instead.
//!
//! The archives stand before inkwell on the linker's command line; LLD, the default of Rust on this platform, resolves
//! symbols in any order.

use std::path::PathBuf;
use std::process::{Command, exit};

/// The parts of LLVM that are called. inkwell's `Module` refers to the execution engine although none is ever made.
const COMPONENTS: &[&str] = &["nvptx", "passes", "executionengine"];

/// What LLVM's archives need from the system, linked statically as well.
const SYSTEM: &[&str] = &["z", "zstd", "stdc++"];

/// Names an LLVM installation, under the name that llvm-sys uses too.
const PREFIX: &str = "LLVM_SYS_221_PREFIX";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={PREFIX}");
    println!("cargo::rustc-link-search=native={}", llvm_config(&["--libdir"]).trim());
    if std::env::var_os("CARGO_FEATURE_DYNAMIC_LLVM").is_some() {
        for flag in llvm_config(&["--link-shared", "--libs"]).split_whitespace() {
            println!("cargo::rustc-link-lib=dylib={}", flag.trim_start_matches("-l"));
        }
        return;
    }
    let mut args = vec!["--link-static", "--libnames"];
    args.extend(COMPONENTS);
    for file in llvm_config(&args).split_whitespace() {
        link_static(file.trim_start_matches("lib").trim_end_matches(".a"));
    }
    for name in SYSTEM {
        link_static(name);
    }
}

/// `-bundle` keeps the archives out of this crate's rlib, which would otherwise be copied with each rebuild.
fn link_static(name: &str) {
    println!("cargo::rustc-link-lib=static:-bundle={name}");
}

/// Runs LLVM 22's `llvm-config`; ends the build with the remedy where there is none.
fn llvm_config(args: &[&str]) -> String {
    let program = match std::env::var_os(PREFIX) {
        Some(prefix) => PathBuf::from(prefix).join("bin/llvm-config"),
        None => PathBuf::from("llvm-config-22"),
    };
    match Command::new(&program).args(args).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => fail(&format!(
            "{} {args:?}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => fail(&format!("cannot run {}: {error}", program.display())),
    }
}

fn fail(reason: &str) -> ! {
    println!("cargo::error=LLVM 22 not found ({reason}); run `make setup`, or name an installation in {PREFIX}");
    exit(1)
}
