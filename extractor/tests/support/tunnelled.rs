//! Frames sent through tunnels whose packets do not fit the path: what arrives of them.

use netrewind_store::{LinkType, RecordHeader, Timestamp};

use super::{Chance, Stored};

/// What is put around a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vxlan,
    L2Gre,
    Erspan,
}

pub const KINDS: [Kind; 3] = [Kind::Vxlan, Kind::L2Gre, Kind::Erspan];

/// One tunnel between two hosts, on a path with a certain MTU.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub kind: Kind,
    pub is_ipv6: bool,
    /// An IPv6 hop-by-hop header stands before the fragment header.
    pub has_options: bool,
    pub id: u32,
    /// Bytes of payload in a fragment: a multiple of 8.
    pub part_bytes: usize,
}

impl Path {
    /// Bytes between the IP header and the frame.
    pub fn header(&self, frame: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::L2Gre => vec![0x20, 0, 0x65, 0x58, 0, 0, 0xbe, 0xef],
            Kind::Erspan => vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 7, 0x10, 0x05, 0, 99, 0, 0, 0, 1],
            Kind::Vxlan => {
                let udp_bytes = (16 + frame.len()) as u16;
                let mut header = vec![0xc0, 0x01, 0x12, 0xb5];
                header.extend(udp_bytes.to_be_bytes());
                header.extend([0, 0, 8, 0, 0, 0, 0, 0, 42, 0]);
                header
            }
        }
    }

    /// The frames that carry a frame.
    pub fn wrap(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let payload = [self.header(frame), frame.to_vec()].concat();
        let parts = payload.chunks(self.part_bytes).count();
        let of_part = |(number, part): (usize, &[u8])| {
            self.packet(number * self.part_bytes, number + 1 < parts, part, parts > 1)
        };
        payload.chunks(self.part_bytes).enumerate().map(of_part).collect()
    }

    /// One frame with a part of the payload.
    pub fn packet(&self, offset: usize, more: bool, part: &[u8], is_fragment: bool) -> Vec<u8> {
        let protocol = if self.kind == Kind::Vxlan { 17 } else { 47 };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if !self.is_ipv6 {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(((20 + part.len()) as u16).to_be_bytes());
            frame.extend((self.id as u16).to_be_bytes());
            frame.extend(((offset / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
            frame.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            return [frame, part.to_vec()].concat();
        }
        let mut extensions = Vec::new();
        let next = if is_fragment { 44 } else { protocol };
        if self.has_options {
            extensions.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        if is_fragment {
            extensions.extend([protocol, 0]);
            extensions.extend((offset as u16 | u16::from(more)).to_be_bytes());
            extensions.extend(self.id.to_be_bytes());
        }
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(((extensions.len() + part.len()) as u16).to_be_bytes());
        frame.extend([if self.has_options { 0 } else { next }, 64]);
        frame.extend([[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[1]].concat());
        frame.extend([[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[2]].concat());
        [frame, extensions, part.to_vec()].concat()
    }
}

pub fn random_path(chance: &mut Chance, id: u32, parts: &[usize]) -> Path {
    let part_bytes = *chance.pick(parts);
    let kind = *chance.pick(&KINDS);
    Path { kind, is_ipv6: chance.one_in(2), has_options: chance.one_in(2), id, part_bytes }
}

/// A frame with a UDP datagram of 10.0.0.`host`; of random content, without padding.
pub fn random_frame(chance: &mut Chance, payload_bytes: usize) -> Vec<u8> {
    let host = chance.below(4) as u8;
    let mut frame = vec![2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0, 0x45, 0];
    frame.extend(((28 + payload_bytes) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, host, 10, 0, 1, 1, 0x30, 0x39, 0x30, 0x3a]);
    frame.extend(((8 + payload_bytes) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload_bytes).map(|_| chance.next() as u8));
    frame
}

/// As received so many nanoseconds after a certain instant.
pub fn received(bytes: &[u8], at_ns: u64) -> Stored {
    let len = bytes.len() as u32;
    let at = Timestamp(1_795_339_862_000_000_000 + at_ns);
    let header = RecordHeader {
        seconds: (at.ns() / 1_000_000_000) as u32,
        nanoseconds: (at.ns() % 1_000_000_000) as u32,
        caplen: len,
        len,
    };
    Stored { header, bytes: bytes.to_vec(), link_type: LinkType::ETHERNET }
}
