//! pcapng of several interfaces, link types, sections and byte orders, where tcpdump gives up.

use std::borrow::Cow;
use std::io::Cursor;
use std::process::Command;
use std::time::Duration;

use netrewind_store::LinkType;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::{DataLink, Endianness};

use super::{CaptureFile, Owned, corpus, drain, read, tcpdump};
use crate::source::{Received, SourceError};

const PPP: LinkType = LinkType(9);
const PPP_HDLC: LinkType = LinkType(50);

/// mergecap appends captures into one pcapng with an interface for each, in its own reading of their link types.
#[test]
fn merged_captures_read_as_the_captures_they_came_from() {
    let chosen: Vec<_> = corpus().into_iter().step_by(5).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let merged = folder.path().join("merged.pcapng");
    let mut command = Command::new("mergecap");
    command.args(["-a", "-F", "pcapng", "-I", "none", "-w"]).arg(&merged);
    let ran = command.args(chosen.iter().map(|(path, _)| path)).status();
    if chosen.is_empty() || !ran.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mergecap does not run");
        return;
    }
    let Some(expected) = chosen.iter().map(|(_, bytes)| Some(tcpdump(bytes)?.0)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let expected: Vec<Owned> = expected.concat();
    let mut file = CaptureFile::open(&merged).expect("opened");
    let (found, error) = drain(&mut file);
    assert!(error.is_none(), "{error:?}");
    assert!(file.interfaces().len() >= chosen.len());
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(as_merged(found, expected), as_merged(expected, found), "packet {number}");
    }
}

/// Wireshark does not cut packets to the snaplen of a pcap file, mends lengths on the wire below the captured one, and has
/// one number for the two link types of PPP.
fn as_merged(packet: &Owned, other: &Owned) -> Owned {
    let mut packet = packet.clone();
    packet.header.caplen = packet.header.caplen.min(other.header.caplen);
    packet.bytes.truncate(packet.header.caplen as usize);
    packet.header.len = packet.header.len.max(packet.header.caplen);
    if packet.link_type == PPP_HDLC {
        packet.link_type = PPP;
    }
    packet
}

#[test]
fn concatenated_files_read_one_after_the_other() {
    let files: Vec<_> =
        corpus().into_iter().filter(|(_, bytes)| bytes.starts_with(b"\x0a\x0d\x0d\x0a")).collect();
    if files.is_empty() {
        return;
    }
    let expected: Vec<_> = files.iter().flat_map(|(_, bytes)| read(bytes.as_slice()).0).collect();
    let (found, error) = read(files.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>());
    assert!(error.is_none(), "{error:?}");
    assert!(found == expected);
}

/// One section as `pcap-file` writes it: two interfaces of two link types and clocks, one packet on each.
fn section(endianness: Endianness) -> Vec<u8> {
    let interface = |link_type, name, resolution, offset| {
        let mut block = InterfaceDescriptionBlock::new(link_type, 0);
        block.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(resolution),
            InterfaceDescriptionOption::IfTsOffset(offset),
            InterfaceDescriptionOption::IfFcsLen(32),
        ];
        block
    };
    let packet = |interface_id, timestamp, len, bytes: &'static [u8]| EnhancedPacketBlock {
        interface_id,
        timestamp,
        original_len: len,
        data: Cow::Borrowed(bytes),
        options: Vec::new(),
    };
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).expect("a writer");
    writer
        .write_pcapng_block(interface(DataLink::ETHERNET, "eth0", InterfaceTsResolution::NANO, 0))
        .and_then(|_| {
            writer.write_pcapng_block(interface(DataLink::IPV4, "tun0", InterfaceTsResolution::MICRO, 100))
        })
        .and_then(|_| writer.write_pcapng_block(packet(1, Duration::new(300, 5_000), 99, b"four")))
        .and_then(|_| writer.write_pcapng_block(packet(0, Duration::new(301, 7), 5, b"ether")))
        .expect("written");
    writer.into_inner()
}

#[test]
fn sections_of_both_byte_orders_name_their_interfaces() {
    let bytes = [section(Endianness::Little), section(Endianness::Big), section(Endianness::Little)].concat();
    let mut file = CaptureFile::from_reader("test", Cursor::new(bytes));
    let mut seen = Vec::new();
    let received = file.receive_with_interface(Duration::ZERO, &mut |interface, packet| {
        let header = packet.header;
        assert_eq!(interface.fcs_bits, Some(32));
        assert_eq!(interface.link_type, packet.link_type);
        seen.push((
            interface.name.clone().unwrap_or_default(),
            interface.link_type.0,
            (header.seconds, header.nanoseconds, header.caplen, header.len),
            packet.head.to_vec(),
        ));
    });
    assert!(matches!(received, Ok(Received::Packets(6))));
    for section in seen.chunks(2) {
        let tunnel = ("tun0".to_owned(), 228, (300, 5_000, 4, 99), b"four".to_vec());
        let ethernet = ("eth0".to_owned(), 1, (301, 7, 5, 5), b"ether".to_vec());
        assert_eq!(section, [tunnel, ethernet]);
    }
}

#[test]
fn a_packet_of_an_interface_that_the_section_lacks_is_damage() {
    let whole = section(Endianness::Big);
    let order = super::build::Order { big: true };
    let bytes = [whole.clone(), order.section(), order.enhanced_packet(0, 1, [1, 1], b"x")].concat();
    let (packets, error) = read(bytes);
    assert_eq!(packets.len(), 2);
    let expected = whole.len() as u64 + 28;
    assert!(matches!(error, Some(SourceError::Damaged { offset, .. }) if offset == expected), "{error:?}");
}
