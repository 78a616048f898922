//! How a command ends.

use std::io::Write;

/// A command that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Wholly.
    Done,
    /// But the answer is incomplete, or something was found wrong.
    Incomplete,
}

/// A command that did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// Because of how it was asked.
    Usage(anyhow::Error),
    /// Because something failed.
    Failed(anyhow::Error),
}

impl Failure {
    /// A [`Failure::Usage`] with this text.
    pub fn usage(text: impl std::fmt::Display) -> Self {
        Self::Usage(anyhow::anyhow!("{text}"))
    }

    /// Says on standard error what went wrong.
    pub fn tell(&self) {
        let (Self::Usage(error) | Self::Failed(error)) = self;
        let mut text = String::from("netrewind");
        for cause in error.chain().map(ToString::to_string) {
            // Many errors end with their cause already.
            if !text.ends_with(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        // A closed standard error leaves the exit status to speak.
        let _ = writeln!(std::io::stderr(), "{}", crate::terminal::printable(&text));
    }
}

/// What the system or a library refused is a failure; wrong usage is named as such where it is found.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
