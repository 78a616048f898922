//! Destination of an answer.

mod count;
mod pcap;
mod pcapng;
mod truncating;

pub use count::CountSink;
pub use pcap::PcapSink;
pub use pcapng::{PcapngSink, SECRETS_BYTES_MAX};
pub use truncating::TruncatingSink;

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::RECORD_HEADER_BYTES;
use netrewind_store::{LinkType, RecordHeader, Records, SegmentName};

use crate::answer::completeness::Completeness;
use crate::answer::error::SinkError;
use crate::answer::{Answer, Interface};
use crate::query::Query;

/// Bytes of TLS secrets that a sink is given at a time.
pub const SECRETS_PIECE_BYTES: usize = 256 << 10;

/// Takes the packets of an answer, one by one, in time order.
pub trait Sink {
    /// Needs of the sink besides being told the end.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// Called once, before the first packet.
    fn begin(&mut self, _preface: &Preface<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    /// Lines of a TLS key log for the packets that follow, at most [`SECRETS_PIECE_BYTES`] bytes; only if wanted.
    fn secrets(&mut self, _key_log: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }

    /// The next packet.
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError>;

    /// The next packets, as they are stored: for sinks that can do more with them together than one by one.
    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        records.packets().try_for_each(|packet| self.packet(&packet))
    }

    /// Called when following: the packets given so far are to reach the reader now.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Called while following, when more interfaces have become known: these are all of them, the first ones as
    /// they were.
    fn know_interfaces(&mut self, _interfaces: &[Interface]) {}

    /// Called once, after the last packet of an answer that came to its end.
    fn finish(&mut self, _answer: &Answer) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Needs of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// The packets. Without, [`Sink::packet`] is not called and only the counts of the [`Answer`] are right: much work
    /// can be left out.
    pub packets: bool,
    /// Names of interfaces and their packet counts, looked up in the logbook.
    pub interfaces: bool,
    /// TLS secrets that the store has for the packets, if the query asks for them ([`Query::secrets`]).
    pub secrets: bool,
}

impl Default for Wants {
    fn default() -> Self {
        Self { packets: true, interfaces: false, secrets: false }
    }
}

/// Facts known before the first packet.
#[derive(Clone, Copy, Debug)]
pub struct Preface<'a> {
    /// Query that is answered.
    pub query: &'a Query,
    /// Link types that the answer can have.
    pub possible_link_types: &'a [LinkType],
    /// Link types that the answer certainly has; possibly not all of those.
    pub certain_link_types: &'a [LinkType],
    /// Interfaces that packets of the range come from, if wanted; [`AnswerPacket::interface`] counts in these.
    pub interfaces: &'a [Interface],
    /// Completeness as far as it is known.
    pub completeness: &'a Completeness,
    /// UDP ports that carry tunnels in the store.
    pub tunnel_ports: &'a TunnelPorts,
    /// Number that names what the answer is made of: the same query over the same contents has the same answer. `None` while these
    /// can change, or if nothing says that they cannot.
    pub fingerprint: Option<u128>,
}

/// A packet of an answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerPacket<'a> {
    /// Its time and lengths, as recorded.
    pub header: RecordHeader,
    /// `header.caplen` bytes.
    pub bytes: &'a [u8],
    /// Link type: the meaning of the first byte.
    pub link_type: LinkType,
    /// Its index in [`Preface::interfaces`]; zero if they were not wanted.
    pub interface: u32,
    /// The segment that it lies in.
    pub segment: SegmentName,
}

/// Packets of an answer that come from one segment, as records of a nanosecond pcap file.
#[derive(Clone, Copy, Debug)]
pub struct AnswerRecords<'a> {
    /// The records, one behind the other, all of them whole.
    pub bytes: &'a [u8],
    /// Number of the records.
    pub packets: u64,
    /// Link type: the meaning of the first byte of each packet.
    pub link_type: LinkType,
    /// The packets' index in [`Preface::interfaces`]; zero if they were not wanted.
    pub interface: u32,
    /// The segment that they lie in.
    pub segment: SegmentName,
}

impl<'a> AnswerRecords<'a> {
    /// The packets one by one.
    pub fn packets(&self) -> impl Iterator<Item = AnswerPacket<'a>> + use<'a> {
        let Self { link_type, interface, segment, .. } = *self;
        Records::new(self.bytes, 0).map(move |record| AnswerPacket {
            header: record.header,
            bytes: record.packet,
            link_type,
            interface,
            segment,
        })
    }

    /// Bytes of the packets that were captured.
    pub fn captured_bytes(&self) -> u64 {
        (self.bytes.len() as u64).saturating_sub(self.packets * RECORD_HEADER_BYTES as u64)
    }
}
