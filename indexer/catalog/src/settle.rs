//! The boundary of two hours of a store: made, and checked.

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::{ICMP_IDLE_NS, TCP_IDLE_NS};
use netrewind_flows::part::FlowPart;
use netrewind_flows::totals::Totals;
use netrewind_store::Store;
use netrewind_store::catalog::Manifest;
use netrewind_store::store::CatalogFolder;
use netrewind_store::time::SECOND_NS;

use crate::Catalog;
use crate::boundary::{self, HEAD_BYTES, HourBoundary};
use crate::boundary_join::{BoundaryJoin, HourSide};
use crate::cache::Rollups;
use crate::edges::Edges;
use crate::record;

/// True if a boundary is due between an hour and the one before: both have rollups, and none fits their manifests yet.
pub fn boundary_is_due(store: &Store, before: &Manifest, after: &Manifest) -> bool {
    let has_rollups = [before, after]
        .into_iter()
        .all(|manifest| matches!(CatalogFolder::of(store).rollup(manifest.hour), Ok(Some(_))));
    let is_there = || {
        let mut head = [0; HEAD_BYTES];
        CatalogFolder::of(store).seam(after.hour).ok()??.read_exact_at(&mut head, 0).ok()?;
        boundary::content_of(&head, before, after).map(|_| ())
    };
    has_rollups && is_there().is_none()
}

/// The bytes of the boundary between two hours that follow each other. The error says which cannot be read.
pub fn boundary_of(
    catalog: &dyn Catalog,
    store: &Store,
    before: &Manifest,
    after: &Manifest,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<u8>, String> {
    let encapsulations = Encapsulations::default();
    let rollups = Rollups::default();
    let mut through = Vec::new();
    let mut read = |manifest: &Manifest| {
        let rollup = rollups.rollup(store, manifest)?;
        rollup.through(&encapsulations, &mut through)?;
        rollup.file().fault().is_none().then_some(())
    };
    let has_rollups = read(before).and_then(|()| read(after)).is_some();
    let mut joining = None;
    if has_rollups {
        let joining = joining.insert(BoundaryJoin::new(&encapsulations, after.hour));
        joining.leave(through.iter());
        for (manifest, side) in [(before, HourSide::Late), (after, HourSide::Early)] {
            visit_open(catalog, store, manifest, side, &encapsulations, &mut |part| {
                joining.take(part, side);
                !stop()
            })?;
        }
    }
    if stop() {
        return Err("it was cancelled".to_owned());
    }
    Ok(boundary::write(joining, before, after))
}

/// Passes the records of an hour that are open at this end and not at the other, in their order, until `take` refuses one.
pub fn visit_open(
    catalog: &dyn Catalog,
    store: &Store,
    manifest: &Manifest,
    side: HourSide,
    encapsulations: &Encapsulations,
    take: &mut dyn FnMut(FlowPart) -> bool,
) -> Result<(), String> {
    let (edges, base) = (Edges::of(manifest), manifest.hour.start());
    let mut is_damaged = false;
    let is_wanted = |first, last| may_be_open(edges, side, first, last);
    catalog.visit_open(store, manifest, &is_wanted, &mut |bytes| {
        let Some((part, standing)) = record::read(bytes, encapsulations, base.ns()) else {
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

/// The shortest and the longest idle time that a conversation can have.
const IDLE_LEAST_NS: u64 = ICMP_IDLE_NS;
const IDLE_MOST_NS: u64 = TCP_IDLE_NS;

/// False if a record cannot be open at this side alone, as far as its times tell: those of its first packet, rounded down to seconds
/// since the epoch, and of its last, rounded up.
fn may_be_open(edges: Edges, side: HourSide, first_seconds: u64, last_seconds: u64) -> bool {
    let last_ns = last_seconds.saturating_mul(SECOND_NS);
    match side {
        // All that are not late, whatever they are: a loose piece is early whenever it begins.
        HourSide::Early => last_ns.saturating_sub(SECOND_NS).saturating_add(IDLE_LEAST_NS) < edges.ends,
        HourSide::Late => {
            let begins_until_ns = first_seconds.saturating_add(1).saturating_mul(SECOND_NS);
            let is_early = begins_until_ns <= edges.begins.saturating_add(IDLE_LEAST_NS);
            !is_early && last_ns.saturating_add(IDLE_MOST_NS) >= edges.ends
        }
    }
}

/// True if the boundary between two hours, if there is one, is undamaged, and holds as much as they have left open there.
pub fn boundary_adds_up(
    catalog: &dyn Catalog,
    store: &Store,
    before: &Manifest,
    after: &Manifest,
) -> Result<bool, String> {
    let Some(file) = CatalogFolder::of(store).seam(after.hour).map_err(|error| error.to_string())? else {
        return Ok(true);
    };
    let bytes = file.read_all().map_err(|error| error.to_string())?;
    if !HourBoundary::is_whole(&bytes) {
        return Ok(false);
    }
    // One of other hours, or one that says that there is none, is ignored, and is not an error.
    if boundary::content_of(&bytes, before, after).is_none_or(<[u8]>::is_empty) {
        return Ok(true);
    }
    let Some(boundary) = Rollups::default().boundary(store, before, after) else { return Ok(false) };
    let encapsulations = Encapsulations::default();
    let mut open = Totals::default();
    for (manifest, side) in [(before, HourSide::Late), (after, HourSide::Early)] {
        visit_open(catalog, store, manifest, side, &encapsulations, &mut |part| {
            open.add(&part.body);
            true
        })?;
    }
    Ok(boundary.adds_up((open.packets, open.bytes)))
}

/// True if an hour has no rollup, or an undamaged one that adds up to the manifest's totals.
pub fn rollup_adds_up(store: &Store, manifest: &Manifest) -> bool {
    matches!(CatalogFolder::of(store).rollup(manifest.hour), Ok(None))
        || Rollups::default().rollup(store, manifest).is_some_and(|rollup| rollup.adds_up(manifest))
}
