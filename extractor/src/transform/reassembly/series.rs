//! The fragments of one packet.

use std::collections::BTreeMap;

use netrewind_packet::{Fragment, Series as SeriesName};
use netrewind_store::{LinkType, Timestamp};

/// Length of the longest IP packet; for IPv6, of the payload behind its header.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Key shared by the fragments of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    /// Its view counts from the stored packet on.
    pub(super) name: SeriesName,
    /// A hash of the tunnels around, so that tenants with the same addresses are kept apart.
    pub(super) tunnels: u64,
}

/// Time at which a series is given up or forgotten, and a unique number.
pub(super) type Deadline = (u64, u64);

/// Fate of fragments that are not put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Each is written as it is.
    AsSent,
    Dropped,
}

/// A fragment that waits, or has waited, in a place of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragmentPart {
    pub(super) slot: u64,
    /// On the wire; [`Self::captured`] of them are there.
    pub(super) bytes: usize,
    /// Offset of its payload in the packet.
    pub(super) payload: usize,
    pub(super) captured: usize,
    /// Hash of the captured payload.
    pub(super) hash: u64,
}

/// Facts from the first fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeadFragment {
    /// Offset of the view that holds its IP header.
    pub(super) begin: usize,
    /// Link type of that view.
    pub(super) link_type: LinkType,
    pub(super) fragment: Fragment,
    /// True if it shows the content of a tunnel.
    pub(super) is_tunnel: bool,
}

/// Relation of a fragment to those already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FragmentFit {
    New,
    Duplicate,
    Contradiction,
}

/// Closed series: copies of fragments that follow soon have the same fate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) fate: Fate,
    pub(super) is_refused: bool,
}

/// Fragments of one packet, none of which overlap.
#[derive(Debug)]
pub(super) struct FragmentSet {
    pub(super) deadline: Deadline,
    /// Time of the last fragment.
    pub(super) newest: Timestamp,
    /// Fragments by their offset.
    pub(super) parts: BTreeMap<usize, FragmentPart>,
    /// Places of those that came again.
    pub(super) duplicates: Vec<u64>,
    pub(super) first: Option<LeadFragment>,
    /// Bytes of the packet's payload, if the last fragment is there.
    pub(super) total: Option<usize>,
    bytes: usize,
    pub(super) closed: Option<Closed>,
}

impl FragmentSet {
    pub(super) fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            newest: Timestamp::MIN,
            parts: BTreeMap::new(),
            duplicates: Vec::new(),
            first: None,
            total: None,
            bytes: 0,
            closed: None,
        }
    }

    pub(super) fn fit(&self, fragment: &Fragment, part: &FragmentPart) -> FragmentFit {
        let (begin, end) = (fragment.offset, fragment.offset + fragment.bytes);
        let is_last_of = |total: usize| total == end;
        if let Some(same) = self.parts.get(&begin)
            && same.bytes == part.bytes
            && (same.hash == part.hash || same.captured != part.captured)
            && fragment.more != self.total.is_some_and(is_last_of)
        {
            return FragmentFit::Duplicate;
        }
        let before = self.parts.range(..begin).next_back();
        let behind = self.parts.range(begin..).next();
        let overlaps = before.is_some_and(|(offset, before)| offset + before.bytes > begin)
            || behind.is_some_and(|(offset, _)| *offset < end);
        let last_end = self.parts.last_key_value().map_or(0, |(offset, last)| offset + last.bytes);
        let is_beyond = match (self.total, fragment.more) {
            (Some(total), true) => end >= total,
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => last_end > end,
        };
        if overlaps || is_beyond { FragmentFit::Contradiction } else { FragmentFit::New }
    }

    /// Adds one that is new.
    pub(super) fn add(
        &mut self,
        fragment: &Fragment,
        part: FragmentPart,
        first: Option<LeadFragment>,
        at: Timestamp,
    ) {
        self.newest = self.newest.max(at);
        self.first = self.first.or(first);
        self.bytes += part.bytes;
        if !fragment.more {
            self.total = Some(fragment.offset + fragment.bytes);
        }
        self.parts.insert(fragment.offset, part);
    }

    pub(super) fn is_whole(&self) -> bool {
        self.first.is_some() && self.total == Some(self.bytes)
    }

    /// Slots in which its fragments wait.
    pub(super) fn slots(&self) -> impl Iterator<Item = u64> {
        self.parts.values().map(|part| part.slot).chain(self.duplicates.iter().copied())
    }

    /// End of the last fragment.
    pub(super) fn end(&self) -> usize {
        self.parts.last_key_value().map_or(0, |(offset, part)| offset + part.bytes)
    }

    pub(super) fn close(&mut self, fate: Fate, is_refused: bool) {
        self.duplicates = Vec::new();
        self.closed = Some(Closed { fate, is_refused });
    }
}
