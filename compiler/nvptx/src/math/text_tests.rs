//! The text of each formula, executed line by line, against the formula itself: the same bits.

use super::functions;
use super::tests::Host;
use super::text;
use einloom_cascade::expr::MapOp;
use std::collections::BTreeMap;

/// Registers by name, as bits.
type Registers = BTreeMap<String, u64>;

fn operand(registers: &Registers, name: &str) -> u64 {
    if let Some(bits) = name.strip_prefix("0f").or_else(|| name.strip_prefix("0d")) {
        return u64::from_str_radix(bits, 16).expect("a constant should have hexadecimal digits");
    }
    match name.parse::<i32>() {
        Ok(int) => u64::from(int as u32),
        Err(_) => *registers
            .get(name)
            .unwrap_or_else(|| panic!("{name} should be defined")),
    }
}

fn execute(op: &str, x: &[u64]) -> u64 {
    let f = |i: usize| f32::from_bits(x[i] as u32);
    let d = |i: usize| f64::from_bits(x[i]);
    let i = |n: usize| x[n] as u32 as i32;
    let real = |value: f32| u64::from(value.to_bits());
    let wide = |value: f64| value.to_bits();
    let int = |value: i32| u64::from(value as u32);
    let nan = |value: f32| {
        if f(0).is_nan() || f(1).is_nan() {
            f32::NAN
        } else {
            value
        }
    };
    match op {
        "mov.b32" => x[0],
        "add.rn.f32" => real(f(0) + f(1)),
        "sub.rn.f32" => real(f(0) - f(1)),
        "mul.rn.f32" => real(f(0) * f(1)),
        "div.rn.f32" => real(f(0) / f(1)),
        "fma.rn.f32" => real(f(0).mul_add(f(1), f(2))),
        "sqrt.rn.f32" => real(f(0).sqrt()),
        "abs.f32" => real(f(0).abs()),
        "neg.f32" => real(-f(0)),
        "max.NaN.f32" => real(nan(f(0).max(f(1)))),
        "min.NaN.f32" => real(nan(f(0).min(f(1)))),
        "setp.lt.f32" => u64::from(f(0) < f(1)),
        "setp.eq.f32" => u64::from(f(0) == f(1)),
        "setp.ne.s32" => u64::from(i(0) != i(1)),
        "setp.lt.s32" => u64::from(i(0) < i(1)),
        "and.pred" | "and.b32" => x[0] & x[1],
        "or.b32" => x[0] | x[1],
        "xor.b32" => x[0] ^ x[1],
        "selp.f32" | "selp.b32" | "selp.f64" => x[usize::from(x[2] == 0)],
        "add.s32" => int(i(0).wrapping_add(i(1))),
        "sub.s32" => int(i(0).wrapping_sub(i(1))),
        "shl.b32" => int(i(0) << i(1)),
        "shr.s32" => int(i(0) >> i(1)),
        "cvt.rn.f32.s32" => real(i(0) as f32),
        "cvt.f64.f32" => wide(f64::from(f(0))),
        "cvt.rn.f32.f64" => real(d(0) as f32),
        "cvt.rn.f64.s32" => wide(f64::from(i(0))),
        "cvt.u32.u64" => x[0] & 0xffff_ffff,
        "add.rn.f64" => wide(d(0) + d(1)),
        "sub.rn.f64" => wide(d(0) - d(1)),
        "mul.rn.f64" => wide(d(0) * d(1)),
        "div.rn.f64" => wide(d(0) / d(1)),
        "fma.rn.f64" => wide(d(0).mul_add(d(1), d(2))),
        _ => panic!("{op} should not be written"),
    }
}

fn run(text: &str, args: &[f32]) -> f32 {
    let mut registers = Registers::new();
    for (i, x) in args.iter().enumerate() {
        registers.insert(format!("${}", i + 1), u64::from(x.to_bits()));
    }
    let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
    for line in inner.split(';').map(str::trim).filter(|l| !l.is_empty()) {
        let (op, rest) = line.split_once(' ').expect("an instruction should have operands");
        if op == ".reg" {
            continue;
        }
        let names: Vec<&str> = rest.split(", ").collect();
        let values: Vec<u64> = names[1..].iter().map(|name| operand(&registers, name)).collect();
        registers.insert(names[0].to_owned(), execute(op, &values));
    }
    f32::from_bits(registers["$0"] as u32)
}

#[test]
fn text_computes_the_formula() {
    let values = [
        0.0,
        1e-42,
        3e-5,
        0.3,
        0.59,
        0.61,
        1.0,
        1.5,
        2.0,
        3.0,
        8.5,
        77.7,
        90.5,
        1e9,
        1e30,
        f32::INFINITY,
    ];
    let all: Vec<f32> = values.into_iter().flat_map(|x| [x, -x]).chain([f32::NAN]).collect();
    let one = [
        MapOp::Exp,
        MapOp::Exp2,
        MapOp::Log,
        MapOp::Log2,
        MapOp::Sin,
        MapOp::Cos,
        MapOp::Tanh,
        MapOp::Acos,
        MapOp::Erf,
    ];
    let check = |op: MapOp, args: &[f32]| {
        let text = text::function(op, args.len()).expect("the function should have a formula");
        let (got, want) = (
            run(&text, args),
            functions::formula(&Host, op, args).expect("the function should have a formula"),
        );
        assert!(
            got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
            "{op:?}{args:?} is {got}, not {want}"
        );
    };
    for &x in &all {
        one.into_iter().for_each(|op| check(op, &[x]));
        for &y in &all {
            [MapOp::Pow, MapOp::Atan2].into_iter().for_each(|op| check(op, &[x, y]));
        }
    }
    assert!(text::function(MapOp::Add, 2).is_none());
}
