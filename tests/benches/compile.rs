//! Time from a spec's text to its PTX, for each specialisation of each example and each target. The promise is 100 ms.
//!
//! The text is read and checked anew in each iteration, all specialisations of it; one of them is compiled. Where the time goes,
//! `phases` tells.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use einloom::pipeline;
use einloom::session::{Session, choice_text};
use einloom_cascade::ir::Cascade;
use einloom_tests::repo;

/// Alignment in bytes that compiled kernels may count on.
const ALIGN: u32 = 16;

fn compile(criterion: &mut Criterion) {
    for target in ["sm_80", "sm_90a"] {
        let mut group = criterion.benchmark_group(target);
        group.sample_size(10);
        for file in repo::examples() {
            let text = repo::read(&file);
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for (i, cascade) in load(&text).iter().enumerate() {
                let name = format!("{name} {}", choice_text(cascade));
                group.bench_function(name.trim(), |bencher| {
                    bencher.iter(|| black_box(ptx(&text, i, target).len()))
                });
            }
        }
        group.finish();
    }
}

fn load(text: &str) -> Vec<Cascade> {
    Session::new().load_bytes("spec.ein", text.as_bytes(), None).cascades
}

fn ptx(text: &str, specialisation: usize, target: &str) -> String {
    let cascades = load(text);
    pipeline::compile(&cascades[specialisation], target, ALIGN)
        .expect("an example compiles")
        .emission
        .ptx
}

criterion_group!(benches, compile);
criterion_main!(benches);
