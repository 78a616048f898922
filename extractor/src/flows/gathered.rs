//! Parts of one segment, as they are gathered.

use netrewind_flows::key::FlowKey;
use netrewind_flows::part::{FlowPart, SegmentNames};
use netrewind_flows::series::SeriesBuilder;
use netrewind_store::SegmentName;

use super::request::Gathering;
use crate::answer::completeness::RejectedIndex;
use crate::memory::{Holding, MemoryAccount};
use crate::{Span, Unreadable};

/// Parts of one segment, and the work done to find them.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) parts: Vec<FlowPart>,
    /// True if further parts of the segment follow.
    pub(super) has_more: bool,
    pub(super) series: SeriesBuilder,
    pub(super) bytes_read: u64,
    /// True if they came from an archive.
    pub(super) is_archived: bool,
    pub(super) packets_judged: u64,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) rejected: Vec<RejectedIndex>,
    /// Time span of packets that have expired meanwhile.
    pub(super) gone: Option<Span>,
    /// Keys of conversations with the wanted labels; `None` if that is not known.
    pub(super) keys: Option<Vec<FlowKey>>,
    /// Their share of the memory of all answers.
    holding: Option<Holding>,
}

impl Gathered {
    /// No parts.
    pub(super) fn nothing(gathering: &Gathering<'_>) -> Self {
        Self {
            parts: Vec::new(),
            has_more: false,
            series: gathering.series(),
            bytes_read: 0,
            is_archived: false,
            packets_judged: 0,
            unreadable: Vec::new(),
            rejected: Vec::new(),
            gone: None,
            keys: None,
            holding: gathering.account.map(MemoryAccount::holding),
        }
    }

    /// No parts, and no series: others of the same segment follow.
    pub(super) fn piece(gathering: &Gathering<'_>) -> Self {
        Self { has_more: true, ..Self::nothing(&Gathering { buckets: None, ..*gathering }) }
    }

    /// Charges its parts to the answer's memory.
    pub(super) fn hold_parts(&mut self) {
        let beside: u64 = self.parts.iter().map(|part| part.body.bytes_beside()).sum();
        self.hold((self.parts.capacity() * size_of::<FlowPart>()) as u64 + beside);
    }

    /// Charges this many bytes to the answer's memory. If there is no room, the answer is marked short.
    pub(super) fn hold(&mut self, bytes: u64) {
        if let Some(holding) = &mut self.holding {
            // The answer whose turn it is continues.
            holding.hold(bytes);
        }
    }

    /// Has each part tell that it is of this segment.
    pub(super) fn are_of(&mut self, segment: SegmentName) {
        for part in &mut self.parts {
            part.body.places = Some(Box::new(SegmentNames(vec![segment])));
        }
    }
}
