//! A folder with copies of objects that were fetched whole: indexes of hours and segments, pieces of the logbook, lists.
//!
//! ```text
//! CACHE/0123456789abcdef/hours_2026-11-22T09.hour = the object's bytes | trailer: magic, length, checksum, hash of the name
//! ```
//!
//! **Invariant:** nothing but time is lost with it: a file that is torn, damaged or another's is removed, and its object fetched again.
//! Any number of processes share it: a file gets its name when it is whole, and whoever has one open can go on when it is removed.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use netrewind_store::archived::ArchivedCopy;
use netrewind_store::clock::Clock;
use netrewind_store::files::{Files, OpenMode, StoreFile};
use netrewind_store::{locked, random_seed};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes that the copies take at most, unless the user says otherwise.
pub const CACHE_BYTES_MAX: u64 = 4 << 30;
/// Part of the limit that may be written between two looks at what all processes have written.
const LOOKS: u64 = 8;
/// Time after which the use of a file is noted again.
const NOTED_NS: u64 = 3600 * 1_000_000_000;
/// Time after which a file that was not finished is removed: its process has ended.
const UNFINISHED_NS: u64 = 3600 * 1_000_000_000;
const UNFINISHED_PREFIX: &str = ".";
/// Modes of the folders and files: packets' addresses are private.
const FOLDER_MODE: u32 = 0o700;

/// First bytes of a trailer; the digit is its version.
const MAGIC: [u8; 8] = *b"NRWCACH1";
const TRAILER_BYTES: usize = 32;
const FIELD_MAGIC: Range<usize> = 0..8;
const FIELD_BYTES: Range<usize> = 8..16;
const FIELD_CHECKSUM: Range<usize> = 16..24;
const FIELD_NAME: Range<usize> = 24..32;

/// Files of one archive's store in a cache.
#[derive(Clone, Debug)]
pub(crate) struct CachePart {
    folder: Arc<CacheFolder>,
    /// Name of the folder within.
    name: String,
}

/// A folder with copies of objects.
#[derive(Debug)]
pub struct CacheFolder {
    files: Arc<dyn Files>,
    root: PathBuf,
    bytes_max: u64,
    clock: Arc<dyn Clock>,
    /// Bytes that this process has written since it last looked at all of them; `None` before it has looked.
    written: Mutex<Option<u64>>,
    number: AtomicU64,
    seed: u64,
}

/// A copy that was found.
pub(crate) enum Cached {
    Sound(ArchivedCopy),
    Absent,
    /// It was there, and was not what had been written.
    Damaged,
}

/// The bytes of a copy.
pub(crate) fn bytes_of(copy: &ArchivedCopy) -> io::Result<Vec<u8>> {
    match copy {
        ArchivedCopy::File(file, bytes) => {
            let mut all = vec![0; usize::try_from(*bytes).map_err(io::Error::other)?];
            file.read_exact_at(&mut all, 0)?;
            Ok(all)
        }
        ArchivedCopy::Memory(bytes) => Ok(bytes.to_vec()),
    }
}

fn trailer(name: &str, bytes: &[u8]) -> [u8; TRAILER_BYTES] {
    let mut trailer = [0; TRAILER_BYTES];
    trailer[FIELD_MAGIC].copy_from_slice(&MAGIC);
    trailer[FIELD_BYTES].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    trailer[FIELD_CHECKSUM].copy_from_slice(&xxh3_64(bytes).to_le_bytes());
    trailer[FIELD_NAME].copy_from_slice(&xxh3_64(name.as_bytes()).to_le_bytes());
    trailer
}

impl CacheFolder {
    /// A cache in the folder `root` of `files`, which is made where it is missing.
    pub fn open(
        files: Arc<dyn Files>,
        root: &Path,
        bytes_max: u64,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        if !files.exists(root) {
            files.create_folders(root)?;
            files.set_mode(root, FOLDER_MODE)?;
        }
        Ok(Self {
            files,
            root: root.to_owned(),
            bytes_max,
            clock,
            written: Mutex::default(),
            number: AtomicU64::new(0),
            seed: random_seed(),
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what was used least recently, if there is more than may be. `coming` bytes are about to be written.
    fn make_room(&self, coming: u64) {
        let mut written = locked(&self.written);
        if let Some(known) = *written
            && known + coming <= self.bytes_max / LOOKS
        {
            *written = Some(known + coming);
            return;
        }
        *written = Some(coming);
        drop(written);
        let now = self.clock.now().wall;
        let mut found = Vec::new();
        for part in self.files.names(&self.root).unwrap_or_default() {
            let folder = self.root.join(part);
            for name in self.files.names(&folder).unwrap_or_default() {
                let path = folder.join(&name);
                let Ok(status) = self.files.link_status(&path) else { continue };
                let is_unfinished = name.starts_with(UNFINISHED_PREFIX);
                if !status.is_file() {
                    continue;
                }
                if is_unfinished && now.ns_since(status.modified()) > UNFINISHED_NS {
                    let _ = self.files.remove_file(&path);
                    continue;
                }
                found.push((status.modified(), status.disk_bytes.max(status.bytes), path));
            }
        }
        found.sort_unstable();
        let total: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
        // As much again may come before the next look.
        let allowed = (self.bytes_max - self.bytes_max / LOOKS).saturating_sub(coming);
        let mut excess = total.saturating_sub(allowed);
        for (_, bytes, path) in found {
            if excess == 0 {
                break;
            }
            if self.files.remove_file(&path).is_ok() {
                excess = excess.saturating_sub(bytes);
            }
        }
    }
}

impl CachePart {
    /// The part for objects below this URL.
    pub(crate) fn new(folder: Arc<CacheFolder>, url: &str) -> Self {
        Self { folder, name: format!("{:016x}", xxh3_64(url.as_bytes())) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.root.join(&self.name).join(name.replace('/', "_"))
    }

    /// The copy of an object.
    pub(crate) fn get(&self, name: &str) -> Cached {
        let path = self.path(name);
        let Ok(file) = self.folder.files.open(&path, OpenMode::Read) else { return Cached::Absent };
        match self.checked(name, file) {
            Ok(copy) => Cached::Sound(copy),
            Err(_) => {
                let _ = self.folder.files.remove_file(&path);
                Cached::Damaged
            }
        }
    }

    fn checked(&self, name: &str, file: Box<dyn StoreFile>) -> io::Result<ArchivedCopy> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let found = file.status()?;
        let bytes = found.bytes.checked_sub(TRAILER_BYTES as u64).ok_or_else(damaged)?;
        let map = file.map(found.bytes)?;
        let (content, end) = map.split_at_checked(map.len() - TRAILER_BYTES).ok_or_else(damaged)?;
        if end != trailer(name, content) || map.has_lost() {
            return Err(damaged());
        }
        let now = self.folder.clock.now().wall;
        if now.ns_since(found.modified()) > NOTED_NS {
            // What was used last is kept longest.
            let _ = file.set_modified(now);
        }
        Ok(ArchivedCopy::File(file, bytes))
    }

    /// Keeps a copy of an object; `None` where that fails.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Option<ArchivedCopy> {
        let whole = (bytes.len() + TRAILER_BYTES) as u64;
        if whole > self.folder.bytes_max / LOOKS {
            return None;
        }
        self.folder.make_room(whole);
        self.written(name, bytes).ok()
    }

    fn written(&self, name: &str, bytes: &[u8]) -> io::Result<ArchivedCopy> {
        let CacheFolder { files, root, number, seed, .. } = &*self.folder;
        let folder = root.join(&self.name);
        let number = number.fetch_add(1, Ordering::Relaxed);
        let new = folder.join(format!("{UNFINISHED_PREFIX}{seed:016x}-{number}"));
        let write = || -> io::Result<()> {
            let file = files.open(&new, OpenMode::Create)?;
            file.write_all_at(bytes, 0)?;
            file.write_all_at(&trailer(name, bytes), bytes.len() as u64)
        };
        let written = write().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                files.create_folders(&folder)?;
                files.set_mode(&folder, FOLDER_MODE)?;
                write()
            }
            _ => Err(error),
        });
        let path = self.path(name);
        let named = written.and_then(|()| files.rename(&new, &path));
        if named.is_err() {
            // On a full disk, a partial file would only take space.
            let _ = files.remove_file(&new);
        }
        named?;
        Ok(ArchivedCopy::File(files.open(&path, OpenMode::Read)?, bytes.len() as u64))
    }

    /// True if there is a copy, sound or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.folder.files.exists(&self.path(name))
    }

    /// Names of the copies that begin so.
    pub(crate) fn names(&self, beginning: &str) -> Vec<String> {
        let mut names = self.folder.files.names(&self.folder.root.join(&self.name)).unwrap_or_default();
        names.retain(|name| name.starts_with(beginning));
        names
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::clock::ManualClock;
    use netrewind_store::files::SystemFiles;

    use netrewind_store::Timestamp;

    use super::*;

    fn cache(root: &Path, bytes_max: u64) -> (Arc<ManualClock>, CachePart) {
        let clock = Arc::new(ManualClock::new(Timestamp::new(1_795_339_861, 0)));
        let folder = CacheFolder::open(Arc::new(SystemFiles), root, bytes_max, clock.clone()).unwrap();
        (clock, CachePart::new(Arc::new(folder), "s3://bucket/a"))
    }

    fn read(copy: Cached) -> Option<Vec<u8>> {
        match copy {
            Cached::Sound(ArchivedCopy::File(file, bytes)) => {
                let mut all = vec![0; bytes as usize];
                file.read_exact_at(&mut all, 0).unwrap();
                Some(all)
            }
            _ => None,
        }
    }

    #[test]
    fn a_copy_comes_back_and_every_torn_or_flipped_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (_, cache) = cache(folder.path(), 1 << 20);
        assert!(matches!(cache.get("hours/a"), Cached::Absent));
        cache.put("hours/a", b"hour").unwrap();
        assert_eq!(read(cache.get("hours/a")), Some(b"hour".to_vec()));
        let path = cache.path("hours/a");
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &changed).unwrap();
            assert!(matches!(cache.get("hours/a"), Cached::Damaged), "bit {bit}");
            assert!(matches!(cache.get("hours/a"), Cached::Absent), "it is removed");
        }
        for bytes in 0..whole.len() {
            std::fs::write(&path, &whole[..bytes]).unwrap();
            assert!(matches!(cache.get("hours/a"), Cached::Damaged), "{bytes} bytes");
        }
        std::fs::write(cache.path("hours/b"), &whole).unwrap();
        assert!(matches!(cache.get("hours/b"), Cached::Damaged), "another's copy");
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_two_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (bytes_max, copy) = (64 << 10, vec![7; 4000]);
        let ((_, one), (_, other)) = (cache(folder.path(), bytes_max), cache(folder.path(), bytes_max));
        for number in 0..100 {
            let cache = if number % 2 == 0 { &one } else { &other };
            let name = format!("segments/{number}");
            cache.put(&name, &copy).unwrap();
            let path = cache.path(&name);
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + number);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
            let used: u64 = std::fs::read_dir(folder.path().join(&one.name))
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .sum();
            assert!(used <= bytes_max + bytes_max / LOOKS, "{used} bytes after {number}");
        }
        assert!(read(one.get("segments/99")).is_some() && read(one.get("segments/98")).is_some());
        assert!(matches!(one.get("segments/0"), Cached::Absent));
        assert!(one.put("large", &vec![0; bytes_max as usize]).is_none());
        assert_eq!(one.names("segments_9").len(), 10);
    }
}
