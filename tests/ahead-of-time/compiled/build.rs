//! Compiles `causal.ein` for Hopper, and for every other card from Ampere on.

fn main() {
    let config = einloom_build::Config::new().target("sm_90a").target("sm_80");
    config.compile(&["causal.ein"]);
}
