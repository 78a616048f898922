//! A packet's contribution to its conversation, beside the counters of its flow: a TCP segment or a UDP datagram.

use netrewind_labels::{BYTES_MAX, Transport, may_tell};
use netrewind_packet::bytes::u32_at;
use netrewind_packet::{Dissection, protocol, tcp_field, udp_field};

/// Slots for marks: see [`Payloads`].
const MARKS: usize = 4096;

/// A TCP segment or a UDP datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Message {
    /// None where the packet is neither, or a fragment.
    pub(super) transport: Option<Transport>,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    /// Bytes of payload on the wire.
    pub(super) payload: u32,
    /// The payload may be the front of something.
    pub(super) may_tell: bool,
    /// Front of the payload in [`Payloads`]: offset and number of bytes.
    kept: (u32, u16),
}

impl Message {
    /// Reads the packet's transport header; gives the payload as far as it was captured.
    #[inline]
    pub(super) fn read<'p>(d: &Dissection, packet: &'p [u8]) -> (Self, &'p [u8]) {
        Self::try_read(d, packet).unwrap_or_default()
    }

    #[inline]
    fn try_read<'p>(d: &Dissection, packet: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (protocol, at) = d.transport.filter(|_| !d.fragment)?;
        let transport = if protocol == protocol::TCP { Transport::Tcp } else { Transport::Udp };
        let at = at as usize;
        let mut message = Self { transport: Some(transport), ..Self::default() };
        let payload_at = match transport {
            Transport::Tcp => {
                let header: &[u8; tcp_field::HEADER_BYTES] = packet.get(at..)?.first_chunk()?;
                message.sequence = u32_at(header, tcp_field::SEQUENCE)?;
                message.acknowledged = u32_at(header, tcp_field::ACKNOWLEDGMENT)?;
                let words = usize::from(header[tcp_field::DATA_OFFSET] >> 4);
                at + words.max(tcp_field::HEADER_BYTES / 4) * 4
            }
            Transport::Udp => at + udp_field::HEADER_BYTES,
        };
        let end = d.datagram_end(packet)?;
        message.payload = end.saturating_sub(payload_at) as u32;
        Some((message, packet.get(payload_at..end.min(packet.len())).unwrap_or_default()))
    }
}

/// First bytes of a batch's payloads that labels may be read from: the packets' bytes are gone by the time their flows are found.
///
/// The choice has to be made before the flow is known. Bytes that may begin a message can be recognised, bytes that continue
/// one cannot: each flow that waits for more leaves a mark under its hash. Another flow with the same hash may find the mark,
/// so more is kept than needed, never less.
#[derive(Clone, Debug)]
pub(super) struct Payloads {
    bytes: Vec<u8>,
    marks: Box<[u32; MARKS]>,
}

impl Payloads {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), marks: Box::new([0; MARKS]) }
    }

    pub(super) fn reset(&mut self) {
        self.bytes.clear();
        self.marks.fill(0);
    }

    /// Keeps what may be needed of a message's payload, of a flow with this hash.
    #[inline]
    pub(super) fn keep(&mut self, message: &mut Message, hash: u32, ports: [u16; 2], payload: &[u8]) {
        let Some(transport) = message.transport.filter(|_| !payload.is_empty()) else { return };
        let mark = &mut self.marks[hash as usize % MARKS];
        message.may_tell = may_tell(transport, ports, payload);
        if message.may_tell && transport == Transport::Tcp {
            *mark += 1;
        } else if !message.may_tell && (*mark == 0 || transport == Transport::Udp) {
            return;
        }
        let front = &payload[..payload.len().min(BYTES_MAX)];
        message.kept = (self.bytes.len() as u32, front.len() as u16);
        self.bytes.extend_from_slice(front);
    }

    pub(super) fn of(&self, message: &Message) -> &[u8] {
        let (at, bytes) = message.kept;
        self.bytes.get(at as usize..at as usize + usize::from(bytes)).unwrap_or_default()
    }

    /// Leaves a mark for a flow of which the front is held.
    pub(super) fn mark(&mut self, hash: u32) {
        self.marks[hash as usize % MARKS] += 1;
    }

    /// Removes a mark that [`Self::keep`] or [`Self::mark`] has left.
    pub(super) fn unmark(&mut self, hash: u32) {
        let mark = &mut self.marks[hash as usize % MARKS];
        *mark = mark.saturating_sub(1);
    }

    pub(super) fn forget_batch(&mut self) {
        self.bytes.clear();
    }
}
