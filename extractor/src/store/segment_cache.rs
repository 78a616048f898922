//! Sealed segments kept open between queries: opening one, and checking the parts of its index that every query needs, costs
//! more than most queries spend on it.
//!
//! **Invariant:** nothing of an expired segment is kept for longer than some evictions, so that the disk gets
//! its room back: its bytes until the next one but one after the last query that used them, its index (a hundredth of them) for
//! [`EVICTIONS_BETWEEN_CHECKS`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use netrewind_index::Index;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::store::Watcher;
use netrewind_store::{Map, Medium, SegmentName, SegmentState, Store, locked};

use crate::answer::completeness::{Damage, identity_damage};
use crate::store::hour_cache::{HourCache, HourPlace, KnownHours};
use crate::store::opening::{MappedSegment, open_medium};
use crate::store::segment::{Opened, Opening, Segment};

/// Segments whose indexes stay opened: those of eight lanes of 17 hours, if a segment is a minute's. The newest are kept.
const KEPT_MAX: usize = 8192;
/// Memory of all that indexes have decoded for good. Beyond, those of the oldest segments are given up.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Number of evictions between two checks that kept indexes still exist.
const EVICTIONS_BETWEEN_CHECKS: u32 = 8;
/// Number of evictions after which a kept index is reopened and checked: it may have been rebuilt, and disks can lose data.
const EVICTIONS_KEPT: u32 = 600;

/// The segments of a store, to be opened.
#[derive(Debug)]
pub(crate) struct SegmentCache {
    store: Store,
    /// The store's, which an index has to have been built with.
    ports: TunnelPorts,
    watcher: Mutex<Watcher>,
    kept: Mutex<BTreeMap<SegmentName, CachedSegment>>,
    hours: HourCache,
    kept_max: usize,
    evictions: AtomicU32,
}

#[derive(Debug)]
struct CachedSegment {
    index: Arc<Index<Map>>,
    plain: Arc<OnceLock<bool>>,
    /// Bytes of the segment, kept as long as queries use it.
    medium: Option<Medium>,
    /// Since the last eviction.
    is_used: bool,
    opened_at: u32,
}

/// Segment on its way to being opened.
pub(crate) enum Mapped {
    /// It stands opened, and has been checked.
    Kept(Segment),
    /// The index of its hour has been checked, and tells all that is needed; `None` if that is that it has no packets.
    OfHour(Option<Box<Segment>>),
    New(MappedSegment),
}

impl SegmentCache {
    /// A cache of at most [`KEPT_MAX`] segments, and at most `held_max`.
    pub(crate) fn new(store: Store, held_max: usize) -> Self {
        // A query over a store whose ports cannot be read ends before.
        let ports = TunnelPorts::written(&store.identity().tunnel_ports).unwrap_or_default();
        let kept_max = held_max.min(KEPT_MAX);
        let watcher = Mutex::new(Watcher::new(&store));
        Self {
            store,
            ports,
            watcher,
            kept: Mutex::default(),
            hours: HourCache::default(),
            kept_max,
            evictions: AtomicU32::new(0),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Opens a segment, and its index if `use_index`.
    pub(crate) fn open(&self, name: SegmentName, ordinal: u32, use_index: bool) -> Opening {
        self.map(name, ordinal, use_index).map_or(Opening::Nothing, |mapped| self.check(mapped))
    }

    /// The indexes of the hours of listed segments, which ascend, as far as there are some.
    pub(crate) fn hours_of(&self, listed: &[(SegmentName, SegmentState)], helpers: usize) -> KnownHours {
        let is_sealed = |(_, state): &&(SegmentName, SegmentState)| *state == SegmentState::Sealed;
        let sealed: Vec<SegmentName> = listed.iter().filter(is_sealed).map(|(name, _)| *name).collect();
        self.hours.hours_of(
            &self.store,
            &self.ports,
            &sealed,
            self.evictions.load(Ordering::Relaxed),
            helpers,
        )
    }

    /// A segment of which its hour tells enough.
    pub(crate) fn of_hour(&self, name: SegmentName, ordinal: u32, place: HourPlace) -> Mapped {
        Mapped::OfHour(Segment::of_hour(name, ordinal, place).map(Box::new))
    }

    /// Starts fetching segments that are about to be mapped, if they lie in an archive.
    pub(crate) fn will_map(&self, names: impl Iterator<Item = SegmentName>) {
        let is_new = |name: &SegmentName| self.lock().get(name).is_none_or(|kept| kept.medium.is_none());
        self.store.will_open(names.filter(is_new));
    }

    /// Maps a segment, to be checked later; `None` where it is gone.
    pub(crate) fn map(&self, name: SegmentName, ordinal: u32, use_index: bool) -> Option<Mapped> {
        if use_index && let Some(opened) = self.get(&name) {
            return Some(Mapped::Kept(Segment::indexed(name, ordinal, opened)));
        }
        MappedSegment::map(&self.store, name, ordinal, use_index).map(Mapped::New)
    }

    /// Checks a mapped segment. If its index belongs to it, it is kept opened.
    pub(crate) fn check(&self, mapped: Mapped) -> Opening {
        let opening = match mapped {
            Mapped::Kept(segment) => return Opening::Ready(Box::new(segment), None),
            Mapped::OfHour(segment) => {
                return segment.map_or(Opening::Nothing, |segment| Opening::Ready(segment, None));
            }
            Mapped::New(mapped) => mapped.check(&self.ports),
        };
        if let Opening::Ready(segment, _) = &opening
            && let Some(opened) = segment.opened()
        {
            self.put(segment.name, opened);
        }
        opening
    }

    /// Reopens a released segment; `None` if it is gone, or cannot be read any more.
    pub(crate) fn reopen(&self, segment: &Segment, use_index: bool) -> Option<Segment> {
        match self.reopened(segment, use_index) {
            Opening::Ready(segment, _) => Some(*segment),
            Opening::Nothing | Opening::Unreadable(_) => None,
        }
    }

    /// Reopens a released segment, and returns the full result.
    pub(crate) fn reopened(&self, segment: &Segment, use_index: bool) -> Opening {
        match self.open(segment.name, segment.ordinal, use_index) {
            Opening::Ready(again, rejection) => {
                let again = Segment { interface: segment.interface, bounds: segment.bounds, ..*again };
                Opening::Ready(Box::new(again), rejection)
            }
            other => other,
        }
    }

    /// Names of all segments, and places that could not be listed. If nothing has changed for two evictions, that costs a
    /// stat(2) of each day's folder.
    pub(crate) fn listed(&self) -> (Vec<(SegmentName, SegmentState)>, Vec<Damage>) {
        let mut watcher = locked(&self.watcher);
        watcher.refresh(self.evictions.load(Ordering::Relaxed));
        let unlisted = watcher.unlisted().map(|at| Damage::needed(self.store.part(&at.path), &*at.reason));
        let damaged = unlisted.chain(identity_damage(&self.store)).collect();
        (watcher.segments().collect(), damaged)
    }

    /// A segment that is kept opened.
    fn get(&self, name: &SegmentName) -> Option<Opened> {
        let mut all = self.lock();
        let kept = all.get_mut(name)?;
        if kept.index.bytes().has_lost() || kept.medium.as_ref().is_some_and(Medium::has_lost) {
            // Opened anew, it is seen as it is now.
            all.remove(name);
            return None;
        }
        kept.is_used = true;
        if kept.medium.is_none() {
            // What cannot be read any more is opened anew, and told.
            let medium = open_medium(&self.store, *name).unwrap_or(None);
            // The index was found to belong to it, and neither changes.
            kept.medium = medium.filter(|medium| medium.bytes() == kept.index.segment_bytes());
        }
        let (index, plain) = (Arc::clone(&kept.index), Arc::clone(&kept.plain));
        let opened = kept.medium.clone().map(|medium| Opened { medium, index, plain });
        if opened.is_none() {
            all.remove(name);
        }
        opened
    }

    /// Drops a segment that was shortened since it was mapped: its last page reads as zeros beyond the cut, without a fault.
    /// True if so; it must then be reopened.
    pub(crate) fn drops_shortened(&self, segment: &Segment) -> bool {
        let mapped = segment.medium.file_bytes();
        let now = self.store.files().status(&match segment.medium.is_cold() {
            true => self.store.cold_path(&segment.name),
            false => self.store.sealed_path(&segment.name),
        });
        // What has expired stays whole under its map.
        let is_shortened = segment.is_sealed() && now.is_ok_and(|now| now.bytes < mapped);
        if is_shortened {
            drop(self.lock().remove(&segment.name));
        }
        is_shortened
    }

    /// Keeps a segment opened.
    fn put(&self, name: SegmentName, opened: Opened) {
        let Opened { medium, index, plain } = opened;
        let opened_at = self.evictions.load(Ordering::Relaxed);
        let mut all = self.lock();
        all.insert(name, CachedSegment { index, plain, medium: Some(medium), is_used: true, opened_at });
        if all.len() > self.kept_max {
            all.pop_first();
        }
    }

    /// Closes kept segments that are no longer in the store, or not used. A long-running service calls it about once a second.
    pub(crate) fn evict_unused(&self) {
        let now = self.evictions.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let checks = now.is_multiple_of(EVICTIONS_BETWEEN_CHECKS);
        let names: Vec<SegmentName> = match checks {
            true => self.lock().keys().copied().collect(),
            false => Vec::new(),
        };
        self.hours.evict(now);
        let gone: Vec<_> = names.into_iter().filter(|name| !self.store.has_index(name)).collect();
        let mut all = self.lock();
        gone.iter().for_each(|name| drop(all.remove(name)));
        all.retain(|_, kept| now.wrapping_sub(kept.opened_at) < EVICTIONS_KEPT);
        for kept in all.values_mut() {
            if !std::mem::take(&mut kept.is_used) {
                kept.medium = None;
            }
        }
        if checks {
            let mut bytes: usize = all.values().map(|kept| kept.index.decoded_bytes()).sum();
            while bytes > KEPT_BYTES_MAX
                && let Some((_, oldest)) = all.pop_first()
            {
                bytes -= oldest.index.decoded_bytes();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentName, CachedSegment>> {
        locked(&self.kept)
    }
}
