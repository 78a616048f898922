//! The client hello inside QUIC's Initial packets (RFC 9000, 9001; version 2: RFC 9369). Their keys follow from the
//! connection ID that the client chose, so anyone on the way can read them.

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Keys, Version};

use crate::cursor::ByteCursor;
use crate::labels::{Labels, Tls};
use crate::prefix::Prefix;
use crate::tls::quic_hello;
use crate::{BYTES_MAX, Direction};

/// Keys derived for one conversation: each costs some microseconds.
const KEYS_DERIVED_MAX: u8 = 6;
/// Packets looked at in one datagram.
const COALESCED_PACKETS_MAX: usize = 4;
/// Frames looked at in one packet: each may be a byte long.
const FRAMES_MAX: usize = 256;
const CONNECTION_ID_BYTES_MAX: usize = 20;
/// A shorter packet has no room for a header protection sample and a tag.
const PACKET_BYTES_MIN: usize = 64;
const SAMPLE_BYTES: usize = 16;
/// The sample stands where the payload would begin after the longest packet number.
const PACKET_NUMBER_BYTES_MAX: usize = 4;

const VERSION_2: u32 = 0x6b33_43cf;

mod frame {
    pub const PADDING: u64 = 0;
    pub const PING: u64 = 1;
    pub const ACK: u64 = 2;
    pub const ACK_ECN: u64 = 3;
    pub const CRYPTO: u64 = 6;
}

/// State of a QUIC connection until its client hello is complete.
#[derive(Clone, Debug)]
pub(crate) struct QuicConnection {
    client: Option<Direction>,
    /// The connection ID that the client chose first: its length and bytes.
    chosen: (u8, [u8; CONNECTION_ID_BYTES_MAX]),
    crypto: Prefix,
    keys_derived: u8,
}

/// Finding from a datagram.
pub(crate) enum QuicFinding {
    /// QUIC of this version.
    Version(u32),
    /// QUIC of this version, and its client hello is whole.
    Hello(u32, Tls),
}

impl QuicFinding {
    pub fn labels(self) -> Box<Labels> {
        let (version, tls) = match self {
            Self::Version(version) => (version, None),
            Self::Hello(version, tls) => (version, Some(tls)),
        };
        Box::new(Labels { application: "quic", quic_version: Some(version), tls, ..Labels::default() })
    }
}

/// A long header packet, cut where the next begins.
struct LongHeaderPacket<'a> {
    version: u32,
    is_initial: bool,
    connection_id: &'a [u8],
    /// Bytes from the first one to the end of the payload.
    bytes: &'a [u8],
    packet_number_at: usize,
}

impl<'a> LongHeaderPacket<'a> {
    /// Reads the packet at the front of `datagram`, and what follows it.
    fn read(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut cursor = ByteCursor(datagram);
        let first = cursor.u8()?;
        let version = cursor.u32()?;
        if first & 0xc0 != 0xc0 || !is_version(version) {
            return None;
        }
        let connection_id = cursor.vector8()?;
        let source_id = cursor.vector8()?;
        if connection_id.len() > CONNECTION_ID_BYTES_MAX || source_id.len() > CONNECTION_ID_BYTES_MAX {
            return None;
        }
        let packet_type = first >> 4 & 3;
        let is_initial = packet_type == u8::from(version == VERSION_2);
        let whole =
            Self { version, is_initial, connection_id, bytes: datagram, packet_number_at: datagram.len() };
        if keys_version(version).is_none() || packet_type == if version == VERSION_2 { 0 } else { 3 } {
            // A version without known keys, or a Retry: the rest of the datagram is of no use.
            return Some((Self { is_initial: false, ..whole }, &[]));
        }
        if is_initial {
            let token_len = cursor.varint()?;
            cursor.take(usize::try_from(token_len).ok()?)?;
        }
        let len = usize::try_from(cursor.varint()?).ok()?;
        let packet_number_at = datagram.len() - cursor.0.len();
        cursor.take(len)?;
        let bytes = &datagram[..datagram.len() - cursor.0.len()];
        Some((Self { bytes, packet_number_at, ..whole }, cursor.0))
    }

    /// Takes the protection off into `buffer` and returns the frames; `None` where the keys do not fit.
    fn open<'b>(&self, keys: &DirectionalKeys, buffer: &'b mut [u8; BYTES_MAX]) -> Option<&'b [u8]> {
        let packet = buffer.get_mut(..self.bytes.len())?;
        packet.copy_from_slice(self.bytes);
        let (head, protected) = packet.split_at_mut_checked(self.packet_number_at)?;
        let (number, rest) = protected.split_at_mut_checked(PACKET_NUMBER_BYTES_MAX)?;
        let sample = rest.get(..SAMPLE_BYTES)?;
        keys.header.decrypt_in_place(sample, head.first_mut()?, number).ok()?;
        let number_len = usize::from(head.first()? & 3) + 1;
        let packet_number =
            number[..number_len].iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        // Of a cut header only the bytes of the packet number were protected: the others are put back.
        let (_, protected) = packet.split_at_mut_checked(self.packet_number_at)?;
        let original = self.bytes.get(self.packet_number_at..)?;
        protected.get_mut(number_len..)?.copy_from_slice(original.get(number_len..)?);
        let (header, payload) = packet.split_at_mut_checked(self.packet_number_at + number_len)?;
        keys.packet.decrypt_in_place(packet_number, header, payload).ok()
    }
}

/// Versions with a long header as in RFC 9000: the standards, their drafts, and Google's and Facebook's own.
fn is_version(version: u32) -> bool {
    matches!(version, 1 | VERSION_2 | 0xff00_0016..=0xff00_0022 | 0xface_b000..=0xface_b00f)
        || is_google(version)
}

/// `Q046` to `Q050`, `T050`, `T051`.
fn is_google(version: u32) -> bool {
    matches!(version.to_be_bytes(), [b'Q' | b'T', b'0', b'4' | b'5', b'0'..=b'9'])
}

fn keys_version(version: u32) -> Option<Version> {
    match version {
        1 => Some(Version::V1),
        VERSION_2 => Some(Version::V2),
        0xff00_001d..=0xff00_0020 => Some(Version::V1Draft),
        _ => None,
    }
}

/// The keys that protect what the client sends, from the connection ID that it chose.
fn client_keys(version: Version, connection_id: &[u8]) -> Option<DirectionalKeys> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    Some(Keys::initial(version, suite, suite.quic?, connection_id, Side::Server).remote)
}

/// True if a datagram may be QUIC. Takes nanoseconds.
pub(crate) fn is_likely(datagram: &[u8]) -> bool {
    let version = datagram.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let has_long_header = datagram.first().is_some_and(|&first| first & 0xc0 == 0xc0);
    has_long_header && datagram.len() >= PACKET_BYTES_MIN && version.is_some_and(is_version)
}

impl QuicConnection {
    pub fn new() -> Self {
        Self {
            client: None,
            chosen: (0, [0; CONNECTION_ID_BYTES_MAX]),
            crypto: Prefix::default(),
            keys_derived: 0,
        }
    }

    /// Reads a datagram; `None` where it is not QUIC.
    pub fn push(&mut self, direction: Direction, datagram: &[u8]) -> Option<QuicFinding> {
        let (mut told, mut rest) = (None, datagram);
        for _ in 0..COALESCED_PACKETS_MAX {
            let Some((packet, next)) = LongHeaderPacket::read(rest) else { break };
            told = Some(QuicFinding::Version(packet.version));
            if packet.is_initial && self.client.is_none_or(|client| client == direction) {
                self.initial(direction, &packet);
                match quic_hello(self.crypto.contiguous()) {
                    Some(Ok(tls)) => return Some(QuicFinding::Hello(packet.version, tls)),
                    Some(Err(())) => self.crypto = Prefix::default(),
                    None => {}
                }
            }
            rest = next;
        }
        told
    }

    /// Takes the CRYPTO frames out of an Initial packet, if it is the client's.
    fn initial(&mut self, direction: Direction, packet: &LongHeaderPacket<'_>) -> Option<()> {
        let version = keys_version(packet.version)?;
        let (len, chosen) = self.chosen;
        let chosen = chosen.get(..usize::from(len)).filter(|_| self.client.is_some());
        // Later Initial packets may go to the connection ID that the server chose, and are protected as the first was.
        let changed = chosen.filter(|&chosen| chosen != packet.connection_id);
        for connection_id in changed.into_iter().chain([packet.connection_id]) {
            if self.keys_derived == KEYS_DERIVED_MAX {
                return None;
            }
            self.keys_derived += 1;
            let mut buffer = [0; BYTES_MAX];
            let Some(frames) = packet.open(&client_keys(version, connection_id)?, &mut buffer) else {
                continue;
            };
            self.client = Some(direction);
            let mut chosen = [0; CONNECTION_ID_BYTES_MAX];
            chosen.iter_mut().zip(connection_id).for_each(|(place, &byte)| *place = byte);
            self.chosen = (connection_id.len() as u8, chosen);
            return self.frames(frames);
        }
        None
    }

    /// Walks over the frames of a packet (RFC 9000, section 12.4) up to the first that an Initial packet cannot hold.
    fn frames(&mut self, frames: &[u8]) -> Option<()> {
        let mut cursor = ByteCursor(frames);
        for _ in 0..FRAMES_MAX {
            let padding = cursor.0.iter().take_while(|&&byte| u64::from(byte) == frame::PADDING).count();
            cursor.take(padding)?;
            match cursor.varint()? {
                frame::PING => {}
                kind @ (frame::ACK | frame::ACK_ECN) => skip_ack(&mut cursor, kind)?,
                frame::CRYPTO => {
                    let offset = usize::try_from(cursor.varint()?).ok()?;
                    let len = usize::try_from(cursor.varint()?).ok()?;
                    self.crypto.insert(offset, cursor.take(len)?);
                }
                _ => return None,
            }
        }
        None
    }

    /// Bytes used on the heap, beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        self.crypto.heap_bytes()
    }
}

fn skip_ack(cursor: &mut ByteCursor<'_>, kind: u64) -> Option<()> {
    let (_largest, _delay, ranges, _first) =
        (cursor.varint()?, cursor.varint()?, cursor.varint()?, cursor.varint()?);
    let counts = if kind == frame::ACK_ECN { 3 } else { 0 };
    for _ in 0..ranges.min(FRAMES_MAX as u64) * 2 + counts {
        cursor.varint()?;
    }
    Some(())
}
