//! Errors of starting and ending a recording.

use std::io;

use crate::config::ConfigError;

/// Reasons that a recorder could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system has no memory or threads for it.
    #[error("starting {what}: {source}")]
    Start {
        /// The resource that is missing.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// More sources than lanes can be numbered.
    #[error("too many sources")]
    TooManySources,
}
