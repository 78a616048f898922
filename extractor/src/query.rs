//! Query to a store: the one type behind the command line, HTTP, the live tail and the tests.

use std::time::Duration;

use netrewind_flows::conversation::FlowId;
use netrewind_store::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lists::ListDemands;
use crate::plan::tunnel_terms::TunnelDemands;
use crate::view_mode::ViewMode;

/// Limits on an answer's size. The answer stops exactly there, and its completeness says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerLimits {
    /// Packets at most.
    pub packets: Option<u64>,
    /// Limit on the bytes of packets, as captured, without any file's headers.
    pub bytes: Option<u64>,
}

impl AnswerLimits {
    /// True if any limit is set.
    pub fn are_set(&self) -> bool {
        self.packets.is_some() || self.bytes.is_some()
    }
}

/// The longest window.
pub const DEDUP_WINDOW_MAX: Duration = Duration::from_secs(10);

/// Time within which a repeated packet counts as a duplicate: more than zero, at most [`DEDUP_WINDOW_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Duration", into = "Duration")]
pub struct DedupWindow(Duration);

impl TryFrom<Duration> for DedupWindow {
    type Error = String;
    fn try_from(window: Duration) -> Result<Self, String> {
        match window {
            Duration::ZERO => Err("the window for duplicates must be longer than 0".to_owned()),
            _ if window > DEDUP_WINDOW_MAX => Err(format!(
                "the window for duplicates, {window:?}, is too long: at most {DEDUP_WINDOW_MAX:?}"
            )),
            _ => Ok(Self(window)),
        }
    }
}

impl From<DedupWindow> for Duration {
    fn from(window: DedupWindow) -> Self {
        window.0
    }
}

/// `5ms`.
impl std::fmt::Display for DedupWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Filter joined to a query by AND, such as the one of an access token. It has its own view of a packet, whatever view the
/// query chooses for its own filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinedFilter {
    /// A pcap-filter(7) expression; empty accepts every packet.
    pub filter: String,
    /// View of a packet that it sees.
    pub view: ViewMode,
    /// It sees the frame as if its VLAN tags were gone.
    pub ignore_vlan: bool,
}

/// A query: the packets with `from <= timestamp < to` that the filter accepts, in time order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Earliest timestamp; absent: from the oldest packet kept.
    pub from: Option<Timestamp>,
    /// End of the range, exclusive; absent: up to the newest packet committed.
    pub to: Option<Timestamp>,
    /// A pcap-filter(7) expression; empty accepts every packet.
    pub filter: String,
    /// View of a packet that the filter sees.
    pub view: ViewMode,
    /// Filter the frame as if its VLAN tags were gone.
    pub ignore_vlan: bool,
    /// Interfaces whose packets are wanted, by their names in the logbook, or imported files; empty: all.
    pub interfaces: Vec<String>,
    /// Demands that the packet's tunnels have to meet as well.
    pub tunnels: TunnelDemands,
    /// Lists that the packet's addresses and ports have to be in as well.
    #[serde(skip_serializing_if = "ListDemands::are_none")]
    pub lists: ListDemands,
    /// Replaces each packet by its innermost view, with its own lengths and link type. Limits of bytes count the bytes written.
    pub decapsulate: bool,
    /// Filters that have to accept each packet as well. Each is compiled by itself: no text of the asker can change them. They
    /// never come from the asker. An answer reveals nothing about packets that one of them does not accept: not even their
    /// number, in estimates or in the statistics of interfaces.
    #[serde(skip)]
    pub joined: Vec<JoinedFilter>,
    /// Time of the query, if known. With joined filters, an open end of the range means this instant: the newest packet may be
    /// another's.
    #[serde(skip)]
    pub asked_at: Option<Timestamp>,
    /// Packets that the answer already has from at most this long before are left out: see [`DedupWindow`].
    pub dedup: Option<DedupWindow>,
    /// Id of the one conversation whose packets are wanted. A filter cannot express it: two networks may have the same
    /// addresses, and fragments have no ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowId>,
    /// Search for the conversations whose packets are wanted ([`crate::flows::Search`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Limits on the answer's size.
    pub limits: AnswerLimits,
    /// True if indexes may be used to skip work. They never change an answer, only the time it takes.
    pub use_index: bool,
    /// Compare the bytes that are read with the checksums that were taken while recording. Segments whose index alone gives a count
    /// are read all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// Give the TLS secrets that the store has for the time of the answer to a sink that wants them. An asker who may not have all packets
    /// gets none.
    #[serde(skip)]
    pub secrets: bool,
    /// Remark about the query itself, added to the answer's notes.
    #[serde(skip)]
    pub note: Option<String>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            filter: String::new(),
            view: ViewMode::default(),
            ignore_vlan: false,
            interfaces: Vec::new(),
            tunnels: TunnelDemands::default(),
            lists: ListDemands::default(),
            decapsulate: false,
            joined: Vec::new(),
            asked_at: None,
            dedup: None,
            flow: None,
            search: None,
            limits: AnswerLimits::default(),
            use_index: true,
            check: false,
            secrets: false,
            note: None,
        }
    }
}

impl Query {
    /// Every packet that `filter` accepts, whenever it was received.
    pub fn of(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }

    /// True if the asker may not know of all packets. Such an asker learns the answer's gaps and losses too, but not where they
    /// are: neither names of interfaces, segments and files nor notes about the recording.
    pub fn is_restricted(&self) -> bool {
        !self.joined.is_empty()
    }

    /// True if it asks for some of the packets of its range only, or its asker may not have all of them.
    pub fn is_selective(&self) -> bool {
        !self.filter.trim().is_empty()
            || !self.interfaces.is_empty()
            || self.tunnels != TunnelDemands::default()
            || !self.lists.are_none()
            || self.chooses_conversations()
            || self.is_restricted()
    }

    /// True if it asks for packets of some conversations only.
    pub fn chooses_conversations(&self) -> bool {
        self.flow.is_some() || self.search.is_some()
    }

    /// The range as instants.
    pub fn range(&self) -> TimeRange {
        TimeRange { from: self.from.unwrap_or(Timestamp::MIN), to: self.to.map(Timestamp::ns) }
    }
}

/// `from <= t < to`, and `to` may be open: even [`Timestamp::MAX`] is before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The earliest instant in it.
    pub from: Timestamp,
    /// The first instant after it, in nanoseconds; absent: it has no end.
    to: Option<u64>,
}

impl TimeRange {
    /// True if `at` is in it.
    #[inline]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && self.to.is_none_or(|to| at.ns() < to)
    }

    /// True if anything from `first` to `last`, both included, can be in it.
    #[inline]
    pub fn meets(&self, first: Timestamp, last: Timestamp) -> bool {
        self.from <= last && self.to.is_none_or(|to| first.ns() < to)
    }

    /// True if everything from `first` to `last`, both included, is in it.
    #[inline]
    pub fn covers(&self, first: Timestamp, last: Timestamp) -> bool {
        self.contains(first) && self.contains(last)
    }

    /// End of the range, exclusive; `None` if it is open.
    pub fn end(&self) -> Option<Timestamp> {
        self.to.map(Timestamp)
    }

    /// Part of the range from `at` on.
    pub(crate) fn starting_at(&self, at: Timestamp) -> Self {
        Self { from: self.from.max(at), to: self.to }
    }

    /// Range extended by this many nanoseconds at both ends.
    pub(crate) fn widened(&self, by_ns: u64) -> Self {
        Self {
            from: Timestamp(self.from.ns().saturating_sub(by_ns)),
            to: self.to.map(|to| to.saturating_add(by_ns)),
        }
    }

    /// True if nothing can be in it.
    pub fn is_empty(&self) -> bool {
        self.to.is_some_and(|to| to <= self.from.ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_includes_its_start_and_not_its_end() {
        let range = Query { from: Some(Timestamp(5)), to: Some(Timestamp(9)), ..Query::default() }.range();
        let contained: Vec<u64> = (0..12).filter(|&ns| range.contains(Timestamp(ns))).collect();
        assert_eq!(contained, [5, 6, 7, 8]);
        assert!(range.meets(Timestamp(0), Timestamp(5)) && range.meets(Timestamp(8), Timestamp(99)));
        assert!(!range.meets(Timestamp(0), Timestamp(4)) && !range.meets(Timestamp(9), Timestamp(99)));
        assert!(Query::default().range().contains(Timestamp::MAX));
    }
}
