//! `netrewind compile-filter`: the process in which large filters are compiled, started by netrewind itself.

use std::io::{stdin, stdout};

use netrewind_extractor::filter;

use crate::outcome::{Failure, Outcome};

/// Reads one request on standard input and writes the program on standard output.
pub fn run() -> Result<Outcome, Failure> {
    filter::serve_worker(stdin().lock(), stdout().lock())?;
    Ok(Outcome::Done)
}
