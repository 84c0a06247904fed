//! Range analysis: between which values an expression lies over a domain (calculus N1), and its sign (S4, S8, S10, S11).
//!
//! Ranges are those of exact real arithmetic on finite inputs; a NaN or infinite input makes the naive result NaN or
//! infinite as well and is nobody's bound. Known: constants, coordinates (by their extents and by the conditions of the
//! domain), maps, tile-local reductions with compile-time extents, dot products of normalised rows, and what the spec
//! assumes of its inputs and scalars.

mod facts;
mod interval;
mod maps;
mod norm;

pub use facts::Facts;
pub use interval::RealRange;

use crate::domain::linear::Linear;
use einloom_cascade::expr::{Arena, DType, Expr, ExprId, LeafId, MapOp, Reduce, ReduceOp, VarId};
use einloom_cascade::ir::{Cascade, Def, Var};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Largest number of points of a streamed rank that a plan provides for.
pub const POINTS: f64 = 2147483648.0;

/// Headroom of f32 sums of exponentials in exp2 units (calculus N1).
pub const HEADROOM: f64 = 100.0;

/// What an analysis reads. Cheap to make; results are remembered for its life.
pub struct Analysis<'a> {
    arena: &'a Arena,
    vars: &'a [Var],
    defs: &'a [Def],
    inputs: Vec<DType>,
    facts: &'a Facts,
    /// Linear forms that are at most 0 over the domain.
    below: Vec<Linear>,
    leaf: &'a dyn Fn(LeafId) -> RealRange,
    least_extent: f64,
    known: RefCell<BTreeMap<ExprId, RealRange>>,
    /// Expressions whose ranges are being found: a linear form may have the expression itself as an atom (`g * R`), or meet it
    /// again through a condition.
    open: RefCell<BTreeSet<ExprId>>,
}

/// Nothing is known of a leaf.
pub fn unknown_leaf(_: LeafId) -> RealRange {
    RealRange::ALL
}

impl<'a> Analysis<'a> {
    /// Analysis over the points where all of `conds` hold. `leaf` tells the range of values of later levels
    /// ([`unknown_leaf`] if nothing is known).
    pub fn new(
        cascade: &'a Cascade,
        facts: &'a Facts,
        conds: &[ExprId],
        leaf: &'a dyn Fn(LeafId) -> RealRange,
    ) -> Analysis<'a> {
        let arena = &cascade.exprs;
        Analysis {
            arena,
            vars: &cascade.vars,
            defs: &cascade.defs,
            inputs: cascade.inputs.iter().map(|input| input.dtype).collect(),
            facts,
            below: facts.with(arena, conds),
            leaf,
            least_extent: 1.0,
            known: RefCell::new(BTreeMap::new()),
            open: RefCell::new(BTreeSet::new()),
        }
    }

    /// The same analysis where ranks may be empty. Otherwise extents count as at least 1: with an empty rank there is no point to
    /// be wrong about, but there are sums of nothing.
    pub fn with_empty_ranks(mut self) -> Self {
        self.least_extent = 0.0;
        self
    }

    /// Range of a real or int expression (bools count as 0 and 1).
    pub fn of(&self, id: ExprId) -> RealRange {
        if let Some(&range) = self.known.borrow().get(&id) {
            return range;
        }
        if !self.open.borrow_mut().insert(id) {
            return self.node(id);
        }
        let range = self.node(id).meet(self.coordinates(id));
        self.open.borrow_mut().remove(&id);
        self.known.borrow_mut().insert(id, range);
        range
    }

    /// Proved greater than 0.
    pub fn positive(&self, id: ExprId) -> bool {
        self.of(id).positive()
    }

    /// Proved at least 0.
    pub fn non_negative(&self, id: ExprId) -> bool {
        self.of(id).lo >= 0.0
    }

    /// Proved at most 0.
    pub fn non_positive(&self, id: ExprId) -> bool {
        self.of(id).hi <= 0.0
    }

    /// Whether `sum exp(form)` needs no reference in f32 (N1): the sum stays in range, and for `normalised` rows no
    /// weight is lost against another. `form` is in natural units.
    pub fn needs_no_reference(&self, form: ExprId, normalised: bool) -> bool {
        self.of(form).fits_without_reference(normalised)
    }

    /// The extent of a variable, if it is a compile-time constant.
    pub fn constant_extent(&self, var: VarId) -> Option<i64> {
        let declared = self.vars.get(var.index())?;
        Linear::of(self.arena, declared.extent).as_constant()
    }

    fn node(&self, id: ExprId) -> RealRange {
        match self.arena.get(id) {
            Expr::Real(bits) => RealRange::point(f64::from_bits(*bits)),
            Expr::Int(value) => RealRange::point(*value as f64),
            Expr::Bool(value) => RealRange::point(f64::from(u8::from(*value))),
            Expr::Var(var) => match self.constant_extent(*var) {
                Some(extent) => RealRange::new(0.0, (extent - 1).max(0) as f64),
                None => RealRange::new(0.0, POINTS),
            },
            Expr::Extent(_) => RealRange::new(self.least_extent, POINTS),
            Expr::Scalar(scalar) => self.facts.scalar(*scalar),
            Expr::Input(input, _) => {
                let by_type = self
                    .inputs
                    .get(input.index())
                    .map_or(RealRange::ALL, |&dtype| interval::of_storage(dtype));
                by_type.meet(self.facts.input(*input))
            }
            Expr::Def(def, _) => match self.defs.get(def.index()) {
                Some(def) => self.of(def.body),
                None => RealRange::ALL,
            },
            Expr::Leaf(leaf, _) => (self.leaf)(*leaf),
            Expr::Map(op, args) => self.map(*op, args),
            Expr::Select([_, a, b]) => self.of(*a).hull(self.of(*b)),
            Expr::Reduce(reduce) => self.reduce(reduce),
        }
    }

    fn map(&self, op: MapOp, args: &[ExprId]) -> RealRange {
        if let [a, b] = args
            && a == b
        {
            let x = self.of(*a);
            match op {
                MapOp::Mul => return x.square(),
                MapOp::Sub => return RealRange::point(0.0),
                MapOp::Div if x.nonzero => return RealRange::point(1.0),
                _ => {}
            }
        }
        let ranges: Vec<RealRange> = args.iter().map(|&arg| self.of(arg)).collect();
        maps::apply(op, &ranges)
    }

    /// Number of points of a reduction, if its extents are compile-time constants.
    fn points(&self, reduce: &Reduce) -> Option<f64> {
        let mut points = 1.0;
        for &var in &reduce.vars {
            points *= self.constant_extent(var)? as f64;
        }
        Some(points)
    }

    fn reduce(&self, reduce: &Reduce) -> RealRange {
        let body = self.of(reduce.body);
        let points = self.points(reduce);
        let all_points = points.filter(|_| reduce.conds.is_empty());
        match reduce.op {
            ReduceOp::Sum => {
                let plain = match (all_points, points) {
                    (Some(n), _) => body.times(RealRange::point(n)),
                    // any number of points up to the bound, or none
                    (None, n) => {
                        let n = n.unwrap_or(f64::INFINITY);
                        let some = body.hull(RealRange::point(0.0));
                        RealRange::new(some.lo, some.hi).times(RealRange::new(0.0, n))
                    }
                };
                match norm::dot_bound(self, reduce) {
                    Some(bound) => plain.meet(RealRange::new(-bound, bound)),
                    None => plain,
                }
            }
            ReduceOp::Prod if body.lo >= 0.0 && body.hi <= 1.0 => RealRange::new(0.0, 1.0),
            ReduceOp::Prod if body.lo >= 0.0 => RealRange::new(0.0, f64::INFINITY),
            ReduceOp::Max if all_points.is_some() => body,
            ReduceOp::Min if all_points.is_some() => body,
            // of nothing: an infinity
            ReduceOp::Max => RealRange::new(f64::NEG_INFINITY, body.hi),
            ReduceOp::Min => RealRange::new(body.lo, f64::INFINITY),
            ReduceOp::Any | ReduceOp::All => RealRange::new(0.0, 1.0),
            ReduceOp::ArgMax | ReduceOp::ArgMin => RealRange::new(-1.0, points.map_or(POINTS, |n| n - 1.0)),
            ReduceOp::Prod => RealRange::ALL,
        }
    }

    /// Range of an int expression by linear bounds: conditions of the domain take away what they share with it.
    fn coordinates(&self, id: ExprId) -> RealRange {
        if !matches!(
            self.arena.get(id),
            Expr::Map(MapOp::Add | MapOp::Sub | MapOp::Neg | MapOp::Mul, _) | Expr::Var(_)
        ) || !self.is_int(id)
        {
            return RealRange::ALL;
        }
        let form = Linear::of(self.arena, id);
        let hi = self.at_most(&form);
        let lo = form.scale(-1).map_or(f64::INFINITY, |f| self.at_most(&f));
        if -lo <= hi {
            RealRange::new(-lo, hi)
        } else {
            // contradictory conditions: there is no point
            RealRange::ALL
        }
    }

    fn is_int(&self, id: ExprId) -> bool {
        match self.arena.get(id) {
            Expr::Int(_) | Expr::Var(_) | Expr::Extent(_) => true,
            Expr::Input(input, _) => self
                .inputs
                .get(input.index())
                .is_some_and(|dtype| interval::integral(*dtype)),
            Expr::Map(op, args) => match op {
                MapOp::IDiv | MapOp::IMod | MapOp::BoolToInt | MapOp::Popcount => true,
                MapOp::Add | MapOp::Sub | MapOp::Mul | MapOp::Neg => args.iter().all(|&arg| self.is_int(arg)),
                MapOp::Min | MapOp::Max | MapOp::Abs => args.iter().all(|&arg| self.is_int(arg)),
                _ => false,
            },
            _ => false,
        }
    }

    /// Least proved upper bound of a linear form: directly, or after adding a multiple of a form that is at most 0.
    fn at_most(&self, form: &Linear) -> f64 {
        let direct = |form: &Linear| {
            let form = self.extents_out(form);
            form.terms.iter().fold(form.constant as f64, |sum, (&atom, &k)| {
                let range = match self.arena.get(atom) {
                    Expr::Var(_) | Expr::Extent(_) => self.node(atom),
                    _ => self.of(atom),
                };
                sum + range.times(RealRange::point(k as f64)).hi
            })
        };
        let mut best = direct(form);
        for fact in &self.below {
            for (&atom, &k) in &fact.terms {
                let Some(&wanted) = form.terms.get(&atom) else {
                    continue;
                };
                // form - c * fact >= form for c >= 0, as fact <= 0; c takes `atom` away
                if wanted % k == 0
                    && wanted / k > 0
                    && let Some(rest) = fact.scale(wanted / k).and_then(|f| form.sub(&f))
                {
                    best = best.min(direct(&rest));
                }
            }
        }
        best
    }

    /// An upper bound that replaces each coordinate with a positive factor by its largest value as a form: `m - M`
    /// becomes `-1`.
    fn extents_out(&self, form: &Linear) -> Linear {
        let mut bound = form.clone();
        for (&atom, &k) in &form.terms {
            let Expr::Var(var) = self.arena.get(atom) else {
                continue;
            };
            let Some(declared) = self.vars.get(var.index()) else {
                continue;
            };
            let extent = Linear::of(self.arena, declared.extent);
            let shared = extent
                .terms
                .keys()
                .any(|atom| form.terms.get(atom).is_some_and(|&c| c < 0));
            if k > 0 && shared {
                let (rest, _) = bound.without(atom);
                let last = extent.shift(-1).and_then(|last| last.scale(k));
                if let Some(next) = last.and_then(|last| rest.add(&last)) {
                    bound = next;
                }
            }
        }
        bound
    }
}
