//! Facts about expressions that the lowering asks for: free variables, constants.

use einloom_cascade::expr::{Arena, DType, Expr, ExprId, MapOp, VarId};
use einloom_cascade::ir::Var;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Free variables of expressions, kept.
#[derive(Default)]
pub(crate) struct FreeVars {
    known: BTreeMap<ExprId, Rc<BTreeSet<VarId>>>,
}

impl FreeVars {
    pub(crate) fn of(&mut self, arena: &Arena, id: ExprId) -> Rc<BTreeSet<VarId>> {
        if let Some(found) = self.known.get(&id) {
            return found.clone();
        }
        let mut vars = BTreeSet::new();
        if let Expr::Var(v) = arena.get(id) {
            vars.insert(*v);
        }
        for child in arena.children(id) {
            vars.extend(self.of(arena, child).iter().copied());
        }
        if let Expr::Reduce(r) = arena.get(id) {
            for v in &r.vars {
                vars.remove(v);
            }
        }
        let vars = Rc::new(vars);
        self.known.insert(id, vars.clone());
        vars
    }
}

/// The int that an expression is for every shape, if it is one.
pub(crate) fn const_int(arena: &Arena, id: ExprId) -> Option<i64> {
    match arena.get(id) {
        Expr::Int(i) => Some(*i),
        Expr::Map(op, args) => {
            let args: Vec<i64> = args.iter().map(|&a| const_int(arena, a)).collect::<Option<_>>()?;
            match (op, args.as_slice()) {
                (MapOp::Add, [a, b]) => a.checked_add(*b),
                (MapOp::Sub, [a, b]) => a.checked_sub(*b),
                (MapOp::Mul, [a, b]) => a.checked_mul(*b),
                (MapOp::IDiv, [a, b]) if *b > 0 => Some(a.div_euclid(*b)),
                (MapOp::IMod, [a, b]) if *b > 0 => Some(a.rem_euclid(*b)),
                (MapOp::Neg, [a]) => a.checked_neg(),
                (MapOp::Min, [a, b]) => Some(*a.min(b)),
                (MapOp::Max, [a, b]) => Some(*a.max(b)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The real that an expression is for every shape, if it is one.
pub(crate) fn const_real(arena: &Arena, id: ExprId) -> Option<f64> {
    match arena.get(id) {
        Expr::Real(bits) => Some(f64::from_bits(*bits)),
        Expr::Map(MapOp::ToReal, args) => const_int(arena, args[0]).map(|i| i as f64),
        Expr::Map(op, args) => {
            let args: Vec<f64> = args.iter().map(|&a| const_real(arena, a)).collect::<Option<_>>()?;
            match (op, args.as_slice()) {
                (MapOp::Add, [a, b]) => Some(a + b),
                (MapOp::Sub, [a, b]) => Some(a - b),
                (MapOp::Mul, [a, b]) => Some(a * b),
                (MapOp::Div, [a, b]) => Some(a / b),
                (MapOp::Pow, [a, b]) => Some(a.powf(*b)),
                (MapOp::Neg, [a]) => Some(-a),
                (MapOp::Sqrt, [a]) => Some(a.sqrt()),
                (MapOp::Rsqrt, [a]) => Some(1.0 / a.sqrt()),
                (MapOp::Log, [a]) => Some(a.ln()),
                (MapOp::Log2, [a]) => Some(a.log2()),
                (MapOp::Exp, [a]) => Some(a.exp()),
                (MapOp::Exp2, [a]) => Some(a.exp2()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Number of coordinates of a variable, if it is a compile-time choice.
pub(crate) fn const_extent(arena: &Arena, vars: &[Var], var: VarId) -> Option<i64> {
    vars.get(var.index()).and_then(|v| const_int(arena, v.extent))
}

/// Whether a storage type is one of the two 16-bit reals.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}
