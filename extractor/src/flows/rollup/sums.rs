//! Sums of records, as bytes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::{FlowCounters, FlowPart};
use netrewind_flows::tally::{HostTally, SummaryCounts, SummaryTally};
use netrewind_flows::top_flows::{FlowSort, TopFlows};
use netrewind_flows::totals::Totals;
use netrewind_store::catalog::Hour;
use netrewind_store::{Map, Timestamp};

use super::TOP_KEPT;
use super::table::{self, Table, TableValue};
use crate::flows::kept::{self, DocumentReader, DocumentWriter};

/// Entries of a list that are allocated at once: more are allocated as their bytes are read.
const RESERVED_MAX: u64 = 1 << 16;
/// Maximum length of an application's name: that of a label.
const NAME_BYTES_MAX: u64 = 1 << 16;

/// Records that are being added up.
pub(super) struct AggregateBuilder<'q> {
    tally: SummaryTally<'q>,
    tops: [TopFlows<'q>; FlowSort::ALL.len()],
    encapsulations: &'q Encapsulations,
}

impl<'q> AggregateBuilder<'q> {
    pub(super) fn new(encapsulations: &'q Encapsulations) -> Self {
        let top = |(sort, _)| TopFlows::new(sort, TOP_KEPT, None, encapsulations);
        Self { tally: SummaryTally::new(0, encapsulations), tops: FlowSort::ALL.map(top), encapsulations }
    }

    pub(super) fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.tally.take(key, body);
        self.tops.iter_mut().for_each(|top| top.take(key, body));
    }

    /// The bytes; `None` where they would not tell all.
    pub(super) fn finish(self, base: Hour) -> Option<DocumentWriter> {
        let Self { tally, tops, encapsulations } = self;
        let counted = tally.into_counted()?;
        let mut to = DocumentWriter::default();
        counted.totals.write(&mut to);
        to.part(|to| table::write(to, &counted.hosts))?;
        to.part(|to| table::write(to, &counted.edges))?;
        to.part(|to| to.small(&counted));
        to.part(|to| to.tops(tops, encapsulations, base.start()));
        Some(to)
    }
}

/// File of a rollup or a seam.
#[derive(Debug)]
pub(in crate::flows) struct SumsFile {
    pub(super) map: Map,
    /// Times of records count from there.
    pub(super) base: Timestamp,
}

/// The bytes of a sum in such a file.
#[derive(Clone, Debug)]
pub(in crate::flows) struct Aggregate {
    pub(super) file: Arc<SumsFile>,
    pub(super) bytes: Range<usize>,
}

impl Aggregate {
    /// Totals read from the bytes; `None` if they cannot be read, which the checksum excludes.
    pub(in crate::flows) fn sums(&self) -> Option<Sums<'_>> {
        Sums::read(self.file.map.get(self.bytes.clone())?)
    }

    /// Sums, if all of them can be read, and the bytes sent by hosts equal those exchanged by pairs.
    pub(super) fn consistent(&self) -> Option<Sums<'_>> {
        let sums = self.sums()?;
        let (mut sent, mut between) = (0, 0);
        sums.hosts.for_each(|_, host| sent += host.sent_bytes)?;
        sums.edges.for_each(|_, edge| between += edge.bytes)?;
        sums.small()?;
        for (sort, _) in FlowSort::ALL {
            sums.top(sort, usize::MAX, &Encapsulations::default(), self.file.base.ns())?;
        }
        (sent == between && between <= sums.totals.bytes).then_some(sums)
    }

    /// Adds the totals to a list, and the records that may be among its first.
    pub(in crate::flows) fn add_to(&self, top: &mut TopFlows<'_>, encapsulations: &Encapsulations) {
        let Some(sums) = self.sums() else { return };
        top.add_totals(&sums.totals);
        // One more than requested shows whether there is a next page.
        let first = self.top(top.sort(), top.limit().saturating_add(1), encapsulations);
        first.iter().for_each(|part| top.keep(&part.key, &part.body));
    }

    /// First records by a sort order, at most `count`.
    fn top(&self, sort: FlowSort, count: usize, encapsulations: &Encapsulations) -> Vec<FlowPart> {
        let base_ns = self.file.base.ns();
        self.sums().and_then(|sums| sums.top(sort, count, encapsulations, base_ns)).unwrap_or_default()
    }
}

/// Sums of some records.
#[derive(Debug)]
pub(in crate::flows) struct Sums<'b> {
    pub(in crate::flows) totals: Totals,
    pub(in crate::flows) hosts: Table<'b, IpAddr, HostTally>,
    pub(in crate::flows) edges: Table<'b, (IpAddr, IpAddr), Totals>,
    small: &'b [u8],
    tops: &'b [u8],
}

impl<'b> Sums<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut from = DocumentReader(bytes);
        let sums = Self {
            totals: Totals::read(&mut from)?,
            hosts: Table::read(from.part()?)?,
            edges: Table::read(from.part()?)?,
            small: from.part()?,
            tops: from.part()?,
        };
        from.0.is_empty().then_some(sums)
    }

    /// Everything but the tables, which are left empty.
    pub(in crate::flows) fn small(&self) -> Option<SummaryCounts> {
        let mut from = DocumentReader(self.small);
        let counted = SummaryCounts {
            totals: self.totals,
            hosts: Vec::new(),
            edges: Vec::new(),
            ports: from.list(DocumentReader::port)?,
            unlabelled: from.list(DocumentReader::port)?,
            labelled: from.list(|from| {
                let count = usize::try_from(from.count(NAME_BYTES_MAX)?).ok()?;
                let name = String::from_utf8(from.bytes(count)?.to_vec()).ok()?;
                Some((name, Totals::read(from)?))
            })?,
            portless: from.list(|from| {
                let is_other = from.byte()? == 1;
                let ((protocol, detail), totals) = from.port()?;
                Some(((is_other, protocol, detail), totals))
            })?,
        };
        from.0.is_empty().then_some(counted)
    }

    /// First records by a sort order, at most `count`.
    pub(super) fn top(
        &self,
        sort: FlowSort,
        count: usize,
        encapsulations: &Encapsulations,
        base_ns: u64,
    ) -> Option<Vec<FlowPart>> {
        let mut from = DocumentReader(self.tops);
        let documents = usize::try_from(from.number()?).ok()?;
        let ends: &[[u8; 4]] = from.bytes(documents.checked_mul(4)?)?.as_chunks().0;
        let mut lists = DocumentReader(from.part()?);
        let end_of = |number: usize| ends.get(number).map(|end| u32::from_be_bytes(*end) as usize);
        let read = |number: usize| {
            let begin = number.checked_sub(1).map_or(Some(0), end_of)?;
            let document = from.0.get(begin..end_of(number)?)?;
            kept::read(document, encapsulations, base_ns).map(|(part, _)| part)
        };
        for (of, _) in FlowSort::ALL {
            let numbers = lists.list(|from| usize::try_from(from.number()?).ok())?;
            if of == sort {
                return numbers.into_iter().take(count).map(read).collect();
            }
        }
        None
    }
}

impl DocumentWriter {
    /// Writes something behind its length.
    pub(super) fn part<R>(&mut self, write: impl FnOnce(&mut Self) -> R) -> R {
        let mut part = Self::default();
        let written = write(&mut part);
        self.bytes(&part.0);
        written
    }

    /// Bytes behind their number.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn list<T>(
        &mut self,
        entries: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.number(entries.len() as u64);
        entries.for_each(|entry| write(self, entry));
    }

    fn small(&mut self, counted: &SummaryCounts) {
        self.list(counted.ports.iter(), Self::port);
        self.list(counted.unlabelled.iter(), Self::port);
        self.list(counted.labelled.iter(), |to, (name, totals)| {
            to.bytes(name.as_bytes());
            totals.write(to);
        });
        self.list(counted.portless.iter(), |to, ((is_other, protocol, detail), totals)| {
            to.0.push(u8::from(*is_other));
            to.port(&((*protocol, *detail), *totals));
        });
    }

    fn port(&mut self, ((protocol, port), totals): &((u8, u16), Totals)) {
        self.0.push(*protocol);
        self.0.extend_from_slice(&port.to_be_bytes());
        totals.write(self);
    }

    /// Records that are the first by some order, each once, and the orders.
    fn tops(
        &mut self,
        tops: [TopFlows<'_>; FlowSort::ALL.len()],
        encapsulations: &Encapsulations,
        base: Timestamp,
    ) {
        let mut numbers: HashMap<Vec<u8>, u64> = HashMap::new();
        let (mut ends, mut documents, mut lists) = (Vec::new(), Self::default(), Self::default());
        for top in tops {
            lists.list(top.into_parts(), |to, FlowPart { key, body }| {
                let document = kept::write(&key, &body, false, encapsulations, base.ns());
                let next = numbers.len() as u64;
                to.number(*numbers.entry(document).or_insert_with_key(|document| {
                    documents.0.extend_from_slice(document);
                    // At most a few thousand records.
                    ends.extend_from_slice(&(documents.0.len() as u32).to_be_bytes());
                    next
                }));
            });
        }
        self.number(numbers.len() as u64);
        self.0.extend_from_slice(&ends);
        self.bytes(&lists.0);
        self.0.extend_from_slice(&documents.0);
    }
}

impl<'d> DocumentReader<'d> {
    /// Bytes behind their number.
    pub(super) fn part(&mut self) -> Option<&'d [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.bytes(count)
    }

    pub(super) fn list<T>(&mut self, read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut entries = Vec::new();
        self.list_into(&mut entries, read)?;
        Some(entries)
    }

    /// Likewise, adding the entries to others.
    pub(super) fn list_into<T>(
        &mut self,
        to: &mut Vec<T>,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<()> {
        let count = self.count(self.0.len() as u64)?;
        to.reserve(usize::try_from(count.min(RESERVED_MAX)).ok()?);
        for _ in 0..count {
            to.push(read(self)?);
        }
        Some(())
    }

    fn port(&mut self) -> Option<((u8, u16), Totals)> {
        Some(((self.byte()?, u16::from_be_bytes(self.array()?)), Totals::read(self)?))
    }
}
