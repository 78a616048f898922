//! Lists of packets: a page of them, each with its exact time, its ends and a one-line summary.
//!
//! A page begins where its [`PacketCursor`] says and reads from there: not from the beginning of the range. What the answer lacks
//! is told for the whole range.

mod application;
mod csv;
mod cursor;
mod datagram;
mod describe;
mod line;
mod link;
mod sink;
mod tcp;
mod text_sink;

pub use cursor::{NotAPacketCursor, PacketCursor};
pub use describe::describe_packet;
pub use line::{PacketLine, SUMMARY_BYTES_MAX};
pub(crate) use sink::ListSink;
pub use text_sink::TextSink;

use netrewind_store::Timestamp;
use serde::Serialize;

use crate::answer::Work;
use crate::answer::completeness::{Completeness, RejectedIndex};
use crate::answer::hint::Hint;

/// The most packets of one page.
pub const LISTED_PACKETS_MAX: usize = 1000;
/// A page with bytes ends once its packets have this many, as captured.
pub const LISTED_BYTES_MAX: usize = 1 << 20;
/// Default size of a page.
const LISTED_PACKETS_DEFAULT: usize = 100;

/// Page of a packet list that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketListQuery {
    /// Packets at most; at most [`LISTED_PACKETS_MAX`].
    pub limit: usize,
    /// Packet that the page begins with: [`PacketList::next`] of the page before, or [`ListedPacket::cursor`]. It fixes the range.
    pub start: Option<PacketCursor>,
    /// With the bytes of each packet.
    pub with_bytes: bool,
}

impl Default for PacketListQuery {
    fn default() -> Self {
        Self { limit: LISTED_PACKETS_DEFAULT, start: None, with_bytes: false }
    }
}

/// A page of packets, in time order.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PacketList {
    /// The packets.
    pub packets: Vec<ListedPacket>,
    /// Cursor of the next page; absent on the last page.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub next: Option<PacketCursor>,
    /// Completeness of the whole list for its range, as far as it is known after this page.
    pub completeness: Completeness,
    /// Indexes that could not be used.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// For an empty list: a changed query that would find packets ([`crate::Extractor::hint`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub hint: Option<Hint>,
    /// Work done for the page.
    pub work: Work,
}

/// A packet of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ListedPacket {
    /// Its number in the list, from 1 on.
    pub number: u64,
    /// Cursor of a page that begins with it.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub cursor: PacketCursor,
    /// Its time, as recorded.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub at: Timestamp,
    /// Bytes on the wire.
    pub length: u32,
    /// Bytes captured.
    pub captured: u32,
    /// Ends, protocol and summary.
    #[serde(flatten)]
    pub line: PacketLine,
    /// The captured bytes in hexadecimal digits, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub bytes: Option<String>,
}
