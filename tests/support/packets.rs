//! Packets as the tests see them, read by code that the project does not share.

/// A packet of a capture file.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Seconds and nanoseconds, as the file has them.
    pub seconds: u32,
    pub nanoseconds: u32,
    /// Length on the wire.
    pub len: u32,
    /// The bytes captured.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// Nanoseconds since the Unix epoch.
    pub fn at_ns(&self) -> u64 {
        u64::from(self.seconds) * 1_000_000_000 + u64::from(self.nanoseconds)
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.bytes[..self.bytes.len().min(64)];
        let (seconds, nanoseconds, len, caplen) =
            (self.seconds, self.nanoseconds, self.len, self.bytes.len());
        write!(f, "{seconds}.{nanoseconds:09} len {len} caplen {caplen} {head:02x?}")
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads a whole little-endian nanosecond pcap file: what tcpdump and netrewind write here.
pub fn read_pcap(file: &[u8]) -> Vec<Packet> {
    assert!(file.len() >= 24, "no pcap file: {} bytes", file.len());
    assert_eq!(u32_at(file, 0), 0xa1b2_3c4d, "nanosecond pcap");
    let mut packets = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let caplen = u32_at(file, at + 8) as usize;
        packets.push(Packet {
            seconds: u32_at(file, at),
            nanoseconds: u32_at(file, at + 4),
            len: u32_at(file, at + 12),
            bytes: file[at + 16..at + 16 + caplen].to_vec(),
        });
        at += 16 + caplen;
    }
    packets
}

/// Reads what netrewind writes as pcapng: little endian, enhanced packet blocks, nanoseconds; with the link type of each
/// packet's interface.
pub fn read_pcapng(file: &[u8]) -> Vec<(u32, Packet)> {
    let (mut link_types, mut packets, mut at) = (Vec::new(), Vec::new(), 0);
    while at < file.len() {
        let (kind, length) = (u32_at(file, at), u32_at(file, at + 4) as usize);
        let body = &file[at + 8..at + length - 4];
        match kind {
            1 => link_types.push(u32_at(body, 0) & 0xffff),
            6 => {
                let ns = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
                let caplen = u32_at(body, 12) as usize;
                let packet = Packet {
                    seconds: u32::try_from(ns / 1_000_000_000).expect("seconds"),
                    nanoseconds: (ns % 1_000_000_000) as u32,
                    len: u32_at(body, 16),
                    bytes: body[20..20 + caplen].to_vec(),
                };
                packets.push((link_types[u32_at(body, 0) as usize], packet));
            }
            _ => {}
        }
        at += length;
    }
    packets
}

/// The link type that a pcap file names.
pub fn link_type(file: &[u8]) -> u32 {
    u32_at(file, 20)
}

/// Writes packets as a little-endian nanosecond pcap file.
pub fn write_pcap(link_type: u32, packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d, 2 | 4 << 16, 0, 0, 262_144, link_type] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for packet in packets {
        let caplen = u32::try_from(packet.bytes.len()).expect("a short packet");
        for word in [packet.seconds, packet.nanoseconds, caplen, packet.len] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&packet.bytes);
    }
    file
}

/// Asserts that two lists of packets are the same, naming the first that differs.
pub fn assert_same(found: &[Packet], wanted: &[Packet], what: &str) {
    if let Some(at) = (0..found.len().min(wanted.len())).find(|&i| found[i] != wanted[i]) {
        panic!("{what}: packet {at} is\n  {:?}\nand should be\n  {:?}", found[at], wanted[at]);
    }
    assert_eq!(found.len(), wanted.len(), "{what}: as many packets");
}

/// Ethernet, IPv4 and TCP around some bytes: when, the ends (sender first), sequence and acknowledgement numbers, flags.
pub fn tcp(
    at: (u32, u32),
    ends: [([u8; 4], u16); 2],
    numbers: (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Packet {
    let [(source, source_port), (destination, destination_port)] = ends;
    let mut bytes = [&[2, 0], &destination[..], &[2, 0], &source, &[8, 0, 0x45, 0]].concat();
    bytes.extend(u16::try_from(40 + payload.len()).expect("short").to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(destination_port.to_be_bytes());
    bytes.extend(numbers.0.to_be_bytes());
    bytes.extend(numbers.1.to_be_bytes());
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    let len = u32::try_from(bytes.len()).expect("short");
    Packet { seconds: at.0, nanoseconds: at.1, len, bytes }
}
