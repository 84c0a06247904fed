//! Link options of the command line.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |key: &str| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // Relative relocations of 24 bytes each, mostly of LLVM's tables, become bits: 1.2 MB less. glibc reads them from 2.36 on, which releases need
    // anyway; other builds run where they were made.
    if release && target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
