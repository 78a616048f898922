//! Compresses a segment, and checks what it has compressed.

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{self, CParameter};

use super::{FRAME_BYTES, FRAMES_MAX, table_bytes, table_of};
use crate::files::StoreFile;

/// Level of compression: higher ones save little on packets, and take several times as long.
pub const LEVEL: i32 = 3;
/// The least that compression has to save of a segment, in percent; otherwise it stays as it is.
pub const LEAST_SAVED_PERCENT: u64 = 10;
/// Bytes at the beginning of a segment that are compressed to see whether it is worth it.
const SAMPLE_BYTES: u64 = 8 << 20;

/// Result of compressing a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// The file is written, with so many bytes.
    Written(u64),
    /// It would save too little.
    NotWorthIt,
    /// It was told to stop.
    Stopped,
}

/// Compresses frames, and checks that each can be decompressed again.
struct FrameWriter {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
    again: Vec<u8>,
}

impl FrameWriter {
    fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        let bytes = FRAME_BYTES as usize;
        Ok(Self {
            compressor,
            decompressor: Decompressor::new()?,
            plain: vec![0; bytes],
            packed: vec![0; zstd_safe::compress_bound(bytes)],
            again: vec![0; bytes],
        })
    }

    /// The frame of the segment's bytes from an offset on; empty at the end.
    fn frame(&mut self, segment: &dyn StoreFile, at: u64) -> io::Result<&[u8]> {
        let read = segment.read_at_most(&mut self.plain, at)?;
        if read == 0 {
            return Ok(&[]);
        }
        let plain = &self.plain[..read];
        let size = self.compressor.compress_to_buffer(plain, &mut self.packed[..])?;
        let packed = &self.packed[..size];
        // Evidence is removed on the strength of this.
        let again = self.decompressor.decompress_to_buffer(packed, &mut self.again[..])?;
        if self.again.get(..again) != Some(plain) {
            return Err(io::Error::other("a frame does not decompress to what was compressed"));
        }
        Ok(packed)
    }
}

/// Compresses a segment of so many bytes into `file`, which is empty, and makes that durable. `goes_on` is asked before each frame.
pub fn compress(
    segment: &dyn StoreFile,
    segment_bytes: u64,
    file: &dyn StoreFile,
    goes_on: &mut dyn FnMut() -> bool,
) -> io::Result<Compression> {
    let frames = segment_bytes.div_ceil(FRAME_BYTES);
    if frames == 0 || frames > FRAMES_MAX {
        return Ok(Compression::NotWorthIt);
    }
    let begin = table_bytes(frames);
    let (mut writer, mut sizes) = (FrameWriter::new()?, Vec::new());
    let (mut at, mut end) = (0, begin);
    while at < segment_bytes {
        if !goes_on() {
            return Ok(Compression::Stopped);
        }
        let frame = writer.frame(segment, at)?;
        if frame.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(frame, end)?;
        sizes.push(u32::try_from(frame.len()).map_err(io::Error::other)?);
        end += frame.len() as u64;
        at += FRAME_BYTES.min(segment_bytes - at);
        let is_sampled = at == segment_bytes || at == SAMPLE_BYTES;
        if is_sampled && end * 100 > at * (100 - LEAST_SAVED_PERCENT) {
            return Ok(Compression::NotWorthIt);
        }
    }
    file.write_all_at(&table_of(segment_bytes, &sizes), 0)?;
    file.sync_all()?;
    Ok(Compression::Written(end))
}
