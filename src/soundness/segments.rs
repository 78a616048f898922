//! Integrity of sealed segments: their bytes compared with the checksums in their indexes.

use std::ops::Range;

use anyhow::Context;
use netrewind_index::{Comparison, GranuleChecksums, Index, IndexError};
use netrewind_store::files::StoreFile;
use netrewind_store::{SegmentName, SegmentState, Store};

/// Bytes of a segment that are read at once.
const READ_BYTES: usize = 1 << 20;
/// Ranges of a segment that are named; further ones are counted.
const STRETCHES_NAMED_MAX: usize = 16;
/// Remedy for a segment that has changed.
const REMEDY: &str = "restore the segment from a copy, if there is one; do not rebuild its index, because a new index would hide the damage";

/// Remedy for an index without which nothing vouches for its segment.
const INDEX_REMEDY: &str = "restore it from a copy, or build it with netrewind verify --repair";

/// Statement of its index about the bytes of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouching {
    /// They are as they were recorded.
    Sound,
    /// They are not, or it is not known of some of them: the differences, one line each.
    Altered(Vec<String>),
    /// They are as they were when the index was built, later than the recording.
    Late,
    /// Nothing, for this reason: there is no usable index.
    Nothing(String),
}

/// Compares a segment with its index's record of it.
pub fn vouching(store: &Store, name: &SegmentName) -> anyhow::Result<Vouching> {
    let nothing = |reason: &str| Ok(Vouching::Nothing(format!("{reason} ({INDEX_REMEDY})")));
    let Some(file) = store.open_index(name)? else { return nothing("it has no index") };
    let bytes = file.read_all().with_context(|| store.index_path(name).display().to_string())?;
    let index = match Index::open(bytes) {
        Ok(index) => index,
        Err(IndexError::Damaged { part }) => return nothing(&format!("its index is damaged at its {part}")),
        Err(error) => return Ok(Vouching::Nothing(error.to_string())),
    };
    let Some(opened) = store.open_segment(name)?.filter(|opened| opened.state == SegmentState::Sealed) else {
        return Ok(Vouching::Sound); // it has expired since
    };
    let (checksums, length) =
        checksums_of(&*opened.file, &index).with_context(|| store.sealed_path(name).display().to_string())?;
    let comparison = match index.compare(&checksums, length) {
        Ok(comparison) => comparison,
        Err(_) => return nothing("its index is damaged at its checksums"),
    };
    let lines = differences(&index, &comparison, length);
    Ok(match () {
        () if !lines.is_empty() => Vouching::Altered(lines),
        () if comparison.unknown > 0 => nothing_of_some(&comparison),
        () if index.is_late() => Vouching::Late,
        () => Vouching::Sound,
    })
}

fn nothing_of_some(comparison: &Comparison) -> Vouching {
    let all = comparison.sound + comparison.unknown;
    Vouching::Nothing(format!(
        "the checksums of {} of its {all} granules are damaged in its index ({INDEX_REMEDY})",
        comparison.unknown
    ))
}

/// The index of a segment as it is written when nothing vouches for the segment's bytes.
pub fn marked_late(index: &[u8]) -> Vec<u8> {
    let mut late = index.to_vec();
    netrewind_index::mark_late(&mut late);
    late
}

fn differences<B: AsRef<[u8]>>(index: &Index<B>, comparison: &Comparison, length: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let granules = comparison
        .altered
        .iter()
        .map(|stretch| (stretch.end - stretch.start).div_ceil(index.granule_bytes()));
    if comparison.sound == 0 && granules.sum::<u64>() > 1 {
        lines.push(
            "none of it matches its index: it is damaged throughout, or the index belongs to another segment"
                .into(),
        );
        return lines;
    }
    name_stretches(&comparison.altered, &mut lines);
    if length != index.segment_bytes() {
        lines.push(format!(
            "it has {length} bytes, but had {} when it was recorded: {REMEDY}",
            index.segment_bytes()
        ));
    }
    lines
}

/// The checksums of a file's granules, and its length.
fn checksums_of<B: AsRef<[u8]>>(file: &dyn StoreFile, index: &Index<B>) -> std::io::Result<(Vec<u32>, u64)> {
    let mut checksums = GranuleChecksums::new(index.granule_bytes());
    let mut buffer = vec![0; READ_BYTES];
    let mut length = 0;
    loop {
        let count = file.read_at_most(&mut buffer, length)?;
        if count == 0 {
            return Ok((checksums.finish().to_vec(), length));
        }
        checksums.add(&buffer[..count]);
        length += count as u64;
    }
}

fn name_stretches(altered: &[Range<u64>], lines: &mut Vec<String>) {
    for Range { start, end } in altered.iter().take(STRETCHES_NAMED_MAX) {
        lines.push(format!("bytes {start} to {end} differ from those recorded: {REMEDY}"));
    }
    let more = altered.len().saturating_sub(STRETCHES_NAMED_MAX);
    if more > 0 {
        lines.push(format!("{more} more ranges of it differ from those recorded"));
    }
}
