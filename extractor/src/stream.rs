//! Following a stream: the payload exchanged by the two ends of one conversation, in order.
//!
//! TCP payload is put in order by its sequence numbers (RFC 9293): retransmitted bytes appear once, bytes that were not
//! captured are counted where they are missing. Each UDP datagram is a chunk. Only the answer is held, and segments that wait
//! for an earlier one; both have their bounds.

mod chunks;
mod payload;
mod reassembly;

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{Dissection, dissect_into, protocol};
use netrewind_store::LinkType;

use crate::answer::Answer;
use crate::answer::error::ExtractError;
use crate::answer::error::SinkError;
use crate::sink::{AnswerPacket, Preface, Sink};
pub use chunks::{Chunk, Ends, Speaker, Stream, StreamEnd};
use payload::Payload;
use reassembly::Reassembly;

/// Stream from the packets that `extract` gives to a sink.
pub(crate) fn read_stream(
    ends: Ends,
    bytes_max: usize,
    extract: impl FnOnce(&mut dyn Sink) -> Result<Answer, ExtractError>,
) -> Result<Stream, ExtractError> {
    let mut sink = StreamSink::new(ends, bytes_max);
    match extract(&mut sink) {
        Ok(_) => Ok(sink.end()),
        Err(ExtractError::ReaderGone) if sink.reassembly.is_full() => Ok(sink.end()),
        Err(error) => Err(error),
    }
}

/// Puts the payload of one conversation together.
struct StreamSink {
    ends: Ends,
    ports: TunnelPorts,
    dissection: Dissection,
    reassembly: Reassembly,
}

impl StreamSink {
    fn new(ends: Ends, bytes_max: usize) -> Self {
        Self {
            ends,
            ports: TunnelPorts::DEFAULT,
            dissection: Dissection::new(LinkType::ETHERNET),
            reassembly: Reassembly::new(ends.protocol == protocol::TCP, bytes_max),
        }
    }

    fn end(self) -> Stream {
        self.reassembly.end()
    }
}

impl Sink for StreamSink {
    fn begin(&mut self, preface: &Preface<'_>) -> Result<(), SinkError> {
        self.ports = preface.tunnel_ports.clone();
        Ok(())
    }

    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let Self { ends, ports, dissection, reassembly } = self;
        dissect_into(dissection, ports, packet.link_type, packet.bytes, packet.header.len);
        if let Some(payload) = Payload::of(dissection, packet.bytes, ends) {
            reassembly.take(packet.header.timestamp(), &payload);
        }
        // Nothing more is wanted: the rest need not be read.
        if reassembly.is_full() { Err(SinkError::ReaderGone) } else { Ok(()) }
    }
}
