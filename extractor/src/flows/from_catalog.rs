//! Answers from the catalog: records of hours whose packets are no longer kept, in place of segments.
//!
//! **Invariant:** where packets are kept, the catalog changes no answer: an hour's records are used only if one of its segments
//! has expired, and then instead of all of them; what an hour adds up to, also where all of its segments are kept and their
//! indexes would say the same, or, of more hosts and pairs than are held, nearly the same (`approximate`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_catalog::boundary::HourBoundary;
use netrewind_catalog::condition::Condition;
use netrewind_catalog::edges::OVERLAP_NS;
use netrewind_catalog::rollup::Rollup;
use netrewind_catalog::search_condition::condition_of;
use netrewind_catalog::sums_file::SumsFile;
use netrewind_catalog::{Catalog, record};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::Wanted;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::search::Search;
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{LinkType, SegmentName, Store, StoreError, Timestamp};

use super::manifests::Manifests;
use super::record_filter::{Left, RecordFilter};
use crate::answer::completeness::{Completeness, Damage};
use crate::history::logbook_damage::part_and_reason;
use crate::plan::query_filter::QueryFilter;
use crate::query::TimeRange;
use crate::store::segment::Segment;
use crate::store::snapshot::Snapshot;
use crate::{ExtractError, Span};

/// Number of records between two checks for cancellation.
pub(super) const RECORDS_BETWEEN_QUESTIONS: u32 = 1024;

/// The hours that a query takes from the catalog.
#[derive(Debug, Default)]
pub(crate) struct CatalogHours {
    /// Hours by their earliest packets.
    hours: Vec<Arc<Manifest>>,
    names: HashSet<SegmentName>,
    /// Hours of which all packets are kept: their rollups only save work.
    standing_in: HashSet<Hour>,
    /// Damaged parts of the catalog, of unknown content.
    damaged: Vec<Damage>,
}

impl CatalogHours {
    /// Hours that can have a packet in the range and have lost a segment; if it `adds_up`, also those whose rollups say what
    /// the indexes of all their segments would say.
    pub(crate) fn of(
        store: &Store,
        manifests: &Manifests,
        snapshot: &Snapshot,
        range: TimeRange,
        adds_up: bool,
    ) -> Self {
        let kept = &snapshot.names;
        let (mut hours, mut whole, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
        let damage = |error: &StoreError| {
            let (part, reason) = part_and_reason(store, error);
            Damage::needed(part, format!("{reason}{REMEDY}"))
        };
        let all = CatalogFolder::of(store).hours().unwrap_or_else(|error| {
            damaged.push(damage(&error));
            Vec::new()
        });
        for hour in all {
            let manifest = match manifests.of(store, hour) {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue, // it has expired
                Err(error) => {
                    damaged.push(damage(&error));
                    continue;
                }
            };
            let has_expired = |name: &SegmentName| kept.binary_search(name).is_err();
            let is_in_range = manifest.bounds().is_some_and(|(first, last)| range.meets(first, last));
            if is_in_range && manifest.segments.iter().any(|segment| has_expired(&segment.name)) {
                hours.push(manifest);
            } else if adds_up && is_in_range {
                whole.push(manifest);
            }
        }
        let whole = stand_in(store, manifests, whole, &hours, snapshot, range);
        let standing_in = whole.iter().map(|manifest| manifest.hour).collect();
        hours.extend(whole);
        hours.sort_by_key(|manifest| (manifest.bounds(), manifest.hour));
        let names =
            hours.iter().flat_map(|manifest| &manifest.segments).map(|segment| segment.name).collect();
        Self { hours, names, standing_in, damaged }
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }

    /// Names of the segments in whose place the hours stand.
    pub(crate) fn names(&self) -> &HashSet<SegmentName> {
        &self.names
    }

    /// The times of these segments.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> {
        let segments = self.hours.iter().flat_map(|manifest| &manifest.segments);
        segments.map(|segment| Span { from: segment.first, to: segment.last.plus_ns(1) })
    }

    /// Times of those segments that are no longer kept, given the names of the `kept` ones.
    pub(crate) fn expired(&self, kept: &[SegmentName]) -> Vec<Span> {
        let segments = self.hours.iter().flat_map(|manifest| &manifest.segments);
        let expired = segments.filter(|segment| kept.binary_search(&segment.name).is_err());
        expired.map(|segment| Span { from: segment.first, to: segment.last.plus_ns(1) }).collect()
    }

    /// The link types of these segments.
    pub(crate) fn link_types(&self) -> impl Iterator<Item = LinkType> {
        self.hours.iter().flat_map(|manifest| &manifest.link_types).map(|&number| LinkType(number))
    }

    /// The earliest and the latest timestamp.
    pub(crate) fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        bounds_of(self.hours.iter())
    }

    /// Reports the part that comes from the catalog, and from when on packets are kept. Restricted askers do not learn which
    /// segments were damaged.
    pub(crate) fn tell(
        &self,
        completeness: &mut Completeness,
        kept_from: Option<Timestamp>,
        is_restricted: bool,
    ) {
        self.damaged.iter().for_each(|damage| completeness.add_damage(damage.clone()));
        let is_expired = |manifest: &&Arc<Manifest>| !self.standing_in.contains(&manifest.hour);
        let bounds = |hours: &[Arc<Manifest>]| bounds_of(hours.iter().filter(is_expired));
        let Some((first, last)) = bounds(&self.hours) else { return };
        let added_up = bounds_of(self.hours.iter().filter(|manifest| !is_expired(manifest)));
        let kept_from = kept_from.into_iter().chain(added_up.map(|(first, _)| first)).min();
        let kept = kept_from
            .map_or("no packets are kept".to_owned(), |from| format!("packets are kept from {from} on"));
        if !is_restricted {
            completeness.note(format!(
                "conversations from {first} to {last} come from the catalog, with all their packets even if some are outside the range; {kept}"
            ));
        }
        for manifest in &self.hours {
            for lacks in manifest.lacks.iter().filter(|_| !is_restricted) {
                completeness.note(format!("hour {} of the catalog lacks {lacks}", manifest.hour));
            }
            if let Some((first, last)) = manifest.bounds().filter(|_| !manifest.lacks.is_empty()) {
                completeness.add_gone(Span { from: first, to: last.plus_ns(1) });
            }
        }
    }
}

fn bounds_of<'m>(hours: impl Iterator<Item = &'m Arc<Manifest>> + Clone) -> Option<(Timestamp, Timestamp)> {
    let bounds = hours.filter_map(|manifest| manifest.bounds());
    let first = bounds.clone().map(|(first, _)| first).min()?;
    Some((first, bounds.map(|(_, last)| last).max()?))
}

/// Hours with all segments kept whose rollups say what the indexes would: the range holds them whole, they know all segments of
/// their time, each of which has an index, and they overlap with nothing else.
fn stand_in(
    store: &Store,
    manifests: &Manifests,
    mut hours: Vec<Arc<Manifest>>,
    expired: &[Arc<Manifest>],
    snapshot: &Snapshot,
    range: TimeRange,
) -> Vec<Arc<Manifest>> {
    if hours.is_empty() {
        return hours;
    }
    let mut segments: HashMap<Hour, Vec<&Segment>> = HashMap::new();
    for segment in &snapshot.segments {
        segments.entry(Hour::of(segment.name.opened)).or_default().push(segment);
    }
    let mut names: HashMap<Hour, Vec<&SegmentName>> = HashMap::new();
    for name in &snapshot.names {
        names.entry(Hour::of(name.opened)).or_default().push(name);
    }
    hours.retain(|manifest| {
        let is_inside = manifest.bounds().is_some_and(|(first, last)| range.covers(first, last));
        let known = segments.get(&manifest.hour).map_or(&[][..], Vec::as_slice);
        let fits = |segment: &&Segment| segment.is_indexed() && is_known(manifest, segment);
        let knows_all =
            names.get(&manifest.hour).is_some_and(|names| names.iter().all(|name| manifest.knows(name)));
        is_inside
            && manifest.lacks.is_empty()
            && !manifest.is_divided
            && knows_all
            && known.len() == manifest.segments.len()
            && known.iter().all(fits)
    });
    let added_up: HashSet<Hour> = hours.iter().map(|manifest| manifest.hour).collect();
    let beside =
        snapshot.segments.iter().filter(|segment| !added_up.contains(&Hour::of(segment.name.opened)));
    let all_hours = hours.iter().chain(expired).filter_map(|manifest| manifest.bounds());
    let others: Vec<_> = beside.filter_map(|segment| segment.bounds).chain(all_hours).collect();
    let has_rollup = |manifest: &Manifest| manifests.rollups.rollup(store, manifest).is_some();
    hours.retain(|manifest| !overlaps(manifest, &others) && has_rollup(manifest));
    hours
}

/// True if an hour was made from this segment in its present state.
fn is_known(manifest: &Manifest, segment: &Segment) -> bool {
    let found = manifest.segments.iter().find(|known| known.name == segment.name);
    found.is_some_and(|known| segment.bounds == Some((known.first, known.last)))
}

/// Selection of records to read.
pub(super) struct HourQuery<'q> {
    pub(super) catalog: &'q dyn Catalog,
    pub(super) store: &'q Store,
    pub(super) manifests: &'q Manifests,
    pub(super) filters: &'q QueryFilter,
    pub(super) encapsulations: &'q Encapsulations,
    pub(super) range: TimeRange,
    /// Only these.
    pub(super) wanted: Wanted<'q>,
    pub(super) search: Option<&'q Search>,
    /// True if rollups of hours can stand in for their records.
    pub(super) takes_rollups: bool,
}

/// Standing of a record: complete, or possibly part of a conversation that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    Whole,
    Open,
}

/// Takes a record.
pub(super) type TakeKept<'t> = dyn FnMut(&FlowKey, &FlowCounters, Stands) -> ControlFlow<()> + 't;

/// Hours that are read one after the other.
pub(super) struct HourRecords<'q> {
    pub(super) asking: Option<HourQuery<'q>>,
    pub(super) hours: VecDeque<Arc<Manifest>>,
    /// Times of everything that an hour can overlap.
    pub(super) others: Vec<(Timestamp, Timestamp)>,
    /// Rollup of the next hour, and the seam to the one taken last.
    pub(super) next: Option<(Rollup, HourBoundary)>,
    pub(super) perhaps: u64,
    /// All hours of the answer.
    pub(super) all: HashSet<Hour>,
    /// Files whose sums were taken.
    pub(super) sums: Vec<Arc<SumsFile>>,
}

impl<'q> HourRecords<'q> {
    /// `segments` are the times of the segments of the same answer.
    pub(super) fn new(
        archived: CatalogHours,
        segments: impl Iterator<Item = (Timestamp, Timestamp)>,
        asking: Option<HourQuery<'q>>,
    ) -> Self {
        let others = segments.chain(archived.hours.iter().filter_map(|manifest| manifest.bounds())).collect();
        let all = archived.hours.iter().map(|manifest| manifest.hour).collect();
        Self { asking, hours: archived.hours.into(), others, next: None, perhaps: 0, all, sums: Vec::new() }
    }

    /// The earliest packet of the hours that have not been read.
    pub(super) fn horizon(&self) -> Option<u64> {
        self.hours.front().and_then(|manifest| manifest.bounds()).map(|(first, _)| first.ns())
    }

    /// Reads the next hour, if its earliest packet is not later than `until`; false if there is none, or the receiver wants no
    /// more.
    pub(super) fn hour(
        &mut self,
        until: Option<u64>,
        stop: &dyn Fn() -> bool,
        completeness: &mut Completeness,
        take: &mut TakeKept<'_>,
    ) -> Result<bool, ExtractError> {
        let is_due = self.horizon().is_some_and(|first| until.is_none_or(|until| first <= until));
        let (Some(asking), true) = (&self.asking, is_due) else { return Ok(false) };
        let Some(manifest) = self.hours.pop_front() else { return Ok(false) };
        let stands_apart = !manifest.is_divided && !overlaps(&manifest, &self.others);
        let mut reading = HourReading {
            judge: RecordFilter::new(asking.filters, &link_types_of(&manifest)),
            asking,
            base_ns: manifest.hour.start().ns(),
            stands_apart,
            damaged: 0,
            perhaps: 0,
            seen: 0,
        };
        // A filtered record has other numbers than the whole one.
        let condition = match asking.search {
            Some(search) if stands_apart && reading.judge.accepts_everything() => condition_of(search),
            _ => Condition::Everything,
        };
        let last = asking.range.end().map_or(Timestamp::MAX, |end| Timestamp(end.ns().saturating_sub(1)));
        let (mut is_cancelled, mut is_enough) = (false, false);
        let mut take_one = |bytes: &[u8]| {
            reading.seen += 1;
            is_cancelled |= reading.seen.is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && stop();
            is_enough |= !is_cancelled && reading.take(bytes, take).is_break();
            !is_cancelled && !is_enough
        };
        let visited =
            asking.catalog.visit(asking.store, &manifest, &condition, asking.range.from, last, &mut take_one);
        let damaged =
            (reading.damaged > 0).then(|| format!("{} of its records cannot be read", reading.damaged));
        self.perhaps += reading.perhaps;
        if let Some(reason) = visited.err().or(damaged) {
            completeness.add_damage(damage_of(asking.store, &manifest, &reason));
        }
        match (is_cancelled, is_enough) {
            (true, _) => Err(ExtractError::Cancelled),
            (false, is_enough) => Ok(!is_enough),
        }
    }

    /// Reports the sums of hours that could not be used.
    fn tell_damaged_sums(&self, completeness: &mut Completeness) {
        let Some(HourQuery { store, manifests, .. }) = &self.asking else { return };
        for (hour, what, reason) in manifests.rollups.faults(&self.all) {
            let part = format!("{}/{what}", store.part(&CatalogFolder::of(store).hour_path(hour)));
            let reason = format!("{reason}: {SUMS_REMEDY}");
            completeness.add_damage(Damage { part, reason, is_needed: false });
        }
    }

    /// Files whose sums were taken.
    pub(super) fn into_sums(self) -> Vec<Arc<SumsFile>> {
        self.sums
    }

    /// Reports unsure records; true if records may hold more than the filter accepts.
    pub(super) fn is_approximate(&self, completeness: &mut Completeness) -> bool {
        self.tell_damaged_sums(completeness);
        if self.perhaps > 0 {
            completeness.note(format!(
                "{} catalog records may include packets that the filter does not accept; their packets are no longer kept, so they are counted in full",
                self.perhaps
            ));
        }
        self.perhaps > 0
    }
}

/// Reports files that were shortened or changed while their sums were taken: asked once all of an answer has been read of them.
pub(super) fn tell_faulty_sums(store: &Store, sums: &[Arc<SumsFile>], completeness: &mut Completeness) {
    for file in sums {
        if let Some(fault) = file.fault() {
            let part =
                format!("{}/{}", store.part(&CatalogFolder::of(store).hour_path(file.hour())), file.what());
            completeness.add_damage(Damage::needed(part, format!("{fault}: {SUMS_REMEDY}")));
        }
    }
}

/// Remedy for an hour that cannot be read.
const REMEDY: &str = ": run netrewind index --catalog to write the hour again if its segments are kept; otherwise remove its folder to give it up";

/// Remedy for sums that cannot be read.
const SUMS_REMEDY: &str = "run netrewind index --catalog --rebuild if its segments are kept";

/// Damage of an hour whose records cannot be read.
pub(super) fn damage_of(store: &Store, manifest: &Manifest, reason: &str) -> Damage {
    Damage::needed(store.part(&CatalogFolder::of(store).hour_path(manifest.hour)), reason)
}

pub(super) fn link_types_of(manifest: &Manifest) -> Vec<LinkType> {
    manifest.link_types.iter().map(|&number| LinkType(number)).collect()
}

/// True if other hours or segments overlap with it more than neighbours usually do.
pub(super) fn overlaps(manifest: &Manifest, others: &[(Timestamp, Timestamp)]) -> bool {
    let Some((first, last)) = manifest.bounds() else { return false };
    let (from, to) = (first.ns().saturating_add(OVERLAP_NS), last.ns().saturating_sub(OVERLAP_NS));
    // One of those that do is the hour itself.
    from < to && others.iter().filter(|(first, last)| first.ns() < to && last.ns() > from).count() > 1
}

struct HourReading<'a, 'q> {
    asking: &'a HourQuery<'q>,
    judge: RecordFilter<'q>,
    base_ns: u64,
    stands_apart: bool,
    damaged: u64,
    perhaps: u64,
    seen: u32,
}

impl HourReading<'_, '_> {
    fn take(&mut self, bytes: &[u8], take: &mut TakeKept<'_>) -> ControlFlow<()> {
        let encapsulations = self.asking.encapsulations;
        let Some((mut part, standing)) = record::read(bytes, encapsulations, self.base_ns) else {
            self.damaged += 1;
            return ControlFlow::Continue(());
        };
        let (first, last) = (Timestamp(part.body.first()), Timestamp(part.body.last()));
        if !self.asking.range.meets(first, last) || !self.asking.wanted.has(&part.key, encapsulations) {
            return ControlFlow::Continue(());
        }
        match self.judge.restrict(&part.key, &mut part.body, encapsulations) {
            Left::Nothing => return ControlFlow::Continue(()),
            Left::Exactly => {}
            Left::Perhaps => self.perhaps += 1,
        }
        let is_whole = self.stands_apart && !standing.is_open;
        take(&part.key, &part.body, if is_whole { Stands::Whole } else { Stands::Open })
    }
}
