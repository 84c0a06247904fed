//! Text on the standard streams.
//!
//! Standard output that cannot be written ends the process with status 1: quietly where the reader has gone, as `head` does, since nobody asks for
//! more; with a message where a disk is full. Of messages that cannot be written nothing can be said.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// `print!`, without a panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print::write_out(format_args!($($text)*)) };
}

/// `println!`, without a panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::print::write_out(format_args!("{}\n", format_args!($($text)*))) };
}

/// `eprintln!`, without a panic.
macro_rules! errln {
    ($($text:tt)*) => { $crate::cli::print::write_error(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {errln, out, outln};

pub(crate) fn write_out(text: Arguments<'_>) {
    let mut stream = std::io::stdout().lock();
    let Err(error) = stream.write_fmt(text).and_then(|()| stream.flush()) else {
        return;
    };
    if error.kind() != ErrorKind::BrokenPipe {
        write_error(format_args!("error: standard output: {error}\n"));
    }
    std::process::exit(1);
}

pub(crate) fn write_error(text: Arguments<'_>) {
    // Nobody is left to tell.
    let _ = std::io::stderr().lock().write_fmt(text);
}
