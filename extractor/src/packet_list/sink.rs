//! Takes the packets of a page, and describes them.

use std::fmt::Write;

use netrewind_packet::ViewBytes;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::Timestamp;
use netrewind_store::time::Span;

use super::cursor::PacketCursor;
use super::describe::describe_packet;
use super::{LISTED_BYTES_MAX, ListedPacket, PacketListQuery};
use crate::answer::error::SinkError;
use crate::sink::{AnswerPacket, Preface, Sink};
use crate::view_mode::ViewMode;

/// Sink that lists a page of packets.
pub(crate) struct ListSink {
    page: PacketListQuery,
    view: ViewMode,
    ports: TunnelPorts,
    /// Range of the list.
    range: Span,
    /// Place of the packet that comes next: its time is that of the one before.
    place: Option<(Timestamp, u64)>,
    before: u64,
    captured_bytes: usize,
    /// Packets of the page.
    pub(crate) packets: Vec<ListedPacket>,
    /// Cursor of the first packet behind the page.
    pub(crate) next: Option<PacketCursor>,
}

impl ListSink {
    /// Sink of a page; `view` tells which view of a tunnelled packet is described.
    pub(crate) fn new(page: PacketListQuery, view: ViewMode) -> Self {
        Self {
            page,
            view,
            ports: TunnelPorts::DEFAULT,
            range: Span { from: Timestamp::MIN, to: Timestamp::MAX },
            place: None,
            before: page.start.map_or(0, |start| start.before),
            captured_bytes: 0,
            packets: Vec::new(),
            next: None,
        }
    }

    /// True if the packet stands before the page.
    fn is_before(&self, at: Timestamp, before_at: u64) -> bool {
        self.page.start.is_some_and(|start| (at, before_at) < (start.at, start.before_at))
    }

    /// True if the page has no room for one more.
    fn is_full(&self) -> bool {
        self.packets.len() >= self.page.limit
            || (self.page.with_bytes && self.captured_bytes >= LISTED_BYTES_MAX)
    }
}

impl Sink for ListSink {
    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        self.ports = preface.tunnel_ports.clone();
        self.range = preface.completeness.covered.unwrap_or(self.range);
        Ok(())
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let AnswerPacket { header, bytes, link_type, .. } = *packet;
        let at = header.timestamp();
        let before_at = self.place.filter(|(time, _)| *time == at).map_or(0, |(_, number)| number);
        self.place = Some((at, before_at + 1));
        if self.next.is_some() || self.is_before(at, before_at) {
            return Ok(());
        }
        let cursor = PacketCursor { range: self.range, at, before_at, before: self.before };
        if self.is_full() {
            self.next = Some(cursor);
            return Ok(());
        }
        self.before += 1;
        self.captured_bytes += bytes.len();
        self.packets.push(ListedPacket {
            number: self.before,
            cursor,
            at,
            length: header.len,
            captured: header.caplen,
            line: describe_packet(&self.ports, ViewBytes { link_type, bytes, len: header.len }, self.view),
            bytes: self.page.with_bytes.then(|| hexadecimal(bytes)),
        });
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
    text
}
