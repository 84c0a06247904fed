//! Shapes: `--shape p=4096,h=8`, and the shapes that `verify` chooses when none is given.

use einloom_cascade::bind::bind;
use einloom_cascade::expr::{Expr, ExprId, MapOp, SymId};
use einloom_cascade::ir::Cascade;
use einloom_cascade::ops::Scalar;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Values by name as given on the command line: extents (by rank or by extent name), choices, scalars.
pub type Given = BTreeMap<String, String>;

/// Why a shape cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("`{0}` is not of the form name=value")]
    Form(String),
    #[error("`{name}` = `{value}` is no extent: a whole number from 0 to {max} is expected")]
    Number { name: String, value: String, max: i64 },
    #[error("`{name}` = `{value}` is no value of type {dtype}")]
    Scalar {
        name: String,
        value: String,
        dtype: &'static str,
    },
    #[error("no rank, choice or scalar is called `{name}`; known: {known}")]
    Unknown { name: String, known: String },
    #[error("`{0}` is given twice")]
    Repeated(String),
    #[error("the extent of `{name}` is given as {given}, and is {found} in the file")]
    File { name: String, given: String, found: usize },
    #[error("the extent of `{0}` is given twice, as a rank and as an extent")]
    Twice(String),
    #[error("no shape was found that the checks and promises of the spec allow; give one with --shape")]
    NoCase,
    #[error("{0}")]
    Bind(String),
    #[error("the inputs and outputs of this shape take {bytes} bytes; at most {limit} are allowed here")]
    TooLarge { bytes: u128, limit: u128 },
}

/// Largest extent that a shape may name.
pub const MAX_EXTENT: i64 = 1 << 40;

/// Parses `name=value,name=value`.
///
/// # Errors
/// A part without `=`; a name that is given twice.
pub fn parse(text: &str) -> Result<Given, ShapeError> {
    let mut given = Given::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| ShapeError::Form(part.to_owned()))?;
        let name = name.trim().to_owned();
        if given.insert(name.clone(), value.trim().to_owned()).is_some() {
            return Err(ShapeError::Repeated(name));
        }
    }
    Ok(given)
}

/// As [`symbols`], with defaults by the position of the symbol.
///
/// # Errors
/// As [`symbols`].
pub fn symbols_by(cascade: &Cascade, given: &Given, default: impl Fn(usize) -> i64) -> Result<Vec<i64>, ShapeError> {
    let position = |name: &str| cascade.symbols.iter().position(|s| s.name == name).unwrap_or(0);
    symbols(cascade, given, |name| default(position(name)))
}

/// Extents of all symbols (in the cascade's order) by the given values; the others take `default`.
///
/// # Errors
/// Names that the cascade does not have, values that are no extents.
pub fn symbols(cascade: &Cascade, given: &Given, default: impl Fn(&str) -> i64) -> Result<Vec<i64>, ShapeError> {
    let mut values: Vec<Option<i64>> = vec![None; cascade.symbols.len()];
    for (name, value) in given {
        let known = |s: &&str| *s == name;
        if cascade.choices.iter().any(|(n, _)| n == name) || cascade.scalars.iter().any(|s| s.name == *name) {
            continue;
        }
        let position = cascade
            .symbols
            .iter()
            .position(|s| known(&s.name.as_str()) || s.name.to_lowercase() == *name);
        let Some(i) = position else {
            return Err(ShapeError::Unknown {
                name: name.clone(),
                known: known_names(cascade),
            });
        };
        let number = value.parse::<i64>().ok().filter(|n| (0..=MAX_EXTENT).contains(n));
        let number = number.ok_or_else(|| ShapeError::Number {
            name: name.clone(),
            value: value.clone(),
            max: MAX_EXTENT,
        })?;
        if values[i].replace(number).is_some() {
            return Err(ShapeError::Twice(cascade.symbols[i].name.clone()));
        }
    }
    Ok(values
        .iter()
        .zip(&cascade.symbols)
        .map(|(v, s)| v.unwrap_or_else(|| default(&s.name)))
        .collect())
}

fn known_names(cascade: &Cascade) -> String {
    let ranks = cascade.symbols.iter().map(|s| s.name.to_lowercase());
    let choices = cascade.choices.iter().map(|(n, _)| n.clone());
    let scalars = cascade.scalars.iter().map(|s| s.name.clone());
    ranks.chain(choices).chain(scalars).collect::<Vec<_>>().join(", ")
}

/// Scalars given by name; `None` for those that are not.
///
/// # Errors
/// A value that is no number.
pub fn scalars(cascade: &Cascade, given: &Given) -> Result<Vec<Option<Scalar>>, ShapeError> {
    let one = |scalar: &einloom_cascade::ir::Scalar| {
        let Some(text) = given.get(&scalar.name) else {
            return Ok(None);
        };
        let bad = || ShapeError::Scalar {
            name: scalar.name.clone(),
            value: text.clone(),
            dtype: scalar.dtype.name(),
        };
        if scalar.dtype.is_real() {
            return text
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite())
                .map(|x| Some(Scalar::Real(x)))
                .ok_or_else(bad);
        }
        match text.as_str() {
            "true" => Ok(Some(Scalar::Bool(true))),
            "false" => Ok(Some(Scalar::Bool(false))),
            _ => {
                let range = scalar.dtype.int_range().unwrap_or((0, 1));
                let number = text.parse::<i64>().ok().filter(|n| (range.0..=range.1).contains(n));
                number.map(|n| Some(Scalar::Int(n))).ok_or_else(bad)
            }
        }
    };
    cascade.scalars.iter().map(one).collect()
}

/// Shapes of all inputs for given symbol values. Dimensions that depend on a scalar use its value in `scalars`, or its default.
///
/// # Errors
/// An extent that is negative, overflows, or depends on a scalar without a value.
pub fn input_shapes(
    cascade: &Cascade,
    symbols: &[i64],
    scalars: &[Option<Scalar>],
) -> Result<Vec<Vec<i64>>, ShapeError> {
    let shape = |input: &einloom_cascade::ir::Input| {
        let one = |dim: &einloom_cascade::ir::MemDim| {
            value(cascade, dim.extent, symbols, scalars)
                .filter(|n| *n >= 0)
                .ok_or_else(|| ShapeError::Bind(format!("the extent `{}` of `{}` has no value", dim.name, input.name)))
        };
        input.dims.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let shapes = cascade.inputs.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
    bind(cascade, &shapes, scalars).map_err(|e| ShapeError::Bind(e.to_string()))?;
    Ok(shapes)
}

fn value(cascade: &Cascade, expr: ExprId, symbols: &[i64], scalars: &[Option<Scalar>]) -> Option<i64> {
    match cascade.exprs.get(expr) {
        Expr::Int(n) => Some(*n),
        Expr::Extent(SymId(i)) => symbols.get(*i as usize).copied(),
        Expr::Scalar(i) => match scalars.get(i.index()).copied().flatten() {
            Some(scalar) => scalar.as_int(),
            None => cascade.scalars[i.index()].default.map(|x| x as i64),
        },
        Expr::Map(op, args) => {
            let args = args
                .iter()
                .map(|a| value(cascade, *a, symbols, scalars))
                .collect::<Option<Vec<_>>>()?;
            einloom_tile::interp::math::int(*op, &args)
        }
        _ => None,
    }
}

/// Scalars with 1 in place of those that are neither given nor have a default: enough to bind extents.
pub fn filled(cascade: &Cascade, scalars: &[Option<Scalar>]) -> Vec<Option<Scalar>> {
    let one = |info: &einloom_cascade::ir::Scalar| match info.dtype {
        einloom_cascade::expr::DType::Bool => Scalar::Bool(true),
        dtype if dtype.is_real() => Scalar::Real(1.0),
        _ => Scalar::Int(1),
    };
    let given = |i: usize| scalars.get(i).copied().flatten();
    cascade
        .scalars
        .iter()
        .enumerate()
        .map(|(i, info)| given(i).or_else(|| info.default.is_none().then(|| one(info))))
        .collect()
}

/// Bytes of all outputs.
pub fn output_bytes(cascade: &Cascade, shapes: &[Vec<i64>]) -> u128 {
    let one = |(output, shape): (&einloom_cascade::ir::Output, &Vec<i64>)| {
        let elements = shape.iter().map(|n| (*n).max(0) as u128);
        elements.fold(output.dtype.size() as u128, u128::saturating_mul)
    };
    cascade
        .outputs
        .iter()
        .zip(shapes)
        .map(one)
        .fold(0, u128::saturating_add)
}

/// Bytes of all inputs.
pub fn bytes(cascade: &Cascade, shapes: &[Vec<i64>]) -> u128 {
    let one = |(input, shape): (&einloom_cascade::ir::Input, &Vec<i64>)| {
        let elements = shape.iter().map(|n| (*n).max(0) as u128);
        elements.fold(input.dtype.size() as u128, u128::saturating_mul)
    };
    cascade.inputs.iter().zip(shapes).map(one).fold(0, u128::saturating_add)
}

/// Makes composite ranks of their parts: where a check says `M == C * 8`, `C` becomes what goes into `M`, and `M` the product.
fn fit_parts(cascade: &Cascade, case: &mut [i64], scalars: &[Option<Scalar>]) {
    for check in &cascade.checks {
        let Expr::Map(MapOp::Eq, sides) = cascade.exprs.get(check.cond) else {
            continue;
        };
        for (whole, product) in [(sides[0], sides[1]), (sides[1], sides[0])] {
            let Expr::Extent(SymId(whole)) = *cascade.exprs.get(whole) else {
                continue;
            };
            let (whole, Some(part)) = (whole as usize, first_symbol(cascade, product)) else {
                continue;
            };
            if part == whole {
                continue;
            }
            let wanted = case[whole];
            case[part] = 1;
            let others = value(cascade, product, case, scalars).filter(|n| *n > 0);
            let Some(others) = others else { continue };
            case[part] = (wanted / others).max(i64::from(wanted > 0));
            case[whole] = case[part] * others;
            break;
        }
    }
}

/// The first symbol of an extent.
fn first_symbol(cascade: &Cascade, expr: ExprId) -> Option<usize> {
    match cascade.exprs.get(expr) {
        Expr::Extent(SymId(i)) => Some(*i as usize),
        Expr::Map(_, args) => args.iter().find_map(|arg| first_symbol(cascade, *arg)),
        _ => None,
    }
}

/// Values of the long symbols, in turn.
const LONG: [[i64; 2]; 10] = [
    [64, 64],
    [130, 200],
    [1, 100],
    [67, 1],
    [200, 130],
    [128, 256],
    [33, 0],
    [257, 65],
    [96, 31],
    [1, 1],
];

/// Symbol values of the default cases of `verify`: extents that divide nothing, unequal lengths, one query, one key, no key.
/// `long` says which symbols are streamed or laid on tile rows; the others (batch, heads) are small. Cases that a
/// cascade's own checks or promises refuse are replaced by others; fewer come back if too many are refused. Where `streamed` ranks make up one long loop
/// (the rows and columns of an image), each takes that root of the long value.
pub fn default_cases(cascade: &Cascade, long: &[SymId], streamed: usize, seed: u64) -> Vec<Vec<i64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scalars = filled(cascade, &vec![None; cascade.scalars.len()]);
    // Promises on scalars that are drawn at random are kept by the draw.
    let unknown = vec![None; cascade.scalars.len()];
    let mut cases: Vec<Vec<i64>> = Vec::new();
    for pair in LONG {
        for attempt in 0..40 {
            let mut next = 0;
            let draw = |(i, _): (usize, &einloom_cascade::ir::Symbol)| {
                if long.contains(&SymId(i as u32)) {
                    next += 1;
                    // The first tries use the listed extents, later ones look for anything the checks allow.
                    let n = match attempt {
                        0..20 => pair[(next - 1) % 2],
                        20..34 => rng.random_range(1..100),
                        _ => 64 * rng.random_range(1..4),
                    };
                    (n as f64).powf(1.0 / streamed.max(1) as f64).ceil() as i64
                } else {
                    *[1, 2, 2, 3, 4, 4].choose(&mut rng).expect("the list is not empty")
                }
            };
            let mut case: Vec<i64> = cascade.symbols.iter().enumerate().map(draw).collect();
            let allowed = |case: &[i64]| {
                super::promises::extents_hold(cascade, case, &unknown) && input_shapes(cascade, case, &scalars).is_ok()
            };
            if !allowed(&case) {
                fit_parts(cascade, &mut case, &scalars);
            }
            if allowed(&case) && !cases.contains(&case) {
                cases.push(case);
                break;
            }
        }
    }
    cases
}
