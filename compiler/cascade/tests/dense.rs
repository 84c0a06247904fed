//! Sums that are evaluated as dense loops.

mod common;

use einloom_cascade::expr::DType;
use einloom_cascade::{Evaluator, Inputs, Mode};

/// Sums whose factors are shared between points: the terms, their order and every rounding, spelled out.
#[test]
fn shared_factors_change_no_bit() {
    let cascade = common::cascade(
        "cascade shared\nrank p, m, f\nin W[p,m], V[m,f], y[p] : f32\n\
         out O[p,f] : f32 = sum[m](W / y * V where m <= p + 20 and m != 3)\n",
    );
    let (p, m, f) = (7, 60, 9);
    let tensors = vec![
        common::noise(&[p, m], 1),
        common::noise(&[m, f], 2),
        common::noise(&[p], 3),
    ];
    let inputs = Inputs::new(tensors, vec![]);
    let at = |input: usize, place: usize| inputs.tensors[input].to_f64()[place];
    let f32_of = |x: f64| f64::from(x as f32);
    let bf16_of = |x: f64| einloom_cascade::round::round_real(DType::BF16, x);
    let (mut exact, mut typed) = (Vec::new(), Vec::new());
    for (row, column) in (0..p).flat_map(|row| (0..f).map(move |column| (row, column))) {
        let (mut sum, mut rest, mut short) = (0.0f64, 0.0, 0.0);
        for k in (0..m).filter(|k| *k <= row + 20 && *k != 3) {
            let (w, y, v) = (at(0, row * m + k), at(2, row), at(1, k * f + column));
            let x = w / y * v;
            let total = sum + x;
            rest += if sum.abs() >= x.abs() {
                (sum - total) + x
            } else {
                (x - total) + sum
            };
            sum = total;
            short = f32_of(short + f32_of(f32_of(bf16_of(w) / bf16_of(y)) * bf16_of(v)));
        }
        exact.push((sum + rest).to_bits());
        typed.push(bf16_of(short).to_bits());
    }
    for (mode, expected) in [(Mode::Exact, exact), (Mode::Typed(DType::BF16), typed)] {
        let mut evaluator = Evaluator::with_mode(&cascade, &inputs, mode).expect("the inputs should fit");
        let found = evaluator.output(0).expect("the sum should have a value").to_f64();
        assert_eq!(
            found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            expected,
            "{mode:?}"
        );
    }
}
