//! Arbitrary text is harmless: a bounded run of the fuzz target with fixed seeds, over broken specs and over hostile ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use einloom_tests::{Outcome, repo};
use libtest_mimic::Trial;

#[path = "../fuzz/check.rs"]
mod check;

/// Texts of one run, a fraction of a millisecond each.
const RUNS: u64 = 3000;

/// What reading may take at most, on a loaded machine and without optimisation.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("fuzz::mutated_specs", || run(mutated)),
        Trial::test("fuzz::random_tokens", || run(tokens)),
        Trial::test("fuzz::random_bytes", || run(bytes)),
        Trial::test("fuzz::hostile_texts", hostile_texts),
    ]
}

fn run(make: fn(&mut Random, &[Vec<u8>]) -> Vec<u8>) -> Outcome {
    let seeds: Vec<Vec<u8>> = repo::examples()
        .iter()
        .map(|file| repo::read(file).into_bytes())
        .collect();
    assert!(!seeds.is_empty(), "no specs to start from");
    for seed in 0..RUNS {
        harmless(
            &format!("seed {seed}"),
            &make(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), &seeds),
        )?;
    }
    Ok(())
}

/// Reads one text; the name and the text itself are in the failure.
fn harmless(name: &str, text: &[u8]) -> Outcome {
    let start = Instant::now();
    let shown = String::from_utf8_lossy(&text[..text.len().min(2000)]);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check::source(text))) {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        return Err(format!("{name}: {}\n{shown}", said.unwrap_or("panic")).into());
    }
    let taken = start.elapsed();
    if taken > LIMIT {
        Err(format!("{name} took {taken:?}\n{shown}").into())
    } else {
        Ok(())
    }
}

/// A spec with a few pieces removed, doubled, exchanged with another's, or overwritten.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut text = random.pick(seeds).clone();
    for _ in 0..=random.below(4) {
        let start = random.below(text.len() + 1);
        let end = (start + random.below(24)).min(text.len());
        let piece = match random.below(5) {
            0 => Vec::new(),
            1 => text[start..end].repeat(2),
            2 => random.pick::<&str>(&TOKENS).as_bytes().to_vec(),
            3 => {
                let other = random.pick(seeds);
                let from = random.below(other.len());
                other[from..(from + random.below(40)).min(other.len())].to_vec()
            }
            _ => vec![random.below(256) as u8],
        };
        text.splice(start..end, piece);
    }
    text
}

const TOKENS: [&str; 48] = [
    "cascade",
    "rank",
    "const",
    "in",
    "inout",
    "out",
    "def",
    "rec",
    "where",
    "else",
    "if",
    "then",
    "order",
    "sum",
    "max",
    "softmax",
    "a",
    "B",
    "m",
    "M",
    "x'",
    "f32",
    "bf16",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<=",
    "<",
    "==",
    "|",
    "..",
    "64",
    "0.5",
    "1e400",
    "99999999999999999999",
    "\n",
    "// c\n",
];

fn tokens(random: &mut Random, _: &[Vec<u8>]) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..random.below(60) {
        text.push_str(random.pick::<&str>(&TOKENS));
        text.push_str(random.pick::<&str>(&["", " ", "\n"]));
    }
    text.into_bytes()
}

fn bytes(random: &mut Random, _: &[Vec<u8>]) -> Vec<u8> {
    let ascii = random.below(2) == 0;
    let range = if ascii { 128 } else { 256 };
    (0..random.below(120)).map(|_| random.below(range) as u8).collect()
}

/// Texts that are long, deep or no text at all.
fn hostile_texts() -> Outcome {
    const LONG: usize = 50_000;
    let deep = |open: &str, inner: &str, close: &str| {
        format!(
            "cascade d\nrank m\nin X[m] : f32\nout Y[m] : f32 = {}{inner}{}\n",
            open.repeat(LONG),
            close.repeat(LONG)
        )
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("one NUL", vec![0]),
        ("many NULs", vec![0; LONG]),
        ("no UTF-8", vec![0xff; LONG]),
        ("UTF-16 mark", vec![0xff, 0xfe, b'c', 0]),
        ("parentheses", deep("(", "X", ")").into_bytes()),
        ("open parentheses", deep("(", "X", "").into_bytes()),
        ("brackets", deep("X[", "m", "]").into_bytes()),
        ("minus signs", deep("-", "X", "").into_bytes()),
        ("calls", deep("exp(", "X", ")").into_bytes()),
        ("sums", deep("X + ", "X", "").into_bytes()),
        ("powers", deep("X ^ ", "X", "").into_bytes()),
        ("comparisons", deep("m < ", "m", "").into_bytes()),
        ("conditions", deep("X where m < ", "m", "").into_bytes()),
        ("long name", format!("cascade {}\n", "a".repeat(LONG)).into_bytes()),
        ("long number", format!("const A = {}\n", "9".repeat(LONG)).into_bytes()),
        ("many errors", "out = = =\n".repeat(LONG / 10).into_bytes()),
        ("many ranks", format!("rank {}a\n", "a, ".repeat(LONG)).into_bytes()),
        ("long comment", format!("//{}", "x".repeat(LONG)).into_bytes()),
        ("a megabyte", "cascade c\n".repeat(104_857).into_bytes()),
        ("more than a megabyte", "cascade c\n".repeat(200_000).into_bytes()),
    ];
    for (name, text) in cases {
        harmless(name, &text)?;
    }
    Ok(())
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`, or 0 for no numbers at all.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
