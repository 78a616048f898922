//! Why a query has no answer.

use netrewind_segment::{SegmentName, StoreError};

use crate::SinkError;
use crate::filter::FilterError;

/// An extraction could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The expression is wrong: the asker's error.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `store.toml` names tunnel ports that are none.
    #[error("the store's tunnel ports cannot be read: {0}; run netrewind index --tunnel-port default")]
    TunnelPorts(String),
    /// A segment cannot be mapped.
    #[error("segment {segment}: {source}")]
    Segment {
        /// Which.
        segment: SegmentName,
        /// Why.
        source: std::io::Error,
    },
    /// The flows of a segment's packets cannot be counted.
    #[error("segment {segment}: its flows cannot be counted: {reason}")]
    Flows {
        /// Which.
        segment: SegmentName,
        /// Why.
        reason: String,
    },
    /// The answer cannot be written in this form, or not at all.
    #[error(transparent)]
    Sink(SinkError),
    /// Whoever read the answer has gone: nothing is wrong.
    #[error("the reader of the answer has gone")]
    ReaderGone,
    /// The caller gave up ([`crate::Hooks::cancelled`]).
    #[error("cancelled")]
    Cancelled,
}

impl From<SinkError> for ExtractError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::ReaderGone => Self::ReaderGone,
            other => Self::Sink(other),
        }
    }
}
