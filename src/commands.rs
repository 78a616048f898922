//! The subcommands: arguments in, a library called, words for a person out.

use crate::outcome::{Failure, Outcome};

mod compile_filter;
mod status;

/// What netrewind can do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Tell what is in a store, and how far back one can rewind
    Status(status::Arguments),
    /// The process in which large filters are compiled, started by netrewind itself
    #[command(hide = true)]
    CompileFilter,
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<Outcome, Failure> {
        match self {
            Self::Status(arguments) => status::run(&arguments),
            Self::CompileFilter => compile_filter::run(),
        }
    }
}
