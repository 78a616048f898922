//! Errors of the client: none of the recorders answered, or one of them not in full.

use netrewind_extractor::SinkError;

/// There is no answer of any recorder.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The question is wrong.
    #[error("{0}")]
    Usage(String),
    /// No recorder could be reached, or none answered.
    #[error("{0}")]
    Failed(String),
    /// The answer cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

/// Reasons why a recorder's answer is missing or incomplete.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The question is wrong, whoever is asked.
    #[error("{0}")]
    Wrong(String),
    /// It does not know an interface, which another recorder may have.
    #[error("{0}")]
    NoSuchInterface(String),
    /// Nothing of the range is kept there.
    #[error("{0}")]
    NothingKept(String),
    /// It could not be reached, or would not answer.
    #[error("{0}")]
    Silent(String),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

impl Trouble {
    /// True if it has reported nothing about packets.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Silent(_))
    }
}

/// Fails if the query was wrong, or if no recorder answered.
pub(super) fn none_answered(troubles: &[(String, Trouble)], recorders: usize) -> Result<(), RemoteError> {
    for (_, trouble) in troubles {
        if let Trouble::Wrong(text) = trouble {
            return Err(RemoteError::Usage(text.clone()));
        }
    }
    let of_interface = |(_, trouble): &&(String, Trouble)| matches!(trouble, Trouble::NoSuchInterface(_));
    let unknown: Vec<_> = troubles.iter().filter(of_interface).collect();
    if let [(name, trouble), ..] = unknown[..]
        && unknown.len() == recorders
    {
        let text = if recorders == 1 { trouble.to_string() } else { format!("{name}: {trouble}") };
        return Err(RemoteError::Usage(text));
    }
    let unanswered: Vec<_> = troubles.iter().filter(|(_, trouble)| trouble.is_silence()).collect();
    if unanswered.len() < recorders {
        return Ok(());
    }
    let lines: Vec<_> = unanswered.iter().map(|(name, trouble)| format!("{name}: {trouble}")).collect();
    Err(RemoteError::Failed(lines.join("\n")))
}
