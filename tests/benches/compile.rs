//! Time from a spec's text to PTX, for the first specialisation of each example and each target. The promise is 100 ms.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use einloom::pipeline;
use einloom::session::Session;
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
            group.bench_function(name, |bencher| bencher.iter(|| black_box(ptx(&text, target).len())));
        }
        group.finish();
    }
}

fn ptx(text: &str, target: &str) -> String {
    let loaded = Session::new().load_bytes("spec.ein", text.as_bytes(), None);
    let cascade = loaded.cascades.first().expect("an example checks");
    pipeline::compile(cascade, target, ALIGN)
        .expect("an example compiles")
        .emission
        .ptx
}

criterion_group!(benches, compile);
criterion_main!(benches);
