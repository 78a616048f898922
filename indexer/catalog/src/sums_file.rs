//! Files of sums, mapped: of an hour, and of the boundary between two.

use std::io;

use netrewind_store::catalog::Hour;
use netrewind_store::files::StoreFile;
use netrewind_store::{LOST_PAGES, Map, Timestamp};

/// Fault of a file that is no longer as it was when its checksum was computed.
const CHANGED: &str = "the file was changed while it was being read";

/// Identity of a file's contents: inode number, length and time of the last change.
pub type FileStamp = (u64, u64, i64);

/// File of a rollup, or of the boundary between two hours.
#[derive(Debug)]
pub struct SumsFile {
    pub(crate) map: Map,
    /// Name of the file, as the store has it.
    what: &'static str,
    hour: Hour,
    opened: Option<(Box<dyn StoreFile>, FileStamp)>,
}

impl SumsFile {
    /// Bytes in memory.
    pub fn held(bytes: Vec<u8>, hour: Hour) -> Self {
        Self { map: Map::from_bytes(bytes), what: "memory", hour, opened: None }
    }

    /// Maps a file of an hour.
    pub fn map(file: Box<dyn StoreFile>, what: &'static str, hour: Hour) -> io::Result<Self> {
        let stamp = stamp_of(&*file)?;
        let map = file.map(stamp.1)?;
        Ok(Self { map, what, hour, opened: Some((file, stamp)) })
    }

    /// Identity of the contents; none of bytes in memory.
    pub fn stamp(&self) -> Option<FileStamp> {
        self.opened.as_ref().map(|(_, stamp)| *stamp)
    }

    /// Name of the file within the folder of its hour.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Hour in whose folder it lies.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// Instant from which the times of its records count.
    pub fn base(&self) -> Timestamp {
        self.hour.start()
    }

    /// Reads every page, so that [`Self::fault`] knows of all of them.
    pub fn touch(&self) {
        self.map.touch(0..self.map.len());
    }

    /// Reason why what was read of it is not to be relied on: the file was shortened or changed since it was opened, or its disk
    /// fails. **Whoever has read sums asks this before an answer is given.**
    pub fn fault(&self) -> Option<String> {
        if self.map.has_lost() {
            return Some(LOST_PAGES.to_owned());
        }
        let (file, stamp) = self.opened.as_ref()?;
        match stamp_of(&**file) {
            Ok(now) if now == *stamp => None,
            Ok(_) => Some(CHANGED.to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

fn stamp_of(file: &dyn StoreFile) -> io::Result<FileStamp> {
    let found = file.status()?;
    Ok((found.identity.inode, found.bytes, found.modified_ns))
}
