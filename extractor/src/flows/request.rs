//! Request for the parts of conversations.

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::label_lookup::{LabelLookup, Wanted};
use netrewind_flows::series::{Buckets, SeriesBuilder};

use crate::memory::MemoryAccount;

/// Way to decide which packets belong to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// Each packet alone, if that is exact: indexes decide most.
    Segments,
    /// Each packet by itself.
    SegmentsAlone,
    /// As extracted: packets of the answer depend on others.
    Answer,
}

/// Selection of the parts to gather.
#[derive(Clone, Copy)]
pub(super) struct Gathering<'q> {
    pub(super) by: Membership,
    pub(super) encapsulations: &'q Encapsulations,
    /// Buckets of a series, if one is wanted.
    pub(super) buckets: Option<Buckets>,
    /// Only these parts.
    pub(super) wanted: Wanted<'q>,
    /// Account of the memory that it takes.
    pub(super) account: Option<&'q MemoryAccount>,
    /// Wanted labels: instead of parts, the keys of conversations with one of them are gathered.
    pub(super) sought: Option<&'q LabelLookup<'q>>,
    /// True if each part records its segment.
    pub(super) tracks: bool,
}

impl<'q> Gathering<'q> {
    /// Gathering of parts without a series.
    pub(super) fn of(encapsulations: &'q Encapsulations, wanted: Wanted<'q>) -> Self {
        Self {
            by: Membership::Segments,
            encapsulations,
            buckets: None,
            wanted,
            account: None,
            sought: None,
            tracks: false,
        }
    }

    /// On this account.
    pub(super) fn held_by(self, account: &'q MemoryAccount) -> Self {
        Self { account: Some(account), ..self }
    }

    /// The same gathering, with packets decided by `by`.
    pub(super) fn by(self, by: Membership) -> Self {
        Self { by, ..self }
    }

    /// Empty series of its buckets.
    pub(super) fn series(&self) -> SeriesBuilder {
        self.buckets.unwrap_or(Buckets::of(None, 1)).series()
    }
}
