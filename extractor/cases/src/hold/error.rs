//! Reasons why a hold cannot be made or released.

use netrewind_extractor::{Asked, ExtractError, SinkError};
use netrewind_store::StoreError;
use netrewind_store::hold::{CaseName, HOLD_SEGMENTS_MAX, NOTE_CHARACTERS_MAX};

/// Cases of a store.
pub const CASES_MAX: usize = 1000;

/// A hold could not be made or released.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is one for the case.
    #[error("case {0} has a hold already: release it first, or give this one another name")]
    Exists(CaseName),
    /// There is none for the case.
    #[error("there is no hold for a case {case}{}", known_cases(known))]
    Unknown {
        /// The name asked for.
        case: CaseName,
        /// Cases that have one.
        known: Vec<CaseName>,
    },
    /// Nothing of the range is kept.
    #[error("there is nothing to hold: no packets are kept {0}")]
    NothingKept(Asked),
    /// The answer has no packets.
    #[error("there is nothing to hold: the filter accepts no packet that is kept {0}")]
    NothingAccepted(Asked),
    /// Everything expired meanwhile.
    #[error("there is nothing to hold any more: all {0} segments of the range expired just now")]
    AllExpired(usize),
    /// Holds would take more than they may.
    #[error(
        "the hold would take {wanted_bytes} bytes: holds take {held_bytes} by now, and may take {bytes_max}; hold less, give --filter to hold the packets alone, release a case, or let holds take more (--hold-budget of netrewind record)"
    )]
    OverBudget {
        /// Bytes that it would take in addition.
        wanted_bytes: u64,
        /// Bytes that holds take.
        held_bytes: u64,
        /// Bytes that they may take.
        bytes_max: u64,
    },
    /// The budget or the disk has no room for packets.
    #[error(
        "there is no room for {wanted_bytes} bytes of packets: {free_bytes} are free, and no recorder is at work that could make room; raise the budget, or let a recorder run"
    )]
    NoRoom {
        /// Bytes that they may take.
        wanted_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// The recorder made no room.
    #[error("the recorder has made no room for {0} bytes of packets: see netrewind status")]
    NoRoomMade(u64),
    /// There are too many cases.
    #[error("there are {CASES_MAX} cases already: release one first")]
    TooManyCases,
    /// Too many segments.
    #[error(
        "the range has {0} segments, and a hold has at most {HOLD_SEGMENTS_MAX}: hold less, or in several cases"
    )]
    TooManySegments(usize),
    /// A text is too long.
    #[error("{0} is longer than {NOTE_CHARACTERS_MAX} characters")]
    TooLong(&'static str),
    /// A case's folder cannot be written.
    #[error("{source}: holds are made by the user who records, and where the store can be written")]
    Denied {
        /// What the system refused.
        source: StoreError,
    },
    /// The packets cannot be extracted.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(StoreError),
}

fn known_cases(known: &[CaseName]) -> String {
    let names: Vec<_> = known.iter().map(CaseName::as_str).collect();
    if names.is_empty() {
        ": there is none at all".to_owned()
    } else {
        format!("; there are {}", names.join(", "))
    }
}

impl From<StoreError> for HoldError {
    fn from(error: StoreError) -> Self {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match &error {
            StoreError::Io { source, .. }
                if [PermissionDenied, ReadOnlyFilesystem].contains(&source.kind()) =>
            {
                Self::Denied { source: error }
            }
            _ => Self::Store(error),
        }
    }
}

impl From<SinkError> for HoldError {
    fn from(error: SinkError) -> Self {
        ExtractError::from(error).into()
    }
}
