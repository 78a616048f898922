//! Reads public captures, in the simplest way that gets their packets out.

use std::path::{Path, PathBuf};

use netrewind_store::LinkType;

use crate::Packet;

/// The captures of the corpus; none, after saying so, where there is no corpus.
pub fn paths() -> Vec<PathBuf> {
    let folder = std::env::var_os("NETREWIND_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let mut paths = Vec::new();
    for folder in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let files = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
        paths.extend(files.map(|file| file.path()));
    }
    paths.sort();
    if paths.is_empty() {
        println!("skipped: no captures in {} (set NETREWIND_CORPUS)", folder.display());
    }
    paths
}

/// The packets of a capture that have its first link type.
pub fn read(path: &Path) -> (LinkType, Vec<Packet>) {
    let bytes = std::fs::read(path).unwrap();
    match bytes.get(..4) {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(&bytes),
        _ => pcap(&bytes),
    }
}

fn number(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<u32> {
    let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

fn pcap(bytes: &[u8]) -> (LinkType, Vec<Packet>) {
    let is_big_endian = bytes[0] == 0xa1;
    let number = |at| number(bytes, at, is_big_endian);
    let link_type = LinkType(number(20).unwrap_or(0) as u16);
    let (mut packets, mut at) = (Vec::new(), 24);
    while let (Some(seconds), Some(fraction), Some(caplen), Some(len)) =
        (number(at), number(at + 4), number(at + 8), number(at + 12))
    {
        let Some(packet) = bytes.get(at + 16..at + 16 + caplen as usize) else { break };
        packets.push(Packet { seconds, nanoseconds: fraction % 1_000_000_000, len, bytes: packet.to_vec() });
        at += 16 + caplen as usize;
    }
    (link_type, packets)
}

fn pcapng(bytes: &[u8]) -> (LinkType, Vec<Packet>) {
    let (mut is_big_endian, mut link_types, mut packets, mut at) = (false, Vec::new(), Vec::new(), 0);
    while let Some(block_type) = number(bytes, at, is_big_endian) {
        if block_type == 0x0a0d_0d0a {
            is_big_endian = bytes.get(at + 8) == Some(&0x1a);
        }
        let Some(length) = number(bytes, at + 4, is_big_endian).filter(|&length| length >= 12) else { break };
        let number = |from: usize| number(bytes, at + from, is_big_endian).unwrap_or(0);
        let half = |from: usize| if is_big_endian { number(from) >> 16 } else { number(from) & 0xffff };
        match block_type {
            1 => link_types.push(half(8) as u16),
            6 => {
                let bytes = bytes.get(at + 28..at + 28 + number(20) as usize).unwrap_or(&[]);
                if link_types.get(number(8) as usize) == link_types.first() {
                    let packet = Packet {
                        seconds: number(12),
                        nanoseconds: number(16) % 1_000_000_000,
                        len: number(24),
                        bytes: bytes.to_vec(),
                    };
                    packets.push(packet);
                }
            }
            _ => {}
        }
        at += length as usize;
    }
    (LinkType(link_types.first().copied().unwrap_or(0)), packets)
}
