//! Range analysis: known values, and random expressions against sampled points.

use einloom_cascade::expr::{DType, Expr, ExprId, InputId, MapOp, Reduce, ReduceOp, ScalarId, SymId, VarId};
use einloom_cascade::ir::{Cascade, Input, MemDim, Scalar, Var};
use einloom_plan::range::{Analysis, Facts, RealRange, unknown_leaf};
use einloom_syntax::span::Span;
use proptest::prelude::*;

const P: VarId = VarId(0);
const M: VarId = VarId(1);
const E: VarId = VarId(2);
const E2: VarId = VarId(3);

/// p and m of run-time extents P and M, e and e2 of 64; inputs Q[p,e], K[m,e] (bf16), gamma[p] (f32), z[m] (u8).
fn cascade() -> Cascade {
    let mut c = Cascade::default();
    let p = c.exprs.add(Expr::Extent(SymId(0)));
    let m = c.exprs.add(Expr::Extent(SymId(1)));
    let e = c.exprs.int(64);
    for (name, extent) in [("p", p), ("m", m), ("e", e), ("e2", e)] {
        c.vars.push(Var {
            name: name.into(),
            extent,
        });
    }
    let tensors = [
        ("Q", DType::BF16, vec![p, e]),
        ("K", DType::BF16, vec![m, e]),
        ("gamma", DType::F32, vec![p]),
        ("z", DType::U8, vec![m]),
    ];
    for (name, dtype, dims) in tensors {
        let dim = |extent| MemDim {
            name: String::new(),
            extent,
        };
        c.inputs.push(Input {
            name: name.into(),
            dtype,
            dims: dims.into_iter().map(dim).collect(),
            span: Span::default(),
        });
    }
    c.scalars.push(Scalar {
        name: "slope".into(),
        dtype: DType::F32,
        default: None,
        span: Span::default(),
    });
    c
}

fn read(c: &mut Cascade, input: u32, vars: &[VarId]) -> ExprId {
    let places = vars.iter().map(|&v| c.exprs.var(v)).collect();
    c.exprs.add(Expr::Input(InputId(input), places))
}

fn sum(c: &mut Cascade, vars: &[VarId], body: ExprId) -> ExprId {
    c.exprs.add(Expr::Reduce(Reduce {
        op: ReduceOp::Sum,
        vars: vars.to_vec(),
        conds: Vec::new(),
        body,
    }))
}

fn scores(c: &mut Cascade) -> ExprId {
    let (q, k) = (read(c, 0, &[P, E]), read(c, 1, &[M, E]));
    let product = c.exprs.map(MapOp::Mul, &[q, k]);
    sum(c, &[E], product)
}

fn of(c: &Cascade, conds: &[ExprId], id: ExprId) -> RealRange {
    Analysis::new(c, &Facts::new(c), conds, &unknown_leaf).of(id)
}

fn ends(range: RealRange) -> (f64, f64) {
    (range.lo, range.hi)
}

#[test]
fn softcap_needs_no_reference_and_plain_scores_do() {
    let mut c = cascade();
    let s = scores(&mut c);
    let cap = c.exprs.real(20.0);
    let inner = c.exprs.map(MapOp::Div, &[s, cap]);
    let inner = c.exprs.map(MapOp::Tanh, &[inner]);
    let capped = c.exprs.map(MapOp::Mul, &[cap, inner]);
    let facts = Facts::new(&c);
    let analysis = Analysis::new(&c, &facts, &[], &unknown_leaf);
    assert_eq!(ends(analysis.of(capped)), (-20.0, 20.0));
    assert!(analysis.needs_no_reference(capped, true));
    assert!(!analysis.needs_no_reference(s, true));
    // exp(+-50): 72 + 31 exp2 units
    let wide = c.exprs.real(50.0);
    let wide = c.exprs.map(MapOp::Mul, &[wide, inner]);
    assert!(!Analysis::new(&c, &facts, &[], &unknown_leaf).needs_no_reference(wide, true));
}

#[test]
fn sigmoid_lies_between_0_and_1_and_is_positive() {
    let mut c = cascade();
    let s = scores(&mut c);
    let one = c.exprs.real(1.0);
    let s = c.exprs.map(MapOp::Neg, &[s]);
    let e = c.exprs.map(MapOp::Exp, &[s]);
    let below = c.exprs.map(MapOp::Add, &[one, e]);
    let sigmoid = c.exprs.map(MapOp::Div, &[one, below]);
    let range = of(&c, &[], sigmoid);
    assert_eq!(ends(range), (0.0, 1.0));
    assert!(range.positive());
}

#[test]
fn coordinates_are_bounded_by_extents_and_by_conditions() {
    let mut c = cascade();
    let (p, m) = (c.exprs.var(P), c.exprs.var(M));
    let extent = c.exprs.add(Expr::Extent(SymId(1)));
    let distance = c.exprs.map(MapOp::Sub, &[p, m]);
    let causal = c.exprs.map(MapOp::Le, &[m, p]);
    let width = c.exprs.int(128);
    let near = c.exprs.map(MapOp::Lt, &[distance, width]);
    assert!(of(&c, &[], distance).lo < -1e6);
    assert_eq!(of(&c, &[causal], distance).lo, 0.0);
    assert_eq!(ends(of(&c, &[causal, near], distance)), (0.0, 127.0));
    let inside = c.exprs.map(MapOp::Sub, &[m, extent]);
    assert_eq!(of(&c, &[], inside).hi, -1.0);
    // decay: log(0.9) * (p - m) is at most 0
    let rate = c.exprs.real(0.9);
    let rate = c.exprs.map(MapOp::Log, &[rate]);
    let real = c.exprs.map(MapOp::ToReal, &[distance]);
    let decay = c.exprs.map(MapOp::Mul, &[rate, real]);
    assert_eq!(of(&c, &[causal], decay).hi, 0.0);
}

#[test]
fn assumptions_give_signs() {
    let mut c = cascade();
    let slope = c.exprs.add(Expr::Scalar(ScalarId(0)));
    let gamma = read(&mut c, 2, &[P]);
    let zero = c.exprs.real(0.0);
    assert!(!of(&c, &[], gamma).positive());
    let assumed = c.exprs.map(MapOp::Lt, &[zero, gamma]);
    c.assumes.push(assumed);
    let one = c.exprs.real(1.0);
    let low = c.exprs.map(MapOp::Le, &[zero, slope]);
    let high = c.exprs.map(MapOp::Le, &[slope, one]);
    let both = c.exprs.map(MapOp::And, &[low, high]);
    c.assumes.push(both);
    assert!(of(&c, &[], gamma).positive());
    assert_eq!(ends(of(&c, &[], slope)), (0.0, 1.0));
    let product = c.exprs.map(MapOp::Mul, &[gamma, slope]);
    assert_eq!(of(&c, &[], product).lo, 0.0);
    // a promise about the diagonal is none about the rest
    let mut c = cascade();
    let diagonal = read(&mut c, 0, &[P, P]);
    let assumed = c.exprs.map(MapOp::Lt, &[zero, diagonal]);
    c.assumes.push(assumed);
    let q = read(&mut c, 0, &[P, E]);
    assert!(!of(&c, &[], q).positive());
}

/// `sum_e (Q / rms(Q)) (K / l2(K))`: at most sqrt(64).
#[test]
fn normalised_rows_have_bounded_dot_products() {
    let mut c = cascade();
    let square = |c: &mut Cascade, input, row| {
        let x = read(c, input, &[row, E2]);
        let square = c.exprs.map(MapOp::Mul, &[x, x]);
        sum(c, &[E2], square)
    };
    let (qq, kk) = (square(&mut c, 0, P), square(&mut c, 1, M));
    let (n, eps) = (c.exprs.real(64.0), c.exprs.real(1e-6));
    let mean = c.exprs.map(MapOp::Div, &[qq, n]);
    let mean = c.exprs.map(MapOp::Add, &[mean, eps]);
    let rms = c.exprs.map(MapOp::Rsqrt, &[mean]);
    let root = c.exprs.map(MapOp::Sqrt, &[kk]);
    let length = c.exprs.map(MapOp::Max, &[root, eps]);
    let (q, k) = (read(&mut c, 0, &[P, E]), read(&mut c, 1, &[M, E]));
    let q = c.exprs.map(MapOp::Mul, &[q, rms]);
    let k = c.exprs.map(MapOp::Div, &[k, length]);
    let product = c.exprs.map(MapOp::Mul, &[q, k]);
    let dot = sum(&mut c, &[E], product);
    assert_eq!(ends(of(&c, &[], dot)), (-8.0, 8.0));
    // the norm of another tensor's row does not help
    let raw = read(&mut c, 1, &[M, E]);
    let wrong = c.exprs.map(MapOp::Mul, &[raw, raw]);
    let wrong = c.exprs.map(MapOp::Mul, &[wrong, rms]);
    let dot = sum(&mut c, &[E], wrong);
    assert!(!of(&c, &[], dot).bounded());
}

#[test]
fn local_reductions_count_their_points() {
    let mut c = cascade();
    let z = read(&mut c, 3, &[M]);
    let z = c.exprs.map(MapOp::ToReal, &[z]);
    let (local, streamed) = (sum(&mut c, &[E], z), sum(&mut c, &[M], z));
    assert_eq!(ends(of(&c, &[], local)), (0.0, 255.0 * 64.0));
    assert_eq!(of(&c, &[], streamed).lo, 0.0);
    assert!(of(&c, &[], streamed).hi > 1e9);
}

/// A random real expression over two coordinates x = p, y = m with extents 7 and 5, as a tree of arena ids.
#[derive(Clone, Debug)]
enum Tree {
    X,
    Y,
    Real(f64),
    Map(MapOp, Vec<Tree>),
}

const UNARY: [MapOp; 14] = [
    MapOp::Neg,
    MapOp::Abs,
    MapOp::Sign,
    MapOp::Exp,
    MapOp::Exp2,
    MapOp::Log,
    MapOp::Sqrt,
    MapOp::Rsqrt,
    MapOp::Sin,
    MapOp::Cos,
    MapOp::Tanh,
    MapOp::Floor,
    MapOp::Ceil,
    MapOp::Round,
];
const BINARY: [MapOp; 7] = [
    MapOp::Add,
    MapOp::Sub,
    MapOp::Mul,
    MapOp::Div,
    MapOp::Min,
    MapOp::Max,
    MapOp::Pow,
];

impl Tree {
    fn build(&self, c: &mut Cascade) -> ExprId {
        match self {
            Tree::X | Tree::Y => {
                let var = c.exprs.var(if matches!(self, Tree::X) { P } else { M });
                c.exprs.map(MapOp::ToReal, &[var])
            }
            Tree::Real(x) => c.exprs.real(*x),
            Tree::Map(op, args) => {
                let args: Vec<ExprId> = args.iter().map(|a| a.build(c)).collect();
                c.exprs.map(*op, &args)
            }
        }
    }

    fn value(&self, x: f64, y: f64) -> f64 {
        let Tree::Map(op, args) = self else {
            return match self {
                Tree::X => x,
                Tree::Y => y,
                Tree::Real(v) => *v,
                Tree::Map(..) => unreachable!(),
            };
        };
        let a = args[0].value(x, y);
        let b = args.get(1).map_or(0.0, |b| b.value(x, y));
        if a.is_nan() || b.is_nan() {
            return f64::NAN;
        }
        // a zero has no sign in exact arithmetic
        0.0 + match op {
            MapOp::Neg => -a,
            MapOp::Abs => a.abs(),
            MapOp::Sign if a == 0.0 => 0.0,
            MapOp::Sign => a.signum(),
            MapOp::Exp => a.exp(),
            MapOp::Exp2 => a.exp2(),
            MapOp::Log => a.ln(),
            MapOp::Sqrt => a.sqrt(),
            MapOp::Rsqrt => 1.0 / a.sqrt(),
            MapOp::Sin => a.sin(),
            MapOp::Cos => a.cos(),
            MapOp::Tanh => a.tanh(),
            MapOp::Floor => a.floor(),
            MapOp::Ceil => a.ceil(),
            MapOp::Round => a.round_ties_even(),
            MapOp::Add => a + b,
            MapOp::Sub => a - b,
            MapOp::Mul => a * b,
            MapOp::Div => a / b,
            MapOp::Min => a.min(b),
            MapOp::Max => a.max(b),
            MapOp::Pow => a.powf(b),
            other => panic!("{other:?} is not generated"),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::X),
        Just(Tree::Y),
        prop::sample::select(vec![-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0, 3.0]).prop_map(Tree::Real),
    ];
    leaf.prop_recursive(5, 20, 2, |inner| {
        prop_oneof![
            (prop::sample::select(UNARY.to_vec()), inner.clone()).prop_map(|(op, a)| Tree::Map(op, vec![a])),
            (prop::sample::select(BINARY.to_vec()), inner.clone(), inner)
                .prop_map(|(op, a, b)| Tree::Map(op, vec![a, b])),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    /// Every finite value lies in the range, up to rounding of the ends.
    #[test]
    fn sampled_values_lie_in_the_range(tree in tree()) {
        let mut c = cascade();
        c.vars[0].extent = c.exprs.int(7);
        c.vars[1].extent = c.exprs.int(5);
        let id = tree.build(&mut c);
        let range = of(&c, &[], id);
        for x in 0..7 {
            for y in 0..5 {
                let value = tree.value(f64::from(x), f64::from(y));
                if !value.is_finite() {
                    continue;
                }
                let slack = 1e-9 * value.abs().max(1e-3);
                prop_assert!(range.lo - slack <= value && value <= range.hi + slack,
                    "{value} at {x}, {y} outside of {range:?}");
            }
        }
    }
}
