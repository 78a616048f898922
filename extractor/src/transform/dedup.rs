//! Packets that were recorded more than once: mirroring both ends of a conversation gives each of its packets twice, in
//! different tunnels.
//!
//! Two packets are the same where they have the same content from the innermost network header on, besides what a hop
//! changes: the time to live (hop limit) and the checksum of the IPv4 header. Outer headers, MAC addresses, VLAN tags and
//! the padding of Ethernet are no part of it. Of what is not IP the type and the payload of the innermost frame have to
//! be the same.
//!
//! A packet is dropped where the answer without this had the same packet before it, at most the window earlier. A
//! retransmission is another packet: its IPv4 identification differs. A sender that leaves the identification zero (as
//! RFC 6864 allows where a datagram is not fragmented) or uses IPv6, and repeats itself to the byte within the window, is
//! taken for one packet: the store still has both.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use netrewind_flows::memory::TableMemory;
use netrewind_packet::bytes::u16_at;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{Peeler, ViewBytes, ipv4_field, ipv6_field, split_type};
use netrewind_store::{LinkType, Timestamp, random_seed};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::memory::{Holding, MemoryAccount};
use crate::query::DedupWindow;

/// Limit on remembered packets: some 100 MB. Beyond it, the oldest is forgotten before its window has passed.
pub const DEDUP_PACKETS_MAX: usize = 1 << 20;

/// Finds the duplicates of an answer. Packets are checked in the answer's order.
#[derive(Debug)]
pub struct Dedup {
    window: DedupWindow,
    peeler: Peeler,
    content: Vec<u8>,
    memory: RecentPackets,
    /// Seed of the content hash, random so that nobody can prepare different packets that hash alike.
    seed: u64,
    dropped: u64,
}

impl Dedup {
    /// Remembers packets for this long; tunnels are found by these ports.
    pub fn new(window: DedupWindow, ports: &TunnelPorts) -> Self {
        Self {
            window,
            peeler: Peeler::new(ports),
            content: Vec::new(),
            memory: RecentPackets::new(Duration::from(window).as_nanos() as u64, DEDUP_PACKETS_MAX),
            seed: random_seed(),
            dropped: 0,
        }
    }

    /// Charges its memory to the account; without room for more it forgets packets earlier.
    pub(crate) fn held_by(mut self, account: &MemoryAccount) -> Self {
        self.memory.holding = Some(account.holding());
        self
    }

    /// True if the answer already had this packet within the window.
    pub fn is_duplicate(&mut self, at: Timestamp, packet: ViewBytes<'_>) -> bool {
        self.content.clear();
        lay_out(&mut self.content, &mut self.peeler, packet);
        let is_duplicate = self.memory.has_seen(at, xxh3_128_with_seed(&self.content, self.seed));
        self.dropped += u64::from(is_duplicate);
        is_duplicate
    }

    /// Number of duplicates.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Notes for the reader of the answer.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let Self { window, dropped, memory, .. } = self;
        let first = format!("{dropped} duplicates within {window} left out; they are still in the store");
        let forgotten = (memory.forgotten_early > 0).then(|| {
            let times = memory.forgotten_early;
            format!(
                "too many packets within {window}: {times} were compared for a shorter time, so some duplicates may remain"
            )
        });
        [first].into_iter().chain(forgotten)
    }
}

/// Lays out the content that the same packet has wherever it is recorded: its type, its length on the wire, its bytes.
fn lay_out(content: &mut Vec<u8>, peeler: &mut Peeler, packet: ViewBytes<'_>) {
    let peeled = peeler.take_apart(packet);
    let Some(datagram) = peeled.datagram() else {
        let innermost = peeled.inner().unwrap_or(packet);
        let (kind, payload) = split_type(innermost);
        let before = innermost.bytes.len() - payload.len();
        content.extend_from_slice(kind);
        content.extend_from_slice(&innermost.len.saturating_sub(before as u32).to_be_bytes());
        content.extend_from_slice(payload);
        return;
    };
    let header = datagram.bytes;
    let length_at = |at| u16_at(header, at).map_or(0, u32::from);
    let (length, changing): (_, &[usize]) = match datagram.link_type {
        LinkType::IPV4 => (length_at(ipv4_field::TOTAL_BYTES), &[8, 10, 11]),
        _ => (payload_to_packet_length(length_at(ipv6_field::PAYLOAD_BYTES)), &[7]),
    };
    // A length of zero stands for one that does not fit (segmentation offload, jumbograms).
    let len = if length == 0 { datagram.len } else { datagram.len.min(length) };
    content.extend_from_slice(&datagram.link_type.0.to_be_bytes());
    content.extend_from_slice(&len.to_be_bytes());
    let begin = content.len();
    content.extend_from_slice(&header[..header.len().min(len as usize)]);
    for offset in changing {
        if let Some(byte) = content.get_mut(begin + offset) {
            *byte = 0;
        }
    }
}

fn payload_to_packet_length(payload_bytes: u32) -> u32 {
    if payload_bytes == 0 { 0 } else { ipv6_field::HEADER_BYTES as u32 + payload_bytes }
}

/// The packets of the last while.
#[derive(Debug)]
struct RecentPackets {
    window_ns: u64,
    packets_max: usize,
    /// In the order of the answer.
    packets: VecDeque<(u128, Timestamp)>,
    /// The number of the first of these since the beginning.
    first_number: u64,
    /// The number of the latest packet with each content.
    latest: HashMap<u128, u64>,
    forgotten_early: u64,
    holding: Option<Holding>,
}

impl RecentPackets {
    fn new(window_ns: u64, packets_max: usize) -> Self {
        Self {
            window_ns,
            packets_max,
            packets: VecDeque::new(),
            first_number: 0,
            latest: HashMap::new(),
            forgotten_early: 0,
            holding: None,
        }
    }

    /// Makes room for one more packet.
    fn grow(&mut self) {
        const ENTRY_BYTES: usize = size_of::<(u128, u64)>() + size_of::<(u128, Timestamp)>();
        let Some(holding) = &mut self.holding else { return };
        if self.latest.len() < self.latest.capacity() {
            return;
        }
        if holding.may_grow(self.latest.capacity().max(1), ENTRY_BYTES) {
            self.latest.reserve(1);
            holding.has_grown(self.latest.capacity(), ENTRY_BYTES);
        } else if !self.packets.is_empty() {
            self.forget_first();
            self.forgotten_early += 1;
        }
    }

    /// Remembers a packet; true if the same one was seen within the window.
    fn has_seen(&mut self, at: Timestamp, content: u128) -> bool {
        while self.packets.front().is_some_and(|(_, seen)| at.ns().saturating_sub(seen.ns()) > self.window_ns)
        {
            self.forget_first();
        }
        self.grow();
        let number = self.first_number + self.packets.len() as u64;
        self.packets.push_back((content, at));
        let has_seen = self.latest.insert(content, number).is_some();
        if self.packets.len() > self.packets_max {
            self.forget_first();
            self.forgotten_early += 1;
        }
        has_seen
    }

    fn forget_first(&mut self) {
        if let Some((content, _)) = self.packets.pop_front() {
            if self.latest.get(&content) == Some(&self.first_number) {
                self.latest.remove(&content);
            }
            self.first_number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(memory: &mut RecentPackets, packets: &[(u64, u128)]) -> Vec<bool> {
        packets.iter().map(|&(at, content)| memory.has_seen(Timestamp(at), content)).collect()
    }

    #[test]
    fn the_window_reaches_back_from_each_packet() {
        let mut memory = RecentPackets::new(5, 100);
        let packets = [(0, 1), (0, 1), (0, 2), (5, 1), (10, 1), (16, 1), (16, 2), (17, 2)];
        assert_eq!(seen(&mut memory, &packets), [false, true, false, true, true, false, false, true]);
        assert_eq!((memory.packets.len(), memory.latest.len(), memory.forgotten_early), (3, 2, 0));
    }

    #[test]
    fn what_is_too_much_is_forgotten_and_counted() {
        let mut memory = RecentPackets::new(1000, 2);
        let packets = [(0, 1), (1, 2), (2, 1), (3, 3), (4, 2), (5, 3), (6, 3)];
        // Those of time 2 and 5 find the one that is about to be forgotten, that of time 4 does not.
        assert_eq!(seen(&mut memory, &packets), [false, false, true, false, false, true, true]);
        assert_eq!((memory.packets.len(), memory.latest.len(), memory.forgotten_early), (2, 1, 5));
    }

    #[test]
    fn windows_have_bounds() {
        let window = |ns| DedupWindow::try_from(Duration::from_nanos(ns));
        assert!(window(0).is_err() && window(10_000_000_001).is_err());
        assert!(window(1).is_ok() && window(10_000_000_000).is_ok());
        let read = |text| serde_json::from_str::<DedupWindow>(text);
        assert_eq!(read(r#"{"secs":0,"nanos":5000000}"#).unwrap(), window(5_000_000).unwrap());
        assert!(read(r#"{"secs":11,"nanos":0}"#).is_err());
        assert_eq!(window(5_000_000).unwrap().to_string(), "5ms");
    }
}
