//! Reasons why a query has no answer.

use std::io;

use netrewind_flows::conversation::FlowId;
use netrewind_flows::search::SearchError;
use netrewind_store::{LinkType, SegmentName, StoreError};

use netrewind_filter::FilterError;

/// An extraction could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The expression is wrong: the asker's error.
    #[error(transparent)]
    Filter(FilterError),
    /// The search is wrong: the asker's error.
    #[error("query: {0}")]
    Search(#[from] SearchError),
    /// No conversation of the query's packets has the id.
    #[error("no conversation in the range has the id {0}: its packets may have expired")]
    NoSuchFlow(FlowId),
    /// The search finds more conversations than can be selected.
    #[error(
        "the search finds more than {0} conversations (counted in each segment): shorten the range, or narrow the filter or the search"
    )]
    TooManyChosen(usize),
    /// Packets selected by whole conversations cannot be followed live.
    #[error(
        "follow does not work with the packets of selected conversations: use a filter, or leave follow out"
    )]
    NotFollowed,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `store.toml` names invalid tunnel ports.
    #[error("the store's tunnel ports cannot be read: {0}; run netrewind index --tunnel-port default")]
    TunnelPorts(String),
    /// Unknown name among the chosen interfaces: the asker's error.
    #[error("nothing was recorded on interface {name:?}: {}", there_are(known))]
    UnknownInterface {
        /// The name.
        name: String,
        /// Interfaces in the range.
        known: Vec<String>,
    },
    /// A segment cannot be mapped.
    #[error("segment {segment}: {source}")]
    Segment {
        /// Affected segment.
        segment: SegmentName,
        /// Cause.
        source: std::io::Error,
    },
    /// The flows of a segment's packets cannot be counted.
    #[error("segment {segment}: its flows cannot be counted: {reason}")]
    Flows {
        /// Affected segment.
        segment: SegmentName,
        /// Cause.
        reason: String,
    },
    /// The answer cannot be written in this form, or not at all.
    #[error(transparent)]
    Sink(SinkError),
    /// The reader of the answer has closed it: not an error.
    #[error("the reader of the answer has closed it")]
    ReaderGone,
    /// Other answers have the memory that this one needs.
    #[error("the memory for answers is used up: try again later, or ask for less")]
    NoMemory,
    /// The question is wrong, as recorders that were asked together say.
    #[error("{0}")]
    AskedWrongly(String),
    /// None of the recorders that were asked together has answered.
    #[error("{0}")]
    NoRecorder(String),
    /// The caller gave up ([`crate::Control::cancelled`]).
    #[error("cancelled")]
    Cancelled,
}

/// Names that are listed in a message at most.
const NAMES_SHOWN_MAX: usize = 20;

fn there_are(known: &[String]) -> String {
    if known.is_empty() {
        return "there are no interfaces in this range".to_owned();
    }
    let names: Vec<_> = known.iter().take(NAMES_SHOWN_MAX).map(|name| format!("{name:?}")).collect();
    let more = match known.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("the interfaces in this range are {}{more}", names.join(", "))
}

impl From<FilterError> for ExtractError {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::GivenUp => Self::Cancelled,
            error => Self::Filter(error),
        }
    }
}

impl From<SinkError> for ExtractError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::ReaderGone => Self::ReaderGone,
            other => Self::Sink(other),
        }
    }
}

/// An answer cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A pcap file has one link type, and the answer has several.
    #[error("the answer has packets of several link types ({}), and a pcap file can hold only one: use --format pcapng, or narrow the range or the filter", join(.0))]
    SeveralLinkTypes(Vec<LinkType>),
    /// A format has no room for something.
    #[error("{0}")]
    Unwritable(String),
    /// Whoever read the answer has gone.
    #[error("the reader of the answer has closed it")]
    ReaderGone,
    /// The file system refused.
    #[error("the answer cannot be written: {0}")]
    Io(io::Error),
}

fn join(link_types: &[LinkType]) -> String {
    link_types.iter().map(|link_type| link_type.0.to_string()).collect::<Vec<_>>().join(", ")
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::ReaderGone,
            _ => Self::Io(error),
        }
    }
}
