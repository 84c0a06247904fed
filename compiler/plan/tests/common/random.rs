//! Random cascades: chains of 2 to 5 reductions over a streamed rank, over one of four domains; *wide* ones have
//! statistics over the rows as well, which need several kernels.

use einloom_cascade::expr::{DType, DefId, Expr, ExprId, InputId, MapOp, ReduceOp, VarId};
use einloom_cascade::ir::Cascade;
use einloom_cascade::{CascadeBuilder, Inputs, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Largest difference over the largest value; infinite where one is no number and the other is.
#[allow(dead_code, reason = "not every test compares outputs so")]
pub(crate) fn distance(wanted: &[f64], found: &[f64]) -> f64 {
    let finite = wanted.iter().filter(|x| x.is_finite());
    let largest = finite.fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    let each = wanted
        .iter()
        .zip(found)
        .map(|(x, y)| match x == y || (x.is_nan() && y.is_nan()) {
            true => 0.0,
            false if (x - y).is_nan() => f64::INFINITY,
            false => (x - y).abs() / largest,
        });
    each.fold(0.0, f64::max)
}

/// A cascade and what it does, for messages.
pub(crate) struct Random {
    pub(crate) cascade: Cascade,
    pub(crate) text: String,
}

/// Extents of p and m.
pub(crate) type Shape = (usize, usize);

/// A row value that later reductions may use.
#[derive(Clone, Copy)]
struct Row {
    def: DefId,
    use_as: Use,
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    /// On the scale of scores: exponents may subtract it.
    Score,
    /// Of order 1, any sign.
    Value,
}

struct Generator {
    b: CascadeBuilder,
    rng: ChaCha8Rng,
    text: Vec<String>,
    p: VarId,
    m: VarId,
    f: VarId,
    score: DefId,
    conds: Vec<ExprId>,
    /// X[m] reals, V[m,f] reals, Z[m] labels 0 to 2.
    streams: [InputId; 3],
    rows: Vec<Row>,
    /// Values over m that were summed over p.
    columns: Vec<DefId>,
    wide: bool,
    /// Largest score and sum of weights, if made.
    top: Option<DefId>,
    sum: Option<DefId>,
    reductions: usize,
}

/// The cascade of a seed.
pub(crate) fn random_cascade(seed: u64, wide: bool) -> Random {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut b = CascadeBuilder::new("random");
    let (p, m) = (b.rank("p"), b.rank("m"));
    let (e, f) = (b.fixed_rank("e", 3), b.fixed_rank("f", 2));
    let q = b.input("Q", DType::F32, &[p, e]);
    let k = b.input("K", DType::F32, &[m, e]);
    let v = b.input("V", DType::F32, &[m, f]);
    let x = b.input("X", DType::F32, &[m]);
    let z = b.input("Z", DType::U8, &[m]);
    let row_label = b.input("L", DType::U8, &[p]);
    let extents = (b.extent(p), b.extent(m));
    let (p, m, e, f) = (b.var(p), b.var(m), b.var(e), b.var(f));
    let (qr, kr) = (b.read_at(q, &[p, e]), b.read_at(k, &[m, e]));
    let product = b.map(MapOp::Mul, &[qr, kr]);
    let mut score = b.sum(&[e], &[], product);
    let mut text = Vec::new();
    let kind = rng.random_range(0..4);
    match kind {
        0 => {
            let (cap, one) = (b.real(6.0), b.real(0.25));
            let inner = b.map(MapOp::Mul, &[one, score]);
            let inner = b.map(MapOp::Tanh, &[inner]);
            score = b.map(MapOp::Mul, &[cap, inner]);
            text.push("softcap".to_string());
        }
        1 => {
            let (at_p, at_m, slope) = (b.at(p), b.at(m), b.real(-0.5));
            let distance = b.map(MapOp::Sub, &[at_p, at_m]);
            let distance = b.map(MapOp::Abs, &[distance]);
            let distance = b.to_real(distance);
            let bias = b.map(MapOp::Mul, &[slope, distance]);
            score = b.map(MapOp::Add, &[score, bias]);
            text.push("distance bias".to_string());
        }
        _ => {}
    }
    let conds = domain(&mut b, &mut rng, (p, m), extents, (row_label, z), &mut text);
    let score = b.def("S", &[p, m], &conds, score);
    let reductions = rng.random_range(2..6);
    let mut generator = Generator {
        b,
        rng,
        text,
        p,
        m,
        f,
        score,
        conds,
        streams: [x, v, z],
        rows: Vec::new(),
        columns: Vec::new(),
        wide,
        top: None,
        sum: None,
        reductions: 0,
    };
    while generator.reductions < reductions {
        generator.step();
    }
    generator.finish()
}

fn domain(
    b: &mut CascadeBuilder,
    rng: &mut ChaCha8Rng,
    (p, m): (VarId, VarId),
    extents: (ExprId, ExprId),
    (rows, columns): (InputId, InputId),
    text: &mut Vec<String>,
) -> Vec<ExprId> {
    let (at_p, at_m) = (b.at(p), b.at(m));
    match rng.random_range(0..4) {
        0 => {
            text.push("everywhere".into());
            vec![]
        }
        1 => {
            text.push("causal".into());
            let shift = b.map(MapOp::Sub, &[extents.1, extents.0]);
            let last = b.map(MapOp::Add, &[at_p, shift]);
            vec![b.map(MapOp::Le, &[at_m, last])]
        }
        2 => {
            // rows before the shift are empty
            text.push("shifted window".into());
            let (shift, width, zero) = (b.int(3), b.int(5), b.int(0));
            let distance = b.map(MapOp::Sub, &[at_p, at_m]);
            let distance = b.map(MapOp::Sub, &[distance, shift]);
            vec![
                b.map(MapOp::Le, &[zero, distance]),
                b.map(MapOp::Lt, &[distance, width]),
            ]
        }
        _ => {
            text.push("documents by table".into());
            let (row, column) = (b.read_at(rows, &[p]), b.read_at(columns, &[m]));
            vec![b.map(MapOp::Eq, &[row, column])]
        }
    }
}

impl Generator {
    fn row(&mut self, def: DefId) -> ExprId {
        self.b.value_at(def, &[self.p])
    }

    fn score(&mut self) -> ExprId {
        self.b.value_at(self.score, &[self.p, self.m])
    }

    /// A streamed value: X, or sometimes a column statistic.
    fn x(&mut self) -> ExprId {
        let x = self.b.read_at(self.streams[0], &[self.m]);
        match self.columns.last().copied() {
            Some(column) if self.rng.random_bool(0.5) => {
                let column = self.b.value_at(column, &[self.m]);
                self.b.map(MapOp::Add, &[x, column])
            }
            _ => x,
        }
    }

    /// Defines a reduction over m of `body`, a row value.
    fn reduce(&mut self, what: &str, op: ReduceOp, dims: &[VarId], body: ExprId) -> DefId {
        let conds = self.conds.clone();
        let value = self.b.reduce(op, &[self.m], &conds, body);
        self.reductions += 1;
        self.text.push(format!("R{}: {what}", self.reductions));
        self.b.def(&format!("R{}", self.reductions), dims, &[], value)
    }

    fn add(&mut self, what: &str, op: ReduceOp, body: ExprId, use_as: Use) -> DefId {
        let p = self.p;
        let def = self.reduce(what, op, &[p], body);
        self.rows.push(Row { def, use_as });
        def
    }

    fn top(&mut self) -> DefId {
        if let Some(top) = self.top {
            return top;
        }
        let score = self.score();
        let top = self.add("largest score", ReduceOp::Max, score, Use::Score);
        self.top = Some(top);
        top
    }

    /// `exp(S - top)`
    fn raw_weight(&mut self) -> ExprId {
        let top = self.top();
        let (score, top) = (self.score(), self.row(top));
        let below = self.b.map(MapOp::Sub, &[score, top]);
        self.b.map(MapOp::Exp, &[below])
    }

    /// `exp(S - top) / sum`
    fn weight(&mut self) -> ExprId {
        let raw = self.raw_weight();
        let sum = match self.sum {
            Some(sum) => sum,
            None => {
                let p = self.p;
                let sum = self.reduce("sum of weights", ReduceOp::Sum, &[p], raw);
                self.sum = Some(sum);
                sum
            }
        };
        let sum = self.row(sum);
        self.b.map(MapOp::Div, &[raw, sum])
    }

    /// A row value of order 1, if there is one.
    fn value(&mut self) -> Option<ExprId> {
        let rows: Vec<Row> = (self.rows.iter().copied())
            .filter(|row| row.use_as == Use::Value)
            .collect();
        let row = *rows.get(self.rng.random_range(0..rows.len().max(1)))?;
        Some(self.row(row.def))
    }

    fn step(&mut self) {
        if self.wide && self.columns.len() < 2 && self.rng.random_bool(0.3) {
            return self.column();
        }
        match self.rng.random_range(0..11) {
            0 => self.weighted_rows(),
            1 => self.moment(),
            2 => self.labels(),
            3 => self.monotone(),
            4 => self.power(),
            5 => self.not_separable(),
            6 => self.sigmoid(),
            7 => self.best(),
            8 => self.late_factor(),
            9 => self.entropy(),
            _ => self.mean(),
        }
    }

    fn weighted_rows(&mut self) {
        let weight = self.weight();
        let v = self.b.read_at(self.streams[1], &[self.m, self.f]);
        let body = self.b.map(MapOp::Mul, &[weight, v]);
        let dims = [self.p, self.f];
        self.reduce("weighted rows of V", ReduceOp::Sum, &dims, body);
    }

    fn mean(&mut self) {
        let (weight, x) = (self.weight(), self.x());
        let body = self.b.map(MapOp::Mul, &[weight, x]);
        self.add("weighted mean of X", ReduceOp::Sum, body, Use::Value);
    }

    /// A statistic over the rows: `sum_p P` or `sum_p P^2`.
    fn column(&mut self) {
        let mut body = self.weight();
        let square = self.rng.random_bool(0.3);
        if square {
            body = self.b.map(MapOp::Mul, &[body, body]);
        }
        let (p, m, conds) = (self.p, self.m, self.conds.clone());
        let value = self.b.sum(&[p], &conds, body);
        self.reductions += 1;
        let power = if square { "squared " } else { "" };
        self.text
            .push(format!("R{}: {power}weights summed over rows", self.reductions));
        let def = self.b.def(&format!("R{}", self.reductions), &[m], &[], value);
        self.columns.push(def);
    }

    fn moment(&mut self) {
        let weight = self.weight();
        let Some(centre) = self.value() else {
            return self.mean();
        };
        let (x, k) = (self.x(), self.rng.random_range(2..4));
        let distance = self.b.map(MapOp::Sub, &[x, centre]);
        let exponent = self.b.real(f64::from(k));
        let power = self.b.map(MapOp::Pow, &[distance, exponent]);
        let body = self.b.map(MapOp::Mul, &[weight, power]);
        self.add(
            &format!("moment {k} about a row value"),
            ReduceOp::Sum,
            body,
            Use::Value,
        );
    }

    fn labels(&mut self) {
        let weight = self.weight();
        let factor = self.value();
        let (z, one, x) = (self.b.read_at(self.streams[2], &[self.m]), self.b.int(1), self.x());
        let label = self.b.map(MapOp::Eq, &[z, one]);
        let share = self.b.real(0.4);
        let first = self.b.map(MapOp::Mul, &[share, weight]);
        let second = match factor {
            Some(factor) => self.b.map(MapOp::Mul, &[weight, factor]),
            None => weight,
        };
        let weight = self.b.select(label, first, second);
        let body = self.b.map(MapOp::Mul, &[weight, x]);
        self.add("weights by label", ReduceOp::Sum, body, Use::Value);
    }

    fn monotone(&mut self) {
        let weight = self.weight();
        let (op, what) = match self.rng.random_bool(0.5) {
            true => (ReduceOp::Max, "largest weight"),
            false => (ReduceOp::Min, "smallest weight"),
        };
        let p = self.p;
        // of nothing an infinity: an output only
        self.reduce(what, op, &[p], weight);
    }

    fn power(&mut self) {
        let (weight, two, x) = (self.weight(), self.b.real(2.0), self.x());
        let square = self.b.map(MapOp::Pow, &[weight, two]);
        let body = self.b.map(MapOp::Mul, &[square, x]);
        self.add("squared weights", ReduceOp::Sum, body, Use::Value);
    }

    fn not_separable(&mut self) {
        let weight = self.weight();
        let (three, x) = (self.b.real(3.0), self.x());
        let body = match (self.rng.random_range(0..3), self.value()) {
            (0, Some(row)) => {
                let distance = self.b.map(MapOp::Sub, &[x, row]);
                let distance = self.b.map(MapOp::Abs, &[distance]);
                self.b.map(MapOp::Mul, &[weight, distance])
            }
            (1, Some(row)) => {
                // off the values themselves: a row of one point has its own X as mean
                let (zero, margin) = (self.b.real(0.0), self.b.real(0.0123));
                let level = self.b.map(MapOp::Add, &[row, margin]);
                let above = self.b.map(MapOp::Lt, &[level, x]);
                self.b.select(above, weight, zero)
            }
            _ => {
                let inner = self.b.map(MapOp::Mul, &[three, weight]);
                let inner = self.b.map(MapOp::Tanh, &[inner]);
                self.b.map(MapOp::Mul, &[inner, x])
            }
        };
        self.add("not separable", ReduceOp::Sum, body, Use::Value);
    }

    fn sigmoid(&mut self) {
        let (score, one, x) = (self.score(), self.b.real(1.0), self.x());
        let e = self.b.map(MapOp::Neg, &[score]);
        let e = self.b.map(MapOp::Exp, &[e]);
        let below = self.b.map(MapOp::Add, &[one, e]);
        let body = self.b.map(MapOp::Div, &[x, below]);
        self.add("sigmoid weights", ReduceOp::Sum, body, Use::Value);
    }

    fn best(&mut self) {
        let (x, p) = (self.x(), self.p);
        let body = match self.value() {
            Some(row) => self.b.map(MapOp::Sub, &[x, row]),
            None => x,
        };
        self.reduce("place of the largest X", ReduceOp::ArgMax, &[p], body);
    }

    fn late_factor(&mut self) {
        let (weight, x) = (self.weight(), self.x());
        let body = match self.value() {
            Some(row) => {
                let sum = self.b.map(MapOp::Add, &[x, row]);
                self.b.map(MapOp::Mul, &[weight, sum])
            }
            None => self.b.map(MapOp::Mul, &[weight, x]),
        };
        self.add("X plus a row value, weighted", ReduceOp::Sum, body, Use::Value);
    }

    fn entropy(&mut self) {
        let weight = self.weight();
        let log = self.b.map(MapOp::Log, &[weight]);
        let body = self.b.map(MapOp::Mul, &[weight, log]);
        self.add("negative entropy", ReduceOp::Sum, body, Use::Value);
    }

    fn finish(mut self) -> Random {
        let reductions: Vec<DefId> = (0..self.b.cascade_mut().defs.len() as u32)
            .map(DefId)
            .filter(|&def| def != self.score)
            .collect();
        // the last one, and some of the others, are written
        let last = reductions.len() - 1;
        for (at, def) in reductions.into_iter().enumerate() {
            if at == last || self.rng.random_bool(0.4) {
                let (body, cascade) = (def, self.b.cascade_mut());
                let body = cascade.defs[body.index()].body;
                let int = matches!(cascade.exprs.get(body), Expr::Reduce(r) if r.op == ReduceOp::ArgMax);
                self.b.output(def, if int { DType::I32 } else { DType::F32 });
            }
        }
        Random {
            cascade: self.b.finish(),
            text: self.text.join("; "),
        }
    }
}

/// Random arguments. Some seeds have scores of several hundreds (but with a logarithm: `0 log 0` is no number in the
/// oracle, and finite in a plan).
pub(crate) fn random_inputs(cascade: &Cascade, seed: u64, (p, m): Shape) -> Inputs {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let logarithm =
        (0..cascade.exprs.len() as u32).any(|id| matches!(cascade.exprs.get(ExprId(id)), Expr::Map(MapOp::Log, _)));
    let scale = if rng.random_bool(0.2) && !logarithm { 15.0 } else { 1.5 };
    let tensors = cascade.inputs.iter().map(|input| {
        let shape: Vec<usize> = (input.dims.iter())
            .map(|dim| match (dim.name.as_str(), cascade.exprs.get(dim.extent)) {
                (_, Expr::Int(n)) => *n as usize,
                ("p", _) => p,
                _ => m,
            })
            .collect();
        let points: usize = shape.iter().product();
        if input.dtype == DType::U8 {
            let labels = (0..points).map(|_| rng.random_range(0..3)).collect();
            return Tensor::ints(&shape, labels);
        }
        let scale = if matches!(input.name.as_str(), "Q" | "K") {
            scale
        } else {
            1.0
        };
        let values = (0..points).map(|_| rng.random_range(-scale..scale)).collect();
        Tensor::reals(&shape, values)
    });
    Inputs::new(tensors.collect(), vec![])
}
