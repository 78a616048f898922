//! The tables that a segment's records fill, from which its index is assembled.

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::{FILE_HEADER_BYTES, file_header};
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, Record, Timestamp};

use super::flow_table::{FlowTable, Pending};
use super::observer::Observer;
use super::template_table::TemplateTable;
use crate::checksums::GranuleChecksums;
use crate::granules::Granule;
use crate::layout::HEAD_BYTES;
use crate::seconds::Seconds;

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

/// Tables of one segment.
#[derive(Clone, Debug)]
pub(super) struct SegmentTables {
    pub(super) link_type: LinkType,
    pub(super) limits: IndexLimits,
    pub(super) ports: TunnelPorts,
    pub(super) templates: TemplateTable,
    pub(super) flows: FlowTable,
    /// None where nothing is to be observed.
    pub(super) observer: Option<Observer>,
    /// None where the records are in no segment.
    pub(super) checksums: Option<GranuleChecksums>,
    pub(super) granules: Vec<Granule>,
    /// Flows with a packet in each granule, granule after granule.
    pub(super) postings: Vec<u32>,
    /// Start of each granule's postings.
    pub(super) posting_starts: Vec<u32>,
    pub(super) seconds: Seconds,
    pub(super) totals: RecordTotals,
    /// The segment's first bytes.
    pub(super) head: Vec<u8>,
}

/// Totals over all records, for the header of the index.
#[derive(Clone, Debug)]
pub(super) struct RecordTotals {
    pub(super) records: u64,
    pub(super) wire_bytes: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) disorder_ns: u64,
    pub(super) segment_bytes: u64,
    pub(super) last_record: u64,
    pub(super) last_header: [u8; 16],
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

impl SegmentTables {
    pub(super) fn new(link_type: LinkType, seed: u64, limits: IndexLimits) -> Self {
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
            head: file_header(link_type).to_vec(),
        }
    }

    /// Counts the packets of a batch into their flows.
    pub(super) fn count_batch(&mut self, batch: &mut [Pending]) {
        let (postings, starts) = (&mut self.postings, &mut self.posting_starts);
        self.flows.count(batch, &mut self.templates, |flow, granule| {
            if granule as usize >= starts.len() {
                starts.resize(granule as usize + 1, postings.len() as u32);
            }
            postings.push(flow);
        });
        if let Some(observer) = &mut self.observer {
            observer.take_batch(batch, &mut self.flows, &self.templates);
        }
    }

    /// Forgets all records, keeping memory for an empty segment of the same link type.
    pub(super) fn reset(&mut self) {
        self.templates.reset();
        self.flows.reset();
        self.observer.iter_mut().for_each(Observer::reset);
        self.granules.clear();
        self.postings.clear();
        self.posting_starts.clear();
        self.seconds.clear();
        self.totals = RecordTotals::default();
        self.head.truncate(FILE_HEADER_BYTES);
        if let Some(checksums) = &mut self.checksums {
            *checksums = checksums_of(self.link_type, self.limits.granule_shift);
        }
    }

    /// Counts a record into the totals.
    #[inline]
    pub(super) fn count(&mut self, record: &Record<'_>, timestamp: Timestamp) {
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
        self.seconds.count(at / SECOND_NS, u64::from(record.header.len));
        if self.head.len() < HEAD_BYTES {
            self.head.extend_from_slice(&record.header.to_bytes());
            self.head.extend_from_slice(record.packet);
            self.head.truncate(HEAD_BYTES);
        }
    }

    /// Counts a record into the granule in which it begins, and gives that granule's number.
    #[inline]
    pub(super) fn enter_granule(&mut self, offset: u64, timestamp: Timestamp) -> u32 {
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
