//! Tests of gathered indices: made where an index can leave its dimension, and nowhere else.

mod common;

use common::specs::planned;
use einloom_tile::ir::{Op, Stmt};
use einloom_tile::lower::lower_unchecked;
use einloom_tile::schedule::ShapeClass;

/// Whether some element of a tensor of one dimension is loaded only where a mask says so.
fn tested(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Let(_, Op::Load { index, mask, .. }) => index.len() == 1 && mask.is_some(),
        Stmt::For { body, .. } | Stmt::If { body, .. } | Stmt::Guard { body, .. } => tested(body),
        _ => false,
    })
}

#[test]
fn what_an_index_can_leave_is_tested() {
    for (index, expected) in [
        ("clamp(m - p, -4, 4) + 4", false),
        ("clamp(m - p, -4, 4) + 3", true),
        ("clamp(m - p, -4, 5) + 4", true),
        ("min(max(m - p, 0), 8)", false),
        ("max(m - p, 0)", true),
        ("(m + p) mod 9", false),
        ("(m + p) mod 10", true),
        // What may wrap around: the least int has no absolute value, and a product may pass all ints.
        ("min(abs(m - p), 8)", true),
        ("abs(m - p) mod 9", false),
        ("min((m mod 100000) * (p mod 100000), 8)", true),
        ("min((m mod 100) * (p mod 100), 8)", false),
    ] {
        let plan = planned(&format!(
            "cascade table
rank p, m, e = 16, f = E
in Q[p,e], K[m,e], V[m,f] : f16
in bias[9] : f32
S[p,m] = Q * K + bias[{index}]
out O[p,f] : f16 = softmax[m](S) * V"
        ));
        let shape = ShapeClass::aligned(&plan, 16);
        let kernel = lower_unchecked(&plan, 0, &common::schedule(16, 16, 1, 2), &shape).expect("a legal schedule");
        assert_eq!(tested(&kernel.program.body), expected, "{index}");
    }
}
