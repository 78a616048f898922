//! Fragments split by an end of the range: the verdict on those inside may then depend on those outside.

use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::{Record, Timestamp};

use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::prepare::PreparedQuery;
use crate::fragments::REACH_NS;
use crate::store::live_index::new_builder;
use crate::store::segment::Segment;

/// Number of records between two checks for cancellation.
const RECORDS_BETWEEN_QUESTIONS: u32 = 1 << 16;

/// True if there are later fragments near an end of the range.
pub(super) fn may_cut_fragments(
    prepared: &PreparedQuery<'_>,
    control: &dyn Control,
) -> Result<bool, ExtractError> {
    let begin = Some(prepared.range.from).filter(|&from| from > Timestamp(0));
    let ends: Vec<u64> = [begin, prepared.range.end()].into_iter().flatten().map(Timestamp::ns).collect();
    let is_near = |at: u64| ends.iter().any(|&end| at.abs_diff(end) <= REACH_NS);
    for segment in prepared.segments.in_range.iter().chain(&prepared.segments.beside) {
        let Some((first, last)) = segment.bounds else { continue };
        let meets = |&end: &u64| {
            first.ns() <= end.saturating_add(REACH_NS) && end <= last.ns().saturating_add(REACH_NS)
        };
        if !ends.iter().any(meets) {
            continue;
        }
        if segment.later_views() == Some(0) {
            continue;
        }
        let reopened = match segment.is_released() {
            true => prepared.engine.segment_cache.reopen(segment, true),
            false => None,
        };
        let segment = match (&reopened, segment.is_released()) {
            (Some(reopened), _) => reopened,
            (None, true) => continue, // it has expired since
            (None, false) => segment,
        };
        if has_later_fragments(segment, prepared, &is_near, control)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if the segment has a later fragment at such a time.
fn has_later_fragments(
    segment: &Segment,
    prepared: &PreparedQuery<'_>,
    is_near: &dyn Fn(u64) -> bool,
    control: &dyn Control,
) -> Result<bool, ExtractError> {
    if let Some(templates) = segment.index.as_ref().and_then(|index| index.templates().ok())
        && !templates.iter().any(|template| template.is_later_fragment())
    {
        return Ok(false);
    }
    let builder = new_builder(segment.link_type, &prepared.filters.ports);
    let mut near = builder.without_observations();
    let mut end = FILE_HEADER_BYTES as u64;
    let mut seen = 0_u32;
    for piece in segment.medium.pieces(FILE_HEADER_BYTES as u64) {
        for record in piece.records() {
            seen += 1;
            if seen.is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && control.cancelled() {
                return Err(ExtractError::Cancelled);
            }
            if is_near(record.header.timestamp().ns()) {
                let record = Record { offset: end, ..record };
                end = record.end();
                near.push(&record);
            }
        }
    }
    let wrong = |reason: String| ExtractError::Flows { segment: segment.name, reason };
    let index = near.finish().map_err(|error| wrong(error.to_string()))?;
    let index = netrewind_index::Index::open(&index[..]).map_err(|error| wrong(error.to_string()))?;
    let templates = index.templates().map_err(|error| wrong(error.to_string()))?;
    Ok(templates.iter().any(|template| template.is_later_fragment()))
}
