//! Extent expressions: values, rounding, and every way to have no value.

use einloom_artifact::{DimEnv, DimExpr, EvalError};
use proptest::prelude::*;

fn eval(expr: &DimExpr) -> Result<u64, EvalError> {
    expr.eval(&DimEnv {
        extents: &[7, 0, u64::MAX],
        scalars: &[Some(-3), None],
    })
}

fn n(value: i64) -> DimExpr {
    DimExpr::Const(value)
}

#[test]
fn values() {
    let x = DimExpr::Extent(0);
    assert_eq!(eval(&(x.clone() + 1)), Ok(8));
    assert_eq!(eval(&(x.clone() - 9).max(0)), Ok(0));
    assert_eq!(eval(&x.clone().ceil_div(4)), Ok(2));
    assert_eq!(eval(&(x.clone() / 4)), Ok(1));
    assert_eq!(eval(&(x.clone() % 4)), Ok(3));
    assert_eq!(eval(&x.min(4)), Ok(4));
    assert_eq!(eval(&DimExpr::Extent(1).ceil_div(4)), Ok(0));
    assert_eq!(eval(&(DimExpr::Scalar(0) % 5)), Ok(2));
    assert_eq!(eval(&(DimExpr::Scalar(0) / 2 + 2)), Ok(0));
    assert_eq!(eval(&(DimExpr::Scalar(0).ceil_div(2) + 1)), Ok(0));
}

#[test]
fn refusals() {
    assert_eq!(eval(&n(-1)), Err(EvalError::Negative(-1)));
    assert_eq!(
        eval(&(DimExpr::Extent(0) / DimExpr::Extent(1)))
            .unwrap_err()
            .to_string(),
        "quotient of 7 by 0: the divisor must be positive"
    );
    assert_eq!(
        eval(&(n(7) % -2)).unwrap_err().to_string(),
        "remainder of 7 by -2: the divisor must be positive"
    );
    assert_eq!(
        eval(&(n(i64::MAX) + 1)).unwrap_err().to_string(),
        "sum of 9223372036854775807 and 1 leaves the 64-bit range"
    );
    assert_eq!(
        eval(&(n(i64::MIN) - 1)).unwrap_err().to_string(),
        "difference of -9223372036854775808 and 1 leaves the 64-bit range"
    );
    assert_eq!(
        eval(&(n(1 << 32) * (1 << 31))).unwrap_err().to_string(),
        "product of 4294967296 and 2147483648 leaves the 64-bit range"
    );
    assert_eq!(eval(&DimExpr::Extent(2)), Err(EvalError::ExtentRange(u64::MAX)));
    assert_eq!(eval(&DimExpr::Extent(3)), Err(EvalError::UnknownExtent(3)));
    assert_eq!(eval(&DimExpr::Scalar(1)), Err(EvalError::UnknownScalar(1)));
    assert_eq!(eval(&DimExpr::Scalar(2)), Err(EvalError::UnknownScalar(2)));
}

#[test]
fn display_uses_names() {
    let expr = (DimExpr::Extent(0) - DimExpr::Scalar(0)).max(0).ceil_div(128) * DimExpr::Extent(9);
    assert_eq!(
        expr.display(&["P".into()], &["w".into()]).to_string(),
        "ceil(max((P - w), 0) / 128) * #9"
    );
}

fn any_expr() -> impl Strategy<Value = DimExpr> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(DimExpr::Const),
        (-9i64..9).prop_map(DimExpr::Const),
        (0usize..4).prop_map(DimExpr::Extent),
        (0usize..3).prop_map(DimExpr::Scalar),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        (0u8..8, inner.clone(), inner).prop_map(|(op, a, b)| match op {
            0 => a + b,
            1 => a - b,
            2 => a * b,
            3 => a / b,
            4 => a % b,
            5 => a.ceil_div(b),
            6 => a.max(b),
            _ => a.min(b),
        })
    })
}

/// The same in 128 bits, where no step of two 64-bit values overflows; `None` where a step has no 64-bit value.
fn wide(expr: &DimExpr, extents: &[u64], scalars: &[Option<i64>]) -> Option<i128> {
    let two = |a: &DimExpr, b: &DimExpr| Some((wide(a, extents, scalars)?, wide(b, extents, scalars)?));
    let floor = |a: i128, b: i128| (b > 0).then(|| a.div_euclid(b));
    let value = match expr {
        DimExpr::Const(v) => i128::from(*v),
        DimExpr::Extent(i) => i128::from(*extents.get(*i)?),
        DimExpr::Scalar(i) => i128::from((*scalars.get(*i)?)?),
        DimExpr::Add(a, b) => two(a, b).map(|(a, b)| a + b)?,
        DimExpr::Sub(a, b) => two(a, b).map(|(a, b)| a - b)?,
        DimExpr::Mul(a, b) => two(a, b).map(|(a, b)| a * b)?,
        DimExpr::Div(a, b) => two(a, b).and_then(|(a, b)| floor(a, b))?,
        DimExpr::CeilDiv(a, b) => two(a, b).and_then(|(a, b)| Some(-floor(-a, b)?))?,
        DimExpr::Mod(a, b) => two(a, b).and_then(|(a, b)| Some(a - b * floor(a, b)?))?,
        DimExpr::Max(a, b) => two(a, b).map(|(a, b)| a.max(b))?,
        DimExpr::Min(a, b) => two(a, b).map(|(a, b)| a.min(b))?,
    };
    i64::try_from(value).ok().map(i128::from)
}

proptest! {
    #[test]
    fn agrees_with_wide_arithmetic(expr in any_expr(), a in any::<u64>(), b in 0u64..100, s in any::<i64>()) {
        let (extents, scalars) = ([a, b, 3], [Some(s), None]);
        let expected = wide(&expr, &extents, &scalars).and_then(|v| u64::try_from(v).ok());
        prop_assert_eq!(expr.eval(&DimEnv { extents: &extents, scalars: &scalars }).ok(), expected);
    }
}
