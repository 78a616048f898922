//! Cold segments: a sealed segment as independent Zstandard frames, whose positions remain those of the segment's own bytes.
//! `FORMAT.md`, "Cold segments".
//!
//! ```text
//! skippable frame (RFC 8878, 3.1.2): table of the frames | frame of the first 128 KiB | frame of the next | ...
//! ```
//!
//! `zstd -dc` gives the segment back, with the table or without it. Where the table is damaged, the frames are found by their
//! headers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use crate::archived::{ArchivedObject, LostRanges};
use crate::locked;
use crate::sys::Map;

mod file;
mod writer;

pub(crate) use file::ColdFile;
pub use writer::{Compression, LEAST_SAVED_PERCENT, LEVEL, compress};

/// Bytes of a segment in each frame but the last. Smaller frames compress less, larger ones cost more where a single packet is
/// wanted.
pub const FRAME_BYTES: u64 = 128 << 10;
/// Limit on the frames of a segment, which bounds the table.
pub const FRAMES_MAX: u64 = 1 << 20;
/// Decompressed frames that are kept for each segment: neighbouring packets are often read one after the other.
const KEPT_FRAMES: usize = 4;

/// Magic number of the skippable frame with the table.
const SKIPPABLE: [u8; 4] = 0x184d_2a5e_u32.to_le_bytes();
/// First bytes of the table; the digit is its version.
const TABLE_MAGIC: [u8; 8] = *b"NRWCOLD1";
/// Bytes before the sizes of the frames, with the skippable frame's header.
pub const TABLE_HEAD_BYTES: usize = 40;
/// Bytes of each frame's entry.
const ENTRY_BYTES: usize = 4;

/// Place of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Offset of its first byte in the file.
    at: u64,
    /// Offset in the segment of the first byte that it holds.
    begin: u64,
}

/// Bytes at the beginning of an archived segment that are fetched at once: the table of 500 MiB.
const HEAD_BYTES: u64 = 16 << 10;

/// The file of a cold segment.
#[derive(Debug)]
enum ColdBytes {
    Mapped(Map),
    Archived(Arc<dyn ArchivedObject>),
}

/// A cold segment, open for reading.
pub struct ColdSegment {
    file: ColdBytes,
    /// The frames, and a last entry for their end.
    frames: Vec<Frame>,
    /// Reason why the file cannot be read from the end of the last frame on, or why its table cannot be used.
    fault: Option<String>,
    /// The last frames that were decompressed, by number.
    kept: Mutex<VecDeque<(usize, Arc<Map>)>>,
    /// The frames that could not be had, by what they hold of the segment.
    lost: LostRanges,
}

impl fmt::Debug for ColdSegment {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("ColdSegment").field("bytes", &self.bytes()).field("fault", &self.fault).finish()
    }
}

impl ColdSegment {
    /// Opens one that is mapped, whole.
    pub fn new(map: Map) -> Self {
        let (frames, fault) = match table(&map, map.len() as u64) {
            Ok(frames) => (frames, None),
            Err(reason) => {
                let (frames, rest) = found_frames(&map);
                (frames, Some(rest.unwrap_or(reason)))
            }
        };
        Self::of_frames(ColdBytes::Mapped(map), frames, fault)
    }

    /// Opens one in an archive, by its table: an error says why that cannot be had.
    pub(crate) fn archived(object: Arc<dyn ArchivedObject>) -> io::Result<Self> {
        let bytes = object.bytes();
        let mut head = object.read(0..HEAD_BYTES.min(bytes))?;
        let end = table_end(&head).map_or(0, |end| end.min(bytes));
        if end > head.len() as u64 {
            head.extend(object.read(head.len() as u64..end)?);
        }
        let frames = table(&head, bytes);
        let frames = frames.map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        Ok(Self::of_frames(ColdBytes::Archived(object), frames, None))
    }

    fn of_frames(file: ColdBytes, frames: Vec<Frame>, fault: Option<String>) -> Self {
        Self { file, frames, fault, kept: Mutex::default(), lost: LostRanges::default() }
    }

    /// Bytes of the segment.
    pub fn bytes(&self) -> u64 {
        self.frames.last().map_or(0, |end| end.begin)
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        match &self.file {
            ColdBytes::Mapped(map) => map.len() as u64,
            ColdBytes::Archived(object) => object.bytes(),
        }
    }

    /// What is wrong with the file, as far as known without decompressing it.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Numbers of the frames that hold a range of the segment.
    fn frames_of(&self, range: &Range<u64>) -> Range<usize> {
        let frames = self.frames.len().saturating_sub(1);
        let number = |at: u64| usize::try_from(at / FRAME_BYTES).unwrap_or(usize::MAX).min(frames);
        if range.is_empty() {
            return 0..0;
        }
        number(range.start)..number(range.end.saturating_sub(1)).saturating_add(1).min(frames)
    }

    /// Where a frame lies in the file, and what it holds of the segment.
    fn place(&self, number: usize) -> Option<(Range<u64>, Range<u64>)> {
        let (this, next) = (self.frames.get(number)?, self.frames.get(number + 1)?);
        Some((this.at..next.at, this.begin..next.begin))
    }

    /// Decompresses the frames that hold a range. Returns the bytes, and the offset in the segment of the first of them; frames that
    /// cannot be decompressed read as zeros, and are [lost](Self::first_lost).
    pub fn read(&self, range: Range<u64>) -> (Arc<Map>, u64) {
        let numbers = self.frames_of(&range);
        let begin = self.frames.get(numbers.start).map_or(0, |frame| frame.begin);
        if numbers.len() == 1 {
            return (self.one(numbers.start), begin);
        }
        let end = self.frames.get(numbers.end).map_or(begin, |frame| frame.begin);
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        if self.is_archived() {
            self.will_need(std::slice::from_ref(&range));
        }
        let mut rest = &mut bytes[..];
        let mut decompressor = Decompressor::new().ok();
        for number in numbers {
            let length = self.place(number).map_or(0, |(_, held)| (held.end - held.start) as usize);
            let (into, behind) = rest.split_at_mut(length.min(rest.len()));
            self.decompress(number, into, decompressor.as_mut());
            rest = behind;
        }
        (Arc::new(Map::from_bytes(bytes)), begin)
    }

    /// A frame's bytes, kept from the last time or decompressed.
    fn one(&self, number: usize) -> Arc<Map> {
        let known = locked(&self.kept).iter().find(|(kept, _)| *kept == number).map(|(_, map)| map.clone());
        if let Some(map) = known {
            return map;
        }
        let length = self.place(number).map_or(0, |(_, held)| (held.end - held.start) as usize);
        let mut bytes = vec![0; length];
        self.decompress(number, &mut bytes, Decompressor::new().ok().as_mut());
        let map = Arc::new(Map::from_bytes(bytes));
        let mut kept = locked(&self.kept);
        kept.truncate(KEPT_FRAMES - 1);
        kept.push_front((number, Arc::clone(&map)));
        map
    }

    /// Decompresses a frame; notes it as lost, and leaves zeros, where that fails.
    fn decompress(&self, number: usize, into: &mut [u8], decompressor: Option<&mut Decompressor<'_>>) {
        let Some((at, held)) = self.place(number) else { return };
        let frame = match &self.file {
            ColdBytes::Mapped(map) => {
                map.get(span(&at)).map(Cow::Borrowed).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            ColdBytes::Archived(object) => object.read(at).map(Cow::Owned),
        };
        let written = frame.and_then(|frame| match decompressor {
            Some(decompressor) => decompressor.decompress_to_buffer(&frame, into),
            None => Err(io::ErrorKind::OutOfMemory.into()),
        });
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a frame is damaged");
        match written {
            Ok(bytes) if bytes == into.len() => return,
            Ok(_) => self.lost.add(held, &damaged()),
            Err(error) => self.lost.add(held, &error),
        }
        into.fill(0);
    }

    /// Offset in the segment of the first byte within the range that could not be decompressed. Frames that were never read are not
    /// known to be lost.
    pub fn first_lost(&self, range: Range<u64>) -> Option<u64> {
        self.lost.first_in(&range)
    }

    /// Reason why the first frame that is lost could not be had.
    pub(crate) fn lost_reason(&self) -> Option<String> {
        self.lost.reason()
    }

    /// True if its frames are fetched.
    pub(crate) fn is_archived(&self) -> bool {
        matches!(self.file, ColdBytes::Archived(_))
    }

    /// Has the disk read the frames of ranges ahead, or fetches them.
    pub(crate) fn will_need(&self, ranges: &[Range<u64>]) {
        let in_file = ranges.iter().filter_map(|range| {
            let numbers = self.frames_of(range);
            let (first, end) = (self.frames.get(numbers.start)?, self.frames.get(numbers.end)?);
            Some(first.at..end.at)
        });
        match &self.file {
            ColdBytes::Mapped(map) => in_file.for_each(|range| map.will_need(span(&range))),
            ColdBytes::Archived(object) => object.will_need(&in_file.collect::<Vec<_>>()),
        }
    }

    /// The map of the file, if it has one.
    pub(crate) fn map(&self) -> Option<&Map> {
        match &self.file {
            ColdBytes::Mapped(map) => Some(map),
            ColdBytes::Archived(_) => None,
        }
    }
}

fn span(range: &Range<u64>) -> Range<usize> {
    let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    index(range.start)..index(range.end)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Bytes of the table of so many frames, with the header of its skippable frame.
fn table_bytes(frames: u64) -> u64 {
    TABLE_HEAD_BYTES as u64 + frames * ENTRY_BYTES as u64
}

/// The table, for frames of these sizes.
fn table_of(segment_bytes: u64, sizes: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; TABLE_HEAD_BYTES];
    let content = table_bytes(sizes.len() as u64) - 8;
    bytes[0..4].copy_from_slice(&SKIPPABLE);
    bytes[4..8].copy_from_slice(&u32::try_from(content).unwrap_or(u32::MAX).to_le_bytes());
    bytes[8..16].copy_from_slice(&TABLE_MAGIC);
    bytes[16..24].copy_from_slice(&segment_bytes.to_le_bytes());
    bytes[24..28].copy_from_slice(&(FRAME_BYTES as u32).to_le_bytes());
    bytes[28..32].copy_from_slice(&u32::try_from(sizes.len()).unwrap_or(u32::MAX).to_le_bytes());
    sizes.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
    let sum = table_sum(&bytes);
    bytes[32..40].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Checksum of a table: of all of it but the checksum.
fn table_sum(bytes: &[u8]) -> u64 {
    let mut covered = bytes.get(8..32).unwrap_or_default().to_vec();
    covered.extend(bytes.get(TABLE_HEAD_BYTES..).unwrap_or_default());
    xxh3_64(&covered)
}

/// Bytes of the segment, as the first [`TABLE_HEAD_BYTES`] of a cold file say; `None` if they are of no such file.
pub fn segment_bytes_in(head: &[u8]) -> Option<u64> {
    let head = head.get(..TABLE_HEAD_BYTES)?;
    (head[..4] == SKIPPABLE && head[8..16] == TABLE_MAGIC).then(|| word(head, 16)).flatten()
}

/// End of the table that begins so; `None` where none does.
fn table_end(head: &[u8]) -> Option<u64> {
    let frames = u32::from_le_bytes(*head.get(28..32)?.first_chunk()?);
    (u64::from(frames) <= FRAMES_MAX).then(|| table_bytes(frames.into()))
}

/// The frames by the table at the beginning of a file of so many bytes; otherwise the reason why it cannot be used.
fn table(file: &[u8], file_bytes: u64) -> Result<Vec<Frame>, String> {
    let damaged = || "its table of frames is damaged".to_owned();
    let head = file.get(..TABLE_HEAD_BYTES).ok_or_else(damaged)?;
    if head[..4] != SKIPPABLE
        || head[8..16] != TABLE_MAGIC
        || head[24..28] != (FRAME_BYTES as u32).to_le_bytes()
    {
        return Err(damaged());
    }
    let (segment_bytes, sum) = (word(head, 16).ok_or_else(damaged)?, word(head, 32).ok_or_else(damaged)?);
    let frames = u64::from(u32::from_le_bytes([head[28], head[29], head[30], head[31]]));
    if frames > FRAMES_MAX || segment_bytes.div_ceil(FRAME_BYTES) != frames {
        return Err(damaged());
    }
    let end = usize::try_from(table_bytes(frames)).map_err(|_| damaged())?;
    let table = file.get(..end).ok_or_else(damaged)?;
    let content = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
    if table_sum(table) != sum || content + 8 != table_bytes(frames) {
        return Err(damaged());
    }
    let (mut places, mut at) = (Vec::with_capacity(frames as usize + 1), end as u64);
    for (number, size) in (0u64..).zip(table[TABLE_HEAD_BYTES..].chunks_exact(ENTRY_BYTES)) {
        places.push(Frame { at, begin: number * FRAME_BYTES });
        at += u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    }
    places.push(Frame { at, begin: segment_bytes });
    if at != file_bytes {
        return Err(format!("it has {file_bytes} bytes, but should have {at}"));
    }
    Ok(places)
}

/// The frames by their own headers, and the reason why there are no more.
fn found_frames(file: &[u8]) -> (Vec<Frame>, Option<String>) {
    let (mut places, mut at, mut begin) = (Vec::new(), 0, 0);
    let mut reason = None;
    while at < file.len() && (places.len() as u64) < FRAMES_MAX {
        let rest = &file[at..];
        let Ok(size) = zstd_safe::find_frame_compressed_size(rest) else {
            reason = Some(format!("no frame can be found from byte {at} on"));
            break;
        };
        let is_skippable = rest
            .first_chunk::<4>()
            .is_some_and(|magic| magic[0] & 0xf0 == 0x50 && magic[1..] == SKIPPABLE[1..]);
        if !is_skippable {
            // Positions are counted in whole frames: only the last may be shorter.
            let held = zstd_safe::get_frame_content_size(rest).ok().flatten();
            let Some(held) = held.filter(|held| (1..=FRAME_BYTES).contains(held) && begin % FRAME_BYTES == 0)
            else {
                reason = Some(format!("the frame at byte {at} is damaged"));
                break;
            };
            places.push(Frame { at: at as u64, begin });
            begin += held;
        }
        at += size.max(1);
    }
    places.push(Frame { at: at as u64, begin });
    (places, reason)
}

#[cfg(test)]
mod tests;
