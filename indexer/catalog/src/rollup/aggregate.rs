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
use netrewind_store::Timestamp;
use netrewind_store::catalog::Hour;

use super::count_table::{self, Table, TableForm, TableValue};
use crate::document::{DocumentReader, DocumentWriter};
use crate::record;
use crate::sums_file::SumsFile;

/// Number of an hour's first records kept for each sort order; one more is kept.
pub const TOP_KEPT: usize = 1000;
/// Maximum length of an application's name: that of a label.
const NAME_BYTES_MAX: u64 = 1 << 16;

/// Records that are being added up.
pub struct AggregateBuilder<'q> {
    tally: SummaryTally<'q>,
    tops: [TopFlows<'q>; FlowSort::ALL.len()],
    encapsulations: &'q Encapsulations,
}

impl<'q> AggregateBuilder<'q> {
    /// Adds nothing up yet.
    pub fn new(encapsulations: &'q Encapsulations) -> Self {
        let top = |(sort, _)| TopFlows::new(sort, TOP_KEPT, None, encapsulations);
        Self { tally: SummaryTally::new(0, encapsulations), tops: FlowSort::ALL.map(top), encapsulations }
    }

    /// Adds a record.
    pub fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.tally.take(key, body);
        self.tops.iter_mut().for_each(|top| top.take(key, body));
    }

    /// The bytes; `None` where they would not tell all.
    pub fn finish(self, base: Hour) -> Option<DocumentWriter> {
        let Self { tally, tops, encapsulations } = self;
        let counted = tally.into_counted()?;
        let mut to = DocumentWriter::default();
        counted.totals.write(&mut to);
        to.part(|to| count_table::write(to, &counted.hosts))?;
        to.part(|to| count_table::write(to, &counted.edges))?;
        to.part(|to| write_small(to, &counted));
        to.part(|to| write_tops(to, tops, encapsulations, base.start()));
        Some(to)
    }
}

/// The bytes of a sum in such a file.
#[derive(Clone, Debug)]
pub struct Aggregate {
    pub(crate) file: Arc<SumsFile>,
    pub(crate) bytes: Range<usize>,
    pub(crate) form: TableForm,
}

impl Aggregate {
    /// File that it was read from.
    pub fn file(&self) -> &Arc<SumsFile> {
        &self.file
    }

    /// Totals read from the bytes; `None` if they cannot be read, which the checksum excludes.
    pub fn sums(&self) -> Option<Sums<'_>> {
        Sums::read(self.file.map.get(self.bytes.clone())?, self.form)
    }

    /// Sums, if all of them can be read, and the bytes sent by hosts equal those exchanged by pairs.
    pub fn consistent(&self) -> Option<Sums<'_>> {
        let sums = self.sums()?;
        let (mut sent, mut between) = (0u64, 0u64);
        sums.hosts.for_each(|_, host| sent = sent.saturating_add(host.sent_bytes))?;
        sums.edges.for_each(|_, edge| between = between.saturating_add(edge.bytes))?;
        sums.small()?;
        for (sort, _) in FlowSort::ALL {
            sums.top(sort, usize::MAX, &Encapsulations::default(), self.file.base().ns())?;
        }
        (sent == between && between <= sums.totals.bytes).then_some(sums)
    }

    /// Adds the totals to a list, and the records that may be among its first.
    pub fn add_to(&self, top: &mut TopFlows<'_>, encapsulations: &Encapsulations) {
        let Some(sums) = self.sums() else { return };
        top.add_totals(&sums.totals);
        // One more than requested shows whether there is a next page.
        let first = self.top(top.sort(), top.limit().saturating_add(1), encapsulations);
        first.iter().for_each(|part| top.keep(&part.key, &part.body));
    }

    /// First records by a sort order, at most `count`.
    fn top(&self, sort: FlowSort, count: usize, encapsulations: &Encapsulations) -> Vec<FlowPart> {
        let base_ns = self.file.base().ns();
        self.sums().and_then(|sums| sums.top(sort, count, encapsulations, base_ns)).unwrap_or_default()
    }
}

/// Sums of some records.
#[derive(Debug)]
pub struct Sums<'b> {
    /// Totals of all records.
    pub totals: Totals,
    /// Counts by host.
    pub hosts: Table<'b, IpAddr, HostTally>,
    /// Totals by pair of hosts.
    pub edges: Table<'b, (IpAddr, IpAddr), Totals>,
    small: &'b [u8],
    tops: &'b [u8],
}

impl<'b> Sums<'b> {
    /// Reads them; `None` if the bytes are no sums.
    pub fn read(bytes: &'b [u8], form: TableForm) -> Option<Self> {
        let mut from = DocumentReader(bytes);
        let sums = Self {
            totals: Totals::read(&mut from)?,
            hosts: Table::read(from.part()?, form)?,
            edges: Table::read(from.part()?, form)?,
            small: from.part()?,
            tops: from.part()?,
        };
        from.0.is_empty().then_some(sums)
    }

    /// Everything but the tables, which are left empty.
    pub fn small(&self) -> Option<SummaryCounts> {
        let mut from = DocumentReader(self.small);
        let counted = SummaryCounts {
            totals: self.totals,
            hosts: Vec::new(),
            edges: Vec::new(),
            ports: from.list(read_port)?,
            unlabelled: from.list(read_port)?,
            labelled: from.list(|from| {
                let count = usize::try_from(from.count(NAME_BYTES_MAX)?).ok()?;
                let name = String::from_utf8(from.bytes(count)?.to_vec()).ok()?;
                Some((name, Totals::read(from)?))
            })?,
            portless: from.list(|from| {
                let is_other = from.byte()? == 1;
                let ((protocol, detail), totals) = read_port(from)?;
                Some(((is_other, protocol, detail), totals))
            })?,
        };
        from.0.is_empty().then_some(counted)
    }

    /// First records by a sort order, at most `count`.
    pub fn top(
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
            record::read(document, encapsulations, base_ns).map(|(part, _)| part)
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

fn write_small(to: &mut DocumentWriter, counted: &SummaryCounts) {
    to.list(counted.ports.iter(), write_port);
    to.list(counted.unlabelled.iter(), write_port);
    to.list(counted.labelled.iter(), |to, (name, totals)| {
        to.bytes(name.as_bytes());
        totals.write(to);
    });
    to.list(counted.portless.iter(), |to, ((is_other, protocol, detail), totals)| {
        to.0.push(u8::from(*is_other));
        write_port(to, &((*protocol, *detail), *totals));
    });
}

fn write_port(to: &mut DocumentWriter, ((protocol, port), totals): &((u8, u16), Totals)) {
    to.0.push(*protocol);
    to.0.extend_from_slice(&port.to_be_bytes());
    totals.write(to);
}

/// Records that are the first by some order, each once, and the orders.
fn write_tops(
    to: &mut DocumentWriter,
    tops: [TopFlows<'_>; FlowSort::ALL.len()],
    encapsulations: &Encapsulations,
    base: Timestamp,
) {
    let mut numbers: HashMap<Vec<u8>, u64> = HashMap::new();
    let (mut ends, mut documents, mut lists) =
        (Vec::new(), DocumentWriter::default(), DocumentWriter::default());
    for top in tops {
        lists.list(top.into_parts(), |to, FlowPart { key, body }| {
            let document = record::write(&key, &body, false, encapsulations, base.ns());
            let next = numbers.len() as u64;
            to.number(*numbers.entry(document).or_insert_with_key(|document| {
                documents.0.extend_from_slice(document);
                // At most a few thousand records.
                ends.extend_from_slice(&(documents.0.len() as u32).to_be_bytes());
                next
            }));
        });
    }
    to.number(numbers.len() as u64);
    to.0.extend_from_slice(&ends);
    to.bytes(&lists.0);
    to.0.extend_from_slice(&documents.0);
}

fn read_port(from: &mut DocumentReader<'_>) -> Option<((u8, u16), Totals)> {
    Some(((from.byte()?, u16::from_be_bytes(from.array()?)), Totals::read(from)?))
}
