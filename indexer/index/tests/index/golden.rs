//! An index of each version of the format is kept: it must be read, and built again to the same bytes.
//!
//! To add a new version, run with `NETREWIND_WRITE_GOLDEN=1`, which writes its files.

use std::path::{Path, PathBuf};

use netrewind_index::{Index, IndexError, IndexLimits, build_from, build_with};
use netrewind_packet::tunnel::{TunnelPorts, UdpTunnel};
use netrewind_store::{LinkType, RecordReader};

use crate::{Packet, damage, index, model};

fn path(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/version-3").with_extension(extension)
}

/// The packets of [`damage::sample`], some of them in GRE, cut, or long.
fn segment() -> Vec<u8> {
    let mut packets = damage::packets();
    let tunnelled: Vec<Packet> =
        packets[1..40].iter().filter(|packet| packet.bytes[12] != 0x81).cloned().collect();
    for (number, mut packet) in tunnelled.into_iter().enumerate() {
        let mut bytes =
            vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 1, 0, 0, 0, 0, 0, 64, 47, 0, 0];
        bytes.extend([192, 0, 2, number as u8 % 3, 192, 0, 2, 9, 0, 0, 0x65, 0x58]);
        bytes.extend(packet.bytes);
        packet.len = bytes.len() as u32;
        bytes.truncate(if number % 5 == 0 { 90 } else { usize::MAX });
        packet.bytes = bytes;
        packet.seconds += 7;
        packets.push(packet);
    }
    packets[20].bytes.resize(40_000, 1);
    packets[20].len = 40_000;
    crate::segment(LinkType::ETHERNET, &packets)
}

#[test]
fn version_3_is_read_and_built_again() {
    if std::env::var_os("NETREWIND_WRITE_GOLDEN").is_some() {
        let segment = segment();
        std::fs::create_dir_all(path("").parent().unwrap()).unwrap();
        std::fs::write(path("pcap"), &segment).unwrap();
        std::fs::write(path("idx"), index(LinkType::ETHERNET, &segment, IndexLimits::default())).unwrap();
    }
    let segment = std::fs::read(path("pcap")).unwrap();
    let index = std::fs::read(path("idx")).unwrap();
    assert!(build_from(RecordReader::new(&segment[..]).unwrap(), 99).unwrap() == index);
    model::check(LinkType::ETHERNET, &segment, &index, IndexLimits::default());
}

/// An index of before is noticed, and built again from its segment.
#[test]
fn earlier_versions_are_not_believed() {
    for version in [1, 2] {
        let index = std::fs::read(path("idx").with_file_name(format!("version-{version}.idx"))).unwrap();
        assert!(matches!(Index::open(index), Err(IndexError::Version { found, .. }) if found == version));
    }
}

#[test]
fn other_ports_are_noticed() {
    let segment = std::fs::read(path("pcap")).unwrap();
    let built = |ports: &TunnelPorts| build_with(RecordReader::new(&segment[..]).unwrap(), 1, ports).unwrap();
    let other = TunnelPorts::DEFAULT.with(5555, UdpTunnel::Vxlan);
    for (ports, others) in [(&TunnelPorts::DEFAULT, &other), (&other, &TunnelPorts::DEFAULT)] {
        let index = Index::open(built(ports)).unwrap();
        assert_eq!(index.matches_ports(ports), Ok(()));
        assert_eq!(index.matches_ports(others), Err(IndexError::OtherPorts));
    }
}
