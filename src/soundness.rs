//! Integrity of sealed segments: their bytes compared with the checksums in their indexes.

use std::ops::Range;

use anyhow::Context;
use netrewind_index::{GranuleChecksums, Index};
use netrewind_store::files::StoreFile;
use netrewind_store::{SegmentName, SegmentState, Store};

/// Bytes of a segment that are read at once.
const READ_BYTES: usize = 1 << 20;
/// Ranges of a segment that are named; further ones are counted.
const STRETCHES_NAMED_MAX: usize = 16;
/// Remedy for a segment that has changed.
const REMEDY: &str = "restore the segment from a copy, if there is one; do not rebuild its index, because a new index would hide the damage";

/// Differences of a segment from its index's record of it, one line each; none if it is unchanged, or if there is no usable
/// index: that is another fault.
pub fn alterations(store: &Store, name: &SegmentName) -> anyhow::Result<Vec<String>> {
    let Some(file) = store.open_index(name)? else { return Ok(Vec::new()) };
    let bytes = file.read_all().with_context(|| store.index_path(name).display().to_string())?;
    let Ok(index) = Index::open(bytes) else { return Ok(Vec::new()) };
    let Some(opened) = store.open_segment(name)?.filter(|opened| opened.state == SegmentState::Sealed) else {
        return Ok(Vec::new());
    };
    let (checksums, length) =
        checksums_of(&*opened.file, &index).with_context(|| store.sealed_path(name).display().to_string())?;
    let Ok(comparison) = index.compare(&checksums, length) else { return Ok(Vec::new()) };
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
        return Ok(lines);
    }
    name_stretches(&comparison.altered, &mut lines);
    if length != index.segment_bytes() {
        lines.push(format!(
            "it has {length} bytes, but had {} when it was recorded: {REMEDY}",
            index.segment_bytes()
        ));
    }
    Ok(lines)
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
