//! Memory maps of segments and indexes, for reading.
//!
//! **Obligation:** the bytes of a file do not change while it is mapped. netrewind keeps it: a sealed segment and an index
//! never change, they are only removed, and a map of a removed file stays whole; an open segment is only ever cut behind its
//! committed mark, and it is mapped up to that mark. Others may shorten a file, and disks fail: pages that are lost so read
//! as zeros, and [`Map::first_lost`] tells of them. **Code that has read something checks this before it uses the data.**
//!
//! An open segment's map shows the bytes that its mark promised: direct writes drop the pages that they touch from the page
//! cache before they complete, and the mark is published after they have completed. The last page may be written again
//! with more records behind the mark; the bytes before the mark are written again as they were.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{Advice, Mmap, MmapOptions};

use super::lost_pages::WatchedMap;

/// The first bytes of a file, mapped for reading; or bytes already in memory.
#[derive(Debug, Default)]
pub struct Map {
    bytes: MapBytes,
    /// Access pattern last given to the kernel: one of [`ReadAdvice`].
    told: AtomicU8,
}

/// Reason reported for mapped pages that cannot be read.
pub const LOST_PAGES: &str = "the file was shortened while it was being read, or its disk fails (see the kernel's log): run netrewind verify";

/// Stride of the reads that touch pages: no page is smaller.
const TOUCHED_BYTES: usize = 4096;

/// Order in which pages are read.
#[derive(Clone, Copy, Debug)]
enum ReadAdvice {
    Around = 1,
    AsTold = 2,
    InOrder = 3,
}

#[derive(Debug, Default)]
enum MapBytes {
    #[default]
    None,
    /// Unwatched first, then unmapped.
    Mapped(WatchedMap, Mmap),
    Held(Vec<u8>),
}

impl Map {
    /// Maps the first `bytes` of `file`. Fails where it is shorter.
    pub fn from_file(file: &File, bytes: u64) -> io::Result<Self> {
        let file_bytes = file.metadata()?.len();
        if bytes > file_bytes {
            let message = format!("it has {file_bytes} bytes, but should have at least {bytes}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        if bytes == 0 {
            return Ok(Self::default()); // mmap(2) refuses an empty map
        }
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the bytes must not change or vanish while the map is used: the store's writers keep to that, as the
        // head of this module says; and the file was just seen to be long enough.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        let watched = WatchedMap::new(map.as_ptr() as usize, length)
            .ok_or_else(|| io::Error::other("the process has too many memory maps"))?;
        Ok(Self { bytes: MapBytes::Mapped(watched, map), told: AtomicU8::new(ReadAdvice::Around as u8) })
    }

    /// Bytes in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes: MapBytes::Held(bytes), ..Self::default() }
    }

    /// The first byte within the range that was found lost: it has read, or will read, as zero. Pages that were never read are
    /// not known to be lost.
    pub fn first_lost(&self, range: Range<usize>) -> Option<usize> {
        match &self.bytes {
            MapBytes::None | MapBytes::Held(_) => None,
            MapBytes::Mapped(watched, map) => watched.first_lost(&(range.start..range.end.min(map.len()))),
        }
    }

    /// True if any byte was found lost.
    pub fn has_lost(&self) -> bool {
        self.first_lost(0..self.len()).is_some()
    }

    /// Reads a byte of each page within the range, so that [`Self::first_lost`] knows of all of them.
    pub fn touch(&self, range: Range<usize>) {
        if matches!(self.bytes, MapBytes::None | MapBytes::Held(_)) {
            return;
        }
        let bytes = self.get(range.start..range.end.min(self.len())).unwrap_or_default();
        for page in bytes.chunks(TOUCHED_BYTES) {
            std::hint::black_box(page.first().copied());
            std::hint::black_box(page.last().copied());
        }
    }

    /// Reads only pages that [`Self::will_need`] asks for; the kernel does not read ahead by itself.
    pub fn read_as_told(&self) {
        self.set_access_pattern(ReadAdvice::AsTold, Advice::Random);
    }

    /// Reads pages with those around them.
    pub fn read_around(&self) {
        self.set_access_pattern(ReadAdvice::Around, Advice::Normal);
    }

    /// Reads pages from front to back.
    pub fn read_in_order(&self) {
        self.set_access_pattern(ReadAdvice::InOrder, Advice::Sequential);
    }

    /// Starts reading these bytes ahead, and returns at once.
    pub fn will_need(&self, range: Range<usize>) {
        self.advise(Advice::WillNeed, range);
    }

    /// Gives the kernel the access pattern, unless it is the one given last: each call stops all other threads that change maps.
    fn set_access_pattern(&self, reading: ReadAdvice, advice: Advice) {
        if self.told.swap(reading as u8, Ordering::Relaxed) != reading as u8 {
            self.advise(advice, 0..self.len());
        }
    }

    /// Passes advice to the kernel. If the kernel refuses it, only speed is lost.
    fn advise(&self, advice: Advice, range: Range<usize>) {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match &self.bytes {
            MapBytes::Mapped(_, map) => drop(map.advise_range(advice, start, end - start)),
            MapBytes::None | MapBytes::Held(_) => {}
        }
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            MapBytes::None => &[],
            MapBytes::Mapped(_, map) => map,
            MapBytes::Held(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PAGE: usize = 4096;

    /// A file of this many pages, each filled with its number, counted from 1.
    fn pages(count: u8) -> File {
        let mut file = tempfile::tempfile().unwrap();
        (1..=count).for_each(|page| file.write_all(&[page; PAGE]).unwrap());
        file
    }

    #[test]
    fn a_file_that_is_shortened_under_its_map_reads_as_zeros_and_says_so() {
        let file = pages(4);
        let map = Map::from_file(&file, 4 * PAGE as u64).unwrap();
        assert_eq!((map[0], map[3 * PAGE], map.has_lost()), (1, 4, false));
        file.set_len(2 * PAGE as u64).unwrap();
        assert_eq!((map[PAGE], map.has_lost()), (2, false), "nothing of what is gone was read");
        map.touch(0..2 * PAGE);
        assert!(!map.has_lost());
        assert_eq!(map[3 * PAGE + 5], 0);
        assert_eq!(map.first_lost(0..4 * PAGE), Some(3 * PAGE), "the third page was not read yet");
        map.touch(0..4 * PAGE);
        assert_eq!(map.first_lost(0..4 * PAGE), Some(2 * PAGE));
        assert_eq!(map.first_lost(2 * PAGE + 7..4 * PAGE), Some(2 * PAGE + 7));
        assert_eq!(map.first_lost(0..2 * PAGE), None);
    }

    #[test]
    fn many_lost_pages_are_one_lost_end_and_slots_are_used_again() {
        let file = pages(100);
        let map = Map::from_file(&file, 100 * PAGE as u64).unwrap();
        file.set_len(PAGE as u64).unwrap();
        for page in (1..100).rev() {
            assert_eq!(map[page * PAGE], 0);
        }
        assert_eq!((map[7], map.first_lost(0..100 * PAGE)), (1, Some(PAGE)));
        drop(map);
        let whole = pages(100);
        let map = Map::from_file(&whole, 100 * PAGE as u64).unwrap();
        map.touch(0..map.len());
        assert!(!map.has_lost() && map[99 * PAGE] == 100);
    }

    #[test]
    fn threads_that_lose_the_same_pages_all_know() {
        let file = pages(64);
        let map = Map::from_file(&file, 64 * PAGE as u64).unwrap();
        file.set_len(0).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for page in 0..64 {
                        let place = page * PAGE..(page + 1) * PAGE;
                        assert_eq!(map[place.start], 0);
                        assert_eq!(map.first_lost(place.clone()), Some(place.start));
                    }
                });
            }
        });
    }

    #[test]
    fn pages_lost_in_other_maps_are_counted() {
        let file = pages(2);
        // SAFETY: the file is this test's own; that it is shortened is what is tested.
        let other = unsafe { Mmap::map(&file).unwrap() };
        let before = super::super::pages_lost_elsewhere();
        file.set_len(0).unwrap();
        assert_eq!((other[0], other[PAGE]), (0, 0));
        assert!(super::super::pages_lost_elsewhere() >= before + 2);
    }
}
