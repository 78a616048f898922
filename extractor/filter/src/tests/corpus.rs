//! Packets of real captures, where there are any.

use std::fs;
use std::path::{Path, PathBuf};

use netrewind_store::LinkType;

/// Packets taken of one capture.
const PACKETS_OF_A_FILE_MAX: usize = 24;

#[derive(Clone, Debug)]
pub struct Packet {
    pub link_type: LinkType,
    pub bytes: Vec<u8>,
    pub wire_len: u32,
}

/// The folder of the corpus, or none, which is said.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("NETREWIND_CORPUS").map_or(beside, PathBuf::from);
    if !folder.is_dir() {
        println!("no corpus at {}: skipped", folder.display());
        return None;
    }
    Some(folder)
}

/// The first packets of every classic capture file of the corpus, and a few made here so that no test runs on nothing.
pub fn packets() -> Vec<Packet> {
    let mut packets = made();
    for file in folder().iter().flat_map(|folder| files(folder)) {
        packets.extend(read(&fs::read(&file).expect("a readable capture")).unwrap_or_default());
    }
    packets
}

/// Only Ethernet packets.
pub fn ethernet() -> Vec<Packet> {
    packets().into_iter().filter(|packet| packet.link_type == LinkType::ETHERNET).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["tcpdump", "arkime", "ndpi"]
        .iter()
        .flat_map(|source| fs::read_dir(folder.join(source)).into_iter().flatten())
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn read(file: &[u8]) -> Option<Vec<Packet>> {
    let big_endian = match file.get(..4)? {
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => true,
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => false,
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = *file.get(at..)?.first_chunk::<4>()?;
        Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let link_type = LinkType((word(20)? & 0xffff) as u16);
    let mut packets = Vec::new();
    let mut at = 24;
    while let (Some(caplen), Some(wire_len)) = (word(at + 8), word(at + 12)) {
        let Some(bytes) = file.get(at + 16..).and_then(|rest| rest.get(..caplen as usize)) else { break };
        if caplen <= 262_144 && packets.len() < PACKETS_OF_A_FILE_MAX {
            packets.push(Packet { link_type, bytes: bytes.to_vec(), wire_len });
        }
        at += 16 + caplen as usize;
    }
    Some(packets)
}

fn made() -> Vec<Packet> {
    let packet =
        |bytes: Vec<u8>| Packet { link_type: LinkType::ETHERNET, wire_len: bytes.len() as u32, bytes };
    vec![
        packet(ipv4(6, [10, 0, 0, 1], [192, 168, 1, 2], 50000, 443)),
        packet(ipv4(17, [10, 0, 0, 1], [8, 8, 8, 8], 50001, 53)),
        packet(ipv6(6, 1, 2, 50002, 22)),
        packet(vec![0xff; 60]),
        packet(vec![0; 14]),
        packet(Vec::new()),
    ]
}

/// An Ethernet frame with 40 bytes behind the network header.
pub fn ipv4(
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    source_port: u16,
    destination_port: u16,
) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    transport(&mut frame, source_port, destination_port);
    frame
}

/// An Ethernet frame between two addresses of 2001:db8::/32.
pub fn ipv6(protocol: u8, source: u8, destination: u8, source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, protocol, 64]);
    for last in [source, destination] {
        frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    transport(&mut frame, source_port, destination_port);
    frame
}

fn transport(frame: &mut Vec<u8>, source_port: u16, destination_port: u16) {
    frame.extend(source_port.to_be_bytes());
    frame.extend(destination_port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 4, 0, 0, 0, 0, 0]);
    frame.extend([0x61; 20]);
}
