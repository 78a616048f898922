//! Repeated listing of a store's segments: cheap where nothing has changed.

use std::collections::BTreeMap;
use std::path::Path;

use super::listing::{Unlisted, names_in_day, sealed_stem};
use super::{OPEN_EXTENSION, SEGMENTS, Store, at, names_in, unless_missing};
use crate::files::Files;
use crate::{SegmentName, SegmentState, StoreError};

/// Listings of a folder that changes while it is listed.
const LISTINGS_MAX: usize = 8;

/// The names of a store's segments, as of the last look.
///
/// A look costs a stat(2) for each day that is kept; only folders that have changed are listed again.
#[derive(Debug)]
pub struct Watcher {
    store: Store,
    root: FolderMtime,
    root_fault: Option<Unlisted>,
    /// Parts of an archive that could not be listed.
    archive_faults: Vec<Unlisted>,
    days: BTreeMap<String, WatchedDay>,
}

#[derive(Debug, Default)]
struct WatchedDay {
    stamp: FolderMtime,
    segments: BTreeMap<SegmentName, SegmentState>,
    /// Reason that it cannot be listed.
    fault: Option<Unlisted>,
}

/// Modification time of a folder, as coarse as its time stamp.
#[derive(Debug, Default)]
struct FolderMtime {
    modified_ns: Option<i64>,
    /// Period in which it was first seen with this time.
    seen_in: u32,
    is_settled: bool,
}

impl FolderMtime {
    /// True if the folder may hold other names than at the last call. After a change it stays true until the next period but one:
    /// the time stamp is as coarse as the kernel's tick, and a second change within one tick does not show.
    fn has_changed(&mut self, files: &dyn Files, folder: &Path, period: u32) -> Result<bool, StoreError> {
        let modified_ns = modified_ns(files, folder)?;
        let is_same = modified_ns == self.modified_ns;
        let has_changed = !is_same || !self.is_settled;
        if !is_same {
            self.seen_in = period;
        }
        self.is_settled = is_same && period.wrapping_sub(self.seen_in) > 1;
        self.modified_ns = modified_ns;
        Ok(has_changed)
    }
}

fn modified_ns(files: &dyn Files, folder: &Path) -> Result<Option<i64>, StoreError> {
    let found = at(folder, unless_missing(files.status(folder)))?;
    Ok(found.map(|found| found.modified_ns))
}

impl Watcher {
    /// Watches a store; nothing has been listed yet.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            root: FolderMtime::default(),
            root_fault: None,
            archive_faults: Vec::new(),
            days: BTreeMap::new(),
        }
    }

    /// Looks; true if the segments may differ from before. `period` is a number that rises, at most fifty times a second: within
    /// the period of a change and the next, the folder is listed at each look. Folders that could not be listed are tried again
    /// each time.
    pub fn refresh(&mut self, period: u32) -> bool {
        let root = self.store.root.join(SEGMENTS);
        let (mut has_changed, fault) = match self.look_at_root(&root, period) {
            Ok(has_changed) => (has_changed, None),
            Err(error) => (true, Some(Unlisted::of(error))),
        };
        if fault.is_some() {
            self.days.clear();
            self.root = FolderMtime::default();
        }
        self.root_fault = fault;
        self.archive_faults = Unlisted::in_archive(&*self.store.files);
        for (date, day) in &mut self.days {
            match day.refresh(&*self.store.files, &root.join(date), date, period) {
                Ok(is_other) => {
                    has_changed |= is_other;
                    day.fault = None;
                }
                Err(error) => {
                    has_changed = true;
                    *day = WatchedDay { fault: Some(Unlisted::of(error)), ..WatchedDay::default() };
                }
            }
        }
        has_changed
    }

    fn look_at_root(&mut self, root: &Path, period: u32) -> Result<bool, StoreError> {
        let has_changed = self.root.has_changed(&*self.store.files, root, period)?;
        if has_changed {
            let dates = names_in(&*self.store.files, root)?;
            self.days.retain(|date, _| dates.contains(date));
            for date in dates {
                self.days.entry(date).or_default();
            }
        }
        Ok(has_changed)
    }

    /// Parts that could not be listed at the last look.
    pub fn unlisted(&self) -> impl Iterator<Item = &Unlisted> {
        let of_days = self.days.values().filter_map(|day| day.fault.as_ref());
        of_days.chain(&self.root_fault).chain(&self.archive_faults)
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentName, SegmentState)> {
        self.days.values().flat_map(|day| &day.segments).map(|(name, state)| (*name, *state))
    }
}

impl WatchedDay {
    fn refresh(
        &mut self,
        files: &dyn Files,
        folder: &Path,
        date: &str,
        period: u32,
    ) -> Result<bool, StoreError> {
        if !self.stamp.has_changed(files, folder, period)? {
            return Ok(false);
        }
        for _ in 0..LISTINGS_MAX {
            self.segments = list(files, folder, date)?;
            // A file that is renamed during the listing can be missing.
            let found = modified_ns(files, folder)?;
            if found == self.stamp.modified_ns {
                break;
            }
            self.stamp = FolderMtime { modified_ns: found, seen_in: period, is_settled: false };
        }
        Ok(true)
    }
}

fn list(
    files: &dyn Files,
    folder: &Path,
    date: &str,
) -> Result<BTreeMap<SegmentName, SegmentState>, StoreError> {
    let mut segments = BTreeMap::new();
    for file in names_in_day(files, folder, date)? {
        let (stem, state) = match (sealed_stem(&file), file.strip_suffix(OPEN_EXTENSION)) {
            (Some(stem), _) => (stem, SegmentState::Sealed),
            (_, Some(stem)) => (stem, SegmentState::Open),
            _ => continue,
        };
        if let Some(name) = SegmentName::parse(date, stem) {
            let known = segments.entry(name).or_insert(state);
            *known = state.max(*known);
        }
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Timestamp;

    #[test]
    fn a_look_finds_what_was_opened_sealed_and_removed_since() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp::new(1_795_339_861, 0), 7).unwrap();
        let mut watcher = Watcher::new(&store);
        let mut period = 0;
        let mut look = || {
            period += 1;
            (watcher.refresh(period), watcher.segments().collect::<Vec<_>>())
        };
        assert_eq!(look(), (true, vec![]));
        let name =
            |day: u32| SegmentName { opened: Timestamp::new(1_795_339_861 + day * 86_400, 5), lane: 0 };
        for day in [1, 0] {
            store.prepare_folder(&name(day)).unwrap();
            fs::write(store.open_path(&name(day)), [7; 100]).unwrap();
        }
        let open = |day| (name(day), SegmentState::Open);
        assert_eq!(look(), (true, vec![open(0), open(1)]));
        store.seal(&name(0)).unwrap();
        let sealed = (name(0), SegmentState::Sealed);
        assert_eq!(look(), (true, vec![sealed, open(1)]), "within the tick of the change before");
        store.remove(&name(0)).unwrap();
        assert_eq!(look(), (true, vec![open(1)]));
        (0..2).for_each(|_| drop(look()));
        assert_eq!(look(), (false, vec![open(1)]), "nothing has happened");
    }
}
