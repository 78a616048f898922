//! What is kept, and what makes room: a hard budget over everything in the store, and a greatest age.
//!
//! **Invariant:** the order of expiry is the order of writing, told by names, never by a packet's timestamp.

mod hours;

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use netrewind_segment::store::ListedSegment;
use netrewind_segment::{Event, SegmentName, SegmentState, Store, StoreError, Timestamp};

use crate::clock::Clock;
use crate::config::INDEX_RESERVE_DIVISOR;

pub use hours::CatalogLimits;

/// How often a new segment is tried again after segments have expired because the disk was full.
const FULL_DISK_TRIES_MAX: usize = 4;
/// How long what has expired may take to become free: whoever answers a query keeps a segment for two seconds after it.
const FREED_WITHIN: Duration = Duration::from_secs(3);
/// How often is looked whether it is.
const FREED_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A sealed segment that could expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: SegmentName,
    /// Bytes that its removal frees.
    pub bytes: u64,
}

/// Sorts by age, oldest first. A name that is later than now was given before the wall clock was set back, so its segment
/// is older than all that have been written since.
pub fn sort_by_age(kept: &mut [Kept], now: Timestamp) {
    kept.sort_unstable_by_key(|segment| (segment.name.opened <= now, segment.name));
}

/// How many of the oldest must expire to free `bytes`.
pub fn oldest_to_free(kept: &[Kept], bytes: u64) -> usize {
    let mut freed = 0;
    kept.iter()
        .take_while(|segment| {
            let is_needed = freed < bytes;
            freed += segment.bytes;
            is_needed
        })
        .count()
}

/// Those that have reached `age_max`.
pub fn too_old(kept: &[Kept], now: Timestamp, age_max: Duration) -> impl Iterator<Item = &Kept> {
    kept.iter().filter(move |segment| u128::from(now.ns_since(segment.name.opened)) >= age_max.as_nanos())
}

/// What the store takes at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of disk, with all that is reserved for segments being written.
    pub bytes: u64,
    /// Segments, sealed and open.
    pub segments: u64,
    /// The opening of the oldest segment.
    pub oldest: Option<Timestamp>,
}

/// Makes room in a store, for all lanes that write to it.
pub struct Keeper {
    store: Store,
    budget_bytes: Option<u64>,
    age_max: Option<Duration>,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Event>,
    /// Room that is found must be taken before another lane looks for some.
    turn: Mutex<Ahead>,
}

/// What is kept free on a disk that is smaller than the budget, so that the next segment need not wait for it.
#[derive(Debug, Default)]
struct Ahead {
    /// What the last segment took, with its index.
    wanted_bytes: u64,
    /// When segments have last expired for it, by the monotonic clock, and how much was free.
    expired: Option<(u64, u64)>,
}

impl Keeper {
    /// Keeps `store` within a budget and an age; what expires is told to `events`.
    pub fn new(
        store: Store,
        budget_bytes: Option<u64>,
        age_max: Option<Duration>,
        clock: Arc<dyn Clock>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { store, budget_bytes, age_max, clock, events, turn: Mutex::default() }
    }

    /// Creates what takes `bytes` (and its index, later), after making room for it. Where the disk is full although the
    /// budget is not, the oldest segments make room as well.
    pub fn create<T>(&self, bytes: u64, mut create: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let with_index = bytes + bytes / INDEX_RESERVE_DIVISOR;
        turn.wanted_bytes = with_index;
        self.keep_budget(with_index).map_err(io::Error::other)?;
        for _ in 1..FULL_DISK_TRIES_MAX {
            match create() {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    if !self.expire_for_room(&mut turn, bytes).map_err(io::Error::other)? {
                        return Err(error);
                    }
                    // Nobody else has to wait for it: the status is looked after every second.
                    drop(turn);
                    self.wait_until_free(with_index);
                    turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                }
                result => return result,
            }
        }
        create()
    }

    /// Waits until so much is free, but no longer than what has expired may take.
    fn wait_until_free(&self, bytes: u64) {
        let looks = FREED_WITHIN.as_millis() / FREED_LOOK_INTERVAL.as_millis();
        for _ in 0..looks {
            if available_bytes(&self.store).is_ok_and(|available| available >= bytes) {
                return;
            }
            std::thread::sleep(FREED_LOOK_INTERVAL);
        }
    }

    /// Makes room for a file that another is about to write into the store, such as an index.
    pub fn make_room(&self, bytes: u64) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.keep_budget(bytes).map_err(io::Error::other)
    }

    /// Removes what has become too old, what is over the budget since indexes have grown, and where the disk is smaller than
    /// the budget, what the next segment will need.
    pub fn tend(&self) -> Result<Usage, StoreError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(age_max) = self.age_max {
            let (kept, _) = self.look()?;
            let expired: Vec<Kept> = too_old(&kept, self.clock.now().wall, age_max).copied().collect();
            self.expire(&expired, "age")?;
        }
        // Over the budget with nothing left to remove: what is being written stays, and is sealed before long.
        let _ = self.keep_budget(0);
        self.keep_ahead(&mut turn)?;
        Ok(self.look()?.1)
    }

    /// Has the oldest expire before the next segment needs their room: what a query still reads becomes free only after it.
    fn keep_ahead(&self, turn: &mut Ahead) -> Result<(), StoreError> {
        // Who cannot tell how much is free finds out when a segment is created.
        let Ok(available) = available_bytes(&self.store) else { return Ok(()) };
        let missing = turn.wanted_bytes.saturating_sub(available);
        let now_ns = self.clock.now().monotonic_ns;
        let is_awaited = turn.expired.is_some_and(|(since_ns, before)| {
            available <= before && u128::from(now_ns.saturating_sub(since_ns)) < FREED_WITHIN.as_nanos()
        });
        if missing == 0 || is_awaited {
            return Ok(());
        }
        self.expire_for_room(turn, missing).map(drop)
    }

    /// Has the oldest expire on a full disk; false where there is none left.
    fn expire_for_room(&self, turn: &mut Ahead, bytes: u64) -> Result<bool, StoreError> {
        let (kept, _) = self.look()?;
        let expired = kept.get(..oldest_to_free(&kept, bytes)).unwrap_or_default();
        if expired.is_empty() {
            return Ok(false);
        }
        let available = available_bytes(&self.store).unwrap_or(u64::MAX);
        turn.expired = Some((self.clock.now().monotonic_ns, available));
        self.expire(expired, "disk full")?;
        Ok(true)
    }

    /// Makes room for `wanted` more bytes under the budget.
    fn keep_budget(&self, wanted: u64) -> Result<(), KeeperError> {
        let Some(budget_bytes) = self.budget_bytes else { return Ok(()) };
        let (kept, usage) = self.look()?;
        let excess = (usage.bytes + wanted).saturating_sub(budget_bytes);
        let expired = kept.get(..oldest_to_free(&kept, excess)).unwrap_or_default();
        self.expire(expired, "budget")?;
        match expired.iter().map(|segment| segment.bytes).sum::<u64>() >= excess {
            true => Ok(()),
            false => Err(KeeperError::NothingLeft { budget_bytes, used_bytes: usage.bytes, wanted }),
        }
    }

    /// What could expire, oldest first, and what everything takes.
    fn look(&self) -> Result<(Vec<Kept>, Usage), StoreError> {
        let segments = self.store.segments()?;
        // A file system that cannot reserve shows an open segment's space only by the file's length.
        let reserved = |segment: &ListedSegment| match segment.state {
            SegmentState::Open => segment.file_bytes.saturating_sub(segment.disk_bytes),
            SegmentState::Sealed => 0,
        };
        let mut kept: Vec<Kept> = segments
            .iter()
            .filter(|segment| segment.state == SegmentState::Sealed)
            .map(|segment| Kept { name: segment.name, bytes: segment.disk_bytes })
            .collect();
        sort_by_age(&mut kept, self.clock.now().wall);
        let usage = Usage {
            bytes: self.store.disk_bytes()? + segments.iter().map(reserved).sum::<u64>(),
            segments: segments.len() as u64,
            oldest: segments.iter().map(|segment| segment.name.opened).min(),
        };
        Ok((kept, usage))
    }

    fn expire(&self, expired: &[Kept], reason: &str) -> Result<(), StoreError> {
        for segment in expired {
            self.store.remove(&segment.name)?;
            // Nobody listens any more only at the very end.
            let _ = self.events.send(Event::Expire {
                segment: segment.name,
                freed_bytes: segment.bytes,
                reason: reason.to_owned(),
                first: None,
                last: None,
            });
        }
        if expired.is_empty() { Ok(()) } else { self.expire_logbook() }
    }

    /// Removes the logbook of days before the oldest segment's.
    fn expire_logbook(&self) -> Result<(), StoreError> {
        let today = self.clock.now().wall.date();
        let Some(oldest) = self.store.segments()?.iter().map(|segment| segment.name.date()).min() else {
            return Ok(());
        };
        for date in self.store.logbook_dates()? {
            if date < oldest && date < today {
                self.store.remove_logbook(&date)?;
            }
        }
        Ok(())
    }
}

/// Bytes that can still be written to the store's file system: statvfs(3).
fn available_bytes(store: &Store) -> io::Result<u64> {
    let found = rustix::fs::statvfs(store.root())?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the budget of {budget_bytes} bytes has no room for {wanted} more: {used_bytes} are in use, and no sealed segment is \
         left to remove; raise the budget, or make segments smaller"
    )]
    NothingLeft { budget_bytes: u64, used_bytes: u64, wanted: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    fn kept(opened: u64, bytes: u64) -> Kept {
        Kept { name: SegmentName { opened: Timestamp(opened), lane: 0 }, bytes }
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_needed() {
        let mut segments = vec![kept(30, 5), kept(10, 5), kept(99, 5), kept(20, 5)];
        sort_by_age(&mut segments, Timestamp(40));
        assert_eq!(segments, [kept(99, 5), kept(10, 5), kept(20, 5), kept(30, 5)]);
        let counts = [0, 1, 5, 6, 20, 21].map(|bytes| oldest_to_free(&segments, bytes));
        assert_eq!(counts, [0, 1, 1, 2, 4, 4]);
        let old: Vec<_> = too_old(&segments, Timestamp(40), Duration::from_nanos(20)).copied().collect();
        assert_eq!(old, [kept(10, 5), kept(20, 5)]);
    }

    struct Fixed(u64);
    impl Clock for Fixed {
        fn now(&self) -> Now {
            Now { wall: Timestamp(self.0), monotonic_ns: 0 }
        }
    }

    fn sealed(store: &Store, opened: u64, bytes: usize) -> SegmentName {
        let name = SegmentName { opened: Timestamp(opened), lane: 0 };
        store.prepare_folder(&name).unwrap();
        std::fs::write(store.open_path(&name), vec![1; bytes]).unwrap();
        store.seal(&name).unwrap();
        name
    }

    #[test]
    fn the_budget_holds_before_anything_is_created() {
        const DAY_NS: u64 = 86_400_000_000_000;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let names: Vec<_> = (1..=4).map(|day| sealed(&store, day * DAY_NS, 1 << 20)).collect();
        for name in &names {
            std::fs::write(store.logbook_path(&name.date()), "{}\n").unwrap();
        }
        let budget = store.disk_bytes().unwrap() + (1 << 20);
        let (sender, events) = mpsc::channel();
        let clock = Arc::new(Fixed(9 * DAY_NS));
        let keeper = Keeper::new(store.clone(), Some(budget), None, clock, sender);
        keeper
            .create(2 << 20, || {
                assert!(store.disk_bytes().unwrap() + (2 << 20) <= budget);
                Ok(())
            })
            .unwrap();
        let left: Vec<_> = store.segments().unwrap().iter().map(|segment| segment.name).collect();
        assert_eq!(left, names[2..]);
        assert_eq!(store.logbook_dates().unwrap(), [names[2].date(), names[3].date()]);
        assert_eq!(events.try_iter().count(), 2);
        let error = keeper.create(budget, || Ok(())).unwrap_err();
        assert!(error.to_string().contains("raise the budget"), "{error}");
        assert!(store.segments().unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_and_age_expire_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let names: Vec<_> = (1..=4).map(|i| sealed(&store, i * 1000, 1 << 20)).collect();
        let (sender, _events) = mpsc::channel();
        let age_max = Some(Duration::from_nanos(2500));
        let keeper = Keeper::new(store.clone(), None, age_max, Arc::new(Fixed(5000)), sender);
        let mut is_full = true;
        keeper
            .create(1 << 20, || match std::mem::take(&mut is_full) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            })
            .unwrap();
        assert_eq!(store.segments().unwrap()[0].name, names[1]);
        let usage = keeper.tend().unwrap();
        assert_eq!((usage.segments, usage.oldest), (2, Some(names[2].opened)));
    }
}
