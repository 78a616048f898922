//! Building an index, record by record, while the segment's bytes are in memory.

mod finish;
mod flow_table;
mod labelling;
mod message;
mod observer;
mod radix;
mod slots;
mod stream;
mod template_table;

use std::io::Read;

use netrewind_store::layout::{FILE_HEADER_BYTES, file_header};
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, Record, RecordReader, Timestamp};

use crate::BuildError;
use crate::checksums::GranuleChecksums;
use crate::granules::Granule;
use crate::layout::{HEAD_BYTES, SEGMENT_BYTES_MAX};
use crate::seconds::Seconds;
use flow_table::{BATCH_PACKETS, FlowTable, Pending};
use message::Message;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{Dissection, Shape, dissect_into};
use observer::Observer;
use template_table::TemplateTable;

#[cfg(test)]
pub(crate) use labelling::{HOLDING_MAX, LABELLING_MAX, TEXT_BYTES_MAX};
#[cfg(test)]
pub(crate) use observer::CONVERSATIONS_MAX;

/// The numbers that bound an index. They are part of the format: the same segment gives the same index only with the
/// same limits, so that everything but tests and measurements uses the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// Granules are 2^this bytes.
    pub granule_shift: u8,
    /// Largest number of flows with a key. Packets of further flows are counted in a flow of their template without a key.
    pub flows_max: u32,
    /// Largest number of templates kept whole. As many again are kept without Ethernet addresses and tunnel ids; packets beyond
    /// those have a template without any known bytes.
    pub templates_max: u32,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { granule_shift: 14, flows_max: 4 << 20, templates_max: 16 << 10 }
    }
}

/// Builds the index of a segment from its records in their order.
#[derive(Clone, Debug)]
pub struct Builder {
    link_type: LinkType,
    limits: IndexLimits,
    ports: TunnelPorts,
    templates: TemplateTable,
    flows: FlowTable,
    /// None where nothing is to be observed.
    observer: Option<Observer>,
    /// None where the records are in no segment.
    checksums: Option<GranuleChecksums>,
    granules: Vec<Granule>,
    /// Flows with a packet in each granule, granule after granule.
    postings: Vec<u32>,
    /// Start of each granule's postings.
    posting_starts: Vec<u32>,
    seconds: Seconds,
    totals: RecordTotals,
    dissection: Dissection,
    /// The last packets pushed: those of a batch are counted into their flows together.
    batch: Vec<Pending>,
    /// The segment's first bytes.
    head: Vec<u8>,
}

/// Totals over all records, for the header of the index.
#[derive(Clone, Debug)]
struct RecordTotals {
    records: u64,
    wire_bytes: u64,
    first: u64,
    last: u64,
    disorder_ns: u64,
    segment_bytes: u64,
    last_record: u64,
    last_header: [u8; 16],
}

impl Default for RecordTotals {
    fn default() -> Self {
        Self {
            records: 0,
            wire_bytes: 0,
            first: u64::MAX,
            last: 0,
            disorder_ns: 0,
            segment_bytes: FILE_HEADER_BYTES as u64,
            last_record: 0,
            last_header: [0; 16],
        }
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
            link_type,
            limits,
            ports: TunnelPorts::DEFAULT,
            templates: TemplateTable::new(link_type, seed, limits.templates_max),
            flows: FlowTable::new(seed, limits.flows_max),
            observer: Some(Observer::new(seed)),
            checksums: Some(checksums_of(link_type, limits.granule_shift)),
            granules: Vec::new(),
            postings: Vec::new(),
            posting_starts: Vec::new(),
            seconds: Seconds::default(),
            totals: RecordTotals::default(),
            dissection: Dissection::new(link_type),
            batch: Vec::with_capacity(BATCH_PACKETS),
            head: file_header(link_type).to_vec(),
        }
    }

    /// Takes packets apart with these ports, from now on.
    pub fn with_ports(self, ports: &TunnelPorts) -> Self {
        Self { ports: ports.clone(), ..self }
    }

    /// Observes nothing: neither round-trip times nor retransmissions nor labels. The flows are the same, the index differs.
    pub fn without_observations(self) -> Self {
        Self { observer: None, ..self }
    }

    /// Takes no checksums of the granules: for records that are in no segment, or in one that still grows.
    pub fn without_checksums(self) -> Self {
        Self { checksums: None, ..self }
    }

    /// Records pushed since the segment began.
    pub fn records(&self) -> u64 {
        self.totals.records
    }

    /// Flows of these records, as far as they have been counted.
    pub fn flows(&self) -> usize {
        self.flows.states.len()
    }

    /// Bytes of the segment so far: offset of the next record.
    pub fn segment_bytes(&self) -> u64 {
        self.totals.segment_bytes
    }

    /// Adds the segment's next record.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>) {
        debug_assert_eq!(record.offset, self.totals.segment_bytes, "records follow each other without a gap");
        let timestamp = record.header.timestamp();
        self.count(record, timestamp);
        if self.totals.segment_bytes > SEGMENT_BYTES_MAX {
            return;
        }
        let granule = self.enter_granule(record.offset, timestamp);
        let packet = &mut self.dissection;
        dissect_into(packet, &self.ports, self.link_type, record.packet, record.header.len);
        let template = self.templates.find(packet, record.packet);
        let shape = self.templates.shape(template);
        let flags = packet.tcp_flags.filter(|_| shape != Shape::None);
        let mut pending = Pending {
            granule,
            len: record.header.len,
            caplen: record.header.caplen,
            timestamp: timestamp.ns(),
            flags_all: flags.unwrap_or(0xff),
            flags_any: flags.unwrap_or(0),
            fragment: packet.fragment,
            ..Pending::default()
        };
        pending.set_key(template, shape, &packet.key, &mut self.flows, &mut self.templates);
        if let Some(observer) = &mut self.observer {
            let (message, payload) = Message::read(packet, record.packet);
            pending.message = message;
            let ports = [pending.key.source_port, pending.key.destination_port];
            observer.payloads.keep(&mut pending.message, pending.hash, ports, payload);
        }
        self.batch.push(pending);
        if self.batch.len() == BATCH_PACKETS {
            self.count_batch();
        }
    }

    fn count_batch(&mut self) {
        let (postings, starts) = (&mut self.postings, &mut self.posting_starts);
        self.flows.count(&mut self.batch, &mut self.templates, |flow, granule| {
            if granule as usize >= starts.len() {
                starts.resize(granule as usize + 1, postings.len() as u32);
            }
            postings.push(flow);
        });
        if let Some(observer) = &mut self.observer {
            observer.take_batch(&self.batch, &mut self.flows, &self.templates);
        }
        self.batch.clear();
    }

    /// The index of the records pushed so far, as the bytes of its file.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        self.finish_segment()
    }

    /// Like [`Self::finish`], and begins an empty segment of the same link type, keeping memory for it.
    pub fn finish_segment(&mut self) -> Result<Vec<u8>, BuildError> {
        self.count_batch();
        let index = finish::assemble(self);
        self.reset();
        index
    }

    /// Like [`Self::finish`], and continues with the same segment.
    pub fn finish_so_far(&mut self) -> Result<Vec<u8>, BuildError> {
        self.count_batch();
        let mut so_far = self.clone();
        finish::assemble(&mut so_far)
    }

    /// Forgets all records, and begins an empty segment of the same link type, keeping memory for it.
    pub fn reset(&mut self) {
        self.templates.reset();
        self.flows.reset();
        self.observer.iter_mut().for_each(Observer::reset);
        self.granules.clear();
        self.postings.clear();
        self.posting_starts.clear();
        self.seconds.clear();
        self.totals = RecordTotals::default();
        self.batch.clear();
        self.head.truncate(FILE_HEADER_BYTES);
        if let Some(checksums) = &mut self.checksums {
            *checksums = checksums_of(self.link_type, self.limits.granule_shift);
        }
    }

    #[inline]
    fn count(&mut self, record: &Record<'_>, timestamp: Timestamp) {
        let totals = &mut self.totals;
        let at = timestamp.ns();
        totals.records += 1;
        totals.wire_bytes += u64::from(record.header.len);
        totals.first = totals.first.min(at);
        totals.disorder_ns = totals.disorder_ns.max(totals.last.saturating_sub(at));
        totals.last = totals.last.max(at);
        totals.last_record = record.offset;
        totals.last_header = record.header.to_bytes();
        totals.segment_bytes = record.end();
        if let Some(checksums) = &mut self.checksums {
            checksums.add(&totals.last_header);
            checksums.add(record.packet);
        }
        self.seconds.count(at / SECOND_NS, u64::from(record.header.len));
        if self.head.len() < HEAD_BYTES {
            self.head.extend_from_slice(&record.header.to_bytes());
            self.head.extend_from_slice(record.packet);
            self.head.truncate(HEAD_BYTES);
        }
    }

    /// Counts a record into the granule in which it begins, and gives that granule's number.
    #[inline]
    fn enter_granule(&mut self, offset: u64, timestamp: Timestamp) -> u32 {
        let number = (offset >> self.limits.granule_shift) as usize;
        if number >= self.granules.len() {
            self.begin_granule(number, offset, timestamp);
        }
        if let Some(granule) = self.granules.last_mut() {
            granule.records += 1;
            granule.first = granule.first.min(timestamp);
            granule.last = granule.last.max(timestamp);
        }
        number as u32
    }

    #[cold]
    fn begin_granule(&mut self, number: usize, offset: u64, timestamp: Timestamp) {
        let empty = Granule { offset, records: 0, first: timestamp, last: timestamp };
        self.granules.resize(number + 1, empty);
    }
}

/// The checksums of a segment that consists only of the file header.
fn checksums_of(link_type: LinkType, granule_shift: u8) -> GranuleChecksums {
    let mut checksums = GranuleChecksums::new(1 << granule_shift);
    checksums.add(&file_header(link_type));
    checksums
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
    while let Some(record) = reader.next_record()? {
        builder.push(&record);
    }
    builder.finish()
}
