//! Totals of the records of a catalog hour, used instead of reading all of them.
//!
//! ```text
//! an hour:  whole | early | late | through        early: may have begun before; late: may go on after; through: both
//! a seam:   late of one hour + early of the next  -> settled | what belongs to a conversation that goes through an hour
//! ```
//!
//! What is whole counts as it is. What is early or late counts as it is where nothing lies before or after; between two hours it
//! counts as their seam says. What is left are records, and are joined. `FORMAT.md` beside this crate describes the bytes. A file
//! that is damaged, or of another hour than the manifest is, is none.
//!
//! **Invariant:** a rollup only saves work: the records of its hour say the same.

pub mod aggregate;
pub mod count_table;
pub mod framing;
pub mod heaviest;
pub mod top;

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

use crate::boundary_join::{BoundaryJoin, HourSide};
use crate::document::{DocumentReader, DocumentWriter};
use crate::edges::Edges;
use crate::record;
use crate::sums_file::SumsFile;
use aggregate::{Aggregate, AggregateBuilder};
use count_table::TableForm;
use framing::{Magic, RollupRecords, after_head, checked, identity, is_checked, parts_of, records, sum_of};

/// Maximum number of open records in a rollup being made, early ones and those going through, some 50 bytes each: with more
/// there is no rollup.
const OPEN_MAX: u64 = 1 << 20;
/// If more than one in this many records spans the hour, as in an hour of a few minutes, a rollup would save nothing.
const THROUGH_SHARE: u64 = 4;
/// The versions that are read; the first is written.
const MAGICS: [Magic; 2] = [(b"NRROLL\x00\x04", TableForm::Packed), (b"NRROLL\x00\x02", TableForm::Plain)];

/// An hour, added up.
#[derive(Debug)]
pub struct Rollup {
    /// Sums of the records that are not open.
    pub whole: Aggregate,
    /// Totals of those that may have begun before, for use if there is nothing before.
    pub early_alone: Aggregate,
    /// Totals of those that may continue, for use if nothing follows.
    pub late_alone: Aggregate,
    early: Range<usize>,
    through: Range<usize>,
    seconds: Range<usize>,
}

impl Rollup {
    /// True if the checksum is right.
    pub fn is_whole(bytes: &[u8]) -> bool {
        is_checked(&MAGICS, bytes)
    }

    /// Reads bytes written by [`RollupBuilder::finish`] for this manifest; their checksum is known to be right.
    pub fn of(file: Arc<SumsFile>, manifest: &Manifest) -> Option<Self> {
        let (content, form) = after_head(&MAGICS, &file.map, &[identity(manifest)?])?;
        let [whole, early_alone, late_alone, early, through, seconds] = parts_of(&file.map, content)?;
        let [whole, early_alone, late_alone] =
            [whole, early_alone, late_alone].map(|bytes| Aggregate { file: Arc::clone(&file), bytes, form });
        Some(Self { whole, early_alone, late_alone, early, through, seconds })
    }

    /// Adds the packets of all records.
    pub fn add_to(&self, series: &mut SeriesBuilder) {
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
    pub fn through(&self, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        self.records(&self.through, encapsulations, to)
    }

    /// Early records of conversations with another record that spans the hour: the early totals are without them.
    pub fn early(&self, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        self.records(&self.early, encapsulations, to)
    }

    fn records(
        &self,
        bytes: &Range<usize>,
        encapsulations: &Encapsulations,
        to: &mut Vec<FlowPart>,
    ) -> Option<()> {
        let file = &self.whole.file;
        records(file.map.get(bytes.clone())?, encapsulations, file.base().ns(), to)
    }

    /// True if everything in it can be read, and adds up to the manifest's totals.
    pub fn adds_up(&self, manifest: &Manifest) -> bool {
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
        read().unwrap_or(false) && self.file().fault().is_none()
    }

    /// File that it was read from.
    pub fn file(&self) -> &Arc<SumsFile> {
        &self.whole.file
    }
}

/// File of a rollup of this manifest: its content behind the head.
pub fn seal(manifest: &Manifest, content: &[u8]) -> Option<Vec<u8>> {
    Some(checked(&MAGICS, &[&identity(manifest)?.to_be_bytes(), content].concat()))
}

/// A rollup that is being made.
pub struct RollupBuilder<'q> {
    whole: AggregateBuilder<'q>,
    late: AggregateBuilder<'q>,
    early: RollupRecords,
    through: RollupRecords,
    series: SeriesBuilder,
    edges: Edges,
    encapsulations: &'q Encapsulations,
}

impl<'q> RollupBuilder<'q> {
    /// Rollup of an hour with these edges; its series has these buckets.
    pub fn new(buckets: Buckets, edges: Edges, encapsulations: &'q Encapsulations) -> Self {
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
    pub fn see(&mut self, series: &SeriesBuilder) {
        self.series.add_all(series);
    }

    /// Takes a record.
    pub fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        let document = || record::write(key, body, true, self.encapsulations, self.edges.base);
        match self.edges.sides(key, body, body.is_loose) {
            (false, false) => self.whole.take(key, body),
            (false, true) => self.late.take(key, body),
            (true, false) => self.early.add_up_to(OPEN_MAX, document),
            (true, true) => self.through.add_up_to(OPEN_MAX, document),
        }
    }

    /// The bytes for this manifest; `None` if some of it is not exact.
    pub fn finish(self, manifest: &Manifest) -> Option<Vec<u8>> {
        let Self { whole, late, early, through, series, encapsulations, .. } = self;
        let seconds: Vec<(u64, u64, u64)> = series.counts().collect();
        let is_exact = series.is_exact()
            && series.buckets().width_seconds() == 1
            && sum_of(&seconds) == (manifest.packets, manifest.bytes);
        let is_worth_it = through.count <= manifest.records / THROUGH_SHARE;
        if !is_exact || !is_worth_it || manifest.is_divided || early.count.max(through.count) > OPEN_MAX {
            return None;
        }
        let mut joining = BoundaryJoin::new(encapsulations, manifest.hour);
        joining.leave(through.parts(encapsulations, manifest)?.iter());
        for part in early.parts(encapsulations, manifest)? {
            joining.take(part, HourSide::Early);
        }
        let (early_alone, early) = joining.finish_alone()?;
        let mut to = DocumentWriter::default();
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
        seal(manifest, &to.0)
    }
}
