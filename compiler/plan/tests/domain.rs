//! Domains: projections and classes against enumeration of all points.

#[path = "common/ints.rs"]
mod ints;

use einloom_cascade::expr::{Arena, DType, Expr, ExprId, InputId, MapOp, ScalarId, SymId, VarId};
use einloom_cascade::ir::{Input, MemDim, Var};
use einloom_plan::domain::{Class, Interval, Level, Part, Query, Range, Sorted, classify, hull, project, sorted};
use einloom_syntax::span::Span;
use ints::Point;
use proptest::prelude::*;

const M: VarId = VarId(0);
const P: VarId = VarId(1);
const H: VarId = VarId(2);
const INNER: VarId = VarId(3);

/// The tile's first and last row are scalars 0 and 1, the point coordinate `h` is scalar 2.
fn tile_ends(arena: &mut Arena) -> [(ExprId, ExprId); 2] {
    let mut scalar = |i| arena.add(Expr::Scalar(ScalarId(i)));
    let (first, last, h) = (scalar(0), scalar(1), scalar(2));
    [(first, last), (h, h)]
}

struct Case {
    arena: Arena,
    conds: Vec<ExprId>,
    parts: Vec<Part>,
}

/// Extents of m and p in tests (symbols 0 and 1), and the coordinate h.
#[derive(Clone, Copy)]
struct Shape {
    m: i64,
    p: i64,
    h: i64,
    first: i64,
    last: i64,
    /// Inner extent of the streamed coordinate `c * inner + i` (1: plain).
    inner: i64,
}

impl Shape {
    fn with<R>(&self, arena: &Arena, m: i64, p: i64, f: impl FnOnce(&Point<'_>) -> R) -> R {
        let this = *self;
        let point = Point {
            arena,
            var: &move |v| match v {
                M => m.div_euclid(this.inner),
                INNER => m.rem_euclid(this.inner),
                P => p,
                _ => this.h,
            },
            extent: &move |s| if s == SymId(0) { this.m } else { this.p },
            scalar: &move |s| [this.first, this.last, this.h][s as usize],
            table: &|input, at| match input {
                0 => 3 + 2 * at[0],
                // sorted: stretches of equal elements that become shorter, and stretches of seven
                1 => at[0] * at[0] / 40,
                _ => at[0] / 7,
            },
        };
        f(&point)
    }
}

fn end(shape: &Shape, arena: &Arena, range: Range) -> (i64, i64) {
    let of = |id: Option<ExprId>, default| id.map_or(default, |id| shape.with(arena, 0, 0, |x| x.value(id)));
    (of(range.lo, i64::MIN), of(range.hi, i64::MAX))
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Count {
    tiles: u32,
    live_exact: u32,
    full_exact: u32,
}

/// Asserts soundness on one tile; counts whether live and untested ranges are the best possible hulls.
fn check(case: &Case, shape: &Shape, count: &mut Count) {
    let arena = &case.arena;
    let holds = |m: i64, p: i64| shape.with(arena, m, p, |x| case.conds.iter().all(|&c| x.holds(c)));
    let rows = shape.first..=shape.last;
    let live: Vec<i64> = (0..shape.m).filter(|&m| rows.clone().any(|p| holds(m, p))).collect();
    let always: Vec<i64> = (0..shape.m).filter(|&m| rows.clone().all(|p| holds(m, p))).collect();
    let inside = |range: Range, m: i64| {
        let (lo, hi) = end(shape, arena, range);
        lo <= m && m <= hi
    };
    for &m in &live {
        let times = case.parts.iter().filter(|part| inside(part.live, m)).count();
        assert_eq!(times, 1, "live m = {m} is in {times} live ranges of {:?}", case.parts);
    }
    let visited = |part: &Part| (0..shape.m).filter(|&m| inside(part.live, m)).collect::<Vec<i64>>();
    for pair in case.parts.windows(2) {
        if let (Some(before), Some(after)) = (visited(&pair[0]).last(), visited(&pair[1]).first()) {
            assert!(before < after, "{:?} do not ascend", case.parts);
        }
    }
    let mut untested = 0;
    for m in 0..shape.m {
        for part in &case.parts {
            if inside(part.live, m) && part.full.is_some_and(|full| inside(full, m)) {
                assert!(always.contains(&m), "m = {m} is not always true");
                untested += 1;
            }
        }
    }
    count.tiles += 1;
    count.full_exact += u32::from(untested == always.len());
    let visited = (0..shape.m)
        .filter(|&m| case.parts.iter().any(|part| inside(part.live, m)))
        .count();
    count.live_exact += u32::from(visited == live.len());
}

fn plain(build: impl FnOnce(&mut Arena) -> Vec<ExprId>) -> Case {
    let mut arena = Arena::default();
    let conds = build(&mut arena);
    let [p, h] = tile_ends(&mut arena);
    let query = Query {
        stream: &[Level { var: M, extent: 0 }],
        ends: &|v| match v {
            P => Some(p),
            H => Some(h),
            _ => None,
        },
        vars: &[],
        inputs: &[],
        sorted: &[],
    };
    let parts = project(&mut arena, &conds, &query);
    Case { arena, conds, parts }
}

/// Short constructors of expressions.
struct Build<'a>(&'a mut Arena);

impl Build<'_> {
    fn m(&mut self) -> ExprId {
        self.0.var(M)
    }
    fn p(&mut self) -> ExprId {
        self.0.var(P)
    }
    fn k(&mut self, k: i64) -> ExprId {
        self.0.int(k)
    }
    fn extent(&mut self, i: u32) -> ExprId {
        self.0.add(Expr::Extent(SymId(i)))
    }
    fn op(&mut self, op: MapOp, a: ExprId, b: ExprId) -> ExprId {
        self.0.map(op, &[a, b])
    }
    fn not(&mut self, a: ExprId) -> ExprId {
        self.0.map(MapOp::Not, &[a])
    }
    /// `a op k`
    fn with(&mut self, op: MapOp, a: ExprId, k: i64) -> ExprId {
        let k = self.k(k);
        self.op(op, a, k)
    }
}

use MapOp::*;

/// The 14 kinds of predicates of the calculus, with the number of 36 tiles on which live and untested sets are exact.
fn predicates() -> Vec<(&'static str, Case, u32, u32)> {
    let mut all: Vec<(&'static str, Case, u32, u32)> = Vec::new();
    let mut add = |name, live, full, build: &dyn Fn(&mut Build<'_>) -> Vec<ExprId>| {
        all.push((name, plain(|arena| build(&mut Build(arena))), live, full));
    };
    add("causal", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        vec![b.op(Le, m, p)]
    });
    add("causal, last row aligned with last column", 36, 36, &|b| {
        let (m, p, em, ep) = (b.m(), b.p(), b.extent(0), b.extent(1));
        let right = b.op(Add, p, em);
        let right = b.op(Sub, right, ep);
        vec![b.op(Le, m, right)]
    });
    add("window on both sides", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let d = b.op(Sub, m, p);
        let d = b.0.map(Abs, &[d]);
        vec![b.with(Le, d, 5)]
    });
    add("sliding window", 36, 36, &|b| {
        let (m, p, zero) = (b.m(), b.p(), b.k(0));
        let d = b.op(Sub, p, m);
        vec![b.op(Le, zero, d), b.with(Lt, d, 7)]
    });
    add("prefix", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let (prefix, causal) = (b.with(Lt, m, 9), b.op(Le, m, p));
        vec![b.op(Or, prefix, causal)]
    });
    add("block diagonal", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let (m, p) = (b.with(IDiv, m, 6), b.with(IDiv, p, 6));
        vec![b.op(Eq, m, p)]
    });
    add("block causal", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let (m, p) = (b.with(IDiv, m, 4), b.with(IDiv, p, 6));
        vec![b.op(Le, m, p)]
    });
    add("strided", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let d = b.op(Sub, p, m);
        let rest = b.with(IMod, d, 3);
        let strided = b.with(Eq, rest, 0);
        vec![b.op(Le, m, p), strided]
    });
    add("2m <= 3p + 5", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let (m, p) = (b.with(Mul, m, 2), b.with(Mul, p, 3));
        let p = b.with(Add, p, 5);
        vec![b.op(Le, m, p)]
    });
    add("sinks and window", 36, 36, &|b| {
        let (m, p, zero) = (b.m(), b.p(), b.k(0));
        let d = b.op(Sub, p, m);
        let (sink, near) = (b.with(Lt, m, 4), b.with(Lt, d, 6));
        let either = b.op(Or, sink, near);
        vec![b.op(Le, zero, d), either]
    });
    add("clamped neighbourhood", 36, 36, &|b| {
        let (m, p, em) = (b.m(), b.p(), b.extent(0));
        let last = b.with(Sub, em, 4);
        let low = b.with(Max, p, 3);
        let centre = b.op(Min, low, last);
        let d = b.op(Sub, m, centre);
        let d = b.0.map(Abs, &[d]);
        vec![b.with(Le, d, 3)]
    });
    add("stride of rows", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let p = b.with(IDiv, p, 4);
        let p = b.with(Mul, p, 4);
        let d = b.op(Sub, m, p);
        let inside = b.with(Lt, d, 8);
        let zero = b.k(0);
        vec![b.op(Le, zero, d), inside]
    });
    add("not in the window", 36, 36, &|b| {
        let (m, p) = (b.m(), b.p());
        let d = b.op(Sub, m, p);
        let d = b.0.map(Abs, &[d]);
        let near = b.with(Le, d, 5);
        vec![b.not(near)]
    });
    add("remainder of m", 26, 0, &|b| {
        let (m, p) = (b.m(), b.p());
        let (m, p) = (b.with(IMod, m, 5), b.with(IMod, p, 5));
        vec![b.op(Le, m, p)]
    });
    all
}

fn tiles() -> impl Iterator<Item = Shape> {
    let shape = |m, p, first, rows: i64| Shape {
        m,
        p,
        h: 0,
        first,
        last: (first + rows - 1).min(p - 1),
        inner: 1,
    };
    [(29, 29), (40, 23), (23, 40)].into_iter().flat_map(move |(m, p)| {
        [0, 3, 8, 12, 16, 20]
            .into_iter()
            .flat_map(move |first| [3, 7].into_iter().map(move |rows| shape(m, p, first, rows)))
    })
}

#[test]
fn fourteen_predicates_are_sound_and_tight() {
    let mut found = Vec::new();
    let mut wanted = Vec::new();
    for (name, case, live, full) in predicates() {
        let mut count = Count::default();
        for shape in tiles() {
            check(&case, &shape, &mut count);
        }
        assert_eq!(count.tiles, 36);
        found.push((name, count.live_exact, count.full_exact));
        wanted.push((name, live, full));
    }
    assert_eq!(found, wanted);
}

/// A random int expression over m, p, h, extents and constants; conditions over them.
fn random_int() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        3 => Just(Tree::M),
        3 => Just(Tree::P),
        1 => Just(Tree::H),
        1 => Just(Tree::Extent),
        2 => (-9i64..10).prop_map(Tree::Int),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), 0usize..6).prop_map(|(a, b, op)| Tree::Two(
                [Add, Sub, Mul, Min, Max, Sub][op],
                Box::new(a),
                Box::new(b)
            )),
            (inner.clone(), 1i64..7, any::<bool>()).prop_map(|(a, k, div)| Tree::Two(
                if div { IDiv } else { IMod },
                Box::new(a),
                Box::new(Tree::Int(k))
            )),
            inner.clone().prop_map(|a| Tree::One(Abs, Box::new(a))),
            inner.prop_map(|a| Tree::One(Neg, Box::new(a))),
        ]
    })
}

fn random_condition() -> impl Strategy<Value = Tree> {
    let compare = (random_int(), random_int(), 0usize..4)
        .prop_map(|(a, b, op)| Tree::Two([Lt, Le, Eq, Ne][op], Box::new(a), Box::new(b)));
    compare.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), any::<bool>()).prop_map(|(a, b, and)| Tree::Two(
                if and { And } else { Or },
                Box::new(a),
                Box::new(b)
            )),
            inner.clone().prop_map(|a| Tree::One(Not, Box::new(a))),
            (inner.clone(), inner.clone(), inner).prop_map(|(c, a, b)| Tree::Select(Box::new([c, a, b]))),
        ]
    })
}

#[derive(Clone, Debug)]
enum Tree {
    M,
    P,
    H,
    Extent,
    Int(i64),
    One(MapOp, Box<Tree>),
    Two(MapOp, Box<Tree>, Box<Tree>),
    Select(Box<[Tree; 3]>),
}

impl Tree {
    /// The expression; `m` becomes `c * inner + i` for an inner extent above 1.
    fn build(&self, arena: &mut Arena, inner: i64) -> ExprId {
        match self {
            Tree::M if inner == 1 => arena.var(M),
            Tree::M => {
                let (c, i, k) = (arena.var(M), arena.var(INNER), arena.int(inner));
                let start = arena.map(Mul, &[c, k]);
                arena.map(Add, &[start, i])
            }
            Tree::P => arena.var(P),
            Tree::H => arena.var(H),
            Tree::Extent => arena.add(Expr::Extent(SymId(0))),
            Tree::Int(k) => arena.int(*k),
            Tree::One(op, a) => {
                let a = a.build(arena, inner);
                arena.map(*op, &[a])
            }
            Tree::Two(op, a, b) => {
                let (a, b) = (a.build(arena, inner), b.build(arena, inner));
                arena.map(*op, &[a, b])
            }
            Tree::Select(list) => {
                let [c, a, b] = list.each_ref().map(|x| x.build(arena, inner));
                arena.add(Expr::Select([c, a, b]))
            }
        }
    }
}

fn case_of(conds: &[Tree], inner: i64) -> Case {
    let mut arena = Arena::default();
    let conds: Vec<ExprId> = conds.iter().map(|c| c.build(&mut arena, inner)).collect();
    let [p, h] = tile_ends(&mut arena);
    let levels = [
        Level { var: M, extent: 0 },
        Level {
            var: INNER,
            extent: inner,
        },
    ];
    let query = Query {
        stream: if inner == 1 { &levels[..1] } else { &levels },
        ends: &|v| match v {
            P => Some(p),
            H => Some(h),
            _ => None,
        },
        vars: &[],
        inputs: &[],
        sorted: &[],
    };
    let parts = project(&mut arena, &conds, &query);
    Case { arena, conds, parts }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn random_predicates_are_sound(
        conds in prop::collection::vec(random_condition(), 1..4),
        (m, p, h) in (1i64..25, 1i64..20, 0i64..4),
        (first, rows) in (0i64..20, 1i64..6),
        inner in prop_oneof![Just(1i64), Just(1), 2i64..6],
    ) {
        let first = first.min(p - 1);
        let last = (first + rows - 1).min(p - 1);
        let case = case_of(&conds, inner);
        prop_assert!(case.parts.len() <= 2);
        check(&case, &Shape { m, p, h, first, last, inner }, &mut Count::default());
    }

    #[test]
    fn classes_agree_with_enumeration(
        conds in prop::collection::vec(random_condition(), 1..4),
        (m0, ms) in (0i64..20, 1i64..6),
        (p0, ps) in (0i64..20, 1i64..6),
        h in 0i64..4,
    ) {
        let case = case_of(&conds, 1);
        let arena = &case.arena;
        let shape = Shape { m: 31, p: 31, h, first: p0, last: p0 + ps - 1, inner: 1 };
        let class = classify(arena, &case.conds, &|id| Some(match arena.get(id) {
            Expr::Var(M) => Interval::new(m0, m0 + ms - 1),
            Expr::Var(P) => Interval::new(p0, p0 + ps - 1),
            Expr::Var(_) => Interval::point(h),
            _ => Interval::point(31),
        }));
        let points: Vec<bool> = (m0..m0 + ms)
            .flat_map(|m| (p0..p0 + ps).map(move |p| (m, p)))
            .map(|(m, p)| shape.with(arena, m, p, |x| case.conds.iter().all(|&c| x.holds(c))))
            .collect();
        match class {
            Class::Never => prop_assert!(points.iter().all(|&x| !x)),
            Class::Always => prop_assert!(points.iter().all(|&x| x)),
            Class::Sometimes => {}
        }
    }
}

/// `x // k` and box conditions on atoms of a flattened rank.
#[test]
fn a_flattened_rank_is_projected_in_element_units() {
    let m = || Box::new(Tree::M);
    let causal = Tree::Two(Le, m(), Box::new(Tree::P));
    let block = Tree::Two(IDiv, m(), Box::new(Tree::Int(4)));
    let rows = Tree::Two(IDiv, Box::new(Tree::P), Box::new(Tree::Int(4)));
    let earlier = Tree::Two(Lt, Box::new(block), Box::new(rows));
    let mut count = Count::default();
    for tree in [causal, earlier] {
        let case = case_of(&[tree], 4);
        for shape in tiles() {
            check(&case, &Shape { inner: 4, ..shape }, &mut count);
        }
    }
    assert_eq!((count.live_exact, count.full_exact), (72, 72));
}

/// `c < cp` on the block index alone bounds the flattened coordinate by whole blocks.
#[test]
fn a_block_index_bounds_whole_blocks() {
    let mut arena = Arena::default();
    let (c, p) = (arena.var(M), arena.var(P));
    let conds = vec![arena.map(Lt, &[c, p])];
    let [ends, _] = tile_ends(&mut arena);
    let levels = [Level { var: M, extent: 0 }, Level { var: INNER, extent: 4 }];
    let query = Query {
        stream: &levels,
        ends: &|v| (v == P).then_some(ends),
        vars: &[],
        inputs: &[],
        sorted: &[],
    };
    let parts = project(&mut arena, &conds, &query);
    let case = Case { arena, conds, parts };
    let mut count = Count::default();
    for shape in tiles() {
        check(&case, &Shape { inner: 4, ..shape }, &mut count);
    }
    assert_eq!((count.live_exact, count.full_exact), (36, 36));
}

fn table(name: &str, extent: ExprId) -> Input {
    Input {
        name: name.into(),
        dtype: DType::I32,
        dims: vec![MemDim {
            name: "h".into(),
            extent,
        }],
        span: Span::default(),
    }
}

/// A length per sequence, read at the tile's one sequence, is a bound; a table over rows is not.
#[test]
fn tables_at_one_place_give_bounds_and_others_none() {
    let mut arena = Arena::default();
    let rows = arena.add(Expr::Extent(SymId(1)));
    let vars: Vec<Var> = ["m", "p", "h"]
        .map(|name| Var {
            name: name.into(),
            extent: rows,
        })
        .to_vec();
    let inputs = [table("len", rows)];
    let (m, p, h) = (arena.var(M), arena.var(P), arena.var(H));
    let [p_ends, h_ends] = tile_ends(&mut arena);
    let one = arena.int(1);
    let next = arena.map(Add, &[h, one]);
    let mut bounds = |index: ExprId| {
        let read = arena.add(Expr::Input(InputId(0), vec![index]));
        let conds = vec![arena.map(Lt, &[m, read])];
        let query = Query {
            stream: &[Level { var: M, extent: 0 }],
            ends: &|v| match v {
                P => Some(p_ends),
                H => Some(h_ends),
                _ => None,
            },
            vars: &vars,
            inputs: &inputs,
            sorted: &[],
        };
        let parts = project(&mut arena, &conds, &query);
        Case {
            arena: arena.clone(),
            conds,
            parts,
        }
    };
    let at_point = bounds(h);
    let mut count = Count::default();
    for shape in tiles() {
        check(&at_point, &shape, &mut count);
    }
    assert_eq!((count.live_exact, count.full_exact), (36, 36));
    let unbounded = Part {
        live: Range::default(),
        full: None,
    };
    assert_eq!(bounds(p).parts, [unbounded]);
    // `len[h + 1]` may lie outside: the projection reads only where the read is certainly in bounds
    assert_eq!(bounds(next).parts, [unbounded]);
}

/// Conditions on a sorted table, by the number of elements below a limit; the ends of the tile are found in the table as well.
#[test]
fn sorted_tables_give_bounds() {
    let mut found = Vec::new();
    for input in [1u32, 2] {
        let read = move |b: &mut Build<'_>, at: ExprId| b.0.add(Expr::Input(InputId(input), vec![at]));
        let conditions: [&dyn Fn(&mut Build<'_>, ExprId, ExprId) -> Vec<ExprId>; 6] = [
            &|b, m, p| {
                let (rows, cols) = (b.p(), b.m());
                vec![b.op(Le, cols, rows), b.op(Eq, p, m)]
            },
            &|b, m, p| vec![b.op(Eq, m, p)],
            &|b, m, p| {
                let p = b.with(Add, p, 1);
                vec![b.op(Lt, m, p)]
            },
            &|b, m, p| {
                let (m, p) = (b.with(Mul, m, 2), b.with(Sub, p, 1));
                vec![b.op(Le, p, m)]
            },
            &|b, m, p| {
                let d = b.op(Sub, p, m);
                let d = b.0.map(Abs, &[d]);
                vec![b.with(Le, d, 1)]
            },
            &|b, m, _| vec![b.with(Lt, m, 3)],
        ];
        for condition in conditions {
            let mut arena = Arena::default();
            let mut b = Build(&mut arena);
            let (m, p) = (b.m(), b.p());
            let (m, p) = (read(&mut b, m), read(&mut b, p));
            let conds = condition(&mut b, m, p);
            let [p_ends, _] = tile_ends(&mut arena);
            let extent = arena.add(Expr::Extent(SymId(0)));
            let vars = ["m", "p"].map(|name| Var {
                name: name.into(),
                extent,
            });
            let inputs = ["t", "t", "t"].map(|name| table(name, extent));
            let tables = [1, 2].map(|input| Sorted {
                input: InputId(input),
                dim: 0,
            });
            let query = Query {
                stream: &[Level { var: M, extent: 0 }],
                ends: &|v| (v == P).then_some(p_ends),
                vars: &vars,
                inputs: &inputs,
                sorted: &tables,
            };
            let parts = project(&mut arena, &conds, &query);
            let case = Case { arena, conds, parts };
            let mut count = Count::default();
            for shape in tiles() {
                // the table's rank is that of rows and columns
                let m = shape.m.max(shape.p);
                check(&case, &Shape { m, p: m, ..shape }, &mut count);
            }
            found.push((count.live_exact, count.full_exact));
        }
    }
    assert_eq!(found, [(36, 36); 12]);
}

/// Within the rows of a causal tile, elements are not searched for where the diagonal cuts before.
#[test]
fn a_diagonal_makes_searches_idle() {
    let text = "cascade c\nrank b, p, m = P, e = 16\nin  Q[b,p,e] : bf16\nin  doc[b,p] : i32\nassume doc <= doc[p := p + 1]\n\
                S[b,p,m] = Q * Q[b,m,e] where m <= p and doc == doc[b,m]\nout O[b,p] : f32 = sum[m](sigmoid(S))\n";
    let mut sources = einloom_syntax::SourceMap::new();
    let (prelude, main) = (einloom_syntax::PRELUDE, text);
    let (prelude_id, main_id) = (sources.add("prelude.ein", prelude), sources.add("main.ein", main));
    let (prelude, main) = (
        einloom_syntax::parse(prelude_id, prelude).0,
        einloom_syntax::parse(main_id, main).0,
    );
    let (choices, _) = einloom_cascade::specialisations(&main);
    let (cascade, messages) = einloom_cascade::lower(&[&prelude, &main], &choices[0]);
    let cascade = cascade.unwrap_or_else(|| panic!("{messages:?}"));
    let doc = Sorted {
        input: InputId(1),
        dim: 1,
    };
    assert_eq!(sorted(&cascade), [doc]);
    let plan = einloom_plan::plan(&cascade, &einloom_plan::PlanOptions::default()).expect("a plan");
    let text = einloom_plan::print::print(&plan);
    let domain = text
        .lines()
        .find(|line| line.contains("domain"))
        .expect("a domain")
        .trim();
    assert_eq!(
        domain,
        "domain  live sum[m](doc[b,m] < doc[b, p.first]) <= m <= p.last, untested sum[m](doc[b,m] < doc[b, p.last]) <= m <= p.first"
    );
}

/// A condition on rows alone closes or opens the whole range.
#[test]
fn a_row_condition_opens_or_closes_everything() {
    let case = case_of(&[Tree::Two(Lt, Box::new(Tree::P), Box::new(Tree::Int(9)))], 1);
    let mut count = Count::default();
    for shape in tiles() {
        check(&case, &shape, &mut count);
    }
    assert_eq!((count.live_exact, count.full_exact), (36, 36));
    let never = case_of(&[Tree::Two(Lt, Box::new(Tree::P), Box::new(Tree::P))], 1);
    assert_eq!(never.parts, []);
}

#[test]
fn the_hull_covers_both_parts() {
    let (_, mut case, ..) = predicates().swap_remove(9);
    assert_eq!(case.parts.len(), 2, "sinks and window");
    let all = hull(&mut case.arena, &case.parts).expect("two parts have a hull");
    case.parts = vec![all];
    let mut count = Count::default();
    for shape in tiles() {
        check(&case, &shape, &mut count);
    }
}
