//! Which variables lie on the rows of tiles, by the extents that are expected.

mod common;

use common::specs::planned;
use einloom_tile::lower::lower_unchecked;
use einloom_tile::schedule::{Schedule, ShapeClass};

/// The grid of attention with heads in groups, at expected extents by name.
fn grid(extents: &[(&str, i64)], split: &str) -> Vec<String> {
    let plan = planned(&format!(
        "cascade groups
rank b, p, m, h = (g, r), e = 16, f = E
in Q[b,h,p,e], K[b,g,m,e], V[b,g,m,f] : f16
S[b,h,p,m] = Q * K
out O[b,h,p,f] : f16 = softmax[m](S) * V
policy split = {split}"
    ));
    let named = |name: &str| extents.iter().find(|(n, _)| *n == name).map(|(_, n)| *n);
    let shape = ShapeClass {
        extents: plan.cascade.symbols.iter().map(|s| named(&s.name)).collect(),
        ..ShapeClass::aligned(&plan, 16)
    };
    let schedule = Schedule {
        rows: 64,
        cols: 32,
        warps: 4,
        stages: 2,
        blocks_per_sm: 1,
        left_in_registers: true,
        specialised: None,
    };
    let kernel = lower_unchecked(&plan, 0, &schedule, &shape).expect("a kernel");
    kernel.program.grid.iter().map(|dim| dim.name.clone()).collect()
}

#[test]
fn few_queries_share_a_tile_with_the_heads_of_their_group() {
    let decode = [("B", 1), ("H", 32), ("G", 4), ("P", 1), ("M", 4096)];
    assert_eq!(grid(&decode, "off"), ["b", "g", "r_p_tile"]);
    let many = [("B", 1), ("H", 32), ("G", 4), ("P", 33), ("M", 4096)];
    assert_eq!(grid(&many, "off"), ["b", "g", "r", "p_tile"]);
    // A group of one head has nothing to add, and neither has a shape that is not known.
    let alone = [("B", 1), ("H", 32), ("G", 32), ("P", 1), ("M", 4096)];
    assert_eq!(grid(&alone, "off"), ["b", "g", "r", "p_tile"]);
    assert_eq!(grid(&[("P", 1)], "off"), ["b", "g", "r", "p_tile"]);
}

#[test]
fn pieces_are_no_rows() {
    let decode = [("B", 1), ("H", 32), ("G", 4), ("P", 1), ("M", 4096)];
    assert_eq!(grid(&decode, "256"), ["m_piece", "b", "g", "r_p_tile"]);
    assert_eq!(grid(&[], "256"), ["m_piece", "b", "g", "r", "p_tile"]);
}
