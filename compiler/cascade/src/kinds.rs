//! Kinds of all expressions of a cascade, and the one check of arities and kinds.

use crate::expr::{Expr, ExprId, Kind, ReduceOp};
use crate::ir::Cascade;
use crate::ops;

/// An expression that no cascade may hold: a fault of whoever built it, not of the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed cascade: {0}")]
pub struct Malformed(pub String);

/// Kind of each expression that is reachable from definitions, outputs, extents, checks and assumes; `None` for the
/// rest (and for [`Expr::Leaf`], which belongs to later levels).
#[derive(Clone, Debug, Default)]
pub struct Kinds(Vec<Option<Kind>>);

impl Kinds {
    /// Kind of a reachable expression.
    pub fn get(&self, id: ExprId) -> Option<Kind> {
        self.0.get(id.index()).copied().flatten()
    }
}

/// Infers and checks the kinds of a cascade.
pub fn kinds(cascade: &Cascade) -> Result<Kinds, Malformed> {
    let mut kinds = Kinds(vec![None; cascade.exprs.len()]);
    for var in &cascade.vars {
        visit(cascade, &mut kinds, var.extent, 0, Some(Kind::Int))?;
    }
    for dims in cascade
        .inputs
        .iter()
        .map(|input| &input.dims)
        .chain(cascade.outputs.iter().map(|out| &out.dims))
    {
        for dim in dims {
            visit(cascade, &mut kinds, dim.extent, 0, Some(Kind::Int))?;
        }
    }
    for check in &cascade.checks {
        visit(cascade, &mut kinds, check.cond, 0, Some(Kind::Bool))?;
    }
    for (at, def) in cascade.defs.iter().enumerate() {
        for cond in &def.conds {
            visit(cascade, &mut kinds, *cond, at, Some(Kind::Bool))?;
        }
        visit(cascade, &mut kinds, def.body, at, None)?;
    }
    let all = cascade.defs.len();
    for output in &cascade.outputs {
        if output.def.index() >= all || output.places.len() != output.dims.len() {
            return Err(Malformed(format!(
                "output `{}` has no definition or too few places",
                output.name
            )));
        }
        for place in &output.places {
            visit(cascade, &mut kinds, *place, all, Some(Kind::Int))?;
        }
    }
    for assume in &cascade.assumes {
        visit(cascade, &mut kinds, *assume, all, Some(Kind::Bool))?;
    }
    Ok(kinds)
}

/// Fills in the kinds below `root`; definitions below number `defs` may be read.
fn visit(
    cascade: &Cascade,
    kinds: &mut Kinds,
    root: ExprId,
    defs: usize,
    wanted: Option<Kind>,
) -> Result<(), Malformed> {
    // Children have smaller ids, so ascending order is bottom-up; the stack keeps only what is missing.
    let mut stack = vec![root];
    while let Some(&id) = stack.last() {
        if kinds.0[id.index()].is_some() {
            stack.pop();
            continue;
        }
        let missing: Vec<ExprId> = cascade
            .exprs
            .children(id)
            .into_iter()
            .filter(|child| kinds.0[child.index()].is_none())
            .collect();
        if missing.is_empty() {
            kinds.0[id.index()] = Some(kind_of(cascade, kinds, id, defs)?);
            stack.pop();
        } else {
            stack.extend(missing);
        }
    }
    match wanted {
        Some(kind) if kinds.get(root) != Some(kind) => Err(Malformed(format!(
            "expression {} should be {kind:?}, it is {:?}",
            root.0,
            kinds.get(root)
        ))),
        _ => Ok(()),
    }
}

fn kind_of(cascade: &Cascade, kinds: &Kinds, id: ExprId, defs: usize) -> Result<Kind, Malformed> {
    let bad = |what: &str| Malformed(format!("{what} in {:?}", cascade.exprs.get(id)));
    let of = |child: ExprId| kinds.get(child).ok_or_else(|| bad("unknown kind"));
    let dtype_kind = |dtype: crate::expr::DType| match dtype {
        crate::expr::DType::Bool => Kind::Bool,
        dtype if dtype.is_real() => Kind::Real,
        _ => Kind::Int,
    };
    let indices = |list: &[ExprId], expected: usize| -> Result<(), Malformed> {
        if list.len() != expected {
            return Err(bad("wrong number of indices"));
        }
        for index in list {
            if of(*index)? != Kind::Int {
                return Err(bad("index that is not an int"));
            }
        }
        Ok(())
    };
    match cascade.exprs.get(id) {
        Expr::Real(_) => Ok(Kind::Real),
        Expr::Int(_) => Ok(Kind::Int),
        Expr::Bool(_) => Ok(Kind::Bool),
        Expr::Var(var) if var.index() < cascade.vars.len() => Ok(Kind::Int),
        Expr::Extent(sym) if sym.index() < cascade.symbols.len() => Ok(Kind::Int),
        Expr::Var(_) | Expr::Extent(_) => Err(bad("unknown variable")),
        Expr::Scalar(scalar) => cascade
            .scalars
            .get(scalar.index())
            .map(|scalar| dtype_kind(scalar.dtype))
            .ok_or_else(|| bad("unknown scalar")),
        Expr::Input(input, list) => {
            let input = cascade.inputs.get(input.index()).ok_or_else(|| bad("unknown input"))?;
            indices(list, input.dims.len())?;
            Ok(dtype_kind(input.dtype))
        }
        Expr::Def(def, list) => {
            let target = cascade
                .defs
                .get(def.index())
                .filter(|_| def.index() < defs)
                .ok_or_else(|| bad("definition that is not earlier"))?;
            indices(list, target.dims.len())?;
            of(target.body)
        }
        Expr::Leaf(..) => Err(bad("leaf of a later level")),
        Expr::Map(op, args) => {
            let args: Result<Vec<Kind>, Malformed> = args.iter().map(|arg| of(*arg)).collect();
            ops::result_kind(*op, &args?).ok_or_else(|| bad("arguments of the wrong kind"))
        }
        Expr::Select([cond, then, otherwise]) => {
            if of(*cond)? != Kind::Bool || of(*then)? != of(*otherwise)? {
                return Err(bad("wrong kinds"));
            }
            of(*then)
        }
        Expr::Reduce(reduce) => {
            for cond in &reduce.conds {
                if of(*cond)? != Kind::Bool {
                    return Err(bad("condition that is not a bool"));
                }
            }
            let body = of(reduce.body)?;
            match reduce.op {
                ReduceOp::Any | ReduceOp::All if body == Kind::Bool => Ok(Kind::Bool),
                ReduceOp::ArgMax | ReduceOp::ArgMin if body != Kind::Bool => Ok(Kind::Int),
                ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min if body != Kind::Bool => Ok(body),
                _ => Err(bad("body of the wrong kind")),
            }
        }
    }
}
