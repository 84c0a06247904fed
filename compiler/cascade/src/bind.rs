//! Binding: from shapes and scalars of one call to the extents of every iteration variable.

use crate::expr::{Expr, ExprId, MapOp, SymId};
use crate::ir::Cascade;
use crate::ops::{self, MathError, Scalar};

/// Values of everything that is fixed for one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Extents {
    /// One for each `Cascade::symbols`.
    pub symbols: Vec<i64>,
    /// One for each `Cascade::scalars`.
    pub scalars: Vec<Scalar>,
    /// Extent of each `Cascade::vars`; negative extents are 0.
    pub vars: Vec<i64>,
    /// Memory extents of each `Cascade::outputs`.
    pub outputs: Vec<Vec<i64>>,
}

/// Why arguments do not fit a cascade.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BindError {
    #[error("{expected} input tensors expected, {found} given")]
    InputCount { expected: usize, found: usize },
    #[error("input `{input}` has {expected} dimensions, {found} given")]
    Rank {
        input: String,
        expected: usize,
        found: usize,
    },
    #[error(
        "dimension {dim} of `{input}` is {found}, but `{symbol}` is {expected} by dimension {other_dim} of `{other}`"
    )]
    Disagree {
        input: String,
        dim: usize,
        found: i64,
        symbol: String,
        expected: i64,
        other: String,
        other_dim: usize,
    },
    #[error("dimension {dim} of `{input}` (`{name}`) is {found}, expected {expected}")]
    Dimension {
        input: String,
        dim: usize,
        name: String,
        found: i64,
        expected: i64,
    },
    #[error("scalar `{0}` has no value and no default")]
    MissingScalar(String),
    #[error("scalar `{name}` of type {dtype} does not take {value:?}")]
    ScalarKind {
        name: String,
        dtype: &'static str,
        value: Scalar,
    },
    #[error("{0}")]
    Check(String),
    #[error("the extent of `{name}`: {reason}")]
    Extent { name: String, reason: ScalarError },
    #[error("a check has no value: {0}")]
    CheckValue(ScalarError),
}

/// Why an expression of extents and scalars has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    #[error(transparent)]
    Math(#[from] MathError),
    #[error("not an expression of extents and scalars alone")]
    NotScalar,
    #[error("not an int")]
    NotInt,
    #[error("nested too deeply")]
    TooDeep,
}

/// Extents from the shapes of all inputs and the scalars (`None`, or a missing entry, takes the default). All sources
/// of a symbol must agree, every dimension must have its extent, every check must hold. Extents of 0 are legal.
pub fn bind(cascade: &Cascade, shapes: &[Vec<i64>], scalars: &[Option<Scalar>]) -> Result<Extents, BindError> {
    if shapes.len() != cascade.inputs.len() {
        return Err(BindError::InputCount {
            expected: cascade.inputs.len(),
            found: shapes.len(),
        });
    }
    for (input, shape) in cascade.inputs.iter().zip(shapes) {
        if input.dims.len() != shape.len() {
            return Err(BindError::Rank {
                input: input.name.clone(),
                expected: input.dims.len(),
                found: shape.len(),
            });
        }
    }
    let scalars = bind_scalars(cascade, scalars)?;
    let symbols = bind_symbols(cascade, shapes)?;
    let context = Context {
        cascade,
        symbols: &symbols,
        scalars: &scalars,
    };
    let extent = |name: &str, id| {
        context.int(id).map_err(|reason| BindError::Extent {
            name: name.to_string(),
            reason,
        })
    };
    for (input, shape) in cascade.inputs.iter().zip(shapes) {
        for (at, (dim, &found)) in input.dims.iter().zip(shape).enumerate() {
            let expected = extent(&dim.name, dim.extent)?.max(0);
            if expected != found {
                return Err(BindError::Dimension {
                    input: input.name.clone(),
                    dim: at + 1,
                    name: dim.name.clone(),
                    found,
                    expected,
                });
            }
        }
    }
    for check in &cascade.checks {
        match context.scalar(check.cond, 0).map_err(BindError::CheckValue)? {
            Scalar::Bool(true) => {}
            _ => return Err(BindError::Check(context.explain(check.cond, &check.message))),
        }
    }
    let mut vars = Vec::with_capacity(cascade.vars.len());
    for var in &cascade.vars {
        vars.push(extent(&var.name, var.extent)?.max(0));
    }
    let mut outputs = Vec::with_capacity(cascade.outputs.len());
    for output in &cascade.outputs {
        let dims: Result<Vec<i64>, BindError> = output
            .dims
            .iter()
            .map(|dim| Ok(extent(&dim.name, dim.extent)?.max(0)))
            .collect();
        outputs.push(dims?);
    }
    Ok(Extents {
        symbols,
        scalars,
        vars,
        outputs,
    })
}

fn bind_scalars(cascade: &Cascade, given: &[Option<Scalar>]) -> Result<Vec<Scalar>, BindError> {
    let mut list = Vec::with_capacity(cascade.scalars.len());
    for (at, scalar) in cascade.scalars.iter().enumerate() {
        let value = match given.get(at).copied().flatten() {
            Some(value) => value,
            None => Scalar::Real(
                scalar
                    .default
                    .ok_or_else(|| BindError::MissingScalar(scalar.name.clone()))?,
            ),
        };
        let wanted = if scalar.dtype.is_real() {
            Some(Scalar::Real(value.as_real()))
        } else if scalar.dtype == crate::expr::DType::Bool {
            Some(Scalar::Bool(value.as_real() != 0.0))
        } else {
            match value {
                Scalar::Int(x) => Some(x),
                Scalar::Real(x) if x == x.trunc() && x.abs() < 9e18 => Some(x as i64),
                _ => None,
            }
            .filter(|x| {
                let (low, high) = scalar.dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
                (low..=high).contains(x)
            })
            .map(Scalar::Int)
        };
        list.push(wanted.ok_or_else(|| BindError::ScalarKind {
            name: scalar.name.clone(),
            dtype: scalar.dtype.name(),
            value,
        })?);
    }
    Ok(list)
}

fn bind_symbols(cascade: &Cascade, shapes: &[Vec<i64>]) -> Result<Vec<i64>, BindError> {
    let mut symbols = Vec::with_capacity(cascade.symbols.len());
    for symbol in &cascade.symbols {
        let size =
            |(input, dim): (crate::expr::InputId, usize)| shapes.get(input.index()).and_then(|s| s.get(dim)).copied();
        let first = symbol.sources.first().copied();
        let Some((first, expected)) = first.and_then(|source| size(source).map(|n| (source, n))) else {
            symbols.push(0);
            continue;
        };
        for &source in &symbol.sources {
            let found = size(source).unwrap_or(expected);
            if found != expected {
                return Err(BindError::Disagree {
                    input: cascade.inputs[source.0.index()].name.clone(),
                    dim: source.1 + 1,
                    found,
                    symbol: symbol.name.clone(),
                    expected,
                    other: cascade.inputs[first.0.index()].name.clone(),
                    other_dim: first.1 + 1,
                });
            }
        }
        symbols.push(expected);
    }
    Ok(symbols)
}

/// Evaluates expressions of extents and scalars.
pub(crate) struct Context<'a> {
    pub(crate) cascade: &'a Cascade,
    pub(crate) symbols: &'a [i64],
    pub(crate) scalars: &'a [Scalar],
}

impl Context<'_> {
    /// The message of a failed check, with the two sides of an equality.
    fn explain(&self, cond: ExprId, message: &str) -> String {
        if let Expr::Map(MapOp::Eq, sides) = self.cascade.exprs.get(cond)
            && let (Ok(left), Ok(right)) = (self.int(sides[0]), self.int(sides[1]))
        {
            return format!("{message}: {left} is not {right}");
        }
        message.to_string()
    }

    pub(crate) fn int(&self, id: ExprId) -> Result<i64, ScalarError> {
        self.scalar(id, 0)?.as_int().ok_or(ScalarError::NotInt)
    }

    pub(crate) fn scalar(&self, id: ExprId, depth: usize) -> Result<Scalar, ScalarError> {
        if depth > 500 {
            return Err(ScalarError::TooDeep);
        }
        match self.cascade.exprs.get(id) {
            Expr::Real(bits) => Ok(Scalar::Real(f64::from_bits(*bits))),
            Expr::Int(x) => Ok(Scalar::Int(*x)),
            Expr::Bool(x) => Ok(Scalar::Bool(*x)),
            Expr::Extent(SymId(at)) => self
                .symbols
                .get(*at as usize)
                .map(|x| Scalar::Int(*x))
                .ok_or(ScalarError::NotScalar),
            Expr::Scalar(at) => self.scalars.get(at.index()).copied().ok_or(ScalarError::NotScalar),
            Expr::Map(op @ (MapOp::And | MapOp::Or), args) => {
                let stop = Scalar::Bool(*op == MapOp::Or);
                let (first, second) = (args[0], args[1]);
                let value = self.scalar(first, depth + 1)?;
                if value == stop {
                    Ok(value)
                } else {
                    self.scalar(second, depth + 1)
                }
            }
            Expr::Map(op, args) => {
                let args: Result<Vec<Scalar>, ScalarError> =
                    args.iter().map(|arg| self.scalar(*arg, depth + 1)).collect();
                Ok(ops::apply(*op, &args?)?)
            }
            Expr::Select([cond, then, otherwise]) => match self.scalar(*cond, depth + 1)? {
                Scalar::Bool(true) => self.scalar(*then, depth + 1),
                _ => self.scalar(*otherwise, depth + 1),
            },
            Expr::Var(_) | Expr::Input(..) | Expr::Def(..) | Expr::Leaf(..) | Expr::Reduce(_) => {
                Err(ScalarError::NotScalar)
            }
        }
    }
}
