//! `netrewind compile-filter`: the process in which large filters are compiled, started by netrewind itself.

use std::io::{stdin, stdout};

use crate::outcome::{Failure, Outcome};

/// Reads one request on standard input and writes the program on standard output.
pub fn run() -> Result<Outcome, Failure> {
    netrewind_filter::serve_worker(stdin().lock(), stdout().lock())?;
    Ok(Outcome::Done)
}
