//! A store opened for writing: created if necessary, locked, recovered.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_indexer::{IndexerError, hour_writer};
use netrewind_store::catalog::Hour;
use netrewind_store::clock::{Clock, SystemClock};
use netrewind_store::store::{CaseFiles, ListedSegment};
use netrewind_store::{Logbook, SegmentName, Store, StoreLock, random_seed};

use crate::clock;
use crate::confine::{self, KeptCapabilities, Raised, Walls};
use crate::outcome::Failure;
use crate::sharing::SharingArguments;

/// Tries to index an hour whose files have only just been written, and the wait between two: file systems round times.
const HOUR_TRIES: u32 = 4;
const HOUR_WAIT: Duration = Duration::from_millis(120);

/// Writes the index of an hour.
pub fn write_hour(
    store: &Store,
    hour: Hour,
    segments: &[ListedSegment],
    stop: &AtomicBool,
) -> Result<(), IndexerError> {
    let clock = SystemClock::new();
    for _ in 0..HOUR_TRIES {
        let built = hour_writer::write(store, hour, segments, clock.now().wall, None, stop)?;
        if built.is_none_or(|built| !built.is_too_early) {
            break;
        }
        clock.sleep(HOUR_WAIT);
    }
    Ok(())
}

/// A store that this process alone writes to.
pub struct WritableStore {
    /// The store.
    pub store: Store,
    /// The lock, which keeps other writers out.
    pub lock: StoreLock,
    /// Its logbook, for the threads that build indexes.
    pub logbook: Arc<Mutex<Logbook>>,
    /// Segments that have no index: recovered just now, or left behind earlier.
    pub without_index: Vec<SegmentName>,
    /// True if other segments have one.
    pub has_indexes: bool,
    /// How this process is confined by now.
    pub raised: Raised,
}

impl WritableStore {
    /// Opens or creates the store in `folder`; segments that a crash left open are recovered first. `what` names the command to
    /// others that find the store locked. Decides who may read the files that this process writes, and raises the walls, before
    /// anything in the store is read.
    pub fn open(
        folder: &Path,
        what: &str,
        sharing: &SharingArguments,
        walls: Walls,
    ) -> Result<Self, Failure> {
        let sharing = sharing.begin(folder)?;
        let store = Store::open_or_create(folder, clock::now(), random_seed())?;
        let lock = StoreLock::take(&store, &format!("netrewind {what}, process {}", std::process::id()))?;
        CaseFiles::of(&store).prepare()?;
        sharing.apply(&store)?;
        confine::lift_memory_lock_limit();
        let raised = walls.writing_store(&store).keeping(KeptCapabilities::files_if_needed()).raise();
        let mut logbook = Logbook::new(&store);
        let mut unlogged = None;
        netrewind_recorder::recover(&store, &mut |event| {
            unlogged = logbook.append(clock::now(), event).err().or(unlogged.take());
        })?;
        if let Some(error) = unlogged {
            return Err(error.into());
        }
        logbook.sync()?;
        let segments = ListedSegment::all(&store)?;
        let has_indexes = segments.iter().any(|segment| segment.has_index);
        let without_index =
            segments.iter().filter(|segment| !segment.has_index).map(|segment| segment.name).collect();
        Ok(Self { store, lock, logbook: Arc::new(Mutex::new(logbook)), without_index, has_indexes, raised })
    }
}
