//! What the whole records of an hour of the catalog add up to, and those that are open: in the place of reading them all.
//!
//! `indexer/catalog/FORMAT.md` describes the bytes. A rollup that is damaged, or of another hour than the manifest is, is none.
//!
//! **Invariant:** a rollup only saves work: the records of its hour say the same.

use std::net::IpAddr;

use netrewind_segment::Timestamp;
use netrewind_segment::catalog::{KeptFlow, Manifest};
use netrewind_segment::time::SECOND_NS;
use xxhash_rust::xxh3::xxh3_64;

use super::carrier::Carriers;
use super::kept::{self, Reader, Writer};
use super::key::Key;
use super::list::{FlowQuery, FlowSort, TopFlows};
use super::part::{Body, Part};
use super::series::{Buckets, Series};
use super::summary::{HostTally, SummaryQuery, Tally, Totals};

/// Of each order of a list, so many of an hour's first records are kept, and one more.
pub(super) const TOP_KEPT: usize = 1000;
const MAGIC: &[u8; 8] = b"NRROLL\x00\x01";
/// Entries of a table that room is made for at once: more take bytes that are there.
const RESERVED_MAX: u64 = 1 << 16;
/// A name of an application is no longer than what a label can be.
const NAME_BYTES_MAX: u64 = 1 << 16;

/// An hour, added up.
#[derive(Debug, Default)]
pub(super) struct Rollup {
    /// Of whole records, and so all that follows, unless it says otherwise.
    pub(super) totals: Totals,
    pub(super) hosts: Vec<(IpAddr, HostTally)>,
    pub(super) edges: Vec<((IpAddr, IpAddr), Totals)>,
    pub(super) ports: Vec<((u8, u16), Totals)>,
    pub(super) unlabelled: Vec<((u8, u16), Totals)>,
    pub(super) labelled: Vec<(String, Totals)>,
    pub(super) portless: Vec<((bool, u8, u16), Totals)>,
    /// The first records by each order.
    pub(super) tops: [Vec<Part>; FlowSort::ALL.len()],
    /// Second, packets and bytes of all records.
    pub(super) seconds: Vec<(u64, u64, u64)>,
    /// The records that are open, in the order in which they were written.
    pub(super) open: Vec<Part>,
}

impl Rollup {
    /// The first records by this order.
    pub(super) fn top(&self, sort: FlowSort) -> &[Part] {
        FlowSort::ALL.iter().zip(&self.tops).find(|((of, _), _)| *of == sort).map_or(&[], |(_, top)| top)
    }

    /// Adds the packets of all records.
    pub(super) fn add_to(&self, series: &mut Series) {
        for &(second, packets, bytes) in &self.seconds {
            series.add(Timestamp(second.saturating_mul(SECOND_NS)), packets, bytes);
        }
    }

    /// Whether these bytes are an undamaged rollup of the hour that the manifest is of.
    pub(super) fn is_of(bytes: &[u8], manifest: &Manifest) -> bool {
        sums_of(bytes, manifest).is_some()
    }

    /// Reads what [`Making::finish`] has written for this manifest.
    pub(super) fn read(bytes: &[u8], manifest: &Manifest, carriers: &Carriers) -> Option<Self> {
        let mut from = sums_of(bytes, manifest)?;
        let base_ns = manifest.hour.start().ns();
        let rollup = Self {
            totals: from.totals()?,
            hosts: from.table(|from| {
                let address = from.ip()?;
                let totals = from.totals()?;
                let sent_bytes = from.number().filter(|&sent| sent <= totals.bytes)?;
                Some((address, HostTally { totals, sent_bytes }))
            })?,
            edges: from.table(|from| Some(((from.ip()?, from.ip()?), from.totals()?)))?,
            ports: from.table(Reader::port)?,
            unlabelled: from.table(Reader::port)?,
            labelled: from.table(|from| {
                let count = usize::try_from(from.count(NAME_BYTES_MAX)?).ok()?;
                let name = String::from_utf8(from.bytes(count)?.to_vec()).ok()?;
                Some((name, from.totals()?))
            })?,
            portless: from.table(|from| {
                let is_other = from.byte()? == 1;
                let ((protocol, detail), totals) = from.port()?;
                Some(((is_other, protocol, detail), totals))
            })?,
            tops: [
                from.table(|from| from.record(carriers, base_ns))?,
                from.table(|from| from.record(carriers, base_ns))?,
                from.table(|from| from.record(carriers, base_ns))?,
                from.table(|from| from.record(carriers, base_ns))?,
            ],
            seconds: from.table(|from| Some((from.number()?, from.number()?, from.number()?)))?,
            open: from.table(|from| from.record(carriers, base_ns))?,
        };
        from.0.is_empty().then_some(rollup)
    }
}

/// Whether these bytes are an undamaged rollup of this hour, and what they hold adds up to what the manifest says.
pub fn rollup_adds_up(bytes: &[u8], manifest: &Manifest) -> bool {
    let Some(rollup) = Rollup::read(bytes, manifest, &Carriers::default()) else { return false };
    let mut sums = rollup.totals;
    for Part { body, .. } in &rollup.open {
        sums.packets += body.packets();
        sums.bytes += body.bytes();
        sums.conversations += 1;
    }
    let of_series =
        |sums: (u64, u64), &(_, packets, bytes): &(u64, u64, u64)| (sums.0 + packets, sums.1 + bytes);
    (sums.conversations, sums.packets, sums.bytes) == (manifest.records, manifest.packets, manifest.bytes)
        && rollup.seconds.iter().fold((0, 0), of_series) == (manifest.packets, manifest.bytes)
}

/// What follows the head of a rollup of this hour.
fn sums_of<'b>(bytes: &'b [u8], manifest: &Manifest) -> Option<Reader<'b>> {
    let mut from = Reader(bytes);
    let is_ours = from.array()? == *MAGIC && u64::from_be_bytes(from.array()?) == xxh3_64(from.0);
    let mut numbers = [manifest.records, manifest.packets, manifest.bytes].into_iter();
    (is_ours && numbers.all(|number| from.number() == Some(number))).then_some(from)
}

/// A rollup that is being made.
pub(super) struct Making<'q> {
    tally: Tally<'q>,
    tops: [TopFlows<'q>; FlowSort::ALL.len()],
    series: Series,
    open: Writer,
    open_count: u64,
    carriers: &'q Carriers,
}

impl<'q> Making<'q> {
    pub(super) fn new(buckets: Buckets, carriers: &'q Carriers) -> Self {
        let nothing = SummaryQuery { top: 0, ..SummaryQuery::default() };
        let top =
            |(sort, _)| TopFlows::new(&FlowQuery { sort, limit: TOP_KEPT, ..FlowQuery::default() }, carriers);
        Self {
            tally: Tally::new(&nothing, carriers),
            tops: FlowSort::ALL.map(top),
            series: buckets.series(),
            open: Writer::default(),
            open_count: 0,
            carriers,
        }
    }

    /// Takes the series of a segment.
    pub(super) fn see(&mut self, series: &Series) {
        self.series.add_all(series);
    }

    /// Takes a record.
    pub(super) fn take(&mut self, key: &Key, body: &Body, flow: &KeptFlow) {
        if flow.is_open {
            self.open_count += 1;
            self.open.document(&flow.document);
            return;
        }
        self.tally.take(key, body);
        self.tops.iter_mut().for_each(|top| top.take(key, body));
    }

    /// The bytes for this manifest; none where some of it is not exact.
    pub(super) fn finish(self, manifest: &Manifest) -> Option<Vec<u8>> {
        let Self { tally, tops, series, open, open_count, carriers } = self;
        let seconds: Vec<(u64, u64, u64)> = series.counts().collect();
        let packets: u64 = seconds.iter().map(|(_, packets, _)| packets).sum();
        let bytes: u64 = seconds.iter().map(|(.., bytes)| bytes).sum();
        let is_exact = series.is_exact()
            && series.buckets().width_seconds() == 1
            && (packets, bytes) == (manifest.packets, manifest.bytes);
        let rollup = tally.into_rollup().filter(|_| is_exact && !manifest.is_divided)?;
        let mut to = Writer::default();
        [manifest.records, manifest.packets, manifest.bytes].into_iter().for_each(|number| to.number(number));
        to.sums(&rollup);
        for top in tops {
            let parts = top.into_parts();
            to.number(parts.len() as u64);
            for Part { key, body } in parts {
                to.document(&kept::write(&key, &body, false, carriers, manifest.hour.start().ns()));
            }
        }
        to.table(seconds.iter(), |to, &(at, packets, bytes)| {
            [at / SECOND_NS, packets, bytes].into_iter().for_each(|number| to.number(number));
        });
        to.number(open_count);
        to.0.extend_from_slice(&open.0);
        Some([MAGIC.as_slice(), &xxh3_64(&to.0).to_be_bytes(), &to.0].concat())
    }
}

impl Writer {
    fn table<T>(&mut self, entries: impl Iterator<Item = T> + Clone, mut write: impl FnMut(&mut Self, T)) {
        self.number(entries.clone().count() as u64);
        entries.for_each(|entry| write(self, entry));
    }

    fn sums(&mut self, rollup: &Rollup) {
        self.totals(&rollup.totals);
        self.table(rollup.hosts.iter(), |to, (address, host)| {
            to.ip(*address);
            to.totals(&host.totals);
            to.number(host.sent_bytes);
        });
        self.table(rollup.edges.iter(), |to, ((one, other), totals)| {
            to.ip(*one);
            to.ip(*other);
            to.totals(totals);
        });
        self.table(rollup.ports.iter(), Self::port);
        self.table(rollup.unlabelled.iter(), Self::port);
        self.table(rollup.labelled.iter(), |to, (name, totals)| {
            to.document(name.as_bytes());
            to.totals(totals);
        });
        self.table(rollup.portless.iter(), |to, ((is_other, protocol, detail), totals)| {
            to.0.push(u8::from(*is_other));
            to.port(&((*protocol, *detail), *totals));
        });
    }

    fn port(&mut self, ((protocol, port), totals): &((u8, u16), Totals)) {
        self.0.push(*protocol);
        self.0.extend_from_slice(&port.to_be_bytes());
        self.totals(totals);
    }

    fn document(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn totals(&mut self, totals: &Totals) {
        [totals.packets, totals.bytes, totals.conversations]
            .into_iter()
            .for_each(|number| self.number(number));
    }

    fn ip(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.0.push(4);
                self.0.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                self.0.push(6);
                self.0.extend_from_slice(&address.octets());
            }
        }
    }
}

impl Reader<'_> {
    fn table<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count(self.0.len() as u64)?;
        let mut entries = Vec::with_capacity(usize::try_from(count.min(RESERVED_MAX)).ok()?);
        for _ in 0..count {
            entries.push(read(self)?);
        }
        Some(entries)
    }

    fn totals(&mut self) -> Option<Totals> {
        Some(Totals { packets: self.number()?, bytes: self.number()?, conversations: self.number()? })
    }

    fn port(&mut self) -> Option<((u8, u16), Totals)> {
        Some(((self.byte()?, u16::from_be_bytes(self.array()?)), self.totals()?))
    }

    fn ip(&mut self) -> Option<IpAddr> {
        match self.byte()? {
            4 => self.array::<4>().map(IpAddr::from),
            6 => self.array::<16>().map(IpAddr::from),
            _ => None,
        }
    }

    fn record(&mut self, carriers: &Carriers, base_ns: u64) -> Option<Part> {
        let count = usize::try_from(self.number()?).ok()?;
        kept::read(self.bytes(count)?, carriers, base_ns).map(|(part, _)| part)
    }
}
