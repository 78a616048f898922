//! Packets that are sent over and over, each with its number, so that a missing one is noticed.

use std::path::{Path, PathBuf};

use super::packets::{Packet, write_pcap};
use super::served;

/// Packets of a cycle.
pub const PACKETS: u32 = 4096;
/// One in so many packets is of zeros.
const PACKETS_PER_ZEROS: u32 = 8;
/// Place of a packet's number: behind Ethernet, IPv4 and UDP.
const NUMBER_AT: usize = 42;

/// Writes a capture of one cycle: packets of various lengths.
pub fn capture(folder: &Path) -> PathBuf {
    let packet = |number: u32| {
        let payload_bytes = 40 + (number as usize * 37) % 1300;
        let mut bytes = served::packet(number as usize, payload_bytes).bytes;
        // A sector of zeros within a packet looks like one that a power cut has lost.
        if number.is_multiple_of(PACKETS_PER_ZEROS) {
            bytes[NUMBER_AT..].fill(0);
        }
        bytes[NUMBER_AT..NUMBER_AT + 4].copy_from_slice(&number.to_be_bytes());
        Packet { seconds: 1_700_000_000, nanoseconds: number, len: bytes.len() as u32, bytes }
    };
    let path = folder.join("numbered.pcap");
    let packets: Vec<Packet> = (0..PACKETS).map(packet).collect();
    std::fs::write(&path, write_pcap(1, &packets)).expect("written");
    path
}

/// The number that a packet carries.
pub fn number_of(packet: &Packet) -> u32 {
    number_in(&packet.bytes)
}

/// The same, in a packet's bytes.
pub fn number_in(packet: &[u8]) -> u32 {
    let place = packet.get(NUMBER_AT..NUMBER_AT + 4).expect("a packet of the cycle");
    u32::from_be_bytes(place.try_into().expect("four bytes"))
}

/// Packets from one number to another.
pub fn distance(from: u32, to: u32) -> u32 {
    (to + PACKETS - from) % PACKETS
}

/// Index of the first packet that is not followed by the next number.
pub fn first_gap(numbers: &[u32]) -> Option<usize> {
    numbers.windows(2).position(|pair| distance(pair[0], pair[1]) != 1)
}
