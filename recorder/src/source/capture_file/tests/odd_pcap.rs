//! pcap headers and records that are legal, tolerated, or neither.

use super::build::Order;
use super::{agree, read, seeded};
use crate::source::SourceError;

const MAGICS: [u32; 5] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34, 0xa1e2_cb12, 0xa1b2_34cd];
const MODIFIED: u32 = 0xa1b2_cd34;
const VERSIONS: [(u16, u16); 8] = [(2, 4), (2, 4), (2, 3), (2, 2), (2, 0), (543, 0), (2, 5), (1, 4)];
const SNAPLENS: [u32; 8] = [0, 1, 40, 64, 65535, 262_144, 0x7fff_ffff, 0xffff_ffff];
/// Among them those whose pseudo-headers depend on the byte order, and those of longer packets.
const LINK_TYPES: [u32; 16] =
    [1, 1, 12, 19, 101, 113, 117, 189, 220, 220, 231, 239, 249, 276, 0x3400_0001, 0x0400_007f];

fn odd_number(random: &mut fastrand::Rng, usual: u32) -> u32 {
    const ODD: [u32; 9] = [0, 1, 999_999, 1_000_000, 4_294_968, 262_144, 262_145, 0x7fff_ffff, 0xffff_ffff];
    if random.u8(..8) == 0 { ODD[random.usize(..ODD.len())] } else { usual }
}

/// Bytes that often look like what pseudo-headers hold: small numbers at either end.
fn packet(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut packet = vec![0; random.usize(..140)];
    let sparse = random.bool();
    for byte in &mut packet {
        *byte = if sparse && random.u8(..4) > 0 { 0 } else { random.u8(..) };
    }
    for (at, bytes) in [(14, [0, 0x0c]), (0, [0, 0x0d]), (8, [b'C', 0]), (10, [0x80, 0]), (14, [0, 0])] {
        if random.bool() && at + 2 <= packet.len() {
            packet[at..at + 2].copy_from_slice(&bytes);
        }
    }
    packet
}

fn odd_file(random: &mut fastrand::Rng) -> Vec<u8> {
    let order = Order { big: random.bool() };
    let magic = MAGICS[random.usize(..MAGICS.len()).min(random.usize(..MAGICS.len()))];
    let version = VERSIONS[random.usize(..VERSIONS.len()).min(random.usize(..VERSIONS.len()))];
    let snaplen = SNAPLENS[random.usize(..SNAPLENS.len())];
    let mut file = order.pcap(magic, version, snaplen, LINK_TYPES[random.usize(..LINK_TYPES.len())]);
    for _ in 0..random.usize(..12) {
        let packet = packet(random);
        let caplen = u32::try_from(packet.len()).expect("short");
        let len = caplen + random.u32(..2) * random.u32(..100);
        let fields = [
            odd_number(random, 1_700_000_000),
            odd_number(random, 123_456),
            if random.u8(..30) == 0 { odd_number(random, caplen) } else { caplen },
            odd_number(random, len),
        ];
        file.extend(order.record(fields, &[]));
        if magic == MODIFIED {
            file.extend([0xee; 8]);
        }
        file.extend(packet);
    }
    file
}

#[test]
fn odd_files_read_as_in_tcpdump() {
    let mut random = seeded();
    for number in 0..500 {
        let file = odd_file(&mut random);
        agree(&format!("file {number}: {file:02x?}"), &file);
    }
}

#[test]
fn link_types_are_those_of_tcpdump() {
    let order = Order { big: false };
    for link_type in 0..300 {
        let mut file = order.pcap(MAGICS[0], (2, 4), 0, link_type);
        file.extend(order.record([1, 2, 4, 4], b"abcd"));
        agree(&format!("link type {link_type}"), &file);
    }
}

#[test]
fn a_completed_isochronous_usb_transfer_has_the_length_that_tcpdump_finds() {
    for big in [false, true] {
        let order = Order { big };
        let mut packet = vec![0; 64 + 2 * 16];
        packet[8..11].copy_from_slice(&[b'C', 0, 0x81]);
        packet[32..36].copy_from_slice(&order.u32(4000));
        packet[60..64].copy_from_slice(&order.u32(2));
        packet[68..72].copy_from_slice(&order.u32(100));
        packet[72..76].copy_from_slice(&order.u32(50));
        packet[84..88].copy_from_slice(&order.u32(300));
        packet[88..92].copy_from_slice(&order.u32(20));
        let mut file = order.pcap(MAGICS[0], (2, 4), 0, 220);
        file.extend(order.record([1, 2, 96, 96 + 4000], &packet));
        agree("isochronous", &file);
        assert_eq!(read(file).0[0].header.len, 96 + 320);
    }
}

#[test]
fn attributes_of_nflog_are_turned_as_far_as_in_tcpdump() {
    const NFLOG: u32 = 239;
    let mut random = seeded();
    for number in 0..50 {
        let order = Order { big: true };
        let mut packet = vec![2, u8::from(random.u8(..8) == 0), 0, 0];
        for _ in 0..random.usize(..8) {
            let value = vec![random.u8(..); random.usize(..14)];
            let length = u16::try_from(value.len() + 4).expect("short");
            packet.extend(order.u16(if random.u8(..9) == 0 { random.u16(..) } else { length }));
            packet.extend(order.u16(random.u16(..)));
            packet.extend(&value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        let caplen = u32::try_from(packet.len()).expect("short");
        let mut file = order.pcap(MAGICS[0], (2, 4), 0, NFLOG);
        for len in 0..=caplen {
            file.extend(order.record([1, 2, caplen, len], &packet));
        }
        agree(&format!("packet {number}: {packet:02x?}"), &file);
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let order = Order { big: true };
    let mut file = order.pcap(MAGICS[0], (2, 4), 0, 1);
    file.extend(order.record([1, 2, 4, 4], b"abcd"));
    file.extend(order.record([1, 2, 262_145, 4], b"abcd"));
    let (packets, error) = read(file.as_slice());
    assert_eq!(packets.len(), 1);
    let Some(SourceError::Damaged { name, offset: 44, reason }) = error else { panic!("{error:?}") };
    assert_eq!((name.as_str(), reason.as_str()), ("test", "a record claims a packet of 262145 bytes"));
    for (bytes, remedy) in [
        (&b""[..], "empty"),
        (b"\xa1", "not a capture file"),
        (b"#!/bin/sh\nexit\n", "not a capture file"),
        (b"PK\x03\x04 archive", "unpack"),
        (b"snoop\0\0\0\0\0\0\x02", "editcap"),
    ] {
        let (packets, error) = read(bytes);
        assert!(packets.is_empty());
        let Some(SourceError::Unsupported { reason, .. }) = error else { panic!("{error:?}") };
        assert!(reason.contains(remedy), "{reason}");
    }
}

#[test]
fn a_packet_that_no_segment_can_hold_is_cut_and_counted() {
    const USBPCAP: u32 = 249;
    let order = Order { big: false };
    let mut file = order.pcap(MAGICS[0], (2, 4), 0, USBPCAP);
    file.extend(order.record([1, 2, 300_000, 300_000], &[7; 300_000]));
    file.extend(order.record([1, 3, 4, 4], b"abcd"));
    let mut source = super::CaptureFile::from_reader("test", std::io::Cursor::new(file));
    let (packets, error) = super::drain(&mut source);
    assert!(error.is_none());
    assert_eq!((packets[0].header.caplen, packets[0].header.len), (262_144, 300_000));
    assert_eq!(packets[1].bytes, b"abcd");
    assert_eq!(source.packets_cut(), 1);
}
