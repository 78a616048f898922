//! Building an index, record by record, while the segment's bytes are in memory.

mod finish;
mod flow_table;
mod keyed_hash;
mod labelling;
mod message;
mod observer;
mod radix;
mod slots;
mod stream;
mod tables;
mod template_table;

use std::io::Read;

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{Dissection, PacketKey, Shape, dissect_into};
use netrewind_store::{LinkType, Record, RecordReader, Records};

use crate::BuildError;
use crate::checksums::GranuleChecksums;
use crate::layout::SEGMENT_BYTES_MAX;
use finish::assemble;
use flow_table::{BATCH_PACKETS, Pending, without_ends};
use message::Message;
pub use tables::IndexLimits;
use tables::SegmentTables;

#[cfg(test)]
pub(crate) use labelling::{HOLDING_MAX, LABELLING_MAX, TEXT_BYTES_MAX};
#[cfg(test)]
pub(crate) use observer::CONVERSATIONS_MAX;

/// Builds the index of a segment from its records in their order.
#[derive(Clone, Debug)]
pub struct Builder {
    tables: SegmentTables,
    dissection: Dissection,
    /// The last packets pushed: those of a batch are counted into their flows together.
    batch: Box<[Pending; BATCH_PACKETS]>,
    /// How many there are.
    batched: usize,
    share: FlowShare,
}

/// Share of all flows: those between two addresses are in the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowShare {
    /// Number of the share, from zero on.
    pub number: u32,
    /// Number of shares.
    pub of: u32,
}

impl FlowShare {
    /// All flows.
    pub const ALL: Self = Self { number: 0, of: 1 };

    /// True if flows with these ends are in it. Those without ends are in the first.
    fn has(self, key: &PacketKey, shape: Shape) -> bool {
        if self.of <= 1 {
            return true;
        }
        if shape == Shape::None {
            return self.number == 0;
        }
        let [one, other] =
            [key.source, key.destination].map(|address| address as u64 ^ (address >> 64) as u64);
        // The same for both ways.
        let mixed = (one ^ other).wrapping_add(one.wrapping_mul(other)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32 % self.of == self.number
    }
}

impl Builder {
    /// Builder for a segment of this link type. `seed` keeps the senders of packets from foreseeing how flows fall into the
    /// flow table; the index does not depend on it.
    pub fn new(link_type: LinkType, seed: u64) -> Self {
        Self::with_limits(link_type, seed, IndexLimits::default())
    }

    /// Builder with other limits than those of the format.
    pub fn with_limits(link_type: LinkType, seed: u64, limits: IndexLimits) -> Self {
        Self {
            tables: SegmentTables::new(link_type, seed, limits),
            dissection: Dissection::new(link_type),
            batch: Box::default(),
            batched: 0,
            share: FlowShare::ALL,
        }
    }

    /// Counts the packets of this share of the flows only, from now on: their flows are those that they would be among all.
    pub fn count_share(&mut self, share: FlowShare) {
        self.share = share;
    }

    /// Takes packets apart with these ports, from now on.
    pub fn with_ports(self, ports: &TunnelPorts) -> Self {
        Self { tables: SegmentTables { ports: ports.clone(), ..self.tables }, ..self }
    }

    /// Observes nothing: neither round-trip times nor retransmissions nor labels. The flows are the same, the index differs.
    pub fn without_observations(self) -> Self {
        Self { tables: SegmentTables { observer: None, ..self.tables }, ..self }
    }

    /// Takes no checksums of the granules: for records that are in no segment, or in one that still grows.
    pub fn without_checksums(self) -> Self {
        Self { tables: SegmentTables { checksums: None, ..self.tables }, ..self }
    }

    /// Records pushed since the segment began.
    pub fn records(&self) -> u64 {
        self.tables.totals.records
    }

    /// Flows of these records, as far as they have been counted.
    pub fn flows(&self) -> usize {
        self.tables.flows.states.len()
    }

    /// Bytes of the segment so far: offset of the next record.
    pub fn segment_bytes(&self) -> u64 {
        self.tables.totals.segment_bytes
    }

    /// Adds the segment's next record.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>) {
        if let Some(checksums) = &mut self.tables.checksums {
            checksums.add(&record.header.to_bytes());
            checksums.add(record.packet);
        }
        self.take(record);
    }

    /// Adds the segment's next records, and gives the offset of what follows them. Cheaper than one by one: a granule's checksum is taken
    /// where it stands.
    pub fn push_all(&mut self, mut records: Records<'_>) -> u64 {
        let (base, bytes) = (records.offset(), records.bytes());
        let shift = self.tables.limits.granule_shift;
        let mut summed = base;
        let mut add = |checksums: &mut Option<GranuleChecksums>, end: u64| {
            if let Some(checksums) = checksums {
                checksums.add(&bytes[(summed - base) as usize..(end - base) as usize]);
            }
            summed = end;
        };
        let mut granule_end = ((base >> shift) + 1) << shift;
        for record in records.by_ref() {
            self.take(&record);
            // While its bytes are in the cache.
            if record.end() >= granule_end {
                let end = record.end() >> shift << shift;
                add(&mut self.tables.checksums, end);
                granule_end = end + (1 << shift);
            }
        }
        add(&mut self.tables.checksums, records.offset());
        records.offset()
    }

    /// Counts a record, whose bytes are in the checksums or will be.
    #[inline]
    fn take(&mut self, record: &Record<'_>) {
        let tables = &mut self.tables;
        debug_assert_eq!(
            record.offset, tables.totals.segment_bytes,
            "records follow each other without a gap"
        );
        let timestamp = record.header.timestamp();
        tables.count(record, timestamp);
        if tables.totals.segment_bytes > SEGMENT_BYTES_MAX {
            return;
        }
        let granule = tables.enter_granule(record.offset, timestamp);
        let packet = &mut self.dissection;
        dissect_into(packet, &tables.ports, tables.link_type, record.packet, record.header.len);
        let template = tables.templates.find(packet, record.packet);
        let shape = tables.templates.shape(template);
        if !self.share.has(&packet.key, shape) {
            return;
        }
        let flags = packet.tcp_flags.filter(|_| shape != Shape::None);
        let key = tables.flows.key_of(template, shape, &packet.key);
        let without_key = key.is_none();
        let key = key.unwrap_or_else(|| without_ends(tables.templates.without_key(template)));
        let hash = tables.flows.hash(&key);
        let mut message = Message::default();
        if let Some(observer) = &mut tables.observer {
            let payload;
            (message, payload) = Message::read(packet, record.packet);
            observer.payloads.keep(&mut message, hash, [key.source_port, key.destination_port], payload);
        }
        self.batch[self.batched] = Pending {
            key,
            hash,
            flow: 0,
            granule,
            len: record.header.len,
            caplen: record.header.caplen,
            timestamp: timestamp.ns(),
            flags_all: flags.unwrap_or(0xff),
            flags_any: flags.unwrap_or(0),
            fragment: packet.fragment,
            message,
            without_key,
        };
        self.batched += 1;
        if self.batched == BATCH_PACKETS {
            self.count_batch();
        }
    }

    /// The index of the records pushed so far, as the bytes of its file.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        self.finish_segment()
    }

    /// Like [`Self::finish`], and begins an empty segment of the same link type, keeping memory for it.
    pub fn finish_segment(&mut self) -> Result<Vec<u8>, BuildError> {
        self.count_batch();
        let index = assemble(&mut self.tables);
        self.reset();
        index
    }

    /// Like [`Self::finish`], and continues with the same segment.
    pub fn finish_so_far(&mut self) -> Result<Vec<u8>, BuildError> {
        self.count_batch();
        assemble(&mut self.tables.clone())
    }

    /// Forgets all records, and begins an empty segment of the same link type, keeping memory for it.
    pub fn reset(&mut self) {
        self.tables.reset();
        self.batched = 0;
    }

    /// Counts the packets of the batch, however many there are.
    fn count_batch(&mut self) {
        self.tables.count_batch(&mut self.batch[..self.batched]);
        self.batched = 0;
    }
}

/// Builds the index of a whole segment. Fails where the segment ends in the middle of a record.
pub fn build_from<R: Read>(reader: RecordReader<R>, seed: u64) -> Result<Vec<u8>, BuildError> {
    build_with(reader, seed, &TunnelPorts::DEFAULT)
}

/// Does as [`build_from`], with other tunnel ports.
pub fn build_with<R: Read>(
    mut reader: RecordReader<R>,
    seed: u64,
    ports: &TunnelPorts,
) -> Result<Vec<u8>, BuildError> {
    let mut builder = Builder::new(reader.link_type(), seed).with_ports(ports);
    while let Some(records) = reader.ahead()? {
        let end = builder.push_all(records);
        reader.skip_to(end);
    }
    builder.finish()
}
