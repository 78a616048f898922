//! A hold of whole segments, by name.

use std::time::Duration;

use netrewind_extractor::{Asked, SegmentOverview, TimeRange};
use netrewind_store::clock::Clock;
use netrewind_store::hold::{CaseName, HOLD_SEGMENTS_MAX, HOLD_VERSION, HeldSegment, HoldHead};
use netrewind_store::store::{CaseFiles, Confirmation, ListedSegment};
use netrewind_store::time::HOUR_NS;
use netrewind_store::{SegmentName, SegmentState, Store, Timestamp};

use super::error::HoldError;
use super::room::{check_budget, check_case};

/// Wait for a segment that is perhaps being removed, and the interval between two looks.
pub const CONFIRM_TIME_MAX: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Time after its opening in which a segment of unknown times may have packets: segments are ended with their hour.
const SEGMENT_NS_MAX: u64 = HOUR_NS;

/// A case to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// Its name.
    pub case: CaseName,
    /// Name of who holds it.
    pub by: String,
    /// The reason, in words.
    pub note: String,
}

/// A hold that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeHold {
    /// Segments that it keeps.
    pub segments: u64,
    /// Disk space of these.
    pub bytes: u64,
    /// Segments of the range that expired while it was made.
    pub expired: Vec<SegmentName>,
    /// True if the range goes on after now: what is recorded later is not held.
    pub ends_later: bool,
}

/// Holds the segments that have packets of a range, or may have, whole.
pub fn hold_segments(
    store: &Store,
    clock: &dyn Clock,
    request: &HoldRequest,
    asked: Asked,
    range: TimeRange,
) -> Result<MadeHold, HoldError> {
    let files = CaseFiles::of(store);
    files.prepare()?;
    let _turn = files.lock()?;
    check_case(&files, &request.case, &request.by, &request.note)?;
    let now = clock.now().wall;
    let listed = ListedSegment::all(store)?;
    let wanted = in_range(store, &listed, range);
    if wanted.is_empty() {
        return Err(HoldError::NothingKept(asked));
    }
    if wanted.len() > HOLD_SEGMENTS_MAX {
        return Err(HoldError::TooManySegments(wanted.len()));
    }
    let account = files.account(&listed)?;
    let free = wanted.iter().filter(|segment| !account.may_hold(&segment.name));
    check_budget(&files, &account, free.map(|segment| segment.disk_bytes).sum())?;
    let held = |segment: &ListedSegment| HeldSegment {
        segment: segment.name,
        bytes: if segment.state == SegmentState::Sealed { segment.file_bytes } else { 0 },
    };
    let segments: Vec<HeldSegment> = wanted.iter().map(held).collect();
    let head = HoldHead {
        hold: request.case.clone(),
        version: HOLD_VERSION,
        made: now,
        from: asked.from,
        to: asked.to,
        by: request.by.clone(),
        note: request.note.clone(),
        segments: segments.len() as u64,
        packets: None,
    };
    files.write(&head, &segments)?;
    let mut made = MadeHold { ends_later: asked.to.is_some_and(|to| to > now), ..MadeHold::default() };
    for segment in &wanted {
        match is_kept(&files, clock, &segment.name)? {
            true => {
                made.segments += 1;
                made.bytes += segment.disk_bytes;
            }
            false => made.expired.push(segment.name),
        }
    }
    if made.segments == 0 {
        files.remove(&request.case)?;
        return Err(HoldError::AllExpired(wanted.len()));
    }
    if !made.expired.is_empty() {
        // What it names from now on and is not there is a fault.
        let kept: Vec<_> =
            segments.into_iter().filter(|held| !made.expired.contains(&held.segment)).collect();
        files.write(&HoldHead { segments: kept.len() as u64, ..head }, &kept)?;
    }
    Ok(made)
}

/// Waits until it is certain that a segment stays, or that it is gone.
fn is_kept(files: &CaseFiles<'_>, clock: &dyn Clock, name: &SegmentName) -> Result<bool, HoldError> {
    let until_ns = clock.now().after(CONFIRM_TIME_MAX);
    loop {
        match files.confirm(name)? {
            Confirmation::Kept => return Ok(true),
            Confirmation::Gone => return Ok(false),
            // A process that has stopped in the middle of removing it goes on to remove it.
            Confirmation::Unsettled if clock.now().monotonic_ns >= until_ns => return Ok(false),
            Confirmation::Unsettled => clock.sleep(LOOK_INTERVAL),
        }
    }
}

/// The segments that have packets of a range. Those whose times cannot be read are judged by their names.
fn in_range(store: &Store, listed: &[ListedSegment], range: TimeRange) -> Vec<ListedSegment> {
    let is_wanted = |segment: &&ListedSegment| {
        let overview = SegmentOverview::of(store, segment);
        match (overview.first, overview.last, segment.state) {
            // More of its packets may be on their way.
            (Some(first), _, SegmentState::Open) => range.meets(first, Timestamp::MAX),
            (Some(first), Some(last), SegmentState::Sealed) => range.meets(first, last),
            _ => {
                let opened = segment.name.opened;
                segment.file_bytes > 0 && range.meets(opened, opened.plus_ns(SEGMENT_NS_MAX))
            }
        }
    };
    listed.iter().filter(is_wanted).copied().collect()
}
