//! Indexes of hours, beside the segments that they speak of: built from the segments' indexes.

use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_index::{HourBuilder, HourIndex, Index};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::catalog::Hour;
use netrewind_store::room::Room;
use netrewind_store::store::{HourFiles, ListedSegment, SegmentStamps};
use netrewind_store::{Map, SegmentName, SegmentState, Store, Timestamp};

use crate::error::IndexerError;
use crate::index_writer::ports_of;

/// The index of an hour, and the segments that it could not take up.
pub struct BuiltHour {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Segments in it.
    pub segments: usize,
    /// True if a file was written so recently that its time would not show another change: the hour should be built again a moment
    /// later.
    pub is_too_early: bool,
}

/// Result of looking at a segment and its index.
enum SegmentLook {
    /// The index fits, and is sound.
    Sound(SegmentStamps, Box<Index<Map>>),
    /// There is no index that does.
    Unfit,
    /// See [`BuiltHour::is_too_early`].
    TooEarly,
}

/// Sealed segments that have an index.
fn indexed(segments: &[ListedSegment]) -> impl Iterator<Item = &ListedSegment> {
    segments.iter().filter(|segment| segment.state == SegmentState::Sealed && segment.has_index)
}

/// Builds the index of an hour from those of these segments, which are sorted by name. `None` if `stop` ended it.
pub fn build(
    store: &Store,
    hour: Hour,
    segments: &[ListedSegment],
    now: Timestamp,
    stop: &AtomicBool,
) -> Result<Option<BuiltHour>, IndexerError> {
    let ports = ports_of(store)?;
    let mut builder = HourBuilder::new(hour, &ports);
    let mut is_too_early = false;
    for segment in indexed(segments) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match look_at(store, &segment.name, &ports, now)? {
            SegmentLook::Sound(stamps, index) => {
                // Sound a moment ago: what went wrong since has another stamp.
                let _ = builder.add(segment.name, stamps, &index);
            }
            SegmentLook::Unfit => {}
            SegmentLook::TooEarly => is_too_early = true,
        }
    }
    let segments = builder.segments().len();
    Ok(Some(BuiltHour { bytes: builder.finish(), segments, is_too_early }))
}

/// Checks that the index of a segment belongs to it, as queries do, and that all of it is sound.
fn look_at(
    store: &Store,
    name: &SegmentName,
    ports: &TunnelPorts,
    now: Timestamp,
) -> Result<SegmentLook, IndexerError> {
    let (Some(file), Some(opened)) = (store.open_index(name)?, store.open_segment(name)?) else {
        return Ok(SegmentLook::Unfit);
    };
    let (of_index, of_segment) = (file.status()?, opened.file.status()?);
    let stamps = SegmentStamps { segment: of_segment.stamp(), index: of_index.stamp() };
    if opened.state != SegmentState::Sealed || !of_index.is_file() || !of_segment.is_file() {
        return Ok(SegmentLook::Unfit);
    }
    if !stamps.segment.is_settled(now) || !stamps.index.is_settled(now) {
        return Ok(SegmentLook::TooEarly);
    }
    let segment = opened.file.medium(opened.readable_bytes)?;
    segment.read_as_told();
    let Ok(index) = Index::open(file.map(stamps.index.bytes)?) else { return Ok(SegmentLook::Unfit) };
    let checked = index
        .matches_ports(ports)
        .and_then(|()| index.matches_segment(&segment))
        .and_then(|()| index.verify());
    let is_sound =
        checked.is_ok() && !index.bytes().has_lost() && !segment.has_lost() && segment.fault().is_none();
    Ok(if is_sound { SegmentLook::Sound(stamps, Box::new(index)) } else { SegmentLook::Unfit })
}

/// The index of an hour that is there, if it can be used at all.
fn existing(store: &Store, hour: Hour) -> Result<Option<HourIndex<Vec<u8>>>, IndexerError> {
    let Some(file) = HourFiles::of(store).open(hour)? else { return Ok(None) };
    let ports = ports_of(store)?;
    let index = HourIndex::open(file.read_all()?).ok();
    Ok(index.filter(|index| index.hour() == hour && index.matches_ports(&ports)))
}

/// True if the index of an hour speaks of exactly these segments, as they are.
pub fn is_current(store: &Store, hour: Hour, segments: &[ListedSegment]) -> Result<bool, IndexerError> {
    let Some(index) = existing(store, hour)? else { return Ok(false) };
    let Some(day) = HourFiles::of(store).day(hour) else { return Ok(false) };
    let known = index.segments();
    let names = indexed(segments).map(|segment| segment.name);
    Ok(names.eq(known.iter().map(|segment| segment.name))
        && known.iter().all(|segment| day.stamps(&segment.name) == Some(segment.stamps)))
}

/// Writes the index of an hour, after making room for it; returns what was built, and `None` if `stop` ended it.
pub fn write(
    store: &Store,
    hour: Hour,
    segments: &[ListedSegment],
    now: Timestamp,
    room: Option<&dyn Room>,
    stop: &AtomicBool,
) -> Result<Option<BuiltHour>, IndexerError> {
    let Some(built) = build(store, hour, segments, now, stop)? else { return Ok(None) };
    if built.segments > 0 {
        room.map_or(Ok(()), |room| room.make_room(built.bytes.len() as u64))?;
        HourFiles::of(store).write(hour, &built.bytes)?;
    }
    Ok(Some(built))
}

/// Reads the index of an hour from end to end and, if it speaks of these segments as they are, compares it with one that is built
/// again; the error describes the fault.
pub fn check(
    store: &Store,
    hour: Hour,
    segments: &[ListedSegment],
    now: Timestamp,
) -> Result<(), IndexerError> {
    let unsound = |reason: &str| {
        let remedy = "and is not used: run netrewind index";
        Err(IndexerError::Unsound(format!("it {reason}, {remedy}")))
    };
    // One that has expired since is no fault.
    let Some(file) = HourFiles::of(store).open(hour)? else { return Ok(()) };
    let bytes = file.read_all()?;
    let read = HourIndex::open(&bytes[..]).and_then(|index| index.verify().map(|()| index));
    match read {
        Err(netrewind_index::IndexError::Version { found, .. }) => {
            return unsound(&format!("has format version {found}"));
        }
        Err(netrewind_index::IndexError::Damaged { part }) => {
            return unsound(&format!("is damaged at its {part}"));
        }
        Err(_) => return unsound("is damaged"),
        Ok(index) if index.hour() != hour => return unsound("is of another hour"),
        Ok(_) => {}
    }
    if is_current(store, hour, segments)?
        && let Some(built) = build(store, hour, segments, now, &AtomicBool::new(false))?
        && !built.is_too_early
        && built.bytes != bytes
    {
        return unsound("does not match the indexes of its segments");
    }
    Ok(())
}
