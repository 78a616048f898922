//! Result of a command.

use std::io::Write;

use crate::terminal;

/// A command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Completely.
    Done,
    /// With an incomplete answer, or with faults found.
    Incomplete,
}

/// A command that did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// Because of wrong usage.
    Usage(anyhow::Error),
    /// Because of a failure.
    Failed(anyhow::Error),
}

impl Failure {
    /// A [`Failure::Usage`] with this text.
    pub fn usage(text: impl std::fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{text}"))
    }

    /// The error with its causes.
    pub fn text(&self) -> String {
        let (Self::Usage(error) | Self::Failed(error)) = self;
        let mut text = String::new();
        for cause in error.chain().map(ToString::to_string) {
            // Many errors end with their cause already.
            if text.is_empty() {
                text = cause;
            } else if !text.ends_with(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        text
    }

    /// True if nobody reads any more what the command was to print.
    pub fn is_reader_gone(&self) -> bool {
        let (Self::Usage(error) | Self::Failed(error)) = self;
        error.chain().any(terminal::is_reader_gone)
    }

    /// Prints the error on standard error.
    pub fn print(&self) {
        let text = self.text();
        // A closed standard error leaves the exit status to speak.
        let _ = writeln!(std::io::stderr(), "netrewind: {}", terminal::printable(&text));
    }
}

/// Errors of the system or a library are failures; wrong usage is marked where it is found.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
