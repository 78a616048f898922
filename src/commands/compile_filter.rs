//! `netrewind compile-filter`: the process in which large filters are compiled, started by netrewind itself.

use std::io::{stdin, stdout};

use crate::outcome::{Failure, Outcome};

/// Makes this the first process to be killed when memory runs out: proc_pid_oom_score_adj(5). Raising needs no privilege.
const OOM_SCORE: (&str, &str) = ("/proc/self/oom_score_adj", "1000");

/// Reads one request on standard input and writes the program on standard output.
pub fn run() -> Result<Outcome, Failure> {
    // If that fails, its memory limit still holds.
    let _ = std::fs::write(OOM_SCORE.0, OOM_SCORE.1);
    netrewind_filter::serve_worker(stdin().lock(), stdout().lock())?;
    Ok(Outcome::Done)
}
