//! Totals of flows that cross the boundary of two catalog hours.
//!
//! If all records of a conversation's ends are on one side of the seam, their total is known, and added up. If one of them
//! reaches from one end of its hour to the other, further hours contribute to the total: these stay records.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::join::Joiner;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::FlowPart;
use netrewind_store::catalog::{Condition, Hour, Manifest};
use netrewind_store::{Store, Timestamp};

use super::sums::{Aggregate, AggregateBuilder, SumsFile};
use super::{RollupRecords, Rollups, after_head, checked, identity, is_checked, parts_of, records};
use crate::flows::catalog::{Catalog, Edges};
use crate::flows::kept::{self, DocumentWriter};

const MAGIC: &[u8; 8] = b"NRSEAM\x00\x01";
/// Magic, checksum and two identities.
const HEAD_BYTES: usize = 32;
/// Conversations that are joined at once, some 150 bytes each; if there are more, there is no seam.
const JOINED_MAX: usize = 1 << 21;

/// Totals and remaining records of the conversations that cross the boundary of two catalog hours.
#[derive(Debug)]
pub(in crate::flows) struct HourBoundary {
    /// Sums of the conversations that are over.
    pub(in crate::flows) settled: Aggregate,
    unsettled: [Range<usize>; 2],
}

impl HourBoundary {
    pub(super) fn is_whole(bytes: &[u8]) -> bool {
        is_checked(MAGIC, bytes)
    }

    pub(super) fn of(file: Arc<SumsFile>, identities: [u64; 2]) -> Option<Self> {
        let [settled, before, after] = parts_of(&file.map, after_head(MAGIC, &file.map, &identities)?)?;
        Some(Self { settled: Aggregate { bytes: settled, file }, unsettled: [before, after] })
    }

    /// The unsettled records of the hour before, except those that span it.
    pub(in crate::flows) fn before(
        &self,
        encapsulations: &Encapsulations,
        to: &mut Vec<FlowPart>,
    ) -> Option<()> {
        self.records(0, encapsulations, to)
    }

    /// Likewise those of the hour after.
    pub(in crate::flows) fn after(
        &self,
        encapsulations: &Encapsulations,
        to: &mut Vec<FlowPart>,
    ) -> Option<()> {
        self.records(1, encapsulations, to)
    }

    fn records(&self, side: usize, encapsulations: &Encapsulations, to: &mut Vec<FlowPart>) -> Option<()> {
        let file = &self.settled.file;
        records(file.map.get(self.unsettled.get(side)?.clone())?, encapsulations, file.base.ns(), to)
    }
}

/// True if a seam is due between an hour and the one before: both have rollups, and no seam fits their manifests yet.
pub fn is_due(store: &Store, before: &Manifest, after: &Manifest) -> bool {
    let has_rollups =
        [before, after].into_iter().all(|manifest| matches!(store.rollup(manifest.hour), Ok(Some(_))));
    let is_there = || {
        let mut head = [0; HEAD_BYTES];
        store.seam(after.hour).ok()??.read_exact_at(&mut head, 0).ok()?;
        after_head(MAGIC, &head, &[identity(before)?, identity(after)?]).map(|_| ())
    };
    has_rollups && is_there().is_none()
}

/// Makes the seam between two hours that follow each other. The error says which cannot be read.
pub fn seam(
    catalog: &dyn Catalog,
    store: &Store,
    before: &Manifest,
    after: &Manifest,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<u8>, String> {
    let encapsulations = Encapsulations::default();
    let rollups = Rollups::default();
    let mut through = Vec::new();
    let mut read =
        |manifest: &Manifest| rollups.rollup(store, manifest)?.through(&encapsulations, &mut through);
    let has_rollups = read(before).and_then(|()| read(after)).is_some();
    let mut settling = BoundaryJoin::new(&encapsulations, after.hour);
    if has_rollups {
        settling.leave(through.iter());
        for (manifest, side) in [(before, HourSide::Late), (after, HourSide::Early)] {
            visit_open(catalog, store, manifest, side, &encapsulations, &mut |part| {
                settling.take(part, side);
                !stop()
            })?;
        }
    } else {
        settling.is_unknown = true;
    }
    if stop() {
        return Err("it was cancelled".to_owned());
    }
    let identities = [before, after].map(|manifest| identity(manifest).unwrap_or_default());
    let mut to = DocumentWriter::default();
    identities.iter().for_each(|identity| to.0.extend_from_slice(&identity.to_be_bytes()));
    // If there is too much, it says that there is none.
    if let Some((settled, unsettled)) = settling.finish() {
        to.bytes(&settled.0);
        unsettled.iter().for_each(|records| to.bytes(&records.to_bytes()));
    }
    Ok(checked(MAGIC, &to.0))
}

/// End of its hour at which a record is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::flows) enum HourSide {
    /// It may have begun before.
    Early,
    /// It may go on after.
    Late,
}

/// Passes the records of an hour that are open at this end and not at the other, in their order, until `take` refuses one.
pub(in crate::flows) fn visit_open(
    catalog: &dyn Catalog,
    store: &Store,
    manifest: &Manifest,
    side: HourSide,
    encapsulations: &Encapsulations,
    take: &mut dyn FnMut(FlowPart) -> bool,
) -> Result<(), String> {
    let (edges, base) = (Edges::of(manifest), manifest.hour.start());
    let mut is_damaged = false;
    let everything = (Timestamp::MIN, Timestamp::MAX);
    catalog.visit(store, manifest, &Condition::Nothing, everything.0, everything.1, &mut |bytes| {
        let Some((part, standing)) = kept::read(bytes, encapsulations, base.ns()) else {
            is_damaged = true;
            return false;
        };
        let (early, late) = edges.sides(&part.key, &part.body, standing.is_loose);
        let is_wanted = match side {
            HourSide::Early => early && !late,
            HourSide::Late => late && !early,
        };
        !is_wanted || take(part)
    })?;
    if is_damaged { Err("some of its records cannot be read".to_owned()) } else { Ok(()) }
}

/// Joined records, except those of incomplete conversations.
pub(super) struct BoundaryJoin<'q> {
    joiner: Joiner<'q>,
    settled: AggregateBuilder<'q>,
    unsettled: [RollupRecords; 2],
    /// Conversations of which a record reaches through its hour.
    left: HashSet<FlowKey, RandomState>,
    base: Hour,
    encapsulations: &'q Encapsulations,
    is_unknown: bool,
}

impl<'q> BoundaryJoin<'q> {
    pub(super) fn new(encapsulations: &'q Encapsulations, base: Hour) -> Self {
        let mut joiner = Joiner::new(encapsulations).with_open_max(JOINED_MAX);
        // Nothing is over before all is there.
        joiner.begin(Some(0));
        Self {
            joiner,
            settled: AggregateBuilder::new(encapsulations),
            unsettled: Default::default(),
            left: HashSet::default(),
            base,
            encapsulations,
            is_unknown: false,
        }
    }

    /// Excludes conversations with a record that spans its hour.
    pub(super) fn leave<'p>(&mut self, through: impl Iterator<Item = &'p FlowPart>) {
        self.left.extend(through.map(|part| part.key));
    }

    /// Takes a record: those of the hour before first, each hour's in their order.
    pub(super) fn take(&mut self, part: FlowPart, side: HourSide) {
        let FlowPart { key, body } = &part;
        if self.left.contains(key) {
            let [before, after] = &mut self.unsettled;
            let of_side = if side == HourSide::Late { before } else { after };
            of_side.add(&kept::write(key, body, true, self.encapsulations, self.base.start().ns()));
        } else {
            self.joiner.add(key, body, &mut |key, body| self.settled.take(key, body));
        }
    }

    /// Settled and unsettled conversations; `None` if they are not known for certain.
    fn finish(self) -> Option<(DocumentWriter, [RollupRecords; 2])> {
        let Self { mut joiner, mut settled, unsettled, base, .. } = self;
        joiner.finish(&mut |key, body| settled.take(key, body));
        if self.is_unknown || joiner.is_approximate() {
            return None;
        }
        Some((settled.finish(base)?, unsettled))
    }

    /// Likewise, where there is no hour before.
    pub(super) fn finish_alone(self) -> Option<(DocumentWriter, RollupRecords)> {
        let (settled, [_, after]) = self.finish()?;
        Some((settled, after))
    }
}

/// True if the seam between two hours, if there is one, is undamaged, and has the totals of their open records.
pub fn seam_adds_up(
    catalog: &dyn Catalog,
    store: &Store,
    before: &Manifest,
    after: &Manifest,
) -> Result<bool, String> {
    let Some(file) = store.seam(after.hour).map_err(|error| error.to_string())? else { return Ok(true) };
    let bytes = file.read_all().map_err(|error| error.to_string())?;
    if !is_checked(MAGIC, &bytes) {
        return Ok(false);
    }
    let identities = [before, after].map(|manifest| identity(manifest).unwrap_or_default());
    // One of other hours, or one that says that there is none, is ignored, and is not an error.
    if after_head(MAGIC, &bytes, &identities).is_none_or(<[u8]>::is_empty) {
        return Ok(true);
    }
    let Some(seam) = Rollups::default().seam(store, before, after) else { return Ok(false) };
    let encapsulations = Encapsulations::default();
    let mut open = (0, 0);
    for (manifest, side) in [(before, HourSide::Late), (after, HourSide::Early)] {
        visit_open(catalog, store, manifest, side, &encapsulations, &mut |part| {
            open = (open.0 + part.body.packets(), open.1 + part.body.bytes());
            true
        })?;
    }
    let Some(settled) = seam.settled.consistent() else { return Ok(false) };
    let mut sums = (settled.totals.packets, settled.totals.bytes);
    let mut unsettled = Vec::new();
    let is_read = seam
        .before(&encapsulations, &mut unsettled)
        .and_then(|()| seam.after(&encapsulations, &mut unsettled))
        .is_some();
    for FlowPart { body, .. } in &unsettled {
        sums = (sums.0 + body.packets(), sums.1 + body.bytes());
    }
    Ok(is_read && sums == open)
}
