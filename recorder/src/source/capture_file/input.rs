//! The bytes of a capture file: read ahead, decompressed if necessary, counted.

use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::halt::Halt;

/// Bytes requested of the reader at once, and the buffer's first size.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Farthest look-back of a zstd frame, as a power of two: zstd's own limit without `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes that identify a compressed file.
const MAGIC_BYTES: usize = 4;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
/// Skippable frames, with which some writers begin a zstd file, differ in the lowest four bits.
const ZSTD_SKIPPABLE_MAGIC: u32 = 0x184d_2a50;

type InputStream = Box<dyn Read + Send>;

/// A stream of bytes with a window on the next ones.
pub(super) struct Input {
    reader: InputStream,
    compression: Option<Compression>,
    sniffed: bool,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

impl Input {
    pub(super) fn new(reader: InputStream) -> Self {
        Self {
            reader,
            compression: None,
            sniffed: false,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
        }
    }

    /// Offset of the next byte, in the decompressed bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes, which are not consumed; fewer only if the input ends before. The buffer grows no faster than bytes
    /// arrive, so that a wrong length costs no memory.
    pub(super) fn peek(&mut self, count: usize) -> Result<&[u8], Halt> {
        if self.end - self.start < count {
            self.fill_to(count)?;
        }
        Ok(&self.buffer[self.start..self.end.min(self.start.saturating_add(count))])
    }

    /// Consumes bytes that `peek` has shown. They stay in the buffer, at the returned range, until the next `peek`.
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let from = self.start;
        self.start = self.end.min(from + count);
        self.offset += (self.start - from) as u64;
        from..self.start
    }

    /// Bytes taken since the last `peek`.
    pub(super) fn taken(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// The same, to be corrected in place.
    pub(super) fn taken_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.buffer.get_mut(range).unwrap_or_default()
    }

    #[cold]
    fn fill_to(&mut self, count: usize) -> Result<(), Halt> {
        if !self.sniffed {
            self.fill_buffer_to(MAGIC_BYTES)?;
            self.sniffed = true;
            self.decompress()?;
        }
        self.fill_buffer_to(count)
    }

    fn fill_buffer_to(&mut self, count: usize) -> Result<(), Halt> {
        while self.end - self.start < count && !self.ended {
            self.make_room();
            self.read_some()?;
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end < self.buffer.len() {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn read_some(&mut self) -> Result<(), Halt> {
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Halt::Pending);
                }
                Err(error) => return Err(self.failed(error)),
            }
            return Ok(());
        }
    }

    /// Wraps an error. The system's own errors carry their number; a decoder's do not.
    fn failed(&self, error: io::Error) -> Halt {
        let format = match self.compression {
            Some(Compression::Gzip) => "gzip",
            Some(Compression::Zstd) => "zstd",
            None => return Halt::System(error),
        };
        if error.raw_os_error().is_some() {
            return Halt::System(error);
        }
        let offset = self.offset + (self.end - self.start) as u64;
        Halt::Damaged {
            offset,
            reason: format!("the {format} compression is damaged or cut short ({error})"),
        }
    }

    /// Puts a decoder between the reader and the buffer if the first bytes require one.
    fn decompress(&mut self) -> Result<(), Halt> {
        self.compression = compression_of(&self.buffer[self.start..self.end]);
        let Some(compression) = self.compression else { return Ok(()) };
        let begun = Cursor::new(self.buffer[self.start..self.end].to_vec());
        (self.start, self.end, self.ended) = (0, 0, false);
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let compressed = BufReader::with_capacity(READ_BYTES, begun.chain(rest));
        self.reader = match compression {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(compressed).map_err(Halt::System)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(Halt::System)?;
                Box::new(decoder)
            }
        };
        Ok(())
    }
}

fn compression_of(begun: &[u8]) -> Option<Compression> {
    if begun.starts_with(&GZIP_MAGIC) {
        return Some(Compression::Gzip);
    }
    let magic = u32::from_le_bytes(*begun.first_chunk()?);
    (magic == ZSTD_MAGIC || magic & !0xf == ZSTD_SKIPPABLE_MAGIC).then_some(Compression::Zstd)
}

/// Reads a file, pipe or socket only when bytes are there, so that the parser never blocks.
pub(super) struct WhenReady<R>(pub(super) R);

impl<R: Read + AsFd> Read for WhenReady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if wait_until_readable(&self.0, Timespec { tv_sec: 0, tv_nsec: 0 })? {
            self.0.read(buffer)
        } else {
            Err(ErrorKind::WouldBlock.into())
        }
    }
}

/// Waits for bytes, or for the end; false if neither came in time.
pub(super) fn wait_until_readable(source: impl AsFd, patience: Timespec) -> io::Result<bool> {
    match poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
