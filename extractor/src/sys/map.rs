//! Memory maps of segments and indexes, for reading.
//!
//! **Obligation:** nobody shortens a file of the store while it is mapped; reading behind its new end would raise SIGBUS.
//! netrewind keeps it: a sealed segment and an index never change, they are only removed, and a map of a removed file
//! stays whole; an open segment is only ever cut behind its committed mark, and it is mapped up to that mark.
//!
//! What an open segment's map shows is what its mark promised: direct writes drop the pages that they touch from the page
//! cache before they complete, and the mark is published after they have completed. The last page may be written again
//! with more records behind the mark; the bytes before the mark are written again as they were.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{Advice, Mmap, MmapOptions};

/// The first bytes of a file, mapped for reading; or bytes that are in memory anyway.
#[derive(Debug, Default)]
pub(crate) struct Map {
    bytes: Bytes,
    /// How it is read, as far as the kernel was told: one of [`Reading`].
    told: AtomicU8,
}

/// In which order pages are read.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Around = 1,
    AsTold = 2,
    InOrder = 3,
}

#[derive(Debug, Default)]
enum Bytes {
    #[default]
    None,
    Mapped(Mmap),
    Held(Vec<u8>),
    /// So many of the first bytes of another.
    Front(Arc<Map>, usize),
}

impl Map {
    /// Maps the first `bytes` of `file`. Fails where it is shorter.
    pub(crate) fn of(file: &File, bytes: u64) -> io::Result<Self> {
        let file_bytes = file.metadata()?.len();
        if bytes > file_bytes {
            let message = format!("it has {file_bytes} bytes, fewer than the {bytes} that can be read of it");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        if bytes == 0 {
            return Ok(Self::default()); // mmap(2) refuses an empty map
        }
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the bytes must not change or vanish while the map is used: the store's writers keep to that, as the
        // head of this module says; and the file was just seen to be long enough.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        Ok(Self { bytes: Bytes::Mapped(map), told: AtomicU8::new(Reading::Around as u8) })
    }

    /// Bytes in memory.
    pub(crate) fn held(bytes: Vec<u8>) -> Self {
        Self { bytes: Bytes::Held(bytes), ..Self::default() }
    }

    /// The first bytes of a map, at most all of them.
    pub(crate) fn front(of: &Arc<Self>, bytes: usize) -> Self {
        Self { bytes: Bytes::Front(Arc::clone(of), bytes.min(of.len())), ..Self::default() }
    }

    /// Pages are asked for by [`Self::will_need`]; the kernel need not guess.
    pub(crate) fn read_as_told(&self) {
        self.tell(Reading::AsTold, Advice::Random);
    }

    /// Pages are read with those around them.
    pub(crate) fn read_around(&self) {
        self.tell(Reading::Around, Advice::Normal);
    }

    /// Pages are read from the front to the back.
    pub(crate) fn read_in_order(&self) {
        self.tell(Reading::InOrder, Advice::Sequential);
    }

    /// Has the disk read these bytes ahead, and returns at once.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        self.advise(Advice::WillNeed, range);
    }

    /// Says how it is read, unless that was the last thing said: each time, the kernel stops all others who change maps.
    fn tell(&self, reading: Reading, advice: Advice) {
        if self.told.swap(reading as u8, Ordering::Relaxed) != reading as u8 {
            self.advise(advice, 0..self.len());
        }
    }

    /// Advice is only advice: what the kernel does not take costs time and nothing else.
    fn advise(&self, advice: Advice, range: Range<usize>) {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match &self.bytes {
            Bytes::Mapped(map) => drop(map.advise_range(advice, start, end - start)),
            Bytes::Front(map, _) => map.advise(advice, start..end),
            Bytes::None | Bytes::Held(_) => {}
        }
    }
}

impl Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::None => &[],
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
            Bytes::Front(map, bytes) => map.get(..*bytes).unwrap_or_default(),
        }
    }
}
