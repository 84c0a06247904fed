//! Arbitrary bytes as a `.ein` file: no panic, and messages that point into the text.

#![no_main]

#[path = "../check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::source(bytes));
