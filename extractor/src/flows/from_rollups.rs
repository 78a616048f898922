//! Hours added by their rollups: some records are counted as they are, others have to be joined.

use std::sync::Arc;

use netrewind_catalog::boundary::HourBoundary;
use netrewind_catalog::boundary_join::HourSide;
use netrewind_catalog::edges::OVERLAP_NS;
use netrewind_catalog::rollup::Rollup;
use netrewind_catalog::rollup::aggregate::Aggregate;
use netrewind_catalog::settle::visit_open;
use netrewind_flows::key::TCP_IDLE_NS;
use netrewind_flows::part::FlowPart;
use netrewind_store::Timestamp;
use netrewind_store::catalog::Manifest;

use super::from_catalog::{HourRecords, RECORDS_BETWEEN_QUESTIONS, damage_of, link_types_of, overlaps};
use super::record_filter::RecordFilter;
use crate::ExtractError;
use crate::answer::completeness::Completeness;

/// Records of different hours with a longer gap between them belong to different conversations: the longest idle time is that of
/// open TCP.
const REACH_NS: u64 = OVERLAP_NS + TCP_IDLE_NS;

/// Hour taken by its rollup.
pub(super) struct AddedHour {
    /// Rollup of the hour, for its series.
    pub(super) rollup: Rollup,
    /// Totals that are added as they are, of the hour and of the seam with the hour before.
    pub(super) added: Vec<Aggregate>,
    /// Records to be joined.
    open: Vec<FlowPart>,
}

impl AddedHour {
    /// The records to be joined, by their earliest packets; those of one conversation that begin together in their order.
    pub(super) fn open(&self) -> impl Iterator<Item = &FlowPart> {
        let mut order: Vec<(u64, usize)> =
            self.open.iter().enumerate().map(|(number, part)| (part.body.first(), number)).collect();
        order.sort_unstable();
        order.into_iter().filter_map(|(_, number)| self.open.get(number))
    }
}

/// Treatment of the records at one end of an hour.
enum HourEdge {
    /// By the seam to the hour next to it.
    Seam(HourBoundary),
    /// As they are: nothing lies there.
    Alone,
    /// One by one.
    Records,
}

/// Takes the next hour by its rollup, if its earliest packet is not later than `until`, all of its records are wanted, and
/// it has one; otherwise its records have to be read.
pub(super) fn take_rollup(
    records: &mut HourRecords<'_>,
    until: Option<u64>,
    stop: &dyn Fn() -> bool,
    completeness: &mut Completeness,
) -> Result<Option<AddedHour>, ExtractError> {
    let is_due = records.horizon().is_some_and(|first| until.is_none_or(|until| first <= until));
    let Some(manifest) = records.hours.front().cloned().filter(|_| is_due) else { return Ok(None) };
    let (rollup, early) = match records.next.take() {
        Some((rollup, seam)) => (rollup, HourEdge::Seam(seam)),
        None => {
            let Some(rollup) = rollup_of(records, &manifest) else { return Ok(None) };
            let is_alone = manifest.bounds().is_some_and(|(first, _)| near(records, first, first) == 1);
            (rollup, if is_alone { HourEdge::Alone } else { HourEdge::Records })
        }
    };
    let mut hour = AddedHour { added: vec![rollup.whole.clone()], open: Vec::new(), rollup };
    take_early(records, &mut hour, early, &manifest, stop, completeness);
    take_late(records, &mut hour, &manifest, stop, completeness);
    if let Some(asking) = &records.asking {
        hour.rollup.through(asking.encapsulations, &mut hour.open);
    }
    records.sums.extend(hour.added.iter().map(|added| Arc::clone(added.file())));
    records.hours.pop_front();
    if stop() { Err(ExtractError::Cancelled) } else { Ok(Some(hour)) }
}

fn take_late(
    records: &mut HourRecords<'_>,
    hour: &mut AddedHour,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
    completeness: &mut Completeness,
) {
    if let Some((after, seam)) = boundary_after(records, manifest) {
        if let Some(asking) = &records.asking {
            seam.before(asking.encapsulations, &mut hour.open);
        }
        records.next = Some((after, seam));
    } else if manifest.bounds().is_some_and(|(_, last)| near(records, last, last) == 1) {
        hour.added.push(hour.rollup.late_alone.clone());
    } else {
        read_open(records, hour, HourSide::Late, manifest, stop, completeness);
    }
}

fn take_early(
    records: &HourRecords<'_>,
    hour: &mut AddedHour,
    early: HourEdge,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
    completeness: &mut Completeness,
) {
    let Some(encapsulations) = records.asking.as_ref().map(|asking| asking.encapsulations) else { return };
    match early {
        HourEdge::Seam(seam) => {
            seam.after(encapsulations, &mut hour.open);
            hour.added.push(seam.settled);
        }
        HourEdge::Alone => {
            hour.added.push(hour.rollup.early_alone.clone());
            hour.rollup.early(encapsulations, &mut hour.open);
        }
        HourEdge::Records => read_open(records, hour, HourSide::Early, manifest, stop, completeness),
    }
}

/// Reads the records that are open at one end.
fn read_open(
    records: &HourRecords<'_>,
    hour: &mut AddedHour,
    side: HourSide,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
    completeness: &mut Completeness,
) {
    let Some(asking) = &records.asking else { return };
    let mut seen: u32 = 0;
    let mut take = |part| {
        seen += 1;
        hour.open.push(part);
        !(seen.is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && stop())
    };
    let visited = visit_open(asking.catalog, asking.store, manifest, side, asking.encapsulations, &mut take);
    if let Err(reason) = visited {
        completeness.add_damage(damage_of(asking.store, manifest, &reason));
    }
}

/// Rollup of an hour, if it suffices for the query.
fn rollup_of(records: &HourRecords<'_>, manifest: &Manifest) -> Option<Rollup> {
    let asking = records.asking.as_ref().filter(|asking| asking.takes_rollups && asking.wanted.is_all())?;
    let (first, last) = manifest.bounds()?;
    let is_whole = asking.search.is_none()
        && asking.range.covers(first, last)
        && RecordFilter::new(asking.filters, &link_types_of(manifest)).accepts_everything();
    if !is_whole || manifest.is_divided || overlaps(manifest, &records.others) {
        return None;
    }
    asking.manifests.rollups.rollup(asking.store, manifest)
}

/// The hour after the next one, if nothing but their seam lies between them.
fn boundary_after(records: &HourRecords<'_>, manifest: &Manifest) -> Option<(Rollup, HourBoundary)> {
    let asking = records.asking.as_ref()?;
    let after = records.hours.get(1).filter(|after| after.hour.before() == Some(manifest.hour))?;
    let ((_, last), (first, _)) = (manifest.bounds()?, after.bounds()?);
    if near(records, last.min(first), last.max(first)) != 2 {
        return None;
    }
    let rollup = rollup_of(records, after)?;
    Some((rollup, asking.manifests.rollups.boundary(asking.store, manifest, after)?))
}

/// Number of segments and hours that may hold parts of a conversation at these instants.
fn near(records: &HourRecords<'_>, from: Timestamp, to: Timestamp) -> usize {
    let (from, to) = (from.ns().saturating_sub(REACH_NS), to.plus_ns(REACH_NS).ns());
    records.others.iter().filter(|(first, last)| first.ns() <= to && last.ns() >= from).count()
}
