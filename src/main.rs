//! The command `netrewind`: records packets, and returns exactly those that a query asks for.
//!
//! **Invariant:** exit codes are decided here and nowhere else; clocks, the environment and the terminal are read in this
//! package and in no library.

mod arguments;
mod broker;
mod clock;
mod commands;
mod confine;
mod exported_hours;
mod extracted_hours;
mod logs;
mod machine;
mod manager;
mod outcome;
mod process_meter;
mod sharing;
mod signals;
mod soundness;
mod sys;
mod terminal;
mod version;
mod writable_store;

use clap::{CommandFactory, Parser};

use crate::commands::Command;
use crate::outcome::{Failure, Outcome};

/// Rewind your network: a continuous packet recorder that can always answer "give me those packets".
#[derive(Debug, Parser)]
#[command(name = "netrewind", version, long_version = version::described(), max_term_width = 110, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Confine nothing: to find out whether a failure is due to the confinement (see docs/security.md)
    #[arg(long, global = true)]
    no_confine: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo netrewind record --store /data/nr --interface eth1 --budget 500GiB
  netrewind extract --store /data/nr --from '2h ago' --filter 'host 10.1.2.3 and port 443' -o talk.pcap
  netrewind extract --store /data/nr --filter 'icmp' -o - | wireshark -k -i -
  netrewind status --store /data/nr

Exit status: 0 done, 1 done but incomplete or found wrong, 2 wrong usage, 3 failed.";

fn main() -> std::process::ExitCode {
    sys::return_freed_memory();
    let CommandLine { command, no_confine } =
        CommandLine::parse_from(commands::extcap::as_subcommand(std::env::args_os()));
    if no_confine {
        confine::turn_off();
    }
    let outcome = command.run(CommandLine::command);
    if let Err(failure) = &outcome {
        failure.print();
    }
    match outcome {
        Ok(Outcome::Done) => 0.into(),
        Ok(Outcome::Incomplete) => 1.into(),
        Err(Failure::Usage(_)) => 2.into(),
        Err(Failure::Failed(_)) => 3.into(),
    }
}
