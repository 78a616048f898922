//! The index held against slow models of it, over public captures and damaged ones.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of this is tests")]

mod captures;
mod damage;
mod golden;
mod hour;
mod law;
mod lookup;
mod model;

use netrewind_index::{Builder, IndexLimits};
use netrewind_store::{LinkType, Map, Medium, PcapWriter, RecordHeader, Records};

/// A packet to be indexed.
#[derive(Clone, Debug)]
pub struct Packet {
    pub seconds: u32,
    pub nanoseconds: u32,
    pub len: u32,
    pub bytes: Vec<u8>,
}

/// A segment in memory, as an index is compared with it.
pub fn medium(segment: &[u8]) -> Medium {
    Medium::mapped(Map::from_bytes(segment.to_vec()))
}

/// The bytes of a segment that holds these packets.
pub fn segment(link_type: LinkType, packets: &[Packet]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), link_type).unwrap();
    for packet in packets {
        let header = RecordHeader {
            seconds: packet.seconds,
            nanoseconds: packet.nanoseconds,
            caplen: packet.bytes.len() as u32,
            len: packet.len,
        };
        writer.write(&header, &packet.bytes).unwrap();
    }
    writer.finish().unwrap()
}

/// Its index.
pub fn index(link_type: LinkType, segment: &[u8], limits: IndexLimits) -> Vec<u8> {
    let mut builder = Builder::with_limits(link_type, 7, limits);
    Records::of_segment(segment).for_each(|record| builder.push(&record));
    builder.finish().unwrap()
}
