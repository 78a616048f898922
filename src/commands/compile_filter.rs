//! `netrewind compile-filter`: the process in which large filters are compiled, started by netrewind itself.

use std::io::{stdin, stdout};
use std::path::Path;

use crate::confine::{Calls, KeptCapabilities, Privilege, Walls};
use crate::outcome::{Failure, Outcome};

/// Makes this the first process to be killed when memory runs out: proc_pid_oom_score_adj(5). Raising needs no privilege.
const OOM_SCORE: (&str, &str) = ("/proc/self/oom_score_adj", "1000");
/// Folders in which libpcap looks at interfaces.
const INTERFACES: [&str; 2] = ["/sys", "/proc"];

/// Arguments of `netrewind compile-filter`.
#[derive(Debug, clap::Args)]
pub struct CompileFilterArguments {
    /// Open an interface to compile for
    #[arg(long = crate::broker::LIVE_OPTION)]
    live: bool,
}

/// Reads one request on standard input and writes the program on standard output.
pub fn run(arguments: &CompileFilterArguments) -> Result<Outcome, Failure> {
    // If that fails, its memory limit still holds.
    let _ = std::fs::write(OOM_SCORE.0, OOM_SCORE.1);
    // The process that asks says what is missing.
    walls(arguments.live).raise();
    netrewind_filter::serve_worker(stdin().lock(), stdout().lock())?;
    Ok(Outcome::Done)
}

/// Nothing but memory and the two pipes; and for a program as `tcpdump -i` compiles it, a socket on an interface.
fn walls(is_live: bool) -> Walls {
    if !is_live {
        return Walls::new();
    }
    let privileges = vec![Privilege::PacketSockets];
    let walls = INTERFACES.iter().fold(Walls::new(), |walls, folder| walls.reading(Path::new(folder)));
    walls
        .calling(Calls::opening_interfaces)
        .keeping(KeptCapabilities { privileges, ..KeptCapabilities::default() })
}
