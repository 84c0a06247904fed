//! Random inputs that keep the promises of a cascade (`assume`), by construction.
//!
//! | promise | what is done |
//! | --- | --- |
//! | bounds of a tensor or scalar: `x > 0`, `0 <= t < P`, `abs(x) <= 1`, `n != 0` | values outside are folded in |
//! | order along a dimension: `t <= t[b := b + 1]`, strict or not, rising or falling | the dimension is sorted |
//! | a pinned element: `t[0] == 0`, `t[B] == P` | the element is set; of a sorted vector it bounds the others |
//! | order of two tensors of one shape: `lo <= hi` | elements that break it are exchanged |
//!
//! Other sides of a comparison are numbers, extents, constants and scalars. A promise on extents alone is for whoever chooses
//! the shape ([`extents_hold`]). Whatever has another form is left to chance: `verify` checks every promise and names the
//! one that does not hold.

use einloom_cascade::data::{Inputs, Tensor};
use einloom_cascade::expr::{DType, Expr, ExprId, MapOp};
use einloom_cascade::ir::Cascade;
use einloom_cascade::ops::{Scalar, apply};
use einloom_cascade::round::{round_real, saturate_int};

/// Where the values of a tensor or scalar may lie.
#[derive(Clone, Debug)]
struct Bounds {
    low: f64,
    high: f64,
    open_low: bool,
    open_high: bool,
    not: Vec<f64>,
}

/// The elements of one tensor rise (or fall) along a dimension.
#[derive(Clone, Copy, Debug)]
struct Order {
    dim: usize,
    rises: bool,
    strict: bool,
}

/// What is promised of one tensor.
#[derive(Clone, Debug)]
struct Tidy {
    bounds: Bounds,
    orders: Vec<Order>,
    pins: Vec<(Vec<i64>, f64)>,
}

/// A side of a comparison.
enum Side {
    Number,
    Element(usize, Vec<ExprId>),
    Parameter(usize),
    /// `abs` of one of the others.
    Size(Box<Side>),
    Other,
}

struct Context<'a> {
    cascade: &'a Cascade,
    symbols: &'a [i64],
    scalars: Vec<Option<Scalar>>,
}

/// Changes random inputs so that the promises hold, as far as the table of the module goes. `symbols` are the extents of the
/// cascade's symbols, `free` says which scalars were drawn at random.
pub fn keep(cascade: &Cascade, symbols: &[i64], inputs: &mut Inputs, free: impl Fn(usize) -> bool) {
    let mut context = Context {
        cascade,
        symbols,
        scalars: inputs.scalars.clone(),
    };
    let atoms = context.atoms();
    // Scalars first: bounds of tensors may depend on them.
    for (i, info) in cascade.scalars.iter().enumerate() {
        let Some(value) = context.scalars.get(i).copied().flatten().filter(|_| free(i)) else {
            continue;
        };
        let mut bounds = Bounds::default();
        for &(op, a, b) in &atoms {
            context.bound(
                op,
                a,
                b,
                &mut |side| matches!(side, Side::Parameter(n) if *n == i),
                &mut bounds,
            );
        }
        let fitted = bounds.fit(value.as_real(), info.dtype);
        let fitted = match value {
            Scalar::Real(_) => Scalar::Real(fitted),
            Scalar::Int(_) => Scalar::Int(fitted as i64),
            Scalar::Bool(_) => value,
        };
        context.scalars[i] = Some(fitted);
        inputs.scalars[i] = Some(fitted);
    }
    for (i, info) in cascade.inputs.iter().enumerate() {
        let promised = context.tidy(i, &atoms);
        if info.dtype != DType::Bool && promised.says_something() {
            promised.apply(&mut inputs.tensors[i], info.dtype);
        }
    }
    for &(op, a, b) in &atoms {
        if let (Side::Element(low, at), Side::Element(high, other)) = (context.side(a), context.side(b))
            && low != high
            && at == other
            && matches!(op, MapOp::Lt | MapOp::Le)
        {
            exchange(cascade, inputs, low, high);
        }
    }
}

/// Whether the promises that speak of extents and scalars alone hold.
pub fn extents_hold(cascade: &Cascade, symbols: &[i64], scalars: &[Option<Scalar>]) -> bool {
    let context = Context {
        cascade,
        symbols,
        scalars: scalars.to_vec(),
    };
    !cascade.assumes.iter().any(|promise| context.broken(*promise))
}

impl Context<'_> {
    /// The comparisons of all promises.
    fn atoms(&self) -> Vec<(MapOp, ExprId, ExprId)> {
        let exprs = &self.cascade.exprs;
        let mut open: Vec<ExprId> = self.cascade.assumes.iter().rev().copied().collect();
        let mut atoms = Vec::new();
        while let Some(id) = open.pop() {
            let Expr::Map(op, args) = exprs.get(id) else { continue };
            match (op, args.as_slice()) {
                (MapOp::And, [a, b]) => open.extend([*b, *a]),
                // "Absent, or": where the point does not exist nothing is read.
                (MapOp::Or, [absent, rest]) if matches!(exprs.get(*absent), Expr::Map(MapOp::Not, _)) => {
                    open.push(*rest)
                }
                (MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne, [a, b]) => atoms.push((*op, *a, *b)),
                _ => {}
            }
        }
        atoms
    }

    /// The value of an expression of numbers, extents and scalars.
    fn value(&self, id: ExprId) -> Option<Scalar> {
        match self.cascade.exprs.get(id) {
            Expr::Real(bits) => Some(Scalar::Real(f64::from_bits(*bits))),
            Expr::Int(n) => Some(Scalar::Int(*n)),
            Expr::Bool(b) => Some(Scalar::Bool(*b)),
            Expr::Extent(symbol) => self.symbols.get(symbol.index()).map(|n| Scalar::Int(*n)),
            Expr::Scalar(scalar) => {
                let given = self.scalars.get(scalar.index()).copied().flatten();
                let info = &self.cascade.scalars[scalar.index()];
                given.or_else(|| {
                    info.default.map(|x| match info.dtype {
                        DType::Bool => Scalar::Bool(x != 0.0),
                        dtype if dtype.is_real() => Scalar::Real(x),
                        _ => Scalar::Int(x as i64),
                    })
                })
            }
            Expr::Map(op, args) => {
                let args: Vec<Scalar> = args.iter().map(|arg| self.value(*arg)).collect::<Option<_>>()?;
                apply(*op, &args).ok()
            }
            _ => None,
        }
    }

    /// Whether a promise is false, or a part of its `and`, whatever the tensors hold.
    fn broken(&self, id: ExprId) -> bool {
        match self.cascade.exprs.get(id) {
            Expr::Map(MapOp::And, args) => args.iter().any(|arg| self.broken(*arg)),
            _ => self.value(id) == Some(Scalar::Bool(false)),
        }
    }

    fn side(&self, id: ExprId) -> Side {
        match self.cascade.exprs.get(id) {
            Expr::Input(input, at) => return Side::Element(input.index(), at.clone()),
            Expr::Scalar(scalar) => return Side::Parameter(scalar.index()),
            Expr::Map(MapOp::ToReal, args) => return self.side(args[0]),
            Expr::Map(MapOp::Abs, args) => match self.side(args[0]) {
                Side::Number | Side::Other => {}
                inner => return Side::Size(Box::new(inner)),
            },
            _ => {}
        }
        self.value(id).map_or(Side::Other, |_| Side::Number)
    }

    /// The number that a side stands for, if it does.
    fn number(&self, id: ExprId) -> Option<f64> {
        self.value(id).map(Scalar::as_real)
    }

    /// Narrows bounds by the comparison `a op b`, where one side is the subject and the other a number.
    fn bound(&self, op: MapOp, a: ExprId, b: ExprId, subject: &mut dyn FnMut(&Side) -> bool, bounds: &mut Bounds) {
        for (side, other, below) in [(a, b, true), (b, a, false)] {
            let Some(number) = self.number(other) else { continue };
            let side = self.side(side);
            if let Side::Size(inner) = &side
                && subject(inner)
                && below
            {
                bounds.narrow(op, number, true);
                if matches!(op, MapOp::Lt | MapOp::Le) {
                    bounds.narrow(op, -number, false);
                }
            } else if subject(&side) {
                bounds.narrow(op, number, below);
            }
        }
    }

    /// What is promised of input `i`.
    fn tidy(&self, i: usize, atoms: &[(MapOp, ExprId, ExprId)]) -> Tidy {
        let exprs = &self.cascade.exprs;
        let mut tidy = Tidy {
            bounds: Bounds::default(),
            orders: Vec::new(),
            pins: Vec::new(),
        };
        let everywhere = |at: &[ExprId]| at.iter().all(|id| matches!(exprs.get(*id), Expr::Var(_)));
        for &(op, a, b) in atoms {
            self.bound(
                op,
                a,
                b,
                &mut |side| matches!(side, Side::Element(n, at) if *n == i && everywhere(at)),
                &mut tidy.bounds,
            );
            if let (Side::Element(m, at), Side::Element(n, next)) = (self.side(a), self.side(b))
                && m == i
                && n == i
            {
                tidy.orders.extend(self.order(op, &at, &next));
            }
            for (side, other) in [(a, b), (b, a)] {
                if let (Side::Element(n, at), Some(number), MapOp::Eq) = (self.side(side), self.number(other), op)
                    && n == i
                    && let Some(at) = at.iter().map(|id| self.value(*id)?.as_int()).collect()
                {
                    tidy.pins.push((at, number));
                }
            }
        }
        tidy
    }

    /// The order of neighbours along a dimension.
    fn order(&self, op: MapOp, at: &[ExprId], next: &[ExprId]) -> Option<Order> {
        let strict = match op {
            MapOp::Lt => true,
            MapOp::Le => false,
            _ => return None,
        };
        let differ: Vec<usize> = (0..at.len()).filter(|dim| at[*dim] != next[*dim]).collect();
        let [dim] = differ[..] else { return None };
        let ((var, from), (other, to)) = (self.shifted(at[dim])?, self.shifted(next[dim])?);
        let rises = match to - from {
            1 => true,
            -1 => false,
            _ => return None,
        };
        (var == other).then_some(Order { dim, rises, strict })
    }

    /// `v`, `v + n`, `v - n`: the variable and the shift.
    fn shifted(&self, id: ExprId) -> Option<(einloom_cascade::expr::VarId, i64)> {
        match self.cascade.exprs.get(id) {
            Expr::Var(var) => Some((*var, 0)),
            Expr::Map(op @ (MapOp::Add | MapOp::Sub), args) => {
                let (var, n) = match (self.shifted(args[0]), self.shifted(args[1]), op) {
                    (Some((var, n)), None, _) => (var, self.value(args[1])?.as_int().map(|k| (n, k))?),
                    (None, Some((var, n)), MapOp::Add) => (var, self.value(args[0])?.as_int().map(|k| (n, k))?),
                    _ => return None,
                };
                Some((var, if *op == MapOp::Add { n.0 + n.1 } else { n.0 - n.1 }))
            }
            _ => None,
        }
    }
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            open_low: false,
            open_high: false,
            not: Vec::new(),
        }
    }
}

impl Bounds {
    /// `subject op number` if `below`, else `number op subject`.
    fn narrow(&mut self, op: MapOp, number: f64, below: bool) {
        let open = op == MapOp::Lt;
        match op {
            MapOp::Ne => self.not.push(number),
            MapOp::Eq => (self.low, self.high) = (self.low.max(number), self.high.min(number)),
            _ if below && (number < self.high || (number == self.high && open)) => {
                (self.high, self.open_high) = (number, open);
            }
            _ if !below && (number > self.low || (number == self.low && open)) => {
                (self.low, self.open_low) = (number, open);
            }
            _ => {}
        }
    }

    fn holds(&self, x: f64) -> bool {
        let low = if self.open_low { x > self.low } else { x >= self.low };
        let high = if self.open_high { x < self.high } else { x <= self.high };
        low && high && !self.not.contains(&x)
    }

    /// A value inside that is made from `x`; `x` itself where it is inside, or where nothing is found.
    fn fit(&self, x: f64, dtype: DType) -> f64 {
        let real = dtype.is_real();
        let folded = match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) if real => self.low + (self.high - self.low) / (1.0 + (-x).exp()),
            (true, true) => self.low + (x - self.low).rem_euclid(self.high - self.low + 1.0),
            (true, false) => self.low + (x - self.low).abs(),
            (false, true) => self.high - (x - self.high).abs(),
            (false, false) => x,
        };
        let stored = |v: f64| match real {
            true => round_real(dtype, v),
            false => saturate_int(dtype, v.round() as i64) as f64,
        };
        let middle = (self.low + self.high) / 2.0;
        [x, folded, folded + 1.0, folded - 1.0, middle]
            .map(stored)
            .into_iter()
            .find(|v| self.holds(*v))
            .unwrap_or(x)
    }
}

impl Tidy {
    fn says_something(&self) -> bool {
        let b = &self.bounds;
        let bounded = b.low.is_finite() || b.high.is_finite() || !b.not.is_empty();
        bounded || !self.orders.is_empty() || !self.pins.is_empty()
    }

    fn apply(&self, tensor: &mut Tensor, dtype: DType) {
        let mut bounds = self.bounds.clone();
        if !self.orders.is_empty() && tensor.shape.len() == 1 {
            // The ends of a sorted vector bound the rest.
            for (at, pin) in &self.pins {
                let first = at[0] == 0;
                let rises = self.orders[0].rises;
                if first == rises {
                    bounds.low = bounds.low.max(*pin);
                } else if at[0] + 1 == tensor.shape[0] as i64 || first {
                    bounds.high = bounds.high.min(*pin);
                }
            }
        }
        let mut values: Vec<f64> = tensor.to_f64().iter().map(|x| bounds.fit(*x, dtype)).collect();
        for order in &self.orders {
            order.sort(&tensor.shape, &mut values, dtype);
        }
        for (at, value) in &self.pins {
            if let Some(place) = place(&tensor.shape, at) {
                values[place] = *value;
            }
        }
        *tensor = match dtype.is_real() {
            true => Tensor::reals(&tensor.shape, values).rounded(dtype),
            false => Tensor::ints(&tensor.shape, values.iter().map(|x| *x as i64).collect()).rounded(dtype),
        };
    }
}

impl Order {
    fn sort(&self, shape: &[usize], values: &mut [f64], dtype: DType) {
        let (n, inner) = (shape[self.dim], shape[self.dim + 1..].iter().product::<usize>());
        if n == 0 || inner == 0 {
            return;
        }
        for start in (0..values.len()).filter(|at| at / inner % n == 0) {
            let mut lane: Vec<f64> = (0..n).map(|k| values[start + k * inner]).collect();
            lane.sort_by(f64::total_cmp);
            if self.strict && !dtype.is_real() {
                for k in 1..n {
                    lane[k] = lane[k].max(lane[k - 1] + 1.0);
                }
            }
            if !self.rises {
                lane.reverse();
            }
            for (k, x) in lane.into_iter().enumerate() {
                values[start + k * inner] = x;
            }
        }
    }
}

/// Position of an element, `None` outside.
fn place(shape: &[usize], at: &[i64]) -> Option<usize> {
    at.iter().zip(shape).try_fold(0, |place, (&i, &n)| {
        let i = usize::try_from(i).ok().filter(|i| *i < n)?;
        Some(place * n + i)
    })
}

/// Exchanges the elements of two tensors where the first is larger.
fn exchange(cascade: &Cascade, inputs: &mut Inputs, low: usize, high: usize) {
    let (a, b) = (&inputs.tensors[low], &inputs.tensors[high]);
    let dtype = cascade.inputs[low].dtype;
    if a.shape != b.shape || dtype != cascade.inputs[high].dtype {
        return;
    }
    let (mut small, mut large) = (a.to_f64(), b.to_f64());
    for (x, y) in small.iter_mut().zip(&mut large).filter(|(x, y)| x > y) {
        std::mem::swap(x, y);
    }
    let shape = a.shape.clone();
    inputs.tensors[low] = Tensor::reals(&shape, small).rounded(dtype);
    inputs.tensors[high] = Tensor::reals(&shape, large).rounded(dtype);
}

#[cfg(test)]
mod tests {
    use crate::case::Case;
    use crate::data::shapes::{Given, symbols};
    use crate::session::Session;
    use einloom_cascade::eval::Evaluator;

    /// Whether random inputs keep the promises of a spec, over seeds.
    fn kept(promises: &str) -> Result<(), String> {
        let text = format!(
            "cascade promises\nrank p, b\nin  x[p], y[p] : bf16\nin  g[b] : f32\nin  t[B + 1], u[B + 1], d[p,b] : i32\n\
             in  lo[b], hi[b] : i32\nin  s : f32\nin  n : i32\n{promises}\nc[b] = t[b] + u[b + 1] + lo + hi\n\
             out O[p] : f32 = x + y + s + n + sum[b](g + c + d)\n"
        );
        let mut session = Session::new();
        let loaded = session.load_bytes("spec.ein", text.as_bytes(), None);
        let cascade = loaded.cascades.first().ok_or(format!("{:?}", loaded.diagnostics))?;
        let none = Given::new();
        for seed in 0..20 {
            let extents = symbols(cascade, &none, |_| 37).map_err(|e| e.to_string())?;
            let case = Case::from_symbols(cascade, &none, &extents, seed).map_err(|e| e.to_string())?;
            let mut evaluator = Evaluator::new(cascade, &case.inputs).map_err(|e| e.to_string())?;
            evaluator.check_assumes().map_err(|e| format!("{promises}: {e}"))?;
        }
        Ok(())
    }

    #[test]
    fn promises_of_known_forms_are_kept() {
        for promises in [
            "assume x > 0",
            "assume 0.25 <= x < 0.5 and d >= 0",
            "assume abs(x) <= 1",
            "assume x <= -2",
            "assume 0 <= d < P",
            "assume s > 3\nassume g < s",
            "assume 4 <= n <= 6\nassume 0 < d <= n",
            "assume t[b] <= t[b + 1]\nassume t[0] == 0\nassume t[B] == P",
            "assume t[b] < t[b + 1]",
            "assume u[b + 1] <= u[b]\nassume u[0] == 40",
            "assume d <= d[b := b + 1]",
            "assume lo <= hi",
        ] {
            kept(promises).expect("random inputs should keep the promise");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let said = kept("assume x * y > 0").expect_err("no rule keeps a product positive");
        assert!(said.contains("x[p] * y[p]"), "{said}");
    }
}
