//! One packet, and the packets of its conversation before it: what a dissector needs to take it apart.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use netrewind_store::{LinkType, PcapWriter, RecordHeader, Timestamp};

use crate::answer::control::Control;
use crate::answer::error::{ExtractError, SinkError};
use crate::extract::Extractor;
use crate::lists::EventTuple;
use crate::packet_list::{ListedPacket, PacketCursor, PacketListQuery};
use crate::query::Query;
use crate::sink::{AnswerPacket, Sink};
use crate::view_mode::ViewMode;

/// Time before the packet from which its conversation is read; where that is too much, a part of it.
const CONTEXT_TIMES: [Duration; 4] =
    [Duration::from_secs(30), Duration::from_secs(3), Duration::from_millis(300), Duration::from_millis(30)];
/// Bytes of packets that may be read for it, by the index.
const CONTEXT_READ_BYTES_MAX: u64 = 32 << 20;
/// Packets that are kept, and their captured bytes: the last ones.
pub const CONTEXT_PACKETS_MAX: usize = 1000;
/// Bytes of these packets.
pub const CONTEXT_BYTES_MAX: usize = 2 << 20;

/// A packet with those of its conversation before it.
#[derive(Clone, Debug)]
pub struct PacketContext {
    /// The packet.
    pub packet: ListedPacket,
    /// A pcap file that ends with it.
    pub capture: Vec<u8>,
    /// Packets in the file, so the number of this one in it.
    pub packets: usize,
}

/// The packet of a list at which `cursor` points, and those of its conversation before it that the query's joined filters accept.
/// `None` if there is no such packet.
pub fn packet_context(
    extractor: &Extractor,
    query: &Query,
    cursor: PacketCursor,
    control: &mut dyn Control,
) -> Result<Option<PacketContext>, ExtractError> {
    let page = PacketListQuery { limit: 1, start: Some(cursor), with_bytes: true };
    let listed = extractor.list_packets(query, page, control)?.packets.into_iter().next();
    let Some(packet) = listed.filter(|packet| packet.at == cursor.at) else { return Ok(None) };
    let wanted = bytes_of(packet.bytes.as_deref().unwrap_or_default());
    for context in contexts(query, &packet) {
        let estimate = extractor.estimate_with(&context, control)?;
        if estimate.bytes_max > CONTEXT_READ_BYTES_MAX {
            continue;
        }
        let mut sink = LastPackets::new(packet.at, &wanted);
        extractor.extract(&context, &mut sink, control)?;
        if let Some((capture, packets)) = sink.capture()? {
            return Ok(Some(PacketContext { packet, capture, packets }));
        }
        // Its ends do not tell it, so a shorter time does not either.
        break;
    }
    // By the query itself, which has found it.
    let mut sink = LastPackets::new(packet.at, &wanted);
    extractor.extract(&at_once(query, packet.at), &mut sink, control)?;
    let alone = sink.capture()?;
    Ok(alone.map(|(capture, packets)| PacketContext { packet, capture, packets }))
}

/// The query's packets of this very time.
fn at_once(query: &Query, at: Timestamp) -> Query {
    Query { from: Some(at), to: Some(at.plus_ns(1)), note: None, ..query.clone() }
}

/// Queries for the packet's conversation up to it, the longest first; none where its ends are no addresses.
fn contexts(query: &Query, packet: &ListedPacket) -> Vec<Query> {
    let address = |end: &Option<String>| end.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
    let line = &packet.line;
    let (Some(source), Some(destination)) = (address(&line.source), address(&line.destination)) else {
        return Vec::new();
    };
    let filter =
        EventTuple::of([source, destination], [line.source_port, line.destination_port], None).filter();
    let view = if query.view == ViewMode::Outer { ViewMode::Outer } else { ViewMode::Inner };
    let conversation = |before: Duration| {
        let before_ns = u64::try_from(before.as_nanos()).unwrap_or(u64::MAX);
        Query {
            from: Some(Timestamp(packet.at.ns().saturating_sub(before_ns))),
            to: Some(packet.at.plus_ns(1)),
            filter: filter.clone(),
            view,
            ignore_vlan: true,
            joined: query.joined.clone(),
            interfaces: query.interfaces.clone(),
            asked_at: query.asked_at,
            ..Query::default()
        }
    };
    CONTEXT_TIMES.map(conversation).into()
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// A packet as it is kept.
struct KeptPacket {
    header: RecordHeader,
    bytes: Vec<u8>,
    link_type: LinkType,
}

/// Keeps the last packets up to the wanted one.
struct LastPackets<'w> {
    at: Timestamp,
    wanted: &'w [u8],
    kept: VecDeque<KeptPacket>,
    kept_bytes: usize,
    /// The wanted one has come: it is the last.
    found: bool,
}

impl<'w> LastPackets<'w> {
    fn new(at: Timestamp, wanted: &'w [u8]) -> Self {
        Self { at, wanted, kept: VecDeque::new(), kept_bytes: 0, found: false }
    }

    /// A pcap file that ends with the wanted packet, and the number of its packets; `None` if it did not come.
    fn capture(self) -> Result<Option<(Vec<u8>, usize)>, ExtractError> {
        let Some(last) = self.kept.back().filter(|_| self.found) else { return Ok(None) };
        let link_type = last.link_type;
        let mut writer = PcapWriter::new(Vec::new(), link_type).map_err(SinkError::Io)?;
        let mut packets = 0;
        // A pcap file has one link type.
        for packet in self.kept.iter().filter(|packet| packet.link_type == link_type) {
            writer.write(&packet.header, &packet.bytes).map_err(SinkError::Io)?;
            packets += 1;
        }
        Ok(Some((writer.finish().map_err(SinkError::Io)?, packets)))
    }
}

impl Sink for LastPackets<'_> {
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let AnswerPacket { header, bytes, link_type, .. } = *packet;
        if self.found {
            return Ok(());
        }
        self.found = header.timestamp() == self.at && bytes == self.wanted;
        self.kept_bytes += bytes.len();
        self.kept.push_back(KeptPacket { header, bytes: bytes.to_vec(), link_type });
        while self.kept.len() > 1
            && (self.kept.len() > CONTEXT_PACKETS_MAX || self.kept_bytes > CONTEXT_BYTES_MAX)
        {
            let first = self.kept.pop_front();
            self.kept_bytes -= first.map_or(0, |packet| packet.bytes.len());
        }
        Ok(())
    }
}
