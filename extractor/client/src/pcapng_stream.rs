//! Reading pcapng as it arrives: as much of it as a netrewind service writes.
//!
//! Source: draft-ietf-opsawg-pcapng.

use bytes::{Buf, Bytes, BytesMut};
use netrewind_extractor::{Interface, InterfaceAccount};
use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::{Drops, LinkType, RecordHeader, Timestamp};

/// Type and both lengths around a block's body.
const FRAME_BYTES: usize = 12;
/// The longest block that is taken; the longest that a service writes has a packet in it.
const BLOCK_BYTES_MAX: usize = CAPLEN_MAX as usize + (128 << 10);
/// Interfaces that one file may have.
const INTERFACES_MAX: usize = 1 << 16;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
/// Type of secrets: a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;
const LITTLE_ENDIAN: u32 = 0x1a2b_3c4d;

const OPTION_COMMENT: u16 = 1;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_DESCRIPTION: u16 = 3;
const OPTION_IF_TSRESOL: u16 = 9;
/// Options of an interface's statistics.
const OPTION_START: u16 = 2;
const OPTION_END: u16 = 3;
const OPTION_RECEIVED: u16 = 4;
const OPTION_DROPPED: u16 = 5;
/// The resolution that stands for nanoseconds.
const NANOSECONDS: u8 = 9;

/// Contents of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Packets name interfaces by their number, from zero.
    Interface(Interface),
    Packet(RemotePacket),
    /// Completeness known before reading, as the file's own comment.
    Head(String),
    /// Lines of a TLS key log.
    Secrets(Bytes),
    /// Packets that an interface has received and lost; the first with the completeness known after reading, as a comment.
    Statistics(u32, InterfaceAccount, Option<String>),
}

/// A packet as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemotePacket {
    pub(super) interface: u32,
    pub(super) header: RecordHeader,
    pub(super) bytes: Bytes,
}

impl RemotePacket {
    pub(super) fn at(&self) -> Timestamp {
        self.header.timestamp()
    }
}

/// Takes bytes, gives blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    waiting: BytesMut,
    interfaces: usize,
}

impl Blocks {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// True if no block is begun.
    pub(super) fn is_at_end(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next block that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Block>, String> {
        while let (Some(kind), Some(length)) = (u32_at(&self.waiting, 0), u32_at(&self.waiting, 4)) {
            let length = length as usize;
            if !(FRAME_BYTES..=BLOCK_BYTES_MAX).contains(&length) || !length.is_multiple_of(4) {
                return Err(format!("it sent a pcapng block of {length} bytes, which is too long"));
            }
            if self.waiting.len() < length {
                break;
            }
            let mut body = self.waiting.split_to(length).freeze();
            body.advance(8);
            body.truncate(length - FRAME_BYTES);
            let block = self
                .read(kind, body)
                .ok_or_else(|| format!("it sent a damaged pcapng block of type {kind}"))?;
            if let Some(block) = block {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// `None` if it is damaged, `Some(None)` if it can be ignored.
    fn read(&mut self, kind: u32, body: Bytes) -> Option<Option<Block>> {
        match kind {
            SECTION_HEADER => {
                let comment = comment_of(&options(body.get(16..)?)).unwrap_or_default();
                (u32_at(&body, 0)? == LITTLE_ENDIAN).then_some(Some(Block::Head(comment)))
            }
            INTERFACE_DESCRIPTION => {
                self.interfaces += 1;
                let is_known = |(code, value): &(u16, &[u8])| {
                    *code != OPTION_IF_TSRESOL || value.first() == Some(&NANOSECONDS)
                };
                let options = options(body.get(8..)?);
                let is_fine = self.interfaces <= INTERFACES_MAX
                    && options.iter().all(is_known)
                    && options.iter().any(|(code, _)| *code == OPTION_IF_TSRESOL);
                let option = |wanted: u16| {
                    options.iter().find(|(code, _)| *code == wanted).map(|(_, value)| text(value))
                };
                let link_type = LinkType(u16::try_from(u32_at(&body, 0)? & 0xffff).ok()?);
                is_fine.then_some(Some(Block::Interface(Interface {
                    name: option(OPTION_IF_NAME).unwrap_or_default(),
                    description: option(OPTION_IF_DESCRIPTION),
                    link_type,
                })))
            }
            INTERFACE_STATISTICS => {
                let interface = u32_at(&body, 0).filter(|&number| (number as usize) < self.interfaces)?;
                let options = options(body.get(12..)?);
                Some(Some(Block::Statistics(interface, account_of(&options), comment_of(&options))))
            }
            DECRYPTION_SECRETS => {
                let length = u32_at(&body, 4)? as usize;
                let end = length.checked_add(8).filter(|end| *end <= body.len())?;
                let is_tls = u32_at(&body, 0)? == TLS_KEY_LOG;
                Some(is_tls.then(|| Block::Secrets(body.slice(8..end))))
            }
            ENHANCED_PACKET => self.packet(&body).map(|packet| Some(Block::Packet(packet))),
            _ => Some(None),
        }
    }

    fn packet(&self, body: &Bytes) -> Option<RemotePacket> {
        const PACKET: usize = 20;
        let interface = u32_at(body, 0).filter(|&number| (number as usize) < self.interfaces)?;
        let ns = u64::from(u32_at(body, 4)?) << 32 | u64::from(u32_at(body, 8)?);
        let (caplen, len) = (u32_at(body, 12).filter(|&caplen| caplen <= CAPLEN_MAX)?, u32_at(body, 16)?);
        let end = PACKET + caplen as usize;
        let bytes = (end <= body.len()).then(|| body.slice(PACKET..end))?;
        let second = netrewind_store::time::SECOND_NS;
        let seconds = u32::try_from(ns / second).ok()?;
        let nanoseconds = u32::try_from(ns % second).ok()?;
        Some(RemotePacket { interface, header: RecordHeader { seconds, nanoseconds, caplen, len }, bytes })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn comment_of(options: &[(u16, &[u8])]) -> Option<String> {
    options.iter().find(|(code, _)| *code == OPTION_COMMENT).map(|(_, value)| text(value))
}

/// Account of an interface from its statistics, which do not tell where packets were lost.
fn account_of(options: &[(u16, &[u8])]) -> InterfaceAccount {
    let value = |wanted: u16| options.iter().find(|(code, _)| *code == wanted).map(|(_, value)| *value);
    let count = |wanted| Some(u64::from_le_bytes(*value(wanted)?.first_chunk()?));
    let time = |wanted| {
        let (high, low) = (u32_at(value(wanted)?, 0)?, u32_at(value(wanted)?, 4)?);
        Some(Timestamp(u64::from(high) << 32 | u64::from(low)))
    };
    InterfaceAccount {
        received: count(OPTION_RECEIVED),
        dropped: Drops { kernel: count(OPTION_DROPPED).unwrap_or_default(), ..Drops::default() },
        first: time(OPTION_START),
        last: time(OPTION_END),
    }
}

/// Codes and values, up to the first that is cut.
fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(word) = u32_at(bytes, 0) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
        let (code, length) = (word as u16, (word >> 16) as usize);
        let Some(value) = bytes.get(4..4 + length) else { break };
        if code == 0 {
            break;
        }
        found.push((code, value));
        bytes = bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use netrewind_extractor::{Answer, AnswerPacket, Completeness, PcapngSink, Preface, Query, Sink};
    use netrewind_store::SegmentName;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        let mut sink = PcapngSink::new(&mut file);
        let interfaces =
            [Interface { name: "rx0".into(), description: Some("tap".into()), link_type: LinkType::RAW }];
        let completeness = Completeness::default();
        sink.begin(&Preface {
            query: &Query::default(),
            possible_link_types: &[],
            certain_link_types: &[],
            interfaces: &interfaces,
            completeness: &completeness,
            tunnel_ports: &netrewind_packet::tunnel::TunnelPorts::default(),
            fingerprint: None,
        })
        .unwrap();
        for n in 0..3u32 {
            let header = RecordHeader { seconds: 5 + n, nanoseconds: 999_999_999, caplen: n, len: 100 };
            let segment = SegmentName { opened: Timestamp(0), lane: 0 };
            let bytes = &[1, 2, 3][..n as usize];
            sink.packet(&AnswerPacket { header, bytes, link_type: LinkType::RAW, interface: 0, segment })
                .unwrap();
        }
        let account = InterfaceAccount {
            received: Some(9),
            dropped: Drops { kernel: 2, ..Drops::default() },
            first: Some(Timestamp::new(5, 1)),
            last: Some(Timestamp::new(8, 2)),
        };
        sink.finish(&Answer { interfaces: vec![account], ..Answer::default() }).unwrap();
        file
    }

    #[test]
    fn blocks_come_out_however_the_bytes_arrive() {
        let file = file();
        for step in [1, 7, file.len()] {
            let (mut blocks, mut found) = (Blocks::default(), Vec::new());
            for part in file.chunks(step) {
                blocks.feed(part);
                while let Some(block) = blocks.next().unwrap() {
                    found.push(block);
                }
            }
            assert!(blocks.is_at_end());
            let interface =
                Interface { name: "rx0".into(), description: Some("tap".into()), link_type: LinkType::RAW };
            assert!(matches!(&found[0], Block::Head(text) if text.starts_with("Known before reading:")));
            assert_eq!(found[1], Block::Interface(interface));
            let Block::Packet(packet) = &found[4] else { panic!("{found:?}") };
            assert_eq!((packet.at(), &packet.bytes[..]), (Timestamp::new(7, 999_999_999), &[1, 2][..]));
            let Block::Statistics(0, account, Some(comment)) = &found[5] else { panic!("{found:?}") };
            assert_eq!((account.received, account.dropped.total()), (Some(9), 2));
            assert_eq!(
                (account.first, account.last),
                (Some(Timestamp::new(5, 1)), Some(Timestamp::new(8, 2)))
            );
            assert!(comment.starts_with("Known after reading:"), "{comment}");
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let file = file();
        for at in 0..file.len() {
            for bit in [0, 3, 7] {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                let mut blocks = Blocks::default();
                blocks.feed(&damaged);
                while let Ok(Some(_)) = blocks.next() {}
            }
        }
    }
}
