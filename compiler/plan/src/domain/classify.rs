//! Interval evaluation of conditions over a box: never, sometimes or always (calculus section 7).

use super::interval::Interval;
use super::linear::Linear;
use super::mention::{self, Sort};
use einloom_cascade::expr::{Arena, Expr, ExprId, MapOp};

/// What a condition does over a box of coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// False at every point.
    Never,
    /// Not known to be either.
    Sometimes,
    /// True at every point.
    Always,
}

impl Class {
    fn not(self) -> Class {
        match self {
            Class::Never => Class::Always,
            Class::Sometimes => Class::Sometimes,
            Class::Always => Class::Never,
        }
    }
}

/// Class of the conjunction `conds`. `known` gives the interval of a variable, extent, int scalar, int input element or
/// leaf (`None`: unknown).
pub fn classify(arena: &Arena, conds: &[ExprId], known: &dyn Fn(ExprId) -> Option<Interval>) -> Class {
    Classifier {
        arena,
        known,
        wraps: false,
    }
    .conjunction(conds)
}

/// As [`classify`] with nothing known, for ints of 32 bits that wrap around: what holds on a device whatever its inputs are, that of `abs` of the least
/// int for instance.
pub fn classify_wrapping(arena: &Arena, conds: &[ExprId]) -> Class {
    Classifier {
        arena,
        known: &|_| None,
        wraps: true,
    }
    .conjunction(conds)
}

/// Ints of 32 bits.
const INTS: Interval = Interval {
    lo: i32::MIN as i64,
    hi: i32::MAX as i64,
};

struct Classifier<'a> {
    arena: &'a Arena,
    known: &'a dyn Fn(ExprId) -> Option<Interval>,
    wraps: bool,
}

impl Classifier<'_> {
    fn conjunction(&self, conds: &[ExprId]) -> Class {
        // A later condition may be meaningless where an earlier one is false; false wins anyway.
        conds
            .iter()
            .map(|&cond| self.class(cond))
            .min()
            .unwrap_or(Class::Always)
    }

    /// What is left of an interval: anything, if its ends lie outside of ints that wrap around.
    fn wrapped(&self, exact: Interval) -> Interval {
        let fits = INTS.lo <= exact.lo && exact.hi <= INTS.hi;
        if self.wraps && !fits { INTS } else { exact }
    }

    fn class(&self, id: ExprId) -> Class {
        match self.arena.get(id) {
            Expr::Bool(true) => Class::Always,
            Expr::Bool(false) => Class::Never,
            Expr::Map(op, args) => self.map(*op, args),
            Expr::Select([c, a, b]) => match self.class(*c) {
                Class::Always => self.class(*a),
                Class::Never => self.class(*b),
                Class::Sometimes => match (self.class(*a), self.class(*b)) {
                    (a, b) if a == b => a,
                    _ => Class::Sometimes,
                },
            },
            _ => Class::Sometimes,
        }
    }

    fn map(&self, op: MapOp, args: &[ExprId]) -> Class {
        match op {
            MapOp::And => self.class(args[0]).min(self.class(args[1])),
            MapOp::Or => self.class(args[0]).max(self.class(args[1])),
            MapOp::Not => self.class(args[0]).not(),
            MapOp::Lt | MapOp::Le | MapOp::Eq | MapOp::Ne => self.comparison(op, args),
            _ => Class::Sometimes,
        }
    }

    fn same(&self, a: Class, b: Class) -> Class {
        match (a, b) {
            (Class::Sometimes, _) | (_, Class::Sometimes) => Class::Sometimes,
            _ if a == b => Class::Always,
            _ => Class::Never,
        }
    }

    fn comparison(&self, op: MapOp, args: &[ExprId]) -> Class {
        if mention::kind(self.arena, args[0]) == Some(Sort::Bool) {
            let same = self.same(self.class(args[0]), self.class(args[1]));
            return if op == MapOp::Ne { same.not() } else { same };
        }
        match mention::int_operands(self.arena, args) {
            Some((left, right)) => self.compare(op, left, right),
            // the kind of an input's element does not show here, but only ints are ever known
            None if args.iter().any(|&arg| (self.known)(arg).is_some()) => self.compare(op, args[0], args[1]),
            None => Class::Sometimes,
        }
    }

    fn compare(&self, op: MapOp, left: ExprId, right: ExprId) -> Class {
        let (left, right) = (Linear::of(self.arena, left), Linear::of(self.arena, right));
        // Sums wrap around as a whole: what fits in the end is what it would be without.
        let fits = |form: &Linear| self.wrapped(self.linear(form)) == self.linear(form);
        if !fits(&left) || !fits(&right) {
            return Class::Sometimes;
        }
        let difference = match left.sub(&right) {
            Some(form) => self.linear(&form),
            None => return Class::Sometimes,
        };
        let Interval { lo, hi } = difference;
        match op {
            MapOp::Lt => class_of(hi < 0, lo >= 0),
            MapOp::Le => class_of(hi <= 0, lo > 0),
            MapOp::Eq => class_of(lo == 0 && hi == 0, lo > 0 || hi < 0),
            _ => class_of(lo > 0 || hi < 0, lo == 0 && hi == 0),
        }
    }

    fn linear(&self, form: &Linear) -> Interval {
        form.terms
            .iter()
            .fold(Interval::point(form.constant), |sum, (&atom, &k)| {
                sum.add(self.atom(atom).mul(Interval::point(k)))
            })
    }

    fn value(&self, id: ExprId) -> Interval {
        self.wrapped(self.linear(&Linear::of(self.arena, id)))
    }

    fn atom(&self, id: ExprId) -> Interval {
        self.wrapped(self.exact_atom(id))
    }

    fn exact_atom(&self, id: ExprId) -> Interval {
        match self.arena.get(id) {
            Expr::Map(op, args) => self.atom_map(*op, args),
            Expr::Select([c, a, b]) => match self.class(*c) {
                Class::Always => self.value(*a),
                Class::Never => self.value(*b),
                Class::Sometimes => self.value(*a).hull(self.value(*b)),
            },
            Expr::Int(value) => Interval::point(*value),
            _ => (self.known)(id).unwrap_or(Interval::ALL),
        }
    }

    fn atom_map(&self, op: MapOp, args: &[ExprId]) -> Interval {
        let arg = |i: usize| self.value(args[i]);
        match op {
            MapOp::Add => arg(0).add(arg(1)),
            MapOp::Sub => arg(0).add(arg(1).neg()),
            MapOp::Neg => arg(0).neg(),
            MapOp::Mul => arg(0).mul(arg(1)),
            MapOp::IDiv => arg(0).idiv(arg(1)),
            MapOp::IMod => arg(0).imod(arg(1)),
            MapOp::Min => arg(0).min(arg(1)),
            MapOp::Max => arg(0).max(arg(1)),
            MapOp::Abs => arg(0).abs(),
            MapOp::Sign => {
                let Interval { lo, hi } = arg(0);
                Interval::new(lo.signum(), hi.signum())
            }
            MapOp::BoolToInt => match self.class(args[0]) {
                Class::Never => Interval::point(0),
                Class::Always => Interval::point(1),
                Class::Sometimes => Interval::new(0, 1),
            },
            MapOp::Popcount => Interval::new(0, 64),
            MapOp::BitAnd => {
                let (a, b) = (arg(0), arg(1));
                match (a.lo >= 0, b.lo >= 0) {
                    (true, true) => Interval::new(0, a.hi.min(b.hi)),
                    (true, false) => Interval::new(0, a.hi),
                    (false, true) => Interval::new(0, b.hi),
                    _ => Interval::ALL,
                }
            }
            _ => Interval::ALL,
        }
    }
}

fn class_of(always: bool, never: bool) -> Class {
    match (always, never) {
        (true, _) => Class::Always,
        (_, true) => Class::Never,
        _ => Class::Sometimes,
    }
}
