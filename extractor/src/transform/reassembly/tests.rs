//! The bounds, and a time that passes without packets.

use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, RecordHeader, SegmentName};

use super::*;
use crate::transform::reassembly::item::PacketBytes;

/// A frame of Ethernet in GRE between two hosts, in fragments: this part of it.
fn fragment(id: u32, offset: u16, more: bool, at: u64) -> OutputPacket {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 52];
    bytes.extend((id as u16).to_be_bytes());
    bytes.extend(((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
    bytes.extend([64, 47, 0, 0, 10, 0]);
    bytes.extend([(id >> 24) as u8, (id >> 16) as u8, 10, 0, 0, 2]);
    bytes.extend([0, 0, 0x65, 0x58]);
    bytes.resize(14 + 52, 7);
    item(bytes, at)
}

fn item(bytes: Vec<u8>, at: u64) -> OutputPacket {
    let packet = AnswerPacket {
        header: RecordHeader {
            seconds: (at / SECOND_NS) as u32,
            nanoseconds: (at % SECOND_NS) as u32,
            caplen: bytes.len() as u32,
            len: bytes.len() as u32,
        },
        bytes: &bytes,
        link_type: LinkType::ETHERNET,
        interface: 0,
        segment: SegmentName { opened: Timestamp(0), lane: 0 },
    };
    OutputPacket::of(&packet, PacketBytes::Own(bytes.clone()))
}

fn reassembler() -> Reassembler {
    Reassembler::new(&TunnelPorts::DEFAULT)
}

fn ready(reassembler: &mut Reassembler) -> Vec<OutputPacket> {
    std::iter::from_fn(|| reassembler.next()).collect()
}

#[test]
fn a_flood_of_first_fragments_is_bounded_and_told() {
    let mut reassembler = reassembler();
    let mut written = 0;
    for id in 0..SERIES_MAX as u32 + 100 {
        reassembler.take(fragment(id, 0, true, 1000));
        written += ready(&mut reassembler).len();
    }
    assert_eq!((written, reassembler.series.len()), (100, SERIES_MAX));
    let account = reassembler.account();
    assert_eq!((account.incomplete, account.given_up_early), (100, 100));
    reassembler.end();
    assert_eq!(ready(&mut reassembler).len(), SERIES_MAX);
    assert_eq!((reassembler.series.len(), reassembler.queue.together_bytes()), (0, 0));
    assert_eq!(reassembler.account().given_up_early, 100);
}

#[test]
fn what_waits_behind_a_fragment_is_bounded() {
    let mut reassembler = reassembler();
    reassembler.take(fragment(1, 0, true, 1000));
    for at in 0..PACKETS_MAX as u64 {
        reassembler.take(item(Vec::new(), 1001 + at / 2));
        assert!(at + 1 == PACKETS_MAX as u64 || reassembler.next().is_none());
    }
    assert_eq!(reassembler.account().given_up_early, 1);
    assert_eq!(ready(&mut reassembler).len(), PACKETS_MAX + 1);
}

#[test]
fn a_packet_is_given_up_when_its_time_has_passed_although_nothing_comes() {
    let mut reassembler = reassembler();
    reassembler.take(fragment(1, 0, true, 1000));
    reassembler.take(fragment(2, 32, false, 1000));
    reassembler.advance(Timestamp(1000 + WINDOW_NS));
    assert!(reassembler.next().is_none());
    reassembler.advance(Timestamp(1001 + WINDOW_NS));
    let cut = ready(&mut reassembler);
    assert_eq!((cut.len(), cut[0].at()), (1, Timestamp(1000)));
    assert!(cut[0].header.caplen < cut[0].header.len);
    let account = reassembler.account();
    assert_eq!((account.incomplete, account.fragments_dropped, account.given_up_early), (2, 1, 0));
    assert!(reassembler.queue.is_empty() && reassembler.deadlines.is_empty());
}

#[test]
fn a_second_copy_is_ignored_while_it_is_near() {
    let mut reassembler = reassembler();
    for at in [0, NEAR_NS] {
        reassembler.take(fragment(1, 0, true, at));
        reassembler.take(fragment(1, 32, false, at));
    }
    assert_eq!((ready(&mut reassembler).len(), reassembler.account().packets), (1, 1));
    for at in [2 * NEAR_NS + 1, 2 * NEAR_NS + 2] {
        reassembler.take(fragment(1, 0, true, at));
        reassembler.take(fragment(1, 32, false, at));
    }
    assert_eq!((ready(&mut reassembler).len(), reassembler.account().packets), (1, 2));
}
