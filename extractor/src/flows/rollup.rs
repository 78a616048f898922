//! Totals of the records of a catalog hour, used instead of reading all of them.
//!
//! ```text
//! an hour:  whole | early | late | through        early: may have begun before; late: may go on after; through: both
//! a seam:   late of one hour + early of the next  -> settled | what belongs to a conversation that goes through an hour
//! ```
//!
//! What is whole counts as it is. What is early or late counts as it is where nothing lies before or after; between two hours it
//! counts as their seam says. What is left are records, and are joined. `indexer/catalog/tantivy/FORMAT.md` describes the bytes.
//! A file that is damaged, or of another hour than the manifest is, is none.
//!
//! **Invariant:** a rollup only saves work: the records of its hour say the same.

mod heaviest;
mod opened;
mod seam;
mod sums;
mod table;

use std::ops::Range;
use std::sync::Arc;

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::{FlowCounters, FlowPart};
use netrewind_flows::series::{Buckets, SeriesBuilder};
use netrewind_flows::totals::Totals;
use netrewind_store::Timestamp;
use netrewind_store::catalog::Manifest;
use netrewind_store::time::SECOND_NS;
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::Edges;
use super::kept::{self, DocumentReader, DocumentWriter};
pub(super) use heaviest::heaviest;
pub(crate) use opened::Rollups;
use seam::BoundaryJoin;
pub(super) use seam::{HourBoundary, HourSide, visit_open};
pub use seam::{is_due as seam_is_due, seam, seam_adds_up};
pub(super) use sums::Aggregate;
use sums::{AggregateBuilder, SumsFile};
pub(super) use table::{Table, TableKey, TableValue};

/// Number of an hour's first records kept for each sort order; one more is kept.
pub(super) const TOP_KEPT: usize = 1000;
/// Maximum number of open records in a rollup being made, early ones and those going through, some 50 bytes each: with more
/// there is no rollup.
const OPEN_MAX: u64 = 1 << 20;
/// If more than one in this many records spans the hour, as in an hour of a few minutes, a rollup would save nothing.
const THROUGH_SHARE: u64 = 4;
const MAGIC: &[u8; 8] = b"NRROLL\x00\x02";

/// An hour, added up.
#[derive(Debug)]
pub(super) struct Rollup {
    /// Sums of the records that are not open.
    pub(super) whole: Aggregate,
    /// Totals of those that may have begun before, for use if there is nothing before.
    pub(super) early_alone: Aggregate,
    /// Totals of those that may continue, for use if nothing follows.
    pub(super) late_alone: Aggregate,
    early: Range<usize>,
    through: Range<usize>,
    seconds: Range<usize>,
}

impl Rollup {
    fn is_whole(bytes: &[u8]) -> bool {
        is_checked(MAGIC, bytes)
    }

    /// Reads bytes written by [`Making::finish`] for the manifest of this identity.
    fn of(file: Arc<SumsFile>, identity: u64) -> Option<Self> {
        let [whole, early_alone, late_alone, early, through, seconds] =
            parts_of(&file.map, after_head(MAGIC, &file.map, &[identity])?)?;
        let [whole, early_alone, late_alone] =
            [whole, early_alone, late_alone].map(|bytes| Aggregate { file: Arc::clone(&file), bytes });
        Some(Self { whole, early_alone, late_alone, early, through, seconds })
    }

    /// Adds the packets of all records.
    pub(super) fn add_to(&self, series: &mut SeriesBuilder) {
        for (second, packets, bytes) in self.seconds().unwrap_or_default() {
            series.add(Timestamp(second.saturating_mul(SECOND_NS)), packets, bytes);
        }
    }

    /// Seconds in which there are packets, with packets and bytes.
    fn seconds(&self) -> Option<Vec<(u64, u64, u64)>> {
        let mut from = DocumentReader(self.whole.file.map.get(self.seconds.clone())?);
        let mut last: u64 = 0;
        from.list(|from| {
            last = last.checked_add(from.number()?)?;
            Some((last, from.number()?, from.number()?))
        })
    }

    /// The records that reach through the hour.
    pub(super) fn through(&self, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        self.records(&self.through, encapsulations, to)
    }

    /// Early records of conversations with another record that spans the hour: the early totals are without them.
    pub(super) fn early(&self, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        self.records(&self.early, encapsulations, to)
    }

    fn records(
        &self,
        bytes: &Range<usize>,
        encapsulations: &Encapsulations,
        to: &mut Vec<FlowPart>,
    ) -> Option<()> {
        let file = &self.whole.file;
        records(file.map.get(bytes.clone())?, encapsulations, file.base.ns(), to)
    }

    /// True if everything in it can be read, and adds up to the manifest's totals.
    fn adds_up(&self, manifest: &Manifest) -> bool {
        let read = || {
            let encapsulations = Encapsulations::default();
            let mut sums = Totals::default();
            for added in [&self.whole, &self.early_alone, &self.late_alone] {
                sums.add_all(&added.consistent()?.totals);
            }
            let mut open = Vec::new();
            self.through(&encapsulations, &mut open)?;
            self.early(&encapsulations, &mut open)?;
            open.iter().for_each(|part| sums.add(&part.body));
            let all = (manifest.packets, manifest.bytes);
            Some((sums.packets, sums.bytes) == all && sum_of(&self.seconds()?) == all)
        };
        read().unwrap_or(false)
    }
}

/// True if an hour has no rollup, or an undamaged one that adds up to the manifest's totals.
pub fn rollup_adds_up(store: &netrewind_store::Store, manifest: &Manifest) -> bool {
    matches!(store.rollup(manifest.hour), Ok(None))
        || Rollups::default().rollup(store, manifest).is_some_and(|rollup| rollup.adds_up(manifest))
}

/// A number that two manifests share only if they are the same.
fn identity(manifest: &Manifest) -> Option<u64> {
    Some(xxh3_64(&serde_json::to_vec(manifest).ok()?))
}

/// Bytes behind the name of their format and their checksum.
fn checked(magic: &[u8; 8], bytes: &[u8]) -> Vec<u8> {
    [magic.as_slice(), &xxh3_64(bytes).to_be_bytes(), bytes].concat()
}

fn is_checked(magic: &[u8; 8], bytes: &[u8]) -> bool {
    let mut from = DocumentReader(bytes);
    from.array() == Some(*magic) && from.array().map(u64::from_be_bytes) == Some(xxh3_64(from.0))
}

/// Content behind the head of a file with these identities.
fn after_head<'b>(magic: &[u8; 8], bytes: &'b [u8], identities: &[u64]) -> Option<&'b [u8]> {
    // The checksum between them was verified when the file was opened.
    let mut from = DocumentReader(bytes.strip_prefix(magic)?.get(8..)?);
    let is_ours = identities.iter().all(|identity| from.array().map(u64::from_be_bytes) == Some(*identity));
    is_ours.then_some(from.0)
}

/// Positions in a file of the parts that make up its rest.
fn parts_of<const N: usize>(file: &[u8], rest: &[u8]) -> Option<[Range<usize>; N]> {
    let mut from = DocumentReader(rest);
    let mut parts = [const { 0..0 }; N];
    for part in &mut parts {
        let length = from.part()?.len();
        let end = file.len() - from.0.len();
        *part = end - length..end;
    }
    from.0.is_empty().then_some(parts)
}

/// The packets and bytes of all seconds.
fn sum_of(seconds: &[(u64, u64, u64)]) -> (u64, u64) {
    seconds.iter().fold((0, 0), |sums, (_, packets, bytes)| (sums.0 + packets, sums.1 + bytes))
}

/// Records one after the other.
#[derive(Debug, Default)]
struct RollupRecords {
    count: u64,
    documents: DocumentWriter,
}

impl RollupRecords {
    fn add(&mut self, document: &[u8]) {
        self.count += 1;
        self.documents.bytes(document);
    }

    /// Likewise, but beyond this many they are only counted.
    fn add_up_to(&mut self, count_max: u64, document: impl FnOnce() -> Vec<u8>) {
        match self.count < count_max {
            true => self.add(&document()),
            false => self.count += 1,
        }
    }

    /// As they are read: what has been loose can be joined.
    fn parts(&self, encapsulations: &Encapsulations, manifest: &Manifest) -> Option<Vec<FlowPart>> {
        let mut parts = Vec::new();
        records(&self.to_bytes(), encapsulations, manifest.hour.start().ns(), &mut parts)?;
        Some(parts)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut to = DocumentWriter::default();
        to.number(self.count);
        to.0.extend_from_slice(&self.documents.0);
        to.0
    }
}

/// Adds the records that [`RollupRecords`] has written to others.
fn records(
    bytes: &[u8],
    encapsulations: &Encapsulations,
    base_ns: u64,
    to: &mut Vec<FlowPart>,
) -> Option<()> {
    let mut from = DocumentReader(bytes);
    from.list_into(to, |from| kept::read(from.part()?, encapsulations, base_ns).map(|(part, _)| part))?;
    from.0.is_empty().then_some(())
}

/// A rollup that is being made.
pub(super) struct Making<'q> {
    whole: AggregateBuilder<'q>,
    late: AggregateBuilder<'q>,
    early: RollupRecords,
    through: RollupRecords,
    series: SeriesBuilder,
    edges: Edges,
    encapsulations: &'q Encapsulations,
}

impl<'q> Making<'q> {
    pub(super) fn new(buckets: Buckets, edges: Edges, encapsulations: &'q Encapsulations) -> Self {
        Self {
            whole: AggregateBuilder::new(encapsulations),
            late: AggregateBuilder::new(encapsulations),
            early: RollupRecords::default(),
            through: RollupRecords::default(),
            series: buckets.series(),
            edges,
            encapsulations,
        }
    }

    /// Takes the series of a segment.
    pub(super) fn see(&mut self, series: &SeriesBuilder) {
        self.series.add_all(series);
    }

    /// Takes a record.
    pub(super) fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        let document = || kept::write(key, body, true, self.encapsulations, self.edges.base);
        match self.edges.sides(key, body, body.is_loose) {
            (false, false) => self.whole.take(key, body),
            (false, true) => self.late.take(key, body),
            (true, false) => self.early.add_up_to(OPEN_MAX, document),
            (true, true) => self.through.add_up_to(OPEN_MAX, document),
        }
    }

    /// The bytes for this manifest; `None` if some of it is not exact.
    pub(super) fn finish(self, manifest: &Manifest) -> Option<Vec<u8>> {
        let Self { whole, late, early, through, series, encapsulations, .. } = self;
        let seconds: Vec<(u64, u64, u64)> = series.counts().collect();
        let is_exact = series.is_exact()
            && series.buckets().width_seconds() == 1
            && sum_of(&seconds) == (manifest.packets, manifest.bytes);
        let is_worth_it = through.count <= manifest.records / THROUGH_SHARE;
        if !is_exact || !is_worth_it || manifest.is_divided || early.count.max(through.count) > OPEN_MAX {
            return None;
        }
        let mut settling = BoundaryJoin::new(encapsulations, manifest.hour);
        settling.leave(through.parts(encapsulations, manifest)?.iter());
        for part in early.parts(encapsulations, manifest)? {
            settling.take(part, HourSide::Early);
        }
        let (early_alone, early) = settling.finish_alone()?;
        let mut to = DocumentWriter::default();
        to.0.extend_from_slice(&identity(manifest)?.to_be_bytes());
        to.bytes(&whole.finish(manifest.hour)?.0);
        to.bytes(&early_alone.0);
        to.bytes(&late.finish(manifest.hour)?.0);
        to.bytes(&early.to_bytes());
        to.bytes(&through.to_bytes());
        let mut last = 0;
        to.part(|to| {
            to.list(seconds.iter(), |to, &(at, packets, bytes)| {
                let second = at / SECOND_NS;
                [second - last, packets, bytes].into_iter().for_each(|number| to.number(number));
                last = second;
            });
        });
        Some(checked(MAGIC, &to.0))
    }
}
